//! How many rows of the data plane's table sessions take, and how many of those sessions have not connected yet.
//!
//! A session takes its rows when it is opened, before its peer has proved anything but a token. So those that have not
//! connected are bounded: of one identity, of one room and of a shard, in rows, because a session with thirty video
//! sections is as dear as ten with one of each kind.

use std::collections::BTreeMap;

use sluice_protocol::ids::TransportId;
use sluice_protocol::media::MediaKind;

use crate::limits::{JOINING_ROWS_MAX, JOINING_ROWS_PER_IDENTITY_MAX, JOINING_ROWS_PER_ROOM_MAX, PLANNED_ROWS_MAX};
use crate::room::{Identity, RoomId};
use crate::sdp::Negotiated;
use crate::session::kind_of;

/// Rows of a transport itself: its own, and one for what its peer reports.
const ROWS_OF_TRANSPORT: usize = 2;

/// Why there is no space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoSpace {
    /// The shard's table.
    Table,
    /// For those who have not connected yet.
    Joining,
}

/// What is taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Space {
    held: BTreeMap<TransportId, Held>,
    planned: BTreeMap<u8, usize>,
    joining: BTreeMap<Pool, usize>,
}

/// What counts together of those who have not connected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pool {
    Shard(u8),
    Room(RoomId),
    Identity(RoomId, Identity),
}

#[derive(Clone, Debug)]
struct Held {
    rows: usize,
    /// Whoever has not connected yet.
    joining: Option<(RoomId, Identity)>,
}

/// Returns how many rows a session takes at most.
pub(super) fn rows_of(negotiated: &Negotiated) -> usize {
    let served = negotiated.sections.iter().filter(|section| section.is_served());
    let rows = served.map(|section| {
        let with_repairs = if kind_of(section) == MediaKind::Video { 2 } else { 1 };
        with_repairs * section.encodings.len().max(1)
    });
    ROWS_OF_TRANSPORT + rows.sum::<usize>()
}

impl Space {
    /// Tells whether somebody may open a session that takes `rows`.
    pub(super) fn check(&self, shard: u8, room: &RoomId, identity: &Identity, rows: usize) -> Result<(), NoSpace> {
        if self.planned.get(&shard).copied().unwrap_or(0) + rows > PLANNED_ROWS_MAX {
            return Err(NoSpace::Table);
        }
        for (pool, max) in pools(shard, room, identity) {
            if self.joining.get(&pool).copied().unwrap_or(0) + rows > max {
                return Err(NoSpace::Joining);
            }
        }
        Ok(())
    }

    /// Tells whether somebody may have `rows` in place of what a transport of the same shard takes.
    pub(super) fn check_instead(
        &self,
        transport: TransportId,
        room: &RoomId,
        identity: &Identity,
        rows: usize,
    ) -> Result<(), NoSpace> {
        let freed = self.held.get(&transport).map_or(0, |held| held.rows);
        if self.planned.get(&transport.shard()).copied().unwrap_or(0) + rows > PLANNED_ROWS_MAX + freed {
            return Err(NoSpace::Table);
        }
        let own: Vec<Pool> = self.pools_of(transport).into_iter().flatten().map(|(pool, _)| pool).collect();
        for (pool, max) in pools(transport.shard(), room, identity) {
            let freed = if own.contains(&pool) { freed } else { 0 };
            if self.joining.get(&pool).copied().unwrap_or(0) + rows > max + freed {
                return Err(NoSpace::Joining);
            }
        }
        Ok(())
    }

    /// Takes the rows of a session that has not connected.
    pub(super) fn take(&mut self, transport: TransportId, room: &RoomId, identity: &Identity, rows: usize) {
        self.adopt(transport, rows);
        for (pool, _) in pools(transport.shard(), room, identity) {
            *self.joining.entry(pool).or_default() += rows;
        }
        if let Some(held) = self.held.get_mut(&transport) {
            held.joining = Some((room.clone(), identity.clone()));
        }
    }

    /// Takes the rows of a session that has connected already.
    pub(super) fn adopt(&mut self, transport: TransportId, rows: usize) {
        *self.planned.entry(transport.shard()).or_default() += rows;
        self.held.insert(transport, Held { rows, joining: None });
    }

    /// Returns how many rows a transport may take besides what it has.
    pub(super) fn rows_left(&self, transport: TransportId) -> usize {
        let table = PLANNED_ROWS_MAX.saturating_sub(self.planned.get(&transport.shard()).copied().unwrap_or(0));
        let pools = self.pools_of(transport).into_iter().flatten();
        pools
            .map(|(pool, max)| max.saturating_sub(self.joining.get(&pool).copied().unwrap_or(0)))
            .fold(table, usize::min)
    }

    /// Returns what a transport counts for that has not connected.
    fn pools_of(&self, transport: TransportId) -> Option<[(Pool, usize); 3]> {
        let (room, identity) = self.held.get(&transport)?.joining.as_ref()?;
        Some(pools(transport.shard(), room, identity))
    }

