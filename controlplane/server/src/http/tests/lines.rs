//! What the log says of those who are not let in.

use std::time::Instant;

use serde_json::json;
use sluice_controlplane_core::access::Role;

use super::super::limits;
use super::{Api, Call, token};
use crate::config::Guests;
use crate::log::kept::Kept;

fn offer(path: &str) -> Call {
    Call::new("POST", path).body("application/sdp", "v=0\r\n")
}

#[tokio::test]
async fn a_refused_join_is_one_line_with_room_identity_and_reason() {
    let api = Api::new(Guests::None).await;
    api.room("a").await;
    let kept = Kept::new();
    let speaker = token("a", "ann", Role::Speaker);
    let body = json!({"identity": "guest", "role": "speaker"});
    let guest = Call::new("POST", "/api/rooms/a/tokens").json(&body);
    let cases = [
        (offer("/whip/a"), 401, "", "token_missing"),
        (offer("/whip/a").bearer("a.b.c"), 401, "", "token_header"),
        (offer("/whip/a").bearer(&token("b", "bob", Role::Host)), 403, "bob", "forbidden"),
        (offer("/whip/a").bearer(&speaker), 422, "ann", "sdp_no_section"),
        (offer("/whep/a").bearer(&speaker), 422, "ann", "sdp_no_section"),
        (guest, 401, "", "token_missing"),
    ];
    for (number, (call, status, identity, reason)) in cases.into_iter().enumerate() {
        let reply = api.send(call.header("x-request-id", &format!("case-{number}"))).await;
        assert_eq!((reply.status, reply.code().as_str()), (status, reason));
        let lines = kept.with(&format!("request=\"case-{number}\""));
        let [line] = lines.as_slice() else { panic!("one line: {lines:?}") };
        for part in ["INFO", "join refused", "room=\"a\"", &format!("status={status}"), &format!("reason=\"{reason}\"")]
        {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert_eq!(line.contains("identity="), !identity.is_empty(), "{line}");
        assert!(identity.is_empty() || line.contains(&format!("identity=\"{identity}\"")), "{line}");
    }
    let reply = api.send(Call::new("PATCH", "/api/rooms/a").json(&json!({}))).await;
    assert_eq!((reply.status, kept.with("").len()), (401, 6), "who does not want to join has no line");
}

#[tokio::test]
async fn strangers_do_not_fill_the_log() {
    let api = Api::new(Guests::None).await;
    let kept = Kept::new();
    let began = Instant::now();
    // What is no room's id is not written, however long it is.
    let path = format!("/whip/{}", "x%0A".repeat(1000));
    for _ in 0..200 {
        assert_eq!(api.send(offer(&path)).await.status, 422);
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
    let lines = kept.with("join refused");
    assert!(lines.len() <= seconds * usize::try_from(limits::LINES_PER_SECOND).unwrap(), "{} lines", lines.len());
    assert!(lines.iter().all(|line| line.len() < 500 && line.contains("room=\"\"")), "{lines:?}");
}
