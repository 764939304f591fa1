//! The public key of a client's certificate, and what it signed.
//!
//! Nothing else of a certificate counts: it is the one whose fingerprint the SDP gave (RFC 8122 section 6.2), or the
//! handshake has failed before it is read.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    UnparsedPublicKey, VerificationAlgorithm,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519,
};
use x509_parser::prelude::FromDer as _;

/// Kinds of certificates that are asked for: `ecdsa_sign`, `rsa_sign` (RFC 8422 section 5.5, RFC 5246 section 7.4.4).
/// Browsers have ECDSA; `GStreamer` makes RSA.
pub(super) const CERTIFICATE_TYPES: [u8; 2] = [64, 1];

/// The pairs of hash and signature that are verified, the cheapest first (RFC 8446 section 4.2.3 has their names).
pub(super) const SIGNATURE_SCHEMES: [u16; 7] =
    [ECDSA_SHA256, ECDSA_SHA384, ED25519_INTRINSIC, RSA_PSS_SHA256, RSA_SHA256, RSA_SHA384, RSA_SHA512];
const ECDSA_SHA256: u16 = 0x0403;
const ECDSA_SHA384: u16 = 0x0503;
const ED25519_INTRINSIC: u16 = 0x0807;
const RSA_PSS_SHA256: u16 = 0x0804;
const RSA_SHA256: u16 = 0x0401;
const RSA_SHA384: u16 = 0x0501;
const RSA_SHA512: u16 = 0x0601;

/// A client's public key.
#[derive(Debug)]
pub(super) struct PeerKey {
    kind: Kind,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    P256,
    P384,
    Ed25519,
    Rsa,
}

impl PeerKey {
    /// Reads the key of a certificate in DER. `None` when it is not one, or the key is of no kind that is taken.
    pub(super) fn parse(certificate_der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate_der).ok()?;
        let info = certificate.public_key();
        let algorithm = &info.algorithm.algorithm;
        let kind = if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let curve = info.algorithm.parameters.as_ref()?.as_oid().ok()?;
            if curve == OID_EC_P256 {
                Kind::P256
            } else if curve == OID_NIST_EC_P384 {
                Kind::P384
            } else {
                return None;
            }
        } else if *algorithm == OID_PKCS1_RSAENCRYPTION {
            Kind::Rsa
        } else if *algorithm == OID_SIG_ED25519 {
            Kind::Ed25519
        } else {
            return None;
        };
        Some(Self { kind, bytes: info.subject_public_key.data.to_vec() })
    }

    /// Returns whether `signature` is this key's over `data`, under a scheme that was asked for.
    pub(super) fn verify(&self, scheme: u16, data: &[u8], signature: &[u8]) -> bool {
        // In TLS 1.2 the hash is free of the curve (RFC 8422 section 5.10).
        let algorithm: &dyn VerificationAlgorithm = match (self.kind, scheme) {
            (Kind::P256, ECDSA_SHA256) => &ECDSA_P256_SHA256_ASN1,
            (Kind::P256, ECDSA_SHA384) => &ECDSA_P256_SHA384_ASN1,
            (Kind::P384, ECDSA_SHA256) => &ECDSA_P384_SHA256_ASN1,
            (Kind::P384, ECDSA_SHA384) => &ECDSA_P384_SHA384_ASN1,
            (Kind::Ed25519, ED25519_INTRINSIC) => &ED25519,
            (Kind::Rsa, RSA_PSS_SHA256) => &RSA_PSS_2048_8192_SHA256,
            (Kind::Rsa, RSA_SHA256) => &RSA_PKCS1_2048_8192_SHA256,
            (Kind::Rsa, RSA_SHA384) => &RSA_PKCS1_2048_8192_SHA384,
            (Kind::Rsa, RSA_SHA512) => &RSA_PKCS1_2048_8192_SHA512,
            _ => return false,
        };
        UnparsedPublicKey::new(algorithm, &self.bytes).verify(data, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtls::Certificate;

    #[test]
    fn a_signature_fits_its_certificate_its_data_and_its_scheme_alone() {
        let [certificate, other] = [(); 2].map(|()| Certificate::generate().unwrap());
        let key = PeerKey::parse(certificate.der()).unwrap();
        let signature = certificate.sign(b"messages").unwrap();
        assert!(key.verify(ECDSA_SHA256, b"messages", &signature));
        assert!(!key.verify(ECDSA_SHA256, b"message", &signature));
        assert!(!key.verify(ECDSA_SHA256, b"messages", &signature[1..]));
        assert!(!PeerKey::parse(other.der()).unwrap().verify(ECDSA_SHA256, b"messages", &signature));
        for scheme in SIGNATURE_SCHEMES.into_iter().skip(1).chain([0, 0x0203]) {
            assert!(!key.verify(scheme, b"messages", &signature), "{scheme:x}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_key() {
        let certificate = Certificate::generate().unwrap();
        for end in [0, 1, 100, certificate.der().len() - 1] {
            assert!(PeerKey::parse(&certificate.der()[..end]).is_none(), "{end}");
        }
    }
}
