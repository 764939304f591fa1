//! Commands: what is refused, and what comes and goes in any order.

use sluice_protocol::event::{Event, Refusal};
use sluice_protocol::ids::{EgressId, TransportId};
use sluice_protocol::media::{ExtensionIds, Label, Rid, SrtpProfile, Ssrc};
use sluice_protocol::plan::{self, Egress, Encoding, Key, Layer, Object, PlayoutDelay, StreamRole};

use super::peer::{Media, Peer, vp8};
use super::stage::{CAMERA, frame, number, stage};
use super::world::*;
use crate::discard::Discard;
use crate::limits::{STREAMS_MAX, TIMER_ENTRIES_PER_TRANSPORT_MAX};

#[test]
fn objects_are_refused_for_the_reason_that_is_true() {
    let mut world = World::new();
    let elsewhere = plan::Transport { id: TransportId::new(1, 1, 1), credentials: Vec::new(), ..transport(1) };
    let nobody = plan::Transport { credentials: Vec::new(), ..transport(1) };
    let foreign = plan::Transport { credentials: vec![ufrag(2, 0)], ..transport(1) };
    assert_eq!(world.try_put(Object::Transport(nobody), false), Err(Refusal::Invalid));
    assert_eq!(world.try_put(Object::Transport(foreign), false), Err(Refusal::Invalid));
    assert_eq!(world.try_put(Object::Track(video_track(1, 1)), false), Err(Refusal::NoSuchReference));
    assert_eq!(world.try_put(Object::Egress(video_egress(1, 1, 1)), false), Err(Refusal::NoSuchReference));
    let elsewhere = plan::Transport {
        credentials: vec![sluice_protocol::ice::Ufrag { transport: elsewhere.id, restart: 0, random: 0 }],
        ..elsewhere
    };
    assert_eq!(world.try_put(Object::Transport(elsewhere), false), Err(Refusal::NoSuchAddress));
    world.put(Object::Transport(transport(1)));
    world.put(Object::Transport(transport(1)));
    let others = plan::Transport { keys: Some(keys(7, SrtpProfile::AeadAes128Gcm)), ..transport(1) };
    assert_eq!(world.try_put(Object::Transport(others), false), Err(Refusal::Invalid));
    assert_eq!(
        world.try_put(Object::Track(video_track(1, 1)), false),
        Err(Refusal::NoSuchReference),
        "what was refused is not there"
    );
}

#[test]
fn an_older_generation_never_replaces_a_newer_one() {
    let mut world = World::new();
    let of_generation = |generation| {
        let id = TransportId::new(0, 1, generation);
        let credentials = vec![sluice_protocol::ice::Ufrag { transport: id, restart: 0, random: 0 }];
        Object::Transport(plan::Transport { id, credentials, ..transport(1) })
    };
    world.put(of_generation(5));
    world.put(of_generation(6));
    assert_eq!(world.try_put(of_generation(5), false), Err(Refusal::StaleGeneration));
    world.remove(Key::Transport(TransportId::new(0, 1, 5)));
    assert_eq!(world.engine.transports.len(), 1);
    world.remove(Key::Transport(TransportId::new(0, 1, 6)));
    assert_eq!(world.engine.transports.len(), 0);
    assert_eq!(world.try_put(of_generation(5), false), Err(Refusal::StaleGeneration));
}

#[test]
fn transports_that_come_and_go_leave_few_deadlines_behind() {
    let mut world = World::new();
    let mut most = 0;
    for slot in 1..=100 {
        world.put(Object::Transport(transport(slot)));
        Peer::new(slot).connect(&mut world);
        most = most.max(world.engine.timers.len());
        world.remove(Key::Transport(transport(slot).id));
    }
    assert_eq!(world.engine.transports.len(), 0);
    assert!(most > 2 && most <= TIMER_ENTRIES_PER_TRANSPORT_MAX, "{most} entries for one transport");
}

#[test]
fn a_full_table_refuses_instead_of_sealing_without_a_row() {
    let mut world = World::with_rows(64);
    world.put(Object::Transport(transport(1)));
    let mut taken = 0;
    let refusal = loop {
        match world.try_put(Object::Egress(video_egress(taken, 1, 1)), false) {
            Ok(()) => taken += 1,
            Err(refusal) => break refusal,
        }
    };
    assert_eq!((refusal, taken), (Refusal::PlanFull, 31), "64 rows: one for SRTCP, two for each");
}

