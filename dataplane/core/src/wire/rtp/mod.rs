//! RTP data packets (RFC 3550 section 5.1) with header extensions (RFC 8285): views, and a writer of headers and padding.
//!
//! An encrypted packet shows its header only: [`RtpHeader::parse`] reads that, [`RtpHeader::view`] reads the rest once
//! the payload was opened, since padding is inside the encryption.

use core::num::NonZeroU8;

use sluice_protocol::media::{PayloadType, Ssrc};

use crate::wire::cursor::{Reader, Writer};

/// The size of the fixed header, before contributing sources and extensions.
pub(crate) const FIXED_HEADER_SIZE_BYTES: usize = 12;

/// The `profile` field of the one-byte extension form (RFC 8285 section 4.2).
const ONE_BYTE_PROFILE: u16 = 0xbede;
/// The `profile` field of the two-byte extension form without its low four bits (RFC 8285 section 4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;

/// Why bytes are not an RTP packet, or a packet cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RtpError {
    /// The bytes end inside the header.
    Truncated,
    /// The version is not 2.
    Version,
    /// The padding count is zero or reaches into the header.
    Padding,
    /// An extension's id or size does not fit the chosen form.
    Extension,
    /// The caller's buffer is too small.
    Buffer,
}

/// How header extensions are encoded (RFC 8285 section 4.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExtensionForm {
    /// Ids 1 to 14 with 1 to 16 bytes each.
    OneByte,
    /// Ids 1 to 255 with 0 to 255 bytes each.
    TwoByte,
}

impl ExtensionForm {
    /// Chooses the shortest form that can carry all `extensions`.
    pub(crate) fn fitting(extensions: &[Extension<'_>]) -> Self {
        if extensions.iter().all(|extension| Self::OneByte.carries(extension)) { Self::OneByte } else { Self::TwoByte }
    }

    /// Returns whether this form can carry `extension`.
    pub(crate) const fn carries(self, extension: &Extension<'_>) -> bool {
        match self {
            Self::OneByte => matches!(extension.id, 1..=14) && matches!(extension.value.len(), 1..=16),
            Self::TwoByte => extension.id != 0 && extension.value.len() <= 255,
        }
    }

    const fn element_header_size_bytes(self) -> usize {
        match self {
            Self::OneByte => 1,
            Self::TwoByte => 2,
        }
    }
}

/// One header extension element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extension<'a> {
    /// The negotiated id, 1 to 14 (one-byte form) or 1 to 255.
    pub id: u8,
    /// The value as it stands on the wire.
    pub value: &'a [u8],
}

/// A parsed header: fixed fields and the place of everything else. Cheap to copy and free of borrows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RtpHeader {
    /// The marker bit.
    pub marker: bool,
    /// The payload type, 0 to 127.
    pub payload_type: PayloadType,
    /// The sequence number.
    pub sequence: u16,
    /// The media timestamp, in units of the codec's clock.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: Ssrc,
    /// The size of the whole header in bytes: fixed part, contributing sources and extensions (at most 262,204).
    size_bytes: u32,
    /// Where the extension block's content starts; its end is the end of the header.
    extension_offset: u8,
    /// The form of the extensions, if there is a block in a form of RFC 8285.
    extension_form: Option<ExtensionForm>,
    /// Whether the payload ends with padding.
    has_padding: bool,
}

