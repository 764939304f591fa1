//! Reasons to discard that no other test sees: each is counted once for its cause, and everybody else goes on.

use sluice_protocol::media::PayloadType;
use sluice_protocol::plan::{Object, Stream, StreamRole};
use sluice_protocol::stats::Stats;
use stun_rs::attributes::stun::{Fingerprint, UserName};
use stun_rs::methods::BINDING;
use stun_rs::{MessageClass, MessageEncoderBuilder, StunMessageBuilder};

use super::peer::{Media, Peer};
use super::stage::{CAMERA, CAMERA_RTX, frame, repair, sound, stage};
use super::world::*;
use crate::discard::Discard;
use crate::limits::SEALED_BYTES_MAX;

/// How many indices the replay window remembers.
const REPLAY_WINDOW: u16 = 1024;

/// Asserts that `discard` alone was counted `count` times since `before`, in what the engine tells too.
fn assert_only(world: &World, before: &Stats, discard: Discard, count: u64) {
    let mut now = Stats::default();
    world.engine.stats(&mut now);
    for (reason, value) in &now.shards[0].discards {
        let earlier = before.shards[0].discards.iter().find(|(name, _)| name == reason).map_or(0, |(_, value)| *value);
        let expected = if reason == discard.name() { count } else { 0 };
        assert_eq!(value - earlier, expected, "{reason}");
    }
}

fn stats(world: &World) -> Stats {
    let mut stats = Stats::default();
    world.engine.stats(&mut stats);
    stats
}

/// Asserts that sound still goes through.
fn assert_goes_on(world: &mut World, publisher: &mut Peer, subscriber: &mut Peer, sequence: u16) {
    world.flush();
    subscriber.take(world);
    publisher.send(world, &sound(sequence));
    world.flush();
    assert_eq!(subscriber.take(world).len(), 1);
}

#[test]
fn stun_that_answers_or_only_indicates_is_unexpected_and_not_answered() {
    let (mut world, mut publisher, mut subscriber) = stage();
    world.inbox(publisher.five_tuple);
    let before = stats(&world);
    for class in [MessageClass::Indication, MessageClass::SuccessResponse, MessageClass::ErrorResponse] {
        let name = format!("{}:theirs", publisher.ufrag.to_text().as_str());
        let message = StunMessageBuilder::new(BINDING, class)
            .with_attribute(UserName::new(name).unwrap())
            .with_attribute(Fingerprint::default())
            .build();
        let mut buffer = vec![0; 512];
        let size = MessageEncoderBuilder::default().build().encode(&mut buffer, &message).unwrap();
        world.receive(publisher.five_tuple, &buffer[..size]);
    }
    world.flush();
    assert_eq!(world.inbox(publisher.five_tuple), Vec::<Vec<u8>>::new());
    assert_only(&world, &before, Discard::StunUnexpected, 3);
    assert_goes_on(&mut world, &mut publisher, &mut subscriber, 1);
}

#[test]
fn rtp_without_a_whole_header_is_malformed() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let before = stats(&world);
    // Half a fixed header, more sources than there are bytes, an extension beyond the end (RFC 3550 section 5.1).
    let mut sources = vec![0; 20];
    sources[..2].copy_from_slice(&[0x8f, 111]);
    let mut extension = vec![0; 20];
    extension[..2].copy_from_slice(&[0x90, 111]);
    extension[12..16].copy_from_slice(&[0xbe, 0xde, 0, 9]);
    for malformed in [&[0x80, 111, 0, 1, 0, 0][..], &sources, &extension] {
        world.receive(publisher.five_tuple, malformed);
    }
    assert_only(&world, &before, Discard::RtpMalformed, 3);
    assert_goes_on(&mut world, &mut publisher, &mut subscriber, 1);
}

#[test]
fn srtp_from_below_the_replay_window_is_too_old_although_it_was_never_seen() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &sound(1));
    let (too_old, oldest) = (publisher.seal(&sound(2)), publisher.seal(&sound(3)));
    // The window reaches from the newest number to the one that is its size less one below.
    let newest = 3 + REPLAY_WINDOW - 1;
    publisher.send(&mut world, &sound(newest));
    let before = stats(&world);
    world.receive(publisher.five_tuple, &too_old);
    assert_only(&world, &before, Discard::SrtpTooOld, 1);
    world.receive(publisher.five_tuple, &oldest);
    assert_eq!(world.discards(Discard::SrtpTooOld), 1, "the edge of the window is in it");
    assert_goes_on(&mut world, &mut publisher, &mut subscriber, newest + 1);
}

#[test]
fn payload_types_that_were_not_negotiated_are_unknown_on_new_and_on_known_streams() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let before = stats(&world);
    let strange = |sequence| Media { payload_type: PayloadType(3), ..sound(sequence) };
    publisher.send(&mut world, &strange(1));
    assert_only(&world, &before, Discard::PayloadTypeUnknown, 1);
    publisher.send(&mut world, &sound(2));
    publisher.send(&mut world, &strange(3));
    assert_eq!(world.discards(Discard::PayloadTypeUnknown), 2);
    assert_goes_on(&mut world, &mut publisher, &mut subscriber, 4);
}

#[test]
fn a_repair_of_a_stream_that_has_sent_nothing_is_malformed() {
    let (mut world, mut publisher, mut subscriber) = stage();
    for (ssrc, role) in [(CAMERA, StreamRole::Media), (CAMERA_RTX, StreamRole::Rtx { of: CAMERA })] {
        world.put(Object::Stream(Stream { track: track_id(1), ssrc, role, rid: None }));
    }
    let before = stats(&world);
    publisher.send(&mut world, &repair(&frame(1, true), 1));
    assert_only(&world, &before, Discard::RtxMalformed, 1);
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 1, "the stream itself begins");
    assert_goes_on(&mut world, &mut publisher, &mut subscriber, 1);
}

#[test]
fn rtcp_that_is_no_compound_is_malformed_and_what_stands_before_the_fault_counts() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &frame(1, true));
    world.step(1000);
    publisher.take_reports(&mut world);
    let before = stats(&world);
    // A picture loss indication, whole, then a packet whose length goes beyond the end (RFC 3550 section 6.4.1).
    let ssrc = video_egress(1, 2, 1).ssrc.0;
    let mut compound = vec![0x81, 206, 0, 2, 0, 0, 0, 7];
    compound.extend(ssrc.to_be_bytes());
    compound.extend([0x80, 200, 0, 9, 0, 0, 0, 7]);
    subscriber.send_plain_rtcp(&mut world, &compound);
    world.receive(subscriber.five_tuple, &[0x80, 200, 0, 0]);
    assert_only(&world, &before, Discard::RtcpMalformed, 2);
    world.step(1);
    let reports = publisher.take_reports(&mut world);
    assert!(reports.iter().any(|packet| super::peer::is_pli(packet.as_ref())), "{reports:?}");
    assert_goes_on(&mut world, &mut publisher, &mut subscriber, 1);
}

#[test]
fn a_packet_that_is_too_large_with_the_subscribers_header_is_oversized_for_that_one() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &sound(1));
    world.flush();
    subscriber.take(&mut world);
    let before = stats(&world);
    let large = Media { payload: vec![7; SEALED_BYTES_MAX], extensions: Vec::new(), ..sound(2) };
    publisher.send(&mut world, &large);
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 0);
    assert_only(&world, &before, Discard::EgressOversized, 1);
    assert_goes_on(&mut world, &mut publisher, &mut subscriber, 3);
}
