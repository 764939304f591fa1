//! Sessions: one user's connection to Sluice, with up to two peer connections.
//!
//! A [`Session`] belongs to one user, who is one participant in each of its rooms. It has up to two [`PeerConnection`]s, which
//! carry the media of all of these rooms: the *publisher*, with which the client sends and for which the client makes the
//! offers, and the *subscriber*, with which it receives. A WHIP session has a publisher alone, a WHEP session a subscriber
//! alone, for which the client made the one offer there is; each ends with its room. A session with a signalling connection
//! ([`Signalling`]) comes and goes between rooms; for its subscriber we make the offers ([`Offering`]).
//!
//! Who decides what: *rooms* decide who may publish, who is subscribed to what, and which layer that means. A *session* finds
//! an m-line for each of these on its peer connections, and keeps what was offered and answered. The *plan* says it to the
//! data plane. *Fronts* translate messages and decide nothing.
//!
//! ```text
//!  client                       session                               data plane
//!    │ offer 1 (publisher)  ──►  publish     tracks into rooms, plan ──►  │
//!    │ ◄── answer 1              answer      ◄── plan acknowledged        │
//!    │                           subscriptions of its rooms change        │
//!    │                           OfferDue    make_offer, plan        ──►  │
//!    │ ◄── offer 7 (subscriber)  offer       ◄── plan acknowledged        │
//!    │ answer 7             ──►  handle_answer  egress streams       ──►  │
//! ```
//!
//! The two connections are negotiated apart, and each by one side alone, so offers never meet (no glare): a client's offer
//! for the publisher has nothing to do with an offer of ours for the subscriber that is in flight.

mod connection;
mod cookie;
mod offering;
mod signalled;
mod ssrc;

use serde::{Deserialize, Serialize};
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::media::Mid;
use sluice_protocol::plan::Key;

pub(crate) use connection::kind_of;
pub use connection::{PeerConnection, SectionObject};
pub use cookie::{
    CookieError, Parked, ParkedConnection, ParkedSession, ParkedSignalled, cookie_key_of_room, cookie_key_of_session,
    cookie_key_of_signalled, park_room, transport_of_cookie, unpark,
};
pub use offering::{OfferId, Offering, Outstanding, Settled, Waiting, WantedTrack, WantedTracks};
pub use signalled::Signalling;
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
    /// What it has besides, where it has a signalling connection.
    pub signalling: Option<Signalling>,
}

impl Session {
    /// Makes a session of one peer connection.
    #[must_use]
    pub fn new(id: SessionId, memberships: Vec<Membership>, connection: PeerConnection) -> Self {
        let mut session = Self { id, memberships, publisher: None, subscriber: None, signalling: None };
        let role = connection.negotiated.role;
        *session.slot(role) = Some(connection);
        session
    }

    /// Makes a session with a signalling connection, which is in no room and has no peer connection yet.
    #[must_use]
    pub const fn signalled(id: SessionId, signalling: Signalling) -> Self {
        Self { id, memberships: Vec::new(), publisher: None, subscriber: None, signalling: Some(signalling) }
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

    /// Returns the peer connection for which the client makes the offers: the only one of WHIP and WHEP.
    #[must_use]
    pub fn offered(&self) -> Option<&PeerConnection> {
        self.connections().find(|connection| connection.offering.is_none())
    }

    /// Returns the tracks that the publisher's connection sends, each with its m-line.
    #[must_use]
    pub fn sent(&self) -> Vec<(Mid, TrackId)> {
        let rows = self.publisher.iter().flat_map(|own| own.negotiated.sections.iter().zip(&own.sections));
        rows.filter_map(|(section, object)| match object {
            SectionObject::Track { id, .. } => Some((section.mid, *id)),
            SectionObject::Egress { .. } | SectionObject::Nothing => None,
        })
        .collect()
    }

    /// Returns who the session is in a room.
    #[must_use]
    pub fn participant_in(&self, room: &RoomId) -> Option<&ParticipantId> {
        self.memberships.iter().find(|member| member.room == *room).map(|member| &member.participant)
    }

    /// Returns the keys of everything that this session has in a plan, learnt objects and cookies included.
    #[must_use]
    pub fn plan_keys(&self) -> Vec<Key> {
        let own = self.signalling.iter().map(|own| Key::Cookie(cookie_key_of_signalled(own.number)));
        self.connections().flat_map(PeerConnection::plan_keys).chain(own).collect()
    }

    /// Returns the place of the peer connection for a role of the client.
    pub const fn slot(&mut self, role: Role) -> &mut Option<PeerConnection> {
        match role {
            Role::Publish => &mut self.publisher,
            Role::Play => &mut self.subscriber,
        }
    }
}
