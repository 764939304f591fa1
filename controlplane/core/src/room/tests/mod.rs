//! Rooms by themselves.

mod hidden;

use std::time::Duration;

use sluice_protocol::ids::{EgressId, TrackId};
use sluice_protocol::media::{MediaKind, PayloadType};

use super::*;
use crate::access::{PermissionOverrides, Role, Source};
use crate::limits;
use crate::sdp::{Feedback, Format, NegotiatedCodec};

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

fn id(name: &str) -> ParticipantId {
    ParticipantId(name.to_owned())
}

fn room(settings: RoomSettings) -> Room {
    Room::new(RoomId("room".to_owned()), settings, at(0)).unwrap()
}

fn join(name: &str, role: Role) -> Join {
    Join {
        participant: id(name),
        identity: Identity(name.to_owned()),
        name: name.to_owned(),
        metadata: String::new(),
        role,
        overrides: PermissionOverrides::default(),
        admission: Admission::Token { issued_at: Some(100), room_created_at: None },
        good_until: None,
        is_publisher: false,
        is_signalled: false,
        wish: Wish::Everything { except: Vec::new() },
    }
}

fn vp8() -> Vec<NegotiatedCodec> {
    vec![NegotiatedCodec { payload_type: PayloadType(96), rtx: None, format: Format::Vp8, feedback: Feedback::NONE }]
}

fn track(number: u32, source: Source) -> Box<PublishedTrack> {
    Box::new(PublishedTrack {
        id: TrackId::new(0, number, 1),
        kind: MediaKind::Video,
        source,
        codecs: vp8(),
        layers: 1,
        width: None,
        height: None,
        muted_by_publisher: false,
        muted_by_host: true,
        order: 0,
    })
}

fn receivers(numbers: std::ops::Range<u32>) -> Vec<Receiver> {
    let receiver =
        |number| Receiver { egress: EgressId::new(0, number, 1), kind: MediaKind::Video, codecs: vp8(), track: None };
    numbers.map(receiver).collect()
}

fn handle(room: &mut Room, input: Input) -> Result<Vec<Output>, RoomError> {
    let mut output = Vec::new();
    room.handle(at(1), input, &mut output).map(|()| output)
}

fn enter(room: &mut Room, name: &str, role: Role) {
    handle(room, Input::Join(Box::new(join(name, role)))).unwrap();
}

#[test]
fn guests_need_the_pin_and_tokens_do_not() {
    let room = room(RoomSettings { pin: Some("1234".to_owned()), ..RoomSettings::default() });
    let guest = |pin: Option<&str>| {
        let admission = Admission::Guest { pin: pin.map(str::to_owned) };
        room.check_join(&Join { admission, ..join("ann", Role::Speaker) })
    };
    assert_eq!(guest(None), Err(RoomError::WrongPin));
    assert_eq!(guest(Some("123")), Err(RoomError::WrongPin));
    assert_eq!(guest(Some("1235")), Err(RoomError::WrongPin));
    assert_eq!(guest(Some("1234")), Ok(()));
    assert_eq!(room.check_join(&join("ann", Role::Speaker)), Ok(()));
}

#[test]
fn a_locked_room_admits_hosts_and_the_api() {
    let mut room = room(RoomSettings::default());
    let lock = RoomChange { is_locked: Some(true), ..RoomChange::default() };
    handle(&mut room, Input::UpdateRoom(Box::new(lock))).unwrap();
    assert_eq!(room.check_join(&join("ann", Role::Speaker)), Err(RoomError::Locked));
    assert_eq!(room.check_join(&join("ann", Role::Host)), Ok(()));
    assert_eq!(room.check_join(&Join { admission: Admission::Api, ..join("ann", Role::Speaker) }), Ok(()));
}

#[test]
fn a_full_room_refuses_and_a_replacement_still_fits() {
    let limits = RoomLimits { participants: 1, ..RoomLimits::default() };
    let mut room = room(RoomSettings { limits, ..RoomSettings::default() });
    let publisher = Join { is_publisher: true, ..join("ann", Role::Speaker) };
    handle(&mut room, Input::Join(Box::new(publisher.clone()))).unwrap();
    assert_eq!(room.check_join(&join("ben", Role::Speaker)), Err(RoomError::RoomFull));
    let again = Join { participant: id("ann-2"), ..publisher };
    let output = handle(&mut room, Input::Join(Box::new(again))).unwrap();
    assert!(output.contains(&Output::Gone { participant: id("ann"), reason: LeaveReason::Replaced }));
    assert_eq!(room.participants().map(|own| own.id.clone()).collect::<Vec<_>>(), [id("ann-2")]);
}

