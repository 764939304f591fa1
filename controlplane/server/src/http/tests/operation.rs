//! Health, metrics, event streams, the `OpenAPI` document, request ids, and a real socket.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use axum::body::Body;
use futures::StreamExt as _;
use serde_json::{Value, json};
use sluice_controlplane_core::access::Role;
use sluice_controlplane_core::room::Audience;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tower::ServiceExt as _;

use super::{Api, Call, token};
use crate::conductor::DataplaneState;
use crate::config::Guests;
use crate::http::routes::routes;
use crate::http::serve;

#[tokio::test]
async fn health_tells_what_is_missing() {
    let api = Api::new(Guests::None).await;
    let failing = || DataplaneState::Failing { reason: "it dies".to_owned() };
    let unstable = || DataplaneState::Unstable { reason: "it died often".to_owned() };
    let cases = [
        (None, 200, "ok", "ok"),
        (Some(unstable()), 200, "degraded", "degraded"),
        (Some(DataplaneState::Starting), 503, "degraded", "degraded"),
        (Some(failing()), 503, "unavailable", "unavailable"),
    ];
    for (state, code, status, dataplane) in cases {
        api.conductor.with(|own| own.dataplane = state);
        for path in ["/api/health", "/health"] {
            let reply = api.get(path).await;
            let health = reply.json();
            assert_eq!((reply.status, &health["status"]), (code, &json!(status)), "{health}");
            assert_eq!((&health["live"], &health["ready"]), (&json!(true), &json!(code == 200)));
            let plane = &health["dependencies"]["dataplane"];
            assert_eq!(
                (&plane["status"], &plane["pid"], &plane["restarts"]),
                (&json!(dataplane), &json!(4242), &json!(3))
            );
        }
    }
    api.conductor.with(|own| own.dataplane = None);
    api.store.close().await;
    let reply = api.get("/health").await;
    assert_eq!((reply.status, &reply.json()["dependencies"]["database"]["status"]), (503, &json!("unavailable")));
    assert_eq!(reply.json()["status"], "degraded");
}

#[tokio::test]
async fn metrics_count_requests_and_show_the_data_plane() {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    assert_eq!(api.get("/api/rooms/a").await.status, 401);
    assert_eq!(api.send(Call::new("BREW", "/api/rooms/a")).await.status, 405);
    assert_eq!(api.get("/metrics").await.status, 401);
    assert_eq!(api.send(Call::new("GET", "/metrics").bearer(&token("a", "h", Role::Host))).await.status, 403);
    let metrics = api.send(Call::new("GET", "/metrics").key()).await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    let text = metrics.text();
    for line in [
        "sluice_http_requests_total{method=\"POST\",route=\"/api/rooms\",status=\"201\"} 1",
        "sluice_http_requests_total{method=\"GET\",route=\"/api/rooms/{room_id}\",status=\"401\"} 1",
        "sluice_http_requests_total{method=\"other\",route=\"/api/rooms/{room_id}\",status=\"405\"} 1",
        "sluice_http_request_seconds_count{route=\"/api/rooms\"} 1",
        "sluice_rooms 1",
        "sluice_dataplane_up 1",
        "sluice_dataplane_restarts_total 3",
        "sluice_shard_discards_total{reason=\"replayed\",shard=\"1\"} 5",
        "sluice_shard_events_total{name=\"datagrams_received\",shard=\"1\"} 9",
        "sluice_dtls_dropped_total 5",
        "sluice_dtls_handshakes_deferred_total 4",
        "sluice_dtls_unsent_total 6",
        "sluice_plan_changes_waiting 7",
        "sluice_shard_held{name=\"replays\",shard=\"1\"} 2",
        "sluice_transports 2",
        "sluice_ingress_streams 3",
        "sluice_egress_streams 4",
        "sluice_transport_packets{direction=\"received\"} 64",
        "sluice_transport_packets{direction=\"sent\"} 75",
    ] {
        assert!(text.lines().any(|own| own == line), "{line} in {text}");
    }
    let documented = include_str!("../../../../../docs/METRICS.md");
    for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split(' ').next()) {
        assert!(documented.contains(&format!("`{name}")), "docs/METRICS.md lacks {name}");
    }
    api.conductor.with(|own| own.dataplane = Some(DataplaneState::Starting));
    let text = api.send(Call::new("GET", "/metrics").key()).await.text();
    assert!(text.contains("sluice_dataplane_up 0") && !text.contains("sluice_shard_discards_total{"), "{text}");
}

