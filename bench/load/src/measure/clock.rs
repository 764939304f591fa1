//! The two clocks: monotonic for schedules, `CLOCK_REALTIME` for what crosses process borders.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks, so that a kernel stamp can be turned into an [`Instant`].
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Monotonic time.
    pub instant: Instant,
    /// `CLOCK_REALTIME` in nanoseconds since 1970.
    pub realtime_ns: u64,
}

impl Now {
    /// Reads both clocks.
    pub fn read() -> Self {
        let realtime = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { instant: Instant::now(), realtime_ns: u64::try_from(realtime.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// Converts a `CLOCK_REALTIME` stamp of the recent past; a stamp in the future counts as now.
    pub fn instant_of(&self, realtime_ns: u64) -> Instant {
        let age = Duration::from_nanos(self.realtime_ns.saturating_sub(realtime_ns));
        self.instant.checked_sub(age).unwrap_or(self.instant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_becomes_the_instant_of_its_age() {
        let now = Now::read();
        assert_eq!(now.instant_of(now.realtime_ns), now.instant);
        assert_eq!(now.instant_of(now.realtime_ns - 5_000), now.instant - Duration::from_nanos(5_000));
        assert_eq!(now.instant_of(now.realtime_ns + 5_000), now.instant);
    }
}
