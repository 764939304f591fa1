//! Bodies of fuzz targets: each takes any bytes and panics only where Sluice is wrong.

use sluice_protocol::media::Ssrc;

use crate::sdp::{
    Answer, Feedback, Fingerprint, Fragment, LocalTransport, Negotiated, NegotiatedCodec, Offer, OfferError,
    Parameters, PayloadTypes, Role, Simulcast, apply_answer, negotiate, renegotiate, write_answer,
};

/// Reads an offer, answers it in both roles, and checks that the answers are descriptions that fit the offer, and that
/// what was negotiated survives storage.
///
/// # Panics
/// When one of these does not hold.
pub fn sdp_offer(bytes: &[u8]) {
    let Ok(offer) = Offer::parse(bytes) else { return };
    for role in [Role::Publish, Role::Play] {
        if let Ok(negotiated) = negotiate_example(&offer, role) {
            check_answer(&offer, &negotiated);
        }
    }
    if let Ok(negotiated) = negotiate_with(&offer, Role::Publish, Simulcast::All) {
        check_answer(&offer, &negotiated);
        let again = renegotiate(&negotiated, &offer, Simulcast::All).expect("a description may follow itself");
        assert_eq!(again.session_version, negotiated.session_version + 1);
        assert_eq!(again.sections, negotiated.sections, "it says the same again");
    }
}

/// Reads an answer and applies it to an offer of its m-lines, with all that our offers have in common; checks that no more
/// is left than was offered.
///
/// # Panics
/// When more is left, or when it does not survive storage.
pub fn sdp_answer(bytes: &[u8]) {
    let Ok(answer) = Answer::parse(bytes) else { return };
    let types = PayloadTypes::default();
    let offered = answer.as_if_offered(&types);
    let Ok(answered) = apply_answer(&offered, &answer) else { return };
    for (own, before) in answered.sections.iter().zip(&offered.sections) {
        assert_eq!((own.mid, own.media), (before.mid, before.media));
        assert!(!own.is_served() || (before.is_served() && !own.codecs.is_empty()), "nothing is served unasked");
        for codec in own.codecs.iter().filter(|_| own.is_served()) {
            let is_offered = |known: &&NegotiatedCodec| known.payload_type == codec.payload_type;
            let known = before.codecs.iter().find(is_offered).expect("codecs are ours");
            assert!(codec.rtx.is_none() || codec.rtx == known.rtx, "and so are repairs");
            assert!(known.feedback.contains(codec.feedback), "and feedback");
            assert_eq!(codec.rtx.is_some(), codec.feedback.contains(Feedback::NACK), "repairs go with NACK");
        }
    }
    let stored = serde_json::to_vec(&answered).expect("what was negotiated can be stored");
    assert_eq!(serde_json::from_slice::<Negotiated>(&stored).ok(), Some(answered), "and read again");
}

/// Reads a trickle fragment.
pub fn sdp_fragment(bytes: &[u8]) {
    drop(Fragment::parse(bytes));
}

pub(crate) fn negotiate_example(offer: &Offer, role: Role) -> Result<Negotiated, OfferError> {
    negotiate_with(offer, role, Simulcast::Best)
}

pub(crate) fn negotiate_with(offer: &Offer, role: Role, simulcast: Simulcast) -> Result<Negotiated, OfferError> {
    let mut next = 1000;
    let mut mint = || {
        next += 1;
        Ssrc(next)
    };
    negotiate(offer, &Parameters { role, simulcast, session_id: 7, cname: "stream" }, &mut mint)
}

pub(crate) fn answer_example(negotiated: &Negotiated) -> String {
    let local = LocalTransport {
        ufrag: "ECq83vAAMAAQnerb7v",
        password: "AAAAAAAAAAAAAAAAAAAAAAAA",
        fingerprint: &Fingerprint::sha256(&[0xab; 32]),
        candidates: &[std::net::SocketAddr::from(([192, 0, 2, 1], 7000))],
    };
    write_answer(negotiated, &local)
}

pub(crate) fn check_answer(offer: &Offer, negotiated: &Negotiated) {
    let answer = answer_example(negotiated);
    let session = sdp_types::Session::parse(answer.as_bytes()).expect("an answer is a description");
    assert_eq!(session.medias.len(), offer.sections.len(), "an answer has the m-lines of the offer");
    for (media, section) in session.medias.iter().zip(&offer.sections) {
        assert_eq!(media.get_first_attribute_value("mid"), Some(Some(section.mid.0.as_str())), "in their order");
        assert_eq!(media.proto, section.protocol);
    }
    let stored = serde_json::to_vec(negotiated).expect("what was negotiated can be stored");
    let restored: Negotiated = serde_json::from_slice(&stored).expect("and read again");
    assert_eq!(&restored, negotiated);
}
