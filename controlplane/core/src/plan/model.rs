//! Properties of a control: any sequence of steps against a model, and restarts at any moment.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sluice_protocol::plan::{Key, Object, Plan, apply};

use super::tests::{World, at, config, join, keys, room, session_id};
use super::{Control, ControlError, OpenError};
use crate::access::PermissionOverrides;
use crate::room::{Actor, Admission, Input, Join, LeaveReason, ParticipantChange, ParticipantId, RoomError, Wish};
use crate::sdp::Role as Side;

#[derive(Clone, Debug)]
enum Step {
    Publish(u8, bool),
    /// Plays, with a browser or another one, what one publisher has or whoever publishes longest.
    Play(u8, bool, Option<u8>),
    Finish(u8),
    Leave(u8),
    Mute(u8, bool, bool),
    Permit(u8, bool, bool),
    Unpublish(u8),
    Remove(u8),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0..5_u8;
    let step = prop_oneof![
        (who.clone(), any::<bool>()).prop_map(|(who, firefox)| Step::Publish(who, firefox)),
        (who.clone(), any::<bool>(), proptest::option::of(who.clone()))
            .prop_map(|(who, firefox, whom)| Step::Play(who, firefox, whom)),
        who.clone().prop_map(Step::Finish),
        who.clone().prop_map(Step::Leave),
        (who.clone(), any::<bool>(), any::<bool>()).prop_map(|(who, host, muted)| Step::Mute(who, host, muted)),
        (who.clone(), any::<bool>(), any::<bool>()).prop_map(|(who, sends, hears)| Step::Permit(who, sends, hears)),
        who.clone().prop_map(Step::Unpublish),
        who.prop_map(Step::Remove),
        Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..40)
}

/// What the room should look like, kept by other means: a list in the order of publication.
#[derive(Default)]
struct Model {
    /// Who is in the room, and whether its connection is up.
    inside: BTreeMap<String, bool>,
    /// Who of the publishers has its tracks muted, by itself or by a host.
    muted: BTreeMap<String, (bool, bool)>,
    /// Publishers with their number of tracks, oldest first.
    publishing: Vec<(String, usize)>,
    /// Viewers with whom they want, and whether they may.
    viewing: Vec<(String, Option<String>, bool)>,
}

impl Model {
    fn drop_person(&mut self, name: &str) {
        self.inside.remove(name);
        self.muted.remove(name);
        self.publishing.retain(|(own, _)| own != name);
        self.viewing.retain(|(own, _, _)| own != name);
    }

    /// What comes of something that is done to a participant.
    fn done_to(&self, name: &str) -> Result<(), ControlError> {
        self.inside.get(name).map(drop).ok_or(ControlError::Room(RoomError::NoSuchParticipant))
    }

    /// What comes of opening a connection of somebody.
    fn opened(&mut self, name: &str) -> Result<(), OpenError> {
        match self.inside.contains_key(name) {
            true => Err(OpenError::SessionExists),
            false => {
                self.inside.insert(name.to_owned(), false);
                Ok(())
            }
        }
    }

    /// The tracks that are there, each by whose it is and whether it is silent: by itself or by a host.
    fn silent(&self) -> Vec<(String, bool)> {
        let is_silent = |name: &String| self.muted.get(name).is_some_and(|(own, host)| *own || *host);
        let tracks = self.publishing.iter().map(|(name, tracks)| std::iter::repeat_n((name, is_silent(name)), *tracks));
        let mut silent: Vec<_> = tracks.flatten().map(|(name, silent)| (name.clone(), silent)).collect();
        silent.sort();
        silent
    }

    fn fed_by(&self, viewer: &str) -> Option<String> {
        let (_, wish, may) = self.viewing.iter().find(|(own, _, _)| own == viewer)?;
        let mut names = self.publishing.iter().map(|(name, _)| name);
        if !may {
            return None;
        }
        match wish {
            None => names.next().cloned(),
            Some(wish) => names.find(|name| *name == wish).cloned(),
        }
    }
}

fn publisher(who: u8) -> String {
    format!("p{who}")
}

fn viewer(who: u8) -> String {
    format!("v{who}")
}

fn participant(name: &str) -> ParticipantId {
    ParticipantId(format!("PA_{name}"))
}

impl World {
    fn attempt(&mut self, input: Input) -> Result<(), ControlError> {
        self.control.handle(at(0), &room(), input, &mut self.effects)
    }

