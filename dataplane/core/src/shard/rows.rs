//! The shard's rows of the shared table: which is whose, which are free.

use std::collections::BTreeMap;

use hashbrown::{HashMap, HashSet};
use sluice_protocol::ids::TransportId;
use sluice_protocol::media::Ssrc;
use sluice_protocol::plan::Path;
use sluice_protocol::table::{Anchor, Role, RowIndex, RowKey, Table};

use crate::shard::seed::SeededState;

/// Finds and takes rows. The index over the table is rebuilt from the table itself at start, which is how a successor
/// finds what its predecessor left.
#[derive(Debug)]
pub(crate) struct Rows {
    table: Table,
    by_key: HashMap<(TransportId, Ssrc, Role), RowIndex, SeededState>,
    /// The rows of each transport slot, of any generation.
    by_slot: HashMap<u32, Vec<RowIndex>, SeededState>,
    /// Lowest first at the end, so that a young table touches few pages.
    free: Vec<RowIndex>,
    /// Rows of SSRCs that retired while their transport lives, oldest first. They stay, so that the SSRC can never start
    /// again from an index that was used; when the table is full the oldest is given up.
    retired: Retired,
    /// Rows that a predecessor left and that nobody has claimed yet.
    unclaimed: HashSet<RowIndex, SeededState>,
}

/// Rows in the order in which they retired.
#[derive(Debug)]
struct Retired {
    turns: HashMap<RowIndex, u64, SeededState>,
    by_turn: BTreeMap<u64, RowIndex>,
    turn: u64,
}

impl Rows {
    pub(crate) fn new(table: Table, seed: SeededState) -> Self {
        let mut by_key = HashMap::with_hasher(seed);
        let mut by_slot: HashMap<u32, Vec<RowIndex>, SeededState> = HashMap::with_hasher(seed);
        let mut unclaimed = HashSet::with_hasher(seed);
        let mut free = Vec::new();
        for index in (0..u32::try_from(table.len()).unwrap_or(u32::MAX)).rev().map(RowIndex) {
            match table.key(index) {
                Some(key) => {
                    by_key.insert((key.transport, key.ssrc, key.role), index);
                    by_slot.entry(key.transport.slot()).or_default().push(index);
                    unclaimed.insert(index);
                }
                None => free.push(index),
            }
        }
        let retired = Retired { turns: HashMap::with_hasher(seed), by_turn: BTreeMap::new(), turn: 0 };
        Self { table, by_key, by_slot, free, retired, unclaimed }
    }

    /// Returns the row of a stream, if it has one.
    pub(crate) fn find(&self, transport: TransportId, ssrc: Ssrc, role: Role) -> Option<RowIndex> {
        self.by_key.get(&(transport, ssrc, role)).copied()
    }

    /// Tells what a row is about; `None` when it is free.
    pub(crate) fn key(&self, row: RowIndex) -> Option<RowKey> {
        self.table.key(row)
    }

    /// Returns the rows of one role that a transport has, with their SSRCs.
    pub(crate) fn of(&self, transport: TransportId, role: Role) -> impl Iterator<Item = (Ssrc, RowIndex)> {
        let slot = self.by_slot.get(&transport.slot()).into_iter().flatten();
        let keys = slot.filter_map(|row| Some((self.table.key(*row)?, *row)));
        keys.filter(move |(key, _)| key.transport == transport && key.role == role).map(|(key, row)| (key.ssrc, row))
    }

    /// Takes a row for `key` with `index`; `None` when the table is full.
    pub(crate) fn occupy(&mut self, key: &RowKey, index: u64) -> Option<RowIndex> {
        let row = self.free.pop().or_else(|| self.reclaim())?;
        self.table.occupy(row, key, index);
        self.by_key.insert((key.transport, key.ssrc, key.role), row);
        self.by_slot.entry(key.transport.slot()).or_default().push(row);
        Some(row)
    }

    /// Marks the row of an SSRC that will not be sent again on its transport.
    pub(crate) fn retire(&mut self, row: RowIndex) {
        self.retired.push(row);
    }

    /// Goes on with a row that was found: one that a predecessor left, or that was retired and whose SSRC comes again after
    /// all.
    pub(crate) fn claim(&mut self, row: RowIndex) {
        self.retired.remove(row);
        self.unclaimed.remove(&row);
    }

