//! Calls, scenario by scenario.

use super::client::LineState;
use super::*;
use crate::access::Source;
use crate::room::{Detail, LeaveReason, Quality, RoomError, SubscriptionChange, TemporalLayers};
use crate::sdp::{AnswerError, OfferError};
use sluice_protocol::media::{Label, Mid};

fn everything() -> Wish {
    Wish::Everything { except: Vec::new() }
}

fn nothing() -> Wish {
    Wish::Tracks(Vec::new())
}

/// Two in a room; the first publishes a microphone and a camera.
fn two() -> Call {
    let mut call = Call::new();
    for number in 0..2 {
        call.open(number, Simulcast::All).unwrap();
        call.join(number, 0, everything()).unwrap();
    }
    call.clients.get_mut(&0).unwrap().add(false);
    call.clients.get_mut(&0).unwrap().add(true);
    assert!(matches!(call.publish(0, &[]), Ok(Published::Opened(_))));
    call
}

fn mid(text: &str) -> Mid {
    Mid(Label::new(text.as_bytes()).unwrap())
}

#[test]
fn what_one_publishes_is_offered_to_the_other_and_flows_once_answered() {
    let mut call = two();
    assert!(call.effects.contains(&Effect::OfferDue(user(1))) && !call.effects.contains(&Effect::OfferDue(user(0))));
    assert_eq!(call.make_offer(0), None, "nobody else publishes");
    let offer = call.make_offer(1).unwrap();
    assert_eq!(call.fed_tracks(1), [], "nothing flows before the answer");
    assert!(call.control.plan().object(&Key::Transport(offer.transport)).is_some(), "but the client may connect");
    for line in [
        "a=setup:actpass\r\n",
        "a=ice-lite\r\n",
        "a=group:BUNDLE 0 1\r\n",
        "a=extmap-allow-mixed\r\n",
        "a=rtcp-mux\r\n",
        "a=rtcp-rsize\r\n",
        "a=candidate:1 1 udp ",
        "a=msid:PA_u0 TR_",
        "a=sendonly\r\n",
        "a=ssrc-group:FID ",
    ] {
        assert!(offer.sdp.contains(line), "{line}: {}", offer.sdp);
    }
    call.effects.clear();
    assert_eq!(call.answer(1, &offer, Reaction::TakesAll), Ok(Taken::Settled(offer.transport)));
    assert_eq!(call.fed_tracks(1), call.tracks_of(0));
    let subscribed = |effect: &Effect| matches!(effect, Effect::TrackSubscribed { undecodable: None, .. });
    assert_eq!(call.effects.iter().filter(|effect| subscribed(effect)).count(), 2, "{:?}", call.effects);
    assert_eq!(call.answer(1, &offer, Reaction::TakesAll), Ok(Taken::Repeated));
    assert_eq!(call.make_offer(1), None, "there is nothing new");
}

#[test]
fn an_answer_names_the_offer_in_flight_and_must_fit_it() {
    let mut call = two();
    let offer = call.make_offer(1).unwrap();
    let text = client::answer(&offer.sdp, 1, Reaction::TakesAll);
    let mut refused = |id: u64, from: &str, to: &str| {
        let bent = text.replace(from, to);
        let answer = Answer::parse(bent.as_bytes()).unwrap();
        call.control.handle_answer(at(0), &user(1), OfferId(id), &answer, &mut call.effects).unwrap_err()
    };
    let other = AnswerRefused::OtherOffer { answered: OfferId(7), outstanding: Some(OfferId(1)) };
    assert_eq!(refused(7, "", ""), other);
    assert_eq!(refused(0, "x", "x"), AnswerRefused::OtherOffer { answered: OfferId(0), outstanding: Some(OfferId(1)) });
    for (from, to, error) in [
        ("a=setup:active", "a=setup:passive", AnswerError::SetupNotActive),
        ("a=ice-pwd:", "a=ice-pwt:", AnswerError::NoIceCredentials),
        ("a=fingerprint:sha-256", "a=fingerprint:sha-1", AnswerError::NoFingerprint),
        ("a=rtcp-mux\r\n", "", AnswerError::NoRtcpMux { section: 0 }),
        ("a=mid:1", "a=mid:2", AnswerError::Sections),
    ] {
        assert_eq!(refused(1, from, to), AnswerRefused::Answer(error), "{from}");
    }
    assert_eq!(call.answer(1, &offer, Reaction::TakesAll), Ok(Taken::Settled(offer.transport)));
    call.clients.get_mut(&0).unwrap().add(true);
    call.publish(0, &[]).unwrap();
    let next = call.make_offer(1).unwrap();
    let text = client::answer(&next.sdp, 1, Reaction::TakesAll).replace("CD:CD", "CE:CE");
    let answer = Answer::parse(text.as_bytes()).unwrap();
    let refused = call.control.handle_answer(at(0), &user(1), next.id, &answer, &mut call.effects);
    assert_eq!(refused, Err(AnswerRefused::Answer(AnswerError::OtherCertificate)));
}

