//! Sessions with a signalling connection: opened, let into rooms, and ended.

use sluice_protocol::ids::TransportId;
use sluice_protocol::plan::Key;
use sluice_protocol::time::Instant;

use super::sessions::check_further_room;
use super::{Control, ControlError, Effect, OpenError};
use crate::limits;
use crate::room::{Admission, Identity, Input, Join, LeaveReason, ParticipantId, Renewal, RoomId, Term};
use crate::sdp::{Role, Simulcast};
use crate::session::{Session, SessionId, Signalling};

/// A session with a signalling connection, which is in no room yet.
#[derive(Clone, Debug)]
pub struct OpenSession {
    /// Its id, random and not to be guessed.
    pub session: SessionId,
    /// Whose it is; everybody whom it enters rooms as has this identity.
    pub identity: Identity,
    /// The certificate to pin for its peer connections, as the server wrote it; at most
    /// [`limits::CERTIFICATE_BYTES_MAX`].
    pub certificate: Vec<u8>,
    /// Which encodings are accepted of what it publishes.
    pub simulcast: Simulcast,
}

impl Control {
    /// Opens a session with a signalling connection. It has no peer connection before it publishes or receives something.
    ///
    /// # Errors
    /// [`OpenError::SessionExists`], or [`OpenError::Cookie`] for a certificate that is too large.
    pub fn open_session(&mut self, open: OpenSession) -> Result<(), OpenError> {
        if self.sessions.contains_key(&open.session) {
            return Err(OpenError::SessionExists);
        }
        if open.certificate.len() > limits::CERTIFICATE_BYTES_MAX {
            let size_bytes = open.certificate.len();
            return Err(OpenError::Cookie(crate::session::CookieError::TooLarge { size_bytes }));
        }
        let signalling = Signalling::new(self.next_number, open.identity, open.certificate, open.simulcast);
        self.next_number += 1;
        let id = open.session;
        self.sessions.insert(id.clone(), Session::signalled(id.clone(), signalling));
        self.sync(&id);
        Ok(())
    }

