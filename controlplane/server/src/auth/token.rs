//! Tokens: JWTs (RFC 7519) signed with an API key's secret by HS256, and nothing else.

use std::time::Duration;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::Value;
use sluice_controlplane_core::access::{AccessError, Caller, Claims};
use thiserror::Error;

use super::{ApiKey, KeyRing};
use crate::json;

/// How far the clocks of those who mint tokens may be off, in seconds.
pub const LEEWAY_SECONDS: u64 = 5;
/// How long after it was issued a token of a participant is good at the most, whatever its `exp` says. What says for how
/// long removals have to be remembered.
pub const LIFETIME_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// The longest token that is looked at: metadata of 16 KiB in Base64, and the rest.
const TOKEN_BYTES_MAX: usize = 32 * 1024;

/// What somebody showed, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// An API key's secret.
    Key {
        /// The key's id.
        id: String,
    },
    /// A token's claims. Metadata is JSON text, or empty.
    Token(Box<Claims>),
}

impl Bearer {
    /// Returns who calls an endpoint of `room`, or one that concerns no room.
    ///
    /// # Errors
    /// [`AccessError::Expired`].
    pub fn caller(&self, room: Option<&str>, now_seconds: u64) -> Result<Caller, AccessError> {
        match self {
            Self::Key { .. } => Ok(Caller::Admin),
            Self::Token(claims) => claims.caller(room, now_seconds.saturating_sub(LEEWAY_SECONDS)),
        }
    }
}

/// Why what was shown is worth nothing. All of it is the peer's fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AuthError {
    /// Neither the secret of a key nor a token.
    #[error("this is neither the secret of an API key nor a token")]
    Unknown,
    /// The header is not that of a JWT, or one of an algorithm other than HS256; `none` among them.
    #[error("the token's header is malformed or names an algorithm other than HS256")]
    Header,
    /// The header's `kid` is missing or names no key.
    #[error("the token's header names no API key (kid)")]
    UnknownKey,
    /// The signature is another key's, or the token was changed.
    #[error("the token's signature is wrong")]
    Signature,
    /// A claim is missing or not of its type.
    #[error("the token's claims are malformed: {0}")]
    Claims(String),
    /// `exp` has passed.
    #[error("the token has expired")]
    Expired,
    /// Without `iat` nobody knows when the token was issued, and `exp` is further away than a token may live.
    #[error("a token without iat has to end within 366 days")]
    Lifetime,
    /// `nbf` is to come.
    #[error("the token is not valid yet")]
    NotYet,
}

impl AuthError {
    /// Returns a stable name in `snake_case`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "token_unknown",
            Self::Header => "token_header",
            Self::UnknownKey => "token_key_unknown",
            Self::Signature => "token_signature",
            Self::Claims(_) => "token_claims",
            Self::Expired => "token_expired",
            Self::Lifetime => "token_lifetime",
            Self::NotYet => "token_not_yet_valid",
        }
    }
}

/// Verifies what somebody showed: the secret of a key of `ring`, or a token signed with one.
///
/// # Errors
/// [`AuthError`]; nothing of a token is looked at but its header before its signature was verified.
pub fn verify(ring: &KeyRing, shown: &str, now_seconds: u64) -> Result<Bearer, AuthError> {
    if shown.len() > TOKEN_BYTES_MAX {
        return Err(AuthError::Unknown);
    }
    if let Some(key) = ring.by_secret(shown) {
        return Ok(Bearer::Key { id: key.id().to_owned() });
    }
    if shown.split('.').count() != 3 {
        return Err(AuthError::Unknown);
    }
    let header = jsonwebtoken::decode_header(shown).map_err(|_| AuthError::Header)?;
    if header.alg != Algorithm::HS256 || header.crit.is_some() {
        return Err(AuthError::Header);
    }
    let key = header.kid.as_deref().and_then(|kid| ring.by_id(kid)).ok_or(AuthError::UnknownKey)?;
    let mut claims = verified_claims(shown, key)?;
    check_times(&mut claims, now_seconds)?;
    if let Some(metadata) = claims.get_mut("metadata") {
        *metadata = Value::String(metadata_text(metadata));
    }
    let claims = json::from_value(claims).map_err(|error| AuthError::Claims(error.to_string()));
    let mut claims: Claims = claims?;
    bound_lifetime(&mut claims, now_seconds)?;
    Ok(Bearer::Token(Box::new(claims)))
}

/// Verifies the signature only; times are checked against the caller's clock.
fn verified_claims(shown: &str, key: &ApiKey) -> Result<Value, AuthError> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let verified = jsonwebtoken::decode::<Value>(shown, &DecodingKey::from_secret(key.secret_bytes()), &validation);
    let verified = verified.map_err(|error| {
        if let ErrorKind::Json(_) = error.kind() {
            AuthError::Claims("they are not JSON".to_owned())
        } else {
            AuthError::Signature
        }
    })?;
    Ok(verified.claims)
}

