//! A killed engine and its successor.

use std::time::Duration;

use sluice_protocol::event::{Event, Refusal};
use sluice_protocol::ids::TransportId;
use sluice_protocol::media::{Label, MediaKind, Rid, Ssrc};
use sluice_protocol::plan::{Cookie, Encoding, Key, Object, Plan, Track};
use sluice_protocol::table::{Role, RowIndex};
use sluice_protocol::time::NtpTime;

use rtcp::goodbye::Goodbye;
use rtcp::sender_report::SenderReport;
use rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};

use super::peer::{Media, Peer, is_pli, of_kind};
use super::stage::{CAMERA, MICROPHONE, frame, number, repair, sound, stage};
use super::world::*;
use crate::discard::Discard;

/// What a control plane knows when the data plane dies: its plan, with what was learnt.
fn plan_of(world: &World) -> Plan {
    let mut plan = Plan::new();
    for slot in [1, 2] {
        plan.put(Object::Transport(transport(slot)));
    }
    let video = world.engine.tracks.get(track_id(1).0).map(|track| track.plan.clone());
    plan.put(Object::Track(video.unwrap_or_else(|| video_track(1, 1))));
    plan.put(Object::Track(audio_track(2, 1)));
    plan.put(Object::Egress(video_egress(1, 2, 1)));
    plan.put(Object::Egress(audio_egress(2, 2, 2)));
    for event in &world.events {
        if let Event::Learnt(object) = event {
            plan.put(Object::clone(object));
        }
    }
    plan
}

fn resumed(world: World) -> World {
    let plan = plan_of(&world);
    let mut world = world.restart(Duration::from_millis(200));
    for object in plan.objects() {
        world.try_put(object.clone(), true).expect("everything has its row");
    }
    world
}

/// Packets as they left: kind, sequence number, timestamp, payload's number.
fn take(world: &mut World, subscriber: &mut Peer) -> Vec<(MediaKind, u16, u32, u16)> {
    let packets = subscriber.take(world);
    let read = |packet: &rtp::packet::Packet| {
        let is_video = packet.header.payload_type == VIDEO_OUT.0;
        let kind = if is_video { MediaKind::Video } else { MediaKind::Audio };
        let number = if is_video { number(&packet.payload) } else { 0 };
        (kind, packet.header.sequence_number, packet.header.timestamp, number)
    };
    packets.iter().map(read).collect()
}

#[test]
fn a_successor_goes_on_past_the_last_index_without_any_renegotiation() {
    let (mut world, mut publisher, mut subscriber) = stage();
    for number in 1..=10 {
        publisher.send(&mut world, &frame(number, number == 1));
        publisher.send(&mut world, &sound(number));
        world.pass(20);
    }
    let before = take(&mut world, &mut subscriber);
    let mut world = resumed(world);
    for number in 21..=25 {
        let (mut picture, mut sound) = (frame(number, false), sound(number));
        // The browser has stopped saying its mid, and sends no request before the next one is due.
        picture.extensions.clear();
        sound.extensions.clear();
        publisher.send(&mut world, &picture);
        publisher.send(&mut world, &sound);
        world.pass(20);
    }
    let after = take(&mut world, &mut subscriber);
    for kind in [MediaKind::Video, MediaKind::Audio] {
        let of = |packets: &[(MediaKind, u16, u32, u16)]| -> Vec<(u16, u32)> {
            packets.iter().filter(|packet| packet.0 == kind).map(|packet| (packet.1, packet.2)).collect()
        };
        let (before, after) = (of(&before), of(&after));
        assert_eq!((before.len(), after.len()), (10, 5), "{kind:?}");
        let step = after[0].0.wrapping_sub(before[9].0);
        assert!((1..=2).contains(&step), "{kind:?} went on by {step}");
        assert!(after.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)), "{kind:?}");
        let passed = after[0].1.wrapping_sub(before[9].1);
        let expected = if kind == MediaKind::Video { 11 * 3000 } else { 11 * 960 };
        assert_eq!(passed, expected, "{kind:?} keeps its timeline");
    }
}

