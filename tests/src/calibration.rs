//! How late this machine is at the moment, so that gates on times bend with it and not with the code under test.

use std::time::{Duration, Instant};

/// Sleeps measured.
const SLEEPS: u32 = 100;
/// How long each one is.
const SLEEP: Duration = Duration::from_millis(2);
/// A process that starts and catches up is scheduled about this often.
const TURNS: u32 = 20;

/// Returns `strict`, the bound for a machine that does nothing else, widened by what this machine is late now: the 95th
/// percentile of the lateness of short sleeps, for each of the turns that starting a process takes. Blocks for a quarter
/// of a second.
#[must_use]
pub fn bound(strict: Duration) -> Duration {
    let lateness = || {
        let asleep = Instant::now();
        std::thread::sleep(SLEEP);
        asleep.elapsed().saturating_sub(SLEEP)
    };
    let mut lateness: Vec<Duration> = (0..SLEEPS).map(|_| lateness()).collect();
    lateness.sort();
    let place = lateness.len() * 95 / 100;
    strict + lateness.get(place).copied().unwrap_or_default() * TURNS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_never_stricter_than_asked() {
        assert!(bound(Duration::from_millis(200)) > Duration::from_millis(200));
    }
}
