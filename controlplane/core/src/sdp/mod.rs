//! Session descriptions: offers read, negotiated and answered; trickle and ICE-restart fragments.
//!
//! The grammar is `sdp-types`; everything else is here. [`Offer::parse`] reads within limits, [`negotiate`] decides (of a
//! later offer [`renegotiate`]), and [`write_answer`] writes what was decided. The other way round [`write_offer`] writes an
//! offer of ours, [`Answer::parse`] reads what came back, and [`apply_answer`] says what it leaves. [`Negotiated`] is the
//! m-line table that a session parks for its successor.

mod answer;
mod answered;
mod attributes;
mod codec;
mod error;
mod extension;
mod fragment;
mod negotiate;
mod offer;
mod offered;
mod payload_types;
mod renegotiate;
pub(crate) mod stored;
mod transport;

pub use answer::{LocalTransport, write_answer, write_offer};
pub use answered::{Answer, AnswerError, apply_answer};
pub use codec::{Feedback, Format, H264Profile, NegotiatedCodec, parameter, payload_map};
pub use error::{OfferError, OfferFault, Rejection, Rejections};
pub use extension::Extension;
pub use fragment::{Fragment, FragmentError, write_fragment};
pub use negotiate::{
    Negotiated, NegotiatedSection, Parameters, ReceivedEncoding, Role, SentStream, Simulcast, negotiate,
};
pub use offer::{Offer, Origin, Section, SectionMedia, Setup};
pub use offered::{Direction, OfferedCodec, OfferedEncoding, OfferedExtension, OfferedRid};
pub use payload_types::PayloadTypes;
pub use renegotiate::{is_of_another_connection, renegotiate};
pub use transport::{Fingerprint, FingerprintHash, IceCredentials};

#[cfg(test)]
pub(crate) mod vectors;
