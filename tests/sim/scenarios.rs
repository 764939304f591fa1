//! Single misfortunes with exact expectations, and those that once broke something.

use std::time::Duration;

use crate::network::Weather;
use crate::peer::Role;
use crate::viewer::Viewer;
use crate::world::World;

const SECOND: Duration = Duration::from_secs(1);

/// A room with a publisher and two viewers who see it; the publisher comes first.
fn stage(seed: u64) -> World {
    let mut world = World::new(seed);
    for is_publisher in [true, false, false] {
        world.add_peer(0, is_publisher);
    }
    world.pass(2 * SECOND);
    for peer in [1, 2] {
        assert!(viewer(&world, peer).decoder.decoded > 20 && viewer(&world, peer).sounds > 40, "the stage is set");
    }
    world
}

fn viewer(world: &World, peer: usize) -> &Viewer {
    world.viewer(peer).expect("it has a connection")
}

/// How many frames and sounds the publisher made.
fn made(world: &mut World) -> (u64, u64) {
    match &world.live(0).expect("it has a connection").role {
        Role::Publisher(publisher) => (publisher.frames(), u64::from(publisher.sounds)),
        Role::Viewer(_) | Role::Subscriber(_) => panic!("the first peer publishes"),
    }
}

#[test]
fn killing_the_control_plane_loses_no_packet() {
    for seed in 0..5 {
        let mut world = stage(seed);
        let seen = |world: &World| [1, 2].map(|peer| (viewer(world, peer).decoder.decoded, viewer(world, peer).sounds));
        let (before, made_before) = (seen(&world), made(&mut world));
        world.kill_controlplane(Duration::from_millis(700));
        world.pass(3 * SECOND);
        let (after, made_after) = (seen(&world), made(&mut world));
        for ((frames_before, sounds_before), (frames, sounds)) in before.into_iter().zip(after) {
            assert_eq!(frames - frames_before, made_after.0 - made_before.0, "every frame is decoded");
            assert_eq!(sounds - sounds_before, made_after.1 - made_before.1, "every sound is heard");
        }
        assert!([1, 2].iter().all(|peer| viewer(&world, *peer).decoder.freezes == 0));
        assert!(world.is_settled());
        world.add_peer(0, false);
        world.pass(SECOND);
        assert!(viewer(&world, 3).decoder.decoded > 10, "a new viewer joins");
        assert_eq!(world.calls.len(), 4, "nobody connected anew");
    }
}

#[test]
fn killing_the_data_plane_leaves_a_picture_within_half_a_second() {
    for seed in 0..5 {
        let mut world = stage(seed);
        world.kill_dataplane(Duration::from_millis(100));
        world.pass(Duration::from_millis(500));
        let now_ms = world.now.nanos / 1_000_000;
        for peer in [1, 2] {
            let picture = viewer(&world, peer).decoder.last().expect("it saw something");
            assert!(now_ms - picture.born_ms < 100, "seed {seed}: {peer} sees what was made at {} ms", picture.born_ms);
            let sound = viewer(&world, peer).last_sound.expect("it heard something");
            assert!(now_ms - sound.born_ms < 100, "seed {seed}: {peer} hears what was made at {} ms", sound.born_ms);
        }
        assert_eq!(world.calls.len(), 3, "nobody connected anew");
    }
}

#[test]
fn an_address_nominated_right_before_the_data_plane_dies_is_gone_on_with() {
    for seed in 0..5 {
        let mut world = stage(seed);
        // What the data plane learns now is still under way to the control plane when it dies.
        world.ipc_delay_ms = 30;
        for peer in [0, 1, 2] {
            let call = world.live(peer).expect("it has a connection").call;
            let (now, remote) = (world.now, world.new_address(call));
            world.live(peer).expect("it has a connection").move_to(now, remote);
        }
        world.pass(Duration::from_millis(25));
        world.kill_dataplane(Duration::from_millis(100));
        world.ipc_delay_ms = 0;
        world.pass(Duration::from_millis(500));
        let now_ms = world.now.nanos / 1_000_000;
        for peer in [1, 2] {
            let picture = viewer(&world, peer).decoder.last().expect("it saw something");
            assert!(now_ms - picture.born_ms < 100, "seed {seed}: {peer} sees what was made at {} ms", picture.born_ms);
        }
    }
}

