//! WHIP and WHEP.

use serde_json::json;
use sluice_controlplane_core::access::Role;
use sluice_controlplane_core::room::Admission;

use super::{Api, Call, now_seconds, sign, token};
use crate::config::Guests;

const OFFER: &str = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n";

fn offer(path: &str) -> Call {
    Call::new("POST", path).body("application/sdp", OFFER)
}

fn fragment(path: &str) -> Call {
    Call::new("PATCH", path).body("application/trickle-ice-sdpfrag", "a=end-of-candidates\r\n")
}

#[tokio::test]
async fn a_session_lives_from_post_to_delete() {
    for (front, role) in [("whip", Role::Speaker), ("whep", Role::Attendee)] {
        let api = Api::new(Guests::None).await;
        api.room("a").await;
        let (own, other) = (token("a", "me", role), token("a", "other", role));
        let created = api.send(offer(&format!("/{front}/a")).bearer(&own)).await;
        assert_eq!((created.status, created.text().as_str()), (201, "v=0\r\n"));
        assert_eq!(created.header("location"), format!("/{front}/a/session0"));
        assert_eq!((created.header("content-type"), created.header("etag")), ("application/sdp", "\"one\""));
        assert_eq!(created.header("link"), "<stun:stun.example.org>; rel=\"ice-server\"");
        assert_eq!(created.header("access-control-allow-origin"), "*");
        for exposed in ["location", "etag", "link"] {
            assert!(created.header("access-control-expose-headers").contains(exposed));
        }
        let path = created.header("location");
        let taken = api.send(fragment(path).bearer(&own).header("if-match", "\"one\"")).await;
        assert_eq!((taken.status, taken.body.len()), (204, 0));
        let restarted = api.send(fragment(path).bearer(&own).header("if-match", "*")).await;
        assert_eq!((restarted.status, restarted.header("etag")), (200, "\"two\""));
        assert_eq!(restarted.header("content-type"), "application/trickle-ice-sdpfrag");
        assert_eq!(restarted.text(), "a=ice-ufrag:x\r\n");
        let (missing, stale) = (
            api.send(fragment(path).bearer(&own)).await,
            api.send(fragment(path).bearer(&own).header("if-match", "\"old\"")).await,
        );
        assert_eq!((missing.status, missing.code().as_str()), (428, "if_match_missing"));
        assert_eq!((stale.status, stale.code().as_str()), (412, "if_match_failed"));

        let delete = |bearer: &str| Call::new("DELETE", path).bearer(bearer);
        assert_eq!(api.send(Call::new("DELETE", path)).await.status, 401);
        assert_eq!(api.send(delete(&other)).await.code(), "not_your_session");
        assert_eq!(api.send(delete(&token("b", "me", Role::Host))).await.status, 403);
        assert_eq!(api.send(delete(&own)).await.status, 200);
        assert_eq!(api.send(delete(&own)).await.status, 404);
        assert_eq!(api.send(fragment(path).bearer(&own).header("if-match", "*")).await.code(), "no_such_session");
    }
}

#[tokio::test]
async fn a_host_ends_the_sessions_of_its_room() {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    let created = api.send(offer("/whip/a").bearer(&token("a", "me", Role::Speaker))).await;
    let host = token("a", "h", Role::Host);
    assert_eq!(api.send(Call::new("DELETE", created.header("location")).bearer(&host)).await.status, 200);
}

#[tokio::test]
async fn offers_are_refused_by_what_is_wrong() {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    let own = token("a", "me", Role::Speaker);
    let sdp = |body: &'static str| Call::new("POST", "/whip/a").bearer(&own).body("application/sdp", body);
    let cases = [
        (offer("/whip/a"), 401, "token_missing"),
        (offer("/whip/a").bearer(&token("b", "me", Role::Host)), 403, "forbidden"),
        (offer("/whip/nowhere").key(), 404, "no_such_room"),
        (sdp("this is no description"), 400, "sdp_syntax"),
        (sdp("v=0\r\n"), 422, "sdp_no_section"),
        (offer("/whip/a%20b").key(), 422, "invalid_value"),
        (offer("/whep/a?participant=a.b").key(), 422, "invalid_value"),
    ];
    for (call, status, code) in cases {
        let reply = api.send(call).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, code));
    }
}

