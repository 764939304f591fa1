//! A client's answer to an offer of ours: read within limits, and what it leaves of the offer.

use super::Extension;
use super::codec::NegotiatedCodec;
use super::error::{OfferError, Rejection};
use super::negotiate::{Negotiated, NegotiatedSection};
use super::offer::{Offer, Section, Setup};
use super::offered::Direction;
use crate::limits;

/// An answer within [`limits`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer(Offer);

/// Why an answer is not taken; the offer is still outstanding then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is no description that can be read.
    #[error(transparent)]
    Description(#[from] OfferError),
    /// It has not the m-lines of the offer, with their mids, in their order (RFC 3264 section 6).
    #[error("the answer has not the m-lines of the offer in their order")]
    Sections,
    /// `a=setup` is not `active`: Sluice is always the DTLS server (RFC 8842).
    #[error("the answer does not start DTLS; setup must be active (RFC 8842)")]
    SetupNotActive,
    /// A section without `a=rtcp-mux` (RFC 5761).
    #[error("m-line {section} of the answer has no rtcp-mux (RFC 5761)")]
    NoRtcpMux {
        /// The section.
        section: usize,
    },
    /// No usable ICE credentials.
    #[error("the answer has no usable ICE credentials (ice-ufrag and ice-pwd, RFC 8839)")]
    NoIceCredentials,
    /// No fingerprint by SHA-256 or better.
    #[error("the answer has no certificate fingerprint by SHA-256 or better (RFC 8122)")]
    NoFingerprint,
    /// Other fingerprints than before: that asks for another DTLS association, which is another peer connection here.
    #[error("the answer shows another certificate than before")]
    OtherCertificate,
}

impl AnswerError {
    /// Returns a stable name in `snake_case`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Description(error) => error.code(),
            Self::Sections => "sdp_other_sections",
            Self::SetupNotActive => "sdp_setup_not_active",
            Self::NoRtcpMux { .. } => "sdp_no_rtcp_mux",
            Self::NoIceCredentials => "sdp_no_ice_credentials",
            Self::NoFingerprint => "sdp_no_fingerprint",
            Self::OtherCertificate => "sdp_other_certificate",
        }
    }
}

impl Answer {
    /// Reads an answer of at most [`limits::ANSWER_BYTES_MAX`].
    ///
    /// # Errors
    /// [`AnswerError::Description`].
    pub fn parse(text: &[u8]) -> Result<Self, AnswerError> {
        Ok(Self(Offer::read(text, limits::ANSWER_BYTES_MAX, limits::SUBSCRIBED_SECTIONS_MAX)?))
    }
}

impl Answer {
    /// Returns an offer of its m-lines, which it could be the answer to.
    pub(crate) fn as_if_offered(&self, types: &super::PayloadTypes) -> Negotiated {
        let section = |theirs: &Section| NegotiatedSection {
            media: theirs.media,
            protocol: theirs.protocol.clone(),
            first_format: theirs.first_format.clone(),
            mid: theirs.mid,
            direction: Direction::SendOnly,
            rejection: theirs.media.kind().is_none().then_some(Rejection::NotMedia),
            codecs: theirs.media.kind().map_or_else(Vec::new, |kind| types.clone().offer(kind, &[])),
            extensions: sluice_protocol::media::ExtensionIds::default(),
            directed_extensions: Vec::new(),
            rtcp_rsize: true,
            encodings: Vec::new(),
            sent: None,
        };
        let nothing = crate::session::PeerConnection::nothing_negotiated(1, "stream".to_owned());
        Negotiated { sections: self.0.sections.iter().map(section).collect(), ..nothing }
    }
}

