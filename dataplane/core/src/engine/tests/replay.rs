//! New viewers, slow viewers, full sockets.

use rtp::packet::Packet;
use sluice_protocol::media::ExtensionIds;
use sluice_protocol::plan::{Egress, Key, Object};

use super::peer::{Media, Peer, is_pli, vp8};
use super::stage::{CAMERA, frame, number, sound, stage};
use super::world::*;
use crate::discard::Discard;

fn numbers(packets: &[Packet]) -> Vec<u16> {
    packets
        .iter()
        .filter(|packet| packet.header.payload_type == VIDEO_OUT.0)
        .map(|packet| number(&packet.payload))
        .collect()
}

fn viewer(world: &mut World, slot: u32) -> Peer {
    world.put(Object::Transport(transport(slot)));
    world.put(Object::Egress(video_egress(slot, slot, 1)));
    let peer = Peer::new(slot);
    peer.connect(world);
    peer
}

#[test]
fn a_new_viewer_starts_from_the_last_key_frame_in_bursts_with_live_packets_behind() {
    let (mut world, mut publisher, _) = stage();
    for part in 0..100 {
        publisher.send(&mut world, &vp8(CAMERA, part, 0, true, part == 0, part == 99));
    }
    world.pass(100);
    publisher.take_reports(&mut world);
    let mut viewer = viewer(&mut world, 3);
    let first = world.wire.runs.len();
    assert_eq!(first, 0);
    let mut received = viewer.take(&mut world);
    let mut bursts = vec![received.len()];
    for turn in 0..30_u16 {
        if turn % 5 == 0 {
            publisher.send(&mut world, &frame(100 + turn / 5, false));
        }
        world.pass(1);
        let packets = viewer.take(&mut world);
        bursts.push(packets.len());
        received.extend(packets);
    }
    assert!(bursts.iter().all(|burst| *burst <= 33), "{bursts:?}");
    assert_eq!(numbers(&received), (0..106).collect::<Vec<_>>());
    assert!(
        received
            .windows(2)
            .all(|pair| pair[1].header.sequence_number == pair[0].header.sequence_number.wrapping_add(1))
    );
    let asked = publisher.take_reports(&mut world);
    assert!(!asked.iter().any(|packet| is_pli(packet.as_ref())), "nobody was asked");
}

#[test]
fn a_hundred_viewers_of_an_old_key_frame_cost_at_most_two_requests() {
    let (mut world, mut publisher, _) = stage();
    publisher.send(&mut world, &frame(1, true));
    for number in 2..100 {
        publisher.send(&mut world, &frame(number, false));
        world.pass(25);
    }
    publisher.take_reports(&mut world);
    let mut viewers = Vec::new();
    let mut asked = 0;
    for slot in 3..23 {
        viewers.push(viewer(&mut world, slot));
        world.pass(5);
        let requests = publisher.take_reports(&mut world);
        if requests.iter().any(|packet| is_pli(packet.as_ref())) {
            asked += 1;
            publisher.send(&mut world, &frame(200 + asked, true));
        }
    }
    world.pass(50);
    assert_eq!(asked, 1);
    assert!(viewers.iter_mut().all(|viewer| numbers(&viewer.take(&mut world)) == [201]));
}

#[test]
fn a_resumed_pause_starts_from_the_history_too() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    let paused = Egress { paused: true, ..video_egress(1, 2, 1) };
    world.put(Object::Egress(paused));
    publisher.send(&mut world, &frame(2, false));
    world.pass(10);
    assert_eq!(numbers(&subscriber.take(&mut world)), [1]);
    publisher.send(&mut world, &frame(3, true));
    world.pass(10);
    world.put(Object::Egress(video_egress(1, 2, 1)));
    publisher.send(&mut world, &frame(4, false));
    world.pass(10);
    let received = subscriber.take(&mut world);
    assert_eq!(numbers(&received), [3, 4]);
}

#[test]
fn behind_a_full_socket_sound_goes_first_and_nothing_is_lost_that_leaves_in_time() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    subscriber.take(&mut world);
    world.wire.room = Some(1);
    publisher.send(&mut world, &frame(2, false));
    publisher.send(&mut world, &sound(1));
    world.flush();
    let received = subscriber.take(&mut world);
    assert_eq!(received.iter().map(|packet| packet.header.payload_type).collect::<Vec<_>>(), [AUDIO_OUT.0]);
    publisher.send(&mut world, &frame(3, false));
    world.wire.room = None;
    world.pass(5);
    assert_eq!(numbers(&subscriber.take(&mut world)), [2, 3]);
    assert_eq!(world.discards(Discard::Backlog), 0);
}

