//! Tests against real offers, and properties.

use proptest::prelude::*;
use sluice_protocol::media::MediaKind;

use super::*;
use crate::fuzzing::{answer_example, check_answer, negotiate_example, negotiate_with};

macro_rules! vector {
    ($name:literal) => {
        ($name, include_str!(concat!("../../tests/vectors/sdp/", $name, ".offer.sdp")))
    };
}

/// All offers of `tests/vectors/sdp`.
pub(crate) const OFFERS: [(&str, &str); 19] = [
    vector!("chromium-a-all-codecs"),
    vector!("chromium-a-vp8-opus"),
    vector!("chromium-b-simulcast-h264"),
    vector!("chromium-b-simulcast-vp8"),
    vector!("chromium-c-av1-svc-L3T3_KEY"),
    vector!("chromium-c-vp9-svc-L3T3_KEY"),
    vector!("chromium-d-recvonly"),
    vector!("chromium-e-datachannel"),
    vector!("chromium-f-all"),
    vector!("firefox-a-all-codecs"),
    vector!("firefox-a-vp8-opus"),
    vector!("firefox-b-simulcast-h264"),
    vector!("firefox-b-simulcast-vp8"),
    vector!("firefox-c-av1-svc-L3T3_KEY"),
    vector!("firefox-c-vp9-svc-L3T3_KEY"),
    vector!("firefox-d-recvonly"),
    vector!("firefox-e-datachannel"),
    vector!("firefox-f-all"),
    vector!("firefox-restart"),
];

pub(crate) fn offer(name: &str) -> Offer {
    let (_, text) = OFFERS.iter().find(|(known, _)| *known == name).unwrap();
    Offer::parse(text.as_bytes()).unwrap()
}

fn negotiated(name: &str, role: Role) -> Negotiated {
    negotiate_example(&offer(name), role).unwrap()
}

fn codecs(section: &NegotiatedSection) -> Vec<(u8, Option<u8>, &'static str)> {
    let triple = |codec: &NegotiatedCodec| (codec.payload_type.0, codec.rtx.map(|rtx| rtx.0), codec.format.name());
    section.codecs.iter().map(triple).collect()
}

#[test]
fn every_browser_offer_is_answered_in_the_roles_that_it_is_for() {
    for (name, text) in OFFERS {
        let offer = Offer::parse(text.as_bytes()).unwrap();
        let (publishes, plays) = match name.split('-').nth(1).unwrap() {
            "d" => (false, true),
            "e" => (false, false),
            "f" => (true, true),
            _ => (true, false),
        };
        for (role, is_served) in [(Role::Publish, publishes), (Role::Play, plays)] {
            match negotiate_example(&offer, role) {
                Ok(negotiated) => {
                    assert!(is_served, "{name} {role:?}");
                    check_answer(&offer, &negotiated);
                }
                Err(OfferError::NothingToPublish(_)) => assert!(!is_served && role == Role::Publish, "{name}"),
                Err(OfferError::NothingToPlay(_)) => assert!(!is_served && role == Role::Play, "{name}"),
                Err(error) => panic!("{name}: {error}"),
            }
        }
    }
}

#[test]
fn a_chromium_publisher_gets_its_codecs_extensions_and_feedback() {
    let negotiated = negotiated("chromium-a-all-codecs", Role::Publish);
    let [audio, video] = negotiated.sections.as_slice() else { panic!("two sections") };
    assert_eq!(codecs(audio), [(111, None, "Opus"), (0, None, "PCMU"), (8, None, "PCMA")]);
    let names: Vec<_> = codecs(video).iter().map(|(_, rtx, name)| (rtx.is_some(), *name)).collect();
    assert!(names.iter().all(|(has_rtx, _)| *has_rtx), "{names:?}");
    assert_eq!(names.first(), Some(&(true, "VP8")));
    for name in ["VP9", "H264", "AV1"] {
        assert!(names.iter().any(|(_, known)| *known == name), "{name}");
    }
    assert_eq!((audio.extensions.audio_level, audio.extensions.mid, audio.extensions.transport_sequence), (1, 4, 3));
    assert_eq!((video.extensions.mid, video.extensions.transport_sequence, video.extensions.abs_send_time), (4, 3, 2));
    assert_eq!((video.extensions.video_orientation, video.extensions.dependency_descriptor), (0, 0));
    assert_eq!((video.extensions.rid, video.extensions.repaired_rid), (0, 0), "only simulcast has names");
    assert!(!negotiated.wants_remb && negotiated.extmap_allow_mixed);
    assert_eq!(video.encodings.len(), 1);
    assert!(video.encodings[0].ssrc.is_some() && video.encodings[0].rtx.is_some());
    let answer = answer_example(&negotiated);
    assert!(answer.contains("a=rtcp-fb:96 transport-cc\r\n") && !answer.contains("goog-remb"));
    assert!(answer.contains("a=rtcp-fb:96 nack pli\r\n") && answer.contains("a=rtcp-fb:96 ccm fir\r\n"));
    assert!(!answer.contains("red/") && !answer.contains("ulpfec") && !answer.contains("flexfec"));
}