    fn take(&mut self, model: &mut Model, step: &Step, number: usize) {
        match *step {
            Step::Publish(who, firefox) => {
                let offer = if firefox { "firefox-a-all-codecs" } else { "chromium-a-all-codecs" };
                let join = Join { admission: Admission::Api, ..join(&publisher(who), Side::Publish) };
                let (opened, expected) = (self.open(0, join, offer, Side::Publish), model.opened(&publisher(who)));
                assert_eq!(opened.map(drop), expected);
                if expected.is_ok() {
                    model.publishing.push((publisher(who), 2));
                    model.muted.insert(publisher(who), (false, false));
                }
            }
            Step::Play(who, firefox, whom) => {
                let offer = if firefox { "firefox-d-recvonly" } else { "chromium-d-recvonly" };
                let wish = whom.map_or(Wish::LongestPublishing, |whom| Wish::Participant(publisher(whom)));
                let join = Join { admission: Admission::Api, wish, ..join(&viewer(who), Side::Play) };
                let (opened, expected) = (self.open(0, join, offer, Side::Play), model.opened(&viewer(who)));
                assert_eq!(opened.map(drop), expected);
                if expected.is_ok() {
                    model.viewing.push((viewer(who), whom.map(publisher), true));
                }
            }
            Step::Finish(who) => {
                for name in [publisher(who), viewer(who)] {
                    let Some(is_up) = model.inside.get_mut(&name) else { continue };
                    let transport = self.control.session(&session_id(&name)).unwrap().offered().unwrap().transport;
                    let finished =
                        self.control.handle_handshake(at(0), transport, keys(), vec![1; 10], &mut self.effects);
                    assert_eq!(finished, if *is_up { Err(ControlError::KeysKnown) } else { Ok(()) });
                    *is_up = true;
                }
            }
            Step::Leave(who) => {
                for name in [publisher(who), viewer(who)] {
                    let closed = self.control.close(at(0), &session_id(&name), LeaveReason::Left, &mut self.effects);
                    let is_inside = model.inside.contains_key(&name);
                    assert_eq!(closed, if is_inside { Ok(()) } else { Err(ControlError::NoSuchSession) });
                    model.drop_person(&name);
                }
            }
            Step::Mute(who, host, muted) => {
                let participant = participant(&publisher(who));
                let actor = if host { Actor::Api } else { Actor::Participant(participant.clone()) };
                let done = self.attempt(Input::Mute { actor, participant, track: None, muted });
                assert_eq!(done, model.done_to(&publisher(who)));
                if let Some((by_publisher, by_host)) = model.muted.get_mut(&publisher(who)) {
                    *(if host { by_host } else { by_publisher }) = muted;
                }
            }
            Step::Permit(who, sends, hears) => self.permit(model, who, sends, hears),
            Step::Unpublish(who) => self.unpublish(model, &publisher(who)),
            Step::Remove(who) => {
                let participant = participant(&publisher(who));
                let removed = self.attempt(Input::Remove { actor: Actor::Api, participant, now_seconds: 50 });
                assert_eq!(removed, model.done_to(&publisher(who)));
                model.drop_person(&publisher(who));
            }
            Step::Restart => self.restart(model, number),
        }
    }

    fn permit(&mut self, model: &mut Model, who: u8, sends: bool, hears: bool) {
        if !sends {
            model.publishing.retain(|(name, _)| *name != publisher(who));
        }
        for (_, _, may) in model.viewing.iter_mut().filter(|(name, _, _)| *name == viewer(who)) {
            *may = hears;
        }
        for name in [publisher(who), viewer(who)] {
            let permissions = PermissionOverrides {
                can_publish: Some(sends),
                can_subscribe: Some(hears),
                ..PermissionOverrides::default()
            };
            let change = Box::new(ParticipantChange { permissions: Some(permissions), ..Default::default() });
            let done = self.attempt(Input::Update { actor: Actor::Api, participant: participant(&name), change });
            assert_eq!(done, model.done_to(&name));
        }
    }

    fn unpublish(&mut self, model: &mut Model, name: &str) {
        let Some(place) = model.publishing.iter().position(|(own, _)| *own == name) else { return };
        let own = self.control.room(&room()).unwrap().participant(&participant(name)).cloned();
        let track = own.and_then(|own| own.tracks.first().cloned()).unwrap();
        model.publishing[place].1 -= 1;
        model.publishing.retain(|(_, tracks)| *tracks > 0);
        // The room counts a publisher by the oldest track that is left, which changes nothing here: both tracks of a
        // session are published together.
        let done = self.attempt(Input::Unpublish { participant: participant(name), track: track.id });
        assert_eq!(done, Ok(()));
    }

    /// The tracks of the plan, each by whose it is and whether nothing of it may be forwarded.
    fn silent(&self) -> Vec<(String, bool)> {
        let mut silent = Vec::new();
        for object in self.control.plan().objects() {
            let Object::Track(track) = object else { continue };
            let session = self.control.session_of(track.transport).unwrap();
            silent.push((session.id.0.replace("SE_", ""), track.muted));
        }
        silent.sort();
        silent
    }

