//! Spatial and temporal layers by dependency descriptor: what is forwarded, what the descriptors say then, and changes.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::receiver::{Received, Seen, belongs, receive, target};
use super::scalable::{Mode, Scalable, Truth};
use super::*;
use crate::wire::dependency_descriptor::{DependencyDescriptor, TemplateLayer};
use crate::wire::rtp::RtpView;

/// An encoder, and one subscriber with the extension under id 9.
struct World {
    stream: EgressStream,
    plan: Egress,
    encoder: Scalable,
    truth: Truth,
    sent: Vec<Received>,
    late: VecDeque<(u8, Packet)>,
    sources: u32,
    tracks: u32,
}

impl World {
    fn new(encoder: Scalable) -> Self {
        let mut plan = plan(MediaKind::Video);
        plan.extensions.dependency_descriptor = 9;
        let stream = EgressStream::new(&plan, true, u64::from(encoder.ssrc));
        let (truth, sent, late) = (Truth::default(), Vec::new(), VecDeque::new());
        Self { stream, plan, encoder, truth, sent, late, sources: 0, tracks: 1 }
    }

    fn want(&mut self, change: impl FnOnce(&mut Egress)) {
        change(&mut self.plan);
        self.stream.update(&self.plan);
    }

    fn want_layer(&mut self, spatial: u8, temporal: u8) {
        self.want(|plan| plan.max_layer = Layer { spatial, temporal });
    }

    /// A picture whose parts have as many packets as there are fates; each packet shares the fate of its place.
    fn picture(&mut self, fates: &[Fate]) {
        let wants_key = self.stream.wants_key_frame();
        let packets = self.encoder.picture(&mut self.truth, fates.len(), wants_key);
        for (packet, fate) in packets.into_iter().zip(fates.iter().cycle()) {
            self.travel(packet, *fate);
        }
    }

    fn pictures(&mut self, count: usize) {
        (0..count).for_each(|_| self.picture(&[Fate::Pass; 2]));
    }

    /// A picture for which nobody is heard who asks for a key frame.
    fn picture_without_key(&mut self) {
        let packets = self.encoder.picture(&mut self.truth, 1, false);
        packets.iter().for_each(|packet| self.deliver(packet));
    }

    fn travel(&mut self, packet: Packet, fate: Fate) {
        for (left, _) in &mut self.late {
            *left = left.saturating_sub(1);
        }
        match fate {
            Fate::Pass => self.deliver(&packet),
            Fate::Lost => {}
            Fate::Twice => (0..2).for_each(|_| self.deliver(&packet)),
            Fate::Late(after) => self.late.push_back((after, packet)),
        }
        while let Some(place) = self.late.iter().position(|(left, _)| *left == 0) {
            let (_, packet) = self.late.remove(place).unwrap();
            self.deliver(&packet);
        }
    }

    fn deliver(&mut self, packet: &Packet) {
        if let Ok(outgoing) = self.stream.plan_packet(&packet.accepted()) {
            let bytes = write(&self.stream, &outgoing, packet);
            assert_eq!(bytes.len(), outgoing.size_bytes);
            self.sent.push(Received { source: (packet.ssrc, packet.sequence), index: outgoing.index, bytes });
        }
    }

    fn replace(&mut self, ssrc: u32, is_other_track: bool) {
        self.sources += 1;
        let Scalable { mode, layers, codec, now, .. } = self.encoder;
        self.encoder = Scalable::new(self.sources << 16 | ssrc, mode, layers, codec);
        self.encoder.now = now;
        if is_other_track {
            self.late.clear();
            self.tracks += 1;
            let track = TrackId::new(0, self.tracks, 1);
            self.want(|plan| plan.source.as_mut().unwrap().track = track);
        }
    }

    fn restart(&mut self) {
        let (index, anchor) = (self.stream.index(), self.stream.state());
        self.stream = EgressStream::new(&self.plan, true, index);
        self.stream.restore(self.encoder.now, index, &anchor);
        self.late.clear();
    }

