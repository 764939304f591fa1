//! What a room takes, gives and tells.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluice_protocol::ids::{EgressId, TrackId};
use sluice_protocol::media::MediaKind;
use sluice_protocol::plan;
use sluice_protocol::time::Instant;

use super::detail::{Detail, TemporalLayers};
use super::participant::{Identity, LeaveReason, ParticipantId, PublishedTrack, Receiver, Term, Wish};
use super::settings::RoomLimits;
use crate::access::{PermissionOverrides, Role, Source};
use crate::sdp::NegotiatedCodec;

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
    /// A participant with a signalling connection wants a track besides what it has.
    Subscribe {
        /// Who.
        participant: ParticipantId,
        /// Which.
        track: TrackId,
    },
    /// A participant with a signalling connection wants a track no more.
    Unsubscribe {
        /// Who.
        participant: ParticipantId,
        /// Which.
        track: TrackId,
    },
    /// A participant wants more or less of a track that it is subscribed to.
    UpdateSubscription {
        /// Who.
        participant: ParticipantId,
        /// Which.
        track: TrackId,
        /// What; what is absent stays.
        change: SubscriptionChange,
    },
    /// A participant's connection was negotiated anew, and its track may be sent in other codecs or encodings.
    Renegotiated {
        /// Who.
        participant: ParticipantId,
        /// Which.
        track: TrackId,
        /// The codecs.
        codecs: Vec<NegotiatedCodec>,
        /// How many encodings there are.
        layers: u8,
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
    /// A participant shows a newer token; refused where that gives it less than the one that let it in.
    Renew(Box<Renewal>),
    /// Settings of the room change.
    UpdateRoom(Box<RoomChange>),
    /// The room goes on air for an audience.
    Start,
    /// The room goes off air.
    Stop,
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

/// A newer token of a participant, whose claims were verified.
#[derive(Clone, Debug)]
pub struct Renewal {
    /// Whose.
    pub participant: ParticipantId,
    /// What the stay rests on from now on, if it ends later than before.
    pub term: Term,
    /// How it would be admitted.
    pub admission: Admission,
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
    /// When the stay ends, unless it is renewed; `None` for one without an end.
    pub good_until: Option<Instant>,
    /// Whether it comes to publish.
    pub is_publisher: bool,
    /// Whether it comes with a signalling connection, see [`super::Participant::is_signalled`].
    pub is_signalled: bool,
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
        /// When the room that it is for was created, in milliseconds since 1970, where the token says so. Rooms do not know
        /// when they were created; who does checks it before.
        room_created_at: Option<u64>,
    },
    /// As a guest, with the PIN where there is one.
    Guest {
        /// The PIN.
        pin: Option<String>,
    },
}

/// A change of a subscription; what is absent stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionChange {
    /// Whether nothing of it is wanted for now.
    pub is_paused: Option<bool>,
    /// How much of a picture is wanted.
    pub detail: Option<Detail>,
    /// How much of its frame rate is wanted.
    pub temporal_layers: Option<TemporalLayers>,
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

/// Who is told of an event. Those who manage see participants who are hidden; to others these are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Everybody.
    Everybody,
    /// Hosts, API keys and admins: it is about somebody who is hidden.
    Managers,
    /// Everybody but these: somebody has become hidden, or is not any more.
    Others,
}

impl Audience {
    /// Tells whether somebody who manages the room, or does not, is told.
    #[must_use]
    pub const fn includes(self, is_manager: bool) -> bool {
        match self {
            Self::Everybody => true,
            Self::Managers => is_manager,
            Self::Others => !is_manager,
        }
    }
}

/// What a room wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Those who may know are told.
    Event {
        /// Who may.
        audience: Audience,
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
    /// A track has become silent here, or is no longer.
    Silence(TrackId),
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
    /// A track fell silent, or not any more; `by_host` where a host did it, `muted_by_host` while a host has it silent.
    TrackMuted { participant_id: ParticipantId, track_id: String, muted: bool, by_host: bool, muted_by_host: bool },
    /// Settings changed.
    RoomUpdated { is_locked: bool, name: String },
    /// The room went on or off air.
    RoomStage { stage: &'static str },
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

/// Returns the track whose id is such a text; whether it exists is another question.
#[must_use]
pub fn track_of_text(text: &str) -> Option<TrackId> {
    let word = text.strip_prefix("TR_").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(word, 16).ok().map(TrackId::from_word)
}

/// Returns the name of a kind of media.
#[must_use]
pub const fn kind_text(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}
