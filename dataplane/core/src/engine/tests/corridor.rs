//! From a publisher to its subscribers.

use rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use sluice_protocol::event::Event;
use sluice_protocol::media::SrtpProfile;
use sluice_protocol::plan::{Key, Object};

use super::peer::{Media, Peer, is_pli, opus, vp8};
use super::stage::{CAMERA, MICROPHONE, frame, number, repair, stage};
use super::world::*;
use crate::discard::Discard;

#[test]
fn what_a_publisher_sends_comes_out_at_a_subscriber() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let mut pictures = Vec::new();
    let mut sounds = Vec::new();
    for frame in 0..50_u16 {
        for part in 0..3_u16 {
            publisher.send(&mut world, &vp8(CAMERA, 500 + frame * 3 + part, frame, frame == 0, part == 0, part == 2));
        }
        publisher.send(&mut world, &opus(MICROPHONE, 900 + frame));
        world.pass(20);
        for packet in subscriber.take(&mut world) {
            match packet.header.payload_type {
                payload_type if payload_type == VIDEO_OUT.0 => pictures.push(packet),
                payload_type if payload_type == AUDIO_OUT.0 => sounds.push(packet),
                other => panic!("payload type {other} was not negotiated"),
            }
        }
    }
    assert_eq!((pictures.len(), sounds.len()), (150, 50));
    for (index, packet) in pictures.iter().enumerate() {
        let index = u16::try_from(index).unwrap();
        assert_eq!(number(&packet.payload), 500 + index);
        assert_eq!(packet.header.ssrc, video_egress(1, 2, 1).ssrc.0);
        assert_eq!(packet.header.sequence_number, pictures[0].header.sequence_number.wrapping_add(index));
        let passed = packet.header.timestamp.wrapping_sub(pictures[0].header.timestamp);
        assert_eq!(passed, u32::from(index / 3) * 3000);
        assert_eq!(packet.header.marker, index % 3 == 2);
        assert_eq!(packet.header.get_extension(9).as_deref(), Some(&b"0"[..]), "the subscriber's mid");
        assert!(packet.header.get_extension(8).is_some(), "abs-send-time under the subscriber's id");
        assert!(packet.header.get_extension(3).is_none(), "nothing that was not negotiated");
    }
    for (index, packet) in sounds.iter().enumerate() {
        assert_eq!(packet.payload[..2], (900 + u16::try_from(index).unwrap()).to_be_bytes());
        assert_eq!(packet.header.get_extension(7).as_deref(), Some(&[0x85][..]), "the audio level");
    }
    assert_eq!(world.engine.discards.iter().map(|(_, count)| count).sum::<u64>(), 0);
}

#[test]
fn every_profile_carries_media() {
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::AesCm128HmacSha1_80] {
        let mut world = World::new();
        for slot in [1, 2] {
            let plan = sluice_protocol::plan::Transport { keys: Some(keys(slot, profile)), ..transport(slot) };
            world.put(Object::Transport(plan));
        }
        world.put(Object::Track(audio_track(2, 1)));
        world.put(Object::Egress(audio_egress(2, 2, 2)));
        let (mut publisher, mut subscriber) = (Peer::with_profile(1, profile), Peer::with_profile(2, profile));
        publisher.connect(&mut world);
        subscriber.connect(&mut world);
        publisher.send(&mut world, &opus(MICROPHONE, 1));
        world.flush();
        assert_eq!(subscriber.take(&mut world).len(), 1, "{profile:?}");
    }
}

#[test]
fn the_packets_of_a_frame_leave_in_one_run_though_they_differ_by_bytes() {
    let (mut world, mut publisher, mut subscriber) = stage();
    for part in 0..10_u16 {
        let mut packet = vp8(CAMERA, part, 0, true, part == 0, part == 9);
        packet.payload.resize(1000 + usize::from(part % 3), 1);
        if part == 9 {
            packet.payload.resize(300, 1);
        }
        publisher.send(&mut world, &packet);
    }
    world.engine.flush(world.now, &mut world.wire);
    let to_subscriber = |run: &&(crate::port::Run, Vec<u8>)| run.0.five_tuple == subscriber.five_tuple;
    assert_eq!(world.wire.runs.iter().filter(to_subscriber).count(), 1);
    world.flush();
    let received = subscriber.take(&mut world);
    let sizes: Vec<usize> = received.iter().map(|packet| packet.payload.len()).collect();
    assert_eq!(sizes, [1000, 1001, 1002, 1000, 1001, 1002, 1000, 1001, 1002, 300], "padding is not payload");
}