    /// Takes it that everybody has claimed what a predecessor left: what is left of transports that are gone is freed, as
    /// their keys are never used again, and the rest retires.
    pub(crate) fn settle(&mut self, lives: impl Fn(TransportId) -> bool) {
        let mut left: Vec<RowIndex> = self.unclaimed.drain().collect();
        left.sort_unstable();
        for row in left {
            match self.table.key(row) {
                Some(key) if lives(key.transport) => self.retire(row),
                Some(_) | None => self.free(row),
            }
        }
    }

    /// Frees one row.
    pub(crate) fn free(&mut self, row: RowIndex) {
        self.claim(row);
        if let Some(key) = self.table.key(row) {
            self.by_key.remove(&(key.transport, key.ssrc, key.role));
            if let Some(rows) = self.by_slot.get_mut(&key.transport.slot()) {
                rows.retain(|other| *other != row);
            }
            self.table.free(row);
            self.free.push(row);
        }
    }

    /// Frees all rows of every transport that lives or lived in the slot of `transport`, except its own when `keep` says
    /// so: keys of a dead transport are never used again.
    pub(crate) fn free_slot(&mut self, transport: TransportId, keep: Keep) {
        let Some(rows) = self.by_slot.get(&transport.slot()) else { return };
        let is_stale = |row: &&RowIndex| {
            keep == Keep::Nothing || self.table.key(**row).is_some_and(|key| key.transport != transport)
        };
        let stale: Vec<RowIndex> = rows.iter().filter(is_stale).copied().collect();
        for row in stale {
            self.free(row);
        }
    }

    pub(crate) fn index(&self, row: RowIndex) -> u64 {
        self.table.index(row)
    }

    pub(crate) fn store_index(&self, row: RowIndex, index: u64) {
        self.table.store_index(row, index);
    }

    pub(crate) fn anchor(&self, row: RowIndex) -> Anchor {
        self.table.anchor(row)
    }

    pub(crate) fn store_anchor(&self, row: RowIndex, anchor: &Anchor) {
        self.table.store_anchor(row, anchor);
    }

    pub(crate) fn path(&self, row: RowIndex) -> Option<Path> {
        self.table.path(row)
    }

    pub(crate) fn store_path(&self, row: RowIndex, path: Option<&Path>) {
        self.table.store_path(row, path);
    }

    pub(crate) fn clock_offset_nanos(&self, row: RowIndex) -> Option<i64> {
        self.table.clock_offset_nanos(row)
    }

    pub(crate) fn store_clock_offset_nanos(&self, row: RowIndex, nanos: i64) {
        self.table.store_clock_offset_nanos(row, nanos);
    }

    fn reclaim(&mut self) -> Option<RowIndex> {
        let row = self.retired.oldest()?;
        self.free(row);
        self.free.pop()
    }
}

impl Retired {
    fn push(&mut self, row: RowIndex) {
        self.remove(row);
        self.turn += 1;
        self.turns.insert(row, self.turn);
        self.by_turn.insert(self.turn, row);
    }

    fn remove(&mut self, row: RowIndex) {
        if let Some(turn) = self.turns.remove(&row) {
            self.by_turn.remove(&turn);
        }
    }

    fn oldest(&self) -> Option<RowIndex> {
        self.by_turn.first_key_value().map(|(_, row)| *row)
    }
}

