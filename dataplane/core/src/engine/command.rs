//! The plan's objects coming and going.

use sluice_protocol::event::{Event, Refusal};
use sluice_protocol::ids::{Address, EgressId, TrackId, TransportId};
use sluice_protocol::limits::{CNAME_BYTES_MAX, CODECS_MAX, CREDENTIALS_MAX, ENCODINGS_MAX};
use sluice_protocol::media::{Label, SrtpKeys, Ssrc};
use sluice_protocol::plan::{self, Key, Object, StreamRole};
use sluice_protocol::table::{Role, RowIndex, RowKey};
use sluice_protocol::time::{Instant, NtpTime};

use super::Engine;
use crate::egress::EgressStream;
use crate::guard::SealGuard;
use crate::ingress::StreamIndex;
use crate::ingress::sources::{Source, SourceRole};
use crate::limits::{EGRESSES_PER_TRANSPORT_MAX, TRACKS_PER_TRANSPORT_MAX};
use crate::rows::Keep;
use crate::slab::Place;
use crate::srtp::ReplayWindow;
use crate::target::{Target, TargetCounters};
use crate::timer::Timer;
use crate::track::Track;
use crate::transport::{Agent, Open, Security, Transport};

/// One step towards the plan that the controller wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Put this object under its key, whatever is there.
    Put {
        /// The object.
        object: Box<Object>,
        /// Whether a data plane that is gone had acknowledged it: its keys have been used, and without its rows in the
        /// shared table it is refused with [`Refusal::NoTableRow`].
        resume: bool,
    },
    /// Remove what is under this key, if anything is.
    Remove(Key),
    /// Ask the publisher of a track for a key frame.
    RequestKeyFrame(TrackId),
}

impl Engine {
    pub(super) fn put(&mut self, now: Instant, object: Object, resume: bool) -> Result<(), Refusal> {
        let key = object.key();
        let outcome = match object {
            Object::Transport(transport) => self.put_transport(now, transport, resume),
            Object::Path(path) => self.put_path(now, &path),
            Object::Track(track) => self.put_track(now, track, resume),
            Object::Stream(stream) => self.put_stream(now, &stream, resume),
            Object::Egress(egress) => self.put_egress(now, egress, resume),
            Object::Cookie(_) => Ok(()),
        };
        if outcome.is_err() {
            self.remove(key);
        }
        outcome
    }

    pub(super) fn remove(&mut self, key: Key) {
        match key {
            Key::Transport(id) => self.remove_transport(id),
            Key::Path(id) => self.remove_path(id),
            Key::Track(id) => self.remove_track(id),
            Key::Stream(track, ssrc) => self.remove_stream(track, ssrc),
            Key::Egress(id) => self.remove_egress(id),
            Key::Cookie(_) => {}
        }
    }

    fn put_transport(&mut self, now: Instant, plan: plan::Transport, resume: bool) -> Result<(), Refusal> {
        let id = plan.id;
        check_transport(&plan)?;
        let place = self.make_place(id.0, self.transports.place(id.0))?;
        if place == Place::Older {
            self.remove_older_transport(id);
        }
        if place != Place::Living {
            self.rows.free_slot(id, Keep::Own);
            let agent = Agent::new(&self.config.secret, &plan.credentials);
            self.transports.insert(id.0, Transport::new(plan.clone(), agent)).ok_or(Refusal::NoSuchAddress)?;
        }
        let transport = self.transports.get_mut(id.0).ok_or(Refusal::NoSuchAddress)?;
        if transport.plan.credentials != plan.credentials {
            transport.agent.set_credentials(&self.config.secret, &plan.credentials);
        }
        let keys = plan.keys;
        transport.plan = plan;
        self.timers.arm(id, &mut transport.deadlines, Timer::Feedback, now);
        match keys {
            Some(keys) => self.put_keys(now, id, &keys, resume),
            None => Ok(()),
        }
    }

