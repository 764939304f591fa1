//! Picture ids of VP8 and VP9 payload descriptors (RFC 7741 section 4.2, RFC 9628 section 4.2), rewritten in place.

use crate::wire::cursor::Reader;

/// How wide a picture id is on the wire; a rewrite keeps the width, since it cannot make room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureIdWidth {
    /// One byte, values 0 to 127.
    Bits7,
    /// Two bytes, values 0 to 32,767.
    Bits15,
}

impl PictureIdWidth {
    /// Returns the largest value, which is also the mask of values.
    pub const fn max(self) -> u16 {
        match self {
            Self::Bits7 => 0x7f,
            Self::Bits15 => 0x7fff,
        }
    }

    /// Returns the number of bits of a value.
    pub const fn bits(self) -> u8 {
        match self {
            Self::Bits7 => 7,
            Self::Bits15 => 15,
        }
    }
}

/// A picture id and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureIdField {
    /// The value.
    pub value: u16,
    /// Its width.
    pub width: PictureIdWidth,
    /// Where it starts in the payload.
    pub(super) offset: u8,
}

impl PictureIdField {
    /// Reads the field at the front of `reader`, which stands at `offset` of the payload.
    pub(super) fn read(reader: &mut Reader<'_>, offset: usize) -> Option<Self> {
        let offset = u8::try_from(offset).ok()?;
        let first = reader.u8()?;
        Some(if first & 0x80 == 0 {
            Self { value: u16::from(first), width: PictureIdWidth::Bits7, offset }
        } else {
            let value = u16::from_be_bytes([first & 0x7f, reader.u8()?]);
            Self { value, width: PictureIdWidth::Bits15, offset }
        })
    }

    /// Writes the low bits of `value` in place of the field; nothing if `payload` is shorter than what was parsed.
    pub(super) fn rewrite(self, payload: &mut [u8], value: u16) {
        let [high, low] = (value & self.width.max()).to_be_bytes();
        let field = payload.get_mut(usize::from(self.offset)..).unwrap_or(&mut []);
        match (self.width, field) {
            (PictureIdWidth::Bits7, [only, ..]) => *only = low,
            (PictureIdWidth::Bits15, [first, second, ..]) => (*first, *second) = (high | 0x80, low),
            _ => {}
        }
    }
}

/// A byte of a descriptor that can be rewritten, and its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteField {
    /// The value.
    pub value: u8,
    /// Where it stands in the payload.
    pub(super) offset: u8,
}

impl ByteField {
    /// Reads the byte at the front of `reader`, which stands at `offset` of the payload.
    pub(super) fn read(reader: &mut Reader<'_>, offset: usize) -> Option<Self> {
        Some(Self { value: reader.u8()?, offset: u8::try_from(offset).ok()? })
    }

    /// Writes `value` in place of the byte.
    pub(super) fn rewrite(self, payload: &mut [u8], value: u8) {
        if let Some(byte) = payload.get_mut(usize::from(self.offset)) {
            *byte = value;
        }
    }
}