    fn seen(&self) -> Seen {
        receive(&self.truth, &self.sent)
    }

    /// Returns layers of the parts sent since a number of packets, each once.
    fn layers_since(&self, sent: usize) -> BTreeSet<(u8, u8)> {
        let part = |packet: &Received| self.truth.parts[self.truth.packets[&packet.source]].layer;
        self.sent[sent..].iter().map(part).map(|layer| (layer.spatial, layer.temporal)).collect()
    }
}

/// What becomes of a packet on its way from the publisher.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Pass,
    Lost,
    Twice,
    Late(u8),
}

const CASES: [(Mode, u8, CodecKind); 5] = [
    (Mode::Key, 3, CodecKind::Av1),
    (Mode::Full, 3, CodecKind::Av1),
    (Mode::Full, 1, CodecKind::Av1),
    (Mode::Key, 3, CodecKind::Vp9),
    (Mode::Full, 2, CodecKind::Vp9),
];

fn world(case: (Mode, u8, CodecKind)) -> World {
    World::new(Scalable::new(7, case.0, case.1, case.2))
}

fn value(packet: &Received) -> Vec<u8> {
    RtpView::parse(&packet.bytes).unwrap().extension(9).unwrap().to_vec()
}

#[test]
fn each_layer_is_forwarded_with_what_it_needs_alone_and_told_as_what_there_is() {
    for case in CASES {
        for (spatial, temporal) in (0..case.1).flat_map(|spatial| [0, 1, 2].map(|temporal| (spatial, temporal))) {
            let mut world = world(case);
            world.want_layer(spatial, temporal);
            world.pictures(41);
            let seen = world.seen();
            assert_eq!((seen.holes, seen.undecodable, seen.open), (0, 0, 0), "{case:?} {spatial} {temporal}");
            let expected: Vec<usize> = (0..world.truth.parts.len())
                .filter(|part| belongs(&world.truth, *part, target(spatial, temporal)))
                .collect();
            assert_eq!(seen.decoded, expected, "{case:?} {spatial} {temporal}");
            let (last, told) = *seen.pictures.last().unwrap();
            assert_eq!(last.spatial, spatial);
            assert!(told & target(spatial, temporal) != 0, "what is sent is told");
            let more = (told & !target(spatial, temporal)).checked_ilog2();
            assert!(more.is_none_or(|more| more < u32::from(3 * spatial + temporal)), "{told:b}: nothing higher is");
        }
    }
}

#[test]
fn temporal_layers_change_at_once_and_spatial_ones_at_a_key_frame_or_where_all_is_there() {
    for (mode, keys) in [(Mode::Key, true), (Mode::Full, false)] {
        let mut world = world((mode, 3, CodecKind::Av1));
        world.pictures(9);
        world.want_layer(2, 0);
        world.pictures(3);
        let before = world.sent.len();
        world.pictures(9);
        let lower = if mode == Mode::Key { vec![(2, 0)] } else { vec![(0, 0), (1, 0), (2, 0)] };
        assert_eq!(world.layers_since(before), lower.into_iter().collect());
        world.want_layer(2, 2);
        world.pictures(5);
        let before = world.sent.len();
        world.pictures(4);
        assert!(world.layers_since(before).contains(&(2, 2)));
        assert!(!world.stream.wants_key_frame());

        world.want_layer(1, 2);
        let before = world.sent.len();
        (0..5).for_each(|_| world.picture_without_key());
        assert_eq!(world.stream.wants_key_frame(), keys, "{mode:?}: down");
        assert_eq!(world.layers_since(before).contains(&(2, 0)), keys, "the present one goes on until then");
        world.pictures(2);
        let before = world.sent.len();
        world.pictures(8);
        assert!(world.layers_since(before).iter().all(|layer| layer.0 < 2));

        world.want_layer(2, 2);
        let mut wanted = false;
        for _ in 0..4 {
            world.picture_without_key();
            wanted |= world.stream.wants_key_frame();
        }
        assert!(wanted, "{mode:?}: up");
        world.pictures(2);
        let before = world.sent.len();
        world.pictures(4);
        assert!(world.layers_since(before).contains(&(2, 2)) && !world.stream.wants_key_frame());
        let seen = world.seen();
        assert_eq!((seen.holes, seen.undecodable, seen.open), (0, 0, 0), "{mode:?}");
    }
}

