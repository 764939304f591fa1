//! Why an offer or a fragment is refused.

use crate::limits;

/// Why an offer is refused. Sections are counted from zero in the order of the description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// More bytes than [`limits::SDP_BYTES_MAX`].
    #[error("the description has {size_bytes} bytes; at most {max} are read", max = limits::SDP_BYTES_MAX)]
    TooLarge {
        /// Its size.
        size_bytes: usize,
    },
    /// More lines than [`limits::SDP_LINES_MAX`], or one longer than [`limits::SDP_LINE_BYTES_MAX`].
    #[error("the description has more than {max} lines, or a line of more than {bytes} bytes",
        max = limits::SDP_LINES_MAX, bytes = limits::SDP_LINE_BYTES_MAX)]
    TooManyLines,
    /// More m-lines than [`limits::SECTIONS_MAX`].
    #[error("the description has {count} m-lines; at most {max} are served", max = limits::SECTIONS_MAX)]
    TooManySections {
        /// How many it has.
        count: usize,
    },
    /// A section with more formats, extensions, SSRCs or rids than [`limits`] says.
    #[error("m-line {section} has more {what} than are served")]
    TooMany {
        /// The section.
        section: usize,
        /// What there is too much of.
        what: &'static str,
    },
    /// Not a session description (RFC 8866).
    #[error("this is not a session description: {0}")]
    Syntax(String),
    /// A line that a section needs is missing or malformed.
    #[error("m-line {section} has a malformed {what}")]
    Malformed {
        /// The section.
        section: usize,
        /// The attribute.
        what: &'static str,
    },
    /// No m-line at all.
    #[error("the description has no m-line")]
    NoSection,
    /// Several sections without `a=group:BUNDLE` (RFC 9143): Sluice serves one transport per peer connection.
    #[error("the offer has no BUNDLE group; all media must share one transport (RFC 9143)")]
    NoBundle,
    /// A section without `a=rtcp-mux` (RFC 5761).
    #[error("m-line {section} has no rtcp-mux; RTP and RTCP must share one port (RFC 5761)")]
    NoRtcpMux {
        /// The section.
        section: usize,
    },
    /// A section without a mid, with one of more than 16 characters, or with one that another section has.
    #[error("m-line {section} has no usable mid: one of 1 to 16 characters, different from all others, is needed")]
    BadMid {
        /// The section.
        section: usize,
    },
    /// No ICE credentials, or ones against RFC 8839 section 5.4.
    #[error("the offer has no usable ICE credentials (ice-ufrag and ice-pwd, RFC 8839)")]
    NoIceCredentials,
    /// No fingerprint by SHA-256, SHA-384 or SHA-512 (RFC 8122).
    #[error("the offer has no certificate fingerprint by SHA-256 or better (RFC 8122)")]
    NoFingerprint,
    /// `a=setup:passive` or `holdconn`: Sluice is always the DTLS server (RFC 8842).
    #[error("the offer does not let the client start DTLS; setup must be actpass or active (RFC 8842)")]
    SetupPassive,
    /// Two bundled sections give one extension two ids, or one id two extensions (RFC 9143 section 9.2).
    #[error("m-line {section} numbers a header extension otherwise than another bundled m-line does")]
    ExtensionConflict {
        /// The section.
        section: usize,
    },
    /// A section announces an SSRC that it, or another one, announces too.
    #[error("m-line {section} announces an SSRC twice, or one that another m-line announces")]
    SsrcConflict {
        /// The section.
        section: usize,
    },
    /// A later offer whose version (`o=`) is lower than that of one before it.
    #[error("the offer is older than one that was taken before")]
    Stale,
    /// A later offer that lacks an m-line of the ones before it, or has another one in its place.
    #[error("m-line {section} is not the one that stood there in the offer before")]
    OtherSections {
        /// The section.
        section: usize,
    },
    /// A later offer with another certificate and the ICE credentials of before: another DTLS association takes another
    /// transport here.
    #[error("the offer shows another certificate than the one before")]
    OtherCertificate,
    /// A publisher's offer of which nothing can be received.
    #[error("nothing in the offer can be published here: {0}")]
    NothingToPublish(Rejections),
    /// A viewer's offer of which nothing can be served.
    #[error("nothing in the offer can be played here: {0}")]
    NothingToPlay(Rejections),
}

