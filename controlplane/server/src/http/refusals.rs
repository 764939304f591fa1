//! What operations answer when they refuse, as the `OpenAPI` document lists it.

use utoipa::IntoResponses;

use super::problem::ProblemDocument;

/// What any operation that looks at who asks may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) enum AccessErrors {
    /// Nothing was shown, or nothing that is worth anything.
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthenticated(#[to_schema] ProblemDocument),
    /// What was shown does not open this.
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(#[to_schema] ProblemDocument),
    /// Too much from this address; `Retry-After` says when to come back.
    #[response(status = 429, content_type = "application/problem+json")]
    TooMany(#[to_schema] ProblemDocument),
    /// The server is busy, or something that it needs is away.
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(#[to_schema] ProblemDocument),
}

/// What any operation on a room may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) enum RoomErrors {
    /// No such room, participant or track.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] ProblemDocument),
    /// A limit of the room is reached.
    #[response(status = 409, content_type = "application/problem+json")]
    Conflict(#[to_schema] ProblemDocument),
    /// An id is not of the form of ids.
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(#[to_schema] ProblemDocument),
}

/// What any operation on a session may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) enum SessionErrors {
    /// No such session.
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(#[to_schema] ProblemDocument),
    /// `If-Match` names another ICE session than the current one.
    #[response(status = 412, content_type = "application/problem+json")]
    Mismatch(#[to_schema] ProblemDocument),
    /// `If-Match` is missing.
    #[response(status = 428, content_type = "application/problem+json")]
    Required(#[to_schema] ProblemDocument),
    /// An id is not of the form of ids.
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(#[to_schema] ProblemDocument),
}

/// What any operation with parameters may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) enum ParameterErrors {
    /// A parameter cannot be taken.
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(#[to_schema] ProblemDocument),
}

/// What any operation with a body may answer.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the document")]
pub(super) enum BodyErrors {
    /// The body is not what its media type says.
    #[response(status = 400, content_type = "application/problem+json")]
    Syntax(#[to_schema] ProblemDocument),
    /// The body did not arrive in time.
    #[response(status = 408, content_type = "application/problem+json")]
    Slow(#[to_schema] ProblemDocument),
    /// The body is too large.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(#[to_schema] ProblemDocument),
    /// The body is of another media type.
    #[response(status = 415, content_type = "application/problem+json")]
    MediaType(#[to_schema] ProblemDocument),
    /// A value cannot be taken, or something is asked for that is not built yet; `field` names it.
    #[response(status = 422, content_type = "application/problem+json")]
    Unprocessable(#[to_schema] ProblemDocument),
}