#[test]
fn what_an_ssrc_carries_is_known_even_if_nobody_was_told_of_it_and_its_sender_does_not_repeat_it() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let encodings = [b"l", b"h"].map(|rid| Encoding { rid: Label::new(rid).map(Rid), ssrc: None, rtx: None });
    world.put(Object::Track(Track { encodings: encodings.to_vec(), ..video_track(1, 1) }));
    world.put(Object::Track(video_track(3, 1)));
    let ids = video_track(1, 1).extensions;
    let layers = [(CAMERA.0, b"l"), (CAMERA.0 + 0x100, b"h")];
    for (ssrc, rid) in layers {
        let mut media = Media { ssrc, ..frame(1, true) };
        media.extensions.push((ids.rid, rid.to_vec()));
        publisher.send(&mut world, &media);
    }
    let mut repaired = repair(&frame(2, false), 70);
    repaired.extensions.push((ids.repaired_rid, b"h".to_vec()));
    publisher.send(&mut world, &repaired);
    world.flush();
    let encodings = |world: &World| -> Vec<(Option<Rid>, Option<Ssrc>)> {
        let track = world.engine.tracks.get(track_id(1).0).unwrap();
        track.streams.iter().map(|stream| (stream.rid, stream.ssrc)).collect()
    };
    let known = encodings(&world);
    assert_eq!(known.len(), 2);
    subscriber.take(&mut world);
    world.events.clear();
    let mut world = resumed(world);
    world.put(Object::Track(video_track(3, 1)));
    let media = |ssrc: u32, number: u16| Media { ssrc, ..frame(number, false) };
    let [(low, _), (high, _)] = layers;
    for mut unnamed in [media(low, 3), media(high, 3), media(high, 5), repair(&media(high, 4), 71)] {
        unnamed.extensions.clear();
        publisher.send(&mut world, &unnamed);
    }
    world.flush();
    assert_eq!((encodings(&world), world.discards(Discard::SsrcUnknown)), (known, 0));
    let forwarded: Vec<u16> = subscriber.take(&mut world).iter().map(|packet| number(&packet.payload)).collect();
    assert_eq!(forwarded, [3, 5, 4], "the upper layer, and its repair");
    let learnt = |event: &Event| matches!(event, Event::Learnt(object) if matches!(**object, Object::Stream(_)));
    assert_eq!(world.count_events(learnt), 3, "and now the controller hears of it");
}

#[test]
fn video_resumes_with_a_hole_so_that_a_torn_frame_does_not_join_the_next() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    let before = take(&mut world, &mut subscriber)[0].1;
    let mut world = resumed(world);
    publisher.send(&mut world, &frame(2, false));
    world.flush();
    assert_eq!(take(&mut world, &mut subscriber)[0].1, before.wrapping_add(2));
}

#[test]
fn publishers_are_asked_for_a_key_frame_at_once() {
    let (mut world, mut publisher, _) = stage();
    publisher.send(&mut world, &frame(1, true));
    world.pass(1000);
    publisher.take_reports(&mut world);
    let mut world = resumed(world);
    world.flush();
    assert_eq!(publisher.take_reports(&mut world).iter().filter(|packet| is_pli(packet.as_ref())).count(), 1);
}

#[test]
fn nothing_of_before_can_be_played_back_to_a_successor() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let sealed: Vec<Vec<u8>> = (1..=5).map(|number| publisher.seal(&frame(number, number == 1))).collect();
    for packet in &sealed {
        world.receive(publisher.five_tuple, packet);
    }
    world.flush();
    take(&mut world, &mut subscriber);
    let mut world = resumed(world);
    for packet in &sealed {
        world.receive(publisher.five_tuple, packet);
    }
    world.flush();
    assert_eq!(world.discards(Discard::SrtpReplayed), 5);
    assert!(take(&mut world, &mut subscriber).is_empty());
}

