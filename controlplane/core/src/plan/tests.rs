//! Controls from offer to plan and back, scenario by scenario.

use sluice_protocol::ice::NodeSecret;
use sluice_protocol::media::{MasterKey, SrtpKeys, SrtpProfile};
use sluice_protocol::plan::{Change, Path, Stream, StreamRole, apply, diff};

use super::*;
use crate::access::{PermissionOverrides, Role};
use crate::room::{Actor, Admission, Identity, Join, ParticipantChange, Stage, Wish};
use crate::sdp::{Fingerprint, IceCredentials, OfferError, Role as Side, vectors};

pub(super) const SECOND: u64 = 1000;

pub(super) fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

pub(super) fn config(epoch: u16) -> Config {
    Config { shards: 1, epoch, seed: u64::from(epoch) + 7 }
}

pub(super) fn room() -> RoomId {
    RoomId("room".to_owned())
}

pub(super) fn keys() -> SrtpKeys {
    let key = MasterKey { key: [1; 32], salt: [2; 14] };
    SrtpKeys { profile: SrtpProfile::AeadAes128Gcm, local: key, remote: key }
}

pub(super) fn join(name: &str, side: Side) -> Join {
    Join {
        participant: ParticipantId(format!("PA_{name}")),
        identity: Identity(name.to_owned()),
        name: name.to_owned(),
        metadata: "{}".to_owned(),
        role: if side == Side::Publish { Role::Speaker } else { Role::Attendee },
        overrides: PermissionOverrides::default(),
        admission: Admission::Token { issued_at: Some(100), room_created_at: None },
        good_until: None,
        is_publisher: side == Side::Publish,
        is_signalled: false,
        wish: Wish::LongestPublishing,
    }
}

pub(super) fn session_id(name: &str) -> SessionId {
    SessionId(format!("SE_{name}"))
}

pub(super) struct World {
    pub(super) control: Control,
    pub(super) effects: Vec<Effect>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut control = Control::new(config(1));
        control.create_room(at(0), room(), RoomSettings::default()).unwrap();
        Self { control, effects: Vec::new() }
    }

    pub(super) fn open(&mut self, millis: u64, join: Join, offer: &str, side: Side) -> Result<TransportId, OpenError> {
        let offer = vectors::offer(offer);
        let session = session_id(&join.identity.0);
        let open = Open { session, room: room(), join, offer: &offer, role: side, certificate: vec![9; 500] };
        self.control.open(at(millis), open, &mut self.effects)
    }

    pub(super) fn publish(&mut self, name: &str, offer: &str) -> TransportId {
        self.open(0, join(name, Side::Publish), offer, Side::Publish).unwrap()
    }

    pub(super) fn play(&mut self, name: &str, offer: &str) -> TransportId {
        self.open(0, join(name, Side::Play), offer, Side::Play).unwrap()
    }

    pub(super) fn finish(&mut self, transport: TransportId) {
        self.control.handle_handshake(at(0), transport, keys(), vec![5; 450], &mut self.effects).unwrap();
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.control.handle(at(0), &room(), input, &mut self.effects).unwrap();
    }

    fn leave(&mut self, name: &str) {
        self.control.close(at(0), &session_id(name), LeaveReason::Left, &mut self.effects).unwrap();
    }

    /// What each egress stream of a viewer is fed by: the identity of the publisher, by kind.
    pub(super) fn fed_by(&self, name: &str) -> Vec<Option<String>> {
        let session = self.control.session(&session_id(name)).unwrap();
        let source = |object: &SectionObject| match object {
            SectionObject::Egress { id, .. } => match self.control.plan.object(&Key::Egress(*id)) {
                Some(Object::Egress(egress)) => Some(egress.source.clone()),
                _ => panic!("the plan has the stream"),
            },
            SectionObject::Nothing | SectionObject::Track { .. } => None,
        };
        let publisher = |source: sluice_protocol::plan::Source| {
            let Some(Object::Track(track)) = self.control.plan.object(&Key::Track(source.track)) else {
                panic!("the plan has the source")
            };
            self.control.session_of(track.transport).unwrap().id.0.replace("SE_", "")
        };
        session
            .connections()
            .flat_map(|own| &own.sections)
            .filter_map(source)
            .map(|source| source.map(publisher))
            .collect()
    }
}

