//! Losses on the way in and on the way out.

use rtcp::transport_feedbacks::transport_layer_nack::{NackPair, TransportLayerNack, nack_pairs_from_sequence_numbers};
use sluice_protocol::media::SrtpProfile;
use sluice_protocol::plan::Object;

use super::super::forward::seal;
use super::peer::{Media, Peer, of_kind};
use super::stage::{CAMERA, frame, number, repair, stage};
use super::world::*;
use crate::discard::Discard;
use crate::transport::Open;

fn asked(world: &mut World, publisher: &mut Peer) -> Vec<u16> {
    let nacks: Vec<TransportLayerNack> = of_kind(&publisher.take_reports(world));
    assert!(nacks.iter().all(|nack| nack.media_ssrc == CAMERA.0));
    nacks.iter().flat_map(|nack| nack.nacks.iter().flat_map(NackPair::packet_list)).collect()
}

#[test]
fn what_is_lost_on_the_way_in_is_asked_for_and_its_repair_forwarded() {
    let (mut world, mut publisher, mut subscriber) = stage();
    for number in [1, 2, 5] {
        publisher.send(&mut world, &frame(number, number == 1));
        world.flush();
    }
    assert_eq!(asked(&mut world, &mut publisher), [0_u16; 0]);
    world.pass(6);
    assert_eq!(asked(&mut world, &mut publisher), [3, 4]);
    for (number, sequence) in [(3, 70), (4, 71)] {
        publisher.send(&mut world, &repair(&frame(number, false), sequence));
    }
    publisher.send(&mut world, &frame(3, false));
    world.pass(2000);
    assert_eq!(asked(&mut world, &mut publisher), [0_u16; 0]);
    let received = subscriber.take(&mut world);
    let first = received[0].header.sequence_number;
    let order: Vec<(u16, u16)> = received
        .iter()
        .map(|packet| (number(&packet.payload), packet.header.sequence_number.wrapping_sub(first)))
        .collect();
    assert_eq!(order, [(1, 0), (2, 1), (5, 4), (3, 2), (4, 3)], "each in its own place, once");
    assert_eq!(world.discards(Discard::Duplicate), 1);
}

#[test]
fn a_straggling_repair_of_a_former_ssrc_is_no_packet_of_the_present_one() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let present = |number: u16, key: bool| Media { ssrc: CAMERA.0 + 0x100, ..frame(number, key) };
    for media in [frame(1000, true), frame(1001, false), repair(&frame(1001, false), 70)] {
        publisher.send(&mut world, &media);
        world.flush();
    }
    publisher.send(&mut world, &present(100, true));
    world.flush();
    subscriber.take(&mut world);
    publisher.send(&mut world, &repair(&frame(1002, false), 71));
    assert_eq!(world.discards(Discard::TooLate), 1, "its number would be ahead of what comes next");
    for number in 101..=103 {
        publisher.send(&mut world, &present(number, false));
        world.flush();
    }
    let forwarded: Vec<u16> = subscriber.take(&mut world).iter().map(|packet| number(&packet.payload)).collect();
    assert_eq!(forwarded, [101, 102, 103]);
    world.pass(500);
    publisher.send(&mut world, &present(105, false));
    publisher.send(&mut world, &repair(&present(104, false), 72));
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 2, "a publisher may keep its repair SSRC");
}

#[test]
fn what_never_comes_is_asked_for_a_bounded_number_of_times() {
    let (mut world, mut publisher, _) = stage();
    publisher.send(&mut world, &frame(1, true));
    publisher.send(&mut world, &frame(3, false));
    world.pass(5000);
    let asked = asked(&mut world, &mut publisher);
    assert!((3..=10).contains(&asked.len()), "{asked:?}");
}

#[test]
fn a_publisher_without_negotiated_nack_is_asked_for_nothing() {
    let (mut world, mut publisher, _) = stage();
    world.put(Object::Track(sluice_protocol::plan::Track { nack: false, ..video_track(1, 1) }));
    publisher.send(&mut world, &frame(1, true));
    publisher.send(&mut world, &frame(3, false));
    world.pass(1000);
    assert_eq!(asked(&mut world, &mut publisher), [0_u16; 0]);
}

