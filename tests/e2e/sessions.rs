//! What the sessions of a call do with rooms, tracks and each other.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use sluice_tests::{Sent, Server, Signaller};

use crate::call::{answer_offer, enter, enter_too, publish, text, types, with_rooms};

/// How long news may take, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(20);

/// Asks for the room with somebody's token.
async fn status_with(server: &Server, token: &str) -> u16 {
    let request = reqwest::Client::new().get(format!("{}/api/rooms/a", server.base())).bearer_auth(token);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_moved_goes_on_in_the_other_room_with_what_it_publishes() {
    let server = with_rooms(&["a", "b"]).await;
    let mut ann = enter(&server, "a", "host-ann").await;
    let (mut ben, mut cat, mut dan) =
        (enter(&server, "a", "ben").await, enter(&server, "a", "cat").await, enter(&server, "b", "dan").await);
    let tracks = publish(&mut ben, 1, &[Sent::Audio], &json!({})).await;
    ben.done(json!({ "type": "update_metadata", "room_id": "a", "name": "Ben" })).await.unwrap();
    let only = json!({ "can_publish_sources": ["microphone"] });
    let update = json!({ "type": "update_participant", "room_id": "a", "participant_id": "ben", "permissions": only });
    ann.done(update).await.unwrap();
    let request = json!({ "type": "move_participant", "room_id": "a", "participant_id": "ben", "to_room_id": "b" });
    assert_eq!(ann.refused(request.clone()).await.unwrap(), "not_in_room", "a host of one of them");
    enter_too(&mut ann, &server, "b", "host-ann").await;
    assert_eq!(cat.refused(request.clone()).await.unwrap(), "may_not_manage", "a speaker");
    ann.done(request).await.unwrap();
    let moved = ben.told("moved").await.unwrap();
    assert_eq!((&moved["room_id"], &moved["to_room_id"]), (&json!("a"), &json!("b")));
    let given = text(&moved["token"]);
    let joined = ben.told("room_joined").await.unwrap();
    assert_eq!((&joined["room_id"], &joined["participant"]["tracks"][0]["id"]), (&json!("b"), &json!(tracks[0])));
    assert_eq!(joined["participants"].as_array().unwrap().len(), 2);
    let left = cat.told("participant_left").await.unwrap();
    assert_eq!((&left["identity"], &left["reason"]), (&json!("ben"), &json!("moved")));
    let came = dan.told_within(LIMIT, |message| message.pointer("/participant/identity") == Some(&json!("ben"))).await;
    assert_eq!(came.unwrap()["type"], "participant_joined");
    assert_eq!(dan.told("track_published").await.unwrap()["track"]["id"], json!(tracks[0]));
    assert_eq!(ben.refused(json!({ "type": "leave_room", "room_id": "a" })).await.unwrap(), "not_in_room");
    // What it was given on the way lets it in again as who it was, there and nowhere else.
    ben.cut();
    let again = Signaller::enter(server.base(), &given).await.unwrap();
    assert_eq!(again.joined()["room_id"], "b");
    let own = &again.joined()["participant"];
    assert_eq!((&own["identity"], &own["name"], &own["role"]), (&json!("ben"), &json!("Ben"), &json!("speaker")));
    assert_eq!(own["permissions"]["can_publish_sources"], json!(["microphone"]));
    let left = |joined: &Value| joined["expires_in"].as_u64().unwrap();
    assert!(left(again.joined()).abs_diff(left(&joined)) < 60, "it is good for no longer than the first one was");
    let elsewhere = Signaller::connect(server.base(), &format!("token={given}&room_id=a")).await;
    assert!(elsewhere.is_err(), "a token of the other room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_voids_the_token_that_came_with_a_move() {
    let server = with_rooms(&["a", "b"]).await;
    let mut ann = enter(&server, "a", "host-ann").await;
    enter_too(&mut ann, &server, "b", "host-ann").await;
    let mut ben = enter(&server, "a", "ben").await;
    let about = |kind: &str, room: &str| json!({ "type": kind, "room_id": room, "participant_id": "ben" });
    let mut request = about("move_participant", "a");
    request["to_room_id"] = json!("b");
    ann.done(request).await.unwrap();
    let given = text(&ben.told("moved").await.unwrap()["token"]);
    let (token, before) = (ben.resume_token(), ben.seq() - 1);
    enter_too(&mut ben, &server, "a", "ben").await;
    ben.cut();
    ann.done(about("remove_participant", "b")).await.unwrap();
    // Told once more, it is the same token as before.
    let (mut ben, _resumed) = Signaller::resume(server.base(), &token, before).await.unwrap();
    let told_again = text(&ben.told("moved").await.unwrap()["token"]);
    for token in [given, told_again] {
        let mut late = Signaller::connect(server.base(), &format!("token={token}")).await.unwrap();
        assert_eq!(late.next().await.unwrap()["code"], "token_revoked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_removed_is_out_with_its_token() {
    let server = with_rooms(&["a", "b"]).await;
    let mut ann = enter(&server, "a", "host-ann").await;
    let token = server.token("a", "ben", "speaker").await.unwrap();
    let mut ben = Signaller::enter(server.base(), &token).await.unwrap();
    enter_too(&mut ben, &server, "b", "ben").await;
    let request = json!({ "type": "remove_participant", "room_id": "a", "participant_id": ben.participant_id() });
    ann.done(request).await.unwrap();
    let removed = ben.told("removed").await.unwrap();
    assert_eq!((&removed["room_id"], &removed["reason"]), (&json!("a"), &json!("removed")));
    assert_eq!(ann.told("participant_left").await.unwrap()["reason"], "removed");
    let (_, left) = server.api(Method::GET, "/api/rooms/a/participants", &Value::Null).await.unwrap();
    assert!(!left.to_string().contains("\"ben\""), "{left}");
    let mut late = Signaller::connect(server.base(), &format!("token={token}")).await.unwrap();
    assert_eq!(late.next().await.unwrap()["code"], "token_revoked");
    assert_eq!(late.closed().await.unwrap(), 4403);
    assert_eq!(status_with(&server, &token).await, 401, "over HTTP too");
    let again = json!({ "type": "join_room", "room_id": "a", "token": token });
    assert_eq!(ben.refused(again).await.unwrap(), "token_revoked");
    // The other room is none of that host's business.
    ben.done(json!({ "type": "update_metadata", "room_id": "b", "name": "still here" })).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_room_takes_hosts_alone_and_an_ended_one_nobody() {
    let server = with_rooms(&["a"]).await;
    let (mut ann, mut ben) = (enter(&server, "a", "host-ann").await, enter(&server, "a", "ben").await);
    ann.done(json!({ "type": "update_room", "room_id": "a", "locked": true, "name": "Closed" })).await.unwrap();
    let updated = ben.told("room_updated").await.unwrap();
    assert_eq!((&updated["room"]["locked"], &updated["room"]["name"]), (&json!(true), &json!("Closed")));
    let token = server.token("a", "cat", "speaker").await.unwrap();
    let mut cat = Signaller::connect(server.base(), &format!("token={token}")).await.unwrap();
    let refused = cat.next().await.unwrap();
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("room_locked")));
    assert_eq!(cat.closed().await.unwrap(), 4403);
    let _host = enter(&server, "a", "host-dan").await;
    ann.done(json!({ "type": "update_room", "room_id": "a", "locked": false })).await.unwrap();
    let mut cat = Signaller::enter(server.base(), &token).await.unwrap();
    let (status, document) = server.api(Method::GET, "/api/rooms/a", &Value::Null).await.unwrap();
    assert_eq!((status, &document["locked"], &document["name"]), (200, &json!(false), &json!("Closed")));

    ann.done(json!({ "type": "end_room", "room_id": "a" })).await.unwrap();
    for client in [&mut ann, &mut ben, &mut cat] {
        assert_eq!(client.told("removed").await.unwrap()["reason"], "room_closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_publish_is_told_so_before_it_offers_anything() {
    let server = with_rooms(&["a"]).await;
    let token = server.token("a", "eve", "attendee").await.unwrap();
    let mut eve = Signaller::enter(server.base(), &token).await.unwrap();
    let request = |source: &str, mid: &str| json!({ "type": "publish_track", "mid": mid, "source": source });
    assert_eq!(eve.refused(request("camera", "0")).await.unwrap(), "may_not_publish");
    let mut ann = enter(&server, "a", "host-ann").await;
    let permissions = json!({ "can_publish": true, "can_publish_sources": ["microphone"] });
    let update =
        json!({ "type": "update_participant", "room_id": "a", "participant_id": "eve", "permissions": permissions });
    assert_eq!(eve.refused(update.clone()).await.unwrap(), "may_not_manage");
    ann.done(update).await.unwrap();
    let updated = eve.told("participant_updated").await.unwrap();
    assert_eq!(updated["participant"]["permissions"]["can_publish_sources"], json!(["microphone"]));
    assert_eq!(eve.refused(request("camera", "0")).await.unwrap(), "may_not_publish");
    let tracks = publish(&mut eve, 1, &[Sent::Audio], &json!({})).await;
    // Who may not any more does not.
    let silence = json!({ "type": "update_participant", "room_id": "a", "participant_id": "eve",
        "permissions": { "can_publish": false } });
    ann.done(silence).await.unwrap();
    let gone = ann.told("track_unpublished").await.unwrap();
    assert_eq!(gone["track_id"], json!(tracks[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_nothing_is_offered_nothing_until_it_subscribes() {
    let server = with_rooms(&["a"]).await;
    let mut ann = enter(&server, "a", "ann").await;
    let tracks = publish(&mut ann, 1, &[Sent::Audio, Sent::Video], &json!({})).await;
    let token = server.token("a", "ben", "speaker").await.unwrap();
    let mut ben = Signaller::enter_with(server.base(), &format!("token={token}&auto_subscribe=false")).await.unwrap();
    let listed = ben.joined()["participants"][0]["tracks"].as_array().unwrap().len();
    assert_eq!(listed, 2);
    assert_eq!(types(&ben.unread().await.unwrap()), Vec::<&str>::new(), "no offer");
    let request = |kind: &str| json!({ "type": kind, "room_id": "a", "track_id": tracks[1] });
    ben.done(request("subscribe_track")).await.unwrap();
    let offer = answer_offer(&mut ben).await;
    assert_eq!(text(&offer["sdp"]).matches("a=sendonly").count(), 1);
    let subscribed = ben.told("track_subscribed").await.unwrap();
    assert_eq!(subscribed["track_id"], json!(tracks[1]));
    ben.done(json!({ "type": "update_subscription", "room_id": "a", "track_id": tracks[1], "paused": true }))
        .await
        .unwrap();
    ben.done(request("unsubscribe_track")).await.unwrap();
    let offer = answer_offer(&mut ben).await;
    assert_eq!(text(&offer["sdp"]).matches("a=sendonly").count(), 0);
    let gone = ben.told("track_unsubscribed").await.unwrap();
    assert_eq!((&gone["track_id"], &gone["refused"]), (&json!(tracks[1]), &json!(false)));
    // The m-line is there for the next one.
    ben.done(json!({ "type": "subscribe_track", "room_id": "a", "track_id": tracks[1] })).await.unwrap();
    let offer = answer_offer(&mut ben).await;
    assert_eq!(text(&offer["sdp"]).matches("\r\nm=").count(), 1);
    assert_eq!(ben.told("track_subscribed").await.unwrap()["mid"], subscribed["mid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_track_is_published_in_the_rooms_that_are_named_and_taken_out_of_one_alone() {
    let server = with_rooms(&["a", "b"]).await;
    let mut ann = enter(&server, "a", "ann").await;
    enter_too(&mut ann, &server, "b", "ann").await;
    let (mut ben, mut bob) = (enter(&server, "a", "ben").await, enter(&server, "b", "bob").await);
    let tracks = publish(&mut ann, 1, &[Sent::Video], &json!({ "room_ids": ["a"] })).await;
    assert_eq!(ben.told("track_published").await.unwrap()["track"]["id"], json!(tracks[0]));
    assert!(!types(&bob.unread().await.unwrap()).contains(&"track_published"), "not in the other room");
    let (_, document) = server.api(Method::GET, "/api/rooms/b/participants", &Value::Null).await.unwrap();
    assert!(!document.to_string().contains(&tracks[0]), "{document}");

    ann.done(json!({ "type": "publish_track", "track_id": tracks[0], "room_ids": ["b"] })).await.unwrap();
    let published = bob.told("track_published").await.unwrap();
    assert_eq!((&published["track"]["id"], &published["room_id"]), (&json!(tracks[0]), &json!("b")));
    let _offer = answer_offer(&mut bob).await;
    assert_eq!(bob.told("track_subscribed").await.unwrap()["track_id"], json!(tracks[0]));

    // One room mutes it for itself, then loses it; the other one hears of neither.
    let before = ben.unread().await.unwrap();
    assert!(!types(&before).contains(&"track_unpublished"));
    ann.done(json!({ "type": "mute_track", "track_id": tracks[0], "room_id": "b", "muted": true })).await.unwrap();
    assert_eq!(bob.told("track_muted").await.unwrap()["muted"], true);
    ann.done(json!({ "type": "unpublish_track", "track_id": tracks[0], "room_id": "b" })).await.unwrap();
    assert_eq!(bob.told("track_unpublished").await.unwrap()["track_id"], json!(tracks[0]));
    let heard = ben.unread().await.unwrap();
    let is_of_track = |kind: &&str| ["track_muted", "track_unpublished"].contains(kind);
    assert!(!types(&heard).iter().any(is_of_track), "{heard:?}");
    let gone = json!({ "type": "unpublish_track", "track_id": tracks[0], "room_id": "b" });
    assert_eq!(ann.refused(gone).await.unwrap(), "no_such_track");
    ann.done(json!({ "type": "unpublish_track", "track_id": tracks[0] })).await.unwrap();
    assert_eq!(ben.told("track_unpublished").await.unwrap()["track_id"], json!(tracks[0]));
}
