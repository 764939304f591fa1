//! `/api/rooms`: rooms as such.

#![expect(unused_qualifications, reason = "what utoipa derives for parameters is qualified")]

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_controlplane_core::access::Endpoint;
use sluice_controlplane_core::room::{RoomChange, RoomLimits, RoomMode, RoomSettings, Stage};
use utoipa::{IntoParams, ToSchema};

use super::authorize::sight_of;
use super::extract::{Client, Ids, Parameters, Shown, check_id, read_json};
use super::guests::Asked;
use super::refusals::{AccessErrors, BodyErrors, ParameterErrors, RoomErrors};
use super::{Problem, Server, limits};
use crate::auth::{metadata_text, metadata_value};
use crate::clock::rfc3339;
use crate::conductor::{Air, RoomPosition, RoomSnapshot, Sight};
use crate::config::Guests;
use crate::json;

/// A room.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Room {
    /// Its id.
    id: String,
    /// The displayed name.
    name: String,
    /// What the application attached.
    metadata: Value,
    /// Its limits.
    limits: Limits,
    /// Whether guests need a PIN.
    pin_required: bool,
    /// Whether nobody but hosts enters.
    locked: bool,
    /// How it forwards.
    mode: Mode,
    /// How long it stays without participants, in seconds; `null` for ever.
    empty_timeout: Option<u64>,
    /// Whether it is on air for an audience.
    state: AirState,
    /// How many participants are in it; those who are hidden are counted for hosts and by API key only.
    participants: usize,
    /// When it was created, by RFC 3339.
    created_at: String,
    /// Where to publish by WHIP.
    whip_url: String,
    /// Where to play by WHEP.
    whep_url: String,
    /// Only in the answer to a guest who created the room: a token as its host.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// Limits of a room.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    /// Participants at the same time.
    participants: Option<u32>,
    /// Tracks that one participant publishes at the same time.
    tracks_per_participant: Option<u32>,
    /// Bits per second that one publisher should send at most.
    bitrate: Option<u64>,
}

/// How a room forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// By the data plane.
    Sfu,
    /// Peer to peer; not built yet.
    P2p,
    /// Mixed on the server; not built yet.
    AudioBridge,
}

/// Whether a room is on air for an audience.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AirState {
    /// Never started.
    Created,
    /// Waits for somebody who publishes.
    Starting,
    /// There is something to see or hear.
    OnAir,
    /// Was on air.
    Stopped,
}

impl From<RoomSnapshot> for Room {
    fn from(room: RoomSnapshot) -> Self {
        let state = match room.stage {
            Stage::Created => AirState::Created,
            Stage::Starting => AirState::Starting,
            Stage::OnAir => AirState::OnAir,
            Stage::Stopped => AirState::Stopped,
        };
        let RoomLimits { participants, tracks_per_participant, bitrate } = room.settings.limits;
        Self {
            whip_url: format!("/whip/{}", room.id),
            whep_url: format!("/whep/{}", room.id),
            id: room.id,
            name: room.settings.name,
            metadata: metadata_value(&room.settings.metadata),
            limits: Limits {
                participants: Some(participants),
                tracks_per_participant: Some(tracks_per_participant),
                bitrate: Some(bitrate),
            },
            pin_required: room.settings.pin.is_some(),
            locked: room.settings.is_locked,
            mode: match room.settings.mode {
                RoomMode::Sfu => Mode::Sfu,
                RoomMode::P2p => Mode::P2p,
                RoomMode::AudioBridge => Mode::AudioBridge,
            },
            empty_timeout: room.settings.empty_timeout.map(|timeout| timeout.as_secs()),
            state,
            participants: room.participants,
            created_at: rfc3339(room.created_at),
            token: None,
        }
    }
}

impl Limits {
    /// Puts what is given over `current`.
    fn over(self, current: RoomLimits) -> RoomLimits {
        RoomLimits {
            participants: self.participants.unwrap_or(current.participants),
            tracks_per_participant: self.tracks_per_participant.unwrap_or(current.tracks_per_participant),
            bitrate: self.bitrate.unwrap_or(current.bitrate),
        }
    }
}

/// What is asked for that does not exist yet; refused by name.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default)]
pub(super) struct NotBuilt {
    /// How the room forwards: only `sfu` so far.
    mode: Option<Mode>,
    /// End-to-end encryption; not built yet.
    e2ee: Option<bool>,
    /// Livestreaming; not built yet.
    livestream: Option<bool>,
    /// The room that this is a breakout room of; not built yet.
    parent: Option<String>,
}

