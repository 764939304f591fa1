//! H.264 packets of packetization mode 1, RFC 6184: STAP-A with parameter sets, FU-A, single NAL units.
//!
//! A key frame's first packet is a STAP-A of sequence and picture parameter set and a last NAL unit: the whole IDR slice
//! when the frame has one packet, else a supplemental message, and the slice follows in FU-A.

use super::bits::BitWriter;
use super::{BODY_BYTES, Body, Descriptor, PayloadError, PictureSize, Reader};

const TYPE: u8 = 0x1f;
const REFERENCE: u8 = 0x60;
const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const SUPPLEMENTAL: u8 = 6;
const SEQUENCE_PARAMETERS: u8 = 7;
const PICTURE_PARAMETERS: u8 = 8;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

pub(super) fn write(payload: &mut Vec<u8>, body: &Body, picture: PictureSize, size_bytes: usize) {
    let alone = body.packet_count == 1;
    if body.key_frame && body.packet_index == 0 {
        payload.push(REFERENCE | STAP_A);
        for unit in [sequence_parameters(picture), picture_parameters()] {
            payload.extend_from_slice(&length_16(unit.len()));
            payload.extend_from_slice(&unit);
        }
        let used = payload.len() + 2;
        payload.extend_from_slice(&length_16(size_bytes.saturating_sub(used).max(1 + BODY_BYTES)));
        payload.push(if alone { REFERENCE | IDR_SLICE } else { SUPPLEMENTAL });
    } else if alone {
        payload.push(REFERENCE | SLICE);
    } else {
        // The supplemental message took the first packet of a key frame.
        let first = u16::from(body.key_frame);
        let unit = if body.key_frame { IDR_SLICE } else { SLICE };
        let start = if body.packet_index == first { FU_START } else { 0 };
        let end = if body.packet_index + 1 == body.packet_count { FU_END } else { 0 };
        if start != 0 && end != 0 {
            // A FU-A must not start and end at once, RFC 6184 section 5.8.
            payload.push(REFERENCE | unit);
        } else {
            payload.extend_from_slice(&[REFERENCE | FU_A, start | end | unit]);
        }
    }
}

pub(super) fn parse(payload: &[u8]) -> Result<(Descriptor, &[u8]), PayloadError> {
    let mut reader = Reader(payload);
    let mut descriptor = Descriptor::default();
    match reader.byte()? & TYPE {
        STAP_A => loop {
            let length = usize::from(u16::from_be_bytes(reader.take()?));
            let unit = reader.skip(length)?;
            let (header, content) = unit.split_first().ok_or(PayloadError::Short)?;
            match header & TYPE {
                SEQUENCE_PARAMETERS => descriptor.starts_key_frame = true,
                PICTURE_PARAMETERS => {}
                IDR_SLICE | SUPPLEMENTAL => return Ok((descriptor, content)),
                _ => return Err(PayloadError::Descriptor),
            }
        },
        FU_A => match reader.byte()? & TYPE {
            SLICE | IDR_SLICE => Ok((descriptor, reader.0)),
            _ => Err(PayloadError::Descriptor),
        },
        SLICE | IDR_SLICE => Ok((descriptor, reader.0)),
        _ => Err(PayloadError::Descriptor),
    }
}

fn length_16(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

/// Sequence parameter set of constrained baseline, level 3.1, ITU-T H.264 section 7.3.2.1.
fn sequence_parameters(picture: PictureSize) -> Vec<u8> {
    let (width, height) = (u32::from(picture.width), u32::from(picture.height));
    let (columns, rows) = (width.div_ceil(16).max(1), height.div_ceil(16).max(1));
    let mut bits = BitWriter::default();
    bits.bits(u32::from(REFERENCE | SEQUENCE_PARAMETERS), 8);
    bits.bits(0x42_e0_1f, 24);
    // Set 0, frame numbers of 4 bits, order as decoded, one reference, no gaps.
    bits.exp_golomb(0);
    bits.exp_golomb(0);
    bits.exp_golomb(2);
    bits.exp_golomb(1);
    bits.bits(0, 1);
    bits.exp_golomb(columns - 1);
    bits.exp_golomb(rows - 1);
    // Frames only, direct inference.
    bits.bits(0b11, 2);
    let (right, bottom) = ((columns * 16 - width) / 2, (rows * 16 - height) / 2);
    bits.bits(u32::from(right + bottom > 0), 1);
    if right + bottom > 0 {
        for crop in [0, right, 0, bottom] {
            bits.exp_golomb(crop);
        }
    }
    // No usability information.
    bits.bits(0, 1);
    bits.finish()
}

/// Picture parameter set with all defaults, ITU-T H.264 section 7.3.2.2.
fn picture_parameters() -> Vec<u8> {
    let mut bits = BitWriter::default();
    bits.bits(u32::from(REFERENCE | PICTURE_PARAMETERS), 8);
    bits.exp_golomb(0);
    bits.exp_golomb(0);
    bits.bits(0, 2);
    for _ in 0..3 {
        bits.exp_golomb(0);
    }
    bits.bits(0, 3);
    for _ in 0..3 {
        bits.exp_golomb(0);
    }
    bits.bits(0, 3);
    bits.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameter_sets_are_those_of_a_640x360_stream() {
        let parameters = sequence_parameters(PictureSize { width: 640, height: 360 });
        assert_eq!(parameters, [0x67, 0x42, 0xe0, 0x1f, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0x40]);
        assert_eq!(picture_parameters(), [0x68, 0xce, 0x38, 0x80]);
    }

    #[test]
    fn a_frame_of_two_packets_has_no_fragment_that_starts_and_ends_at_once() {
        let body = |packet_index| Body {
            stream_id: 1,
            packet_number: 1,
            frame_number: 1,
            send_time_ns: 1,
            packet_index,
            packet_count: 2,
            key_frame: true,
        };
        let mut second = Vec::new();
        write(&mut second, &body(1), PictureSize { width: 64, height: 64 }, 100);
        assert_eq!(second, [REFERENCE | IDR_SLICE]);
    }
}
