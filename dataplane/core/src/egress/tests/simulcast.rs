//! Whatever becomes of three encodings on their way, and whatever is wished: the decoder is never lied to.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::camera::Camera;
use super::decoder::{Truth, judge};
use super::viewer::Viewer;
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
    /// Frames of all encodings that are sent: the packets of each, and how the encodings' packets mix.
    Frames(Vec<(Vec<Fate>, u64)>),
    Wish(u8, u8),
    Pause(bool),
    Mute(bool),
    /// An encoding is not sent any more, or again.
    Send(u8, bool),
    /// An encoding goes on under another SSRC.
    NewSsrc(u8),
    /// Sender reports begin to come.
    Report(u8),
    /// Nothing of anybody for so many milliseconds.
    Silence(u16),
    Restart,
}

struct World {
    viewer: Viewer,
    cameras: [Camera; 3],
    is_sent: [bool; 3],
    truth: Truth,
    late: VecDeque<(u8, Packet)>,
    sources: u32,
}

impl World {
    fn new(seed: u64) -> Self {
        let camera = |stream: u8| {
            let mut camera =
                Camera::new(1 + u32::from(stream) + (u32::try_from(seed & 0xff).unwrap() << 4), stream % 2);
            camera.publisher.stream = stream;
            camera
        };
        Self {
            viewer: Viewer::new(seed),
            cameras: [0, 1, 2].map(camera),
            is_sent: [true; 3],
            truth: Truth::default(),
            late: VecDeque::new(),
            sources: 0,
        }
    }

    fn handle(&mut self, event: &Event) {
        match event {
            Event::Frames(frames) => frames.iter().for_each(|(fates, order)| self.frames(fates, *order)),
            Event::Wish(spatial, temporal) => self.viewer.want(|plan| {
                (plan.max_layer.spatial, plan.max_layer.temporal) = (*spatial, *temporal);
            }),
            Event::Pause(paused) => self.viewer.want(|plan| plan.paused = *paused),
            Event::Mute(muted) => self.viewer.target.stream.set_muted(*muted),
            Event::Send(index, is_sent) => self.is_sent[usize::from(*index)] = *is_sent,
            Event::NewSsrc(index) => self.replace(*index),
            Event::Report(index) => self.cameras[usize::from(*index)].publisher.reports = true,
            Event::Silence(millis) => self.pass(u64::from(*millis)),
            Event::Restart => self.restart(),
        }
    }

    /// A frame of each encoding that is sent. Key frames are made where one is asked for.
    fn frames(&mut self, fates: &[Fate], order: u64) {
        let asked = self.viewer.asks();
        let mut queues: Vec<VecDeque<(Packet, Fate)>> = Vec::new();
        for (index, camera) in self.cameras.iter_mut().enumerate() {
            let wants_key = asked.is_some_and(|asked| usize::from(asked) == index);
            if self.is_sent[index] {
                let packets = camera.frame(&mut self.truth, fates.len(), wants_key);
                queues.push(packets.into_iter().zip(fates.iter().copied()).collect());
            } else {
                camera.publisher.step(33, 2970);
            }
        }
        let mut random = Random::new(order);
        while !queues.is_empty() {
            let place = usize::try_from(random.next() % queues.len() as u64).unwrap();
            match queues[place].pop_front() {
                Some((packet, fate)) => self.travel(packet, fate),
                None => drop(queues.remove(place)),
            }
        }
        self.viewer.now = self.viewer.now + Duration::from_millis(33);
    }

    fn travel(&mut self, packet: Packet, fate: Fate) {
        for (left, _) in &mut self.late {
            *left = left.saturating_sub(1);
        }
        match fate {
            Fate::Pass => self.viewer.receive(&packet),
            Fate::Lost => {}
            Fate::Twice => self.viewer.receive_all([&packet, &packet]),
            Fate::Late(after) => self.late.push_back((after, packet)),
        }
        while let Some(place) = self.late.iter().position(|(left, _)| *left == 0) {
            let (_, packet) = self.late.remove(place).unwrap();
            self.viewer.receive(&packet);
        }
    }

    fn replace(&mut self, index: u8) {
        self.sources += 1;
        let camera = &mut self.cameras[usize::from(index)];
        // No SSRC comes back: the truth is kept under its packets' SSRC and sequence number.
        let mut next = Camera::new(self.sources << 16 | u32::from(index), index % 2);
        (next.publisher.now, next.publisher.stream) = (camera.publisher.now, index);
        *camera = next;
    }