impl NotBuilt {
    fn check(&self) -> Result<(), Problem> {
        let mode = |mode| Err(Problem::not_built("mode", mode).with_value(mode));
        let missing = match self {
            Self { mode: Some(Mode::P2p), .. } => return mode("p2p"),
            Self { mode: Some(Mode::AudioBridge), .. } => return mode("audio_bridge"),
            Self { e2ee: Some(true), .. } => "e2ee",
            Self { livestream: Some(true), .. } => "livestream",
            Self { parent: Some(_), .. } => "parent",
            _ => return Ok(()),
        };
        Err(Problem::not_built(missing, missing))
    }
}

/// What a room is made from.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewRoom {
    /// 1 to 64 of A-Z, a-z, 0-9, _ and -; chosen by the server when absent.
    id: Option<String>,
    /// The displayed name, up to 256 bytes.
    name: String,
    /// Anything, up to 16 KiB as JSON.
    #[serde(default)]
    metadata: Value,
    /// Limits; what is absent has its default.
    #[serde(default)]
    limits: Limits,
    /// A PIN of up to 64 bytes for guests.
    pin: Option<String>,
    /// Whether nobody but hosts enters.
    #[serde(default)]
    locked: bool,
    /// How long the room stays without participants, in seconds; for ever when absent.
    empty_timeout: Option<u64>,
    /// From guests: what their identity is made from, as where they ask for tokens; made up when absent.
    identity: Option<String>,
    /// Only `sfu` so far.
    mode: Option<Mode>,
    /// Not built yet.
    e2ee: Option<bool>,
    /// Not built yet.
    livestream: Option<bool>,
    /// Not built yet.
    parent: Option<String>,
}

/// A change of a room; what is absent stays.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RoomPatch {
    /// The displayed name.
    name: Option<String>,
    /// Anything; `null` takes it away.
    #[serde(default, deserialize_with = "json::present")]
    #[schema(value_type = Value)]
    metadata: Option<Value>,
    /// Limits; what is absent stays.
    limits: Option<Limits>,
    /// A PIN; `null` takes it away.
    #[serde(default, deserialize_with = "json::present")]
    #[schema(value_type = Option<String>)]
    pin: Option<Option<String>>,
    /// Whether nobody but hosts enters.
    locked: Option<bool>,
    /// How long the room stays without participants, in seconds; `null` for ever.
    #[serde(default, deserialize_with = "json::present")]
    #[schema(value_type = Option<u64>)]
    empty_timeout: Option<Option<u64>>,
    /// Only `sfu` so far.
    mode: Option<Mode>,
    /// Not built yet.
    e2ee: Option<bool>,
    /// Not built yet.
    livestream: Option<bool>,
    /// Not built yet.
    parent: Option<String>,
}

fn empty_timeout(seconds: Option<u64>) -> Result<Option<Duration>, Problem> {
    let timeout = seconds.map(Duration::from_secs);
    if timeout.is_some_and(|timeout| timeout > limits::EMPTY_TIMEOUT_MAX) {
        return Err(Problem::invalid("empty_timeout", "this is more than a year"));
    }
    Ok(timeout)
}

impl NewRoom {
    fn settings(self) -> Result<(String, RoomSettings), Problem> {
        NotBuilt { mode: self.mode, e2ee: self.e2ee, livestream: self.livestream, parent: self.parent }.check()?;
        let id = self.id.unwrap_or_else(|| format!("room-{:016x}", rand::random::<u64>()));
        check_id("id", &id)?;
        self.identity.as_ref().map_or(Ok(()), |identity| check_id("identity", identity))?;
        let settings = RoomSettings {
            name: check_name(self.name)?,
            metadata: metadata_text(&self.metadata),
            pin: self.pin,
            is_locked: self.locked,
            limits: self.limits.over(RoomLimits::default()),
            empty_timeout: empty_timeout(self.empty_timeout)?,
            ..RoomSettings::default()
        };
        Ok((id, settings))
    }
}