/// Checks `exp` and `nbf`, and rounds what RFC 7519 section 2 allows to have a fraction.
fn check_times(claims: &mut Value, now_seconds: u64) -> Result<(), AuthError> {
    for name in ["exp", "iat", "nbf"] {
        let Some(claim) = claims.get_mut(name) else { continue };
        if let Some(whole) = claim.as_f64().filter(|time| claim.as_u64().is_none() && (0.0..1e15).contains(time)) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
            let whole = whole as u64;
            *claim = Value::from(whole);
        }
    }
    let time = |name: &str| claims.get(name).and_then(Value::as_u64);
    let exp = time("exp").ok_or_else(|| AuthError::Claims("exp is missing or no time".to_owned()))?;
    if exp.saturating_add(LEEWAY_SECONDS) <= now_seconds {
        return Err(AuthError::Expired);
    }
    if time("nbf").is_some_and(|nbf| nbf > now_seconds.saturating_add(LEEWAY_SECONDS)) {
        return Err(AuthError::NotYet);
    }
    Ok(())
}

/// Ends a participant's token [`LIFETIME_MAX`] after it was issued: what was issued before somebody was removed has ended
/// when the removal is forgotten. Admins are not removed.
fn bound_lifetime(claims: &mut Claims, now_seconds: u64) -> Result<(), AuthError> {
    if claims.admin {
        return Ok(());
    }
    let Some(iat) = claims.iat else {
        let is_within = claims.exp <= now_seconds.saturating_add(LIFETIME_MAX.as_secs() + LEEWAY_SECONDS);
        return if is_within { Ok(()) } else { Err(AuthError::Lifetime) };
    };
    claims.exp = claims.exp.min(iat.saturating_add(LIFETIME_MAX.as_secs()));
    if claims.exp.saturating_add(LEEWAY_SECONDS) <= now_seconds { Err(AuthError::Expired) } else { Ok(()) }
}

/// Signs claims with a key. Metadata stands in the token as the JSON that it is the text of.
#[must_use]
pub fn issue(key: &ApiKey, claims: &Claims) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(key.id().to_owned());
    let mut body = serde_json::to_value(claims).expect("claims are plain data");
    if let Some(metadata) = body.get_mut("metadata") {
        *metadata = metadata_value(&claims.metadata);
    }
    jsonwebtoken::encode(&header, &body, &EncodingKey::from_secret(key.secret_bytes()))
        .expect("HS256 signs with any secret")
}

/// Returns the JSON text of metadata; empty for `null`, so that absent and `null` are the same.
#[must_use]
pub fn metadata_text(value: &Value) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}

