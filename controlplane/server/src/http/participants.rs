//! `/api/rooms/{room_id}/participants`: who is in a room, and what hosts do about them.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use sluice_controlplane_core::access::{Endpoint, PermissionOverrides, Permissions, Role, Source};
use sluice_controlplane_core::room::{ParticipantChange, kind_text, track_text};
use utoipa::ToSchema;

use super::authorize::sight_of;
use super::extract::{Ids, Parameters, Shown, check_id, read_json};
use super::refusals::{AccessErrors, BodyErrors, ParameterErrors, RoomErrors};
use super::rooms::PageParameters;
use super::tokens::{PermissionsDocument, RoleDocument, SourceDocument, check_grant};
use super::{Problem, Server, limits, rfc3339};
use crate::auth::{metadata_text, metadata_value};
use crate::conductor::{ParticipantSnapshot, ParticipantUpdate};

/// A participant.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Participant {
    /// The id of this stay.
    id: String,
    /// Who it is to the application.
    identity: String,
    /// The displayed name.
    name: String,
    /// What the application attached.
    metadata: Value,
    /// The role.
    #[schema(value_type = RoleDocument)]
    role: Role,
    /// What it may do: the role with what overrides it.
    #[schema(value_type = PermissionsDocument)]
    permissions: Permissions,
    /// `joining`, `connected` or `reconnecting`.
    state: &'static str,
    /// When it joined, by RFC 3339.
    joined_at: String,
    /// What it publishes.
    tracks: Vec<Track>,
}

/// A track that a participant publishes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Track {
    /// Its id.
    id: String,
    /// `audio` or `video`.
    kind: &'static str,
    /// Where it comes from.
    #[schema(value_type = SourceDocument)]
    source: Source,
    /// Whether it is silent.
    muted: bool,
    /// Whether a host muted it; its publisher cannot undo that.
    muted_by_host: bool,
}

impl From<ParticipantSnapshot> for Participant {
    fn from(snapshot: ParticipantSnapshot) -> Self {
        let participant = snapshot.participant;
        let tracks = participant.tracks.iter().map(|track| Track {
            id: track_text(track.id),
            kind: kind_text(track.kind),
            source: track.source,
            muted: track.is_muted(),
            muted_by_host: track.muted_by_host,
        });
        Self {
            tracks: tracks.collect(),
            permissions: participant.permissions(),
            id: participant.id.0,
            identity: participant.identity.0,
            name: participant.name,
            metadata: metadata_value(&participant.metadata),
            role: participant.role,
            state: participant.state.as_str(),
            joined_at: rfc3339(snapshot.joined_at),
        }
    }
}

/// A page of participants.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ParticipantPage {
    /// Participants, in the order of their ids.
    participants: Vec<Participant>,
    /// The cursor of the next page; `null` on the last one.
    next_cursor: Option<String>,
}

/// Lists participants. Those who are hidden are shown to hosts and by API key only.
#[utoipa::path(get, path = "/api/rooms/{room_id}/participants", tag = "participants",
    security(("key" = []), ("token" = [])), params(("room_id" = String, Path, description = "The room's id"), PageParameters),
    responses((status = 200, description = "A page of participants", body = ParticipantPage),
        AccessErrors, RoomErrors, ParameterErrors))]
pub(super) async fn list(
    State(server): State<Server>,
    shown: Shown,
    ids: Ids,
    Parameters(page): Parameters<PageParameters>,
) -> Result<axum::Json<ParticipantPage>, Problem> {
    let caller = server.authorize(&shown, Some(&ids.room_id), Endpoint::ListParticipants).await?;
    let limit = page.limit()?;
    if let Some(cursor) = &page.cursor {
        check_id("cursor", cursor)?;
    }
    let (room_id, after) = (&ids.room_id, page.cursor.as_deref());
    let mut found = server.conductor.participants(room_id, sight_of(caller), after, limit + 1).await?;
    let has_more = found.len() > limit;
    found.truncate(limit);
    let next_cursor = found.last().filter(|_| has_more).map(|last| last.participant.id.0.clone());
    Ok(axum::Json(ParticipantPage { participants: found.into_iter().map(Participant::from).collect(), next_cursor }))
}

/// A change of a participant; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ParticipantPatch {
    /// The displayed name.
    name: Option<String>,
    /// Anything; `null` takes it away.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Value)]
    metadata: Option<Value>,
    /// The role.
    #[schema(value_type = Option<RoleDocument>)]
    role: Option<Role>,
    /// What overrides the role; all of it at once.
    #[schema(value_type = Option<PermissionsDocument>)]
    permissions: Option<PermissionOverrides>,
    /// Whether all of its tracks are to be silent.
    muted: Option<bool>,
    /// Tracks to mute or unmute one by one, at most 32.
    #[serde(default)]
    tracks: Vec<TrackPatch>,
    /// The room to move to; not built yet.
    room_id: Option<String>,
}

/// A track to mute or unmute.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TrackPatch {
    /// The track's id.
    id: String,
    /// Whether it is to be silent.
    muted: bool,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Changes or mutes a participant.
#[utoipa::path(patch, path = "/api/rooms/{room_id}/participants/{participant_id}", tag = "participants",
    security(("key" = []), ("token" = [])), params(("room_id" = String, Path, description = "The room's id"),
        ("participant_id" = String, Path, description = "The participant's id, or its identity")),
    request_body = ParticipantPatch,
    responses((status = 200, description = "The participant as it is now", body = Participant),
        AccessErrors, RoomErrors, BodyErrors))]
pub(super) async fn update(
    State(server): State<Server>,
    shown: Shown,
    ids: Ids,
    request: Request,
) -> Result<axum::Json<Participant>, Problem> {
    let caller = server.authorize(&shown, Some(&ids.room_id), Endpoint::UpdateParticipant).await?;
    let patch: ParticipantPatch = read_json(&server, request).await?;
    if patch.room_id.is_some() {
        return Err(Problem::not_built("room_id", "move"));
    }
    if let Some(role) = patch.role {
        check_grant(caller, role)?;
    }
    if patch.tracks.len() > limits::MUTES_MAX {
        return Err(Problem::invalid("tracks", format!("at most {} at once", limits::MUTES_MAX)));
    }
    let update = ParticipantUpdate {
        change: ParticipantChange {
            name: patch.name,
            metadata: patch.metadata.as_ref().map(metadata_text),
            role: patch.role,
            permissions: patch.permissions,
        },
        muted: patch.muted,
        tracks: patch.tracks.into_iter().map(|track| (track.id, track.muted)).collect(),
    };
    Ok(axum::Json(server.conductor.update_participant(&ids.room_id, &ids.participant_id, update).await?.into()))
}

/// Removes a participant and revokes its tokens of this room that were issued up to now.
#[utoipa::path(delete, path = "/api/rooms/{room_id}/participants/{participant_id}", tag = "participants",
    security(("key" = []), ("token" = [])), params(("room_id" = String, Path, description = "The room's id"),
        ("participant_id" = String, Path, description = "The participant's id, or its identity")),
    responses((status = 204, description = "The participant is gone"), AccessErrors, RoomErrors))]
pub(super) async fn remove(State(server): State<Server>, shown: Shown, ids: Ids) -> Result<StatusCode, Problem> {
    server.authorize(&shown, Some(&ids.room_id), Endpoint::RemoveParticipant).await?;
    server.conductor.remove_participant(&ids.room_id, &ids.participant_id).await?;
    Ok(StatusCode::NO_CONTENT)
}
