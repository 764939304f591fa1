//! Sessions come, change and go.

use sluice_protocol::ids::TransportId;
use sluice_protocol::media::Bitrate;
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
use crate::sdp::{Negotiated, Offer, OfferError, Parameters, Role, Simulcast, negotiate};
use crate::session::{CookieError, Membership, PeerConnection, SectionObject, Session, SessionId, SsrcMinter, kind_of};

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
        let simulcast = Simulcast::Best;
        let parameters = Parameters { role: open.role, simulcast, session_id: random.next(), cname: &cname };
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
        check_size(&negotiated, &open.certificate)?;
        let (shard, rows) = (shard_of(&open.room, self.shards), rows_of(&negotiated));
        self.space.check(shard, &open.room, &open.join.identity, rows)?;
        self.random = random;
        let certificate = open.certificate.clone();
        let connection = self.new_connection(shard, negotiated, ssrcs, bitrate, certificate).ok_or(OpenError::Full)?;
        let transport = connection.transport;
        self.space.take(transport, &open.room, &open.join.identity, rows);
        if let Err(error) = self.enter(now, connection, open, effects) {
            self.space.release(transport);
            return Err(error.into());
        }
        Ok(transport)
    }

    /// Notes that a session has a participant in a further room.
    pub(super) fn add_member(&mut self, id: &SessionId, room: &RoomId, participant: ParticipantId) {
        self.members.insert((room.clone(), participant.clone()), id.clone());
        if let Some(session) = self.sessions.get_mut(id) {
            session.memberships.push(Membership { room: room.clone(), participant });
        }
    }

    /// Ends a session: its participants leave their rooms, and its peer connections are dropped.
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
        // One with a signalling connection outlives its rooms.
        if self.sessions.contains_key(id) {
            self.end_signalled(id, effects);
        }
        Ok(())
    }

    /// Lets the participant of a new session join, publish and receive. Everything was checked before.
    fn enter(
        &mut self,
        now: Instant,
        connection: PeerConnection,
        open: Open<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), RoomError> {
        let participant = open.join.participant.clone();
        let mut inputs = vec![Input::Join(Box::new(open.join))];
        let mut receivers = Vec::new();
        for (section, object) in connection.negotiated.sections.iter().zip(&connection.sections) {
            let (kind, codecs) = (kind_of(section), section.codecs.clone());
            match object {
                SectionObject::Nothing => {}
                SectionObject::Track { id, .. } => {
                    let track = PublishedTrack {
                        id: *id,
                        kind,
                        source: default_source(kind),
                        codecs,
                        layers: section.layers(),
                        width: None,
                        height: None,
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
        let id = open.session;
        self.transports.insert(connection.transport, id.clone());
        self.members.insert((open.room.clone(), participant.clone()), id.clone());
        let memberships = vec![Membership { room: open.room.clone(), participant }];
        self.sessions.insert(id.clone(), Session::new(id.clone(), memberships, connection));
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

    /// Brings the plan in line with a session. Its cookies follow with [`Control::take_changes`]: once, however often the
    /// session changes until then.
    pub(super) fn sync(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.get(id) else { return };
        let objects: Vec<Object> = session.connections().flat_map(PeerConnection::objects).collect();
        for object in objects {
            self.put(object);
        }
        self.unparked.insert(id.clone());
    }

    /// Brings the cookies of sessions that have changed into the plan.
    pub(super) fn park_sessions(&mut self) {
        for id in std::mem::take(&mut self.unparked) {
            self.park_session(&id);
        }
    }

    fn park_session(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.get(id) else { return };
        let rooms = &self.rooms;
        let participant =
            |member: &Membership| rooms.get(&member.room)?.participant(&member.participant).map(AsRef::as_ref);
        // A cookie that is too large is no longer there: an older one would bring back rights that were taken away.
        let cookies = session.park(participant);
        let left_out = session.plan_keys().into_iter().filter(|key| match key {
            Key::Cookie(key) => cookies.iter().all(|cookie| cookie.key != *key),
            Key::Transport(_) | Key::Path(_) | Key::Track(_) | Key::Stream(..) | Key::Egress(_) => false,
        });
        let left_out: Vec<Key> = left_out.collect();
        for cookie in cookies {
            self.put(Object::Cookie(cookie));
        }
        for key in left_out {
            self.remove(&key);
        }
    }

    /// Ends one membership; with it ends a session without a signalling connection, which has no other.
    pub(super) fn end_membership(
        &mut self,
        now: Instant,
        membership: &Membership,
        reason: LeaveReason,
        effects: &mut Vec<Effect>,
    ) {
        let member = (membership.room.clone(), membership.participant.clone());
        let Some(id) = self.members.remove(&member) else { return };
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.memberships.retain(|own| own != membership);
        if session.signalling.is_some() {
            let membership = membership.clone();
            effects.push(Effect::MembershipEnded { session: id.clone(), membership, reason });
            self.sync(&id);
            self.sync_subscriptions(now, &id, effects);
            return;
        }
        let transports: Vec<TransportId> = session.connections().map(|connection| connection.transport).collect();
        self.forget_session(&id);
        for transport in transports {
            let (session, membership) = (id.clone(), membership.clone());
            effects.push(Effect::SessionClosed { session, transport, membership, reason });
        }
    }

    /// Drops a session and everything that it has in the plan.
    pub(super) fn forget_session(&mut self, id: &SessionId) {
        let Some(session) = self.sessions.remove(id) else { return };
        self.gathering.forget(id);
        self.unparked.remove(id);
        for connection in session.connections() {
            self.transports.remove(&connection.transport);
            self.space.release(connection.transport);
        }
        for Membership { room, participant } in &session.memberships {
            self.members.remove(&(room.clone(), participant.clone()));
        }
        for key in session.plan_keys() {
            self.remove(&key);
        }
    }
}

/// Refuses a description that would not fit into its cookie, with room left for what a session gathers in its life.
pub(super) fn check_size(negotiated: &Negotiated, certificate: &[u8]) -> Result<(), CookieError> {
    const REST_BYTES: usize = limits::METADATA_BYTES_MAX + limits::DTLS_STATE_BYTES_MAX + 8 * 1024;
    let table = serde_json::to_vec(negotiated).map_or(usize::MAX, |bytes| bytes.len());
    let size_bytes = table.saturating_add(certificate.len()).saturating_add(REST_BYTES);
    let is_certificate_small = certificate.len() <= limits::CERTIFICATE_BYTES_MAX;
    if size_bytes > sluice_protocol::limits::COOKIE_BYTES_MAX || !is_certificate_small {
        return Err(CookieError::TooLarge { size_bytes });
    }
    Ok(())
}

/// Tells whether a session may enter one more room, which is `room`.
pub(super) fn check_further_room(session: &Session, room: &RoomId) -> Result<(), ControlError> {
    if session.memberships.iter().any(|member| member.room == *room) {
        return Err(RoomError::ParticipantExists.into());
    }
    if session.memberships.len() >= limits::ROOMS_PER_SESSION_MAX {
        return Err(ControlError::TooManyRooms);
    }
    Ok(())
}