#[test]
fn an_ssrc_has_one_count_of_indices_on_its_transport() {
    let mut world = World::new();
    for slot in [1, 2] {
        world.put(Object::Transport(transport(slot)));
    }
    world.put(Object::Egress(video_egress(1, 1, 1)));
    let [first, second] = [video_egress(1, 1, 1), video_egress(2, 1, 1)];
    for (ssrc, rtx) in [
        (first.ssrc, second.rtx),
        (first.rtx.unwrap(), second.rtx),
        (second.ssrc, Some(first.ssrc)),
        (second.ssrc, first.rtx),
        (second.ssrc, Some(second.ssrc)),
    ] {
        let clashing = Egress { ssrc, rtx, ..second.clone() };
        assert_eq!(world.try_put(Object::Egress(clashing), false), Err(Refusal::Invalid), "{ssrc:?} {rtx:?}");
    }
    world.remove(Key::Egress(egress_id(1)));
    let swapped = Egress { ssrc: first.rtx.unwrap(), rtx: Some(first.ssrc), ..second.clone() };
    assert_eq!(world.try_put(Object::Egress(swapped), false), Err(Refusal::Invalid), "their former roles count, too");
    world.put(Object::Egress(Egress { transport: transport_id(2), ..video_egress(3, 1, 1) }));
    world.put(Object::Egress(second));
}

#[test]
fn a_subscriber_may_be_planned_before_its_track_comes_and_after_it_went() {
    let (mut world, mut publisher, mut subscriber) = stage();
    world.remove(Key::Track(track_id(1)));
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    assert!(subscriber.take(&mut world).is_empty());
    world.put(Object::Track(video_track(1, 1)));
    publisher.send(&mut world, &frame(2, true));
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 1);
}

#[test]
fn a_track_that_comes_by_another_transport_goes_on_at_its_subscribers() {
    for is_removed_first in [true, false] {
        let (mut world, mut before, mut subscriber) = stage();
        let forwarded = |world: &mut World, subscriber: &mut Peer, publisher: &mut Peer, frames: &[(u16, bool)]| {
            frames.iter().for_each(|(number, key)| publisher.send(world, &frame(*number, *key)));
            world.flush();
            let packets = subscriber.take(world);
            packets.iter().map(|it| (number(&it.payload), it.header.sequence_number, it.header.timestamp)).collect()
        };
        let first: Vec<(u16, u16, u32)> =
            forwarded(&mut world, &mut subscriber, &mut before, &[(1, true), (2, false), (3, false)]);
        assert_eq!(first.len(), 3);
        world.put(Object::Transport(transport(5)));
        let mut after = Peer::new(5);
        after.connect(&mut world);
        if is_removed_first {
            world.remove(Key::Transport(transport_id(1)));
        }
        world.put(Object::Track(video_track(1, 5)));
        world.pass(40);
        // Its SSRC may well be the same: that one is another stream.
        let second: Vec<(u16, u16, u32)> =
            forwarded(&mut world, &mut subscriber, &mut after, &[(700, false), (701, true), (702, false)]);
        assert_eq!(second.iter().map(|(number, _, _)| *number).collect::<Vec<_>>(), [701, 702], "from a key frame on");
        assert_eq!(second[0].1, first[2].1.wrapping_add(1), "without a gap");
        let passed = second[0].2.wrapping_sub(first[2].2);
        assert!((1..90_000).contains(&passed), "time goes on: {passed}");
        if !is_removed_first {
            let late: Vec<(u16, u16, u32)> = forwarded(&mut world, &mut subscriber, &mut before, &[(4, true)]);
            assert_eq!(late, [], "it comes by one transport alone");
        }
    }
}

