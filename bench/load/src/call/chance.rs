//! Chance by a seed.

use std::time::Duration;

/// Draws of one participant; the same seed draws the same.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Draws that belong to `who` under `seed`.
    pub(crate) fn new(seed: u64, who: u64) -> Self {
        let mut chance = Self(seed ^ who.wrapping_mul(0xa076_1d64_78bd_642f));
        chance.below(2);
        chance
    }

    /// Draws a number below `end`, which is above 0, by `SplitMix64`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }

    /// Draws a time below twice `mean`, to a millisecond.
    pub(crate) fn around(&mut self, mean: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(mean.as_millis()).unwrap_or(u64::MAX / 4) * 2))
    }

    /// Draws one of a list.
    pub(crate) fn one_of<'a, T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(things.len()).unwrap_or(u64::MAX);
        things.get(usize::try_from(self.below(count)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_for_the_same_participant_and_something_else_for_another() {
        let draw = |seed, who| {
            let mut chance = Chance::new(seed, who);
            (0..8).map(|_| chance.below(1000)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, 2), draw(1, 2));
        assert!(draw(1, 2) != draw(1, 3) && draw(1, 2) != draw(2, 2));
        let mut chance = Chance::new(7, 7);
        assert!((0..100).all(|_| chance.around(Duration::from_millis(50)) < Duration::from_millis(100)));
        assert_eq!((chance.one_of::<u8>(&[]), chance.one_of(&[5])), (None, Some(&5)));
    }
}
