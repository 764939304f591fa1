//! How many messages a connection may send, and how many of those that make work for others.

use std::time::Duration;

use tokio::time::Instant;

use super::limits::{DEAR_AT_ONCE, DEAR_PER_SECOND, MESSAGES_AT_ONCE, MESSAGES_PER_SECOND};

/// A bucket that fills with time and is emptied by messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// When the bucket would have been empty, had it filled since then without end.
    empty_at: Instant,
    /// How long it takes for one to be allowed.
    interval: Duration,
    at_once: u32,
}

impl Rate {
    /// Starts the rate of all messages.
    pub(super) fn of_all(now: Instant) -> Self {
        Self::new(now, MESSAGES_PER_SECOND, MESSAGES_AT_ONCE)
    }

    /// Starts the rate of messages that make work for others.
    pub(super) fn of_dear(now: Instant) -> Self {
        Self::new(now, DEAR_PER_SECOND, DEAR_AT_ONCE)
    }

    /// Starts with a full bucket.
    fn new(now: Instant, per_second: u32, at_once: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second;
        Self { empty_at: now - interval * at_once, interval, at_once }
    }

    /// Takes one message out; `false` when there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let next = self.next(now);
        let is_there = next <= now;
        if is_there {
            self.empty_at = next;
        }
        is_there
    }

    /// Takes out what a message costs, which may not be there yet, and returns when it is. Nothing costs more than the
    /// bucket holds.
    pub(super) fn reserve(&mut self, now: Instant, price: u32) -> Instant {
        self.empty_at = self.full_at_most(now) + self.interval * price.min(self.at_once);
        self.empty_at
    }

    fn next(&self, now: Instant) -> Instant {
        self.full_at_most(now) + self.interval
    }

    fn full_at_most(&self, now: Instant) -> Instant {
        self.empty_at.max(now - self.interval * self.at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_burst_is_taken_and_then_as_much_as_time_allows() {
        let start = Instant::now() + Duration::from_secs(60);
        let mut rate = Rate::of_all(start);
        assert_eq!((0..500).filter(|_| rate.take(start)).count(), 200);
        assert!(!rate.take(start + Duration::from_millis(19)) && rate.take(start + Duration::from_millis(20)));
        let mut dear = Rate::of_dear(start);
        let reserved: Vec<Duration> =
            (0..25).map(|_| dear.reserve(start, 1).saturating_duration_since(start)).collect();
        assert_eq!(reserved.iter().filter(|wait| wait.is_zero()).count(), 20);
        assert_eq!(reserved[24], Duration::from_secs(1), "five more at five a second");
        let price = |dear: &mut Rate, price| dear.reserve(start, price).saturating_duration_since(start);
        assert_eq!(price(&mut dear, 0), Duration::from_secs(1), "what costs nothing waits for what was before it");
        assert_eq!(price(&mut dear, 5), Duration::from_secs(2));
        assert_eq!(price(&mut dear, u32::MAX), Duration::from_secs(6), "a bucket at most");
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..500).filter(|_| rate.take(later)).count(), 200, "who was quiet for long has no more");
    }
}