#[test]
fn reports_of_before_can_not_be_played_back_to_a_successor() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    let asked = TransportLayerNack {
        sender_ssrc: 77,
        media_ssrc: video_egress(1, 2, 1).ssrc.0,
        nacks: nack_pairs_from_sequence_numbers(&[1]),
    };
    let goodbye = Goodbye { sources: vec![CAMERA.0], ..Goodbye::default() };
    let recorded = [
        (publisher.five_tuple, publisher.seal_rtcp(&[Box::new(goodbye)])),
        (subscriber.five_tuple, subscriber.seal_rtcp(&[Box::new(asked.clone())])),
    ];
    // Once is what their senders meant.
    for (five_tuple, datagram) in &recorded {
        world.receive(*five_tuple, datagram);
    }
    let mut world = resumed(world);
    publisher.send(&mut world, &frame(2, true));
    world.flush();
    world.events.clear();
    for (five_tuple, datagram) in &recorded {
        world.receive(*five_tuple, datagram);
    }
    world.flush();
    assert_eq!(world.discards(Discard::SrtcpReplayed), 2);
    assert_eq!(world.count_events(|event| matches!(event, Event::TrackStopped { .. })), 0);
    assert_eq!(world.discards(Discard::RepeatGone), 0, "nothing was asked for");
    subscriber.send_rtcp(&mut world, &[Box::new(asked)]);
    assert_eq!(world.discards(Discard::RepeatGone), 1, "a new report is taken");
}

#[test]
fn an_ssrc_of_which_only_the_table_knows_can_not_be_played_back_either() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let sealed: Vec<Vec<u8>> = (1..=3).map(|number| publisher.seal(&sound(number))).collect();
    for packet in &sealed {
        world.receive(publisher.five_tuple, packet);
    }
    // It dies before anybody has heard of what it learnt.
    world.events.clear();
    let mut world = resumed(world);
    for packet in &sealed {
        world.receive(publisher.five_tuple, packet);
    }
    world.flush();
    assert_eq!(world.discards(Discard::SrtpReplayed), 3);
    assert!(take(&mut world, &mut subscriber).is_empty());
    publisher.send(&mut world, &sound(4));
    world.flush();
    assert_eq!(take(&mut world, &mut subscriber).len(), 1);
    assert_eq!(rows_of(&world, transport_id(1), Role::Ingress), 1, "one SSRC, one row");
}

fn rows_of(world: &World, transport: TransportId, role: Role) -> usize {
    let keys = (0..256).filter_map(|row| world.table.key(RowIndex(row)));
    keys.filter(|key| key.transport == transport && key.role == role).count()
}

#[test]
fn rows_of_what_went_while_the_engine_was_dead_are_free_once_the_plan_is_there() {
    let (mut world, mut publisher, _) = stage();
    publisher.send(&mut world, &sound(1));
    world.flush();
    let mut world = world.restart(Duration::from_millis(200));
    world.try_put(Object::Transport(transport(1)), true).unwrap();
    let rows = |world: &World| [1, 2].map(|slot| rows_of(world, transport_id(slot), Role::Transport));
    let egresses = |world: &World| rows_of(world, transport_id(2), Role::Egress);
    assert_eq!((rows(&world), egresses(&world)), ([1, 1], 2), "all of it may still be put");
    world.put(Object::Cookie(Cookie { key: 1, bytes: Vec::new() }));
    assert_eq!((rows(&world), egresses(&world)), ([1, 0], 0));
}

#[test]
fn an_outage_is_not_reported_as_the_publishers_loss() {
    let (mut world, mut publisher, _) = stage();
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    let mut world = resumed(world);
    for number in 100..=110 {
        publisher.send(&mut world, &frame(number, false));
    }
    world.pass(1100);
    let reports: Vec<rtcp::receiver_report::ReceiverReport> = of_kind(&publisher.take_reports(&mut world));
    let block = reports.iter().flat_map(|report| &report.reports).find(|block| block.ssrc == CAMERA.0).unwrap();
    assert_eq!((block.fraction_lost, block.total_lost), (0, 0));
}

