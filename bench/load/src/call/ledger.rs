//! What all participants together have done and seen.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::limits::{FAULTS_MAX, JOIN_TIMES_MAX};

/// How long after a kill things may be as they should not be otherwise.
pub(super) const TROUBLE: Duration = Duration::from_secs(15);

/// Counts of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Sessions opened.
    pub joins: u64,
    /// Sessions ended by their participants.
    pub leaves: u64,
    /// Sockets cut by their participants.
    pub cuts: u64,
    /// Sessions resumed over a new socket.
    pub resumes: u64,
    /// Of these, resumed by being told how things are, as not all that was missed was kept.
    pub resumes_anew: u64,
    /// Offers of the server that were answered.
    pub offers_answered: u64,
    /// Offers of participants that were answered.
    pub offers_made: u64,
    /// Tracks published.
    pub tracks_published: u64,
    /// Tracks muted or unmuted.
    pub mutes: u64,
    /// Peer connections that the server has ended.
    pub connections_closed: u64,
    /// Sessions that could not be resumed.
    pub sessions_lost: u64,
    /// Tries to join while the server was not there.
    pub unreachable: u64,
}

/// The largest description that the server has offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct DescriptionMax {
    /// Its m-lines.
    pub lines: usize,
    /// Its bytes.
    pub bytes: usize,
}

/// The common record.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) counts: Counts,
    /// Codes of refusals.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// From opening the session to the first packet of the last of all tracks.
    pub(crate) join_times: Vec<Duration>,
    /// The largest description of the first half of the churn, and of the second.
    pub(crate) descriptions: [DescriptionMax; 2],
    /// Which half it is.
    pub(crate) is_second_half: bool,
    /// Which track each numbered stream belongs to.
    pub(crate) streams: HashMap<u64, String>,
    /// Under which tracks' SSRCs numbered streams came.
    pub(crate) pairs: HashSet<(String, u64)>,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
    pub(crate) unreadable: u64,
    struck_at: Option<Instant>,
    faults: Vec<String>,
}

impl Ledger {
    /// Notes that a plane is being killed.
    pub(crate) fn strike(&mut self) {
        self.struck_at = Some(Instant::now());
    }

    /// Tells whether a plane was killed lately.
    pub(crate) fn is_troubled(&self) -> bool {
        self.struck_at.is_some_and(|at| at.elapsed() < TROUBLE)
    }

    /// Tells whether a plane was killed since.
    pub(crate) fn is_struck_since(&self, instant: Instant) -> bool {
        self.struck_at.is_some_and(|at| at + TROUBLE > instant)
    }

    /// Notes what must not be.
    pub(crate) fn fault(&mut self, fault: String) {
        tracing::warn!(fault);
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    /// What must not be, except for a while after a kill.
    pub(crate) fn fault_in_peace(&mut self, fault: String) {
        if self.is_troubled() {
            tracing::info!(fault, "after a kill");
        } else {
            self.fault(fault);
        }
    }

    pub(crate) fn refuse(&mut self, who: &str, what: &str, code: &str) {
        *self.refusals.entry(format!("{what}: {code}")).or_default() += 1;
        self.fault_in_peace(format!("{who}: {what} was refused: {code}"));
    }

    pub(crate) fn note_description(&mut self, lines: usize, bytes: usize) {
        let [first, second] = &mut self.descriptions;
        let max = if self.is_second_half { second } else { first };
        max.lines = max.lines.max(lines);
        max.bytes = max.bytes.max(bytes);
    }

    pub(crate) fn note_join_time(&mut self, time: Duration) {
        if self.join_times.len() < JOIN_TIMES_MAX {
            self.join_times.push(time);
        }
    }

    /// What must not be, so far.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = self.faults.clone();
        for (track, stream) in &self.pairs {
            if let Some(own) = self.streams.get(stream).filter(|own| *own != track) {
                faults.push(format!("packets of {own} came under the SSRC of {track}"));
            }
        }
        for (count, what) in [
            (self.duplicates, "packets came twice"),
            (self.unreadable, "packets do not read"),
            (self.counts.sessions_lost, "sessions could not be resumed"),
        ] {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_is_said_and_a_kill_excuses_some_of_it_for_a_while() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.faults(), Vec::<String>::new());
        ledger.streams.insert(1, "TR_1".to_owned());
        ledger.pairs.insert(("TR_1".to_owned(), 1));
        ledger.pairs.insert(("TR_1".to_owned(), 9));
        assert_eq!(ledger.faults(), Vec::<String>::new(), "a stream of somebody unknown accuses nobody");
        ledger.pairs.insert(("TR_2".to_owned(), 1));
        assert_eq!(ledger.faults(), ["packets of TR_1 came under the SSRC of TR_2"]);
        ledger.pairs.clear();
        ledger.duplicates = 3;
        ledger.refuse("ann", "offer", "x");
        ledger.strike();
        ledger.refuse("ann", "offer", "unavailable");
        assert_eq!(ledger.faults(), ["ann: offer was refused: x", "3 packets came twice"]);
        assert_eq!(ledger.refusals.len(), 2);
    }

    #[test]
    fn descriptions_are_compared_by_halves() {
        let mut ledger = Ledger::default();
        ledger.note_description(3, 900);
        ledger.note_description(2, 1000);
        ledger.is_second_half = true;
        ledger.note_description(1, 10);
        let [first, second] = ledger.descriptions;
        assert_eq!((first.lines, first.bytes, second.lines, second.bytes), (3, 1000, 1, 10));
    }
}
