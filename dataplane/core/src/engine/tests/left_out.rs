//! Encodings that a publisher sends although the answer left them out: they reach nobody, and nothing of them is lost.

use rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use sluice_protocol::event::Event;
use sluice_protocol::media::{Label, Rid, Ssrc};
use sluice_protocol::plan::{self, Encoding, Key, Object, Stream, StreamRole};

use super::peer::{Media, Peer, of_kind, vp8};
use super::stage::{number, stage};
use super::world::*;
use crate::discard::Discard;

const RIDS: [&[u8]; 3] = [b"q", b"h", b"f"];
const SSRCS: [Ssrc; 3] = [Ssrc(0xcafe_0010), Ssrc(0xcafe_0011), Ssrc(0xcafe_0012)];
/// The SSRC of repairs of the first.
const REPAIRS: Ssrc = Ssrc(0xcafe_0020);

fn rid(name: &[u8]) -> Option<Rid> {
    Label::new(name).map(Rid)
}

/// A track of which these encodings were accepted.
fn accepting(rids: &[&[u8]]) -> Object {
    let encodings = rids.iter().map(|name| Encoding { rid: rid(name), ssrc: None, rtx: None }).collect();
    Object::Track(plan::Track { encodings, ..video_track(1, 1) })
}

/// A frame of an encoding in one packet, which says with what numbers, and what it is called if `named`.
fn frame(index: usize, sequence: u16, named: bool) -> Media {
    let mut media = vp8(SSRCS[index], sequence, sequence, true, true, true);
    media.extensions.extend(named.then(|| (5, RIDS[index].to_vec())));
    // So that the payload tells its encoding.
    media.payload[7] = u8::try_from(index).unwrap();
    media
}

/// The encodings that the subscriber was sent packets of, each with its number.
fn seen(world: &mut World, subscriber: &mut Peer) -> Vec<(u8, u16)> {
    world.flush();
    subscriber.take(world).iter().map(|packet| (packet.payload[7], number(&packet.payload))).collect()
}

#[test]
fn encodings_that_were_left_out_reach_nobody_whichever_comes_first() {
    let (mut world, mut publisher, mut subscriber) = stage();
    world.put(accepting(&[b"f"]));
    for number in 1..=20 {
        // Some senders say their names only at first.
        (0..3).for_each(|index| publisher.send(&mut world, &frame(index, number, index == 2 || number < 10)));
    }
    assert_eq!(seen(&mut world, &mut subscriber), (1..=20).map(|number| (2, number)).collect::<Vec<_>>());
    assert_eq!(world.discards(Discard::RidUnknown), 40);
    let track = world.engine.tracks.get(track_id(1).0).unwrap();
    assert_eq!(track.streams.iter().map(|stream| stream.ssrc).collect::<Vec<_>>(), [Some(SSRCS[2])]);
}

#[test]
fn repairs_of_an_encoding_that_was_left_out_repair_nothing() {
    for said in [Some(b"q".to_vec()), None] {
        let (mut world, mut publisher, mut subscriber) = stage();
        world.put(accepting(&[b"f"]));
        for number in [1, 2, 4] {
            publisher.send(&mut world, &frame(2, number, true));
        }
        // The number that is missing of another encoding.
        let mut repair = super::stage::repair(&frame(0, 3, false), 1);
        repair.ssrc = REPAIRS.0;
        repair.extensions.extend(said.map(|name| (6, name)));
        publisher.send(&mut world, &repair);
        assert_eq!(seen(&mut world, &mut subscriber), [(2, 1), (2, 2), (2, 4)]);
        assert_eq!(world.discards(Discard::RidUnknown), 1);
        let mut own = super::stage::repair(&frame(2, 3, false), 2);
        own.extensions.push((6, b"f".to_vec()));
        publisher.send(&mut world, &own);
        assert_eq!(seen(&mut world, &mut subscriber), [(2, 3)], "its own repairs it");
    }
}

#[test]
fn what_was_left_out_is_not_told_as_lost_and_taken_once_over_a_roll_over_of_its_numbers() {
    let (mut world, mut publisher, mut subscriber) = stage();
    world.put(accepting(&[b"f"]));
    let mut told = Vec::new();
    let mut last = Vec::new();
    for round in 0..40_u16 {
        for (place, index) in [2_usize, 0].into_iter().enumerate() {
            let mut media = frame(index, 65_516_u16.wrapping_add(round), true);
            let transport_wide = round * 2 + u16::try_from(place).unwrap();
            media.extensions.push((3, transport_wide.to_be_bytes().to_vec()));
            last = publisher.seal(&media);
            world.receive(publisher.five_tuple, &last);
        }
        world.pass(10);
        for feedback in of_kind::<TransportLayerCc>(&publisher.take_reports(&mut world)) {
            assert_eq!(feedback.recv_deltas.len(), usize::from(feedback.packet_status_count), "none is missing");
            told.extend((0..feedback.packet_status_count).map(|offset| feedback.base_sequence_number + offset));
        }
    }
    assert!(told.len() > 60 && told.iter().copied().eq(0..u16::try_from(told.len()).unwrap()), "{told:?}");
    assert_eq!((world.discards(Discard::RidUnknown), world.discards(Discard::SrtpForged)), (40, 0));
    world.receive(publisher.five_tuple, &last);
    assert_eq!((world.discards(Discard::RidUnknown), world.discards(Discard::SrtpReplayed)), (40, 1));
    assert!(seen(&mut world, &mut subscriber).iter().all(|(encoding, _)| *encoding == 2));
}

