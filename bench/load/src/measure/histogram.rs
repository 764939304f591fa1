//! A histogram of durations with a bounded relative error.

use std::time::Duration;

use serde::Serialize;

/// Buckets per power of two: a value is reported at most 1/16 too high.
const SUB_BUCKETS: u64 = 16;
const SUB_BITS: u32 = SUB_BUCKETS.trailing_zeros();
/// Powers of two above the linear part: up to 2^40 ns, 18 minutes; longer ones count as that.
const OCTAVES: u64 = 37;
const BUCKETS: usize = 608;
const _: () = assert!(BUCKETS as u64 == (OCTAVES + 1) * SUB_BUCKETS);

/// Counts of durations in nanoseconds, in buckets of 1/16 of their power of two.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u32>,
    total: u64,
    max_ns: u64,
}

/// The figures that are reported of a [`Histogram`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Values counted.
    pub count: u64,
    /// Median in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
    /// 99.9th percentile in milliseconds.
    pub p999_ms: f64,
    /// Largest in milliseconds, exact.
    pub max_ms: f64,
}

impl Histogram {
    /// An empty histogram.
    pub fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0, max_ns: 0 }
    }

    /// Counts one value.
    pub fn record(&mut self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.max_ns = self.max_ns.max(nanos);
        self.total += 1;
        if let Some(count) = self.counts.get_mut(bucket_of(nanos)) {
            *count = count.saturating_add(1);
        }
    }

    /// Adds the counts of another one.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.total += other.total;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// What was counted after `earlier`, a copy of this one. The largest value is then known by its bucket only.
    pub fn since(&self, earlier: &Self) -> Self {
        let counts: Vec<u32> =
            self.counts.iter().zip(&earlier.counts).map(|(now, then)| now.saturating_sub(*then)).collect();
        let highest = counts.iter().rposition(|count| *count > 0).map_or(0, upper_bound_of);
        Self { counts, total: self.total.saturating_sub(earlier.total), max_ns: highest.min(self.max_ns) }
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The largest value.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns)
    }

    /// The upper bound of the bucket that holds the given share (0 to 1) of all values; `None` when empty.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut missing = rank(self.total, share)?;
        for (index, count) in self.counts.iter().enumerate() {
            let count = u64::from(*count);
            if count >= missing {
                return Some(Duration::from_nanos(upper_bound_of(index).min(self.max_ns)));
            }
            missing -= count;
        }
        Some(self.max())
    }

    /// The figures for a report, zero when empty.
    pub fn summary(&self) -> Summary {
        let ms = |share| self.quantile(share).map_or(0.0, millis);
        Summary { count: self.total, p50_ms: ms(0.5), p99_ms: ms(0.99), p999_ms: ms(0.999), max_ms: millis(self.max()) }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.summary(), f)
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// Milliseconds as a float.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The exact quantile of a list by nearest rank; `None` when empty.
pub fn quantile(values: &mut [Duration], share: f64) -> Option<Duration> {
    values.sort_unstable();
    let rank = rank(u64::try_from(values.len()).ok()?, share)?;
    values.get(usize::try_from(rank).ok()?.saturating_sub(1)).copied()
}

/// Nearest rank, from one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the product lies between zero and the count"
)]
fn rank(total: u64, share: f64) -> Option<u64> {
    (total > 0).then(|| ((total as f64 * share.clamp(0.0, 1.0)).ceil() as u64).clamp(1, total))
}

fn bucket_of(nanos: u64) -> usize {
    let octave = u64::from(nanos.checked_ilog2().unwrap_or(0).saturating_sub(SUB_BITS));
    let index =
        if nanos < SUB_BUCKETS { nanos } else { (octave + 1) * SUB_BUCKETS + ((nanos >> octave) - SUB_BUCKETS) };
    usize::try_from(index).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

fn upper_bound_of(index: usize) -> u64 {
    let index = u64::try_from(index).unwrap_or(u64::MAX);
    let Some(octave) = (index / SUB_BUCKETS).checked_sub(1) else { return index };
    ((SUB_BUCKETS + index % SUB_BUCKETS + 1) << octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_and_the_bound_is_at_most_a_sixteenth_too_high() {
        for nanos in (0..2_000).chain((0..40).map(|shift| (1_u64 << shift) + 7)) {
            let bound = upper_bound_of(bucket_of(nanos));
            assert!(bound >= nanos, "{nanos} {bound}");
            assert!(bound - nanos <= nanos / 16 + 1, "{nanos} {bound}");
        }
    }

    #[test]
    fn quantiles_agree_with_the_sorted_list() {
        let mut histogram = Histogram::new();
        let mut values: Vec<_> = (1..=1000_u64).map(|us| Duration::from_micros(us * 7 % 1000 + 1)).collect();
        for value in &values {
            histogram.record(*value);
        }
        for share in [0.0, 0.5, 0.99, 0.999, 1.0] {
            let exact = quantile(&mut values, share).unwrap();
            let near = histogram.quantile(share).unwrap();
            assert!(near >= exact && near <= exact + exact / 15, "{share}: {exact:?} {near:?}");
        }
        assert_eq!(histogram.max(), Duration::from_millis(1));
        assert_eq!(Histogram::new().quantile(0.5), None);
    }

    #[test]
    fn a_difference_holds_only_what_came_later() {
        let mut histogram = Histogram::new();
        histogram.record(Duration::from_secs(1));
        let earlier = histogram.clone();
        histogram.record(Duration::from_millis(1));
        let later = histogram.since(&earlier);
        assert_eq!(later.count(), 1);
        assert!(later.max() < Duration::from_micros(1070));
    }
}
