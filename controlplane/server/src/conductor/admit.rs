//! How an offer becomes a session with an answer, and what becomes of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use sluice_controlplane_core::plan::{Open, OpenError};
use sluice_controlplane_core::room::{Identity, Join, LeaveReason, ParticipantId, RoomId, Wish};
use sluice_controlplane_core::sdp::{Fingerprint as SdpFingerprint, Fragment, Offer, Role};
use sluice_controlplane_core::session::{PeerConnection, Session, SessionId};
use sluice_protocol::ids::TransportId;
use sluice_protocol::plan::{Key, Object};

use super::desk::Desk;
use super::limits::SESSIONS_MAX;
use super::{
    Answer, ConductorError, Entrant, Front, IceServer, KEY_IDENTITY_PREFIX, Patched, SessionActor, SessionAddress,
};
use crate::clock;
use crate::dataplane::Acknowledged;
use crate::dtls::{Certificate, Fingerprint, Fingerprints};

/// A session that the plan wants; the answer may leave when the data plane has it.
pub(super) struct Admitted {
    pub(super) answer: Answer,
    pub(super) acknowledged: Acknowledged,
}

/// Who comes how.
pub(super) struct Newcomer {
    pub(super) room: RoomId,
    pub(super) entrant: Entrant,
    pub(super) role: Role,
    pub(super) wish: Wish,
    pub(super) offer: Offer,
    pub(super) client: IpAddr,
    pub(super) is_loopback: bool,
}

impl Desk {
    /// Opens a session for an offer.
    pub(super) fn open(&mut self, newcomer: &Newcomer) -> Result<Admitted, ConductorError> {
        if self.control.sessions().len() >= SESSIONS_MAX {
            return Err(ConductorError::TooManySessions);
        }
        self.check_backlog()?;
        self.check_incarnation(&newcomer.room, &newcomer.entrant.admission)?;
        let session = SessionId(random_id());
        let join = join_of(newcomer.entrant.clone(), newcomer.role == Role::Publish, newcomer.wish.clone());
        let open = Open {
            session: session.clone(),
            room: newcomer.room.clone(),
            join,
            offer: &newcomer.offer,
            role: newcomer.role,
            certificate: self.certificate.to_bytes(),
        };
        let mut effects = Vec::new();
        let transport = self.control.open(clock::now(), open, &mut effects).map_err(refusal)?;
        let acknowledged = self.settle_and_wait(effects);
        self.accept_association(transport)?;
        let candidates = self.candidates(newcomer.client, newcomer.is_loopback);
        let own = self.fingerprint_of(transport);
        let sdp = self.control.answer(&session, &self.secret, &own, &candidates).unwrap_or_default();
        let etag = self.control.connection(transport).map_or_else(String::new, etag);
        let answer = Answer { session_id: session.0, etag, sdp, ice_servers: self.ice_servers() };
        Ok(Admitted { answer, acknowledged })
    }

