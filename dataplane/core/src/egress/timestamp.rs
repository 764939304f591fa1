//! RTP timestamps of an egress stream: one timeline, whoever feeds it.

use sluice_protocol::time::Instant;

use super::limits::TIMESTAMP_LEAD_MAX;

/// The largest step of an egress timestamp, so that it stays forward in 32 bits after any pause.
const STEP_MAX: i64 = 1 << 30;

/// Maps the timestamps of one source after another to one timeline that never goes back.
///
/// A new source goes on from the last timestamp by the time that passed between the arrivals, snapped to the frame
/// interval, and at least one interval later. What that adds above the passed time (a key frame out of the history is
/// older than what was sent last) is remembered as `lead` and taken back at the next change, so that it does not add up.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    /// Egress timestamp minus source timestamp, modulo 2^32.
    offset: u32,
    /// The timestamp of the newest frame sent; before the first one, what it will be.
    last: u32,
    /// When the first packet of that frame arrived; `None` before the first frame.
    last_arrival: Option<Instant>,
    /// Ticks between two frames of the source, as last seen.
    interval: u32,
    /// Ticks by which the timeline is ahead of the arrivals.
    lead: i64,
    /// The clock in Hz.
    clock_rate: u32,
}

impl Timeline {
    /// Makes a timeline whose first timestamp is `first`.
    pub(super) const fn new(first: u32) -> Self {
        Self { offset: 0, last: first, last_arrival: None, interval: 0, lead: 0, clock_rate: 0 }
    }

    /// Goes on with `offset` after `last`, sent shortly before `now`.
    pub(super) const fn restore(&mut self, last: u32, offset: u32, now: Instant) {
        self.last = last;
        self.offset = offset;
        self.last_arrival = Some(now);
    }

    /// Returns the timestamp of the newest frame sent.
    pub(super) const fn last(&self) -> u32 {
        self.last
    }

    /// Returns egress minus source timestamp, modulo 2^32.
    pub(super) const fn offset(&self) -> u32 {
        self.offset
    }

    /// Maps a timestamp of the source; `None` when it would be newer than the newest, which only a late packet of
    /// another timeline can be.
    pub(super) const fn place_late(&self, timestamp: u32) -> Option<u32> {
        let mapped = timestamp.wrapping_add(self.offset);
        if is_after(mapped, self.last) { None } else { Some(mapped) }
    }

    /// Maps the timestamp of a packet that is newer than all before it, and tells whether the offset had to change
    /// because the source jumped.
    pub(super) fn advance(&mut self, timestamp: u32, arrival: Instant, clock_rate: u32, whole: bool) -> (u32, bool) {
        let mapped = timestamp.wrapping_add(self.offset);
        let step = mapped.wrapping_sub(self.last).cast_signed();
        let elapsed = self.last_arrival.map_or(0, |last| ticks(last, arrival, clock_rate));
        let lead_max = i64::try_from(TIMESTAMP_LEAD_MAX.as_secs()).unwrap_or(0) * i64::from(clock_rate);
        if clock_rate != self.clock_rate && self.clock_rate != 0
            || step < 0
            || i64::from(step) > elapsed.max(0) + lead_max
        {
            self.anchor(timestamp, arrival, clock_rate);
            return (self.last, true);
        }
        self.clock_rate = clock_rate;
        if step > 0 || self.last_arrival.is_none() {
            if whole && step > 0 && step.unsigned_abs() <= clock_rate / 5 {
                self.interval = step.unsigned_abs();
            }
            self.last = mapped;
            self.last_arrival = Some(arrival);
        }
        (mapped, false)
    }

    /// Goes on with the same source after a pause: its offset stays unless the timeline would go back.
    pub(super) fn reenter(&mut self, timestamp: u32, arrival: Instant, clock_rate: u32) -> u32 {
        if is_after(timestamp.wrapping_add(self.offset), self.last) {
            self.advance(timestamp, arrival, clock_rate, false).0
        } else {
            self.anchor(timestamp, arrival, clock_rate);
            self.last
        }
    }

