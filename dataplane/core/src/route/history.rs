//! The packets of one track in the order of their arrival, each stored once: what subscribers are fed from, what
//! repeats are taken from, and where a new viewer starts.
//!
//! A subscriber holds a [`Position`] in it, so waiting behind a full socket and replaying a key frame both cost nothing
//! but that number.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use sluice_protocol::limits::ENCODINGS_MAX;
use sluice_protocol::media::{CodecKind, MediaKind, PayloadType, Ssrc};
use sluice_protocol::time::Instant;

use crate::ingress::{Accepted, ExtendedSequence, FrameInfo, StreamIndex};
use crate::limits::{
    HISTORY_AUDIO_AGE_MAX, HISTORY_AUDIO_BYTES_MAX, HISTORY_AUDIO_PACKETS_MAX, HISTORY_VIDEO_AGE_MAX,
    HISTORY_VIDEO_BYTES_MAX, HISTORY_VIDEO_PACKETS_MAX,
};
use crate::wire::dependency_descriptor::TemplateStructure;

/// The place of a packet in a history: counts arrivals since the track began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position(pub(crate) u64);

impl Position {
    pub(crate) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The bytes that a history starts with; it doubles up to its maximum when what is young enough does not fit.
const BYTES_MIN: usize = 16 << 10;

/// See the module. At each limit the oldest packet goes.
#[derive(Debug)]
pub(crate) struct History {
    limits: Limits,
    entries: VecDeque<Entry>,
    /// The position of the first entry.
    oldest: Position,
    /// A ring of bytes; each packet lies in one piece.
    bytes: Vec<u8>,
    /// Where the next packet goes, if it fits before the end.
    write: usize,
    streams: [StreamPlaces; ENCODINGS_MAX],
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    packets: usize,
    bytes: usize,
    age: Duration,
}

/// Where the packets of one encoding are.
#[derive(Clone, Debug, Default)]
struct StreamPlaces {
    /// The last position that took each residue of the sequence number, plus one; empty until the stream is heard.
    by_sequence: Vec<u64>,
    /// Where the last key frame starts.
    key_frame: Option<Position>,
}

#[derive(Clone, Debug)]
struct Entry {
    stream: StreamIndex,
    ssrc: Ssrc,
    sequence: ExtendedSequence,
    timestamp: u32,
    marker: bool,
    payload_type: PayloadType,
    codec: CodecKind,
    clock_rate: u32,
    frame: FrameInfo,
    audio_level: Option<u8>,
    video_orientation: Option<u8>,
    playout_delay: Option<[u8; 3]>,
    arrival: Instant,
    captured: Option<u32>,
    structure: Option<Arc<TemplateStructure>>,
    offset: usize,
    descriptor_size: u16,
    payload_size: u16,
}

impl Entry {
    fn size(&self) -> usize {
        usize::from(self.descriptor_size) + usize::from(self.payload_size)
    }
}

impl History {
    pub(crate) fn new(kind: MediaKind) -> Self {
        let limits = match kind {
            MediaKind::Audio => Limits {
                packets: HISTORY_AUDIO_PACKETS_MAX,
                bytes: HISTORY_AUDIO_BYTES_MAX,
                age: HISTORY_AUDIO_AGE_MAX,
            },
            MediaKind::Video => Limits {
                packets: HISTORY_VIDEO_PACKETS_MAX,
                bytes: HISTORY_VIDEO_BYTES_MAX,
                age: HISTORY_VIDEO_AGE_MAX,
            },
        };
        Self {
            limits,
            entries: VecDeque::new(),
            oldest: Position(0),
            bytes: Vec::new(),
            write: 0,
            streams: std::array::from_fn(|_| StreamPlaces::default()),
        }
    }

    /// Stores a packet and returns its position; `None` when it is larger than any packet is.
    pub(crate) fn push(&mut self, packet: &Accepted<'_>) -> Option<Position> {
        let descriptor_size = u16::try_from(packet.dependency_descriptor.len()).ok()?;
        let payload_size = u16::try_from(packet.payload.len()).ok()?;
        let size = packet.dependency_descriptor.len() + packet.payload.len();
        while self.entries.len() >= self.limits.packets || self.is_outdated(packet.arrival) {
            self.evict();
        }
        let offset = self.place(size)?;
        let (descriptor, payload) =
            self.bytes.get_mut(offset..offset + size)?.split_at_mut(packet.dependency_descriptor.len());
        descriptor.copy_from_slice(packet.dependency_descriptor);
        payload.copy_from_slice(packet.payload);
        self.write = offset + size;
        let position = self.head();
        self.entries.push_back(Entry {
            stream: packet.stream,
            ssrc: packet.ssrc,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload_type: packet.payload_type,
            codec: packet.codec,
            clock_rate: packet.clock_rate,
            frame: packet.frame,
            audio_level: packet.audio_level,
            video_orientation: packet.video_orientation,
            playout_delay: packet.playout_delay,
            arrival: packet.arrival,
            captured: packet.captured,
            structure: packet.structure.cloned(),
            offset,
            descriptor_size,
            payload_size,
        });
        self.index(packet, position);
        Some(position)
    }

