//! The clocks, read once per batch.

use rustix::time::{ClockId, clock_gettime};
use sluice_protocol::time::{Instant, NtpTime};

/// Returns the monotonic time.
#[must_use]
pub(crate) fn monotonic() -> Instant {
    Instant::from_nanos(nanos(ClockId::Monotonic))
}

/// Returns the wall-clock time in nanoseconds since 1970.
#[must_use]
pub(crate) fn wall_nanos() -> u64 {
    nanos(ClockId::Realtime)
}

/// Returns the wall-clock time in NTP format.
#[must_use]
pub(crate) fn wall_ntp() -> NtpTime {
    NtpTime::from_unix_nanos(wall_nanos())
}

/// Turns a kernel's wall-clock stamp into an instant not later than `now`, given the wall clock at `now`.
///
/// A stamp from the future, or one older than a second (the wall clock was set), counts as now: arrival times feed
/// delay-based estimators, which a step would mislead more than a little lateness does.
#[must_use]
pub(crate) fn arrival(stamp_nanos: Option<u64>, now: Instant, wall_now_nanos: u64) -> Instant {
    const OLDEST_NANOS: u64 = 1_000_000_000;
    let age = stamp_nanos.and_then(|stamp| wall_now_nanos.checked_sub(stamp)).filter(|age| *age <= OLDEST_NANOS);
    Instant::from_nanos(now.nanos.saturating_sub(age.unwrap_or(0)))
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrival_is_never_later_than_now_nor_older_than_a_second() {
        let now = Instant::from_millis(10_000);
        let wall = 5_000_000_000;
        for (stamp, expected_ms) in [
            (Some(wall - 3_000_000), 9_997),
            (Some(wall + 1), 10_000),
            (Some(wall - 2_000_000_000), 10_000),
            (None, 10_000),
        ] {
            assert_eq!(arrival(stamp, now, wall), Instant::from_millis(expected_ms), "{stamp:?}");
        }
    }
}
