//! Session descriptions: offers read, negotiated and answered; trickle and ICE-restart fragments.
//!
//! The grammar is `sdp-types`; everything else is here. [`Offer::parse`] reads within limits, [`negotiate`] decides, and
//! [`write_answer`] writes what was decided. [`Negotiated`] is the m-line table that a session parks for its successor.

mod answer;
mod attributes;
mod codec;
mod error;
mod extension;
mod fragment;
mod negotiate;
mod offer;
mod offered;
pub(crate) mod stored;
mod transport;

pub use answer::{LocalTransport, write_answer};
pub use codec::{Feedback, Format, H264Profile, NegotiatedCodec, parameter, payload_map};
pub use error::{OfferError, OfferFault, Rejection, Rejections};
pub use extension::Extension;
pub use fragment::{Fragment, FragmentError, write_fragment};
pub use negotiate::{Negotiated, NegotiatedSection, Parameters, ReceivedEncoding, Role, SentStream, negotiate};
pub use offer::{Offer, Section, SectionMedia, Setup};
pub use offered::{Direction, OfferedCodec, OfferedEncoding, OfferedExtension, OfferedRid};
pub use transport::{Fingerprint, FingerprintHash, IceCredentials};

#[cfg(test)]
pub(crate) mod vectors;
