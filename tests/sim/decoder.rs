//! A decoder model: what a viewer makes of the pictures that arrive, judged against what the publisher made.

use std::collections::BTreeMap;
use std::time::Duration;

use sluice_protocol::time::Instant;

use crate::media::{Descriptor, Tag, Vp8};

/// Packets that are kept; the oldest goes first.
const PACKETS_MAX: usize = 2048;
/// How long a hole may last before the picture counts as frozen.
const PATIENCE: Duration = Duration::from_millis(400);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) vp8: Vp8,
    pub(crate) descriptor: Option<Descriptor>,
}

/// Puts frames together by number alone, as a receiver does, and panics when what looks right is not.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    packets: BTreeMap<u64, Arrived>,
    /// Where the next frame begins, while the picture runs.
    next: Option<u64>,
    /// What is below this was decoded or passed over.
    floor: u64,
    /// The frame decoded last.
    last: Option<Arrived>,
    /// The id of the first template of the structure received last.
    templates: Option<u8>,
    /// Since when the next frame is missing though newer packets are there.
    stalled: Option<Instant>,
    pub(crate) decoded: u64,
    /// Of those the ones that came with dependency descriptors.
    pub(crate) described: u64,
    pub(crate) freezes: u64,
}

impl Decoder {
    pub(crate) fn push(&mut self, now: Instant, index: u64, packet: Arrived) {
        if index < self.floor {
            return;
        }
        self.packets.insert(index, packet);
        while self.packets.len() > PACKETS_MAX {
            self.packets.pop_first();
        }
        self.advance(now);
    }

    /// Decodes what can be, and gives up what stays away too long.
    pub(crate) fn advance(&mut self, now: Instant) {
        loop {
            if let Some(next) = self.next
                && let Some(end) = self.whole_frame(next)
            {
                self.decode(next, end, true);
                continue;
            }
            let Some((start, end)) = self.key_frame() else { break };
            self.freezes += u64::from(self.next.is_some());
            self.decode(start, end, false);
        }
        self.packets = self.packets.split_off(&self.floor);
        if self.next.is_none() || self.packets.is_empty() {
            self.stalled = None;
            return;
        }
        let since = *self.stalled.get_or_insert(now);
        if now.saturating_since(since) > PATIENCE {
            self.next = None;
            self.stalled = None;
            self.freezes += 1;
        }
    }

    /// Tells whether packets come that a key frame is needed for.
    pub(crate) fn wants_key_frame(&self) -> bool {
        self.next.is_none() && !self.packets.is_empty()
    }

    /// Returns the numbers that a receiver would ask for again.
    pub(crate) fn missing(&self) -> Vec<u64> {
        let first = self.next.or_else(|| self.packets.first_key_value().map(|(index, _)| *index));
        let (Some(first), Some((last, _))) = (first, self.packets.last_key_value()) else { return Vec::new() };
        (first.max(last.saturating_sub(400))..*last).filter(|index| !self.packets.contains_key(index)).collect()
    }

    /// Returns what the frame decoded last says about itself.
    pub(crate) fn last(&self) -> Option<Tag> {
        self.last.map(|last| last.vp8.tag)
    }

    /// Returns the last packet of what looks like a whole frame that begins at `start`.
    fn whole_frame(&self, start: u64) -> Option<u64> {
        let first = self.packets.get(&start).filter(|packet| packet.vp8.start)?;
        let mut index = start;
        loop {
            let packet = self.packets.get(&index).filter(|packet| packet.timestamp == first.timestamp)?;
            if packet.marker {
                return Some(index);
            }
            index += 1;
        }
    }

    fn key_frame(&self) -> Option<(u64, u64)> {
        let rest = self.packets.range(self.floor..);
        let keys = rest.filter(|(_, packet)| packet.vp8.key).map(|(index, _)| *index);
        keys.filter_map(|start| Some((start, self.whole_frame(start)?))).next()
    }

    fn decode(&mut self, start: u64, end: u64, follows: bool) {
        let packets: Vec<Arrived> = self.packets.range(start..=end).map(|(_, packet)| *packet).collect();
        let first = packets[0];
        let tag = first.vp8.tag;
        let whole = packets.len() == usize::from(tag.parts)
            && packets.iter().enumerate().all(|(part, packet)| {
                let other = packet.vp8.tag;
                usize::from(other.part) == part && other.is_same_frame(&tag)
            });
        assert!(
            whole,
            "a torn frame looks whole: {start}..={end} {:?}",
            packets.iter().map(|it| it.vp8.tag).collect::<Vec<_>>()
        );
        assert_eq!(first.vp8.key, tag.key, "a key frame says so");
        if let Some(last) = self.last.filter(|_| follows) {
            let before = last.vp8.tag;
            assert!(
                tag.key || tag.follows(&before),
                "a frame looks decodable without what it refers to: {before:?} {tag:?}"
            );
            if let (Some((a, _)), Some((b, modulus))) = (last.vp8.picture_id, first.vp8.picture_id) {
                assert_eq!((a + 1) % modulus, b % modulus, "picture ids follow each other: {before:?} {tag:?}");
            }
        }
        self.follow_descriptor(&packets, follows);
        if let Some(last) = self.last {
            let step = first.timestamp.wrapping_sub(last.timestamp).cast_signed();
            assert!(
                step > 0,
                "time goes on with each frame: {last:?}, then at {start} after {:?} {first:?}",
                self.next
            );
        }
        self.last = Some(first);
        self.next = Some(end + 1);
        self.floor = end + 1;
        self.stalled = None;
        self.decoded += 1;
    }

    /// Checks that a frame's descriptors say of it what is so: its template, and by its number what it refers to.
    fn follow_descriptor(&mut self, packets: &[Arrived], follows: bool) {
        let Some(first) = packets[0].descriptor else { return };
        let tag = packets[0].vp8.tag;
        self.described += 1;
        assert_eq!(first.structure.is_some(), tag.key, "a key frame brings a structure: {tag:?}");
        self.templates = first.structure.or(self.templates);
        let template = self.templates.map(|offset| (offset + u8::from(!tag.key)) & 0x3f);
        let is_one = |packet: &Arrived| packet.descriptor.map(|it| (Some(it.template), it.number));
        assert!(
            packets.iter().all(|packet| is_one(packet) == Some((template, first.number))),
            "{template:?} {packets:?}"
        );
        if let Some(before) = self.last.and_then(|last| last.descriptor) {
            let step = first.number.wrapping_sub(before.number).cast_signed();
            assert!(if tag.key || !follows { step > 0 } else { step == 1 }, "{before:?} {first:?} {tag:?}");
        }
    }
}
