//! SRTP and SRTCP in place (RFC 3711, RFC 7714): one [`Opener`] per received key, one [`Sealer`] per sent key.
//!
//! Neither keeps an index: indices belong to streams and outlive the process, so they are parameters. The caller
//! estimates ([`estimate_index`]), checks and commits ([`ReplayWindow`]) on receipt, and counts when it sends; a
//! (key, SSRC, index) must never be sealed twice with different bytes.

mod cm;
mod derivation;
mod gcm;
pub(crate) mod guard;
mod index;
mod replay;

use aws_lc_rs::error::Unspecified;
use sluice_protocol::media::{MasterKey, SrtpProfile};

pub use index::estimate_index;
pub use replay::{Replay, ReplayWindow};

use cm::CounterMode;
use derivation::SessionKeys;
use gcm::Gcm;

/// The most that sealing adds to an RTP packet in any profile, in bytes.
pub(crate) const RTP_OVERHEAD_BYTES_MAX: usize = gcm::TAG_SIZE_BYTES;
/// The most that sealing adds to an RTCP packet in any profile, in bytes.
pub(crate) const RTCP_OVERHEAD_BYTES_MAX: usize = gcm::TAG_SIZE_BYTES + INDEX_SIZE_BYTES;
/// The largest index of an RTP stream: 48 bits (RFC 3711 section 3.3.1).
pub(crate) const RTP_INDEX_MAX: u64 = (1 << 48) - 1;
/// The largest index of an RTCP stream: 31 bits (RFC 3711 section 3.4).
pub(crate) const RTCP_INDEX_MAX: u32 = (1 << 31) - 1;

/// The size of the word that holds E flag and SRTCP index.
const INDEX_SIZE_BYTES: usize = 4;
/// The E flag in that word: the packet is encrypted (RFC 3711 section 3.4).
const ENCRYPTED: u32 = 1 << 31;
/// The part of an RTCP packet that stays readable: the first header and the sender's SSRC.
const RTCP_CLEAR_SIZE_BYTES: usize = 8;
/// The fixed RTP header; shorter packets have no SSRC to make an initialisation vector from.
const RTP_CLEAR_SIZE_BYTES_MIN: usize = 12;

/// Why a packet was not opened or sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SrtpError {
    /// The packet is too short for its header and authentication tag.
    Truncated,
    /// The buffer has no room for what sealing adds, or the plain packet has no whole header.
    Buffer,
    /// The index is outside its 48 (RTP) or 31 (RTCP) bits: the key is used up.
    Index,
    /// The SRTCP packet says that it is not encrypted, which no negotiated profile allows.
    Unencrypted,
    /// The tag does not match: forged, damaged, or sealed with another key or index.
    Authentication,
    /// The cryptographic library refused; it has no reason to.
    Crypto,
}

impl From<Unspecified> for SrtpError {
    fn from(_: Unspecified) -> Self {
        Self::Crypto
    }
}

/// Opens what a peer sealed with one master key.
#[derive(Debug)]
pub struct Opener(Pair);

impl Opener {
    /// Derives the session keys of `profile` (RFC 3711 section 4.3, key derivation rate 0).
    ///
    /// # Errors
    /// [`SrtpError::Crypto`], which no key causes.
    pub fn new(profile: SrtpProfile, master: &MasterKey) -> Result<Self, SrtpError> {
        Pair::new(profile, master).map(Self)
    }

    /// Returns what sealing added to each RTCP packet, in bytes.
    const fn rtcp_overhead_bytes(&self) -> usize {
        self.0.rtp_overhead_bytes() + INDEX_SIZE_BYTES
    }