#[test]
fn a_later_offer_adds_ends_and_recycles_tracks() {
    let mut call = two();
    call.settle(1);
    let before = call.tracks_of(0);
    let client = call.clients.get_mut(&0).unwrap();
    client.lines[0].state = LineState::Inactive;
    client.lines[1].state = LineState::Stopped;
    assert!(matches!(call.publish(0, &[]), Ok(Published::Changed(_))));
    assert_eq!(call.tracks_of(0), []);
    call.clients.get_mut(&0).unwrap().add(false);
    let screen = PublishTrack {
        mid: mid("2"),
        source: Source::ScreenShareAudio,
        rooms: vec![room_id(0)],
        muted: true,
        width: None,
        height: None,
    };
    let Ok(Published::Changed(transport)) = call.publish(0, &[screen]) else { panic!() };
    let after = call.tracks_of(0);
    assert!(after.len() == 1 && !before.contains(&after[0]), "a stopped m-line took another track");
    let own = call.control.room(&room_id(0)).unwrap().participant(&participant(0)).unwrap().clone();
    assert_eq!(
        own.tracks.iter().map(|track| (track.id, track.source)).collect::<Vec<_>>(),
        [(after[0], Source::ScreenShareAudio)]
    );
    let Some(Object::Track(track)) = call.control.plan().object(&Key::Track(after[0])) else { panic!() };
    assert!(track.muted && track.mid == mid("2") && track.transport == transport);
    assert_eq!(call.control.plan().keys().filter(|key| matches!(key, Key::Track(_))).count(), 1);
    assert_eq!(call.fed_tracks(1), [], "what ended flows no more at once");
    call.settle(1);
    assert_eq!(call.fed_tracks(1), after);
    call.clients.get_mut(&0).unwrap().lines[0].state = LineState::Sends;
    call.publish(0, &[]).unwrap();
    assert!(call.tracks_of(0).len() == 2 && !before.contains(&call.tracks_of(0)[0]), "it is a new track");
    call.check_ssrcs();
}

#[test]
fn offers_that_are_old_or_of_other_sections_have_names() {
    let mut call = two();
    let text = call.clients[&0].text();
    let publish = |call: &mut Call, id: u64, text: &str| {
        let offer = Offer::parse(text.as_bytes()).unwrap();
        let offer = ClientOffer { id: OfferId(id), offer: &offer, tracks: &[] };
        call.control.publish(at(0), &user(0), offer, &mut call.effects)
    };
    let before = call.control.snapshot();
    assert!(matches!(publish(&mut call, 1, &text), Ok(Published::Repeated(_))), "an answer got lost");
    assert_eq!(publish(&mut call, 0, &text), Err(PublishError::StaleOffer { last: OfferId(1) }));
    let refused = |error| Err(PublishError::Open(OpenError::Offer(error)));
    let old = text.replace("o=- 0 2 ", "o=- 0 1 ");
    assert_eq!(publish(&mut call, 2, &old), refused(OfferError::Stale));
    let (head, _) = text.split_once("m=video").unwrap();
    let fewer = head.replace("BUNDLE 0 1", "BUNDLE 0");
    assert_eq!(publish(&mut call, 2, &fewer), refused(OfferError::OtherSections { section: 1 }));
    let renamed = text.replace("a=mid:1", "a=mid:7").replace("BUNDLE 0 1", "BUNDLE 0 7");
    assert_eq!(publish(&mut call, 2, &renamed), refused(OfferError::OtherSections { section: 1 }));
    let unknown = PublishTrack {
        mid: mid("9"),
        source: Source::Camera,
        rooms: Vec::new(),
        muted: false,
        width: None,
        height: None,
    };
    assert_eq!(call.publish(0, std::slice::from_ref(&unknown)), Err(PublishError::UnknownMid("9".to_owned())));
    let wrong = PublishTrack { mid: mid("0"), ..unknown.clone() };
    let elsewhere = PublishTrack { mid: mid("1"), rooms: vec![room_id(1)], ..unknown };
    call.clients.get_mut(&1).unwrap().add(false);
    call.clients.get_mut(&1).unwrap().add(true);
    assert_eq!(call.publish(1, &[wrong]), Err(PublishError::WrongSource("0".to_owned())));
    assert_eq!(call.publish(1, &[elsewhere]), Err(PublishError::NotInRoom));
    assert_eq!(call.control.plan(), &before, "refusals change nothing");
}

