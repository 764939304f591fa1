//! How many messages a connection may send.

use tokio::time::Instant;

use super::limits::{MESSAGES_AT_ONCE, MESSAGES_PER_SECOND};

/// A bucket that fills with time and is emptied by messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// When the bucket would have been empty, had it filled since then without end.
    empty_at: Instant,
}

impl Rate {
    /// Starts with a full bucket.
    pub(super) fn new(now: Instant) -> Self {
        Self { empty_at: now - span(MESSAGES_AT_ONCE) }
    }

    /// Takes one message out; `false` when there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let next = self.empty_at.max(now - span(MESSAGES_AT_ONCE)) + span(1);
        let is_there = next <= now;
        if is_there {
            self.empty_at = next;
        }
        is_there
    }
}

/// Returns how long it takes for so many messages to be allowed.
fn span(messages: u32) -> std::time::Duration {
    std::time::Duration::from_secs(1) * messages / MESSAGES_PER_SECOND
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_burst_is_taken_and_then_as_much_as_time_allows() {
        let start = Instant::now() + Duration::from_secs(60);
        let mut rate = Rate::new(start);
        assert_eq!((0..500).filter(|_| rate.take(start)).count(), 200);
        assert!(!rate.take(start + Duration::from_millis(19)) && rate.take(start + Duration::from_millis(20)));
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..500).filter(|_| rate.take(later)).count(), 200, "who was quiet for long has no more");
    }
}
