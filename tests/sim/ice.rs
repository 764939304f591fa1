//! The controlling ICE agent of a peer, made of `stun-rs`.

use sluice_tests::{encode, nominating_check};
use stun_rs::{DecoderContextBuilder, HMACKey, MessageClass, MessageDecoderBuilder};

/// Returns a binding request that nominates the pair.
pub(crate) fn request(ufrag: &str, password: &str) -> Vec<u8> {
    encode(nominating_check(&format!("{ufrag}:peer"), password).unwrap()).unwrap()
}

/// Tells whether `datagram` is a success response that `password` authenticates.
pub(crate) fn is_success(datagram: &[u8], password: &str) -> bool {
    let key = HMACKey::new_short_term(password).unwrap();
    let context = DecoderContextBuilder::default().with_key(key).with_validation().build();
    let decoder = MessageDecoderBuilder::default().with_context(context).build();
    decoder.decode(datagram).is_ok_and(|(message, _)| message.class() == MessageClass::SuccessResponse)
}
