//! Sender reports (RFC 3550 section 6.4.1).

use sluice_protocol::media::Ssrc;
use sluice_protocol::time::NtpTime;

use super::report::{self, ReportBlock, ReportBlocks};
use super::{RtcpError, RtcpWriter, SENDER_REPORT};
use crate::wire::cursor::Reader;

/// What a sender says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SenderInfo {
    /// The sender.
    pub ssrc: Ssrc,
    /// The wall-clock time of this report.
    pub ntp: NtpTime,
    /// The same moment in the stream's RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent since the start, wrapping.
    pub packets: u32,
    /// Payload bytes sent since the start, wrapping.
    pub payload_bytes: u32,
}

/// A sender report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SenderReport<'a> {
    /// What the sender says about itself.
    pub info: SenderInfo,
    blocks: ReportBlocks<'a>,
}

impl<'a> SenderReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let info = SenderInfo {
            ssrc: Ssrc(reader.u32()?),
            ntp: NtpTime(reader.u64()?),
            rtp_timestamp: reader.u32()?,
            packets: reader.u32()?,
            payload_bytes: reader.u32()?,
        };
        Some(Self { info, blocks: ReportBlocks::parse(count, reader.rest())? })
    }

    /// Iterates over the report blocks.
    pub(crate) const fn blocks(&self) -> ReportBlocks<'a> {
        self.blocks
    }
}

/// Appends a sender report; at most [`report::BLOCKS_MAX`] blocks.
///
/// # Errors
/// [`RtcpError::Content`] for too many blocks, [`RtcpError::Buffer`].
pub(crate) fn write(writer: &mut RtcpWriter<'_>, info: &SenderInfo, blocks: &[ReportBlock]) -> Result<(), RtcpError> {
    let count = report::count(blocks).ok_or(RtcpError::Content)?;
    writer.packet(SENDER_REPORT, count, |writer| {
        writer.u32(info.ssrc.0)?;
        writer.u64(info.ntp.0)?;
        writer.u32(info.rtp_timestamp)?;
        writer.u32(info.packets)?;
        writer.u32(info.payload_bytes)?;
        blocks.iter().try_for_each(|block| block.write(writer))
    })
}