#[tokio::test]
async fn other_methods_are_refused_and_options_tell_which() {
    let api = Api::new(Guests::None).await;
    for (path, allow, accept) in [
        ("/whip/a", "POST", ("accept-post", "application/sdp")),
        ("/whep/a", "POST", ("accept-post", "application/sdp")),
        ("/whip/a/session0", "PATCH, DELETE", ("accept-patch", "application/trickle-ice-sdpfrag")),
        ("/whep/a/session0", "PATCH, DELETE", ("accept-patch", "application/trickle-ice-sdpfrag")),
    ] {
        for method in ["GET", "HEAD", "PUT"] {
            let reply = api.send(Call::new(method, path).key()).await;
            assert_eq!((reply.status, reply.header("allow")), (405, allow), "{method} {path}");
        }
        let preflight = Call::new("OPTIONS", path).header("origin", "https://other.example");
        let reply = api.send(preflight.header("access-control-request-method", "POST")).await;
        assert_eq!((reply.status, reply.header(accept.0)), (204, accept.1), "{path}");
        assert_eq!(reply.header("access-control-allow-origin"), "*");
        assert_eq!(reply.header("access-control-allow-methods"), allow);
        for header in ["authorization", "content-type", "if-match"] {
            assert!(reply.header("access-control-allow-headers").contains(header), "{path}");
        }
    }
}

#[tokio::test]
async fn entrants_are_who_their_tokens_say() {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    let issued_at = now_seconds() - 77;
    let own = json!({
        "room_id": ["b", "a"], "user_id": "me", "name": "Me", "role": "speaker", "metadata": "\"x\"",
        "permissions": {"hidden": true}, "exp": now_seconds() + 60, "iat": issued_at
    });
    let admin = json!({"admin": true, "user_id": "boss", "exp": now_seconds() + 60});
    for call in [offer("/whip/a").bearer(&sign(&own)), offer("/whip/a").bearer(&sign(&admin)), offer("/whep/a").key()] {
        assert_eq!(api.send(call).await.status, 201);
    }
    let entrants = api.conductor.with(|state| std::mem::take(&mut state.entrants));
    let [own, admin, key] = entrants.as_slice() else { panic!("three") };
    assert_eq!((own.identity.as_str(), own.name.as_str(), own.role), ("me", "Me", Role::Speaker));
    assert_eq!((own.overrides.hidden, own.metadata.as_str()), (Some(true), "\"x\""));
    assert_eq!(own.admission, Admission::Token { issued_at: Some(issued_at), room_created_at: None });
    assert_eq!((admin.identity.as_str(), admin.role), ("boss", Role::Host));
    assert_eq!(admin.admission, Admission::Api);
    assert!(key.identity.starts_with("api-") && key.role == Role::Host, "{key:?}");
}

#[tokio::test]
async fn offers_tell_where_they_come_from() {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    let from = |address: [u8; 4]| offer("/whip/a").key().header("x-forwarded-for", "198.51.100.1").from(address);
    for (call, client, is_loopback) in [
        (offer("/whip/a").key(), "192.0.2.1", false),
        (offer("/whip/a").key().from([127, 0, 0, 1]), "127.0.0.1", true),
        (from([127, 0, 0, 1]), "198.51.100.1", false),
        (from([203, 0, 113, 1]), "203.0.113.1", false),
    ] {
        assert_eq!(api.send(call).await.status, 201);
        let offer = api.conductor.with(|state| state.offers.pop().unwrap());
        assert_eq!((offer.client.to_string().as_str(), offer.is_loopback), (client, is_loopback));
        assert_eq!(offer.sdp, OFFER.as_bytes());
    }
}
