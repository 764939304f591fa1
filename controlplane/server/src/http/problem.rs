//! Problem documents (RFC 9457): the one shape of every error over HTTP.

use std::borrow::Cow;

use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sluice_controlplane_core::access::AccessError;
use sluice_controlplane_core::room::{Refusal, RoomError};
use sluice_controlplane_core::sdp::{FragmentError, OfferFault};
use utoipa::ToSchema;

use crate::auth::AuthError;
use crate::conductor::ConductorError;

/// Whose fault an error is: sets the level of its log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller's: a line at debug level, and at info level where somebody wanted to join.
    Peer,
    /// Something that the operator can change: a warning.
    Operator,
    /// Ours: an error.
    Us,
}

/// An error on its way to the caller. It travels as an extension of an empty response; the outermost layer writes the
/// document, because only that knows the request's id.
#[derive(Clone, Debug)]
pub struct Problem(Box<Contents>);

#[derive(Clone, Debug)]
struct Contents {
    status: StatusCode,
    code: Cow<'static, str>,
    detail: String,
    field: Option<String>,
    value: Option<String>,
    header: Option<(HeaderName, HeaderValue)>,
    /// Who asked, for the log alone.
    identity: Option<String>,
}

/// A problem document (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemDocument {
    /// A URI that names the kind of problem; the code at its end.
    #[serde(rename = "type")]
    #[schema(example = "urn:sluice:problem:no_such_room")]
    kind: String,
    /// The kind of problem in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong this time.
    detail: String,
    /// A stable name of the kind of problem, for programs.
    code: String,
    /// The id of the request, as in the header `x-request-id` and in the server's log.
    request_id: String,
    /// The value in the body that is wrong, by its path (`tracks[0].muted`, `$` for the whole); or the parameter or header.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The value that is not built yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

