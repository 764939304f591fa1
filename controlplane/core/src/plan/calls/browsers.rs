//! What browsers answer to offers of ours, kept as they said it.

use std::collections::BTreeSet;

use proptest::prelude::*;
use sluice_protocol::media::MediaKind;

use super::*;
use crate::sdp::{Negotiated, NegotiatedSection, apply_answer, vectors};

macro_rules! text {
    ($name:literal) => {
        include_str!(concat!("../../../tests/vectors/answers/", $name, ".sdp"))
    };
}

/// The offers, in the order in which one connection was given them.
const OFFERS: [&str; 3] = [text!("sluice-1.offer"), text!("sluice-2.offer"), text!("sluice-3.offer")];

/// What each browser answered to them.
const ANSWERS: [(&str, [&str; 3]); 2] = [
    ("chromium", [text!("chromium-1.answer"), text!("chromium-2.answer"), text!("chromium-3.answer")]),
    ("firefox", [text!("firefox-1.answer"), text!("firefox-2.answer"), text!("firefox-3.answer")]),
];

/// Makes three offers: two tracks; one of them gone and another come; the m-line of the gone one taken again.
fn offers() -> Vec<(Negotiated, String)> {
    let mut call = Call::new();
    for number in 0..3 {
        call.open(number, Simulcast::All).unwrap();
        call.join(number, 0, Wish::Everything { except: Vec::new() }).unwrap();
    }
    let offer = vectors::offer("chromium-a-all-codecs");
    let offer = ClientOffer { id: OfferId(1), offer: &offer, tracks: &[] };
    call.control.publish(at(0), &user(0), offer, &mut call.effects).unwrap();
    let mut offers = vec![next(&mut call)];
    let track = call.tracks_of(0)[0];
    call.handle(0, Input::Unpublish { participant: participant(0), track }).unwrap();
    call.clients.get_mut(&2).unwrap().add(true);
    call.publish(2, &[]).unwrap();
    offers.push(next(&mut call));
    call.clients.get_mut(&2).unwrap().add(false);
    call.publish(2, &[]).unwrap();
    offers.push(next(&mut call));
    offers
}

fn next(call: &mut Call) -> (Negotiated, String) {
    let offer = call.make_offer(1).unwrap();
    let subscriber = call.control.session(&user(1)).unwrap().subscriber.clone().unwrap();
    let offered = subscriber.offering.unwrap().outstanding.unwrap().offered;
    call.answer(1, &offer, Reaction::TakesAll).unwrap();
    (offered, offer.sdp)
}

#[test]
fn our_offers_are_those_that_browsers_answered() {
    for ((_, text), kept) in offers().iter().zip(OFFERS) {
        assert_eq!(text, kept);
    }
}

#[test]
fn browsers_take_every_track_that_they_are_offered() {
    for (name, answers) in ANSWERS {
        for ((offered, _), text) in offers().iter().zip(answers) {
            // Their certificates are their own.
            let offered = Negotiated { remote_fingerprints: Vec::new(), ..offered.clone() };
            let answer = Answer::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
            let answered = apply_answer(&offered, &answer).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(answered.extmap_allow_mixed, "{name}");
            for (own, before) in answered.sections.iter().zip(&offered.sections) {
                assert_eq!((own.mid, own.rejection, &own.sent), (before.mid, before.rejection, &before.sent), "{name}");
                let names = |section: &NegotiatedSection| {
                    section.codecs.iter().map(|codec| codec.format.name()).collect::<BTreeSet<_>>()
                };
                let lacks: Vec<_> = names(before).difference(&names(own)).copied().collect();
                let is_picture = before.sent.is_some() && before.media.kind() == Some(MediaKind::Video);
                // Firefox downloads its H264, which it could not.
                let expected: &[&str] = if name == "firefox" && is_picture { &["H264"] } else { &[] };
                assert_eq!(lacks, expected, "{name}");
                let mut extensions = before.extensions;
                if name == "firefox" && own.is_served() && before.media.kind() == Some(MediaKind::Audio) {
                    extensions.abs_send_time = 0;
                }
                assert_eq!(own.extensions, extensions, "{name}");
                for codec in &own.codecs {
                    let is_whole = before.codecs.iter().any(|own| {
                        own.payload_type == codec.payload_type && own.rtx == codec.rtx && own.feedback == codec.feedback
                    });
                    assert!(is_whole, "{name}: {codec:?}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 128 } else { 2048 }))]

    #[test]
    fn bent_answers_leave_no_more_than_was_offered(
        which in 0..ANSWERS.len(), step in 0..3_usize, at in any::<prop::sample::Index>(),
        byte in any::<u8>(), cut in any::<bool>()
    ) {
        let mut bytes = ANSWERS[which].1[step].as_bytes().to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        crate::fuzzing::sdp_answer(&bytes);
    }
}
