//! When an unanswered flight may leave again.
//!
//! The library repeats a flight at a fixed interval until the handshake's deadline. A peer that says nothing may be
//! somebody whose address was forged, so the interval doubles until something is heard (RFC 6347 section 4.2.4.1).

use std::time::Duration;

use tokio::time::Instant;

use super::limits::FLIGHT_INTERVAL;

/// Datagrams that leave within this time are one flight.
const FLIGHT_SPREAD: Duration = FLIGHT_INTERVAL.checked_div(2).expect("two is not zero");

/// Lets a flight pass, and its repetitions at doubling intervals.
#[derive(Debug)]
pub(super) struct Repetition {
    flight: Option<Flight>,
    interval: Duration,
    next: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    began: Instant,
    passes: bool,
}

impl Default for Repetition {
    fn default() -> Self {
        Self { flight: None, interval: FLIGHT_INTERVAL, next: None }
    }
}

impl Repetition {
    /// Notes that the peer was heard: what is sent next is an answer.
    pub(super) fn hear(&mut self) {
        *self = Self::default();
    }

    /// Tells whether a datagram that the library sends `now` may leave.
    pub(super) fn may_send(&mut self, now: Instant) -> bool {
        if let Some(flight) = self.flight.filter(|flight| now < flight.began + FLIGHT_SPREAD) {
            return flight.passes;
        }
        // The library's timer is not exact, so a repetition may come a little early.
        let passes = self.next.is_none_or(|next| now + FLIGHT_SPREAD >= next);
        if passes {
            self.next = Some(now + self.interval);
            self.interval *= 2;
        }
        self.flight = Some(Flight { began: now, passes });
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtls::limits::HANDSHAKE_DEADLINE;

    /// Milliseconds after `start` at which a flight of two datagrams left, over a whole handshake in silence.
    fn departures(repetition: &mut Repetition, start: Instant) -> Vec<u128> {
        let mut left = Vec::new();
        let mut at = Duration::ZERO;
        while at < HANDSHAKE_DEADLINE {
            let whole = [repetition.may_send(start + at), repetition.may_send(start + at + Duration::from_millis(1))];
            assert_eq!(whole[0], whole[1], "a flight leaves whole or not at all");
            if whole[0] {
                left.push(at.as_millis());
            }
            at += FLIGHT_INTERVAL;
        }
        left
    }

    #[test]
    fn repetitions_into_silence_come_at_doubling_intervals() {
        let (mut repetition, start) = (Repetition::default(), Instant::now());
        assert_eq!(departures(&mut repetition, start), [0, 150, 450, 1050, 2250, 4650, 9450]);
    }

    #[test]
    fn an_answer_leaves_at_once_and_is_repeated_soon() {
        let (mut repetition, start) = (Repetition::default(), Instant::now());
        departures(&mut repetition, start);
        let later = start + HANDSHAKE_DEADLINE;
        repetition.hear();
        assert_eq!(departures(&mut repetition, later)[..3], [0, 150, 450]);
    }
}
