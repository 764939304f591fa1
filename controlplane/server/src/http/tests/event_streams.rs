//! Event streams end with the right to them, and leave places to others.

use std::time::{Duration, SystemTime};

use axum::body::{Body, to_bytes};
use axum::http::Response;
use serde_json::json;
use sluice_controlplane_core::access::Role;
use sluice_controlplane_core::room::Audience;
use tower::ServiceExt as _;

use super::{Api, Call, SECRET, token};
use crate::config::Guests;
use crate::http::limits;

async fn api() -> Api {
    // The database's threads do not know about paused time, so the application is built under real time.
    tokio::time::resume();
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    tokio::time::pause();
    api
}

async fn open(api: &Api, path: &str, bearer: &str) -> Response<Body> {
    let request = Call::new("GET", path).bearer(bearer).request.body(Body::empty()).unwrap();
    api.app.clone().oneshot(request).await.unwrap()
}

/// Returns all that a stream tells, and how long it lasts.
async fn whole(stream: Response<Body>) -> (String, Duration) {
    let began = tokio::time::Instant::now();
    let told = tokio::time::timeout(Duration::from_secs(3600), to_bytes(stream.into_body(), usize::MAX)).await;
    (String::from_utf8(told.expect("the stream ends").unwrap().to_vec()).unwrap(), began.elapsed())
}

fn publish(api: &Api, kind: &str, identity: &str) {
    let event = json!({"type": kind, "identity": identity});
    api.server.events.publish(SystemTime::now(), "a", Audience::Everybody, &event);
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_token() {
    let api = api().await;
    let (_, lasted) = whole(open(&api, "/api/rooms/a/events", &token("a", "one", Role::Attendee)).await).await;
    assert!((Duration::from_secs(58)..Duration::from_secs(70)).contains(&lasted), "{lasted:?} of a token of a minute");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_reader_is_removed() {
    let api = api().await;
    let stream = open(&api, "/api/rooms/a/events", &token("a", "one", Role::Attendee)).await;
    publish(&api, "participant_left", "somebody");
    api.conductor.with(|state| state.revoked.push("one".to_owned()));
    publish(&api, "participant_left", "one");
    publish(&api, "participant_joined", "later");
    let (told, lasted) = whole(stream).await;
    assert!(told.contains("somebody") && told.contains("one") && !told.contains("later"), "{told}");
    assert!(lasted < Duration::from_secs(1), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_soon_when_its_reader_was_hidden_and_is_removed() {
    let api = api().await;
    let stream = open(&api, "/api/rooms/a/events", &token("a", "one", Role::Attendee)).await;
    api.conductor.with(|state| state.revoked.push("one".to_owned()));
    let (_, lasted) = whole(stream).await;
    assert!(lasted <= limits::EVENT_RIGHTS_INTERVAL + Duration::from_secs(1), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn one_identity_does_not_take_the_streams_of_others_and_participants_not_those_of_keys() {
    let api = api().await;
    let mut streams = Vec::new();
    let mut fill = async |identity: &str| {
        let shown = token("a", identity, Role::Attendee);
        loop {
            let stream = open(&api, "/api/rooms/a/events", &shown).await;
            if stream.status() != 200 {
                return (streams.len(), stream.status().as_u16());
            }
            streams.push(stream);
        }
    };
    assert_eq!(fill("one").await, (limits::EVENT_STREAMS_PER_IDENTITY_MAX, 503));
    let mut all = 0;
    for number in 0..40 {
        all = fill(&format!("other{number}")).await.0;
    }
    assert_eq!(all, limits::EVENT_STREAMS_OF_PARTICIPANTS_MAX);
    assert_eq!(open(&api, "/api/events", SECRET).await.status(), 200);
}
