//! The server's flight that waits for an answer: its repetitions, and how much may leave before the client's address
//! is proven.
//!
//! An ICE-lite agent answers checks and sends none, so a five-tuple that passed one may still be somebody's whose
//! address was forged by who knows the password. Until the client returns a cookie or ends its key exchange, no more
//! than [`AMPLIFICATION_MAX`] bytes leave for each that came (as RFC 9000 section 8.1 has it). Browsers' `ClientHello`s
//! are longer than our answer; only to short ones a cookie goes first (RFC 6347 section 4.2.1), for a round trip.
//!
//! No address is known here: the data plane sends each answer to the five-tuple that DTLS was heard on last, of those
//! that passed a check. So a client can prove one address and lead what follows to another, by a check and a datagram
//! under a forged source. What follows is a flight of 0.7 kB, [`FLIGHT_SENDS_MAX`] times at most: 11 kB in a handshake,
//! less than what its session's offer, checks and answers take, and far less than the media that an ICE-lite agent sends
//! to whatever address was nominated (RFC 7675 bounds that).

use tokio::time::Instant;

use super::limits::{AMPLIFICATION_MAX, FLIGHT_INTERVAL, FLIGHT_SENDS_MAX};
use super::record::{self, ContentType};

/// What was heard and said before the client's address is proven.
#[derive(Debug, Default)]
pub(super) struct Path {
    received_bytes: usize,
    sent_bytes: usize,
    proven: bool,
}

impl Path {
    /// Notes a datagram of the client.
    pub(super) const fn receive(&mut self, bytes: usize) {
        self.received_bytes = self.received_bytes.saturating_add(bytes);
    }

    /// Notes that the client has heard us: nothing is bounded from now on.
    pub(super) const fn prove(&mut self) {
        self.proven = true;
    }

    /// Returns whether as many bytes may leave.
    pub(super) const fn may_send(&self, bytes: usize) -> bool {
        self.proven || self.sent_bytes.saturating_add(bytes) <= self.received_bytes.saturating_mul(AMPLIFICATION_MAX)
    }

    const fn send(&mut self, bytes: usize) {
        self.sent_bytes = self.sent_bytes.saturating_add(bytes);
    }
}

/// Handshake messages that fit one datagram, each the content of a record.
#[derive(Debug)]
pub(super) struct Flight {
    contents: Vec<Vec<u8>>,
    sent: Instant,
    interval: std::time::Duration,
    sends: u8,
    /// When it leaves again; `None` once the client answers.
    next: Option<Instant>,
}

impl Flight {
    /// Makes a flight that leaves `now`, by [`Self::send`].
    pub(super) const fn new(contents: Vec<Vec<u8>>, now: Instant) -> Self {
        Self { contents, sent: now, interval: FLIGHT_INTERVAL, sends: 0, next: None }
    }

    /// Writes the flight under fresh record numbers, `None` when the path's bound forbids it. The next repetition comes
    /// after twice the time (RFC 6347 section 4.2.4.1).
    pub(super) fn send(&mut self, now: Instant, path: &mut Path, record_next: &mut u64) -> Option<Vec<u8>> {
        self.sent = now;
        self.sends = self.sends.saturating_add(1);
        self.next = Some(now + self.interval);
        self.interval *= 2;
        let bytes = self.contents.iter().map(|content| record::HEADER_BYTES + content.len()).sum();
        if !path.may_send(bytes) {
            return None;
        }
        path.send(bytes);
        let mut datagram = Vec::with_capacity(bytes);
        for content in &self.contents {
            let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
            datagram.extend_from_slice(&record::write_header(ContentType::Handshake, 0, *record_next, length));
            datagram.extend_from_slice(content);
            *record_next += 1;
        }
        Some(datagram)
    }

    /// Notes that the client answers: repetitions are its business now.
    pub(super) const fn stop(&mut self) {
        self.next = None;
    }

    /// Returns when the flight is to leave again.
    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        self.next
    }

    /// Returns whether a client that repeats itself is answered: not one that only sends everything twice, nor one that
    /// never has enough.
    pub(super) fn may_answer_again(&self, now: Instant) -> bool {
        now >= self.sent + FLIGHT_INTERVAL / 2 && self.sends < FLIGHT_SENDS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtls::limits::HANDSHAKE_DEADLINE;

    fn proven() -> Path {
        Path { proven: true, ..Path::default() }
    }

    #[test]
    fn repetitions_into_silence_come_at_doubling_intervals_under_fresh_numbers() {
        let start = Instant::now();
        let mut flight = Flight::new(vec![vec![1; 20], vec![2; 10]], start);
        let (mut path, mut record_next, mut left) = (proven(), 0, Vec::new());
        let mut now = start;
        while now < start + HANDSHAKE_DEADLINE {
            let datagram = flight.send(now, &mut path, &mut record_next).unwrap();
            assert_eq!(datagram.len(), 2 * record::HEADER_BYTES + 30);
            left.push((now - start).as_millis());
            now = flight.poll_timeout().unwrap();
        }
        assert_eq!(left, [0, 150, 450, 1050, 2250, 4650, 9450]);
        assert_eq!(record_next, 14);
        flight.stop();
        assert_eq!(flight.poll_timeout(), None);
    }

    #[test]
    fn who_asks_again_and_again_gets_a_flight_a_bounded_number_of_times() {
        let start = Instant::now();
        let mut flight = Flight::new(vec![vec![1; 700]], start);
        let (mut path, mut record_next, mut left) = (proven(), 0, 1);
        flight.send(start, &mut path, &mut record_next).unwrap();
        for step in 1..1000 {
            let now = start + std::time::Duration::from_millis(10 * step);
            if flight.may_answer_again(now) {
                left += usize::from(flight.send(now, &mut path, &mut record_next).is_some());
            }
        }
        assert_eq!(left, usize::from(FLIGHT_SENDS_MAX));
    }

    #[test]
    fn no_more_leaves_than_a_multiple_of_what_came_until_the_address_is_proven() {
        let start = Instant::now();
        let mut flight = Flight::new(vec![vec![1; 87]], start);
        let (mut path, mut record_next) = (Path::default(), 0);
        path.receive(70);
        let outcomes: Vec<bool> = (0..4).map(|_| flight.send(start, &mut path, &mut record_next).is_some()).collect();
        assert_eq!(outcomes, [true, true, false, false], "210 bytes, 100 each");
        assert!(path.may_send(10) && !path.may_send(11));
        path.prove();
        assert!(flight.send(start, &mut path, &mut record_next).is_some());
    }
}
