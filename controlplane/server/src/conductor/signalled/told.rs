//! What the client of a session is told, in the core's words; fronts put it into those of their protocol.

use sluice_controlplane_core::access::Claims;
use sluice_controlplane_core::room::{Identity, LeaveReason, ParticipantId, PublishedTrack, RoomId};
use sluice_controlplane_core::sdp::Role;
use sluice_controlplane_core::session::OfferId;
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::media::Mid;
use sluice_protocol::time::Instant;

use crate::conductor::{ParticipantSnapshot, RoomSnapshot};

/// The number that a client gave a request.
pub type RequestId = u64;

/// What the client of a session is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// What came of a request; without its number where the client gave none, or asked for nothing.
    Reply(Option<RequestId>, Reply),
    /// What happened.
    News(News),
}

impl Told {
    /// Returns about how many bytes it takes as text; what is shared by all who are told counts for each of them.
    pub fn weight(&self) -> usize {
        REST + match self {
            Self::Reply(_, Reply::Joined(stay)) => stay.weight(),
            Self::Reply(_, Reply::Answered { sdp, .. }) | Self::News(News::Offer { sdp, .. }) => sdp.len(),
            Self::News(News::ParticipantJoined { participant, .. } | News::ParticipantUpdated { participant, .. }) => {
                participant.weight()
            }
            Self::News(News::RoomUpdated(room)) => room.settings.metadata.len(),
            Self::News(News::Moved { claims, .. }) => claims.as_ref().map_or(0, |own| own.metadata.len()),
            Self::Reply(_, Reply::Done | Reply::Refused(_) | Reply::Left(_) | Reply::Renewed(_))
            | Self::News(
                News::ConnectionClosed { .. }
                | News::ParticipantLeft { .. }
                | News::TrackPublished { .. }
                | News::TrackUnpublished { .. }
                | News::TrackMuted { .. }
                | News::Subscribed(_)
                | News::Unsubscribed { .. }
                | News::Removed { .. },
            ) => 0,
        }
    }
}

/// What counts for the rest of a message, or of what stands in it.
const REST: usize = 256;

impl Stay {
    /// Returns about how many bytes it takes as text.
    #[must_use]
    pub fn weight(&self) -> usize {
        let others = self.others.iter().map(ParticipantSnapshot::weight).sum::<usize>();
        REST + self.room.settings.metadata.len() + self.own.weight() + others
    }
}

impl ParticipantSnapshot {
    fn weight(&self) -> usize {
        REST + self.participant.metadata.len()
    }
}

/// What came of a request.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "fields are the ids and values that the variant's name says")]
pub enum Reply {
    /// It was carried out, and there is nothing more to say.
    Done,
    /// It was refused.
    Refused(SaidRefusal),
    /// The session is in a room.
    Joined(Box<Stay>),
    /// The session has left a room.
    Left(RoomId),
    /// A newer token was taken: it counts for these rooms, whose stays end then, where they end at all.
    Renewed(Vec<(RoomId, Option<Instant>)>),
    /// The publisher's offer was taken.
    Answered { offer: OfferId, transport: TransportId, sdp: String, tracks: Vec<(Mid, TrackId)> },
}

/// What happened.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "fields are the ids and values that the variant's name says")]
pub enum News {
    /// The subscriber's connection has something to offer.
    Offer { offer: OfferId, transport: TransportId, sdp: String },
    /// A peer connection has ended here.
    ConnectionClosed { role: Role, transport: TransportId },
    /// Somebody entered.
    ParticipantJoined { room: RoomId, participant: Box<ParticipantSnapshot> },
    /// Somebody is otherwise than before.
    ParticipantUpdated { room: RoomId, participant: Box<ParticipantSnapshot> },
    /// Somebody left.
    ParticipantLeft { room: RoomId, participant: ParticipantId, identity: Identity, reason: LeaveReason },
    /// A track can be subscribed to.
    TrackPublished { room: RoomId, participant: ParticipantId, track: Box<PublishedTrack> },
    /// A track is gone.
    TrackUnpublished { room: RoomId, participant: ParticipantId, track: String },
    /// A track fell silent, or not any more.
    TrackMuted {
        room: RoomId,
        participant: ParticipantId,
        track: String,
        muted: bool,
        by_host: bool,
        muted_by_host: bool,
    },
    /// A track arrives from now on.
    Subscribed(Arrival),
    /// A track arrives no more; `refused` where the client refused it.
    Unsubscribed { track: TrackId, refused: bool },
    /// The room is otherwise than before.
    RoomUpdated(Box<RoomSnapshot>),
    /// The session's participant was moved to another room; the claims are those of a token with which it comes back there.
    Moved { room: RoomId, to: RoomId, claims: Option<Box<Claims>> },
    /// The session is in a room no more, and did not ask for it.
    Removed { room: RoomId, reason: LeaveReason },
}

/// A refusal as it is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaidRefusal {
    /// A stable name in `snake_case`.
    pub code: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// The value that is wrong, by its path.
    pub field: Option<String>,
}

/// A session's stay in a room, as it is now.
#[derive(Clone, Debug)]
pub struct Stay {
    /// The room.
    pub room: RoomSnapshot,
    /// Who the session is there.
    pub own: ParticipantSnapshot,
    /// The others, as far as they are seen.
    pub others: Vec<ParticipantSnapshot>,
}

/// A track that arrives at an m-line of the subscriber's connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The track.
    pub track: TrackId,
    /// The m-line.
    pub mid: Mid,
    /// The codecs that the publisher may send, where the client decodes none of them.
    pub undecodable: Option<Vec<&'static str>>,
}