    fn pass(&mut self, millis: u64) {
        for camera in &mut self.cameras {
            camera.publisher.step(millis, u32::try_from(millis * 90).unwrap());
        }
        self.viewer.now = self.viewer.now + Duration::from_millis(millis);
    }

    fn restart(&mut self) {
        let Viewer { target, now, sent, .. } = &mut self.viewer;
        let (index, anchor) = (target.stream.index(), target.stream.state());
        let (plan, now, sent) = (target.plan.clone(), *now, std::mem::take(sent));
        self.viewer = Viewer { now, sent, ..Viewer::new(index) };
        self.viewer.target.guard = crate::srtp::guard::SealGuard::after(Some(index));
        self.viewer.want(|new| *new = plan);
        self.viewer.target.stream.restore(now, index, &anchor);
        self.late.clear();
    }

    /// A world in which all this happened, and then nothing went wrong.
    fn lived(seed: u64, events: &[Event], wish: u8) -> Self {
        let mut world = Self::new(seed);
        events.iter().for_each(|event| world.handle(event));
        world.peace(wish);
        world
    }

    /// A second and a half in which nothing goes wrong and all encodings are sent.
    fn peace(&mut self, wish: u8) {
        self.is_sent = [true; 3];
        self.late.clear();
        self.viewer.target.stream.set_muted(false);
        self.viewer.want(|plan| (plan.paused, plan.max_layer.spatial) = (false, wish));
        (0..45).for_each(|order| self.frames(&[Fate::Pass; 3], order));
    }
}

fn frames(fate: impl Strategy<Value = Fate>) -> impl Strategy<Value = Event> {
    let frame = (prop::collection::vec(fate, 1..5), any::<u64>());
    prop::collection::vec(frame, 1..30).prop_map(Event::Frames)
}

/// What subscribers and publishers do on a clean network.
fn calm() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => frames(prop_oneof![9 => Just(Fate::Pass), 1 => Just(Fate::Twice)]),
        4 => (0u8..4, 0u8..4).prop_map(|(spatial, temporal)| Event::Wish(spatial, temporal)),
        2 => any::<bool>().prop_map(Event::Pause),
        2 => any::<bool>().prop_map(Event::Mute),
        4 => (0u8..3, any::<bool>()).prop_map(|(index, is_sent)| Event::Send(index, is_sent)),
        1 => (0u8..3).prop_map(Event::NewSsrc),
        2 => (0u8..3).prop_map(Event::Report),
        1 => any::<u16>().prop_map(Event::Silence),
    ]
}

fn rough() -> impl Strategy<Value = Event> {
    let fate = prop_oneof![
        12 => Just(Fate::Pass),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        2 => (1u8..30).prop_map(Fate::Late),
    ];
    prop_oneof![6 => frames(fate), 4 => calm(), 1 => Just(Event::Restart)]
}

proptest! {
    /// Oracle: the decoder model. Changes of the encoding leave no hole and never freeze it, and what is wished is
    /// reached.
    #[test]
    fn nothing_lost_upstream_is_nothing_missing_downstream(
        seed: u64,
        events in prop::collection::vec(calm(), 1..60),
        wish in 0u8..3,
    ) {
        let world = World::lived(seed, &events, wish);
        let verdict = judge(&world.truth, &world.viewer.sent);
        prop_assert_eq!((verdict.holes, verdict.freezes, verdict.steps_back), (0, 0, 0));
        let forwarded: std::collections::BTreeSet<_> =
            world.viewer.sent.iter().map(|packet| world.truth.packets[&packet.source]).collect();
        prop_assert_eq!(verdict.frames_decoded, forwarded.len());
        prop_assert_eq!((world.viewer.sees(), world.viewer.asks()), (Some(wish), None));
    }

    /// Oracle: the decoder model. It may freeze, but never decodes what is torn or refers to what was never sent.
    #[test]
    fn whatever_happens_nothing_torn_looks_whole(
        seed: u64,
        events in prop::collection::vec(rough(), 1..60),
        wish in 0u8..3,
    ) {
        let world = World::lived(seed, &events, wish);
        judge(&world.truth, &world.viewer.sent);
    }

    /// Oracle: the wish.
    #[test]
    fn whatever_happens_what_is_wished_is_reached(
        seed: u64,
        events in prop::collection::vec(rough(), 1..60),
        wish in 0u8..3,
    ) {
        let world = World::lived(seed, &events, wish);
        prop_assert_eq!((world.viewer.sees(), world.viewer.asks()), (Some(wish), None));
    }
}
