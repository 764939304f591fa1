//! Why a control stream ends.

use super::frame::{ErrorCode, Frame};
use super::framing;
use crate::convert::{FieldError, ParseError};
use crate::limits::{ERROR_TEXT_BYTES_MAX, FRAME_BYTES_MAX};

/// Why a control stream ends. The shell sends what is left to transmit, closes, and reports the disconnection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The peer announced a frame longer than [`FRAME_BYTES_MAX`].
    #[error("a frame of {size_bytes} bytes is over the limit of {FRAME_BYTES_MAX}")]
    FrameTooLong {
        /// The announced size.
        size_bytes: u32,
    },
    /// The peer sent a frame that is not protobuf.
    #[error("a frame is not protobuf")]
    Malformed,
    /// The peer sent a frame with a field that cannot be read.
    #[error(transparent)]
    Field(#[from] FieldError),
    /// No common version.
    #[error("the peer speaks versions {min} to {max}, we speak {} to {}", super::VERSION_MIN, super::VERSION_MAX)]
    Version {
        /// The peer's oldest version.
        min: u32,
        /// The peer's newest version.
        max: u32,
    },
    /// The peer sent a frame that is not allowed now.
    #[error("a frame {frame} came while {state}")]
    Unexpected {
        /// The frame's name.
        frame: &'static str,
        /// What was expected instead.
        state: &'static str,
    },
    /// A frame explained more descriptors than had come.
    #[error("descriptors are missing")]
    DescriptorsMissing,
    /// More descriptors came than any frame may explain.
    #[error("too many descriptors")]
    DescriptorsTooMany,
    /// Commands or acknowledgements are not in order.
    #[error("sequence {found} came where {expected} was due")]
    Sequence {
        /// What came.
        found: u64,
        /// What was due.
        expected: u64,
    },
    /// More commands, requests or objects than the limits allow.
    #[error("the peer exceeds the limit of {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
    },
    /// The peer does not read what is sent to it.
    #[error("the peer does not read")]
    Stalled,
    /// This data plane belongs to a controller with epoch `epoch`; a lower epoch, or another process with the same one,
    /// has no business here.
    #[error("a controller with epoch {epoch} owns the data plane")]
    Fenced {
        /// The highest epoch that the data plane admitted.
        epoch: u16,
    },
    /// There is no epoch after 65,535.
    #[error("the epochs are used up: restart the data plane and begin at 1")]
    EpochsUsedUp,
    /// The data plane could not run with the configuration; its words.
    #[error("configuration: {0}")]
    Configuration(String),
    /// The peer closed with this reason.
    #[error("the peer closed: {text} ({code:?})")]
    Peer {
        /// The reason for programs.
        code: ErrorCode,
        /// The reason for people.
        text: String,
    },
}

impl SessionError {
    /// Returns the code that tells the peer.
    #[must_use]
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::FrameTooLong { .. } => ErrorCode::FrameTooLong,
            Self::Malformed | Self::Field(_) => ErrorCode::Malformed,
            Self::Version { .. } => ErrorCode::Version,
            Self::Unexpected { .. }
            | Self::DescriptorsMissing
            | Self::DescriptorsTooMany
            | Self::Sequence { .. }
            | Self::TooMany { .. } => ErrorCode::Protocol,
            Self::Stalled => ErrorCode::Stalled,
            Self::Fenced { .. } | Self::EpochsUsedUp => ErrorCode::Fenced,
            Self::Configuration(_) => ErrorCode::Configuration,
            Self::Peer { code, .. } => *code,
        }
    }

    /// Returns the bytes of the last frame, which tells the peer. A shell needs them for a newcomer that was not
    /// admitted; in all other cases `poll_transmit` returns them.
    #[must_use]
    pub fn farewell(&self) -> Vec<u8> {
        let mut text = self.to_string();
        while text.len() > ERROR_TEXT_BYTES_MAX {
            text.pop();
        }
        let mut bytes = Vec::new();
        framing::append(&Frame::Error { code: self.code(), text }, &mut bytes);
        bytes
    }
}

impl From<ParseError> for SessionError {
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::Malformed => Self::Malformed,
            ParseError::Field(error) => Self::Field(error),
            ParseError::Command(error) => Self::Field(error.error),
        }
    }
}