/// Whether the text was wrong or what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferFault {
    /// Too large to be read: HTTP 413.
    Size,
    /// Not a description: HTTP 400.
    Syntax,
    /// A description that cannot be served: HTTP 422.
    Unserviceable,
}

impl OfferError {
    /// Returns what kind of refusal this is; all of them are the peer's fault.
    #[must_use]
    pub const fn fault(&self) -> OfferFault {
        match self {
            Self::TooLarge { .. } => OfferFault::Size,
            Self::Syntax(_) | Self::Malformed { .. } => OfferFault::Syntax,
            Self::TooManyLines
            | Self::TooManySections { .. }
            | Self::TooMany { .. }
            | Self::NoSection
            | Self::NoBundle
            | Self::NoRtcpMux { .. }
            | Self::BadMid { .. }
            | Self::NoIceCredentials
            | Self::NoFingerprint
            | Self::SetupPassive
            | Self::ExtensionConflict { .. }
            | Self::SsrcConflict { .. }
            | Self::Stale
            | Self::OtherSections { .. }
            | Self::OtherCertificate
            | Self::NothingToPublish(_)
            | Self::NothingToPlay(_) => OfferFault::Unserviceable,
        }
    }

    /// Returns a stable name in `snake_case`, for problem documents and counters.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "sdp_too_large",
            Self::TooManyLines => "sdp_too_many_lines",
            Self::TooManySections { .. } => "sdp_too_many_sections",
            Self::TooMany { .. } => "sdp_too_many_attributes",
            Self::Syntax(_) => "sdp_syntax",
            Self::Malformed { .. } => "sdp_malformed_attribute",
            Self::NoSection => "sdp_no_section",
            Self::NoBundle => "sdp_no_bundle",
            Self::NoRtcpMux { .. } => "sdp_no_rtcp_mux",
            Self::BadMid { .. } => "sdp_bad_mid",
            Self::NoIceCredentials => "sdp_no_ice_credentials",
            Self::NoFingerprint => "sdp_no_fingerprint",
            Self::SetupPassive => "sdp_setup_passive",
            Self::ExtensionConflict { .. } => "sdp_extension_conflict",
            Self::SsrcConflict { .. } => "sdp_ssrc_conflict",
            Self::Stale => "sdp_stale",
            Self::OtherSections { .. } => "sdp_other_sections",
            Self::OtherCertificate => "sdp_other_certificate",
            Self::NothingToPublish(_) => "sdp_nothing_to_publish",
            Self::NothingToPlay(_) => "sdp_nothing_to_play",
        }
    }
}

/// Why one section is not served; it stays in the answer with port zero, or inactive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Rejection {
    /// The client itself disabled it.
    Disabled,
    /// It stands outside the BUNDLE group.
    NotBundled,
    /// Neither audio nor video: data channels come later.
    NotMedia,
    /// Not RTP over DTLS-SRTP with feedback (`SAVPF`).
    Protocol,
    /// None of its codecs is known here.
    NoCommonCodec,
    /// It flows the other way: a publisher that only receives, a viewer that only sends.
    Direction,
}

impl Rejection {
    /// Returns the reason as a phrase.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "it is disabled",
            Self::NotBundled => "it is not in the BUNDLE group",
            Self::NotMedia => "it is neither audio nor video",
            Self::Protocol => "its protocol is not RTP over DTLS-SRTP with feedback",
            Self::NoCommonCodec => "none of its codecs is known here",
            Self::Direction => "it flows the other way",
        }
    }
}

/// The reasons of all sections, in order, with their mids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejections(pub Vec<(String, Rejection)>);

impl std::fmt::Display for Rejections {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (mid, rejection)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(formatter, "{comma}m-line {mid:?}: {}", rejection.as_str())?;
        }
        Ok(())
    }
}