/// Returns the metadata that a text of [`metadata_text`] stands for; a text that is not JSON stands for itself.
#[must_use]
pub fn metadata_value(text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;
    use sluice_controlplane_core::access::Role;

    use super::*;

    const NOW: u64 = 1_000_000;

    fn key() -> ApiKey {
        ApiKey::parse("main:0123456789abcdef0123456789abcdef").unwrap()
    }

    fn ring() -> KeyRing {
        KeyRing::new([key(), ApiKey::parse("other:fedcba9876543210fedcba9876543210").unwrap()])
    }

    fn sign(header: &Value, claims: &Value, secret: &[u8]) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let hmac = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
        let signature = URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&hmac, message.as_bytes()));
        format!("{message}.{signature}")
    }

    fn header() -> Value {
        json!({"alg": "HS256", "typ": "JWT", "kid": "main"})
    }

    fn claims() -> Value {
        json!({"room_id": "a", "user_id": "u", "role": "speaker", "exp": NOW + 60, "iat": NOW})
    }

    #[test]
    fn a_token_that_an_application_minted_is_taken() {
        let token = sign(&header(), &claims(), key().secret_bytes());
        let Bearer::Token(verified) = verify(&ring(), &token, NOW).unwrap() else { panic!("a token") };
        assert_eq!((verified.user_id.as_str(), verified.role, verified.iat), ("u", Role::Speaker, Some(NOW)));
        assert_eq!(Bearer::Token(verified).caller(Some("a"), NOW), Ok(Caller::Speaker));
    }

    #[test]
    fn what_is_issued_verifies_with_metadata_of_any_shape() {
        for metadata in [json!({"a": [1, "x"]}), json!("text"), json!("{\"a\":1}"), json!(null), json!(7)] {
            let mut wanted: Claims = serde_json::from_value(claims()).unwrap();
            wanted.metadata = metadata_text(&metadata);
            let token = issue(&key(), &wanted);
            assert_eq!(verify(&ring(), &token, NOW).unwrap(), Bearer::Token(Box::new(wanted.clone())));
            assert_eq!(metadata_value(&wanted.metadata), metadata);
        }
    }

    #[test]
    fn a_secret_opens_and_a_wrong_one_does_not() {
        assert_eq!(verify(&ring(), key().reveal(), NOW), Ok(Bearer::Key { id: "main".to_owned() }));
        for wrong in ["", "0123456789abcdef", "main", "main:0123456789abcdef0123456789abcdef", &"x".repeat(100_000)] {
            assert_eq!(verify(&ring(), wrong, NOW), Err(AuthError::Unknown), "{wrong:.40}");
        }
    }

    #[test]
    fn forged_tokens_are_refused_by_name() {
        let secret = key().secret_bytes().to_owned();
        let with = |name: &str, value: Value, mut object: Value| {
            object[name] = value;
            object
        };
        let without = |name: &str, mut object: Value| {
            object.as_object_mut().unwrap().remove(name);
            object
        };
        let signed = |header: &Value, claims: &Value| sign(header, claims, &secret);
        let unsigned = {
            let token = signed(&with("alg", json!("none"), header()), &claims());
            format!("{}.", token.rsplit_once('.').unwrap().0)
        };
        let swapped = {
            let (honest, admin) =
                (signed(&header(), &claims()), signed(&header(), &with("admin", json!(true), claims())));
            let body = admin.split('.').nth(1).unwrap().to_owned();
            let parts: Vec<_> = honest.split('.').collect();
            format!("{}.{body}.{}", parts[0], parts[2])
        };
        let cases = [
            ("alg none", unsigned, AuthError::Header),
            ("alg none, signed", signed(&with("alg", json!("none"), header()), &claims()), AuthError::Header),
            ("alg HS512", signed(&with("alg", json!("HS512"), header()), &claims()), AuthError::Header),
            ("alg RS256", signed(&with("alg", json!("RS256"), header()), &claims()), AuthError::Header),
            ("no kid", signed(&without("kid", header()), &claims()), AuthError::UnknownKey),
            ("unknown kid", signed(&with("kid", json!("nobody"), header()), &claims()), AuthError::UnknownKey),
            ("another key's kid", signed(&with("kid", json!("other"), header()), &claims()), AuthError::Signature),
            ("claims swapped", swapped, AuthError::Signature),
            ("wrong secret", sign(&header(), &with("admin", json!(true), claims()), b"guessed"), AuthError::Signature),
            ("expired", signed(&header(), &with("exp", json!(NOW - 60), claims())), AuthError::Expired),
            ("not yet", signed(&header(), &with("nbf", json!(NOW + 60), claims())), AuthError::NotYet),
        ];
        for (name, token, error) in cases {
            assert_eq!(verify(&ring(), &token, NOW), Err(error), "{name}");
        }
        for bad in [
            without("exp", claims()),
            with("exp", json!("tomorrow"), claims()),
            with("role", json!("emperor"), claims()),
            with("admin", json!("yes"), claims()),
            with("user_id", json!(7), claims()),
            json!([1, 2]),
        ] {
            let error = verify(&ring(), &signed(&header(), &bad), NOW).unwrap_err();
            assert!(matches!(error, AuthError::Claims(_)), "{bad}: {error}");
        }
    }

    #[test]
    fn a_participants_token_ends_a_year_after_it_was_issued_at_the_latest() {
        let year = LIFETIME_MAX.as_secs();
        let ends = |claims: &Value, now: u64| match verify(&ring(), &sign(&header(), claims, key().secret_bytes()), now)
        {
            Ok(Bearer::Token(claims)) => Ok(claims.exp),
            Ok(Bearer::Key { .. }) => panic!("a token"),
            Err(error) => Err(error),
        };
        let for_ever = json!({"room_id": "a", "user_id": "u", "exp": NOW * 1000, "iat": NOW});
        assert_eq!(ends(&for_ever, NOW), Ok(NOW + year));
        assert_eq!(ends(&for_ever, NOW + year), Ok(NOW + year), "clocks may be a little off");
        assert_eq!(ends(&for_ever, NOW + year + LEEWAY_SECONDS), Err(AuthError::Expired));
        let without = |exp: u64| json!({"room_id": "a", "user_id": "u", "exp": exp});
        assert_eq!(ends(&without(NOW + year), NOW), Ok(NOW + year));
        assert_eq!(ends(&without(NOW + year + 60), NOW), Err(AuthError::Lifetime));
        assert_eq!(ends(&json!({"admin": true, "exp": NOW * 1000}), NOW), Ok(NOW * 1000), "admins are not removed");
    }

    #[test]
    fn times_may_have_a_fraction_and_clocks_may_be_a_little_off() {
        let mut late = claims();
        late["exp"] = json!(NOW as f64 - 2.5);
        assert!(verify(&ring(), &sign(&header(), &late, key().secret_bytes()), NOW).is_ok());
    }
}
