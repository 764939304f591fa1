//! What a room is made with, and what it refuses.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::participant::Wish;
use crate::access::PermissionOverrides;
use crate::limits;

/// Limits of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoomLimits {
    /// Participants at the same time.
    pub participants: u32,
    /// Tracks that one participant publishes at the same time.
    pub tracks_per_participant: u32,
    /// Bits per second that one publisher is told to send at most, where its feedback is REMB.
    pub bitrate: u64,
}

impl Default for RoomLimits {
    fn default() -> Self {
        Self { participants: 10_000, tracks_per_participant: 8, bitrate: 5_000_000 }
    }
}

/// How a room forwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomMode {
    /// By the data plane.
    #[default]
    Sfu,
    /// Peer to peer; not built yet.
    P2p,
    /// Mixed on the server; not built yet.
    AudioBridge,
}

/// What a room is made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RoomSettings {
    /// The displayed name.
    pub name: String,
    /// Anything that the application wants; parked apart from the rest.
    #[serde(skip)]
    pub metadata: String,
    /// The PIN for guests.
    pub pin: Option<String>,
    /// Whether nobody but hosts enters.
    pub is_locked: bool,
    /// How it forwards.
    pub mode: RoomMode,
    /// Its limits.
    pub limits: RoomLimits,
    /// How long it stays without participants; for ever when absent.
    pub empty_timeout: Option<Duration>,
    /// How long somebody may take to connect.
    pub join_timeout: Duration,
    /// How long somebody may be quiet, after the data plane noticed.
    pub reconnect_grace: Duration,
}

impl Default for RoomSettings {
    fn default() -> Self {
        Self {
            name: String::new(),
            metadata: String::new(),
            pin: None,
            is_locked: false,
            mode: RoomMode::Sfu,
            limits: RoomLimits::default(),
            empty_timeout: None,
            join_timeout: Duration::from_secs(30),
            reconnect_grace: Duration::from_secs(30),
        }
    }
}

impl RoomSettings {
    /// Checks what a caller chose.
    ///
    /// # Errors
    /// [`RoomError::TooLong`], [`RoomError::BadLimit`], or [`RoomError::NotBuilt`] for a mode that does not exist yet.
    pub fn check(&self) -> Result<(), RoomError> {
        check_texts(&self.name, &self.metadata)?;
        if self.pin.as_ref().is_some_and(|pin| pin.is_empty() || pin.len() > limits::PIN_BYTES_MAX) {
            return Err(RoomError::TooLong("pin"));
        }
        let RoomLimits { participants, tracks_per_participant, bitrate } = self.limits;
        if !(1..=limits::PARTICIPANTS_MAX).contains(&participants) {
            return Err(RoomError::BadLimit("participants"));
        }
        if !(1..=limits::TRACKS_PER_PARTICIPANT_MAX).contains(&tracks_per_participant) {
            return Err(RoomError::BadLimit("tracks_per_participant"));
        }
        if bitrate == 0 {
            return Err(RoomError::BadLimit("bitrate"));
        }
        match self.mode {
            RoomMode::Sfu => Ok(()),
            RoomMode::P2p => Err(RoomError::NotBuilt("p2p")),
            RoomMode::AudioBridge => Err(RoomError::NotBuilt("audio_bridge")),
        }
    }
}

pub(super) fn check_texts(name: &str, metadata: &str) -> Result<(), RoomError> {
    if name.len() > limits::NAME_BYTES_MAX {
        return Err(RoomError::TooLong("name"));
    }
    if metadata.len() > limits::METADATA_BYTES_MAX {
        return Err(RoomError::TooLong("metadata"));
    }
    Ok(())
}

pub(super) fn check_wish(wish: &Wish) -> Result<(), RoomError> {
    let is_short = match wish {
        Wish::Everything { except: tracks } | Wish::Tracks(tracks) => tracks.len() <= limits::WISHED_TRACKS_MAX,
        Wish::Participant(name) => name.len() <= limits::ID_BYTES_MAX,
        Wish::LongestPublishing => true,
    };
    if is_short { Ok(()) } else { Err(RoomError::TooLong("wish")) }
}

pub(super) fn check_overrides(overrides: &PermissionOverrides) -> Result<(), RoomError> {
    let sources = overrides.can_publish_sources.as_ref().map_or(0, Vec::len);
    if sources <= limits::SOURCES_MAX { Ok(()) } else { Err(RoomError::TooLong("can_publish_sources")) }
}

