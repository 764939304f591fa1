//! Greetings, versions, fencing, descriptors and faults on the stream.

use super::super::controller::Event;
use super::super::{AddressFamily, ErrorCode, Frame, Hello, Role, Transmit, framing};
use super::*;
use crate::convert::{FieldError, Problem};
use crate::limits::FRAME_BYTES_MAX;
use crate::plan::{Cookie, Key};

fn hello(role: Role) -> Hello {
    Hello { role, version_min: 1, version_max: 1, identity: identity(7), epoch: 3, shards: 1, running: false }
}

fn bytes(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(framing::append(frame, &mut bytes));
    bytes
}

#[test]
fn a_fresh_pair_goes_live_and_brings_the_plan_over() {
    let (mut controller, mut dataplane) = (controller(1), Dataplane::new(identity(100), 1));
    connect(&mut controller, &mut dataplane).unwrap();
    exchange(&mut controller, &mut dataplane).unwrap();
    assert_eq!(
        events(&mut controller),
        [
            Event::DescriptorsWanted,
            Event::Ready { ready: ready(), descriptors: vec![(DescriptorKind::Table { shard: 0 }, 11)] },
            Event::Snapshot(Plan::new()),
        ]
    );
    assert_eq!(controller.configuration().media_port, 4242, "the port that was bound");
    controller.put(Object::Cookie(Cookie { key: 5, bytes: vec![1, 2, 3] }));
    assert_eq!(controller.poll_transmit(), None, "nothing leaves before the owner has rebuilt");
    controller.adopt(Plan::new());
    controller.put(Object::Cookie(Cookie { key: 5, bytes: vec![1, 2, 3] }));
    let ticket = controller.barrier();
    assert!(!controller.is_acknowledged(ticket));
    exchange(&mut controller, &mut dataplane).unwrap();
    assert!(controller.is_acknowledged(ticket));
    assert_eq!(dataplane.plan(), controller.plan());
    let told = events(&mut controller);
    assert!(told.contains(&Event::Live) && told.contains(&Event::Acknowledged(ticket)), "{told:?}");
}

#[test]
fn a_neighbouring_version_is_understood_and_a_distant_one_is_named() {
    for (min, max, understood) in [(1, 1, true), (1, 9, true), (0, 1, true), (2, 9, false), (0, 0, false)] {
        let greeting = bytes(&Frame::Hello(Hello { version_min: min, version_max: max, ..hello(Role::Dataplane) }));
        let mut controller = controller(1);
        controller.handle_connected();
        let expected = if understood { Ok(()) } else { Err(SessionError::Version { min, max }) };
        assert_eq!(controller.handle_bytes(&greeting, []), expected, "{min} to {max}");
        let reply = bytes(&Frame::Hello(Hello { version_min: min, version_max: max, ..hello(Role::Controller) }));
        let expected = if understood { Ok(true) } else { Err(SessionError::Version { min, max }) };
        assert_eq!(Newcomer::<u32>::new().handle_bytes(&reply, []), expected);
    }
}

#[test]
fn unknown_fields_frames_and_kinds_are_ignored() {
    let mut greeting = bytes(&Frame::Hello(hello(Role::Dataplane)));
    // Field 1000 with one byte, inside the hello: its size, the frame's size and the stream's grow with it.
    greeting.extend([0xc2, 0x3e, 1, b'x']);
    greeting[0] += 4;
    greeting[5] += 4;
    // A frame whose body is field 1000.
    greeting.extend([4, 0, 0, 0, 0xc2, 0x3e, 1, b'x']);
    // A frame without a body.
    greeting.extend([0, 0, 0, 0]);
    let mut controller = controller(9);
    controller.handle_connected();
    controller.handle_bytes(&greeting, []).unwrap();
    assert_eq!(events(&mut controller), [Event::DescriptorsWanted]);
    // An event of a kind that nobody knows, field 13 of the frame.
    let (mut controller, mut dataplane) = live_pair(Plan::new());
    controller.handle_bytes(&[6, 0, 0, 0, 0x6a, 4, 0xc2, 0x3e, 1, b'x'], []).unwrap();
    assert_eq!(events(&mut controller), []);
    // A command to put an object of a kind that nobody knows: field 11, sequence 1, an empty object.
    dataplane.handle_bytes(&[6, 0, 0, 0, 0x5a, 4, 8, 1, 0x12, 0], []).unwrap();
    let Some(Transmit { bytes: answer, .. }) = dataplane.poll_transmit() else { panic!("an answer") };
    let refused = super::super::Ack { up_to: 1, refusals: vec![(1, crate::event::Refusal::Invalid)] };
    assert_eq!(answer, bytes(&Frame::Ack(refused)));
}

