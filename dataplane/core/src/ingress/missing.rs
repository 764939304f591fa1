//! The packets of a stream that are missing and asked for (RFC 4585 section 6.2.1).

use std::collections::VecDeque;
use std::time::Duration;

use sluice_protocol::time::Instant;

use crate::limits::{MISSING_MAX, NACK_AGE_MAX, NACK_INTERVAL_MIN, NACK_TRIES_MAX, SEQUENCE_JUMP_MAX};

/// How long a gap may be mere reordering before it is asked for.
const REORDERING: Duration = Duration::from_millis(5);

/// The gaps of one stream, at most [`MISSING_MAX`]; beyond it the oldest is given up.
#[derive(Debug, Default)]
pub(crate) struct Missing {
    gaps: VecDeque<Gap>,
}

#[derive(Clone, Copy, Debug)]
struct Gap {
    sequence: u64,
    since: Instant,
    ask_at: Instant,
    /// When it was asked for first; `None` before that.
    asked: Option<Instant>,
    tries: u8,
}

impl Missing {
    /// Notes that `sequence` follows `highest`: what lies between is missing. A jump of more than
    /// [`SEQUENCE_JUMP_MAX`] is a new start, after which nothing before is asked for.
    pub(crate) fn advance(&mut self, now: Instant, highest: u64, sequence: u64) {
        if sequence - highest > SEQUENCE_JUMP_MAX {
            self.gaps.clear();
            return;
        }
        for sequence in highest + 1..sequence {
            if self.gaps.len() >= MISSING_MAX {
                self.gaps.pop_front();
            }
            self.gaps.push_back(Gap { sequence, since: now, ask_at: now + REORDERING, asked: None, tries: 0 });
        }
    }

    /// Notes that `sequence` came after all; returns when it had been asked for first.
    pub(crate) fn fill(&mut self, sequence: u64) -> Option<Instant> {
        let index = self.gaps.binary_search_by_key(&sequence, |gap| gap.sequence).ok()?;
        self.gaps.remove(index)?.asked
    }

    /// Forgets all gaps, when the stream starts anew.
    pub(crate) fn clear(&mut self) {
        self.gaps.clear();
    }

    /// Returns when something is to be asked for.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.gaps.iter().map(|gap| gap.ask_at).min()
    }

    /// Takes what is to be asked for now into `asked`, in ascending order, and gives up what was asked for
    /// [`NACK_TRIES_MAX`] times or is older than [`NACK_AGE_MAX`]. Each number waits for `patience`, which is what a
    /// repair may take, and for half of it more after each try.
    pub(crate) fn take_due(&mut self, now: Instant, patience: Duration, mut asked: impl FnMut(u64)) {
        self.gaps.retain(|gap| gap.tries < NACK_TRIES_MAX && now.saturating_since(gap.since) < NACK_AGE_MAX);
        let interval = patience.max(NACK_INTERVAL_MIN);
        for gap in self.gaps.iter_mut().filter(|gap| gap.ask_at <= now) {
            gap.ask_at = now + interval + (interval / 2) * u32::from(gap.tries);
            gap.asked.get_or_insert(now);
            gap.tries += 1;
            asked(gap.sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(40);

    fn due(missing: &mut Missing, millis: u64) -> Vec<u64> {
        let mut asked = Vec::new();
        missing.take_due(Instant::from_millis(millis), RTT, |sequence| asked.push(sequence));
        asked
    }

    #[test]
    fn mere_reordering_asks_for_nothing() {
        let mut missing = Missing::default();
        missing.advance(Instant::ZERO, 10, 12);
        assert_eq!(missing.next(), Some(Instant::from_millis(5)));
        assert!(due(&mut missing, 4).is_empty());
        assert_eq!(missing.fill(11), None, "it was not asked for, so it was not repaired");
        assert_eq!((missing.next(), due(&mut missing, 5)), (None, vec![]));
    }

    #[test]
    fn a_loss_is_asked_for_with_growing_patience_and_then_given_up() {
        let mut missing = Missing::default();
        missing.advance(Instant::ZERO, 10, 13);
        let mut times = Vec::new();
        for millis in 0..3000 {
            if !due(&mut missing, millis).is_empty() {
                times.push(millis);
            }
        }
        assert_eq!(times, [5, 45, 105, 185, 285, 405, 545, 705, 885]);
        assert_eq!(missing.next(), None);
    }

    #[test]
    fn a_repair_that_was_asked_for_counts_as_one() {
        let mut missing = Missing::default();
        missing.advance(Instant::ZERO, 10, 13);
        assert_eq!(due(&mut missing, 5), [11, 12]);
        assert_eq!(missing.fill(12), Some(Instant::from_millis(5)));
        assert_eq!(missing.fill(12), None);
        assert_eq!(due(&mut missing, 45), [11]);
        assert_eq!(missing.fill(11), Some(Instant::from_millis(5)), "the first request counts");
    }

    #[test]
    fn a_jump_is_a_new_start_and_the_list_is_bounded() {
        let mut missing = Missing::default();
        missing.advance(Instant::ZERO, 0, SEQUENCE_JUMP_MAX);
        assert_eq!(missing.gaps.len(), MISSING_MAX);
        missing.advance(Instant::ZERO, 600, 600 + SEQUENCE_JUMP_MAX + 1);
        assert_eq!(missing.next(), None);
    }
}
