//! Session keys from a master key (RFC 3711 section 4.3, RFC 6188 for 256 bits, RFC 7714 section 11), rate 0.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use super::SrtpError;

/// The size of a salt in counter mode; shorter ones end in zeros (RFC 7714 section 11).
pub(super) const SALT_SIZE_BYTES: usize = 14;
/// The size of the HMAC-SHA1 key (RFC 3711 section 8.2).
pub(super) const AUTHENTICATION_KEY_SIZE_BYTES: usize = 20;
/// The largest cipher key of all profiles.
const KEY_SIZE_BYTES_MAX: usize = 32;

/// Which of the two streams of a master key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Rtp,
    Rtcp,
}

impl Stream {
    /// The label of the first of three keys: cipher key, authentication key, salt (RFC 3711 section 4.3.1 and 4.3.2).
    const fn first_label(self) -> u8 {
        match self {
            Self::Rtp => 0,
            Self::Rtcp => 3,
        }
    }
}

/// The keys of one stream.
pub(super) struct SessionKeys {
    key: [u8; KEY_SIZE_BYTES_MAX],
    key_size_bytes: usize,
    pub(super) authentication_key: [u8; AUTHENTICATION_KEY_SIZE_BYTES],
    pub(super) salt: [u8; SALT_SIZE_BYTES],
}

impl SessionKeys {
    /// Derives the keys of `stream`; the cipher key is as long as the master key.
    pub(super) fn derive(master_key: &[u8], master_salt: &[u8], stream: Stream) -> Result<Self, SrtpError> {
        let generator = counter_mode_key(master_key)?;
        let mut salt = [0; SALT_SIZE_BYTES];
        salt.get_mut(..master_salt.len()).ok_or(SrtpError::Crypto)?.copy_from_slice(master_salt);
        let mut keys = Self {
            key: [0; KEY_SIZE_BYTES_MAX],
            key_size_bytes: master_key.len(),
            authentication_key: [0; AUTHENTICATION_KEY_SIZE_BYTES],
            salt: [0; SALT_SIZE_BYTES],
        };
        let label = stream.first_label();
        generate(&generator, &salt, label, &mut keys.key)?;
        generate(&generator, &salt, label + 1, &mut keys.authentication_key)?;
        generate(&generator, &salt, label + 2, &mut keys.salt)?;
        Ok(keys)
    }

    /// Makes keys that were not derived, as the vectors of RFC 7714 have them.
    #[cfg(test)]
    pub(super) fn given(key: &[u8], short_salt: &[u8]) -> Self {
        let mut keys = Self {
            key: [0; KEY_SIZE_BYTES_MAX],
            key_size_bytes: key.len(),
            authentication_key: [0; AUTHENTICATION_KEY_SIZE_BYTES],
            salt: [0; SALT_SIZE_BYTES],
        };
        keys.key[..key.len()].copy_from_slice(key);
        keys.salt[..short_salt.len()].copy_from_slice(short_salt);
        keys
    }

    /// Returns the cipher key.
    pub(super) fn key(&self) -> &[u8] {
        self.key.get(..self.key_size_bytes).unwrap_or(&[])
    }
}

/// Expands an AES key for counter mode.
pub(super) fn counter_mode_key(key: &[u8]) -> Result<EncryptingKey, SrtpError> {
    let algorithm = match key.len() {
        16 => &AES_128,
        32 => &AES_256,
        _ => return Err(SrtpError::Crypto),
    };
    Ok(EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key)?)?)
}

/// Encrypts or decrypts `data` in place with the key stream that starts at `counter`. Neither allocates nor expands
/// the key again.
pub(super) fn apply_key_stream(key: &EncryptingKey, counter: [u8; 16], data: &mut [u8]) -> Result<(), SrtpError> {
    key.less_safe_encrypt(data, EncryptionContext::Iv128(FixedLength::from(counter)))?;
    Ok(())
}

/// The pseudo-random function AES-CM (RFC 3711 section 4.3.3).
fn generate(
    generator: &EncryptingKey,
    salt: &[u8; SALT_SIZE_BYTES],
    label: u8,
    out: &mut [u8],
) -> Result<(), SrtpError> {
    let mut counter = [0; 16];
    for (to, from) in counter.iter_mut().zip(salt) {
        *to = *from;
    }
    // The label stands above 48 bits of an index that is always 0 at rate 0.
    counter[7] ^= label;
    out.fill(0);
    apply_key_stream(generator, counter, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::tests::hex;

    #[test]
    fn the_key_stream_is_that_of_rfc_3711_appendix_b_2() {
        let key = counter_mode_key(&hex("2b7e151628aed2a6abf7158809cf4f3c")).unwrap();
        let counter = hex("f0f1f2f3f4f5f6f7f8f9fafbfcfd0000").try_into().unwrap();
        let mut stream = vec![0; 0xff02 * 16];
        apply_key_stream(&key, counter, &mut stream).unwrap();
        let blocks = [
            (0, "e03ead0935c95e80e166b16dd92b4eb4"),
            (1, "d23513162b02d0f72a43a2fe4a5f97ab"),
            (2, "41e95b3bb0a2e8dd477901e4fca894c0"),
            (0xfeff, "ec8cdf7398607cb0f2d21675ea9ea1e4"),
            (0xff00, "362b7c3c6773516318a077d7fc5073ae"),
            (0xff01, "6a2cc3787889374fbeb4c81b17ba6c44"),
        ];
        for (block, expected) in blocks {
            assert_eq!(stream[block * 16..][..16], hex(expected), "block {block:#x}");
        }
    }

    #[test]
    fn session_keys_are_those_of_rfc_3711_appendix_b_3() {
        let master_key = hex("e1f97a0d3e018be0d64fa32c06de4139");
        let master_salt = hex("0ec675ad498afeebb6960b3aabe6");
        let keys = SessionKeys::derive(&master_key, &master_salt, Stream::Rtp).unwrap();
        assert_eq!(keys.key(), hex("c61e7a93744f39ee10734afe3ff7a087"));
        assert_eq!(keys.salt[..], hex("30cbbc08863d8c85d49db34a9ae1"));
        // The vector prints 94 bytes for a key; ours are the first 20.
        assert_eq!(keys.authentication_key[..], hex("cebe321f6ff7716b6fd4ab49af256a156d38baa4"));
    }
}