impl RtpHeader {
    /// Parses the header at the front of `bytes`, sealed or not.
    ///
    /// # Errors
    /// [`RtpError::Truncated`] and [`RtpError::Version`].
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, RtpError> {
        Self::read(&mut Reader::new(bytes))
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, RtpError> {
        let start = reader.remaining();
        let [first, second] = reader.array().ok_or(RtpError::Truncated)?;
        if first >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let sequence = reader.u16().ok_or(RtpError::Truncated)?;
        let timestamp = reader.u32().ok_or(RtpError::Truncated)?;
        let ssrc = Ssrc(reader.u32().ok_or(RtpError::Truncated)?);
        let csrc_count = first & 0x0f;
        reader.take(usize::from(csrc_count) * 4).ok_or(RtpError::Truncated)?;
        let mut extension_form = None;
        if first & 0x10 != 0 {
            let profile = reader.u16().ok_or(RtpError::Truncated)?;
            let words = reader.u16().ok_or(RtpError::Truncated)?;
            reader.take(usize::from(words) * 4).ok_or(RtpError::Truncated)?;
            extension_form = match profile {
                ONE_BYTE_PROFILE => Some(ExtensionForm::OneByte),
                other if other & 0xfff0 == TWO_BYTE_PROFILE => Some(ExtensionForm::TwoByte),
                _ => None,
            };
        }
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: PayloadType(second & 0x7f),
            sequence,
            timestamp,
            ssrc,
            size_bytes: u32::try_from(start - reader.remaining()).map_err(|_| RtpError::Truncated)?,
            extension_offset: 16 + csrc_count * 4,
            extension_form,
            has_padding: first & 0x20 != 0,
        })
    }

    /// Returns the size of the header in bytes, extensions included.
    pub(crate) const fn size_bytes(&self) -> usize {
        self.size_bytes as usize
    }

    /// Returns the form in which the extensions are written, if there are any in a form of RFC 8285.
    pub(crate) const fn extension_form(&self) -> Option<ExtensionForm> {
        self.extension_form
    }

    /// Iterates over the extensions in `packet`, the bytes that this header was parsed from.
    pub(crate) fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        let block = match self.extension_form {
            Some(_) => packet.get(usize::from(self.extension_offset)..self.size_bytes()).unwrap_or(&[]),
            None => &[],
        };
        Extensions { reader: Reader::new(block), form: self.extension_form.unwrap_or(ExtensionForm::OneByte) }
    }

    /// Reads the opened packet that this header was parsed from.
    ///
    /// # Errors
    /// [`RtpError::Truncated`] if `packet` is shorter than the header, [`RtpError::Padding`].
    pub(crate) fn view(self, packet: &[u8]) -> Result<RtpView<'_>, RtpError> {
        let body = packet.get(self.size_bytes()..).ok_or(RtpError::Truncated)?;
        let padding_size_bytes = match (self.has_padding, body.last()) {
            (false, _) => 0,
            (true, Some(&count)) if count != 0 && usize::from(count) <= body.len() => count,
            (true, _) => return Err(RtpError::Padding),
        };
        Ok(RtpView { header: self, packet, padding_size_bytes })
    }
}

/// An unsealed RTP packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RtpView<'a> {
    header: RtpHeader,
    packet: &'a [u8],
    padding_size_bytes: u8,
}

impl<'a> RtpView<'a> {
    /// Parses an unsealed packet.
    ///
    /// # Errors
    /// [`RtpError::Truncated`], [`RtpError::Version`] and [`RtpError::Padding`].
    pub(crate) fn parse(packet: &'a [u8]) -> Result<Self, RtpError> {
        RtpHeader::parse(packet)?.view(packet)
    }

    /// Returns the header.
    pub(crate) const fn header(&self) -> &RtpHeader {
        &self.header
    }

    /// Returns the marker bit.
    pub(crate) const fn marker(&self) -> bool {
        self.header.marker
    }

    /// Returns the payload type, 0 to 127.
    pub(crate) const fn payload_type(&self) -> PayloadType {
        self.header.payload_type
    }

    /// Returns the sequence number.
    pub(crate) const fn sequence(&self) -> u16 {
        self.header.sequence
    }

    /// Returns the media timestamp.
    pub(crate) const fn timestamp(&self) -> u32 {
        self.header.timestamp
    }

    /// Returns the synchronisation source.
    pub(crate) const fn ssrc(&self) -> Ssrc {
        self.header.ssrc
    }

    /// Returns the size of the header in bytes, extensions included.
    pub(crate) const fn header_size_bytes(&self) -> usize {
        self.header.size_bytes()
    }

    /// Returns the size of the padding in bytes, its count included; 0 without padding.
    pub(crate) const fn padding_size_bytes(&self) -> usize {
        self.padding_size_bytes as usize
    }

    /// Returns the payload without padding.
    pub(crate) fn payload(&self) -> &'a [u8] {
        let end = self.packet.len() - self.padding_size_bytes();
        self.packet.get(self.header_size_bytes()..end).unwrap_or(&[])
    }

    /// Iterates over the extensions.
    pub(crate) fn extensions(&self) -> Extensions<'a> {
        self.header.extensions(self.packet)
    }

    /// Returns the value of the first extension with `id`.
    pub(crate) fn extension(&self, id: u8) -> Option<&'a [u8]> {
        self.extensions().find(|extension| extension.id == id).map(|extension| extension.value)
    }
}

/// The extensions of a packet in their order; it ends at the first malformed element.
#[derive(Debug, Clone)]
pub(crate) struct Extensions<'a> {
    reader: Reader<'a>,
    form: ExtensionForm,
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Extension<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let first = self.reader.u8()?;
            let (id, size) = match self.form {
                ExtensionForm::OneByte => (first >> 4, usize::from(first & 0x0f) + 1),
                ExtensionForm::TwoByte if first == 0 => (0, 0),
                ExtensionForm::TwoByte => (first, usize::from(self.reader.u8()?)),
            };
            match (self.form, id) {
                // A byte of id 0 is padding between elements, whatever its size says (RFC 8285 section 4.2).
                (_, 0) => {}
                // Id 15 ends the processing of the whole block (RFC 8285 section 4.2).
                (ExtensionForm::OneByte, 15) => {
                    self.reader = Reader::new(&[]);
                    return None;
                }
                (ExtensionForm::OneByte | ExtensionForm::TwoByte, _) => {
                    let value = self.reader.take(size);
                    if value.is_none() {
                        self.reader = Reader::new(&[]);
                    }
                    return value.map(|value| Extension { id, value });
                }
            }
        }
    }
}

