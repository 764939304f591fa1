//! What a description says of a peer's transport: ICE credentials and certificate fingerprints.

use serde::{Deserialize, Serialize};

use crate::limits;

/// A peer's ICE credentials (RFC 8839 section 5.4); never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceCredentials {
    /// The user fragment.
    #[serde(rename = "u")]
    pub ufrag: String,
    /// The password.
    #[serde(rename = "p")]
    pub password: String,
}

impl IceCredentials {
    /// Takes credentials of the allowed lengths and characters.
    #[must_use]
    pub fn new(ufrag: &str, password: &str) -> Option<Self> {
        let is_ice = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/');
        // Some stacks use '-' and '_' against the grammar; browsers take them, so do we.
        let is_taken = |text: &str| is_ice(&text.replace(['-', '_'], "+"));
        let fits = (4..=limits::UFRAG_BYTES_MAX).contains(&ufrag.len())
            && (22..=limits::PASSWORD_BYTES_MAX).contains(&password.len());
        (fits && is_taken(ufrag) && is_taken(password))
            .then(|| Self { ufrag: ufrag.to_owned(), password: password.to_owned() })
    }
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("IceCredentials(redacted)")
    }
}

/// A hash of a certificate (RFC 8122 section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The hash function.
    #[serde(rename = "h")]
    pub hash: FingerprintHash,
    /// The hash in upper-case hexadecimal digits, bytes parted by colons, as SDP writes it.
    #[serde(rename = "v")]
    pub value: String,
}

/// A hash function that certificates are checked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FingerprintHash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl FingerprintHash {
    /// Returns the name that SDP uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }

    const fn size_bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

impl Fingerprint {
    /// Reads the value of `a=fingerprint`; `None` for other hash functions and malformed values.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (name, digits) = value.trim().split_once(' ')?;
        let hash = [FingerprintHash::Sha256, FingerprintHash::Sha384, FingerprintHash::Sha512]
            .into_iter()
            .find(|hash| hash.as_str().eq_ignore_ascii_case(name))?;
        let value = digits.trim().to_ascii_uppercase();
        let is_byte = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
        (value.split(':').count() == hash.size_bytes() && value.split(':').all(is_byte)).then_some(Self { hash, value })
    }

    /// Writes the hash of a certificate.
    #[must_use]
    pub fn sha256(digest: &[u8; 32]) -> Self {
        let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02X}")).collect();
        Self { hash: FingerprintHash::Sha256, value: pairs.join(":") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strong_fingerprints_of_the_right_length_are_taken() {
        let good = Fingerprint::sha256(&[0xab; 32]);
        assert_eq!(Fingerprint::parse(&format!("SHA-256 {}", good.value.to_lowercase())), Some(good.clone()));
        for bad in ["sha-1 AA:BB", "sha-256 AA:BB", "sha-256", &format!("sha-512 {}", good.value)] {
            assert_eq!(Fingerprint::parse(bad), None, "{bad}");
        }
    }
}