#[test]
fn constrained_baseline_right_before_baseline_stays_there() {
    let (_, text) = OFFERS.iter().find(|(name, _)| *name == "chromium-a-all-codecs").unwrap();
    // Chromium has both modes of Baseline first; here each mode has Constrained Baseline and Baseline side by side.
    let text =
        text.replace("packetization-mode=0;profile-level-id=42001f", "packetization-mode=1;profile-level-id=was-0");
    let text =
        text.replace("packetization-mode=1;profile-level-id=42e01f", "packetization-mode=0;profile-level-id=42E01f");
    let text =
        text.replace("packetization-mode=0;profile-level-id=42e01f", "packetization-mode=0;profile-level-id=was-0");
    let text =
        text.replace("packetization-mode=1;profile-level-id=42001f", "packetization-mode=1;profile-level-id=42e01f");
    let text = text.replace("profile-level-id=was-0", "profile-level-id=42001f");
    let offer = Offer::parse(text.as_bytes()).unwrap();
    let negotiated = negotiate_example(&offer, Role::Publish).unwrap();
    let answered: Vec<_> = negotiated.sections[1].codecs.iter().filter_map(|codec| codec.format.h264()).collect();
    for mode in [0, 1] {
        let profiles = answered.iter().filter(|(own, _)| *own == mode).map(|(_, profile)| *profile);
        let profiles: Vec<_> = profiles.take(2).collect();
        assert_eq!(profiles, [H264Profile::ConstrainedBaseline, H264Profile::Baseline]);
    }
}

#[test]
fn constrained_baseline_is_preferred_to_baseline_and_nothing_else_moves() {
    let negotiated = negotiated("chromium-a-all-codecs", Role::Publish);
    let offered = &offer("chromium-a-all-codecs").sections[1];
    let answered: Vec<_> = negotiated.sections[1].codecs.iter().filter_map(|codec| codec.format.h264()).collect();
    let first_of = |mode| answered.iter().find(|(own, _)| *own == mode).map(|(_, id)| *id);
    assert_eq!(
        (first_of(1), first_of(0)),
        (Some(H264Profile::ConstrainedBaseline), Some(H264Profile::ConstrainedBaseline))
    );
    assert_eq!(negotiated.sections[1].codecs.len(), offered.codecs.len());
    assert_eq!(negotiated.sections[1].codecs[0].payload_type, offered.codecs[0].payload_type);
}

#[test]
fn one_encoding_of_a_simulcast_is_accepted_and_it_is_the_best() {
    for name in ["chromium-b-simulcast-vp8", "chromium-b-simulcast-h264", "firefox-b-simulcast-vp8"] {
        let negotiated = negotiated(name, Role::Publish);
        let video = &negotiated.sections[1];
        let rids: Vec<_> = video.encodings.iter().map(|encoding| encoding.rid.unwrap().0.as_str().to_owned()).collect();
        assert_eq!(rids, ["f"], "{name}");
        assert!(video.extensions.rid != 0 && video.extensions.repaired_rid != 0, "{name}");
        let answer = answer_example(&negotiated);
        assert!(answer.contains("a=rid:f recv\r\na=simulcast:recv f\r\n"), "{name}");
        assert!(!answer.contains("a=rid:q"), "{name}");
    }
}