/// Returns what `answer` leaves of `offered`: codecs and extensions that both have; sections that the client does not
/// receive are inactive, those that it disabled have left the bundle.
///
/// # Errors
/// [`AnswerError`].
pub fn apply_answer(offered: &Negotiated, answer: &Answer) -> Result<Negotiated, AnswerError> {
    let Answer(answer) = answer;
    let is_same = offered.sections.len() == answer.sections.len()
        && offered.sections.iter().zip(&answer.sections).all(|(ours, theirs)| {
            // A section that is rejected on both sides needs no name.
            ours.mid == theirs.mid && ours.media == theirs.media
        });
    if !is_same {
        return Err(AnswerError::Sections);
    }
    let mut answered = offered.clone();
    for (index, (own, theirs)) in answered.sections.iter_mut().zip(&answer.sections).enumerate() {
        narrow(own, theirs, answer.bundle.contains(&theirs.mid));
        if own.is_bundled() && !theirs.rtcp_mux {
            return Err(AnswerError::NoRtcpMux { section: index });
        }
    }
    let sections = || answered.sections.iter().zip(&answer.sections).filter(|(own, _)| own.is_bundled());
    answered.extmap_allow_mixed = sections().all(|(_, theirs)| theirs.extmap_allow_mixed);
    let tagged = sections().find(|(_, theirs)| answer.bundle.first() == Some(&theirs.mid));
    // Without any section left nothing is said of the transport, which stays as it is.
    let Some((_, tagged)) = tagged.or_else(|| sections().next()) else { return Ok(answered) };
    if tagged.setup != Setup::Active {
        return Err(AnswerError::SetupNotActive);
    }
    let ice = tagged.ice.clone().ok_or(AnswerError::NoIceCredentials)?;
    if tagged.fingerprints.is_empty() {
        return Err(AnswerError::NoFingerprint);
    }
    let before = &offered.remote_fingerprints;
    if !before.is_empty() && !before.iter().any(|known| tagged.fingerprints.contains(known)) {
        return Err(AnswerError::OtherCertificate);
    }
    answered.remote_fingerprints.clone_from(&tagged.fingerprints);
    answered.remote_ice = ice;
    answered.remote_origin = Some(answer.origin.clone());
    Ok(answered)
}

/// Leaves of an offered section what the client takes.
fn narrow(own: &mut NegotiatedSection, theirs: &Section, is_bundled: bool) {
    if !own.is_bundled() {
        return;
    }
    own.rtcp_rsize &= theirs.rtcp_rsize;
    let rejection = if theirs.is_disabled {
        Some(Rejection::Disabled)
    } else if !is_bundled {
        Some(Rejection::NotBundled)
    } else {
        own.rejection
    };
    if rejection.is_some() {
        reject(own, rejection);
        return;
    }
    let codecs: Vec<NegotiatedCodec> = theirs.codecs.iter().filter_map(|codec| common(&own.codecs, codec)).collect();
    let rejection = if !theirs.direction.receives() {
        Some(Rejection::Direction)
    } else if codecs.is_empty() {
        Some(Rejection::NoCommonCodec)
    } else {
        None
    };
    if rejection.is_some() {
        // It stays in the bundle, where nothing flows at it.
        reject(own, Some(Rejection::Direction));
        return;
    }
    own.codecs = codecs;
    for extension in Extension::ALL {
        let id = extension.id_in(&own.extensions);
        let is_taken = theirs
            .extensions
            .iter()
            .any(|taken| taken.extension == extension && taken.id == id && taken.direction.receives());
        if !is_taken {
            extension.set_in(&mut own.extensions, 0);
        }
    }
    if !own.codecs.iter().any(|codec| codec.rtx.is_some())
        && let Some(sent) = &mut own.sent
    {
        sent.rtx = None;
    }
}

fn reject(own: &mut NegotiatedSection, rejection: Option<Rejection>) {
    own.rejection = rejection;
    own.direction = Direction::Inactive;
    own.sent = None;
}

/// Returns what is left of a codec of ours that the client names; repairs go with NACK, see `negotiate`.
fn common(own: &[NegotiatedCodec], theirs: &super::OfferedCodec) -> Option<NegotiatedCodec> {
    let same = own.iter().find(|codec| codec.payload_type == theirs.payload_type)?;
    theirs.format.cost_of_decoding(same.format)?;
    let rtx = same.rtx.filter(|rtx| theirs.rtx == Some(*rtx));
    let mut feedback = same.feedback.and(theirs.feedback);
    if rtx.is_none() {
        feedback = feedback.without(super::Feedback::NACK);
    }
    let rtx = rtx.filter(|_| feedback.contains(super::Feedback::NACK));
    Some(NegotiatedCodec { rtx, feedback, format: theirs.format, ..*same })
}
