//! The web application, built into the binary.

use std::borrow::Cow;

use axum::body::{Body, Bytes};
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rust_embed::{EmbeddedFile, RustEmbed};

use super::{Problem, layers};

/// The built files; read from disk by debug builds.
#[derive(RustEmbed)]
#[folder = "../web/dist"]
#[allow_missing = true]
struct Files;

const INDEX: &str = "index.html";
/// The folder of files whose names change with their content.
const HASHED: &str = "assets/";

/// Answers whatever no other route does: a file, or the page itself for the addresses that it knows how to show.
pub(super) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path();
    if layers::is_api(path) {
        return layers::nothing_here();
    }
    if method != Method::GET && method != Method::HEAD {
        let mut response = Problem::of_status(StatusCode::METHOD_NOT_ALLOWED).into_response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let name = path.trim_start_matches('/');
    // Names in the binary have no percent signs, no empty and no dotted parts: whatever has them is no file.
    let is_plain =
        name.split('/').all(|part| !part.is_empty() && !part.starts_with('.')) && !name.contains(['%', '\\']);
    if let Some(file) = Some(name).filter(|_| is_plain).and_then(Files::get) {
        return answer(name, file, &headers);
    }
    // Views have addresses without a dot: a missing file is not answered with a page.
    let is_view = !name.rsplit('/').next().unwrap_or_default().contains('.') && !name.starts_with(HASHED);
    match Files::get(INDEX).filter(|_| is_view) {
        Some(index) => answer(INDEX, index, &headers),
        None => layers::nothing_here(),
    }
}

fn answer(name: &str, file: EmbeddedFile, headers: &HeaderMap) -> Response {
    let hash = file.metadata.sha256_hash();
    let etag = hash.iter().take(16).fold(String::from("\""), |text, byte| format!("{text}{byte:02x}")) + "\"";
    let cache = if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    let is_known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|known| {
        known.split(',').any(|known| known.trim() == "*" || known.trim().trim_start_matches("W/") == etag)
    });
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Body::from(body(file.data)).into_response();
        let mime = mime_guess::from_path(name).first_or_octet_stream();
        let charset = if mime.type_() == "text" { "; charset=utf-8" } else { "" };
        if let Ok(mime) = HeaderValue::from_str(&format!("{mime}{charset}")) {
            response.headers_mut().insert(CONTENT_TYPE, mime);
        }
        response
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// Returns what is sent of a file. What stands in the binary is not copied: many slow readers share it.
fn body(data: Cow<'static, [u8]>) -> Bytes {
    match data {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_binary_is_sent_from_where_it_stands() {
        static FILE: [u8; 3] = *b"abc";
        assert_eq!(body(Cow::Borrowed(&FILE)).as_ptr(), FILE.as_ptr());
        assert_eq!(body(Cow::Owned(FILE.to_vec())), FILE.as_slice());
    }
}