#[test]
fn a_layer_that_its_publisher_stops_is_not_waited_for() {
    for mode in [Mode::Key, Mode::Full] {
        let mut world = world((mode, 3, CodecKind::Av1));
        world.pictures(9);
        world.encoder.activate(1);
        world.pictures(9);
        let seen = world.seen();
        assert_eq!((seen.holes, seen.undecodable, seen.open), (0, 0, 0));
        let (last, told) = *seen.pictures.last().unwrap();
        assert_eq!((last.spatial, told), (0, 0b111), "{mode:?}");
        world.encoder.activate(3);
        world.pictures(5);
        let (last, told) = *world.seen().pictures.last().unwrap();
        assert_eq!((last.spatial, told), (2, if mode == Mode::Key { 0b1_1100_0000 } else { 0x1ff }), "{mode:?}");
    }
}

#[test]
fn a_source_that_takes_over_continues_the_frame_numbers_and_moves_its_template_ids() {
    let mut world = world((Mode::Full, 1, CodecKind::Av1));
    world.pictures(3);
    let first = world.sent.len();
    world.replace(99, false);
    world.encoder.now = world.encoder.now + Duration::from_secs(1);
    world.pictures(1);
    world.replace(100, true);
    world.pictures(1);
    let descriptor = |packet: &Received| DependencyDescriptor::parse(&value(packet), None).unwrap();
    let firsts = [&world.sent[0], &world.sent[first], &world.sent[first + 2]].map(descriptor);
    let [a, b, c] = firsts.clone().map(|first| first.structure.unwrap().id_offset());
    assert_eq!((a, b, c), (0, 3, 6), "each has three templates");
    assert_eq!(firsts.clone().map(|first| first.template_id), [0, 3, 6]);
    let numbers = firsts.map(|first| first.frame_number);
    assert_eq!((numbers[1].wrapping_sub(numbers[0]), numbers[2].wrapping_sub(numbers[1])), (3, 1));
    assert_eq!(world.seen().undecodable, 0);
}

#[test]
fn a_successor_keeps_shifting_as_its_predecessor_did() {
    let mut world = world((Mode::Full, 1, CodecKind::Av1));
    world.pictures(3);
    world.replace(99, true);
    world.pictures(3);
    world.restart();
    // Its own ingress has not received the structure.
    let packets = world.encoder.picture(&mut world.truth, 1, false);
    let mut packet = packets[0].clone();
    packet.structure = None;
    packet.frame.start = true;
    let outgoing = world.stream.plan_packet(&packet.accepted()).unwrap();
    let bytes = write(&world.stream, &outgoing, &packet);
    world.sent.push(Received { source: (packet.ssrc, packet.sequence), index: outgoing.index, bytes });
    let seen = world.seen();
    assert_eq!((seen.holes, seen.undecodable), (1, 0), "the number that is left out after a restart");
    world.pictures(5);
    assert_eq!(world.seen().undecodable, 0);
}

#[test]
fn a_large_structure_needs_the_two_byte_form_and_without_it_no_descriptor_is_sent() {
    for (layers, mixed, expected) in [(1, false, true), (3, false, false), (3, true, true), (1, true, true)] {
        let mut encoder = Scalable::new(7, Mode::Key, layers, CodecKind::Av1);
        let mut plan = plan(MediaKind::Video);
        plan.extensions.dependency_descriptor = 9;
        let mut stream = EgressStream::new(&plan, mixed, 1);
        for packet in (0..5).flat_map(|_| encoder.picture(&mut Truth::default(), 2, false)) {
            let Ok(outgoing) = stream.plan_packet(&packet.accepted()) else { continue };
            let bytes = write(&stream, &outgoing, &packet);
            let view = RtpView::parse(&bytes).unwrap();
            assert_eq!(view.extension(9).is_some(), expected, "{layers} {mixed}");
            assert_eq!(view.extension(4), Some(&b"1"[..]));
            let is_one_byte = bytes[12..14] == [0xbe, 0xde];
            assert_eq!(is_one_byte, !(mixed && packet.descriptor.len() > 16), "two bytes only where they are needed");
        }
    }
}

