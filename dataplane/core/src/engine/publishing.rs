//! Tracks and streams of the plan coming and going.

use sluice_protocol::event::{Event, Refusal};
use sluice_protocol::ids::{EgressId, TrackId, TransportId};
use sluice_protocol::limits::{CODECS_MAX, ENCODINGS_MAX};
use sluice_protocol::media::Ssrc;
use sluice_protocol::plan::{self, Key, StreamRole};
use sluice_protocol::table::{Role, RowIndex};
use sluice_protocol::time::Instant;

use super::Engine;
use crate::ingress::StreamIndex;
use crate::ingress::sources::{Source, SourceRole};
use crate::limits::{STREAMS_MAX, TRACKS_PER_TRANSPORT_MAX};
use crate::route::track::Track;
use crate::shard::slab::Place;
use crate::srtp::ReplayWindow;

impl Engine {
    pub(super) fn put_track(&mut self, now: Instant, plan: plan::Track, resume: bool) -> Result<(), Refusal> {
        let id = plan.id;
        if plan.codecs.len() > CODECS_MAX || plan.encodings.len() > ENCODINGS_MAX {
            return Err(Refusal::Invalid);
        }
        let place = self.make_place(id.0, self.tracks.place(id.0))?;
        self.make_room_for_sources(&plan)?;
        if place == Place::Living {
            let track = self.tracks.get(id.0).ok_or(Refusal::NoSuchAddress)?;
            if track.plan.kind != plan.kind {
                return Err(Refusal::Invalid);
            }
            if track.plan.transport == plan.transport && track.has_rids_of(&plan) {
                self.update_track(now, plan);
                return Ok(());
            }
            // It comes by another transport, or what the number of an encoding means has changed for whatever is stored of
            // it: it begins anew.
            self.remove_track(id);
        }
        if place == Place::Older {
            self.remove_older_track(id);
        }
        let transport = self.transports.get_mut(plan.transport.0).ok_or(Refusal::NoSuchReference)?;
        if transport.tracks.len() >= TRACKS_PER_TRANSPORT_MAX {
            return Err(Refusal::PlanFull);
        }
        transport.tracks.push(id);
        self.tracks.insert(id.0, Track::new(plan)).ok_or(Refusal::NoSuchAddress)?;
        self.adopt_targets(now, id);
        self.announce(id);
        if resume {
            self.want_key_frame(now, id, None);
        }
        Ok(())
    }

    /// Makes room for the SSRCs that a track's description announces. Those that it announced before and does not name any
    /// more go when they were never heard, for a publisher may renew all of them with each offer. Of those that were heard
    /// the ones that carry nothing go when there is no other room, and at last those that are no longer announced.
    fn make_room_for_sources(&mut self, plan: &plan::Track) -> Result<(), Refusal> {
        let id = plan.transport;
        let before = self.tracks.get(plan.id.0).map(|track| &track.plan).filter(|before| before.id == plan.id);
        let before: Vec<Ssrc> = before.into_iter().flat_map(announced).map(|(_, ssrc, _)| ssrc).collect();
        // What was learnt stays: browsers do not say again whose an SSRC is.
        let is_left = |source: &Source| {
            let ssrc = source.ssrc;
            source.track == plan.id && before.contains(&ssrc) && announced(plan).all(|(_, kept, _)| kept != ssrc)
        };
        self.retire_sources(id, |source| source.heard.is_none() && is_left(source));
        let is_over = |engine: &Self| {
            let transport = engine.transports.get(id.0).ok_or(Refusal::NoSuchReference)?;
            let new = announced(plan).filter(|(_, ssrc, _)| transport.sources.get(*ssrc).is_none()).count();
            Ok(transport.sources.len() + new > STREAMS_MAX)
        };
        while is_over(self)? {
            if self.forget_silent_source(id).is_err() {
                self.retire_sources(id, is_left);
                return if is_over(self)? { Err(Refusal::PlanFull) } else { Ok(()) };
            }
        }
        Ok(())
    }

    /// Takes what changed of a track whose encodings are the same.
    fn update_track(&mut self, now: Instant, plan: plan::Track) {
        let (id, muted) = (plan.id, plan.muted);
        let Some(track) = self.tracks.get_mut(id.0) else { return };
        let was_muted = track.plan.muted;
        track.update(plan);
        if was_muted != muted {
            self.apply_mute(now, id, muted);
        }
        self.announce(id);
    }

    /// Takes what was learnt of an SSRC. Of an encoding that is not negotiated any more it is forgotten.
    pub(super) fn put_stream(&mut self, now: Instant, plan: &plan::Stream, resume: bool) -> Result<(), Refusal> {
        self.check_shard(plan.track.0)?;
        let track = self.tracks.get_mut(plan.track.0).ok_or(Refusal::NoSuchReference)?;
        let transport = track.plan.transport;
        let (role, stream) = match plan.role {
            StreamRole::Media => (SourceRole::Media, track.place(plan.rid)),
            StreamRole::Rtx { of } => (SourceRole::rtx(of), track.carried_by(of).or_else(|| track.place(plan.rid))),
        };
        let Some(stream) = stream else {
            self.raise(Event::Forgotten(Key::Stream(plan.track, plan.ssrc)));
            return Ok(());
        };
        if role == SourceRole::Media
            && let Some(carried) = track.stream_mut(stream)
            && carried.is_silent()
        {
            carried.carry(now, plan.ssrc);
        }
        // What was heard outweighs what was announced and not heard.
        self.forget_sources(transport, |source| {
            source.ssrc == plan.ssrc && source.track != plan.track && source.heard.is_none()
        });
        self.add_source(transport, plan.track, stream, plan.ssrc, role)?;
        if resume && role == SourceRole::Media {
            self.want_key_frame_of(now, plan.track, plan.ssrc);
        }
        Ok(())
    }

