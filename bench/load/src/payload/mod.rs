//! Payloads that are valid enough for a forwarder and numbered inside.
//!
//! Each packet is a payload descriptor of its codec, the first bytes of a bitstream that says "key frame" or not, and a
//! [`Body`]. What a decoder would make of the rest does not matter: no forwarder looks there.

mod av1;
mod bits;
mod body;
mod h264;
mod pictures;
mod vp8;
mod vp9;

use std::fmt;
use std::str::FromStr;

pub use body::{BODY_BYTES, Body};
pub use pictures::{PICTURE_BYTES_MAX, PICTURES_MAX, Pictures, PicturesError};

/// Codecs that the generator can imitate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184, packetization mode 1, constrained baseline.
    H264,
    /// `AOMedia`'s RTP payload format for AV1, version 1.0.
    Av1,
    /// RFC 7587.
    Opus,
}

impl Codec {
    /// All video codecs.
    pub const VIDEO: [Self; 4] = [Self::Vp8, Self::Vp9, Self::H264, Self::Av1];

    /// RTP clock rate in Hz.
    pub fn clock_rate_hz(self) -> u64 {
        if self == Self::Opus { 48_000 } else { 90_000 }
    }

    /// Whether this is a video codec.
    pub fn is_video(self) -> bool {
        self != Self::Opus
    }

    /// The smallest payload that [`write()`] makes of this codec, in bytes.
    pub fn payload_bytes_min(self) -> usize {
        BODY_BYTES + 64
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::H264 => "h264",
            Self::Av1 => "av1",
            Self::Opus => "opus",
        })
    }
}

impl FromStr for Codec {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Vp8, Self::Vp9, Self::H264, Self::Av1, Self::Opus]
            .into_iter()
            .find(|codec| codec.to_string() == name)
            .ok_or_else(|| format!("unknown codec {name}: vp8, vp9, h264, av1 or opus"))
    }
}

/// Picture size announced in key frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureSize {
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
}

/// What a descriptor says that a forwarder may rewrite or look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptor {
    /// Whether the bitstream in this packet begins a key frame.
    pub starts_key_frame: bool,
    /// Picture id of VP8 and VP9, 15 bits.
    pub picture_id: Option<u16>,
    /// TL0PICIDX of VP8 and VP9.
    pub tl0_picture_index: Option<u8>,
}

/// A payload taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed {
    /// The codec's own numbers.
    pub descriptor: Descriptor,
    /// Our numbers.
    pub body: Body,
}

/// Writes a payload of `size_bytes` (at least [`Codec::payload_bytes_min`]).
///
/// Picture ids follow the frame number modulo 2^15, TL0PICIDX modulo 2^8.
pub fn write(codec: Codec, body: &Body, picture: PictureSize, size_bytes: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(size_bytes.max(codec.payload_bytes_min()));
    match codec {
        Codec::Vp8 => vp8::write(&mut payload, body, picture),
        Codec::Vp9 => vp9::write(&mut payload, body, picture),
        Codec::H264 => h264::write(&mut payload, body, picture, size_bytes),
        Codec::Av1 => av1::write(&mut payload, body, picture),
        // TOC of one 20 ms CELT fullband frame, RFC 6716 section 3.1.
        Codec::Opus => payload.push(0xf8),
    }
    body.write(&mut payload);
    let size_bytes = size_bytes.max(payload.len());
    payload.resize(size_bytes, FILLER);
    payload
}

/// What payloads are filled up with: no start code and no marker of any codec.
const FILLER: u8 = 0x5a;

/// Why a payload could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadError {
    /// It ends early.
    Short,
    /// The descriptor is none of those that [`write()`] makes.
    Descriptor,
    /// The numbered body is not where it should be, or its check sum is wrong.
    Body,
}

