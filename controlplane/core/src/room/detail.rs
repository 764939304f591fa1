//! How much of a picture a subscriber wants, and which layer that is.

use serde::{Deserialize, Serialize};
use sluice_protocol::plan::Layer;

use super::PublishedTrack;

/// The height that the best picture of a track is taken to have whose publisher does not say: what browsers are asked for
/// when nothing else is.
const HEIGHT_ASSUMED: u16 = 720;

/// How much of a picture is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// A rung of the ladder.
    Quality(Quality),
    /// The height in pixels that it is shown with.
    Height(u16),
}

/// A rung of the ladder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    /// The smallest.
    Low,
    /// The one in the middle.
    Medium,
    /// The best.
    #[default]
    High,
}

/// The most temporal layers that a descriptor can number (RFC 9628 section 4.2; RTP Payload Format For AV1, appendix A).
const TEMPORAL_LAYERS_MAX: u8 = 8;

/// How many temporal layers of a picture are wanted, 1 to 8: with each one less a stream that has them has, as a rule, half as
/// many frames. Streams without temporal layers keep all their frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TemporalLayers(u8);

impl TemporalLayers {
    /// Returns `None` for none, and for more than there can be.
    #[must_use]
    pub const fn new(count: u8) -> Option<Self> {
        if count >= 1 && count <= TEMPORAL_LAYERS_MAX { Some(Self(count)) } else { None }
    }

    /// Tells whether all that there can be are wanted.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the highest one that is wanted; [`Layer::MAX`]'s where all are.
    #[must_use]
    pub fn max_layer(self) -> u8 {
        if self.is_all() { Layer::MAX.temporal } else { self.0.saturating_sub(1) }
    }
}

impl Default for TemporalLayers {
    fn default() -> Self {
        Self(TEMPORAL_LAYERS_MAX)
    }
}

impl Default for Detail {
    fn default() -> Self {
        Self::Quality(Quality::High)
    }
}

impl Detail {
    /// Returns the highest layer of `track` that serves this wish: the smallest picture that is not smaller than what is shown.
    /// Each encoding is taken to be half as high as the next one.
    #[must_use]
    pub fn max_layer(self, track: &PublishedTrack) -> Layer {
        let best = track.layers.max(1) - 1;
        let spatial = match self {
            Self::Quality(Quality::Low) => 0,
            Self::Quality(Quality::Medium) => best / 2,
            Self::Quality(Quality::High) => return Layer::MAX,
            Self::Height(height) => {
                let full = u32::from(track.height.unwrap_or(HEIGHT_ASSUMED));
                let of = |layer: u8| full.checked_shr(u32::from(best - layer)).unwrap_or(0);
                match (0..best).find(|layer| of(*layer) >= u32::from(height)) {
                    Some(layer) => layer,
                    None => return Layer::MAX,
                }
            }
        };
        if spatial >= best && best > 0 { Layer::MAX } else { Layer { spatial, ..Layer::MAX } }
    }
}

#[cfg(test)]
mod tests {
    use sluice_protocol::ids::TrackId;
    use sluice_protocol::media::MediaKind;

    use super::*;
    use crate::access::Source;

    fn spatial(layers: u8, height: Option<u16>, detail: Detail) -> u8 {
        let track = PublishedTrack {
            id: TrackId::new(0, 0, 1),
            kind: MediaKind::Video,
            source: Source::Camera,
            codecs: Vec::new(),
            layers,
            height,
            muted_by_publisher: false,
            muted_by_host: false,
            order: 1,
        };
        detail.max_layer(&track).spatial
    }

    #[test]
    fn temporal_layers_are_counted_from_one_and_eight_are_all() {
        let highest = |count| TemporalLayers::new(count).map(TemporalLayers::max_layer);
        let cases = [(0, None), (1, Some(0)), (2, Some(1)), (7, Some(6)), (8, Some(u8::MAX)), (9, None)];
        for (count, expected) in cases {
            assert_eq!(highest(count), expected, "{count}");
        }
        assert_eq!(TemporalLayers::default().max_layer(), u8::MAX);
    }

    #[test]
    fn the_smallest_layer_that_fills_the_tile_is_enough() {
        const ALL: u8 = u8::MAX;
        for (layers, height, detail, expected) in [
            (3, None, Detail::Quality(Quality::Low), 0),
            (3, None, Detail::Quality(Quality::Medium), 1),
            (3, None, Detail::Quality(Quality::High), ALL),
            (3, Some(720), Detail::Height(180), 0),
            (3, Some(720), Detail::Height(181), 1),
            (3, Some(720), Detail::Height(361), ALL),
            (3, Some(1080), Detail::Height(180), 0),
            (3, Some(1080), Detail::Height(720), ALL),
            (3, None, Detail::Height(200), 1),
            (2, Some(720), Detail::Quality(Quality::Medium), 0),
            (2, Some(720), Detail::Height(180), 0),
            (1, Some(720), Detail::Quality(Quality::Medium), 0),
            (1, Some(720), Detail::Height(90), ALL),
            (8, Some(1), Detail::Height(9), ALL),
        ] {
            assert_eq!(spatial(layers, height, detail), expected, "{layers} {height:?} {detail:?}");
        }
    }
}
