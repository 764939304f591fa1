//! Which layer a subscriber is to be sent: one decision, made here and nowhere else.
//!
//! [`super::select`] brings it about, at the next frame that allows it. What a path can carry will join
//! [`Wanted`] as one more limit.

use sluice_protocol::plan::Layer;

use crate::ingress::StreamIndex;
use crate::ingress::alive::Alive;

/// What a subscriber wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The highest layer that its picture has use for.
    pub(super) max: Layer,
    /// Whether it wants nothing now, or there is nothing to want because the track is muted.
    pub(super) paused: bool,
}

/// What a subscriber is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Nothing.
    Nothing,
    /// Whatever comes first: no encoding has been heard yet.
    First,
    /// This encoding, up to [`Wanted::max`]'s temporal layer.
    Encoding(StreamIndex),
}

/// Decides what a subscriber is to be sent: of the encodings that are alive the highest one that it wants. Where all of
/// them are higher it is the lowest: a picture larger than its frame is better than none.
pub(super) fn wish(wanted: Wanted, alive: Alive) -> Wish {
    if wanted.paused {
        return Wish::Nothing;
    }
    let highest = alive.highest_up_to(StreamIndex(wanted.max.spatial));
    highest.or_else(|| alive.lowest()).map_or(Wish::First, Wish::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wish_is_the_highest_living_encoding_that_is_wanted() {
        let cases: &[(&[u8], u8, bool, Wish)] = &[
            (&[0, 1, 2], u8::MAX, false, Wish::Encoding(StreamIndex(2))),
            (&[0, 1, 2], 2, false, Wish::Encoding(StreamIndex(2))),
            (&[0, 1, 2], 1, false, Wish::Encoding(StreamIndex(1))),
            (&[0, 1, 2], 0, false, Wish::Encoding(StreamIndex(0))),
            (&[0, 2], 1, false, Wish::Encoding(StreamIndex(0))),
            (&[0, 1], 2, false, Wish::Encoding(StreamIndex(1))),
            (&[1, 2], 0, false, Wish::Encoding(StreamIndex(1))),
            (&[7], u8::MAX, false, Wish::Encoding(StreamIndex(7))),
            (&[], u8::MAX, false, Wish::First),
            (&[], 0, true, Wish::Nothing),
            (&[0, 1, 2], 2, true, Wish::Nothing),
        ];
        for (alive, spatial, paused, expected) in cases {
            let wanted = Wanted { max: Layer { spatial: *spatial, temporal: 0 }, paused: *paused };
            let alive = alive.iter().fold(Alive::NONE, |alive, index| alive.with(StreamIndex(*index)));
            assert_eq!(wish(wanted, alive), *expected, "{alive:?} {wanted:?}");
        }
    }
}
