//! Sender reports, receiver reports, feedback and goodbyes.

use rtcp::goodbye::Goodbye;
use rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport;
use rtcp::source_description::SourceDescription;
use rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, TransportLayerCc};
use rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use sluice_protocol::event::Event;
use sluice_protocol::limits::CNAME_BYTES_MAX;
use sluice_protocol::media::Bitrate;
use sluice_protocol::plan::{self, Key, Object};
use sluice_protocol::stats::Stats;
use sluice_protocol::time::NtpTime;

use super::super::report::OWN_SSRC;
use super::peer::{Check, Compound, Peer, is_pli, of_kind};
use super::stage::{CAMERA, MICROPHONE, frame, sound, stage};
use super::world::*;
use crate::discard::Discard;
use crate::limits::EVENTS_MAX;

fn sender_report(ssrc: u32, ntp: NtpTime, rtp_time: u32) -> SenderReport {
    SenderReport { ssrc, ntp_time: ntp.0, rtp_time, packet_count: 1, octet_count: 1, ..SenderReport::default() }
}

#[test]
fn sender_reports_map_both_streams_to_one_clock_once_the_publisher_has_reported() {
    let (mut world, mut publisher, mut subscriber) = stage();
    // Frame 1 and sound 1 are captured at the same moment, by a clock that is years off.
    let captured = NtpTime::from_unix_nanos(1_000_000_000);
    publisher.send(&mut world, &frame(1, true));
    publisher.send(&mut world, &sound(1));
    world.pass(1500);
    let (media, reports) = subscriber.take_all(&mut world);
    assert!(of_kind::<SenderReport>(&reports).is_empty(), "nothing is known yet");
    let reports = [sender_report(CAMERA.0, captured, 3000), sender_report(MICROPHONE.0, captured, 960)];
    // The second report arrives later than the first: the offset of clocks must not be learnt twice.
    publisher.send_rtcp(&mut world, &[Box::new(reports[0].clone())]);
    world.pass(40);
    publisher.send_rtcp(&mut world, &[Box::new(reports[1].clone())]);
    world.pass(1000);
    let (_, reports) = subscriber.take_all(&mut world);
    let senders: Vec<SenderReport> = of_kind(&reports);
    assert_eq!(senders.len(), 2);
    let instant_of = |payload_type: u8, clock_rate: i64| {
        let packet = media.iter().find(|packet| packet.header.payload_type == payload_type).unwrap();
        let sender = senders.iter().find(|sender| sender.ssrc == packet.header.ssrc).unwrap();
        let size = u32::try_from(packet.payload.len()).unwrap();
        assert_eq!(
            (sender.packet_count, sender.octet_count, sender.reports.len()),
            (1, size, 0),
            "headers do not count"
        );
        let ticks = i64::from(packet.header.timestamp.wrapping_sub(sender.rtp_time).cast_signed());
        NtpTime(sender.ntp_time).offset_nanos(ticks * 1_000_000_000 / clock_rate)
    };
    let (picture, sound) = (instant_of(VIDEO_OUT.0, 90_000), instant_of(AUDIO_OUT.0, 48_000));
    assert!(picture.nanos_since(sound).abs() < 100_000, "lips and voice are {} ns apart", picture.nanos_since(sound));
    let names: Vec<SourceDescription> = of_kind(&reports);
    assert!(names.iter().flat_map(|name| &name.chunks).all(|chunk| chunk.items[0].text == "peer2"));
}

#[test]
fn receiver_reports_tell_loss_and_the_delay_since_the_sender_report() {
    let (mut world, mut publisher, _) = stage();
    for number in [1, 2, 4] {
        publisher.send(&mut world, &frame(number, number == 1));
    }
    let ntp = NtpTime(0x1234_5678_9abc_def0);
    publisher.send_rtcp(&mut world, &[Box::new(sender_report(CAMERA.0, ntp, 0))]);
    world.pass(1000);
    let reports: Vec<ReceiverReport> = of_kind(&publisher.take_reports(&mut world));
    let block = &reports[0].reports[0];
    assert_eq!((block.ssrc, block.fraction_lost, block.total_lost), (CAMERA.0, 64, 1));
    assert_eq!((block.last_sequence_number, block.last_sender_report), (4, 0x5678_9abc));
    assert!((60_000..=66_000).contains(&block.delay), "about a second: {}", block.delay);
}

