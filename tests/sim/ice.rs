//! The controlling ICE agent of a peer, made of `stun-rs`.

use stun_rs::attributes::ice::{IceControlling, Priority, UseCandidate};
use stun_rs::attributes::stun::{Fingerprint, MessageIntegrity, UserName};
use stun_rs::methods::BINDING;
use stun_rs::{
    DecoderContextBuilder, HMACKey, MessageClass, MessageDecoderBuilder, MessageEncoderBuilder, StunMessageBuilder,
};

/// Returns a binding request that nominates the pair (RFC 8445 section 7.2.2).
pub(crate) fn request(ufrag: &str, password: &str) -> Vec<u8> {
    let key = HMACKey::new_short_term(password).unwrap();
    let message = StunMessageBuilder::new(BINDING, MessageClass::Request)
        .with_attribute(UserName::new(format!("{ufrag}:peer")).unwrap())
        .with_attribute(Priority::from(1_853_824_767))
        .with_attribute(IceControlling::from(7))
        .with_attribute(UseCandidate::default())
        .with_attribute(MessageIntegrity::new(key))
        .with_attribute(Fingerprint::default())
        .build();
    let mut buffer = vec![0; 512];
    let size = MessageEncoderBuilder::default().build().encode(&mut buffer, &message).unwrap();
    buffer.truncate(size);
    buffer
}

/// Tells whether `datagram` is a success response that `password` authenticates.
pub(crate) fn is_success(datagram: &[u8], password: &str) -> bool {
    let key = HMACKey::new_short_term(password).unwrap();
    let context = DecoderContextBuilder::default().with_key(key).with_validation().build();
    let decoder = MessageDecoderBuilder::default().with_context(context).build();
    decoder.decode(datagram).is_ok_and(|(message, _)| message.class() == MessageClass::SuccessResponse)
}
