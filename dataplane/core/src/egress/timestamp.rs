//! RTP timestamps of an egress stream: one timeline, whoever feeds it.
//!
//! Each source has an RTP clock of its own, with an offset that nobody tells (RFC 3550 section 5.1). A [`Mapping`] takes
//! them to one timeline, on which a frame stands where it was captured: by the publisher's sender reports where both
//! sources of a change have one, else by the arrivals. A report that comes later corrects nothing, as sender reports of
//! ours are made with the mapping that the packets were sent with.
//!
//! ```text
//!  egress │            · ·     a source that starts with a key frame out of the history is behind what was sent:
//!         │        · ·         it catches up in steps of a 32nd of its own, until its frames stand where they belong
//!    last ├ · · ·+·
//!         └─────────────────── source
//! ```

use sluice_protocol::media::MediaKind;
use sluice_protocol::time::Instant;

use super::limits::{CAPTURE_ERROR_MAX, CATCH_UP_MAX, TIMESTAMP_LEAD_MAX};
use crate::ingress::Accepted;

/// The largest step of an egress timestamp, so that it stays forward in 32 bits after any pause.
const STEP_MAX: i64 = 1 << 30;
/// How much slower time goes while a source catches up.
const CATCH_UP_RATIO: i32 = 32;

/// When a packet was made and came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    /// The source's RTP timestamp.
    pub(super) timestamp: u32,
    /// The clock in Hz.
    pub(super) clock_rate: u32,
    /// See [`Accepted::captured`].
    pub(super) captured: Option<u32>,
    pub(super) arrival: Instant,
}

impl Stamp {
    pub(super) const fn of(packet: &Accepted<'_>) -> Self {
        let Accepted { timestamp, clock_rate, captured, arrival, .. } = *packet;
        Self { timestamp, clock_rate, captured, arrival }
    }
}

/// Where the timestamps of a source stand on the timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mapping {
    /// Egress timestamp minus source timestamp, modulo 2^32.
    offset: u32,
    /// Where the source started, while the memory of that is needed; `None` when it started in its place.
    catch_up: Option<CatchUp>,
}

/// The start of a source that was behind what was sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CatchUp {
    /// Its first timestamp.
    first: u32,
    /// What that was sent as.
    start: u32,
}

impl Mapping {
    /// Maps a timestamp of the source. It rises with it.
    pub(super) const fn map(&self, timestamp: u32) -> u32 {
        let mapped = timestamp.wrapping_add(self.offset);
        let Some(CatchUp { first, start }) = self.catch_up else { return mapped };
        let least = start.wrapping_add_signed(timestamp.wrapping_sub(first).cast_signed().div_euclid(CATCH_UP_RATIO));
        if is_after(least, mapped) { least } else { mapped }
    }
}

/// Maps the timestamps of one source after another to one timeline that never goes back.
///
/// Where the arrivals decide, the distance to the last frame is snapped to the frame interval. What that adds to the time
/// that passed is remembered and taken back at the next change, so that it does not add up.
#[derive(Clone, Debug)]
pub(super) struct Timeline {
    kind: MediaKind,
    mapping: Mapping,
    /// The timestamp of the newest frame sent; before the first one, what it will be.
    last: u32,
    /// When the first packet of that frame arrived; `None` before the first frame.
    last_arrival: Option<Instant>,
    /// When it was captured by its publisher's clock, where a report told.
    last_captured: Option<u32>,
    /// Its timestamp without the catching up.
    last_place: u32,
    /// Ticks between two frames of the source, as last seen.
    interval: u32,
    /// Whether what comes next is of another publisher than the newest frame.
    is_handed_over: bool,
    /// Ticks that the snapping added.
    snapped: i64,
    /// The clock in Hz.
    clock_rate: u32,
}

impl Timeline {
    /// Makes a timeline whose first timestamp is `first`.
    pub(super) const fn new(kind: MediaKind, first: u32) -> Self {
        Self {
            kind,
            mapping: Mapping { offset: 0, catch_up: None },
            last: first,
            last_arrival: None,
            last_captured: None,
            last_place: first,
            interval: 0,
            is_handed_over: false,
            snapped: 0,
            clock_rate: 0,
        }
    }

    /// Goes on with `offset` after `last`, sent shortly before `now`.
    pub(super) const fn restore(&mut self, last: u32, offset: u32, now: Instant) {
        self.last = last;
        self.last_place = last;
        self.mapping = Mapping { offset, catch_up: None };
        self.last_arrival = Some(now);
    }

