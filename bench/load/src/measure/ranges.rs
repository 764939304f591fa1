//! Sets of numbers that mostly come in order.

use std::ops::Range;

use crate::limits::RANGES_MAX;

/// A set of `u64`, kept as sorted ranges that do not touch.
///
/// Holds [`RANGES_MAX`] ranges. One more and the two lowest merge, numbers between them then count as present, and
/// [`RangeSet::overflowed`] says so: whoever asserts on the set must look at it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeSet {
    ranges: Vec<Range<u64>>,
    overflowed: bool,
}

impl RangeSet {
    /// An empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a number; false when it was there.
    pub fn insert(&mut self, number: u64) -> bool {
        if let Some(last) = self.ranges.last_mut()
            && number == last.end
        {
            last.end += 1;
            return true;
        }
        let after = self.ranges.partition_point(|range| range.start <= number);
        let joins_next = self.ranges.get(after).is_some_and(|next| next.start == number + 1);
        let previous = after.checked_sub(1).and_then(|index| self.ranges.get_mut(index));
        match previous {
            Some(previous) if number < previous.end => return false,
            Some(previous) if number == previous.end => {
                previous.end += 1;
                if joins_next {
                    let next = self.ranges.remove(after);
                    if let Some(previous) = self.ranges.get_mut(after - 1) {
                        previous.end = next.end;
                    }
                }
            }
            _ if joins_next => {
                if let Some(next) = self.ranges.get_mut(after) {
                    next.start = number;
                }
            }
            _ => self.ranges.insert(after, number..number + 1),
        }
        self.enforce_limit();
        true
    }

    fn enforce_limit(&mut self) {
        if self.ranges.len() > RANGES_MAX {
            let lowest = self.ranges.remove(0);
            if let Some(next) = self.ranges.first_mut() {
                next.start = lowest.start;
            }
            self.overflowed = true;
        }
    }

    /// Whether the number is in the set.
    pub fn contains(&self, number: u64) -> bool {
        let after = self.ranges.partition_point(|range| range.start <= number);
        after.checked_sub(1).and_then(|index| self.ranges.get(index)).is_some_and(|range| number < range.end)
    }

    /// The parts of `wanted` that are not in the set.
    pub fn missing(&self, wanted: Range<u64>) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut from = wanted.start;
        for range in &self.ranges {
            if range.end <= from {
                continue;
            }
            if range.start >= wanted.end {
                break;
            }
            if range.start > from {
                missing.push(from..range.start);
            }
            from = range.end;
        }
        if from < wanted.end {
            missing.push(from..wanted.end);
        }
        missing
    }

    /// How many numbers the set holds.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The span from the lowest to one past the highest number; `None` when empty.
    pub fn span(&self) -> Option<Range<u64>> {
        Some(self.ranges.first()?.start..self.ranges.last()?.end)
    }

    /// Numbers inside the span that are not in the set.
    pub fn holes(&self) -> u64 {
        self.span().map_or(0, |span| span.end - span.start - self.len())
    }

    /// The ranges, ascending.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// Whether low ranges were merged because there were too many.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn any_order_of_insertion_agrees_with_a_tree_set() {
        for step in [1_u64, 3, 7, 11, 29] {
            let mut ranges = RangeSet::new();
            let mut oracle = BTreeSet::new();
            for index in 0..200_u64 {
                let number = index * step % 101 + (index % 3) * 50;
                assert_eq!(ranges.insert(number), oracle.insert(number));
                assert!(ranges.ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            }
            for number in 0..300 {
                assert_eq!(ranges.contains(number), oracle.contains(&number));
            }
            let missing: Vec<u64> = ranges.missing(5..230).into_iter().flatten().collect();
            assert_eq!(missing, (5..230).filter(|number| !oracle.contains(number)).collect::<Vec<_>>());
            assert_eq!(ranges.len(), u64::try_from(oracle.len()).unwrap());
        }
    }

    #[test]
    fn too_many_ranges_merge_at_the_low_end_and_say_so() {
        let mut ranges = RangeSet::new();
        let limit = u64::try_from(RANGES_MAX).unwrap();
        for number in 0..limit {
            ranges.insert(number * 2);
        }
        assert!(!ranges.overflowed());
        ranges.insert(limit * 2);
        assert!(ranges.overflowed());
        assert_eq!(ranges.ranges().len(), RANGES_MAX);
        assert_eq!(ranges.ranges()[0], 0..3);
        assert_eq!(ranges.span(), Some(0..limit * 2 + 1));
    }
}