    /// Authenticates and decrypts `packet` in place and returns the size of the plain packet, header included, which
    /// then starts `packet`. The index is roll-over counter and sequence number (RFC 3711 section 3.3.1), made by
    /// [`estimate_index`]. On error the content after the header is unspecified.
    ///
    /// # Errors
    /// [`SrtpError::Truncated`], [`SrtpError::Index`], [`SrtpError::Authentication`].
    pub fn open_rtp(&self, packet: &mut [u8], header_size_bytes: usize, index: u64) -> Result<usize, SrtpError> {
        if header_size_bytes < RTP_CLEAR_SIZE_BYTES_MIN {
            return Err(SrtpError::Truncated);
        }
        if index > RTP_INDEX_MAX {
            return Err(SrtpError::Index);
        }
        match &self.0 {
            Pair::Gcm { rtp, .. } => rtp.open_rtp(packet, header_size_bytes, index),
            Pair::CounterMode { rtp, .. } => rtp.open_rtp(packet, header_size_bytes, index),
        }
    }

    /// Reads the SRTCP index of a sealed packet, for the replay check before [`Self::open_rtcp`].
    ///
    /// # Errors
    /// [`SrtpError::Truncated`], [`SrtpError::Unencrypted`].
    pub fn rtcp_index(&self, packet: &[u8]) -> Result<u32, SrtpError> {
        if packet.len() < RTCP_CLEAR_SIZE_BYTES + self.rtcp_overhead_bytes() {
            return Err(SrtpError::Truncated);
        }
        let word = match &self.0 {
            // The index word ends the packet (RFC 7714 section 9.2) …
            Pair::Gcm { .. } => packet.last_chunk(),
            // … or stands before the tag (RFC 3711 section 3.4).
            Pair::CounterMode { .. } => {
                packet.split_last_chunk::<{ cm::TAG_SIZE_BYTES }>().and_then(|(rest, _)| rest.last_chunk())
            }
        };
        let word = u32::from_be_bytes(*word.ok_or(SrtpError::Truncated)?);
        if word & ENCRYPTED == 0 { Err(SrtpError::Unencrypted) } else { Ok(word & !ENCRYPTED) }
    }

    /// Authenticates and decrypts the compound `packet` in place and returns the size of the plain packet, which then
    /// starts `packet`. On error the content after the first eight bytes is unspecified.
    ///
    /// # Errors
    /// [`SrtpError::Truncated`], [`SrtpError::Unencrypted`], [`SrtpError::Authentication`].
    pub fn open_rtcp(&self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let index = self.rtcp_index(packet)?;
        match &self.0 {
            Pair::Gcm { rtcp, .. } => rtcp.open_rtcp(packet, index),
            Pair::CounterMode { rtcp, .. } => rtcp.open_rtcp(packet, index),
        }
    }
}

/// Seals what leaves under one master key.
#[derive(Debug)]
pub struct Sealer(Pair);

impl Sealer {
    /// Derives the session keys of `profile` (RFC 3711 section 4.3, key derivation rate 0).
    ///
    /// # Errors
    /// [`SrtpError::Crypto`], which no key causes.
    pub fn new(profile: SrtpProfile, master: &MasterKey) -> Result<Self, SrtpError> {
        Pair::new(profile, master).map(Self)
    }

    /// Returns what sealing adds to each RTP packet, in bytes.
    pub const fn rtp_overhead_bytes(&self) -> usize {
        self.0.rtp_overhead_bytes()
    }

    /// Returns what sealing adds to each RTCP packet, in bytes.
    pub const fn rtcp_overhead_bytes(&self) -> usize {
        self.0.rtp_overhead_bytes() + INDEX_SIZE_BYTES
    }