#[test]
fn the_best_encoding_is_found_whatever_the_order_of_names() {
    let (_, text) = OFFERS.iter().find(|(name, _)| *name == "chromium-b-simulcast-vp8").unwrap();
    for (line, best) in [("f;h;q", "f"), ("q;h;~f", "h"), ("h;f;q", "f")] {
        let text = text.replace("a=simulcast:send q;h;f", &format!("a=simulcast:send {line}"));
        let negotiated = negotiate_example(&Offer::parse(text.as_bytes()).unwrap(), Role::Publish).unwrap();
        assert_eq!(negotiated.sections[1].encodings[0].rid.unwrap().0.as_str(), best, "{line}");
    }
    let text = text.replace(":q send", ":0 send").replace(":h send", ":1 send").replace(":f send", ":2 send");
    let text = text.replace("send q;h;f", "send 0;1;2");
    let negotiated = negotiate_example(&Offer::parse(text.as_bytes()).unwrap(), Role::Publish).unwrap();
    assert_eq!(negotiated.sections[1].encodings[0].rid.unwrap().0.as_str(), "2");
}

#[test]
fn a_viewer_is_told_each_stream_up_front_with_every_common_codec() {
    for (name, videos) in [("chromium-d-recvonly", 1), ("firefox-d-recvonly", 2)] {
        let negotiated = negotiated(name, Role::Play);
        let mut ssrcs = std::collections::BTreeSet::new();
        for section in &negotiated.sections {
            let sent = section.sent.as_ref().unwrap();
            assert!(ssrcs.insert(sent.ssrc.0), "{name}");
            assert_eq!(sent.rtx.is_some(), section.media == SectionMedia::Video, "{name}");
            assert!(sent.rtx.is_none_or(|rtx| ssrcs.insert(rtx.0)), "{name}");
            assert_eq!(section.direction, Direction::SendOnly);
            assert_eq!(section.extensions.transport_sequence, 0, "{name}: no estimation towards viewers yet");
            assert!(section.codecs.iter().all(|codec| !codec.feedback.contains(Feedback::TRANSPORT_CC)));
            assert!(section.codecs.iter().all(|codec| codec.rtx.is_some() == codec.feedback.contains(Feedback::NACK)));
        }
        let video = negotiated.sections.iter().filter(|section| section.media == SectionMedia::Video);
        assert!(video.clone().count() >= videos, "{name}");
        for section in video {
            let names: Vec<_> = codecs(section).iter().map(|(_, _, name)| *name).collect();
            for wanted in ["VP8", "VP9", "AV1"] {
                assert!(names.contains(&wanted), "{name}: {wanted}");
            }
            assert_ne!(section.extensions.playout_delay, 0, "{name}");
        }
        let answer = answer_example(&negotiated);
        assert!(answer.contains("a=ssrc-group:FID ") && answer.contains("a=msid:stream video-0\r\n"));
        assert_eq!(answer.matches("a=candidate:").count(), 1);
        assert!(answer.contains("a=ice-lite\r\n") && answer.contains("a=setup:passive\r\n"));
    }
}

#[test]
fn dependency_descriptors_are_for_pictures_both_ways_with_mixed_forms_where_the_peer_has_them() {
    let line = format!(" {}\r\n", Extension::DependencyDescriptor.uri());
    for (name, role) in [
        ("chromium-b-simulcast-vp8", Role::Publish),
        ("chromium-c-av1-svc-L3T3_KEY", Role::Publish),
        ("chromium-f-all", Role::Play),
    ] {
        let negotiated = negotiated(name, role);
        let has = |section: &NegotiatedSection| section.extensions.dependency_descriptor != 0;
        let is_video = |section: &NegotiatedSection| section.media.kind() == Some(MediaKind::Video);
        assert!(negotiated.sections.iter().any(has), "{name}");
        assert!(negotiated.sections.iter().filter(|section| has(section)).all(is_video), "{name}");
        assert!(negotiated.extmap_allow_mixed);
        let answer = answer_example(&negotiated);
        assert!(answer.contains(&line) && answer.contains("a=extmap-allow-mixed\r\n"), "{name}");
    }
    let viewer = answer_example(&negotiated("firefox-d-recvonly", Role::Play));
    assert!(!viewer.contains(&line), "Firefox only sends it");
}

