//! Who may use an endpoint: the matrix of the control core, applied to what was shown.

use sluice_controlplane_core::access::{Caller, Claims, Endpoint, allows};
use sluice_controlplane_core::room::Admission;
use sluice_protocol::time::Instant;

use super::extract::Shown;
use super::{Problem, Server, now_seconds};
use crate::auth::{Bearer, LEEWAY_SECONDS};
use crate::clock;
use crate::conductor::Sight;

impl Server {
    /// Authorizes a caller for an endpoint of `room_id`, or for one that concerns no room: by the matrix, and for
    /// participants also by what the room has revoked.
    ///
    /// # Errors
    /// 401 when nothing was shown or it was revoked; 403 when it does not open this; 404 when a participant's room is gone.
    pub(super) async fn authorize(
        &self,
        shown: &Shown,
        room_id: Option<&str>,
        endpoint: Endpoint,
    ) -> Result<Caller, Problem> {
        let bearer = shown.0.as_ref().ok_or_else(Problem::unauthenticated)?;
        let caller = self.caller(bearer, room_id, endpoint)?;
        if let (Bearer::Token(claims), Some(room_id), false) = (bearer, room_id, caller == Caller::Admin) {
            self.conductor.check_admission(room_id, &claims.user_id, claims.role, &admission_of(claims)).await?;
        }
        Ok(caller)
    }

    /// Applies the matrix alone.
    ///
    /// # Errors
    /// 401 or 403.
    #[expect(clippy::unused_self, reason = "the front is what authorizes")]
    pub(super) fn caller(&self, bearer: &Bearer, room_id: Option<&str>, endpoint: Endpoint) -> Result<Caller, Problem> {
        let caller = bearer.caller(room_id, now_seconds())?;
        if allows(caller, endpoint) { Ok(caller) } else { Err(refusal(bearer, caller, room_id)) }
    }
}

/// Returns whom a caller sees in a room.
pub(super) const fn sight_of(caller: Caller) -> Sight {
    match caller {
        Caller::Admin | Caller::Host => Sight::All,
        Caller::Speaker | Caller::Attendee | Caller::Stranger => Sight::Visible,
    }
}

/// Returns what a room is told of a token.
pub(super) const fn admission_of(claims: &Claims) -> Admission {
    Admission::Token { issued_at: claims.iat, room_created_at: claims.room_created_at }
}

/// Returns when what a token allows ends.
pub(super) fn good_until(claims: &Claims) -> Instant {
    clock::at_unix_seconds(claims.exp.saturating_add(LEEWAY_SECONDS))
}

/// Says as precisely as the claims allow why they do not open an endpoint.
fn refusal(bearer: &Bearer, caller: Caller, room_id: Option<&str>) -> Problem {
    if let (Bearer::Token(claims), Caller::Stranger, Some(room_id)) = (bearer, caller, room_id)
        && let Err(error) = claims.admit_to(room_id, now_seconds().saturating_sub(LEEWAY_SECONDS))
    {
        return error.into();
    }
    Problem::forbidden(match caller {
        Caller::Host => "this needs an API key or a token with the claim admin",
        Caller::Admin | Caller::Speaker | Caller::Attendee | Caller::Stranger => "the token's role does not allow this",
    })
}
