//! Codecs as SDP names them, and which receiver can decode which sender.

use serde::{Deserialize, Serialize};
use sluice_protocol::media::{Codec, CodecKind, MediaKind, PayloadType};
use sluice_protocol::plan::PayloadMap;

use super::stored;

/// A codec with the parameters that decide whether a receiver can decode it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// RFC 7587.
    Opus {
        /// Whether the offerer wants two channels.
        stereo: bool,
    },
    /// RFC 3551 section 4.5.14.
    Pcmu,
    /// RFC 3551 section 4.5.14.
    Pcma,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9 {
        /// `profile-id`, 0 when absent.
        profile: u8,
    },
    /// RFC 6184.
    H264 {
        /// `packetization-mode`, 0 when absent.
        packetization_mode: u8,
        /// `profile-level-id`, 420010 when absent.
        profile_level_id: u32,
        /// `level-asymmetry-allowed`.
        level_asymmetry_allowed: bool,
    },
    /// The AV1 RTP payload format 1.0.
    Av1 {
        /// `profile`, 0 when absent.
        profile: u8,
        /// `level-idx`, 5 when absent.
        level_idx: u8,
        /// `tier`, 0 when absent.
        tier: u8,
    },
}

/// A profile of H264 as `profile-level-id` spells it (RFC 6184 section 8.1, table 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum H264Profile {
    /// What browsers encode by default.
    ConstrainedBaseline,
    /// With flexible macroblock order and redundant slices on paper; no encoder in the field uses them.
    Baseline,
    /// Main.
    Main,
    /// High without interlacing.
    ConstrainedHigh,
    /// High.
    High,
    /// High 4:4:4 Predictive.
    High444,
    /// Anything else; decodes only itself.
    Other(u16),
}

impl H264Profile {
    /// Reads the two upper bytes of a `profile-level-id`.
    #[must_use]
    pub const fn of(profile_level_id: u32) -> Self {
        let [_, idc, constraints, _] = profile_level_id.to_be_bytes();
        match (idc, constraints) {
            (0x42, iop) if iop & 0x4f == 0x40 => Self::ConstrainedBaseline,
            (0x4d, iop) if iop & 0x8f == 0x80 => Self::ConstrainedBaseline,
            (0x58, iop) if iop & 0xcf == 0xc0 => Self::ConstrainedBaseline,
            (0x42, iop) if iop & 0x4f == 0x00 => Self::Baseline,
            (0x58, iop) if iop & 0xcf == 0x80 => Self::Baseline,
            (0x4d, iop) if iop & 0xaf == 0x00 => Self::Main,
            (0x64, 0x00) => Self::High,
            (0x64, 0x0c) => Self::ConstrainedHigh,
            (0xf4, 0x00) => Self::High444,
            _ => Self::Other(u16::from_be_bytes([idc, constraints])),
        }
    }

    /// Returns how well a decoder of `self` takes a stream of `sender`: 0 is the same profile, `None` is not at all.
    ///
    /// A Baseline stream counts as Constrained Baseline, see [`Self::Baseline`].
    #[must_use]
    pub fn cost_of_decoding(self, sender: Self) -> Option<u8> {
        use H264Profile::{Baseline, ConstrainedBaseline, ConstrainedHigh, High, High444, Main, Other};
        if self == sender {
            return Some(0);
        }
        let rank = |profile| match profile {
            ConstrainedBaseline => Some(0_u8),
            Baseline => Some(1),
            Main => Some(2),
            ConstrainedHigh => Some(3),
            High => Some(4),
            High444 => Some(5),
            Other(_) => None,
        };
        let (own, theirs) = (rank(self)?, rank(sender)?);
        match (self, sender) {
            (ConstrainedHigh, Main) => None,
            (ConstrainedBaseline, Baseline) => Some(6),
            _ => own.checked_sub(theirs),
        }
    }
}

