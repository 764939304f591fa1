//! The page.

use super::{Api, Call};
use crate::config::Guests;

/// Returns the address of the script that the page names.
fn script(index: &str) -> &str {
    let start = index.find("/assets/").expect("the page names its script");
    index[start..].split('"').next().unwrap()
}

#[tokio::test]
async fn the_page_and_its_files_are_served_with_what_caches_need() {
    let api = Api::new(Guests::None).await;
    let index = api.get("/").await;
    assert_eq!((index.status, index.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(index.header("cache-control"), "no-cache");
    assert!(index.header("content-security-policy").contains("default-src 'self'"));
    assert_eq!(index.header("x-content-type-options"), "nosniff");
    assert_eq!(index.header("access-control-allow-origin"), "");
    for view in ["/index.html", "/live/room", "/watch/room?participant=x", "/anything"] {
        assert_eq!(api.get(view).await.body, index.body, "{view}");
    }
    let page = index.text();
    let file = api.get(script(&page)).await;
    assert_eq!(file.status, 200, "{}", script(&page));
    assert!(["text/javascript", "image/svg+xml"].iter().any(|kind| file.header("content-type").starts_with(kind)));
    assert_eq!(file.header("cache-control"), "public, max-age=31536000, immutable");
    for path in ["/", script(&page)] {
        let etag = api.get(path).await.header("etag").to_owned();
        let known = api.send(Call::new("GET", path).header("if-none-match", &format!("\"x\", W/{etag}"))).await;
        assert_eq!((known.status, known.body.len(), known.header("etag")), (304, 0, etag.as_str()), "{path}");
        let changed = api.send(Call::new("GET", path).header("if-none-match", "\"other\"")).await;
        assert_eq!(changed.status, 200);
    }
    let head = api.send(Call::new("HEAD", "/")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn nothing_but_the_page_is_behind_its_addresses() {
    let api = Api::new(Guests::None).await;
    let index = api.get("/").await.body;
    for path in [
        "/../Cargo.toml",
        "/assets/../index.html",
        "/assets/../../package.json",
        "/%2e%2e/package.json",
        "/..%2fpackage.json",
        "/..\\package.json",
        "//etc/passwd",
        "/.git/config",
        "/assets/",
        "/assets/missing.js",
        "/missing.png",
        "/package.json",
        "/%00",
    ] {
        let Ok(uri) = path.parse::<axum::http::Uri>() else { continue };
        let reply = api.get(&uri.to_string()).await;
        assert!(reply.status == 404 || reply.body == index, "{path}: {} {}", reply.status, reply.text());
        if path.contains("assets") || path.contains(".js") || path.contains(".png") {
            assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"), "{path}");
        }
    }
    for method in ["POST", "DELETE", "PUT"] {
        let reply = api.send(Call::new(method, "/")).await;
        assert_eq!((reply.status, reply.header("allow")), (405, "GET, HEAD"));
    }
    for path in ["/api", "/api/", "/api/nothing", "/whip", "/whep/a/b/c", "/ws/a", "/metrics/x", "/health/x"] {
        let reply = api.get(path).await;
        assert_eq!((reply.status, reply.code().as_str()), (404, "not_found"), "{path}");
    }
}