#[test]
fn a_publisher_and_a_viewer_become_a_plan() {
    let mut world = World::new();
    let publisher = world.publish("ann", "chromium-a-all-codecs");
    let viewer = world.play("ben", "firefox-d-recvonly");
    assert_eq!(world.fed_by("ben"), [Some("ann".to_owned()), Some("ann".to_owned()), None]);
    let plan = world.control.snapshot();
    let count = |wanted: fn(&Object) -> bool| plan.objects().filter(|object| wanted(object)).count();
    assert_eq!(count(|object| matches!(object, Object::Transport(_))), 2);
    assert_eq!(count(|object| matches!(object, Object::Track(_))), 2);
    assert_eq!(count(|object| matches!(object, Object::Egress(_))), 3);
    assert_eq!(count(|object| matches!(object, Object::Cookie(_))), 3, "two sessions and a room");
    let Some(Object::Transport(transport)) = world.control.plan().object(&Key::Transport(publisher)) else { panic!() };
    assert_eq!((transport.keys, transport.remb_cap, transport.extmap_allow_mixed), (None, None, true));
    let Some(Object::Transport(to_firefox)) = world.control.plan().object(&Key::Transport(viewer)) else { panic!() };
    assert_eq!((transport.rtcp_rsize, to_firefox.rtcp_rsize), (true, false));
    assert_ne!(publisher, viewer);
    for key in world.control.plan().keys() {
        let owner = world.control.connection_of_key(key).map(|connection| connection.transport);
        assert!(owner == Some(publisher) || owner == Some(viewer) || matches!(key, Key::Cookie(_)), "{key:?}");
    }
    let mut have = Plan::new();
    for change in world.control.take_changes() {
        apply(&mut have, &change);
    }
    assert_eq!(&have, world.control.plan(), "the changes are all there is");
    assert_eq!(world.control.take_changes(), []);
}

#[test]
fn an_answer_carries_our_credentials_and_address() {
    let mut world = World::new();
    world.publish("ann", "chromium-a-vp8-opus");
    let secret = NodeSecret::new([3; 32]);
    let fingerprint = Fingerprint::sha256(&[0xab; 32]);
    let candidates = ["192.0.2.1:7000".parse().unwrap(), "[2001:db8::1]:7000".parse().unwrap()];
    let session = world.control.session(&session_id("ann")).unwrap().offered().unwrap();
    let ufrag = session.ufrag().to_text();
    let answer = world.control.answer(&session_id("ann"), &secret, &fingerprint, &candidates).unwrap();
    assert!(answer.contains(&format!("a=ice-ufrag:{}\r\n", ufrag.as_str())));
    assert!(answer.contains(" 192.0.2.1 7000 typ host\r\n") && answer.contains(" 2001:db8::1 7000 typ host\r\n"));
    let password = secret.password(&ufrag);
    assert!(answer.contains(&format!("a=ice-pwd:{}\r\n", std::str::from_utf8(&password).unwrap())));
    assert_eq!(world.control.answer(&session_id("nobody"), &secret, &fingerprint, &candidates), None);
}

