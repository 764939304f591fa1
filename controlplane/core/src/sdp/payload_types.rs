//! What our offers of one connection call the codecs.

use serde::{Deserialize, Serialize};
use sluice_protocol::limits::CODECS_MAX;
use sluice_protocol::media::{MediaKind, PayloadType};

use super::codec::{Feedback, Format, H264Profile, NegotiatedCodec};

/// Payload types that our offers of one connection give to formats. A format keeps its own for the connection's life, as one
/// number means one thing on the shared transport (RFC 9143 section 9.1); so there are never more than numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PayloadTypes(Vec<NegotiatedCodec>);

impl Default for PayloadTypes {
    fn default() -> Self {
        Self(vec![
            entry(111, None, Format::Opus { stereo: false }),
            entry(0, None, Format::Pcmu),
            entry(8, None, Format::Pcma),
            entry(96, Some(97), Format::Vp8),
            entry(98, Some(99), Format::Vp9 { profile: 0 }),
            entry(102, Some(103), h264(1)),
            entry(104, Some(105), h264(0)),
            entry(45, Some(46), Format::Av1 { profile: 0, level_idx: 5, tier: 0 }),
        ])
    }
}

/// How many of the entries every section of their kind offers.
const COMMON: usize = 8;

const fn h264(packetization_mode: u8) -> Format {
    Format::H264 { packetization_mode, profile_level_id: 0x0042_e01f, level_asymmetry_allowed: true }
}

const fn entry(payload_type: u8, rtx: Option<u8>, format: Format) -> NegotiatedCodec {
    let feedback = match rtx {
        Some(_) => Feedback::NACK.with(Feedback::PLI).with(Feedback::FIR),
        None => Feedback::NONE,
    };
    let rtx = match rtx {
        Some(rtx) => Some(PayloadType(rtx)),
        None => None,
    };
    NegotiatedCodec { payload_type: PayloadType(payload_type), rtx, format, feedback }
}

impl PayloadTypes {
    /// Returns what a section offers for a track: what the track sends, in its order, then the common codecs of the kind.
    /// A format for which no number is left is not offered.
    pub fn offer(&mut self, kind: MediaKind, track: &[NegotiatedCodec]) -> Vec<NegotiatedCodec> {
        let mut offered: Vec<NegotiatedCodec> = Vec::new();
        for codec in track {
            let known = self.0.iter().find(|known| is_same(known.format, codec.format)).copied();
            offered.extend(known.or_else(|| self.add(kind, codec.format)));
        }
        offered.extend(self.common(kind));
        let mut seen = Vec::new();
        offered.retain(|codec| {
            let is_new = !seen.contains(&codec.payload_type);
            seen.push(codec.payload_type);
            is_new
        });
        offered.truncate(CODECS_MAX);
        offered
    }

    /// Returns the first of the common codecs of a kind, which a section names where nothing flows.
    #[must_use]
    pub fn least(&self, kind: MediaKind) -> Vec<NegotiatedCodec> {
        self.common(kind).take(1).collect()
    }

    fn common(&self, kind: MediaKind) -> impl Iterator<Item = NegotiatedCodec> {
        self.0.iter().take(COMMON).filter(move |codec| kind_of(codec.format) == kind).copied()
    }

    fn add(&mut self, kind: MediaKind, format: Format) -> Option<NegotiatedCodec> {
        let media = self.free(None)?;
        let rtx = if kind == MediaKind::Video { Some(self.free(Some(media))?) } else { None };
        let added = entry(media, rtx, format);
        self.0.push(added);
        Some(added)
    }

    /// Returns a number that means nothing yet, of those that RTCP does not need on the same port (RFC 5761 section 4).
    fn free(&self, besides: Option<u8>) -> Option<u8> {
        let is_used = |number: u8| {
            let is_own = |codec: &NegotiatedCodec| {
                codec.payload_type.0 == number || codec.rtx.is_some_and(|rtx| rtx.0 == number)
            };
            besides == Some(number) || self.0.iter().any(is_own)
        };
        (96..=127).chain(35..=63).find(|number| !is_used(*number))
    }
}

const fn kind_of(format: Format) -> MediaKind {
    match format {
        Format::Opus { .. } | Format::Pcmu | Format::Pcma => MediaKind::Audio,
        Format::Vp8 | Format::Vp9 { .. } | Format::H264 { .. } | Format::Av1 { .. } => MediaKind::Video,
    }
}

/// Tells whether one number may stand for both formats: levels and channels do not part streams.
fn is_same(known: Format, format: Format) -> bool {
    let baseline = |profile| if profile == H264Profile::Baseline { H264Profile::ConstrainedBaseline } else { profile };
    match (known, format) {
        (Format::Opus { .. }, Format::Opus { .. }) => true,
        (Format::Av1 { profile, .. }, Format::Av1 { profile: other, .. }) => profile == other,
        (Format::H264 { .. }, Format::H264 { .. }) => {
            let name = |format: Format| format.h264().map(|(mode, profile)| (mode, baseline(profile)));
            name(known) == name(format)
        }
        _ => known == format,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_keeps_its_number_and_the_numbers_end() {
        let mut types = PayloadTypes::default();
        let vp8 = entry(120, Some(124), Format::Vp8);
        let high = entry(
            30,
            Some(31),
            Format::H264 { packetization_mode: 1, profile_level_id: 0x0064_001f, level_asymmetry_allowed: true },
        );
        let first = types.offer(MediaKind::Video, &[high, vp8]);
        let numbers: Vec<u8> = first.iter().map(|codec| codec.payload_type.0).collect();
        assert_eq!(numbers, [100, 96, 98, 102, 104, 45]);
        assert_eq!(types.offer(MediaKind::Video, &[high, vp8]), first);
        assert_eq!(types.least(MediaKind::Audio), [entry(111, None, Format::Opus { stereo: false })]);
        for profile in 1..=255 {
            types.offer(MediaKind::Video, &[entry(96, None, Format::Vp9 { profile })]);
        }
        let mut all: Vec<u8> =
            types.0.iter().flat_map(|own| [Some(own.payload_type), own.rtx]).flatten().map(|own| own.0).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "no number stands twice");
        assert!(all.iter().all(|number| *number < 128 && !(64..=95).contains(number)), "none is RTCP's");
        let exhausted = types.offer(MediaKind::Video, &[entry(96, None, Format::Vp9 { profile: 255 })]);
        assert_eq!(exhausted.first().map(|codec| codec.format), Some(Format::Vp8), "what has no number is not offered");
    }
}
