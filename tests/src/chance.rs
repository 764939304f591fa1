//! Chance by a seed: when a process is killed, and in which order things go wrong.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// The environment variable that sets the seed.
const SEED: &str = "SLUICE_TEST_SEED";

/// Draws of one test; the same seed draws the same.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// Takes the seed from `SLUICE_TEST_SEED`, else another one each time, and prints it: the runner shows it when the test
    /// fails.
    ///
    /// # Panics
    /// When the variable is no number.
    #[must_use]
    pub fn new() -> Self {
        let seed = match std::env::var(SEED) {
            Ok(text) => text.parse().expect("SLUICE_TEST_SEED is a number"),
            // Whatever state the library seeds its maps with is another one in each process and each time.
            Err(_) => RandomState::new().hash_one(SEED),
        };
        #[expect(clippy::print_stdout, reason = "whoever sees the test fail can run it again by the seed")]
        {
            println!("seed: {SEED}={seed}");
        }
        Self(seed)
    }

    /// Draws a number below `end`, which is above 0, by `SplitMix64`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Draws a time below `end`, to a microsecond.
    pub fn moment(&mut self, end: Duration) -> Duration {
        let end = u64::try_from(end.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.below(end.max(1)))
    }

    /// Waits for a time that is drawn below `end`, and prints it.
    pub async fn wait(&mut self, end: Duration) {
        let moment = self.moment(end);
        #[expect(clippy::print_stdout, reason = "whoever sees the test fail knows when it happened")]
        {
            println!("chance: {moment:?}");
        }
        tokio::time::sleep(moment).await;
    }

    /// Puts things into an order that is drawn.
    pub fn shuffle<T>(&mut self, things: &mut [T]) {
        for end in (1..things.len()).rev() {
            let place = self.below(u64::try_from(end).unwrap_or(u64::MAX) + 1);
            things.swap(end, usize::try_from(place).unwrap_or(end));
        }
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_says_all_of_it_and_another_one_says_otherwise() {
        let drawn = |seed| {
            let mut chance = Chance(seed);
            let mut order: Vec<u64> = (0..100).collect();
            chance.shuffle(&mut order);
            (order, chance.moment(Duration::from_secs(2)))
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let (mut order, moment) = drawn(3);
        assert!(moment < Duration::from_secs(2));
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>(), "nothing is lost");
    }
}
