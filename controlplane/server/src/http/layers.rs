//! What every request gets: an id, a bound on its time and number, problem documents, CORS, secure headers, counters.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sluice_controlplane_core::access::is_id;
use tokio::sync::OwnedSemaphorePermit;

use super::problem::Fault;
use super::{Problem, Server, limits};
use crate::log::Allowance;

/// The header of a request's id, taken from the caller or made up, and given back.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What pages of other origins may read of an answer.
const EXPOSED: &str = "location, etag, link, accept-patch, retry-after, x-request-id";
/// What the page may do: its own scripts and styles, cameras and microphones, and servers that a user chose.
const PAGE_POLICY: &str = "default-src 'self'; connect-src 'self' http: https: ws: wss:; media-src 'self' blob:; \
    img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; \
    form-action 'self'; frame-ancestors 'self'";

/// Whom an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Audience {
    /// A browser that shows the page.
    Browser,
    /// Programs, and pages of any origin. Tokens travel in headers, never in cookies: whoever shows one was given it.
    EveryPage,
    /// Programs, and the pages of this server: nothing was shown.
    OwnPages,
}

impl Audience {
    fn of(request: &Request) -> Self {
        let path = request.uri().path();
        if !is_api(path) {
            return Self::Browser;
        }
        // Preflights show nothing. Players and publishers of any page learn what is wrong (RFC 9725 section 4.2).
        let is_open = request.method() == Method::OPTIONS
            || has_token(request)
            || ["/whip/", "/whep/"].iter().any(|start| path.starts_with(start))
            || path == "/api/openapi.json";
        if is_open { Self::EveryPage } else { Self::OwnPages }
    }
}

fn has_token(request: &Request) -> bool {
    let mut fields = request.uri().query().unwrap_or_default().split('&');
    request.headers().contains_key(AUTHORIZATION) || fields.any(|field| field.starts_with("token="))
}

/// The outermost layer.
pub(super) async fn wrap(State(server): State<Server>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let route =
        request.extensions().get::<MatchedPath>().map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let audience = Audience::of(&request);
    let joined = joined_room(&method, &route, request.uri().path());
    let mut response = bounded(&server, request, next).await;
    if let Some(problem) = problem_of(&response) {
        problem.write(&id, &mut response);
        let asked = Asked { request: &id, method: method.as_str(), route: &route, joined: joined.as_deref() };
        server.lines.log(began, &problem, &asked);
    }
    add_headers(&id, audience, response.headers_mut());
    server.metrics.count(method.as_str(), &route, response.status(), began.elapsed());
    response
}

/// The place of a request among those that are worked on; given up while its body is waited for.
#[derive(Clone, Debug)]
pub(super) struct Work(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Work {
    fn begin(server: &Server) -> Result<Self, Problem> {
        let permit = server.requests.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Problem::unavailable("too_many_requests_at_once", "the server is busy"))?;
        Ok(Self(Arc::new(Mutex::new(Some(permit)))))
    }

    /// Gives the place up.
    pub(super) fn pause(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Takes a place again.
    pub(super) fn resume(&self, server: &Server) -> Result<(), Problem> {
        let again = Self::begin(server)?;
        let permit = again.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = permit;
        Ok(())
    }
}

/// Runs a request among a bounded number of others, within a bounded time. Health and the page cost little and are asked
/// for when it matters: they are not counted.
async fn bounded(server: &Server, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let is_counted = is_api(path) && path != "/health" && path != "/api/health";
    // Held until the answer is there.
    let mut held = None;
    if is_counted {
        match Work::begin(server) {
            Ok(work) => drop(request.extensions_mut().insert(held.insert(work).clone())),
            Err(problem) => return problem.into_response(),
        }
    }
    let patience = server.config.request_timeout + limits::ANSWER_GRACE;
    let answered = tokio::time::timeout(patience, next.run(request)).await;
    drop(held);
    match answered {
        Ok(response) => response,
        Err(_) => Problem::unavailable("timeout", "the server did not answer in time").into_response(),
    }
}

/// Returns the problem of a response: the handler's, or one for a bare status of the router.
fn problem_of(response: &Response) -> Option<Problem> {
    if let Some(problem) = response.extensions().get::<Problem>() {
        return Some(problem.clone());
    }
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let is_document = response.headers().get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().ends_with(b"json"));
    (is_error && !is_document).then(|| Problem::of_status(status))
}

