//! Clients that give a connection up and publish over another one, which the server has not noticed.

use super::client::LineState;
use super::*;
use crate::access::Source;
use crate::room::{Actor, Event, LeaveReason};
use crate::sdp::OfferError;
use sluice_protocol::media::{Label, Mid};

/// The first publishes a microphone and a camera, which flow to the second.
fn two() -> (Call, TransportId) {
    let mut call = Call::new();
    for number in 0..2 {
        call.open(number, Simulcast::All).unwrap();
        call.join(number, 0, Wish::Everything { except: Vec::new() }).unwrap();
    }
    call.clients.get_mut(&0).unwrap().add(false);
    call.clients.get_mut(&0).unwrap().add(true);
    let Ok(Published::Opened(transport)) = call.publish(0, &[]) else { panic!("the first offer opens") };
    call.finish(0);
    call.settle(1);
    assert_eq!(call.fed_tracks(1).len(), 2);
    call.effects.clear();
    (call, transport)
}

fn said(mid: &str, source: Source, rooms: &[u8], muted: bool) -> PublishTrack {
    let mid = Mid(Label::new(mid.as_bytes()).unwrap());
    PublishTrack {
        mid,
        source,
        rooms: rooms.iter().map(|number| room_id(*number)).collect(),
        muted,
        width: None,
        height: None,
    }
}

/// What rooms said of tracks: whether they came or went, and which.
fn news(call: &Call) -> Vec<(bool, String)> {
    let of = |effect: &Effect| {
        let Effect::Event { event, .. } = effect else { return None };
        if let Event::TrackPublished { track_id, .. } = event {
            return Some((true, track_id.clone()));
        }
        if let Event::TrackUnpublished { track_id, .. } = event { Some((false, track_id.clone())) } else { None }
    };
    call.effects.iter().filter_map(of).collect()
}

fn transport_of(call: &Call, track: TrackId) -> TransportId {
    let Some(Object::Track(track)) = call.control.plan().object(&Key::Track(track)) else { panic!("it is planned") };
    track.transport
}

#[test]
fn a_new_connection_takes_the_place_of_the_one_there_is_and_nobody_sees_its_tracks_leave() {
    let (mut call, before) = two();
    let (tracks, fed) = (call.tracks_of(0), call.fed(1));
    call.clients.get_mut(&0).unwrap().forget_connection();
    let Ok(Published::Opened(after)) = call.publish(0, &[]) else { panic!("another certificate opens another one") };
    assert_ne!(before, after);
    assert_eq!((call.tracks_of(0), news(&call)), (tracks.clone(), vec![]));
    assert!(tracks.iter().all(|track| transport_of(&call, *track) == after));
    assert_eq!(call.fed(1), fed, "whoever is fed from them goes on");
    assert_eq!(call.make_offer(1), None, "and nothing is negotiated with them");
    let closed = Effect::ConnectionClosed { session: user(0), transport: before, role: Side::Publish };
    assert!(call.effects.contains(&closed), "{:?}", call.effects);
    assert!(call.control.plan().object(&Key::Transport(before)).is_none(), "the old transport is gone at once");
    assert!(call.control.connection(before).is_none());
    assert_eq!(call.control.connection(after).unwrap().keys, None, "a new DTLS association");
    let late = call.control.handle_handshake(at(0), before, keys(), vec![5], &mut call.effects);
    assert_eq!(late, Err(ControlError::NoSuchSession), "the one before is over");
    call.finish(0);
    call.control.close_transport(at(0), after, LeaveReason::TransportFailed, &mut call.effects);
    assert_eq!((call.tracks_of(0), news(&call).len()), (vec![], 2), "what it took over ends with it");
    assert_eq!(call.control.plan().keys().filter(|key| matches!(key, Key::Track(_))).count(), 0);
}

