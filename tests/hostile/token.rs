//! Tokens that an attacker makes.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The header that the server expects.
pub(crate) fn header() -> Value {
    json!({"alg": "HS256", "typ": "JWT", "kid": "test"})
}

/// Claims that open a room.
pub(crate) fn claims(room: &str, role: &str) -> Value {
    json!({"room_id": room, "user_id": "mallory", "role": role, "iat": now() - 60, "exp": now() + 600})
}

/// Signs with HS256, whatever the header says.
pub(crate) fn sign(header: &Value, claims: &Value, secret: &str) -> String {
    let message = unsigned(header, claims);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(&key, message.as_bytes()));
    format!("{message}.{signature}")
}

/// Header and claims without a signature.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// Returns a value with one field changed.
pub(crate) fn with(mut value: Value, field: &str, changed: Value) -> Value {
    value[field] = changed;
    value
}
