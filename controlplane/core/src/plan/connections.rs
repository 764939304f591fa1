//! Peer connections: made, described, kept in line with the plan, and what the data plane learns of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use sluice_protocol::ice::{NodeSecret, Ufrag};
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::media::{Bitrate, SrtpKeys};
use sluice_protocol::plan::{Key, Object};
use sluice_protocol::time::Instant;

use super::{Control, ControlError, Effect};
use crate::limits;
use crate::room::{Input, ParticipantId, RoomId};
use crate::sdp::{Fingerprint, IceCredentials, LocalTransport, Negotiated, Role, write_answer, write_fragment};
use crate::session::{CookieError, PeerConnection, SectionObject, SessionId, SsrcMinter};

impl Control {
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
        let connection = self.connection_mut(transport).ok_or(ControlError::NoSuchSession)?;
        if connection.keys.is_some() {
            return Err(ControlError::KeysKnown);
        }
        check_dtls_state(&dtls_state)?;
        connection.keys = Some(keys);
        connection.dtls_state = dtls_state;
        self.space.connect(transport);
        if self.sessions.get(&id).is_some_and(|session| session.signalling.is_none()) {
            self.tell_rooms(now, transport, Input::Connected, effects);
        }
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
        self.connection_mut(transport).ok_or(ControlError::NoSuchSession)?.dtls_state = dtls_state;
        self.sync(&id);
        Ok(())
    }

    /// Restarts ICE when `remote` are other credentials than the session's, and tells whether it did.
    ///
    /// # Errors
    /// [`ControlError::NoSuchSession`].
    pub fn restart_ice(&mut self, id: &SessionId, remote: IceCredentials) -> Result<bool, ControlError> {
        let session = self.sessions.get_mut(id).ok_or(ControlError::NoSuchSession)?;
        let mut connections = session.connections_mut();
        let connection =
            connections.find(|connection| connection.offering.is_none()).ok_or(ControlError::NoSuchSession)?;
        if !connection.is_restart(&remote) {
            return Ok(false);
        }
        connection.restart_ice(remote, self.random.next_half());
        drop(connections);
        self.sync(id);
        Ok(true)
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
        let connection = self.sessions.get(id)?.offered()?;
        self::write(connection, &connection.negotiated, secret, fingerprint, candidates, write)
    }

    /// Makes a peer connection with its addresses; `None`, with all of them given back, when a slot is missing.
    pub(super) fn new_connection(
        &mut self,
        shard: u8,
        negotiated: Negotiated,
        ssrcs: SsrcMinter,
        bitrate: Bitrate,
        certificate: Vec<u8>,
    ) -> Option<PeerConnection> {
        let transport = self.addresses.mint_transport(shard)?;
        let role = negotiated.role;
        let mut sections = Vec::with_capacity(negotiated.sections.len());
        for section in &negotiated.sections {
            let object = match (section.is_served(), role) {
                (false, _) => Some(SectionObject::Nothing),
                (true, Role::Publish) => {
                    self.addresses.mint_track(shard).map(|id| SectionObject::Track { id, muted: false })
                }
                (true, Role::Play) => self.addresses.mint_egress(shard).map(SectionObject::egress),
            };
            sections.extend(object);
        }
        let is_complete = sections.len() == negotiated.sections.len();
        let connection = PeerConnection {
            negotiated,
            sections,
            transport,
            credentials: vec![Ufrag { transport, restart: 0, random: self.random.next_half() }],
            keys: None,
            remb_cap: Some(bitrate),
            certificate,
            dtls_state: Vec::new(),
            ssrcs,
            offering: None,
            streams: BTreeSet::new(),
        };
        if !is_complete {
            for key in connection.plan_keys() {
                self.addresses.release(&key);
            }
        }
        is_complete.then_some(connection)
    }

    /// Returns the peer connection of a transport to be changed.
    pub(super) fn connection_mut(&mut self, transport: TransportId) -> Option<&mut PeerConnection> {
        self.sessions.get_mut(self.transports.get(&transport)?)?.connection_mut(transport)
    }

    /// Changes a section's object of a member's session, and the plan with it.
    pub(super) fn change_section(&mut self, member: &(RoomId, ParticipantId), change: impl Fn(&mut SectionObject)) {
        let Some(session) = self.members.get(member).and_then(|id| self.sessions.get_mut(id)) else { return };
        let sections = session.connections_mut().flat_map(|connection| &mut connection.sections);
        sections.for_each(change);
        for object in session.connections().flat_map(PeerConnection::objects).collect::<Vec<_>>() {
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
        let Some(connection) = &mut session.publisher else { return };
        for object in &mut connection.sections {
            match object {
                SectionObject::Track { id, muted } if *id == track => *muted = is_muted,
                SectionObject::Track { .. } | SectionObject::Egress { .. } | SectionObject::Nothing => {}
            }
        }
        for object in connection.objects() {
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
        let Some(connection) = &mut session.publisher else { return };
        for object in &mut connection.sections {
            if matches!(object, SectionObject::Track { id, .. } if *id == track) {
                *object = SectionObject::Nothing;
            }
        }
        let streams = connection.streams.iter().filter(|(own, _)| *own == track);
        let mut keys: Vec<Key> = streams.map(|(track, ssrc)| Key::Stream(*track, *ssrc)).collect();
        keys.push(Key::Track(track));
        connection.streams.retain(|(own, _)| *own != track);
        for key in keys {
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
        let Some(connection) = self.connection_mut(transport) else { return };
        connection.streams.extend(stream);
        let mut has_dropped = false;
        if let Object::Path(path) = object {
            has_dropped = connection.handle_nominated(path.credentials);
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
                if let Some(connection) = self.connection_mut(transport) {
                    connection.streams.remove(&(*track, *ssrc));
                }
            }
            Key::Transport(_) | Key::Track(_) | Key::Egress(_) | Key::Cookie(_) => {}
        }
    }
}

/// Writes a description of a peer connection with its newest credentials.
pub(super) fn write(
    connection: &PeerConnection,
    negotiated: &Negotiated,
    secret: &NodeSecret,
    fingerprint: &Fingerprint,
    candidates: &[SocketAddr],
    write: impl Fn(&Negotiated, &LocalTransport<'_>) -> String,
) -> Option<String> {
    let ufrag = connection.ufrag().to_text();
    let password = secret.password(&ufrag);
    let password = std::str::from_utf8(&password).ok()?;
    let local = LocalTransport { ufrag: ufrag.as_str(), password, fingerprint, candidates };
    Some(write(negotiated, &local))
}

const fn check_dtls_state(dtls_state: &[u8]) -> Result<(), CookieError> {
    if dtls_state.len() > limits::DTLS_STATE_BYTES_MAX {
        return Err(CookieError::TooLarge { size_bytes: dtls_state.len() });
    }
    Ok(())
}