#[test]
fn a_removed_identity_is_out_until_it_gets_a_new_token() {
    let mut room = room(RoomSettings::default());
    for (name, role) in [("hob", Role::Host), ("ann", Role::Speaker)] {
        enter(&mut room, name, role);
    }
    let remove =
        |actor: &str| Input::Remove { actor: Actor::Participant(id(actor)), participant: id("ann"), now_seconds: 200 };
    assert_eq!(handle(&mut room, remove("ann")), Err(RoomError::MayNotManage));
    let output = handle(&mut room, remove("hob")).unwrap();
    assert!(output.contains(&Output::Gone { participant: id("ann"), reason: LeaveReason::Removed }));
    for (issued_at, outcome) in
        [(None, Err(RoomError::Revoked)), (Some(200), Err(RoomError::Revoked)), (Some(201), Ok(()))]
    {
        let admission = Admission::Token { issued_at, room_created_at: None };
        assert_eq!(room.check_join(&Join { admission, ..join("ann", Role::Speaker) }), outcome, "{issued_at:?}");
    }
    let record = room.record();
    let successor = Room::restore(record, String::new(), at(2));
    assert_eq!(successor.check_join(&join("ann", Role::Speaker)), Err(RoomError::Revoked), "also after a restart");
}

#[test]
fn removals_that_were_remembered_elsewhere_void_tokens_and_keep_guests_out_of_the_room_that_they_were_removed_from() {
    let by_token = |issued_at| {
        let admission = Admission::Token { issued_at, room_created_at: None };
        Join { admission, ..join("ann", Role::Speaker) }
    };
    let by_guest = || Join { admission: Admission::Guest { pin: None }, ..join("ann", Role::Speaker) };
    for (from, guest) in [(RemovedFrom::ThisRoom, Err(RoomError::Revoked)), (RemovedFrom::EarlierRoom, Ok(()))] {
        let mut room = room(RoomSettings::default());
        room.restore_removals(from, [(Identity("ann".to_owned()), 200)]);
        room.restore_removals(from, [(Identity("ann".to_owned()), 100)]);
        for (issued_at, outcome) in
            [(None, Err(RoomError::Revoked)), (Some(200), Err(RoomError::Revoked)), (Some(201), Ok(()))]
        {
            assert_eq!(room.check_join(&by_token(issued_at)), outcome, "{from:?} {issued_at:?}");
        }
        assert_eq!(room.check_join(&by_guest()), guest, "{from:?}");
        assert_eq!(room.check_join(&join("ben", Role::Speaker)), Ok(()), "{from:?}");
    }
}

#[test]
fn memory_of_the_revoked_is_bounded_and_forgets_the_oldest() {
    let mut room = room(RoomSettings::default());
    for number in 0..=limits::REVOKED_MAX {
        let name = format!("u{number}");
        let admission = Admission::Api;
        handle(&mut room, Input::Join(Box::new(Join { admission, ..join(&name, Role::Attendee) }))).unwrap();
        let now_seconds = 1000 + u64::try_from(number).unwrap();
        handle(&mut room, Input::Remove { actor: Actor::Api, participant: id(&name), now_seconds }).unwrap();
    }
    assert_eq!(room.check_join(&join("u0", Role::Attendee)), Ok(()));
    assert_eq!(room.check_join(&join("u1", Role::Attendee)), Err(RoomError::Revoked));
    assert!(crate::session::park_room(&room, 1).is_ok());
}

#[test]
fn a_room_goes_on_air_when_there_is_something_to_see() {
    let mut room = room(RoomSettings::default());
    enter(&mut room, "ann", Role::Speaker);
    handle(&mut room, Input::Start).unwrap();
    assert_eq!(room.stage(), &Stage::Starting);
    handle(&mut room, Input::Publish { participant: id("ann"), track: track(1, Source::Camera) }).unwrap();
    assert_eq!(room.stage(), &Stage::OnAir);
    assert_eq!(handle(&mut room, Input::Start).unwrap(), [], "idempotent");
    handle(&mut room, Input::Stop).unwrap();
    handle(&mut room, Input::Start).unwrap();
    assert_eq!(room.stage(), &Stage::OnAir, "and again");
    handle(&mut room, Input::Stop).unwrap();
    assert_eq!(handle(&mut room, Input::Stop).unwrap(), [], "idempotent");
    assert_eq!(room.stage(), &Stage::Stopped);
}

