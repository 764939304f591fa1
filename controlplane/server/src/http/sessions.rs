//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): sessions over HTTP.

#![expect(unused_qualifications, reason = "what utoipa derives for parameters is qualified")]

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, LINK, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sluice_controlplane_core::access::{Caller, Claims, Endpoint, Role, is_id};
use sluice_controlplane_core::room::Admission;
use utoipa::{IntoParams, IntoResponses};

use super::authorize::{admission_of, good_until};
use super::extract::{Client, Ids, Parameters, Shown, check_id, read_text};
use super::refusals::{AccessErrors, BodyErrors, RoomErrors, SessionErrors};
use super::{Problem, Server};
use crate::auth::Bearer;
use crate::conductor::{
    Answer, ConductorError, Entrant, Front, IceServer, KEY_IDENTITY_PREFIX, Patched, SessionActor, SessionAddress,
    SignalledOffer,
};

/// The media type of offers and answers.
pub(super) const SDP: &str = "application/sdp";
/// The media type of trickle and ICE restarts (RFC 8840).
pub(super) const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// What a viewer may choose.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PlayParameters {
    /// The participant to play, by id or identity; who has published longest when absent.
    participant: Option<String>,
    /// A token, where no header can be set.
    #[serde(rename = "token")]
    #[param(rename = "token")]
    _token: Option<String>,
}

/// Where a session is.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "describes parameters in the document")]
pub(super) struct SessionPath {
    /// The room's id.
    room_id: String,
    /// The session.
    session_id: String,
}

/// What a fragment is for.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes parameters in the document")]
pub(super) struct FragmentCondition {
    /// The `ETag` of the ICE session; `*` for an ICE restart.
    #[param(rename = "If-Match")]
    if_match: Option<String>,
}

/// What an offer is answered with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) enum OfferAnswers {
    /// The answer.
    #[response(status = 201, content_type = "application/sdp", headers(
        ("location" = String, description = "The session"),
        ("etag" = String, description = "Its ICE session"),
        ("link" = String, description = "ICE servers")
    ))]
    Created(String),
}

/// What a fragment is answered with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) enum FragmentAnswers {
    /// Candidates were taken.
    #[response(status = 204)]
    Taken,
    /// ICE restarts with this fragment.
    #[response(status = 200, content_type = "application/trickle-ice-sdpfrag", headers(
        ("etag" = String, description = "The new ICE session")
    ))]
    Restarted(String),
}

/// Publishes into a room: takes an offer, gives the answer and the address of the session.
#[utoipa::path(post, path = "/whip/{room_id}", tag = "whip", security(("key" = []), ("token" = [])),
    params(("room_id" = String, Path, description = "The room's id"),
        ("token" = Option<String>, Query, description = "A token, where no header can be set")),
    request_body(content = String, content_type = "application/sdp", description = "The offer"),
    responses(OfferAnswers, AccessErrors, RoomErrors, BodyErrors))]
pub(super) async fn publish(
    State(server): State<Server>,
    shown: Shown,
    ids: Ids,
    client: Client,
    request: Request,
) -> Result<Response, Problem> {
    let entrant = server.entrant(&shown, &ids.room_id, Endpoint::Publish)?;
    let offer = offer(&server, client, request).await?;
    let identity = entrant.identity.clone();
    let answer =
        server.conductor.publish(&ids.room_id, entrant, offer).await.map_err(|error| named(error, &identity))?;
    Ok(created(Front::Whip, &ids.room_id, answer))
}

/// Plays a room: takes an offer, gives the answer and the address of the session.
#[utoipa::path(post, path = "/whep/{room_id}", tag = "whep", security(("key" = []), ("token" = [])),
    params(("room_id" = String, Path, description = "The room's id"), PlayParameters),
    request_body(content = String, content_type = "application/sdp", description = "The offer"),
    responses(OfferAnswers, AccessErrors, RoomErrors, BodyErrors))]
pub(super) async fn play(
    State(server): State<Server>,
    shown: Shown,
    ids: Ids,
    client: Client,
    Parameters(parameters): Parameters<PlayParameters>,
    request: Request,
) -> Result<Response, Problem> {
    let entrant = server.entrant(&shown, &ids.room_id, Endpoint::Play)?;
    let participant = parameters.participant.as_deref();
    if let Some(participant) = participant {
        check_id("participant", participant)?;
    }
    let offer = offer(&server, client, request).await?;
    let identity = entrant.identity.clone();
    let played = server.conductor.play(&ids.room_id, entrant, participant, offer).await;
    let answer = played.map_err(|error| named(error, &identity))?;
    Ok(created(Front::Whep, &ids.room_id, answer))
}

