//! Tokens: issued by API key, by a host, or to a guest.

use std::time::{Duration, Instant, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sluice_controlplane_core::access::{Caller, Claims, Endpoint, PermissionOverrides, Role, RoomClaim, role_to_grant};
use sluice_controlplane_core::limits as core_limits;
use sluice_controlplane_core::room::{Admission, RoomError};
use utoipa::ToSchema;

use super::extract::{Client, Ids, Shown, check_id, read_json};
use super::guests::{Asked, Holder};
use super::refusals::{AccessErrors, BodyErrors, RoomErrors};
use super::{Problem, Server, limits, now_seconds};
use crate::auth::{Bearer, issue, metadata_text};
use crate::clock::rfc3339;
use crate::conductor::{ConductorError, RoomSnapshot};
use crate::config::Guests;
use crate::documents::{PermissionsDocument, RoleDocument};

/// Whom a token is for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewToken {
    /// 1 to 64 of A-Z, a-z, 0-9, _ and -. A guest gets another one that is made from it.
    identity: String,
    /// The displayed name, up to 256 bytes; the identity when absent.
    #[serde(default)]
    name: String,
    /// What the participant may do.
    #[schema(value_type = RoleDocument)]
    role: Role,
    /// What overrides the role; not for guests.
    #[serde(default)]
    #[schema(value_type = Option<PermissionsDocument>)]
    permissions: PermissionOverrides,
    /// Anything, up to 16 KiB as JSON.
    #[serde(default)]
    metadata: Value,
    /// Seconds, up to 30 days; 24 hours when absent. What a host gives ends with its own token at the latest.
    expires_in: Option<u64>,
    /// The room's PIN, from guests.
    pin: Option<String>,
}

/// A token.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Token {
    /// The JWT.
    token: String,
    /// When it ends, by RFC 3339.
    expires_at: String,
    /// Whom it is for: `user_id` of its claims.
    identity: String,
}

impl NewToken {
    /// Checks everything but who asks, and returns the claims.
    fn claims(self, room: &RoomSnapshot) -> Result<Claims, Problem> {
        check_id("identity", &self.identity)?;
        if self.name.len() > core_limits::NAME_BYTES_MAX {
            return Err(Problem::invalid("name", format!("at most {} bytes", core_limits::NAME_BYTES_MAX)));
        }
        let metadata = metadata_text(&self.metadata);
        if metadata.len() > core_limits::METADATA_BYTES_MAX {
            return Err(Problem::invalid("metadata", format!("at most {} bytes", core_limits::METADATA_BYTES_MAX)));
        }
        let lifetime = self.expires_in.unwrap_or(limits::TOKEN_DEFAULT.as_secs());
        if !(1..=limits::TOKEN_MAX.as_secs()).contains(&lifetime) {
            return Err(Problem::invalid("expires_in", format!("1 to {} seconds", limits::TOKEN_MAX.as_secs())));
        }
        let now = now_seconds();
        Ok(Claims {
            room_id: Some(RoomClaim::One(room.id.clone())),
            user_id: self.identity,
            name: self.name,
            role: self.role,
            permissions: self.permissions,
            metadata,
            exp: now + lifetime,
            iat: Some(now),
            room_created_at: Some(room.position().created_at_ms),
            guest: false,
            admin: false,
        })
    }
}

impl Server {
    /// Signs claims with the first key.
    fn sign(&self, claims: &Claims) -> Result<Token, Problem> {
        let key = self.keys.signing();
        let key = key.ok_or_else(|| Problem::unavailable("no_api_key", "the server has no API key to sign with"))?;
        Ok(Token {
            token: issue(key, claims),
            expires_at: rfc3339(UNIX_EPOCH + Duration::from_secs(claims.exp)),
            identity: claims.user_id.clone(),
        })
    }

    /// Returns the token of a guest who created a room.
    pub(super) fn token_of_guest_host(&self, room: &RoomSnapshot, asked: Option<&str>) -> Result<String, Problem> {
        let asked = asked.map_or_else(|| format!("{:032x}", rand::random::<u128>()), str::to_owned);
        let host = NewToken {
            identity: self.guest_identity(&asked),
            name: String::new(),
            role: Role::Host,
            permissions: PermissionOverrides::default(),
            metadata: Value::Null,
            expires_in: None,
            pin: None,
        };
        Ok(self.sign(&Claims { guest: true, ..host.claims(room)? })?.token)
    }

    /// Counts what a guest asked for.
    pub(super) fn count_guest(&self, asked: Asked, client: Client) -> Result<(), Problem> {
        self.guest_counts.count(Instant::now(), asked, client.address).map_err(too_many)
    }