#[test]
fn a_changed_network_restarts_ice_of_either_connection() {
    let mut call = two();
    call.settle(1);
    let ufrag = |call: &Call, number: u32, is_publisher: bool| {
        let session = call.control.session(&user(number)).unwrap();
        if is_publisher { &session.publisher } else { &session.subscriber }.as_ref().unwrap().credentials.clone()
    };
    let before = ufrag(&call, 0, true);
    call.clients.get_mut(&0).unwrap().restart_ice();
    let tracks = call.tracks_of(0);
    call.publish(0, &[]).unwrap();
    assert!(ufrag(&call, 0, true).len() == 2 && ufrag(&call, 0, true)[0] == before[0]);
    assert_eq!(call.tracks_of(0), tracks);
    let before = ufrag(&call, 1, false);
    call.control.restart_subscriber(at(0), &user(1), &mut call.effects).unwrap();
    assert_eq!(ufrag(&call, 1, false), before, "what the client has is valid until the offer");
    let offer = call.make_offer(1).unwrap();
    let after = ufrag(&call, 1, false);
    assert!(after.len() == 2 && offer.sdp.contains(after[1].to_text().as_str()));
    assert_eq!(call.make_offer(1), Some(offer.clone()), "the same credentials again");
    call.answer(1, &offer, Reaction::TakesAll).unwrap();
    assert_eq!(call.fed_tracks(1), tracks, "nothing else changed");
}

#[test]
fn subscriptions_are_chosen_paused_and_limited() {
    let mut call = two();
    call.open(2, Simulcast::All).unwrap();
    call.join(2, 0, nothing()).unwrap();
    assert_eq!(call.make_offer(2), None, "it asked for nothing");
    let tracks = call.tracks_of(0);
    let participant = participant(2);
    let subscribe = |track| Input::Subscribe { participant: participant.clone(), track };
    call.handle(0, subscribe(tracks[1])).unwrap();
    assert_eq!(call.handle(1, subscribe(tracks[1])), Err(ControlError::Room(RoomError::NoSuchParticipant)));
    let stranger = TrackId::new(0, 77, 1);
    assert_eq!(call.handle(0, subscribe(stranger)), Err(ControlError::Room(RoomError::NoSuchTrack)));
    call.settle(2);
    assert_eq!(call.fed_tracks(2), [tracks[1]]);
    let mut update = |is_paused, detail, temporal| {
        let change = SubscriptionChange { is_paused, detail, temporal_layers: TemporalLayers::new(temporal) };
        let input = Input::UpdateSubscription { participant: participant.clone(), track: tracks[1], change };
        call.handle(0, input).unwrap();
        let (_, egress) = call.fed(2).pop().unwrap();
        (egress.paused, egress.max_layer.spatial, egress.max_layer.temporal)
    };
    assert_eq!(update(Some(true), None, 0), (true, u8::MAX, u8::MAX));
    assert_eq!(update(None, Some(Detail::Quality(Quality::Low)), 2), (true, 0, 1));
    assert_eq!(update(Some(false), None, 0), (false, 0, 1));
    assert_eq!(update(None, None, 8), (false, 0, u8::MAX));
    assert_eq!(call.make_offer(2), None, "none of that is negotiated");
    call.handle(0, Input::Unsubscribe { participant: participant.clone(), track: tracks[1] }).unwrap();
    assert_eq!(call.fed_tracks(2), []);
    let again = call.handle(0, Input::Unsubscribe { participant, track: tracks[1] });
    assert_eq!(again, Err(ControlError::Room(RoomError::NoSuchTrack)));
}