#[test]
fn an_encoding_that_is_accepted_later_goes_on_with_its_numbers() {
    let (mut world, mut publisher, mut subscriber) = stage();
    world.put(accepting(&[b"f"]));
    for number in [65_534_u16, 65_535, 0, 1] {
        publisher.send(&mut world, &frame(0, number, true));
    }
    world.put(accepting(&[b"q"]));
    publisher.send(&mut world, &frame(0, 2, true));
    assert_eq!(seen(&mut world, &mut subscriber), [(0, 2)]);
    assert_eq!(world.discards(Discard::SrtpForged), 0);
}

#[test]
fn encodings_that_a_later_answer_leaves_out_or_puts_in_another_order_are_who_they_are() {
    let (mut world, mut publisher, mut subscriber) = stage();
    world.put(accepting(&RIDS));
    let mut sent = 0;
    let mut send_all = |world: &mut World, publisher: &mut Peer| {
        sent += 1;
        // Senders stop saying their names once they are known.
        (0..3).for_each(|index| publisher.send(world, &frame(index, sent, sent == 1)));
        world.pass(40);
    };
    (0..10).for_each(|_| send_all(&mut world, &mut publisher));
    let best = |seen: Vec<(u8, u16)>| seen.last().unwrap().0;
    assert_eq!(best(seen(&mut world, &mut subscriber)), 2);
    world.events.clear();
    world.put(accepting(&[b"f", b"h"]));
    (0..10).for_each(|_| send_all(&mut world, &mut publisher));
    assert_eq!(best(seen(&mut world, &mut subscriber)), 1, "it is the best one now");
    let track = world.engine.tracks.get(track_id(1).0).unwrap();
    let order: Vec<_> = track.streams.iter().map(|stream| (stream.rid, stream.ssrc)).collect();
    assert_eq!(order, [(rid(b"f"), Some(SSRCS[2])), (rid(b"h"), Some(SSRCS[1]))]);
    world.put(accepting(&[b"h"]));
    (0..10).for_each(|_| send_all(&mut world, &mut publisher));
    assert!(seen(&mut world, &mut subscriber).iter().all(|(encoding, _)| *encoding == 1));
    assert_eq!(world.discards(Discard::SrtpForged), 0);
}

#[test]
fn what_was_learnt_of_an_encoding_that_is_left_out_now_is_forgotten_by_the_controller() {
    let (mut world, mut publisher, mut subscriber) = stage();
    world.put(accepting(&[b"f"]));
    world.events.clear();
    let learnt = Stream { track: track_id(1), ssrc: SSRCS[0], role: StreamRole::Media, rid: rid(b"q") };
    assert_eq!(world.try_put(Object::Stream(learnt), true), Ok(()), "that ends nobody's connection");
    world.flush();
    let forgotten = Event::Forgotten(Key::Stream(track_id(1), SSRCS[0]));
    assert_eq!(world.count_events(|event| *event == forgotten), 1);
    publisher.send(&mut world, &frame(0, 1, false));
    assert_eq!(seen(&mut world, &mut subscriber), []);
}

#[test]
fn of_announced_ssrcs_one_that_was_left_out_and_its_repairs_reach_nobody() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let encoding = |index: usize| Encoding { rid: None, ssrc: Some(SSRCS[index]), rtx: None };
    world.put(Object::Track(plan::Track { encodings: vec![encoding(0), encoding(1)], ..video_track(1, 1) }));
    for number in 1..=10 {
        (0..3).rev().for_each(|index| publisher.send(&mut world, &frame(index, number, false)));
        let repair = super::stage::repair(&frame(2, number, false), number);
        publisher.send(&mut world, &Media { ssrc: REPAIRS.0, ..repair });
        world.pass(40);
    }
    let seen = seen(&mut world, &mut subscriber);
    assert!(seen.last().is_some_and(|(encoding, _)| *encoding == 1), "{seen:?}");
    assert!(seen.iter().all(|(encoding, _)| *encoding < 2), "{seen:?}");
    assert_eq!(world.discards(Discard::SsrcUnknown), 20);
}