    /// Goes on with another publisher, who has another wall clock.
    pub(super) const fn hand_over(&mut self) {
        self.is_handed_over = true;
        self.last_captured = None;
    }

    /// Tells whether a frame of this publisher was made after the newest one sent.
    pub(super) fn is_newer(&self, stamp: &Stamp) -> bool {
        let Some(last_arrival) = self.last_arrival.filter(|_| !self.is_handed_over) else { return true };
        let passed = ticks(last_arrival, stamp.arrival, stamp.clock_rate);
        self.captured_since(stamp, passed).unwrap_or(passed) >= self.interval(stamp) / 2
    }

    /// Returns the timestamp of the newest frame sent.
    pub(super) const fn last(&self) -> u32 {
        self.last
    }

    /// Returns egress minus source timestamp, modulo 2^32, of a source that has caught up.
    pub(super) const fn offset(&self) -> u32 {
        self.mapping.offset
    }

    /// Returns how timestamps of the source are mapped.
    pub(super) const fn mapping(&self) -> Mapping {
        self.mapping
    }

    /// Maps a timestamp of the source; `None` when it would be newer than the newest, which only a late packet of
    /// another timeline can be.
    pub(super) const fn place_late(&self, timestamp: u32) -> Option<u32> {
        let mapped = self.mapping.map(timestamp);
        if is_after(mapped, self.last) { None } else { Some(mapped) }
    }

    /// Maps the timestamp of a packet that is newer than all before it, and tells whether the offset had to change
    /// because the source jumped. `whole` says that nothing is missing before it.
    pub(super) fn advance(&mut self, stamp: &Stamp, whole: bool) -> (u32, bool) {
        let mapped = self.mapping.map(stamp.timestamp);
        let step = mapped.wrapping_sub(self.last).cast_signed();
        let elapsed = self.last_arrival.map_or(0, |last| ticks(last, stamp.arrival, stamp.clock_rate));
        let lead_max = i64::try_from(TIMESTAMP_LEAD_MAX.as_secs()).unwrap_or(0) * i64::from(stamp.clock_rate);
        if stamp.clock_rate != self.clock_rate && self.clock_rate != 0
            || step < 0
            || i64::from(step) > elapsed.max(0) + lead_max
        {
            self.anchor(stamp);
            return (self.last, true);
        }
        self.clock_rate = stamp.clock_rate;
        if step > 0 || self.last_arrival.is_none() {
            let is_in_place =
                mapped == stamp.timestamp.wrapping_add(self.mapping.offset) && self.last == self.last_place;
            if whole && is_in_place && step > 0 && step.unsigned_abs() <= stamp.clock_rate / 5 {
                self.interval = step.unsigned_abs();
            }
            self.end_catching_up(stamp);
            self.take(mapped, stamp);
        }
        (mapped, false)
    }

    /// Goes on with the same source after a pause: its offset stays unless the timeline would go back.
    pub(super) fn reenter(&mut self, stamp: &Stamp) -> u32 {
        if is_after(self.mapping.map(stamp.timestamp), self.last) {
            self.advance(stamp, false).0
        } else {
            self.anchor(stamp);
            self.last
        }
    }

    /// Lets a new source, or one that jumped, follow the newest frame sent.
    pub(super) fn anchor(&mut self, stamp: &Stamp) {
        if stamp.clock_rate != self.clock_rate {
            self.snapped = 0;
            self.interval = 0;
            self.last_captured = None;
        }
        let first = stamp.timestamp;
        let step = self.last_arrival.map_or(0, |last| self.distance(last, stamp));
        let place = self.last.wrapping_add_signed(i32::try_from(step).unwrap_or(0));
        self.mapping = Mapping { offset: place.wrapping_sub(first), catch_up: None };
        if self.last_arrival.is_some() {
            let start = self.last.wrapping_add((stamp.clock_rate / 1000).max(1));
            if is_after(start, place) {
                self.mapping.catch_up = Some(CatchUp { first, start });
            }
        }
        self.clock_rate = stamp.clock_rate;
        self.take(self.mapping.map(first), stamp);
    }