    /// Returns who a guest is to others. Whoever shows an identity takes the place of who has it, so a guest's is made
    /// from what it asked for and a secret: the same guest is the same identity again, in every room, and nobody can ask for
    /// one that it sees in a room.
    pub(super) fn guest_identity(&self, asked: &str) -> String {
        let secret = self.keys.signing().map_or(&[][..], crate::auth::ApiKey::secret_bytes);
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let message = format!("sluice guest\n{asked}");
        let tag = aws_lc_rs::hmac::sign(&key, message.as_bytes());
        tag.as_ref().iter().take(12).fold("guest-".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }

    /// Checks that guests may ask for tokens, and counts this one.
    fn check_guest(&self, client: Client, request: &Request) -> Result<(), Problem> {
        if self.guests == Guests::None {
            return Err(Problem::unauthenticated());
        }
        self.check_page(request)?;
        self.count_guest(Asked::Token, client)
    }

    /// Lets a guest in as far as the room's PIN goes, and makes its token one of a guest.
    async fn admit_guest(&self, room_id: &str, token: &mut NewToken, client: Client) -> Result<(), Problem> {
        check_id("identity", &token.identity)?;
        if token.role > Role::Speaker {
            return Err(Problem::forbidden("a guest enters as a speaker or an attendee").of_field("role"));
        }
        if token.permissions != PermissionOverrides::default() {
            return Err(Problem::forbidden("a guest has the permissions of its role").of_field("permissions"));
        }
        token.expires_in = Some(token.expires_in.unwrap_or(u64::MAX).min(limits::TOKEN_DEFAULT.as_secs()));
        token.identity = self.guest_identity(&token.identity);
        self.check_guest_at(room_id, &token.identity, token.role, token.pin.clone(), client).await
    }

    /// Checks that a room takes a guest, and bounds how often PINs are guessed.
    pub(super) async fn check_guest_at(
        &self,
        room_id: &str,
        identity: &str,
        role: Role,
        pin: Option<String>,
        client: Client,
    ) -> Result<(), Problem> {
        let has_pin = pin.is_some();
        let admission = Admission::Guest { pin };
        if !has_pin {
            // Asking without a PIN is how one learns that one is needed.
            return Ok(self.conductor.check_admission(room_id, identity, role, &admission).await?);
        }
        let _turn = self.guest_counts.turn(client.address).await;
        let room = || Holder::Room(room_id.to_owned());
        self.guest_counts.check(Instant::now(), Asked::WrongPin, client.address).map_err(too_many)?;
        self.guest_counts.check(Instant::now(), Asked::WrongPinOfRoom, room()).map_err(too_many)?;
        let admitted = self.conductor.check_admission(room_id, identity, role, &admission).await;
        if matches!(admitted, Err(ConductorError::Room(RoomError::WrongPin))) {
            self.count_guest(Asked::WrongPin, client)?;
            self.guest_counts.count(Instant::now(), Asked::WrongPinOfRoom, room()).map_err(too_many)?;
        }
        Ok(admitted?)
    }
}

fn too_many(left: Duration) -> Problem {
    let detail = "too many requests from this address; try again later";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail).with_retry_after(left.as_secs() + 1)
}

/// Checks that `caller` may give somebody this role.
pub(super) fn check_grant(caller: Caller, role: Role) -> Result<(), Problem> {
    let is_granted = role_to_grant(caller).is_some_and(|most| role <= most);
    if is_granted { Ok(()) } else { Err(Problem::forbidden("you may not give this role").of_field("role")) }
}

/// Issues a token: by API key or by a host of the room; to guests, where they may, as speakers or attendees.
#[utoipa::path(post, path = "/api/rooms/{room_id}/tokens", tag = "participants",
    security((), ("key" = []), ("token" = [])), params(("room_id" = String, Path, description = "The room's id")),
    request_body = NewToken,
    responses((status = 200, description = "The token", body = Token), AccessErrors, RoomErrors, BodyErrors))]
pub(super) async fn create(
    State(server): State<Server>,
    shown: Shown,
    ids: Ids,
    client: Client,
    request: Request,
) -> Result<axum::Json<Token>, Problem> {
    if shown.0.is_none() {
        server.check_guest(client, &request)?;
        let mut token: NewToken = read_json(&server, request).await?;
        server.admit_guest(&ids.room_id, &mut token, client).await?;
        let room = server.conductor.room(&ids.room_id).await?;
        return Ok(axum::Json(server.sign(&Claims { guest: true, ..token.claims(&room)? })?));
    }
    Ok(axum::Json(granted(&server, &shown, &ids, Endpoint::IssueToken, request).await?))
}

/// Admits somebody in advance: issues its token. Somebody who was removed may come back with it.
#[utoipa::path(post, path = "/api/rooms/{room_id}/participants", tag = "participants",
    security(("key" = []), ("token" = [])), params(("room_id" = String, Path, description = "The room's id")),
    request_body = NewToken,
    responses((status = 201, description = "The token", body = Token), AccessErrors, RoomErrors, BodyErrors))]
pub(super) async fn admit(
    State(server): State<Server>,
    shown: Shown,
    ids: Ids,
    request: Request,
) -> Result<Response, Problem> {
    let token = granted(&server, &shown, &ids, Endpoint::AdmitParticipant, request).await?;
    Ok((StatusCode::CREATED, axum::Json(token)).into_response())
}

async fn granted(
    server: &Server,
    shown: &Shown,
    ids: &Ids,
    endpoint: Endpoint,
    request: Request,
) -> Result<Token, Problem> {
    let caller = server.authorize(shown, Some(&ids.room_id), endpoint).await?;
    let token: NewToken = read_json(server, request).await?;
    check_grant(caller, token.role)?;
    let mut claims = token.claims(&server.conductor.room(&ids.room_id).await?)?;
    // What a host gives to others does not outlast what it has itself.
    if let (Some(Bearer::Token(own)), Caller::Host) = (&shown.0, caller) {
        claims.exp = claims.exp.min(own.exp);
    }
    server.sign(&claims)
}
