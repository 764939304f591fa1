//! When the next offer of a session's subscriber is due: tracks that come together make one offer, and what has ended waits
//! for what comes.
//!
//! ```text
//!           a track waits: soon                      the time has come
//!  nothing ─────────────────────► a time is set ───────────────────────► due: an offer is made
//!     ▲     tracks ended: later      │   ▲  │                                   │
//!     │                              │   └──┘ more comes: the earlier time      │
//!     └── what waited is gone ◄──────┴──────────────────────────────────────────┘
//! ```
//!
//! The first offer of a connection and an ICE restart wait for nothing. A time that is set never moves further away, so
//! whoever comes and goes without end keeps nobody from being offered what is there.

use std::collections::{BTreeMap, BTreeSet};

use sluice_protocol::time::Instant;

use crate::limits::{ENDED_GATHER, GATHER, OFFERS_APART};
use crate::session::{SessionId, Waiting};

/// When offers are due, session by session. It holds no more sessions than there are.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathering {
    sessions: BTreeMap<SessionId, Times>,
    due: BTreeSet<(Instant, SessionId)>,
}

/// What is known of one session.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    /// When the next offer is to be made, where one is gathered for.
    due: Option<Instant>,
    /// When the last one was made.
    made: Option<Instant>,
}

impl Times {
    /// Returns when what waits since `now` is to be offered.
    fn due_for(&self, now: Instant, waiting: Waiting) -> Option<Instant> {
        let new = match waiting {
            Waiting::Nothing | Waiting::Urgent => return None,
            Waiting::Ended => now + ENDED_GATHER,
            Waiting::Added => self.made.map_or(now, |made| made + OFFERS_APART).max(now + GATHER),
        };
        Some(self.due.map_or(new, |due| due.min(new)))
    }
}

impl Gathering {
    /// Takes what waits to be offered to a session, and tells whether the offer is due at once.
    pub(super) fn handle_waiting(&mut self, now: Instant, session: &SessionId, waiting: Waiting) -> bool {
        let due = self.sessions.get(session).copied().unwrap_or_default().due_for(now, waiting);
        self.set(session, due);
        waiting == Waiting::Urgent
    }

    /// Notes that everything which waited was offered.
    pub(super) fn handle_offered(&mut self, now: Instant, session: &SessionId) {
        self.set(session, None);
        self.sessions.entry(session.clone()).or_default().made = Some(now);
    }

    /// Forgets a session that has ended.
    pub(super) fn forget(&mut self, session: &SessionId) {
        self.set(session, None);
        self.sessions.remove(session);
    }

    /// Takes the sessions whose time has come.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<SessionId> {
        let due: Vec<SessionId> =
            self.due.iter().take_while(|(due, _)| *due <= now).map(|(_, session)| session.clone()).collect();
        for session in &due {
            self.set(session, None);
        }
        due
    }

    /// Returns when the first of them comes.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    fn set(&mut self, session: &SessionId, due: Option<Instant>) {
        let before = self.sessions.get(session).and_then(|own| own.due);
        if before == due {
            return;
        }
        self.sessions.entry(session.clone()).or_default().due = due;
        if let Some(before) = before {
            self.due.remove(&(before, session.clone()));
        }
        self.due.extend(due.map(|due| (due, session.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn session(name: &str) -> SessionId {
        SessionId(name.to_owned())
    }

    #[test]
    fn tracks_that_come_together_are_due_together_and_ends_wait_for_them() {
        let (mut gathering, ann) = (Gathering::default(), session("ann"));
        assert!(!gathering.handle_waiting(at(0), &ann, Waiting::Ended));
        assert_eq!(gathering.poll_timeout(), Some(at(0) + ENDED_GATHER));
        assert!(!gathering.handle_waiting(at(100), &ann, Waiting::Added));
        assert_eq!(gathering.poll_timeout(), Some(at(100) + GATHER), "an end goes with what comes");
        assert!(!gathering.handle_waiting(at(105), &ann, Waiting::Added));
        assert_eq!(gathering.poll_timeout(), Some(at(100) + GATHER), "what comes does not put it off");
        assert_eq!(gathering.take_due(at(99)), []);
        assert_eq!(gathering.take_due(at(100) + GATHER), std::slice::from_ref(&ann));
        assert_eq!((gathering.take_due(at(9999)), gathering.poll_timeout()), (Vec::new(), None));
    }

    #[test]
    fn offers_keep_apart_and_what_is_urgent_waits_for_nothing() {
        let (mut gathering, ann) = (Gathering::default(), session("ann"));
        assert!(gathering.handle_waiting(at(0), &ann, Waiting::Urgent));
        assert_eq!(gathering.poll_timeout(), None);
        gathering.handle_offered(at(0), &ann);
        assert!(!gathering.handle_waiting(at(1), &ann, Waiting::Added));
        assert_eq!(gathering.poll_timeout(), Some(at(0) + OFFERS_APART));
        assert!(gathering.handle_waiting(at(2), &ann, Waiting::Urgent));
        gathering.handle_offered(at(2), &ann);
        assert_eq!(gathering.poll_timeout(), None, "what was gathered went along");
        assert!(!gathering.handle_waiting(at(5000), &ann, Waiting::Added));
        assert_eq!(gathering.poll_timeout(), Some(at(5000) + GATHER), "the last one was long ago");
    }

    #[test]
    fn what_is_gone_before_it_was_offered_and_who_has_left_are_not_due() {
        let (mut gathering, ann, ben) = (Gathering::default(), session("ann"), session("ben"));
        for who in [&ann, &ben] {
            assert!(!gathering.handle_waiting(at(0), who, Waiting::Added));
        }
        assert!(!gathering.handle_waiting(at(1), &ann, Waiting::Nothing));
        assert_eq!(gathering.take_due(at(0) + GATHER), std::slice::from_ref(&ben));
        assert!(!gathering.handle_waiting(at(50), &ben, Waiting::Added));
        gathering.forget(&ben);
        gathering.forget(&ann);
        assert_eq!((gathering.poll_timeout(), gathering.sessions.len()), (None, 0));
    }
}
