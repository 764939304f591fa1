//! Answers to binding requests, into a caller's buffer.

use core::net::SocketAddr;

use super::{
    ATTRIBUTE_HEADER_SIZE_BYTES, ERROR_CODE, ErrorCode, FINGERPRINT, HEADER_SIZE_BYTES, INTEGRITY_SIZE_BYTES,
    MAGIC_COOKIE, MESSAGE_INTEGRITY, ShortTermKey, StunError, TransactionId, UNKNOWN_ATTRIBUTES,
    UNKNOWN_ATTRIBUTES_MAX, XOR_MAPPED_ADDRESS, fingerprint, xor_address,
};
use crate::wire::cursor::Writer;

const SUCCESS_RESPONSE: u16 = 0x0101;
const ERROR_RESPONSE: u16 = 0x0111;
const FINGERPRINT_SIZE_BYTES: usize = 4;

/// A buffer of this size holds every answer.
pub(crate) const RESPONSE_SIZE_BYTES_MAX: usize = 128;
const _: () = assert!(
    RESPONSE_SIZE_BYTES_MAX
        >= HEADER_SIZE_BYTES
            + 4 * ATTRIBUTE_HEADER_SIZE_BYTES
            + 4
            + ErrorCode::REASON_SIZE_BYTES_MAX
            + 2 * UNKNOWN_ATTRIBUTES_MAX
            + INTEGRITY_SIZE_BYTES
            + FINGERPRINT_SIZE_BYTES
);

impl ErrorCode {
    const REASON_SIZE_BYTES_MAX: usize = 20;

    /// Returns the class and number bytes of ERROR-CODE, and a reason phrase of whole words (RFC 8489 section 14.8).
    const fn parts(self) -> (u8, u8, &'static [u8]) {
        match self {
            Self::UnknownAttribute => (4, 20, b"Unknown Attribute\0\0\0"),
            Self::RoleConflict => (4, 87, b"Role Conflict\0\0\0"),
        }
    }
}

/// Writes the success response that tells the peer its `mapped` address, and returns its size.
///
/// # Errors
/// [`StunError::Buffer`]; [`RESPONSE_SIZE_BYTES_MAX`] bytes are enough.
pub(crate) fn write_success(
    buffer: &mut [u8],
    transaction: TransactionId,
    mapped: SocketAddr,
    key: &ShortTermKey,
) -> Result<usize, StunError> {
    let (family, port, address, address_size) = xor_address(mapped, transaction);
    write(buffer, SUCCESS_RESPONSE, transaction, key, |writer| {
        attribute(writer, XOR_MAPPED_ADDRESS, 4 + address_size)?;
        writer.bytes(&[0, family])?;
        writer.u16(port)?;
        writer.bytes(address.get(..address_size)?)
    })
}

/// Writes an error response, and returns its size. `unknown` is named with [`ErrorCode::UnknownAttribute`] only, at
/// most [`UNKNOWN_ATTRIBUTES_MAX`] of it.
///
/// # Errors
/// [`StunError::Buffer`]; [`RESPONSE_SIZE_BYTES_MAX`] bytes are enough.
pub(crate) fn write_error(
    buffer: &mut [u8],
    transaction: TransactionId,
    code: ErrorCode,
    unknown: &[u16],
    key: &ShortTermKey,
) -> Result<usize, StunError> {
    let (class, number, reason) = code.parts();
    write(buffer, ERROR_RESPONSE, transaction, key, |writer| {
        let text_size = reason.iter().take_while(|byte| **byte != 0).count();
        attribute(writer, ERROR_CODE, 4 + text_size)?;
        writer.bytes(&[0, 0, class, number])?;
        writer.bytes(reason)?;
        if code == ErrorCode::UnknownAttribute {
            let unknown = unknown.get(..unknown.len().min(UNKNOWN_ATTRIBUTES_MAX))?;
            attribute(writer, UNKNOWN_ATTRIBUTES, unknown.len() * 2)?;
            for number in unknown {
                writer.u16(*number)?;
            }
            writer.zeros(unknown.len() % 2 * 2)?;
        }
        Some(())
    })
}

fn attribute(writer: &mut Writer<'_>, attribute: u16, size: usize) -> Option<()> {
    writer.u16(attribute)?;
    writer.u16(u16::try_from(size).ok()?)
}

/// Writes header, the attributes of `content`, MESSAGE-INTEGRITY and FINGERPRINT.
fn write(
    buffer: &mut [u8],
    message_type: u16,
    transaction: TransactionId,
    key: &ShortTermKey,
    content: impl FnOnce(&mut Writer<'_>) -> Option<()>,
) -> Result<usize, StunError> {
    let mut writer = Writer::new(buffer);
    write_message(&mut writer, message_type, transaction, key, content).ok_or(StunError::Buffer)?;
    Ok(writer.size())
}

fn write_message(
    writer: &mut Writer<'_>,
    message_type: u16,
    transaction: TransactionId,
    key: &ShortTermKey,
    content: impl FnOnce(&mut Writer<'_>) -> Option<()>,
) -> Option<()> {
    writer.u16(message_type)?;
    writer.u16(0)?;
    writer.u32(MAGIC_COOKIE)?;
    writer.bytes(&transaction.0)?;
    content(writer)?;
    let tag = key.sign(writer.written())?;
    attribute(writer, MESSAGE_INTEGRITY, INTEGRITY_SIZE_BYTES)?;
    writer.bytes(tag.as_ref())?;
    let end = writer.size() + ATTRIBUTE_HEADER_SIZE_BYTES + FINGERPRINT_SIZE_BYTES;
    writer.patch_u16(2, u16::try_from(end - HEADER_SIZE_BYTES).ok()?)?;
    let value = fingerprint::fingerprint(writer.written());
    attribute(writer, FINGERPRINT, FINGERPRINT_SIZE_BYTES)?;
    writer.u32(value)
}
