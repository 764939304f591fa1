//! What handlers take out of requests, with problems for what is not as it should be.

use std::net::{IpAddr, Ipv4Addr};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Query, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sluice_controlplane_core::access::is_id;

use super::layers::Work;
use super::shares::network;
use super::{Peer, Problem, Server, limits, now_seconds};
use crate::auth::{Bearer, verify};
use crate::json::{self, JsonError};

/// Who asks, if it showed anything: `Authorization: Bearer`, or `?token=` at WHIP, WHEP, the WebSocket and event streams, whose clients
/// cannot always set headers.
#[derive(Clone, Debug)]
pub(super) struct Shown(pub(super) Option<Bearer>);

impl FromRequestParts<Server> for Shown {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
        }
        let shown = match parts.headers.get(AUTHORIZATION) {
            Some(header) => Some(bearer_of(header.to_str().unwrap_or_default())?.to_owned()),
            None if takes_token_in_query(parts.uri.path()) => {
                Query::<Token>::try_from_uri(&parts.uri).ok().and_then(|query| query.0.token)
            }
            None => None,
        };
        let Some(shown) = shown else { return Ok(Self(None)) };
        Ok(Self(Some(verify(&server.keys, &shown, now_seconds())?)))
    }
}

fn takes_token_in_query(path: &str) -> bool {
    path.starts_with("/whip/") || path.starts_with("/whep/") || path.ends_with("/events") || path == "/ws"
}

/// The scheme's case does not matter (RFC 9110 section 11.1).
fn bearer_of(header: &str) -> Result<&str, Problem> {
    let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
    if scheme.eq_ignore_ascii_case("bearer") { Ok(rest.trim()) } else { Err(Problem::unauthenticated()) }
}

/// Ids in a path. Those of rooms and participants are checked.
#[derive(Debug, Deserialize)]
pub(super) struct Ids {
    #[serde(default)]
    pub(super) room_id: String,
    #[serde(default)]
    pub(super) participant_id: String,
    #[serde(default)]
    pub(super) session_id: String,
}

impl FromRequestParts<Server> for Ids {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, server: &Server) -> Result<Self, Problem> {
        let ids = Path::<Self>::from_request_parts(parts, server).await;
        let Path(ids) = ids.map_err(|_| Problem::of_status(StatusCode::NOT_FOUND))?;
        for (field, id) in [("room_id", &ids.room_id), ("participant_id", &ids.participant_id)] {
            if !id.is_empty() {
                check_id(field, id)?;
            }
        }
        Ok(ids)
    }
}

/// Checks an id that a caller chose.
pub(super) fn check_id(field: &str, id: &str) -> Result<(), Problem> {
    if is_id(id) { Ok(()) } else { Err(Problem::invalid(field, "an id is 1 to 64 of A-Z, a-z, 0-9, _ and -")) }
}

/// Parameters after the question mark.
#[derive(Debug)]
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Server> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Server) -> Result<Self, Problem> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query.map(|query| Self(query.0)).map_err(|error| wrong_parameter(&error.body_text()))
    }
}

/// Names the parameter that is wrong, which the parser's message begins with.
fn wrong_parameter(message: &str) -> Problem {
    let (_, rest) = message.split_once(": ").unwrap_or_default();
    let name = rest.split_once(": ").map(|(name, _)| name);
    let detail = "a parameter after the question mark is not what it should be";
    let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_parameter", detail);
    match name {
        Some(name) => problem.of_field(name),
        None => problem,
    }
}

/// Reads a body of JSON. Handlers do so after they know that the caller may: a stranger's body is not waited for.
pub(super) async fn read_json<T: DeserializeOwned>(server: &Server, request: Request) -> Result<T, Problem> {
    parse_json(&read_text(server, request, "application/json").await?)
}

fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    json::parse(body).map_err(|error| match error {
        JsonError::Syntax { .. } => Problem::new(StatusCode::BAD_REQUEST, "json_syntax", error.to_string()),
        JsonError::Value { path, what } => Problem::invalid(path, what),
    })
}

