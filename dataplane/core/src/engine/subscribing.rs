//! Egress streams of the plan coming and going.

use sluice_protocol::event::{Event, Refusal};
use sluice_protocol::ids::{EgressId, TrackId};
use sluice_protocol::media::{Label, PayloadType, Ssrc};
use sluice_protocol::plan;
use sluice_protocol::table::{Anchor, Role, RowIndex, RowKey};
use sluice_protocol::time::Instant;

use super::Engine;
use crate::egress::EgressStream;
use crate::limits::EGRESSES_PER_TRANSPORT_MAX;
use crate::route::history::Position;
use crate::route::target::{SentBefore, Target, TargetCounters};
use crate::shard::slab::Place;
use crate::srtp::guard::SealGuard;

impl Engine {
    pub(super) fn put_egress(&mut self, now: Instant, plan: plan::Egress, resume: bool) -> Result<(), Refusal> {
        let id = plan.id;
        let place = self.make_place(id.0, self.targets.place(id.0))?;
        let transport = self.transports.get(plan.transport.0).ok_or(Refusal::NoSuchReference)?;
        if place == Place::Living {
            return self.update_egress(now, plan);
        }
        if transport.egresses.len() >= EGRESSES_PER_TRANSPORT_MAX {
            return Err(Refusal::PlanFull);
        }
        self.check_ssrcs(&plan)?;
        if place == Place::Older {
            self.remove_older_egress(id);
        }
        let mixed = self.transports.get(plan.transport.0).is_some_and(|transport| transport.plan.extmap_allow_mixed);
        let mut stream = EgressStream::new(&plan, mixed, self.random.draw());
        let used = self.rows.find(plan.transport, plan.ssrc, Role::Egress).map(|row| self.rows.index(row));
        let rtx_row = plan.rtx.and_then(|rtx| self.rows.find(plan.transport, rtx, Role::EgressRtx));
        let rtx_used = rtx_row.map(|row| self.rows.index(row));
        let (row, rtx_row) = self.egress_rows(now, &plan, &mut stream, resume)?;
        let Anchor { packets, payload_bytes, .. } = self.rows.anchor(row);
        let source = plan.source.as_ref().map(|source| source.track);
        let transport = plan.transport;
        let target = Target {
            stream,
            cursor: Position(0),
            row,
            rtx_row,
            replay: None,
            held: None,
            is_listed: false,
            inherited: SentBefore { packets, payload_bytes },
            last_command: None,
            is_undecodable: false,
            counters: TargetCounters::default(),
            guard: SealGuard::after(used),
            rtx_guard: SealGuard::after(rtx_used),
            plan,
        };
        self.targets.insert(id.0, target).ok_or(Refusal::NoSuchAddress)?;
        if let Some(transport) = self.transports.get_mut(transport.0) {
            transport.egresses.push(id);
        }
        if let Some(track) = source {
            self.attach(now, id, track);
        }
        Ok(())
    }

    /// Refuses SSRCs that another egress stream of the transport has, or that had the other role there: a key and an
    /// SSRC have one count of indices. The older generation that this one takes the place of may have them.
    fn check_ssrcs(&self, plan: &plan::Egress) -> Result<(), Refusal> {
        let wanted = [Some(plan.ssrc), plan.rtx];
        let transport = self.transports.get(plan.transport.0).ok_or(Refusal::NoSuchReference)?;
        let taken = |other: &plan::Egress| {
            other.id.slot() != plan.id.slot()
                && wanted.iter().flatten().any(|ssrc| *ssrc == other.ssrc || Some(*ssrc) == other.rtx)
        };
        let is_taken =
            transport.egresses.iter().filter_map(|id| self.targets.get(id.0)).any(|target| taken(&target.plan));
        let had_other_role = self.rows.find(plan.transport, plan.ssrc, Role::EgressRtx).is_some()
            || plan.rtx.is_some_and(|rtx| self.rows.find(plan.transport, rtx, Role::Egress).is_some());
        if is_taken || had_other_role || plan.rtx == Some(plan.ssrc) {
            return Err(Refusal::Invalid);
        }
        Ok(())
    }