    /// Tells whether a transport may take `rows` in place of those that it has; fewer it always may.
    pub(super) fn check_resize(&self, transport: TransportId, rows: usize) -> Result<(), NoSpace> {
        let Some(held) = self.held.get(&transport).filter(|held| rows > held.rows) else { return Ok(()) };
        for (pool, max) in self.pools_of(transport).iter().flatten() {
            let others = self.joining.get(pool).copied().unwrap_or(0).saturating_sub(held.rows);
            if others + rows > *max {
                return Err(NoSpace::Joining);
            }
        }
        let others = self.planned.get(&transport.shard()).copied().unwrap_or(0).saturating_sub(held.rows);
        if others + rows > PLANNED_ROWS_MAX { Err(NoSpace::Table) } else { Ok(()) }
    }

    /// Changes how many rows a transport takes, as [`Space::check_resize`] or [`Space::rows_left`] lets it.
    pub(super) fn resize(&mut self, transport: TransportId, rows: usize) {
        debug_assert_eq!(self.check_resize(transport, rows), Ok(()), "it was checked before");
        let Some(held) = self.held.get_mut(&transport) else { return };
        let planned = self.planned.entry(transport.shard()).or_default();
        *planned = planned.saturating_sub(held.rows) + rows;
        let before = std::mem::replace(&mut held.rows, rows);
        // Who has not connected counts for its pools with what it takes now.
        if let Some((room, identity)) = held.joining.clone() {
            for (pool, _) in pools(transport.shard(), &room, &identity) {
                let count = self.joining.entry(pool).or_default();
                *count = count.saturating_sub(before) + rows;
            }
        }
    }

    /// Counts a session as connected.
    pub(super) fn connect(&mut self, transport: TransportId) {
        let Some(held) = self.held.get_mut(&transport) else { return };
        let Some((room, identity)) = held.joining.take() else { return };
        for (pool, _) in pools(transport.shard(), &room, &identity) {
            give_back(&mut self.joining, &pool, held.rows);
        }
    }

    /// Gives the rows of a session back.
    pub(super) fn release(&mut self, transport: TransportId) {
        self.connect(transport);
        if let Some(held) = self.held.remove(&transport) {
            give_back(&mut self.planned, &transport.shard(), held.rows);
        }
    }
}

/// Returns what somebody who has not connected counts for, with the maximum of each.
fn pools(shard: u8, room: &RoomId, identity: &Identity) -> [(Pool, usize); 3] {
    [
        (Pool::Identity(room.clone(), identity.clone()), JOINING_ROWS_PER_IDENTITY_MAX),
        (Pool::Room(room.clone()), JOINING_ROWS_PER_ROOM_MAX),
        (Pool::Shard(shard), JOINING_ROWS_MAX),
    ]
}

fn give_back<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K, rows: usize) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(rows);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(number: u32) -> TransportId {
        TransportId::new(0, number, 1)
    }

    fn names(room: usize, identity: usize) -> (RoomId, Identity) {
        (RoomId(format!("room{room}")), Identity(format!("identity{identity}")))
    }

    #[test]
    fn one_identity_one_room_and_all_who_join_leave_space_for_others() {
        let mut space = Space::default();
        let mut number = 0;
        let mut fill = |space: &mut Space, room: usize, identity: usize| {
            let (room, identity) = names(room, identity);
            let mut taken = 0;
            while space.check(0, &room, &identity, 64).is_ok() {
                space.take(transport(number), &room, &identity, 64);
                number += 1;
                taken += 64;
            }
            taken
        };
        assert_eq!(fill(&mut space, 0, 0), JOINING_ROWS_PER_IDENTITY_MAX);
        let of_room: usize = (1..100).map(|identity| fill(&mut space, 0, identity)).sum();
        assert_eq!(of_room, JOINING_ROWS_PER_ROOM_MAX - JOINING_ROWS_PER_IDENTITY_MAX);
        let of_shard: usize = (1..100)
            .flat_map(|room| (0..9).map(move |who| (room, who)))
            .map(|(room, who)| fill(&mut space, room, who))
            .sum();
        assert_eq!(of_shard, JOINING_ROWS_MAX - JOINING_ROWS_PER_ROOM_MAX);
        let (room, identity) = names(7, 7);
        assert_eq!(space.check(0, &room, &identity, 1), Err(NoSpace::Joining));
        assert_eq!(space.check(1, &room, &identity, 1), Ok(()), "another shard has its own table");
        (0..number).for_each(|number| space.release(transport(number)));
        assert!(space.held.is_empty() && space.planned.is_empty() && space.joining.is_empty());
    }

    #[test]
    fn who_connects_gives_the_space_for_joining_back_but_not_its_rows() {
        let mut space = Space::default();
        let (room, identity) = names(0, 0);
        let mut taken = 0;
        let mut number = 0;
        while space.check(0, &room, &identity, 64).is_ok() {
            space.take(transport(number), &room, &identity, 64);
            space.connect(transport(number));
            number += 1;
            taken += 64;
        }
        assert_eq!((taken, space.check(0, &room, &identity, 64)), (PLANNED_ROWS_MAX, Err(NoSpace::Table)));
        space.release(transport(0));
        assert_eq!(space.check(0, &room, &identity, 64), Ok(()));
    }
}