#[test]
fn a_viewer_who_sees_no_key_frame_has_the_publisher_asked_for_one() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &vp8(CAMERA, 1, 1, false, true, true));
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 0);
    let asked = publisher.take_reports(&mut world);
    assert_eq!(asked.len(), 1);
    let pli = asked[0].as_any().downcast_ref::<PictureLossIndication>().expect("a picture loss indication");
    assert_eq!(pli.media_ssrc, CAMERA.0);
    publisher.send(&mut world, &vp8(CAMERA, 2, 2, true, true, true));
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 1);
    world.pass(3000);
    assert_eq!(publisher.take_reports(&mut world).iter().filter(|packet| is_pli(packet.as_ref())).count(), 0);
}

#[test]
fn picture_losses_of_many_viewers_reach_the_publisher_as_one() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &vp8(CAMERA, 1, 1, true, true, true));
    world.pass(600);
    publisher.take_reports(&mut world);
    for _ in 0..20 {
        let pli = PictureLossIndication { sender_ssrc: 1, media_ssrc: video_egress(1, 2, 1).ssrc.0 };
        subscriber.send_rtcp(&mut world, &[Box::new(pli)]);
        world.pass(5);
    }
    assert_eq!(publisher.take_reports(&mut world).iter().filter(|packet| is_pli(packet.as_ref())).count(), 1);
}

#[test]
fn media_before_the_keys_is_dropped_and_counted() {
    let mut world = World::new();
    world.put(Object::Transport(sluice_protocol::plan::Transport { keys: None, ..transport(1) }));
    world.put(Object::Track(audio_track(2, 1)));
    let mut publisher = Peer::new(1);
    publisher.connect(&mut world);
    publisher.send(&mut world, &opus(MICROPHONE, 1));
    assert_eq!(world.discards(Discard::NoKeys), 1);
    world.put(Object::Transport(transport(1)));
    publisher.send(&mut world, &opus(MICROPHONE, 2));
    assert_eq!(world.discards(Discard::NoKeys), 1);
    assert_eq!(
        world.count_events(|event| matches!(event, Event::Learnt(object) if matches!(**object, Object::Stream(_)))),
        0
    );
    world.flush();
    assert_eq!(
        world.count_events(|event| matches!(event, Event::Learnt(object) if matches!(**object, Object::Stream(_)))),
        1
    );
}

#[test]
fn a_replayed_packet_is_discarded() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let sealed = publisher.seal(&opus(MICROPHONE, 7));
    for _ in 0..3 {
        world.receive(publisher.five_tuple, &sealed);
    }
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 1);
    assert_eq!(world.discards(Discard::SrtpReplayed), 2);
}

#[test]
fn media_from_an_unvalidated_five_tuple_is_discarded() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let sealed = publisher.seal(&opus(MICROPHONE, 7));
    let mut elsewhere = publisher.five_tuple;
    elsewhere.remote.set_port(9);
    world.receive(elsewhere, &sealed);
    assert_eq!(world.discards(Discard::UnvalidatedFiveTuple), 1);
    world.receive(elsewhere, &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    world.flush();
    assert_eq!(world.discards(Discard::UnvalidatedFiveTuple), 2);
    assert_eq!((subscriber.take(&mut world).len(), world.wire.punts.len()), (0, 0));
}

#[test]
fn the_mid_is_needed_once() {
    let (mut world, mut publisher, mut subscriber) = stage();
    for sequence in 1..=3 {
        let mut packet = opus(MICROPHONE, sequence);
        if sequence > 1 {
            packet.extensions.clear();
        }
        publisher.send(&mut world, &packet);
    }
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 3);
}

#[test]
fn an_ssrc_that_nobody_announced_goes_nowhere_without_its_mid() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let mut packet = opus(MICROPHONE, 1);
    packet.extensions = vec![(4, b"other".to_vec())];
    publisher.send(&mut world, &packet);
    world.flush();
    assert_eq!(world.discards(Discard::SsrcUnknown), 1);
    assert_eq!(subscriber.take(&mut world).len(), 0);
}