    /// Takes a fragment for a session. Returns what to answer once the data plane has acknowledged it.
    pub(super) fn patch(
        &mut self,
        address: SessionAddress<'_>,
        actor: &SessionActor,
        if_match: Option<&str>,
        fragment: &[u8],
    ) -> Result<(Patched, Acknowledged), ConductorError> {
        let id = self.addressed(address, actor)?;
        let connection = self.control.session(&id).and_then(Session::offered).ok_or(ConductorError::NoSuchSession)?;
        let (transport, current) = (connection.transport, etag(connection));
        let fragment = Fragment::parse(fragment)?;
        let if_match = if_match.ok_or(ConductorError::EtagMissing)?;
        let matches =
            if_match.split(',').map(|tag| tag.trim().trim_matches('"')).any(|tag| tag == "*" || tag == current);
        if !matches {
            return Err(ConductorError::EtagMismatch);
        }
        let restarted = match fragment.ice {
            Some(remote) => self.control.restart_ice(&id, remote).map_err(|_| ConductorError::NoSuchSession)?,
            None => false,
        };
        let acknowledged = self.settle_and_wait(Vec::new());
        if !restarted {
            return Ok((Patched::Taken, acknowledged));
        }
        let local = match self.control.plan().object(&Key::Path(transport)) {
            Some(Object::Path(path)) => path.local.ip(),
            _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        // Who came over loopback is told loopback again.
        let candidates = self.announced.candidates(local, self.media_port);
        let own = self.fingerprint_of(transport);
        let fragment = self.control.restart_answer(&id, &self.secret, &own, &candidates);
        let etag = self.control.connection(transport).map_or_else(String::new, etag);
        Ok((Patched::Restarted { fragment: fragment.unwrap_or_default(), etag }, acknowledged))
    }

    /// Ends a session because its client, or somebody who manages it, said so.
    pub(super) fn end(&mut self, address: SessionAddress<'_>, actor: &SessionActor) -> Result<(), ConductorError> {
        let id = self.addressed(address, actor)?;
        let reason = if self.is_own(&id, actor) { LeaveReason::Left } else { LeaveReason::Removed };
        let mut effects = Vec::new();
        let closed = self.control.close(clock::now(), &id, reason, &mut effects);
        self.settle(effects);
        closed.map_err(|_| ConductorError::NoSuchSession)
    }

    /// Tells whether a session is that of whoever acts on it. Who came by an API key has no identity of its own.
    fn is_own(&self, id: &SessionId, actor: &SessionActor) -> bool {
        let memberships = self.control.session(id).map_or(&[][..], |session| &session.memberships);
        memberships.iter().any(|membership| {
            let room = self.control.room(&membership.room);
            let participant = room.and_then(|room| room.participant(&membership.participant));
            participant.is_some_and(|own| match actor {
                SessionActor::Manager(Some(identity)) | SessionActor::Identity(identity) => own.identity.0 == *identity,
                SessionActor::Manager(None) => own.identity.0.starts_with(KEY_IDENTITY_PREFIX),
            })
        })
    }

    /// Returns the id of the session at an address, if `actor` may act on it.
    fn addressed(&self, address: SessionAddress<'_>, actor: &SessionActor) -> Result<SessionId, ConductorError> {
        let id = SessionId(address.session_id.to_owned());
        let session = self.control.session(&id).ok_or(ConductorError::NoSuchSession)?;
        let role = match address.front {
            Front::Whip => Role::Publish,
            Front::Whep => Role::Play,
        };
        let membership = session.memberships.iter().find(|membership| membership.room.0 == address.room_id);
        let membership = membership
            .filter(|_| session.offered().is_some_and(|own| own.negotiated.role == role))
            .ok_or(ConductorError::NoSuchSession)?;
        let participant =
            self.control.room(&membership.room).and_then(|room| room.participant(&membership.participant));
        match actor {
            SessionActor::Manager(_) => Ok(id),
            SessionActor::Identity(identity) if participant.is_some_and(|own| own.identity.0 == *identity) => Ok(id),
            SessionActor::Identity(_) => Err(ConductorError::NotYourSession),
        }
    }

    pub(super) fn candidates(&self, client: IpAddr, is_loopback: bool) -> Vec<SocketAddr> {
        let client = if is_loopback || !client.to_canonical().is_loopback() {
            client
        } else {
            // Behind a proxy of this host: the client itself is elsewhere.
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        self.announced.candidates(client, self.media_port)
    }

    /// Returns the certificate of a peer connection: the one that its session began with, which is of an earlier control
    /// plane where the session is. Another fingerprint would have the client give its DTLS association up.
    pub(super) fn certificate_of(&self, transport: TransportId) -> Arc<Certificate> {
        let pinned = self.control.connection(transport).map(|connection| &connection.certificate);
        let others = pinned.filter(|bytes| **bytes != self.certificate.to_bytes());
        match others.map(|bytes| Certificate::from_bytes(bytes)) {
            Some(Ok(certificate)) => Arc::new(certificate),
            Some(Err(error)) => {
                tracing::warn!(%error, ?transport, "the certificate of a session cannot be read");
                Arc::clone(&self.certificate)
            }
            None => Arc::clone(&self.certificate),
        }
    }

    /// Returns the fingerprint that descriptions of a peer connection bear.
    pub(super) fn fingerprint_of(&self, transport: TransportId) -> SdpFingerprint {
        let fingerprint = self.certificate_of(transport).fingerprint();
        SdpFingerprint::parse(&fingerprint).expect("our own fingerprint is SHA-256")
    }

    pub(super) fn ice_servers(&self) -> Vec<IceServer> {
        self.ice_servers.iter().map(|url| IceServer { url: url.clone(), credentials: None }).collect()
    }
}

/// Returns a peer connection's entity tag without quotes.
fn etag(connection: &PeerConnection) -> String {
    connection.entity_tag().trim_matches('"').to_owned()
}

/// Returns the fingerprints one of which the peer's certificate must have.
pub(super) fn remote_fingerprint(connection: &PeerConnection) -> Option<Fingerprints> {
    let values = connection.negotiated.remote_fingerprints.iter();
    let values = values.map(|value| format!("{} {}", value.hash.as_str(), value.value));
    Fingerprints::strongest(values.filter_map(|value| Fingerprint::parse(&value).ok()))
}

/// Returns how somebody enters a room.
pub(super) fn join_of(entrant: Entrant, is_publisher: bool, wish: Wish) -> Join {
    Join {
        participant: ParticipantId(format!("PA_{}", random_id())),
        identity: Identity(entrant.identity),
        name: entrant.name,
        metadata: entrant.metadata,
        role: entrant.role,
        overrides: entrant.overrides,
        admission: entrant.admission,
        good_until: None,
        is_publisher,
        is_signalled: false,
        wish,
    }
}

/// Returns an id with 128 random bits.
pub(super) fn random_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

pub(super) fn refusal(error: OpenError) -> ConductorError {
    match error {
        OpenError::NoSuchRoom => ConductorError::NoSuchRoom,
        OpenError::Room(error) => ConductorError::Room(error),
        OpenError::Offer(error) => ConductorError::Offer(error),
        OpenError::TooManyJoining => ConductorError::TooManyJoining,
        OpenError::SessionExists | OpenError::Full | OpenError::Cookie(_) => ConductorError::TooManySessions,
    }
}
