//! Binding requests, nominations, consent.

use rtcp::receiver_report::ReceiverReport;
use sluice_protocol::event::Event;
use sluice_protocol::media::Ssrc;
use sluice_protocol::plan::{self, Key, Object};
use stun_rs::MessageClass;

use super::peer::{Check, Peer, opus};
use super::world::*;
use crate::discard::Discard;

fn answered(world: &mut World, peer: &Peer, check: Check) -> Option<MessageClass> {
    world.receive(peer.five_tuple, &peer.request(check));
    world.flush();
    world.inbox(peer.five_tuple).iter().find_map(|datagram| peer.response(datagram))
}

fn nominated(world: &World) -> Vec<u16> {
    let path = |event: &Event| {
        if let Event::Learnt(object) = event
            && let Object::Path(path) = **object
        {
            return Some(path.remote.port());
        }
        None
    };
    world.events.iter().filter_map(path).collect()
}

/// A subscriber in slot 2 of audio track 2, whose publisher is in slot 1.
fn stage() -> (World, Peer, Peer) {
    let mut world = World::new();
    for slot in [1, 2] {
        world.put(Object::Transport(transport(slot)));
    }
    world.put(Object::Track(audio_track(2, 1)));
    world.put(Object::Egress(audio_egress(2, 2, 2)));
    let publisher = Peer::new(1);
    publisher.connect(&mut world);
    (world, publisher, Peer::new(2))
}

#[test]
fn requests_are_answered_by_credentials_and_role() {
    let (mut world, _, peer) = stage();
    assert_eq!(answered(&mut world, &peer, Check::Plain), Some(MessageClass::SuccessResponse));
    assert_eq!(answered(&mut world, &peer, Check::Controlled), Some(MessageClass::ErrorResponse));
    assert_eq!(world.discards(Discard::StunRefused), 1);
    let text = peer.ufrag.to_text();
    for (ufrag, password, discard) in [
        (text.as_str(), "not the password at all", Discard::StunForged),
        (ufrag(2, 9).to_text().as_str(), "not the password at all", Discard::StunUnknownUfrag),
        (ufrag(40, 0).to_text().as_str(), "not the password at all", Discard::StunUnknownUfrag),
        ("foreign", "not the password at all", Discard::StunUnknownUfrag),
    ] {
        let before = world.discards(discard);
        world.receive(peer.five_tuple, &Peer::request_with(Check::Plain, ufrag, password));
        world.flush();
        assert_eq!(world.discards(discard), before + 1, "{ufrag}");
        assert!(world.inbox(peer.five_tuple).is_empty(), "no answer to {ufrag}");
    }
}

#[test]
fn media_goes_to_the_pair_nominated_last_not_to_the_one_checked_last() {
    let (mut world, mut publisher, peer) = stage();
    let (mut first, mut second) = (Peer::new(2), Peer::new(2));
    second.five_tuple.remote.set_port(50_001);
    first.connect(&mut world);
    assert_eq!(answered(&mut world, &second, Check::Plain), Some(MessageClass::SuccessResponse));
    publisher.send(&mut world, &opus(Ssrc(5), 1));
    world.flush();
    assert_eq!((first.take(&mut world).len(), second.take(&mut world).len()), (1, 0));
    second.connect(&mut world);
    answered(&mut world, &first, Check::Plain);
    publisher.send(&mut world, &opus(Ssrc(5), 2));
    world.flush();
    assert_eq!((first.take(&mut world).len(), second.take(&mut world).len()), (0, 1));
    assert_eq!(nominated(&world)[1..], [peer.five_tuple.remote.port(), 50_001]);
}

/// Returns what a publisher, or a subscriber, says next.
fn sealed(peer: &mut Peer, is_publisher: bool, number: u16) -> Vec<u8> {
    if is_publisher {
        return peer.seal(&opus(Ssrc(5), number));
    }
    peer.seal_rtcp(&[Box::new(ReceiverReport { ssrc: 1, ..ReceiverReport::default() })])
}

