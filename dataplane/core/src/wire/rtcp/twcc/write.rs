//! Feedback from a list of arrivals.

use sluice_protocol::media::Ssrc;

use super::chunk::{Chunk, Symbol};
use super::{FORMAT, REFERENCE_TICKS};
use crate::wire::cursor::Writer;
use crate::wire::rtcp::{HEADER_SIZE_BYTES, RtcpError, RtcpWriter, TRANSPORT_FEEDBACK};

/// How many statuses one written packet holds at most; a longer list is split.
pub(crate) const WRITTEN_STATUSES_MAX: usize = 1024;
const _: () = assert!(WRITTEN_STATUSES_MAX <= super::PARSED_STATUSES_MAX as usize);
/// The two SSRCs, base, count, reference time and feedback count.
const FIXED_SIZE_BYTES: usize = 16;

/// Who reports on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FeedbackFields {
    /// Who reports.
    pub sender: Ssrc,
    /// Any stream of the transport.
    pub media: Ssrc,
    /// The transport-wide sequence number of the first status.
    pub base_sequence: u16,
    /// Counts feedback packets, wrapping.
    pub feedback_count: u8,
}

/// Appends feedback on consecutive packets, each with its arrival in ticks of 250 µs or lost, and returns how many of
/// them it covers: fewer than given when buffer or packet is full, or when a step of more than 8 s needs a new reference
/// time. The caller goes on with the rest, the next feedback count and, where the buffer was full, a new buffer.
///
/// # Errors
/// [`RtcpError::Content`] if none of the first [`WRITTEN_STATUSES_MAX`] arrived, as there is no time to refer to;
/// [`RtcpError::Buffer`] if there is no room for even the first arrival. Nothing is written then.
pub(crate) fn write(
    writer: &mut RtcpWriter<'_>,
    fields: &FeedbackFields,
    arrivals: &[Option<i64>],
) -> Result<usize, RtcpError> {
    let arrivals = arrivals.get(..arrivals.len().min(WRITTEN_STATUSES_MAX)).unwrap_or(&[]);
    let first = arrivals.iter().find_map(|arrival| *arrival).ok_or(RtcpError::Content)?;
    let reference = first.div_euclid(REFERENCE_TICKS);
    let mut symbols = [Symbol::Lost; WRITTEN_STATUSES_MAX];
    let mut count = 0;
    for (slot, (symbol, _)) in symbols.iter_mut().zip(deltas(arrivals, reference)) {
        *slot = symbol;
        count += 1;
    }
    let symbols = fitting(symbols.get(..count).unwrap_or(&[]), writer.remaining_bytes());
    if symbols.is_empty() {
        return Err(RtcpError::Buffer);
    }
    writer.packet(TRANSPORT_FEEDBACK, FORMAT, |writer| {
        write_head(writer, fields, reference, symbols)?;
        deltas(arrivals, reference).take(symbols.len()).try_for_each(|(_, delta)| match delta {
            Delta::None => Some(()),
            Delta::Small(delta) => writer.u8(delta),
            Delta::Large(delta) => writer.u16(delta.cast_unsigned()),
        })
    })?;
    Ok(symbols.len())
}

fn write_head(writer: &mut Writer<'_>, fields: &FeedbackFields, reference: i64, symbols: &[Symbol]) -> Option<()> {
    writer.u32(fields.sender.0)?;
    writer.u32(fields.media.0)?;
    writer.u16(fields.base_sequence)?;
    writer.u16(u16::try_from(symbols.len()).ok()?)?;
    writer.u24(u32::try_from(reference & 0x00ff_ffff).ok()?)?;
    writer.u8(fields.feedback_count)?;
    let mut rest = symbols;
    while let Some((chunk, covered)) = Chunk::fitting(rest) {
        writer.u16(chunk.to_bits())?;
        rest = rest.get(covered..)?;
    }
    Some(())
}

/// A delta as it is written.
#[derive(Debug, Clone, Copy)]
enum Delta {
    None,
    Small(u8),
    Large(i16),
}

/// Iterates over symbols and deltas; it ends where a delta is too large for 16 bits.
fn deltas(arrivals: &[Option<i64>], reference: i64) -> impl Iterator<Item = (Symbol, Delta)> {
    let mut last = reference.saturating_mul(REFERENCE_TICKS);
    arrivals.iter().map_while(move |arrival| {
        let Some(arrival) = arrival else { return Some((Symbol::Lost, Delta::None)) };
        let step = arrival.checked_sub(last)?;
        last = *arrival;
        match (u8::try_from(step), i16::try_from(step)) {
            (Ok(small), _) => Some((Symbol::SmallDelta, Delta::Small(small))),
            (_, Ok(large)) => Some((Symbol::LargeDelta, Delta::Large(large))),
            _ => None,
        }
    })
}

/// Returns as many of `symbols` as a packet of at most `size` bytes surely covers, none if that leaves no arrival. What
/// follows the first arrival is cut by a sixteenth until it fits, so at most some dozens of times.
fn fitting(symbols: &[Symbol], size: usize) -> &[Symbol] {
    let least = symbols.iter().take_while(|symbol| **symbol == Symbol::Lost).count() + 1;
    let mut symbols = symbols;
    while packet_size_bytes(symbols) > size {
        let surplus = symbols.len().saturating_sub(least);
        if surplus == 0 {
            return &[];
        }
        symbols = symbols.get(..symbols.len() - surplus.div_ceil(16)).unwrap_or(&[]);
    }
    symbols
}

fn packet_size_bytes(symbols: &[Symbol]) -> usize {
    let mut size = HEADER_SIZE_BYTES + FIXED_SIZE_BYTES;
    let mut rest = symbols;
    while let Some((_, covered)) = Chunk::fitting(rest) {
        size += 2;
        rest = rest.get(covered..).unwrap_or(&[]);
    }
    size += symbols.iter().map(|symbol| symbol.delta_size_bytes()).sum::<usize>();
    size.next_multiple_of(4)
}
