//! What fronts ask of the owner of rooms and sessions: one trait, plain data both ways.
//!
//! A front authenticates, checks the role × endpoint matrix, reads bodies and writes answers. Everything else, whether a room
//! is locked, an offer can be served or a token was revoked, is the conductor's to say.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use sluice_controlplane_core::access::{PermissionOverrides, Role};
use sluice_controlplane_core::room::{Admission, Participant, ParticipantChange, RoomChange, RoomSettings, Stage};
use sluice_protocol::stats::Stats;
use sluice_protocol::time::Instant;

use super::ConductorError;
use crate::dtls::Counts;

/// The owner of rooms, sessions and the plan, as HTTP sees it.
///
/// Every method answers within the request's timeout or is dropped where it stands; dropping a call never leaves half a
/// change behind. Ids were checked to be `[A-Za-z0-9_-]{1,64}`; a participant is named by the id of its stay or by its
/// identity. Metadata is JSON text, or empty for none.
#[async_trait]
pub trait Conductor: Send + Sync + 'static {
    /// Creates a room under `room_id`.
    ///
    /// # Errors
    /// [`ConductorError::RoomExists`], [`ConductorError::TooManyRooms`], or what the settings are refused for.
    async fn create_room(&self, room_id: &str, settings: RoomSettings) -> Result<RoomSnapshot, ConductorError>;

    /// Returns at most `limit` rooms in the order of creation and, of the same millisecond, of their ids; only those after
    /// `after` when given, whether or not that room is still there.
    ///
    /// # Errors
    /// [`ConductorError::Unavailable`].
    async fn rooms(&self, after: Option<&RoomPosition>, limit: usize) -> Result<Vec<RoomSnapshot>, ConductorError>;

    /// Returns a room.
    ///
    /// # Errors
    /// [`ConductorError::NoSuchRoom`].
    async fn room(&self, room_id: &str) -> Result<RoomSnapshot, ConductorError>;

    /// Changes a room's settings.
    ///
    /// # Errors
    /// [`ConductorError::NoSuchRoom`], or what the change is refused for.
    async fn update_room(&self, room_id: &str, change: RoomChange) -> Result<RoomSnapshot, ConductorError>;

    /// Closes a room and forgets it.
    ///
    /// # Errors
    /// [`ConductorError::NoSuchRoom`].
    async fn delete_room(&self, room_id: &str) -> Result<(), ConductorError>;

    /// Puts a room on air or takes it off; doing so twice changes nothing.
    ///
    /// # Errors
    /// [`ConductorError::NoSuchRoom`].
    async fn set_on_air(&self, room_id: &str, air: Air) -> Result<RoomSnapshot, ConductorError>;

    /// Returns at most `limit` participants of a room in the order of their ids, from the one after `after`, as far as they
    /// are seen.
    ///
    /// # Errors
    /// [`ConductorError::NoSuchRoom`].
    async fn participants(
        &self,
        room_id: &str,
        sight: Sight,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ParticipantSnapshot>, ConductorError>;

    /// Changes or mutes a participant, all of it or nothing.
    ///
    /// # Errors
    /// [`ConductorError::NoSuchRoom`], or [`sluice_controlplane_core::room::RoomError::NoSuchParticipant`] and its like.
    async fn update_participant(
        &self,
        room_id: &str,
        participant: &str,
        update: ParticipantUpdate,
    ) -> Result<ParticipantSnapshot, ConductorError>;

    /// Moves a participant to another room, with what it publishes, and returns it as it is there.
    ///
    /// # Errors
    /// [`ConductorError::NoSuchRoom`], [`ConductorError::NotMovable`], or the other room's refusal; it is where it was then.
    async fn move_participant(
        &self,
        room_id: &str,
        participant: &str,
        to: &str,
    ) -> Result<ParticipantSnapshot, ConductorError>;

    /// Removes a participant and revokes the tokens of its identity that were issued up to now: in this room, and in
    /// others that take its id later.
    ///
    /// # Errors
    /// [`ConductorError::NoSuchRoom`], [`sluice_controlplane_core::room::RoomError::NoSuchParticipant`];
    /// [`ConductorError::Store`] when the participant is out but the removal is forgotten when both planes end.
    async fn remove_participant(&self, room_id: &str, participant: &str) -> Result<(), ConductorError>;

    /// Tells whether a room would let somebody in, without letting it in: by the PIN for a guest, and by what was revoked
    /// for a token. Asked before a guest gets a token, and before a participant's token opens an endpoint of the room.
    ///
    /// # Errors
    /// [`ConductorError::NoSuchRoom`], [`sluice_controlplane_core::room::RoomError::WrongPin`], [`sluice_controlplane_core::room::RoomError::Revoked`]; and for guests
    /// [`sluice_controlplane_core::room::RoomError::Locked`]. Whether the room is full does not matter here.
    async fn check_admission(
        &self,
        room_id: &str,
        identity: &str,
        role: Role,
        admission: &Admission,
    ) -> Result<(), ConductorError>;

    /// Answers a WHIP offer; the answer describes what the data plane has acknowledged.
    ///
    /// # Errors
    /// [`ConductorError`].
    async fn publish(&self, room_id: &str, entrant: Entrant, offer: SignalledOffer) -> Result<Answer, ConductorError>;

    /// Answers a WHEP offer. Plays `participant`, else who has published longest; media comes later when nobody does.
    ///
    /// # Errors
    /// [`ConductorError`].
    async fn play(
        &self,
        room_id: &str,
        entrant: Entrant,
        participant: Option<&str>,
        offer: SignalledOffer,
    ) -> Result<Answer, ConductorError>;

    /// Takes a trickle or ICE-restart fragment for a session (RFC 9725 section 4.3).
    ///
    /// # Errors
    /// [`ConductorError::NoSuchSession`], also when it is another front's or another room's, and
    /// [`ConductorError::NotYourSession`]; [`ConductorError::EtagMissing`] and [`ConductorError::EtagMismatch`];
    /// [`ConductorError::Fragment`].
    async fn patch(
        &self,
        session: SessionAddress<'_>,
        actor: &SessionActor,
        if_match: Option<&str>,
        fragment: &[u8],
    ) -> Result<Patched, ConductorError>;

    /// Ends a session.
    ///
    /// # Errors
    /// [`ConductorError::NoSuchSession`], [`ConductorError::NotYourSession`].
    async fn end(&self, session: SessionAddress<'_>, actor: &SessionActor) -> Result<(), ConductorError>;

    /// Returns how the conductor and the data plane are. Answers at once, whatever their state.
    async fn health(&self) -> ConductorHealth;

    /// Returns what the conductor and its DTLS count. Answers at once.
    fn counts(&self) -> ConductorCounts;

    /// Returns the data plane's counters.
    ///
    /// # Errors
    /// [`ConductorError::Unavailable`] when it is not there.
    async fn stats(&self) -> Result<Stats, ConductorError>;
}

/// Which participants somebody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// All of them: who manages the room.
    All,
    /// Those who are not hidden.
    Visible,
}

