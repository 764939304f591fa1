//! The certificate that DTLS shows, and the fingerprints that SDP carries (RFC 8122).

use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use zeroize::Zeroizing;

use super::error::Error;

/// A self-signed certificate with its ECDSA P-256 key.
///
/// Made once in a node's life and pinned in each session: a changed fingerprint would make a client start a new
/// association. So it is exported with the session's cookie and read back after a restart.
#[derive(Clone)]
pub struct Certificate {
    der: Vec<u8>,
    /// In PKCS #8.
    key_der: Zeroizing<Vec<u8>>,
    /// The same key, read once: reading it for each handshake would cost two thirds of a signature.
    key: Arc<EcdsaKeyPair>,
    fingerprint: [u8; 32],
}

impl Certificate {
    /// Makes a new certificate. It carries no name but `sluice`, as nobody checks names here.
    ///
    /// # Errors
    /// [`Error::Certificate`] when the system has no randomness.
    pub fn generate() -> Result<Self, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(unusable)?;
        let mut parameters = CertificateParams::new(Vec::new()).map_err(unusable)?;
        parameters.distinguished_name.push(DnType::CommonName, "sluice");
        let der = parameters.self_signed(&key).map_err(unusable)?.der().to_vec();
        Self::new(der, key.serialize_der())
    }

    /// Reads back what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`Error::Certificate`] when it is not that.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let truncated = || Error::Certificate("truncated".to_owned());
        let (length, rest) = bytes.split_first_chunk::<2>().ok_or_else(truncated)?;
        let (der, key) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or_else(truncated)?;
        Self::new(der.to_vec(), key.to_vec())
    }

    /// Writes certificate and private key: two bytes of length, the certificate in DER, the key in PKCS #8.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u16::try_from(self.der.len()).expect("our own certificate has a few hundred bytes");
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.der);
        bytes.extend_from_slice(&self.key_der);
        bytes
    }

    /// Returns the value of `a=fingerprint`: `sha-256 AA:BB:…`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let pairs: Vec<String> = self.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
        format!("sha-256 {}", pairs.join(":"))
    }

    fn new(der: Vec<u8>, key_der: Vec<u8>) -> Result<Self, Error> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key_der).map_err(unusable)?;
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest::digest(&digest::SHA256, &der).as_ref());
        Ok(Self { der, key_der: Zeroizing::new(key_der), key: Arc::new(key), fingerprint })
    }

    /// Returns the certificate.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns what SDP would give of it.
    #[cfg(test)]
    pub(super) fn fingerprints(&self) -> Fingerprints {
        Fingerprints::strongest(Fingerprint::parse(&self.fingerprint())).expect("it is ours")
    }

    /// Signs with ECDSA and SHA-256 (RFC 8422 section 5.10).
    pub(super) fn sign(&self, data: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.key.sign(&SystemRandom::new(), data).map_err(unusable)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Certificate").field(&self.fingerprint()).finish()
    }
}

fn unusable(error: impl std::fmt::Display) -> Error {
    Error::Certificate(error.to_string())
}

/// The hash that a peer's SDP gives of its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    algorithm: HashAlgorithm,
    digest: Vec<u8>,
}

/// From weak to strong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HashAlgorithm {
    Sha256,
    Sha384,
    Sha512,
}

impl HashAlgorithm {
    fn of(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }
}

impl Fingerprint {
    /// Parses the value of `a=fingerprint` (RFC 8122 section 5). The hash's name and the digits may have either case.
    ///
    /// # Errors
    /// [`Error::Fingerprint`] for other hashes than sha-256, sha-384 and sha-512 (`sha-1` and older are broken), and
    /// when the digits are not as many pairs as the hash has bytes.
    pub fn parse(value: &str) -> Result<Self, Error> {
        let (name, digits) = value.trim().split_once(' ').ok_or(Error::Fingerprint("hash and digits are expected"))?;
        let algorithm = match name.to_ascii_lowercase().as_str() {
            "sha-256" => HashAlgorithm::Sha256,
            "sha-384" => HashAlgorithm::Sha384,
            "sha-512" => HashAlgorithm::Sha512,
            _ => return Err(Error::Fingerprint("the hash is not sha-256, sha-384 or sha-512")),
        };
        let bytes_max = algorithm.of().output_len();
        let mut digest = Vec::with_capacity(bytes_max);
        for pair in digits.trim().split(':') {
            let digits = pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
            match u8::from_str_radix(pair, 16) {
                Ok(byte) if digits && digest.len() < bytes_max => digest.push(byte),
                _ => return Err(Error::Fingerprint("the digits are not pairs with colons, or too many")),
            }
        }
        if digest.len() != bytes_max {
            return Err(Error::Fingerprint("there are too few digits"));
        }
        Ok(Self { algorithm, digest })
    }

