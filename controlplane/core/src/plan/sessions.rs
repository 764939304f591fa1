//! Sessions come, change and go.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use sluice_protocol::ice::{NodeSecret, Ufrag};
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::media::{Bitrate, SrtpKeys};
use sluice_protocol::plan::{Key, Object};
use sluice_protocol::time::Instant;

use super::mint::shard_of;
use super::space::{NoSpace, rows_of};
use super::{Control, ControlError, Effect};
use crate::access::Permissions;
use crate::limits;
use crate::room::{
    Input, Join, LeaveReason, ParticipantId, PublishedTrack, Receiver, RoomError, RoomId, default_source,
};
use crate::sdp::{
    Fingerprint, IceCredentials, LocalTransport, Negotiated, Offer, OfferError, Parameters, Role, negotiate,
    write_answer, write_fragment,
};
use crate::session::{CookieError, Membership, SectionObject, Session, SessionId, SsrcMinter, kind_of};

/// A peer connection to be opened by an offer.
#[derive(Debug)]
pub struct Open<'a> {
    /// Its id, random and not to be guessed.
    pub session: SessionId,
    /// The room.
    pub room: RoomId,
    /// Who enters with it.
    pub join: Join,
    /// The offer.
    pub offer: &'a Offer,
    /// What the client is; [`Join::is_publisher`] says the same to the room.
    pub role: Role,
    /// The certificate to pin, as the server wrote it; at most [`limits::CERTIFICATE_BYTES_MAX`].
    pub certificate: Vec<u8>,
}

/// Why a peer connection is not opened; nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// No such room.
    #[error("there is no such room")]
    NoSuchRoom,
    /// The id is taken.
    #[error("the session id is taken")]
    SessionExists,
    /// The room refuses the participant.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The offer cannot be served.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// The shard has no free slot: the node is full.
    #[error("the node has no room for another connection")]
    Full,
    /// As many have been let in and have not connected yet as there may be: of the identity, of the room, or of all.
    #[error("too many are joining at this time")]
    TooManyJoining,
    /// What has to be kept over restarts is too large.
    #[error(transparent)]
    Cookie(#[from] CookieError),
}

impl From<NoSpace> for OpenError {
    fn from(error: NoSpace) -> Self {
        match error {
            NoSpace::Table => Self::Full,
            NoSpace::Joining => Self::TooManyJoining,
        }
    }
}

impl Control {
    /// Opens a peer connection: checks, negotiates, mints addresses and SSRCs, lets the participant join, publish and
    /// receive, and puts all of it into the plan. The answer may leave when the data plane has acknowledged that plan.
    ///
    /// # Errors
    /// [`OpenError`]; nothing has changed then.
    pub fn open(&mut self, now: Instant, open: Open<'_>, effects: &mut Vec<Effect>) -> Result<TransportId, OpenError> {
        if self.sessions.contains_key(&open.session) {
            return Err(OpenError::SessionExists);
        }
        let room = self.rooms.get(&open.room).ok_or(OpenError::NoSuchRoom)?;
        room.check_join(&open.join)?;
        let permissions = Permissions::of(open.join.role, &open.join.overrides);
        if open.role == Role::Play && !permissions.can_subscribe {
            return Err(RoomError::MayNotSubscribe.into());
        }
        let bitrate = Bitrate(room.settings().limits.bitrate);
        let tracks_max = usize::try_from(room.settings().limits.tracks_per_participant).unwrap_or(usize::MAX);

        let mut random = self.random;
        let mut ssrcs = SsrcMinter::new(random.next_half());
        let cname = format!("{:016x}", random.next());
        let parameters = Parameters { role: open.role, session_id: random.next(), cname: &cname };
        let negotiated = negotiate(open.offer, &parameters, &mut || ssrcs.mint())?;
        if open.role == Role::Publish {
            let served = || negotiated.sections.iter().filter(|section| section.is_served());
            if served().count() > tracks_max {
                return Err(RoomError::TooManyTracks.into());
            }
            if !served().all(|section| permissions.allows_source(default_source(kind_of(section)))) {
                return Err(RoomError::MayNotPublish.into());
            }
        }
        check_size(&negotiated, &open)?;
        let (shard, rows) = (shard_of(&open.room, self.shards), rows_of(&negotiated));
        self.space.check(shard, &open.room, &open.join.identity, rows)?;
        self.random = random;
        let session = self.new_session(&open, negotiated, ssrcs, bitrate).ok_or(OpenError::Full)?;
        let transport = session.transport;
        self.space.take(transport, &open.room, &open.join.identity, rows);
        if let Err(error) = self.enter(now, session, open, effects) {
            self.space.release(transport);
            return Err(error.into());
        }
        Ok(transport)
    }

