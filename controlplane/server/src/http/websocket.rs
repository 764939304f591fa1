//! `/ws`: upgrades, and who lets sessions into rooms.

#![expect(unused_qualifications, reason = "what utoipa derives for parameters is qualified")]

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use axum::Extension;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{State, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::http::header::UPGRADE;
use axum::response::Response;
use serde::Deserialize;
use sluice_controlplane_core::access::{Claims, Endpoint, PermissionOverrides, Role, RoomClaim};
use sluice_controlplane_core::room::{Admission, RoomId};
use utoipa::IntoParams;

use super::authorize::good_until;
use super::extract::{Client, Parameters, Shown, check_id};
use super::places::Place;
use super::refusals::{AccessErrors, ParameterErrors, RoomErrors};
use super::{Problem, Server, now_seconds};
use crate::auth::{Bearer, LEEWAY_SECONDS, issue, verify};
use crate::conductor::Entrant;
use crate::conductor::signalled::{Opener, Origin, Renewer, SaidRefusal};
use crate::config::Guests;
use crate::signalling::{Door, Parts, Start, invalid, limits, serve};

/// What opens a session.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SignalParameters {
    /// The room to enter first; the token's first one when absent.
    room_id: Option<String>,
    /// Whether to be subscribed to everything there; `true` when absent.
    auto_subscribe: Option<bool>,
    /// The token; without one the first message is `resume`.
    #[serde(rename = "token")]
    #[param(rename = "token")]
    _token: Option<String>,
}

/// Opens a signalling connection: a new session with a token, or an earlier one by the message `resume`.
#[utoipa::path(get, path = "/ws", tag = "signalling", security((), ("key" = []), ("token" = [])), params(SignalParameters),
    responses((status = 101, description = "The WebSocket; docs/SIGNALING.md has its messages"),
        (status = 426, description = "The request is no upgrade to a WebSocket", content_type = "application/problem+json"),
        AccessErrors, RoomErrors, ParameterErrors))]
pub(super) async fn open(
    State(server): State<Server>,
    shown: Shown,
    client: Client,
    Parameters(parameters): Parameters<SignalParameters>,
    place: Option<Extension<Arc<Place>>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let mut made_up = None;
    let origin = Origin { client: client.address, is_loopback: client.is_loopback };
    let start = match &shown.0 {
        None => Start::Resume,
        Some(bearer) => {
            let room = first_room(bearer, parameters.room_id)?;
            let entrant = server.entrant(&shown, &room, Endpoint::Signal)?;
            if matches!(bearer, Bearer::Key { .. }) {
                made_up = Some((entrant.identity.clone(), entrant.name.clone()));
            }
            let auto_subscribe = parameters.auto_subscribe.unwrap_or(true);
            Start::Open(Box::new(Opener { room: RoomId(room), entrant, auto_subscribe, origin }))
        }
    };
    let upgrade = upgrade.map_err(|rejection| no_upgrade(&rejection))?;
    let parts = Parts {
        sessions: Arc::clone(&server.sessions),
        door: Arc::new(Entrance { server: server.clone(), client, shown: Mutex::new(shown), made_up }),
        origin,
        stopping: server.is_stopping.subscribe(),
        metrics: server.metrics.signalling.clone(),
        long_messages: Arc::clone(&server.long_messages),
    };
    let upgrade = upgrade
        .read_buffer_size(limits::BUFFER_BYTES)
        .write_buffer_size(limits::BUFFER_BYTES)
        .max_write_buffer_size(limits::WRITE_BYTES_MAX)
        .max_message_size(limits::MESSAGE_BYTES_MAX)
        .max_frame_size(limits::MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(move |socket| async move {
        serve(socket, parts, start).await;
        // It has been a connection until now.
        drop(place);
    }))
}

fn no_upgrade(rejection: &WebSocketUpgradeRejection) -> Problem {
    let detail = format!("this takes an upgrade to a WebSocket: {rejection}");
    Problem::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", detail).with_header(UPGRADE, "websocket")
}