#[test]
fn a_track_at_the_m_line_of_another_one_has_its_ssrcs_though_their_sender_does_not_name_them_again() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let named = |ssrc: Ssrc, number: u16, rid: &[u8]| {
        let mut media = Media { ssrc: ssrc.0, ..frame(number, true) };
        media.extensions.push((video_track(1, 1).extensions.rid, rid.to_vec()));
        media
    };
    let (low, high) = (CAMERA, Ssrc(CAMERA.0 + 0x100));
    let rids = [b"l", b"h"].map(|rid| Rid(Label::new(rid).unwrap()));
    let encodings = rids.map(|rid| Encoding { rid: Some(rid), ssrc: None, rtx: None }).to_vec();
    let simulcast = |slot| Object::Track(plan::Track { encodings: encodings.clone(), ..video_track(slot, 1) });
    world.put(simulcast(1));
    for number in [65_534, 65_535, 0, 1] {
        publisher.send(&mut world, &named(low, number, b"l"));
        publisher.send(&mut world, &named(high, number, b"h"));
    }
    world.flush();
    assert!(!subscriber.take(&mut world).is_empty());
    for key in [Key::Stream(track_id(1), low), Key::Stream(track_id(1), high), Key::Track(track_id(1))] {
        world.remove(key);
    }
    world.put(simulcast(3));
    world.put(Object::Egress(video_egress(1, 2, 3)));
    world.events.clear();
    for ssrc in [low, high] {
        let mut unnamed = Media { ssrc: ssrc.0, ..frame(2, true) };
        unnamed.extensions.clear();
        publisher.send(&mut world, &unnamed);
    }
    world.flush();
    assert_eq!((world.discards(Discard::SsrcUnknown), world.discards(Discard::SrtpForged)), (0, 0));
    let track = world.engine.tracks.get(track_id(3).0).unwrap();
    let streams: Vec<_> = track.streams.iter().map(|stream| (stream.rid.unwrap(), stream.ssrc)).collect();
    assert_eq!(streams, [(rids[0], Some(low)), (rids[1], Some(high))]);
    let forwarded = subscriber.take(&mut world);
    assert!(!forwarded.is_empty() && forwarded.iter().all(|packet| number(&packet.payload) == 2), "{forwarded:?}");
    let learnt = |event: &Event| matches!(event, Event::Learnt(object) if matches!(**object, Object::Stream(_)));
    assert_eq!(world.count_events(learnt), 2, "the controller hears of it");
}

#[test]
fn announced_ssrcs_need_no_mid_and_are_not_learnt() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let encodings = vec![Encoding { rid: None, ssrc: Some(CAMERA), rtx: Some(Ssrc(77)) }];
    world.put(Object::Track(plan::Track { encodings, ..video_track(1, 1) }));
    let mut media = frame(1, true);
    media.extensions.clear();
    publisher.send(&mut world, &media);
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 1);
    let learnt = |event: &Event| matches!(event, Event::Learnt(object) if matches!(**object, Object::Stream(_)));
    assert_eq!(world.count_events(learnt), 0);
}

#[test]
fn what_was_learnt_of_an_ssrc_is_told_with_its_role() {
    let (mut world, mut publisher, _) = stage();
    publisher.send(&mut world, &frame(1, true));
    publisher.send(&mut world, &super::stage::repair(&frame(1, true), 9));
    world.flush();
    let learnt: Vec<plan::Stream> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Learnt(object) => match **object {
                Object::Stream(stream) => Some(stream),
                Object::Transport(_) | Object::Path(_) | Object::Track(_) | Object::Egress(_) | Object::Cookie(_) => {
                    None
                }
            },
            Event::Forgotten(_)
            | Event::TransportConnected(_)
            | Event::TransportSilent(_)
            | Event::TrackStarted { .. }
            | Event::TrackStopped { .. }
            | Event::Undecodable { .. } => None,
        })
        .collect();
    let roles: Vec<(Ssrc, StreamRole)> = learnt.iter().map(|stream| (stream.ssrc, stream.role)).collect();
    assert_eq!(roles, [(CAMERA, StreamRole::Media), (super::stage::CAMERA_RTX, StreamRole::Rtx { of: CAMERA }),]);
}

