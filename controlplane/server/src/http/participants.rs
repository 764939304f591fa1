//! `/api/rooms/{room_id}/participants`: who is in a room, and what hosts do about them.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_controlplane_core::access::{Endpoint, PermissionOverrides, Role};
use sluice_controlplane_core::room::ParticipantChange;
use utoipa::ToSchema;

use super::authorize::sight_of;
use super::extract::{Ids, Parameters, Shown, check_id, read_json};
use super::refusals::{AccessErrors, BodyErrors, ParameterErrors, RoomErrors};
use super::rooms::PageParameters;
use super::tokens::check_grant;
use super::{Problem, Server, limits};
use crate::auth::metadata_text;
use crate::conductor::ParticipantUpdate;
use crate::documents::{ParticipantDocument, PermissionsDocument, RoleDocument};

/// A page of participants.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ParticipantPage {
    /// Participants, in the order of their ids.
    participants: Vec<ParticipantDocument>,
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
    Ok(axum::Json(ParticipantPage {
        participants: found.into_iter().map(ParticipantDocument::from).collect(),
        next_cursor,
    }))
}

/// A change of a participant; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ParticipantPatch {
    /// The displayed name.
    name: Option<String>,
    /// Anything; `null` takes it away.
    #[serde(default, deserialize_with = "crate::json::present")]
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
    /// The room to move to, with what it publishes; only alone, and of participants who came over the WebSocket.
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

impl ParticipantPatch {
    /// Tells whether nothing but a move is asked for.
    const fn is_move_alone(&self) -> bool {
        let Self { name, metadata, role, permissions, muted, tracks, room_id: _ } = self;
        name.is_none()
            && metadata.is_none()
            && role.is_none()
            && permissions.is_none()
            && muted.is_none()
            && tracks.is_empty()
    }
}

impl Server {
    /// Moves a participant to a room that the caller manages, too.
    async fn move_participant(
        &self,
        shown: &Shown,
        ids: &Ids,
        patch: &ParticipantPatch,
        to: &str,
    ) -> Result<ParticipantDocument, Problem> {
        check_id("room_id", to)?;
        if !patch.is_move_alone() {
            return Err(Problem::invalid("room_id", "a move is asked for alone"));
        }
        let _caller = self.authorize(shown, Some(to), Endpoint::UpdateParticipant).await?;
        Ok(self.conductor.move_participant(&ids.room_id, &ids.participant_id, to).await?.into())
    }
}

/// Changes or mutes a participant, or moves it to another room.
#[utoipa::path(patch, path = "/api/rooms/{room_id}/participants/{participant_id}", tag = "participants",
    security(("key" = []), ("token" = [])), params(("room_id" = String, Path, description = "The room's id"),
        ("participant_id" = String, Path, description = "The participant's id, or its identity")),
    request_body = ParticipantPatch,
    responses((status = 200, description = "The participant as it is now", body = ParticipantDocument),
        AccessErrors, RoomErrors, BodyErrors))]
pub(super) async fn update(
    State(server): State<Server>,
    shown: Shown,
    ids: Ids,
    request: Request,
) -> Result<axum::Json<ParticipantDocument>, Problem> {
    let caller = server.authorize(&shown, Some(&ids.room_id), Endpoint::UpdateParticipant).await?;
    let patch: ParticipantPatch = read_json(&server, request).await?;
    if let Some(to) = &patch.room_id {
        return Ok(axum::Json(server.move_participant(&shown, &ids, &patch, to).await?));
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