#[test]
fn a_track_goes_on_at_the_m_line_of_its_source_wherever_that_is() {
    let (mut call, _) = two();
    let tracks = call.tracks_of(0);
    let client = call.clients.get_mut(&0).unwrap();
    client.lines.clear();
    client.forget_connection();
    [true, true, false].into_iter().for_each(|is_video| client.add(is_video));
    let screen = said("0", Source::ScreenShare, &[], false);
    assert!(matches!(call.publish(0, &[screen]), Ok(Published::Opened(_))));
    let now = call.tracks_of(0);
    assert_eq!((now[1], now[2]), (tracks[1], tracks[0]), "camera and microphone");
    assert_eq!(news(&call), [(true, crate::room::track_text(now[0]))], "the screen alone is new");
    call.effects.clear();
    let client = call.clients.get_mut(&0).unwrap();
    client.lines[2].state = LineState::Stopped;
    client.forget_connection();
    assert!(matches!(call.publish(0, &[said("1", Source::Camera, &[], false)]), Ok(Published::Opened(_))));
    assert_eq!(call.tracks_of(0).len(), 2);
    assert!(news(&call).contains(&(false, crate::room::track_text(tracks[0]))), "what is not offered ends");
}

#[test]
fn rooms_and_silence_of_what_goes_on_are_as_the_client_says_and_hosts_mutes_stay() {
    let (mut call, _) = two();
    call.join(0, 1, Wish::Tracks(Vec::new())).unwrap();
    let tracks = call.tracks_of(0);
    let mute = Input::Mute { actor: Actor::Api, participant: participant(0), track: Some(tracks[1]), muted: true };
    call.handle(0, mute).unwrap();
    call.effects.clear();
    let client = call.clients.get_mut(&0).unwrap();
    client.forget_connection();
    let moved = [said("0", Source::Microphone, &[1], true), said("1", Source::Camera, &[0], false)];
    assert!(matches!(call.publish(0, &moved), Ok(Published::Opened(_))));
    assert_eq!(call.tracks_of(0), tracks, "a track that changes rooms is the same");
    let in_room = |call: &Call, room: u8| -> Vec<(TrackId, bool)> {
        let room = call.control.room(&room_id(room)).unwrap();
        room.participant(&participant(0)).unwrap().tracks.iter().map(|own| (own.id, own.is_muted())).collect()
    };
    assert_eq!(in_room(&call, 0), [(tracks[1], true)], "muted by a host");
    assert_eq!(in_room(&call, 1), [(tracks[0], true)]);
    let silent = |track: TrackId| match call.control.plan().object(&Key::Track(track)) {
        Some(Object::Track(track)) => track.muted,
        _ => panic!("it is planned"),
    };
    assert!(silent(tracks[0]) && silent(tracks[1]));
}

#[test]
fn an_offer_of_another_connection_that_is_refused_leaves_the_one_there_is() {
    let (mut call, before) = two();
    let (tracks, plan) = (call.tracks_of(0), call.control.plan().clone());
    call.clients.get_mut(&0).unwrap().forget_connection();
    let refused = call.publish(0, &[said("7", Source::Camera, &[], false)]);
    assert_eq!(refused, Err(PublishError::UnknownMid("7".to_owned())));
    assert_eq!((call.tracks_of(0), call.control.plan() == &plan), (tracks, true));
    assert!(call.control.connection(before).is_some() && call.effects.is_empty());
}

#[test]
fn another_ice_session_restarts_and_another_certificate_alone_is_refused() {
    let (mut call, before) = two();
    let client = call.clients.get_mut(&0).unwrap();
    client.restart_ice();
    assert_eq!(call.publish(0, &[]), Ok(Published::Changed(before)), "the same certificate");
    let client = call.clients.get_mut(&0).unwrap();
    client.change_certificate();
    let refused = PublishError::Open(OpenError::Offer(OfferError::OtherCertificate));
    assert_eq!(call.publish(0, &[]), Err(refused), "the same ICE session");
}