#[test]
fn a_track_in_two_rooms_arrives_once() {
    let mut call = two();
    call.join(0, 1, nothing()).unwrap();
    call.join(1, 1, everything()).unwrap();
    call.settle(1);
    let tracks = call.tracks_of(0);
    let in_second =
        |call: &Call| call.control.room(&room_id(1)).unwrap().participant(&participant(0)).unwrap().tracks.len();
    assert_eq!(in_second(&call), 0, "who enters a room publishes nothing of itself");
    for track in &tracks {
        call.control.publish_in(at(0), &user(0), &room_id(1), *track, &mut call.effects).unwrap();
    }
    assert_eq!((in_second(&call), call.fed_tracks(1)), (2, tracks.clone()));
    assert_eq!(call.make_offer(1), None, "it has them already");
    let pause = |call: &mut Call, room| {
        let change = SubscriptionChange { is_paused: Some(true), ..SubscriptionChange::default() };
        call.handle(room, Input::UpdateSubscription { participant: participant(1), track: tracks[1], change }).unwrap();
        call.fed(1)[1].1.paused
    };
    assert!(!pause(&mut call, 0), "the other room still shows it");
    assert!(pause(&mut call, 1), "neither does");
    call.control.leave_room(at(0), &user(1), &room_id(0), LeaveReason::Left, &mut call.effects).unwrap();
    assert_eq!(call.fed_tracks(1), tracks, "the other room still wants them");
    call.control.leave_room(at(0), &user(0), &room_id(1), LeaveReason::Left, &mut call.effects).unwrap();
    assert_eq!((call.fed_tracks(1), call.tracks_of(0)), (Vec::new(), tracks), "and the first room still has them");
    call.control.close(at(0), &user(0), LeaveReason::Left, &mut call.effects).unwrap();
    assert!(call.control.session(&user(0)).is_none());
    assert!(!call.control.plan().keys().any(|key| matches!(key, Key::Track(_))));
}

#[test]
fn a_track_in_two_rooms_is_silent_while_either_has_it_muted_and_outlives_one_of_them() {
    let mut call = two();
    call.join(0, 1, everything()).unwrap();
    let again = call.join(0, 1, everything());
    assert_eq!(again, Err(ControlError::Room(RoomError::ParticipantExists)));
    for track in call.tracks_of(0) {
        call.control.publish_in(at(0), &user(0), &room_id(1), track, &mut call.effects).unwrap();
    }
    let mute = |muted| Input::Mute { actor: crate::room::Actor::Api, participant: participant(0), track: None, muted };
    let all_muted = |call: &Call| {
        let is_muted = |object: &Object| if let Object::Track(track) = object { Some(track.muted) } else { None };
        call.control.plan().objects().filter_map(is_muted).collect::<Vec<_>>()
    };
    let succeed = |call: &mut Call, epoch| {
        let snapshot = call.control.snapshot();
        let (successor, rebuilt) = Control::rebuild(at(0), config(epoch), &snapshot, &mut Vec::new());
        assert_eq!((rebuilt.given_up, successor.plan()), (vec![], &snapshot));
        assert!(successor.sessions().eq(call.control.sessions()));
        call.control = successor;
    };
    call.finish(0);
    call.handle(0, mute(true)).unwrap();
    call.handle(1, mute(true)).unwrap();
    call.handle(0, mute(false)).unwrap();
    assert_eq!(all_muted(&call), [true, true], "the other room still has it muted");
    call.handle(1, mute(false)).unwrap();
    assert_eq!(all_muted(&call), [false, false]);
    succeed(&mut call, 2);
    call.handle(0, mute(true)).unwrap();
    assert_eq!(all_muted(&call), [true, true]);
    let leave = Input::Leave { participant: participant(0), reason: LeaveReason::Left };
    call.handle(0, leave.clone()).unwrap();
    assert_eq!(all_muted(&call), [false, false], "the room that muted it has no say any more");
    succeed(&mut call, 3);
    call.handle(1, leave).unwrap();
    assert_eq!(all_muted(&call), Vec::<bool>::new(), "and is in no room any more");
    assert!(call.control.session(&user(0)).is_some_and(|own| own.memberships.is_empty()), "the session goes on");
}

