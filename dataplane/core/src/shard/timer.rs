//! What is due when: one heap for the shard, at most one deadline per transport and kind.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use sluice_protocol::ids::TransportId;
use sluice_protocol::time::Instant;

use crate::limits::TIMER_ENTRIES_PER_TRANSPORT_MAX;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Timer {
    /// Consent may have run out.
    Consent,
    /// Sender and receiver reports.
    Report,
    /// Transport-wide feedback, or the fixed cap.
    Feedback,
    /// Missing packets are to be asked for (again).
    Nack,
    /// A key frame is to be asked for (again).
    KeyFrame,
}

/// How many kinds there are.
const TIMERS: usize = 5;
const _: () = assert!(TIMERS * 2 <= TIMER_ENTRIES_PER_TRANSPORT_MAX, "a sweep makes room for as much as it looked at");

/// The deadlines of one transport.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Deadlines([Option<Instant>; TIMERS]);

/// The heap of all deadlines of a shard.
///
/// A deadline only ever moves forward in the heap by firing: arming earlier than what is set adds an entry and leaves a
/// stale one behind, which is skipped when it comes up. Handlers look again at what is due and arm anew. So do transports
/// that are removed; [`Timers::sweep`] keeps what is stale from piling up.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, TransportId, Timer)>>,
}

impl Timers {
    /// Arms `timer` for `at`, unless it is armed for an earlier time already.
    pub(crate) fn arm(&mut self, transport: TransportId, deadlines: &mut Deadlines, timer: Timer, at: Instant) {
        let Some(deadline) = deadlines.0.get_mut(timer as usize) else { return };
        if deadline.is_none_or(|armed| at < armed) {
            *deadline = Some(at);
            self.heap.push(Reverse((at, transport, timer)));
        }
    }

    /// Takes the next entry that is due; the caller checks it with [`Deadlines::fire`].
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(Instant, TransportId, Timer)> {
        let Reverse((at, _, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Removes what is stale, when there are more than [`TIMER_ENTRIES_PER_TRANSPORT_MAX`] entries for each of so many
    /// `transports`. `is_armed` says whether a transport lives and has armed a timer for exactly that time.
    pub(crate) fn sweep(&mut self, transports: usize, is_armed: impl Fn(TransportId, Timer, Instant) -> bool) {
        if self.heap.len() <= TIMER_ENTRIES_PER_TRANSPORT_MAX * transports.max(1) {
            return;
        }
        let mut entries = std::mem::take(&mut self.heap).into_vec();
        entries.retain(|Reverse((at, transport, timer))| is_armed(*transport, *timer, *at));
        // A timer that was armed for one time twice, with an earlier one in between, stands there twice.
        entries.sort_unstable();
        entries.dedup();
        self.heap = entries.into();
    }

    /// Returns how many entries there are, stale ones included.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    /// Returns when the next entry is due, which may be a stale one.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }
}

impl Deadlines {
    pub(crate) const fn new() -> Self {
        Self([None; TIMERS])
    }

    /// Returns whether `timer` is armed for exactly `at`.
    pub(crate) fn is_armed(&self, timer: Timer, at: Instant) -> bool {
        self.0.get(timer as usize).is_some_and(|deadline| *deadline == Some(at))
    }

    /// Disarms `timer` and returns true when it was armed for exactly `at`; an entry that was overtaken does nothing.
    pub(crate) fn fire(&mut self, timer: Timer, at: Instant) -> bool {
        let Some(deadline) = self.0.get_mut(timer as usize) else { return false };
        if *deadline == Some(at) {
            *deadline = None;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSPORT: TransportId = TransportId::new(0, 1, 1);

    #[test]
    fn a_timer_fires_once_at_its_earliest_time() {
        let (mut timers, mut deadlines) = (Timers::default(), Deadlines::default());
        for millis in [50, 30, 40] {
            timers.arm(TRANSPORT, &mut deadlines, Timer::Nack, Instant::from_millis(millis));
        }
        assert_eq!(timers.next(), Some(Instant::from_millis(30)));
        assert_eq!(timers.pop_due(Instant::from_millis(29)), None);
        let mut fired = 0;
        while let Some((at, _, timer)) = timers.pop_due(Instant::from_millis(60)) {
            fired += usize::from(deadlines.fire(timer, at));
        }
        assert_eq!(fired, 1);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn overtaken_entries_are_swept_out_and_what_is_armed_still_fires() {
        let (mut timers, mut deadlines) = (Timers::default(), Deadlines::new());
        timers.arm(TRANSPORT, &mut deadlines, Timer::Report, Instant::from_millis(500));
        let (mut now, mut most) = (Instant::ZERO, 0);
        for round in 0..1000 {
            // The same far time again and again, overtaken by a near one that fires.
            for at in [Instant::from_millis(900_000 + round / 100), Instant { nanos: now.nanos + 1 }] {
                timers.arm(TRANSPORT, &mut deadlines, Timer::KeyFrame, at);
            }
            now.nanos += 1;
            let (at, _, timer) = timers.pop_due(now).unwrap();
            assert!(deadlines.fire(timer, at));
            timers.sweep(1, |_, timer, at| deadlines.is_armed(timer, at));
            most = most.max(timers.len());
        }
        assert_eq!(most, TIMER_ENTRIES_PER_TRANSPORT_MAX);
        let (at, _, timer) = timers.pop_due(Instant::from_millis(500)).unwrap();
        assert!(timer == Timer::Report && deadlines.fire(timer, at));
    }

    #[test]
    fn a_time_that_was_armed_twice_is_kept_once() {
        let (mut timers, mut deadlines) = (Timers::default(), Deadlines::new());
        for _ in 0..=TIMER_ENTRIES_PER_TRANSPORT_MAX {
            deadlines = Deadlines::new();
            timers.arm(TRANSPORT, &mut deadlines, Timer::KeyFrame, Instant::from_millis(9));
        }
        timers.sweep(1, |_, timer, at| deadlines.is_armed(timer, at));
        assert_eq!((timers.len(), timers.next()), (1, Some(Instant::from_millis(9))));
    }
}