    /// Returns how many ticks after the newest frame sent that of `stamp` belongs, negative when before.
    fn distance(&mut self, last_arrival: Instant, stamp: &Stamp) -> i64 {
        let ahead = i64::from(self.last.wrapping_sub(self.last_place).cast_signed());
        let passed = ticks(last_arrival, stamp.arrival, stamp.clock_rate);
        let interval = self.interval(stamp);
        let step = match self.captured_since(stamp, passed) {
            Some(captured) if self.kind == MediaKind::Video => captured,
            _ => {
                let distance = passed - self.snapped;
                let frames = (distance + interval / 2).div_euclid(interval);
                // A packet of sound fills its interval; of a picture only the order counts.
                let frames = if self.kind == MediaKind::Audio { frames.max(1) } else { frames };
                self.snapped = frames * interval - distance;
                frames * interval
            }
        };
        let behind_max = i64::try_from(CATCH_UP_MAX.as_secs()).unwrap_or(0) * i64::from(stamp.clock_rate);
        (step - ahead).clamp(-behind_max, STEP_MAX)
    }

    /// Returns the ticks from the newest frame to that of `stamp` by the publisher's reports, where both have one and the
    /// arrivals, `passed` apart, do not contradict.
    fn captured_since(&self, stamp: &Stamp, passed: i64) -> Option<i64> {
        let captured = i64::from(stamp.captured?.wrapping_sub(self.last_captured?).cast_signed());
        let error_max = u64::from(stamp.clock_rate) * u64::try_from(CAPTURE_ERROR_MAX.as_millis()).unwrap_or(0) / 1000;
        (captured.abs_diff(passed) <= error_max).then_some(captured)
    }

    /// Returns the ticks between two frames, a guess before there were two.
    fn interval(&self, stamp: &Stamp) -> i64 {
        i64::from(if self.interval == 0 { stamp.clock_rate / 50 } else { self.interval }).max(1)
    }

    fn take(&mut self, mapped: u32, stamp: &Stamp) {
        self.is_handed_over = false;
        self.last = mapped;
        self.last_place = stamp.timestamp.wrapping_add(self.mapping.offset);
        self.last_arrival = Some(stamp.arrival);
        self.last_captured = stamp.captured;
    }

