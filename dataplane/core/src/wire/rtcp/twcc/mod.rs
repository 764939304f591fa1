//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).

mod chunk;
mod write;

use sluice_protocol::media::Ssrc;

use crate::wire::cursor::Reader;
use chunk::{Chunk, Symbol};

pub(crate) use write::{FeedbackFields, WRITTEN_STATUSES_MAX, write};

/// The feedback format.
pub(super) const FORMAT: u8 = 15;
/// How many statuses a parsed packet may claim: 40 bytes can claim 65,535, so this bounds what a peer makes us do.
pub(crate) const PARSED_STATUSES_MAX: u16 = 8192;
/// One tick of arrival times and deltas, in microseconds.
pub(crate) const TICK_US: u64 = 250;
/// The reference time counts 64 ms, which are 256 ticks.
const REFERENCE_TICKS: i64 = 256;

/// What became of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// It did not arrive yet.
    Lost,
    /// It arrived.
    Received {
        /// When, in ticks of 250 µs of the receiver's clock, which has its own start and wraps after 12 days.
        arrival_ticks: i64,
    },
    /// It arrived at a time that is not told.
    ReceivedUntimed,
}

/// A feedback packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TransportFeedback<'a> {
    /// Who reports.
    pub sender: Ssrc,
    /// The stream named in the packet; the numbers are those of the whole transport.
    pub media: Ssrc,
    /// The first transport-wide sequence number.
    pub base_sequence: u16,
    /// How many packets are reported on.
    pub status_count: u16,
    /// The receiver's clock in units of 64 ms, 24 bits signed.
    pub reference_time: i32,
    /// Counts feedback packets, wrapping.
    pub feedback_count: u8,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

impl<'a> TransportFeedback<'a> {
    /// Walks the chunks once, so that iterating cannot fail.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let (sender, media) = (Ssrc(reader.u32()?), Ssrc(reader.u32()?));
        let (base_sequence, status_count) = (reader.u16()?, reader.u16()?);
        let reference_time = (reader.u24()? << 8).cast_signed() >> 8;
        let feedback_count = reader.u8()?;
        if status_count == 0 || status_count > PARSED_STATUSES_MAX {
            return None;
        }
        let start = reader.rest();
        let (mut left, mut deltas_size) = (usize::from(status_count), 0);
        while left > 0 {
            let chunk = Chunk::from_bits(reader.u16()?);
            let covered = chunk.places().min(left);
            deltas_size += chunk.deltas_size_bytes(covered);
            left -= covered;
        }
        let chunks = start.get(..start.len() - reader.remaining())?;
        let deltas = reader.take(deltas_size)?;
        Some(Self { sender, media, base_sequence, status_count, reference_time, feedback_count, chunks, deltas })
    }

    /// Iterates over sequence number and status of each packet, at most [`PARSED_STATUSES_MAX`].
    pub(crate) fn statuses(&self) -> Statuses<'a> {
        Statuses {
            chunks: Reader::new(self.chunks),
            deltas: Reader::new(self.deltas),
            chunk: Chunk::Run { symbol: Symbol::Lost, places: 0 },
            place: 0,
            sequence: self.base_sequence,
            left: self.status_count,
            arrival_ticks: i64::from(self.reference_time) * REFERENCE_TICKS,
        }
    }
}

/// The statuses of one feedback packet.
#[derive(Debug, Clone)]
pub(crate) struct Statuses<'a> {
    chunks: Reader<'a>,
    deltas: Reader<'a>,
    chunk: Chunk,
    place: usize,
    sequence: u16,
    left: u16,
    arrival_ticks: i64,
}

impl Iterator for Statuses<'_> {
    type Item = (u16, Status);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        // A run of nothing is allowed and passed over; each costs its sender two bytes.
        while self.place >= self.chunk.places() {
            self.chunk = Chunk::from_bits(self.chunks.u16()?);
            self.place = 0;
        }
        let symbol = self.chunk.symbol(self.place);
        self.place += 1;
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let delta = match symbol {
            Symbol::Lost => return Some((sequence, Status::Lost)),
            Symbol::Untimed => return Some((sequence, Status::ReceivedUntimed)),
            Symbol::SmallDelta => i64::from(self.deltas.u8()?),
            Symbol::LargeDelta => i64::from(self.deltas.u16()?.cast_signed()),
        };
        self.arrival_ticks += delta;
        Some((sequence, Status::Received { arrival_ticks: self.arrival_ticks }))
    }
}

#[cfg(test)]
mod tests;