    pub(super) fn remove_track(&mut self, id: TrackId) {
        let Some(track) = self.tracks.remove(id.0) else { return };
        let transport = track.plan.transport;
        for target in track.targets {
            self.detach(target, id);
        }
        self.queues.audio.retain(|queued| *queued != id);
        self.queues.video.retain(|queued| *queued != id);
        self.retire_sources(transport, |source| source.track == id);
        if let Some(transport) = self.transports.get_mut(transport.0) {
            transport.tracks.retain(|track| *track != id);
        }
    }

    pub(super) fn remove_stream(&mut self, track: TrackId, ssrc: Ssrc) {
        let Some(transport) = self.tracks.get(track.0).map(|track| track.plan.transport) else { return };
        self.retire_sources(transport, |source| source.track == track && source.ssrc == ssrc);
    }

    /// Makes sources of the SSRCs that a track's description announces, but for those that another track has: whichever
    /// came first keeps it, so that a plan is taken again in whatever order it was made.
    fn announce(&mut self, id: TrackId) {
        let Some(track) = self.tracks.get(id.0) else { return };
        let (transport, plan) = (track.plan.transport, track.plan.clone());
        for (stream, ssrc, role) in announced(&plan) {
            let _taken = self.add_source(transport, id, stream, ssrc, role);
        }
    }

    /// Adds a source, with its replay window resumed where it belonged nowhere before, or when a row tells where it stood.
    pub(super) fn add_source(
        &mut self,
        transport: TransportId,
        track: TrackId,
        stream: StreamIndex,
        ssrc: Ssrc,
        role: SourceRole,
    ) -> Result<(), Refusal> {
        let table_role = table_role(role);
        let row = self.rows.find(transport, ssrc, table_role);
        row.into_iter().for_each(|row| self.rows.claim(row));
        let transport = self.transports.get_mut(transport.0).ok_or(Refusal::NoSuchReference)?;
        if let Some(source) = transport.sources.get_mut(ssrc) {
            return if source.track == track { Ok(()) } else { Err(Refusal::Invalid) };
        }
        let left = row.map(|row| ReplayWindow::resume(self.rows.index(row)));
        let window = transport.refused.take(ssrc).or(left).unwrap_or_else(ReplayWindow::new);
        let source = Source { ssrc, track, stream, role, window, row, heard: None };
        transport.sources.insert(source).map(|_| ()).ok_or(Refusal::PlanFull)
    }

    /// Stops all who are fed from a track, or starts them again, each in its own encoding.
    fn apply_mute(&mut self, now: Instant, id: TrackId, muted: bool) {
        for index in 0..self.tracks.get(id.0).map_or(0, |track| track.targets.len()) {
            let target = self.tracks.get(id.0).and_then(|track| track.targets.get(index).copied());
            let Some(target) = target.and_then(|target| self.targets.get_mut(target.0)) else { continue };
            target.stream.set_muted(muted);
            let egress = target.plan.id;
            if !muted {
                self.start_from_history(now, egress, id);
            }
        }
    }

    /// Takes sources away whose SSRCs may come again for another track: a sender whose m-line rests for a while goes on with
    /// its SSRCs and their indices, and does not say again which encoding they carry.
    fn retire_sources(&mut self, transport: TransportId, gone: impl Fn(&Source) -> bool) {
        self.take_sources(transport, gone).into_iter().for_each(|row| self.rows.retire(row));
    }

    fn forget_sources(&mut self, transport: TransportId, gone: impl Fn(&Source) -> bool) {
        self.take_sources(transport, gone).into_iter().for_each(|row| self.rows.free(row));
    }

    /// Takes sources away, and returns their rows.
    fn take_sources(&mut self, transport: TransportId, gone: impl Fn(&Source) -> bool) -> Vec<RowIndex> {
        let Some(transport) = self.transports.get_mut(transport.0) else { return Vec::new() };
        transport.sources.remove_where(gone).into_iter().filter_map(|source| source.row).collect()
    }

    fn remove_older_track(&mut self, id: TrackId) {
        let older = self.tracks.iter().map(|track| track.plan.id).find(|old| old.slot() == id.slot());
        if let Some(older) = older {
            self.remove_track(older);
        }
    }

    /// Attaches the egress streams that named a track before it was there, or that had it before it began anew.
    pub(super) fn adopt_targets(&mut self, now: Instant, track: TrackId) {
        let waiting: Vec<EgressId> = self
            .targets
            .iter()
            .filter(|target| target.plan.source.as_ref().is_some_and(|source| source.track == track))
            .map(|target| target.plan.id)
            .collect();
        for id in waiting {
            if let Some(target) = self.targets.get_mut(id.0) {
                target.stream.hand_over();
            }
            self.attach(now, id, track);
        }
    }
}

/// Returns what a source's row is called.
pub(super) const fn table_role(role: SourceRole) -> Role {
    match role {
        SourceRole::Media => Role::Ingress,
        SourceRole::Rtx { .. } => Role::IngressRtx,
    }
}

/// Returns the SSRCs that a track's description announces.
fn announced(plan: &plan::Track) -> impl Iterator<Item = (StreamIndex, Ssrc, SourceRole)> {
    let numbered = plan.encodings.iter().take(ENCODINGS_MAX).zip(0..);
    numbered.flat_map(|(encoding, index)| {
        let media = encoding.ssrc.map(|ssrc| (StreamIndex(index), ssrc, SourceRole::Media));
        let repairs = encoding.rtx.map(|ssrc| (StreamIndex(index), ssrc, SourceRole::Rtx { of: encoding.ssrc }));
        media.into_iter().chain(repairs)
    })
}
