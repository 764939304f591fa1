//! Pages of other origins do nothing in a guest's place.

use serde_json::json;
use sluice_controlplane_core::access::Role;

use super::{Api, Call, token};
use crate::config::{Guests, Http};

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
const ELSEWHERE: [u8; 4] = [192, 0, 2, 7];

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

fn guest(path: &str) -> Call {
    let body = if path == "/api/rooms" { json!({"name": "x"}) } else { json!({"identity": "me", "role": "speaker"}) };
    Call::new("POST", path).json(&body)
}

/// Asks for a room and for a token with these headers, and returns the code of the refusal, if it is one.
async fn ask(api: &Api, from: [u8; 4], headers: Headers<'_>) -> Option<String> {
    let mut codes = Vec::new();
    for path in ["/api/rooms", "/api/rooms/a/tokens"] {
        let call = headers.iter().fold(guest(path).from(from), |call, (name, value)| call.header(name, value));
        let reply = api.send(call).await;
        assert_eq!(reply.header("access-control-allow-origin"), "", "{path}");
        codes.push((reply.status == 403).then(|| reply.code()));
        assert!(matches!(reply.status, 200 | 201 | 403), "{path}: {}", reply.text());
    }
    assert_eq!(codes[0], codes[1], "{headers:?}");
    codes.pop().flatten()
}

async fn api(public_hosts: &[&str]) -> Api {
    let public_hosts = public_hosts.iter().map(|host| (*host).to_owned()).collect();
    let api = Api::with(Guests::Create, Http { public_hosts, ..Http::default() }).await;
    api.room("a").await;
    api
}