    /// Encrypts and tags the plain packet in the first `plain_size_bytes` of `buffer` in place and returns the size of
    /// the sealed packet, which is larger by [`Self::rtp_overhead_bytes`].
    ///
    /// The caller guarantees that `index` (roll-over counter and the sequence number in the header) was not used
    /// before with this key and SSRC.
    ///
    /// # Errors
    /// [`SrtpError::Buffer`], [`SrtpError::Index`].
    pub fn seal_rtp(
        &self,
        buffer: &mut [u8],
        header_size_bytes: usize,
        plain_size_bytes: usize,
        index: u64,
    ) -> Result<usize, SrtpError> {
        let end = plain_size_bytes.checked_add(self.rtp_overhead_bytes()).ok_or(SrtpError::Buffer)?;
        let packet = buffer.get_mut(..end).ok_or(SrtpError::Buffer)?;
        if header_size_bytes < RTP_CLEAR_SIZE_BYTES_MIN || plain_size_bytes < header_size_bytes {
            return Err(SrtpError::Buffer);
        }
        if index > RTP_INDEX_MAX {
            return Err(SrtpError::Index);
        }
        match &self.0 {
            Pair::Gcm { rtp, .. } => rtp.seal_rtp(packet, header_size_bytes, index)?,
            Pair::CounterMode { rtp, .. } => rtp.seal_rtp(packet, header_size_bytes, index)?,
        }
        Ok(end)
    }

    /// Encrypts and tags the plain compound in the first `plain_size_bytes` of `buffer` in place and returns the size
    /// of the sealed packet, which is larger by [`Self::rtcp_overhead_bytes`].
    ///
    /// The caller guarantees that `index` was not used before with this key and the sender's SSRC.
    ///
    /// # Errors
    /// [`SrtpError::Buffer`], [`SrtpError::Index`].
    pub fn seal_rtcp(&self, buffer: &mut [u8], plain_size_bytes: usize, index: u32) -> Result<usize, SrtpError> {
        let end = plain_size_bytes.checked_add(self.rtcp_overhead_bytes()).ok_or(SrtpError::Buffer)?;
        let packet = buffer.get_mut(..end).ok_or(SrtpError::Buffer)?;
        if plain_size_bytes < RTCP_CLEAR_SIZE_BYTES {
            return Err(SrtpError::Buffer);
        }
        if index > RTCP_INDEX_MAX {
            return Err(SrtpError::Index);
        }
        match &self.0 {
            Pair::Gcm { rtcp, .. } => rtcp.seal_rtcp(packet, index)?,
            Pair::CounterMode { rtcp, .. } => rtcp.seal_rtcp(packet, index)?,
        }
        Ok(end)
    }
}

/// The RTP and the RTCP session keys of one master key.
#[expect(clippy::large_enum_variant, reason = "one per direction of a transport; boxing would add a hop per packet")]
#[derive(Debug)]
enum Pair {
    Gcm { rtp: Gcm, rtcp: Gcm },
    CounterMode { rtp: CounterMode, rtcp: CounterMode },
}

impl Pair {
    fn new(profile: SrtpProfile, master: &MasterKey) -> Result<Self, SrtpError> {
        let key = master.key.get(..profile.key_bytes()).ok_or(SrtpError::Crypto)?;
        let salt = master.salt.get(..profile.salt_bytes()).ok_or(SrtpError::Crypto)?;
        let rtp = SessionKeys::derive(key, salt, derivation::Stream::Rtp)?;
        let rtcp = SessionKeys::derive(key, salt, derivation::Stream::Rtcp)?;
        Ok(match profile {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => {
                Self::Gcm { rtp: Gcm::new(&rtp)?, rtcp: Gcm::new(&rtcp)? }
            }
            SrtpProfile::AesCm128HmacSha1_80 => {
                Self::CounterMode { rtp: CounterMode::new(&rtp)?, rtcp: CounterMode::new(&rtcp)? }
            }
        })
    }

    const fn rtp_overhead_bytes(&self) -> usize {
        match self {
            Self::Gcm { .. } => gcm::TAG_SIZE_BYTES,
            Self::CounterMode { .. } => cm::TAG_SIZE_BYTES,
        }
    }
}

/// Reads the SSRC at `offset`; the caller has checked that the clear part is there.
fn ssrc_at(clear: &[u8], offset: usize) -> Result<[u8; 4], SrtpError> {
    clear.get(offset..).and_then(|rest| rest.first_chunk()).copied().ok_or(SrtpError::Truncated)
}

#[cfg(test)]
mod cost;
#[cfg(test)]
pub(crate) mod tests;