#[test]
fn without_descriptors_av1_is_its_lowest_layer_and_vp9_what_is_wanted() {
    for (codec, expected) in [(CodecKind::Av1, 0), (CodecKind::Vp9, 2)] {
        let mut encoder = Scalable::new(7, Mode::Key, 3, codec);
        let mut stream = video();
        let packets = (0..9).flat_map(|_| encoder.picture(&mut Truth::default(), 2, false)).collect::<Vec<_>>();
        let sent = packets.iter().filter_map(|packet| Some((packet, stream.plan_packet(&packet.accepted()).ok()?)));
        let sent: Vec<_> = sent.collect();
        assert_eq!(sent.iter().map(|(packet, _)| packet.frame.spatial).max(), Some(expected));
        assert_eq!(sent.iter().filter(|(_, outgoing)| outgoing.marker).count(), 9, "each picture ends");
    }
}

#[test]
fn codecs_that_tell_it_in_their_payload_go_without() {
    let mut world = world((Mode::Full, 1, CodecKind::Av1));
    let mut packets = world.encoder.picture(&mut world.truth, 1, true);
    packets[0].codec = CodecKind::H264;
    let outgoing = world.stream.plan_packet(&packets[0].accepted()).unwrap();
    let bytes = write(&world.stream, &outgoing, &packets[0]);
    assert_eq!(RtpView::parse(&bytes).unwrap().extension(9), None);
}

#[test]
fn a_repeat_says_what_was_sent_also_after_a_change_of_layers() {
    let mut world = world((Mode::Key, 3, CodecKind::Av1));
    world.want_layer(0, 2);
    let packets = world.encoder.picture(&mut world.truth, 2, true);
    let sent: Vec<Outgoing> =
        packets.iter().filter_map(|packet| world.stream.plan_packet(&packet.accepted()).ok()).collect();
    assert_eq!(sent.iter().map(|sent| sent.marker).collect::<Vec<_>>(), [false, true], "the lowest layer ends it");
    let written = write(&world.stream, &sent[1], &packets[1]);
    world.want_layer(2, 2);
    world.pictures(12);
    let low = u16::try_from(sent[1].index & 0xffff).unwrap();
    let repeat = world.stream.repeat(world.encoder.now, low, Duration::ZERO).unwrap();
    let outgoing = world.stream.plan_repeat(&repeat, &packets[1].accepted()).unwrap();
    let repeated = write(&world.stream, &outgoing, &packets[1]);
    let (first, again) = (RtpView::parse(&written).unwrap(), RtpView::parse(&repeated).unwrap());
    assert_eq!((first.marker(), first.extension(9)), (again.marker(), again.extension(9)));
}

#[test]
fn with_several_encodings_the_wish_counts_them_and_not_their_layers() {
    let mut world = world((Mode::Key, 3, CodecKind::Av1));
    world.stream.set_alive(Alive::NONE.with(StreamIndex(0)).with(StreamIndex(1)));
    world.want_layer(0, u8::MAX);
    world.pictures(3);
    assert_eq!(world.seen().pictures.last().map(|(layer, _)| layer.spatial), Some(2));
}

#[derive(Clone, Debug)]
enum Event {
    Pictures(Vec<Vec<Fate>>),
    Wish(u8, u8),
    Pause(bool),
    Activate(u8),
    Replace(u32, bool),
    Padding,
    Restart,
}

