//! Which of a peer's reports were seen, so that nobody plays them back.

use std::collections::VecDeque;

use sluice_protocol::ids::TransportId;
use sluice_protocol::media::{Label, Ssrc};
use sluice_protocol::table::{Role, RowIndex, RowKey};

use crate::discard::Discard;
use crate::limits::STREAMS_MAX;
use crate::shard::rows::Rows;
use crate::srtp::ReplayWindow;

/// The SRTCP indices seen, per SSRC that sent them, as each has a count of its own (RFC 3711 section 3.2.3). At most
/// [`STREAMS_MAX`] senders; beyond it the one that came first is forgotten, which only the authenticated peer can bring
/// about. The highest index of each stands in the shared table, so that what was recorded before a restart is no use
/// after it (RFC 3711 section 3.3.2).
#[derive(Debug, Default)]
pub(crate) struct ControlReplay {
    senders: VecDeque<Sender>,
}

#[derive(Debug)]
struct Sender {
    ssrc: Ssrc,
    window: ReplayWindow,
    /// The row of the shared table; a full one costs the window over a restart, not the reports.
    row: Option<RowIndex>,
}

impl ControlReplay {
    /// Goes on with what a predecessor left of a transport.
    pub(crate) fn resume(rows: &mut Rows, transport: TransportId) -> Self {
        let left: Vec<(Ssrc, RowIndex)> = rows.of(transport, Role::IngressControl).take(STREAMS_MAX).collect();
        let senders = left.into_iter().map(|(ssrc, row)| {
            rows.claim(row);
            let window = ReplayWindow::resume(rows.index(row));
            Sender { ssrc, window, row: Some(row) }
        });
        Self { senders: senders.collect() }
    }

    pub(crate) fn check(&self, ssrc: Ssrc, index: u64) -> Result<(), Discard> {
        let known = self.senders.iter().find(|sender| sender.ssrc == ssrc);
        known.map_or(Ok(()), |sender| sender.window.check(index).map_err(|_| Discard::SrtcpReplayed))
    }

    /// Remembers that an index was seen; returns true when it is the highest of its sender.
    pub(crate) fn commit(&mut self, rows: &mut Rows, transport: TransportId, ssrc: Ssrc, index: u64) -> bool {
        if !self.senders.iter().any(|sender| sender.ssrc == ssrc) {
            self.introduce(rows, transport, ssrc);
        }
        let Some(sender) = self.senders.iter_mut().find(|sender| sender.ssrc == ssrc) else { return false };
        sender.window.commit(index);
        let highest = sender.window.highest().unwrap_or(index);
        if let Some(row) = sender.row {
            rows.store_index(row, highest);
        }
        highest == index
    }

    fn introduce(&mut self, rows: &mut Rows, transport: TransportId, ssrc: Ssrc) {
        if self.senders.len() >= STREAMS_MAX
            && let Some(row) = self.senders.pop_front().and_then(|first| first.row)
        {
            rows.free(row);
        }
        let key = RowKey {
            transport,
            owner: 0,
            ssrc,
            role: Role::IngressControl,
            mid: Label::default(),
            rid: Label::default(),
            repairs: Ssrc(0),
        };
        let row = rows.occupy(&key, 0);
        self.senders.push_back(Sender { ssrc, window: ReplayWindow::new(), row });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use sluice_protocol::table::{ROW_WORDS, Table};

    use super::*;
    use crate::shard::seed::SeededState;

    const TRANSPORT: TransportId = TransportId::new(0, 1, 1);

    fn table(rows: usize) -> Table {
        Table::new(Box::leak((0..rows * ROW_WORDS).map(|_| AtomicU64::new(0)).collect()))
    }

    fn rows(table: Table) -> Rows {
        Rows::new(table, SeededState::new(1))
    }

    #[test]
    fn each_sender_has_its_own_count_and_a_successor_knows_all_of_them() {
        let table = table(8);
        let (mut before, mut replay) = (rows(table), ControlReplay::default());
        for (ssrc, index) in [(1, 10), (2, 5), (1, 12), (1, 11)] {
            assert_eq!(replay.check(Ssrc(ssrc), index), Ok(()));
            replay.commit(&mut before, TRANSPORT, Ssrc(ssrc), index);
        }
        let mut after = rows(table);
        let mut resumed = ControlReplay::resume(&mut after, TRANSPORT);
        for (ssrc, index) in [(1, 12), (1, 9), (2, 5), (2, 0)] {
            assert_eq!(resumed.check(Ssrc(ssrc), index), Err(Discard::SrtcpReplayed), "{ssrc} {index}");
        }
        for (ssrc, index) in [(1, 13), (2, 6), (3, 0)] {
            assert_eq!(resumed.check(Ssrc(ssrc), index), Ok(()), "{ssrc} {index}");
            resumed.commit(&mut after, TRANSPORT, Ssrc(ssrc), index);
        }
        assert_eq!(after.of(TRANSPORT, Role::IngressControl).count(), 3, "nobody has two rows");
        assert_eq!(ControlReplay::resume(&mut after, TransportId::new(0, 1, 2)).senders.len(), 0, "another generation");
    }

    #[test]
    fn a_peer_that_reports_from_ever_new_ssrcs_takes_a_bounded_number_of_rows() {
        let (mut rows, mut replay) = (rows(table(STREAMS_MAX + 8)), ControlReplay::default());
        for ssrc in 0..1000 {
            replay.commit(&mut rows, TRANSPORT, Ssrc(ssrc), 1);
        }
        assert_eq!(
            (rows.of(TRANSPORT, Role::IngressControl).count(), replay.senders.len()),
            (STREAMS_MAX, STREAMS_MAX)
        );
        assert_eq!(replay.check(Ssrc(999), 1), Err(Discard::SrtcpReplayed));
    }

    #[test]
    fn without_a_row_reports_are_still_taken_once() {
        let (mut rows, mut replay) = (rows(table(0)), ControlReplay::default());
        replay.commit(&mut rows, TRANSPORT, Ssrc(1), 7);
        assert_eq!(replay.check(Ssrc(1), 7), Err(Discard::SrtcpReplayed));
        assert_eq!(replay.check(Ssrc(1), 8), Ok(()));
    }
}
