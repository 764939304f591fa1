//! The numbered body inside every payload.

use super::{PayloadError, Reader};

/// Marks the start of a body: a payload of somebody else does not read as ours.
const MAGIC: [u8; 4] = *b"SLnb";
/// Magic, stream, packet, frame, time, index, count, flags, check sum.
pub const BODY_BYTES: usize = 4 + 8 + 8 + 8 + 8 + 2 + 2 + 1 + 4;
const KEY_FRAME: u8 = 1;

/// What a publisher writes into each packet, so that a viewer can compare sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// Names the stream: one per track of a publisher, never used twice by a process.
    pub stream_id: u64,
    /// Number of the packet within the stream, from zero, without gaps.
    pub packet_number: u64,
    /// Number of the frame within the stream, from zero, without gaps.
    pub frame_number: u64,
    /// `CLOCK_REALTIME` when the packet was handed to the stack, in nanoseconds since 1970.
    pub send_time_ns: u64,
    /// Position in the frame, from zero.
    pub packet_index: u16,
    /// Packets of the frame.
    pub packet_count: u16,
    /// Whether the frame is a key frame.
    pub key_frame: bool,
}

impl Body {
    /// Appends [`BODY_BYTES`] bytes.
    pub(super) fn write(&self, payload: &mut Vec<u8>) {
        let start = payload.len();
        payload.extend_from_slice(&MAGIC);
        for number in [self.stream_id, self.packet_number, self.frame_number, self.send_time_ns] {
            payload.extend_from_slice(&number.to_be_bytes());
        }
        payload.extend_from_slice(&self.packet_index.to_be_bytes());
        payload.extend_from_slice(&self.packet_count.to_be_bytes());
        payload.push(if self.key_frame { KEY_FRAME } else { 0 });
        let sum = check_sum(payload.get(start..).unwrap_or_default());
        payload.extend_from_slice(&sum.to_be_bytes());
    }

    /// Reads the body at the start of `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, PayloadError> {
        let covered = bytes.get(..BODY_BYTES - 4).ok_or(PayloadError::Short)?;
        let mut reader = Reader(bytes);
        let magic: [u8; 4] = reader.take()?;
        let body = Self {
            stream_id: u64::from_be_bytes(reader.take()?),
            packet_number: u64::from_be_bytes(reader.take()?),
            frame_number: u64::from_be_bytes(reader.take()?),
            send_time_ns: u64::from_be_bytes(reader.take()?),
            packet_index: u16::from_be_bytes(reader.take()?),
            packet_count: u16::from_be_bytes(reader.take()?),
            key_frame: reader.byte()? == KEY_FRAME,
        };
        let sum = u32::from_be_bytes(reader.take()?);
        let plausible = body.packet_index < body.packet_count && body.packet_number < u64::MAX / 2;
        if magic == MAGIC && plausible && sum == check_sum(covered) { Ok(body) } else { Err(PayloadError::Body) }
    }
}

/// FNV-1a over 32 bits: finds a body that was cut or joined wrongly. SRTP guards against the rest.
fn check_sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        let body = Body {
            stream_id: 1,
            packet_number: 2,
            frame_number: 3,
            send_time_ns: 4,
            packet_index: 0,
            packet_count: 1,
            key_frame: true,
        };
        let mut bytes = Vec::new();
        body.write(&mut bytes);
        assert_eq!(bytes.len(), BODY_BYTES);
        assert_eq!(Body::parse(&bytes), Ok(body));
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 0x10;
            assert_eq!(Body::parse(&changed), Err(PayloadError::Body), "{position}");
        }
    }
}