/// Why a room refuses an input; nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// No such participant.
    #[error("there is no such participant in the room")]
    NoSuchParticipant,
    /// No such track.
    #[error("the participant has no such track")]
    NoSuchTrack,
    /// The identity or the id of a stay is not of the form `[A-Za-z0-9_-]{1,64}`.
    #[error("an identity or participant id is not of the form [A-Za-z0-9_-]{{1,64}}")]
    BadId,
    /// The id of a stay was used before and is still there.
    #[error("the participant id is taken")]
    ParticipantExists,
    /// The room's limit of participants is reached.
    #[error("the room is full")]
    RoomFull,
    /// The participants of the room carry too much metadata together.
    #[error("the participants of this room have too much metadata together")]
    TooMuchMetadata,
    /// The room's limit of tracks per participant is reached.
    #[error("the participant publishes as many tracks as the room allows")]
    TooManyTracks,
    /// The room is locked.
    #[error("the room is locked")]
    Locked,
    /// The PIN is missing or wrong.
    #[error("the room's PIN is missing or wrong")]
    WrongPin,
    /// The identity was removed after its token was issued.
    #[error("the token was revoked: its holder was removed from the room")]
    Revoked,
    /// A token that is to renew a stay gives less than the one that let it in.
    #[error("the token allows less than the one that let the session in")]
    GivesLess,
    /// The token was issued for a room of this id that has ended.
    #[error("the token is for an earlier room of this id")]
    EarlierRoom,
    /// The participant may not publish, or not from this source.
    #[error("the participant may not publish this")]
    MayNotPublish,
    /// The participant may not subscribe.
    #[error("the participant may not subscribe")]
    MayNotSubscribe,
    /// The actor may not manage others.
    #[error("only a host may do this")]
    MayNotManage,
    /// A text is longer than [`limits`] says, or empty where it must not be.
    #[error("{0} is too long or empty")]
    TooLong(&'static str),
    /// A limit is out of its range.
    #[error("the limit {0} is out of its range")]
    BadLimit(&'static str),
    /// Something of the product that does not exist yet.
    #[error("{0} is not built yet")]
    NotBuilt(&'static str),
    /// The room was closed.
    #[error("the room is closed")]
    Closed,
}

/// The HTTP class of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 401.
    Unauthenticated,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// 409.
    Conflict,
    /// 422.
    Unprocessable,
}

impl RoomError {
    /// Returns a stable name in `snake_case`.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoSuchParticipant => "no_such_participant",
            Self::NoSuchTrack => "no_such_track",
            Self::BadId => "bad_id",
            Self::ParticipantExists => "participant_exists",
            Self::RoomFull => "room_full",
            Self::TooMuchMetadata => "too_much_metadata",
            Self::TooManyTracks => "too_many_tracks",
            Self::Locked => "room_locked",
            Self::WrongPin => "wrong_pin",
            Self::Revoked => "token_revoked",
            Self::GivesLess => "token_gives_less",
            Self::EarlierRoom => "token_of_earlier_room",
            Self::MayNotPublish => "may_not_publish",
            Self::MayNotSubscribe => "may_not_subscribe",
            Self::MayNotManage => "may_not_manage",
            Self::TooLong(_) => "too_long",
            Self::BadLimit(_) => "bad_limit",
            Self::NotBuilt(_) => "not_built",
            Self::Closed => "room_closed",
        }
    }

    /// Returns the class of HTTP status.
    #[must_use]
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::Revoked | Self::EarlierRoom => Refusal::Unauthenticated,
            Self::Locked
            | Self::WrongPin
            | Self::GivesLess
            | Self::MayNotPublish
            | Self::MayNotSubscribe
            | Self::MayNotManage => Refusal::Forbidden,
            Self::NoSuchParticipant | Self::NoSuchTrack | Self::Closed => Refusal::NotFound,
            Self::ParticipantExists | Self::RoomFull | Self::TooMuchMetadata | Self::TooManyTracks => Refusal::Conflict,
            Self::BadId | Self::TooLong(_) | Self::BadLimit(_) | Self::NotBuilt(_) => Refusal::Unprocessable,
        }
    }
}