#[test]
fn behind_a_socket_that_stays_full_whole_frames_are_dropped_until_a_key_frame() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    let first = subscriber.take(&mut world)[0].header.sequence_number;
    world.wire.room = Some(0);
    let parts = |frame: u16| -> Vec<Media> {
        (0..3).map(|part| vp8(CAMERA, frame * 3 + part, frame, false, part == 0, part == 2)).collect()
    };
    for frame in 1..=20 {
        for part in parts(frame) {
            publisher.send(&mut world, &part);
        }
        world.pass(5);
    }
    world.wire.room = None;
    world.pass(5);
    publisher.send(&mut world, &vp8(CAMERA, 63, 21, true, true, true));
    world.pass(5);
    let received = subscriber.take(&mut world);
    assert!(world.discards(Discard::Backlog) > 0);
    let (last, before) = received.split_last().unwrap();
    assert_eq!(number(&last.payload), 63);
    // What left before the key frame is whole frames in their order.
    let marked = before.iter().filter(|packet| packet.header.marker).count();
    assert_eq!(before.len(), marked * 3, "{:?}", numbers(&received));
    let sequences: Vec<u16> = received.iter().map(|packet| packet.header.sequence_number.wrapping_sub(first)).collect();
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "{sequences:?}");
}

#[test]
fn what_waited_for_a_viewer_who_left_reaches_nobody_else() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let mut other = viewer(&mut world, 3);
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    other.take(&mut world);
    world.wire.room = Some(0);
    publisher.send(&mut world, &frame(2, false));
    world.flush();
    let waiting = world.engine.queues.blocked.expect("somebody waits");
    world.remove(Key::Egress(waiting));
    world.wire.room = None;
    publisher.send(&mut world, &frame(3, false));
    world.flush();
    subscriber.take(&mut world);
    let received: Vec<u32> = other.take(&mut world).iter().map(|packet| packet.header.ssrc).collect();
    assert!(received.iter().all(|ssrc| *ssrc == video_egress(3, 3, 1).ssrc.0));
    assert!(world.engine.queues.planned.is_empty());
}

#[test]
fn what_waited_when_a_viewers_extensions_changed_is_missing_and_nothing_else_is() {
    let (mut world, mut publisher, mut subscriber) = stage();
    publisher.send(&mut world, &frame(1, true));
    world.flush();
    world.wire.room = Some(0);
    publisher.send(&mut world, &frame(2, false));
    world.flush();
    assert!(world.engine.queues.blocked.is_some());
    let extensions = ExtensionIds { video_orientation: 3, ..ExtensionIds::default() };
    world.put(Object::Egress(Egress { extensions, ..video_egress(1, 2, 1) }));
    world.wire.room = None;
    publisher.send(&mut world, &frame(3, false));
    world.flush();
    let received = subscriber.take(&mut world);
    assert_eq!(numbers(&received), [1, 3]);
    assert_eq!(received[1].header.sequence_number, received[0].header.sequence_number.wrapping_add(2));
}

#[test]
fn a_replay_to_a_viewer_who_is_not_there_does_not_keep_the_shell_awake() {
    let (mut world, mut publisher, _) = stage();
    for part in 0..100 {
        publisher.send(&mut world, &vp8(CAMERA, part, 0, true, part == 0, part == 99));
    }
    world.flush();
    world.put(Object::Transport(transport(3)));
    world.put(Object::Egress(video_egress(3, 3, 1)));
    world.pass(2);
    assert!(world.engine.queues.due.is_empty());
    let mut viewer = Peer::new(3);
    viewer.connect(&mut world);
    assert!(!world.engine.queues.due.is_empty());
    world.wire.room = Some(0);
    world.pass(10);
    assert!(world.engine.poll_timeout().is_none_or(|at| at > world.now), "room is waited for, not time");
    world.wire.room = None;
    world.pass(30);
    assert_eq!(viewer.take(&mut world).len(), 100);
}

#[test]
fn a_publisher_that_comes_back_under_another_ssrc_leaves_one_continuous_stream() {
    let (mut world, mut publisher, mut subscriber) = stage();
    for number in 1..=5 {
        publisher.send(&mut world, &frame(number, number == 1));
        world.pass(33);
    }
    for number in 900..905 {
        let mut media = frame(number, number == 900);
        media.ssrc = 0xbeef;
        publisher.send(&mut world, &media);
        world.pass(33);
    }
    let received = subscriber.take(&mut world);
    assert_eq!(numbers(&received), [1, 2, 3, 4, 5, 900, 901, 902, 903, 904]);
    assert!(received.windows(2).all(|pair| {
        let step = pair[1].header.timestamp.wrapping_sub(pair[0].header.timestamp);
        pair[1].header.sequence_number == pair[0].header.sequence_number.wrapping_add(1) && (1500..6000).contains(&step)
    }));
}