/// The fields of a fixed header to be written; contributing sources are never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RtpFields {
    /// The marker bit.
    pub marker: bool,
    /// The payload type, 0 to 127.
    pub payload_type: PayloadType,
    /// The sequence number.
    pub sequence: u16,
    /// The media timestamp.
    pub timestamp: u32,
    /// The synchronisation source.
    pub ssrc: Ssrc,
}

/// Returns the size of a header that carries extensions of the given value sizes in `form`, in bytes.
pub(crate) fn header_size_bytes(form: ExtensionForm, value_sizes: impl IntoIterator<Item = usize>) -> usize {
    let mut any = false;
    let content: usize =
        value_sizes.into_iter().inspect(|_| any = true).map(|size| size + form.element_header_size_bytes()).sum();
    if any { FIXED_HEADER_SIZE_BYTES + 4 + content.next_multiple_of(4) } else { FIXED_HEADER_SIZE_BYTES }
}

/// Writes a header with `extensions` in `form` to the front of `buffer` and returns its size in bytes, which equals
/// [`header_size_bytes`] of the same extensions. Without extensions no block is written.
///
/// # Errors
/// [`RtpError::Buffer`] if it does not fit, [`RtpError::Extension`] if `form` cannot carry an extension.
pub(crate) fn write_header(
    buffer: &mut [u8],
    fields: &RtpFields,
    form: ExtensionForm,
    extensions: &[Extension<'_>],
) -> Result<usize, RtpError> {
    if !extensions.iter().all(|extension| form.carries(extension)) {
        return Err(RtpError::Extension);
    }
    let size = header_size_bytes(form, extensions.iter().map(|extension| extension.value.len()));
    let words = u16::try_from(size.saturating_sub(FIXED_HEADER_SIZE_BYTES + 4) / 4).map_err(|_| RtpError::Extension)?;
    let mut writer = Writer::new(buffer.get_mut(..size).ok_or(RtpError::Buffer)?);
    write_fields(&mut writer, fields, form, extensions, words).ok_or(RtpError::Buffer)?;
    Ok(size)
}

fn write_fields(
    writer: &mut Writer<'_>,
    fields: &RtpFields,
    form: ExtensionForm,
    extensions: &[Extension<'_>],
    words: u16,
) -> Option<()> {
    writer.u8(if extensions.is_empty() { 0x80 } else { 0x90 })?;
    writer.u8((u8::from(fields.marker) << 7) | (fields.payload_type.0 & 0x7f))?;
    writer.u16(fields.sequence)?;
    writer.u32(fields.timestamp)?;
    writer.u32(fields.ssrc.0)?;
    if extensions.is_empty() {
        return Some(());
    }
    writer.u16(match form {
        ExtensionForm::OneByte => ONE_BYTE_PROFILE,
        ExtensionForm::TwoByte => TWO_BYTE_PROFILE,
    })?;
    writer.u16(words)?;
    for extension in extensions {
        let size = u8::try_from(extension.value.len()).ok()?;
        match form {
            ExtensionForm::OneByte => writer.u8((extension.id << 4) | (size.checked_sub(1)? & 0x0f))?,
            ExtensionForm::TwoByte => writer.bytes(&[extension.id, size])?,
        }
        writer.bytes(extension.value)?;
    }
    writer.zeros(writer.remaining())
}

/// Appends RTP padding to the unpadded packet in the first `size_bytes` of `buffer`, sets its padding bit, and returns
/// the new size (RFC 3550 section 5.1).
///
/// # Errors
/// [`RtpError::Buffer`] if the padding does not fit; nothing is written then.
pub(crate) fn write_padding(buffer: &mut [u8], size_bytes: usize, padding: NonZeroU8) -> Result<usize, RtpError> {
    let end = size_bytes.checked_add(usize::from(padding.get())).ok_or(RtpError::Buffer)?;
    let space = buffer.get_mut(size_bytes..end).ok_or(RtpError::Buffer)?;
    space.fill(0);
    *space.last_mut().ok_or(RtpError::Buffer)? = padding.get();
    *buffer.first_mut().ok_or(RtpError::Buffer)? |= 0x20;
    Ok(end)
}

#[cfg(test)]
mod tests;
