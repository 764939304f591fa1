//! A handshake with a stack that is not ours: OpenSSL's command line, over UDP on loopback.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use sluice_protocol::media::{SrtpKeys, SrtpProfile};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UdpSocket;
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::testing::peer::TRANSPORT;
use super::{Association, Certificate, Config, Endpoint, Event, Fingerprint, install_crypto_provider};

/// Lets OpenSSL connect under the profile of this name, says a line each way, and returns its name of the profile, its
/// keying material, and our keys.
async fn handshake(offered: &str, material_bytes: usize) -> (String, Vec<u8>, SrtpKeys) {
    install_crypto_provider();
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let client_certificate = Certificate::generate().unwrap();
    let config = Config {
        certificate: Arc::new(Certificate::generate().unwrap()),
        remote_fingerprint: Fingerprint::parse(&client_certificate.fingerprint()).unwrap(),
    };
    let (outgoing, mut from_server) = mpsc::channel(64);
    let (events, mut events_receiver) = mpsc::channel(64);
    let server = Association::accept(TRANSPORT, config, &Endpoint::new(outgoing, events, 1));
    let pem = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(pem.path(), to_pem(&client_certificate)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut client = Command::new("openssl")
        .args(["s_client", "-dtls1_2", "-connect", &format!("127.0.0.1:{port}"), "-use_srtp", offered, "-cert"])
        .arg(pem.path())
        .args(["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", &material_bytes.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("`openssl` is installed");
    let mut stdin: ChildStdin = client.stdin.take().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let (mut profile, mut material, mut keys, mut heard) = (String::new(), Vec::new(), None, false);
    let mut peer = None;
    let mut buffer = [0; 2048];
    while !heard || material.is_empty() || keys.is_none() {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let (bytes, from) = received.unwrap();
                peer = Some(from);
                server.handle_datagram(Bytes::copy_from_slice(&buffer[..bytes]));
            }
            Some((_, datagram)) = from_server.recv() => {
                socket.send_to(&datagram, peer.unwrap()).await.unwrap();
            }
            Some((_, event)) = events_receiver.recv() => match event {
                Event::Connected(connected) => {
                    keys = Some(connected.keys);
                    stdin.write_all(b"from openssl\n").await.unwrap();
                }
                Event::ApplicationData(data) => {
                    assert_eq!(data, Bytes::from_static(b"from openssl\n"));
                    server.send_application_data(b"from sluice\n").unwrap();
                }
                Event::Failed(_) | Event::Closed => panic!("{event:?}"),
            },
            line = lines.next_line() => {
                let line = line.unwrap().expect("openssl runs on");
                if let Some(name) = line.strip_prefix("SRTP Extension negotiated, profile=") {
                    profile = name.to_owned();
                }
                if let Some(digits) = line.trim().strip_prefix("Keying material: ") {
                    material = (0..digits.len()).step_by(2)
                        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect();
                }
                heard |= line.contains("from sluice");
            }
        }
    }
    (profile, material, keys.unwrap())
}

fn to_pem(certificate: &Certificate) -> String {
    let bytes = certificate.to_bytes();
    let (der, key) = bytes[2..].split_at(usize::from(u16::from_be_bytes([bytes[0], bytes[1]])));
    let block = |name: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", lines.join("\n"))
    };
    block("CERTIFICATE", der) + &block("PRIVATE KEY", key)
}

#[tokio::test]
async fn openssl_connects_has_our_keys_and_talks() {
    let cases = [
        ("SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM", "SRTP_AEAD_AES_128_GCM", SrtpProfile::AeadAes128Gcm),
        ("SRTP_AEAD_AES_256_GCM:SRTP_AES128_CM_SHA1_80", "SRTP_AEAD_AES_256_GCM", SrtpProfile::AeadAes256Gcm),
        ("SRTP_AES128_CM_SHA1_80", "SRTP_AES128_CM_SHA1_80", SrtpProfile::AesCm128HmacSha1_80),
    ];
    for (offered, expected_name, expected) in cases {
        let (key, salt) = (expected.key_bytes(), expected.salt_bytes());
        let running = handshake(offered, 2 * (key + salt));
        let (name, material, keys) = timeout(Duration::from_secs(20), running).await.expect("in time");
        assert_eq!((name.as_str(), keys.profile), (expected_name, expected));
        let ours =
            [&keys.remote.key[..key], &keys.local.key[..key], &keys.remote.salt[..salt], &keys.local.salt[..salt]];
        assert_eq!(material, ours.concat(), "{offered}");
    }
}