/// Reads a payload that [`write()`] or [`Pictures::write`] made and a forwarder may have rewritten.
pub fn parse(codec: Codec, payload: &[u8]) -> Result<Parsed, PayloadError> {
    let (descriptor, rest) = match codec {
        Codec::Vp8 => vp8::parse(payload)?,
        Codec::Vp9 => vp9::parse(payload)?,
        Codec::H264 => h264::parse(payload)?,
        Codec::Av1 => av1::parse(payload)?,
        Codec::Opus => (Descriptor::default(), payload.get(1..).ok_or(PayloadError::Short)?),
    };
    // Behind a real picture the numbers stand at the end.
    let at_end = payload.len().checked_sub(BODY_BYTES).and_then(|start| payload.get(start..));
    let body = Body::parse(rest).or_else(|error| Body::parse(at_end.ok_or(error)?))?;
    Ok(Parsed { descriptor, body })
}

/// Bytes taken one after the other.
#[derive(Debug, Clone, Copy)]
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], PayloadError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(PayloadError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, PayloadError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn skip(&mut self, count: usize) -> Result<&'a [u8], PayloadError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(PayloadError::Short)?;
        self.0 = rest;
        Ok(head)
    }
}

/// The low 16 bits of a frame number.
fn low_16(number: u64) -> u16 {
    (number & 0xffff) as u16
}

/// The low byte of a frame number.
fn low_8(number: u64) -> u8 {
    (number & 0xff) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: PictureSize = PictureSize { width: 640, height: 360 };

    fn body(frame_number: u64, index: u16, count: u16, key_frame: bool) -> Body {
        Body {
            stream_id: 0x1234_5678_9abc,
            packet_number: frame_number * 10 + u64::from(index),
            frame_number,
            send_time_ns: 1_700_000_000_123_456_789,
            packet_index: index,
            packet_count: count,
            key_frame,
        }
    }

    #[test]
    fn every_codec_returns_the_body_and_says_where_a_key_frame_starts() {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1, Codec::Opus] {
            for (count, key_frame) in [(1, true), (1, false), (2, true), (2, false), (5, true), (5, false)] {
                for index in 0..count {
                    let body = body(77, index, count, key_frame);
                    let payload = write(codec, &body, SIZE, 1200);
                    assert_eq!(payload.len(), 1200);
                    let parsed = parse(codec, &payload).unwrap();
                    assert_eq!(parsed.body, body, "{codec}");
                    let starts = key_frame && index == 0 && codec.is_video();
                    assert_eq!(parsed.descriptor.starts_key_frame, starts, "{codec} {index}/{count} {key_frame}");
                }
            }
        }
    }

    #[test]
    fn picture_ids_follow_the_frame_number_and_wrap() {
        for codec in [Codec::Vp8, Codec::Vp9] {
            for (frame, picture_id, index) in
                [(1_u64, 1, 1), (0x7fff, 0x7fff, 0xff), (0x8000, 0, 0), (0x8101, 0x101, 1)]
            {
                let parsed = parse(codec, &write(codec, &body(frame, 0, 2, false), SIZE, 300)).unwrap();
                assert_eq!(parsed.descriptor.picture_id, Some(picture_id));
                assert_eq!(parsed.descriptor.tl0_picture_index, Some(index));
            }
        }
    }

    #[test]
    fn a_small_size_is_raised_to_what_the_numbers_need() {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1, Codec::Opus] {
            let payload = write(codec, &body(1, 0, 3, true), SIZE, 0);
            assert!(payload.len() <= codec.payload_bytes_min(), "{codec} {}", payload.len());
            assert!(parse(codec, &payload).is_ok());
        }
    }

    #[test]
    fn no_prefix_of_a_payload_reads_as_a_body_or_panics() {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1, Codec::Opus] {
            for index in 0..3 {
                let payload = write(codec, &body(5, index, 3, true), SIZE, 0);
                for length in 0..payload.len() {
                    assert!(parse(codec, &payload[..length]).is_err(), "{codec} {length}");
                }
            }
        }
    }

    #[test]
    fn codec_names_read_back() {
        for codec in Codec::VIDEO {
            assert_eq!(codec.to_string().parse(), Ok(codec));
        }
        assert!("h263".parse::<Codec>().is_err());
    }
}
