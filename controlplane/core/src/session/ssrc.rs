//! SSRCs of one transport.

use serde::{Deserialize, Serialize};
use sluice_protocol::media::Ssrc;

/// Mints SSRCs that look random and never repeat: a permutation of the numbers from a random start. So an SSRC is unique on
/// its transport, also after it retired, and two numbers are all that has to be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SsrcMinter {
    start: u32,
    minted: u32,
}

impl SsrcMinter {
    /// Starts at a random number.
    #[must_use]
    pub const fn new(start: u32) -> Self {
        Self { start, minted: 0 }
    }

    /// Mints the next one; never zero, which some stacks take for none.
    pub const fn mint(&mut self) -> Ssrc {
        loop {
            let number = permute(self.start.wrapping_add(self.minted));
            self.minted = self.minted.wrapping_add(1);
            if number != 0 {
                return Ssrc(number);
            }
        }
    }
}

/// Permutes 32-bit numbers; each step can be undone, so no two have the same image.
const fn permute(number: u32) -> u32 {
    let number = (number ^ (number >> 16)).wrapping_mul(0x7feb_352d);
    let number = (number ^ (number >> 15)).wrapping_mul(0x846c_a68b);
    number ^ (number >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minted_numbers_never_repeat_and_are_never_zero() {
        let mut minter = SsrcMinter::new(u32::MAX - 5000);
        let minted: std::collections::BTreeSet<u32> = (0..20_000).map(|_| minter.mint().0).collect();
        assert_eq!(minted.len(), 20_000);
        assert!(!minted.contains(&0));
    }
}
