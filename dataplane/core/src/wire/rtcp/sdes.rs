//! Source descriptions (RFC 3550 section 6.5).

use sluice_protocol::media::Ssrc;

use super::{RtcpError, RtcpWriter, SOURCE_DESCRIPTION};
use crate::wire::cursor::Reader;

/// The item that names a source for good.
pub const CNAME: u8 = 1;
/// The most sources of one packet: a count of five bits.
pub const CHUNKS_MAX: u8 = 31;

/// A source description.
#[derive(Debug, Clone, Copy)]
pub struct SourceDescription<'a> {
    count: u8,
    body: &'a [u8],
}

impl<'a> SourceDescription<'a> {
    /// Walks all chunks once, so that iterating cannot fail.
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        for _ in 0..count {
            read_chunk(&mut reader)?;
        }
        Some(Self { count, body })
    }

    /// Iterates over the chunks, at most [`CHUNKS_MAX`].
    pub fn chunks(&self) -> impl Iterator<Item = Chunk<'a>> + use<'a> {
        let mut reader = Reader::new(self.body);
        (0..self.count).map_while(move |_| read_chunk(&mut reader))
    }
}

/// What is said about one source.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// The source.
    pub ssrc: Ssrc,
    items: &'a [u8],
}

impl<'a> Chunk<'a> {
    /// Iterates over the items: type and text.
    pub fn items(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.items);
        core::iter::from_fn(move || read_item(&mut reader))
    }

    /// Returns the canonical name, if it is there.
    pub fn cname(&self) -> Option<&'a [u8]> {
        self.items().find(|(item, _)| *item == CNAME).map(|(_, text)| text)
    }
}

fn read_item<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8])> {
    let item = reader.u8()?;
    let size = reader.u8()?;
    Some((item, reader.take(usize::from(size))?))
}

fn read_chunk<'a>(reader: &mut Reader<'a>) -> Option<Chunk<'a>> {
    let ssrc = Ssrc(reader.u32()?);
    let start = reader.rest();
    // The list ends with at least one zero, filled up to a whole word.
    while *reader.rest().first()? != 0 {
        read_item(reader)?;
    }
    let size = start.len() - reader.remaining();
    reader.take((size + 1).next_multiple_of(4) - size)?;
    Some(Chunk { ssrc, items: start.get(..size)? })
}

/// Appends a description that gives each source the same canonical name of at most 255 bytes; at most [`CHUNKS_MAX`]
/// sources.
///
/// # Errors
/// [`RtcpError::Content`] for too many sources or too long a name, [`RtcpError::Buffer`].
pub fn write(writer: &mut RtcpWriter<'_>, ssrcs: &[Ssrc], cname: &[u8]) -> Result<(), RtcpError> {
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
