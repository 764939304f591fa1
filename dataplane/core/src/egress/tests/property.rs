//! Whatever is lost, late, doubled, shed, paused, switched or restarted: the decoder is never lied to.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::camera::Camera;
use super::decoder::{Sent, Truth, Verdict, judge};
use super::*;

/// What becomes of a packet on its way from the publisher.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Pass,
    Lost,
    Twice,
    /// It comes after so many later packets.
    Late(u8),
}

#[derive(Clone, Debug)]
enum Event {
    /// Frames, each as many packets as there are fates.
    Frames(Vec<Vec<Fate>>),
    Pause,
    Unpause,
    Mute,
    Unmute,
    MaxTemporal(u8),
    /// The publisher comes back under another SSRC, with other numbers and other ids.
    NewSsrc(u32, u8),
    /// Another publisher takes its place.
    NewTrack(u32, u8),
    /// A padding-only packet.
    Padding,
    /// The data plane is killed and started again.
    Restart,
    /// Nothing for so many seconds.
    Silence(u32),
    /// A packet of the next frame is shed by a full backlog.
    Shed,
}

/// An encoder behind a network, and one subscriber.
struct World {
    stream: EgressStream,
    plan: Egress,
    camera: Camera,
    truth: Truth,
    sent: Vec<Sent>,
    late: VecDeque<(u8, Packet)>,
    shed_next: bool,
    tracks: u32,
    sources: u32,
    restarts: u64,
    disturbances: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let plan = plan(MediaKind::Video);
        Self {
            stream: EgressStream::new(&plan, true, seed),
            plan,
            camera: Camera::new(u32::try_from(seed & 0xfff).unwrap() + 1, 0),
            truth: Truth::default(),
            sent: Vec::new(),
            late: VecDeque::new(),
            shed_next: false,
            tracks: 1,
            sources: 0,
            restarts: 0,
            disturbances: 0,
        }
    }

    fn handle(&mut self, event: &Event) {
        match event {
            Event::Frames(frames) => frames.iter().for_each(|fates| self.frame(fates)),
            Event::Pause | Event::Unpause => {
                self.plan.paused = matches!(event, Event::Pause);
                self.stream.update(&self.plan);
            }
            Event::Mute => self.stream.set_muted(true),
            Event::Unmute => self.stream.set_muted(false),
            Event::MaxTemporal(temporal) => {
                self.plan.max_layer.temporal = *temporal;
                self.stream.update(&self.plan);
            }
            Event::NewSsrc(ssrc, ids) => self.replace(*ssrc, *ids),
            Event::NewTrack(ssrc, ids) => {
                self.replace(*ssrc, *ids);
                self.late.clear();
                self.tracks += 1;
                self.plan.source.as_mut().unwrap().track = TrackId::new(0, self.tracks, 1);
                self.stream.update(&self.plan);
            }
            Event::Padding => {
                let source = Ssrc(self.camera.publisher.ssrc);
                self.stream.skip(source, ExtendedSequence(self.camera.publisher.sequence));
                self.camera.publisher.sequence += 1;
            }
            Event::Restart => {
                let (index, anchor) = (self.stream.index(), self.stream.state());
                self.stream = EgressStream::new(&self.plan, true, index);
                self.stream.restore(self.camera.publisher.now, index, &anchor);
                self.restarts += 1;
                self.late.clear();
            }
            Event::Silence(seconds) => {
                self.camera.publisher.step(u64::from(*seconds) * 1000, seconds.wrapping_mul(90_000));
            }
            Event::Shed => self.shed_next = true,
        }
    }

    fn replace(&mut self, ssrc: u32, ids: u8) {
        let now = self.camera.publisher.now;
        // No SSRC comes back: the truth is kept under its packets' SSRC and sequence number.
        self.sources += 1;
        self.camera = Camera::new(self.sources << 16 | ssrc, ids);
        self.camera.publisher.now = now;
        self.disturbances += 1;
    }

    fn frame(&mut self, fates: &[Fate]) {
        let wants_key = self.stream.wants_key_frame();
        let packets = self.camera.frame(&mut self.truth, fates.len(), wants_key);
        for (packet, fate) in packets.into_iter().zip(fates) {
            self.travel(packet, *fate);
        }
    }

    fn travel(&mut self, packet: Packet, fate: Fate) {
        for (left, _) in &mut self.late {
            *left = left.saturating_sub(1);
        }
        match fate {
            Fate::Pass => self.deliver(&packet),
            Fate::Lost => self.disturbances += 1,
            Fate::Twice => {
                self.deliver(&packet);
                self.deliver(&packet);
            }
            Fate::Late(after) => {
                self.disturbances += 1;
                self.late.push_back((after, packet));
            }
        }
        while let Some(place) = self.late.iter().position(|(left, _)| *left == 0) {
            let (_, packet) = self.late.remove(place).unwrap();
            self.deliver(&packet);
        }
    }

    fn deliver(&mut self, packet: &Packet) {
        if self.shed_next {
            self.shed_next = false;
            self.disturbances += 1;
            self.stream.shed(&packet.accepted());
            return;
        }
        if let Ok(outgoing) = self.stream.plan_packet(&packet.accepted()) {
            let bytes = write(&self.stream, &outgoing, packet);
            assert_eq!(bytes.len(), outgoing.size_bytes);
            self.sent.push(Sent { source: (packet.ssrc, packet.sequence), start: packet.frame.start, outgoing });
        }
    }

    fn verdict(&self) -> Verdict {
        judge(&self.truth, &self.sent)
    }
}

fn fates(fate: impl Strategy<Value = Fate>) -> impl Strategy<Value = Event> {
    prop::collection::vec(prop::collection::vec(fate, 1..5), 1..30).prop_map(Event::Frames)
}