/// Whether a room is to be on air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Air {
    /// On air.
    Start,
    /// Off air.
    Stop,
}

/// A room as it is now.
#[derive(Clone, Debug)]
pub struct RoomSnapshot {
    /// Its id.
    pub id: String,
    /// Its settings.
    pub settings: RoomSettings,
    /// Whether it is on air.
    pub stage: Stage,
    /// How many participants are in it, those who are hidden among them.
    pub participants: usize,
    /// How many of them are hidden.
    pub hidden_participants: usize,
    /// When it was created.
    pub created_at: SystemTime,
}

/// A room's place in the order of creation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoomPosition {
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// Its id.
    pub id: String,
}

impl RoomSnapshot {
    /// Returns the room's place in the order of creation.
    #[must_use]
    pub fn position(&self) -> RoomPosition {
        let since = self.created_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        RoomPosition { created_at_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX), id: self.id.clone() }
    }
}

/// A participant as it is now.
#[derive(Clone, Debug)]
pub struct ParticipantSnapshot {
    /// What the room knows; as many show it as want to, and it is there once.
    pub participant: Arc<Participant>,
    /// When it joined, by the wall clock.
    pub joined_at: SystemTime,
}

/// What to change of a participant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParticipantUpdate {
    /// Name, metadata, role, permissions.
    pub change: ParticipantChange,
    /// Whether all of its tracks are to be silent; done before [`ParticipantUpdate::tracks`].
    pub muted: Option<bool>,
    /// Tracks by their ids in the API (`TR_…`), and whether they are to be silent; as many as the front lets
    /// one request name.
    pub tracks: Vec<(String, bool)>,
}

