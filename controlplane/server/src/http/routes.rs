//! Every address that programs use, in one table: the router and its tests are made from it.

use axum::Router;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_MAX_AGE, ALLOW, HeaderName,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, options, patch, post};

use super::{
    Problem, Server, event_streams, health, layers, metrics, openapi, page, participants, rooms, sessions, tokens,
    websocket,
};

/// What pages of other origins may send.
const ALLOWED_HEADERS: &str = "authorization, content-type, if-match, last-event-id, x-request-id";

/// An address with what answers there.
pub(super) struct Route {
    pub(super) path: &'static str,
    /// The methods besides `OPTIONS`, and `HEAD` where there is `GET`; as in `Allow`.
    pub(super) methods: &'static str,
    handlers: MethodRouter<Server>,
}

fn route(path: &'static str, methods: &'static str, handlers: MethodRouter<Server>) -> Route {
    Route { path, methods, handlers }
}

/// Returns the table.
pub(super) fn routes() -> Vec<Route> {
    vec![
        route("/api/rooms", "GET, POST", get(rooms::list).post(rooms::create)),
        route(
            "/api/rooms/{room_id}",
            "GET, PATCH, DELETE",
            get(rooms::read).patch(rooms::update).delete(rooms::delete),
        ),
        route("/api/rooms/{room_id}/participants", "GET, POST", get(participants::list).post(tokens::admit)),
        route(
            "/api/rooms/{room_id}/participants/{participant_id}",
            "PATCH, DELETE",
            patch(participants::update).delete(participants::remove),
        ),
        route("/api/rooms/{room_id}/tokens", "POST", post(tokens::create)),
        route("/api/rooms/{room_id}/start", "POST", post(rooms::start)),
        route("/api/rooms/{room_id}/stop", "POST", post(rooms::stop)),
        route("/api/rooms/{room_id}/events", "GET", get(event_streams::of_room)),
        route("/api/events", "GET", get(event_streams::all)),
        route("/api/health", "GET", get(health::health)),
        route("/health", "GET", get(health::health_at_root)),
        route("/api/openapi.json", "GET", get(openapi::document)),
        route("/metrics", "GET", get(metrics::metrics)),
        route("/ws", "GET", get(websocket::open)),
        route("/whip/{room_id}", "POST", post(sessions::publish)),
        route(
            "/whip/{room_id}/{session_id}",
            "PATCH, DELETE",
            patch(sessions::patch_publishing).delete(sessions::end_publishing),
        ),
        route("/whep/{room_id}", "POST", post(sessions::play)),
        route(
            "/whep/{room_id}/{session_id}",
            "PATCH, DELETE",
            delete(sessions::end_playing).patch(sessions::patch_playing),
        ),
    ]
}

/// Returns the whole application.
pub fn router(server: Server) -> Router {
    let routes = routes().into_iter().fold(Router::new(), |router, Route { path, methods, handlers }| {
        let preflight = options(move || async move { preflight(path, methods) });
        let refusal = move || async move { refuse_method(methods) };
        router.route(path, handlers.merge(preflight).fallback(refusal))
    });
    routes.fallback(page::serve).layer(from_fn_with_state(server.clone(), layers::wrap)).with_state(server)
}

/// Answers `OPTIONS`: what may be sent here, for pages of other origins (CORS) and for WHIP clients (RFC 9725 section 4.2).
fn preflight(path: &str, methods: &'static str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(ALLOW, methods);
    set(ACCESS_CONTROL_ALLOW_METHODS, methods);
    set(ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
    set(ACCESS_CONTROL_MAX_AGE, "86400");
    if path.starts_with("/whip/") || path.starts_with("/whep/") {
        if path.ends_with("{session_id}") {
            set(HeaderName::from_static("accept-patch"), sessions::SDP_FRAGMENT);
        } else {
            set(HeaderName::from_static("accept-post"), sessions::SDP);
        }
    }
    response
}

fn refuse_method(methods: &'static str) -> Response {
    let mut response = Problem::of_status(StatusCode::METHOD_NOT_ALLOWED).into_response();
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    response
}
