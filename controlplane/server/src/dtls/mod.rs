//! DTLS of the control plane (RFC 6347, RFC 5764): handshakes for the keys of SRTP, and the carrier of data channels.
//!
//! The data plane hands over the datagrams that RFC 7983 takes for DTLS; each transport has one [`Association`], which
//! answers with datagrams and with [`Event`]s. `docs/life-of-a-join.md` shows where it stands.
//!
//! - [`mod@association`] is the handle, [`mod@certificate`] what SDP says of both ends; `endpoint` is what all
//!   associations share, the bound on handshakes among it.
//! - `records` carries what comes after the handshake and the state that survives a restart.
//! - `handshake`, which it begins with, runs the library's behind `admission`, which reads the `ClientHello`
//!   (`client_hello`) and gives the library only whole and well-formed messages (`record`, `fragments`).
//!
//! Each knows only what stands below it. Another DTLS implementation would take the place of the last two behind the
//! trait in `session`.

mod admission;
pub mod association;
pub mod certificate;
mod client_hello;
mod endpoint;
pub mod error;
mod fragments;
mod handshake;
pub mod limits;
mod record;
mod records;
mod repetition;
mod replay;
mod session;

#[cfg(test)]
mod foreign;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use association::{Association, Resumed};
pub use certificate::{Certificate, Fingerprint};
pub use endpoint::{Connected, Counts, Endpoint, Event};
pub use error::Error;
pub use session::Config;

/// Installs the process's provider of `rustls`. Call it first in `main`: the DTLS library builds verifiers of `rustls`
/// (and uses none of them), which panics once two providers are compiled in and none is chosen.
pub fn install_crypto_provider() {
    // An error says that one is installed already, which is as good.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Bodies of the fuzz targets: the parsers of what anybody can send.
pub mod fuzzing {
    use bytes::Bytes;

    /// Feeds a handshake's gate: `data` is cut into datagrams by leading lengths of two bytes.
    pub fn client_hello(data: &[u8]) {
        let mut admission = super::admission::Admission::default();
        let mut rest = data;
        while let Some(([high, low], tail)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
            let (datagram, tail) = tail.split_at(length);
            rest = tail;
            if admission.handle_datagram(&Bytes::copy_from_slice(datagram)).is_err() {
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
