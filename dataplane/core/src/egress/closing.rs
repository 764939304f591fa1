//! A mapping of numbers that closes over what was given away and keeps its place for what is missing.

use std::collections::VecDeque;

use super::limits::GIVEN_AWAY_MAX;

/// Maps a source's numbers (sequence numbers or picture ids, unwrapped) to egress numbers.
///
/// A number that never came keeps its place, so that it is seen as missing downstream and fits when it comes late. A
/// number given away has no place: what follows moves up, and it can never be filled. The mapping back in time holds
/// for the last [`GIVEN_AWAY_MAX`] runs given away; below their floor nothing has a place.
#[derive(Clone, Debug, Default)]
pub(super) struct Closing {
    /// The lowest source number that has a place.
    floor: u64,
    /// The highest source number seen.
    highest: u64,
    /// Egress number minus source number for what follows `highest`, modulo 2^64.
    offset: u64,
    /// Runs given away, oldest first; allocated with the first one.
    given: VecDeque<Given>,
}

/// A run of source numbers without a place.
#[derive(Clone, Copy, Debug)]
struct Given {
    from: u64,
    to: u64,
    /// The offset of what comes before `from`.
    offset_before: u64,
}

impl Closing {
    /// Starts anew: `source` becomes `egress`, and nothing before it has a place.
    pub(super) fn rebase(&mut self, source: u64, egress: u64) {
        self.floor = source;
        self.highest = source;
        self.offset = egress.wrapping_sub(source);
        self.given.clear();
    }

    /// Returns the highest source number seen.
    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    /// Returns the offset of what comes next, modulo 2^64.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the egress number of `source`, `None` when it was given away or is older than the mapping.
    pub(super) fn place(&self, source: u64) -> Option<u64> {
        if source < self.floor {
            return None;
        }
        let mut offset = self.offset;
        for given in self.given.iter().rev() {
            if source > given.to {
                break;
            }
            if source >= given.from {
                return None;
            }
            offset = given.offset_before;
        }
        Some(source.wrapping_add(offset))
    }

    /// Returns the source number whose place is `egress`, `None` when it is older than the mapping.
    pub(super) fn source_of(&self, egress: u64) -> Option<u64> {
        let mut offset = self.offset;
        for given in self.given.iter().rev() {
            if egress.wrapping_sub(offset) > given.to {
                break;
            }
            offset = given.offset_before;
        }
        Some(egress.wrapping_sub(offset)).filter(|source| self.place(*source) == Some(egress))
    }

    /// Notes that `source` was seen and keeps its place.
    pub(super) fn keep(&mut self, source: u64) {
        self.highest = self.highest.max(source);
    }

    /// Lets nothing before `source` have a place from now on.
    pub(super) fn raise_floor(&mut self, source: u64) {
        self.floor = self.floor.max(source);
    }

    /// Gives `source` away. Only a number above all seen ones can be given away: places before are taken.
    pub(super) fn give_away(&mut self, source: u64) {
        if source <= self.highest {
            return;
        }
        self.highest = source;
        let offset_before = self.offset;
        self.offset = self.offset.wrapping_sub(1);
        if let Some(last) = self.given.back_mut()
            && last.to + 1 == source
        {
            last.to = source;
            return;
        }
        if self.given.capacity() == 0 {
            self.given.reserve_exact(GIVEN_AWAY_MAX);
        }
        if self.given.len() == GIVEN_AWAY_MAX
            && let Some(oldest) = self.given.pop_front()
        {
            self.raise_floor(oldest.to + 1);
        }
        self.given.push_back(Given { from: source, to: source, offset_before });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> Closing {
        let mut closing = Closing::default();
        closing.rebase(100, 1000);
        closing
    }

    #[test]
    fn what_is_given_away_closes_up_and_what_is_missing_keeps_its_place() {
        let mut closing = mapping();
        closing.keep(101);
        closing.give_away(103);
        closing.give_away(104);
        closing.keep(105);
        assert_eq!(closing.place(99), None, "before the start");
        assert_eq!(closing.place(101), Some(1001));
        assert_eq!(closing.place(102), Some(1002), "missing");
        assert_eq!((closing.place(103), closing.place(104)), (None, None), "given away");
        assert_eq!(closing.place(105), Some(1003));
        assert_eq!(closing.place(106), Some(1004));
        for (egress, source) in [(1000, Some(100)), (1002, Some(102)), (1003, Some(105)), (999, None)] {
            assert_eq!(closing.source_of(egress), source);
        }
    }

    #[test]
    fn a_number_below_the_highest_is_never_given_away() {
        let mut closing = mapping();
        closing.keep(102);
        closing.give_away(101);
        assert_eq!(closing.place(101), Some(1001));
        assert_eq!(closing.place(103), Some(1003));
    }

    #[test]
    fn the_memory_of_runs_is_bounded_and_what_is_older_has_no_place() {
        let mut closing = mapping();
        for run in 0..200 {
            closing.give_away(101 + 2 * run);
            closing.keep(102 + 2 * run);
        }
        assert_eq!(closing.given.len(), GIVEN_AWAY_MAX);
        assert_eq!(closing.place(102), None);
        assert_eq!(closing.place(500), Some(1200));
        assert_eq!(closing.place(480), Some(1190));
    }
}
