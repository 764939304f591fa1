//! Refusals in the words of messages.

use sluice_controlplane_core::room::RoomError;

use crate::conductor::ConductorError;
use crate::conductor::signalled::SaidRefusal;

/// A value that cannot be taken.
pub(crate) fn invalid(field: &str, message: &str) -> SaidRefusal {
    SaidRefusal { code: "invalid_value".to_owned(), message: message.to_owned(), field: Some(field.to_owned()) }
}

/// Something of the product that does not exist yet.
pub(super) fn not_built(what: &str) -> SaidRefusal {
    let message = format!("{what} is not built yet");
    SaidRefusal { code: "not_built".to_owned(), message, field: Some("type".to_owned()) }
}

/// Says why the conductor refuses.
pub(super) fn of(error: &ConductorError) -> SaidRefusal {
    if let ConductorError::Store(error) = error {
        tracing::error!(%error, "the database failed");
    }
    let is_of_sdp = matches!(error, ConductorError::Publish(_) | ConductorError::Offer(_) | ConductorError::Answer(_));
    let field = if let ConductorError::Room(RoomError::TooLong(field)) = error {
        Some((*field).to_owned())
    } else {
        is_of_sdp.then(|| "sdp".to_owned())
    };
    SaidRefusal { code: error.code().to_owned(), message: error.to_string(), field }
}
