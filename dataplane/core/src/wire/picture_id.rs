//! Picture ids of VP8 and VP9 payload descriptors (RFC 7741 section 4.2, RFC 9628 section 4.2).

use crate::wire::cursor::Reader;

/// A picture id as it stands in a payload descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PictureId {
    /// The number.
    pub value: u16,
    /// How many bits it has: 7 or 15.
    pub bits: u8,
}

impl PictureId {
    /// Reads the field at the front of `reader`: one byte, or two when the first bit is set.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let first = reader.u8()?;
        Some(if first & 0x80 == 0 {
            Self { value: u16::from(first), bits: 7 }
        } else {
            Self { value: u16::from_be_bytes([first & 0x7f, reader.u8()?]), bits: 15 }
        })
    }
}