    /// Opens a transport with its keys, once; SRTCP goes on past the last index used.
    fn put_keys(&mut self, now: Instant, id: TransportId, keys: &SrtpKeys, resume: bool) -> Result<(), Refusal> {
        let transport = self.transports.get_mut(id.0).ok_or(Refusal::NoSuchAddress)?;
        if let Security::Open(open) = &transport.security {
            return if open.keys == *keys { Ok(()) } else { Err(Refusal::Invalid) };
        }
        let row = match self.rows.find(id, Ssrc(0), Role::Srtcp) {
            Some(row) => row,
            None if resume => return Err(Refusal::NoTableRow),
            None => {
                let key = RowKey {
                    transport: id,
                    owner: 0,
                    ssrc: Ssrc(0),
                    role: Role::Srtcp,
                    mid: Label::default(),
                    rid: Label::default(),
                    repairs: Ssrc(0),
                };
                self.rows.occupy(&key, 0).ok_or(Refusal::PlanFull)?
            }
        };
        let open = Open::new(keys, row).map_err(|_| Refusal::Invalid)?;
        transport.security = Security::Open(Box::new(open));
        self.start_transport(now, id);
        Ok(())
    }

    fn put_path(&mut self, now: Instant, path: &plan::Path) -> Result<(), Refusal> {
        let id = path.transport;
        self.check_shard(id.0)?;
        let transport = self.transports.get_mut(id.0).ok_or(Refusal::NoSuchReference)?;
        // What this process learnt itself is newer than what its controller knows.
        if transport.agent.path().is_some() {
            return Ok(());
        }
        let changes = transport.agent.restore(now, path);
        let five_tuple = crate::port::FiveTuple { local: path.local, remote: path.remote };
        self.apply_ice(now, id, five_tuple, crate::transport::Changes { nominated: false, ..changes });
        Ok(())
    }

    fn put_track(&mut self, now: Instant, plan: plan::Track, resume: bool) -> Result<(), Refusal> {
        let id = plan.id;
        if plan.codecs.len() > CODECS_MAX || plan.encodings.len() > ENCODINGS_MAX {
            return Err(Refusal::Invalid);
        }
        let place = self.make_place(id.0, self.tracks.place(id.0))?;
        let transport = self.transports.get_mut(plan.transport.0).ok_or(Refusal::NoSuchReference)?;
        if place == Place::Living {
            let track = self.tracks.get_mut(id.0).ok_or(Refusal::NoSuchAddress)?;
            if (track.plan.transport, track.plan.kind) != (plan.transport, plan.kind) {
                return Err(Refusal::Invalid);
            }
            let muted = plan.muted;
            let unmuted = track.plan.muted && !muted;
            let was_muted = track.plan.muted;
            track.update(plan);
            if was_muted != muted {
                self.apply_mute(id, muted);
            }
            if unmuted {
                self.want_key_frame(now, id, None);
            }
            return self.announce(id);
        }
        if transport.tracks.len() >= TRACKS_PER_TRANSPORT_MAX {
            return Err(Refusal::PlanFull);
        }
        transport.tracks.push(id);
        if place == Place::Older {
            self.remove_older_track(id);
        }
        self.tracks.insert(id.0, Track::new(plan)).ok_or(Refusal::NoSuchAddress)?;
        self.adopt_targets(now, id);
        self.announce(id)?;
        if resume {
            self.want_key_frame(now, id, None);
        }
        Ok(())
    }

    /// Makes sources of the SSRCs that a track's description announces.
    fn announce(&mut self, id: TrackId) -> Result<(), Refusal> {
        let Some(track) = self.tracks.get(id.0) else { return Ok(()) };
        let (transport, encodings) = (track.plan.transport, track.plan.encodings.clone());
        for (index, encoding) in encodings.iter().enumerate().take(ENCODINGS_MAX) {
            let stream = StreamIndex(u8::try_from(index).unwrap_or(0));
            let announced = [(encoding.ssrc, SourceRole::Media), (encoding.rtx, SourceRole::Rtx)];
            for (ssrc, role) in announced.into_iter().filter_map(|(ssrc, role)| Some((ssrc?, role))) {
                self.add_source(transport, id, stream, ssrc, role)?;
            }
        }
        Ok(())
    }

