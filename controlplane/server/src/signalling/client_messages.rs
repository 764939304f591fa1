//! What clients say.

use serde::Deserialize;
use serde_json::Value;
use sluice_controlplane_core::access::{PermissionOverrides, Role, Source};
use sluice_controlplane_core::room::Quality;
use utoipa::ToSchema;

use crate::documents::{PermissionsDocument, RoleDocument, SourceDocument};

/// What a client sends: what it wants, and the number under which it wants to be answered.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ClientMessage {
    /// The number that the client gives the message, up to 2^53; the answer or the error bears it too.
    #[serde(default)]
    pub id: Option<u64>,
    /// What it wants.
    #[serde(flatten)]
    pub request: ClientRequest,
}

/// What a client wants.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientRequest {
    /// Enters a further room: answered by `room_joined`.
    JoinRoom(JoinRoom),
    /// Leaves a room: answered by `room_left`.
    LeaveRoom(InRoom),
    /// Says what the next `offer` sends at an m-line, or publishes in further rooms what is sent already: answered by `ok`.
    PublishTrack(PublishTrack),
    /// Publishes a track no more, in one room or in all of them: answered by `ok`.
    UnpublishTrack(UnpublishTrack),
    /// Subscribes to a track: answered by `ok`; `track_subscribed` follows when it arrives.
    SubscribeTrack(TrackOfRoom),
    /// Ends a subscription: answered by `ok`.
    UnsubscribeTrack(TrackOfRoom),
    /// Wants more or less of a track: answered by `ok`.
    UpdateSubscription(UpdateSubscription),
    /// Changes the own name or metadata in a room: answered by `ok`.
    UpdateMetadata(UpdateMetadata),
    /// Mutes or unmutes a track of one's own, or as a host of somebody else: answered by `ok`.
    MuteTrack(MuteTrack),
    /// Changes somebody's role, permissions or name; for hosts: answered by `ok`.
    UpdateParticipant(UpdateParticipant),
    /// Removes somebody and revokes its tokens; for hosts: answered by `ok`.
    RemoveParticipant(ParticipantOfRoom),
    /// Moves somebody to another room, with what it publishes; for hosts of both rooms: answered by `ok`.
    MoveParticipant(MoveParticipant),
    /// Changes the room's name, metadata, PIN or lock; for hosts: answered by `ok`.
    UpdateRoom(UpdateRoom),
    /// Ends the room for all; for hosts: answered by `ok`.
    EndRoom(InRoom),
    /// The offer of the publisher's connection: answered by `answer`.
    Offer(Description),
    /// The answer to an `offer` of the subscriber's connection: answered by `ok`.
    Answer(Description),
    /// A candidate of the client; taken and not needed, as the server learns addresses from checks: answered by `ok`.
    Candidate(Candidate),
    /// Has the subscriber's connection restart ICE, after the network changed: answered by `ok`, then `offer`.
    RestartIce,
    /// Gives a connection of the subscriber up that is of no use any more, whose ICE restarts did not heal it: answered by
    /// `ok`, then `offer` of a new one. The publisher's is given up by the offer of a new one.
    RenewConnection(RenewConnection),
    /// Goes on with a session whose connection was lost; the first message of a connection that was opened without a
    /// token: answered by `resumed`.
    Resume(Resume),
    /// Shows a newer token, before the old one ends: answered by `token_renewed`.
    RenewToken(RenewToken),
    /// Answered by `pong`.
    Ping,
    /// Data to others; not built yet.
    SendData(NotBuiltYet),
    /// Chat; not built yet.
    Chat(NotBuiltYet),
}

/// A further room.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRoom {
    /// The room's id.
    pub room_id: String,
    /// A token for it, with the identity of the session; the one that opened the session when absent, which may name several
    /// rooms.
    pub token: Option<String>,
    /// The room's PIN, of a guest without a token for it, where guests are let in.
    pub pin: Option<String>,
    /// Whether to be subscribed to everything that is published; `true` when absent.
    pub auto_subscribe: Option<bool>,
}

/// A room.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InRoom {
    /// The room's id.
    pub room_id: String,
}

/// What is sent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishTrack {
    /// `audio` or `video`; checked against the source when given.
    pub kind: Option<String>,
    /// What it shows or sounds; needed with `mid`.
    #[schema(value_type = Option<SourceDocument>)]
    pub source: Option<Source>,
    /// The m-line of the next offer that sends it.
    pub mid: Option<String>,
    /// Instead of `mid`: a track that is sent already, to be published in `room_ids` too.
    pub track_id: Option<String>,
    /// The rooms to publish it in; all of the session's that let it when absent.
    pub room_ids: Option<Vec<String>>,
    /// Whether it starts muted.
    #[serde(default)]
    pub muted: bool,
    /// The width of its best picture in pixels; where it is not said, only heights decide about layers.
    pub width: Option<u16>,
    /// The height of its best picture in pixels, so that layers are chosen well.
    pub height: Option<u16>,
}

