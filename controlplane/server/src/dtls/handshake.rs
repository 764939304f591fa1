//! The handshake of DTLS 1.2, run by the library over a virtual connection.
//!
//! The library demands a cookie exchange, compares no Finished (the extended master secret, which is required here,
//! binds the keys to what was said: RFC 7627 section 4), answers no repeated Finished and makes two certificates that
//! it throws away in each `DTLSConn::new`. All that matters of it is known when its handshake ends, so it is dropped
//! then and `records` goes on.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use sluice_protocol::media::{MasterKey, SrtpKeys, SrtpProfile};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use webrtc_dtls::Error as LibraryError;
use webrtc_dtls::cipher_suite::CipherSuiteId;
use webrtc_dtls::config::{ClientAuthType, Config as LibraryConfig, ExtendedMasterSecretType};
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use webrtc_dtls::state::State;
use webrtc_util::conn::Conn;
use webrtc_util::{KeyingMaterialExporter, KeyingMaterialExporterError};

use super::admission::Admission;
use super::client_hello;
use super::endpoint::Outgoing;
use super::error::Error;
use super::limits::FLIGHT_INTERVAL;
use super::record::{self, ContentType, Records};
use super::repetition::Repetition;
use super::session::Config;

/// The exporter's label of SRTP (RFC 5764 section 4.2).
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";
const ALERT_HANDSHAKE_FAILURE: u8 = 40;
const ALERT_DECODE_ERROR: u8 = 50;

/// What a handshake ended with.
pub(super) struct Agreed {
    /// What the keys of records come from.
    pub(super) secrets: Secrets,
    /// The keys of SRTP.
    pub(super) keys: SrtpKeys,
    /// The number of our next record of epoch 1.
    pub(super) sequence_next: u64,
    /// The last datagram of the handshake.
    pub(super) final_flight: Vec<u8>,
    /// Datagrams that came before the end and belong behind it.
    pub(super) early: Vec<Bytes>,
}

/// What the handshake agreed on: the master secret and the hellos' random numbers.
pub(super) struct Secrets {
    pub(super) master_secret: Vec<u8>,
    pub(super) client_random: Vec<u8>,
    pub(super) server_random: Vec<u8>,
}

/// Runs the handshake. It ends early only when dropped: the deadline is the caller's.
pub(super) async fn run(
    config: &Config,
    incoming: &mut mpsc::Receiver<Bytes>,
    outgoing: &Outgoing,
) -> Result<Agreed, Error> {
    let mut admission = Admission::default();
    let pipe = Arc::new(Pipe::new(outgoing.clone()));
    let profile = loop {
        let admitted = admit(&mut admission, &receive(incoming).await, outgoing);
        pipe.push(admitted.inspect_err(|error| outgoing.send(refusal(error)))?);
        if let Some(profile) = admission.profile() {
            break profile;
        }
    };
    let mismatch = Arc::new(AtomicBool::new(false));
    let library_config = library_config(config, profile, Arc::clone(&mismatch));
    let mut handshake =
        Box::pin(DTLSConn::new(Arc::clone(&pipe) as Arc<dyn Conn + Send + Sync>, library_config, false, None));
    let result = loop {
        tokio::select! {
            biased;
            result = &mut handshake => break result,
            datagram = receive(incoming) => pipe.push(admit(&mut admission, &datagram, outgoing)?),
        }
    };
    let connection = result.map_err(|error| name(error, mismatch.load(Ordering::Relaxed), &admission))?;
    let state = connection.connection_state().await;
    drop(connection);
    let genuine = state.peer_certificates.first().is_some_and(|der| config.remote_fingerprint.matches(der));
    if !genuine {
        return Err(Error::FingerprintMismatch);
    }
    let keys = srtp_keys(&state, profile).await?;
    let hellos = state.key_log_data().map_err(|error| Error::Library(error.to_string()))?;
    let secrets = Secrets {
        master_secret: hellos.master_secret,
        client_random: hellos.remote_random,
        server_random: hellos.local_random,
    };
    let (sequence_next, final_flight) = pipe.final_flight();
    Ok(Agreed { secrets, keys, sequence_next, final_flight, early: admission.take_early() })
}

/// Returns what the library may see of a datagram, and counts what it may not.
fn admit(admission: &mut Admission, datagram: &Bytes, outgoing: &Outgoing) -> Result<Vec<Vec<u8>>, Error> {
    let before = admission.dropped();
    let admitted = admission.handle_datagram(datagram);
    outgoing.drop_many(admission.dropped() - before);
    admitted
}

/// Receives a datagram; pends when the association is gone, since the task is about to be dropped.
async fn receive(incoming: &mut mpsc::Receiver<Bytes>) -> Bytes {
    match incoming.recv().await {
        Some(datagram) => datagram,
        None => std::future::pending().await,
    }
}

fn library_config(config: &Config, profile: SrtpProfile, mismatch: Arc<AtomicBool>) -> LibraryConfig {
    let fingerprint = config.remote_fingerprint.clone();
    LibraryConfig {
        certificates: vec![config.certificate.library()],
        cipher_suites: vec![CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256],
        srtp_protection_profiles: vec![SrtpProtectionProfile::from(client_hello::profile_number(profile))],
        client_auth: ClientAuthType::RequireAnyClientCert,
        extended_master_secret: ExtendedMasterSecretType::Require,
        flight_interval: FLIGHT_INTERVAL,
        verify_peer_certificate: Some(Arc::new(move |certificates, _| {
            let genuine = certificates.first().is_some_and(|der| fingerprint.matches(der));
            mismatch.store(!genuine, Ordering::Relaxed);
            if genuine { Ok(()) } else { Err(LibraryError::Other("fingerprint mismatch".to_owned())) }
        })),
        ..LibraryConfig::default()
    }
}