#[test]
fn a_nomination_that_comes_late_holds_until_the_peer_is_heard_from_where_it_is() {
    for (slot, is_publisher) in [(1, true), (2, false)] {
        let (mut world, _, _) = stage();
        let mut peer = Peer::new(slot);
        let former = peer.five_tuple;
        let path = |world: &World| {
            let transport = world.engine.transports.get(transport_id(slot).0).unwrap();
            transport.agent.target().unwrap().remote.port()
        };
        peer.connect(&mut world);
        let mut checked = Peer::new(slot);
        checked.five_tuple.remote.set_port(50_001);
        answered(&mut world, &checked, Check::Plain);
        let (late, overtaken) = (peer.request(Check::Nominating), sealed(&mut peer, is_publisher, 1));
        peer.five_tuple.remote.set_port(50_002);
        peer.connect(&mut world);
        world.receive(former, &late);
        assert_eq!(path(&world), former.remote.port());
        let newest = sealed(&mut peer, is_publisher, 2);
        world.receive(peer.five_tuple, &newest);
        assert_eq!(path(&world), former.remote.port(), "it may have been sent before the pair was changed");
        world.pass(200);
        world.receive(peer.five_tuple, &newest);
        assert_eq!(path(&world), former.remote.port(), "a packet that was seen tells nothing");
        world.receive(checked.five_tuple, &sealed(&mut peer, is_publisher, 3));
        assert_eq!(path(&world), former.remote.port(), "nor does one from a pair that was only checked");
        world.receive(peer.five_tuple, &sealed(&mut peer, is_publisher, 4));
        assert_eq!(path(&world), 50_002);
        world.flush();
        assert_eq!(nominated(&world).last(), Some(&50_002), "the controller and a successor know it too");
        world.pass(200);
        world.receive(former, &overtaken);
        assert_eq!(path(&world), 50_002, "a packet that was overtaken tells nothing");
        world.pass(29_600);
        world.receive(former, &peer.request(Check::Nominating));
        world.pass(200);
        world.receive(peer.five_tuple, &sealed(&mut peer, is_publisher, 5));
        assert_eq!(path(&world), former.remote.port(), "nobody consents to media on the other pair any more");
    }
}

#[test]
fn thirty_silent_seconds_stop_sending_and_a_request_starts_it_again() {
    let (mut world, mut publisher, mut peer) = stage();
    peer.connect(&mut world);
    let silent = |event: &Event| matches!(event, Event::TransportSilent(id) if *id == transport_id(2));
    let connected = |event: &Event| matches!(event, Event::TransportConnected(id) if *id == transport_id(2));
    for _ in 0..2 {
        world.pass(29_000);
        peer.connect(&mut world);
        answered(&mut world, &publisher, Check::Plain);
    }
    world.pass(29_999);
    assert_eq!(world.count_events(silent), 0);
    world.pass(1);
    assert_eq!(world.count_events(silent), 1);
    world.engine.handle_controller();
    world.flush();
    assert_eq!(world.count_events(silent), 2, "a controller that comes later learns it too");
    answered(&mut world, &publisher, Check::Plain);
    publisher.send(&mut world, &opus(Ssrc(5), 1));
    world.flush();
    assert_eq!(peer.take(&mut world).len(), 0);
    assert_eq!(world.count_events(connected), 1);
    answered(&mut world, &peer, Check::Plain);
    publisher.send(&mut world, &opus(Ssrc(5), 2));
    world.flush();
    assert_eq!(peer.take(&mut world).len(), 1);
    assert_eq!(world.count_events(connected), 2);
}

#[test]
fn old_credentials_stay_valid_until_the_new_ones_are_nominated() {
    let (mut world, _, peer) = stage();
    peer.connect(&mut world);
    let both = plan::Transport { credentials: vec![ufrag(2, 0), ufrag(2, 1)], ..transport(2) };
    world.put(Object::Transport(both.clone()));
    let mut renewed = Peer::new(2);
    renewed.ufrag = ufrag(2, 1);
    renewed.five_tuple.remote.set_port(50_002);
    assert_eq!(answered(&mut world, &renewed, Check::Plain), Some(MessageClass::SuccessResponse));
    assert_eq!(answered(&mut world, &peer, Check::Plain), Some(MessageClass::SuccessResponse));
    renewed.connect(&mut world);
    assert_eq!(answered(&mut world, &peer, Check::Nominating), None);
    assert_eq!(world.discards(Discard::StunUnknownUfrag), 1);
    world.put(Object::Transport(both));
    assert_eq!(answered(&mut world, &peer, Check::Nominating), None, "not even when the plan repeats them");
}

#[test]
fn a_five_tuple_moves_to_another_transport_once_its_peer_is_silent_on_it() {
    let (mut world, mut publisher, mut peer) = stage();
    peer.connect(&mut world);
    world.put(Object::Transport(transport(3)));
    let mut successor = Peer::new(3);
    successor.five_tuple = peer.five_tuple;
    world.pass(9_999);
    assert_eq!(answered(&mut world, &successor, Check::Nominating), None, "one forged datagram takes nobody's place");
    assert_eq!(world.discards(Discard::FiveTupleHeld), 1);
    publisher.send(&mut world, &opus(Ssrc(5), 1));
    world.flush();
    assert_eq!(peer.take(&mut world).len(), 1);
    world.pass(1);
    successor.connect(&mut world);
    let forgotten = |event: &Event| *event == Event::Forgotten(Key::Path(transport_id(2)));
    assert_eq!(world.count_events(forgotten), 1);
    publisher.send(&mut world, &opus(Ssrc(5), 2));
    world.flush();
    assert_eq!(peer.take(&mut world).len(), 0, "nothing sealed for the old owner goes to the new one");
}

