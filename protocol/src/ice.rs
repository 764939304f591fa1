//! ICE credentials that carry the address of their transport.
//!
//! A local user fragment is 18 characters of the ice-char alphabet (RFC 8839 section 5.4), six bits each, most
//! significant first:
//!
//! ```text
//! version 4 | shard 8 | slot 24 | generation 32 | restart 8 | random 32
//! ```
//!
//! The password is an HMAC of the fragment under the node's secret, so that whichever shard receives a binding request
//! can authenticate it before it looks anything up.

use std::fmt;

use aws_lc_rs::hmac;

use crate::ids::TransportId;

/// Characters of a user fragment of ours.
pub const UFRAG_CHARACTERS: usize = 18;
/// Characters of a password of ours: 144 bits (RFC 8839 section 5.4 asks for 128).
pub const PASSWORD_CHARACTERS: usize = 24;
/// The version of the layout above.
pub const UFRAG_VERSION: u8 = 1;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The local credentials' user fragment, as fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ufrag {
    /// The transport that these credentials open.
    pub transport: TransportId,
    /// Counts ICE restarts of the transport, modulo 256.
    pub restart: u8,
    /// Random bits, so that a fragment cannot be guessed from its neighbours.
    pub random: u32,
}

impl Ufrag {
    /// Writes the fragment as text.
    #[must_use]
    pub fn to_text(self) -> UfragText {
        let word = self.transport.word();
        let bits = (u128::from(UFRAG_VERSION & 0xf) << 104)
            | (u128::from(word) << 40)
            | (u128::from(self.restart) << 32)
            | u128::from(self.random);
        let mut text = [0; UFRAG_CHARACTERS];
        for (index, character) in text.iter_mut().enumerate() {
            let digit = (bits >> (6 * (UFRAG_CHARACTERS - 1 - index))) & 63;
            *character = ALPHABET.get(usize::try_from(digit).unwrap_or(0)).copied().unwrap_or(b'A');
        }
        UfragText(text)
    }

    /// Reads a fragment of ours; `None` for one of another length, alphabet or version.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() != UFRAG_CHARACTERS {
            return None;
        }
        let mut bits: u128 = 0;
        for character in text {
            bits = (bits << 6) | u128::from(digit_of(*character)?);
        }
        let [version, _, _, word @ .., restart, r0, r1, r2, r3] = low_bytes(bits);
        if version >> 4 != 0 || version & 0xf != UFRAG_VERSION {
            return None;
        }
        let _: [u8; 6] = word;
        let word = u64::try_from((bits >> 40) & u128::from(u64::MAX)).ok()?;
        Some(Self { transport: TransportId::from_word(word), restart, random: u32::from_be_bytes([r0, r1, r2, r3]) })
    }
}

/// A user fragment as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UfragText([u8; UFRAG_CHARACTERS]);

impl UfragText {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("")
    }

    /// Returns the text as bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; UFRAG_CHARACTERS] {
        &self.0
    }
}

impl fmt::Debug for UfragText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The node's secret from which all passwords of its transports come; kept over restarts of either plane, never printed.
#[derive(Clone)]
pub struct NodeSecret {
    bytes: [u8; 32],
    key: hmac::Key,
}

impl NodeSecret {
    /// Takes the secret from 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self { bytes, key: hmac::Key::new(hmac::HMAC_SHA256, &bytes) }
    }

    /// Returns the bytes, for the other plane.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Returns the password that belongs to `ufrag`, as text.
    #[must_use]
    pub fn password(&self, ufrag: &UfragText) -> [u8; PASSWORD_CHARACTERS] {
        let tag = hmac::sign(&self.key, ufrag.as_bytes());
        let mut password = [b'A'; PASSWORD_CHARACTERS];
        let triples = tag.as_ref().chunks_exact(3);
        for (quad, triple) in password.chunks_exact_mut(4).zip(triples) {
            let bits = triple.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte));
            for (index, character) in quad.iter_mut().enumerate() {
                let digit = (bits >> (18 - 6 * index)) & 63;
                *character = ALPHABET.get(usize::try_from(digit).unwrap_or(0)).copied().unwrap_or(b'A');
            }
        }
        password
    }
}

impl PartialEq for NodeSecret {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for NodeSecret {}

impl fmt::Debug for NodeSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("NodeSecret(redacted)")
    }
}

fn digit_of(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

/// Returns the lowest 14 bytes, most significant first.
fn low_bytes(bits: u128) -> [u8; 14] {
    let [_, _, low @ ..] = bits.to_be_bytes();
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Ufrag {
        Ufrag { transport: TransportId::new(2, 0x00ab_cdef, 0x0003_0001), restart: 9, random: 0xdead_beef }
    }

    #[test]
    fn the_layout_of_a_fragment_is_golden() {
        assert_eq!(example().to_text().as_str(), "ECq83vAAMAAQnerb7v");
        assert_eq!(Ufrag::parse(b"ECq83vAAMAAQnerb7v"), Some(example()));
    }

    #[test]
    fn fragments_of_others_are_not_ours() {
        let text = example().to_text();
        for index in 0..UFRAG_CHARACTERS {
            let mut bent = *text.as_bytes();
            bent[index] = b'=';
            assert_eq!(Ufrag::parse(&bent), None);
        }
        assert_eq!(Ufrag::parse(b"PwLo"), None);
        assert_eq!(Ufrag::parse(b"////////////////// "), None);
        assert_eq!(Ufrag::parse(b"//////////////////"), None, "another version");
    }

    #[test]
    fn a_password_depends_on_every_field_and_on_the_secret() {
        let secret = NodeSecret::new([7; 32]);
        let password = secret.password(&example().to_text());
        assert_eq!(password, secret.password(&example().to_text()));
        assert_ne!(password, NodeSecret::new([8; 32]).password(&example().to_text()));
        assert_ne!(password, secret.password(&Ufrag { restart: 10, ..example() }.to_text()));
        assert!(password.iter().all(|character| ALPHABET.contains(character)));
    }
}