impl Problem {
    /// Makes a problem; `code` in `snake_case`.
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self(Box::new(Contents {
            status,
            code: code.into(),
            detail: detail.into(),
            field: None,
            value: None,
            header: None,
            identity: None,
        }))
    }

    /// Names the field that is wrong.
    #[must_use]
    pub fn of_field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// A value that cannot be taken: 422.
    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_value", detail).of_field(field)
    }

    /// Something of the product that does not exist yet: 422, named.
    #[must_use]
    pub fn not_built(field: &str, feature: &str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "not_built", format!("{feature} is not built yet")).of_field(field)
    }

    /// Names the value that is wrong.
    #[must_use]
    pub fn with_value(mut self, value: impl Into<String>) -> Self {
        self.0.value = Some(value.into());
        self
    }

    /// Returns the field that is wrong.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// Names who asked, as a token that holds says. It stands in the log, not in the document.
    #[must_use]
    pub fn of_identity(mut self, identity: Option<&str>) -> Self {
        self.0.identity = identity.map(str::to_owned);
        self
    }

    /// Nobody showed anything: 401.
    #[must_use]
    pub fn unauthenticated() -> Self {
        let detail = "this needs an API key's secret or a token, as Authorization: Bearer";
        Self::new(StatusCode::UNAUTHORIZED, "token_missing", detail).with_challenge("Bearer realm=\"sluice\"")
    }

    /// What was shown does not open this: 403.
    #[must_use]
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// Too much at the same time, or something that is needed is away: 503.
    #[must_use]
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).with_retry_after(1)
    }

    /// Sets a header of the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.0.header = Some((name, HeaderValue::from_static(value)));
        self
    }

    /// Sets when another try makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.0.header = Some((RETRY_AFTER, HeaderValue::from(seconds)));
        self
    }

    fn with_challenge(mut self, challenge: &'static str) -> Self {
        self.0.header = Some((WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        self
    }

    /// Makes the problem of a response that has none: axum's own refusals.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        let (code, detail) = match status {
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this address"),
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this address does not take this method"),
            StatusCode::BAD_REQUEST => ("bad_request", "the request is malformed"),
            StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", "the body is larger than what is taken"),
            _ if status.is_client_error() => ("refused", "the request was refused"),
            _ => ("internal", "the server failed"),
        };
        Self::new(status, code, detail)
    }

    /// Returns the status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Returns the code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.0.code
    }

    /// Returns the sentence.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Returns who asked, where a token said so.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.0.identity.as_deref()
    }

    /// Returns whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self.0.status {
            StatusCode::SERVICE_UNAVAILABLE => Fault::Operator,
            status if status.is_server_error() => Fault::Us,
            _ => Fault::Peer,
        }
    }

    /// Writes the document into `response`, whose status and headers stay.
    pub fn write(&self, request_id: &str, response: &mut Response) {
        let mut title = self.0.code.replace('_', " ");
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let document = ProblemDocument {
            kind: format!("urn:sluice:problem:{}", self.0.code),
            title,
            status: self.0.status.as_u16(),
            detail: self.0.detail.clone(),
            code: self.0.code.to_string(),
            request_id: request_id.to_owned(),
            field: self.0.field.clone(),
            value: self.0.value.clone(),
        };
        let text = serde_json::to_string(&document).expect("a problem is plain data");
        *response.body_mut() = text.into();
        let headers = response.headers_mut();
        headers.remove(axum::http::header::CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        if let Some((name, value)) = &self.0.header {
            response.headers_mut().insert(name, value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error.code(), error.to_string())
            .with_challenge("Bearer realm=\"sluice\", error=\"invalid_token\"")
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        match error {
            AccessError::Expired => AuthError::Expired.into(),
            AccessError::WrongRoom | AccessError::BadIdentity | AccessError::TooLong | AccessError::Forbidden => {
                Self::forbidden(error.to_string())
            }
        }
    }
}

impl From<ConductorError> for Problem {
    fn from(error: ConductorError) -> Self {
        if let ConductorError::Store(error) = &error {
            tracing::error!(%error, "the database failed");
        }
        let status = StatusCode::from_u16(status_of(&error)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut problem = Self::new(status, error.code(), error.to_string());
        if let ConductorError::Room(error) = &error {
            problem.0.field = field_of(*error);
        }
        match status {
            StatusCode::SERVICE_UNAVAILABLE => problem.with_retry_after(1),
            StatusCode::UNAUTHORIZED => problem.with_challenge("Bearer realm=\"sluice\", error=\"invalid_token\""),
            _ => problem,
        }
    }
}

/// Returns the path of what a room refuses, in the bodies of requests.
fn field_of(error: RoomError) -> Option<String> {
    match error {
        RoomError::BadLimit(limit) => Some(format!("limits.{limit}")),
        RoomError::TooLong("can_publish_sources") => Some("permissions.can_publish_sources".to_owned()),
        RoomError::TooLong(field) => Some(field.to_owned()),
        RoomError::NotBuilt(_) => Some("mode".to_owned()),
        RoomError::NoSuchTrack => Some("tracks".to_owned()),
        RoomError::NoSuchParticipant
        | RoomError::BadId
        | RoomError::ParticipantExists
        | RoomError::RoomFull
        | RoomError::TooMuchMetadata
        | RoomError::TooManyTracks
        | RoomError::Locked
        | RoomError::WrongPin
        | RoomError::Revoked
        | RoomError::GivesLess
        | RoomError::EarlierRoom
        | RoomError::MayNotPublish
        | RoomError::MayNotSubscribe
        | RoomError::MayNotManage
        | RoomError::Closed => None,
    }
}

/// Returns the HTTP status of a refusal.
const fn status_of(error: &ConductorError) -> u16 {
    match error {
        ConductorError::NoSuchRoom | ConductorError::NoSuchSession => 404,
        ConductorError::TokenExpired => 401,
        ConductorError::RoomExists => 409,
        ConductorError::TooManyRooms
        | ConductorError::TooManySessions
        | ConductorError::TooManyJoining
        | ConductorError::Store(_)
        | ConductorError::Unavailable(_)
        | ConductorError::NotDone(_) => 503,
        ConductorError::Room(error) => match error.refusal() {
            Refusal::Unauthenticated => 401,
            Refusal::Forbidden => 403,
            Refusal::NotFound => 404,
            Refusal::Conflict => 409,
            Refusal::Unprocessable => 422,
        },
        ConductorError::Offer(error) => match error.fault() {
            OfferFault::Size => 413,
            OfferFault::Syntax => 400,
            OfferFault::Unserviceable => 422,
        },
        ConductorError::Fragment(FragmentError::TooLarge) => 413,
        ConductorError::Fragment(_) => 400,
        ConductorError::NotYourSession | ConductorError::NotInRoom => 403,
        ConductorError::NotMovable | ConductorError::Publish(_) | ConductorError::Answer(_) => 422,
        ConductorError::EtagMissing => 428,
        ConductorError::EtagMismatch => 412,
    }
}
