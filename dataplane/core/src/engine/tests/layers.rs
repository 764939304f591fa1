//! Encodings of a publisher as subscribers are sent them, from datagram to datagram.

use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::sender_report::SenderReport;
use sluice_protocol::event::Event;
use sluice_protocol::media::{Label, Rid, Ssrc};
use sluice_protocol::plan::{self, Encoding, Layer, Object};

use super::peer::{Media, Peer, of_kind, vp8};
use super::stage::stage;
use super::world::*;
use crate::discard::Discard;
use crate::limits::OPEN_FRAME_MAX;

const SSRCS: [Ssrc; 3] = [Ssrc(0xcafe_0010), Ssrc(0xcafe_0011), Ssrc(0xcafe_0012)];
const RIDS: [&[u8]; 3] = [b"q", b"h", b"f"];

fn simulcast() -> plan::Track {
    let encoding = |rid: &[u8]| Encoding { rid: Label::new(rid).map(Rid), ssrc: None, rtx: None };
    plan::Track { encodings: RIDS.map(encoding).to_vec(), ..video_track(1, 1) }
}

fn watching(spatial: u8, slot: u32) -> plan::Egress {
    plan::Egress { max_layer: Layer { spatial, temporal: u8::MAX }, ..video_egress(slot, slot + 1, 1) }
}

/// A publisher of three encodings, each with a clock of its own, and a subscriber.
struct Stage {
    world: World,
    publisher: Peer,
    subscriber: Peer,
    frame: u16,
}

impl Stage {
    fn new(spatial: u8) -> Self {
        let (mut world, publisher, subscriber) = stage();
        world.put(Object::Track(simulcast()));
        world.put(Object::Egress(watching(spatial, 1)));
        Self { world, publisher, subscriber, frame: 0 }
    }

    /// Sends frame `self.frame` of an encoding in one packet.
    fn send(&mut self, index: usize, key: bool) {
        let mut media = vp8(SSRCS[index], self.frame, self.frame, key, true, true);
        media.timestamp = self.timestamp(index);
        media.extensions.push((5, RIDS[index].to_vec()));
        self.publisher.send(&mut self.world, &media);
    }

    /// Sends one of the two packets of frame `self.frame` of an encoding.
    fn send_part(&mut self, index: usize, part: u16, key: bool) {
        let media = vp8(SSRCS[index], self.frame + part, self.frame, key, part == 0, part == 1);
        let extensions = vec![(4, b"v".to_vec()), (5, RIDS[index].to_vec())];
        let media = Media { timestamp: self.timestamp(index), extensions, ..media };
        self.publisher.send(&mut self.world, &media);
    }

    fn timestamp(&self, index: usize) -> u32 {
        u32::from(self.frame) * 3600 + 0x4000_0000 * u32::try_from(index).unwrap()
    }

    /// A frame of all encodings, 40 ms after the one before.
    fn round(&mut self, keys: [bool; 3]) {
        self.round_of(&[0, 1, 2], keys);
    }

    fn round_of(&mut self, sending: &[usize], keys: [bool; 3]) {
        self.frame += 1;
        sending.iter().for_each(|index| self.send(*index, keys[*index]));
        self.world.pass(40);
    }

    /// A sender report of each encoding, made a little after its newest frame.
    fn report(&mut self) {
        for (index, ssrc) in SSRCS.iter().enumerate() {
            let report = SenderReport {
                ssrc: ssrc.0,
                ntp_time: (3_000_000_000 << 32) + ((u64::from(self.frame) * 40) << 32) / 1000,
                rtp_time: self.timestamp(index),
                ..SenderReport::default()
            };
            self.publisher.send_rtcp(&mut self.world, &[Box::new(report)]);
        }
    }

    fn asked(&mut self) -> Vec<Ssrc> {
        let losses: Vec<PictureLossIndication> = of_kind(&self.publisher.take_reports(&mut self.world));
        losses.iter().map(|loss| Ssrc(loss.media_ssrc)).collect()
    }

    fn wish(&mut self, spatial: u8) {
        self.world.put(Object::Egress(watching(spatial, 1)));
        self.world.flush();
    }

    /// The encodings that the subscriber was sent packets of, by what their payloads say.
    fn seen(&mut self) -> Vec<(u16, u32)> {
        let packets = self.subscriber.take(&mut self.world);
        packets.iter().map(|packet| (super::stage::number(&packet.payload), packet.header.timestamp)).collect()
    }

    fn sees(&self) -> Option<u8> {
        self.world.engine.targets.get(egress_id(1).0).unwrap().stream.current().map(|(_, stream)| stream.0)
    }
}

