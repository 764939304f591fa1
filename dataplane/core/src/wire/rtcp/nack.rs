//! Generic NACKs (RFC 4585 section 6.2.1).

use sluice_protocol::media::Ssrc;

use super::{RtcpError, RtcpWriter, TRANSPORT_FEEDBACK};
use crate::wire::cursor::Reader;

/// The feedback format.
pub(super) const FORMAT: u8 = 1;
/// How many sequence numbers one pair names: the packet and sixteen that follow it.
pub(crate) const PAIR_SEQUENCES_MAX: usize = 17;
/// The size of one pair.
const PAIR_SIZE_BYTES: usize = 4;

/// A request to repeat packets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nack<'a> {
    /// The stream that has a gap.
    pub media: Ssrc,
    pairs: &'a [u8],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let _sender = reader.u32()?;
        let media = Ssrc(reader.u32()?);
        let pairs = reader.rest();
        pairs.len().is_multiple_of(PAIR_SIZE_BYTES).then_some(Self { media, pairs })
    }

    /// Iterates over the sequence numbers asked for, in the order of the pairs; at most [`PAIR_SEQUENCES_MAX`] for each
    /// four bytes of the packet, so the caller bounds what it repeats.
    pub(crate) fn sequences(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.pairs.as_chunks::<PAIR_SIZE_BYTES>().0.iter().flat_map(|[a, b, c, d]| {
            let (first, mask) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
            let following = (0u16..16).filter(move |bit| mask & (1 << bit) != 0);
            core::iter::once(first).chain(following.map(move |bit| first.wrapping_add(bit + 1)))
        })
    }
}

/// Appends a NACK for `sequences`, which ascend (across a wrap, too) for the densest packing, and returns how many were
/// written: fewer than given when the buffer is full.
///
/// # Errors
/// [`RtcpError::Content`] for an empty list, [`RtcpError::Buffer`] if not even one fits.
pub(crate) fn write(
    writer: &mut RtcpWriter<'_>,
    sender: Ssrc,
    media: Ssrc,
    sequences: &[u16],
) -> Result<usize, RtcpError> {
    if sequences.is_empty() {
        return Err(RtcpError::Content);
    }
    let mut written = 0;
    writer.packet(TRANSPORT_FEEDBACK, FORMAT, |writer| {
        writer.u32(sender.0)?;
        writer.u32(media.0)?;
        while let Some((first, following)) = sequences.get(written..).and_then(<[u16]>::split_first) {
            if writer.remaining() < PAIR_SIZE_BYTES {
                break;
            }
            let mut mask = 0;
            written += 1;
            for sequence in following {
                match sequence.wrapping_sub(*first) {
                    0 => {}
                    distance @ 1..=16 => mask |= 1u16 << (distance - 1),
                    _ => break,
                }
                written += 1;
            }
            writer.u16(*first)?;
            writer.u16(mask)?;
        }
        (written > 0).then_some(())
    })?;
    Ok(written)
}