    /// Lets `timestamp` of a new source, or of a source that jumped, follow the newest frame sent.
    pub(super) fn anchor(&mut self, timestamp: u32, arrival: Instant, clock_rate: u32) {
        if let Some(last_arrival) = self.last_arrival {
            if clock_rate != self.clock_rate {
                self.lead = 0;
                self.interval = 0;
            }
            let interval = i64::from(if self.interval == 0 { clock_rate / 50 } else { self.interval }).max(1);
            let distance = (ticks(last_arrival, arrival, clock_rate) - self.lead).min(STEP_MAX);
            let frames = ((distance + interval / 2).div_euclid(interval)).max(1);
            let step = frames * interval;
            self.lead = step - distance;
            self.last = self.last.wrapping_add(u32::try_from(step).unwrap_or(0));
        }
        self.clock_rate = clock_rate;
        self.last_arrival = Some(arrival);
        self.offset = self.last.wrapping_sub(timestamp);
    }
}

/// Tells whether `a` is newer than `b`, modulo 2^32.
const fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

/// Returns the ticks from `from` to `to`, negative when `to` is earlier.
fn ticks(from: Instant, to: Instant, clock_rate: u32) -> i64 {
    let nanos = i128::from(to.nanos) - i128::from(from.nanos);
    i64::try_from(nanos * i128::from(clock_rate) / 1_000_000_000).unwrap_or(STEP_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 90_000;

    fn running() -> Timeline {
        let mut timeline = Timeline::new(u32::MAX - 100);
        timeline.anchor(7_000, Instant::from_millis(0), RATE);
        for frame in 1..=3 {
            timeline.advance(7_000 + 3000 * frame, Instant::from_millis(33 * u64::from(frame)), RATE, true);
        }
        timeline
    }

    #[test]
    fn a_new_source_goes_on_by_the_time_between_arrivals_snapped_to_frames() {
        let start = running().last();
        for (arrival_ms, frames) in [(99 + 33, 1), (99 + 66, 2), (99 + 45, 1), (99 + 1000, 30), (99, 1), (0, 1)] {
            let mut timeline = running();
            timeline.anchor(0xdead_beef, Instant::from_millis(arrival_ms), RATE);
            assert_eq!(timeline.last().wrapping_sub(start), frames * 3000, "{arrival_ms} ms");
        }
    }

    #[test]
    fn the_lead_of_an_old_key_frame_is_taken_back_at_the_next_change() {
        let mut timeline = running();
        let start = timeline.last();
        timeline.anchor(50, Instant::from_millis(0), RATE);
        assert_eq!(timeline.last().wrapping_sub(start), 3000, "one frame later though it arrived earlier");
        timeline.anchor(9, Instant::from_millis(1099), RATE);
        assert_eq!(timeline.last().wrapping_sub(start), 30 * 3000, "one second after the first in all");
    }

    #[test]
    fn a_source_that_jumps_goes_on_and_never_back() {
        let mut timeline = running();
        let start = timeline.last();
        let (mapped, jumped) = timeline.advance(3, Instant::from_millis(132), RATE, true);
        assert!(jumped);
        assert_eq!(mapped.wrapping_sub(start), 3000);
        let (mapped, jumped) = timeline.advance(3 + RATE * 60, Instant::from_millis(165), RATE, true);
        assert!(jumped, "a minute in 33 ms");
        assert_eq!(mapped.wrapping_sub(start), 6000);
        let (mapped, jumped) = timeline.advance(3 + RATE * 120, Instant::from_millis(60_165), RATE, true);
        assert!(!jumped, "a minute in a minute");
        assert_eq!(mapped.wrapping_sub(start), 6000 + RATE * 60);
    }

    #[test]
    fn hours_of_pause_stay_forward() {
        let mut timeline = running();
        let start = timeline.last();
        timeline.anchor(1, Instant::from_millis(12 * 3_600_000), RATE);
        assert!(is_after(timeline.last(), start));
    }

    #[test]
    fn a_late_packet_is_never_newer_than_the_newest() {
        let timeline = running();
        assert_eq!(timeline.place_late(13_000), Some(timeline.last().wrapping_sub(3000)));
        assert_eq!(timeline.place_late(16_001), None);
    }
}
