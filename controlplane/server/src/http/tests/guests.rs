//! People without a token.

use serde_json::{Value, json};
use sluice_controlplane_core::access::Role;

use super::{Api, Call, Reply, SECRET, now_seconds};
use crate::auth::{ApiKey, Bearer, KeyRing, verify};
use crate::config::Guests;
use crate::http::limits;

fn claims(token: &Value) -> sluice_controlplane_core::access::Claims {
    let ring = KeyRing::new([ApiKey::new("main", SECRET).unwrap()]);
    match verify(&ring, token.as_str().unwrap(), now_seconds()).unwrap() {
        Bearer::Token(claims) => *claims,
        Bearer::Key { .. } => panic!("a token"),
    }
}

async fn ask(api: &Api, body: Value) -> Reply {
    api.send(Call::new("POST", "/api/rooms/a/tokens").json(&body)).await
}

#[tokio::test]
async fn guests_do_what_the_configuration_opens() {
    let token = json!({"identity": "me", "role": "speaker"});
    for (guests, creates, joins) in [(Guests::None, 401, 401), (Guests::Join, 401, 200), (Guests::Create, 201, 200)] {
        let api = Api::new(guests).await;
        api.room("a").await;
        let created = api.send(Call::new("POST", "/api/rooms").json(&json!({"id": "mine", "name": "x"}))).await;
        assert_eq!(created.status, creates, "{guests:?}");
        assert_eq!(ask(&api, token.clone()).await.status, joins, "{guests:?}");
        assert_eq!(api.get("/api/rooms").await.status, 401);
    }
}

#[tokio::test]
async fn a_guest_is_the_host_of_what_it_created_and_of_nothing_else() {
    let api = Api::new(Guests::Create).await;
    api.room("a").await;
    let room = json!({"id": "mine", "name": "x", "empty_timeout": 10_000_000});
    let room = api.send(Call::new("POST", "/api/rooms").json(&room)).await.json();
    assert_eq!(room["empty_timeout"], limits::GUEST_ROOM_EMPTY_TIMEOUT.as_secs());
    let large = json!({"name": "x", "limits": {"tracks_per_participant": 9}});
    let reply = api.send(Call::new("POST", "/api/rooms").json(&large)).await;
    assert_eq!((reply.status, reply.json()["field"].as_str()), (403, Some("limits.tracks_per_participant")));
    let host = room["token"].as_str().unwrap();
    assert_eq!(claims(&room["token"]).role, Role::Host);
    let list = |path: &str| Call::new("GET", path).bearer(host);
    assert_eq!(api.send(list("/api/rooms/mine/participants")).await.status, 200);
    assert_eq!(api.send(list("/api/rooms/a/participants")).await.status, 403);
    assert_eq!(api.send(Call::new("DELETE", "/api/rooms/mine").bearer(host)).await.status, 403);
}

#[tokio::test]
async fn a_guest_is_the_same_in_all_rooms_as_a_host_too() {
    let api = Api::new(Guests::Create).await;
    api.room("a").await;
    let created = json!({"id": "mine", "name": "x", "identity": "me"});
    let created = api.send(Call::new("POST", "/api/rooms").json(&created)).await.json();
    let (host, speaker) = (
        claims(&created["token"]),
        claims(&ask(&api, json!({"identity": "me", "role": "speaker"})).await.json()["token"]),
    );
    assert_eq!(host.user_id, speaker.user_id);
    assert!(host.guest && speaker.guest, "the server alone says so");
    let others = json!({"identity": "me", "role": "speaker"});
    let issued = Call::new("POST", "/api/rooms/mine/tokens").bearer(created["token"].as_str().unwrap()).json(&others);
    assert!(!claims(&api.send(issued).await.json()["token"]).guest, "what a host issues is not a guest's");
}

#[tokio::test]
async fn a_guest_is_a_speaker_under_an_identity_that_nobody_else_can_ask_for() {
    let api = Api::new(Guests::Join).await;
    api.room("a").await;
    api.room("b").await;
    let issued = ask(&api, json!({"identity": "me", "role": "speaker", "expires_in": 10_000_000})).await.json();
    let first = claims(&issued["token"]);
    assert_eq!((first.role, issued["identity"].as_str()), (Role::Speaker, Some(first.user_id.as_str())));
    assert!(first.exp <= now_seconds() + limits::TOKEN_DEFAULT.as_secs());
    let again = claims(&ask(&api, json!({"identity": "me", "role": "attendee"})).await.json()["token"]);
    assert_eq!((again.user_id.as_str(), again.role), (first.user_id.as_str(), Role::Attendee));
    let thief = claims(&ask(&api, json!({"identity": first.user_id, "role": "speaker"})).await.json()["token"]);
    assert_ne!(thief.user_id, first.user_id);
    for (bad, status) in [
        (json!({"identity": "me", "role": "host"}), 403),
        (json!({"identity": "me", "role": "speaker", "permissions": {"hidden": true}}), 403),
        (json!({"identity": "m e", "role": "speaker"}), 422),
    ] {
        assert_eq!(ask(&api, bad.clone()).await.status, status, "{bad}");
    }
}

