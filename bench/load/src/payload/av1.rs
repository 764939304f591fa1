//! AV1 aggregation header and open bitstream units, `AOMedia`'s RTP payload format for AV1, section 4.

use super::bits::BitWriter;
use super::{Body, Descriptor, PayloadError, PictureSize, Reader};

const CONTINUES_PREVIOUS: u8 = 0x80;
const CONTINUES_NEXT: u8 = 0x40;
const ELEMENTS: u8 = 0x30;
const ONE_ELEMENT: u8 = 0x10;
const TWO_ELEMENTS: u8 = 0x20;
const NEW_SEQUENCE: u8 = 0x08;
/// Unit headers without size field: type in bits 3 to 6.
const SEQUENCE_HEADER: u8 = 1 << 3;
const FRAME: u8 = 6 << 3;
/// First byte of a frame header: frame type (0 key, 1 inter) and `show_frame`.
const SHOWN_KEY_FRAME: u8 = 0x10;
const SHOWN_INTER_FRAME: u8 = 0x30;

/// One frame unit over all packets; a key frame's first packet has the sequence header before it.
pub(super) fn write(payload: &mut Vec<u8>, body: &Body, picture: PictureSize) {
    let starts = body.packet_index == 0;
    let starts_sequence = starts && body.key_frame;
    let flags = [
        (!starts, CONTINUES_PREVIOUS),
        (body.packet_index + 1 < body.packet_count, CONTINUES_NEXT),
        (starts_sequence, TWO_ELEMENTS | NEW_SEQUENCE),
        (!starts_sequence, ONE_ELEMENT),
    ];
    payload.push(flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag));
    if starts_sequence {
        let header = sequence_header(picture);
        // A LEB128 number under 128 is its own byte.
        payload.push(u8::try_from(header.len()).unwrap_or(0x7f));
        payload.extend_from_slice(&header);
    }
    if starts {
        payload.extend_from_slice(&[FRAME, if body.key_frame { SHOWN_KEY_FRAME } else { SHOWN_INTER_FRAME }]);
    }
}

pub(super) fn parse(payload: &[u8]) -> Result<(Descriptor, &[u8]), PayloadError> {
    let mut reader = Reader(payload);
    let aggregation = reader.byte()?;
    if aggregation & ELEMENTS == TWO_ELEMENTS {
        let length = usize::from(reader.byte()?);
        if length >= 0x80 || reader.skip(length)?.first() != Some(&SEQUENCE_HEADER) {
            return Err(PayloadError::Descriptor);
        }
    } else if aggregation & ELEMENTS != ONE_ELEMENT {
        return Err(PayloadError::Descriptor);
    }
    if aggregation & CONTINUES_PREVIOUS == 0 {
        let [unit, header] = reader.take()?;
        let key_frame = header == SHOWN_KEY_FRAME;
        let new_sequence = aggregation & NEW_SEQUENCE != 0;
        if unit != FRAME || key_frame != new_sequence {
            return Err(PayloadError::Descriptor);
        }
        return Ok((Descriptor { starts_key_frame: key_frame, ..Descriptor::default() }, reader.0));
    }
    Ok((Descriptor::default(), reader.0))
}

/// Sequence header of the main profile, level 3.1, AV1 bitstream specification section 5.5.
fn sequence_header(picture: PictureSize) -> Vec<u8> {
    let mut bits = BitWriter::default();
    bits.bits(u32::from(SEQUENCE_HEADER), 8);
    // Profile 0, no still picture, no timing, no display delay, one operating point of all layers, level index 5.
    bits.bits(0, 3 + 1 + 1 + 1 + 1);
    bits.bits(0, 5 + 12);
    bits.bits(5, 5);
    bits.bits(15, 4);
    bits.bits(15, 4);
    bits.bits(u32::from(picture.width.max(1) - 1), 16);
    bits.bits(u32::from(picture.height.max(1) - 1), 16);
    // No frame ids, no 128-pixel superblocks, no filters, no compound tools, no order hint.
    bits.bits(0, 1 + 2 + 1 + 1 + 1 + 1 + 1 + 1);
    // Screen content tools and integer vectors are chosen per frame; no super-resolution, no restoration.
    bits.bits(0b11, 2);
    bits.bits(0, 3);
    // 8 bits, colour, no description, limited range, unknown chroma position, common delta q; no film grain.
    bits.bits(0, 1 + 1 + 1 + 1 + 2 + 1);
    bits.bits(0, 1);
    bits.finish()
}
