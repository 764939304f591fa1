//! Real pictures inside numbered packets, for viewers that decode.

use std::fmt;
use std::sync::Arc;

use super::{BODY_BYTES, Body, FILLER, vp8};

/// The largest picture, in bytes: it fits one packet of usual size with its descriptor and its numbers.
pub const PICTURE_BYTES_MAX: usize = 1100;
/// Pictures kept.
pub const PICTURES_MAX: usize = 1024;

const FILE_HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 12;

/// VP8 pictures of a real encoder, shown one after the other and then again: the first one is a key frame, the others
/// need those before them.
///
/// A picture lies whole in the first packet of its frame, with the numbers at the end of that packet; the other packets
/// have numbers and filler. All of it belongs to the last partition, whose end a decoder never reads (RFC 6386
/// section 9.5), so that it sees a sound picture while each packet is numbered.
#[derive(Debug, Clone)]
pub struct Pictures(Arc<[Vec<u8>]>);

/// Why pictures were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PicturesError {
    /// Not an IVF file of VP8, or one that ends early.
    Malformed,
    /// It has no picture, or more than [`PICTURES_MAX`].
    Count,
    /// The first picture is not a key frame.
    NoKeyFrame,
    /// A picture is larger than [`PICTURE_BYTES_MAX`].
    Large,
}

impl fmt::Display for PicturesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a whole IVF file of VP8",
            Self::Count => "no picture, or too many",
            Self::NoKeyFrame => "the first picture is not a key frame",
            Self::Large => "a picture does not fit a packet",
        })
    }
}

impl std::error::Error for PicturesError {}

impl Pictures {
    /// Takes the pictures of an IVF file, as `FFmpeg` writes it.
    pub fn from_ivf(file: &[u8]) -> Result<Self, PicturesError> {
        let (header, mut rest) = file.split_at_checked(FILE_HEADER_BYTES).ok_or(PicturesError::Malformed)?;
        if !header.starts_with(b"DKIF") || header.get(8..12) != Some(b"VP80") {
            return Err(PicturesError::Malformed);
        }
        let mut pictures = Vec::new();
        while !rest.is_empty() {
            let (header, after) = rest.split_at_checked(FRAME_HEADER_BYTES).ok_or(PicturesError::Malformed)?;
            let size = header.first_chunk().map_or(0, |size| u32::from_le_bytes(*size));
            let size = usize::try_from(size).map_err(|_| PicturesError::Large)?;
            if size > PICTURE_BYTES_MAX {
                return Err(PicturesError::Large);
            }
            let (picture, after) = after.split_at_checked(size).ok_or(PicturesError::Malformed)?;
            pictures.push(picture.to_vec());
            rest = after;
        }
        if pictures.is_empty() || pictures.len() > PICTURES_MAX {
            return Err(PicturesError::Count);
        }
        // The inverse key frame bit, RFC 6386 section 9.1.
        let first = pictures.first().and_then(|picture| picture.first());
        if first.is_none_or(|first| first & 1 != 0) {
            return Err(PicturesError::NoKeyFrame);
        }
        Ok(Self(pictures.into()))
    }

    /// Number of pictures.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Writes a payload of `size_bytes`, or of what its picture needs. A picture that is not there is left out.
    pub fn write(&self, body: &Body, picture: usize, size_bytes: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(size_bytes);
        vp8::write_descriptor(&mut payload, body);
        if body.packet_index == 0
            && let Some(picture) = self.0.get(picture)
        {
            payload.extend_from_slice(picture);
        }
        let before_body = size_bytes.saturating_sub(BODY_BYTES).max(payload.len());
        payload.resize(before_body, FILLER);
        body.write(&mut payload);
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Codec, parse};
    use super::*;

    fn ivf(pictures: &[&[u8]]) -> Vec<u8> {
        let mut file = [b"DKIF\0\0\x20\0VP80".as_slice(), &[0; 20]].concat();
        for picture in pictures {
            file.extend_from_slice(&u32::try_from(picture.len()).unwrap().to_le_bytes());
            file.extend_from_slice(&[0; 8]);
            file.extend_from_slice(picture);
        }
        file
    }

    /// Frame tag, start code and size of a key frame of 160x90, then what a decoder would read.
    const KEY: &[u8] = &[0x10, 2, 0, 0x9d, 1, 0x2a, 160, 0, 90, 0, 77, 77, 77];
    const DELTA: &[u8] = &[0x11, 2, 0, 88, 88];

    fn body(packet_index: u16, key_frame: bool) -> Body {
        let (stream_id, packet_number, frame_number) = (7, 1000 + u64::from(packet_index), 200);
        Body { stream_id, packet_number, frame_number, send_time_ns: 5, packet_index, packet_count: 3, key_frame }
    }

    #[test]
    fn each_packet_of_a_real_picture_has_its_numbers_and_the_first_one_the_picture() {
        let pictures = Pictures::from_ivf(&ivf(&[KEY, DELTA])).unwrap();
        assert_eq!(pictures.count(), 2);
        for (picture, bitstream, key_frame) in [(0, KEY, true), (1, DELTA, false)] {
            for index in 0..3 {
                let body = body(index, key_frame);
                let payload = pictures.write(&body, picture, 500);
                assert_eq!(payload.len(), 500);
                let parsed = parse(Codec::Vp8, &payload).unwrap();
                assert_eq!(parsed.body, body);
                assert_eq!(parsed.descriptor.starts_key_frame, key_frame && index == 0);
                assert_eq!(payload[6..].starts_with(bitstream), index == 0);
            }
        }
    }

    #[test]
    fn a_picture_that_needs_more_is_not_cut() {
        let pictures = Pictures::from_ivf(&ivf(&[KEY])).unwrap();
        let payload = pictures.write(&body(0, true), 0, 0);
        assert_eq!(payload.len(), 6 + KEY.len() + BODY_BYTES);
        assert_eq!(parse(Codec::Vp8, &payload).unwrap().body, body(0, true));
    }

    #[test]
    fn files_that_cannot_be_shown_are_refused_by_name() {
        let whole = ivf(&[KEY, DELTA]);
        let large = [0; PICTURE_BYTES_MAX + 1];
        for (file, error) in [
            (whole[..whole.len() - 1].to_vec(), PicturesError::Malformed),
            (whole[..40].to_vec(), PicturesError::Malformed),
            (b"not a file".to_vec(), PicturesError::Malformed),
            (ivf(&[]), PicturesError::Count),
            (ivf(&[DELTA, KEY]), PicturesError::NoKeyFrame),
            (ivf(&[KEY, &large]), PicturesError::Large),
        ] {
            assert_eq!(Pictures::from_ivf(&file).unwrap_err(), error);
        }
    }
}