/// Makes the problem of a refusal that says in the log who was refused.
fn named(error: ConductorError, identity: &str) -> Problem {
    Problem::from(error).of_identity(Some(identity))
}

async fn offer(server: &Server, client: Client, request: Request) -> Result<SignalledOffer, Problem> {
    let sdp = read_text(server, request, SDP).await?.to_vec();
    Ok(SignalledOffer { sdp, client: client.address, is_loopback: client.is_loopback })
}

impl Server {
    /// Returns who wants to publish, play or signal. What was revoked is the conductor's to know.
    pub(super) fn entrant(&self, shown: &Shown, room_id: &str, endpoint: Endpoint) -> Result<Entrant, Problem> {
        let bearer = shown.0.as_ref().ok_or_else(Problem::unauthenticated)?;
        let claims = match bearer {
            Bearer::Key { .. } => None,
            Bearer::Token(claims) => Some(claims.as_ref()),
        };
        let identity = claims.map(|claims| claims.user_id.clone()).filter(|identity| is_id(identity));
        let caller = self.caller(bearer, Some(room_id), endpoint);
        let caller = caller.map_err(|problem| problem.of_identity(identity.as_deref()))?;
        // Whoever shows an API key has no identity of its own; each of its sessions is somebody else.
        let identity = identity.unwrap_or_else(|| format!("{KEY_IDENTITY_PREFIX}{:016x}", rand::random::<u64>()));
        let text = |field: fn(&Claims) -> &String| claims.map(field).cloned().unwrap_or_default();
        let name = Some(text(|claims| &claims.name)).filter(|name| !name.is_empty());
        Ok(Entrant {
            name: name.unwrap_or_else(|| identity.clone()),
            identity,
            metadata: text(|claims| &claims.metadata),
            role: if caller == Caller::Admin {
                Role::Host
            } else {
                claims.map_or(Role::Attendee, |claims| claims.role)
            },
            overrides: claims.map(|claims| claims.permissions.clone()).unwrap_or_default(),
            admission: match claims {
                Some(claims) if caller != Caller::Admin => admission_of(claims),
                _ => Admission::Api,
            },
            good_until: claims.map(good_until),
        })
    }

    /// Returns who acts on a session.
    async fn session_actor(&self, shown: &Shown, room_id: &str, endpoint: Endpoint) -> Result<SessionActor, Problem> {
        let caller = self.authorize(shown, Some(room_id), endpoint).await?;
        match (&shown.0, caller) {
            (Some(Bearer::Token(claims)), Caller::Speaker | Caller::Attendee | Caller::Stranger) => {
                Ok(SessionActor::Identity(claims.user_id.clone()))
            }
            (Some(Bearer::Token(claims)), Caller::Admin | Caller::Host) => {
                Ok(SessionActor::Manager(Some(claims.user_id.clone()).filter(|identity| is_id(identity))))
            }
            (Some(Bearer::Key { .. }) | None, _) => Ok(SessionActor::Manager(None)),
        }
    }
}

fn created(front: Front, room_id: &str, answer: Answer) -> Response {
    let location = format!("/{}/{room_id}/{}", front.as_str(), answer.session_id);
    let mut response = (StatusCode::CREATED, answer.sdp).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(SDP_FRAGMENT));
    insert(headers, LOCATION, &location);
    insert(headers, ETAG, &format!("\"{}\"", answer.etag));
    for server in &answer.ice_servers {
        if let Ok(link) = HeaderValue::from_str(&link_of(server)) {
            headers.append(LINK, link);
        }
    }
    response
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Writes an ICE server as RFC 9725 section 4.6 has it.
fn link_of(server: &IceServer) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    match &server.credentials {
        None => format!("<{}>; rel=\"ice-server\"", server.url),
        Some((username, credential)) => format!(
            "<{}>; rel=\"ice-server\"; username=\"{}\"; credential=\"{}\"; credential-type=\"password\"",
            server.url,
            quoted(username),
            quoted(credential)
        ),
    }
}

