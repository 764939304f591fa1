//! `AES_CM_128_HMAC_SHA1_80` (RFC 3711 sections 4.1.1 and 4.2.1), in place and without allocation.

use aws_lc_rs::cipher::EncryptingKey;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use super::derivation::{SALT_SIZE_BYTES, SessionKeys, apply_key_stream, counter_mode_key};
use super::{ENCRYPTED, INDEX_SIZE_BYTES, RTCP_CLEAR_SIZE_BYTES, SrtpError, ssrc_at};

/// The size of the authentication tag, RTP and RTCP alike (RFC 3711 section 5.2).
pub(super) const TAG_SIZE_BYTES: usize = 10;

/// One session key with its authentication key and salt.
pub(super) struct CounterMode {
    cipher: EncryptingKey,
    authentication: hmac::Key,
    salt: [u8; SALT_SIZE_BYTES],
}

impl core::fmt::Debug for CounterMode {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("CounterMode").finish_non_exhaustive()
    }
}

impl CounterMode {
    pub(super) fn new(keys: &SessionKeys) -> Result<Self, SrtpError> {
        Ok(Self {
            cipher: counter_mode_key(keys.key())?,
            authentication: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &keys.authentication_key),
            salt: keys.salt,
        })
    }

    pub(super) fn open_rtp(&self, packet: &mut [u8], header_size: usize, index: u64) -> Result<usize, SrtpError> {
        let (sealed, tag) = packet.split_last_chunk_mut::<TAG_SIZE_BYTES>().ok_or(SrtpError::Truncated)?;
        if sealed.len() < header_size {
            return Err(SrtpError::Truncated);
        }
        self.verify(sealed, &roll_over_counter(index), tag)?;
        self.encrypt_rtp(sealed, header_size, index)?;
        Ok(sealed.len())
    }

    /// Seals a packet whose last [`TAG_SIZE_BYTES`] are room for the tag.
    pub(super) fn seal_rtp(&self, packet: &mut [u8], header_size: usize, index: u64) -> Result<(), SrtpError> {
        let (plain, room) = packet.split_last_chunk_mut::<TAG_SIZE_BYTES>().ok_or(SrtpError::Buffer)?;
        self.encrypt_rtp(plain, header_size, index)?;
        *room = self.tag(plain, &roll_over_counter(index))?;
        Ok(())
    }

    pub(super) fn open_rtcp(&self, packet: &mut [u8], index: u32) -> Result<usize, SrtpError> {
        let (authenticated, tag) = packet.split_last_chunk_mut::<TAG_SIZE_BYTES>().ok_or(SrtpError::Truncated)?;
        self.verify(authenticated, &[], tag)?;
        let (sealed, _) = authenticated.split_last_chunk_mut::<INDEX_SIZE_BYTES>().ok_or(SrtpError::Truncated)?;
        self.encrypt_rtcp(sealed, index)?;
        Ok(sealed.len())
    }

    /// Seals a packet whose last bytes are room for the index word and the tag.
    pub(super) fn seal_rtcp(&self, packet: &mut [u8], index: u32) -> Result<(), SrtpError> {
        let (authenticated, room) = packet.split_last_chunk_mut::<TAG_SIZE_BYTES>().ok_or(SrtpError::Buffer)?;
        let (plain, word) = authenticated.split_last_chunk_mut::<INDEX_SIZE_BYTES>().ok_or(SrtpError::Buffer)?;
        self.encrypt_rtcp(plain, index)?;
        *word = (ENCRYPTED | index).to_be_bytes();
        *room = self.tag(authenticated, &[])?;
        Ok(())
    }

    /// Encrypts or decrypts everything after the header.
    fn encrypt_rtp(&self, packet: &mut [u8], header_size: usize, index: u64) -> Result<(), SrtpError> {
        let (header, payload) = packet.split_at_mut_checked(header_size).ok_or(SrtpError::Buffer)?;
        apply_key_stream(&self.cipher, self.counter(ssrc_at(header, 8)?, index), payload)
    }

    /// Encrypts or decrypts everything after the first header and SSRC.
    fn encrypt_rtcp(&self, packet: &mut [u8], index: u32) -> Result<(), SrtpError> {
        let (clear, payload) = packet.split_at_mut_checked(RTCP_CLEAR_SIZE_BYTES).ok_or(SrtpError::Buffer)?;
        apply_key_stream(&self.cipher, self.counter(ssrc_at(clear, 4)?, u64::from(index)), payload)
    }

    /// Makes the initial counter: the salt with SSRC and index, and 16 bits of block counter (RFC 3711 section 4.1.1).
    fn counter(&self, ssrc: [u8; 4], index: u64) -> [u8; 16] {
        let mut counter = [0; 16];
        let [_, _, index @ ..] = index.to_be_bytes();
        let salted = [0; 4].into_iter().chain(ssrc).chain(index).zip(self.salt);
        for (byte, (value, salt)) in counter.iter_mut().zip(salted) {
            *byte = value ^ salt;
        }
        counter
    }

    fn tag(&self, authenticated: &[u8], suffix: &[u8]) -> Result<[u8; TAG_SIZE_BYTES], SrtpError> {
        let mut context = hmac::Context::with_key(&self.authentication);
        context.update(authenticated);
        context.update(suffix);
        context.sign().as_ref().first_chunk().copied().ok_or(SrtpError::Crypto)
    }

    fn verify(&self, authenticated: &[u8], suffix: &[u8], tag: &[u8]) -> Result<(), SrtpError> {
        let expected = self.tag(authenticated, suffix)?;
        verify_slices_are_equal(&expected, tag).map_err(|_| SrtpError::Authentication)
    }
}

/// The roll-over counter, which is authenticated but not sent (RFC 3711 section 4.2).
const fn roll_over_counter(index: u64) -> [u8; 4] {
    let [_, _, a, b, c, d, _, _] = index.to_be_bytes();
    [a, b, c, d]
}