#[test]
fn the_round_trip_comes_out_of_a_viewers_report() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &frame(1, true));
    publisher.send_rtcp(&mut world, &[Box::new(sender_report(CAMERA.0, NtpTime(1 << 40), 0))]);
    world.pass(1000);
    let senders: Vec<SenderReport> = of_kind(&subscriber.take_reports(&mut world));
    let last = NtpTime(senders[0].ntp_time).middle();
    world.pass(150);
    let block = ReceptionReport {
        ssrc: senders[0].ssrc,
        fraction_lost: 25,
        jitter: 77,
        last_sender_report: last,
        delay: 65_536 / 10,
        ..ReceptionReport::default()
    };
    subscriber.send_rtcp(
        &mut world,
        &[Box::new(ReceiverReport { ssrc: 9, reports: vec![block], ..ReceiverReport::default() })],
    );
    let mut stats = Stats::default();
    world.engine.stats(&mut stats);
    let rtt = stats.transports.iter().find(|stats| stats.transport == transport_id(2)).unwrap().rtt_us;
    assert!((50_000..=1_150_000).contains(&rtt), "{rtt}");
    let egress = stats.egress.iter().find(|stats| stats.egress == egress_id(1)).unwrap();
    assert_eq!((egress.fraction_lost, egress.jitter), (25, 77));
}

#[test]
fn transport_wide_feedback_covers_every_number_once() {
    let (mut world, mut publisher, _) = stage();
    let mut told = Vec::new();
    for number in 0..100_u16 {
        if number % 10 != 7 {
            let mut media = frame(number, number == 0);
            media.extensions.push((3, number.to_be_bytes().to_vec()));
            publisher.send(&mut world, &media);
        }
        world.pass(7);
        for feedback in of_kind::<TransportLayerCc>(&publisher.take_reports(&mut world)) {
            assert_eq!(feedback.media_ssrc, CAMERA.0);
            assert!(
                !feedback.packet_chunks.is_empty()
                    && feedback.recv_deltas.len() <= usize::from(feedback.packet_status_count)
            );
            let _: &PacketStatusChunk = &feedback.packet_chunks[0];
            told.extend((0..feedback.packet_status_count).map(|offset| feedback.base_sequence_number + offset));
        }
    }
    world.pass(60);
    for feedback in of_kind::<TransportLayerCc>(&publisher.take_reports(&mut world)) {
        told.extend((0..feedback.packet_status_count).map(|offset| feedback.base_sequence_number + offset));
    }
    assert_eq!(told, (0..100).collect::<Vec<_>>());
}

#[test]
fn a_publisher_without_transport_wide_feedback_is_told_its_cap_every_second() {
    let (mut world, mut publisher, _) = stage();
    let capped = plan::Transport { remb_cap: Some(Bitrate(2_500_000)), ..transport(1) };
    world.put(Object::Transport(capped));
    publisher.send(&mut world, &frame(1, true));
    world.pass(3100);
    let caps: Vec<ReceiverEstimatedMaximumBitrate> = of_kind(&publisher.take_reports(&mut world));
    assert!((3..=4).contains(&caps.len()), "{}", caps.len());
    assert!(caps.iter().all(|cap| (2_490_000.0..=2_500_000.0).contains(&cap.bitrate)));
}

#[test]
fn a_goodbye_is_said_only_when_an_ssrc_retires() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    world.put(Object::Egress(plan::Egress { paused: true, ..video_egress(1, 2, 1) }));
    world.remove(Key::Track(track_id(1)));
    world.pass(10);
    assert!(of_kind::<Goodbye>(&subscriber.take_reports(&mut world)).is_empty());
    world.remove(Key::Egress(egress_id(1)));
    world.flush();
    let goodbyes: Vec<Goodbye> = of_kind(&subscriber.take_reports(&mut world));
    let egress = video_egress(1, 2, 1);
    assert_eq!(goodbyes.len(), 1);
    assert_eq!(goodbyes[0].sources, [egress.ssrc.0, egress.rtx.unwrap().0]);
}

/// As long as a canonical name may be.
const LONG_NAME: &str = "0123456789abcdef0123456789abcdef";
const _: () = assert!(LONG_NAME.len() == CNAME_BYTES_MAX);