#[test]
fn a_participant_who_uses_the_ssrc_of_another_reaches_nobody_else() {
    let (mut world, mut publisher, mut subscriber) = stage();
    world.put(Object::Transport(transport(3)));
    let mut thief = Peer::new(3);
    thief.connect(&mut world);
    publisher.send(&mut world, &opus(MICROPHONE, 1));
    thief.send(&mut world, &opus(MICROPHONE, 2));
    world.flush();
    let received = subscriber.take(&mut world);
    assert_eq!(received.len(), 1);
    assert_eq!(world.discards(Discard::SsrcUnknown), 1);
}

#[test]
fn a_repeated_command_for_a_key_frame_is_no_new_one_and_unknown_streams_do_not_stop_the_rest() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &frame(1, true));
    world.pass(2500);
    subscriber.take_all(&mut world);
    publisher.take_reports(&mut world);
    let mut number = 2;
    let mut asked = |sender_ssrc, sequence_number| {
        let entry = |ssrc| FirEntry { ssrc, sequence_number };
        let fir = vec![entry(0x0bad), entry(video_egress(1, 2, 1).ssrc.0)];
        subscriber.send_rtcp(&mut world, &[Box::new(FullIntraRequest { sender_ssrc, media_ssrc: 0, fir })]);
        world.pass(700);
        // It is answered, so that nothing is asked for again on our own account.
        publisher.send(&mut world, &frame(number, true));
        number += 1;
        world.pass(700);
        publisher.take_reports(&mut world).iter().filter(|packet| is_pli(packet.as_ref())).count()
    };
    assert_eq!([asked(7, 255), asked(7, 255), asked(7, 0), asked(7, 0)], [1, 0, 1, 0]);
    assert_eq!(asked(8, 0), 1, "another sender has another count");
    assert_eq!(world.discards(Discard::RtcpUnknownSsrc), 5);
}

#[test]
fn a_publisher_that_renews_its_ssrcs_is_heard_and_repaired_for_as_long_as_it_likes() {
    let (mut world, mut publisher, mut subscriber) = stage();
    for turn in 0..200_u32 {
        if turn % 20 == 19 {
            publisher.connect(&mut world);
            subscriber.connect(&mut world);
        }
        let renewed = |media: Media, ssrc| Media { ssrc: 0x7000_0000 + 2 * turn + ssrc, ..media };
        publisher.send(&mut world, &renewed(frame(1, true), 0));
        publisher.send(&mut world, &renewed(frame(3, false), 0));
        let mut lost = repair(&frame(2, false), 1);
        lost.extensions = vec![(4, b"v".to_vec())];
        publisher.send(&mut world, &renewed(lost, 1));
        world.pass(100);
        world.step(700);
        assert_eq!(subscriber.take(&mut world).len(), 3, "turn {turn}");
    }
    assert_eq!(world.discards(Discard::StreamsFull), 0);
}

#[test]
fn a_publisher_of_ever_new_ssrcs_fills_neither_memory_nor_the_control_plane() {
    let (mut world, mut publisher, _) = stage();
    for ssrc in 0..1000 {
        let mut packet = opus(MICROPHONE, 1);
        packet.ssrc = ssrc;
        publisher.send(&mut world, &packet);
    }
    world.flush();
    let learnt = |event: &Event| matches!(event, Event::Learnt(object) if matches!(**object, Object::Stream(_)));
    assert_eq!(world.count_events(learnt), 128);
    assert_eq!(world.discards(Discard::StreamsFull), 1000 - 128);
    let transport = world.engine.transports.get(transport_id(1).0).unwrap();
    assert_eq!(transport.sources.iter().count(), 64);
}

#[test]
fn a_straggler_of_the_former_ssrc_does_not_take_its_stream_back() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let stragglers: Vec<Vec<u8>> = (2..4).map(|sequence| publisher.seal(&opus(MICROPHONE, sequence))).collect();
    publisher.send(&mut world, &opus(MICROPHONE, 1));
    let successor = |sequence| Media { ssrc: 0xbeef, ..opus(MICROPHONE, sequence) };
    publisher.send(&mut world, &successor(70));
    world.receive(publisher.five_tuple, &stragglers[0]);
    publisher.send(&mut world, &successor(71));
    world.flush();
    assert_eq!(world.discards(Discard::TooLate), 1);
    assert_eq!(subscriber.take(&mut world).len(), 3);
    let started = |event: &Event| matches!(event, Event::TrackStarted { .. });
    assert_eq!(world.count_events(started), 2);
    world.pass(600);
    world.receive(publisher.five_tuple, &stragglers[1]);
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 1, "after its silence the former one is welcome again");
}

