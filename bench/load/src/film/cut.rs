//! Real pictures cut into payloads: RFC 7741 and RFC 6184.

use crate::payload::Codec;

/// Bytes of a payload: few, so that pictures of large blocks have several packets and a loss tears them.
const PAYLOAD_BYTES: usize = 60;

const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const DELIMITER: u8 = 9;
const TYPE: u8 = 0x1f;
const REFERENCE: u8 = 0x60;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

/// Numbers of a picture within its encoding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) picture: u64,
}

/// Cuts a picture into payloads, in order.
pub(crate) fn cut(codec: Codec, numbers: Numbers, picture: &[u8]) -> Vec<Vec<u8>> {
    if codec == Codec::H264 { cut_h264(picture) } else { cut_vp8(numbers, picture) }
}

/// Each with a descriptor of a 15-bit picture id and TL0PICIDX.
fn cut_vp8(numbers: Numbers, picture: &[u8]) -> Vec<Vec<u8>> {
    let [.., high, low] = numbers.picture.to_be_bytes();
    let first = std::iter::once(0x10).chain(std::iter::repeat(0));
    let parts = picture.chunks(PAYLOAD_BYTES).zip(first);
    // X and S; I, L and T; M and the picture id; TL0PICIDX; layer 0.
    parts.map(|(part, start)| [&[0x80 | start, 0xe0, 0x80 | high, low, low, 0], part].concat()).collect()
}

/// Parameter sets in one aggregate, small units alone, large ones in fragments.
fn cut_h264(picture: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    let mut parameters = vec![REFERENCE | STAP_A];
    for unit in units(picture) {
        match unit.first().map(|header| header & TYPE) {
            None | Some(DELIMITER) => {}
            Some(7 | 8) => {
                parameters.extend_from_slice(&u16::try_from(unit.len()).unwrap_or(u16::MAX).to_be_bytes());
                parameters.extend_from_slice(unit);
            }
            Some(_) => {
                if parameters.len() > 1 {
                    payloads.push(std::mem::replace(&mut parameters, vec![REFERENCE | STAP_A]));
                }
                fragment(unit, &mut payloads);
            }
        }
    }
    payloads
}

fn fragment(unit: &[u8], payloads: &mut Vec<Vec<u8>>) {
    let Some((header, content)) = unit.split_first().filter(|_| unit.len() > PAYLOAD_BYTES) else {
        return payloads.push(unit.to_vec());
    };
    let count = content.len().div_ceil(PAYLOAD_BYTES);
    for (index, part) in content.chunks(PAYLOAD_BYTES).enumerate() {
        let start = if index == 0 { FU_START } else { 0 };
        let end = if index + 1 == count { FU_END } else { 0 };
        payloads.push([&[header & !TYPE | FU_A, start | end | header & TYPE], part].concat());
    }
}

/// The units between start codes.
fn units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let starts: Vec<usize> =
        stream.windows(3).enumerate().filter(|(_, code)| *code == [0, 0, 1]).map(|it| it.0).collect();
    let ends = starts.iter().skip(1).copied().chain([stream.len()]).collect::<Vec<_>>();
    starts.into_iter().zip(ends).filter_map(move |(start, end)| {
        let unit = stream.get(start + 3..end)?;
        // Zeros at the end belong to the next start code.
        let zeros = unit.iter().rev().take_while(|byte| **byte == 0).count();
        unit.get(..unit.len() - zeros)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_of_vp8_has_one_start_and_its_number_in_every_packet() {
        let picture: Vec<u8> = (0..150).collect();
        let payloads = cut(Codec::Vp8, Numbers { picture: 0x1_82_03 }, &picture);
        let heads: Vec<[u8; 6]> = payloads.iter().map(|it| *it.first_chunk().unwrap()).collect();
        let rest = [0x80, 0xe0, 0x82, 3, 3, 0];
        assert_eq!(heads, [[0x90, 0xe0, 0x82, 3, 3, 0], rest, rest]);
        assert_eq!(payloads.iter().flat_map(|it| it[6..].to_vec()).collect::<Vec<_>>(), picture);
    }

    #[test]
    fn units_of_h264_are_aggregated_alone_or_in_fragments() {
        let large: Vec<u8> = std::iter::once(0x65).chain((1..=255).cycle().take(150)).collect();
        let stream = [
            &[0, 0, 0, 1, 0x09, 0xf0, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 1, 0x06, 9][..],
            &[0, 0, 1],
            &large,
        ];
        let payloads = cut(Codec::H264, Numbers { picture: 0 }, &stream.concat());
        assert_eq!(payloads[0], [0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3]);
        assert_eq!(payloads[1], [0x06, 9]);
        let heads: Vec<[u8; 2]> = payloads[2..].iter().map(|it| *it.first_chunk().unwrap()).collect();
        assert_eq!(heads, [[0x7c, 0x85], [0x7c, 0x05], [0x7c, 0x45]]);
        assert_eq!(payloads[2..].iter().flat_map(|it| it[2..].to_vec()).collect::<Vec<_>>(), large[1..]);
    }
}