    /// Lets a session with a signalling connection into a room. What it publishes elsewhere is not published here of itself,
    /// see [`Control::publish_in`].
    ///
    /// # Errors
    /// [`ControlError::NoSuchSession`], [`ControlError::NoSuchRoom`], [`ControlError::OtherIdentity`],
    /// [`ControlError::TooManyRooms`] above [`limits::ROOMS_PER_SESSION_MAX`], or the room's refusal; nothing has changed then.
    pub fn join_room(
        &mut self,
        now: Instant,
        id: &SessionId,
        room: &RoomId,
        join: Join,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ControlError> {
        let session = self.sessions.get(id).ok_or(ControlError::NoSuchSession)?;
        let signalling = session.signalling.as_ref().ok_or(ControlError::NoSuchSession)?;
        if signalling.identity != join.identity {
            return Err(ControlError::OtherIdentity);
        }
        check_further_room(session, room)?;
        let join = Join { is_signalled: true, ..join };
        self.rooms.get(room).ok_or(ControlError::NoSuchRoom)?.check_join(&join)?;
        self.add_member(id, room, join.participant.clone());
        self.handle(now, room, Input::Join(Box::new(join)), effects).expect("it was checked before");
        self.sync(id);
        self.sync_subscriptions(now, id, effects);
        Ok(())
    }

    /// Takes a session out of a room; the session goes on.
    ///
    /// # Errors
    /// [`ControlError::NoSuchSession`], or [`ControlError::NoSuchRoom`] when it is not in the room.
    pub fn leave_room(
        &mut self,
        now: Instant,
        id: &SessionId,
        room: &RoomId,
        reason: LeaveReason,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ControlError> {
        let session = self.sessions.get(id).ok_or(ControlError::NoSuchSession)?;
        let member = session.memberships.iter().find(|member| member.room == *room);
        let participant = member.ok_or(ControlError::NoSuchRoom)?.participant.clone();
        self.handle(now, room, Input::Leave { participant, reason }, effects)
    }

    /// Lets a session stay in a room for as long as a newer token is good, see [`Input::Renew`].
    ///
    /// # Errors
    /// [`ControlError::NoSuchSession`], [`ControlError::NoSuchRoom`] when it is not in the room, or the room's refusal.
    pub fn renew_stay(
        &mut self,
        now: Instant,
        id: &SessionId,
        room: &RoomId,
        (term, admission): (Term, Admission),
        effects: &mut Vec<Effect>,
    ) -> Result<(), ControlError> {
        let session = self.sessions.get(id).ok_or(ControlError::NoSuchSession)?;
        let participant = session.participant_in(room).cloned().ok_or(ControlError::NoSuchRoom)?;
        let renewal = Renewal { participant, term, admission };
        self.handle(now, room, Input::Renew(Box::new(renewal)), effects)
    }

    /// Shows everybody that a session's signalling connection is gone: its participants leave unless it comes back within their
    /// rooms' time. A front waits before it says so, so that one that resumes soon is not seen to have been away.
    ///
    /// # Errors
    /// [`ControlError::NoSuchSession`].
    pub fn signalling_lost(
        &mut self,
        now: Instant,
        id: &SessionId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ControlError> {
        self.tell_rooms_of_signalled(now, id, Input::Quiet, effects)
    }

    /// Shows everybody that a session's signalling connection is back.
    ///
    /// # Errors
    /// [`ControlError::NoSuchSession`].
    pub fn signalling_resumed(
        &mut self,
        now: Instant,
        id: &SessionId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ControlError> {
        self.tell_rooms_of_signalled(now, id, Input::Connected, effects)
    }

    fn tell_rooms_of_signalled(
        &mut self,
        now: Instant,
        id: &SessionId,
        input: impl Fn(ParticipantId) -> Input,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ControlError> {
        let session = self.sessions.get(id).filter(|session| session.signalling.is_some());
        if session.is_none() {
            return Err(ControlError::NoSuchSession);
        }
        self.tell_rooms_of(now, id, input, effects);
        Ok(())
    }

    /// Ends what a transport belongs to, because its DTLS association failed or was closed, or because the data plane refused
    /// it: the whole session, or of one with a signalling connection just the peer connection, which the client makes anew.
    pub fn close_transport(
        &mut self,
        now: Instant,
        transport: TransportId,
        reason: LeaveReason,
        effects: &mut Vec<Effect>,
    ) {
        let Some(session) = self.session_of(transport) else { return };
        let id = session.id.clone();
        if session.signalling.is_none() {
            drop(self.close(now, &id, reason, effects));
            return;
        }
        let role = session.connection(transport).map_or(Role::Play, |own| own.negotiated.role);
        self.unpublish(now, self.publications(&id, transport), effects);
        self.drop_connection(&id, role, &[], effects);
        self.sync(&id);
        self.sync_subscriptions(now, &id, effects);
    }

    /// Ends a session with a signalling connection that has left its rooms.
    pub(super) fn end_signalled(&mut self, id: &SessionId, effects: &mut Vec<Effect>) {
        for role in [Role::Publish, Role::Play] {
            self.drop_connection(id, role, &[], effects);
        }
        self.forget_session(id);
    }

    /// Drops a peer connection with everything that it has in the plan and another one has not taken over.
    pub(super) fn drop_connection(&mut self, id: &SessionId, role: Role, kept: &[Key], effects: &mut Vec<Effect>) {
        let Some(connection) = self.sessions.get_mut(id).and_then(|session| session.slot(role).take()) else { return };
        let transport = connection.transport;
        self.transports.remove(&transport);
        self.space.release(transport);
        for key in connection.plan_keys().into_iter().filter(|key| !kept.contains(key)) {
            self.remove(&key);
        }
        effects.push(Effect::ConnectionClosed { session: id.clone(), transport, role });
    }
}
