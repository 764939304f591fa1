//! Sessions: one user's connection to Sluice, with up to two peer connections.
//!
//! A [`Session`] belongs to one participant in each of its rooms. It has up to two [`PeerConnection`]s: the *publisher*, with
//! which the client sends, and the *subscriber*, with which it receives. A WHIP session has a publisher alone, a WHEP
//! session a subscriber alone. Sessions decide nothing: rooms do.

mod connection;
mod cookie;
mod ssrc;

use serde::{Deserialize, Serialize};
use sluice_protocol::ids::TransportId;
use sluice_protocol::plan::Key;

pub(crate) use connection::kind_of;
pub use connection::{PeerConnection, SectionObject};
pub use cookie::{
    CookieError, Parked, ParkedSession, cookie_key_of_room, cookie_key_of_session, park_room, transport_of_cookie,
    unpark,
};
pub use ssrc::SsrcMinter;

use crate::room::{ParticipantId, RoomId};
use crate::sdp::Role;

/// The id of a session, which the HTTP resource of WHIP and WHEP ends with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub String);

impl std::fmt::Display for SessionId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whose a session is in one room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The room.
    pub room: RoomId,
    /// The participant.
    pub participant: ParticipantId,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The id.
    pub id: SessionId,
    /// Whose it is.
    pub memberships: Vec<Membership>,
    /// What the client publishes with.
    pub publisher: Option<PeerConnection>,
    /// What the client plays with.
    pub subscriber: Option<PeerConnection>,
}

impl Session {
    /// Makes a session of one peer connection.
    #[must_use]
    pub fn new(id: SessionId, memberships: Vec<Membership>, connection: PeerConnection) -> Self {
        let mut session = Self { id, memberships, publisher: None, subscriber: None };
        let role = connection.negotiated.role;
        *session.slot(role) = Some(connection);
        session
    }

    /// Returns the peer connections, the publisher first.
    pub fn connections(&self) -> impl Iterator<Item = &PeerConnection> {
        self.publisher.iter().chain(&self.subscriber)
    }

    /// Returns the peer connections to be changed, the publisher first.
    pub fn connections_mut(&mut self) -> impl Iterator<Item = &mut PeerConnection> {
        self.publisher.iter_mut().chain(&mut self.subscriber)
    }

    /// Returns the peer connection of a transport.
    #[must_use]
    pub fn connection(&self, transport: TransportId) -> Option<&PeerConnection> {
        self.connections().find(|connection| connection.transport == transport)
    }

    /// Returns the peer connection of a transport to be changed.
    pub fn connection_mut(&mut self, transport: TransportId) -> Option<&mut PeerConnection> {
        self.connections_mut().find(|connection| connection.transport == transport)
    }

    /// Returns the peer connection that the client's offer opened: the only one of WHIP and WHEP.
    #[must_use]
    pub fn offered(&self) -> Option<&PeerConnection> {
        self.connections().next()
    }

    /// Returns the keys of everything that this session has in a plan, learnt objects and cookies included.
    #[must_use]
    pub fn plan_keys(&self) -> Vec<Key> {
        self.connections().flat_map(PeerConnection::plan_keys).collect()
    }

    /// Returns the place of the peer connection for a role of the client.
    pub const fn slot(&mut self, role: Role) -> &mut Option<PeerConnection> {
        match role {
            Role::Publish => &mut self.publisher,
            Role::Play => &mut self.subscriber,
        }
    }
}