    fn restart(&mut self, model: &mut Model, number: usize) {
        let snapshot = self.control.snapshot();
        let epoch = u16::try_from(number + 2).unwrap();
        let (control, rebuilt) = Control::rebuild(at(0), config(epoch), &snapshot, &mut self.effects);
        let name = |transport| self.control.session_of(transport).unwrap().id.0.replace("SE_", "");
        let given_up: BTreeSet<String> = rebuilt.given_up.into_iter().map(|(transport, _)| name(transport)).collect();
        let half_done = model.inside.iter().filter(|(_, is_up)| !**is_up);
        assert_eq!(given_up, half_done.map(|(name, _)| name.clone()).collect());
        given_up.iter().for_each(|name| model.drop_person(name));
        self.control = control;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The oracle is a list of publishers and viewers that knows nothing of sections, addresses and cookies.
    #[test]
    fn the_plan_says_exactly_what_subscriptions_say(steps in steps()) {
        let (mut world, mut model) = (World::new(), Model::default());
        let mut have = world.control.snapshot();
        world.control.take_changes();
        for (number, step) in steps.iter().enumerate() {
            world.take(&mut model, step, number);
            for change in world.control.take_changes() {
                apply(&mut have, &change);
            }
            prop_assert_eq!(&have, world.control.plan(), "after {:?}", step);
            check_references(world.control.plan());
            for (viewer, _, _) in &model.viewing {
                let fed = world.fed_by(viewer);
                let expected = model.fed_by(viewer);
                let tracks = model.publishing.iter().find(|(name, _)| Some(name) == expected.as_ref()).map_or(0, |(_, n)| *n);
                prop_assert!(fed.iter().flatten().all(|name| Some(name) == expected.as_ref()), "{:?}: {:?}", step, fed);
                prop_assert_eq!(fed.iter().flatten().count(), tracks, "{:?}: {:?}", step, fed);
            }
            let names: Vec<_> = world.control.sessions().map(|session| session.id.0.replace("SE_", "")).collect();
            prop_assert_eq!(names, model.inside.keys().cloned().collect::<Vec<_>>(), "after {:?}", step);
            prop_assert_eq!(world.silent(), model.silent(), "after {:?}", step);
            let due = world.control.rooms().flat_map(|room| room.participants()).filter_map(|own| own.state.deadline()).min();
            prop_assert_eq!(world.control.poll_timeout(), due, "after {:?}", step);
            prop_assert_eq!(world.control.sessions().len(), world.control.room(&room()).unwrap().participants().len());
        }
    }

    /// The oracle is the state before the restart.
    #[test]
    fn a_rebuilt_state_is_the_same_state(steps in steps()) {
        let (mut world, mut model) = (World::new(), Model::default());
        for (number, step) in steps.iter().enumerate() {
            world.take(&mut model, step, number);
        }
        let unfinished: Vec<_> =
            world.control.sessions().filter(|session| session.connections().any(|own| own.keys.is_none())).map(|session| session.id.clone()).collect();
        for id in unfinished {
            world.control.close(at(0), &id, LeaveReason::Left, &mut world.effects).unwrap();
        }
        let snapshot = world.control.snapshot();
        let (control, rebuilt) = Control::rebuild(at(0), config(999), &snapshot, &mut Vec::new());
        prop_assert_eq!(rebuilt.given_up, vec![]);
        prop_assert_eq!(control.plan(), &snapshot);
        prop_assert!(control.sessions().eq(world.control.sessions()));
        let (before, after) = (world.control.room(&room()).unwrap(), control.room(&room()).unwrap());
        prop_assert!(before.participants().eq(after.participants()));
        prop_assert_eq!(before.settings(), after.settings());
        prop_assert_eq!(before.record(), after.record());
    }
}

/// Every object refers only to what is there, and no SSRC stands twice on one transport.
fn check_references(plan: &Plan) {
    let mut ssrcs = BTreeSet::new();
    for object in plan.objects() {
        let (transport, source) = match object {
            Object::Track(track) => (track.transport, None),
            Object::Egress(egress) => {
                for ssrc in [Some(egress.ssrc), egress.rtx].into_iter().flatten() {
                    assert!(ssrcs.insert((egress.transport, ssrc)));
                }
                (egress.transport, egress.source.as_ref())
            }
            Object::Transport(_) | Object::Path(_) | Object::Stream(_) | Object::Cookie(_) => continue,
        };
        assert!(plan.object(&Key::Transport(transport)).is_some());
        assert!(
            source.is_none_or(|source| plan.object(&Key::Track(source.track)).is_some() && !source.payloads.is_empty())
        );
    }
}