#[test]
fn a_wish_is_asked_of_its_encoding_alone_and_once_for_all_who_have_it() {
    let mut stage = Stage::new(0);
    for slot in 12..16 {
        stage.world.put(Object::Transport(transport(slot + 1)));
        stage.world.put(Object::Egress(watching(0, slot)));
        Peer::new(slot + 1).connect(&mut stage.world);
    }
    stage.round([true; 3]);
    (0..60).for_each(|_| stage.round([false; 3]));
    stage.asked();
    for slot in [1, 12, 13, 14, 15] {
        stage.world.put(Object::Egress(watching(2, slot)));
    }
    (0..10).for_each(|_| stage.round([false; 3]));
    assert_eq!(stage.asked(), [SSRCS[2]]);
    assert_eq!(stage.sees(), Some(0));
    stage.round([false, false, true]);
    (0..40).for_each(|_| stage.round([false; 3]));
    assert_eq!((stage.sees(), stage.asked()), (Some(2), vec![]));
    stage.wish(1);
    stage.round([false; 3]);
    assert_eq!(stage.asked(), [SSRCS[1]]);
}

#[test]
fn a_new_viewer_starts_with_the_cached_key_frame_of_the_wished_encoding() {
    for wish in 0..3 {
        let mut stage = Stage::new(0);
        stage.world.put(Object::Egress(plan::Egress { paused: true, ..watching(wish, 1) }));
        stage.round([true; 3]);
        (0..10).for_each(|_| stage.round([false; 3]));
        stage.asked();
        stage.wish(wish);
        stage.world.pass(40);
        assert_eq!(stage.sees(), Some(wish));
        assert_eq!((stage.seen().len(), stage.asked()), (11, vec![]), "all of its frames since then");
    }
}

#[test]
fn a_new_viewer_starts_with_what_is_cached_and_asks_for_what_is_wished() {
    let mut stage = Stage::new(0);
    stage.world.put(Object::Egress(plan::Egress { paused: true, ..watching(2, 1) }));
    stage.round([true; 3]);
    (0..60).for_each(|_| stage.round([false; 3]));
    stage.round([false, true, false]);
    stage.round([false; 3]);
    stage.asked();
    stage.wish(2);
    stage.world.pass(40);
    assert_eq!((stage.sees(), stage.asked()), (Some(1), vec![SSRCS[2]]));
}

#[test]
fn an_encoding_that_falls_silent_is_replaced_without_anybody_asking() {
    let mut stage = Stage::new(2);
    stage.round([true; 3]);
    (0..60).for_each(|_| stage.round([false; 3]));
    stage.asked();
    assert_eq!(stage.sees(), Some(2));
    (0..8).for_each(|_| stage.round_of(&[0, 1], [false; 3]));
    assert_eq!(stage.asked(), [SSRCS[1]]);
    stage.round_of(&[0, 1], [false, true, false]);
    assert_eq!(stage.sees(), Some(1));
    (0..20).for_each(|_| stage.round([false; 3]));
    assert_eq!(stage.asked(), [SSRCS[2]], "as soon as it is back");
    stage.round([false, false, true]);
    assert_eq!(stage.sees(), Some(2));
}

#[test]
fn sender_reports_are_true_before_and_after_changes_of_the_encoding() {
    for is_reported_first in [true, false] {
        let mut stage = Stage::new(0);
        let mut captured = Vec::new();
        let mut reports: Vec<SenderReport> = Vec::new();
        if is_reported_first {
            stage.report();
        }
        for round in 0..150_u16 {
            if [40, 80, 110].contains(&round) {
                stage.wish([2, 1, 0][usize::from(round) / 40]);
            }
            stage.round([round % 20 == 0; 3]);
            if round % 25 == 10 {
                stage.report();
            }
            let (packets, compounds) = stage.subscriber.take_all(&mut stage.world);
            captured
                .extend(packets.iter().map(|packet| (super::stage::number(&packet.payload), packet.header.timestamp)));
            reports.extend(of_kind::<SenderReport>(&compounds).into_iter().filter(|report| report.ssrc == 0x1000_0001));
        }
        assert!(captured.len() >= 150 && reports.len() >= 4, "{} {}", captured.len(), reports.len());
        // What a receiver makes of it: the wall clock at which each frame was captured, against the frame's number.
        let wall = |report: &SenderReport, timestamp: u32| {
            let ticks = i64::from(timestamp.wrapping_sub(report.rtp_time).cast_signed());
            i64::try_from(report.ntp_time >> 16).unwrap() + ticks * 65_536 / 90_000
        };
        let zero =
            |report: &SenderReport, frame: &(u16, u32)| wall(report, frame.1) - i64::from(frame.0) * 40 * 65_536 / 1000;
        let first = zero(&reports[0], &captured[5]);
        for report in &reports {
            // The frame sent right before the report.
            let frame = captured.iter().min_by_key(|frame| frame.1.wrapping_sub(report.rtp_time).cast_signed().abs());
            let error_ms = (zero(report, frame.unwrap()) - first) * 1000 / 65_536;
            assert!(error_ms.abs() <= 2, "{error_ms} ms: {report:?} {frame:?}");
        }
    }
}

