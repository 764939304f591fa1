//! Source descriptions (RFC 3550 section 6.5): written, and passed over when received, as nothing asks for a name.

use sluice_protocol::media::Ssrc;

use super::{RtcpError, RtcpWriter, SOURCE_DESCRIPTION};

/// The item that names a source for good.
pub(crate) const CNAME: u8 = 1;
/// The most sources of one packet: a count of five bits.
pub(crate) const CHUNKS_MAX: u8 = 31;

/// Appends a description that gives each source the same canonical name of at most 255 bytes; at most [`CHUNKS_MAX`]
/// sources.
///
/// # Errors
/// [`RtcpError::Content`] for too many sources or too long a name, [`RtcpError::Buffer`].
pub(crate) fn write(writer: &mut RtcpWriter<'_>, ssrcs: &[Ssrc], cname: &[u8]) -> Result<(), RtcpError> {
    let count = u8::try_from(ssrcs.len()).ok().filter(|count| *count <= CHUNKS_MAX).ok_or(RtcpError::Content)?;
    let size = u8::try_from(cname.len()).map_err(|_| RtcpError::Content)?;
    writer.packet(SOURCE_DESCRIPTION, count, |writer| {
        for ssrc in ssrcs {
            writer.u32(ssrc.0)?;
            writer.bytes(&[CNAME, size])?;
            writer.bytes(cname)?;
            let items = cname.len() + 2;
            writer.zeros((items + 1).next_multiple_of(4) - items)?;
        }
        Some(())
    })
}