#[test]
fn a_payload_type_that_a_subscriber_lacks_is_told_once() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let mut egress = video_egress(1, 2, 1);
    egress.source.as_mut().unwrap().payloads.clear();
    world.put(Object::Egress(egress));
    for number in 1..5 {
        publisher.send(&mut world, &frame(number, number == 1));
        world.flush();
    }
    let undecodable = |event: &Event| *event == Event::Undecodable { egress: egress_id(1), payload_type: VIDEO };
    assert_eq!(world.count_events(undecodable), 1);
    assert!(subscriber.take(&mut world).is_empty());
}

/// A VP8 frame of one packet; odd ones are of an upper temporal layer that may be joined at each of them.
fn layered(number: u16) -> Media {
    let [high, low] = number.to_be_bytes();
    let (temporal, base) = (number % 2, u8::try_from(number / 2).unwrap());
    let layer = if temporal == 0 { 0 } else { 0x60 };
    let mut payload = vec![0x90, 0xe0, 0x80 | high, low, base, layer, u8::from(number != 0)];
    payload.resize(500, 0x5a);
    Media { payload, ..frame(number, number == 0) }
}

#[test]
fn the_plans_highest_layer_and_playout_delay_are_kept_to() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let extensions = ExtensionIds { playout_delay: 5, ..video_egress(1, 2, 1).extensions };
    let plan = |temporal, min| Egress {
        extensions,
        max_layer: Layer { spatial: u8::MAX, temporal },
        playout_delay: Some(PlayoutDelay { min, max: 0x345 }),
        ..video_egress(1, 2, 1)
    };
    let mut told = Vec::new();
    for number in 0..30 {
        if number % 10 == 0 {
            world.put(Object::Egress(if number == 10 { plan(u8::MAX, 2) } else { plan(0, 1) }));
        }
        publisher.send(&mut world, &layered(number));
        world.pass(20);
        for packet in subscriber.take(&mut world) {
            told.push((packet.header.sequence_number, packet.header.get_extension(5).unwrap().to_vec()));
        }
    }
    assert_eq!(told.len(), 5 + 10 + 5, "half of the frames, all of them, half of them");
    assert!(told.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)), "without a gap");
    assert!(told.iter().all(|(_, delay)| matches!(delay[..], [0, 0x13 | 0x23, 0x45])), "{told:?}");
    assert_eq!(told.iter().filter(|(_, delay)| delay[1] == 0x23).count(), 10);
    assert_eq!(world.discards(Discard::LayerNotSelected), 10);
}

#[test]
fn an_ssrc_that_two_tracks_announce_stays_with_the_one_that_it_was_heard_for_in_any_order() {
    let shared = Ssrc(0x5157);
    let encodings = vec![Encoding { rid: None, ssrc: Some(shared), rtx: None }];
    let first = plan::Track { encodings, ..video_track(1, 1) };
    let second = plan::Track { id: track_id(3), mid: mid("w"), ..first.clone() };
    let learnt = plan::Stream { track: second.id, ssrc: shared, role: StreamRole::Media, rid: None };
    let tracks = [&first, &second].map(|track| Object::Track(track.clone()));
    for order in [[0, 1], [1, 0]] {
        let mut world = World::new();
        world.put(Object::Transport(transport(1)));
        for index in order {
            assert_eq!(world.try_put(tracks[index].clone(), true), Ok(()));
        }
        assert_eq!(world.try_put(Object::Stream(learnt), true), Ok(()));
        let sources = &world.engine.transports.get(transport_id(1).0).unwrap().sources;
        assert_eq!(sources.get(shared).map(|source| source.track), Some(second.id), "{order:?}");
    }
}

#[test]
fn a_track_that_announces_more_than_its_transport_takes_is_refused_whole() {
    let mut world = World::new();
    world.put(Object::Transport(transport(1)));
    let announcing = |slot: u32| {
        let ssrc = |index: u32| Some(Ssrc(1000 * slot + index));
        let encodings = (0..8).map(|index| Encoding { rid: None, ssrc: ssrc(index), rtx: ssrc(100 + index) });
        plan::Track { encodings: encodings.collect(), ..video_track(slot, 1) }
    };
    let last = u32::try_from(STREAMS_MAX / 16).unwrap();
    for slot in 0..last {
        assert_eq!(world.try_put(Object::Track(announcing(slot)), false), Ok(()));
    }
    assert_eq!(world.try_put(Object::Track(announcing(last)), false), Err(Refusal::PlanFull));
    assert!(world.engine.tracks.get(track_id(last).0).is_none());
    assert_eq!(world.try_put(Object::Track(announcing(0)), false), Ok(()), "what is there already takes no place");
}

