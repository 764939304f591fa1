//! Sessions whose connection breaks, and those whose client has left.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sluice_tests::{Sent, Server, Signaller};

use crate::call::{answer_offer, enter, publish, types, with_rooms};

/// How long a broken connection is kept from the others, and how long they see it as broken.
const UNSEEN: Duration = Duration::from_secs(15);
const SEEN: Duration = Duration::from_secs(30);
/// How much later something may happen, on a machine that does other things too.
const GRACE: Duration = Duration::from_secs(10);
/// More messages than are kept.
const MANY: usize = 260;

async fn resumed(server: &Server, token: &str, seq: u64) -> (Signaller, Value) {
    let (client, answer) = Signaller::resume(server.base(), token, seq).await.unwrap();
    assert_eq!(answer["type"], "resumed", "{answer}\n{}", server.logs());
    (client, answer)
}

async fn mute(client: &mut Signaller, track: &str, muted: bool) {
    client.done(json!({ "type": "mute_track", "track_id": track, "muted": muted })).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_goes_on_with_exactly_what_it_missed_and_nobody_has_seen_it() {
    let server = with_rooms(&["a"]).await;
    let (mut ann, mut ben) = (enter(&server, "a", "ann").await, enter(&server, "a", "ben").await);
    let tracks = publish(&mut ann, 1, &[Sent::Audio], &json!({})).await;
    let _offer = answer_offer(&mut ben).await;
    let _settled = (ann.unread().await.unwrap(), ben.unread().await.unwrap());
    let (token, seq) = (ben.resume_token(), ben.seq());
    ben.cut();
    for round in 0..10 {
        mute(&mut ann, &tracks[0], round % 2 == 0).await;
    }
    ann.done(json!({ "type": "update_metadata", "room_id": "a", "name": "Ann" })).await.unwrap();
    // Once, and once more from where it had been before: what is kept stays kept.
    for _ in 0..2 {
        let (mut ben, answer) = resumed(&server, &token, seq).await;
        assert_eq!((&answer["complete"], answer["seq"].as_u64()), (&json!(true), Some(seq)));
        assert!(answer.get("rooms").is_none() && answer["subscriber_connection_id"].is_string(), "{answer}");
        let missed = ben.unread().await.unwrap();
        assert_eq!(&types(&missed)[..11], &[&["track_muted"; 10][..], &["participant_updated"]].concat()[..]);
        for (round, message) in missed[..10].iter().enumerate() {
            assert_eq!((&message["track_id"], &message["muted"]), (&json!(tracks[0]), &json!(round % 2 == 0)));
        }
        assert_eq!(missed[10]["participant"]["name"], "Ann");
        assert!(missed[11..].iter().all(|message| message["type"] == "ok"), "{missed:?}");
        ben.cut();
    }
    let seen = ann.unread().await.unwrap();
    let of_ben = seen.iter().filter(|message| types(std::slice::from_ref(message))[0] != "track_muted");
    let of_ben: Vec<_> =
        of_ben.filter(|message| message.pointer("/participant/identity") != Some(&json!("ann"))).collect();
    assert!(of_ben.is_empty(), "{of_ben:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_missed_more_than_is_kept_is_told_how_things_are() {
    let server = with_rooms(&["a"]).await;
    let (mut ann, mut ben) = (enter(&server, "a", "ann").await, enter(&server, "a", "ben").await);
    let tracks = publish(&mut ann, 1, &[Sent::Audio, Sent::Video], &json!({})).await;
    let own = publish(&mut ben, 2, &[Sent::Audio], &json!({})).await;
    let _offer = answer_offer(&mut ben).await;
    let subscribed = ben.unread().await.unwrap();
    let subscribed = subscribed.iter().filter(|message| message["type"] == "track_subscribed").count();
    assert_eq!(subscribed, 2);
    let (token, seq) = (ben.resume_token(), ben.seq());
    ben.cut();
    for round in 0..MANY {
        let (status, _) =
            server.api(Method::PATCH, "/api/rooms/a", &json!({ "name": format!("{round}") })).await.unwrap();
        assert_eq!(status, 200);
    }
    mute(&mut ann, &tracks[1], true).await;
    let (mut ben, answer) = resumed(&server, &token, seq).await;
    assert_eq!(answer["complete"], false);
    let room = &answer["rooms"][0];
    assert_eq!((&room["room_id"], &room["room"]["name"]), (&json!("a"), &json!(format!("{}", MANY - 1))));
    assert_eq!(room["participant"]["tracks"][0]["id"], json!(own[0]));
    let others = &room["participants"];
    assert_eq!((others.as_array().unwrap().len(), &others[0]["identity"]), (1, &json!("ann")));
    let muted: Vec<_> =
        others[0]["tracks"].as_array().unwrap().iter().map(|track| (&track["id"], &track["muted"])).collect();
    assert_eq!(muted, [(&json!(tracks[0]), &json!(false)), (&json!(tracks[1]), &json!(true))]);
    assert_eq!(answer["subscribed"].as_array().unwrap().len(), 2, "{answer}");
    assert_eq!(answer["published"], json!([{ "mid": "0", "track_id": own[0] }]));
    assert_eq!(answer["publisher_offer_id"], 1);
    // The next number follows on this one.
    mute(&mut ann, &tracks[1], false).await;
    assert_eq!(ben.told("track_muted").await.unwrap()["muted"], false);
    let (_ben, answer) = resumed(&server, &token, ben.seq()).await;
    assert_eq!(answer["complete"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_control_plane_forgets_nobody_and_a_connection_that_was_half_made_is_made_anew() {
    let mut server = with_rooms(&["a", "b"]).await;
    let (mut ann, mut ben) = (enter(&server, "a", "host-ann").await, enter(&server, "a", "ben").await);
    crate::call::enter_too(&mut ben, &server, "b", "ben").await;
    ann.done(json!({ "type": "update_metadata", "room_id": "a", "metadata": { "seat": 3 } })).await.unwrap();
    let _tracks = publish(&mut ann, 1, &[Sent::Audio], &json!({})).await;
    let tokens = [(ann.resume_token(), ann.seq()), (ben.resume_token(), ben.seq())];
    server.kill_controlplane().unwrap();
    server.start_controlplane().await.unwrap();
    let (mut ann, of_ann) = resumed(&server, &tokens[0].0, tokens[0].1).await;
    let (mut ben, of_ben) = resumed(&server, &tokens[1].0, tokens[1].1).await;
    assert_eq!((&of_ann["complete"], &of_ben["complete"]), (&json!(false), &json!(false)));
    assert_eq!((&of_ann["publisher_connection_id"], &of_ann["published"]), (&Value::Null, &json!([])), "{of_ann}");
    let mut rooms: Vec<_> = of_ben["rooms"].as_array().unwrap().iter().map(|room| &room["room_id"]).collect();
    rooms.sort_by_key(|id| id.to_string());
    assert_eq!(rooms, [&json!("a"), &json!("b")]);
    let room = &of_ann["rooms"][0];
    assert_eq!((&room["participant"]["role"], &room["participant"]["metadata"]["seat"]), (&json!("host"), &json!(3)));
    assert_eq!(
        (&room["participants"][0]["identity"], &room["participants"][0]["state"]),
        (&json!("ben"), &json!("connected"))
    );
    // The offer that was taken is worth nothing any more; another one is as good as the first.
    let request = json!({ "type": "publish_track", "mid": "0", "source": "microphone" });
    ann.done(request).await.unwrap();
    let sdp = sluice_tests::offer(2, &[Sent::Audio]);
    let answer = ann.done(json!({ "type": "offer", "offer_id": 2, "sdp": sdp })).await.unwrap();
    let track = &answer["tracks"][0]["track_id"];
    assert_eq!(ben.told("track_published").await.unwrap()["track"]["id"], *track);
    let _offer = answer_offer(&mut ben).await;
    assert_eq!(ben.told("track_subscribed").await.unwrap()["track_id"], *track);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_come_back_is_shown_as_reconnecting_and_then_as_gone() {
    let server = with_rooms(&["a"]).await;
    let mut ann = enter(&server, "a", "ann").await;
    let (ben, cat) = (enter(&server, "a", "ben").await, enter(&server, "a", "cat").await);
    let tokens = [(ben.resume_token(), ben.seq()), (cat.resume_token(), cat.seq())];
    let _joins = ann.unread().await.unwrap();
    let cut = Instant::now();
    ben.cut();
    cat.cut();
    for _ in 0..2 {
        let news = ann.told_within(UNSEEN + GRACE, |message| message["type"] != "ok").await.unwrap();
        assert!((UNSEEN..UNSEEN + GRACE).contains(&cut.elapsed()), "{news} after {:?}", cut.elapsed());
        assert_eq!(
            (&news["type"], &news["participant"]["state"]),
            (&json!("participant_updated"), &json!("reconnecting"))
        );
    }
    // One of them comes back late.
    let (mut cat, answer) = resumed(&server, &tokens[1].0, tokens[1].1).await;
    assert_eq!(answer["complete"], true);
    let news = ann.told("participant_updated").await.unwrap();
    assert_eq!((&news["participant"]["identity"], &news["participant"]["state"]), (&json!("cat"), &json!("connected")));
    let gone = async |client: &mut Signaller| {
        let news = client.told_within(SEEN + GRACE, |message| message["type"] == "participant_left").await.unwrap();
        assert_eq!((&news["identity"], &news["reason"]), (&json!("ben"), &json!("connection_lost")));
    };
    gone(&mut ann).await;
    assert!((UNSEEN + SEEN..UNSEEN + SEEN + GRACE).contains(&cut.elapsed()), "gone after {:?}", cut.elapsed());
    gone(&mut cat).await;
    let (mut ben, answer) = Signaller::resume(server.base(), &tokens[0].0, tokens[0].1).await.unwrap();
    assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("no_such_session")));
    assert_eq!(ben.closed().await.unwrap(), 4403);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_closes_with_1000_leaves_all_rooms_at_once() {
    let server = with_rooms(&["a", "b"]).await;
    let (mut ann, mut ben) = (enter(&server, "a", "ann").await, enter(&server, "b", "ben").await);
    let mut cat = enter(&server, "a", "cat").await;
    crate::call::enter_too(&mut cat, &server, "b", "cat").await;
    let (token, seq) = (cat.resume_token(), cat.seq());
    let left = Instant::now();
    cat.leave().await.unwrap();
    for other in [&mut ann, &mut ben] {
        let news = other.told("participant_left").await.unwrap();
        assert_eq!((&news["identity"], &news["reason"]), (&json!("cat"), &json!("left")));
    }
    assert!(left.elapsed() < UNSEEN / 2, "{:?}", left.elapsed());
    let (mut cat, answer) = Signaller::resume(server.base(), &token, seq).await.unwrap();
    assert_eq!((&answer["code"], cat.closed().await.unwrap()), (&json!("no_such_session"), 4403));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_session_of_an_identity_takes_the_place_of_the_earlier_one_in_its_room_alone() {
    let server = with_rooms(&["a", "b"]).await;
    let (mut ann, mut bob) = (enter(&server, "a", "ann").await, enter(&server, "b", "bob").await);
    let mut first = enter(&server, "a", "ben").await;
    crate::call::enter_too(&mut first, &server, "b", "ben").await;
    let mut second = enter(&server, "a", "ben").await;
    assert_eq!(types(&second.unread().await.unwrap()), [""; 0], "what led to its stay is no news to it");
    let removed = first.told("removed").await.unwrap();
    assert_eq!((&removed["room_id"], &removed["reason"]), (&json!("a"), &json!("replaced")));
    // It goes on in the other room, and nobody there sees anything.
    let renamed = json!({ "type": "update_metadata", "room_id": "b", "name": "Ben of b" });
    first.done(renamed.clone()).await.unwrap();
    assert_eq!(
        first.refused(json!({ "type": "update_metadata", "room_id": "a", "name": "x" })).await.unwrap(),
        "not_in_room"
    );
    assert_eq!(bob.told("participant_updated").await.unwrap()["participant"]["name"], "Ben of b");
    assert_eq!(types(&bob.unread().await.unwrap()), ["participant_joined"]);
    assert_eq!(types(&ann.unread().await.unwrap()), ["participant_joined", "participant_left", "participant_joined"]);
    // In its last room it loses the connection, too, for good.
    let (token, seq) = (first.resume_token(), first.seq());
    crate::call::enter_too(&mut second, &server, "b", "ben").await;
    let removed = first.told_within(GRACE, |message| message["room_id"] == "b" && message["type"] == "removed").await;
    assert_eq!(removed.unwrap()["reason"], "replaced");
    assert_eq!(first.closed().await.unwrap(), 4409);
    let (_first, answer) = Signaller::resume(server.base(), &token, seq).await.unwrap();
    assert_eq!(answer["code"], "no_such_session");
    second.done(renamed).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_counted_by_how_they_begin_and_end() {
    let server = with_rooms(&["a"]).await;
    let (mut ann, ben) = (enter(&server, "a", "ann").await, enter(&server, "a", "ben").await);
    let (token, seq) = (ben.resume_token(), ben.seq());
    ben.cut();
    let (ben, _) = resumed(&server, &token, seq).await;
    ben.leave().await.unwrap();
    let (mut nobody, refused) = Signaller::resume(server.base(), "forged", 0).await.unwrap();
    assert_eq!((&refused["code"], nobody.closed().await.unwrap()), (&json!("no_such_session"), 4403));
    ann.done(json!({ "type": "update_metadata", "room_id": "a", "name": "Ann" })).await.unwrap();
    let expected = [
        "sluice_websocket_connections 1",
        "sluice_websocket_begun_total{how=\"opened\"} 2",
        "sluice_websocket_begun_total{how=\"resumed\"} 1",
        "sluice_websocket_begun_total{how=\"refused\"} 1",
        "sluice_websocket_ended_total{code=\"1000\"} 1",
        "sluice_websocket_ended_total{code=\"1006\"} 1",
        "sluice_websocket_ended_total{code=\"4403\"} 1",
        "sluice_websocket_request_seconds_count 1",
        "sluice_websocket_messages_total{direction=\"received\"} 1",
    ];
    // A connection is open until its client has closed it too.
    let deadline = Instant::now() + GRACE;
    loop {
        let request = reqwest::Client::new().get(format!("{}/metrics", server.base()));
        let text = request.bearer_auth(server.secret()).send().await.unwrap().text().await.unwrap();
        let missing: Vec<&&str> = expected.iter().filter(|line| !text.lines().any(|own| own == **line)).collect();
        if missing.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{missing:?} in {text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