/// Which rows of a slot survive [`Rows::free_slot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Those of exactly this generation.
    Own,
    /// None.
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_protocol::media::Label;
    use sluice_protocol::table::ROW_WORDS;
    use std::sync::atomic::AtomicU64;

    fn table(rows: usize) -> Table {
        Table::new(Box::leak((0..rows * ROW_WORDS).map(|_| AtomicU64::new(0)).collect()))
    }

    fn key(transport: TransportId, ssrc: u32) -> RowKey {
        RowKey {
            transport,
            owner: 1,
            ssrc: Ssrc(ssrc),
            role: Role::Egress,
            mid: Label::default(),
            rid: Label::default(),
            repairs: Ssrc(0),
        }
    }

    #[test]
    fn a_successor_finds_the_rows_of_its_predecessor() {
        let (table, transport) = (table(4), TransportId::new(0, 1, 1));
        let mut rows = Rows::new(table, SeededState::new(1));
        let row = rows.occupy(&key(transport, 7), 100).unwrap();
        rows.store_index(row, 123);
        let successor = Rows::new(table, SeededState::new(2));
        assert_eq!(successor.find(transport, Ssrc(7), Role::Egress), Some(row));
        assert_eq!(successor.index(row), 123);
        assert_eq!(successor.find(transport, Ssrc(7), Role::EgressRtx), None);
    }

    #[test]
    fn a_slot_taken_again_frees_the_rows_of_the_generation_before() {
        let (old, new, other) = (TransportId::new(0, 1, 1), TransportId::new(0, 1, 2), TransportId::new(0, 2, 1));
        let mut rows = Rows::new(table(8), SeededState::new(1));
        for (transport, ssrc) in [(old, 1), (old, 2), (new, 3), (other, 4)] {
            rows.occupy(&key(transport, ssrc), 0).unwrap();
        }
        rows.free_slot(new, Keep::Own);
        let found = |rows: &Rows, transport, ssrc| rows.find(transport, Ssrc(ssrc), Role::Egress).is_some();
        assert_eq!((found(&rows, old, 1), found(&rows, old, 2), found(&rows, new, 3)), (false, false, true));
        rows.free_slot(new, Keep::Nothing);
        assert_eq!((found(&rows, new, 3), found(&rows, other, 4)), (false, true));
    }

    #[test]
    fn a_full_table_gives_up_the_ssrc_that_retired_first() {
        let transport = TransportId::new(0, 1, 1);
        let mut rows = Rows::new(table(3), SeededState::new(1));
        let taken: Vec<RowIndex> = (1..=3).map(|ssrc| rows.occupy(&key(transport, ssrc), 0).unwrap()).collect();
        assert_eq!(rows.occupy(&key(transport, 4), 0), None);
        rows.retire(taken[1]);
        rows.retire(taken[0]);
        assert_eq!(rows.occupy(&key(transport, 4), 0), Some(taken[1]));
        assert!(rows.find(transport, Ssrc(1), Role::Egress).is_some());
        assert!(rows.find(transport, Ssrc(2), Role::Egress).is_none());
    }

    #[test]
    fn what_nobody_claims_of_a_predecessor_is_freed_with_its_transport_or_retires() {
        let (living, gone) = (TransportId::new(0, 1, 1), TransportId::new(0, 2, 1));
        let table = table(4);
        let mut rows = Rows::new(table, SeededState::new(1));
        let taken: Vec<RowIndex> = [(living, 1), (living, 2), (gone, 3), (gone, 4)]
            .map(|(transport, ssrc)| rows.occupy(&key(transport, ssrc), 0).unwrap())
            .to_vec();
        let mut successor = Rows::new(table, SeededState::new(2));
        successor.claim(taken[0]);
        assert_eq!(successor.occupy(&key(living, 9), 0), None, "as long as it may be claimed it stays");
        successor.settle(|transport| transport == living);
        assert!(successor.find(gone, Ssrc(3), Role::Egress).is_none());
        let next: Vec<RowIndex> =
            (5..8).map(|ssrc| successor.occupy(&key(living, ssrc), 0).expect("there is room again")).collect();
        assert!(next.contains(&taken[1]), "that of a living transport goes last");
        assert_eq!(next[2], taken[1]);
        assert_eq!(successor.occupy(&key(living, 9), 0), None, "what is claimed stays");
        assert!(successor.find(living, Ssrc(1), Role::Egress).is_some());
    }

    #[test]
    fn a_row_that_was_freed_after_it_retired_is_not_given_up_again() {
        let transport = TransportId::new(0, 1, 1);
        let mut rows = Rows::new(table(1), SeededState::new(1));
        let row = rows.occupy(&key(transport, 1), 0).unwrap();
        rows.retire(row);
        rows.free(row);
        assert_eq!(rows.occupy(&key(transport, 2), 0), Some(row));
        assert_eq!(rows.occupy(&key(transport, 3), 0), None, "it is in use");
    }
}