/// Takes candidates or an ICE restart for a publishing session.
#[utoipa::path(patch, path = "/whip/{room_id}/{session_id}", tag = "whip", security(("key" = []), ("token" = [])),
    params(SessionPath, FragmentCondition),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag", description = "The fragment"),
    responses(FragmentAnswers, AccessErrors, SessionErrors, BodyErrors))]
pub(super) async fn patch_publishing(
    State(server): State<Server>,
    shown: Shown,
    ids: Ids,
    request: Request,
) -> Result<Response, Problem> {
    patch(&server, &shown, &ids, Front::Whip, request).await
}

/// Takes candidates or an ICE restart for a playing session.
#[utoipa::path(patch, path = "/whep/{room_id}/{session_id}", tag = "whep", security(("key" = []), ("token" = [])),
    params(SessionPath, FragmentCondition),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag", description = "The fragment"),
    responses(FragmentAnswers, AccessErrors, SessionErrors, BodyErrors))]
pub(super) async fn patch_playing(
    State(server): State<Server>,
    shown: Shown,
    ids: Ids,
    request: Request,
) -> Result<Response, Problem> {
    patch(&server, &shown, &ids, Front::Whep, request).await
}

async fn patch(server: &Server, shown: &Shown, ids: &Ids, front: Front, request: Request) -> Result<Response, Problem> {
    let actor = server.session_actor(shown, &ids.room_id, endpoint(front)).await?;
    let session = address(front, ids)?;
    let if_match = request.headers().get(IF_MATCH).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let fragment = read_text(server, request, SDP_FRAGMENT).await?;
    match server.conductor.patch(session, &actor, if_match.as_deref(), &fragment).await? {
        Patched::Taken => Ok(StatusCode::NO_CONTENT.into_response()),
        Patched::Restarted { fragment, etag } => {
            let mut response = fragment.into_response();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(SDP_FRAGMENT));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            insert(headers, ETAG, &format!("\"{etag}\""));
            Ok(response)
        }
    }
}

/// Ends a publishing session.
#[utoipa::path(delete, path = "/whip/{room_id}/{session_id}", tag = "whip", security(("key" = []), ("token" = [])),
    params(SessionPath),
    responses((status = 200, description = "The session has ended"), AccessErrors, SessionErrors))]
pub(super) async fn end_publishing(
    State(server): State<Server>,
    shown: Shown,
    ids: Ids,
) -> Result<StatusCode, Problem> {
    end(&server, &shown, &ids, Front::Whip).await
}

/// Ends a playing session.
#[utoipa::path(delete, path = "/whep/{room_id}/{session_id}", tag = "whep", security(("key" = []), ("token" = [])),
    params(SessionPath),
    responses((status = 200, description = "The session has ended"), AccessErrors, SessionErrors))]
pub(super) async fn end_playing(State(server): State<Server>, shown: Shown, ids: Ids) -> Result<StatusCode, Problem> {
    end(&server, &shown, &ids, Front::Whep).await
}

async fn end(server: &Server, shown: &Shown, ids: &Ids, front: Front) -> Result<StatusCode, Problem> {
    let actor = server.session_actor(shown, &ids.room_id, endpoint(front)).await?;
    server.conductor.end(address(front, ids)?, &actor).await?;
    Ok(StatusCode::OK)
}

fn address(front: Front, ids: &Ids) -> Result<SessionAddress<'_>, Problem> {
    let (room_id, session_id) = (ids.room_id.as_str(), ids.session_id.as_str());
    if is_id(session_id) {
        Ok(SessionAddress { front, room_id, session_id })
    } else {
        Err(ConductorError::NoSuchSession.into())
    }
}

const fn endpoint(front: Front) -> Endpoint {
    match front {
        Front::Whip => Endpoint::Publish,
        Front::Whep => Endpoint::Play,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_servers_are_links_whose_values_cannot_break_out() {
        let stun = IceServer { url: "stun:stun.example.org:3478".to_owned(), credentials: None };
        assert_eq!(link_of(&stun), "<stun:stun.example.org:3478>; rel=\"ice-server\"");
        let credentials = Some(("us\"er".to_owned(), "pass\\word".to_owned()));
        let turn = IceServer { url: "turns:turn.example.org".to_owned(), credentials };
        let link = "<turns:turn.example.org>; rel=\"ice-server\"; username=\"us\\\"er\"; credential=\"pass\\\\word\"; \
            credential-type=\"password\"";
        assert_eq!(link_of(&turn), link);
    }
}
