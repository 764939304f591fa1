//! DTLS of the control plane (RFC 6347, RFC 5764): handshakes for the keys of SRTP, and the carrier of data channels.
//!
//! The data plane hands over the datagrams that RFC 7983 takes for DTLS; each transport has one [`Association`], which
//! answers with datagrams and with [`Event`]s. `docs/life-of-a-join.md` shows where it stands.
//!
//! - [`mod@association`] is the handle, [`mod@certificate`] what SDP says of both ends; `endpoint` is what all
//!   associations share, the bound on handshakes among it, and `early` keeps what comes before there is one.
//! - `records` carries what comes after the handshake and the state that survives a restart.
//! - `handshake`, which it begins with, gives datagrams and time to `negotiation`, the server's state machine, and sends
//!   what comes out (`flight`). `admission` puts the client's messages together (`record`, `fragments`), `client_hello`
//!   and `messages` read and write them, `peer_key` verifies what the client signs, `key_schedule` derives all keys.
//!
//! Each knows only what stands below it. An implementation of DTLS 1.3 would take its place behind the trait in
//! `session`. All of the cryptography is `aws-lc-rs`; `docs/decisions/0011-dtls-handshake-of-our-own.md` says why the
//! handshake is not a library's.

mod admission;
pub mod association;
pub mod certificate;
mod client_hello;
mod early;
mod endpoint;
pub mod error;
mod flight;
mod fragments;
mod handshake;
mod key_schedule;
pub mod limits;
mod messages;
mod negotiation;
mod peer_key;
mod record;
mod records;
mod replay;
mod session;

#[cfg(test)]
mod foreign;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use association::{Association, Resumed};
pub use certificate::{Certificate, Fingerprint, Fingerprints};
pub use early::FirstFlights;
pub use endpoint::{Connected, Counts, Endpoint, Event};
pub use error::Error;
pub use session::Config;

/// Bodies of the fuzz targets: the parsers of what anybody can send.
pub mod fuzzing {
    use std::sync::{Arc, LazyLock};

    use bytes::Bytes;
    use tokio::time::Instant;

    use super::negotiation::Negotiation;
    use super::{Certificate, Config, Fingerprint, Fingerprints};

    static CONFIG: LazyLock<Config> = LazyLock::new(|| {
        let certificate = Certificate::generate().expect("the system has randomness");
        let own = Fingerprint::parse(&certificate.fingerprint()).expect("it is ours");
        let remote_fingerprint = Fingerprints::strongest([own]).expect("there is one");
        Config { certificate: Arc::new(certificate), remote_fingerprint }
    });

    /// Feeds a handshake: `data` is cut into datagrams by leading lengths of two bytes. The client's certificate has to
    /// be ours, which it never is.
    pub fn client_hello(data: &[u8]) {
        let now = Instant::now();
        let mut negotiation = Negotiation::new(CONFIG.clone(), now);
        let mut rest = data;
        while let Some(([high, low], tail)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
            let (datagram, tail) = tail.split_at(length);
            rest = tail;
            let result = negotiation.handle_datagram(now, &Bytes::copy_from_slice(datagram));
            while negotiation.poll_datagram().is_some() {}
            if result.is_err() {
                return;
            }
        }
        let _ = super::client_hello::parse(data);
    }

    /// Feeds an open association with one datagram, resumed from a state whose keys are zeros.
    pub fn open_datagram(data: &[u8]) {
        use super::session::Session as _;
        let state = [vec![1], vec![0; 57]].concat();
        if let Ok(mut session) = super::records::Dtls12::resume(&state) {
            session.handle_datagram(data, drop);
        }
    }
}
