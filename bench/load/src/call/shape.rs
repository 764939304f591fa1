//! What a participant sends.

use std::time::Duration;

use str0m::media::MediaKind;

use super::sender::codec_of;
use crate::payload::{Codec, PictureSize};
use crate::publisher::{SourceConfig, Spacing};

/// Names of the encodings of a camera, the smallest first (RFC 8853).
pub(crate) const ENCODINGS: &[&str] = &["q", "h", "f"];

/// What a participant sends: sound, and a camera in one encoding or in three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Packets of sound a second.
    pub audio_packets_per_second: u32,
    /// Frames a second of each encoding of the camera.
    pub frames_per_second: u32,
    /// Whether the camera is sent in three encodings.
    pub simulcast: bool,
}

impl Default for Shape {
    fn default() -> Self {
        Self { audio_packets_per_second: 20, frames_per_second: 15, simulcast: true }
    }
}

impl Shape {
    /// Encodings to offer.
    pub(crate) fn encoding_names(&self) -> &'static [&'static str] {
        if self.simulcast { ENCODINGS } else { &[] }
    }

    /// How many streams a track has.
    pub(crate) fn streams_of(&self, kind: MediaKind) -> usize {
        if kind == MediaKind::Video && self.simulcast { ENCODINGS.len() } else { 1 }
    }

    /// Codec, and name and shape of each encoding.
    pub(crate) fn encodings_of(&self, kind: MediaKind) -> (Codec, Vec<(Option<&'static str>, SourceConfig)>) {
        let codec = codec_of(kind);
        if kind == MediaKind::Audio {
            let sound = SourceConfig { packets_per_second: self.audio_packets_per_second, ..SourceConfig::audio() };
            return (codec, vec![(None, sound)]);
        }
        let small = self.picture(1, 2, 300, PictureSize { width: 320, height: 180 });
        let middle = self.picture(1, 3, 700, PictureSize { width: 640, height: 360 });
        let large = self.picture(2, 4, 1000, PictureSize { width: 1280, height: 720 });
        let encodings = if self.simulcast {
            ENCODINGS.iter().copied().map(Some).zip([small, middle, large]).collect()
        } else {
            vec![(None, large)]
        };
        (codec, encodings)
    }

    fn picture(&self, packets: u16, of_key_frame: u16, size_bytes: usize, picture: PictureSize) -> SourceConfig {
        SourceConfig {
            packets_per_second: self.frames_per_second * u32::from(packets),
            packets_per_frame: packets,
            packets_per_key_frame: of_key_frame,
            packet_size_bytes: size_bytes,
            spacing: Spacing::Burst,
            key_frame_interval: Some(Duration::from_secs(10)),
            picture,
        }
    }
}