#[test]
fn a_section_that_sends_nothing_for_now_keeps_its_extensions_and_feedback() {
    for name in ["chromium-b-simulcast-vp8", "firefox-b-simulcast-h264", "chromium-a-vp8-opus"] {
        let (_, text) = OFFERS.iter().find(|(known, _)| *known == name).unwrap();
        let is_left_out =
            |line: &&str| ["a=simulcast:", "a=rid:", "a=ssrc"].iter().any(|start| line.starts_with(start));
        let silent = text.lines().filter(|line| !is_left_out(line)).map(|line| match line {
            "a=sendonly" | "a=sendrecv" => "a=inactive\r\n".to_owned(),
            line => format!("{line}\r\n"),
        });
        let silent = Offer::parse(silent.collect::<String>().as_bytes()).unwrap();
        let before = negotiate_with(&offer(name), Role::Publish, Simulcast::All).unwrap();
        let after = renegotiate(&before, &silent, Simulcast::All).unwrap();
        let again = renegotiate(&after, &offer(name), Simulcast::All).unwrap();
        assert!(after.sections.iter().all(|section| section.rejection == Some(Rejection::Direction)), "{name}");
        assert_eq!(after.wants_remb, before.wants_remb, "{name}");
        for (index, section) in before.sections.iter().enumerate() {
            let [after, again] = [&after, &again].map(|negotiated| &negotiated.sections[index]);
            let has = |section: &NegotiatedSection, extension: Extension| extension.id_in(&section.extensions) != 0;
            let kept = Extension::ALL.into_iter().filter(|extension| has(section, *extension));
            kept.for_each(|extension| assert!(has(after, extension), "{name}: {extension:?}"));
            assert_eq!(section.codecs, after.codecs, "{name}");
            assert_eq!(section, again, "{name}");
        }
    }
}

#[test]
fn extensions_offered_one_way_are_answered_the_other_way() {
    let publisher = answer_example(&negotiated("firefox-b-simulcast-vp8", Role::Publish));
    assert!(publisher.contains("a=extmap:9/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n"));
    assert!(publisher.contains(&format!("a=extmap:8/recvonly {}\r\n", Extension::DependencyDescriptor.uri())));
    assert!(!publisher.contains("playout-delay"), "Firefox only receives it");
    let viewer = answer_example(&negotiated("firefox-d-recvonly", Role::Play));
    assert!(viewer.contains("a=extmap:6/sendonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay\r\n"));
    assert!(viewer.contains("a=extmap:3 urn:ietf:params:rtp-hdrext:sdes:mid\r\n"));
}

#[test]
fn an_application_section_keeps_its_place_and_leaves_the_bundle() {
    let negotiated = negotiated("chromium-f-all", Role::Publish);
    let last = negotiated.sections.last().unwrap();
    assert_eq!((last.media, last.rejection), (SectionMedia::Application, Some(Rejection::NotMedia)));
    let answer = answer_example(&negotiated);
    assert!(answer.contains("m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\n"));
    assert!(answer.contains("a=group:BUNDLE 0 1 2 3\r\n"));
    let inactive: Vec<_> =
        negotiated.sections.iter().filter(|section| section.is_bundled() && !section.is_served()).collect();
    assert_eq!(inactive.len(), 2, "what the publisher would receive is inactive");
}

