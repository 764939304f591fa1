//! Seeds of everything at once: loss, reordering, duplicates, probes, mutes, pauses, full sockets, kills. The guard at
//! `seal` watches from within; here a viewer watches from without.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtp::packet::Packet;
use sluice_protocol::event::Event;
use sluice_protocol::plan::{Egress, Object, Plan, Track};

use super::peer::{Media, Peer, is_pli, vp8};
use super::stage::{CAMERA, number, stage};
use super::world::*;
use crate::shard::seed::SeededState;

const PARTS: u16 = 3;

struct Chance(SeededState);

impl Chance {
    fn one_in(&mut self, count: u64) -> bool {
        self.0.draw().is_multiple_of(count)
    }
}

/// What a viewer has: by number, unwrapped, the packet.
#[derive(Default)]
struct Viewer {
    packets: BTreeMap<u64, Packet>,
    highest: u64,
}

impl Viewer {
    fn take(&mut self, packets: Vec<Packet>) {
        for packet in packets.into_iter().filter(|packet| packet.header.payload_type == VIDEO_OUT.0) {
            let index = crate::srtp::estimate_index(self.highest.max(1 << 20), packet.header.sequence_number);
            self.highest = self.highest.max(index);
            assert!(self.packets.insert(index, packet).is_none(), "number {index} came twice");
        }
    }

    /// Frames that look whole: consecutive numbers of one timestamp, from a start to a marker.
    fn whole_frames(&self) -> Vec<Vec<u16>> {
        let mut frames = Vec::new();
        let mut open: Option<(u64, u32, Vec<u16>)> = None;
        for (index, packet) in &self.packets {
            let is_start = packet.payload[0] & 0x10 != 0;
            let continues = open.as_ref().is_some_and(|(last, timestamp, _)| {
                *index == last + 1 && *timestamp == packet.header.timestamp && !is_start
            });
            if !continues {
                open = is_start.then(|| (*index, packet.header.timestamp, Vec::new()));
            }
            let Some((last, _, parts)) = &mut open else { continue };
            *last = *index;
            parts.push(number(&packet.payload));
            if packet.header.marker {
                frames.extend(open.take().map(|(_, _, parts)| parts));
            }
        }
        frames
    }
}

/// A publisher's camera: frames in three packets each, a key frame when asked, padding now and then.
#[derive(Default)]
struct Camera {
    frame: u16,
    sequence: u16,
    wants_key: bool,
    /// First packet numbers of frames, so that a whole one is recognised.
    firsts: BTreeSet<u16>,
}

impl Camera {
    fn next(&mut self, probe: bool) -> Vec<Media> {
        self.frame += 1;
        let key = std::mem::take(&mut self.wants_key) || self.frame == 1;
        if probe {
            self.sequence += 1;
        }
        self.firsts.insert(self.sequence);
        let mut media: Vec<Media> = (0..PARTS)
            .map(|part| vp8(CAMERA, self.sequence + part, self.frame, key, part == 0, part == PARTS - 1))
            .collect();
        if probe {
            let mut padding = media[0].clone();
            padding.sequence = self.sequence - 1;
            padding.payload.clear();
            media.insert(0, padding);
        }
        self.sequence += PARTS;
        media
    }
}

fn restart(world: World, learnt: &mut Plan, paused: bool, muted: bool) -> World {
    for event in &world.events {
        if let Event::Learnt(object) = event {
            learnt.put(Object::clone(object));
        }
    }
    let mut plan = learnt.clone();
    for slot in [1, 2] {
        plan.put(Object::Transport(transport(slot)));
    }
    plan.put(Object::Track(Track { muted, ..video_track(1, 1) }));
    plan.put(Object::Track(audio_track(2, 1)));
    plan.put(Object::Egress(Egress { paused, ..video_egress(1, 2, 1) }));
    plan.put(Object::Egress(audio_egress(2, 2, 2)));
    let mut world = world.restart(Duration::from_millis(150));
    for object in plan.objects() {
        world.try_put(object.clone(), true).expect("everything has its row");
    }
    world
}