/// Somebody who wants to publish or play, with claims that were verified for the room.
#[derive(Clone, Debug)]
pub struct Entrant {
    /// Who it is; made up for those who show an API key.
    pub identity: String,
    /// The displayed name; the identity when the token names none.
    pub name: String,
    /// JSON text, or empty.
    pub metadata: String,
    /// The role.
    pub role: Role,
    /// What overrides the role.
    pub overrides: PermissionOverrides,
    /// How it is admitted.
    pub admission: Admission,
    /// When its right ends; `None` for those who show an API key. A stay with a signalling connection ends then; sessions of
    /// WHIP and WHEP do not.
    pub good_until: Option<Instant>,
}

/// An offer with what matters about the way it came.
#[derive(Clone, Debug)]
pub struct SignalledOffer {
    /// The body, at most the configured limit of bytes; not looked at yet.
    pub sdp: Vec<u8>,
    /// The client's address, as far as it is known behind proxies.
    pub client: IpAddr,
    /// Whether the client signals over loopback, without a proxy in between: then it may be told loopback candidates.
    pub is_loopback: bool,
}

/// What was made of an offer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The session's id, the last part of its address.
    pub session_id: String,
    /// The `ETag` of its ICE session, without quotes; visible ASCII without `"`.
    pub etag: String,
    /// The SDP answer.
    pub sdp: String,
    /// ICE servers that the client is told.
    pub ice_servers: Vec<IceServer>,
}

/// A STUN or TURN server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer {
    /// Its URL (RFC 7064, RFC 7065).
    pub url: String,
    /// User name and password of TURN.
    pub credentials: Option<(String, String)>,
}

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Patched {
    /// Candidates were taken: 204.
    Taken,
    /// ICE restarts: 200 with the server's credentials and candidates.
    Restarted {
        /// The fragment.
        fragment: String,
        /// The new `ETag`, without quotes.
        etag: String,
    },
}

/// A front of sessions over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Publishing (RFC 9725).
    Whip,
    /// Playing (draft-ietf-wish-whep).
    Whep,
}

impl Front {
    /// Returns the first part of the paths.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whip => "whip",
            Self::Whep => "whep",
        }
    }
}

/// The address of a session: `/{front}/{room_id}/{session_id}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionAddress<'a> {
    /// The front.
    pub front: Front,
    /// The room.
    pub room_id: &'a str,
    /// The session.
    pub session_id: &'a str,
}

/// How the identities begin that are made up for those who show an API key.
pub const KEY_IDENTITY_PREFIX: &str = "api-";

/// Who acts on a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionActor {
    /// An API key, an admin, or a host of the session's room; with the identity that the token names.
    Manager(Option<String>),
    /// A participant with this identity: only its own sessions.
    Identity(String),
}

/// How the conductor and the data plane are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConductorHealth {
    /// The data plane's state.
    pub dataplane: DataplaneState,
    /// Its process.
    pub dataplane_pid: Option<u32>,
    /// How often it was started again since the control plane started.
    pub dataplane_restarts: u64,
    /// Rooms.
    pub rooms: usize,
    /// Participants in all of them, those who are hidden among them.
    pub participants: usize,
    /// How many of them are hidden.
    pub hidden_participants: usize,
}

/// What the conductor and its DTLS count, since the control plane started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConductorCounts {
    /// What the DTLS associations count.
    pub dtls: Counts,
    /// DTLS datagrams that found no stream to the data plane, or a full one.
    pub dtls_unsent: u64,
    /// Changed objects of the plan that wait for the data plane now.
    pub changes_waiting: usize,
}

/// The data plane's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataplaneState {
    /// It is there and has what it should have.
    Running,
    /// It is there, but was started again too often lately.
    Unstable {
        /// What is wrong, in a sentence.
        reason: String,
    },
    /// It starts, for the first time or again, or is being brought up to date.
    Starting,
    /// It keeps dying, or cannot be started.
    Failing {
        /// What is wrong, in a sentence.
        reason: String,
    },
}