async fn srtp_keys(state: &State, profile: SrtpProfile) -> Result<SrtpKeys, Error> {
    let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
    let library = |error: KeyingMaterialExporterError| Error::Library(error.to_string());
    let material = state.export_keying_material(EXPORTER_LABEL, &[], 2 * (key + salt)).await.map_err(library)?;
    let mut rest = material.as_slice();
    let mut take = |bytes: usize| {
        let (taken, left) = rest.split_at_checked(bytes).unwrap_or_default();
        rest = left;
        taken
    };
    let (client_key, server_key, client_salt, server_salt) = (take(key), take(key), take(salt), take(salt));
    let remote = master_key(client_key, client_salt);
    Ok(SrtpKeys { profile, local: master_key(server_key, server_salt), remote })
}

fn master_key(key: &[u8], salt: &[u8]) -> MasterKey {
    let mut master = MasterKey { key: [0; 32], salt: [0; 14] };
    master.key.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    master.salt.iter_mut().zip(salt).for_each(|(to, from)| *to = *from);
    master
}

/// Names what the library reports.
fn name(error: LibraryError, mismatch: bool, admission: &Admission) -> Error {
    if mismatch {
        return Error::FingerprintMismatch;
    }
    match (error, admission.fatal_alert()) {
        (LibraryError::ErrClientCertificateRequired, _) => Error::NoClientCertificate,
        (_, Some(description)) => Error::PeerAlert(description),
        (error, None) => Error::Handshake(error.to_string()),
    }
}

/// The fatal alert for a `ClientHello` that the library never saw.
fn refusal(error: &Error) -> Vec<u8> {
    let description = if *error == Error::ClientHello { ALERT_DECODE_ERROR } else { ALERT_HANDSHAKE_FAILURE };
    let mut datagram = record::write_header(ContentType::Alert, 0, 0, 2).to_vec();
    datagram.extend_from_slice(&[2, description]);
    datagram
}

/// The virtual connection under the library.
struct Pipe {
    outgoing: Outgoing,
    inner: Mutex<Inner>,
    arrived: Notify,
}

#[derive(Default)]
struct Inner {
    /// Bounded by [`super::limits::HANDSHAKE_RECORDS_MAX`].
    incoming: VecDeque<Vec<u8>>,
    /// The number behind that of the last record of epoch 1 which was sent, and the datagram that held it.
    final_flight: (u64, Vec<u8>),
    repetition: Repetition,
}

impl Pipe {
    fn new(outgoing: Outgoing) -> Self {
        Self { outgoing, inner: Mutex::default(), arrived: Notify::new() }
    }

    fn push(&self, datagrams: Vec<Vec<u8>>) {
        if datagrams.is_empty() {
            return;
        }
        let mut inner = self.inner();
        inner.repetition.hear();
        inner.incoming.extend(datagrams);
        drop(inner);
        self.arrived.notify_one();
    }

    fn final_flight(&self) -> (u64, Vec<u8>) {
        std::mem::take(&mut self.inner().final_flight)
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Conn for Pipe {
    async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
        Ok(())
    }

    /// Never fails: the library's reader would spin.
    async fn recv(&self, buffer: &mut [u8]) -> webrtc_util::Result<usize> {
        loop {
            let datagram = self.inner().incoming.pop_front();
            if let Some(datagram) = datagram {
                let bytes = datagram.len().min(buffer.len());
                buffer.iter_mut().zip(&datagram).for_each(|(to, from)| *to = *from);
                return Ok(bytes);
            }
            self.arrived.notified().await;
        }
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
        Ok((self.recv(buffer).await?, nowhere()))
    }

    async fn send(&self, buffer: &[u8]) -> webrtc_util::Result<usize> {
        let last = Records::new(buffer).flatten().filter(|record| record.epoch == 1).last();
        let mut inner = self.inner();
        if let Some(last) = last {
            inner.final_flight = (last.sequence + 1, buffer.to_vec());
        }
        let leaves = inner.repetition.may_send(Instant::now());
        drop(inner);
        if leaves {
            self.outgoing.send(buffer.to_vec());
        }
        Ok(buffer.len())
    }

    async fn send_to(&self, buffer: &[u8], _: SocketAddr) -> webrtc_util::Result<usize> {
        self.send(buffer).await
    }

    fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
        Ok(nowhere())
    }

    fn remote_addr(&self) -> Option<SocketAddr> {
        None
    }

    async fn close(&self) -> webrtc_util::Result<()> {
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }
}

fn nowhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sluice_protocol::ids::TransportId;

    use super::*;
    use crate::dtls::Endpoint;

    #[tokio::test(start_paused = true)]
    async fn receiving_gives_each_datagram_once_and_then_pends() {
        let endpoint = Endpoint::new(mpsc::channel(1).0, mpsc::channel(1).0, 1);
        let pipe = Pipe::new(Outgoing::new(TransportId::new(0, 0, 0), endpoint));
        pipe.push(vec![vec![1, 2], vec![3]]);
        let mut buffer = [0; 10];
        assert_eq!(pipe.recv(&mut buffer).await.unwrap(), 2);
        assert_eq!(pipe.recv(&mut buffer).await.unwrap(), 1);
        let mut waiting = Box::pin(pipe.recv(&mut buffer));
        assert!(tokio::time::timeout(Duration::from_secs(3600), &mut waiting).await.is_err());
        pipe.push(vec![vec![4, 5, 6]]);
        assert_eq!(waiting.await.unwrap(), 3);
    }
}