#[test]
fn a_publisher_that_renews_all_its_ssrcs_again_and_again_is_never_refused() {
    for is_heard in [false, true] {
        let (mut world, mut publisher, mut subscriber) = stage();
        let ssrc = |offer: u32, index: u32| Ssrc(0x1000 * offer + index);
        for offer in 1..=40 {
            let encoding =
                |index| Encoding { rid: None, ssrc: Some(ssrc(offer, index)), rtx: Some(ssrc(offer, index + 1)) };
            let encodings = [0, 2, 4].map(encoding).to_vec();
            let track = plan::Track { encodings, ..video_track(1, 1) };
            assert_eq!(world.try_put(Object::Track(track), false), Ok(()), "offer {offer}, {is_heard}");
            for index in 0..3 {
                if is_heard || (offer == 40 && index == 0) {
                    let number = u16::try_from(10 * offer + index).unwrap();
                    publisher.send(&mut world, &vp8(ssrc(offer, 2 * index), number, number, true, true, true));
                }
            }
            world.pass(600);
        }
        assert!(!subscriber.take(&mut world).is_empty(), "the newest is heard: {is_heard}");
        let sources = &world.engine.transports.get(transport_id(1).0).unwrap().sources;
        assert!((0..6).all(|index| sources.get(ssrc(40, index)).is_some()), "{is_heard}");
        assert!(is_heard || sources.iter().all(|source| source.track != track_id(1) || source.ssrc.0 >= 0x1000 * 40));
    }
}

#[test]
fn as_many_ssrcs_as_a_transport_takes_may_be_renewed_at_once_though_all_of_them_are_heard() {
    let mut world = World::new();
    world.put(Object::Transport(transport(1)));
    let mut publisher = Peer::new(1);
    publisher.connect(&mut world);
    let tracks = u32::try_from(STREAMS_MAX / 8).unwrap();
    for offer in 1..=3 {
        for slot in 0..tracks {
            let ssrc = |index: u32| Some(Ssrc(10_000 * offer + 100 * slot + index));
            let encodings = (0..8).map(|index| Encoding { rid: None, ssrc: ssrc(index), rtx: None }).collect();
            let label = mid(["a", "b", "c", "d", "e", "f", "g", "h"][slot as usize]);
            let track = plan::Track { encodings, mid: label, ..video_track(slot, 1) };
            assert_eq!(world.try_put(Object::Track(track), false), Ok(()), "offer {offer}, track {slot}");
        }
        for slot in 0..tracks {
            for index in 0..8 {
                let mut media = vp8(Ssrc(10_000 * offer + 100 * slot + index), 1, 1, true, true, true);
                media.extensions.clear();
                publisher.send(&mut world, &media);
            }
        }
        world.pass(100);
    }
}

#[test]
fn an_ssrc_that_was_learnt_stays_though_no_description_announces_it() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let learnt = plan::Stream { track: track_id(1), ssrc: CAMERA, role: StreamRole::Media, rid: None };
    world.put(Object::Stream(learnt));
    world.put(Object::Track(plan::Track { muted: true, ..video_track(1, 1) }));
    world.put(Object::Track(video_track(1, 1)));
    let mut media = frame(1, true);
    media.extensions.clear();
    publisher.send(&mut world, &media);
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 1, "browsers do not say again whose it is");
}

#[test]
fn a_refused_egress_leaves_the_older_generation_of_its_slot_where_it_is() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let younger = EgressId::new(0, 1, 0x0001_0001);
    let own = video_egress(1, 2, 1);
    let refused = Egress { id: younger, rtx: Some(own.ssrc), ..own.clone() };
    assert_eq!(world.try_put(Object::Egress(refused), false), Err(Refusal::Invalid));
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 1);
    assert_eq!(
        world.try_put(Object::Egress(Egress { id: younger, ..own }), false),
        Ok(()),
        "its SSRCs are its successor's"
    );
}
