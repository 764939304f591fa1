//! What the server says.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::documents::{ParticipantDocument, TrackDocument};

/// What the server sends.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServerMessage {
    /// The message's number in the session, one more than that of the one before; what `resume` names. `pong` has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The number of the client's message that this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// What it says.
    #[serde(flatten)]
    pub said: Said,
}

/// What the server says.
#[derive(Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Said {
    /// The session is open; `room_joined` follows.
    Welcome(Welcome),
    /// The session goes on.
    Resumed(Resumed),
    /// The session is in a room.
    RoomJoined(RoomJoined),
    /// The session has left a room as it wanted.
    RoomLeft(InRoom),
    /// A newer token is taken.
    TokenRenewed(TokenRenewed),
    /// What was wanted is done.
    Ok,
    /// What was wanted is refused, or a message cannot be read.
    Error(Refused),
    /// Answers `ping`.
    Pong,
    /// The offer of the publisher's connection is taken.
    Answer(Answer),
    /// The subscriber's connection has something new; to be answered by `answer`.
    Offer(Offer),
    /// A peer connection has ended at the server; the client makes a new one.
    ConnectionClosed(ConnectionClosed),
    /// Somebody entered.
    ParticipantJoined(ParticipantNews),
    /// Somebody's state, name, role, permissions or metadata changed.
    ParticipantUpdated(ParticipantNews),
    /// Somebody left.
    ParticipantLeft(ParticipantLeft),
    /// A track can be subscribed to.
    TrackPublished(TrackPublished),
    /// A track is gone.
    TrackUnpublished(TrackUnpublished),
    /// A track fell silent, or not any more.
    TrackMuted(TrackMuted),
    /// A track arrives from now on.
    TrackSubscribed(TrackSubscribed),
    /// A track arrives no more.
    TrackUnsubscribed(TrackUnsubscribed),
    /// Settings or state of the room changed.
    RoomUpdated(RoomUpdated),
    /// A host moved the session's participant to another room; `room_joined` follows.
    Moved(Moved),
    /// The session is in a room no more, and did not ask for it.
    Removed(Removed),
}

/// An open session.
#[derive(Debug, Serialize, ToSchema)]
pub struct Welcome {
    /// The session's id, for the log.
    pub session_id: String,
    /// Who the session is in all its rooms.
    pub identity: String,
    /// What `resume` shows.
    pub resume_token: String,
    /// For how many seconds a lost connection is waited for.
    pub resume_within: u64,
    /// After how many seconds without a message the connection is given up; the client pings more often.
    pub idle_timeout: u64,
    /// STUN and TURN servers, as `RTCPeerConnection` takes them.
    pub ice_servers: Vec<IceServer>,
}

/// A STUN or TURN server.
#[derive(Debug, Serialize, ToSchema)]
pub struct IceServer {
    /// Its URL (RFC 7064, RFC 7065).
    pub urls: String,
    /// User name of TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Password of TURN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// A session that goes on.
#[derive(Debug, Serialize, ToSchema)]
pub struct Resumed {
    /// The session's id.
    pub session_id: String,
    /// Whether every message that was missed follows. Otherwise `rooms` is how things are now, and the numbers of messages
    /// start anew with this one.
    pub complete: bool,
    /// The session's rooms, where messages were missed that are not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<RoomJoined>>,
    /// The tracks that arrive now, where messages were missed that are not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribed: Option<Vec<TrackSubscribed>>,
    /// The tracks that the publisher's connection sends, where messages were missed that are not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<Vec<TrackAtMid>>,
    /// The number of the last offer of the publisher's connection that was taken; 0 for none.
    pub publisher_offer_id: u64,
    /// Names the publisher's connection as the server has it; `null` when it has none, and the client's is worth nothing.
    pub publisher_connection_id: Option<String>,
    /// The same of the subscriber's.
    pub subscriber_connection_id: Option<String>,
}

/// A room that the session is in.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoomJoined {
    /// The room's id.
    pub room_id: String,
    /// The room.
    pub room: RoomInfo,
    /// Who the session is there.
    pub participant: ParticipantDocument,
    /// The others, with their tracks; as far as they are seen.
    pub participants: Vec<ParticipantDocument>,
    /// For how many seconds the token lets the session stay; absent for a stay that ends with no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// The rooms that a newer token counts for.
#[derive(Debug, Serialize, ToSchema)]
pub struct TokenRenewed {
    /// Those of the session's rooms that the token names.
    pub rooms: Vec<RenewedStay>,
}

/// A stay that a newer token counts for.
#[derive(Debug, Serialize, ToSchema)]
pub struct RenewedStay {
    /// The room's id.
    pub room_id: String,
    /// For how many seconds the session may stay; absent for a stay that ends with no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// A room as its participants see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoomInfo {
    /// The displayed name.
    pub name: String,
    /// What the application attached.
    pub metadata: Value,
    /// Whether nobody but hosts enters.
    pub locked: bool,
    /// Whether guests need a PIN.
    pub pin_required: bool,
    /// Whether it is on air for an audience: `created`, `starting`, `on_air` or `stopped`.
    pub state: &'static str,
}

/// A room.
#[derive(Debug, Serialize, ToSchema)]
pub struct InRoom {
    /// The room's id.
    pub room_id: String,
}

/// A refusal.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refused {
    /// A stable name in `snake_case`.
    pub code: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// The value that is wrong, by its path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// The answer to an offer.
#[derive(Debug, Serialize, ToSchema)]
pub struct Answer {
    /// The number of the offer.
    pub offer_id: u64,
    /// Names the connection: another name than before is a new one at the server.
    pub connection_id: String,
    /// The description.
    pub sdp: String,
    /// The tracks that are sent, each at its m-line.
    pub tracks: Vec<TrackAtMid>,
}

/// A track that the session sends.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrackAtMid {
    /// The m-line.
    pub mid: String,
    /// The track's id.
    pub track_id: String,
}