fn nack(sequences: &[u16]) -> TransportLayerNack {
    TransportLayerNack {
        sender_ssrc: 1,
        media_ssrc: video_egress(1, 2, 1).ssrc.0,
        nacks: nack_pairs_from_sequence_numbers(sequences),
    }
}

#[test]
fn what_is_lost_on_the_way_out_is_sent_again_as_it_was() {
    let (mut world, mut publisher, mut subscriber) = stage();
    for number in 1..=5 {
        publisher.send(&mut world, &frame(number, number == 1));
        world.pass(10);
    }
    let sent = subscriber.take(&mut world);
    let lost = [&sent[1], &sent[3]];
    let sequences: Vec<u16> = lost.iter().map(|packet| packet.header.sequence_number).collect();
    subscriber.send_rtcp(&mut world, &[Box::new(nack(&sequences))]);
    world.flush();
    let again = subscriber.take(&mut world);
    assert_eq!(again.len(), 2);
    for (again, lost) in again.iter().zip(lost) {
        assert_eq!(again.header.ssrc, video_egress(1, 2, 1).rtx.unwrap().0);
        assert_eq!(again.header.payload_type, VIDEO_RTX_OUT.0);
        assert_eq!(again.payload[..2], lost.header.sequence_number.to_be_bytes());
        assert_eq!(again.payload[2..], lost.payload[..], "the same descriptor, the same bytes");
        assert_eq!((again.header.timestamp, again.header.marker), (lost.header.timestamp, lost.header.marker));
    }
    assert_eq!(again[1].header.sequence_number, again[0].header.sequence_number.wrapping_add(1));
}

#[test]
fn a_storm_of_nacks_is_answered_within_limits() {
    let (mut world, mut publisher, mut subscriber) = stage();
    for number in 1..=200 {
        publisher.send(&mut world, &frame(number, number == 1));
        world.pass(1);
    }
    let sequences: Vec<u16> = subscriber.take(&mut world).iter().map(|packet| packet.header.sequence_number).collect();
    for _ in 0..100 {
        subscriber.send_rtcp(&mut world, &[Box::new(nack(&sequences))]);
        world.pass(1);
    }
    let again = subscriber.take(&mut world);
    assert!((200..=2000).contains(&again.len()), "{}", again.len());
    assert!(world.discards(Discard::RepeatLimited) > 0);
    assert!(world.engine.queues.repeats.is_empty());
}

#[test]
fn without_a_repair_stream_nothing_is_repeated() {
    let (mut world, mut publisher, mut subscriber) = stage();
    world.put(Object::Transport(transport(3)));
    let plain = sluice_protocol::plan::Egress { rtx: None, ..video_egress(3, 3, 1) };
    world.put(Object::Egress(plain));
    let mut other = Peer::new(3);
    other.connect(&mut world);
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    subscriber.take(&mut world);
    let sent = other.take(&mut world);
    let nack = TransportLayerNack {
        sender_ssrc: 1,
        media_ssrc: sent[0].header.ssrc,
        nacks: nack_pairs_from_sequence_numbers(&[sent[0].header.sequence_number]),
    };
    other.send_rtcp(&mut world, &[Box::new(nack)]);
    world.flush();
    assert!(other.take(&mut world).is_empty());
    assert_eq!(world.discards(Discard::RepeatGone), 1);
}

#[test]
fn a_probe_that_came_late_is_not_sent_as_a_repeat() {
    let (mut world, mut publisher, mut subscriber) = stage();
    for number in [1, 3] {
        publisher.send(&mut world, &frame(number, number == 1));
        world.flush();
    }
    let sent = subscriber.take(&mut world);
    let missing = sent[0].header.sequence_number.wrapping_add(1);
    assert_eq!(sent[1].header.sequence_number, missing.wrapping_add(1), "its place is kept");
    let mut probe = frame(2, false);
    probe.payload.clear();
    publisher.send(&mut world, &probe);
    subscriber.send_rtcp(&mut world, &[Box::new(nack(&[missing]))]);
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 0);
    assert_eq!(world.discards(Discard::RepeatGone), 1);
}