/// Reads a body of a media type, at most the configured limit.
pub(super) async fn read_text(server: &Server, request: Request, media_type: &str) -> Result<Bytes, Problem> {
    expect_media_type(request.headers(), media_type)?;
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let client = network(Client::of(peer, request.headers()).address);
    let too_many = |whose| Problem::unavailable("too_many_bodies", format!("the server waits for {whose} already"));
    let share = server.bodies_of_networks.take(client, limits::BODIES_PER_NETWORK_MAX);
    let share = share.ok_or_else(|| too_many("as many bodies from this address as it does"))?;
    let place = server.bodies.try_acquire().map_err(|_| too_many("as many bodies as it does"))?;
    // Who sends slowly keeps nobody from being answered.
    let work = request.extensions().get::<Work>().cloned();
    if let Some(work) = &work {
        work.pause();
    }
    let body = read_body(server, request.into_body()).await?;
    drop((place, share));
    if let Some(work) = &work {
        work.resume(server)?;
    }
    Ok(body)
}

fn expect_media_type(headers: &HeaderMap, wanted: &str) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    let detail = format!("this takes a body of the media type {wanted}");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail).of_field("content-type"))
}

/// Reads a body: 413 when it is too large, as soon as that is known; 408 when it does not arrive in time.
async fn read_body(server: &Server, body: Body) -> Result<Bytes, Problem> {
    let limit = usize::try_from(server.config.body_limit.as_u64()).unwrap_or(usize::MAX);
    let too_large = || {
        let detail = format!("the body is larger than {}", server.config.body_limit);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    };
    if http_body_lower_bound(&body) > limit {
        return Err(too_large());
    }
    let arrived = tokio::time::timeout(server.config.request_timeout, axum::body::to_bytes(body, limit)).await;
    match arrived {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if is_length_limit(&error) => Err(too_large()),
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "body_incomplete", "the body ended before its length")),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the body did not arrive in time")),
    }
}

fn http_body_lower_bound(body: &Body) -> usize {
    usize::try_from(hyper::body::Body::size_hint(body).lower()).unwrap_or(usize::MAX)
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// The address, as far as it is known behind a proxy on this host.
    pub(super) address: IpAddr,
    /// Whether the client itself is on this host.
    pub(super) is_loopback: bool,
}

impl Client {
    /// A proxy on this host is believed in what it adds to `X-Forwarded-For`: its last entry; others are not.
    fn of(peer: Option<IpAddr>, headers: &HeaderMap) -> Self {
        let peer = peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)).to_canonical();
        let is_proxied = headers.contains_key("x-forwarded-for") || headers.contains_key("forwarded");
        if !peer.is_loopback() || !is_proxied {
            return Self { address: peer, is_loopback: peer.is_loopback() };
        }
        let forwarded = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
        let last = forwarded.and_then(|value| value.rsplit(',').next()).and_then(|last| last.trim().parse().ok());
        Self { address: last.unwrap_or(peer), is_loopback: false }
    }
}

impl FromRequestParts<Server> for Client {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Server) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0.ip());
        Ok(Self::of(peer, &parts.headers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_on_this_host_is_believed_and_others_are_not() {
        let cases: [(&str, &[&str], &str, bool); 6] = [
            ("127.0.0.1", &[], "127.0.0.1", true),
            ("::ffff:127.0.0.1", &[], "127.0.0.1", true),
            ("127.0.0.1", &["198.51.100.9, 192.0.2.7"], "192.0.2.7", false),
            ("::1", &["192.0.2.7", "2001:db8::1"], "2001:db8::1", false),
            ("127.0.0.1", &["nonsense"], "127.0.0.1", false),
            ("203.0.113.5", &["127.0.0.1"], "203.0.113.5", false),
        ];
        for (peer, forwarded, address, is_loopback) in cases {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let client = Client::of(Some(peer.parse().unwrap()), &headers);
            assert_eq!(client, Client { address: address.parse().unwrap(), is_loopback }, "{peer} {forwarded:?}");
        }
    }
}
