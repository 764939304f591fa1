//! The `OpenAPI` 3.1 document.

use axum::Json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{IntoResponses, Modify, OpenApi};

use super::problem::ProblemDocument;
use super::{event_streams, health, metrics, participants, rooms, sessions, tokens};

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

/// The document.
#[derive(OpenApi)]
#[openapi(
    info(title = "Sluice", description = "Rooms, participants and tokens; publishing by WHIP and playing by WHEP."),
    modifiers(&Schemes),
    paths(
        rooms::create, rooms::list, rooms::read, rooms::update, rooms::delete, rooms::start, rooms::stop,
        participants::list, tokens::admit, participants::update, participants::remove, tokens::create,
        event_streams::all, event_streams::of_room,
        sessions::publish, sessions::patch_publishing, sessions::end_publishing,
        sessions::play, sessions::patch_playing, sessions::end_playing,
        health::health, health::health_at_root, metrics::metrics, document,
    )
)]
pub(super) struct Document;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = |description: &str| {
            SecurityScheme::Http(
                HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build(),
            )
        };
        let components = document.components.get_or_insert_default();
        let key =
            bearer("An API key's secret, or a JWT signed with it (kid names the key) that claims \"admin\": true");
        components.add_security_scheme("key", key);
        components.add_security_scheme(
            "token",
            bearer("A participant's token, which opens its rooms as far as its role goes"),
        );
    }
}

/// Gives this document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "operation", responses(
    (status = 200, description = "The OpenAPI 3.1 document", content_type = "application/json")))]
pub(super) async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(Document::openapi())
}