#[test]
fn the_same_identity_replaces_itself_and_the_earlier_session_is_told() {
    let mut call = two();
    let identity = Identity("u0".to_owned());
    let open = OpenSession { session: user(9), identity, certificate: Vec::new(), simulcast: Simulcast::All };
    call.control.open_session(open).unwrap();
    let join = Join { is_publisher: false, participant: participant(9), wish: nothing(), ..join("u0", Side::Publish) };
    let stranger = Join { identity: Identity("u5".to_owned()), ..join.clone() };
    let refused = call.control.join_room(at(0), &user(9), &room_id(0), stranger, &mut call.effects);
    assert_eq!(refused, Err(ControlError::OtherIdentity));
    call.control.join_room(at(0), &user(9), &room_id(0), join, &mut call.effects).unwrap();
    let membership = Membership { room: room_id(0), participant: participant(0) };
    let ended = Effect::MembershipEnded { session: user(0), membership, reason: LeaveReason::Replaced };
    assert!(call.effects.contains(&ended), "{:?}", call.effects);
    assert!(call.control.session(&user(0)).is_some(), "it may enter other rooms");
    assert_eq!(call.tracks_of(0), []);
}

#[test]
fn a_refused_track_is_not_offered_again_and_its_m_line_comes_back_under_another_name() {
    let mut call = two();
    let offer = call.make_offer(1).unwrap();
    call.effects.clear();
    call.answer(1, &offer, Reaction::Disables(1)).unwrap();
    let tracks = call.tracks_of(0);
    assert_eq!(call.fed_tracks(1), [tracks[0]]);
    assert!(call.effects.contains(&Effect::TrackRefused { session: user(1), track: tracks[1] }));
    assert_eq!(call.make_offer(1), None);
    call.clients.get_mut(&0).unwrap().add(false);
    call.publish(0, &[]).unwrap();
    let next = call.make_offer(1).unwrap();
    assert!(next.sdp.contains("a=group:BUNDLE 0 2\r\n") && next.sdp.matches("m=").count() == 2, "{}", next.sdp);
    call.answer(1, &next, Reaction::TakesAll).unwrap();
    assert_eq!(call.fed_tracks(1), [tracks[0], call.tracks_of(0)[2]]);
}

#[test]
fn a_successor_repeats_the_offer_in_flight_and_takes_its_answer() {
    let mut call = two();
    call.settle(1);
    call.finish(0);
    call.finish(1);
    call.clients.get_mut(&0).unwrap().add(true);
    call.publish(0, &[]).unwrap();
    let offer = call.make_offer(1).unwrap();
    let snapshot = call.control.snapshot();
    let (successor, rebuilt) = Control::rebuild(at(0), config(2), &snapshot, &mut call.effects);
    assert_eq!((rebuilt.sessions, rebuilt.given_up.len(), successor.plan()), (2, 0, &snapshot));
    assert!(successor.sessions().eq(call.control.sessions()));
    call.control = successor;
    assert_eq!(call.make_offer(1), Some(offer.clone()), "byte for byte");
    assert_eq!(call.answer(1, &offer, Reaction::TakesAll), Ok(Taken::Settled(offer.transport)));
    assert_eq!(call.fed_tracks(1), call.tracks_of(0));
    assert_eq!(call.answer(1, &offer, Reaction::TakesAll), Ok(Taken::Repeated));
}

#[test]
fn presence_follows_signalling_and_not_media() {
    let mut call = two();
    call.settle(1);
    call.finish(1);
    let state = |call: &Call| {
        let room = call.control.room(&room_id(0)).unwrap();
        room.participant(&participant(1)).map(|own| own.state.as_str())
    };
    let transport = call.offers[&1].transport;
    call.control.handle_event(at(0), &DataEvent::TransportSilent(transport), &mut call.effects);
    assert_eq!(state(&call), Some("connected"));
    call.control.signalling_lost(at(1000), &user(1), &mut call.effects).unwrap();
    assert_eq!((state(&call), call.fed(1).len()), (Some("reconnecting"), 2), "media goes on");
    call.control.handle_event(at(1000), &DataEvent::TransportConnected(transport), &mut call.effects);
    assert_eq!(state(&call), Some("reconnecting"));
    call.control.signalling_resumed(at(2000), &user(1), &mut call.effects).unwrap();
    assert_eq!((state(&call), call.control.poll_timeout()), (Some("connected"), None));
    call.control.signalling_lost(at(3000), &user(1), &mut call.effects).unwrap();
    call.control.handle_timeout(at(33_000), &mut call.effects);
    assert_eq!((state(&call), call.fed(1).len()), (None, 0));
    assert!(call.control.session(&user(1)).is_some(), "the session is the front's to end");
    assert_eq!(call.control.signalling_lost(at(0), &user(7), &mut call.effects), Err(ControlError::NoSuchSession));
}

