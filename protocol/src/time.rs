//! Time as a parameter: monotonic instants and wall-clock time in NTP format.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Monotonic time in nanoseconds since an arbitrary start; the shell reads the clock, cores only compare.
///
/// Both planes of one node use `CLOCK_MONOTONIC`, so instants may cross the IPC and survive a restart of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant {
    /// Nanoseconds since the clock's start.
    pub nanos: u64,
}

impl Instant {
    /// The start of the clock.
    pub const ZERO: Self = Self { nanos: 0 };

    /// Makes an instant from nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self { nanos }
    }

    /// Makes an instant from milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self { nanos: millis * 1_000_000 }
    }

    /// Returns the time since `earlier`, zero when `earlier` is later.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates at the end of the clock (584 years).
    fn add(self, duration: Duration) -> Self {
        Self { nanos: self.nanos.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)) }
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    /// Saturates at zero.
    fn sub(self, duration: Duration) -> Self {
        Self { nanos: self.nanos.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)) }
    }
}

/// Wall-clock time as 32.32 fixed-point seconds since 1900 (RFC 3550 section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// Makes an NTP time from nanoseconds since 1970.
    #[must_use]
    pub fn from_unix_nanos(nanos: u64) -> Self {
        const UNIX_EPOCH_SECONDS: u64 = 2_208_988_800;
        let seconds = (nanos / 1_000_000_000).wrapping_add(UNIX_EPOCH_SECONDS);
        let fraction = ((nanos % 1_000_000_000) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// Returns the middle 32 bits, as reports carry them (RFC 3550 section 6.4.1, LSR).
    #[must_use]
    pub const fn middle(self) -> u32 {
        ((self.0 >> 16) & 0xffff_ffff) as u32
    }

    /// Returns this time moved by a signed number of nanoseconds.
    #[must_use]
    pub fn offset_nanos(self, nanos: i64) -> Self {
        let magnitude = nanos.unsigned_abs();
        let fixed = ((magnitude / 1_000_000_000) << 32) | (((magnitude % 1_000_000_000) << 32) / 1_000_000_000);
        Self(if nanos < 0 { self.0.wrapping_sub(fixed) } else { self.0.wrapping_add(fixed) })
    }

    /// Returns the signed nanoseconds from `earlier` to `self`.
    #[must_use]
    pub fn nanos_since(self, earlier: Self) -> i64 {
        let difference = self.0.wrapping_sub(earlier.0).cast_signed();
        let nanos = (i128::from(difference) * 1_000_000_000) >> 32;
        i64::try_from(nanos).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_time_starts_in_1900_and_moves_both_ways() {
        let base = NtpTime::from_unix_nanos(1_500_000_000);
        assert_eq!(base.0 >> 32, 2_208_988_801);
        assert_eq!(base.0 & 0xffff_ffff, 1 << 31);
        for nanos in [0, 1_000, -1_000, 5_000_000_000, -7_250_000_000] {
            assert!((base.offset_nanos(nanos).nanos_since(base) - nanos).abs() <= 1, "{nanos}");
        }
    }

    #[test]
    fn instants_saturate_instead_of_wrapping() {
        assert_eq!(Instant::ZERO - Duration::from_secs(1), Instant::ZERO);
        assert_eq!(Instant::from_millis(1).saturating_since(Instant::from_millis(2)), Duration::ZERO);
    }
}
