//! Media parameters that both planes and the wire share.

use std::fmt;

use crate::limits::LABEL_BYTES_MAX;

/// A synchronisation source (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ssrc(pub u32);

/// An RTP payload type, 0 to 127 (RFC 3550 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadType(pub u8);

/// A bitrate in bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bitrate(pub u64);

/// A short ASCII token of at most [`LABEL_BYTES_MAX`] bytes, kept in place.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    bytes: [u8; LABEL_BYTES_MAX],
    size_bytes: u8,
}

impl Label {
    /// Makes a label; `None` when `text` is empty, too long, or has a byte that is not visible ASCII.
    #[must_use]
    pub fn new(text: &[u8]) -> Option<Self> {
        let size_bytes = u8::try_from(text.len()).ok()?;
        let mut bytes = [0; LABEL_BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text);
        (!text.is_empty() && text.iter().all(u8::is_ascii_graphic)).then_some(Self { bytes, size_bytes })
    }

    /// Returns the text; empty for the default value, which names nothing.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or("")
    }

    /// Returns the text as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.size_bytes)).unwrap_or(&[])
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.as_str())
    }
}

/// The name of an m-line (RFC 8843 section 15).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mid(pub Label);

/// The name of an encoding within an m-line (RFC 8851).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rid(pub Label);

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// A codec whose payload descriptors the data plane can read, or `Other`, which it forwards unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CodecKind {
    /// RFC 7587.
    Opus,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184.
    H264,
    /// AV1 RTP payload format 1.0.
    Av1,
    /// Anything else, without key frames and picture ids known to us.
    Other,
}

/// What the data plane must know of one payload type of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    /// The payload type of the media.
    pub payload_type: PayloadType,
    /// The payload type of its repair stream (RFC 4588), where negotiated.
    pub rtx: Option<PayloadType>,
    /// The codec.
    pub kind: CodecKind,
    /// The RTP clock in Hz.
    pub clock_rate: u32,
}

/// Ids of RTP header extensions (RFC 8285), zero where not negotiated.
///
/// Ids above 14, or values over 16 bytes, need the two-byte form, which is used only where
/// [`crate::plan::Transport::extmap_allow_mixed`] is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 8843 section 15).
    pub mid: u8,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id` (RFC 8852).
    pub rid: u8,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id` (RFC 8852).
    pub repaired_rid: u8,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464).
    pub audio_level: u8,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`.
    pub abs_send_time: u8,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`.
    pub transport_sequence: u8,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`.
    pub playout_delay: u8,
    /// `urn:3gpp:video-orientation`, passed through.
    pub video_orientation: u8,
    /// `https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension`.
    pub dependency_descriptor: u8,
}

/// An SRTP protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SrtpProfile {
    /// `AEAD_AES_128_GCM`, the one we want.
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM`.
    AeadAes256Gcm,
    /// `AES_CM_128_HMAC_SHA1_80`, for stacks without GCM.
    AesCm128HmacSha1_80,
}

impl SrtpProfile {
    /// Returns the size of the master key in bytes.
    #[must_use]
    pub const fn key_bytes(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AesCm128HmacSha1_80 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Returns the size of the master salt in bytes.
    #[must_use]
    pub const fn salt_bytes(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::AesCm128HmacSha1_80 => 14,
        }
    }
}

/// The master key and salt of one direction; never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MasterKey {
    /// The key; its first [`SrtpProfile::key_bytes`] bytes count.
    pub key: [u8; 32],
    /// The salt; its first [`SrtpProfile::salt_bytes`] bytes count.
    pub salt: [u8; 14],
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("MasterKey(redacted)")
    }
}

/// The keys of one DTLS association (RFC 5764 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The protection profile.
    pub profile: SrtpProfile,
    /// What we seal with.
    pub local: MasterKey,
    /// What the peer seals with.
    pub remote: MasterKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_take_visible_ascii_of_at_most_sixteen_bytes() {
        assert_eq!(Label::new(b"video-0").unwrap().as_str(), "video-0");
        assert_eq!(Label::new(&[b'a'; 16]).unwrap().as_bytes().len(), 16);
        for bad in [&b""[..], &[b'a'; 17], b"a b", b"\x00", "ä".as_bytes()] {
            assert_eq!(Label::new(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn keys_are_not_printed() {
        let key = MasterKey { key: [0xaa; 32], salt: [0xbb; 14] };
        assert_eq!(format!("{key:?}"), "MasterKey(redacted)");
    }
}
