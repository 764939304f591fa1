//! What the keeper of a data plane does next: whom to speak to, when to kill, how long to wait.
//!
//! ```text
//!              ┌────────────────────────── Reconnect ──────────────────────────┐
//!              ▼                                                               │
//! ──► Looking ──answers──► Serving ──ends──► Supervision::handle_end ──────────┤
//!      │  ▲  ▲                                │ GiveWay: for ever              │ Replace
//!      │  │  └──────── wait(): back-off ──────┘                                ▼
//!      │  └───────────────────────────────────────────────────────── proved dead
//!      └─nobody──► Starting ──answers──► Serving
//! ```
//!
//! A process that was served is either spoken to again or proved dead; nothing is started beside it ([`reach`]).

use std::time::Duration;

use sluice_protocol::time::Instant;

use crate::limits::{
    BACK_OFF_MAX, BROKEN_CONNECTIONS_MAX, REPLACED_LATELY, REPLACED_LATELY_MAX, SHORT_LIFE, SHORT_LIVES_MAX,
};

/// The wait after the first short life too many; each further one doubles it.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);

/// Why a data plane is not spoken to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its process died.
    Died,
    /// It did not answer in time, or was not ready in time.
    Silent,
    /// The stream broke, or one of both sides did not keep to the protocol, while the process lives on.
    Broken,
    /// Another control plane has taken it over.
    Fenced,
}

/// What becomes of a data plane that is not spoken to any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It lives on, and is spoken to again if it answers.
    Reconnect,
    /// It is proved dead, and another one follows.
    Replace,
    /// It is left to the control plane that came after this one.
    GiveWay,
}

/// Who answers where the data plane should listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The process that was served before.
    Known,
    /// Another process, or the first one.
    Other,
    /// Nobody listens.
    Nobody,
    /// Somebody listens who takes no connection, or may not be spoken to.
    Deaf,
}

/// How to come to a data plane that can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Serve the one that answered.
    Serve,
    /// Prove the one that was served before dead, then look again.
    ProveDead,
    /// Start one.
    Start,
    /// Wait for one that somebody else starts.
    Await,
    /// Nothing can be done but tell the operator.
    Report,
}

/// Decides how to come to a data plane. `unproven` tells whether one that was served before may still live; `may_start`
/// whether starting one is ours to do.
#[must_use]
pub const fn reach(answer: Answer, unproven: bool, may_start: bool) -> Reach {
    match (answer, unproven) {
        (Answer::Known, _) | (Answer::Other, false) => Reach::Serve,
        (Answer::Other | Answer::Nobody | Answer::Deaf, true) => Reach::ProveDead,
        (Answer::Nobody, false) if may_start => Reach::Start,
        (Answer::Nobody, false) => Reach::Await,
        (Answer::Deaf, false) => Reach::Report,
    }
}

/// How long to wait before the next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: the first restarts are at once.
    Not,
    /// This long, and the data plane counts as failing.
    Failing(Duration),
}

/// What is remembered of the lives of data planes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supervision {
    /// Lives in a row that were of no use.
    short_lives: u32,
    /// Connections in a row that a living process broke before it was ready.
    broken_connections: u32,
}

impl Supervision {
    /// Starts without memories.
    #[must_use]
    pub const fn new() -> Self {
        Self { short_lives: 0, broken_connections: 0 }
    }

    /// Takes the end of a connection, which served for `served`; `None` when the data plane was never ready.
    pub fn handle_end(&mut self, ended: Ended, served: Option<Duration>) -> Verdict {
        if served.is_some() {
            self.broken_connections = 0;
        }
        let was_of_use = served.is_some_and(|served| served >= SHORT_LIFE);
        self.short_lives = if was_of_use { 0 } else { self.short_lives.saturating_add(1) };
        match ended {
            Ended::Fenced => Verdict::GiveWay,
            Ended::Broken if self.broken_connections < BROKEN_CONNECTIONS_MAX => {
                self.broken_connections += 1;
                Verdict::Reconnect
            }
            Ended::Died | Ended::Silent | Ended::Broken => {
                self.broken_connections = 0;
                Verdict::Replace
            }
        }
    }

    /// Takes a look, or a start, that found no data plane to serve.
    pub const fn handle_unreachable(&mut self) {
        self.short_lives = self.short_lives.saturating_add(1);
    }

    /// Returns how long to wait before the next look.
    #[must_use]
    pub fn wait(&self) -> Wait {
        let Some(excess) = self.short_lives.checked_sub(SHORT_LIVES_MAX + 1) else { return Wait::Not };
        // Ten doublings are far beyond the maximum.
        Wait::Failing(BACK_OFF_MAX.min(BACK_OFF_FIRST * 2_u32.pow(excess.min(10))))
    }
}

/// When data planes were replaced, the last [`REPLACED_LATELY_MAX`] times: those that serve between two deaths hide a
/// restart loop from whoever looks in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replacements([Option<Instant>; REPLACED_LATELY_MAX]);

