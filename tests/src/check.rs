//! ICE connectivity checks of foreign make (`stun-rs`).

use anyhow::{Result, anyhow};
use stun_rs::attributes::ice::{IceControlling, Priority, UseCandidate};
use stun_rs::attributes::stun::{Fingerprint, MessageIntegrity, UserName};
use stun_rs::methods::BINDING;
use stun_rs::{HMACKey, MessageClass, MessageEncoderBuilder, StunMessageBuilder};

/// Bytes that a check has at most.
const CHECK_BYTES_MAX: usize = 512;

/// Starts a binding request of a controlling agent that nominates the pair (RFC 8445 section 7.2.2); its transaction is
/// random unless the caller sets one.
///
/// # Errors
/// What `stun-rs` says of the name or the password.
pub fn nominating_check(username: &str, password: &str) -> Result<StunMessageBuilder> {
    let key = HMACKey::new_short_term(password).map_err(|error| anyhow!("{error}"))?;
    let username = UserName::new(username).map_err(|error| anyhow!("{error}"))?;
    Ok(StunMessageBuilder::new(BINDING, MessageClass::Request)
        .with_attribute(username)
        .with_attribute(Priority::from(1_853_824_767))
        .with_attribute(IceControlling::from(7))
        .with_attribute(UseCandidate::default())
        .with_attribute(MessageIntegrity::new(key))
        .with_attribute(Fingerprint::default()))
}

/// Returns a message as it goes over the wire.
///
/// # Errors
/// What `stun-rs` says of it.
pub fn encode(message: StunMessageBuilder) -> Result<Vec<u8>> {
    let mut buffer = vec![0; CHECK_BYTES_MAX];
    let encoded = MessageEncoderBuilder::default().build().encode(&mut buffer, &message.build());
    buffer.truncate(encoded.map_err(|error| anyhow!("{error}"))?);
    Ok(buffer)
}
