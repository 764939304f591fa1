//! The replay window of an association (RFC 6347 section 4.1.2.6).

/// Numbers below the highest one that are remembered.
const WINDOW: u64 = 64;

/// Accepts each record's number once, and none that is far below the highest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ReplayWindow {
    /// The highest accepted number plus one; zero before the first.
    next: u64,
    /// Bit `n` stands for `next - 1 - n`.
    seen: u64,
}

impl ReplayWindow {
    /// Makes a window that accepts nothing below `next`: what was seen below it is not known any more.
    pub(super) const fn above(next: u64) -> Self {
        Self { next, seen: u64::MAX }
    }

    /// Returns the highest accepted number plus one.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Returns whether a record of this number may be accepted if it is authentic.
    pub(super) const fn may_accept(&self, sequence: u64) -> bool {
        if sequence >= self.next {
            return true;
        }
        let age = self.next - 1 - sequence;
        age < WINDOW && self.seen & (1 << age) == 0
    }

    /// Notes the number of an authentic record.
    pub(super) fn accept(&mut self, sequence: u64) {
        if sequence >= self.next {
            let step = sequence + 1 - self.next;
            self.seen = if step < WINDOW { self.seen << step } else { 0 };
            self.next = sequence + 1;
        }
        self.seen |= 1 << (self.next - 1 - sequence).min(WINDOW - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_number_is_accepted_once_and_old_ones_never() {
        let mut window = ReplayWindow::default();
        let mut seen = BTreeSet::new();
        let mut state: u64 = 1;
        for step in 0..20_000_u64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let sequence = (step / 3 + (state >> 57)).saturating_sub(40);
            let highest = seen.last().copied();
            let recent = highest.is_none_or(|highest| sequence + WINDOW > highest);
            assert_eq!(window.may_accept(sequence), recent && !seen.contains(&sequence), "{step} {sequence}");
            if window.may_accept(sequence) {
                window.accept(sequence);
                seen.insert(sequence);
                assert!(!window.may_accept(sequence));
            }
        }
        assert!(seen.len() > 5_000);
        assert_eq!(window.next(), seen.last().unwrap() + 1);
    }

    #[test]
    fn a_window_above_a_number_accepts_nothing_below_it() {
        let mut window = ReplayWindow::above(100);
        assert!((0..100).all(|sequence| !window.may_accept(sequence)));
        assert!(window.may_accept(100));
        window.accept(110);
        assert!((0..100).all(|sequence| !window.may_accept(sequence)));
        assert!((100..110).all(|sequence| window.may_accept(sequence)));
    }
}
