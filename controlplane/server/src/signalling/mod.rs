//! The WebSocket at `/ws`: sessions whose clients publish and play in rooms.
//!
//! ```text
//!  client ──text──► reading ──► door (rooms by token) ──► conductor
//!     ▲                                                       │
//!     └── connection ◄── writing ◄───────── line ◄────────────┘
//! ```
//!
//! A connection decides nothing: it bounds what its client sends, translates, and carries what the conductor tells.

pub mod client_messages;
mod close;
mod connection;
mod door;
pub mod limits;
mod metrics;
mod rate;
mod reading;
mod refusal;
pub mod server_messages;
mod writing;

pub use connection::{Parts, Start, serve};
pub use door::Door;
pub use metrics::Metrics;
pub(crate) use refusal::invalid;

use utoipa::OpenApi;

/// The schema of all messages, as the components of an `OpenAPI` 3.1 document; the SDK's types are made from it.
#[derive(Debug, OpenApi)]
#[openapi(
    info(title = "Sluice signalling", description = "The messages of the WebSocket at /ws."),
    components(schemas(client_messages::ClientMessage, server_messages::ServerMessage))
)]
pub struct Schema;

#[cfg(test)]
mod tests {
    use super::*;

    /// `SLUICE_BLESS=1` writes the schema instead; then `npm run schema` in `controlplane/web` makes the SDK's types anew.
    #[test]
    fn the_schema_in_the_repository_is_that_of_the_messages() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/signaling.schema.json");
        let written = serde_json::to_string_pretty(&Schema::openapi()).unwrap() + "\n";
        if std::env::var_os("SLUICE_BLESS").is_some() {
            std::fs::write(path, &written).unwrap();
        }
        assert!(
            std::fs::read_to_string(path).unwrap() == written,
            "docs/signaling.schema.json is not the messages' schema"
        );
    }
}