impl Replacements {
    /// Takes a replacement; the oldest is forgotten for it.
    pub fn note(&mut self, now: Instant) {
        self.0.rotate_left(1);
        if let Some(last) = self.0.last_mut() {
            *last = Some(now);
        }
    }

    /// Tells whether there were [`REPLACED_LATELY_MAX`] within [`REPLACED_LATELY`].
    #[must_use]
    pub fn are_too_many(&self, now: Instant) -> bool {
        self.0.first().copied().flatten().is_some_and(|oldest| now.saturating_since(oldest) < REPLACED_LATELY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replacements_are_too_many_while_the_last_few_are_near_each_other() {
        let mut replacements = Replacements::default();
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        for (seconds, too_many) in [(0, false), (50, false), (59, true), (70, true), (120, false), (129, true)] {
            replacements.note(at(seconds));
            assert_eq!(replacements.are_too_many(at(seconds)), too_many, "at {seconds} s");
        }
        assert!(replacements.are_too_many(at(129)) && !replacements.are_too_many(at(130)), "70 s counts no more");
    }

    const LONG: Option<Duration> = Some(SHORT_LIFE);
    const SHORT: Option<Duration> = Some(SHORT_LIFE.saturating_sub(Duration::from_millis(1)));

    #[test]
    fn nothing_is_started_or_served_beside_one_that_may_still_live() {
        use Answer::{Deaf, Known, Nobody, Other};
        for (answer, unproven, may_start, expected) in [
            (Known, true, true, Reach::Serve),
            (Known, true, false, Reach::Serve),
            (Other, false, true, Reach::Serve),
            (Other, false, false, Reach::Serve),
            (Other, true, true, Reach::ProveDead),
            (Other, true, false, Reach::ProveDead),
            (Nobody, true, true, Reach::ProveDead),
            (Nobody, true, false, Reach::ProveDead),
            (Deaf, true, true, Reach::ProveDead),
            (Deaf, true, false, Reach::ProveDead),
            (Nobody, false, true, Reach::Start),
            (Nobody, false, false, Reach::Await),
            (Deaf, false, true, Reach::Report),
            (Deaf, false, false, Reach::Report),
        ] {
            assert_eq!(reach(answer, unproven, may_start), expected, "{answer:?}, {unproven}, {may_start}");
        }
    }

    #[test]
    fn how_it_ended_says_what_becomes_of_the_process() {
        for (ended, expected) in [
            (Ended::Died, Verdict::Replace),
            (Ended::Silent, Verdict::Replace),
            (Ended::Broken, Verdict::Reconnect),
            (Ended::Fenced, Verdict::GiveWay),
        ] {
            for served in [None, SHORT, LONG] {
                assert_eq!(Supervision::new().handle_end(ended, served), expected, "{ended:?}, {served:?}");
            }
        }
    }

    #[test]
    fn one_that_only_breaks_connections_is_replaced_and_one_that_was_ready_in_between_is_not() {
        let mut supervision = Supervision::new();
        for _ in 0..2 {
            for _ in 0..BROKEN_CONNECTIONS_MAX {
                assert_eq!(supervision.handle_end(Ended::Broken, None), Verdict::Reconnect);
            }
            assert_eq!(supervision.handle_end(Ended::Broken, None), Verdict::Replace);
        }
        for _ in 0..10 * BROKEN_CONNECTIONS_MAX {
            assert_eq!(supervision.handle_end(Ended::Broken, LONG), Verdict::Reconnect);
        }
    }

    #[test]
    fn the_first_restarts_are_at_once_and_later_ones_ever_slower_until_a_life_is_long() {
        let failing = |millis| Wait::Failing(Duration::from_millis(millis));
        let mut supervision = Supervision::new();
        assert_eq!(supervision.wait(), Wait::Not);
        let table = [Wait::Not, Wait::Not]
            .into_iter()
            .chain([100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000, 5000, 5000, 5000].map(failing));
        for (life, expected) in table.enumerate() {
            if life % 2 == 0 {
                supervision.handle_unreachable();
            } else {
                assert_eq!(supervision.handle_end(Ended::Died, SHORT), Verdict::Replace);
            }
            assert_eq!(supervision.wait(), expected, "after {} short lives", life + 1);
        }
        assert_eq!(supervision.handle_end(Ended::Died, LONG), Verdict::Replace);
        assert_eq!(supervision.wait(), Wait::Not, "a long life makes good");
    }

    #[test]
    fn counting_never_overflows() {
        let mut supervision = Supervision { short_lives: u32::MAX, broken_connections: 0 };
        supervision.handle_unreachable();
        assert_eq!(supervision.handle_end(Ended::Died, None), Verdict::Replace);
        assert_eq!(supervision.wait(), Wait::Failing(BACK_OFF_MAX));
    }
}
