//! The `OpenAPI` 3.1 document.

use axum::Json;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{event_streams, health, metrics, participants, rooms, sessions, tokens, websocket};

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
        websocket::open, health::health, health::health_at_root, metrics::metrics, document,
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
