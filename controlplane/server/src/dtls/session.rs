//! What an association needs of a DTLS implementation.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use sluice_protocol::media::SrtpKeys;
use tokio::sync::mpsc;

use super::certificate::{Certificate, Fingerprints};
use super::endpoint::Outgoing;
use super::error::Error;

/// What a handshake needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our certificate, whose fingerprint the session's SDP gave.
    pub certificate: Arc<Certificate>,
    /// What the peer's SDP gave of its certificate.
    pub remote_fingerprint: Fingerprints,
}

/// A DTLS implementation: datagrams in; datagrams, keys and application data out. That of DTLS 1.2 is
/// [`super::records::Dtls12`]; one of DTLS 1.3 would take its place.
pub(super) trait Session: Send + Sized {
    /// Runs the server's side of a handshake, until its deadline at the latest. It may be dropped at any time.
    fn handshake(
        config: &Config,
        incoming: &mut mpsc::Receiver<Bytes>,
        outgoing: &Outgoing,
    ) -> impl Future<Output = Result<Established<Self>, Error>> + Send;

    /// Rebuilds an established session from its exported state, such that no record number is used again.
    fn resume(state: &[u8]) -> Result<Self, Error>;

    /// Writes the state.
    fn export(&self) -> Vec<u8>;

    /// Opens the records of a datagram and reports what they hold, in order.
    fn handle_datagram(&mut self, datagram: &[u8], report: impl FnMut(Opened));

    /// Seals application data into a datagram.
    fn seal_application_data(&mut self, data: &[u8]) -> Result<Vec<u8>, Error>;

    /// Seals our `close_notify` (RFC 5246 section 7.2.1).
    fn seal_close_notify(&mut self) -> Result<Vec<u8>, Error>;

    /// Returns how many records were dropped: in the clear, repeated, forged or senseless.
    fn dropped(&self) -> u64;
}

/// The outcome of a handshake.
pub(super) struct Established<S> {
    /// What goes on from here.
    pub(super) session: S,
    /// The keys of SRTP.
    pub(super) keys: SrtpKeys,
    /// Datagrams that came before the end and belong behind it.
    pub(super) early: Vec<Bytes>,
}

/// What a datagram held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// Application data of one record.
    ApplicationData(Vec<u8>),
    /// The peer has not heard our last flight: send this datagram again.
    Repeat(Vec<u8>),
    /// The peer closed; send this datagram, its answer, and forget the association.
    Closed(Vec<u8>),
    /// The peer ended the association with this alert.
    FatalAlert(u8),
}