    fn put_stream(&mut self, now: Instant, plan: &plan::Stream, resume: bool) -> Result<(), Refusal> {
        self.check_shard(plan.track.0)?;
        let track = self.tracks.get_mut(plan.track.0).ok_or(Refusal::NoSuchReference)?;
        let transport = track.plan.transport;
        let (role, stream) = match plan.role {
            StreamRole::Media => (SourceRole::Media, track.place(plan.rid)),
            StreamRole::Rtx { of } => (SourceRole::Rtx, track.carried_by(of).or_else(|| track.place(plan.rid))),
        };
        let stream = stream.ok_or(Refusal::PlanFull)?;
        if role == SourceRole::Media
            && let Some(carried) = track.stream_mut(stream)
            && carried.is_silent()
        {
            carried.carry(plan.ssrc);
        }
        self.add_source(transport, plan.track, stream, plan.ssrc, role)?;
        if resume && role == SourceRole::Media {
            self.want_key_frame(now, plan.track, Some(plan.ssrc));
        }
        Ok(())
    }

    /// Adds a source, with its replay window resumed when a row tells where it stood.
    fn add_source(
        &mut self,
        transport: TransportId,
        track: TrackId,
        stream: StreamIndex,
        ssrc: Ssrc,
        role: SourceRole,
    ) -> Result<(), Refusal> {
        let table_role = table_role(role);
        let row = self.rows.find(transport, ssrc, table_role);
        let window = row.map_or_else(ReplayWindow::new, |row| ReplayWindow::resume(self.rows.index(row)));
        let transport = self.transports.get_mut(transport.0).ok_or(Refusal::NoSuchReference)?;
        if let Some(source) = transport.sources.get_mut(ssrc) {
            return if source.track == track { Ok(()) } else { Err(Refusal::Invalid) };
        }
        let source = Source { ssrc, track, stream, role, window, row, heard: None };
        transport.sources.insert(source).map(|_| ()).ok_or(Refusal::PlanFull)
    }

    fn put_egress(&mut self, now: Instant, plan: plan::Egress, resume: bool) -> Result<(), Refusal> {
        let id = plan.id;
        let place = self.make_place(id.0, self.targets.place(id.0))?;
        let transport = self.transports.get(plan.transport.0).ok_or(Refusal::NoSuchReference)?;
        if place == Place::Living {
            return self.update_egress(now, plan);
        }
        if transport.egresses.len() >= EGRESSES_PER_TRANSPORT_MAX {
            return Err(Refusal::PlanFull);
        }
        if place == Place::Older {
            self.remove_older_egress(id);
        }
        let mixed = self.transports.get(plan.transport.0).is_some_and(|transport| transport.plan.extmap_allow_mixed);
        let mut stream = EgressStream::new(&plan, mixed, self.random.draw());
        let used = self.rows.find(plan.transport, plan.ssrc, Role::Egress).map(|row| self.rows.index(row));
        let rtx_row = plan.rtx.and_then(|rtx| self.rows.find(plan.transport, rtx, Role::EgressRtx));
        let rtx_used = rtx_row.map(|row| self.rows.index(row));
        let (row, rtx_row) = self.egress_rows(now, &plan, &mut stream, resume)?;
        let report_ntp = NtpTime(self.rows.anchor(row).report_ntp);
        let source = plan.source.as_ref().map(|source| source.track);
        let transport = plan.transport;
        let target = Target {
            stream,
            cursor: crate::history::Position(0),
            row,
            rtx_row,
            replay: None,
            report_ntp,
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
                self.rows.revive(row);
                stream.restore(now, self.rows.index(row), &self.rows.anchor(row));
                row
            }
            None => self.rows.occupy(&key, stream.index()).ok_or(Refusal::PlanFull)?,
        };
        let Some(rtx) = plan.rtx else { return Ok((row, None)) };
        let rtx_row = match self.rows.find(plan.transport, rtx, Role::EgressRtx) {
            Some(rtx_row) => {
                self.rows.revive(rtx_row);
                stream.restore_rtx(self.rows.index(rtx_row));
                rtx_row
            }
            None if found.is_some() && resume => return Err(Refusal::NoTableRow),
            None => {
                let key = RowKey { ssrc: rtx, role: Role::EgressRtx, repairs: plan.ssrc, ..key };
                self.rows.occupy(&key, stream.rtx_index()).ok_or(Refusal::PlanFull)?
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
        let was_paused = target.plan.paused;
        target.stream.update(&plan);
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
        }
        Ok(())
    }

