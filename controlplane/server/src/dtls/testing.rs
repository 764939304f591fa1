//! Recorded flights of real clients.

use bytes::Bytes;

/// The datagrams of one recorded handshake.
pub(super) struct Vector {
    /// What the client sent.
    pub(super) received: Vec<Bytes>,
}

/// Reads `tests/vectors/dtls/NAME.hex`.
pub(super) fn vector(name: &str) -> Vector {
    let path = format!("{}/../../tests/vectors/dtls/{name}.hex", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let received = text.lines().filter_map(|line| line.strip_prefix("RX ")).map(|digits| {
        let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.trim().len()).step_by(2).map(digit).collect()
    });
    Vector { received: received.collect() }
}

/// A client of the library, and the network between it and an association.
pub(super) mod peer {
    use std::net::SocketAddr;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use async_trait::async_trait;
    use bytes::Bytes;
    use sluice_protocol::ids::TransportId;
    use tokio::sync::{Mutex as AsyncMutex, mpsc};
    use webrtc_dtls::config::{Config as LibraryConfig, ExtendedMasterSecretType};
    use webrtc_dtls::conn::DTLSConn;
    use webrtc_dtls::crypto::{Certificate as LibraryCertificate, CryptoPrivateKey};
    use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
    use webrtc_util::conn::Conn;

    use super::super::limits::FLIGHT_INTERVAL;
    use super::super::{Association, Certificate, Config, Endpoint, Event};

    /// Places for handshakes.
    pub(in super::super) const HANDSHAKES_MAX: usize = 1;
    pub(in super::super) const TRANSPORT: TransportId = TransportId::new(0, 1, 1);

    /// The certificate as the library takes it.
    pub(in super::super) fn library(certificate: &Certificate) -> LibraryCertificate {
        let bytes = certificate.to_bytes();
        let key = rcgen::KeyPair::try_from(&bytes[2 + certificate.der().len()..]).unwrap();
        let private_key = CryptoPrivateKey::from_key_pair(&key).unwrap();
        LibraryCertificate { certificate: vec![certificate.der().to_vec().into()], private_key }
    }

