//! Extended reports that measure the round trip of a receiver (RFC 3611 sections 4.4 and 4.5).

use sluice_protocol::media::Ssrc;
use sluice_protocol::time::NtpTime;

use super::{EXTENDED_REPORT, RtcpError, RtcpWriter};
use crate::wire::cursor::Reader;

const RECEIVER_REFERENCE_TIME: u8 = 4;
const DELAY_SINCE_LAST_RECEIVER_REPORT: u8 = 5;
/// The size of a sub-block of the answer.
const SUB_BLOCK_SIZE_BYTES: usize = 12;

/// An extended report; blocks of other kinds are skipped.
#[derive(Debug, Clone, Copy)]
pub struct ExtendedReport<'a> {
    /// Who reports.
    pub sender: Ssrc,
    blocks: &'a [u8],
}

/// One block.
#[derive(Debug, Clone, Copy)]
pub enum Block<'a> {
    /// The receiver's clock, to be sent back.
    ReferenceTime(NtpTime),
    /// Such clocks sent back.
    DelaySinceLast(DelayBlocks<'a>),
    /// A block that Sluice does not read, by its type.
    Unknown(u8),
}

impl<'a> ExtendedReport<'a> {
    /// Walks all blocks once, so that iterating cannot fail.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let sender = Ssrc(reader.u32()?);
        let report = Self { sender, blocks: reader.rest() };
        while !reader.is_empty() {
            read_block(&mut reader)?;
        }
        Some(report)
    }

    /// Iterates over the blocks, at most one for each four bytes.
    pub fn blocks(&self) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let mut reader = Reader::new(self.blocks);
        core::iter::from_fn(move || read_block(&mut reader))
    }
}

fn read_block<'a>(reader: &mut Reader<'a>) -> Option<Block<'a>> {
    let [block_type, _] = reader.array()?;
    let size = usize::from(reader.u16()?) * 4;
    let content = reader.take(size)?;
    Some(match block_type {
        RECEIVER_REFERENCE_TIME => Block::ReferenceTime(NtpTime(u64::from_be_bytes(content.try_into().ok()?))),
        DELAY_SINCE_LAST_RECEIVER_REPORT if content.len().is_multiple_of(SUB_BLOCK_SIZE_BYTES) => {
            Block::DelaySinceLast(DelayBlocks { reader: Reader::new(content) })
        }
        DELAY_SINCE_LAST_RECEIVER_REPORT => return None,
        unknown => Block::Unknown(unknown),
    })
}

/// The answer to one receiver's reference time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DelayBlock {
    /// The receiver.
    pub ssrc: Ssrc,
    /// The middle 32 bits of its last reference time, 0 before the first.
    pub last_rr: u32,
    /// The time since that arrived in 1/65536 s.
    pub delay_since_last_rr: u32,
}

/// The answers in one block.
#[derive(Debug, Clone, Copy)]
pub struct DelayBlocks<'a> {
    reader: Reader<'a>,
}

impl Iterator for DelayBlocks<'_> {
    type Item = DelayBlock;

    fn next(&mut self) -> Option<Self::Item> {
        Some(DelayBlock {
            ssrc: Ssrc(self.reader.u32()?),
            last_rr: self.reader.u32()?,
            delay_since_last_rr: self.reader.u32()?,
        })
    }
}

/// Appends a report with the reference time of a receiver that sends nothing itself.
///
/// # Errors
/// [`RtcpError::Buffer`].
pub fn write_reference_time(writer: &mut RtcpWriter<'_>, sender: Ssrc, now: NtpTime) -> Result<(), RtcpError> {
    writer.packet(EXTENDED_REPORT, 0, |writer| {
        writer.u32(sender.0)?;
        writer.bytes(&[RECEIVER_REFERENCE_TIME, 0, 0, 2])?;
        writer.u64(now.0)
    })
}

/// Appends a report that answers reference times.
///
/// # Errors
/// [`RtcpError::Content`] for more answers than a block's size counts, [`RtcpError::Buffer`].
pub fn write_delays(writer: &mut RtcpWriter<'_>, sender: Ssrc, delays: &[DelayBlock]) -> Result<(), RtcpError> {
    let words = u16::try_from(delays.len() * SUB_BLOCK_SIZE_BYTES / 4).map_err(|_| RtcpError::Content)?;
    writer.packet(EXTENDED_REPORT, 0, |writer| {
        writer.u32(sender.0)?;
        writer.bytes(&[DELAY_SINCE_LAST_RECEIVER_REPORT, 0])?;
        writer.u16(words)?;
        for delay in delays {
            writer.u32(delay.ssrc.0)?;
            writer.u32(delay.last_rr)?;
            writer.u32(delay.delay_since_last_rr)?;
        }
        Some(())
    })
}
