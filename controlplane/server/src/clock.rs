//! The clocks, read at the edge.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use sluice_protocol::time::Instant;

/// Returns the monotonic time, which both planes share.
pub(crate) fn now() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Instant::from_nanos(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Returns the wall-clock time of an instant.
pub(crate) fn wall_of(instant: Instant) -> SystemTime {
    SystemTime::now().checked_sub(now().saturating_since(instant)).unwrap_or(UNIX_EPOCH)
}

/// Returns the instant of a wall-clock time in seconds since 1970, as the clocks stand now.
pub(crate) fn at_unix_seconds(seconds: u64) -> Instant {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    now() + Duration::from_secs(seconds).saturating_sub(since_1970)
}

/// Returns the wall-clock time of an instant to come in seconds since 1970, to the nearest one, as the clocks stand now.
pub(crate) fn unix_seconds_at(instant: Instant) -> u64 {
    let at = SystemTime::now() + instant.saturating_since(now()) + Duration::from_millis(500);
    at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Returns the wall-clock time in seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

/// Returns a wall-clock time in milliseconds since 1970, as the store keeps it.
pub(crate) fn unix_millis(time: SystemTime) -> i64 {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis();
    i64::try_from(millis).unwrap_or(i64::MAX)
}

/// Returns the wall-clock time that the store keeps as milliseconds since 1970.
pub(crate) fn from_unix_millis(millis: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}

/// Returns a time as RFC 3339 with milliseconds.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
