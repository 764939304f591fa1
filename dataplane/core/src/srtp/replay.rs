//! The replay list as a sliding window (RFC 3711 section 3.3.2).

/// How many indices below the highest are remembered. RFC 3711 asks for 64; at 4,000 packets a second 1024 cover
/// 250 ms of reordering.
const WINDOW_PACKETS: u64 = 1024;

const WORD_BITS: u64 = 64;
const WORDS: usize = 16;
const _: () = assert!(WINDOW_PACKETS == WORD_BITS * 16 && WORDS == 16);

/// Why the window refuses an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replay {
    /// The index was seen already.
    Duplicate,
    /// The index is below the window, so nobody can say.
    TooOld,
}

/// The indices seen lately, of one SSRC or of one SRTCP sender. [`Self::check`] before opening, [`Self::commit`] only
/// after the packet has authenticated.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    /// One more than the highest index committed; 0 before the first.
    next: u64,
    /// Bit `index % 1024`: seen, for indices in `next - 1024..next`.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// Makes a window that has seen nothing.
    pub const fn new() -> Self {
        Self { next: 0, seen: [0; WORDS] }
    }

    /// Makes the window of a stream restored after a restart: everything up to `highest` counts as seen.
    pub const fn resume(highest: u64) -> Self {
        Self { next: highest.saturating_add(1), seen: [u64::MAX; WORDS] }
    }

    /// Returns the highest index committed, if there is any.
    pub const fn highest(&self) -> Option<u64> {
        self.next.checked_sub(1)
    }

    /// Checks whether `index` may be new.
    ///
    /// # Errors
    /// [`Replay`] if it is not.
    pub fn check(&self, index: u64) -> Result<(), Replay> {
        if index >= self.next {
            Ok(())
        } else if self.next - index > WINDOW_PACKETS {
            Err(Replay::TooOld)
        } else if self.word(index) & bit(index) != 0 {
            Err(Replay::Duplicate)
        } else {
            Ok(())
        }
    }

    /// Remembers an authenticated `index`; indices below the window change nothing.
    pub fn commit(&mut self, index: u64) {
        if index >= self.next {
            self.advance(index);
        } else if self.next - index > WINDOW_PACKETS {
            return;
        }
        if let Some(word) = self.seen.get_mut(slot(index)) {
            *word |= bit(index);
        }
    }

    /// Moves the window so that it ends with `index`, forgetting what its places held before. At most one turn.
    fn advance(&mut self, index: u64) {
        if index - self.next >= WINDOW_PACKETS {
            self.seen = [0; WORDS];
        } else {
            for fresh in self.next..index {
                if let Some(word) = self.seen.get_mut(slot(fresh)) {
                    *word &= !bit(fresh);
                }
            }
        }
        self.next = index.saturating_add(1);
    }

    fn word(&self, index: u64) -> u64 {
        self.seen.get(slot(index)).copied().unwrap_or(u64::MAX)
    }
}

const fn bit(index: u64) -> u64 {
    1 << (index % WORD_BITS)
}

const fn slot(index: u64) -> usize {
    (index / WORD_BITS) as usize % WORDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_index_is_taken_once() {
        let mut window = ReplayWindow::new();
        assert_eq!(window.highest(), None);
        for index in [5, 3, 1500, 477, 1499] {
            assert_eq!(window.check(index), Ok(()), "{index}");
            window.commit(index);
            assert_eq!(window.check(index), Err(Replay::Duplicate), "{index}");
        }
        assert_eq!(window.highest(), Some(1500));
        assert_eq!(window.check(476), Err(Replay::TooOld));
        assert_eq!(window.check(478), Ok(()));
    }

    #[test]
    fn a_resumed_window_refuses_all_that_may_have_been_seen() {
        let mut window = ReplayWindow::resume(70_000);
        assert_eq!(window.highest(), Some(70_000));
        assert_eq!(window.check(70_000), Err(Replay::Duplicate));
        assert_eq!(window.check(68_977), Err(Replay::Duplicate));
        assert_eq!(window.check(68_976), Err(Replay::TooOld));
        assert_eq!(window.check(70_002), Ok(()));
        window.commit(70_002);
        assert_eq!(window.check(70_001), Ok(()));
        assert_eq!(window.check(69_999), Err(Replay::Duplicate));
    }

    proptest! {
        /// Oracle: the set of all indices ever committed.
        #[test]
        fn the_window_agrees_with_a_set_of_everything_seen(steps in prop::collection::vec(-1100i64..1300, 1..400)) {
            let mut window = ReplayWindow::new();
            let mut seen = BTreeSet::new();
            let mut at = 2000u64;
            for step in steps {
                at = at.saturating_add_signed(step);
                let expected = match seen.last() {
                    Some(highest) if highest + 1 > at + WINDOW_PACKETS => Err(Replay::TooOld),
                    _ if seen.contains(&at) => Err(Replay::Duplicate),
                    _ => Ok(()),
                };
                prop_assert_eq!(window.check(at), expected);
                if expected.is_ok() {
                    window.commit(at);
                    seen.insert(at);
                }
            }
        }
    }
}
