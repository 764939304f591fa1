//! Rooms, participants and tokens over REST.

use serde_json::json;
use sluice_controlplane_core::access::Role;

use super::conductor::participant;
use super::{Api, Call, sign, token};
use crate::auth::{Bearer, KeyRing, verify};
use crate::config::Guests;
use crate::http::now_seconds;

#[tokio::test]
async fn a_room_lives_from_post_to_delete() {
    let api = Api::new(Guests::None).await;
    let room = json!({
        "id": "stage", "name": "Stage", "metadata": {"a": [1]}, "limits": {"participants": 7}, "pin": "1234",
        "mode": "sfu", "e2ee": false, "empty_timeout": 60
    });
    let created = api.send(Call::new("POST", "/api/rooms").key().json(&room)).await;
    assert_eq!((created.status, created.header("location")), (201, "/api/rooms/stage"));
    let made = created.json();
    assert_eq!((made["id"].as_str(), made["state"].as_str()), (Some("stage"), Some("created")));
    assert_eq!((&made["metadata"], &made["limits"]["participants"]), (&json!({"a": [1]}), &json!(7)));
    assert_eq!(made["limits"]["tracks_per_participant"], 8);
    assert_eq!((&made["pin_required"], &made["created_at"]), (&json!(true), &json!("1970-01-01T00:00:00.000Z")));
    assert!(!created.text().contains("1234") && made.get("token").is_none(), "{made}");

    let again = api.send(Call::new("POST", "/api/rooms").key().json(&room)).await;
    assert_eq!((again.status, again.code().as_str()), (409, "room_exists"));
    let patch = json!({"name": "New", "pin": null, "metadata": null, "limits": {"bitrate": 9}, "empty_timeout": null});
    let patched = api.send(Call::new("PATCH", "/api/rooms/stage").key().json(&patch)).await;
    let room = patched.json();
    assert_eq!((patched.status, &room["name"], &room["pin_required"]), (200, &json!("New"), &json!(false)));
    assert_eq!((&room["limits"]["participants"], &room["limits"]["bitrate"]), (&json!(7), &json!(9)));
    assert_eq!((&room["metadata"], &room["empty_timeout"]), (&json!(null), &json!(null)));
    assert_eq!(api.send(Call::new("GET", "/api/rooms/stage").key()).await.json(), room);

    for state in ["start", "start", "stop", "stop"] {
        let reply = api.send(Call::new("POST", &format!("/api/rooms/stage/{state}")).key()).await;
        let wanted = if state == "start" { "starting" } else { "stopped" };
        assert_eq!((reply.status, &reply.json()["state"]), (202, &json!(wanted)));
    }
    let delete = || Call::new("DELETE", "/api/rooms/stage").key();
    assert_eq!(api.send(delete()).await.status, 204);
    let gone = api.send(delete()).await;
    assert_eq!((gone.status, gone.code().as_str()), (404, "no_such_room"));
}

#[tokio::test]
async fn ids_are_chosen_by_the_server_or_checked() {
    let api = Api::new(Guests::None).await;
    let reply = api.send(Call::new("POST", "/api/rooms").key().json(&json!({"name": "x"}))).await;
    assert!(reply.json()["id"].as_str().unwrap().starts_with("room-"));
    for id in ["", "a b", "ä", "..", "a/b", &"x".repeat(65)] {
        let reply = api.send(Call::new("POST", "/api/rooms").key().json(&json!({"id": id, "name": "x"}))).await;
        assert_eq!((reply.status, reply.code().as_str()), (422, "invalid_value"), "{id:?}");
        assert_eq!(reply.json()["field"], "id");
    }
    let reply = api.send(Call::new("GET", "/api/rooms/..%2f..%2fetc").key()).await;
    assert_eq!((reply.status, reply.json()["field"].as_str()), (422, Some("room_id")));
}