#[test]
fn probes_without_payload_leave_no_hole() {
    let (mut world, mut publisher, mut subscriber) = stage();
    for sequence in 1..=9_u16 {
        let mut packet = vp8(CAMERA, sequence, sequence, sequence == 1, true, true);
        if sequence % 3 == 2 {
            packet.payload.clear();
        }
        publisher.send(&mut world, &packet);
    }
    world.flush();
    let received: Vec<u16> = subscriber.take(&mut world).iter().map(|packet| packet.header.sequence_number).collect();
    assert_eq!(received.len(), 6);
    assert!(received.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{received:?}");
    assert_eq!(world.discards(Discard::Padding), 3);
}

#[test]
fn what_is_muted_is_not_forwarded_and_comes_back_with_a_key_frame() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &vp8(CAMERA, 1, 1, true, true, true));
    world.flush();
    world.put(Object::Track(sluice_protocol::plan::Track { muted: true, ..video_track(1, 1) }));
    publisher.send(&mut world, &vp8(CAMERA, 2, 2, false, true, true));
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 1);
    world.pass(1000);
    publisher.take_reports(&mut world);
    world.put(Object::Track(video_track(1, 1)));
    world.flush();
    assert_eq!(publisher.take_reports(&mut world).iter().filter(|packet| is_pli(packet.as_ref())).count(), 1);
    publisher.send(&mut world, &vp8(CAMERA, 3, 3, true, true, true));
    world.flush();
    let received = subscriber.take(&mut world);
    assert_eq!(received.len(), 1);
    assert_eq!(world.discards(Discard::Muted), 1);
}

#[test]
fn removing_a_subscriber_ends_its_media_and_nobody_elses() {
    let (mut world, mut publisher, mut subscriber) = stage();
    world.put(Object::Transport(transport(3)));
    world.put(Object::Egress(audio_egress(3, 3, 2)));
    let mut other = Peer::new(3);
    other.connect(&mut world);
    world.remove(Key::Transport(transport_id(2)));
    world.remove(Key::Transport(transport_id(2)));
    publisher.send(&mut world, &opus(MICROPHONE, 1));
    world.flush();
    assert_eq!((subscriber.take(&mut world).len(), other.take(&mut world).len()), (0, 1));
}

#[test]
fn silence_ends_no_track_and_what_follows_it_goes_on_where_it_was() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let stopped = |event: &Event| matches!(event, Event::TrackStopped { .. });
    let started = |event: &Event| matches!(event, Event::TrackStarted { .. });
    publisher.send(&mut world, &opus(MICROPHONE, 1));
    publisher.send(&mut world, &vp8(CAMERA, 1, 1, true, true, true));
    world.pass(10);
    let before = subscriber.take(&mut world);
    for _ in 0..30 {
        // The tab is frozen; its browser goes on with ICE.
        publisher.connect(&mut world);
        subscriber.connect(&mut world);
        world.step(20_000);
    }
    assert_eq!((world.count_events(stopped), world.count_events(started)), (0, 2));
    let mut sound = opus(MICROPHONE, 2);
    sound.timestamp += 600 * 48_000;
    publisher.send(&mut world, &sound);
    world.flush();
    let after = subscriber.take(&mut world);
    assert_eq!(after.len(), 1);
    let last = before.iter().find(|packet| packet.header.ssrc == after[0].header.ssrc).unwrap();
    assert_eq!(after[0].header.sequence_number, last.header.sequence_number.wrapping_add(1));
    assert_eq!(after[0].header.timestamp.wrapping_sub(last.header.timestamp), 600 * 48_000 + 960);
    assert_eq!((world.count_events(stopped), world.count_events(started)), (0, 2), "it had never ended");
    let goodbye = rtcp::goodbye::Goodbye { sources: vec![MICROPHONE.0], ..rtcp::goodbye::Goodbye::default() };
    publisher.send_rtcp(&mut world, &[Box::new(goodbye)]);
    world.flush();
    publisher.send(&mut world, &opus(MICROPHONE, 3));
    world.flush();
    assert_eq!((world.count_events(stopped), world.count_events(started)), (1, 3), "a goodbye ends it");
}
