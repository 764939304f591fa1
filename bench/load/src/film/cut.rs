//! Real pictures cut into payloads: RFC 7741, RFC 9628, RFC 6184, and `AOMedia`'s RTP payload format for AV1.

use super::Step;
use crate::payload::Codec;

/// Bytes of a payload: few, so that pictures of large blocks have several packets and a loss tears them.
const PAYLOAD_BYTES: usize = 60;

const TEMPORAL_DELIMITER: u8 = 2;
const HAS_SIZE: u8 = 0x02;

const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const DELIMITER: u8 = 9;
const TYPE: u8 = 0x1f;
const REFERENCE: u8 = 0x60;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

/// Numbers and layer of a picture within its encoding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    pub(crate) picture: u64,
    /// Pictures of the base layer up to this one.
    pub(crate) base: u64,
    /// Its place in its group; the first one is a key frame.
    pub(crate) place: usize,
    /// What the pictures of the group follow.
    pub(crate) pattern: &'static [Step],
}

impl Numbers {
    fn step_at(&self, place: usize) -> Option<&Step> {
        self.pattern.get(place % self.pattern.len().max(1))
    }

    fn temporal(&self) -> u8 {
        self.step_at(self.place).map_or(0, |step| step.temporal)
    }

    /// Whether it is above the base layer, and made with a picture of that.
    fn is_sync(&self) -> bool {
        let before = self.step_at(self.place).and_then(|step| self.step_at(self.place.checked_sub(step.back)?));
        self.temporal() > 0 && before.is_some_and(|before| before.temporal == 0)
    }
}

/// Cuts a picture into payloads, in order.
pub(crate) fn cut(codec: Codec, numbers: Numbers, picture: &[u8]) -> Vec<Vec<u8>> {
    match codec {
        Codec::H264 => cut_h264(picture),
        Codec::Vp9 => cut_vp9(numbers, picture),
        Codec::Av1 => cut_av1(picture),
        Codec::Vp8 | Codec::Opus => cut_vp8(numbers, picture),
    }
}

/// Each with a descriptor of a 15-bit picture id, TL0PICIDX and temporal layer.
fn cut_vp8(numbers: Numbers, picture: &[u8]) -> Vec<Vec<u8>> {
    let ([.., high, low], [.., base]) = (numbers.picture.to_be_bytes(), numbers.base.to_be_bytes());
    let layer = numbers.temporal() << 6 | u8::from(numbers.is_sync()) << 5;
    let first = std::iter::once(0x10).chain(std::iter::repeat(0));
    let parts = picture.chunks(PAYLOAD_BYTES).zip(first);
    // X and S; I, L and T; M and the picture id; TL0PICIDX; layer.
    parts.map(|(part, start)| [&[0x80 | start, 0xe0, 0x80 | high, low, base, layer], part].concat()).collect()
}

/// Each with a descriptor in non-flexible mode of the same numbers; key frames tell the pattern.
fn cut_vp9(numbers: Numbers, picture: &[u8]) -> Vec<Vec<u8>> {
    let ([.., high, low], [.., base]) = (numbers.picture.to_be_bytes(), numbers.base.to_be_bytes());
    let is_key = numbers.place == 0;
    // No picture of these patterns is made with one before the base picture that all layers could begin with.
    let layer = numbers.temporal() << 5 | 0x10;
    let count = picture.len().div_ceil(PAYLOAD_BYTES);
    let parts = picture.chunks(PAYLOAD_BYTES).enumerate();
    let payload = |(place, part): (usize, &[u8])| {
        let (starts, ends) = (place == 0, place + 1 == count);
        let structure = if starts && is_key { structure_vp9(numbers.pattern) } else { Vec::new() };
        // I, P, L, B, E and V.
        let flags = [(true, 0xa0), (!is_key, 0x40), (starts, 8), (ends, 4), (starts && is_key, 2)];
        let flags = flags.iter().filter(|(set, _)| *set).fold(0, |all, (_, flag)| all | flag);
        [&[flags, 0x80 | high, low, layer, base][..], &structure, part].concat()
    };
    parts.map(payload).collect()
}

/// One spatial layer without its size, and the group of pictures.
fn structure_vp9(pattern: &[Step]) -> Vec<u8> {
    let steps = pattern.iter().flat_map(|step| [step.temporal << 5 | 0x14, u8::try_from(step.back).unwrap_or(u8::MAX)]);
    [0x08, u8::try_from(pattern.len()).unwrap_or(u8::MAX)].into_iter().chain(steps).collect()
}

/// One unit after the other, the last one over all packets; units before it are small.
fn cut_av1(picture: &[u8]) -> Vec<Vec<u8>> {
    let units = units_av1(picture);
    let Some((last, before)) = units.split_last() else { return Vec::new() };
    let count = last.len().div_ceil(PAYLOAD_BYTES);
    let starts_sequence = before.first().is_some_and(|unit| unit.first().is_some_and(|head| head >> 3 == 1));
    let parts = last.chunks(PAYLOAD_BYTES).enumerate();
    let payload = |(place, part): (usize, &[u8])| {
        let mut payload = vec![0x10];
        if place == 0 {
            let elements = u8::try_from(units.len()).unwrap_or(3) << 4;
            payload = vec![elements | if starts_sequence { 0x08 } else { 0 }];
            for unit in before {
                payload.extend(leb128(unit.len()));
                payload.extend_from_slice(unit);
            }
        }
        if let Some(aggregation) = payload.first_mut() {
            *aggregation |= if place > 0 { 0x80 } else { 0 } | if place + 1 < count { 0x40 } else { 0 };
        }
        payload.extend_from_slice(part);
        payload
    };
    parts.map(payload).collect()
}