/// A track that is published no more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UnpublishTrack {
    /// The track's id.
    pub track_id: String,
    /// The room; all of them when absent.
    pub room_id: Option<String>,
}

/// A track of a room.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TrackOfRoom {
    /// The room's id.
    pub room_id: String,
    /// The track's id.
    pub track_id: String,
}

/// How much of a track is wanted; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateSubscription {
    /// The room's id.
    pub room_id: String,
    /// The track's id.
    pub track_id: String,
    /// Whether nothing of it is wanted for now.
    pub paused: Option<bool>,
    /// A rung of the ladder.
    #[schema(value_type = Option<QualityDocument>)]
    pub quality: Option<Quality>,
    /// The tile that the picture is fitted into; overrides `quality`.
    pub size: Option<Size>,
    /// How many temporal layers are wanted, 1 to 8: each one less halves the frame rate of a picture that has them. 8 are
    /// all.
    #[schema(minimum = 1, maximum = 8)]
    pub temporal_layers: Option<u8>,
}

/// A size in pixels of the screen.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Size {
    /// The width.
    pub width: u16,
    /// The height.
    pub height: u16,
}

/// A rung of the ladder.
#[derive(Debug, ToSchema)]
#[schema(as = Quality)]
#[serde(rename_all = "snake_case")]
pub enum QualityDocument {
    /// The smallest picture.
    Low,
    /// The one in the middle.
    Medium,
    /// The best.
    High,
}

/// One's own name and metadata; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateMetadata {
    /// The room's id.
    pub room_id: String,
    /// The displayed name, up to 256 bytes.
    pub name: Option<String>,
    /// Anything, up to 16 KiB as JSON; `null` takes it away.
    #[serde(default, deserialize_with = "crate::json::present")]
    #[schema(value_type = Value)]
    pub metadata: Option<Value>,
}

/// A track that is to be silent, or not any more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MuteTrack {
    /// The track's id; all tracks of the participant when absent.
    pub track_id: Option<String>,
    /// Whether it is to be silent.
    pub muted: bool,
    /// The room; all of one's own when absent.
    pub room_id: Option<String>,
    /// Whose track; one's own when absent. Needs `room_id`.
    pub participant_id: Option<String>,
}

/// A change of somebody; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateParticipant {
    /// The room's id.
    pub room_id: String,
    /// The participant's id, or its identity.
    pub participant_id: String,
    /// The displayed name.
    pub name: Option<String>,
    /// The role.
    #[schema(value_type = Option<RoleDocument>)]
    pub role: Option<Role>,
    /// What overrides the role; all of it at once.
    #[schema(value_type = Option<PermissionsDocument>)]
    pub permissions: Option<PermissionOverrides>,
}

/// A participant of a room.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ParticipantOfRoom {
    /// The room's id.
    pub room_id: String,
    /// The participant's id, or its identity.
    pub participant_id: String,
}

/// Somebody who is to be in another room.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveParticipant {
    /// The room that it is in.
    pub room_id: String,
    /// The participant's id, or its identity.
    pub participant_id: String,
    /// The room to move to.
    pub to_room_id: String,
}

/// A change of a room; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateRoom {
    /// The room's id.
    pub room_id: String,
    /// The displayed name.
    pub name: Option<String>,
    /// Anything, up to 16 KiB as JSON; `null` takes it away.
    #[serde(default, deserialize_with = "crate::json::present")]
    #[schema(value_type = Value)]
    pub metadata: Option<Value>,
    /// A PIN for guests; `null` takes it away.
    #[serde(default, deserialize_with = "crate::json::present")]
    #[schema(value_type = Option<String>)]
    pub pin: Option<Option<String>>,
    /// Whether nobody but hosts enters.
    pub locked: Option<bool>,
}

/// A description with the number of its offer.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The number of the offer: each of the publisher's is greater than those before it; an answer names the one that it
    /// answers.
    pub offer_id: u64,
    /// The description (RFC 8866).
    pub sdp: String,
}

/// The connection to give up.
#[derive(Debug, Deserialize, ToSchema)]
pub struct RenewConnection {
    /// The subscriber's connection as the client knows it; nothing happens when there is another one already.
    pub connection_id: String,
}

/// A candidate, as browsers give them.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "taken and not needed")]
pub struct Candidate {
    /// The candidate attribute; empty at the end.
    #[serde(default)]
    candidate: Option<String>,
    /// The m-line.
    #[serde(default, rename = "sdpMid")]
    sdp_mid: Option<String>,
}

/// Which session goes on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// What `welcome` gave.
    pub resume_token: String,
    /// The `seq` of the last message that arrived; 0 for none.
    pub seq: u64,
}

/// A newer token: the stays in the rooms that it names go on until it ends.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RenewToken {
    /// The token, with the identity of the session.
    pub token: String,
}

/// What is not built yet, whatever it says.
#[derive(Debug, Deserialize, ToSchema)]
pub struct NotBuiltYet {}
