//! What REST and signalling both show of rooms and of those who are in them.

use serde::Serialize;
use serde_json::Value;
use sluice_controlplane_core::access::{Permissions, Role, Source};
use sluice_controlplane_core::room::{PublishedTrack, kind_text, track_text};
use utoipa::ToSchema;

use crate::auth::metadata_value;
use crate::clock::rfc3339;
use crate::conductor::ParticipantSnapshot;

/// A participant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Participant)]
pub struct ParticipantDocument {
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
    tracks: Vec<TrackDocument>,
}

/// A track that a participant publishes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Track)]
pub struct TrackDocument {
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

impl From<ParticipantSnapshot> for ParticipantDocument {
    fn from(snapshot: ParticipantSnapshot) -> Self {
        let participant = snapshot.participant;
        Self {
            tracks: participant.tracks.iter().map(TrackDocument::from).collect(),
            permissions: participant.permissions(),
            id: participant.id.0.clone(),
            identity: participant.identity.0.clone(),
            name: participant.name.clone(),
            metadata: metadata_value(&participant.metadata),
            role: participant.role,
            state: participant.state.as_str(),
            joined_at: rfc3339(snapshot.joined_at),
        }
    }
}

impl From<&PublishedTrack> for TrackDocument {
    fn from(track: &PublishedTrack) -> Self {
        Self {
            id: track_text(track.id),
            kind: kind_text(track.kind),
            source: track.source,
            muted: track.is_muted(),
            muted_by_host: track.muted_by_host,
        }
    }
}

/// A participant's role in a room.
#[derive(Debug, ToSchema)]
#[schema(as = Role)]
#[serde(rename_all = "snake_case")]
pub enum RoleDocument {
    /// Subscribes only.
    Attendee,
    /// Publishes and subscribes.
    Speaker,
    /// Publishes, subscribes and manages.
    Host,
}

/// Where a track comes from.
#[derive(Debug, ToSchema)]
#[schema(as = Source)]
#[serde(rename_all = "snake_case")]
pub enum SourceDocument {
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
    /// A screen.
    ScreenShare,
    /// The sound of a screen.
    ScreenShareAudio,
}

/// Fine-grained permissions, each overriding what the role says.
#[derive(Debug, ToSchema)]
#[schema(as = Permissions)]
#[expect(dead_code, reason = "describes the control core's type in the OpenAPI document")]
pub struct PermissionsDocument {
    /// Whether tracks may be published.
    can_publish: Option<bool>,
    /// Which sources may be published; absent for all.
    can_publish_sources: Option<Vec<SourceDocument>>,
    /// Whether tracks may be subscribed to.
    can_subscribe: Option<bool>,
    /// Whether data may be published.
    can_publish_data: Option<bool>,
    /// Whether others are not told of the participant.
    hidden: Option<bool>,
    /// Whether the participant records the room.
    recorder: Option<bool>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use sluice_controlplane_core::access::{PermissionOverrides, Source};
    use utoipa::PartialSchema as _;

    use super::*;

    #[test]
    fn what_the_document_describes_has_the_names_that_the_control_core_reads_and_writes() {
        let described = |schema| serde_json::to_value(schema).unwrap();
        assert_eq!(described(RoleDocument::schema())["enum"], json!([Role::Attendee, Role::Speaker, Role::Host]));
        let sources = [Source::Camera, Source::Microphone, Source::ScreenShare, Source::ScreenShareAudio];
        assert_eq!(described(SourceDocument::schema())["enum"], json!(sources));
        let all = PermissionOverrides {
            can_publish: Some(true),
            can_publish_sources: Some(sources.to_vec()),
            can_subscribe: Some(true),
            can_publish_data: Some(true),
            hidden: Some(true),
            recorder: Some(true),
        };
        let written = json!(all);
        let names = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let mut properties = names(&described(PermissionsDocument::schema())["properties"]);
        properties.sort();
        let mut fields = names(&written);
        fields.sort();
        assert_eq!(properties, fields);
    }
}