#[test]
fn a_viewer_moves_on_to_who_has_published_longest() {
    let mut world = World::new();
    world.play("ben", "chromium-d-recvonly");
    assert_eq!(world.fed_by("ben")[0], None, "nobody is there yet");
    world.publish("ann", "chromium-a-all-codecs");
    world.publish("cat", "firefox-a-all-codecs");
    assert_eq!(world.fed_by("ben")[0].as_deref(), Some("ann"));
    world.leave("ann");
    assert_eq!(world.fed_by("ben")[0].as_deref(), Some("cat"));
    world.publish("ann", "chromium-a-all-codecs");
    assert_eq!(world.fed_by("ben")[0].as_deref(), Some("cat"), "she came back as the younger one");
    let join = Join { wish: Wish::Participant("ann".to_owned()), ..join("dan", Side::Play) };
    world.open(0, join, "chromium-d-recvonly", Side::Play).unwrap();
    assert_eq!(world.fed_by("dan")[0].as_deref(), Some("ann"));
    world.leave("ann");
    assert_eq!(world.fed_by("dan")[0], None, "only she was asked for");
}

#[test]
fn a_viewer_who_decodes_nothing_of_a_track_is_told_and_sent_nothing() {
    let mut world = World::new();
    let (_, text) = vectors::OFFERS.iter().find(|(name, _)| *name == "chromium-b-simulcast-h264").unwrap();
    let offer = crate::sdp::Offer::parse(text.as_bytes()).unwrap();
    let join = join("ann", Side::Publish);
    let open = Open {
        session: session_id("ann"),
        room: room(),
        join,
        offer: &offer,
        role: Side::Publish,
        certificate: Vec::new(),
    };
    world.control.open(at(0), open, &mut world.effects).unwrap();
    world.play("ben", "firefox-d-recvonly");
    let is_told = world.effects.iter().any(|effect| {
        matches!(effect, Effect::Notice { notice: Notice::Undecodable { codecs, .. }, .. } if codecs == &["H264"])
    });
    let fed = world.fed_by("ben");
    assert_eq!(fed[0].as_deref(), Some("ann"), "sound is played");
    assert_eq!((is_told, fed[1].clone()), (true, None));
}

#[test]
fn a_session_that_ends_leaves_nothing_and_its_slots_come_back_after_the_acknowledgement() {
    let mut world = World::new();
    let transport = world.publish("ann", "chromium-a-vp8-opus");
    world.finish(transport);
    let track =
        world.control.plan().keys().find_map(|key| if let Key::Track(id) = key { Some(*id) } else { None }).unwrap();
    let ssrc = sluice_protocol::media::Ssrc(77);
    let stream = Object::Stream(Stream { track, ssrc, role: StreamRole::Media, rid: None });
    world.control.handle_event(at(0), &DataEvent::Learnt(Box::new(stream)), &mut world.effects);
    world.leave("ann");
    let rest: Vec<_> = world.control.plan().keys().collect();
    assert!(matches!(rest.as_slice(), [Key::Cookie(_)]), "only the room is left: {rest:?}");
    let again = world.publish("ann", "chromium-a-vp8-opus");
    assert_ne!(again.slot(), transport.slot(), "the data plane may still have it");
    world.leave("ann");
    world.control.handle_absent(&Key::Transport(transport));
    let third = world.publish("ann", "chromium-a-vp8-opus");
    assert_eq!(third.slot(), transport.slot());
    assert!(third.generation() > transport.generation());
}

#[test]
fn the_same_identity_publishes_once_but_plays_often() {
    let mut world = World::new();
    world.publish("ann", "chromium-a-vp8-opus");
    let second = Join { participant: ParticipantId("PA_ann2".to_owned()), ..join("ann", Side::Publish) };
    let offer = vectors::offer("chromium-a-vp8-opus");
    let session = SessionId("SE_ann2".to_owned());
    let open =
        Open { session, room: room(), join: second, offer: &offer, role: Side::Publish, certificate: Vec::new() };
    world.control.open(at(1), open, &mut world.effects).unwrap();
    assert!(world.control.session(&session_id("ann")).is_none());
    assert!(world.effects.iter().any(|effect| matches!(
        effect,
        Effect::SessionClosed { reason: LeaveReason::Replaced, session, .. } if *session == session_id("ann")
    )));
    for number in 0..3 {
        let viewer = Join { participant: ParticipantId(format!("PA_ann_v{number}")), ..join("ann", Side::Play) };
        let offer = vectors::offer("chromium-d-recvonly");
        let session = SessionId(format!("SE_v{number}"));
        let open =
            Open { session, room: room(), join: viewer, offer: &offer, role: Side::Play, certificate: Vec::new() };
        world.control.open(at(1), open, &mut world.effects).unwrap();
    }
    assert_eq!(world.control.sessions().len(), 4);
}

