//! Report blocks of sender and receiver reports (RFC 3550 section 6.4.1).

use sluice_protocol::media::Ssrc;

use crate::wire::cursor::{Reader, Writer};

/// The size of one block.
pub(crate) const BLOCK_SIZE_BYTES: usize = 24;
/// The most blocks that one report holds: a count of five bits.
pub(crate) const BLOCKS_MAX: usize = 31;

/// What a receiver says about one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReportBlock {
    /// The source that is reported on.
    pub ssrc: Ssrc,
    /// The fraction lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the start, cut to 24 bits signed: duplicates can make it negative.
    pub cumulative_lost: i32,
    /// The highest sequence number received, roll-overs in the upper half.
    pub highest_sequence: u32,
    /// Interarrival jitter in units of the RTP clock.
    pub jitter: u32,
    /// The middle 32 bits of the last sender report's NTP time, 0 before the first.
    pub last_sr: u32,
    /// The time since that report in 1/65536 s, 0 before the first.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            ssrc: Ssrc(reader.u32()?),
            fraction_lost: reader.u8()?,
            // The sign is in bit 23: shifted up and back down.
            cumulative_lost: (reader.u24()? << 8).cast_signed() >> 8,
            highest_sequence: reader.u32()?,
            jitter: reader.u32()?,
            last_sr: reader.u32()?,
            delay_since_last_sr: reader.u32()?,
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Option<()> {
        writer.u32(self.ssrc.0)?;
        writer.u8(self.fraction_lost)?;
        writer.u24(self.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).cast_unsigned())?;
        writer.u32(self.highest_sequence)?;
        writer.u32(self.jitter)?;
        writer.u32(self.last_sr)?;
        writer.u32(self.delay_since_last_sr)
    }
}

/// The blocks of one report, at most [`BLOCKS_MAX`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReportBlocks<'a> {
    reader: Reader<'a>,
}

impl<'a> ReportBlocks<'a> {
    /// Takes `count` blocks from the front of `bytes`; what follows is a profile's extension and ignored.
    pub(super) fn parse(count: u8, bytes: &'a [u8]) -> Option<Self> {
        Some(Self { reader: Reader::new(bytes.get(..usize::from(count) * BLOCK_SIZE_BYTES)?) })
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<Self::Item> {
        ReportBlock::read(&mut self.reader)
    }
}

/// Returns the count field for `blocks`, if there are not too many.
pub(super) fn count(blocks: &[ReportBlock]) -> Option<u8> {
    u8::try_from(blocks.len()).ok().filter(|count| usize::from(*count) <= BLOCKS_MAX)
}