#[test]
fn everybody_receives_everything_of_others_and_places_are_kept() {
    let mut room = room(RoomSettings::default());
    for name in ["ann", "ben"] {
        enter(&mut room, name, Role::Speaker);
    }
    handle(&mut room, Input::AddReceivers { participant: id("ben"), receivers: receivers(0..2) }).unwrap();
    for (who, number) in [("ann", 1), ("ben", 2), ("ann", 3), ("ann", 4)] {
        handle(&mut room, Input::Publish { participant: id(who), track: track(number, Source::Camera) }).unwrap();
    }
    let received_by = |room: &Room, name: &str| {
        let own = room.participant(&id(name)).unwrap();
        own.receivers.iter().map(|own| own.track.map(TrackId::slot)).collect::<Vec<_>>()
    };
    assert_eq!(received_by(&room, "ben"), [Some(1), Some(3)], "not her own, and the fourth has no place");
    handle(&mut room, Input::Unpublish { participant: id("ann"), track: TrackId::new(0, 1, 1) }).unwrap();
    assert_eq!(received_by(&room, "ben"), [Some(4), Some(3)], "what stays does not move");
    let all_but_one = Wish::Everything { except: vec![TrackId::new(0, 3, 1).word()] };
    let chosen = Wish::Tracks(vec![TrackId::new(0, 3, 1).word(), TrackId::new(0, 9, 1).word()]);
    for (name, wish, expected) in
        [("cat", all_but_one, [Some(2), Some(4), None]), ("dan", chosen, [Some(3), None, None])]
    {
        handle(&mut room, Input::Join(Box::new(Join { wish, ..join(name, Role::Attendee) }))).unwrap();
        handle(&mut room, Input::AddReceivers { participant: id(name), receivers: receivers(0..3) }).unwrap();
        assert_eq!(received_by(&room, name), expected, "{name}");
    }
    assert_eq!(room.subscribers(TrackId::new(0, 3, 1)).count(), 2);
}

#[test]
fn a_track_that_is_published_starts_unmuted_by_hosts() {
    let mut room = room(RoomSettings::default());
    enter(&mut room, "ann", Role::Speaker);
    handle(&mut room, Input::Publish { participant: id("ann"), track: track(1, Source::Camera) }).unwrap();
    assert!(!room.participant(&id("ann")).unwrap().tracks[0].is_muted());
}

#[test]
fn who_mutes_and_whose_mute_stands_are_told_apart() {
    let mut room = room(RoomSettings::default());
    enter(&mut room, "ann", Role::Speaker);
    handle(&mut room, Input::Publish { participant: id("ann"), track: track(1, Source::Camera) }).unwrap();
    let mut told = |actor: Actor, muted| {
        let output = handle(&mut room, Input::Mute { actor, participant: id("ann"), track: None, muted }).unwrap();
        output.into_iter().find_map(|output| {
            let Output::Event { event: Event::TrackMuted { muted, by_host, muted_by_host, .. }, .. } = output else {
                return None;
            };
            Some((muted, by_host, muted_by_host))
        })
    };
    let own = Actor::Participant(id("ann"));
    assert_eq!(told(own.clone(), true), Some((true, false, false)));
    assert_eq!(told(Actor::Api, true), Some((true, true, true)));
    assert_eq!(told(own.clone(), false), Some((true, false, true)), "the host's mute stands");
    assert_eq!(told(own.clone(), true), Some((true, false, true)));
    assert_eq!(told(Actor::Api, false), Some((true, true, false)), "and one's own stands without it");
    assert_eq!(told(own, false), Some((false, false, false)));
}

#[test]
fn sources_and_numbers_of_tracks_are_limited() {
    let limits = RoomLimits { tracks_per_participant: 1, ..RoomLimits::default() };
    let mut room = room(RoomSettings { limits, ..RoomSettings::default() });
    enter(&mut room, "ann", Role::Speaker);
    enter(&mut room, "ben", Role::Attendee);
    let publish = |who: &str, number| Input::Publish { participant: id(who), track: track(number, Source::Camera) };
    assert_eq!(handle(&mut room, publish("ben", 1)), Err(RoomError::MayNotPublish));
    handle(&mut room, publish("ann", 2)).unwrap();
    assert_eq!(handle(&mut room, publish("ann", 3)), Err(RoomError::TooManyTracks));
    assert_eq!(handle(&mut room, publish("nobody", 4)), Err(RoomError::NoSuchParticipant));
}

