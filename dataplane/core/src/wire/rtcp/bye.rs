//! Goodbyes (RFC 3550 section 6.6).

use sluice_protocol::media::Ssrc;

use super::{GOODBYE, RtcpError, RtcpWriter};
use crate::wire::cursor::Reader;

/// The most sources of one packet: a count of five bits.
pub(crate) const SOURCES_MAX: u8 = 31;

/// A goodbye; its reason is not read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goodbye<'a> {
    sources: &'a [u8],
}

impl<'a> Goodbye<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self { sources: body.get(..usize::from(count) * 4)? })
    }

    /// Iterates over the sources that end, at most [`SOURCES_MAX`].
    pub(crate) fn ssrcs(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        let mut reader = Reader::new(self.sources);
        core::iter::from_fn(move || reader.u32().map(Ssrc))
    }
}

/// Appends a goodbye without a reason; at most [`SOURCES_MAX`] sources.
///
/// # Errors
/// [`RtcpError::Content`] for too many sources, [`RtcpError::Buffer`].
pub(crate) fn write(writer: &mut RtcpWriter<'_>, ssrcs: &[Ssrc]) -> Result<(), RtcpError> {
    let count = u8::try_from(ssrcs.len()).ok().filter(|count| *count <= SOURCES_MAX).ok_or(RtcpError::Content)?;
    writer.packet(GOODBYE, count, |writer| ssrcs.iter().try_for_each(|ssrc| writer.u32(ssrc.0)))
}
