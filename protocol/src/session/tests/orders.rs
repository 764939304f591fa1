//! Commands, refusals, what is learnt, and what is resumed.

use super::super::controller::Event;
use super::*;
use crate::event;
use crate::event::Refusal;
use crate::ids::{EgressId, TrackId};
use crate::limits::{COMMANDS_IN_FLIGHT_MAX, EVENTS_QUEUED_MAX};
use crate::media::{ExtensionIds, MediaKind, Mid, PayloadType, Ssrc};
use crate::plan::{Cookie, Key, Stream, StreamRole, Track};
use crate::stats::{EgressStats, Stats};

fn key(slot: u32) -> Key {
    Key::Transport(TransportId::new(0, slot, 1))
}

fn plan(objects: impl IntoIterator<Item = Object>) -> Plan {
    objects.into_iter().collect()
}

fn puts(commands: &[(dataplane::CommandId, Change, bool)]) -> Vec<(Key, bool)> {
    let keys = commands.iter().map(|(_, change, resume)| match change {
        Change::Put(object) => (object.key(), *resume),
        Change::Remove(key) => panic!("{key:?} is removed"),
    });
    keys.collect()
}

/// A new data plane in place of one that died, up to the commands that it is given.
fn replace(
    controller: &mut Controller<u32>,
    instance: u64,
) -> (Dataplane<u32>, Vec<(dataplane::CommandId, Change, bool)>) {
    let mut dataplane = Dataplane::new(identity(instance), 1);
    connect(controller, &mut dataplane).unwrap();
    for event in dataplane_events(&mut dataplane) {
        assert!(matches!(event, dataplane::Event::Configure { .. }));
        dataplane.ready(ready(), Vec::new());
    }
    while let Some(transmit) = dataplane.poll_transmit() {
        controller.handle_bytes(&transmit.bytes, transmit.descriptors).unwrap();
    }
    while let Some(transmit) = controller.poll_transmit() {
        dataplane.handle_bytes(&transmit.bytes, []).unwrap();
    }
    while let Some(transmit) = dataplane.poll_transmit() {
        controller.handle_bytes(&transmit.bytes, transmit.descriptors).unwrap();
    }
    let commands = commands(controller, &mut dataplane);
    (dataplane, commands)
}

#[test]
fn what_a_dead_data_plane_acknowledged_is_resumed_and_nothing_else() {
    let (mut controller, mut dataplane) = live_pair(plan([Object::Transport(transport(1))]));
    dataplane.raise(event::Event::Learnt(Box::new(path(1, 9))));
    exchange(&mut controller, &mut dataplane).unwrap();
    controller.put(Object::Transport(transport(2)));
    assert_eq!(commands(&mut controller, &mut dataplane).len(), 1, "sent and not acknowledged");
    controller.put(Object::Transport(transport(3)));
    let (mut second, given) = replace(&mut controller, 101);
    let learnt = Key::Path(TransportId::new(0, 1, 1));
    assert_eq!(puts(&given), [(key(1), true), (key(2), false), (key(3), false), (learnt, true)]);
    // It acknowledges the first alone and dies: the others are still of the first data plane's making.
    second.acknowledge(given[0].0, Ok(()));
    exchange(&mut controller, &mut second).unwrap();
    let (_, given) = replace(&mut controller, 102);
    assert_eq!(puts(&given), [(key(1), true), (key(2), false), (key(3), false), (learnt, true)]);
}

#[test]
fn a_controller_that_lost_only_its_connection_resumes_nothing() {
    let (mut controller, mut dataplane) = live_pair(plan([Object::Transport(transport(1))]));
    controller.put(Object::Transport(transport(2)));
    dataplane.handle_disconnected();
    connect(&mut controller, &mut dataplane).unwrap();
    assert_eq!(dataplane_events(&mut dataplane), [dataplane::Event::Attached]);
    dataplane.ready(ready(), Vec::new());
    while let Some(transmit) = dataplane.poll_transmit() {
        controller.handle_bytes(&transmit.bytes, []).unwrap();
    }
    assert_eq!(commands(&mut controller, &mut dataplane), []);
    while let Some(transmit) = dataplane.poll_transmit() {
        controller.handle_bytes(&transmit.bytes, []).unwrap();
    }
    assert_eq!(puts(&commands(&mut controller, &mut dataplane)), [(key(2), false)]);
}

#[test]
fn a_refused_object_leaves_both_plans_unless_a_newer_one_is_wanted() {
    let (mut controller, mut dataplane) = live_pair(Plan::new());
    controller.put(Object::Transport(transport(1)));
    let ticket = controller.barrier();
    let given = commands(&mut controller, &mut dataplane);
    dataplane.acknowledge(given[0].0, Err(Refusal::NoTableRow));
    exchange(&mut controller, &mut dataplane).unwrap();
    let refused = Event::Refused { key: key(1), refusal: Refusal::NoTableRow };
    assert_eq!(events(&mut controller), [refused, Event::Acknowledged(ticket)], "the refusal comes first");
    assert!(controller.plan().is_empty() && dataplane.plan().is_empty());
    controller.put(Object::Transport(transport(1)));
    let given = commands(&mut controller, &mut dataplane);
    let newer = Object::Transport(Transport { cname: "newer".into(), ..transport(1) });
    controller.put(newer.clone());
    dataplane.acknowledge(given[0].0, Err(Refusal::Invalid));
    exchange(&mut controller, &mut dataplane).unwrap();
    assert_eq!(dataplane.plan(), &plan([newer]));
}

