//! Picture loss indications (RFC 4585 section 6.3.1).

use sluice_protocol::media::Ssrc;

use super::{PAYLOAD_FEEDBACK, RtcpError, RtcpWriter};
use crate::wire::cursor::Reader;

/// The feedback format.
pub(super) const FORMAT: u8 = 1;

/// A receiver's picture is broken: it asks for a key frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PictureLoss {
    /// Who asks.
    pub sender: Ssrc,
    /// The stream that is broken.
    pub media: Ssrc,
}

impl PictureLoss {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        Some(Self { sender: Ssrc(reader.u32()?), media: Ssrc(reader.u32()?) })
    }
}

/// Appends a picture loss indication.
///
/// # Errors
/// [`RtcpError::Buffer`].
pub(crate) fn write(writer: &mut RtcpWriter<'_>, sender: Ssrc, media: Ssrc) -> Result<(), RtcpError> {
    writer.packet(PAYLOAD_FEEDBACK, FORMAT, |writer| {
        writer.u32(sender.0)?;
        writer.u32(media.0)
    })
}
