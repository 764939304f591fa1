//! What browsers answer to offers of ours, and how they offer again, kept as they said it.

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

macro_rules! publisher {
    ($name:literal) => {
        include_str!(concat!("../../../tests/vectors/publishers/", $name, ".offer.sdp"))
    };
}

/// What each browser offered of one publishing connection: a camera and a screen; the screen off; the camera stopped and the
/// screen on; another camera at the stopped m-line.
const PUBLISHERS: [(&str, [&str; 4]); 2] = [
    (
        "chromium",
        [publisher!("chromium-1"), publisher!("chromium-2"), publisher!("chromium-3"), publisher!("chromium-4")],
    ),
    ("firefox", [publisher!("firefox-1"), publisher!("firefox-2"), publisher!("firefox-3"), publisher!("firefox-4")]),
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
                if name == "firefox" && own.is_served() {
                    // It sends them only.
                    extensions.dependency_descriptor = 0;
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

#[test]
fn browsers_offers_add_end_and_recycle_tracks() {
    for (name, offers) in PUBLISHERS {
        let mut call = Call::new();
        call.open(0, Simulcast::All).unwrap();
        call.join(0, 0, Wish::Tracks(Vec::new())).unwrap();
        let mut seen: Vec<Vec<TrackId>> = Vec::new();
        for (text, id) in offers.iter().zip(1..) {
            let offer = Offer::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{name} {id}: {error}"));
            let offer = ClientOffer { id: OfferId(id), offer: &offer, tracks: &[] };
            let published = call.control.publish(at(0), &user(0), offer, &mut call.effects);
            published.unwrap_or_else(|error| panic!("{name} {id}: {error}"));
            seen.push(call.tracks_of(0));
            let connection = call.control.session(&user(0)).unwrap().publisher.as_ref().unwrap();
            assert_eq!(connection.negotiated.sections.len(), 2, "{name}");
            assert_eq!(connection.negotiated.session_version, id, "{name}");
        }
        let [both, camera, screen, again] = seen.as_slice() else { panic!() };
        assert_eq!((both.len(), camera.as_slice()), (2, &both[..1]), "{name}: the screen went");
        assert!(screen.len() == 1 && !both.contains(&screen[0]), "{name}: the camera went, the screen is a new track");
        assert_eq!((again.len(), again[1]), (2, screen[0]), "{name}: the screen goes on beside another camera");
        let Some(Object::Track(track)) = call.control.plan().object(&Key::Track(again[0])) else { panic!() };
        let rids: Vec<&str> =
            track.encodings.iter().filter_map(|own| own.rid.as_ref()).map(|rid| rid.0.as_str()).collect();
        assert_eq!((track.mid.0.as_str(), rids.as_slice()), ("2", ["q", "h", "f"].as_slice()), "{name}");
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
