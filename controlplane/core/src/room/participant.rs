//! A participant of a room: who it is, what it publishes and what it receives.

use serde::{Deserialize, Serialize};
use sluice_protocol::ids::{EgressId, TrackId};
use sluice_protocol::media::MediaKind;
use sluice_protocol::time::Instant;

use super::detail::{Detail, TemporalLayers};
use super::event::Audience;
use crate::access::{PermissionOverrides, Permissions, Role, Source};
use crate::sdp::NegotiatedCodec;

macro_rules! id_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

id_newtype! {
    /// A room's id, `[A-Za-z0-9_-]{1,64}`.
    RoomId
}
id_newtype! {
    /// One stay of one identity in one room; chosen by the server, unique in the room for ever.
    ParticipantId
}
id_newtype! {
    /// Who somebody is to the application (`user_id` of a token).
    Identity
}

/// Where a participant stands.
///
/// ```text
/// joining ──► connected ◄──► reconnecting
///    │            │               │
///    └────────────┴──► left ◄─────┘      (gone from the room; the event says why)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParticipantState {
    /// Admitted, no media path yet.
    Joining {
        /// When it leaves unless it connects.
        deadline: Instant,
    },
    /// Its transport is up.
    Connected,
    /// Its transport went quiet.
    Reconnecting {
        /// When it leaves unless it comes back.
        deadline: Instant,
    },
}

impl ParticipantState {
    /// Returns the name in API and events.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Joining { .. } => "joining",
            Self::Connected => "connected",
            Self::Reconnecting { .. } => "reconnecting",
        }
    }

    /// Returns when the participant leaves if nothing happens.
    #[must_use]
    pub const fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Joining { deadline } | Self::Reconnecting { deadline } => Some(*deadline),
            Self::Connected => None,
        }
    }
}

/// Why a participant left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeaveReason {
    /// It said so.
    Left,
    /// It never connected.
    JoinTimeout,
    /// Its transport stayed quiet.
    ConnectionLost,
    /// Its DTLS handshake failed or its association was closed.
    TransportFailed,
    /// A host or the API removed it.
    Removed,
    /// The same identity connected again.
    Replaced,
    /// A host moved it to another room.
    Moved,
    /// The room was closed.
    RoomClosed,
    /// The control plane restarted while its handshake was half done.
    Interrupted,
    /// The token that let it in, or the last one that it renewed its stay with, has ended.
    TokenExpired,
}

impl LeaveReason {
    /// Returns the name in API, events and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::JoinTimeout => "join_timeout",
            Self::ConnectionLost => "connection_lost",
            Self::TransportFailed => "transport_failed",
            Self::Removed => "removed",
            Self::Replaced => "replaced",
            Self::Moved => "moved",
            Self::RoomClosed => "room_closed",
            Self::Interrupted => "interrupted",
            Self::TokenExpired => "token_expired",
        }
    }
}

/// What a participant wants to receive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Every track of the others, except some.
    Everything {
        /// Tracks that it unsubscribed from, as words.
        except: Vec<u64>,
    },
    /// These tracks, as words.
    Tracks(Vec<u64>),
    /// The tracks of the participant with this id or identity, whenever it is there.
    Participant(String),
    /// The tracks of who has published longest; the next one's when that one leaves.
    LongestPublishing,
}

/// A track that a participant publishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedTrack {
    /// Its address in the plan.
    pub id: TrackId,
    /// Audio or video.
    pub kind: MediaKind,
    /// What it shows or sounds.
    pub source: Source,
    /// Its codecs, from which payload types are mapped.
    pub codecs: Vec<NegotiatedCodec>,
    /// How many encodings a subscriber can be given, from the smallest picture to the largest; 1 without simulcast.
    pub layers: u8,
    /// The width of its best picture in pixels, where the publisher says so.
    pub width: Option<u16>,
    /// The height of its best picture in pixels, where the publisher says so.
    pub height: Option<u16>,
    /// Whether its publisher muted it.
    pub muted_by_publisher: bool,
    /// Whether a host or the API muted it; the publisher cannot undo that for this track. One that it publishes anew, or in
    /// another room, starts without: who is to stay silent loses the permission to publish.
    pub muted_by_host: bool,
    /// The order of publication in the room, from 1.
    pub order: u64,
}

impl PublishedTrack {
    /// Tells whether nothing of it is forwarded.
    #[must_use]
    pub const fn is_muted(&self) -> bool {
        self.muted_by_publisher || self.muted_by_host
    }
}

/// A place where a participant can receive one track: an m-line with its egress stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Its address in the plan.
    pub egress: EgressId,
    /// Audio or video.
    pub kind: MediaKind,
    /// The codecs that the participant decodes here.
    pub codecs: Vec<NegotiatedCodec>,
    /// The track that is subscribed to here.
    pub track: Option<TrackId>,
}

/// A track that a participant with a signalling connection is subscribed to; its session finds an m-line for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The track.
    pub track: TrackId,
    /// Whether nothing of it is wanted for now.
    pub is_paused: bool,
    /// How much of a picture is wanted.
    pub detail: Detail,
    /// How much of its frame rate is wanted.
    pub temporal_layers: TemporalLayers,
}

/// What a stay rests on where a token let it in: until when, and with which rights. A token renews it that gives no less.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// When the stay ends.
    pub until: Instant,
    /// The role that the token gave, whatever the participant's is by now.
    pub role: Role,
    /// What overrode it.
    pub overrides: PermissionOverrides,
}

impl Term {
    /// Returns what the token allowed.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        Permissions::of(self.role, &self.overrides)
    }
}

/// A participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Participant {
    /// Its id.
    pub id: ParticipantId,
    /// Who it is.
    pub identity: Identity,
    /// The displayed name.
    pub name: String,
    /// Anything that the application wants others to see.
    pub metadata: String,
    /// Its role.
    pub role: Role,
    /// What overrides the role.
    pub overrides: PermissionOverrides,
    /// Where it stands.
    pub state: ParticipantState,
    /// When it joined.
    pub joined_at: Instant,
    /// What its stay rests on; `None` for one that no token's end ends.
    pub term: Option<Term>,
    /// Whether it came to publish; a later one of the same identity that also publishes replaces it.
    pub is_publisher: bool,
    /// Whether it has a signalling connection: of those an identity has one in a room, and a later one replaces the earlier.
    pub is_signalled: bool,
    /// What it wants to receive.
    pub wish: Wish,
    /// What it publishes, in order of publication.
    pub tracks: Vec<PublishedTrack>,
    /// Where it can receive, in the order of its m-lines; nowhere with a signalling connection.
    pub receivers: Vec<Receiver>,
    /// What it is subscribed to, where it has a signalling connection; at most [`crate::limits::WISHED_TRACKS_MAX`].
    pub subscriptions: Vec<Subscription>,
}

impl Participant {
    /// Returns what it may do.
    #[must_use]
    pub fn permissions(&self) -> Permissions {
        Permissions::of(self.role, &self.overrides)
    }

    /// Returns when it leaves if nothing happens.
    #[must_use]
    pub fn leaves_at(&self) -> Option<Instant> {
        let until = self.term.as_ref().map(|term| term.until);
        self.state.deadline().into_iter().chain(until).min()
    }

    /// Tells whether nobody but those who manage the room may see or hear it.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        self.permissions().hidden
    }

    /// Returns who is told of what it does.
    #[must_use]
    pub fn audience(&self) -> Audience {
        if self.is_hidden() { Audience::Managers } else { Audience::Everybody }
    }
}