impl Format {
    /// Recognises a codec by its `a=rtpmap` name and its `a=fmtp` parameters; `None` for one that Sluice does not forward.
    #[must_use]
    pub fn recognise(kind: MediaKind, name: &str, clock_rate: u32, fmtp: &str) -> Option<Self> {
        let number = |key: &str, default: u8| parameter(fmtp, key).map_or(Some(default), |value| value.parse().ok());
        match (kind, name.to_ascii_lowercase().as_str(), clock_rate) {
            (MediaKind::Audio, "opus", 48_000) => {
                let stereo = ["stereo", "sprop-stereo"].iter().any(|key| parameter(fmtp, key) == Some("1"));
                Some(Self::Opus { stereo })
            }
            (MediaKind::Audio, "pcmu", 8_000) => Some(Self::Pcmu),
            (MediaKind::Audio, "pcma", 8_000) => Some(Self::Pcma),
            (MediaKind::Video, "vp8", 90_000) => Some(Self::Vp8),
            (MediaKind::Video, "vp9", 90_000) => Some(Self::Vp9 { profile: number("profile-id", 0)? }),
            (MediaKind::Video, "h264", 90_000) => {
                let packetization_mode = number("packetization-mode", 0)?;
                let profile_level_id = match parameter(fmtp, "profile-level-id") {
                    Some(hex) if hex.len() == 6 => u32::from_str_radix(hex, 16).ok()?,
                    Some(_) => return None,
                    None => 0x0042_000a,
                };
                let level_asymmetry_allowed = parameter(fmtp, "level-asymmetry-allowed") == Some("1");
                // Interleaved mode needs reordering that no browser does.
                (packetization_mode <= 1).then_some(Self::H264 {
                    packetization_mode,
                    profile_level_id,
                    level_asymmetry_allowed,
                })
            }
            (MediaKind::Video, "av1", 90_000) => Some(Self::Av1 {
                profile: number("profile", 0)?,
                level_idx: number("level-idx", 5)?,
                tier: number("tier", 0)?,
            }),
            _ => None,
        }
    }

    /// Returns the format of a static payload type that a section may use without `a=rtpmap` (RFC 3551 section 6).
    #[must_use]
    pub const fn of_static(kind: MediaKind, payload_type: PayloadType) -> Option<Self> {
        match (kind, payload_type.0) {
            (MediaKind::Audio, 0) => Some(Self::Pcmu),
            (MediaKind::Audio, 8) => Some(Self::Pcma),
            _ => None,
        }
    }

    /// Returns the codec as the data plane knows it.
    #[must_use]
    pub const fn kind(self) -> CodecKind {
        match self {
            Self::Opus { .. } => CodecKind::Opus,
            Self::Pcmu | Self::Pcma => CodecKind::Other,
            Self::Vp8 => CodecKind::Vp8,
            Self::Vp9 { .. } => CodecKind::Vp9,
            Self::H264 { .. } => CodecKind::H264,
            Self::Av1 { .. } => CodecKind::Av1,
        }
    }

    /// Returns the RTP clock in Hz.
    #[must_use]
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Opus { .. } => 48_000,
            Self::Pcmu | Self::Pcma => 8_000,
            Self::Vp8 | Self::Vp9 { .. } | Self::H264 { .. } | Self::Av1 { .. } => 90_000,
        }
    }

    /// Returns the codec's name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opus { .. } => "Opus",
            Self::Pcmu => "PCMU",
            Self::Pcma => "PCMA",
            Self::Vp8 => "VP8",
            Self::Vp9 { .. } => "VP9",
            Self::H264 { .. } => "H264",
            Self::Av1 { .. } => "AV1",
        }
    }

    /// Returns the value of `a=rtpmap` without its payload type.
    #[must_use]
    pub const fn rtpmap(self) -> &'static str {
        match self {
            Self::Opus { .. } => "opus/48000/2",
            Self::Pcmu => "PCMU/8000",
            Self::Pcma => "PCMA/8000",
            Self::Vp8 => "VP8/90000",
            Self::Vp9 { .. } => "VP9/90000",
            Self::H264 { .. } => "H264/90000",
            Self::Av1 { .. } => "AV1/90000",
        }
    }

    /// Returns the value of `a=fmtp` without its payload type; `None` where there is nothing to say.
    ///
    /// Receivers' limits of the offer (`max-fs`, `maxplaybackrate`) are theirs, not ours, and are not repeated.
    #[must_use]
    pub fn fmtp(self) -> Option<String> {
        match self {
            Self::Opus { stereo: false } => Some("minptime=10;useinbandfec=1".to_owned()),
            Self::Opus { stereo: true } => Some("minptime=10;sprop-stereo=1;stereo=1;useinbandfec=1".to_owned()),
            Self::Pcmu | Self::Pcma | Self::Vp8 => None,
            Self::Vp9 { profile } => Some(format!("profile-id={profile}")),
            Self::H264 { packetization_mode, profile_level_id, level_asymmetry_allowed } => {
                let asymmetry = if level_asymmetry_allowed { "level-asymmetry-allowed=1;" } else { "" };
                Some(format!(
                    "{asymmetry}packetization-mode={packetization_mode};profile-level-id={profile_level_id:06x}"
                ))
            }
            Self::Av1 { profile, level_idx, tier } => {
                Some(format!("level-idx={level_idx};profile={profile};tier={tier}"))
            }
        }
    }

    /// Returns packetization mode and profile, where this is H264.
    #[must_use]
    pub const fn h264(self) -> Option<(u8, H264Profile)> {
        if let Self::H264 { packetization_mode, profile_level_id, .. } = self {
            return Some((packetization_mode, H264Profile::of(profile_level_id)));
        }
        None
    }

    /// Returns how well a receiver of `self` takes a stream of `sender`: 0 is the same format, `None` is not at all.
    ///
    /// Levels are not compared: encoders follow the link, not the level, and decoders in the field take more than they
    /// say. A receiver of the non-interleaved mode also reads single NAL units (RFC 6184 section 5.4).
    #[must_use]
    pub fn cost_of_decoding(self, sender: Self) -> Option<u8> {
        match (self, sender) {
            (Self::Opus { .. }, Self::Opus { .. })
            | (Self::Pcmu, Self::Pcmu)
            | (Self::Pcma, Self::Pcma)
            | (Self::Vp8, Self::Vp8) => Some(0),
            (Self::Vp9 { profile: own }, Self::Vp9 { profile: theirs }) => (own == theirs).then_some(0),
            (Self::Av1 { profile: own, .. }, Self::Av1 { profile: theirs, .. }) => own.checked_sub(theirs),
            (
                Self::H264 { packetization_mode: own_mode, profile_level_id: own, .. },
                Self::H264 { packetization_mode: their_mode, profile_level_id: theirs, .. },
            ) => {
                let mode = own_mode.checked_sub(their_mode)? * 8;
                Some(mode + H264Profile::of(own).cost_of_decoding(H264Profile::of(theirs))?)
            }
            _ => None,
        }
    }
}