/// Opens a stream and reads until something that contains `until`.
pub(super) async fn stream(api: &Api, call: Call, until: &str) -> String {
    let response = api.app.clone().oneshot(call.request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut chunks, mut text) = (response.into_body().into_data_stream(), String::new());
    while !text.contains(until) {
        text.push_str(std::str::from_utf8(&chunks.next().await.expect("more").unwrap()).unwrap());
    }
    text
}

#[tokio::test]
async fn event_streams_resume_and_keep_to_their_room() {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    for (room_id, kind) in [("a", "one"), ("b", "two"), ("a", "three")] {
        api.server.events.publish(SystemTime::UNIX_EPOCH, room_id, Audience::Everybody, &json!({"type": kind, "x": 1}));
    }
    let all = stream(&api, Call::new("GET", "/api/events").key().header("last-event-id", "7-1"), "three").await;
    assert!(all.contains("id: 7-2\n") && all.contains("event: two\n") && !all.contains("one"), "{all}");
    let data = all.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let event: Value = serde_json::from_str(data).unwrap();
    assert_eq!(event, json!({"type": "two", "x": 1, "room_id": "b", "at": "1970-01-01T00:00:00.000Z"}));
    let own = Call::new("GET", &format!("/api/rooms/a/events?token={}", token("a", "v", Role::Attendee)));
    let own = stream(&api, own.header("last-event-id", "7-0"), "three").await;
    assert!(own.contains("one") && !own.contains("two"), "{own}");
    let lost = stream(&api, Call::new("GET", "/api/events").key().header("last-event-id", "6-1"), "\n\n").await;
    assert!(lost.contains("event: events_missed\n") && lost.contains("id: 7-3\n"), "{lost}");
    let gone = api.send(Call::new("GET", "/api/rooms/nowhere/events").key()).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "no_such_room"));
}

#[tokio::test]
async fn every_route_is_documented_with_its_errors_and_nothing_else_is() {
    let api = Api::new(Guests::None).await;
    let document = api.get("/api/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (path.clone(), method.to_uppercase()))
        })
        .collect();
    let served: BTreeSet<(String, String)> = routes()
        .iter()
        .flat_map(|route| route.methods.split(", ").map(|method| (route.path.to_owned(), method.to_owned())))
        .collect();
    assert_eq!(documented, served);
    for (path, method) in &served {
        let operation = &document["paths"][path][method.to_lowercase()];
        let is_open = ["/health", "/api/health", "/api/openapi.json"].contains(&path.as_str());
        assert!(is_open || operation["responses"]["401"]["content"]["application/problem+json"].is_object(), "{path}");
        assert!(operation["requestBody"].is_null() || operation["responses"]["413"].is_object(), "{method} {path}");
    }
    // What is documented is what is routed: other methods are refused, these are not.
    for route in routes() {
        let path = route.path.replace(['{', '}'], "");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let is_served = route.methods.split(", ").any(|own| own == method);
            let reply = api.send(Call::new(method, &path)).await;
            assert_eq!(reply.status == 405, !is_served, "{method} {path}: {}", reply.status);
        }
    }
}

#[tokio::test]
async fn request_ids_are_taken_when_plain_and_always_given() {
    let api = Api::new(Guests::None).await;
    let own = api.send(Call::new("GET", "/api/rooms").header("x-request-id", "call-7.a")).await;
    assert_eq!((own.header("x-request-id"), own.code().as_str()), ("call-7.a", "token_missing"));
    for bad in ["", "a b", "x\"y", &"x".repeat(65)] {
        let reply = api.send(Call::new("GET", "/api/rooms").header("x-request-id", bad)).await;
        assert_eq!(reply.header("x-request-id").len(), 16, "{bad:?}");
    }
}

#[tokio::test]
async fn a_stopping_server_ends_streams_and_lets_nobody_in() {
    let api = Api::new(Guests::None).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(serve(listener, api.server.clone(), async move { drop(stopped.await) }));
    let mut idle = tokio::net::TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /api/he").await.unwrap();
    let mut events = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("GET /api/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", super::SECRET);
    events.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 15];
    events.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(20), serving).await.expect("it ends").unwrap().unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), events.read_to_end(&mut rest)).await.expect("closed").unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}