#[test]
fn a_successor_goes_on_with_the_encoding_it_finds_in_the_table_and_reaches_the_wished_one() {
    let mut stage = Stage::new(1);
    stage.round([true; 3]);
    (0..60).for_each(|_| stage.round([false; 3]));
    let last = stage.seen().pop().unwrap();
    let objects: Vec<Object> = stage.world.events.iter().filter_map(learnt).collect();
    assert_eq!(objects.len(), 3);
    stage.world = stage.world.restart(std::time::Duration::from_millis(80));
    let (first, second) = (transport(1), transport(2));
    let restored = [Object::Transport(first), Object::Transport(second), Object::Track(simulcast())];
    for object in restored.into_iter().chain(objects).chain([Object::Egress(watching(2, 1))]) {
        stage.world.try_put(object, true).unwrap();
    }
    stage.frame += 2;
    stage.publisher.connect(&mut stage.world);
    stage.round([false; 3]);
    assert_eq!((stage.sees(), stage.seen().pop().unwrap().1.wrapping_sub(last.1)), (Some(1), 3 * 3600));
    (0..6).for_each(|_| stage.round([false; 3]));
    assert!(stage.asked().contains(&SSRCS[2]));
    stage.round([true; 3]);
    assert_eq!(stage.sees(), Some(2));
}

fn learnt(event: &Event) -> Option<Object> {
    let Event::Learnt(object) = event else { return None };
    matches!(**object, Object::Stream(_)).then(|| (**object).clone())
}

#[test]
fn after_a_mute_each_viewer_asks_for_its_own_encoding_and_nobody_for_the_others() {
    let mut stage = Stage::new(1);
    stage.round([true; 3]);
    (0..60).for_each(|_| stage.round([false; 3]));
    stage.world.put(Object::Track(plan::Track { muted: true, ..simulcast() }));
    (0..60).for_each(|_| stage.round([false; 3]));
    stage.asked();
    stage.world.put(Object::Track(simulcast()));
    stage.round([false; 3]);
    assert_eq!(stage.asked(), [SSRCS[1]]);
    stage.round([false, true, false]);
    (0..30).for_each(|_| stage.round([false; 3]));
    assert_eq!((stage.sees(), stage.asked()), (Some(1), vec![]));
}

#[test]
fn an_encoding_that_nobody_is_to_see_is_not_asked_when_it_starts() {
    let mut stage = Stage::new(1);
    stage.round_of(&[0, 1], [true; 3]);
    (0..30).for_each(|_| stage.round_of(&[0, 1], [false; 3]));
    stage.asked();
    (0..30).for_each(|_| stage.round([false; 3]));
    assert_eq!(stage.asked(), []);
}

#[test]
fn a_key_frame_that_mixes_with_the_open_frame_leaves_whole_and_behind_it() {
    let mut stage = Stage::new(0);
    stage.round([true; 3]);
    (0..60).for_each(|_| stage.round([false; 3]));
    stage.wish(2);
    stage.seen();
    stage.frame += 1;
    for (index, part) in [(0, 0), (2, 0), (2, 1), (0, 1)] {
        stage.send_part(index, part, index == 2);
        stage.world.pass(5);
    }
    let packets = stage.subscriber.take(&mut stage.world);
    let seen: Vec<(bool, bool)> = packets.iter().map(|it| (it.payload[4] & 1 == 0, it.header.marker)).collect();
    assert_eq!(seen, [(false, false), (false, true), (true, false), (true, true)]);
    let first = packets[0].header.sequence_number;
    let numbers: Vec<u16> = packets.iter().map(|it| it.header.sequence_number.wrapping_sub(first)).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
    assert!(stage.world.discards(Discard::AwaitingFrameEnd) > 0, "it was offered while the frame was open");
}

#[test]
fn an_open_frame_that_never_ends_is_given_up_in_time_though_nothing_more_is_sent() {
    let mut stage = Stage::new(0);
    stage.round([true; 3]);
    (0..60).for_each(|_| stage.round([false; 3]));
    stage.wish(2);
    stage.frame += 1;
    stage.send_part(0, 0, false);
    stage.world.flush();
    stage.seen();
    let began = stage.world.now;
    for part in 0..2 {
        stage.send_part(2, part, true);
    }
    stage.world.flush();
    assert_eq!(stage.seen(), [], "the rest of the open frame may come");
    let mut silence = core::time::Duration::ZERO;
    while stage.sees() == Some(0) {
        let woken = stage.world.engine.poll_timeout().expect("somebody waits");
        stage.world.now = woken.max(stage.world.now);
        stage.world.flush();
        silence = stage.world.now.saturating_since(began);
        assert!(silence <= OPEN_FRAME_MAX, "it waits since {silence:?}");
    }
    let packets = stage.subscriber.take(&mut stage.world);
    let seen: Vec<bool> = packets.iter().map(|it| it.payload[4] & 1 == 0).collect();
    assert_eq!((seen.as_slice(), silence), ([true, true].as_slice(), OPEN_FRAME_MAX));
}