    /// Finds or takes the rows of an egress stream; what was sealed under them before is never sealed again.
    fn egress_rows(
        &mut self,
        now: Instant,
        plan: &plan::Egress,
        stream: &mut EgressStream,
        resume: bool,
    ) -> Result<(RowIndex, Option<RowIndex>), Refusal> {
        let key = RowKey {
            transport: plan.transport,
            owner: plan.id.word(),
            ssrc: plan.ssrc,
            role: Role::Egress,
            mid: plan.mid.0,
            rid: Label::default(),
            repairs: Ssrc(0),
        };
        let found = self.rows.find(plan.transport, plan.ssrc, Role::Egress);
        if resume && found.is_none() {
            return Err(Refusal::NoTableRow);
        }
        let row = match found {
            Some(row) => {
                self.rows.claim(row);
                stream.restore(now, self.rows.index(row), &self.rows.anchor(row));
                row
            }
            None => self.rows.occupy(&key, stream.index()).ok_or(Refusal::PlanFull)?,
        };
        let Some(rtx) = plan.rtx else { return Ok((row, None)) };
        let rtx_row = match self.rows.find(plan.transport, rtx, Role::EgressRtx) {
            Some(rtx_row) => {
                self.rows.claim(rtx_row);
                stream.restore_rtx(self.rows.index(rtx_row));
                rtx_row
            }
            None if found.is_some() && resume => return Err(Refusal::NoTableRow),
            None => {
                let key = RowKey { ssrc: rtx, role: Role::EgressRtx, repairs: plan.ssrc, ..key };
                let rtx_row = self.rows.occupy(&key, stream.rtx_index());
                if rtx_row.is_none() && found.is_none() {
                    self.rows.free(row);
                }
                rtx_row.ok_or(Refusal::PlanFull)?
            }
        };
        Ok((row, Some(rtx_row)))
    }

    fn update_egress(&mut self, now: Instant, plan: plan::Egress) -> Result<(), Refusal> {
        let id = plan.id;
        let target = self.targets.get_mut(id.0).ok_or(Refusal::NoSuchAddress)?;
        let is_same = |old: &plan::Egress| {
            (old.transport, old.kind, old.mid, old.ssrc, old.rtx)
                == (plan.transport, plan.kind, plan.mid, plan.ssrc, plan.rtx)
        };
        if !is_same(&target.plan) {
            return Err(Refusal::Invalid);
        }
        let before = target.plan.source.as_ref().map(|source| source.track);
        let after = plan.source.as_ref().map(|source| source.track);
        if target.plan.extensions != plan.extensions && self.queues.blocked == Some(id) {
            // What waits was measured with the extensions of before: it is missing downstream, and asked for.
            self.queues.blocked = None;
            self.queues.planned.clear();
        }
        let was_paused = target.plan.paused;
        let awaited = target.stream.awaited();
        target.stream.update(&plan);
        let turns = target.stream.awaited().is_some_and(|encoding| awaited != Some(encoding));
        target.is_undecodable = false;
        let paused = plan.paused;
        target.plan = plan;
        if before != after {
            if let Some(track) = before {
                self.detach(id, track);
            }
            if let Some(track) = after {
                self.attach(now, id, track);
            }
        } else if was_paused
            && !paused
            && let Some(track) = after
        {
            self.start_from_history(now, id, track);
        } else if turns && let Some(track) = after {
            self.turn_from_history(now, id, track);
        }
        Ok(())
    }

    /// Feeds an egress stream from a track from now on, or from the track's last key frame.
    pub(super) fn attach(&mut self, now: Instant, id: EgressId, track: TrackId) {
        // A source that is not there (yet) is legal: the plan may put it later, and takes it away first.
        let Some(source) = self.tracks.get_mut(track.0) else { return };
        source.targets.push(id);
        let muted = source.plan.muted;
        if let Some(target) = self.targets.get_mut(id.0) {
            target.cursor = source.history.head();
            target.held = None;
            target.stream.set_muted(muted);
            target.stream.set_alive(source.liveness.alive());
        }
        self.start_from_history(now, id, track);
    }

    pub(super) fn detach(&mut self, id: EgressId, track: TrackId) {
        if let Some(track) = self.tracks.get_mut(track.0) {
            track.targets.retain(|target| *target != id);
        }
        if let Some(target) = self.targets.get_mut(id.0) {
            target.replay = None;
            target.held = None;
            target.is_listed = false;
        }
        if self.queues.blocked == Some(id) {
            self.queues.blocked = None;
            self.queues.planned.clear();
        }
        self.queues.due.retain(|due| *due != id);
    }

    pub(super) fn remove_egress(&mut self, id: EgressId) {
        let Some(track) = self.targets.get(id.0).map(|target| target.plan.source.as_ref().map(|source| source.track))
        else {
            return;
        };
        if let Some(track) = track {
            self.detach(id, track);
        }
        self.say_goodbye(id);
        let Some(target) = self.targets.remove(id.0) else { return };
        // Its SSRCs are not used again on this transport, and their indices can not be.
        for row in [Some(target.row), target.rtx_row].into_iter().flatten() {
            self.rows.retire(row);
        }
        if let Some(transport) = self.transports.get_mut(target.plan.transport.0) {
            transport.egresses.retain(|egress| *egress != id);
        }
    }

    fn remove_older_egress(&mut self, id: EgressId) {
        let older = self.targets.iter().map(|target| target.plan.id).find(|old| old.slot() == id.slot());
        if let Some(older) = older {
            self.remove_egress(older);
        }
    }

    /// Notes that a subscriber cannot be served, once per payload type's appearance.
    pub(super) fn report_undecodable(&mut self, id: EgressId, payload_type: PayloadType) {
        let Some(target) = self.targets.get_mut(id.0) else { return };
        if !std::mem::replace(&mut target.is_undecodable, true) {
            self.raise(Event::Undecodable { egress: id, payload_type });
        }
    }
}
