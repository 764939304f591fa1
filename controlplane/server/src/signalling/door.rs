//! Who lets sessions into rooms.

use async_trait::async_trait;
use sluice_controlplane_core::access::Claims;

use crate::conductor::Entrant;
use crate::conductor::signalled::{Renewer, SaidRefusal};

/// Judges what a connection's client shows. Made for one connection, whose token it remembers.
#[async_trait]
pub trait Door: Send + Sync + 'static {
    /// Returns as whom a client may enter a room: by `token`, else by the one that it showed last, else, where guests are let
    /// in, by `pin`.
    ///
    /// # Errors
    /// The refusal, as it is said.
    async fn admit(&self, room_id: &str, token: Option<&str>, pin: Option<String>) -> Result<Entrant, SaidRefusal>;

    /// Takes a newer token of `identity`, and tells what it renews.
    ///
    /// # Errors
    /// The refusal, as it is said.
    fn renew(&self, token: &str, identity: &str) -> Result<Renewer, SaidRefusal>;

    /// Signs what a token says; `None` where there is no key to sign with.
    fn sign(&self, claims: &Claims) -> Option<String>;
}