#[test]
fn what_was_planned_for_a_viewer_who_leaves_behind_a_full_outbox_reaches_nobody_else() {
    for seed in 0..4 {
        let mut world = stage(seed);
        // Another room, so that media in the wrong place is told apart.
        world.add_peer(1, true);
        world.add_peer(1, false);
        world.pass(2 * SECOND);
        for _ in 0..5 {
            for peer in [1, 4] {
                world.outbox_room = Some(0);
                world.pass(Duration::from_millis(50));
                world.leave(peer, world.now + Duration::from_millis(20));
                world.pass(Duration::from_millis(10));
                world.outbox_room = None;
                world.pass(Duration::from_millis(500));
            }
        }
        assert_eq!(world.guard.blanks, 0);
    }
}

#[test]
fn a_data_plane_killed_in_each_of_its_flushes_never_uses_an_index_twice() {
    let mut world = stage(7);
    for runs in 0..40 {
        world.dies_after = Some(runs % 5);
        world.pass(Duration::from_millis(700));
        assert!(world.dies_after.is_none(), "it died");
    }
    world.pass(SECOND);
    let now_ms = world.now.nanos / 1_000_000;
    assert!(now_ms - viewer(&world, 1).decoder.last().expect("it saw something").born_ms < 100);
}

#[test]
fn a_publisher_whose_new_ssrc_begins_with_a_lost_key_frame_is_asked_for_another() {
    for seed in 0..5 {
        let mut world = stage(seed);
        world.kill_dataplane(Duration::from_millis(50));
        world.network.weather.loss_per_mille = 1000;
        match &mut world.live(0).expect("it has a connection").role {
            Role::Publisher(publisher) => publisher.change_ssrc(),
            Role::Viewer(_) | Role::Subscriber(_) => panic!("the first peer publishes"),
        }
        world.pass(Duration::from_millis(150));
        world.network.weather = Weather::FAIR;
        world.pass(2 * SECOND);
        let now_ms = world.now.nanos / 1_000_000;
        for peer in [1, 2] {
            let picture = viewer(&world, peer).decoder.last().expect("it saw something");
            assert!(now_ms - picture.born_ms < 100, "seed {seed}: {peer} sees what was made at {} ms", picture.born_ms);
        }
    }
}

/// A room with a publisher in three encodings and a viewer.
fn simulcast(seed: u64) -> World {
    let mut world = World::new(seed);
    world.add_simulcast(0);
    world.add_peer(0, false);
    world.pass(2 * SECOND);
    world
}

/// The encoding that was decoded last, made at most 100 ms ago.
fn seen(world: &World, peer: usize) -> Option<u8> {
    let picture = viewer(world, peer).decoder.last()?;
    (world.now.nanos / 1_000_000 - picture.born_ms < 100).then_some(picture.encoding)
}

#[test]
fn each_wish_is_followed_within_half_a_second_and_nothing_freezes() {
    for seed in 0..5 {
        let mut world = simulcast(seed);
        for wish in [2, 0, 1, 2, 1, 0, 2] {
            world.wish(1, wish);
            world.pass(Duration::from_millis(500));
            assert_eq!(seen(&world, 1), Some(wish), "seed {seed}");
        }
        assert_eq!(viewer(&world, 1).decoder.freezes, 0);
    }
}

#[test]
fn an_encoding_that_its_publisher_leaves_out_is_replaced_within_half_a_second() {
    for seed in 0..5 {
        let mut world = simulcast(seed);
        assert_eq!(seen(&world, 1), Some(2));
        let now = world.now;
        let silenced = match &mut world.live(0).expect("it has a connection").role {
            Role::Publisher(publisher) => publisher.silence(now + 2 * SECOND),
            Role::Viewer(_) | Role::Subscriber(_) => panic!("the first peer publishes"),
        };
        world.pass(Duration::from_millis(500));
        assert_eq!(seen(&world, 1), Some(if silenced == Some(2) { 1 } else { 2 }), "seed {seed}");
        world.pass(2 * SECOND);
        assert_eq!(seen(&world, 1), Some(2), "seed {seed}");
    }
}

#[test]
fn a_killed_data_plane_goes_on_with_the_encoding_that_was_seen() {
    for seed in 0..5 {
        let mut world = simulcast(seed);
        world.wish(1, 1);
        world.pass(SECOND);
        world.kill_dataplane(Duration::from_millis(100));
        world.pass(Duration::from_millis(500));
        assert_eq!(seen(&world, 1), Some(1), "seed {seed}");
        world.wish(1, 2);
        world.pass(Duration::from_millis(500));
        assert_eq!(seen(&world, 1), Some(2), "seed {seed}");
    }
}