    /// Feeds an egress stream from a track from now on, or from the track's last key frame.
    fn attach(&mut self, now: Instant, id: EgressId, track: TrackId) {
        // A source that is not there (yet) is legal: the plan may put it later, and takes it away first.
        let Some(source) = self.tracks.get_mut(track.0) else { return };
        source.targets.push(id);
        let muted = source.plan.muted;
        if let Some(target) = self.targets.get_mut(id.0) {
            target.cursor = source.history.head();
            target.stream.set_muted(muted);
        }
        self.start_from_history(now, id, track);
    }

    fn detach(&mut self, id: EgressId, track: TrackId) {
        if let Some(track) = self.tracks.get_mut(track.0) {
            track.targets.retain(|target| *target != id);
        }
        if let Some(target) = self.targets.get_mut(id.0) {
            target.replay = None;
        }
        if self.queues.blocked == Some(id) {
            self.queues.blocked = None;
        }
        self.queues.replaying.retain(|replaying| *replaying != id);
    }

    /// Attaches the egress streams that named a track before it was there.
    fn adopt_targets(&mut self, now: Instant, track: TrackId) {
        let waiting: Vec<EgressId> = self
            .targets
            .iter()
            .filter(|target| target.plan.source.as_ref().is_some_and(|source| source.track == track))
            .map(|target| target.plan.id)
            .collect();
        for id in waiting {
            self.attach(now, id, track);
        }
    }

    fn apply_mute(&mut self, id: TrackId, muted: bool) {
        let Some(track) = self.tracks.get(id.0) else { return };
        for target in &track.targets {
            if let Some(target) = self.targets.get_mut(target.0) {
                target.stream.set_muted(muted);
            }
        }
    }

    fn remove_transport(&mut self, id: TransportId) {
        let Some(transport) = self.transports.get(id.0) else { return };
        let (tracks, egresses) = (transport.tracks.clone(), transport.egresses.clone());
        for egress in egresses {
            self.remove_egress(egress);
        }
        for track in tracks {
            self.remove_track(track);
        }
        if let Some(transport) = self.transports.remove(id.0) {
            for five_tuple in transport.agent.five_tuples() {
                self.demux.forget(five_tuple, id);
            }
        }
        self.rows.free_slot(id, Keep::Nothing);
    }

    fn remove_path(&mut self, id: TransportId) {
        let Some(transport) = self.transports.get_mut(id.0) else { return };
        if let Some((five_tuple, _)) = transport.agent.path() {
            transport.agent.forget(five_tuple);
            self.demux.forget(five_tuple, id);
        }
    }

    fn remove_track(&mut self, id: TrackId) {
        let Some(track) = self.tracks.remove(id.0) else { return };
        let transport = track.plan.transport;
        for target in track.targets {
            self.detach(target, id);
        }
        self.queues.audio.retain(|queued| *queued != id);
        self.queues.video.retain(|queued| *queued != id);
        self.forget_sources(transport, |source| source.track == id);
        if let Some(transport) = self.transports.get_mut(transport.0) {
            transport.tracks.retain(|track| *track != id);
        }
    }