#[test]
fn a_late_joiner_is_offered_what_is_there() {
    let mut call = two();
    call.open(2, Simulcast::All).unwrap();
    call.effects.clear();
    call.join(2, 0, everything()).unwrap();
    assert!(call.effects.contains(&Effect::OfferDue(user(2))), "{:?}", call.effects);
    call.settle(2);
    assert_eq!(call.fed_tracks(2), call.tracks_of(0));
}

#[test]
fn a_client_that_does_not_receive_a_track_keeps_the_m_line() {
    let mut call = two();
    let offer = call.make_offer(1).unwrap();
    call.answer(1, &offer, Reaction::Declines(0)).unwrap();
    let tracks = call.tracks_of(0);
    assert_eq!((call.fed_tracks(1), call.make_offer(1)), (vec![tracks[1]], None));
    call.clients.get_mut(&0).unwrap().add(false);
    call.publish(0, &[]).unwrap();
    let next = call.make_offer(1).unwrap();
    assert!(next.sdp.contains("a=group:BUNDLE 0 1\r\n"), "the m-line is free for another track: {}", next.sdp);
    call.answer(1, &next, Reaction::LacksH264).unwrap();
    assert_eq!(call.fed_tracks(1), call.tracks_of(0)[1..]);
}

#[test]
fn a_thousand_joins_and_leaves_grow_no_offer_and_use_no_ssrc_again() {
    let mut call = Call::new();
    call.open(100, Simulcast::All).unwrap();
    call.join(100, 0, everything()).unwrap();
    let mut sizes = Vec::new();
    for round in 0..1000_u32 {
        let number = round % 9;
        if call.control.session(&user(number)).is_some() {
            call.control.close(at(0), &user(number), LeaveReason::Left, &mut call.effects).unwrap();
        } else {
            call.open(number, Simulcast::All).unwrap();
            call.join(number, 0, nothing()).unwrap();
            call.clients.get_mut(&number).unwrap().add(false);
            call.clients.get_mut(&number).unwrap().add(true);
            call.publish(number, &[]).unwrap();
        }
        // Some offers are answered late, so that changes gather.
        if round % 3 != 1 {
            call.settle(100);
            sizes.push(call.offers[&100].sdp.len());
        } else {
            call.make_offer(100);
        }
        call.check_ssrcs();
        call.effects.clear();
        for key in call.control.take_changes().iter().filter_map(|change| match change {
            Change::Remove(key) => Some(*key),
            Change::Put(_) => None,
        }) {
            call.control.handle_absent(&key);
        }
    }
    let sections = call.control.session(&user(100)).unwrap().subscriber.as_ref().unwrap().sections.len();
    assert!(sections <= 2 * 9 + 4, "{sections} m-lines for nine publishers of two tracks");
    let early = sizes[..200].iter().max().unwrap();
    let late = sizes[sizes.len() - 200..].iter().max().unwrap();
    // Ids of tracks have generations, whose text is of one length.
    assert!(*late <= early + 200, "{early} bytes early, {late} late");
}

#[test]
fn simulcast_in_full_orders_encodings_from_the_smallest_and_whip_takes_the_best() {
    let offer = crate::sdp::vectors::offer("firefox-b-simulcast-vp8");
    for (simulcast, expected) in [(Simulcast::All, vec!["q", "h", "f"]), (Simulcast::Best, vec!["f"])] {
        let mut call = Call::new();
        call.open(0, simulcast).unwrap();
        call.join(0, 0, everything()).unwrap();
        let offer = ClientOffer { id: OfferId(1), offer: &offer, tracks: &[] };
        call.control.publish(at(0), &user(0), offer, &mut call.effects).unwrap();
        let id = call.tracks_of(0)[1];
        let Some(Object::Track(track)) = call.control.plan().object(&Key::Track(id)) else { panic!() };
        let rids: Vec<&str> = track.encodings.iter().map(|own| own.rid.as_ref().unwrap().0.as_str()).collect();
        assert_eq!(rids, expected);
        let (secret, fingerprint) = (NodeSecret::new([3; 32]), Fingerprint::sha256(&[0xab; 32]));
        let answer = call.control.answer(&user(0), &secret, &fingerprint, &[]).unwrap();
        assert!(answer.contains(&format!("a=simulcast:recv {}\r\n", expected.join(";"))), "{answer}");
    }
}