#[test]
fn an_empty_room_closes_after_its_timeout_and_refuses_from_then_on() {
    let mut room = room(RoomSettings { empty_timeout: Some(Duration::from_secs(60)), ..RoomSettings::default() });
    assert_eq!(room.poll_timeout(), Some(at(60)));
    enter(&mut room, "ann", Role::Speaker);
    handle(&mut room, Input::Connected(id("ann"))).unwrap();
    assert_eq!(room.poll_timeout(), None);
    handle(&mut room, Input::Leave { participant: id("ann"), reason: LeaveReason::Left }).unwrap();
    assert_eq!(room.poll_timeout(), Some(at(61)));
    let mut output = Vec::new();
    room.handle(at(60), Input::Timeout, &mut output).unwrap();
    assert_eq!(output, []);
    room.handle(at(61), Input::Timeout, &mut output).unwrap();
    assert!(output.contains(&Output::Closed));
    assert_eq!(handle(&mut room, Input::Start), Err(RoomError::Closed));
}

#[test]
fn what_is_kept_of_a_participant_is_bounded() {
    let room = room(RoomSettings::default());
    let good = || join("ann", Role::Speaker);
    let sources = Some(vec![Source::Camera; limits::SOURCES_MAX + 1]);
    let overrides = PermissionOverrides { can_publish_sources: sources, ..PermissionOverrides::default() };
    let wish = Wish::Tracks(vec![1; limits::WISHED_TRACKS_MAX + 1]);
    for (bad, error) in [
        (Join { identity: Identity("a b".to_owned()), ..good() }, RoomError::BadId),
        (Join { participant: id(&"x".repeat(65)), ..good() }, RoomError::BadId),
        (Join { metadata: "x".repeat(limits::METADATA_BYTES_MAX + 1), ..good() }, RoomError::TooLong("metadata")),
        (Join { overrides, ..good() }, RoomError::TooLong("can_publish_sources")),
        (Join { wish, ..good() }, RoomError::TooLong("wish")),
    ] {
        assert_eq!(room.check_join(&bad), Err(error));
    }
}

fn is_updated(output: &Output) -> bool {
    matches!(output, Output::Event { event: Event::ParticipantUpdated { .. }, .. })
}

#[test]
fn what_all_participants_carry_together_is_bounded_and_those_who_stay_leave_room_for_those_who_come() {
    let mut room = room(RoomSettings::default());
    let change = |name: &str, metadata: String| {
        let change = ParticipantChange { metadata: Some(metadata), ..ParticipantChange::default() };
        Input::Update { actor: Actor::Participant(id(name)), participant: id(name), change: Box::new(change) }
    };
    let long = "x".repeat(limits::METADATA_BYTES_MAX);
    let names: Vec<String> = (0..300).map(|number| format!("p{number}")).collect();
    for name in &names[..150] {
        handle(&mut room, Input::Join(Box::new(join(name, Role::Attendee)))).unwrap();
    }
    let taken = names[..150].iter().filter(|name| handle(&mut room, change(name, long.clone())).is_ok()).count();
    assert_eq!(taken, limits::METADATA_CHANGED_OF_ROOM_BYTES_MAX / limits::METADATA_BYTES_MAX);
    assert_eq!(handle(&mut room, change("p149", "x".to_owned())), Err(RoomError::TooMuchMetadata));
    let bring = |name: &String| Input::Join(Box::new(Join { metadata: long.clone(), ..join(name, Role::Attendee) }));
    let came = names[150..].iter().filter(|name| handle(&mut room, bring(name)).is_ok()).count();
    assert_eq!(came, limits::METADATA_OF_ROOM_BYTES_MAX / limits::METADATA_BYTES_MAX - taken);
    handle(&mut room, Input::Join(Box::new(join("ann", Role::Attendee)))).unwrap();
    assert!(handle(&mut room, change("p0", "x".to_owned())).unwrap().iter().any(is_updated));
    let again = handle(&mut room, change("p0", "x".to_owned())).unwrap();
    assert_eq!(again, [], "nobody is told that nothing has changed");
}

#[test]
fn settings_that_cannot_be_are_named() {
    let check = |settings: RoomSettings| settings.check();
    let default = RoomSettings::default;
    assert_eq!(check(RoomSettings { mode: RoomMode::P2p, ..default() }), Err(RoomError::NotBuilt("p2p")));
    assert_eq!(check(RoomSettings { name: "x".repeat(300), ..default() }), Err(RoomError::TooLong("name")));
    assert_eq!(check(RoomSettings { pin: Some(String::new()), ..default() }), Err(RoomError::TooLong("pin")));
    let limits = RoomLimits { participants: 0, ..RoomLimits::default() };
    assert_eq!(check(RoomSettings { limits, ..default() }), Err(RoomError::BadLimit("participants")));
}