/// What was asked, as the log names it.
struct Asked<'a> {
    request: &'a str,
    method: &'a str,
    /// The pattern of the address.
    route: &'a str,
    /// The room that somebody wanted to join.
    joined: Option<&'a str>,
}

/// The lines about requests that were not served. Strangers decide how many there would be, so each kind has an allowance;
/// the first line after some were left out says how many.
#[derive(Debug)]
pub(super) struct Lines {
    joins: Allowance,
    unserved: Allowance,
    failures: Allowance,
}

impl Lines {
    pub(super) fn new(now: Instant) -> Self {
        let allowance = || Allowance::new(limits::LINES_PER_SECOND, now);
        Self { joins: allowance(), unserved: allowance(), failures: allowance() }
    }

    /// Writes the line of a problem, at the level that tells whose fault it is.
    fn log(&self, now: Instant, problem: &Problem, asked: &Asked<'_>) {
        let Asked { request, method, route, joined } = *asked;
        let (status, code) = (problem.status().as_u16(), problem.code());
        let detail: String = problem.detail().chars().take(limits::LOGGED_DETAIL_MAX).collect();
        let line = match (problem.fault(), joined) {
            (Fault::Peer, Some(_)) => self.joins.take(now),
            (Fault::Peer, None) => {
                tracing::debug!(request, method, route, status, code, detail, "request refused");
                return;
            }
            (Fault::Operator, _) => self.unserved.take(now),
            (Fault::Us, _) => self.failures.take(now),
        };
        let Some(left_out) = line else { return };
        let left_out = (left_out > 0).then_some(left_out);
        match problem.fault() {
            Fault::Peer => {
                let (room, identity) = (joined, problem.identity());
                tracing::info!(room, identity, request, route, status, reason = code, detail, left_out, "join refused");
            }
            Fault::Operator => {
                tracing::warn!(request, method, route, status, code, detail, left_out, "request not served");
            }
            Fault::Us => tracing::error!(request, method, route, status, code, detail, left_out, "request failed"),
        }
    }
}

/// Returns the room that a request is to join, or to get a token for; empty where the address names none that can be.
fn joined_room(method: &Method, route: &str, path: &str) -> Option<String> {
    let (before, after) = route.split_once("{room_id}")?;
    let is_join =
        method == Method::POST && matches!((before, after), ("/whip/" | "/whep/", "") | ("/api/rooms/", "/tokens"));
    let room = is_join.then(|| path.strip_prefix(before)?.strip_suffix(after))??;
    Some(if is_id(room) { room.to_owned() } else { String::new() })
}

/// Returns the caller's id of a request where it is short and plain, else 64 random bits.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_plain = |id: &&str| {
        (1..=limits::REQUEST_ID_BYTES_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
    };
    given.filter(is_plain).map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned)
}

/// Tells whether a path belongs to programs rather than to the page.
pub(super) fn is_api(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    ["api", "whip", "whep", "ws", "health", "metrics"].contains(&first)
}

fn add_headers(id: &str, audience: Audience, headers: &mut HeaderMap) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    // A token may stand in the address of a request or of the page.
    set(REFERRER_POLICY, "no-referrer");
    if audience == Audience::Browser {
        set(CONTENT_SECURITY_POLICY, PAGE_POLICY);
        set(HeaderName::from_static("permissions-policy"), "camera=(self), microphone=(self), display-capture=(self)");
    }
    if audience == Audience::EveryPage {
        set(ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        set(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

/// Answers what no route answers below the paths of programs.
pub(super) fn nothing_here() -> Response {
    Problem::of_status(StatusCode::NOT_FOUND).into_response()
}
