//! A later offer of a publisher's connection.

use super::error::OfferError;
use super::negotiate::{Negotiated, Simulcast, negotiate_sections, settle_congestion_feedback, transport_of};
use super::offer::{Offer, Section};

/// Tells whether an offer is of another peer connection of the client than the one that was negotiated: it shows another
/// certificate, so a new DTLS association is due (RFC 8842 section 4), and the ICE credentials of a transport that begins.
/// Another certificate on the ICE session that there is remains [`OfferError::OtherCertificate`].
#[must_use]
pub fn is_of_another_connection(before: &Negotiated, offer: &Offer) -> bool {
    let is_described = |own: &&Section| !own.is_disabled && own.ice.is_some() && !own.fingerprints.is_empty();
    let mut sections = offer.sections.iter().filter(is_described).peekable();
    let is_known = |own: &Section| {
        own.fingerprints.iter().any(|shown| before.remote_fingerprints.contains(shown))
            || own.ice.as_ref() == Some(&before.remote_ice)
    };
    sections.peek().is_some() && !sections.any(is_known)
}

/// Negotiates a later offer of the same connection. M-lines keep their places and names; one that was disabled may come back
/// under another name (RFC 8829 section 5.2.2). An offer may leave nothing to send.
///
/// # Errors
/// [`OfferError`]; among them [`OfferError::Stale`], [`OfferError::OtherSections`] and [`OfferError::OtherCertificate`].
pub fn renegotiate(before: &Negotiated, offer: &Offer, simulcast: Simulcast) -> Result<Negotiated, OfferError> {
    if before.remote_origin.as_ref().is_some_and(|origin| !origin.may_be_followed_by(&offer.origin)) {
        return Err(OfferError::Stale);
    }
    if let Some(missing) = offer.sections.len().checked_sub(1).filter(|last| last + 1 < before.sections.len()) {
        return Err(OfferError::OtherSections { section: missing + 1 });
    }
    for (index, (own, theirs)) in before.sections.iter().zip(&offer.sections).enumerate() {
        let is_same = own.mid == theirs.mid && own.media == theirs.media;
        let is_recycled = !own.is_bundled();
        if !is_same && !is_recycled {
            return Err(OfferError::OtherSections { section: index });
        }
    }
    let mut sections = negotiate_sections(offer, before.role, simulcast)?;
    let wants_remb = settle_congestion_feedback(&mut sections);
    let mixed = |mid| offer.sections.iter().any(|section| section.mid == mid && section.extmap_allow_mixed);
    let mut after = Negotiated {
        session_version: before.session_version + 1,
        extmap_allow_mixed: sections.iter().filter(|own| own.is_bundled()).all(|own| mixed(own.mid)),
        has_bundle: offer.has_bundle,
        wants_remb,
        remote_origin: Some(offer.origin.clone()),
        ..before.clone()
    };
    if sections.iter().any(super::NegotiatedSection::is_bundled) {
        let (ice, fingerprints) = transport_of(offer, &sections)?;
        if !before.remote_fingerprints.iter().any(|known| fingerprints.contains(known)) {
            return Err(OfferError::OtherCertificate);
        }
        after.remote_ice = ice;
    }
    after.sections = sections;
    Ok(after)
}
