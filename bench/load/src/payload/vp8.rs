//! VP8 payload descriptor and frame header, RFC 7741 section 4 and RFC 6386 section 9.1.

use super::{Body, Descriptor, PayloadError, PictureSize, Reader, low_8, low_16};

const EXTENDED: u8 = 0x80;
const START_OF_PARTITION: u8 = 0x10;
const PICTURE_ID: u8 = 0x80;
const TL0_PICTURE_INDEX: u8 = 0x40;
const TEMPORAL_LAYER: u8 = 0x20;
const KEY_INDEX: u8 = 0x10;
const LONG_PICTURE_ID: u8 = 0x80;

/// Descriptor with a 15-bit picture id, TL0PICIDX and temporal layer 0; the frame header in the first packet.
pub(super) fn write(payload: &mut Vec<u8>, body: &Body, picture: PictureSize) {
    write_descriptor(payload, body);
    if body.packet_index == 0 {
        // Frame tag: inverse key frame bit, version 0, show_frame, first partition of 64 bytes.
        let tag: u32 = u32::from(!body.key_frame) | 1 << 4 | 64 << 5;
        let [first, second, third, _] = tag.to_le_bytes();
        payload.extend_from_slice(&[first, second, third]);
        if body.key_frame {
            payload.extend_from_slice(&[0x9d, 0x01, 0x2a]);
            payload.extend_from_slice(&picture.width.to_le_bytes());
            payload.extend_from_slice(&picture.height.to_le_bytes());
        }
    }
}

/// The descriptor alone.
pub(super) fn write_descriptor(payload: &mut Vec<u8>, body: &Body) {
    payload.push(EXTENDED | if body.packet_index == 0 { START_OF_PARTITION } else { 0 });
    payload.push(PICTURE_ID | TL0_PICTURE_INDEX | TEMPORAL_LAYER);
    let [high, low] = (low_16(body.frame_number) & 0x7fff).to_be_bytes();
    payload.extend_from_slice(&[LONG_PICTURE_ID | high, low, low_8(body.frame_number), 0]);
}

/// Reads the descriptor in any of its forms, a forwarder may choose another one.
pub(super) fn parse(payload: &[u8]) -> Result<(Descriptor, &[u8]), PayloadError> {
    let mut reader = Reader(payload);
    let mut descriptor = Descriptor::default();
    let first = reader.byte()?;
    if first & EXTENDED != 0 {
        let fields = reader.byte()?;
        if fields & PICTURE_ID != 0 {
            let high = reader.byte()?;
            descriptor.picture_id = Some(if high & LONG_PICTURE_ID != 0 {
                u16::from_be_bytes([high & !LONG_PICTURE_ID, reader.byte()?])
            } else {
                u16::from(high)
            });
        }
        if fields & TL0_PICTURE_INDEX != 0 {
            descriptor.tl0_picture_index = Some(reader.byte()?);
        }
        if fields & (TEMPORAL_LAYER | KEY_INDEX) != 0 {
            reader.byte()?;
        }
    }
    if first & START_OF_PARTITION != 0 && first & 0x07 == 0 {
        let [tag, _, _] = reader.take()?;
        descriptor.starts_key_frame = tag & 1 == 0;
        if descriptor.starts_key_frame {
            let [start @ .., _, _, _, _] = reader.take::<7>()?;
            if start != [0x9d, 0x01, 0x2a] {
                return Err(PayloadError::Descriptor);
            }
        }
    }
    Ok((descriptor, reader.0))
}