/// The units of a temporal unit but its delimiter, without their sizes.
fn units_av1(mut picture: &[u8]) -> Vec<Vec<u8>> {
    let mut units = Vec::new();
    while let Some((head, rest)) = picture.split_first() {
        let Some((size, rest)) = read_leb128(rest) else { break };
        let Some((content, rest)) = rest.split_at_checked(size) else { break };
        if head >> 3 != TEMPORAL_DELIMITER {
            units.push([&[head & !HAS_SIZE], content].concat());
        }
        picture = rest;
    }
    units
}

fn leb128(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap_or(0);
        value >>= 7;
        bytes.push(if value > 0 { low | 0x80 } else { low });
        if value == 0 {
            return bytes;
        }
    }
}

fn read_leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().take(4).position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at_checked(end + 1)?;
    Some((number.iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f)), rest))
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

    const THREE: &[Step] = &[
        Step { temporal: 0, back: 4 },
        Step { temporal: 2, back: 1 },
        Step { temporal: 1, back: 2 },
        Step { temporal: 2, back: 1 },
    ];

    #[test]
    fn a_picture_of_vp8_has_one_start_and_its_numbers_and_layer_in_every_packet() {
        let picture: Vec<u8> = (0..150).collect();
        let numbers = |place| Numbers { picture: 0x1_82_03, base: 0x1_07, place, pattern: THREE };
        let payloads = cut(Codec::Vp8, numbers(4), &picture);
        let heads: Vec<[u8; 6]> = payloads.iter().map(|it| *it.first_chunk().unwrap()).collect();
        let rest = [0x80, 0xe0, 0x82, 3, 7, 0];
        assert_eq!(heads, [[0x90, 0xe0, 0x82, 3, 7, 0], rest, rest]);
        assert_eq!(payloads.iter().flat_map(|it| it[6..].to_vec()).collect::<Vec<_>>(), picture);
        // Layer and Y.
        let layers: Vec<u8> = (4..8).map(|place| cut(Codec::Vp8, numbers(place), &picture)[0][5]).collect();
        assert_eq!(layers, [0, 0xa0, 0x60, 0x80]);
    }

    #[test]
    fn a_key_frame_of_vp9_tells_the_pattern_and_the_others_their_layer() {
        let picture: Vec<u8> = (0..100).collect();
        let cut = |place| cut(Codec::Vp9, Numbers { picture: 9, base: 5, place, pattern: THREE }, &picture);
        let structure = [0x08, 4, 0x14, 4, 0x54, 1, 0x34, 2, 0x54, 1];
        let [first, second] = <[Vec<u8>; 2]>::try_from(cut(0)).unwrap();
        assert_eq!(first, [&[0xaa, 0x80, 9, 0x10, 5], &structure[..], &picture[..60]].concat());
        assert_eq!(second, [&[0xa4, 0x80, 9, 0x10, 5], &picture[60..]].concat());
        assert_eq!(cut(6)[0][..5], [0xe8, 0x80, 9, 0x30, 5]);
    }

    #[test]
    fn units_of_av1_lose_their_sizes_and_the_last_one_is_spread_over_packets() {
        let frame: Vec<u8> = (0..150).collect();
        let key = [&[0x12, 0, 0x0a, 2, 7, 8, 0x32, 0x96, 0x01][..], &frame].concat();
        let payloads = cut_av1(&key);
        assert_eq!(payloads[0], [&[0x68, 3, 0x08, 7, 8, 0x30], &frame[..59]].concat());
        assert_eq!(payloads[1], [&[0xd0], &frame[59..119]].concat());
        assert_eq!(payloads[2], [&[0x90], &frame[119..]].concat());
        assert_eq!(cut_av1(&[0x12, 0, 0x32, 2, 5, 6]), [[0x10, 0x30, 5, 6]]);
    }

    #[test]
    fn units_of_h264_are_aggregated_alone_or_in_fragments() {
        let large: Vec<u8> = std::iter::once(0x65).chain((1..=255).cycle().take(150)).collect();
        let stream = [
            &[0, 0, 0, 1, 0x09, 0xf0, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 1, 0x06, 9][..],
            &[0, 0, 1],
            &large,
        ];
        let payloads = cut_h264(&stream.concat());
        assert_eq!(payloads[0], [0x78, 0, 3, 0x67, 1, 2, 0, 2, 0x68, 3]);
        assert_eq!(payloads[1], [0x06, 9]);
        let heads: Vec<[u8; 2]> = payloads[2..].iter().map(|it| *it.first_chunk().unwrap()).collect();
        assert_eq!(heads, [[0x7c, 0x85], [0x7c, 0x05], [0x7c, 0x45]]);
        assert_eq!(payloads[2..].iter().flat_map(|it| it[2..].to_vec()).collect::<Vec<_>>(), large[1..]);
    }
}