/// Returns the room that a session enters first.
fn first_room(bearer: &Bearer, named: Option<String>) -> Result<String, Problem> {
    let claims = match bearer {
        Bearer::Token(claims) => claims.room_id.as_ref(),
        Bearer::Key { .. } => None,
    };
    let room = named.or_else(|| match claims? {
        RoomClaim::One(room) => Some(room.clone()),
        RoomClaim::Many(rooms) => rooms.first().cloned(),
    });
    let room = room.ok_or_else(|| Problem::invalid("room_id", "the token names no room, so this has to"))?;
    check_id("room_id", &room)?;
    Ok(room)
}

/// Lets the session of one connection into rooms.
struct Entrance {
    server: Server,
    client: Client,
    /// What the client showed last.
    shown: Mutex<Shown>,
    /// The identity and name that were made up for who shows an API key: the same in all rooms of the session.
    made_up: Option<(String, String)>,
}

impl Entrance {
    fn shown(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns what a guest's token says of it, where guests are let in.
    fn guest(&self) -> Option<Claims> {
        match self.shown().0 {
            Some(Bearer::Token(claims)) if claims.guest && self.server.guests != Guests::None => {
                let is_good = claims.exp.saturating_add(LEEWAY_SECONDS) > now_seconds();
                is_good.then_some(*claims)
            }
            _ => None,
        }
    }
}

#[async_trait]
impl Door for Entrance {
    async fn admit(&self, room_id: &str, token: Option<&str>, pin: Option<String>) -> Result<Entrant, SaidRefusal> {
        let server = &self.server;
        if let Some(token) = token {
            let shown = Shown(Some(verify(&server.keys, token, now_seconds()).map_err(|error| said(&error.into()))?));
            return server.entrant(&shown, room_id, Endpoint::Signal).map_err(|problem| said(&problem));
        }
        let shown = self.shown();
        if shown.0.is_none() {
            return Err(invalid("token", "this connection has shown no token yet"));
        }
        let refusal = match server.entrant(&shown, room_id, Endpoint::Signal) {
            Ok(entrant) => {
                let (identity, name) = self.made_up.clone().unwrap_or((entrant.identity, entrant.name));
                return Ok(Entrant { identity, name, ..entrant });
            }
            Err(refusal) => refusal,
        };
        // A guest's identity is its own everywhere, so that it may enter other rooms as what guests are.
        let Some(guest) = self.guest() else { return Err(said(&refusal)) };
        let admitted = server.check_guest_at(room_id, &guest.user_id, Role::Speaker, pin.clone(), self.client).await;
        admitted.map_err(|problem| said(&problem))?;
        let good_until = Some(good_until(&guest));
        Ok(Entrant {
            name: if guest.name.is_empty() { guest.user_id.clone() } else { guest.name },
            identity: guest.user_id,
            metadata: guest.metadata,
            role: Role::Speaker,
            overrides: PermissionOverrides::default(),
            admission: Admission::Guest { pin },
            good_until,
        })
    }

    fn renew(&self, token: &str, identity: &str) -> Result<Renewer, SaidRefusal> {
        let bearer = verify(&self.server.keys, token, now_seconds()).map_err(|error| said(&error.into()))?;
        let rooms = match &bearer {
            Bearer::Token(claims) if claims.user_id == identity => match &claims.room_id {
                Some(RoomClaim::One(room)) => Some(vec![RoomId(room.clone())]),
                Some(RoomClaim::Many(rooms)) => Some(rooms.iter().cloned().map(RoomId).collect()),
                None => None,
            },
            Bearer::Token(_) | Bearer::Key { .. } => {
                return Err(invalid("token", "the token is for another identity than the session's"));
            }
        };
        let shown = Shown(Some(bearer));
        // What a token says of its holder it says for all of its rooms.
        let first = rooms.as_ref().and_then(|rooms| rooms.first()).map_or("", |room| &room.0);
        let entrant = self.server.entrant(&shown, first, Endpoint::Signal).map_err(|problem| said(&problem))?;
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(Renewer { rooms, entrant })
    }

    fn sign(&self, claims: &Claims) -> Option<String> {
        self.server.keys.signing().map(|key| issue(key, claims))
    }
}

fn said(problem: &Problem) -> SaidRefusal {
    SaidRefusal {
        code: problem.code().to_owned(),
        message: problem.detail().to_owned(),
        field: problem.field().map(str::to_owned),
    }
}