#[tokio::test]
async fn a_pin_is_asked_for_and_cannot_be_guessed() {
    let api = Api::new(Guests::Join).await;
    let room = json!({"id": "a", "name": "a", "pin": "1234"});
    assert_eq!(api.send(Call::new("POST", "/api/rooms").key().json(&room)).await.status, 201);
    let with = |pin: Value| json!({"identity": "me", "role": "speaker", "pin": pin});
    for _ in 0..2 * limits::GUEST_WRONG_PINS_MAX {
        let reply = ask(&api, with(json!(null))).await;
        assert_eq!((reply.status, reply.code().as_str()), (403, "wrong_pin"));
    }
    assert_eq!(ask(&api, with(json!("1234"))).await.status, 200);
    for _ in 0..limits::GUEST_WRONG_PINS_MAX {
        assert_eq!(ask(&api, with(json!("0000"))).await.status, 403);
    }
    let reply = ask(&api, with(json!("1234"))).await;
    assert_eq!((reply.status, reply.code().as_str()), (429, "too_many_requests"));
    assert!(reply.header("retry-after").parse::<u64>().unwrap() <= limits::GUEST_WINDOW.as_secs() + 1);
}

#[tokio::test]
async fn guesses_at_the_same_time_are_counted_one_by_one() {
    let api = Api::new(Guests::Join).await;
    let room = json!({"id": "a", "name": "a", "pin": "0099"});
    assert_eq!(api.send(Call::new("POST", "/api/rooms").key().json(&room)).await.status, 201);
    let guess = |pin: u32| ask(&api, json!({"identity": "me", "role": "speaker", "pin": format!("{pin:04}")}));
    let replies = futures::future::join_all((0..200).map(guess)).await;
    let judged = replies.iter().filter(|reply| reply.status != 429).count();
    assert_eq!(judged, usize::try_from(limits::GUEST_WRONG_PINS_MAX).unwrap());
    assert!(replies.iter().all(|reply| reply.status != 200), "the right one was among those that came too late");
}

#[tokio::test]
async fn many_networks_share_the_guesses_at_one_room() {
    let api = Api::new(Guests::Join).await;
    for id in ["a", "b"] {
        let room = json!({"id": id, "name": id, "pin": "1234"});
        assert_eq!(api.send(Call::new("POST", "/api/rooms").key().json(&room)).await.status, 201);
    }
    let guess = |room: &'static str, last: u8, pin: &'static str| {
        let body = json!({"identity": "me", "role": "speaker", "pin": pin});
        let call = Call::new("POST", &format!("/api/rooms/{room}/tokens")).from([203, 0, 113, last]).json(&body);
        let api = &api;
        async move { api.send(call).await.status }
    };
    let mut judged = 0;
    for last in 0..20 {
        for _ in 0..limits::GUEST_WRONG_PINS_MAX {
            judged += u32::from(guess("a", last, "0000").await == 403);
        }
    }
    assert_eq!(judged, limits::GUEST_WRONG_PINS_PER_ROOM_MAX);
    assert_eq!((guess("a", 200, "1234").await, guess("b", 200, "1234").await), (429, 200));
}

#[tokio::test]
async fn a_guest_does_not_create_thousands_of_rooms() {
    let api = Api::new(Guests::Create).await;
    let mut created = 0;
    for _ in 0..2 * limits::GUEST_ROOMS_MAX {
        let reply = api.send(Call::new("POST", "/api/rooms").json(&json!({"name": "x"}))).await;
        created += u32::from(reply.status == 201);
        assert!(matches!(reply.status, 201 | 429));
    }
    assert_eq!(created, limits::GUEST_ROOMS_MAX);
    assert_eq!(api.send(Call::new("POST", "/api/rooms").key().json(&json!({"name": "x"}))).await.status, 201);
}