    /// Forgets that the source was behind, when no packet of that time comes any more.
    fn end_catching_up(&mut self, stamp: &Stamp) {
        let long = stamp.clock_rate.saturating_mul(2 * u32::try_from(CATCH_UP_MAX.as_secs()).unwrap_or(0));
        let since = |start: CatchUp| stamp.timestamp.wrapping_sub(start.first).cast_signed();
        self.mapping.catch_up =
            self.mapping.catch_up.filter(|start| since(*start) < i32::try_from(long).unwrap_or(i32::MAX));
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

    fn stamp(timestamp: u32, millis: u64) -> Stamp {
        Stamp { timestamp, clock_rate: RATE, captured: None, arrival: Instant::from_millis(millis) }
    }

    /// Frames at 0, 33, 66 and 99 ms.
    fn running_as(kind: MediaKind) -> Timeline {
        let mut timeline = Timeline::new(kind, u32::MAX - 100);
        timeline.anchor(&stamp(7_000, 0));
        for frame in 1..=3 {
            timeline.advance(&stamp(7_000 + 3000 * frame, 33 * u64::from(frame)), true);
        }
        timeline
    }

    fn running() -> Timeline {
        running_as(MediaKind::Video)
    }

    #[test]
    fn a_new_source_goes_on_by_the_time_between_arrivals_snapped_to_frames() {
        let start = running().last();
        let cases = [(99 + 33, 3000), (99 + 66, 6000), (99 + 45, 3000), (99 + 1000, 90_000), (99 + 5, 90), (0, 90)];
        for (arrival_ms, expected) in cases {
            let mut timeline = running();
            timeline.anchor(&stamp(0xdead_beef, arrival_ms));
            assert_eq!(timeline.last().wrapping_sub(start), expected, "{arrival_ms} ms");
        }
    }

    #[test]
    fn a_packet_of_sound_keeps_its_interval_whenever_it_came() {
        let start = running_as(MediaKind::Audio).last();
        for arrival_ms in [0, 99, 110] {
            let mut timeline = running_as(MediaKind::Audio);
            timeline.anchor(&stamp(0xdead_beef, arrival_ms));
            assert_eq!(timeline.last().wrapping_sub(start), 3000, "{arrival_ms} ms");
        }
    }

    #[test]
    fn an_old_key_frame_catches_up_and_the_frames_made_now_stand_in_their_place() {
        let mut timeline = running();
        let start = timeline.last();
        let mut before = start;
        // Key frame and frames of another encoding, captured 2 s before what was sent last.
        for frame in 0..90 {
            let arrival = 99 + 33 * u64::from(frame);
            let old = stamp(50 + 3000 * frame, arrival.saturating_sub(1980));
            let (mapped, jumped) = if frame == 0 {
                timeline.anchor(&Stamp { arrival: Instant::from_millis(0), ..old });
                (timeline.last(), false)
            } else {
                timeline.advance(&old, true)
            };
            assert!(!jumped && is_after(mapped, before), "frame {frame}: {before} {mapped}");
            assert_eq!(timeline.place_late(50 + 3000 * frame), Some(mapped), "a late packet of it");
            before = mapped;
        }
        // It arrived at 0 ms, 99 ms before the last one: three frames of which it stands behind it.
        assert_eq!(before.wrapping_sub(start), 3000 * (89 - 3));
        assert_eq!(timeline.offset(), start.wrapping_sub(9000 + 50));
    }

    #[test]
    fn a_change_in_the_midst_of_catching_up_is_measured_from_where_frames_belong() {
        let mut timeline = running();
        let start = timeline.last();
        timeline.anchor(&stamp(50, 0));
        timeline.anchor(&stamp(9, 1099));
        assert_eq!(timeline.last().wrapping_sub(start), 30 * 3000, "one second after the first in all");
    }

    #[test]
    fn reports_of_both_sources_tell_better_than_the_arrivals() {
        // What the reports say after the last frame, what the arrivals say, and where it stands.
        let cases = [
            (3000, 33, 3000),
            (3000, 90, 3000),
            (2900, 33, 2900),
            (0, 40, 90),
            (-9000, 10, 90),
            (900_000, 33, 3000),
            (-90_000, 66, 6000),
        ];
        for (captured, passed_ms, expected) in cases {
            let mut timeline = running();
            let start = timeline.last();
            timeline.last_captured = Some(5);
            let captured = Some(5_u32.wrapping_add_signed(captured));
            timeline.anchor(&Stamp { captured, ..stamp(77, 99 + passed_ms) });
            assert_eq!(timeline.last().wrapping_sub(start), expected, "{captured:?} {passed_ms}");
            timeline.advance(&stamp(77 + 90_000, 99 + passed_ms + 1000), true);
            assert_eq!(
                timeline.last().wrapping_sub(77 + 90_000),
                timeline.offset(),
                "what follows stands in its place"
            );
        }
    }

    #[test]
    fn reports_of_two_publishers_tell_nothing() {
        let mut timeline = running();
        let start = timeline.last();
        timeline.last_captured = Some(5);
        timeline.hand_over();
        timeline.anchor(&Stamp { captured: Some(905), ..stamp(77, 132) });
        assert_eq!(timeline.last().wrapping_sub(start), 3000);
    }

    #[test]
    fn a_report_that_comes_later_corrects_nothing() {
        let mut timeline = running();
        timeline.anchor(&stamp(1000, 132));
        let offset = timeline.offset();
        timeline.advance(&Stamp { captured: Some(1 << 20), ..stamp(4000, 165) }, true);
        assert_eq!(timeline.offset(), offset);
    }

    #[test]
    fn what_the_snapping_adds_does_not_add_up() {
        let mut timeline = running();
        let start = timeline.last();
        for change in 1..=100 {
            timeline.anchor(&stamp(change * 7919, 99 + 40 * u64::from(change)));
        }
        let error = timeline.last().wrapping_sub(start).abs_diff(100 * 40 * 90);
        assert!(error <= 1500, "{error} ticks in four seconds");
    }

    #[test]
    fn a_source_that_jumps_goes_on_and_never_back() {
        let mut timeline = running();
        let start = timeline.last();
        let (mapped, jumped) = timeline.advance(&stamp(3, 132), true);
        assert!(jumped);
        assert_eq!(mapped.wrapping_sub(start), 3000);
        let (mapped, jumped) = timeline.advance(&stamp(3 + RATE * 60, 165), true);
        assert!(jumped, "a minute in 33 ms");
        assert_eq!(mapped.wrapping_sub(start), 6000);
        let (mapped, jumped) = timeline.advance(&stamp(3 + RATE * 120, 60_165), true);
        assert!(!jumped, "a minute in a minute");
        assert_eq!(mapped.wrapping_sub(start), 6000 + RATE * 60);
    }

    #[test]
    fn hours_of_pause_stay_forward() {
        let mut timeline = running();
        let start = timeline.last();
        timeline.anchor(&stamp(1, 12 * 3_600_000));
        assert!(is_after(timeline.last(), start));
    }

    #[test]
    fn a_late_packet_is_never_newer_than_the_newest() {
        let timeline = running();
        assert_eq!(timeline.place_late(13_000), Some(timeline.last().wrapping_sub(3000)));
        assert_eq!(timeline.place_late(16_001), None);
    }
}