/// Runs one seed.
fn run(seed: u64) {
    let mut chance = Chance(SeededState::new(seed));
    let (mut world, mut publisher, mut subscriber) = stage();
    let (mut camera, mut viewer, mut learnt) = (Camera::default(), Viewer::default(), Plan::new());
    let (mut paused, mut muted) = (false, false);
    let mut delayed: Vec<Vec<u8>> = Vec::new();
    for _ in 0..300 {
        for media in camera.next(chance.one_in(20)) {
            let sealed = publisher.seal(&media);
            match chance.0.draw() % 40 {
                0 => {}
                1 | 2 => delayed.push(sealed),
                3 => {
                    world.receive(publisher.five_tuple, &sealed);
                    world.receive(publisher.five_tuple, &sealed);
                }
                _ => world.receive(publisher.five_tuple, &sealed),
            }
        }
        if chance.one_in(3) {
            for sealed in delayed.drain(..) {
                world.receive(publisher.five_tuple, &sealed);
            }
        }
        world.wire.room = chance.one_in(25).then(|| usize::try_from(chance.0.draw() % 2).unwrap());
        for _ in 0..3 {
            world.step(11);
        }
        world.wire.room = None;
        if chance.one_in(60) {
            paused = !paused;
            world.put(Object::Egress(Egress { paused, ..video_egress(1, 2, 1) }));
        }
        if chance.one_in(80) {
            muted = !muted;
            world.put(Object::Track(Track { muted, ..video_track(1, 1) }));
        }
        if chance.one_in(100) {
            world = restart(world, &mut learnt, paused, muted);
        }
        if chance.one_in(15) {
            let pli = PictureLossIndication { sender_ssrc: 1, media_ssrc: video_egress(1, 2, 1).ssrc.0 };
            subscriber.send_rtcp(&mut world, &[Box::new(pli)]);
        }
        camera.wants_key |= publisher.take_reports(&mut world).iter().any(|packet| is_pli(packet.as_ref()));
        for peer in [&publisher, &subscriber] {
            keep_alive(&mut world, peer);
        }
        viewer.take(subscriber.take(&mut world));
    }
    let healed = heal(&mut world, &mut camera, &mut publisher, &mut subscriber, &mut viewer);
    let whole = viewer.whole_frames();
    for parts in &whole {
        let first = parts[0];
        assert!(camera.firsts.contains(&first), "seed {seed}: {parts:?} does not begin with a frame's first packet");
        assert_eq!(*parts, [first, first + 1, first + 2], "seed {seed}: a torn frame looks whole");
    }
    let seen: BTreeSet<u16> = whole.iter().map(|parts| parts[0]).collect();
    let lacking: Vec<&u16> = healed.difference(&seen).collect();
    assert!(lacking.is_empty(), "seed {seed}: the viewer still lacks {lacking:?}");
}

/// Lets all be well again, and returns the first numbers of the frames that must arrive whole: those after a second.
fn heal(
    world: &mut World,
    camera: &mut Camera,
    publisher: &mut Peer,
    subscriber: &mut Peer,
    viewer: &mut Viewer,
) -> BTreeSet<u16> {
    world.put(Object::Egress(video_egress(1, 2, 1)));
    world.put(Object::Track(video_track(1, 1)));
    let mut healed = BTreeSet::new();
    for turn in 0..60 {
        for media in camera.next(false) {
            publisher.send(world, &media);
        }
        if turn >= 30 {
            healed.extend(camera.firsts.last().copied());
        }
        world.step(33);
        camera.wants_key |= publisher.take_reports(world).iter().any(|packet| is_pli(packet.as_ref()));
        viewer.take(subscriber.take(world));
    }
    healed
}

fn keep_alive(world: &mut World, peer: &Peer) {
    if (world.now.nanos / 1_000_000).is_multiple_of(10) {
        world.receive(peer.five_tuple, &peer.request(super::peer::Check::Nominating));
    }
}

#[test]
fn twenty_seeds_of_everything_tear_no_frame_use_no_number_twice_and_heal() {
    for seed in 0..20 {
        run(seed);
    }
}