#[test]
fn refused_sessions_change_nothing() {
    let mut world = World::new();
    let before = world.control.snapshot();
    let attendee = Join { role: Role::Attendee, ..join("ann", Side::Publish) };
    assert_eq!(
        world.open(0, attendee, "chromium-a-vp8-opus", Side::Publish),
        Err(OpenError::Room(RoomError::MayNotPublish))
    );
    let overrides = PermissionOverrides {
        can_publish_sources: Some(vec![crate::access::Source::Microphone]),
        ..PermissionOverrides::default()
    };
    let microphone = Join { overrides, ..join("ann", Side::Publish) };
    assert_eq!(
        world.open(0, microphone, "chromium-a-vp8-opus", Side::Publish),
        Err(OpenError::Room(RoomError::MayNotPublish))
    );
    let wrong_way = world.open(0, join("ann", Side::Publish), "chromium-d-recvonly", Side::Publish);
    assert!(matches!(wrong_way, Err(OpenError::Offer(OfferError::NothingToPublish(_)))));
    let overrides = PermissionOverrides { can_subscribe: Some(false), ..PermissionOverrides::default() };
    let deaf = Join { overrides, ..join("ann", Side::Play) };
    assert_eq!(
        world.open(0, deaf, "chromium-d-recvonly", Side::Play),
        Err(OpenError::Room(RoomError::MayNotSubscribe))
    );
    assert_eq!((world.control.plan(), world.control.sessions().len()), (&before, 0));
    assert!(world.control.room(&room()).unwrap().participants().len() == 0 && world.effects.is_empty());
}

#[test]
fn an_ice_restart_keeps_the_old_credentials_until_the_new_ones_are_nominated() {
    let mut world = World::new();
    let transport = world.publish("ann", "chromium-a-vp8-opus");
    let id = session_id("ann");
    let (first, tag) = {
        let session = world.control.session(&id).unwrap().offered().unwrap();
        (session.ufrag(), session.entity_tag())
    };
    let same = world.control.session(&id).unwrap().offered().unwrap().negotiated.remote_ice.clone();
    assert_eq!(world.control.restart_ice(&id, same), Ok(false), "trickled candidates restart nothing");
    let other = |name: &str| IceCredentials::new(name, "abcdefghijklmnopqrstuvwx").unwrap();
    assert_eq!(world.control.restart_ice(&id, other("aaaa")), Ok(true));
    assert_eq!(world.control.restart_ice(&id, other("bbbb")), Ok(true));
    let session = world.control.session(&id).unwrap().offered().unwrap();
    let newest = session.ufrag();
    assert_eq!(session.credentials, [first, newest], "the one in the middle was never nominated");
    assert_eq!((newest.restart, newest.transport), (2, transport));
    assert_ne!(session.entity_tag(), tag);
    let (local, remote) = ("192.0.2.1:7000".parse().unwrap(), "198.51.100.1:5000".parse().unwrap());
    let path = Object::Path(Path { transport, local, remote, credentials: newest });
    world.control.take_changes();
    world.control.handle_event(at(0), &DataEvent::Learnt(Box::new(path)), &mut world.effects);
    assert_eq!(world.control.session(&id).unwrap().offered().unwrap().credentials, [newest]);
    let told = world.control.take_changes();
    assert!(matches!(told.first(), Some(Change::Put(object)) if object.key() == Key::Transport(transport)), "{told:?}");
    assert!(world.control.plan().object(&Key::Path(transport)).is_some());
}