#[test]
fn offers_that_cannot_share_one_transport_have_names() {
    let (_, text) = OFFERS.iter().find(|(name, _)| *name == "chromium-a-vp8-opus").unwrap();
    let refused = |from: &str, to: &str| {
        let bent = text.replace(from, to);
        assert_ne!(bent, *text, "{from}");
        Offer::parse(bent.as_bytes()).and_then(|offer| negotiate_example(&offer, Role::Publish)).unwrap_err()
    };
    assert_eq!(refused("a=group:BUNDLE 0 1", "a=group:LS 0 1"), OfferError::NoBundle);
    assert_eq!(refused("a=rtcp-mux\r\n", ""), OfferError::NoRtcpMux { section: 0 });
    assert_eq!(refused("a=setup:actpass", "a=setup:passive"), OfferError::SetupPassive);
    assert_eq!(refused("a=ice-pwd:", "a=ice-pwt:"), OfferError::NoIceCredentials);
    assert_eq!(refused("a=fingerprint:sha-256", "a=fingerprint:sha-1"), OfferError::NoFingerprint);
    assert_eq!(
        refused(
            "a=extmap:4 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendonly",
            "a=extmap:6 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendonly"
        ),
        OfferError::ExtensionConflict { section: 1 }
    );
    let OfferError::NothingToPublish(reasons) = refused("a=sendonly", "a=recvonly") else {
        panic!("nothing to publish")
    };
    assert_eq!(reasons.to_string(), "m-line \"0\": it flows the other way, m-line \"1\": it flows the other way");
}

#[test]
fn an_offer_to_publish_is_served_as_far_as_it_can_be() {
    use Rejection::{Disabled, NoCommonCodec, NotBundled, NotMedia};
    let (_, whole) = OFFERS.iter().find(|(name, _)| *name == "chromium-a-vp8-opus").unwrap();
    let (head, video) = whole.split_once("m=video").unwrap();
    let (session, audio) = head.split_once("m=audio").unwrap();
    let (audio, video) = (format!("m=audio{audio}"), format!("m=video{video}"));
    let only = |mid: &str| session.replace("BUNDLE 0 1", &format!("BUNDLE {mid}"));
    let without_group = session.replace("a=group:BUNDLE 0 1\r\n", "");
    let port_zero = video.replacen("m=video 9 ", "m=video 0 ", 1);
    let bundle_only = port_zero.replacen("a=mid:1", "a=bundle-only\r\na=mid:1", 1);
    let strange = video.replace(" VP8/90000", " H263/90000");
    let data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\na=sctp-port:5000\r\n";
    // What each section comes to: served, or why it is not. RFC 9725 section 4.4.3 would refuse a publisher all of it.
    let cases: [(&str, String, &[Option<Rejection>]); 10] = [
        ("both", format!("{session}{audio}{video}"), &[None, None]),
        ("sound alone", format!("{}{audio}", only("0")), &[None]),
        ("sound alone, without a group", format!("{without_group}{audio}"), &[None]),
        ("a picture alone", format!("{}{video}", only("1")), &[None]),
        ("a picture alone, without a group", format!("{without_group}{video}"), &[None]),
        ("bundle-only in the group", format!("{session}{audio}{bundle_only}"), &[None, None]),
        ("bundle-only outside", format!("{}{audio}{bundle_only}", only("0")), &[None, Some(NotBundled)]),
        ("a disabled picture", format!("{session}{audio}{port_zero}"), &[None, Some(Disabled)]),
        ("an unknown codec", format!("{session}{audio}{strange}"), &[None, Some(NoCommonCodec)]),
        ("data beside sound", format!("{session}{audio}{data}"), &[None, Some(NotMedia)]),
    ];
    for (name, text, expected) in cases {
        let offer = Offer::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let negotiated = negotiate_example(&offer, Role::Publish).unwrap_or_else(|error| panic!("{name}: {error}"));
        let rejections: Vec<_> = negotiated.sections.iter().map(|section| section.rejection).collect();
        assert_eq!(rejections, expected, "{name}");
        check_answer(&offer, &negotiated);
        let answer = answer_example(&negotiated);
        let ports: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("m=")?.split(' ').nth(1)).collect();
        let port = |rejection: &Option<Rejection>| if rejection.is_none() { "9" } else { "0" };
        assert_eq!(ports, expected.iter().map(port).collect::<Vec<_>>(), "{name}");
        assert_eq!(answer.contains("a=group:BUNDLE"), text.contains("a=group:BUNDLE"), "{name}");
        assert!(answer.contains("a=candidate:") && answer.contains("a=recvonly"), "{name}");
    }
    let nothing = format!("{}{strange}", only("1"));
    let refused = Offer::parse(nothing.as_bytes()).and_then(|offer| negotiate_example(&offer, Role::Publish));
    assert!(matches!(refused, Err(OfferError::NothingToPublish(_))), "{refused:?}");
    let apart = format!("{without_group}{audio}{video}");
    assert_eq!(Offer::parse(apart.as_bytes()), Err(OfferError::NoBundle), "one transport carries all or nothing");
}