#[test]
fn what_was_learnt_goes_with_what_it_is_about_on_both_sides() {
    let track = Track {
        id: TrackId::new(0, 4, 1),
        transport: TransportId::new(0, 1, 1),
        kind: MediaKind::Video,
        mid: Mid::default(),
        codecs: Vec::new(),
        extensions: ExtensionIds::default(),
        encodings: Vec::new(),
        muted: false,
        nack: true,
    };
    let stream = Object::Stream(Stream { track: track.id, ssrc: Ssrc(8), role: StreamRole::Media, rid: None });
    let (mut controller, mut dataplane) = live_pair(plan([
        Object::Transport(transport(1)),
        Object::Transport(transport(2)),
        Object::Track(track.clone()),
    ]));
    for learnt in [path(1, 1), path(2, 2), stream.clone()] {
        dataplane.raise(event::Event::Learnt(Box::new(learnt)));
    }
    exchange(&mut controller, &mut dataplane).unwrap();
    assert_eq!(controller.plan().len(), 6);
    events(&mut controller);
    controller.remove(Key::Track(track.id));
    controller.remove(key(1));
    exchange(&mut controller, &mut dataplane).unwrap();
    assert_eq!(controller.plan(), &plan([Object::Transport(transport(2)), path(2, 2)]));
    assert_eq!(dataplane.plan(), controller.plan());
    let removed = events(&mut controller);
    for key in [Key::Track(track.id), stream.key(), key(1), path(1, 1).key()] {
        assert!(removed.contains(&Event::Removed(key)), "{key:?}");
    }
    dataplane.raise(event::Event::Learnt(Box::new(path(1, 3))));
    assert_eq!(dataplane.plan(), controller.plan(), "nothing is learnt about what is gone");
}

#[test]
fn the_wire_knows_better_than_a_controller() {
    let (mut controller, mut dataplane) = live_pair(plan([Object::Transport(transport(1))]));
    dataplane.raise(event::Event::Learnt(Box::new(path(1, 9))));
    controller.put(path(1, 5));
    assert_eq!(commands(&mut controller, &mut dataplane), [], "the shell is not asked");
    exchange(&mut controller, &mut dataplane).unwrap();
    assert_eq!(dataplane.plan().object(&path(1, 9).key()), Some(&path(1, 9)));
    assert_eq!(controller.plan(), dataplane.plan());
}

#[test]
fn learnt_state_is_never_lost_and_events_are_dropped_and_counted() {
    let (mut controller, mut dataplane) = live_pair(plan([Object::Transport(transport(1))]));
    let event = event::Event::Undecodable { egress: EgressId::new(0, 0, 1), payload_type: PayloadType(96) };
    for port in 0..2 * u16::try_from(EVENTS_QUEUED_MAX).unwrap() {
        dataplane.raise(event.clone());
        dataplane.raise(event::Event::Learnt(Box::new(path(1, port))));
    }
    assert_eq!(dataplane.events_dropped(), EVENTS_QUEUED_MAX as u64);
    exchange(&mut controller, &mut dataplane).unwrap();
    let told = events(&mut controller);
    assert_eq!(told.len(), EVENTS_QUEUED_MAX + 1, "what was learnt comes once, as it stands");
    assert_eq!(controller.plan(), dataplane.plan());
}

#[test]
fn a_key_put_again_while_its_removal_is_under_way_waits_and_holds_back_what_refers_to_it() {
    let (mut controller, mut dataplane) = live_pair(plan([Object::Transport(transport(1))]));
    controller.remove(key(1));
    let given = commands(&mut controller, &mut dataplane);
    assert_eq!(given.len(), 1);
    controller.put(Object::Transport(transport(1)));
    controller.put(path(1, 1));
    controller.put(Object::Transport(transport(0)));
    let now = commands(&mut controller, &mut dataplane);
    assert_eq!(puts(&now), [(key(0), false)], "nothing after the key that waits");
    dataplane.acknowledge(given[0].0, Ok(()));
    dataplane.acknowledge(now[0].0, Ok(()));
    while let Some(transmit) = dataplane.poll_transmit() {
        controller.handle_bytes(&transmit.bytes, []).unwrap();
    }
    assert_eq!(puts(&commands(&mut controller, &mut dataplane)), [(key(1), false), (path(1, 1).key(), false)]);
}

#[test]
fn every_ticket_is_told_once() {
    let (mut controller, mut dataplane) = live_pair(Plan::new());
    let settled = controller.barrier();
    assert_eq!(events(&mut controller), [Event::Acknowledged(settled)]);
    controller.put(Object::Transport(transport(1)));
    let tickets = [controller.barrier(), controller.barrier()];
    assert_ne!(tickets[0], tickets[1]);
    exchange(&mut controller, &mut dataplane).unwrap();
    assert_eq!(events(&mut controller), tickets.map(Event::Acknowledged));
}