    /// Lets a session enter a further room: its participant joins, and publishes there what the session sends. Streams that
    /// the session receives stay with the room that has them; a front that wants more negotiates more.
    ///
    /// # Errors
    /// [`ControlError::NoSuchSession`], [`ControlError::NoSuchRoom`], [`ControlError::TooManyRooms`] above
    /// [`limits::ROOMS_PER_SESSION_MAX`], or the room's refusal; nothing has changed then.
    pub fn enter_room(
        &mut self,
        now: Instant,
        id: &SessionId,
        room: &RoomId,
        join: Join,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ControlError> {
        let session = self.sessions.get(id).ok_or(ControlError::NoSuchSession)?;
        let entered = self.rooms.get(room).ok_or(ControlError::NoSuchRoom)?;
        entered.check_join(&join)?;
        if session.memberships.iter().any(|member| member.room == *room) {
            return Err(RoomError::ParticipantExists.into());
        }
        if session.memberships.len() >= limits::ROOMS_PER_SESSION_MAX {
            return Err(ControlError::TooManyRooms);
        }
        let tracks = self.published_tracks(session);
        let permissions = Permissions::of(join.role, &join.overrides);
        if !tracks.iter().all(|track| permissions.allows_source(track.source)) {
            return Err(RoomError::MayNotPublish.into());
        }
        if tracks.len() > usize::try_from(entered.settings().limits.tracks_per_participant).unwrap_or(usize::MAX) {
            return Err(RoomError::TooManyTracks.into());
        }
        let is_up = session.keys.is_some();
        let participant = join.participant.clone();
        let mut inputs = vec![Input::Join(Box::new(join))];
        inputs.extend(is_up.then(|| Input::Connected(participant.clone())));
        for track in tracks {
            inputs.push(Input::Publish { participant: participant.clone(), track: Box::new(track) });
        }
        self.members.insert((room.clone(), participant.clone()), id.clone());
        if let Some(session) = self.sessions.get_mut(id) {
            session.memberships.push(Membership { room: room.clone(), participant });
        }
        for input in inputs {
            self.handle(now, room, input, effects).expect("it was checked before");
        }
        self.sync(id);
        Ok(())
    }

    /// Returns what a session publishes, as its first room has it.
    fn published_tracks(&self, session: &Session) -> Vec<PublishedTrack> {
        let member = |member: &Membership| self.rooms.get(&member.room)?.participant(&member.participant);
        session.memberships.iter().find_map(member).map_or_else(Vec::new, |participant| participant.tracks.clone())
    }

    /// Takes the keys of a finished DTLS handshake, with the state to be parked.
    ///
    /// # Errors
    /// [`ControlError::NoSuchSession`], [`ControlError::KeysKnown`].
    pub fn handle_handshake(
        &mut self,
        now: Instant,
        transport: TransportId,
        keys: SrtpKeys,
        dtls_state: Vec<u8>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ControlError> {
        let id = self.transports.get(&transport).cloned().ok_or(ControlError::NoSuchSession)?;
        let session = self.sessions.get_mut(&id).ok_or(ControlError::NoSuchSession)?;
        if session.keys.is_some() {
            return Err(ControlError::KeysKnown);
        }
        check_dtls_state(&dtls_state)?;
        session.keys = Some(keys);
        session.dtls_state = dtls_state;
        self.space.connect(transport);
        self.tell_rooms(now, transport, Input::Connected, effects);
        self.sync(&id);
        Ok(())
    }

    /// Parks a newer DTLS state of a session.
    ///
    /// # Errors
    /// [`ControlError::NoSuchSession`], or [`CookieError::TooLarge`] above [`limits::DTLS_STATE_BYTES_MAX`].
    pub fn set_dtls_state(&mut self, transport: TransportId, dtls_state: Vec<u8>) -> Result<(), ControlError> {
        check_dtls_state(&dtls_state)?;
        let id = self.transports.get(&transport).cloned().ok_or(ControlError::NoSuchSession)?;
        self.sessions.get_mut(&id).ok_or(ControlError::NoSuchSession)?.dtls_state = dtls_state;
        self.sync(&id);
        Ok(())
    }

    /// Restarts ICE when `remote` are other credentials than the session's, and tells whether it did.
    ///
    /// # Errors
    /// [`ControlError::NoSuchSession`].
    pub fn restart_ice(&mut self, id: &SessionId, remote: IceCredentials) -> Result<bool, ControlError> {
        let session = self.sessions.get_mut(id).ok_or(ControlError::NoSuchSession)?;
        if !session.is_restart(&remote) {
            return Ok(false);
        }
        session.restart_ice(remote, self.random.next_half());
        self.sync(id);
        Ok(true)
    }

    /// Ends a session: its participants leave their rooms.
    ///
    /// # Errors
    /// [`ControlError::NoSuchSession`].
    pub fn close(
        &mut self,
        now: Instant,
        id: &SessionId,
        reason: LeaveReason,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ControlError> {
        let session = self.sessions.get(id).ok_or(ControlError::NoSuchSession)?;
        for Membership { room, participant } in session.memberships.clone() {
            self.handle(now, &room, Input::Leave { participant, reason }, effects)?;
        }
        Ok(())
    }

    /// Returns the answer that describes a session; `candidates` are the data plane's addresses.
    #[must_use]
    pub fn answer(
        &self,
        id: &SessionId,
        secret: &NodeSecret,
        fingerprint: &Fingerprint,
        candidates: &[SocketAddr],
    ) -> Option<String> {
        self.describe(id, secret, fingerprint, candidates, write_answer)
    }

    /// Returns the fragment that answers an ICE restart of a session.
    #[must_use]
    pub fn restart_answer(
        &self,
        id: &SessionId,
        secret: &NodeSecret,
        fingerprint: &Fingerprint,
        candidates: &[SocketAddr],
    ) -> Option<String> {
        self.describe(id, secret, fingerprint, candidates, write_fragment)
    }

    fn describe(
        &self,
        id: &SessionId,
        secret: &NodeSecret,
        fingerprint: &Fingerprint,
        candidates: &[SocketAddr],
        write: impl Fn(&Negotiated, &LocalTransport<'_>) -> String,
    ) -> Option<String> {
        let session = self.sessions.get(id)?;
        let ufrag = session.ufrag().to_text();
        let password = secret.password(&ufrag);
        let password = std::str::from_utf8(&password).ok()?;
        let local = LocalTransport { ufrag: ufrag.as_str(), password, fingerprint, candidates };
        Some(write(&session.negotiated, &local))
    }

    /// Makes a session with its addresses; `None`, with all of them given back, when a slot is missing.
    fn new_session(
        &mut self,
        open: &Open<'_>,
        negotiated: Negotiated,
        ssrcs: SsrcMinter,
        bitrate: Bitrate,
    ) -> Option<Session> {
        let shard = shard_of(&open.room, self.shards);
        let transport = self.addresses.mint_transport(shard)?;
        let mut sections = Vec::with_capacity(negotiated.sections.len());
        for section in &negotiated.sections {
            let object = match (section.is_served(), open.role) {
                (false, _) => Some(SectionObject::Nothing),
                (true, Role::Publish) => {
                    self.addresses.mint_track(shard).map(|id| SectionObject::Track { id, muted: false })
                }
                (true, Role::Play) => {
                    self.addresses.mint_egress(shard).map(|id| SectionObject::Egress { id, source: None })
                }
            };
            sections.extend(object);
        }
        let is_complete = sections.len() == negotiated.sections.len();
        let session = Session {
            id: open.session.clone(),
            memberships: vec![Membership { room: open.room.clone(), participant: open.join.participant.clone() }],
            negotiated,
            sections,
            transport,
            credentials: vec![Ufrag { transport, restart: 0, random: self.random.next_half() }],
            keys: None,
            remb_cap: Some(bitrate),
            certificate: open.certificate.clone(),
            dtls_state: Vec::new(),
            ssrcs,
            streams: BTreeSet::new(),
        };
        if !is_complete {
            for key in session.plan_keys() {
                self.addresses.release(&key);
            }
        }
        is_complete.then_some(session)
    }

    /// Lets the participant of a new session join, publish and receive. Everything was checked before.
    fn enter(
        &mut self,
        now: Instant,
        session: Session,
        open: Open<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), RoomError> {
        let participant = open.join.participant.clone();
        let mut inputs = vec![Input::Join(Box::new(open.join))];
        let mut receivers = Vec::new();
        for (section, object) in session.negotiated.sections.iter().zip(&session.sections) {
            let (kind, codecs) = (kind_of(section), section.codecs.clone());
            match object {
                SectionObject::Nothing => {}
                SectionObject::Track { id, .. } => {
                    let track = PublishedTrack {
                        id: *id,
                        kind,
                        source: default_source(kind),
                        codecs,
                        muted_by_publisher: false,
                        muted_by_host: false,
                        order: 0,
                    };
                    inputs.push(Input::Publish { participant: participant.clone(), track: Box::new(track) });
                }
                SectionObject::Egress { id, .. } => {
                    receivers.push(Receiver { egress: *id, kind, codecs, track: None });
                }
            }
        }
        if !receivers.is_empty() {
            inputs.push(Input::AddReceivers { participant: participant.clone(), receivers });
        }
        let id = session.id.clone();
        self.transports.insert(session.transport, id.clone());
        self.members.insert((open.room.clone(), participant), id.clone());
        self.sessions.insert(id.clone(), session);
        for input in inputs {
            match self.handle(now, &open.room, input, effects) {
                Ok(()) => {}
                Err(ControlError::Room(error)) => {
                    // What was checked before cannot be refused now; if it is, nothing may stay behind.
                    drop(self.close(now, &id, LeaveReason::TransportFailed, effects));
                    self.forget_session(&id);
                    return Err(error);
                }
                Err(error) => unreachable!("the room is there: {error}"),
            }
        }
        self.sync(&id);
        Ok(())
    }

    /// Brings the plan in line with a session, its cookie included.
    pub(super) fn sync(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.get(id) else { return };
        let mut objects = session.objects();
        let rooms = &self.rooms;
        let cookie = session.park(|member| rooms.get(&member.room)?.participant(&member.participant));
        // The size was checked when the session was opened, and what grows since then has its own limits. Should many
        // rooms with long metadata still be too much, the cookie before it stays, and a successor knows these rooms.
        objects.extend(cookie.ok().map(Object::Cookie));
        for object in objects {
            self.put(object);
        }
    }

    /// Changes a section's object of a member's session, and the plan with it.
    pub(super) fn change_section(&mut self, member: &(RoomId, ParticipantId), change: impl Fn(&mut SectionObject)) {
        let Some(session) = self.members.get(member).and_then(|id| self.sessions.get_mut(id)) else { return };
        session.sections.iter_mut().for_each(change);
        for object in session.objects() {
            self.put(object);
        }
    }

    /// Silences a track for as long as any of its rooms has it muted.
    pub(super) fn silence(&mut self, track: TrackId) {
        let Some(Object::Track(object)) = self.plan.object(&Key::Track(track)) else { return };
        let Some(session) = self.transports.get(&object.transport).and_then(|id| self.sessions.get_mut(id)) else {
            return;
        };
        let rooms = &self.rooms;
        let members = session.memberships.iter();
        let mut members = members.filter_map(|member| rooms.get(&member.room)?.participant(&member.participant));
        let is_muted = members.any(|member| member.tracks.iter().any(|own| own.id == track && own.is_muted()));
        for object in &mut session.sections {
            match object {
                SectionObject::Track { id, muted } if *id == track => *muted = is_muted,
                SectionObject::Track { .. } | SectionObject::Egress { .. } | SectionObject::Nothing => {}
            }
        }
        for object in session.objects() {
            self.put(object);
        }
    }

    /// Takes a track out of a session and the plan, once its participant publishes it in no room any more.
    pub(super) fn withdraw_track(&mut self, room: &RoomId, participant: &ParticipantId, track: TrackId) {
        let member = (room.clone(), participant.clone());
        let Some(session) = self.members.get(&member).and_then(|id| self.sessions.get_mut(id)) else { return };
        let rooms = &self.rooms;
        let members = session.memberships.iter();
        let mut members = members.filter_map(|member| rooms.get(&member.room)?.participant(&member.participant));
        if members.any(|member| member.tracks.iter().any(|own| own.id == track)) {
            // It may have been muted by the room that it left.
            self.silence(track);
            return;
        }
        for object in &mut session.sections {
            if matches!(object, SectionObject::Track { id, .. } if *id == track) {
                *object = SectionObject::Nothing;
            }
        }
        let streams = session.streams.iter().filter(|(own, _)| *own == track);
        let mut keys: Vec<Key> = streams.map(|(track, ssrc)| Key::Stream(*track, *ssrc)).collect();
        keys.push(Key::Track(track));
        session.streams.retain(|(own, _)| *own != track);
        for key in keys {
            self.remove(&key);
        }
    }

    /// Ends one membership; the session ends with its last.
    pub(super) fn end_membership(&mut self, membership: &Membership, reason: LeaveReason, effects: &mut Vec<Effect>) {
        let member = (membership.room.clone(), membership.participant.clone());
        let Some(id) = self.members.remove(&member) else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.memberships.retain(|own| own != membership);
        if !session.memberships.is_empty() {
            self.sync(&id);
            return;
        }
        let transport = session.transport;
        self.forget_session(&id);
        let membership = membership.clone();
        effects.push(Effect::SessionClosed { session: id, transport, membership, reason });
    }

    /// Drops a session and everything that it has in the plan.
    pub(super) fn forget_session(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.remove(id) else { return };
        self.transports.remove(&session.transport);
        self.space.release(session.transport);
        for Membership { room, participant } in &session.memberships {
            self.members.remove(&(room.clone(), participant.clone()));
        }
        for key in session.plan_keys() {
            self.remove(&key);
        }
    }

    /// Keeps what the data plane learnt, so that the plan has it too; it is no change, as the data plane has it already.
    pub(super) fn handle_learnt(&mut self, object: &Object) {
        let (transport, stream) = match object {
            Object::Path(path) => (path.transport, None),
            Object::Stream(stream) => match self.plan.object(&Key::Track(stream.track)) {
                Some(Object::Track(track)) => (track.transport, Some((stream.track, stream.ssrc))),
                _ => return,
            },
            Object::Transport(_) | Object::Track(_) | Object::Egress(_) | Object::Cookie(_) => return,
        };
        let Some(id) = self.transports.get(&transport).cloned() else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.streams.extend(stream);
        let mut has_dropped = false;
        if let Object::Path(path) = object {
            has_dropped = session.handle_nominated(path.credentials);
        }
        self.plan.put(object.clone());
        if has_dropped {
            self.sync(&id);
        }
    }

    pub(super) fn handle_forgotten(&mut self, key: &Key) {
        match key {
            Key::Path(_) => drop(self.plan.remove(key)),
            Key::Stream(track, ssrc) => {
                let removed = self.plan.remove(key);
                let transport = match self.plan.object(&Key::Track(*track)) {
                    Some(Object::Track(track)) if removed.is_some() => track.transport,
                    _ => return,
                };
                let session = self.transports.get(&transport).and_then(|id| self.sessions.get_mut(id));
                if let Some(session) = session {
                    session.streams.remove(&(*track, *ssrc));
                }
            }
            Key::Transport(_) | Key::Track(_) | Key::Egress(_) | Key::Cookie(_) => {}
        }
    }
}

/// Refuses a description that would not fit into its cookie, with room left for what a session gathers in its life.
fn check_size(negotiated: &Negotiated, open: &Open<'_>) -> Result<(), CookieError> {
    const REST_BYTES: usize = limits::METADATA_BYTES_MAX + limits::DTLS_STATE_BYTES_MAX + 8 * 1024;
    let table = serde_json::to_vec(negotiated).map_or(usize::MAX, |bytes| bytes.len());
    let size_bytes = table.saturating_add(open.certificate.len()).saturating_add(REST_BYTES);
    let is_certificate_small = open.certificate.len() <= limits::CERTIFICATE_BYTES_MAX;
    if size_bytes > sluice_protocol::limits::COOKIE_BYTES_MAX || !is_certificate_small {
        return Err(CookieError::TooLarge { size_bytes });
    }
    Ok(())
}

const fn check_dtls_state(dtls_state: &[u8]) -> Result<(), CookieError> {
    if dtls_state.len() > limits::DTLS_STATE_BYTES_MAX {
        return Err(CookieError::TooLarge { size_bytes: dtls_state.len() });
    }
    Ok(())
}