#[test]
fn muting_silences_the_track_in_the_plan_and_a_host_has_the_last_word() {
    let mut world = World::new();
    world.publish("ann", "chromium-a-vp8-opus");
    let ann = ParticipantId("PA_ann".to_owned());
    let muted = |world: &World| {
        let muted = |object: &Object| if let Object::Track(track) = object { Some(track.muted) } else { None };
        let tracks = world.control.plan().objects().filter_map(muted);
        tracks.collect::<Vec<_>>()
    };
    let mute = |actor: Actor, muted| Input::Mute { actor, participant: ann.clone(), track: None, muted };
    world.handle(mute(Actor::Api, true));
    assert_eq!(muted(&world), [true, true]);
    world.handle(mute(Actor::Participant(ann.clone()), false));
    assert_eq!(muted(&world), [true, true], "she cannot undo it");
    world.handle(mute(Actor::Api, false));
    assert_eq!(muted(&world), [false, false]);
    world.handle(mute(Actor::Participant(ann.clone()), true));
    assert_eq!(muted(&world), [true, true]);
}

#[test]
fn whoever_loses_a_permission_loses_what_it_gave() {
    let mut world = World::new();
    world.publish("ann", "chromium-a-vp8-opus");
    world.play("ben", "chromium-d-recvonly");
    let change =
        |overrides| Box::new(ParticipantChange { permissions: Some(overrides), ..ParticipantChange::default() });
    let deaf = PermissionOverrides { can_subscribe: Some(false), ..PermissionOverrides::default() };
    world.handle(Input::Update {
        actor: Actor::Api,
        participant: ParticipantId("PA_ben".to_owned()),
        change: change(deaf),
    });
    assert_eq!(world.fed_by("ben"), [None, None, None]);
    world.handle(Input::Update {
        actor: Actor::Api,
        participant: ParticipantId("PA_ben".to_owned()),
        change: change(PermissionOverrides::default()),
    });
    assert_eq!(world.fed_by("ben"), [Some("ann".to_owned()), Some("ann".to_owned()), None]);
    let mute = PermissionOverrides { can_publish: Some(false), ..PermissionOverrides::default() };
    world.handle(Input::Update {
        actor: Actor::Api,
        participant: ParticipantId("PA_ann".to_owned()),
        change: change(mute),
    });
    assert_eq!(world.fed_by("ben"), [None, None, None]);
    assert!(!world.control.plan().keys().any(|key| matches!(key, Key::Track(_))));
}

#[test]
fn sessions_leave_when_their_deadlines_pass() {
    let mut world = World::new();
    let ann = world.publish("ann", "chromium-a-vp8-opus");
    world.publish("cat", "chromium-a-vp8-opus");
    world.finish(ann);
    assert_eq!(world.control.poll_timeout(), Some(at(30 * SECOND)), "who has not connected");
    world.control.handle_timeout(at(30 * SECOND), &mut world.effects);
    assert!(world.control.session(&session_id("cat")).is_none());
    assert_eq!(world.control.poll_timeout(), None);
    world.control.handle_event(at(40 * SECOND), &DataEvent::TransportSilent(ann), &mut world.effects);
    world.control.handle_event(at(50 * SECOND), &DataEvent::TransportConnected(ann), &mut world.effects);
    assert_eq!(world.control.poll_timeout(), None, "it came back");
    world.control.handle_event(at(60 * SECOND), &DataEvent::TransportSilent(ann), &mut world.effects);
    world.control.handle_timeout(at(90 * SECOND), &mut world.effects);
    assert!(world.control.session(&session_id("ann")).is_none());
}