#[test]
fn keys_are_not_resumed_without_their_rows() {
    let mut world = World::new();
    assert_eq!(world.try_put(Object::Transport(transport(1)), true), Err(Refusal::NoTableRow));
    world.put(Object::Transport(transport(2)));
    assert_eq!(world.try_put(Object::Egress(video_egress(1, 2, 1)), true), Err(Refusal::NoTableRow));
    let half = sluice_protocol::plan::Egress { rtx: None, ..video_egress(2, 2, 1) };
    world.put(Object::Egress(half));
    let mut world = world.restart(Duration::ZERO);
    assert_eq!(world.try_put(Object::Transport(transport(2)), true), Ok(()));
    assert_eq!(
        world.try_put(Object::Egress(video_egress(2, 2, 1)), true),
        Err(Refusal::NoTableRow),
        "the row of its repair stream is missing"
    );
}

#[test]
fn the_rtcp_index_goes_on_past_the_last_one_used() {
    let (mut world, mut publisher, _) = stage();
    let index = |datagram: &[u8]| u32::from_be_bytes(*datagram.last_chunk().unwrap()) & 0x7fff_ffff;
    publisher.send(&mut world, &frame(1, false));
    world.pass(2000);
    let used: Vec<u32> = world.inbox(publisher.five_tuple).iter().map(|datagram| index(datagram)).collect();
    let mut world = resumed(world);
    world.pass(2000);
    let next: Vec<u32> = world.inbox(publisher.five_tuple).iter().map(|datagram| index(datagram)).collect();
    assert!(!used.is_empty() && !next.is_empty());
    assert!(used.iter().max() < next.iter().min(), "{used:?} {next:?}");
}

#[test]
fn an_ssrc_that_comes_back_on_its_transport_goes_on_past_its_indices() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &sound(1));
    world.flush();
    let before = take(&mut world, &mut subscriber)[0].1;
    world.remove(Key::Egress(egress_id(2)));
    world.put(Object::Egress(audio_egress(2, 2, 2)));
    publisher.send(&mut world, &sound(2));
    world.flush();
    let after = take(&mut world, &mut subscriber)[0].1;
    assert!((1..=2).contains(&after.wrapping_sub(before)));
}

/// Sends picture and sound `number`, and reports of a publisher whose clock is years off and which the network delivers
/// `late` milliseconds after they were made; returns what the subscriber is then told.
fn exchange_reports(
    world: &mut World,
    publisher: &mut Peer,
    subscriber: &mut Peer,
    number: u16,
    late: u64,
) -> Vec<SenderReport> {
    publisher.send(world, &frame(number, number == 1));
    publisher.send(world, &sound(number));
    let made = world.now;
    world.pass(late);
    for (ssrc, rate) in [(CAMERA, 90_000), (MICROPHONE, 48_000)] {
        let ntp_time = NtpTime::from_unix_nanos(made.nanos).0;
        let rtp_time = u32::try_from(made.nanos / 1_000_000 * (rate / 1000)).unwrap();
        let report = SenderReport { ssrc: ssrc.0, ntp_time, rtp_time, ..SenderReport::default() };
        publisher.send_rtcp(world, &[Box::new(report)]);
    }
    world.pass(1000);
    let reports = of_kind(&subscriber.take_reports(world));
    assert_eq!(reports.len(), 2, "one for each stream");
    reports
}

#[test]
fn what_viewers_were_told_about_sound_and_picture_holds_after_a_kill() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let before = exchange_reports(&mut world, &mut publisher, &mut subscriber, 1, 20);
    for (round, late) in [(1_u16, 75), (2, 1)] {
        world = resumed(world);
        let after = exchange_reports(&mut world, &mut publisher, &mut subscriber, 40 * round, late);
        for (ssrc, rate) in [(video_egress(1, 2, 1).ssrc, 90_000), (audio_egress(2, 2, 2).ssrc, 48_000)] {
            let of = |reports: &[SenderReport]| reports.iter().find(|report| report.ssrc == ssrc.0).unwrap().clone();
            let (before, after) = (of(&before), of(&after));
            let elapsed = NtpTime(after.ntp_time).nanos_since(NtpTime(before.ntp_time));
            let ticks = i64::from(after.rtp_time.wrapping_sub(before.rtp_time));
            let jump = ticks * 1_000_000_000 / rate - elapsed;
            assert!(jump.abs() < 5_000_000, "{ssrc:?} jumps by {jump} ns when reports come {late} ms late");
        }
    }
}

