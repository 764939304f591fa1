//! What a session with a signalling connection has besides its peer connections.

use crate::room::Identity;
use crate::sdp::Simulcast;

use super::OfferId;

/// What a session with a signalling connection keeps while peer connections come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signalling {
    /// The number of its cookie.
    pub number: u64,
    /// Whose it is.
    pub identity: Identity,
    /// The certificate that its peer connections show, as the server wrote it.
    pub certificate: Vec<u8>,
    /// Which encodings are accepted of what it publishes.
    pub simulcast: Simulcast,
    /// The client's offer that was taken last.
    pub client_offer: OfferId,
    /// Our offer that was made last; the next one is greater, also for another peer connection.
    pub last_offer: OfferId,
    /// Our offer that was answered last.
    pub answered_offer: OfferId,
}

impl Signalling {
    /// Makes what a new session has.
    #[must_use]
    pub const fn new(number: u64, identity: Identity, certificate: Vec<u8>, simulcast: Simulcast) -> Self {
        let none = OfferId(0);
        Self { number, identity, certificate, simulcast, client_offer: none, last_offer: none, answered_offer: none }
    }
}