#[test]
fn an_ssrc_has_one_meaning() {
    let (_, text) = OFFERS.iter().find(|(name, _)| *name == "chromium-a-vp8-opus").unwrap();
    let audio = offer("chromium-a-vp8-opus").sections[0].encodings[0].ssrc.0;
    let video = offer("chromium-a-vp8-opus").sections[1].encodings[0];
    let refused = |from: u32, to: u32| {
        let bent = text.replace(&from.to_string(), &to.to_string());
        Offer::parse(bent.as_bytes()).and_then(|offer| negotiate_example(&offer, Role::Publish)).unwrap_err()
    };
    assert_eq!(refused(video.ssrc.0, audio), OfferError::SsrcConflict { section: 1 });
    assert_eq!(refused(video.rtx.unwrap().0, audio), OfferError::SsrcConflict { section: 1 });
    let itself = refused(video.rtx.unwrap().0, video.ssrc.0);
    assert_eq!(itself, OfferError::Malformed { section: 1, what: "ssrc-group" });
}

#[test]
fn a_section_outside_the_bundle_is_rejected_and_the_rest_is_served() {
    let (_, text) = OFFERS.iter().find(|(name, _)| *name == "chromium-a-vp8-opus").unwrap();
    let text = text.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 1");
    let negotiated = negotiate_example(&Offer::parse(text.as_bytes()).unwrap(), Role::Publish).unwrap();
    assert_eq!(negotiated.sections[0].rejection, Some(Rejection::NotBundled));
    let answer = answer_example(&negotiated);
    assert!(answer.contains("a=group:BUNDLE 1\r\n") && answer.contains("m=audio 0 "));
    let (_, after) = answer.split_once("m=video").unwrap();
    assert!(after.contains("a=candidate:"), "candidates stand in the first section of the bundle");
}

#[test]
fn a_publisher_without_transport_wide_feedback_is_capped_by_remb() {
    let (_, text) = OFFERS.iter().find(|(name, _)| *name == "chromium-a-vp8-opus").unwrap();
    let text: String = text.split_inclusive('\n').filter(|line| !line.contains("transport-")).collect();
    let negotiated = negotiate_example(&Offer::parse(text.as_bytes()).unwrap(), Role::Publish).unwrap();
    assert!(negotiated.wants_remb);
    let answer = answer_example(&negotiated);
    assert!(answer.contains("a=rtcp-fb:96 goog-remb\r\n") && !answer.contains("transport-wide"));
}

#[test]
fn reduced_size_is_taken_to_be_negotiated_only_where_every_section_says_so() {
    assert!(negotiated("chromium-a-vp8-opus", Role::Publish).has_rtcp_rsize());
    let firefox = negotiated("firefox-a-vp8-opus", Role::Publish);
    assert!(!firefox.has_rtcp_rsize(), "Firefox says so of its pictures alone");
    let answer = answer_example(&firefox);
    let (audio, video) = answer.split_once("m=video").unwrap();
    assert!(!audio.contains("a=rtcp-rsize") && video.contains("a=rtcp-rsize"));
    let (_, text) = OFFERS.iter().find(|(name, _)| *name == "chromium-a-vp8-opus").unwrap();
    let offer = Offer::parse(text.replace("a=rtcp-rsize\r\n", "").as_bytes()).unwrap();
    assert!(!negotiate_example(&offer, Role::Publish).unwrap().has_rtcp_rsize());
    assert!(negotiated("chromium-f-all", Role::Publish).has_rtcp_rsize(), "what leaves the bundle has no say");
}

#[test]
fn firefox_plays_what_chromium_publishes_in_vp8_vp9_and_av1_but_not_h264() {
    let publisher = negotiated("chromium-a-all-codecs", Role::Publish);
    let viewer = negotiated("firefox-d-recvonly", Role::Play);
    let map = payload_map(&publisher.sections[1].codecs, &viewer.sections[1].codecs);
    let pairs: Vec<_> = map.iter().map(|entry| (entry.from.0, entry.to.0, entry.rtx.unwrap().0)).collect();
    assert!(pairs.contains(&(96, 120, 124)) && pairs.contains(&(98, 121, 125)) && pairs.contains(&(45, 99, 100)));
    assert!(!pairs.iter().any(|(from, _, _)| *from == 102), "no H264");
}