/// One codec as negotiated: its payload types and feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NegotiatedCodec {
    /// The payload type of the media.
    #[serde(rename = "p", with = "stored::payload_type")]
    pub payload_type: PayloadType,
    /// The payload type of its repair stream (RFC 4588), where negotiated.
    #[serde(rename = "r", with = "stored::payload_type_option", default, skip_serializing_if = "Option::is_none")]
    pub rtx: Option<PayloadType>,
    /// The codec.
    #[serde(rename = "f")]
    pub format: Format,
    /// What the receiver may send back about it.
    #[serde(rename = "b", default)]
    pub feedback: Feedback,
}

/// RTCP feedback of one codec (RFC 4585 section 4.2, RFC 5104 section 7.1), as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback(u8);

impl Feedback {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// `nack`.
    pub const NACK: Self = Self(1);
    /// `nack pli`.
    pub const PLI: Self = Self(2);
    /// `ccm fir`.
    pub const FIR: Self = Self(4);
    /// `transport-cc`.
    pub const TRANSPORT_CC: Self = Self(8);
    /// `goog-remb`.
    pub const REMB: Self = Self(16);
    /// All of them in the order in which answers name them, with their names.
    pub const NAMES: [(Self, &'static str); 5] = [
        (Self::REMB, "goog-remb"),
        (Self::TRANSPORT_CC, "transport-cc"),
        (Self::FIR, "ccm fir"),
        (Self::NACK, "nack"),
        (Self::PLI, "nack pli"),
    ];

    /// Tells whether all of `other` is here.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns what is here or there.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns what is here and there.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Returns what is here and not there.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl NegotiatedCodec {
    /// Returns the codec as the data plane takes it.
    #[must_use]
    pub const fn to_codec(self) -> Codec {
        Codec {
            payload_type: self.payload_type,
            rtx: self.rtx,
            kind: self.format.kind(),
            clock_rate: self.format.clock_rate(),
        }
    }
}

/// Returns what each payload type of a track is called at a viewer: for each codec of the track the viewer's codec that
/// decodes it best. Codecs that the viewer cannot decode are absent; an empty answer means that nothing can be played.
#[must_use]
pub fn payload_map(track: &[NegotiatedCodec], viewer: &[NegotiatedCodec]) -> Vec<PayloadMap> {
    let best = |sender: &NegotiatedCodec| {
        let fitting = viewer
            .iter()
            .filter_map(|receiver| receiver.format.cost_of_decoding(sender.format).map(|cost| (cost, receiver)));
        fitting.min_by_key(|(cost, _)| *cost).map(|(_, receiver)| PayloadMap {
            from: sender.payload_type,
            to: receiver.payload_type,
            rtx: receiver.rtx,
        })
    };
    track.iter().filter_map(best).collect()
}

/// Returns the value of one `key=value` parameter of an `a=fmtp` line.
#[must_use]
pub fn parameter<'a>(fmtp: &'a str, key: &str) -> Option<&'a str> {
    fmtp.split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case(key))
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(packetization_mode: u8, profile_level_id: u32) -> Format {
        Format::H264 { packetization_mode, profile_level_id, level_asymmetry_allowed: true }
    }

    fn codec(payload_type: u8, format: Format) -> NegotiatedCodec {
        NegotiatedCodec {
            payload_type: PayloadType(payload_type),
            rtx: Some(PayloadType(payload_type + 1)),
            format,
            feedback: Feedback::NONE,
        }
    }

    #[test]
    fn profiles_are_read_as_table_5_of_rfc_6184_says() {
        for (id, profile) in [
            (0x0042_e01f, H264Profile::ConstrainedBaseline),
            (0x0042_c01f, H264Profile::ConstrainedBaseline),
            (0x004d_801f, H264Profile::ConstrainedBaseline),
            (0x0042_001f, H264Profile::Baseline),
            (0x004d_001f, H264Profile::Main),
            (0x0064_001f, H264Profile::High),
            (0x0064_0c1f, H264Profile::ConstrainedHigh),
            (0x00f4_001f, H264Profile::High444),
            (0x006e_0028, H264Profile::Other(0x6e00)),
        ] {
            assert_eq!(H264Profile::of(id), profile, "{id:06x}");
        }
    }

    #[test]
    fn a_receiver_decodes_what_its_profile_contains() {
        for (receiver, sender, fits) in [
            (h264(1, 0x0042_e01f), h264(1, 0x0042_e034), true),
            (h264(1, 0x0042_e01f), h264(1, 0x0042_001f), true),
            (h264(1, 0x0042_e01f), h264(1, 0x004d_001f), false),
            (h264(1, 0x0064_001f), h264(1, 0x0042_e01f), true),
            (h264(1, 0x0064_0c1f), h264(1, 0x004d_001f), false),
            (h264(1, 0x0042_e01f), h264(0, 0x0042_e01f), true),
            (h264(0, 0x0042_e01f), h264(1, 0x0042_e01f), false),
            (h264(1, 0x0064_001f), h264(1, 0x006e_0028), false),
            (Format::Vp9 { profile: 2 }, Format::Vp9 { profile: 0 }, false),
            (
                Format::Av1 { profile: 1, level_idx: 5, tier: 0 },
                Format::Av1 { profile: 0, level_idx: 8, tier: 0 },
                true,
            ),
            (Format::Vp8, Format::Vp9 { profile: 0 }, false),
        ] {
            assert_eq!(receiver.cost_of_decoding(sender).is_some(), fits, "{receiver:?} of {sender:?}");
        }
    }

    #[test]
    fn the_best_fitting_payload_type_is_taken() {
        let track = [codec(100, h264(1, 0x0042_e01f)), codec(102, Format::Vp8), codec(104, h264(0, 0x0042_e01f))];
        let viewer =
            [codec(30, h264(1, 0x0064_001f)), codec(32, h264(1, 0x0042_e00d)), codec(34, h264(0, 0x0042_e00d))];
        let map = payload_map(&track, &viewer);
        let pairs: Vec<_> = map.iter().map(|entry| (entry.from.0, entry.to.0, entry.rtx.unwrap().0)).collect();
        assert_eq!(pairs, [(100, 32, 33), (104, 34, 35)]);
    }

    #[test]
    fn parameters_are_found_whatever_their_spacing_and_case() {
        assert_eq!(parameter("a=1; Profile-ID=2 ;b", "profile-id"), Some("2"));
        assert_eq!(parameter("0-15", "apt"), None);
    }

    #[test]
    fn formats_say_what_they_were_recognised_from() {
        for (name, clock, fmtp) in [
            ("VP9", 90_000, "profile-id=2"),
            ("H264", 90_000, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
            ("AV1", 90_000, "level-idx=5;profile=1;tier=0"),
        ] {
            let format = Format::recognise(MediaKind::Video, name, clock, fmtp).unwrap();
            assert_eq!(format.fmtp().as_deref(), Some(fmtp));
        }
        for (name, clock, fmtp) in [
            ("H264", 90_000, "packetization-mode=2"),
            ("H264", 90_000, "profile-level-id=42e0"),
            ("VP9", 90_000, "profile-id=x"),
            ("ulpfec", 90_000, ""),
        ] {
            assert_eq!(Format::recognise(MediaKind::Video, name, clock, fmtp), None, "{name} {fmtp}");
        }
    }
}
