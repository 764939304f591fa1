//! Who is hidden is there for those who manage the room, and for nobody else.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

const HIDDEN: PermissionOverrides = PermissionOverrides {
    hidden: Some(true),
    can_publish: None,
    can_publish_sources: None,
    can_subscribe: None,
    can_publish_data: None,
    recorder: None,
};

fn ghost() -> Join {
    Join { overrides: HIDDEN, is_publisher: true, ..join("ghost", Role::Speaker) }
}

/// Returns the names of the events that somebody who manages, or does not, is told.
fn told(output: &[Output], is_manager: bool) -> Vec<String> {
    let audible = |output: &Output| {
        let Output::Event { audience, event } = output else { return None };
        audience.includes(is_manager).then(|| serde_json::to_value(event).unwrap())
    };
    let kind = |event: Value| event["type"].as_str().unwrap().to_owned();
    output.iter().filter_map(audible).map(kind).collect()
}

fn update(overrides: PermissionOverrides) -> Input {
    let change = ParticipantChange { permissions: Some(overrides), ..ParticipantChange::default() };
    Input::Update { actor: Actor::Api, participant: id("ghost"), change: Box::new(change) }
}

#[test]
fn nothing_that_the_hidden_do_or_that_happens_to_them_is_told_but_to_managers() {
    let ghost_publishes = |number| Input::Publish { participant: id("ghost"), track: track(number, Source::Camera) };
    let rename = ParticipantChange { name: Some("Casper".to_owned()), ..ParticipantChange::default() };
    let again = Join { participant: id("ghost-2"), ..ghost() };
    let mute = |actor| Input::Mute { actor, participant: id("ghost"), track: None, muted: true };
    let steps: Vec<(Input, &[&str])> = vec![
        (Input::Join(Box::new(ghost())), &["participant_joined"]),
        (Input::Connected(id("ghost")), &["participant_updated"]),
        (Input::Quiet(id("ghost")), &["participant_updated"]),
        (Input::Connected(id("ghost")), &["participant_updated"]),
        (ghost_publishes(1), &["track_published"]),
        (mute(Actor::Participant(id("ghost"))), &["track_muted"]),
        (mute(Actor::Api), &["track_muted"]),
        (
            Input::Update { actor: Actor::Api, participant: id("ghost"), change: Box::new(rename) },
            &["participant_updated"],
        ),
        (Input::Unpublish { participant: id("ghost"), track: TrackId::new(0, 1, 1) }, &["track_unpublished"]),
        (ghost_publishes(2), &["track_published"]),
        (
            update(PermissionOverrides { can_publish: Some(false), ..HIDDEN }),
            &["track_unpublished", "participant_updated"],
        ),
        (update(HIDDEN), &["participant_updated"]),
        (ghost_publishes(3), &["track_published"]),
        (Input::Join(Box::new(again)), &["track_unpublished", "participant_left", "participant_joined"]),
        (Input::Remove { actor: Actor::Api, participant: id("ghost-2"), now_seconds: 5 }, &["participant_left"]),
    ];
    let mut room = room(RoomSettings::default());
    enter(&mut room, "ann", Role::Attendee);
    let mut kinds = BTreeSet::new();
    for (input, wanted) in steps {
        let name = format!("{input:?}");
        let output = handle(&mut room, input).unwrap();
        assert_eq!(told(&output, true), wanted, "{name}");
        assert_eq!(told(&output, false), [""; 0], "{name}");
        kinds.extend(told(&output, true));
    }
    let all = ["joined", "left", "updated"].map(|kind| format!("participant_{kind}"));
    let all = all.into_iter().chain(["muted", "published", "unpublished"].map(|kind| format!("track_{kind}")));
    assert_eq!(kinds, all.collect(), "every event that names a participant");
    enter(&mut room, "x", Role::Attendee);
    handle(&mut room, Input::Join(Box::new(Join { admission: Admission::Api, ..ghost() }))).unwrap();
    let output = handle(&mut room, Input::Close).unwrap();
    assert_eq!(told(&output, false), ["participant_left", "participant_left", "room_closed"], "ann and x");
    assert_eq!(told(&output, true).len(), 4);
}