#[test]
fn what_a_later_version_adds_to_the_stored_table_is_ignored() {
    let negotiated = negotiated("chromium-d-recvonly", Role::Play);
    let mut value = serde_json::to_value(&negotiated).unwrap();
    value["new_field"] = serde_json::json!({"x": 1});
    value["sections"][0]["new_field"] = serde_json::json!(2);
    value["sections"][0]["extensions"].as_array_mut().unwrap().push(serde_json::json!(7));
    assert_eq!(serde_json::from_value::<Negotiated>(value).unwrap(), negotiated);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 128 } else { 2048 }))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        crate::fuzzing::sdp_offer(&bytes);
        crate::fuzzing::sdp_fragment(&bytes);
    }

    #[test]
    fn any_lines_are_read_or_refused(lines in proptest::collection::vec(prop_oneof![
        "[avmocst]=[ -~]{0,40}",
        "a=(extmap|rtpmap|fmtp|ssrc|ssrc-group|rid|simulcast|mid|rtcp-fb|candidate|fingerprint):[ -~]{0,40}",
        "m=(audio|video|application) [0-9]{1,5} [A-Z/]{1,20} [0-9 ]{0,20}",
    ], 0..60)) {
        let text = format!("v=0\r\na=group:BUNDLE 0\r\n{}", lines.join("\r\n"));
        crate::fuzzing::sdp_offer(text.as_bytes());
        crate::fuzzing::sdp_fragment(text.as_bytes());
    }

    /// The oracle is the unbent offer: attributes may come in any order within a section, and unknown ones do not matter.
    #[test]
    fn order_and_unknown_attributes_do_not_matter(which in 0..OFFERS.len(), seed in any::<u64>()) {
        let (_, text) = OFFERS[which];
        let straight = Offer::parse(text.as_bytes()).unwrap();
        let bent = Offer::parse(bend(text, seed).as_bytes()).unwrap();
        for role in [Role::Publish, Role::Play] {
            let (straight, bent) = (negotiate_example(&straight, role), negotiate_example(&bent, role));
            prop_assert_eq!(straight.is_ok(), bent.is_ok());
            if let (Ok(straight), Ok(bent)) = (straight, bent) {
                for (straight, bent) in straight.sections.iter().zip(&bent.sections) {
                    prop_assert_eq!(&straight.codecs, &bent.codecs);
                    prop_assert_eq!(&straight.extensions, &bent.extensions);
                    prop_assert_eq!(&straight.sent, &bent.sent);
                    prop_assert_eq!(straight.encodings.len(), bent.encodings.len());
                }
            }
        }
    }

    #[test]
    fn bent_offers_never_panic(which in 0..OFFERS.len(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = OFFERS[which].1.as_bytes().to_vec();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        crate::fuzzing::sdp_offer(&bytes);
    }
}

/// Shuffles the attributes of each section and adds unknown ones; `a=ssrc` and `a=rid` keep their order, which means
/// something.
fn bend(text: &str, seed: u64) -> String {
    let mut state = seed;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap()
    };
    let mut bent = String::new();
    for (index, level) in text.split("m=").enumerate() {
        let (head, attributes): (Vec<&str>, Vec<&str>) = level.lines().partition(|line| !line.starts_with("a="));
        let is_ordered = |line: &&str| line.starts_with("a=ssrc") || line.starts_with("a=rid");
        let (ordered, mut free): (Vec<&str>, Vec<&str>) = attributes.into_iter().partition(is_ordered);
        free.push("a=x-unknown");
        free.push("a=x-unknown:with value");
        for last in (1..free.len()).rev() {
            free.swap(last, random() % (last + 1));
        }
        bent.push_str(if index == 0 { "" } else { "m=" });
        for line in head.into_iter().chain(free).chain(ordered) {
            bent.push_str(line);
            bent.push_str("\r\n");
        }
    }
    bent
}