/// Loses frames `numbers` of a stream with a frame each 20 ms, whose publisher repeats what it is asked for after
/// `delay` milliseconds; returns how often each was asked for.
fn ask_counts(world: &mut World, publisher: &mut Peer, numbers: std::ops::Range<u16>, delay: u64) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut rtx = numbers.start * 10;
    for number in numbers.step_by(10) {
        let mut answers: Vec<(u64, u16)> = Vec::new();
        let mut count = 0;
        for millis in 0..600 {
            if millis % 60 == 0 && millis > 0 {
                publisher.send(world, &frame(number + u16::try_from(millis / 60).unwrap(), false));
            }
            world.step(1);
            for sequence in asked(world, publisher) {
                count += 1;
                answers.push((millis + delay, sequence));
            }
            for (_, sequence) in answers.extract_if(.., |(at, _)| *at <= millis) {
                rtx += 1;
                publisher.send(world, &repair(&frame(sequence, false), rtx));
            }
        }
        counts.push(count);
    }
    counts
}

#[test]
fn a_publisher_is_asked_again_after_as_long_as_its_repairs_take() {
    for (delay, first, later) in [(250, 3, 1), (30, 1, 1)] {
        let (mut world, mut publisher, _) = stage();
        publisher.send(&mut world, &frame(0, true));
        let counts = ask_counts(&mut world, &mut publisher, 1..101, delay);
        assert_eq!(counts[0], first, "{delay} ms: nothing is known at first: {counts:?}");
        assert!(counts[1..].iter().all(|count| *count == later), "{delay} ms: {counts:?}");
        let patience = world.engine.transports.get(transport_id(1).0).unwrap().repair_time.patience(None).as_millis();
        assert!((u128::from(delay)..u128::from(delay) + 60).contains(&patience), "{delay} ms: {patience}");
    }
}

#[test]
fn late_packets_and_unasked_repairs_tell_nothing_of_the_repair_time() {
    let (mut world, mut publisher, _) = stage();
    for number in [1, 3] {
        publisher.send(&mut world, &frame(number, number == 1));
    }
    world.pass(50);
    publisher.send(&mut world, &frame(2, false));
    publisher.send(&mut world, &frame(5, false));
    publisher.send(&mut world, &repair(&frame(4, false), 1));
    world.pass(50);
    let patience = world.engine.transports.get(transport_id(1).0).unwrap().repair_time.patience(None);
    assert_eq!(patience, crate::limits::REPAIR_TIME_UNKNOWN);
}

#[test]
fn what_cannot_be_written_or_sealed_leaves_as_zeros() {
    let open = Open::new(&keys(1, SrtpProfile::AeadAes128Gcm)).unwrap();
    let rtp = |buffer: &mut [u8]| buffer[..12].copy_from_slice(&[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    let seal_in = |size: usize, write: &dyn Fn(&mut [u8]) -> Option<usize>| {
        let mut segment = vec![0xaa; size];
        let sealed = seal(&open, 1, 100, &mut segment, write);
        (sealed, segment.iter().all(|byte| *byte == 0))
    };
    let plain = |buffer: &mut [u8]| {
        buffer.fill(0x5a);
        rtp(buffer);
        Some(100)
    };
    assert_eq!(seal_in(116, &plain), (Some(116), false), "as planned");
    assert_eq!(seal_in(115, &plain), (None, true), "no room for the tag");
    assert_eq!(seal_in(116, &|_| None), (None, true), "what lay there before");
    assert_eq!(seal_in(116, &|buffer| plain(buffer).map(|size| size + 1)), (None, true), "larger than planned");
    assert_eq!(seal_in(116, &|buffer| plain(buffer).filter(|_| false)), (None, true), "half written");
    let other = |buffer: &mut [u8]| {
        buffer.fill(0x5a);
        Some(100)
    };
    assert_eq!(seal_in(116, &other), (None, true), "no RTP");
}
