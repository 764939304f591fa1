//! How late this machine is at the moment, so that gates on times bend with it and not with the code under test.

use std::time::{Duration, Instant};

/// Sleeps measured.
const SLEEPS: u32 = 100;
/// How long each one is.
const SLEEP: Duration = Duration::from_millis(2);
/// A process that starts and catches up is scheduled about this often.
const TURNS: u32 = 20;
/// How often a bound becomes its own size at most: a machine that is later than that cannot tell good code from bad.
const TIMES_MAX: u32 = 4;

/// Returns `strict`, the bound for a machine that does nothing else, widened by what this machine is late now: the 95th
/// percentile of the lateness of short sleeps, for each of the turns that starting a process takes, and at most to four
/// times itself. To be called before what is to be bounded makes the machine busy. Blocks for a quarter of a second.
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
    widened(strict, lateness.get(place).copied().unwrap_or_default())
}

fn widened(strict: Duration, late: Duration) -> Duration {
    (strict + late * TURNS).min(strict * TIMES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_never_stricter_than_asked_nor_wide_without_end() {
        let strict = Duration::from_millis(200);
        assert!((strict..=strict * TIMES_MAX).contains(&bound(strict)));
        for (late_ms, widened_ms) in [(0, 200), (1, 220), (10, 400), (30, 800), (1000, 800)] {
            assert_eq!(widened(strict, Duration::from_millis(late_ms)), Duration::from_millis(widened_ms));
        }
    }
}