#[test]
fn rights_that_were_taken_away_do_not_come_back_with_a_cookie_that_did_not_fit() {
    let mut call = Call::new();
    for number in 2..7 {
        call.control.create_room(at(0), room_id(number), RoomSettings::default()).unwrap();
    }
    call.open(0, Simulcast::All).unwrap();
    for room in [0, 2, 3, 4, 5, 6] {
        let join = Join {
            is_publisher: false,
            role: crate::access::Role::Host,
            wish: nothing(),
            participant: ParticipantId(format!("PA_{room}")),
            ..join("u0", Side::Publish)
        };
        call.control.join_room(at(0), &user(0), &room_id(room), join, &mut call.effects).unwrap();
        let change = crate::room::ParticipantChange {
            metadata: Some("x".repeat(limits::METADATA_BYTES_MAX)),
            ..crate::room::ParticipantChange::default()
        };
        let (actor, participant) = (crate::room::Actor::Api, ParticipantId(format!("PA_{room}")));
        call.handle(room, Input::Update { actor, participant, change: Box::new(change) }).unwrap();
    }
    let remove =
        Input::Remove { actor: crate::room::Actor::Api, participant: ParticipantId("PA_0".to_owned()), now_seconds: 9 };
    call.handle(0, remove).unwrap();
    let (successor, rebuilt) = Control::rebuild(at(0), config(2), &call.control.snapshot(), &mut call.effects);
    assert_eq!(rebuilt.sessions, 1);
    assert_eq!(successor.room(&room_id(0)).unwrap().participants().len(), 0, "who was removed is out");
    let session = successor.session(&user(0)).unwrap();
    assert_eq!(session.memberships.len(), 5, "and its other rooms go on, without their metadata");
}

#[test]
fn an_offer_that_finds_no_address_for_its_tracks_changes_nothing() {
    let mut call = two();
    let shard = call.tracks_of(0)[0].shard();
    let mut others: Vec<TrackId> = std::iter::from_fn(|| call.control.addresses.mint_track(shard)).collect();
    // One is left for two that would begin.
    call.control.addresses.release(&Key::Track(others.pop().unwrap()));
    let (plan, space) = (call.control.snapshot(), format!("{:?}", call.control.space));
    let before = call.clients[&0].clone();
    (0..2).for_each(|_| call.clients.get_mut(&0).unwrap().add(true));
    assert_eq!(call.publish(0, &[]), Err(PublishError::Open(OpenError::Full)));
    assert_eq!((call.control.snapshot(), format!("{:?}", call.control.space)), (plan, space));
    call.clients.insert(0, before);
    call.clients.get_mut(&0).unwrap().add(true);
    assert!(matches!(call.publish(0, &[]), Ok(Published::Changed(_))), "and the one that is left is left");
}

#[test]
fn who_has_not_connected_takes_no_more_by_further_offers_than_by_its_first() {
    let mut call = Call::new();
    let rows_max = limits::JOINING_ROWS_PER_IDENTITY_MAX;
    let mut opened = 0;
    let refused = (0..2000).any(|number| {
        // One identity in sessions without end, which publish one track and then some more, and never connect.
        let identity = Identity("u0".to_owned());
        let open =
            OpenSession { session: user(number), identity, certificate: vec![9; 500], simulcast: Simulcast::All };
        call.control.open_session(open).unwrap();
        call.clients.insert(number, Client::new(number));
        let join = Join {
            is_publisher: false,
            wish: nothing(),
            participant: participant(number),
            ..join("u0", Side::Publish)
        };
        call.control.join_room(at(0), &user(number), &room_id(0), join, &mut call.effects).unwrap();
        for _ in 0..4 {
            call.clients.get_mut(&number).unwrap().add(true);
            match call.publish(number, &[]) {
                Ok(_) => opened += 1,
                Err(PublishError::Open(OpenError::TooManyJoining)) => return true,
                Err(error) => panic!("{error}"),
            }
        }
        false
    });
    assert!(refused, "{opened} tracks of one identity that never connects");
    let transports = call.control.connections().count();
    assert!(2 * (transports + opened) <= rows_max + 2 * 4, "{transports} connections with {opened} tracks");
}
