//! When a publisher's packets arrived, by their transport-wide numbers, until feedback says so
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

use std::collections::VecDeque;

use sluice_protocol::time::Instant;

use crate::srtp::estimate_index;
use crate::wire::rtcp::twcc::{TICK_US, WRITTEN_STATUSES_MAX};

/// The arrivals since the last feedback, at most [`WRITTEN_STATUSES_MAX`]; beyond it the oldest are not reported.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// The number of the first entry, unwrapped.
    base: u64,
    /// In ticks of 250 µs; `None` for what did not arrive.
    ticks: VecDeque<Option<i64>>,
    /// The highest number ever seen, unwrapped; `None` before the first.
    highest: Option<u64>,
    /// Counts feedback packets.
    count: u8,
}

impl Arrivals {
    /// Notes an arrival. What feedback has told as lost already is not told again.
    pub(crate) fn record(&mut self, sequence: u16, arrival: Instant) {
        let number = match self.highest {
            Some(highest) => estimate_index(highest, sequence),
            // One roll-over up, so that what was sent before the first one seen has a number, too.
            None => (1 << 16) | u64::from(sequence),
        };
        if self.highest.is_none() {
            self.base = number;
        }
        self.highest = self.highest.max(Some(number));
        let Some(place) = number.checked_sub(self.base) else { return };
        if place >= (2 * WRITTEN_STATUSES_MAX) as u64 {
            // A jump that no network makes: the sender starts anew.
            self.ticks.clear();
            self.base = number;
        }
        let place = usize::try_from(number - self.base).unwrap_or(0);
        while self.ticks.len() <= place {
            self.ticks.push_back(None);
        }
        if let Some(ticks) = self.ticks.get_mut(place) {
            *ticks = Some(i64::try_from(arrival.nanos / (TICK_US * 1000)).unwrap_or(i64::MAX));
        }
        while self.ticks.len() > WRITTEN_STATUSES_MAX {
            self.ticks.pop_front();
            self.base += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ticks.is_empty()
    }

    /// Returns what is to be told: the first number, the count of the feedback packet, and the arrivals.
    pub(crate) fn pending(&mut self) -> (u16, u8, &[Option<i64>]) {
        let base = u16::try_from(self.base & 0xffff).unwrap_or(0);
        (base, self.count, self.ticks.make_contiguous())
    }

    /// Notes that the first `told` arrivals were written into a feedback packet.
    pub(crate) fn told(&mut self, told: usize) {
        let told = told.min(self.ticks.len());
        self.ticks.drain(..told);
        self.base += told as u64;
        self.count = self.count.wrapping_add(1);
    }

    /// Forgets what cannot be told.
    pub(crate) fn clear(&mut self) {
        self.base += self.ticks.len() as u64;
        self.ticks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_told_as_lost_and_late_ones_not_twice() {
        let mut arrivals = Arrivals::default();
        for (sequence, millis) in [(65_534, 10), (65_535, 11), (1, 12)] {
            arrivals.record(sequence, Instant::from_millis(millis));
        }
        assert_eq!(arrivals.pending(), (65_534, 0, &[Some(40), Some(44), None, Some(48)][..]));
        arrivals.told(4);
        arrivals.record(0, Instant::from_millis(13));
        assert!(arrivals.is_empty());
        arrivals.record(2, Instant::from_millis(14));
        assert_eq!(arrivals.pending(), (2, 1, &[Some(56)][..]));
    }

    #[test]
    fn a_flood_and_a_jump_stay_bounded() {
        let mut arrivals = Arrivals::default();
        for sequence in 0..5000 {
            arrivals.record(sequence, Instant::from_millis(u64::from(sequence)));
        }
        assert_eq!(arrivals.pending().2.len(), WRITTEN_STATUSES_MAX);
        arrivals.record(30_000, Instant::from_millis(6000));
        assert_eq!(arrivals.pending().0, 30_000);
        assert_eq!(arrivals.pending().2.len(), 1);
    }
}