#[test]
fn an_answer_for_a_connection_that_is_gone_takes_nobody_else_s_place() {
    let (mut controller, mut dataplane) = live_pair(Plan::new());
    let lost = controller.request_stats().unwrap();
    assert_eq!(asked(&mut controller, &mut dataplane), [dataplane::Event::StatsRequested(lost)]);
    connect(&mut controller, &mut dataplane).unwrap();
    exchange(&mut controller, &mut dataplane).unwrap();
    events(&mut controller);
    let kept = controller.request_stats().unwrap();
    assert_eq!(asked(&mut controller, &mut dataplane), [dataplane::Event::StatsRequested(kept)]);
    dataplane.reply_stats(lost, Stats::default());
    dataplane.reply_stats(kept, Stats::default());
    exchange(&mut controller, &mut dataplane).unwrap();
    assert_eq!(events(&mut controller), [Event::Stats { id: kept, stats: Stats::default() }]);
}

#[test]
fn no_more_commands_are_under_way_than_the_limit_says() {
    let (mut controller, mut dataplane) = live_pair(Plan::new());
    for number in 0..COMMANDS_IN_FLIGHT_MAX + 10 {
        controller.put(Object::Transport(transport(u32::try_from(number).unwrap())));
    }
    let given = commands(&mut controller, &mut dataplane);
    assert_eq!(given.len(), COMMANDS_IN_FLIGHT_MAX);
    assert_eq!(controller.poll_transmit(), None);
    for (id, ..) in given.into_iter().rev() {
        dataplane.acknowledge(id, Ok(()));
    }
    exchange(&mut controller, &mut dataplane).unwrap();
    assert_eq!(dataplane.plan().len(), COMMANDS_IN_FLIGHT_MAX + 10);
}

#[test]
fn removal_is_confirmed_whatever_was_there() {
    let (mut controller, mut dataplane) = live_pair(Plan::new());
    controller.remove(key(1));
    assert_eq!(events(&mut controller), [Event::Removed(key(1))], "it was never there");
    controller.put(Object::Transport(transport(2)));
    controller.remove(key(2));
    assert_eq!(events(&mut controller), [Event::Removed(key(2))], "it never left");
    controller.put(Object::Transport(transport(3)));
    exchange(&mut controller, &mut dataplane).unwrap();
    controller.handle_disconnected();
    controller.remove(key(3));
    assert_eq!(events(&mut controller), [], "nobody knows while nobody is connected");
    let (_, given) = replace(&mut controller, 101);
    assert_eq!(given, []);
    assert!(events(&mut controller).contains(&Event::Removed(key(3))), "the new data plane never had it");
}

#[test]
fn a_cookie_no_frame_can_carry_is_refused_at_once() {
    let (mut controller, mut dataplane) = live_pair(Plan::new());
    let bytes = vec![0; crate::limits::COOKIE_BYTES_MAX];
    controller.put(Object::Cookie(Cookie { key: 1, bytes: bytes.clone() }));
    controller.put(Object::Cookie(Cookie { key: 2, bytes: [bytes, vec![0]].concat() }));
    let mut endless = transport(1);
    endless.cname = "x".repeat(crate::limits::FRAME_BYTES_MAX);
    controller.put(Object::Transport(endless));
    exchange(&mut controller, &mut dataplane).unwrap();
    assert_eq!(
        events(&mut controller),
        [
            Event::Refused { key: Key::Cookie(2), refusal: Refusal::Invalid },
            Event::Refused { key: key(1), refusal: Refusal::Invalid },
        ]
    );
    assert_eq!(dataplane.plan().len(), 1);
}

#[test]
fn statistics_of_any_size_arrive_whole() {
    let (mut controller, mut dataplane) = live_pair(Plan::new());
    let rows = (0..20_000).map(|slot| EgressStats {
        egress: EgressId::new(0, slot, 1),
        packets: u64::MAX,
        bytes: u64::MAX,
        repeats: u64::from(slot),
        nacks: 1,
        plis: 2,
        fraction_lost: 3,
        jitter: 4,
    });
    let stats = Stats { egress: rows.collect(), ..Stats::default() };
    let id = controller.request_stats().unwrap();
    assert_eq!(asked(&mut controller, &mut dataplane), [dataplane::Event::StatsRequested(id)]);
    dataplane.reply_stats(id, stats.clone());
    exchange(&mut controller, &mut dataplane).unwrap();
    assert_eq!(events(&mut controller), [Event::Stats { id, stats }]);
}

fn asked(controller: &mut Controller<u32>, dataplane: &mut Dataplane<u32>) -> Vec<dataplane::Event<u32>> {
    while let Some(transmit) = controller.poll_transmit() {
        dataplane.handle_bytes(&transmit.bytes, transmit.descriptors).unwrap();
    }
    dataplane_events(dataplane)
}
