//! Media sockets that fail to receive, again and again.

use std::time::Duration;

/// Turns in a row that may fail to receive before the loop pauses: each call takes away one error that the network has
/// left in a socket, such as an unreachable port, and datagrams may wait behind it.
const FAILED_TURNS_MAX: u32 = 64;
/// How long each turn pauses from then on: an error that stays must not cost a core, nor the other sockets much.
const PAUSE: Duration = Duration::from_millis(1);

/// How many turns in a row failed to receive.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Failures {
    in_a_row: u32,
}

impl Failures {
    /// Notes whether a turn failed to receive from any socket.
    pub(super) const fn note(&mut self, failed: bool) {
        self.in_a_row = if failed { self.in_a_row.saturating_add(1) } else { 0 };
    }

    /// Returns how long to pause before the next turn, `None` as long as errors are what the network leaves now and then.
    pub(super) fn pause(self) -> Option<Duration> {
        (self.in_a_row > FAILED_TURNS_MAX).then_some(PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_keeps_failing_pauses_the_loop_until_it_works_again() {
        let mut failures = Failures::default();
        for _ in 0..FAILED_TURNS_MAX {
            failures.note(true);
            assert_eq!(failures.pause(), None);
        }
        failures.note(true);
        assert_eq!(failures.pause(), Some(PAUSE));
        failures.note(false);
        assert_eq!(failures.pause(), None);
    }
}