/// Refuses limits above the defaults: rooms that anybody may create take no more of the node than others.
fn check_guest_limits(asked: RoomLimits) -> Result<(), Problem> {
    let most = RoomLimits::default();
    let fields = [
        ("limits.participants", asked.participants > most.participants),
        ("limits.tracks_per_participant", asked.tracks_per_participant > most.tracks_per_participant),
        ("limits.bitrate", asked.bitrate > most.bitrate),
    ];
    match fields.into_iter().find(|(_, is_over)| *is_over) {
        Some((field, _)) => Err(Problem::forbidden("a guest's room has no more than the default").of_field(field)),
        None => Ok(()),
    }
}

fn check_name(name: String) -> Result<String, Problem> {
    if name.trim().is_empty() { Err(Problem::invalid("name", "a room needs a name")) } else { Ok(name) }
}

/// Creates a room. A guest, where guests may, becomes its host by the token in the answer.
#[utoipa::path(post, path = "/api/rooms", tag = "rooms", security((), ("key" = [])), request_body = NewRoom, responses(
    (status = 201, description = "The room", body = Room, headers(("location" = String, description = "Its address"))),
    (status = 409, description = "The id is taken", body = super::problem::ProblemDocument,
        content_type = "application/problem+json"),
    AccessErrors, BodyErrors))]
pub(super) async fn create(
    State(server): State<Server>,
    shown: Shown,
    client: Client,
    request: Request,
) -> Result<Response, Problem> {
    let is_guest = shown.0.is_none() && server.guests == Guests::Create;
    if is_guest {
        server.check_page(&request)?;
        server.count_guest(Asked::Room, client)?;
    } else {
        server.authorize(&shown, None, Endpoint::CreateRoom).await?;
    }
    let room = read_json::<NewRoom>(&server, request).await?;
    let identity = room.identity.clone();
    let (id, mut settings) = room.settings()?;
    if is_guest {
        check_guest_limits(settings.limits)?;
        let timeout = settings.empty_timeout.unwrap_or(limits::GUEST_ROOM_EMPTY_TIMEOUT);
        settings.empty_timeout = Some(timeout.min(limits::GUEST_ROOM_EMPTY_TIMEOUT));
    }
    let created = server.conductor.create_room(&id, settings).await?;
    let token = if is_guest { Some(server.token_of_guest_host(&created, identity.as_deref())?) } else { None };
    let room = Room { token, ..Room::from(created) };
    let location = format!("/api/rooms/{}", room.id);
    Ok((StatusCode::CREATED, [(LOCATION, location)], axum::Json(room)).into_response())
}

/// Where a list goes on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageParameters {
    /// Entries of the page, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

impl PageParameters {
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let limit = self.limit.unwrap_or(limits::PAGE_DEFAULT);
        let is_valid = (1..=limits::PAGE_MAX).contains(&limit);
        if is_valid { Ok(limit) } else { Err(Problem::invalid("limit", format!("1 to {}", limits::PAGE_MAX))) }
    }
}

/// A page of rooms.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RoomPage {
    /// Rooms, oldest first.
    rooms: Vec<Room>,
    /// The cursor of the next page; `null` on the last one.
    next_cursor: Option<String>,
}

/// Lists rooms, oldest first.
#[utoipa::path(get, path = "/api/rooms", tag = "rooms", security(("key" = [])), params(PageParameters), responses(
    (status = 200, description = "A page of rooms", body = RoomPage), AccessErrors, ParameterErrors))]
pub(super) async fn list(
    State(server): State<Server>,
    shown: Shown,
    Parameters(page): Parameters<PageParameters>,
) -> Result<axum::Json<RoomPage>, Problem> {
    server.authorize(&shown, None, Endpoint::ListRooms).await?;
    let limit = page.limit()?;
    let after = page.cursor.as_deref().map(position_of).transpose()?;
    let mut rooms = server.conductor.rooms(after.as_ref(), limit + 1).await?;
    let has_more = rooms.len() > limit;
    rooms.truncate(limit);
    let next_cursor = rooms.last().filter(|_| has_more).map(|room| cursor_of(&room.position()));
    Ok(axum::Json(RoomPage { rooms: rooms.into_iter().map(Room::from).collect(), next_cursor }))
}

fn cursor_of(position: &RoomPosition) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{}", position.created_at_ms, position.id))
}

fn position_of(cursor: &str) -> Result<RoomPosition, Problem> {
    let position = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let (created_at_ms, id) = text.split_once('.')?;
        Some(RoomPosition { created_at_ms: created_at_ms.parse().ok()?, id: id.to_owned() })
    };
    position().ok_or_else(|| Problem::invalid("cursor", "this is no cursor of this list"))
}