impl World {
    fn handle(&mut self, event: &Event) {
        match event {
            Event::Pictures(pictures) => pictures.iter().for_each(|fates| self.picture(fates)),
            Event::Wish(spatial, temporal) => self.want_layer(*spatial, *temporal),
            Event::Pause(paused) => self.want(|plan| plan.paused = *paused),
            Event::Activate(layers) => self.encoder.activate(*layers),
            Event::Replace(ssrc, is_other_track) => {
                self.replace(*ssrc, *is_other_track);
                // Long enough for the SSRC before it to count as silent.
                self.encoder.now = self.encoder.now + Duration::from_secs(1);
            }
            Event::Padding => {
                self.stream.skip(Ssrc(self.encoder.ssrc), ExtendedSequence(self.encoder.sequence));
                self.encoder.sequence += 1;
            }
            Event::Restart => self.restart(),
        }
    }

    /// A second in which nothing goes wrong; what is wished is seen at its end.
    fn peace(&mut self, spatial: u8, temporal: u8) -> Option<TemplateLayer> {
        self.late.clear();
        self.encoder.activate(u8::MAX);
        self.want(|plan| plan.paused = false);
        self.want_layer(spatial, temporal);
        self.pictures(20);
        let before = self.sent.len();
        self.pictures(8);
        let layers = self.layers_since(before);
        let highest = layers.iter().map(|(spatial, _)| *spatial).max()?;
        Some(TemplateLayer { spatial: highest, temporal: layers.iter().map(|(_, temporal)| *temporal).max()? })
    }
}

fn pictures(fate: impl Strategy<Value = Fate>) -> impl Strategy<Value = Event> {
    prop::collection::vec(prop::collection::vec(fate, 1..4), 1..20).prop_map(Event::Pictures)
}

/// What a subscriber and its publisher do on a clean network.
fn calm() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => pictures(prop_oneof![9 => Just(Fate::Pass), 1 => Just(Fate::Twice)]),
        5 => (0u8..4, 0u8..4).prop_map(|(spatial, temporal)| Event::Wish(spatial, temporal)),
        2 => any::<bool>().prop_map(Event::Pause),
        2 => (1u8..4).prop_map(Event::Activate),
        1 => (1u32..1000, any::<bool>()).prop_map(|(ssrc, is_other)| Event::Replace(ssrc, is_other)),
        1 => Just(Event::Padding),
    ]
}

fn rough() -> impl Strategy<Value = Event> {
    let fate = prop_oneof![
        12 => Just(Fate::Pass),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        2 => (1u8..30).prop_map(Fate::Late),
    ];
    prop_oneof![6 => pictures(fate), 4 => calm(), 1 => Just(Event::Restart)]
}

fn any_case() -> impl Strategy<Value = (Mode, u8, CodecKind)> {
    prop::sample::select(CASES.to_vec())
}

proptest! {
    /// Oracle: the receiver that believes descriptors. Whatever layers are wished, paused or stopped, all that is sent can
    /// be decoded, pictures end, and what is wished is reached.
    #[test]
    fn nothing_is_referred_to_that_was_not_sent(
        case in any_case(),
        ssrc in 1u32..1000,
        events in prop::collection::vec(calm(), 1..40),
        wish in (0u8..3, 0u8..3),
    ) {
        let mut world = World::new(Scalable::new(ssrc, case.0, case.1, case.2));
        events.iter().for_each(|event| world.handle(event));
        let highest = world.peace(wish.0, wish.1);
        let seen = world.seen();
        prop_assert_eq!((seen.holes, seen.undecodable, seen.open), (0, 0, 0));
        prop_assert_eq!(highest, Some(TemplateLayer { spatial: wish.0.min(case.1 - 1), temporal: wish.1 }));
    }

    /// Oracle: the same. Whatever is lost, late or restarted, descriptors never name other frames than those that were meant.
    #[test]
    fn whatever_happens_descriptors_mean_what_they_meant(
        case in any_case(),
        ssrc in 1u32..1000,
        events in prop::collection::vec(rough(), 1..40),
    ) {
        let mut world = World::new(Scalable::new(ssrc, case.0, case.1, case.2));
        events.iter().for_each(|event| world.handle(event));
        world.seen();
    }
}