#[test]
fn a_frame_over_the_limit_ends_the_connection_with_a_named_error() {
    let (mut controller, mut dataplane) = live_pair(Plan::new());
    let size_bytes = u32::try_from(FRAME_BYTES_MAX).unwrap() + 1;
    let error = SessionError::FrameTooLong { size_bytes };
    assert_eq!(dataplane.handle_bytes(&size_bytes.to_le_bytes(), []), Err(error.clone()));
    let farewell = dataplane.poll_transmit().unwrap();
    assert_eq!(farewell.bytes, error.farewell());
    assert_eq!(dataplane.poll_transmit(), None);
    assert_eq!(dataplane.handle_bytes(&[], []), Err(error), "and stays over");
    let told = controller.handle_bytes(&farewell.bytes, []);
    assert!(matches!(told, Err(SessionError::Peer { code: ErrorCode::FrameTooLong, .. })), "{told:?}");
    let at_the_limit = u32::try_from(FRAME_BYTES_MAX).unwrap().to_le_bytes();
    let (_, mut dataplane) = live_pair(Plan::new());
    assert_eq!(dataplane.handle_bytes(&at_the_limit, []), Ok(()), "the limit itself is allowed");
}

#[test]
fn a_field_out_of_range_is_named() {
    let mut controller = controller(1);
    controller.handle_connected();
    // Hello (field 1) of a data plane (field 1 = 2) with shards (field 8) = 65.
    let outcome = controller.handle_bytes(&[6, 0, 0, 0, 0x0a, 4, 8, 2, 0x40, 65], []);
    // Its versions are 0 to 0, but fields are read first.
    assert_eq!(outcome, Err(FieldError { field: "Hello.shards", problem: Problem::OutOfRange }.into()));
    controller.handle_connected();
    assert_eq!(controller.handle_bytes(&[1, 0, 0, 0, 0xff], []), Err(SessionError::Malformed));
}

#[test]
fn only_a_higher_epoch_supplants_the_controller_that_is_served() {
    let (mut old, mut dataplane) = live_pair(Plan::new());
    let mut stale = controller(1);
    stale.handle_connected();
    let mut newcomer = Newcomer::new();
    newcomer.handle_bytes(&bytes(&Frame::Hello(Hello { epoch: 1, ..hello(Role::Controller) })), []).unwrap();
    assert_eq!(dataplane.admit(newcomer), Err(SessionError::Fenced { epoch: 1 }));
    old.put(Object::Transport(transport(1)));
    exchange(&mut old, &mut dataplane).unwrap();
    assert_eq!(dataplane.plan(), old.plan(), "the one that is served goes on");

    let mut successor = controller(1);
    connect(&mut successor, &mut dataplane).unwrap();
    assert_eq!(successor.epoch(), 2, "one that has just started goes past every epoch that was here");
    exchange(&mut successor, &mut dataplane).unwrap();
    assert!(events(&mut successor).contains(&Event::Snapshot(old.plan().clone())));
    assert_eq!(connect(&mut old, &mut dataplane), Err(SessionError::Fenced { epoch: 2 }), "the old one gives way");
}

