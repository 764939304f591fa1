//! What `docs/API.md` says of tokens and events, against the code.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sluice_controlplane_core::access::{Claims, PermissionOverrides, Role, RoomClaim, Source};
use sluice_controlplane_core::room::{Audience, Event, Identity, LeaveReason, ParticipantId};

use super::operation::stream;
use super::{Api, Call};
use crate::config::Guests;

const DOCUMENT: &str = include_str!("../../../../../docs/API.md");

/// Returns the part of the document under a heading.
fn section(heading: &str) -> &'static str {
    let (_, rest) = DOCUMENT.split_once(&format!("\n## {heading}\n")).unwrap();
    rest.split("\n## ").next().unwrap()
}

/// Returns the first cells of the rows of the table whose first column is called `name`.
fn rows(section: &str, name: &str) -> BTreeSet<String> {
    let head = format!("| {name} |");
    let table = section.lines().skip_while(|line| !line.starts_with(&head)).skip(2);
    table.map_while(|line| line.strip_prefix("| `")?.split('`').next()).map(str::to_owned).collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn the_tables_of_claims_and_permissions_are_those_of_the_code() {
    let claims = Claims {
        room_id: Some(RoomClaim::One("demo".to_owned())),
        user_id: "ann".to_owned(),
        name: "Ann".to_owned(),
        role: Role::Speaker,
        permissions: PermissionOverrides {
            can_publish: Some(true),
            can_publish_sources: Some(Vec::new()),
            can_subscribe: Some(true),
            can_publish_data: Some(true),
            hidden: Some(true),
            recorder: Some(true),
        },
        metadata: "{}".to_owned(),
        exp: 1,
        iat: Some(1),
        room_created_at: Some(1),
        guest: true,
        admin: true,
    };
    let claims = serde_json::to_value(claims).unwrap();
    let tokens = section("Tokens that an application mints");
    // What `verify` looks at beyond the claims that the rooms know.
    let read = keys(&claims).into_iter().chain(["nbf".to_owned()]).collect();
    assert_eq!(rows(tokens, "claim"), read);
    assert_eq!(rows(tokens, "in `permissions`"), keys(&claims["permissions"]));
    for source in [Source::Camera, Source::Microphone, Source::ScreenShare, Source::ScreenShareAudio] {
        let name = serde_json::to_value(source).unwrap();
        assert!(tokens.contains(&format!("`{}`", name.as_str().unwrap())), "{name}");
    }
}

/// Returns one event of each kind; a kind that is added has to be added here too.
fn one_of_each() -> Vec<Event> {
    let participant_id = ParticipantId("PA_6b1d02c49e7f5a3818f0c94d27b35e60".to_owned());
    let (identity, name) = (Identity("ann".to_owned()), "Ann".to_owned());
    let (role, track_id) = (Role::Speaker, "TR_0001000100000001".to_owned());
    let joined = Event::ParticipantJoined {
        participant_id: participant_id.clone(),
        identity: identity.clone(),
        name: name.clone(),
        role,
        state: "joining",
    };
    let mut events = vec![joined];
    while let Some(next) = match events.last().unwrap() {
        Event::ParticipantJoined { .. } => {
            let participant_id = participant_id.clone();
            Some(Event::ParticipantUpdated { participant_id, name: name.clone(), role, state: "connected" })
        }
        Event::ParticipantUpdated { .. } => {
            let (participant_id, identity) = (participant_id.clone(), identity.clone());
            Some(Event::ParticipantLeft { participant_id, identity, reason: LeaveReason::ConnectionLost })
        }
        Event::ParticipantLeft { .. } => {
            let (participant_id, track_id) = (participant_id.clone(), track_id.clone());
            Some(Event::TrackPublished { participant_id, track_id, kind: "video", source: Source::Camera })
        }
        Event::TrackPublished { .. } => {
            Some(Event::TrackUnpublished { participant_id: participant_id.clone(), track_id: track_id.clone() })
        }
        Event::TrackUnpublished { .. } => {
            let (participant_id, track_id) = (participant_id.clone(), track_id.clone());
            Some(Event::TrackMuted { participant_id, track_id, muted: true, by_host: false, muted_by_host: false })
        }
        Event::TrackMuted { .. } => Some(Event::RoomUpdated { is_locked: false, name: "Demo".to_owned() }),
        Event::RoomUpdated { .. } => Some(Event::RoomStage { stage: "on_air" }),
        Event::RoomStage { .. } => Some(Event::RoomClosed),
        Event::RoomClosed => None,
    } {
        events.push(next);
    }
    events
}

#[tokio::test]
async fn the_examples_of_events_are_what_a_stream_sends() {
    let api = Api::new(Guests::None).await;
    // 31 January 2026, noon.
    let at: SystemTime = UNIX_EPOCH + Duration::from_secs(1_769_860_800);
    let events = one_of_each();
    for event in &events {
        api.server.events.publish(at, "demo", Audience::Everybody, event);
    }
    let call = Call::new("GET", "/api/events").key().header("last-event-id", "7-0");
    let text = stream(&api, call, &format!("id: 7-{}\n", events.len())).await;
    let mut sent: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect();
    let lost = stream(&api, Call::new("GET", "/api/events").key().header("last-event-id", "6-1"), "\n\n").await;
    sent.extend(lost.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok()));

    let documented = section("Events");
    let block = documented.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let examples: Vec<Value> = serde_json::Deserializer::from_str(block).into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(examples, sent);
    let kind = |event: &Value| event["type"].as_str().unwrap().to_owned();
    let named: BTreeSet<String> = examples.iter().map(kind).filter(|name| *name != "events_missed").collect();
    assert_eq!(rows(documented, "event"), named);
    assert!(documented.contains("`events_missed`"));
}

#[test]
fn the_reasons_and_states_of_events_are_in_the_document() {
    let documented = section("Events");
    let reasons = [
        LeaveReason::Left,
        LeaveReason::JoinTimeout,
        LeaveReason::ConnectionLost,
        LeaveReason::TransportFailed,
        LeaveReason::Removed,
        LeaveReason::Replaced,
        LeaveReason::Moved,
        LeaveReason::RoomClosed,
        LeaveReason::Interrupted,
        LeaveReason::TokenExpired,
    ];
    for reason in reasons {
        assert_eq!(json!(reason), reason.as_str(), "one name in events and logs");
        assert!(documented.contains(&format!("`{}`", reason.as_str())), "{reason:?}");
    }
}
