//! How long a publisher takes to repeat what it is asked for.
//!
//! One that only sends tells no round trip: it reports on nothing of ours (RFC 3550 section 6.4.2), libwebrtc answers no
//! receiver reference time of a receiver that it sends to (RFC 3611 section 4.5), and a lite agent sends no binding
//! requests. What can be seen is the time from a request to the packet that repairs it, pacing of the sender included.

use std::time::Duration;

use crate::limits::{NACK_INTERVAL_MIN, REPAIR_TIME_MAX, REPAIR_TIME_UNKNOWN};

/// A smoothed time and its variation (RFC 6298 section 2).
///
/// A sample counts from the first request for a packet. When request or repair was lost it is too long, never too short;
/// so a publisher that is further away than was thought is believed at once, where taking only what was asked for once
/// (Karn's rule) would never learn of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RepairTime {
    smoothed: Option<Smoothed>,
}

#[derive(Clone, Copy, Debug)]
struct Smoothed {
    time: Duration,
    variation: Duration,
}

impl RepairTime {
    /// Takes the time from a packet's first request to its repair.
    pub(crate) fn sample(&mut self, time: Duration) {
        let time = time.min(REPAIR_TIME_MAX);
        self.smoothed = Some(match self.smoothed {
            None => Smoothed { time, variation: time / 2 },
            Some(before) => Smoothed {
                time: (before.time * 7 + time) / 8,
                variation: (before.variation * 3 + before.time.abs_diff(time)) / 4,
            },
        });
    }

    /// Returns how long to wait for a repair before asking again, from [`NACK_INTERVAL_MIN`] to [`REPAIR_TIME_MAX`].
    /// Before the first sample that is the round trip of a publisher that also receives, else [`REPAIR_TIME_UNKNOWN`].
    pub(crate) fn patience(&self, round_trip: Option<Duration>) -> Duration {
        let unknown = || round_trip.unwrap_or(REPAIR_TIME_UNKNOWN);
        let patience = self.smoothed.map_or_else(unknown, |Smoothed { time, variation }| time + variation * 4);
        patience.clamp(NACK_INTERVAL_MIN, REPAIR_TIME_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(samples: impl IntoIterator<Item = u64>) -> u128 {
        let mut time = RepairTime::default();
        samples.into_iter().for_each(|millis| time.sample(Duration::from_millis(millis)));
        time.patience(None).as_millis()
    }

    #[test]
    fn patience_follows_the_samples_within_bounds() {
        let cases: &[(&str, &[u64], u128)] = &[
            ("nothing is known", &[], 80),
            ("one sample may be off by half", &[60], 180),
            ("a second one alike is believed", &[60, 60], 150),
            ("a near publisher is not asked more often than numbers are", &[0, 0], 20),
            ("a far one does not stop the asking", &[300], 500),
            ("nor does one that answers after hours", &[10_000_000], 500),
        ];
        for (name, samples, expected) in cases {
            assert_eq!(after(samples.iter().copied()), *expected, "{name}");
        }
    }

    #[test]
    fn the_round_trip_of_reports_serves_until_something_was_repaired() {
        let mut time = RepairTime::default();
        for (millis, patience) in [(3, 20), (120, 120), (9000, 500)] {
            assert_eq!(time.patience(Some(Duration::from_millis(millis))).as_millis(), patience);
        }
        time.sample(Duration::from_millis(60));
        assert_eq!(time.patience(Some(Duration::from_millis(3))).as_millis(), 180);
    }

    #[test]
    fn it_settles_a_little_above_an_even_time_and_well_above_an_uneven_one() {
        assert!((100..=102).contains(&after([100; 40])), "{}", after([100; 40]));
        let uneven = after((0..40).map(|number| if number % 2 == 0 { 80 } else { 120 }));
        assert!((150..=200).contains(&uneven), "{uneven}");
    }

    #[test]
    fn one_repair_that_was_asked_for_often_is_soon_forgotten() {
        let steady = after([50; 40]);
        let after_loss = after([50; 40].into_iter().chain([400]).chain([50; 20]));
        assert!(after_loss < steady * 2, "{after_loss}");
    }
}