    /// Returns the position that the next packet will have.
    pub(crate) fn head(&self) -> Position {
        Position(self.oldest.0 + self.entries.len() as u64)
    }

    /// Returns the position of the oldest packet that is still there.
    pub(crate) const fn oldest(&self) -> Position {
        self.oldest
    }

    /// Returns the packet at `position`, if it is still there.
    pub(crate) fn packet(&self, position: Position) -> Option<Accepted<'_>> {
        let index = usize::try_from(position.0.checked_sub(self.oldest.0)?).ok()?;
        self.entries.get(index).and_then(|entry| self.lend(entry))
    }

    /// Returns the packet of `stream` with `sequence`, if it is still there.
    pub(crate) fn find(&self, stream: StreamIndex, sequence: ExtendedSequence) -> Option<Accepted<'_>> {
        let places = self.streams.get(usize::from(stream.0))?;
        let taken = places.by_sequence.get(residue(sequence, places.by_sequence.len()))?;
        let packet = self.packet(Position(taken.checked_sub(1)?))?;
        (packet.stream == stream && packet.sequence == sequence).then_some(packet)
    }

    /// Returns where the last key frame of `stream` starts, if it is still there.
    pub(crate) fn key_frame(&self, stream: StreamIndex) -> Option<Position> {
        self.streams.get(usize::from(stream.0))?.key_frame.filter(|position| *position >= self.oldest)
    }

    fn index(&mut self, packet: &Accepted<'_>, position: Position) {
        let residues = self.limits.packets;
        let Some(places) = self.streams.get_mut(usize::from(packet.stream.0)) else { return };
        if places.by_sequence.is_empty() {
            places.by_sequence.resize(residues, 0);
        }
        if let Some(taken) = places.by_sequence.get_mut(residue(packet.sequence, residues)) {
            *taken = position.0 + 1;
        }
        if packet.frame.key && packet.frame.start {
            places.key_frame = Some(position);
        }
    }

    fn is_outdated(&self, now: Instant) -> bool {
        self.entries.front().is_some_and(|entry| now.saturating_since(entry.arrival) > self.limits.age)
    }

    fn evict(&mut self) {
        if self.entries.pop_front().is_some() {
            self.oldest = self.oldest.next();
        }
    }

    /// Finds `size` bytes in one piece; grows while it may, then evicts.
    fn place(&mut self, size: usize) -> Option<usize> {
        if size > self.limits.bytes / 4 {
            return None;
        }
        loop {
            let capacity = self.bytes.len();
            let Some(tail) = self.entries.front().map(|entry| entry.offset) else {
                if size <= capacity {
                    return Some(0);
                }
                self.grow();
                continue;
            };
            let wrapped = self.write <= tail;
            if !wrapped && capacity - self.write >= size {
                return Some(self.write);
            }
            if !wrapped && tail > size {
                return Some(0);
            }
            if wrapped && tail - self.write > size {
                return Some(self.write);
            }
            if capacity < self.limits.bytes {
                self.grow();
            } else {
                self.evict();
            }
        }
    }

    /// Doubles the ring and lays the packets out from its start.
    fn grow(&mut self) {
        let capacity = (self.bytes.len() * 2).clamp(BYTES_MIN, self.limits.bytes);
        let mut bytes = vec![0; capacity];
        let mut write = 0;
        for entry in &mut self.entries {
            let size = entry.size();
            let from = self.bytes.get(entry.offset..entry.offset + size);
            if let (Some(from), Some(to)) = (from, bytes.get_mut(write..write + size)) {
                to.copy_from_slice(from);
            }
            entry.offset = write;
            write += size;
        }
        self.bytes = bytes;
        self.write = write;
    }

    fn lend<'a>(&'a self, entry: &'a Entry) -> Option<Accepted<'a>> {
        let bytes = self.bytes.get(entry.offset..entry.offset + entry.size())?;
        let (dependency_descriptor, payload) = bytes.split_at_checked(usize::from(entry.descriptor_size))?;
        Some(Accepted {
            stream: entry.stream,
            ssrc: entry.ssrc,
            sequence: entry.sequence,
            timestamp: entry.timestamp,
            marker: entry.marker,
            payload_type: entry.payload_type,
            codec: entry.codec,
            clock_rate: entry.clock_rate,
            frame: entry.frame,
            audio_level: entry.audio_level,
            video_orientation: entry.video_orientation,
            playout_delay: entry.playout_delay,
            dependency_descriptor,
            structure: entry.structure.as_ref(),
            payload,
            arrival: entry.arrival,
            captured: entry.captured,
        })
    }
}

