//! Bodies that are too large, too slow, not what they say, or not there.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use futures::stream;
use sluice_controlplane_core::access::Role;

use super::{Api, Call, token};
use crate::config::Guests;
use crate::http::limits;

/// Every endpoint that takes a body, with the media type that it takes.
const ENDPOINTS: [(&str, &str, &str); 8] = [
    ("POST", "/api/rooms", "application/json"),
    ("PATCH", "/api/rooms/a", "application/json"),
    ("POST", "/api/rooms/a/tokens", "application/json"),
    ("POST", "/api/rooms/a/participants", "application/json"),
    ("PATCH", "/api/rooms/a/participants/PA_1", "application/json"),
    ("POST", "/whip/a", "application/sdp"),
    ("POST", "/whep/a", "application/sdp"),
    ("PATCH", "/whip/a/session0", "application/trickle-ice-sdpfrag"),
];

async fn api() -> Api {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    api
}

#[tokio::test]
async fn a_mebibyte_is_refused_whether_or_not_it_says_its_length() {
    let api = api().await;
    let chunks = || stream::iter((0..16).map(|_| Ok::<_, Infallible>(Bytes::from(vec![b' '; 64 * 1024]))));
    for (method, path, media_type) in ENDPOINTS {
        for body in [Body::from(vec![b' '; 1024 * 1024]), Body::from_stream(chunks())] {
            let reply = api.send(Call::new(method, path).key().body(media_type, body)).await;
            assert_eq!((reply.status, reply.code().as_str()), (413, "body_too_large"), "{method} {path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    // The database's threads do not know about paused time, so the application is built under real time.
    tokio::time::resume();
    let api = api().await;
    tokio::time::pause();
    for (method, path, media_type) in ENDPOINTS {
        let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let reply = api.send(Call::new(method, path).key().body(media_type, body)).await;
        assert_eq!((reply.status, reply.code().as_str()), (408, "body_timeout"), "{method} {path}");
    }
}

#[tokio::test]
async fn the_body_of_somebody_who_may_not_is_not_waited_for() {
    let api = api().await;
    for (method, path, media_type) in ENDPOINTS {
        let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let reply = api.send(Call::new(method, path).body(media_type, body)).await;
        assert_eq!(reply.status, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn other_media_types_are_refused() {
    let api = api().await;
    for (method, path, media_type) in ENDPOINTS {
        for other in ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data; boundary=x"] {
            let reply = api.send(Call::new(method, path).key().body(other, "{}")).await;
            assert_eq!((reply.status, reply.code().as_str()), (415, "unsupported_media_type"), "{method} {path}");
        }
        let parametrized = format!("{}; charset=utf-8", media_type.to_uppercase());
        assert_ne!(api.send(Call::new(method, path).key().body(&parametrized, "{}")).await.status, 415, "{path}");
    }
}

#[tokio::test]
async fn garbage_is_refused_and_never_our_fault() {
    let api = api().await;
    let host = token("a", "h", Role::Host);
    let deep = "[".repeat(200_000);
    let garbage: [&[u8]; 9] = [
        b"",
        b"\0",
        b"\xff\xfe\xfd",
        b"{",
        b"null",
        b"[]",
        b"\"text\"",
        b"{\"name\":\"a\",\"name\":\"b\",\"id\":1e999}",
        deep.as_bytes(),
    ];
    for (method, path, media_type) in ENDPOINTS {
        for body in garbage {
            let reply = api.send(Call::new(method, path).bearer(&host).body(media_type, body.to_vec())).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(20)]).into_owned();
            assert!((400..500).contains(&reply.status), "{method} {path} {shown}: {}", reply.text());
            reply.code();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_conductor_that_does_not_answer_is_not_waited_for_for_ever() {
    tokio::time::resume();
    let api = api().await;
    tokio::time::pause();
    api.conductor.with(|state| state.is_stuck = true);
    let reply = api.send(Call::new("POST", "/whip/a").key().body("application/sdp", "v=0")).await;
    assert_eq!((reply.status, reply.code().as_str(), reply.header("retry-after")), (503, "timeout", "1"));
}

#[tokio::test(start_paused = true)]
async fn bodies_that_are_waited_for_keep_nobody_from_being_answered() {
    tokio::time::resume();
    let api = std::sync::Arc::new(api().await);
    tokio::time::pause();
    let token = token("a", "one", Role::Attendee);
    let slow = |network: u8| {
        let (api, token) = (api.clone(), token.clone());
        tokio::spawn(async move {
            let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
            let call = Call::new("POST", "/whep/a").from([203, 0, 113, network]).bearer(&token);
            api.send(call.body("application/sdp", body)).await.status
        })
    };
    let mut waiting = Vec::new();
    for network in 0..12 {
        waiting.extend((0..limits::BODIES_PER_NETWORK_MAX).map(|_| slow(network)));
    }
    assert!(waiting.len() > limits::REQUESTS_MAX);
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert!(waiting.iter().all(|slow| !slow.is_finished()), "each is waited for");
    assert_eq!(api.send(Call::new("GET", "/api/rooms").key()).await.status, 200);
    assert_eq!((api.get("/api/health").await.status, api.get("/").await.status), (200, 200));
    let offer = || Call::new("POST", "/whip/a").key().body("application/sdp", "v=0\r\nm=\r\n");
    assert_eq!(api.send(offer()).await.status, 201, "others' bodies are taken");
    let reply = api.send(offer().from([203, 0, 113, 1])).await;
    assert_eq!((reply.status, reply.code().as_str()), (503, "too_many_bodies"));
    for slow in waiting {
        assert_eq!(slow.await.unwrap(), 408);
    }
    assert_eq!(api.send(offer().from([203, 0, 113, 1])).await.status, 201, "places came back");
}
