//! What single attributes of an offer say.

use serde::{Deserialize, Serialize};
use sluice_protocol::media::{PayloadType, Rid, Ssrc};

use super::codec::{Feedback, Format};
use super::extension::Extension;

/// Which way media flows (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// From the speaker of the description.
    SendOnly,
    /// To the speaker of the description.
    RecvOnly,
    /// No way.
    Inactive,
}

impl Direction {
    /// Tells whether the speaker of the description sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Tells whether the speaker of the description receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// Returns the attribute's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::SendRecv, Self::SendOnly, Self::RecvOnly, Self::Inactive]
            .into_iter()
            .find(|direction| direction.as_str() == text)
    }
}

/// A codec of an offer that Sluice knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedCodec {
    /// Its payload type.
    pub payload_type: PayloadType,
    /// The payload type of its repair stream (RFC 4588).
    pub rtx: Option<PayloadType>,
    /// The codec.
    pub format: Format,
    /// The feedback that the client offers for it.
    pub feedback: Feedback,
}

/// A header extension of an offer that Sluice knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedExtension {
    /// Its id, 1 to 255.
    pub id: u8,
    /// What it is.
    pub extension: Extension,
    /// Which way the client offers it.
    pub direction: Direction,
}

/// An SSRC that a client announces to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedEncoding {
    /// The media SSRC.
    pub ssrc: Ssrc,
    /// Its repair SSRC (`ssrc-group:FID`).
    pub rtx: Option<Ssrc>,
}

/// A named encoding of a simulcast offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferedRid {
    /// The name.
    pub rid: Rid,
    /// Whether it starts paused (RFC 8853 section 5.1).
    pub is_paused: bool,
    /// The greatest number of pixels that `a=rid` allows it, where it says so.
    pub pixels_max: Option<u64>,
}