#[tokio::test]
async fn what_is_not_built_or_out_of_range_is_refused_by_name() {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    let cases = [
        (json!({"mode": "p2p"}), "not_built", "mode"),
        (json!({"mode": "audio_bridge"}), "not_built", "mode"),
        (json!({"e2ee": true}), "not_built", "e2ee"),
        (json!({"livestream": true}), "not_built", "livestream"),
        (json!({"parent": "other"}), "not_built", "parent"),
        (json!({"mode": "mesh"}), "invalid_value", "mode"),
        (json!({"colour": "red"}), "invalid_value", "colour"),
        (json!({"limits": {"participants": "many"}}), "invalid_value", "limits.participants"),
        (json!({"name": " "}), "invalid_value", "name"),
        (json!({"empty_timeout": u64::MAX}), "invalid_value", "empty_timeout"),
    ];
    for (fields, code, field) in cases {
        let mut room = json!({"name": "x"});
        room.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        for (method, path) in [("POST", "/api/rooms"), ("PATCH", "/api/rooms/a")] {
            let reply = api.send(Call::new(method, path).key().json(&room)).await;
            assert_eq!((reply.status, reply.code().as_str()), (422, code), "{method} {room}");
            assert_eq!(reply.json()["field"], field, "{method} {room}");
            let value = if (code, field) == ("not_built", "mode") { room["mode"].clone() } else { json!(null) };
            assert_eq!(reply.json()["value"], value, "{method} {room}");
            assert!(!reply.text().contains("expected"), "{}", reply.text());
        }
    }
    for (limit, value) in [("participants", 0), ("tracks_per_participant", 1000), ("bitrate", 0)] {
        let limits = json!({"name": "x", "limits": {limit: value}});
        for (method, path) in [("POST", "/api/rooms"), ("PATCH", "/api/rooms/a")] {
            let reply = api.send(Call::new(method, path).key().json(&limits)).await;
            assert_eq!((reply.status, reply.code().as_str()), (422, "bad_limit"));
            assert_eq!(reply.json()["field"], format!("limits.{limit}"), "{method}");
        }
    }
    for (field, value) in [("name", "x".repeat(300)), ("pin", "1".repeat(65)), ("metadata", "x".repeat(17_000))] {
        let mut room = json!({"name": "x"});
        room[field] = json!(value);
        let reply = api.send(Call::new("POST", "/api/rooms").key().json(&room)).await;
        assert_eq!((reply.status, reply.code().as_str()), (422, "too_long"));
        assert_eq!(reply.json()["field"], field);
    }
}