#[tokio::test]
async fn guests_ask_from_pages_of_this_server_and_from_no_page() {
    let api = api(&[]).await;
    let cases: [(Headers<'_>, Option<&str>); 18] = [
        (&[], None),
        (&[("host", "127.0.0.1:8080")], None),
        (&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")], None),
        (&[("host", "192.0.2.1:8080"), ("origin", "http://192.0.2.1:8080")], None),
        (&[("host", "localhost:8080"), ("origin", "http://localhost:8080")], None),
        (&[("host", "LOCALHOST"), ("origin", "http://localhost")], None),
        (&[("host", "[::1]:8080"), ("origin", "http://[::1]:8080")], None),
        (&[("host", "localhost:8080"), ("origin", "http://localhost:8080"), ("sec-fetch-site", "same-origin")], None),
        (&[("host", "localhost:8080"), ("sec-fetch-site", "none")], None),
        (&[("host", "localhost:8080"), ("origin", "http://localhost:3000")], Some("cross_origin")),
        (&[("host", "localhost:8080"), ("origin", "http://localhost")], Some("cross_origin")),
        (&[("host", "localhost:8080"), ("origin", "https://evil.example")], Some("cross_origin")),
        (&[("host", "localhost:8080"), ("origin", "null")], Some("cross_origin")),
        (&[("host", "localhost:8080"), ("origin", "")], Some("cross_origin")),
        (&[("origin", "http://localhost")], Some("cross_origin")),
        (&[("host", "localhost:8080"), ("sec-fetch-site", "cross-site")], Some("cross_origin")),
        (&[("host", "localhost:8080"), ("sec-fetch-site", "same-site")], Some("cross_origin")),
        (
            &[("host", "localhost:1"), ("origin", "http://localhost:1"), ("sec-fetch-site", "same-site")],
            Some("cross_origin"),
        ),
    ];
    for (headers, refusal) in cases {
        for from in [LOOPBACK, ELSEWHERE] {
            assert_eq!(ask(&api, from, headers).await.as_deref(), refusal, "{headers:?} from {from:?}");
        }
    }
}

#[tokio::test]
async fn a_name_that_was_made_to_lead_to_this_host_opens_nothing_to_its_page() {
    let rebound: [Headers<'_>; 4] = [
        &[("host", "evil.example:8080"), ("origin", "http://evil.example:8080"), ("sec-fetch-site", "same-origin")],
        &[("host", "127.0.0.1.evil.example")],
        &[("host", "localhost.evil.example")],
        &[("host", "")],
    ];
    for headers in rebound {
        assert_eq!(ask(&api(&[]).await, LOOPBACK, headers).await.as_deref(), Some("host_unknown"), "{headers:?}");
        let named = api(&["meet.example.org"]).await;
        for from in [LOOPBACK, ELSEWHERE] {
            assert_eq!(ask(&named, from, headers).await.as_deref(), Some("host_unknown"), "{headers:?} from {from:?}");
        }
    }
    // Without names the server cannot know which ones lead to it from elsewhere.
    let by_name = [("host", "meet.example.org:8080"), ("origin", "http://meet.example.org:8080")];
    assert_eq!(ask(&api(&[]).await, ELSEWHERE, &by_name).await, None);
    assert_eq!(ask(&api(&["Meet.example.org"]).await, LOOPBACK, &by_name).await, None);
}

#[tokio::test]
async fn behind_a_proxy_guests_are_served_when_it_passes_the_host_on_or_is_named() {
    let forwarded = [
        ("host", "meet.example.org"),
        ("origin", "https://meet.example.org"),
        ("sec-fetch-site", "same-origin"),
        ("x-forwarded-for", "198.51.100.1"),
    ];
    let with_port = [("host", "meet.example.org:443"), ("origin", "https://meet.example.org")];
    let rewritten = [("host", "127.0.0.1:8080"), ("origin", "https://meet.example.org")];
    let rewritten_new = [&rewritten[..], &[("sec-fetch-site", "same-origin")]].concat();
    let (unnamed, named) = (api(&[]).await, api(&["meet.example.org"]).await);
    for headers in [&forwarded[..], &with_port, &rewritten, &rewritten_new] {
        assert_eq!(ask(&named, LOOPBACK, headers).await, None, "{headers:?}");
    }
    assert_eq!(ask(&unnamed, ELSEWHERE, &forwarded).await, None);
    assert_eq!(ask(&unnamed, ELSEWHERE, &with_port).await, None);
    assert_eq!(ask(&unnamed, LOOPBACK, &forwarded).await.as_deref(), Some("host_unknown"));
    assert_eq!(ask(&unnamed, LOOPBACK, &rewritten).await.as_deref(), Some("cross_origin"));
    assert_eq!(ask(&unnamed, LOOPBACK, &rewritten_new).await, None, "the browser itself says so");
}

#[tokio::test]
async fn whoever_shows_a_token_asks_from_any_page_and_the_page_itself_is_for_everybody() {
    let api = api(&[]).await;
    let from_elsewhere = |call: Call| {
        let call = call.from(LOOPBACK).header("host", "evil.example").header("origin", "https://other.example");
        call.header("sec-fetch-site", "cross-site")
    };
    let host = token("a", "h", Role::Host);
    let offer = |path: &str| Call::new("POST", path).body("application/sdp", "v=0\r\nm=\r\n");
    for (call, status, open) in [
        (guest("/api/rooms").key(), 201, "*"),
        (guest("/api/rooms/a/tokens").bearer(&host), 200, "*"),
        (offer("/whip/a").bearer(&host), 201, "*"),
        (offer(&format!("/whep/a?token={host}")), 201, "*"),
        (offer("/whip/a"), 401, "*"),
        (Call::new("OPTIONS", "/api/rooms"), 204, "*"),
        (Call::new("GET", "/api/openapi.json"), 200, "*"),
        (Call::new("GET", "/"), 200, ""),
        (Call::new("GET", "/api/health"), 200, ""),
        (Call::new("GET", "/api/rooms"), 401, ""),
    ] {
        let name = format!("{:?}", call.request);
        let reply = api.send(from_elsewhere(call)).await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (status, open), "{name}");
    }
}
