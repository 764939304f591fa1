//! Where peers are, known to a successor whatever its controller has heard.

use std::time::Duration;

use sluice_protocol::event::Event;
use sluice_protocol::media::Ssrc;
use sluice_protocol::plan::{self, Key, Object};

use super::peer::{Peer, opus};
use super::world::*;

/// What the controller wants: a publisher in slot 1, a subscriber of its sound in slot 2, a bystander in slot 3.
fn objects() -> Vec<Object> {
    let mut objects: Vec<Object> = [1, 2, 3].map(|slot| Object::Transport(transport(slot))).into();
    objects.push(Object::Track(audio_track(2, 1)));
    objects.push(Object::Egress(audio_egress(2, 2, 2)));
    objects
}

fn stage() -> (World, Peer, Peer) {
    let mut world = World::new();
    objects().into_iter().for_each(|object| world.put(object));
    let (publisher, subscriber) = (Peer::new(1), Peer::new(2));
    publisher.connect(&mut world);
    subscriber.connect(&mut world);
    (world, publisher, subscriber)
}

/// A successor whose controller has heard of `paths` and of nothing else that was learnt.
fn resumed(world: World, paths: &[plan::Path]) -> World {
    let mut world = world.restart(Duration::from_millis(50));
    for object in objects().into_iter().chain(paths.iter().copied().map(Object::Path)) {
        world.try_put(object, true).expect("everything has its row");
    }
    world.flush();
    world
}

fn path(peer: &Peer) -> plan::Path {
    let (local, remote) = (peer.five_tuple.local, peer.five_tuple.remote);
    plan::Path { transport: peer.ufrag.transport, local, remote, credentials: peer.ufrag }
}

fn told(world: &World, peer: &Peer) -> usize {
    world.count_events(|event| *event == Event::Learnt(Box::new(Object::Path(path(peer)))))
}

#[test]
fn an_address_that_the_controller_never_heard_of_is_gone_on_with() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let heard = [path(&publisher), path(&subscriber)];
    publisher.five_tuple.remote.set_port(50_001);
    subscriber.five_tuple.remote.set_port(50_002);
    publisher.connect(&mut world);
    subscriber.connect(&mut world);
    for known in [&heard[..], &[]] {
        world = resumed(world, known);
        assert_eq!((told(&world, &publisher), told(&world, &subscriber)), (1 + known.len() / 2, 1 + known.len() / 2));
        publisher.send(&mut world, &opus(Ssrc(5), u16::try_from(3 - known.len()).unwrap()));
        world.flush();
        assert_eq!(subscriber.take(&mut world).len(), 1, "nobody has to check its path first");
        assert_eq!(world.count_events(|event| matches!(event, Event::TransportConnected(_))), 2);
    }
}

#[test]
fn a_path_from_before_the_keys_lets_the_handshake_go_on() {
    let mut world = World::new();
    let keyless = plan::Transport { keys: None, ..transport(2) };
    world.put(Object::Transport(keyless.clone()));
    let peer = Peer::new(2);
    peer.connect(&mut world);
    let mut world = world.restart(Duration::from_millis(50));
    assert_eq!(world.try_put(Object::Transport(keyless), true), Ok(()));
    let flight = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0];
    world.engine.handle_outgoing(world.now, transport_id(2), &flight);
    world.flush();
    assert_eq!(world.inbox(peer.five_tuple), [flight.to_vec()]);
    assert_eq!(world.try_put(Object::Transport(transport(2)), false), Ok(()), "the keys come for the first time");
}

#[test]
fn the_controllers_path_serves_where_the_table_has_none_and_stays_there() {
    let mut world = World::new();
    objects().into_iter().for_each(|object| world.put(object));
    let (mut publisher, mut subscriber) = (Peer::new(1), Peer::new(2));
    let mut world = resumed(world, &[path(&publisher), path(&subscriber)]);
    publisher.send(&mut world, &opus(Ssrc(5), 1));
    world.flush();
    assert_eq!((subscriber.take(&mut world).len(), told(&world, &subscriber)), (1, 0));
    let mut world = resumed(world, &[]);
    publisher.send(&mut world, &opus(Ssrc(5), 2));
    world.flush();
    assert_eq!(subscriber.take(&mut world).len(), 1);
}

#[test]
fn a_five_tuple_that_another_transport_took_is_not_given_back() {
    let (mut world, mut publisher, subscriber) = stage();
    let mut bystander = Peer::new(3);
    bystander.five_tuple = subscriber.five_tuple;
    world.pass(10_000);
    bystander.connect(&mut world);
    let mut world = resumed(world, &[]);
    assert_eq!((told(&world, &subscriber), told(&world, &bystander)), (0, 1));
    publisher.send(&mut world, &opus(Ssrc(5), 1));
    world.flush();
    assert!(bystander.take(&mut world).is_empty(), "nothing sealed for the old owner goes to the new one");
}

#[test]
fn a_removed_path_and_a_transport_of_another_generation_leave_nothing_behind() {
    let (mut world, publisher, subscriber) = stage();
    world.remove(Key::Path(transport_id(1)));
    world.remove(Key::Transport(transport_id(2)));
    let mut world = world.restart(Duration::ZERO);
    for object in objects() {
        let resume = object.key() == Key::Transport(transport_id(1));
        world.try_put(object, resume).expect("the plan is legal");
    }
    world.flush();
    assert_eq!((told(&world, &publisher), told(&world, &subscriber)), (0, 0));
}
