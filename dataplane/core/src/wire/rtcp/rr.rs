//! Receiver reports (RFC 3550 section 6.4.2).

use sluice_protocol::media::Ssrc;

use super::report::{self, ReportBlock, ReportBlocks};
use super::{RECEIVER_REPORT, RtcpError, RtcpWriter};
use crate::wire::cursor::Reader;

/// A receiver report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceiverReport<'a> {
    blocks: ReportBlocks<'a>,
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let _sender = reader.u32()?;
        Some(Self { blocks: ReportBlocks::parse(count, reader.rest())? })
    }

    /// Iterates over the report blocks.
    pub(crate) const fn blocks(&self) -> ReportBlocks<'a> {
        self.blocks
    }
}

/// Appends a receiver report, which may be empty; at most [`report::BLOCKS_MAX`] blocks.
///
/// # Errors
/// [`RtcpError::Content`] for too many blocks, [`RtcpError::Buffer`].
pub(crate) fn write(writer: &mut RtcpWriter<'_>, sender: Ssrc, blocks: &[ReportBlock]) -> Result<(), RtcpError> {
    let count = report::count(blocks).ok_or(RtcpError::Content)?;
    writer.packet(RECEIVER_REPORT, count, |writer| {
        writer.u32(sender.0)?;
        blocks.iter().try_for_each(|block| block.write(writer))
    })
}
