//! Randomness as a parameter: hashers that attackers cannot aim at, and numbers that they cannot guess.

use std::hash::{BuildHasher, Hasher};

use sluice_protocol::random::mix;

/// Builds hashers from the engine's seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeededState {
    keys: [u64; 2],
}

impl SeededState {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { keys: [mix(seed), mix(seed ^ 0x9e37_79b9_7f4a_7c15)] }
    }

    /// Draws the next number of the sequence that the seed starts (`SplitMix64`).
    pub(crate) const fn draw(&mut self) -> u64 {
        let [state, _] = &mut self.keys;
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(*state)
    }
}

impl BuildHasher for SeededState {
    type Hasher = SeededHasher;

    fn build_hasher(&self) -> SeededHasher {
        let [state, multiplier] = self.keys;
        SeededHasher { state, multiplier: multiplier | 1 }
    }
}

/// A keyed folded-multiply hash: each word is folded in under a secret multiplier. Addresses of attackers cannot be made
/// to collide without the seed; it need not withstand one who sees the hashes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeededHasher {
    state: u64,
    multiplier: u64,
}

impl Hasher for SeededHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().fold(1_u64, |word, byte| (word << 8) | u64::from(*byte));
            self.write_u64(word);
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u16(&mut self, value: u16) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.state ^ value).wrapping_mul(u128::from(self.multiplier));
        let [low, high] = [product & u128::from(u64::MAX), product >> 64];
        self.state = u64::try_from(low ^ high).unwrap_or(0).rotate_left(23).wrapping_add(self.multiplier);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn finish(&self) -> u64 {
        mix(self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn neighbours_hash_apart_and_differently_under_each_seed() {
        let hashes: BTreeSet<u64> = (0..4_u64)
            .flat_map(|seed| (0..1000_u32).map(move |value| SeededState::new(seed).hash_one(value)))
            .collect();
        assert_eq!(hashes.len(), 4000);
    }

    #[test]
    fn slices_that_differ_in_length_hash_apart() {
        let state = SeededState::new(1);
        assert_ne!(state.hash_one([0_u8; 3].as_slice()), state.hash_one([0_u8; 4].as_slice()));
    }

    #[test]
    fn one_seed_draws_one_sequence() {
        let draw = |seed| {
            let mut state = SeededState::new(seed);
            [state.draw(), state.draw(), state.draw()]
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }
}
