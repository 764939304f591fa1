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
use super::{Association, Certificate, Config, Endpoint, Event, Fingerprint, Fingerprints};

/// A client's certificate with its key in PEM, and its fingerprint.
struct Identity {
    pem: tempfile::NamedTempFile,
    fingerprint: String,
}

impl Identity {
    fn ecdsa() -> Self {
        let certificate = Certificate::generate().unwrap();
        let pem = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(pem.path(), to_pem(&certificate)).unwrap();
        Self { pem, fingerprint: certificate.fingerprint() }
    }

    /// Lets OpenSSL make one with this kind of key.
    fn made_by_openssl(key: &[&str]) -> Self {
        let pem = tempfile::NamedTempFile::new().unwrap();
        let key_file = tempfile::NamedTempFile::new().unwrap();
        let openssl = |arguments: &[&str]| {
            let output =
                std::process::Command::new("openssl").args(arguments).output().expect("`openssl` is installed");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let path = |file: &tempfile::NamedTempFile| file.path().to_str().unwrap().to_owned();
        let (pem_path, key_path) = (path(&pem), path(&key_file));
        let request = ["req", "-x509", "-nodes", "-subj", "/CN=client", "-keyout", &key_path, "-out", &pem_path];
        openssl(&[request.as_slice(), key].concat());
        let printed = openssl(&["x509", "-noout", "-fingerprint", "-sha256", "-in", &pem_path]);
        let digits = printed.trim().split_once('=').unwrap().1;
        let whole = std::fs::read_to_string(pem.path()).unwrap() + &std::fs::read_to_string(key_file.path()).unwrap();
        std::fs::write(pem.path(), whole).unwrap();
        Self { pem, fingerprint: format!("sha-256 {digits}") }
    }
}

/// Lets OpenSSL connect under the profile of this name, says a line each way, and returns its name of the profile, its
/// keying material, and our keys.
async fn handshake(
    offered: &str,
    material_bytes: usize,
    client: &Identity,
    options: &[&str],
) -> (String, Vec<u8>, SrtpKeys) {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let config = Config {
        certificate: Arc::new(Certificate::generate().unwrap()),
        remote_fingerprint: Fingerprints::strongest(Fingerprint::parse(&client.fingerprint)).unwrap(),
    };
    let (outgoing, mut from_server) = mpsc::channel(64);
    let (events, mut events_receiver) = mpsc::channel(64);
    let server = Association::accept(TRANSPORT, config, &Endpoint::new(outgoing, events, 1));
    let port = socket.local_addr().unwrap().port();
    let mut client = Command::new("openssl")
        .args(["s_client", "-dtls1_2", "-connect", &format!("127.0.0.1:{port}"), "-use_srtp", offered, "-cert"])
        .arg(client.pem.path())
        .args(options)
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
    let client = Identity::ecdsa();
    for (offered, expected_name, expected) in cases {
        let (key, salt) = (expected.key_bytes(), expected.salt_bytes());
        let running = handshake(offered, 2 * (key + salt), &client, &[]);
        let (name, material, keys) = timeout(Duration::from_secs(20), running).await.expect("in time");
        assert_eq!((name.as_str(), keys.profile), (expected_name, expected));
        let ours =
            [&keys.remote.key[..key], &keys.local.key[..key], &keys.remote.salt[..salt], &keys.local.salt[..salt]];
        assert_eq!(material, ours.concat(), "{offered}");
    }
}

#[tokio::test]
async fn openssl_connects_with_each_kind_of_certificate_and_curve() {
    let identities = [
        Identity::made_by_openssl(&["-newkey", "rsa:2048"]),
        Identity::made_by_openssl(&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        Identity::made_by_openssl(&["-newkey", "ed25519"]),
        Identity::ecdsa(),
    ];
    for client in &identities {
        for groups in ["X25519:P-256", "P-256", "P-384:P-256"] {
            let options = ["-groups", groups];
            let running = handshake("SRTP_AEAD_AES_128_GCM", 56, client, &options);
            let (_, material, keys) = timeout(Duration::from_secs(20), running).await.expect("in time");
            assert_eq!(material[..16], keys.remote.key[..16], "{groups}");
        }
    }
}