#[test]
fn a_new_data_plane_gets_descriptors_before_its_configuration() {
    let (mut controller, _) = live_pair(Plan::new());
    controller.handle_connected();
    let mut dataplane: Dataplane<u32> = Dataplane::new(identity(200), 1);
    controller.handle_bytes(&dataplane.greeting(), []).unwrap();
    assert!(events(&mut controller).contains(&Event::DescriptorsWanted));
    assert!(controller.poll_transmit().is_some_and(|transmit| transmit.descriptors.is_empty()), "its hello alone");
    let socket = DescriptorKind::MediaSocket { shard: 0, family: AddressFamily::Ipv6 };
    let passed: Vec<_> = (0..70).map(|number| (socket, number)).collect();
    controller.supply_descriptors(passed.clone());
    let transmits: Vec<_> = std::iter::from_fn(|| controller.poll_transmit()).collect();
    assert_eq!(transmits.iter().map(|transmit| transmit.descriptors.len()).collect::<Vec<_>>(), [64, 6]);
    let mut newcomer = Newcomer::new();
    newcomer.handle_bytes(&bytes(&Frame::Hello(Hello { epoch: 1, ..hello(Role::Controller) })), []).unwrap();
    dataplane.admit(newcomer).unwrap();
    for transmit in transmits {
        dataplane.handle_bytes(&transmit.bytes, transmit.descriptors).unwrap();
    }
    let configuration = Configuration { media_port: 4242, ..configuration() };
    assert_eq!(
        dataplane_events(&mut dataplane),
        [dataplane::Event::Configure { configuration, descriptors: passed }],
        "with the port of its predecessor"
    );
}

#[test]
fn descriptors_must_be_there_when_they_are_explained_and_explained_when_they_are_there() {
    let kinds = Frame::Descriptors(vec![DescriptorKind::Table { shard: 0 }, DescriptorKind::Unknown]);
    for (passed, expected) in [(vec![1], Err(SessionError::DescriptorsMissing)), (vec![1, 2], Ok(()))] {
        let mut dataplane: Dataplane<u32> = Dataplane::new(identity(200), 1);
        let mut newcomer = Newcomer::new();
        newcomer.handle_bytes(&bytes(&Frame::Hello(hello(Role::Controller))), []).unwrap();
        dataplane.admit(newcomer).unwrap();
        assert_eq!(dataplane.handle_bytes(&bytes(&kinds), passed), expected);
        let taken = dataplane.handle_bytes(&bytes(&Frame::Configure(configuration())), []);
        if taken.is_ok() {
            let descriptors = vec![(DescriptorKind::Table { shard: 0 }, 1)];
            let expected = dataplane::Event::Configure { configuration: configuration(), descriptors };
            assert_eq!(dataplane_events(&mut dataplane), [expected], "the unknown one is dropped");
        }
    }
    let mut newcomer = Newcomer::new();
    let flood = 0..u32::try_from(crate::limits::DESCRIPTORS_QUEUED_MAX).unwrap() + 1;
    assert_eq!(newcomer.handle_bytes(&[], flood), Err(SessionError::DescriptorsTooMany));
}

#[test]
fn a_controller_that_comes_back_is_attached_and_keeps_what_it_parked() {
    let cookie = Object::Cookie(Cookie { key: 1, bytes: (0..=255).cycle().take(60_000).collect() });
    let (_, mut dataplane) = live_pair([cookie.clone(), Object::Transport(transport(1))].into_iter().collect());
    dataplane.handle_disconnected();
    let mut successor = controller(2);
    connect(&mut successor, &mut dataplane).unwrap();
    assert_eq!(dataplane_events(&mut dataplane), [dataplane::Event::Attached]);
    dataplane.ready(ready(), vec![(DescriptorKind::PacketStream { shard: 0 }, 12)]);
    exchange(&mut successor, &mut dataplane).unwrap();
    let snapshots: Vec<_> = events(&mut successor)
        .into_iter()
        .filter_map(|event| if let Event::Snapshot(plan) = event { Some(plan) } else { None })
        .collect();
    assert_eq!(snapshots[0].object(&Key::Cookie(1)), Some(&cookie), "byte for byte");
}

#[test]
fn questions_are_answered_and_their_number_is_limited() {
    let (mut controller, mut dataplane) = live_pair(Plan::new());
    assert!(controller.ping(77));
    let asked: Vec<_> = std::iter::from_fn(|| controller.request_stats()).collect();
    assert_eq!(asked.len(), crate::limits::STATS_REQUESTS_MAX);
    exchange(&mut controller, &mut dataplane).unwrap();
    let told = events(&mut controller);
    assert!(told.contains(&Event::Pong(77)));
    for id in asked {
        assert!(told.contains(&Event::Stats { id, stats: crate::stats::Stats::default() }));
    }
}
