//! Who asks: API keys and tokens.
//!
//! Administration takes an API key's secret itself, or a JWT signed with it that claims `"admin": true`. Participants
//! show JWTs which the server or an application signed with a key's secret (HS256, the header's `kid` names the key).

mod key;
mod token;

pub use key::{ApiKey, KeyRing};
pub use token::{AuthError, Bearer, LEEWAY_SECONDS, LIFETIME_MAX, issue, metadata_text, metadata_value, verify};