    /// Who sent a datagram.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in super::super) enum From {
        Client,
        Server,
    }

    /// What the network does with a datagram.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(in super::super) enum Fate {
        Deliver,
        Drop,
        Twice,
        Delay(Duration),
        /// Delivers it with a bit turned in the byte so far from its end.
        Flip(usize),
    }

    /// Decides over the n-th datagram of each side, counted from zero.
    pub(in super::super) type Network = Box<dyn Fn(From, usize) -> Fate + Send>;

    /// One association with a client in front of it.
    pub(in super::super) struct World {
        pub(in super::super) server: Arc<Association>,
        pub(in super::super) events: mpsc::Receiver<(TransportId, Event)>,
        pub(in super::super) client: Arc<ClientSocket>,
        pub(in super::super) client_config: LibraryConfig,
        /// Every datagram that was sent, delivered or not.
        pub(in super::super) sent: Arc<Mutex<Vec<(From, Bytes)>>>,
        /// The association that datagrams go to; the same as `server` until that is restarted.
        pub(in super::super) current: Arc<Mutex<Arc<Association>>>,
        pub(in super::super) endpoint: Endpoint,
    }

    impl World {
        /// Makes a client that offers what browsers offer, with the fingerprint that the server expects.
        pub(in super::super) fn new(network: Network) -> Self {
            // The library builds verifiers of `rustls` (and uses none of them), which panics without a provider.
            drop(rustls::crypto::ring::default_provider().install_default());
            let certificate = Certificate::generate().unwrap();
            let config = Config {
                certificate: Arc::new(Certificate::generate().unwrap()),
                remote_fingerprint: certificate.fingerprints(),
            };
            let client_config = LibraryConfig {
                certificates: vec![library(&certificate)],
                srtp_protection_profiles: vec![
                    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
                    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                ],
                extended_master_secret: ExtendedMasterSecretType::Require,
                insecure_skip_verify: true,
                server_name: "sluice".to_owned(),
                flight_interval: FLIGHT_INTERVAL,
                ..LibraryConfig::default()
            };
            let (outgoing, from_server) = mpsc::channel(64);
            let (event_sender, events) = mpsc::channel(64);
            let endpoint = Endpoint::new(outgoing, event_sender, HANDSHAKES_MAX);
            let server = Arc::new(Association::accept(TRANSPORT, config, &endpoint));
            let (to_client, client_receives) = mpsc::unbounded_channel();
            let (client_sends, from_client) = mpsc::unbounded_channel();
            let client = ClientSocket { outgoing: client_sends, incoming: AsyncMutex::new(client_receives) };
            let current = Arc::new(Mutex::new(Arc::clone(&server)));
            let sent = Arc::default();
            let wires = Wires { from_client, from_server, to_client, current: Arc::clone(&current) };
            tokio::spawn(carry(wires, network, Arc::clone(&sent)));
            Self { server, events, client: Arc::new(client), client_config, sent, current, endpoint }
        }

        /// Runs the client's handshake.
        pub(in super::super) async fn connect(&self) -> Result<DTLSConn, webrtc_dtls::Error> {
            let socket = Arc::clone(&self.client) as Arc<dyn Conn + Send + Sync>;
            DTLSConn::new(socket, self.client_config.clone(), true, None).await
        }

        pub(in super::super) async fn event(&mut self) -> Event {
            let waiting = tokio::time::timeout(Duration::from_secs(60), self.events.recv());
            waiting.await.expect("an event is expected").unwrap().1
        }

        /// Replaces the association by one that is resumed from `state`; returns the state to park.
        pub(in super::super) fn restart(&mut self, state: &[u8]) -> Vec<u8> {
            let resumed = Association::resume(TRANSPORT, state, &self.endpoint).unwrap();
            let state = resumed.state().to_vec();
            self.server = Arc::new(resumed.start());
            *self.current.lock().unwrap() = Arc::clone(&self.server);
            state
        }

        /// Returns how many datagrams and records were dropped.
        pub(in super::super) fn dropped(&self) -> u64 {
            self.endpoint.counts().dropped
        }

        pub(in super::super) fn sent_by(&self, from: From) -> Vec<Bytes> {
            let sent = self.sent.lock().unwrap();
            sent.iter().filter(|entry| entry.0 == from).map(|entry| entry.1.clone()).collect()
        }
    }

    struct Wires {
        from_client: mpsc::UnboundedReceiver<Bytes>,
        from_server: mpsc::Receiver<(TransportId, Bytes)>,
        to_client: mpsc::UnboundedSender<Bytes>,
        current: Arc<Mutex<Arc<Association>>>,
    }

    async fn carry(mut wires: Wires, network: Network, sent: Arc<Mutex<Vec<(From, Bytes)>>>) {
        let mut counts = [0, 0];
        loop {
            let (from, datagram) = tokio::select! {
                Some(datagram) = wires.from_client.recv() => (From::Client, datagram),
                Some((transport, datagram)) = wires.from_server.recv() => {
                    assert_eq!(transport, TRANSPORT);
                    (From::Server, datagram)
                }
                else => return,
            };
            sent.lock().unwrap().push((from, datagram.clone()));
            let count = &mut counts[usize::from(from == From::Server)];
            let fate = network(from, *count);
            *count += 1;
            let (to_client, current) = (wires.to_client.clone(), Arc::clone(&wires.current));
            let mut datagram = datagram;
            if let Fate::Flip(from_end) = fate {
                let mut bytes = datagram.to_vec();
                let at = bytes.len() - from_end;
                bytes[at] ^= 2;
                datagram = bytes.into();
            }
            let deliver = move || match from {
                From::Client => {
                    let server = Arc::clone(&current.lock().unwrap());
                    server.handle_datagram(datagram.clone());
                }
                From::Server => drop(to_client.send(datagram.clone())),
            };
            match fate {
                Fate::Drop => {}
                Fate::Deliver | Fate::Flip(_) => deliver(),
                Fate::Twice => {
                    deliver();
                    deliver();
                }
                Fate::Delay(delay) => {
                    tokio::spawn(async move {
                        tokio::time::sleep(delay).await;
                        deliver();
                    });
                }
            }
        }
    }

    /// The client's end of the network.
    pub(in super::super) struct ClientSocket {
        pub(in super::super) outgoing: mpsc::UnboundedSender<Bytes>,
        incoming: AsyncMutex<mpsc::UnboundedReceiver<Bytes>>,
    }

    #[async_trait]
    impl Conn for ClientSocket {
        async fn connect(&self, _: SocketAddr) -> webrtc_util::Result<()> {
            Ok(())
        }
        async fn recv(&self, buffer: &mut [u8]) -> webrtc_util::Result<usize> {
            match self.incoming.lock().await.recv().await {
                Some(datagram) => {
                    buffer[..datagram.len()].copy_from_slice(&datagram);
                    Ok(datagram.len())
                }
                None => std::future::pending().await,
            }
        }
        async fn recv_from(&self, buffer: &mut [u8]) -> webrtc_util::Result<(usize, SocketAddr)> {
            Ok((self.recv(buffer).await?, ([127, 0, 0, 1], 9).into()))
        }
        async fn send(&self, buffer: &[u8]) -> webrtc_util::Result<usize> {
            drop(self.outgoing.send(Bytes::copy_from_slice(buffer)));
            Ok(buffer.len())
        }
        async fn send_to(&self, buffer: &[u8], _: SocketAddr) -> webrtc_util::Result<usize> {
            self.send(buffer).await
        }
        fn local_addr(&self) -> webrtc_util::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 9).into())
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
}