#[test]
fn requests_from_elsewhere_keep_no_stream_going_to_a_place_that_says_nothing() {
    let (mut world, mut publisher, mut peer) = stage();
    peer.connect(&mut world);
    let mut bystander = Peer::new(2);
    bystander.five_tuple.remote.set_port(50_003);
    bystander.connect(&mut world);
    for _ in 0..29 {
        world.pass(1_000);
        answered(&mut world, &peer, Check::Plain);
        answered(&mut world, &publisher, Check::Plain);
    }
    publisher.send(&mut world, &opus(Ssrc(5), 1));
    world.flush();
    assert_eq!((bystander.take(&mut world).len(), peer.take(&mut world).len()), (1, 0));
    world.pass(1_000);
    publisher.send(&mut world, &opus(Ssrc(5), 2));
    world.flush();
    assert_eq!((bystander.take(&mut world).len(), peer.take(&mut world).len()), (0, 1), "back to where somebody is");
    let port = peer.five_tuple.remote.port();
    assert_eq!(nominated(&world)[1..], [port, 50_003, port]);
}

#[test]
fn a_request_that_was_seen_gives_no_other_five_tuple_a_place() {
    let (mut world, _, peer) = stage();
    let request = peer.request(Check::Nominating);
    let mut thief = Peer::new(2);
    thief.five_tuple.remote.set_port(50_004);
    for (who, answers) in [(&peer, true), (&thief, false), (&peer, true)] {
        world.receive(who.five_tuple, &request);
        world.flush();
        assert_eq!(!world.inbox(who.five_tuple).is_empty(), answers);
    }
    assert_eq!(world.discards(Discard::StunReplayed), 1);
    answered(&mut world, &thief, Check::Plain);
    world.receive(thief.five_tuple, &request);
    world.flush();
    assert_eq!(world.inbox(thief.five_tuple).len(), 1, "a five-tuple with a place of its own is answered");
    assert_eq!(nominated(&world)[1..], [peer.five_tuple.remote.port()], "and nominates nothing by a repeated request");
    for _ in 0..crate::limits::TRANSACTIONS_MAX {
        answered(&mut world, &peer, Check::Plain);
    }
    assert_eq!(world.discards(Discard::StunReplayed), 1);
}

#[test]
fn a_transport_remembers_eight_five_tuples_and_never_forgets_the_nominated_one() {
    let (mut world, _, peer) = stage();
    peer.connect(&mut world);
    for port in 1..=20 {
        let mut other = Peer::new(2);
        other.five_tuple.remote.set_port(port);
        answered(&mut world, &other, Check::Plain);
    }
    let validated = |port: u16| {
        let mut five_tuple = peer.five_tuple;
        five_tuple.remote.set_port(port);
        world.engine.demux.transport(five_tuple).is_ok()
    };
    let living: Vec<u16> = (1..=20).filter(|port| validated(*port)).collect();
    assert_eq!(living, [14, 15, 16, 17, 18, 19, 20]);
    assert!(validated(peer.five_tuple.remote.port()));
}

#[test]
fn dtls_reaches_the_control_plane_from_validated_five_tuples_and_goes_back_there() {
    let mut world = World::new();
    world.put(Object::Transport(plan::Transport { keys: None, ..transport(2) }));
    let peer = Peer::new(2);
    let hello = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0];
    world.receive(peer.five_tuple, &hello);
    world.flush();
    assert_eq!(world.wire.punts, []);
    world.engine.handle_outgoing(world.now, transport_id(2), &hello);
    assert_eq!(world.discards(Discard::NotSending), 1);
    answered(&mut world, &peer, Check::Plain);
    world.receive(peer.five_tuple, &hello);
    world.engine.handle_outgoing(world.now, transport_id(2), &hello);
    world.flush();
    assert_eq!(world.wire.punts, [(transport_id(2), hello.to_vec())]);
    assert_eq!(world.inbox(peer.five_tuple), [hello.to_vec()]);
    let mut elsewhere = Peer::new(2);
    elsewhere.five_tuple.remote.set_port(50_005);
    elsewhere.connect(&mut world);
    world.engine.handle_outgoing(world.now, transport_id(2), &hello);
    world.flush();
    assert!(world.inbox(elsewhere.five_tuple).is_empty(), "no handshake is turned on somebody who takes no part in it");
    assert_eq!(world.inbox(peer.five_tuple), [hello.to_vec()]);
    world.put(Object::Transport(transport(2)));
    world.engine.handle_outgoing(world.now, transport_id(2), &hello);
    world.flush();
    assert_eq!(world.inbox(elsewhere.five_tuple), [hello.to_vec()], "afterwards it goes where media goes");
}
