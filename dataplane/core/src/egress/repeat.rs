//! What was sent of a video stream lately, so that a repeat says the same: the packet's bytes are in the shared history.

use core::time::Duration;
use std::collections::VecDeque;

use sluice_protocol::media::Ssrc;
use sluice_protocol::time::Instant;

use super::limits::{REPEAT_INTERVAL_MIN, REPEATABLE_ERAS, REPEATABLE_PACKETS, REPEATS_PER_PACKET_MAX};
use super::picture::PictureNumbers;
use super::renumber::{Numbers, Renumber};
use super::timestamp::Mapping;
use crate::discard::Discard;
use crate::ingress::{Accepted, ExtendedSequence};
use crate::wire::dependency_descriptor::Rewrite;

/// A packet to send again: where it is in the history, and the numbers that it was sent with. One that was not sent yet
/// may be in the history too: it came before the key frame's start that it belongs behind. Then it is sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Repeat {
    /// The SSRC of the source.
    pub source: Ssrc,
    /// The sequence number in the source.
    pub sequence: ExtendedSequence,
    /// The egress sequence number that is asked for.
    pub original: u16,
    pub(super) sent: Option<SentAs>,
}

/// What a packet was sent as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SentAs {
    era: Era,
    picture_id: u16,
    marker: bool,
}

impl SentAs {
    /// Returns timestamp, marker bit and numbers that `packet`, the one in the history, was sent with.
    pub(super) fn numbers(&self, packet: &Accepted<'_>) -> (u32, bool, PictureNumbers) {
        let frame = &packet.frame;
        let picture = PictureNumbers {
            picture_id: frame.picture_id.map(|_| self.picture_id),
            tl0picidx: frame.tl0picidx.map(|value| value.wrapping_add(self.era.tl0_offset)),
            descriptor: frame.frame_number.map(|value| Rewrite {
                frame_number: value.wrapping_add(self.era.descriptors.frame_number),
                ..self.era.descriptors
            }),
        };
        (self.era.times.map(packet.timestamp), self.marker, picture)
    }
}

/// A stretch of packets of one source with the same offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Era {
    source: Ssrc,
    /// The first sequence number; those of its packets are stored relative to it.
    first: u64,
    times: Mapping,
    tl0_offset: u8,
    /// What is added to frame numbers, and the rest.
    descriptors: Rewrite,
}

/// One packet, twelve bytes: there are a thousand for each viewer.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    /// The source's sequence number after the first of its era.
    source: u32,
    sequence: u16,
    picture_id: u16,
    /// When it was repeated last, in milliseconds modulo 2^16.
    repeated_ms: u16,
    /// The number of its era, modulo 256.
    era: u8,
    /// How often it was sent, 0 in an entry that was never filled; with [`MARKER`] where it had the marker bit.
    times: u8,
}

/// The bit beside [`Entry::times`].
const MARKER: u8 = 0x80;

impl Entry {
    const fn times(self) -> u8 {
        self.times & !MARKER
    }
}

const _: () = assert!(REPEATS_PER_PACKET_MAX + 1 < MARKER);

const _: () = assert!(size_of::<Entry>() == 12);

/// The ring of packets that can be repeated: egress sequence → ingress sequence and the numbers it was sent with.
/// [`REPEATABLE_PACKETS`] deep and allocated with the first packet; the newer packet takes the place of the older.
#[derive(Clone, Debug, Default)]
pub(super) struct Repeats {
    entries: Vec<Entry>,
    eras: VecDeque<Era>,
    /// The number of the newest era, modulo 256.
    era: u8,
}

impl Repeats {
    /// Notes that `packet` was sent with `numbers`.
    pub(super) fn remember(&mut self, numbers: &Numbers, renumber: &Renumber, packet: &Accepted<'_>) {
        let first = match self.eras.back() {
            Some(era) if era.source == packet.ssrc && era.holds(packet.sequence.0) => era.first,
            // Packets that come late may precede the first one.
            Some(_) | None => packet.sequence.0.saturating_sub(1 << 16),
        };
        let era = Era {
            source: packet.ssrc,
            first,
            times: renumber.timeline().mapping(),
            tl0_offset: renumber.pictures().tl0_offset(),
            descriptors: renumber.pictures().descriptors(),
        };
        if self.eras.back() != Some(&era) {
            self.begin(era);
        }
        if self.entries.is_empty() {
            self.entries = vec![Entry::default(); REPEATABLE_PACKETS];
        }
        let sequence = super::rewrite::low_sequence(numbers.sequence);
        let entry = Entry {
            source: u32::try_from(packet.sequence.0.saturating_sub(first)).unwrap_or(u32::MAX),
            sequence,
            picture_id: numbers.picture.picture_id.unwrap_or(0),
            repeated_ms: 0,
            era: self.era,
            times: 1 | if numbers.marker { MARKER } else { 0 },
        };
        if let Some(place) = self.entries.get_mut(usize::from(sequence) % REPEATABLE_PACKETS) {
            *place = entry;
        }
    }

    /// Finds the packet that was sent as `original`, unless it was repeated within `interval` or too often.
    ///
    /// # Errors
    /// [`Discard::RepeatGone`] and [`Discard::RepeatLimited`].
    pub(super) fn take(&mut self, now: Instant, original: u16, interval: Duration) -> Result<Repeat, Discard> {
        let newest = self.era;
        let entry = self
            .entries
            .get_mut(usize::from(original) % REPEATABLE_PACKETS)
            .filter(|entry| entry.times() != 0 && entry.sequence == original)
            .ok_or(Discard::RepeatGone)?;
        let age = usize::from(newest.wrapping_sub(entry.era));
        let era = self.eras.iter().rev().nth(age).copied().ok_or(Discard::RepeatGone)?;
        let now_ms = u16::try_from(now.nanos / 1_000_000 % (1 << 16)).unwrap_or(0);
        let interval_ms = interval.max(REPEAT_INTERVAL_MIN).as_millis();
        let is_early = entry.times() > 1 && u128::from(now_ms.wrapping_sub(entry.repeated_ms)) < interval_ms;
        if is_early || entry.times() > REPEATS_PER_PACKET_MAX {
            return Err(Discard::RepeatLimited);
        }
        entry.times += 1;
        entry.repeated_ms = now_ms;
        Ok(Repeat {
            source: era.source,
            sequence: ExtendedSequence(era.first + u64::from(entry.source)),
            original,
            sent: Some(SentAs { era, picture_id: entry.picture_id, marker: entry.times & MARKER != 0 }),
        })
    }

    fn begin(&mut self, era: Era) {
        if self.eras.capacity() == 0 {
            self.eras.reserve_exact(REPEATABLE_ERAS);
        }
        if self.eras.len() == REPEATABLE_ERAS {
            self.eras.pop_front();
        }
        self.eras.push_back(era);
        self.era = self.era.wrapping_add(1);
    }
}

impl Era {
    /// Tells whether a sequence number can be stored relative to the first one.
    const fn holds(&self, sequence: u64) -> bool {
        sequence >= self.first && sequence - self.first < u32::MAX as u64
    }
}