    fn remove_stream(&mut self, track: TrackId, ssrc: Ssrc) {
        let Some(transport) = self.tracks.get(track.0).map(|track| track.plan.transport) else { return };
        self.forget_sources(transport, |source| source.track == track && source.ssrc == ssrc);
    }

    fn forget_sources(&mut self, transport: TransportId, gone: impl Fn(&Source) -> bool) {
        let Some(transport) = self.transports.get_mut(transport.0) else { return };
        for row in transport.sources.remove_where(gone).into_iter().filter_map(|source| source.row) {
            self.rows.free(row);
        }
    }

    fn remove_egress(&mut self, id: EgressId) {
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

    fn remove_older_transport(&mut self, id: TransportId) {
        let older = self.transports.iter().map(|transport| transport.plan.id).find(|old| old.slot() == id.slot());
        if let Some(older) = older {
            self.remove_transport(older);
        }
    }

    fn remove_older_track(&mut self, id: TrackId) {
        let older = self.tracks.iter().map(|track| track.plan.id).find(|old| old.slot() == id.slot());
        if let Some(older) = older {
            self.remove_track(older);
        }
    }

    fn remove_older_egress(&mut self, id: EgressId) {
        let older = self.targets.iter().map(|target| target.plan.id).find(|old| old.slot() == id.slot());
        if let Some(older) = older {
            self.remove_egress(older);
        }
    }

    fn check_shard(&self, address: Address) -> Result<(), Refusal> {
        if address.shard() == self.config.shard { Ok(()) } else { Err(Refusal::NoSuchAddress) }
    }

    fn make_place(&self, address: Address, place: Place) -> Result<Place, Refusal> {
        self.check_shard(address)?;
        match place {
            Place::Beyond => Err(Refusal::NoSuchAddress),
            Place::Newer => Err(Refusal::StaleGeneration),
            Place::Free | Place::Living | Place::Older => Ok(place),
        }
    }

    /// Starts what a transport does by itself once it has keys and a peer.
    pub(super) fn start_transport(&mut self, now: Instant, id: TransportId) {
        let Some(transport) = self.transports.get_mut(id.0) else { return };
        if transport.agent.target().is_none() || transport.open().is_err() {
            return;
        }
        for timer in [Timer::KeyFrame, Timer::Report, Timer::Feedback] {
            self.timers.arm(id, &mut transport.deadlines, timer, now);
        }
        let egresses = transport.egresses.clone();
        for egress in egresses {
            let source = self.targets.get(egress.0).and_then(|target| target.plan.source.as_ref());
            if let Some(track) = source.map(|source| source.track) {
                self.start_from_history(now, egress, track);
            }
        }
    }

    /// Notes that a subscriber cannot be served, once per payload type's appearance.
    pub(super) fn report_undecodable(&mut self, id: EgressId, payload_type: sluice_protocol::media::PayloadType) {
        let Some(target) = self.targets.get_mut(id.0) else { return };
        if !std::mem::replace(&mut target.is_undecodable, true) {
            self.raise(Event::Undecodable { egress: id, payload_type });
        }
    }
}

fn check_transport(plan: &plan::Transport) -> Result<(), Refusal> {
    let of_another = plan.credentials.iter().any(|ufrag| ufrag.transport != plan.id);
    let count = plan.credentials.len();
    if of_another || count == 0 || count > CREDENTIALS_MAX || plan.cname.len() > CNAME_BYTES_MAX {
        return Err(Refusal::Invalid);
    }
    Ok(())
}

/// Returns what a source's row is called.
pub(super) const fn table_role(role: SourceRole) -> Role {
    match role {
        SourceRole::Media => Role::Ingress,
        SourceRole::Rtx => Role::IngressRtx,
    }
}