#[tokio::test]
async fn lists_are_paged_by_cursor() {
    let api = Api::new(Guests::None).await;
    for id in ["a", "b", "c"] {
        api.room(id).await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = api.send(Call::new("GET", &format!("/api/rooms?limit=2{cursor}")).key()).await.json();
        let rooms = page["rooms"].as_array().unwrap();
        seen.extend(rooms.iter().map(|room| room["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, ["a", "b", "c"]);
    for bad in ["limit=0", "limit=201", "limit=x", "cursor=%00", "cursor=xyz"] {
        let reply = api.send(Call::new("GET", &format!("/api/rooms?{bad}")).key()).await;
        let field = bad.split('=').next();
        assert_eq!((reply.status, reply.json()["field"].as_str()), (422, field), "{bad}: {}", reply.text());
    }
}

#[tokio::test]
async fn participants_are_listed_and_the_hidden_ones_to_hosts_only() {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    api.conductor.with(|state| {
        for (id, hidden) in [("PA_1", false), ("PA_2", true), ("PA_3", false)] {
            state.participants.insert(id.to_owned(), participant(id, hidden));
        }
    });
    let (host, viewer) = (token("a", "h", Role::Host), token("a", "v", Role::Attendee));
    for (bearer, count) in [(&host, 3), (&viewer, 2)] {
        let page = api.send(Call::new("GET", "/api/rooms/a/participants").bearer(bearer)).await.json();
        let participants = page["participants"].as_array().unwrap();
        assert_eq!(participants.len(), count);
        assert_eq!(participants[0]["metadata"], json!({"a": 1}));
        assert_eq!(participants[0]["permissions"]["can_publish"], true);
    }
    let page = async |bearer: &str| {
        let page = api.send(Call::new("GET", "/api/rooms/a/participants?limit=1").bearer(bearer)).await.json();
        let after = page["next_cursor"].as_str().unwrap().to_owned();
        let path = format!("/api/rooms/a/participants?limit=1&cursor={after}");
        let next = api.send(Call::new("GET", &path).bearer(bearer)).await.json();
        (after, next["participants"][0]["id"].as_str().unwrap().to_owned(), next["next_cursor"].clone())
    };
    assert_eq!(page(&viewer).await, ("PA_1".to_owned(), "PA_3".to_owned(), json!(null)));
    assert_eq!(page(&host).await, ("PA_1".to_owned(), "PA_2".to_owned(), json!("PA_2")));
}

#[tokio::test]
async fn participants_are_changed_muted_and_removed() {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    let host = token("a", "h", Role::Host);
    let change =
        json!({"role": "attendee", "muted": true, "tracks": [{"id": "TR_1", "muted": false}], "metadata": null});
    let call = Call::new("PATCH", "/api/rooms/a/participants/PA_1").bearer(&host).json(&change);
    assert_eq!(api.send(call).await.status, 200);
    let update = api.conductor.with(|state| state.updates.pop().unwrap());
    assert_eq!((update.change.role, update.muted), (Some(Role::Attendee), Some(true)));
    assert_eq!((update.tracks, update.change.metadata), (vec![("TR_1".to_owned(), false)], Some(String::new())));
    let both = sign(&json!({"room_id": ["a", "b"], "user_id": "h", "role": "host", "exp": now_seconds() + 60}));
    api.room("b").await;
    for (bearer, body, expected) in [
        (&host, json!({"room_id": "b"}), (403, "forbidden")),
        (&both, json!({"room_id": "b", "muted": true}), (422, "invalid_value")),
        (&both, json!({"room_id": "b b"}), (422, "invalid_value")),
        (&both, json!({"room_id": "b"}), (422, "not_movable")),
    ] {
        let reply = api.send(Call::new("PATCH", "/api/rooms/a/participants/PA_1").bearer(bearer).json(&body)).await;
        assert_eq!((reply.status, reply.code().as_str()), expected, "{body}");
    }
    for (id, status) in [("PA_1", 204), ("PA_9", 404), ("a.b", 422)] {
        let call = Call::new("DELETE", &format!("/api/rooms/a/participants/{id}")).bearer(&host);
        assert_eq!(api.send(call).await.status, status, "{id}");
    }
}

#[tokio::test]
async fn tokens_say_what_was_asked_for_and_nothing_beyond_their_limits() {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    let asked = json!({
        "identity": "ann", "name": "Ann", "role": "speaker", "permissions": {"can_publish_data": false},
        "metadata": {"seat": 3}, "expires_in": 600
    });
    for (path, status) in [("/api/rooms/a/tokens", 200), ("/api/rooms/a/participants", 201)] {
        let reply = api.send(Call::new("POST", path).key().json(&asked)).await;
        assert_eq!(reply.status, status, "{}", reply.text());
        let issued = reply.json();
        let ring = KeyRing::new([crate::auth::ApiKey::new("main", super::SECRET).unwrap()]);
        let Bearer::Token(claims) = verify(&ring, issued["token"].as_str().unwrap(), now_seconds()).unwrap() else {
            panic!("a token")
        };
        assert_eq!((claims.user_id.as_str(), claims.name.as_str(), claims.role), ("ann", "Ann", Role::Speaker));
        assert_eq!((claims.metadata.as_str(), claims.permissions.can_publish_data), ("{\"seat\":3}", Some(false)));
        assert!(!claims.admin && claims.exp.abs_diff(now_seconds() + 600) < 5);
        let expires_at = humantime::parse_rfc3339(issued["expires_at"].as_str().unwrap()).unwrap();
        assert_eq!(expires_at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs(), claims.exp);
    }
    let long = "x".repeat(17_000);
    for (field, value) in [
        ("identity", json!("a b")),
        ("name", json!("n".repeat(257))),
        ("metadata", json!(long)),
        ("expires_in", json!(0)),
        ("expires_in", json!(u64::MAX)),
        ("role", json!("emperor")),
        ("admin", json!(true)),
    ] {
        let mut bad = asked.clone();
        bad[field] = value;
        let reply = api.send(Call::new("POST", "/api/rooms/a/tokens").key().json(&bad)).await;
        assert_eq!((reply.status, &reply.json()["field"]), (422, &json!(field)), "{}", reply.text());
    }
    let reply = api.send(Call::new("POST", "/api/rooms/nowhere/tokens").key().json(&asked)).await;
    assert_eq!((reply.status, reply.code().as_str()), (404, "no_such_room"));
}
