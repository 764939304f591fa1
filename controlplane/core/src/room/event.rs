//! What a room takes, gives, refuses and tells.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_protocol::ids::{EgressId, TrackId};
use sluice_protocol::media::MediaKind;
use sluice_protocol::plan;

use super::participant::{Identity, LeaveReason, ParticipantId, PublishedTrack, Receiver, Wish};
use crate::access::{PermissionOverrides, Role, Source};
use crate::limits;

/// What happens to a room.
#[derive(Clone, Debug)]
pub enum Input {
    /// Somebody enters.
    Join(Box<Join>),
    /// A participant's transport is up, or up again.
    Connected(ParticipantId),
    /// A participant's transport went quiet.
    Quiet(ParticipantId),
    /// A participant goes, or is gone.
    Leave {
        /// Who.
        participant: ParticipantId,
        /// Why.
        reason: LeaveReason,
    },
    /// A participant publishes a track; `order` and the mute by the host are the room's to fill in.
    Publish {
        /// Who.
        participant: ParticipantId,
        /// What.
        track: Box<PublishedTrack>,
    },
    /// A participant withdraws a track.
    Unpublish {
        /// Who.
        participant: ParticipantId,
        /// Which.
        track: TrackId,
    },
    /// A participant can receive at further m-lines.
    AddReceivers {
        /// Who.
        participant: ParticipantId,
        /// Where; `track` is the room's to fill in.
        receivers: Vec<Receiver>,
    },
    /// A participant wants to receive something else.
    SetWish {
        /// Who.
        participant: ParticipantId,
        /// What.
        wish: Wish,
    },
    /// Somebody mutes or unmutes a track.
    Mute {
        /// By whom.
        actor: Actor,
        /// Whose.
        participant: ParticipantId,
        /// Which; all of them when absent.
        track: Option<TrackId>,
        /// Whether it is to be silent.
        muted: bool,
    },
    /// Somebody changes a participant.
    Update {
        /// By whom.
        actor: Actor,
        /// Whom.
        participant: ParticipantId,
        /// What.
        change: Box<ParticipantChange>,
    },
    /// Somebody removes a participant; tokens of its identity that were issued up to now admit no more.
    Remove {
        /// By whom.
        actor: Actor,
        /// Whom.
        participant: ParticipantId,
        /// The time in seconds since 1970.
        now_seconds: u64,
    },
    /// Settings of the room change.
    UpdateRoom(Box<RoomChange>),
    /// The room goes on air for an audience.
    Start,
    /// The room goes off air.
    Stop,
    /// What put the room on air failed.
    Fail(String),
    /// The data plane found no payload type for what a subscriber should be sent.
    Undecodable {
        /// The subscriber's stream.
        egress: EgressId,
    },
    /// The room ends; everybody leaves.
    Close,
    /// A deadline may have passed, see [`super::Room::poll_timeout`].
    Timeout,
}

/// Who acts on others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// An API key or an admin.
    Api,
    /// A participant of the room.
    Participant(ParticipantId),
}

/// Somebody who enters, with claims that were verified.
#[derive(Clone, Debug)]
pub struct Join {
    /// The id of this stay.
    pub participant: ParticipantId,
    /// Who it is.
    pub identity: Identity,
    /// The displayed name.
    pub name: String,
    /// Anything that the application wants others to see.
    pub metadata: String,
    /// The role.
    pub role: Role,
    /// What overrides the role.
    pub overrides: PermissionOverrides,
    /// How it was admitted.
    pub admission: Admission,
    /// Whether it comes to publish.
    pub is_publisher: bool,
    /// What it wants to receive.
    pub wish: Wish,
}

/// How somebody was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// By an API key or an admin.
    Api,
    /// By a token.
    Token {
        /// When it was issued, in seconds since 1970, where the token says so.
        issued_at: Option<u64>,
    },
    /// As a guest, with the PIN where there is one.
    Guest {
        /// The PIN.
        pin: Option<String>,
    },
}

/// A change of a participant; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParticipantChange {
    /// The displayed name.
    pub name: Option<String>,
    /// The metadata.
    pub metadata: Option<String>,
    /// The role.
    pub role: Option<Role>,
    /// What overrides the role.
    pub permissions: Option<PermissionOverrides>,
}

/// A change of a room's settings; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomChange {
    /// The name.
    pub name: Option<String>,
    /// The metadata.
    pub metadata: Option<String>,
    /// The PIN; `Some(None)` takes it away.
    pub pin: Option<Option<String>>,
    /// Whether nobody but hosts enters.
    pub is_locked: Option<bool>,
    /// The limits.
    pub limits: Option<RoomLimits>,
    /// How long the room stays without participants; `Some(None)` for ever.
    pub empty_timeout: Option<Option<Duration>>,
}

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