/// Lets a publisher in slot 1 lose a packet and have a viewer who needs a key frame, and returns what it is told.
fn told_to_a_publisher(rtcp_rsize: bool) -> Vec<Compound> {
    let (mut world, mut publisher, _) = stage();
    let cname = LONG_NAME.to_owned();
    let plan = plan::Transport { rtcp_rsize, cname, remb_cap: Some(Bitrate(2_500_000)), ..transport(1) };
    world.put(Object::Transport(plan));
    for number in [1, 2, 4] {
        let mut media = frame(number, false);
        media.extensions.push((3, number.to_be_bytes().to_vec()));
        publisher.send(&mut world, &media);
        world.flush();
    }
    world.pass(500);
    publisher.take_compounds(&mut world)
}

fn is<T: 'static>(packet: &(dyn rtcp::packet::Packet + Send + Sync)) -> bool {
    packet.as_any().is::<T>()
}

fn is_feedback(packet: &(dyn rtcp::packet::Packet + Send + Sync)) -> [bool; 4] {
    [
        is_pli(packet),
        is::<TransportLayerNack>(packet),
        is::<TransportLayerCc>(packet),
        is::<ReceiverEstimatedMaximumBitrate>(packet),
    ]
}

#[test]
fn feedback_has_a_report_and_a_name_in_front_unless_reduced_size_was_negotiated() {
    let compounds = told_to_a_publisher(false);
    for kind in 0..4 {
        let count = compounds.iter().flatten().filter(|packet| is_feedback(packet.as_ref())[kind]).count();
        assert!(count > 0, "feedback of kind {kind}");
    }
    for compound in &compounds {
        let (report, name) = (compound[0].as_ref(), compound[1].as_ref());
        assert!(is::<ReceiverReport>(report) || is::<SenderReport>(report), "{report:?}");
        let name = name.as_any().downcast_ref::<SourceDescription>().expect("a description follows");
        assert_eq!((name.chunks.len(), name.chunks[0].items[0].text.as_ref()), (1, LONG_NAME.as_bytes()));
        assert_eq!(name.chunks[0].source, OWN_SSRC.0);
    }
}

#[test]
fn feedback_goes_alone_where_reduced_size_was_negotiated() {
    let compounds = told_to_a_publisher(true);
    for kind in 0..4 {
        let alone = |compound: &&Compound| compound.iter().all(|packet| is_feedback(packet.as_ref())[kind]);
        assert!(compounds.iter().any(|compound| alone(&compound)), "feedback of kind {kind}");
    }
}

#[test]
fn a_flood_of_goodbyes_displaces_nothing_that_others_were_learnt_by() {
    let (mut world, mut publisher, _) = stage();
    // Each packet starts the stream and each goodbye stops it: twice as many events as there is room for.
    for number in 1..=u16::try_from(EVENTS_MAX).unwrap() {
        publisher.send(&mut world, &sound(number));
        let goodbyes = Goodbye { sources: vec![MICROPHONE.0; 31], ..Goodbye::default() };
        publisher.send_rtcp(&mut world, &[Box::new(goodbyes)]);
        if number == 100 {
            world.put(Object::Transport(transport(3)));
            let newcomer = Peer::new(3);
            world.receive(newcomer.five_tuple, &newcomer.request(Check::Nominating));
        }
    }
    world.flush();
    let learnt = |event: &Event| {
        let Event::Learnt(object) = event else { return false };
        object.key() == Key::Path(transport_id(3))
    };
    assert_eq!(world.count_events(learnt), 1);
    assert!(world.discards(Discard::EventsFull) > 0);
}

#[test]
fn a_cap_for_a_publisher_whose_track_went_does_not_stop_the_clock() {
    let (mut world, mut publisher, _) = stage();
    let capped = plan::Transport { remb_cap: Some(Bitrate(2_500_000)), ..transport(1) };
    world.put(Object::Transport(capped));
    publisher.send(&mut world, &frame(1, true));
    world.pass(1100);
    world.remove(Key::Track(track_id(1)));
    world.pass(3000);
    assert!(world.engine.poll_timeout().is_some_and(|at| at > world.now), "the next deadline lies ahead");
}
