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
    /// The height in pixels that it is shown with, in a tile that is wide enough for it.
    Height(u16),
    /// The tile that it is shown in, in pixels: the picture fills its width or its height, and none of it is cut off.
    Size {
        /// The width.
        width: u16,
        /// The height.
        height: u16,
    },
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
    /// Each encoding is taken to be half as wide and half as high as the next one. A picture that is fitted into a tile is shown
    /// by the lesser of both ratios, so a layer is large enough that is as wide as the tile, or as high. Where the publisher
    /// does not say how wide its picture is, the height alone decides.
    #[must_use]
    pub fn max_layer(self, track: &PublishedTrack) -> Layer {
        let best = track.layers.max(1) - 1;
        let spatial = match self {
            Self::Quality(Quality::Low) => 0,
            Self::Quality(Quality::Medium) => best / 2,
            Self::Quality(Quality::High) => return Layer::MAX,
            Self::Height(height) => match filling(best, track, None, height) {
                Some(layer) => layer,
                None => return Layer::MAX,
            },
            Self::Size { width, height } => match filling(best, track, Some(width), height) {
                Some(layer) => layer,
                None => return Layer::MAX,
            },
        };
        if spatial >= best && best > 0 { Layer::MAX } else { Layer { spatial, ..Layer::MAX } }
    }
}

/// Returns the lowest layer below `best` whose picture fills a tile.
fn filling(best: u8, track: &PublishedTrack, width: Option<u16>, height: u16) -> Option<u8> {
    let is_enough = |full: u16, layer: u8, shown: u16| {
        u32::from(full).checked_shr(u32::from(best - layer)).unwrap_or(0) >= u32::from(shown)
    };
    (0..best).find(|layer| {
        let is_wide_enough = track.width.zip(width).is_some_and(|(full, shown)| is_enough(full, *layer, shown));
        is_wide_enough || is_enough(track.height.unwrap_or(HEIGHT_ASSUMED), *layer, height)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluice_protocol::ids::TrackId;
    use sluice_protocol::media::MediaKind;

    use super::*;
    use crate::access::Source;

    fn spatial(layers: u8, height: Option<u16>, detail: Detail) -> u8 {
        spatial_of(layers, None, height, detail)
    }

    fn spatial_of(layers: u8, width: Option<u16>, height: Option<u16>, detail: Detail) -> u8 {
        let track = PublishedTrack {
            id: TrackId::new(0, 0, 1),
            kind: MediaKind::Video,
            source: Source::Camera,
            codecs: Vec::new(),
            layers,
            width,
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

    #[test]
    fn a_tile_is_filled_by_the_side_that_the_picture_reaches_first() {
        const ALL: u8 = u8::MAX;
        let camera = (Some(1280), Some(720));
        let upright = (Some(720), Some(1280));
        for ((full_width, full_height), (width, height), expected) in [
            (camera, (320, 180), 0),
            (camera, (321, 181), 1),
            (camera, (320, 700), 0),
            (camera, (1200, 180), 0),
            (camera, (1200, 170), 0),
            (camera, (640, 2000), 1),
            (camera, (1280, 720), ALL),
            (camera, (0, 900), 0),
            (upright, (320, 320), 0),
            (upright, (640, 360), 1),
            (upright, (180, 1000), 0),
            ((None, Some(720)), (1, 700), ALL),
            ((None, None), (2000, 180), 0),
            ((Some(1280), None), (320, 700), 0),
        ] {
            let detail = Detail::Size { width, height };
            let found = spatial_of(3, full_width, full_height, detail);
            assert_eq!(found, expected, "{full_width:?} {full_height:?} in {width} {height}");
        }
    }

    proptest! {
        /// The oracle fits the picture into the tile by numbers with fractions, which are exact enough for sizes of 16 bits.
        #[test]
        fn the_layer_of_a_tile_is_the_smallest_that_the_fitted_picture_is_not_larger_than(
            layers in 1_u8..=8,
            full in (1_u16.., 1_u16..),
            tile in (0_u16.., 0_u16..),
            more in (0_u16..100, 0_u16..100),
        ) {
            let of = |width, height| {
                spatial_of(layers, Some(full.0), Some(full.1), Detail::Size { width, height })
            };
            let ratio = (f64::from(tile.0) / f64::from(full.0)).min(f64::from(tile.1) / f64::from(full.1));
            let fits = |layer: u8| ratio <= 0.5_f64.powi(i32::from(layers - 1 - layer));
            let expected = (0..layers - 1).find(|layer| fits(*layer)).unwrap_or(u8::MAX);
            prop_assert_eq!(of(tile.0, tile.1), expected);
            let larger = of(tile.0.saturating_add(more.0), tile.1.saturating_add(more.1));
            prop_assert!(larger >= of(tile.0, tile.1), "a larger tile never gets less");
            let turned = spatial_of(layers, Some(full.1), Some(full.0), Detail::Size { width: tile.1, height: tile.0 });
            prop_assert_eq!(turned, expected, "both sides count alike");
        }
    }
}