#[test]
fn counts_in_sender_reports_go_on_and_statistics_begin_anew() {
    let (mut world, mut publisher, mut subscriber) = stage();
    exchange_reports(&mut world, &mut publisher, &mut subscriber, 1, 1);
    for number in 2..=9 {
        publisher.send(&mut world, &frame(number, false));
        world.pass(10);
    }
    let counts = |reports: &[SenderReport]| {
        let report = reports.iter().find(|report| report.ssrc == video_egress(1, 2, 1).ssrc.0).unwrap();
        (report.packet_count, report.octet_count)
    };
    let mut world = resumed(world);
    let after = exchange_reports(&mut world, &mut publisher, &mut subscriber, 20, 1);
    assert_eq!(counts(&after), (10, 10 * 1000));
    let mut stats = sluice_protocol::stats::Stats::default();
    world.engine.stats(&mut stats);
    let egress = stats.egress.iter().find(|stats| stats.egress == egress_id(1)).unwrap();
    assert_eq!((egress.packets, egress.bytes), (1, 1000));
}

#[test]
fn what_was_planned_when_the_engine_died_counts_so_that_no_count_goes_back() {
    let (mut world, mut publisher, mut subscriber) = stage();
    exchange_reports(&mut world, &mut publisher, &mut subscriber, 1, 1);
    world.wire.room = Some(0);
    publisher.send(&mut world, &frame(2, false));
    world.flush();
    let mut world = resumed(world);
    let after = exchange_reports(&mut world, &mut publisher, &mut subscriber, 20, 1);
    assert!(after.iter().any(|report| (report.packet_count, report.octet_count) == (3, 3 * 1000)), "{after:?}");
}

#[test]
fn a_stream_that_only_a_predecessor_sent_says_good_bye() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    let mut world = resumed(world);
    world.flush();
    subscriber.take(&mut world);
    world.remove(Key::Egress(egress_id(1)));
    world.remove(Key::Egress(egress_id(2)));
    world.flush();
    let goodbyes: Vec<Goodbye> = of_kind(&subscriber.take_reports(&mut world));
    assert_eq!(goodbyes.len(), 1, "of the stream that was never sent there is none");
}

#[test]
fn a_successor_takes_whichever_of_a_streams_ssrcs_speaks_first() {
    for (before, now) in [(0xbeef_u32, CAMERA.0), (CAMERA.0, 0xbeef)] {
        let (mut world, mut publisher, mut subscriber) = stage();
        for (ssrc, numbers) in [(before, 1..=3), (now, 501..=503)] {
            for number in numbers {
                let mut media = frame(number, number % 500 == 1);
                media.ssrc = ssrc;
                publisher.send(&mut world, &media);
                world.pass(33);
            }
        }
        assert_eq!(take(&mut world, &mut subscriber).len(), 6);
        let mut world = resumed(world);
        for number in 510..=512 {
            let mut media = frame(number, false);
            media.ssrc = now;
            media.extensions.clear();
            publisher.send(&mut world, &media);
            world.pass(33);
        }
        let numbers: Vec<u16> = take(&mut world, &mut subscriber).iter().map(|packet| packet.3).collect();
        assert_eq!(numbers, [510, 511, 512], "{before:#x}, then {now:#x}");
    }
}

#[test]
fn a_publisher_whose_former_ssrc_was_asked_for_a_key_frame_is_asked_by_its_present_one() {
    let (mut world, mut publisher, _) = stage();
    let of = |ssrc, number, key| Media { ssrc, ..frame(number, key) };
    publisher.send(&mut world, &frame(1, true));
    world.pass(600);
    publisher.send(&mut world, &of(0xbeef, 501, true));
    world.pass(600);
    publisher.take_reports(&mut world);
    let mut world = resumed(world);
    publisher.send(&mut world, &of(0xbeef, 510, false));
    world.pass(250);
    let losses: Vec<rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication> =
        of_kind(&publisher.take_reports(&mut world));
    assert!(losses.iter().any(|loss| loss.media_ssrc == 0xbeef), "{losses:?}");
}
