//! Clients of the WebSocket that mean ill: each gets its refusal or its close code, and those in the same room do not notice.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::{Frame, Options, Sent, Signaller, answer, offer, status_of};
use tokio_tungstenite::tungstenite::protocol::frame::Frame as RawFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::call::{Call, GRACE, publish};

/// What the server is documented to do: `docs/SIGNALING.md`.
const IDLE: Duration = Duration::from_secs(30);
const RESUME: Duration = Duration::from_secs(5);
const UNREAD: Duration = Duration::from_secs(20);
const UNSEEN: Duration = Duration::from_secs(15);

fn text_frame(bytes: impl Into<Vec<u8>>) -> Frame {
    Frame::Frame(RawFrame::message(bytes.into(), OpCode::Data(Data::Text), true))
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_are_no_messages_end_their_connection_by_a_code_of_their_own() {
    let mut call = Call::start().await;
    let before = call.memory();
    let large = format!("{{\"type\":\"ping\",\"x\":\"{}\"}}", "y".repeat(1 << 20));
    let cases = [
        ("a binary frame", Frame::binary(vec![0; 100]), 4400),
        ("an empty binary frame", Frame::binary(Vec::new()), 4400),
        ("text that is no UTF-8", text_frame([0xff, 0xfe, 0x80]), 4400),
        ("half a letter", text_frame([b'"', 0xc3]), 4400),
        ("1 MiB", Frame::text(large.clone()), 4413),
        ("a byte too much", Frame::text("x".repeat(256 * 1024 + 1)), 4413),
        ("16 MiB", Frame::text("x".repeat(16 << 20)), 4413),
    ];
    for (name, frame, code) in cases {
        let mut mallory = call.enter("mallory").await;
        // The server may close while it is still sent to.
        let _sent = mallory.send(frame).await;
        assert_eq!(mallory.closed().await.unwrap(), code, "{name}");
        call.assert_goes_on().await;
    }
    call.assert_bounded(before);
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_are_ended_whether_of_messages_or_of_pings() {
    let mut call = Call::start().await;
    let before = call.memory();
    let floods = [
        Frame::text(r#"{"type":"ping"}"#),
        Frame::text("{}"),
        Frame::text(""),
        Frame::Ping(vec![7; 100].into()),
        Frame::Pong(Vec::new().into()),
        Frame::text(r#"{"type":"subscribe_track","room_id":"a","track_id":"TR_0001000200000001"}"#),
    ];
    for frame in floods {
        let mut mallory = call.enter("mallory").await;
        for _ in 0..5000 {
            if mallory.send(frame.clone()).await.is_err() {
                break;
            }
        }
        let code = mallory.closed().await.unwrap_or_else(|error| panic!("{frame:?}: {error:#}"));
        assert_eq!(code, 4429, "{frame:?}");
        call.assert_goes_on().await;
    }
    call.assert_bounded(before);
}

/// For how long somebody talks without end: 20 messages at once, of which 15 kB are 15, and then 5 a second.
const TALK: Duration = Duration::from_secs(7);
const TOLD_MAX: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn who_has_much_to_tell_everybody_is_slowed_and_nobody_else_is() {
    let mut call = Call::start().await;
    let before = call.memory();
    // Who reads nothing would miss what is more than its line keeps, and be cut off.
    let mut asleep = call.enter_narrow("asleep").await;
    let mut mallory = call.enter("mallory").await;
    let flood = tokio::spawn(async move {
        let text = json!({ "type": "update_metadata", "room_id": "a", "metadata": "x".repeat(15_000) });
        while mallory.say(&text).await.is_ok() {}
    });
    let begun = Instant::now();
    let mut told = 0;
    while let Some(left) = TALK.checked_sub(begun.elapsed()) {
        let is_flood = |message: &Value| message.pointer("/participant/identity") == Some(&json!("mallory"));
        told += usize::from(call.ben.told_within(left, is_flood).await.is_ok());
        call.assert_goes_on().await;
    }
    assert!((1..=TOLD_MAX).contains(&told), "{told} in {TALK:?}");
    flood.abort();
    let _all = asleep.unread().await.unwrap();
    call.assert_bounded(before);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_make_no_sense_are_refused_by_name_and_cost_nobody_the_connection() {
    let mut call = Call::start().await;
    let mut mallory = call.enter("mallory").await;
    let deep = format!("{{\"type\":\"ping\",\"x\":{}{}}}", "[".repeat(60_000), "]".repeat(60_000));
    let texts = [
        ("", "json_syntax"),
        ("Call me Ishmael.", "json_syntax"),
        ("{\"type\":\"ping\"", "json_syntax"),
        (&deep, "json_syntax"),
        (&"[".repeat(200_000), "json_syntax"),
        ("{\"type\":\"ping\",\"x\":\"\\ud800\"}", "json_syntax"),
        ("[]", "invalid_value"),
        ("null", "invalid_value"),
        ("{}", "invalid_value"),
        ("{\"type\":7}", "invalid_value"),
        ("{\"type\":\"nonsense\"}", "invalid_value"),
        ("{\"type\":\"join_room\"}", "invalid_value"),
        ("{\"type\":\"ping\",\"id\":-1}", "invalid_value"),
        ("{\"type\":\"ping\",\"id\":9007199254740992}", "invalid_value"),
        ("{\"type\":\"ping\",\"id\":\"1\"}", "invalid_value"),
        ("{\"type\":\"leave_room\",\"room_id\":\"a\",\"__proto__\":{}}", "invalid_value"),
        ("{\"type\":\"offer\",\"offer_id\":1e300,\"sdp\":\"\"}", "invalid_value"),
        ("{\"type\":\"send_data\",\"to\":[]}", "not_built"),
        ("{\"type\":\"chat\",\"text\":\"hello\"}", "not_built"),
        ("{\"type\":\"resume\",\"resume_token\":\"x\",\"seq\":0}", "invalid_value"),
    ];
    for (text, code) in texts {
        mallory.send(text_frame(text)).await.unwrap();
        let refused = mallory.told("error").await.unwrap();
        assert_eq!(refused["code"], code, "{text:.60}: {refused}");
    }
    let long = "r".repeat(10_000);
    let sdp = |size: usize| format!("{}a=x:{}\r\n", offer(9, &[Sent::Audio]), "a=x:y\r\n".repeat(size / 7));
    let cases = [
        (json!({ "type": "join_room", "room_id": long }), "invalid_value"),
        (json!({ "type": "leave_room", "room_id": long }), "invalid_value"),
        (json!({ "type": "leave_room", "room_id": "../a" }), "invalid_value"),
        (json!({ "type": "leave_room", "room_id": "" }), "invalid_value"),
        (json!({ "type": "mute_track", "track_id": long, "muted": true }), "no_such_track"),
        (json!({ "type": "publish_track", "mid": long, "source": "camera" }), "invalid_value"),
        (json!({ "type": "publish_track", "mid": "", "source": "camera" }), "invalid_value"),
        (json!({ "type": "publish_track", "mid": "0", "source": "camera", "kind": "audio" }), "invalid_value"),
        (json!({ "type": "publish_track", "mid": "0" }), "invalid_value"),
        (json!({ "type": "update_metadata", "room_id": "a", "name": long }), "too_long"),
        (json!({ "type": "update_metadata", "room_id": "a", "metadata": "x".repeat(20_000) }), "too_long"),
        (json!({ "type": "offer", "offer_id": 1, "sdp": "Call me Ishmael." }), "sdp_syntax"),
        (json!({ "type": "offer", "offer_id": 1, "sdp": sdp(100_000) }), "sdp_too_large"),
        (json!({ "type": "offer", "offer_id": 1, "sdp": sdp(50_000) }), "sdp_too_many_lines"),
        (json!({ "type": "answer", "offer_id": 1, "sdp": "v=1" }), "sdp_syntax"),
    ];
    for (request, code) in cases {
        let asked = format!("{request:.80}");
        assert_eq!(mallory.refused(request).await.unwrap(), code, "{asked}");
    }
    mallory.done(json!({ "type": "candidate" })).await.unwrap();
    call.assert_goes_on().await;
    let huge = json!({ "type": "offer", "offer_id": 1, "sdp": sdp(1 << 20) });
    let _sent = mallory.say(&huge).await;
    assert_eq!(mallory.closed().await.unwrap(), 4413);
    call.assert_goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_reaches_into_rooms_tracks_and_sessions_of_others() {
    let mut call = Call::start().await;
    call.server.make_room("b").await.unwrap();
    let token = call.server.token("b", "bob", "speaker").await.unwrap();
    let mut bob = Signaller::enter(call.server.base(), &token).await.unwrap();
    let elsewhere = publish(&mut bob, 5).await;
    let mut mallory = call.enter("mallory").await;
    let (here, hosts) = (call.track.clone(), call.server.token("b", "ann", "host").await.unwrap());
    let track = |kind: &str, room: &str, track: &str| json!({ "type": kind, "room_id": room, "track_id": track });
    let about = |kind: &str| json!({ "type": kind, "room_id": "a", "participant_id": "ann" });
    let with = |mut request: Value, key: &str, value: Value| {
        request[key] = value;
        request
    };
    let cases = [
        (track("subscribe_track", "b", &elsewhere), "not_in_room"),
        (track("subscribe_track", "a", &elsewhere), "no_such_track"),
        (track("subscribe_track", "nowhere", &here), "not_in_room"),
        (track("update_subscription", "a", &elsewhere), "no_such_track"),
        (track("unsubscribe_track", "b", &elsewhere), "not_in_room"),
        (track("unpublish_track", "a", &here), "no_such_track"),
        (json!({ "type": "unpublish_track", "track_id": here }), "no_such_track"),
        (json!({ "type": "mute_track", "track_id": here, "muted": true }), "no_such_track"),
        (json!({ "type": "publish_track", "track_id": here, "room_ids": ["a"] }), "no_such_track"),
        (json!({ "type": "publish_track", "mid": "0", "source": "camera", "room_ids": ["b"] }), "not_in_room"),
        (json!({ "type": "join_room", "room_id": "b", "token": hosts }), "not_your_session"),
        (json!({ "type": "join_room", "room_id": "b" }), "forbidden"),
        (json!({ "type": "join_room", "room_id": "b", "token": "x.y.z" }), "token_header"),
        (json!({ "type": "renew_token", "token": hosts }), "invalid_value"),
        (json!({ "type": "renew_token", "token": call.server.secret() }), "invalid_value"),
        (with(about("mute_track"), "muted", json!(true)), "may_not_manage"),
        (with(about("update_participant"), "role", json!("attendee")), "may_not_manage"),
        (
            with(
                json!({ "type": "update_participant", "room_id": "a", "participant_id": "mallory" }),
                "role",
                json!("host"),
            ),
            "may_not_manage",
        ),
        (about("remove_participant"), "may_not_manage"),
        (with(about("move_participant"), "to_room_id", json!("b")), "may_not_manage"),
        (json!({ "type": "update_room", "room_id": "a", "locked": true }), "may_not_manage"),
        (json!({ "type": "end_room", "room_id": "a" }), "may_not_manage"),
        (json!({ "type": "end_room", "room_id": "b" }), "not_in_room"),
        (json!({ "type": "leave_room", "room_id": "b" }), "not_in_room"),
    ];
    for (request, code) in cases {
        let asked = request.to_string();
        assert_eq!(mallory.refused(request).await.unwrap(), code, "{asked}");
    }
    call.assert_goes_on().await;
    assert!(bob.unread().await.unwrap().is_empty(), "nobody was in that room");
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_and_answers_that_fit_nothing_are_refused_by_name() {
    let mut call = Call::start().await;
    let token = call.server.token("a", "eve", "attendee").await.unwrap();
    let mut eve = Signaller::enter(call.server.base(), &token).await.unwrap();
    let declare = |mid: String| json!({ "type": "publish_track", "mid": mid, "source": "microphone" });
    let offers = |number: u64, sdp: String| json!({ "type": "offer", "offer_id": number, "sdp": sdp });
    assert_eq!(eve.refused(declare("0".to_owned())).await.unwrap(), "may_not_publish");
    assert_eq!(eve.refused(offers(1, offer(8, &[Sent::Audio]))).await.unwrap(), "may_not_publish");

    let mut mallory = call.enter("mallory").await;
    let theirs = mallory.told("offer").await.unwrap();
    let (number, sdp) = (theirs["offer_id"].as_u64().unwrap(), theirs["sdp"].as_str().unwrap().to_owned());
    let answers = |number: u64, sdp: &str| json!({ "type": "answer", "offer_id": number, "sdp": sdp });
    assert_eq!(mallory.refused(answers(number + 1, &answer(&sdp))).await.unwrap(), "other_offer");
    mallory.refused(answers(number, "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n")).await.unwrap();
    mallory.done(answers(number, &answer(&sdp))).await.unwrap();
    assert_eq!(mallory.refused(answers(number + 7, &answer(&sdp))).await.unwrap(), "other_offer", "none is in flight");

    mallory.done(declare("7".to_owned())).await.unwrap();
    assert_eq!(mallory.refused(offers(1, offer(8, &[Sent::Audio]))).await.unwrap(), "unknown_mid");
    mallory.done(declare("1".to_owned())).await.unwrap();
    let wrong = mallory.refused(offers(2, offer(8, &[Sent::Audio, Sent::Video]))).await.unwrap();
    assert_eq!(wrong, "wrong_source");
    for mid in 0..32 {
        mallory.done(declare(mid.to_string())).await.unwrap();
    }
    assert_eq!(mallory.refused(declare("32".to_owned())).await.unwrap(), "too_many_tracks");
    mallory.refused(offers(3, offer(8, &[Sent::Audio]))).await.unwrap();
    // Whatever was refused, one that fits is taken; it is taken twice, and none before it any more.
    mallory.done(declare("0".to_owned())).await.unwrap();
    let taken = mallory.done(offers(9, offer(8, &[Sent::Audio]))).await.unwrap();
    let again = mallory.done(offers(9, offer(8, &[Sent::Audio]))).await.unwrap();
    assert_eq!((&taken["tracks"], &taken["sdp"]), (&again["tracks"], &again["sdp"]));
    assert_eq!(mallory.refused(offers(4, offer(8, &[Sent::Audio]))).await.unwrap(), "stale_offer");
    call.assert_goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_resume_tokens_resume_nothing_and_a_true_one_takes_its_own_session_over() {
    let mut call = Call::start().await;
    let mut mallory = call.enter("mallory").await;
    let (own, theirs) = (mallory.resume_token(), call.ann.resume_token());
    let (own_id, own_tag) = own.split_once('.').unwrap();
    let (their_id, their_tag) = theirs.split_once('.').unwrap();
    let turned: String = their_tag.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();
    let forged = [
        String::new(),
        their_id.to_owned(),
        format!("{their_id}."),
        format!("{their_id}.{turned}"),
        format!("{their_id}.{own_tag}"),
        format!("{own_id}.{their_tag}"),
        format!("{theirs}0"),
        theirs.to_uppercase(),
        format!("{their_id}.{}", "0".repeat(10_000)),
        "\u{0}".repeat(10_000),
    ];
    for token in forged {
        let (mut client, said) = Signaller::resume(call.server.base(), &token, 0).await.unwrap();
        assert_eq!((&said["type"], &said["code"]), (&json!("error"), &json!("no_such_session")), "{token:.80}");
        assert_eq!(client.closed().await.unwrap(), 4403);
    }
    for first in
        [json!({ "type": "ping" }), json!({ "type": "join_room", "room_id": "a" }), json!({ "type": "resume" })]
    {
        let mut client = Signaller::connect(call.server.base(), "").await.unwrap();
        client.say(&first).await.unwrap();
        assert_eq!(client.next().await.unwrap()["code"], "invalid_value", "{first}");
        assert_eq!(client.closed().await.unwrap(), 4403);
    }
    call.assert_goes_on().await;
    // A number that was never said is as good as none.
    for seq in [0, mallory.seq(), u64::MAX] {
        let (client, said) = Signaller::resume(call.server.base(), &own, seq).await.unwrap();
        assert_eq!(said["type"], "resumed", "{said}");
        assert_eq!(mallory.closed().await.unwrap(), 4409);
        mallory = client;
    }
    mallory.done(json!({ "type": "update_metadata", "room_id": "a", "name": "Mallory" })).await.unwrap();
    call.assert_goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_reads_is_given_up_and_holds_up_nobody() {
    let mut call = Call::start().await;
    let before = call.memory();
    let asleep = call.enter_narrow("asleep").await;
    let begun = Instant::now();
    // 15 MB: more than its sockets and the line keep together.
    for turn in 0..1000 {
        call.say_much(turn).await;
    }
    println!("measured: a thousand messages of 15 kB beside who reads none took {:?}", begun.elapsed());
    call.assert_bounded(before);
    // Those who read see it as lost, when the server has waited for it to read and then to come back.
    let lost = |message: &Value| message.pointer("/participant/state") == Some(&json!("reconnecting"));
    let limit = UNREAD + UNSEEN + GRACE;
    let (ann, ben) = tokio::join!(call.ann.told_within(limit, lost), call.ben.told_within(limit, lost));
    for news in [ann, ben] {
        assert_eq!(news.unwrap()["participant"]["identity"], "asleep");
    }
    asleep.cut();
    call.assert_goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_too_slowly_is_told_so_and_goes_on_with_how_things_are() {
    let mut call = Call::start().await;
    let mut slow = call.enter_narrow("slow").await;
    for turn in 0..700 {
        call.say_much(turn).await;
        // It takes one in a while.
        if turn % 100 == 99 {
            let _told = slow.told("room_updated").await.unwrap();
        }
    }
    assert_eq!(slow.closed().await.unwrap(), 4503);
    let (_slow, said) = Signaller::resume(call.server.base(), &slow.resume_token(), slow.seq()).await.unwrap();
    assert_eq!((&said["type"], &said["complete"]), (&json!("resumed"), &json!(false)));
    assert_eq!(said["rooms"][0]["room"]["name"], "turn 699");
    call.assert_goes_on().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_silent_are_closed_in_time() {
    let call = Call::start().await;
    let (mut mallory, begun) = (call.enter("mallory").await, Instant::now());
    let mut nobody = Signaller::connect(call.server.base(), "").await.unwrap();
    assert_eq!(nobody.closed().await.unwrap(), 4408);
    assert!((RESUME..RESUME + GRACE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(mallory.closed_within(IDLE + GRACE).await.unwrap(), 4408);
    assert!((IDLE..IDLE + GRACE).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    // Those who wait for news here would be silent too, but for their pings.
    let (token, seq) = (mallory.resume_token(), mallory.seq());
    let (_mallory, said) = Signaller::resume(call.server.base(), &token, seq).await.unwrap();
    assert_eq!(said["complete"], true, "it comes back");
}

#[test]
fn two_thousand_connections_that_say_nothing_are_bounded_and_end_by_themselves() {
    const NAME: &str = "signalling::two_thousand_connections_that_say_nothing_are_bounded_and_end_by_themselves";
    sluice_tests::in_own_network(NAME, async {
        let http = format!("{}:0", sluice_tests::ADDRESS);
        let options = Options { http, announce: Some(sluice_tests::ADDRESS.to_owned()), ..Options::default() };
        let mut call = Call::start_with(options).await;
        let (before, begun) = (call.memory(), Instant::now());
        let mut silent = Vec::new();
        for _ in 0..2000 {
            match Signaller::connect(call.server.base(), "").await {
                Ok(client) => silent.push(client),
                // A connection without an answer, as there is no place for it.
                Err(error) => assert!(status_of(&error).is_err(), "{error:#}"),
            }
        }
        println!("measured: {} silent connections of 2000 were let in within {:?}", silent.len(), begun.elapsed());
        assert!(call.memory().saturating_sub(before) < 64 << 20, "as many as there are places: {}", call.memory());
        call.assert_goes_on().await;
        for mut client in silent {
            assert_eq!(client.closed_within(RESUME + GRACE).await.unwrap(), 4408);
        }
        let _newcomer = call.enter("newcomer").await;
        call.assert_goes_on().await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_makes_a_bounded_number_of_rooms_and_guesses_a_bounded_number_of_pins() {
    let mut call = Call::start().await;
    let client = reqwest::Client::new();
    let create = async |turn: usize| {
        let room = json!({ "name": format!("room {turn}"), "pin": "493816" });
        let response = client.post(format!("{}/api/rooms", call.server.base())).json(&room).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let mut made = Vec::new();
    let refused = loop {
        let (status, answer) = create(made.len()).await;
        if status != 201 {
            break (status, answer["code"].clone());
        }
        made.push((answer["id"].as_str().unwrap().to_owned(), answer["token"].as_str().unwrap().to_owned()));
        assert!(made.len() <= 60, "rooms without end");
    };
    assert_eq!((refused, made.len()), ((429, json!("too_many_requests")), 60));
    // A session of a guest may enter others' rooms by their PIN, and guesses no more of them than one without a session.
    let mut mallory = Signaller::enter(call.server.base(), &made[0].1).await.unwrap();
    let guess = |pin: String| json!({ "type": "join_room", "room_id": made[1].0, "pin": pin });
    let mut codes = Vec::new();
    for turn in 0..15 {
        codes.push(mallory.refused(guess(format!("00{turn:04}"))).await.unwrap());
    }
    assert_eq!(codes[..10], ["wrong_pin"; 10].map(str::to_owned));
    assert_eq!(codes[10..], ["too_many_requests"; 5].map(str::to_owned));
    assert_eq!(mallory.refused(guess("493816".to_owned())).await.unwrap(), "too_many_requests", "even the right one");
    call.assert_goes_on().await;
}
