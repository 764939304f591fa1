//! VP9 payload descriptor in non-flexible mode, RFC 9628 section 4.2, and the first bytes of the uncompressed header.

use super::{Body, Descriptor, PayloadError, PictureSize, Reader, low_8, low_16};

const PICTURE_ID: u8 = 0x80;
const INTER_PREDICTED: u8 = 0x40;
const LAYER_INDICES: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const START_OF_FRAME: u8 = 0x08;
const END_OF_FRAME: u8 = 0x04;
const SCALABILITY: u8 = 0x02;
const LONG_PICTURE_ID: u8 = 0x80;
/// Scalability structure: one spatial layer, sizes present, no picture group.
const ONE_LAYER_WITH_SIZE: u8 = 0x10;

/// Frame marker, profile 0, key frame, shown.
const KEY_FRAME_HEADER: [u8; 4] = [0x82, 0x49, 0x83, 0x42];
/// Frame marker, profile 0, inter frame, shown.
const INTER_FRAME_HEADER: [u8; 1] = [0x86];

/// Descriptor with a 15-bit picture id, TL0PICIDX, and the scalability structure at a key frame.
pub(super) fn write(payload: &mut Vec<u8>, body: &Body, picture: PictureSize) {
    let starts = body.packet_index == 0;
    let flags = [
        (true, PICTURE_ID | LAYER_INDICES),
        (!body.key_frame, INTER_PREDICTED),
        (starts, START_OF_FRAME),
        (body.packet_index + 1 == body.packet_count, END_OF_FRAME),
        (starts && body.key_frame, SCALABILITY),
    ];
    payload.push(flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag));
    let [high, low] = (low_16(body.frame_number) & 0x7fff).to_be_bytes();
    payload.extend_from_slice(&[LONG_PICTURE_ID | high, low, 0, low_8(body.frame_number)]);
    if starts && body.key_frame {
        payload.push(ONE_LAYER_WITH_SIZE);
        payload.extend_from_slice(&picture.width.to_be_bytes());
        payload.extend_from_slice(&picture.height.to_be_bytes());
    }
    if starts {
        payload.extend_from_slice(if body.key_frame { &KEY_FRAME_HEADER } else { &INTER_FRAME_HEADER });
    }
}

/// Reads a descriptor of non-flexible mode.
pub(super) fn parse(payload: &[u8]) -> Result<(Descriptor, &[u8]), PayloadError> {
    let mut reader = Reader(payload);
    let mut descriptor = Descriptor::default();
    let flags = reader.byte()?;
    if flags & FLEXIBLE != 0 {
        return Err(PayloadError::Descriptor);
    }
    if flags & PICTURE_ID != 0 {
        let high = reader.byte()?;
        descriptor.picture_id = Some(if high & LONG_PICTURE_ID != 0 {
            u16::from_be_bytes([high & !LONG_PICTURE_ID, reader.byte()?])
        } else {
            u16::from(high)
        });
    }
    if flags & LAYER_INDICES != 0 {
        reader.byte()?;
        descriptor.tl0_picture_index = Some(reader.byte()?);
    }
    if flags & SCALABILITY != 0 {
        if reader.byte()? != ONE_LAYER_WITH_SIZE {
            return Err(PayloadError::Descriptor);
        }
        reader.take::<4>()?;
    }
    if flags & START_OF_FRAME != 0 {
        descriptor.starts_key_frame = flags & INTER_PREDICTED == 0;
        let expected: &[u8] = if descriptor.starts_key_frame { &KEY_FRAME_HEADER } else { &INTER_FRAME_HEADER };
        if reader.skip(expected.len())? != expected {
            return Err(PayloadError::Descriptor);
        }
    }
    Ok((descriptor, reader.0))
}