/// Gives a room.
#[utoipa::path(get, path = "/api/rooms/{room_id}", tag = "rooms", security(("key" = []), ("token" = [])),
    params(("room_id" = String, Path, description = "The room's id")),
    responses((status = 200, description = "The room", body = Room), AccessErrors, RoomErrors))]
pub(super) async fn read(State(server): State<Server>, shown: Shown, ids: Ids) -> Result<axum::Json<Room>, Problem> {
    let caller = server.authorize(&shown, Some(&ids.room_id), Endpoint::ReadRoom).await?;
    let mut room = server.conductor.room(&ids.room_id).await?;
    if sight_of(caller) == Sight::Visible {
        room.participants = room.participants.saturating_sub(room.hidden_participants);
    }
    Ok(axum::Json(room.into()))
}

/// Changes a room.
#[utoipa::path(patch, path = "/api/rooms/{room_id}", tag = "rooms", security(("key" = [])),
    params(("room_id" = String, Path, description = "The room's id")), request_body = RoomPatch,
    responses((status = 200, description = "The room as it is now", body = Room), AccessErrors, RoomErrors, BodyErrors))]
pub(super) async fn update(
    State(server): State<Server>,
    shown: Shown,
    ids: Ids,
    request: Request,
) -> Result<axum::Json<Room>, Problem> {
    server.authorize(&shown, Some(&ids.room_id), Endpoint::UpdateRoom).await?;
    let patch: RoomPatch = read_json(&server, request).await?;
    NotBuilt { mode: patch.mode, e2ee: patch.e2ee, livestream: patch.livestream, parent: patch.parent }.check()?;
    let limits = match patch.limits {
        Some(limits) => Some(limits.over(server.conductor.room(&ids.room_id).await?.settings.limits)),
        None => None,
    };
    let change = RoomChange {
        name: patch.name.map(check_name).transpose()?,
        metadata: patch.metadata.as_ref().map(metadata_text),
        pin: patch.pin,
        is_locked: patch.locked,
        limits,
        empty_timeout: patch.empty_timeout.map(empty_timeout).transpose()?,
    };
    Ok(axum::Json(server.conductor.update_room(&ids.room_id, change).await?.into()))
}

/// Closes a room: everybody in it leaves.
#[utoipa::path(delete, path = "/api/rooms/{room_id}", tag = "rooms", security(("key" = [])),
    params(("room_id" = String, Path, description = "The room's id")),
    responses((status = 204, description = "The room is gone"), AccessErrors, RoomErrors))]
pub(super) async fn delete(State(server): State<Server>, shown: Shown, ids: Ids) -> Result<StatusCode, Problem> {
    server.authorize(&shown, Some(&ids.room_id), Endpoint::DeleteRoom).await?;
    server.conductor.delete_room(&ids.room_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts a room on air for an audience; doing so twice changes nothing.
#[utoipa::path(post, path = "/api/rooms/{room_id}/start", tag = "rooms", security(("key" = []), ("token" = [])),
    params(("room_id" = String, Path, description = "The room's id")),
    responses((status = 202, description = "The room as it is now", body = Room), AccessErrors, RoomErrors))]
pub(super) async fn start(State(server): State<Server>, shown: Shown, ids: Ids) -> Result<Response, Problem> {
    set_on_air(&server, &shown, &ids, Endpoint::StartRoom, Air::Start).await
}

/// Takes a room off air; doing so twice changes nothing.
#[utoipa::path(post, path = "/api/rooms/{room_id}/stop", tag = "rooms", security(("key" = []), ("token" = [])),
    params(("room_id" = String, Path, description = "The room's id")),
    responses((status = 202, description = "The room as it is now", body = Room), AccessErrors, RoomErrors))]
pub(super) async fn stop(State(server): State<Server>, shown: Shown, ids: Ids) -> Result<Response, Problem> {
    set_on_air(&server, &shown, &ids, Endpoint::StopRoom, Air::Stop).await
}

async fn set_on_air(
    server: &Server,
    shown: &Shown,
    ids: &Ids,
    endpoint: Endpoint,
    air: Air,
) -> Result<Response, Problem> {
    server.authorize(shown, Some(&ids.room_id), endpoint).await?;
    let room = Room::from(server.conductor.set_on_air(&ids.room_id, air).await?);
    Ok((StatusCode::ACCEPTED, axum::Json(room)).into_response())
}