#[test]
fn whoever_becomes_hidden_leaves_for_others_and_whoever_becomes_visible_joins() {
    let mut room = room(RoomSettings::default());
    handle(&mut room, Input::Join(Box::new(ghost()))).unwrap();
    for number in [1, 2] {
        handle(&mut room, Input::Publish { participant: id("ghost"), track: track(number, Source::Camera) }).unwrap();
    }
    let mute = |track| Input::Mute { actor: Actor::Api, participant: id("ghost"), track: Some(track), muted: true };
    handle(&mut room, mute(TrackId::new(0, 1, 1))).unwrap();
    let shown = handle(&mut room, update(PermissionOverrides::default())).unwrap();
    assert_eq!(told(&shown, true), ["participant_updated"]);
    let joins = ["participant_joined", "track_published", "track_muted", "track_published"];
    assert_eq!(told(&shown, false), [&["participant_updated"][..], &joins].concat());
    let hidden = handle(&mut room, update(HIDDEN)).unwrap();
    assert_eq!(told(&hidden, true), ["participant_updated"]);
    assert_eq!(told(&hidden, false), ["track_unpublished", "track_unpublished", "participant_left"]);
    let again = handle(&mut room, update(HIDDEN)).unwrap();
    assert_eq!(again, [], "nothing has changed");

    handle(&mut room, update(PermissionOverrides::default())).unwrap();
    let silenced = PermissionOverrides { can_publish: Some(false), ..HIDDEN };
    let hidden = handle(&mut room, update(silenced)).unwrap();
    let leaves = ["track_unpublished", "track_unpublished", "participant_left"];
    assert_eq!(told(&hidden, false), leaves, "of what may be published no more, too");
}

#[test]
fn media_of_the_hidden_reaches_managers_alone_and_puts_no_room_on_air() {
    let mut room = room(RoomSettings::default());
    let viewers = [
        ("hob", Role::Host, Wish::LongestPublishing),
        ("ann", Role::Attendee, Wish::LongestPublishing),
        ("ben", Role::Speaker, Wish::Everything { except: Vec::new() }),
        ("cat", Role::Attendee, Wish::Participant("ghost".to_owned())),
        ("dan", Role::Attendee, Wish::Tracks(vec![TrackId::new(0, 1, 1).word()])),
    ];
    for (number, (name, role, wish)) in (10..).step_by(10).zip(viewers) {
        handle(&mut room, Input::Join(Box::new(Join { wish, ..join(name, role) }))).unwrap();
        let receivers = receivers(number..number + 2);
        handle(&mut room, Input::AddReceivers { participant: id(name), receivers }).unwrap();
    }
    let receiving = |room: &Room, number| -> Vec<String> {
        room.subscribers(TrackId::new(0, number, 1)).map(|(id, _)| id.0.clone()).collect()
    };
    handle(&mut room, Input::Start).unwrap();
    handle(&mut room, Input::Join(Box::new(ghost()))).unwrap();
    handle(&mut room, Input::Publish { participant: id("ghost"), track: track(1, Source::Camera) }).unwrap();
    assert_eq!((receiving(&room, 1), room.stage()), (vec!["hob".to_owned()], &Stage::Starting));
    let shown = handle(&mut room, update(PermissionOverrides::default())).unwrap();
    assert_eq!(receiving(&room, 1), ["ann", "ben", "cat", "dan", "hob"]);
    assert_eq!((room.stage(), told(&shown, false).last().map(String::as_str)), (&Stage::OnAir, Some("room_stage")));
    handle(&mut room, update(HIDDEN)).unwrap();
    assert_eq!(receiving(&room, 1), ["hob"]);
    // Somebody else is the first that the others see.
    enter(&mut room, "eve", Role::Speaker);
    handle(&mut room, Input::Publish { participant: id("eve"), track: track(2, Source::Camera) }).unwrap();
    assert_eq!(receiving(&room, 2), ["ann", "ben"]);
}

#[test]
fn events_name_what_happened_in_the_order_in_which_it_did() {
    let mut room = room(RoomSettings::default());
    let mut output = Vec::new();
    for input in [
        Input::Join(Box::new(join("ann", Role::Speaker))),
        Input::Join(Box::new(ghost())),
        Input::Connected(id("ghost")),
        Input::Connected(id("ann")),
        Input::Connected(id("ann")),
        Input::Publish { participant: id("ann"), track: track(1, Source::Camera) },
        Input::Leave { participant: id("ghost"), reason: LeaveReason::Left },
        Input::Leave { participant: id("ann"), reason: LeaveReason::Left },
    ] {
        room.handle(at(1), input, &mut output).unwrap();
    }
    let names =
        ["participant_joined", "participant_updated", "track_published", "track_unpublished", "participant_left"];
    assert_eq!(told(&output, false), names);
    let of_ghost = |output: &&Output| {
        let Output::Event { event, .. } = output else { return false };
        serde_json::to_value(event).unwrap()["participant_id"] == "ghost"
    };
    assert_eq!(output.iter().filter(of_ghost).count(), 3);
}
