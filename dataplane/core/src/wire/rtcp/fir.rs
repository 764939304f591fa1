//! Full intra requests (RFC 5104 section 4.3.1).

use sluice_protocol::media::Ssrc;

use crate::wire::cursor::Reader;

/// The feedback format.
pub(super) const FORMAT: u8 = 4;
/// The size of one entry: source, number, three reserved bytes.
const ENTRY_SIZE_BYTES: usize = 8;

/// One request within the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The stream that is to send a key frame.
    pub ssrc: Ssrc,
    /// Counts requests; a repeated number is the same request again.
    pub sequence: u8,
}

/// A decoder needs a key frame to start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FullIntraRequest<'a> {
    /// Who asks.
    pub sender: Ssrc,
    entries: &'a [u8],
}

impl<'a> FullIntraRequest<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let sender = Ssrc(reader.u32()?);
        // The media source is unused and 0 (RFC 5104 section 4.3.1.2).
        reader.u32()?;
        let entries = reader.rest();
        (!entries.is_empty() && entries.len().is_multiple_of(ENTRY_SIZE_BYTES)).then_some(Self { sender, entries })
    }

    /// Iterates over the requests, at most one for each eight bytes.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        let entries = self.entries.as_chunks::<ENTRY_SIZE_BYTES>().0;
        entries.iter().map(|[a, b, c, d, sequence, ..]| {
            let ssrc = Ssrc(u32::from_be_bytes([*a, *b, *c, *d]));
            Entry { ssrc, sequence: *sequence }
        })
    }
}