#[test]
fn a_successor_has_the_same_state_and_closes_half_done_handshakes() {
    let mut world = World::new();
    for (name, offer) in [("ann", "chromium-b-simulcast-vp8"), ("cat", "firefox-a-all-codecs")] {
        let transport = world.publish(name, offer);
        world.finish(transport);
    }
    let ben = world.play("ben", "chromium-d-recvonly");
    world.finish(ben);
    let half = world.play("dan", "firefox-d-recvonly");
    world.handle(Input::Mute {
        actor: Actor::Api,
        participant: ParticipantId("PA_ann".to_owned()),
        track: None,
        muted: true,
    });
    world.handle(Input::Start);
    let snapshot = world.control.snapshot();
    let mut effects = Vec::new();
    let (mut successor, rebuilt) = Control::rebuild(at(0), config(2), &snapshot, &mut effects);
    assert_eq!((rebuilt.sessions, rebuilt.given_up), (3, vec![(half, GivenUp::HandshakeHalfDone)]));
    assert_eq!(effects, [], "nobody notices");
    for name in ["ann", "ben", "cat"] {
        assert_eq!(successor.session(&session_id(name)), world.control.session(&session_id(name)), "{name}");
    }
    assert!(successor.session(&session_id("dan")).is_none());
    world.leave("dan");
    let (before, after) = (world.control.room(&room()).unwrap(), successor.room(&room()).unwrap());
    assert_eq!(before.participants().collect::<Vec<_>>(), after.participants().collect::<Vec<_>>());
    assert_eq!(after.stage(), &Stage::OnAir);
    let removals = diff(&snapshot, successor.plan());
    let is_of_dan = |change: &Change| match change {
        Change::Remove(Key::Transport(id)) => *id == half,
        Change::Remove(Key::Egress(_) | Key::Cookie(_)) => true,
        Change::Remove(_) | Change::Put(_) => false,
    };
    assert!(removals.iter().all(is_of_dan) && removals.len() == 5, "{removals:?}");
    assert_eq!(successor.take_changes(), removals);
    let mut world = World { control: successor, effects };
    let new = world.play("eve", "chromium-d-recvonly");
    assert!(new.generation() >> 16 == 2 && !snapshot.keys().any(|key| *key == Key::Transport(new)));
    assert_eq!(world.fed_by("eve")[0].as_deref(), Some("ann"));
}

#[test]
fn unreadable_cookies_cost_their_session_only() {
    let mut world = World::new();
    let (ann, cat) = (world.publish("ann", "chromium-a-vp8-opus"), world.publish("cat", "chromium-a-vp8-opus"));
    world.finish(ann);
    world.finish(cat);
    let mut snapshot = world.control.snapshot();
    let key = crate::session::cookie_key_of_session(ann);
    snapshot.put(Object::Cookie(sluice_protocol::plan::Cookie { key, bytes: vec![0xff; 40] }));
    let (successor, rebuilt) = Control::rebuild(at(0), config(2), &snapshot, &mut Vec::new());
    assert_eq!((rebuilt.sessions, rebuilt.given_up), (1, vec![(ann, GivenUp::NoCookie)]));
    assert!(successor.session(&session_id("cat")).is_some());
    assert!(!successor.plan().keys().any(|key| *key == Key::Transport(ann)));
}

#[test]
fn one_token_does_not_take_the_table_by_sessions_that_never_connect() {
    let mut world = World::new();
    let offer = vectors::offer("chromium-d-recvonly");
    let open = |world: &mut World, number: u32, identity: &str| {
        let join = Join {
            participant: ParticipantId(format!("PA_{number}")),
            identity: Identity(identity.to_owned()),
            ..join("evil", Side::Play)
        };
        let session = SessionId(format!("SE_{number}"));
        let open = Open { session, room: room(), join, offer: &offer, role: Side::Play, certificate: vec![9; 500] };
        world.control.open(at(0), open, &mut world.effects)
    };
    let mut number = 0;
    let refusal = loop {
        number += 1;
        match open(&mut world, number, "evil") {
            Ok(_) => assert!(number < 4096, "nobody refuses"),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(refusal, OpenError::TooManyJoining);
    let other = open(&mut world, 0, "other").expect("others come in");
    world.control.close(at(0), &SessionId("SE_1".to_owned()), LeaveReason::Left, &mut world.effects).unwrap();
    open(&mut world, number, "evil").expect("a place came back");
    world.finish(other);
}