/// What a subscriber and its publisher do on a clean network.
fn calm() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => fates(Just(Fate::Pass)),
        1 => fates(prop_oneof![9 => Just(Fate::Pass), 1 => Just(Fate::Twice)]),
        1 => Just(Event::Pause),
        2 => Just(Event::Unpause),
        1 => Just(Event::Mute),
        2 => Just(Event::Unmute),
        3 => (0u8..4).prop_map(Event::MaxTemporal),
        1 => (1u32..1000, 0u8..3).prop_map(|(ssrc, ids)| Event::NewSsrc(ssrc, ids)),
        1 => (1u32..1000, 0u8..3).prop_map(|(ssrc, ids)| Event::NewTrack(ssrc, ids)),
        1 => Just(Event::Padding),
        1 => (1u32..10_000).prop_map(Event::Silence),
    ]
}

fn rough() -> impl Strategy<Value = Event> {
    let fate = prop_oneof![
        12 => Just(Fate::Pass),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        2 => (1u8..30).prop_map(Fate::Late),
    ];
    prop_oneof![6 => fates(fate), 4 => calm(), 1 => Just(Event::Restart), 1 => Just(Event::Shed)]
}

fn run(seed: u64, events: &[Event]) -> World {
    let mut world = World::new(seed);
    for event in events {
        world.handle(event);
    }
    world
}

proptest! {
    /// Oracle: the decoder model. Pauses, mutes, layers, padding, new sources and hours of silence leave no hole and
    /// never freeze it.
    #[test]
    fn nothing_lost_upstream_is_nothing_missing_downstream(
        seed: u64,
        events in prop::collection::vec(calm(), 1..60),
    ) {
        let world = run(seed, &events);
        let verdict = world.verdict();
        prop_assert_eq!((verdict.holes, verdict.freezes), (0, 0));
        let forwarded: std::collections::BTreeSet<_> =
            world.sent.iter().map(|packet| world.truth.packets[&packet.source]).collect();
        prop_assert_eq!(verdict.frames_decoded, forwarded.len());
    }

    /// Oracle: the decoder model. It may freeze, but never decodes what is torn or refers to what was never sent; and
    /// each hole has a cause.
    #[test]
    fn whatever_happens_nothing_torn_looks_whole(seed: u64, events in prop::collection::vec(rough(), 1..60)) {
        let world = run(seed, &events);
        let verdict = world.verdict();
        prop_assert!(verdict.holes <= 2 * world.disturbances + world.restarts, "{:?}", verdict);
    }
}

/// A packet of which nothing holds together.
fn nonsense() -> impl Strategy<Value = Packet> {
    let numbers = (1u32..4, 0u8..3, 0u64..3000, any::<u32>(), prop::bool::ANY, 0u64..20_000);
    let frame = (any::<[bool; 4]>(), prop::option::of((any::<u16>(), prop::bool::ANY)), prop::option::of(any::<u8>()));
    let rest = (any::<[u8; 2]>(), prop::option::of(any::<u16>()), 0usize..24, 0usize..40);
    (numbers, frame, rest).prop_map(|(numbers, (flags, id, tl0picidx), (layers, frame_number, size, descriptor))| {
        let (ssrc, stream, sequence, timestamp, is_near, millis) = numbers;
        let [start, end, key, switching_point] = flags;
        let width = |(value, is_short)| if is_short { (value & 0x7f, 7) } else { (value & 0x7fff, 15) };
        Packet {
            ssrc,
            stream,
            sequence: if is_near { sequence } else { sequence << 20 },
            timestamp: if is_near { timestamp & 0xffff } else { timestamp },
            payload_type: 96,
            codec: [CodecKind::Vp8, CodecKind::Vp9, CodecKind::Av1, CodecKind::Other][usize::from(layers[0] % 4)],
            frame: FrameInfo {
                start,
                end,
                key,
                switching_point,
                picture_id: id.map(width).map(|(value, bits)| PictureId { value, bits }),
                tl0picidx,
                temporal: layers[1] % 8,
                spatial: layers[1] / 8 % 2,
                frame_number,
                ..FrameInfo::default()
            },
            payload: vec![0x5a; size],
            descriptor: vec![0xa5; descriptor],
            structure: None,
            arrival: Instant::from_millis(millis),
            captured: (!is_near).then_some(timestamp),
        }
    })
}

proptest! {
    /// Oracle: no panic, a set of numbers, and the timestamp of the highest one.
    #[test]
    fn nonsense_neither_repeats_a_number_nor_takes_time_back(packets in prop::collection::vec(nonsense(), 1..200)) {
        let mut plan = plan(MediaKind::Video);
        plan.extensions.dependency_descriptor = 9;
        let mut stream = EgressStream::new(&plan, true, 1);
        let mut numbers = std::collections::BTreeSet::new();
        let mut newest: Option<Outgoing> = None;
        for packet in &packets {
            let Ok(outgoing) = stream.plan_packet(&packet.accepted()) else { continue };
            prop_assert!(numbers.insert(outgoing.index));
            prop_assert!(outgoing.index <= stream.index());
            prop_assert_eq!(write(&stream, &outgoing, packet).len(), outgoing.size_bytes);
            let before = *newest.get_or_insert(outgoing);
            let step = outgoing.timestamp.wrapping_sub(before.timestamp).cast_signed();
            prop_assert!(if outgoing.index > before.index { step >= 0 } else { step <= 0 }, "{:?} {:?}", before, outgoing);
            if outgoing.index > before.index {
                newest = Some(outgoing);
            }
        }
    }
}