fn residue(sequence: ExtendedSequence, residues: usize) -> usize {
    usize::try_from(sequence.0 % (residues.max(1) as u64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u64, payload: &[u8], millis: u64) -> Accepted<'_> {
        Accepted {
            stream: StreamIndex(0),
            ssrc: Ssrc(1),
            sequence: ExtendedSequence(sequence),
            timestamp: 0,
            marker: false,
            payload_type: PayloadType(96),
            codec: CodecKind::Vp8,
            clock_rate: 90_000,
            frame: FrameInfo::default(),
            audio_level: None,
            video_orientation: None,
            playout_delay: None,
            dependency_descriptor: &[],
            structure: None,
            payload,
            arrival: Instant::from_millis(millis),
            captured: None,
        }
    }

    /// A payload that tells its sequence, of a size that varies.
    fn payload(sequence: u64) -> Vec<u8> {
        let size = 1 + usize::try_from(sequence * 7919 % 1200).unwrap();
        (0..size).map(|index| u8::try_from((usize::try_from(sequence).unwrap() + index) % 251).unwrap()).collect()
    }

    #[test]
    fn what_is_there_reads_as_it_was_stored_however_the_ring_turns() {
        let mut history = History::new(MediaKind::Video);
        for sequence in 0..40_000 {
            let bytes = payload(sequence);
            // 20 Mbit/s, so that bytes are the limit.
            assert_eq!(history.push(&packet(sequence, &bytes, sequence / 4)), Some(Position(sequence)));
            for back in [0, 1, 100, 1000] {
                let Some(older) = sequence.checked_sub(back) else { continue };
                let Some(found) = history.find(StreamIndex(0), ExtendedSequence(older)) else {
                    assert!(Position(older) < history.oldest(), "{older} of {sequence} is lost");
                    continue;
                };
                assert_eq!(found.payload, payload(older), "{older} of {sequence}");
            }
        }
        assert!(history.bytes.len() <= HISTORY_VIDEO_BYTES_MAX && history.entries.len() <= HISTORY_VIDEO_PACKETS_MAX);
        assert!(history.oldest() < Position(40_000 - 2000), "a second of it is kept");
    }

    #[test]
    fn a_slow_track_keeps_few_bytes_and_nothing_old() {
        let mut history = History::new(MediaKind::Audio);
        for sequence in 0..1000 {
            history.push(&packet(sequence, &[1; 100], sequence * 20));
        }
        assert_eq!(history.bytes.len(), BYTES_MIN);
        assert_eq!(history.head().0 - history.oldest().0, 26, "500 ms and the packet itself");
        assert_eq!(history.find(StreamIndex(0), ExtendedSequence(900)), None);
        assert_eq!(history.packet(Position(900)), None);
    }

    #[test]
    fn the_last_key_frame_is_found_until_it_is_evicted() {
        let mut history = History::new(MediaKind::Video);
        let mut key = packet(0, &[1], 0);
        key.frame = FrameInfo { start: true, key: true, ..FrameInfo::default() };
        history.push(&key);
        history.push(&packet(1, &[2], 10));
        assert_eq!(history.key_frame(StreamIndex(0)), Some(Position(0)));
        assert_eq!(history.key_frame(StreamIndex(1)), None);
        history.push(&packet(2, &[3], 2001));
        assert_eq!(history.key_frame(StreamIndex(0)), None);
    }

    #[test]
    fn what_no_datagram_can_hold_is_not_stored() {
        let mut history = History::new(MediaKind::Audio);
        assert_eq!(history.push(&packet(0, &[0; 20_000], 0)), None);
        assert_eq!(history.head(), Position(0));
    }
}
