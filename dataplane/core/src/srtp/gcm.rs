//! `AEAD_AES_128_GCM` and `AEAD_AES_256_GCM` (RFC 7714), in place and without allocation.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::derivation::SessionKeys;
use super::{ENCRYPTED, INDEX_SIZE_BYTES, RTCP_CLEAR_SIZE_BYTES, SrtpError, ssrc_at};

/// The size of the authentication tag (RFC 7714 section 13.1).
pub(super) const TAG_SIZE_BYTES: usize = 16;

/// One session key with its salt.
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: [u8; NONCE_LEN],
}

impl core::fmt::Debug for Gcm {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.debug_struct("Gcm").finish_non_exhaustive()
    }
}

impl Gcm {
    pub(super) fn new(keys: &SessionKeys) -> Result<Self, SrtpError> {
        let algorithm = match keys.key().len() {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return Err(SrtpError::Crypto),
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, keys.key())?);
        Ok(Self { key, salt: *keys.salt.first_chunk().ok_or(SrtpError::Crypto)? })
    }

    pub(super) fn open_rtp(&self, packet: &mut [u8], header_size: usize, index: u64) -> Result<usize, SrtpError> {
        let (header, sealed) = packet.split_at_mut_checked(header_size).ok_or(SrtpError::Truncated)?;
        if sealed.len() < TAG_SIZE_BYTES {
            return Err(SrtpError::Truncated);
        }
        let nonce = self.nonce(ssrc_at(header, 8)?, index);
        let plain =
            self.key.open_in_place(nonce, Aad::from(&*header), sealed).map_err(|_| SrtpError::Authentication)?;
        Ok(header_size + plain.len())
    }

    /// Seals a packet whose last [`TAG_SIZE_BYTES`] are room for the tag.
    pub(super) fn seal_rtp(&self, packet: &mut [u8], header_size: usize, index: u64) -> Result<(), SrtpError> {
        let (header, body) = packet.split_at_mut_checked(header_size).ok_or(SrtpError::Buffer)?;
        let (payload, room) = body.split_last_chunk_mut::<TAG_SIZE_BYTES>().ok_or(SrtpError::Buffer)?;
        let nonce = self.nonce(ssrc_at(header, 8)?, index);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload)?;
        room.copy_from_slice(tag.as_ref());
        Ok(())
    }

    pub(super) fn open_rtcp(&self, packet: &mut [u8], index: u32) -> Result<usize, SrtpError> {
        let (sealed, _) = packet.split_last_chunk_mut::<INDEX_SIZE_BYTES>().ok_or(SrtpError::Truncated)?;
        let (clear, sealed) = sealed.split_first_chunk_mut::<RTCP_CLEAR_SIZE_BYTES>().ok_or(SrtpError::Truncated)?;
        let nonce = self.nonce(ssrc_at(clear, 4)?, u64::from(index));
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(rtcp_associated_data(*clear, index)), sealed)
            .map_err(|_| SrtpError::Authentication)?;
        Ok(RTCP_CLEAR_SIZE_BYTES + plain.len())
    }

    /// Seals a packet whose last bytes are room for the tag and the index word.
    pub(super) fn seal_rtcp(&self, packet: &mut [u8], index: u32) -> Result<(), SrtpError> {
        let (sealed, word) = packet.split_last_chunk_mut::<INDEX_SIZE_BYTES>().ok_or(SrtpError::Buffer)?;
        let (clear, sealed) = sealed.split_first_chunk_mut::<RTCP_CLEAR_SIZE_BYTES>().ok_or(SrtpError::Buffer)?;
        let (payload, room) = sealed.split_last_chunk_mut::<TAG_SIZE_BYTES>().ok_or(SrtpError::Buffer)?;
        let nonce = self.nonce(ssrc_at(clear, 4)?, u64::from(index));
        let tag =
            self.key.seal_in_place_separate_tag(nonce, Aad::from(rtcp_associated_data(*clear, index)), payload)?;
        room.copy_from_slice(tag.as_ref());
        *word = (ENCRYPTED | index).to_be_bytes();
        Ok(())
    }

    /// Makes the initialisation vector: two zero bytes, SSRC and 48 bits of index, under the salt (RFC 7714 sections
    /// 8.1 and 9.1; the SRTCP index of 31 bits has its zeros in front).
    fn nonce(&self, ssrc: [u8; 4], index: u64) -> Nonce {
        let mut vector = self.salt;
        let [_, _, index @ ..] = index.to_be_bytes();
        for (byte, value) in vector.iter_mut().skip(2).zip(ssrc.into_iter().chain(index)) {
            *byte ^= value;
        }
        Nonce::assume_unique_for_key(vector)
    }
}

/// The clear header and the index word with the E flag set (RFC 7714 section 9.2).
const fn rtcp_associated_data(clear: [u8; RTCP_CLEAR_SIZE_BYTES], index: u32) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h] = clear;
    let [i, j, k, l] = (ENCRYPTED | index).to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::tests::hex;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const SALT: &str = "517569642070726f2071756f";

    fn gcm(key_size_bytes: usize) -> Gcm {
        Gcm::new(&SessionKeys::given(&hex(KEY)[..key_size_bytes], &hex(SALT))).unwrap()
    }

    #[test]
    fn rtp_packets_are_those_of_rfc_7714_section_16() {
        let plain = hex("8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e697320646976\
             69736120696e207061727465732074726573");
        let cases = [
            (
                16,
                "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b\
                 36de3adf8833899d7f27beb16a9152cf765ee4390cce",
            ),
            (
                32,
                "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f\
                 1ba63799b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
            ),
        ];
        for (key_size, sealed) in cases {
            let mut packet = [&plain[..], &[0; TAG_SIZE_BYTES]].concat();
            gcm(key_size).seal_rtp(&mut packet, 12, 0xf17b).unwrap();
            assert_eq!(packet, hex(sealed));
            assert_eq!(gcm(key_size).open_rtp(&mut packet, 12, 0xf17b), Ok(plain.len()));
            assert_eq!(packet[..plain.len()], plain);
        }
    }

    #[test]
    fn rtcp_packets_are_those_of_rfc_7714_section_17() {
        let plain = hex("81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61\
             deadbeefdeadbeefdeadbeefdeadbeefdeadbeef");
        let cases = [
            (
                16,
                "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b46\
                 86303ded0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
            ),
            (
                32,
                "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658\
                 c61de0476f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
            ),
        ];
        for (key_size, sealed) in cases {
            let mut packet = [&plain[..], &[0; TAG_SIZE_BYTES + INDEX_SIZE_BYTES]].concat();
            gcm(key_size).seal_rtcp(&mut packet, 0x5d4).unwrap();
            assert_eq!(packet, hex(sealed));
            assert_eq!(gcm(key_size).open_rtcp(&mut packet, 0x5d4), Ok(plain.len()));
            assert_eq!(packet[..plain.len()], plain);
        }
    }
}
