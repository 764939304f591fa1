//! Participants who are hidden, through every endpoint that others reach.

use futures::StreamExt as _;
use serde_json::json;
use sluice_controlplane_core::access::{Caller, MATRIX};

use super::{Rig, SECRET, TO_PUBLISH, signed};
use crate::clock::unix_seconds;

fn token(identity: &str, role: &str, hidden: bool) -> String {
    let exp = unix_seconds() + 600;
    let name = format!("Name of {identity}");
    signed(json!({"room_id": "a", "user_id": identity, "name": name, "role": role, "exp": exp,
        "permissions": {"hidden": hidden}, "metadata": format!("\"of {identity}\"")}))
}

/// Reads an event stream from its first event up to the one that closes the room.
async fn events(rig: &Rig, bearer: &str, path: &str) -> String {
    let path = format!("{path}?token={bearer}");
    let request = axum::http::Request::builder().uri(path).header("last-event-id", "7-0");
    let request = request.body(axum::body::Body::empty()).unwrap();
    let response = tower::ServiceExt::oneshot(rig.app.clone(), request).await.unwrap();
    assert_eq!(response.status(), 200);
    let (mut chunks, mut text) = (response.into_body().into_data_stream(), String::new());
    while !text.contains("room_stage") {
        text.push_str(std::str::from_utf8(&chunks.next().await.expect("more").unwrap()).unwrap());
    }
    text
}

/// Asks every endpoint that reads, page by page where there are pages, and returns all that was answered.
async fn read(rig: &Rig, bearer: &str, route: &str) -> String {
    let path = route.strip_prefix("GET ").unwrap().replace("{room_id}", "a").replace("/ws", "/ws?room_id=a");
    if path.ends_with("/events") {
        return events(rig, bearer, &path).await;
    }
    if !path.ends_with("s") || path == "/metrics" {
        return String::from_utf8(rig.send_as(bearer, "GET", &path, "text/plain", "").await.body).unwrap();
    }
    let (mut text, mut cursor) = (String::new(), String::new());
    loop {
        let page = rig.send_as(bearer, "GET", &format!("{path}?limit=1{cursor}"), "text/plain", "").await;
        let next = page.json()["next_cursor"].as_str().map(str::to_owned);
        text.push_str(std::str::from_utf8(&page.body).unwrap());
        let Some(next) = next else { return text };
        cursor = format!("&cursor={next}");
    }
}

#[tokio::test]
async fn the_hidden_show_nowhere_but_to_hosts_and_admins() {
    let rig = Rig::new().await;
    let ids = |text: &str| -> Vec<String> {
        text.match_indices("PA_").filter_map(|(at, _)| text.get(at..at + 35)).map(str::to_owned).collect()
    };
    for (identity, hidden) in [("ann", false), ("ghost", true), ("wraith", true)] {
        let own = token(identity, "speaker", hidden);
        assert_eq!(rig.send_as(&own, "POST", "/whip/a", "application/sdp", TO_PUBLISH).await.status, 201);
    }
    let path = "/api/rooms/a/participants/wraith";
    let renamed = json!({"name": "Name of wraith", "muted": true}).to_string();
    assert_eq!(rig.send("PATCH", path, "application/json", &renamed).await.status, 200);
    assert_eq!(rig.send("DELETE", path, "application/json", "").await.status, 204);
    assert_eq!(rig.send("POST", "/api/rooms/a/start", "application/json", "").await.status, 202);
    let all = read(&rig, SECRET, "GET /api/rooms/{room_id}/participants").await;
    let ghost = ids(&all).into_iter().find(|id| {
        let own = all.split("\"id\"").find(|own| own.contains(id.as_str())).unwrap();
        own.contains("ghost")
    });
    let ghost = ghost.expect("an admin sees everybody");

    let mut asked = 0;
    for row in MATRIX.iter().filter(|row| row.route.starts_with("GET ")) {
        for (caller, allowed) in Caller::ALL.into_iter().zip(row.allowed) {
            let (bearer, sees_all) = match caller {
                Caller::Admin => (SECRET.to_owned(), true),
                Caller::Host => (token("hob", "host", false), true),
                Caller::Speaker => (token("ben", "speaker", false), false),
                Caller::Attendee => (token("cat", "attendee", false), false),
                Caller::Stranger => (String::new(), false),
            };
            if !allowed {
                continue;
            }
            asked += 1;
            let text = read(&rig, &bearer, row.route).await;
            let what = format!("{} as {caller:?}: {text}", row.route);
            if !sees_all {
                for word in ["ghost", "wraith", ghost.as_str()] {
                    assert!(!text.contains(word), "{what}");
                }
                assert!(ids(&text).iter().all(|id| *id == ids(&text)[0]), "ann alone in {what}");
            }
            // Ann, and the ghost for those who see it.
            let count = if sees_all { 2 } else { 1 };
            match row.route {
                "GET /api/rooms/{room_id}/participants" => {
                    assert_eq!(text.matches("joined_at").count(), count, "{what}");
                }
                "GET /api/rooms/{room_id}" => {
                    assert!(text.contains(&format!("\"participants\":{count},")), "{what}");
                }
                "GET /api/health" => assert!(text.contains("\"participants\":1,"), "open to everybody: {what}"),
                "GET /metrics" => assert!(text.contains("sluice_participants 2"), "{what}"),
                "GET /api/rooms/{room_id}/events" | "GET /api/events" => {
                    let seen = if sees_all { 3 } else { 1 };
                    assert_eq!(text.matches("event: participant_joined").count(), seen, "{what}");
                    assert_eq!(text.matches("event: track_published").count(), 2 * seen, "{what}");
                    assert_eq!(text.matches("event: participant_left").count(), usize::from(sees_all), "{what}");
                    assert_eq!(text.matches("event: track_muted").count(), 2 * usize::from(sees_all), "{what}");
                }
                "GET /api/rooms" => {}
                "GET /ws" => {
                    assert!(text.contains("upgrade_required"), "what sessions see has tests of its own: {what}");
                }
                other => panic!("what shows of the hidden at {other}?"),
            }
        }
    }
    assert_eq!(asked, 24, "every reader of every endpoint that reads");
    rig.supervisor.shut_down().await;
}