    /// Returns whether it is the fingerprint of this certificate.
    #[must_use]
    pub fn matches(&self, certificate_der: &[u8]) -> bool {
        digest::digest(self.algorithm.of(), certificate_der).as_ref() == self.digest
    }
}

/// All that a peer's SDP gives of its certificates, which may be several, and under several hashes.
///
/// Those under the strongest hash count, and one of them has to be the certificate's (RFC 8122 section 5): a weaker hash
/// beside them would otherwise be what all of it is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprints(Vec<Fingerprint>);

impl Fingerprints {
    /// Keeps those under the strongest hash; `None` when there are none at all.
    #[must_use]
    pub fn strongest(values: impl IntoIterator<Item = Fingerprint>) -> Option<Self> {
        let mut kept: Vec<Fingerprint> = values.into_iter().collect();
        let strongest = kept.iter().map(|value| value.algorithm).max()?;
        kept.retain(|value| value.algorithm == strongest);
        Some(Self(kept))
    }

    /// Returns whether this certificate is one of them.
    #[must_use]
    pub fn matches(&self, certificate_der: &[u8]) -> bool {
        self.0.iter().any(|value| value.matches(certificate_der))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_comes_back_from_its_bytes() {
        let certificate = Certificate::generate().unwrap();
        let bytes = certificate.to_bytes();
        let back = Certificate::from_bytes(&bytes).unwrap();
        assert_eq!(back.to_bytes(), bytes);
        assert_eq!(back.fingerprint(), certificate.fingerprint());
        assert_eq!(back.der(), certificate.der());
        for end in [0, 1, 2, 100, bytes.len() - 1] {
            assert!(Certificate::from_bytes(&bytes[..end]).is_err(), "{end}");
        }
    }

    #[test]
    fn two_certificates_differ() {
        let fingerprints = [(); 2].map(|()| Certificate::generate().unwrap().fingerprint());
        assert_ne!(fingerprints[0], fingerprints[1]);
    }

    #[test]
    fn our_fingerprint_reads_as_sdp_and_matches_our_certificate() {
        let certificate = Certificate::generate().unwrap();
        let fingerprint = Fingerprint::parse(&certificate.fingerprint()).unwrap();
        assert!(fingerprint.matches(&certificate.der));
        assert!(!fingerprint.matches(&certificate.der[1..]));
        assert_eq!(fingerprint.digest, certificate.fingerprint);
    }

    #[test]
    fn of_several_fingerprints_any_under_the_strongest_hash_will_do_and_none_under_a_weaker_one() {
        let of = |name: &str, algorithm, content: &[u8]| {
            let digest = digest::digest(algorithm, content);
            let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            Fingerprint::parse(&format!("{name} {}", pairs.join(":"))).unwrap()
        };
        let sha256 = |content| of("sha-256", &digest::SHA256, content);
        let sha512 = |content| of("sha-512", &digest::SHA512, content);
        let cases = [
            (vec![sha256(b"one"), sha256(b"two")], [true, true, false]),
            (vec![sha256(b"one"), sha512(b"two"), sha512(b"three")], [false, true, true]),
            (vec![sha512(b"three"), sha256(b"one"), sha256(b"two")], [false, false, true]),
            (vec![sha512(b"one"), sha256(b"one")], [true, false, false]),
        ];
        for (values, expected) in cases {
            let fingerprints = Fingerprints::strongest(values).unwrap();
            let certificates: [&[u8]; 3] = [b"one", b"two", b"three"];
            assert_eq!(certificates.map(|content| fingerprints.matches(content)), expected, "{fingerprints:?}");
        }
        assert_eq!(Fingerprints::strongest([]), None);
    }

    #[test]
    fn longer_hashes_match_and_broken_ones_are_refused() {
        for (name, algorithm) in [("SHA-384", &digest::SHA384), ("sha-512", &digest::SHA512)] {
            let digest = digest::digest(algorithm, b"certificate");
            let pairs: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            let value = format!("{name} {}", pairs.join(":"));
            assert!(Fingerprint::parse(&value).unwrap().matches(b"certificate"), "{name}");
            assert!(Fingerprint::parse(&value[..value.len() - 3]).is_err(), "{name}");
            assert!(Fingerprint::parse(&format!("{value}:00")).is_err(), "{name}");
        }
        let sha1 = format!("sha-1 {}", ["AA"; 20].join(":"));
        let plus = format!("sha-256 {}", ["+A"; 32].join(":"));
        for bad in ["", "sha-256", "sha-256 ", "md5 AA", &sha1, &plus, "sha-256 é:"] {
            assert!(matches!(Fingerprint::parse(bad), Err(Error::Fingerprint(_))), "{bad}");
        }
    }
}