/// An offer of the subscriber's connection.
#[derive(Debug, Serialize, ToSchema)]
pub struct Offer {
    /// The number that the answer names.
    pub offer_id: u64,
    /// Names the connection: another name than before needs a new `RTCPeerConnection`.
    pub connection_id: String,
    /// The description.
    pub sdp: String,
}

/// A peer connection that has ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConnectionClosed {
    /// `publisher` or `subscriber`.
    pub connection: &'static str,
    /// Names it.
    pub connection_id: String,
}

/// Somebody.
#[derive(Debug, Serialize, ToSchema)]
pub struct ParticipantNews {
    /// The room's id.
    pub room_id: String,
    /// Who, with its tracks.
    pub participant: ParticipantDocument,
}

/// Somebody who left.
#[derive(Debug, Serialize, ToSchema)]
pub struct ParticipantLeft {
    /// The room's id.
    pub room_id: String,
    /// Who.
    pub participant_id: String,
    /// Its identity.
    pub identity: String,
    /// Why: `left`, `join_timeout`, `connection_lost`, `transport_failed`, `removed`, `replaced`, `moved`, `room_closed`,
    /// `interrupted` or `token_expired`.
    pub reason: &'static str,
}

/// A new track.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrackPublished {
    /// The room's id.
    pub room_id: String,
    /// Whose.
    pub participant_id: String,
    /// The track.
    pub track: TrackDocument,
}

/// A track that is gone.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrackUnpublished {
    /// The room's id.
    pub room_id: String,
    /// Whose.
    pub participant_id: String,
    /// The track's id.
    pub track_id: String,
}

/// A track that fell silent, or not any more.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrackMuted {
    /// The room's id.
    pub room_id: String,
    /// Whose.
    pub participant_id: String,
    /// The track's id.
    pub track_id: String,
    /// Whether it is silent.
    pub muted: bool,
    /// Whether a host did it; its publisher cannot undo that.
    pub by_host: bool,
    /// Whether a host has it silent now, whatever its publisher does.
    pub muted_by_host: bool,
}

/// A track that arrives.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrackSubscribed {
    /// The track's id.
    pub track_id: String,
    /// The m-line of the subscriber's connection.
    pub mid: String,
    /// The codecs that its publisher may send, where the client decodes none of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undecodable: Option<Vec<&'static str>>,
}

/// A track that arrives no more.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrackUnsubscribed {
    /// The track's id.
    pub track_id: String,
    /// Whether the client's answer refused its m-line.
    pub refused: bool,
}

/// A change of a room.
#[derive(Debug, Serialize, ToSchema)]
pub struct RoomUpdated {
    /// The room's id.
    pub room_id: String,
    /// The room as it is now.
    pub room: RoomInfo,
}

/// A move.
#[derive(Debug, Serialize, ToSchema)]
pub struct Moved {
    /// The room that was left.
    pub room_id: String,
    /// The room that the participant is in now.
    pub to_room_id: String,
    /// A token of the same identity, name, role and permissions with which the client comes back there, for as long as it may
    /// stay; absent for a stay that ends with no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// The end of a stay.
#[derive(Debug, Serialize, ToSchema)]
pub struct Removed {
    /// The room's id.
    pub room_id: String,
    /// Why: `removed`, `replaced`, `room_closed`, `connection_lost`, `interrupted` or `token_expired`.
    pub reason: &'static str,
}