/// Why a room refuses an input; nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomError {
    /// No such participant.
    #[error("there is no such participant in the room")]
    NoSuchParticipant,
    /// No such track.
    #[error("the participant has no such track")]
    NoSuchTrack,
    /// The id of a stay was used before and is still there.
    #[error("the participant id is taken")]
    ParticipantExists,
    /// The room's limit of participants is reached.
    #[error("the room is full")]
    RoomFull,
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
            Self::ParticipantExists => "participant_exists",
            Self::RoomFull => "room_full",
            Self::TooManyTracks => "too_many_tracks",
            Self::Locked => "room_locked",
            Self::WrongPin => "wrong_pin",
            Self::Revoked => "token_revoked",
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
            Self::Revoked => Refusal::Unauthenticated,
            Self::Locked | Self::WrongPin | Self::MayNotPublish | Self::MayNotSubscribe | Self::MayNotManage => {
                Refusal::Forbidden
            }
            Self::NoSuchParticipant | Self::NoSuchTrack | Self::Closed => Refusal::NotFound,
            Self::ParticipantExists | Self::RoomFull | Self::TooManyTracks => Refusal::Conflict,
            Self::TooLong(_) | Self::BadLimit(_) | Self::NotBuilt(_) => Refusal::Unprocessable,
        }
    }
}

/// What a room wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Everybody who may know is told; numbers grow by one and leave no gap.
    Event {
        /// The number, for `Last-Event-ID`.
        sequence: u64,
        /// What happened.
        event: Event,
    },
    /// One participant is told, and the log.
    Notice {
        /// Who.
        participant: ParticipantId,
        /// What.
        notice: Notice,
    },
    /// An egress stream gets another source, or none.
    Feed {
        /// Whose.
        participant: ParticipantId,
        /// The stream.
        egress: EgressId,
        /// The track with its payload types.
        source: Option<plan::Source>,
    },
    /// A participant publishes a track no more.
    Withdrawn {
        /// Whose.
        participant: ParticipantId,
        /// The track.
        track: TrackId,
    },
    /// A track is to be silent, or not any more.
    Silence {
        /// The track.
        track: TrackId,
        /// Whether.
        muted: bool,
    },
    /// A participant is gone; its peer connection is to be closed.
    Gone {
        /// Who.
        participant: ParticipantId,
        /// Why.
        reason: LeaveReason,
    },
    /// What is parked of this participant has changed.
    Changed(ParticipantId),
    /// The room has ended and can be dropped.
    Closed,
}

/// A room's event, as JSON with the field `type`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "fields are the ids and values that the event's name says")]
pub enum Event {
    /// Somebody entered.
    ParticipantJoined {
        participant_id: ParticipantId,
        identity: Identity,
        name: String,
        role: Role,
        state: &'static str,
    },
    /// State, name, role, permissions or metadata changed.
    ParticipantUpdated { participant_id: ParticipantId, name: String, role: Role, state: &'static str },
    /// Somebody left.
    ParticipantLeft { participant_id: ParticipantId, identity: Identity, reason: LeaveReason },
    /// A track can be subscribed to.
    TrackPublished { participant_id: ParticipantId, track_id: String, kind: &'static str, source: Source },
    /// A track is gone.
    TrackUnpublished { participant_id: ParticipantId, track_id: String },
    /// A track fell silent, or not any more.
    TrackMuted { participant_id: ParticipantId, track_id: String, muted: bool, by_host: bool },
    /// Settings changed.
    RoomUpdated { is_locked: bool, name: String },
    /// The room went on or off air, or failed to.
    RoomStage {
        stage: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The room ended.
    RoomClosed,
}

/// What concerns one participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It now receives a track.
    Subscribed {
        /// The track.
        track: TrackId,
        /// Where.
        egress: EgressId,
    },
    /// It receives a track no more.
    Unsubscribed {
        /// The track.
        track: TrackId,
        /// Where.
        egress: EgressId,
    },
    /// It is subscribed to a track of which it decodes nothing, or not what is being sent.
    Undecodable {
        /// The track.
        track: TrackId,
        /// Where.
        egress: EgressId,
        /// The codecs that the publisher may send.
        codecs: Vec<&'static str>,
    },
}

/// Returns a track's id as text, for API and events.
#[must_use]
pub fn track_text(track: TrackId) -> String {
    format!("TR_{:016x}", track.word())
}

/// Returns the name of a kind of media.
#[must_use]
pub const fn kind_text(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}
