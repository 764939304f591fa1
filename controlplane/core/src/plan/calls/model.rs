//! Properties of calls: any sequence of steps against a model that knows nothing of m-lines, addresses and cookies.

use std::collections::BTreeSet;

use proptest::prelude::*;
use sluice_protocol::plan::apply;

use super::client::LineState;
use super::*;
use crate::access::{PermissionOverrides, Role};
use crate::room::{Actor, Admission, LeaveReason, ParticipantChange, SubscriptionChange, Term};

const USERS: u32 = 4;

#[derive(Clone, Debug)]
enum Step {
    Open(u32),
    Close(u32),
    Join(u32, u8, bool),
    /// The same with a token that is good for so many milliseconds.
    JoinFor(u32, u8, u64),
    Renew(u32, u8, u64),
    Leave(u32, u8),
    /// Adds a track, audio or video, and offers it.
    Add(u32, bool),
    /// Ends a track with an offer: its m-line becomes inactive, or stops.
    End(u32, usize, bool),
    /// Sends the newest offer once more, as if its answer had been lost.
    RepeatOffer(u32),
    /// Restarts ICE of both connections.
    Restart(u32),
    Unpublish(u32, usize),
    PublishIn(u32, usize, u8),
    Subscribe(u32, u8, u32, usize),
    Unsubscribe(u32, u8, u32, usize),
    Pause(u32, u8, u32, usize, bool),
    /// Has an offer of ours made, or made again; the answer gets lost.
    Offer(u32),
    Answer(u32, bool),
    RepeatAnswer(u32),
    AnswerAnother(u32, u64),
    Finish(u32),
    /// Changes whether somebody may publish and subscribe in a room.
    Permit(u32, u8, bool, bool),
    Remove(u32, u8),
    Drop(u32, bool),
    ControlDies,
    /// Lets milliseconds pass.
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (who, room, nth, flag) = (0..USERS, 0..2_u8, 0..3_usize, any::<bool>());
    let track = (who.clone(), room.clone(), who.clone(), nth.clone());
    let step = prop_oneof![
        3 => who.clone().prop_map(Step::Open),
        1 => who.clone().prop_map(Step::Close),
        4 => (who.clone(), room.clone(), flag).prop_map(|(who, room, all)| Step::Join(who, room, all)),
        2 => (who.clone(), room.clone(), 0..1500_u64).prop_map(|(who, room, ms)| Step::JoinFor(who, room, ms)),
        1 => (who.clone(), room.clone(), 0..1500_u64).prop_map(|(who, room, ms)| Step::Renew(who, room, ms)),
        1 => (who.clone(), room.clone()).prop_map(|(who, room)| Step::Leave(who, room)),
        4 => (who.clone(), flag).prop_map(|(who, video)| Step::Add(who, video)),
        2 => (who.clone(), nth.clone(), flag).prop_map(|(who, nth, stops)| Step::End(who, nth, stops)),
        1 => who.clone().prop_map(Step::RepeatOffer),
        1 => who.clone().prop_map(Step::Restart),
        1 => (who.clone(), nth.clone()).prop_map(|(who, nth)| Step::Unpublish(who, nth)),
        1 => (who.clone(), nth, room).prop_map(|(who, nth, room)| Step::PublishIn(who, nth, room)),
        2 => track.clone().prop_map(|(who, room, whom, nth)| Step::Subscribe(who, room, whom, nth)),
        2 => track.clone().prop_map(|(who, room, whom, nth)| Step::Unsubscribe(who, room, whom, nth)),
        1 => (track, flag).prop_map(|((who, room, whom, nth), on)| Step::Pause(who, room, whom, nth, on)),
        3 => who.clone().prop_map(Step::Offer),
        4 => (who.clone(), flag).prop_map(|(who, whole)| Step::Answer(who, whole)),
        1 => who.clone().prop_map(Step::RepeatAnswer),
        1 => (who.clone(), 0..9_u64).prop_map(|(who, id)| Step::AnswerAnother(who, id)),
        3 => who.clone().prop_map(Step::Finish),
        1 => (who.clone(), 0..2_u8, flag, any::<bool>()).prop_map(|(who, room, sends, hears)| Step::Permit(who, room, sends, hears)),
        1 => (who.clone(), 0..2_u8).prop_map(|(who, room)| Step::Remove(who, room)),
        1 => (who, flag).prop_map(|(who, publishes)| Step::Drop(who, publishes)),
        1 => Just(Step::ControlDies),
        2 => (0..400_u64).prop_map(Step::Pass),
    ];
    proptest::collection::vec(step, 0..60)
}

/// Who is where, who publishes what where, and who wants what: sets, and nothing else.
#[derive(Default)]
struct Model {
    /// Who is in which room, and whether it wants everything of itself.
    inside: BTreeMap<(u32, u8), bool>,
    /// When their tokens end, of those who have one that does.
    until: BTreeMap<(u32, u8), Instant>,
    /// Which track of whom is in which room.
    published: BTreeSet<(u32, TrackId, u8)>,
    /// What differs from what somebody wants of itself.
    except: BTreeSet<(u32, u8, TrackId)>,
    paused: BTreeSet<(u32, u8, TrackId)>,
    /// Who may not publish, and who may not subscribe.
    dumb: BTreeSet<(u32, u8)>,
    deaf: BTreeSet<(u32, u8)>,
    /// The most tracks that somebody wanted at the same time.
    wanted_max: BTreeMap<u32, usize>,
}

impl Model {
    fn leave(&mut self, who: u32, room: u8) {
        self.inside.remove(&(who, room));
        self.until.remove(&(who, room));
        self.dumb.remove(&(who, room));
        self.deaf.remove(&(who, room));
        self.published.retain(|(own, _, at)| (*own, *at) != (who, room));
        self.except.retain(|(own, at, _)| (*own, *at) != (who, room));
        self.paused.retain(|(own, at, _)| (*own, *at) != (who, room));
        self.forget_gone();
    }

    /// Whose token has ended is out.
    fn pass(&mut self, now: Instant) {
        let ended: Vec<_> = self.until.iter().filter(|(_, until)| **until <= now).map(|(stay, _)| *stay).collect();
        ended.into_iter().for_each(|(who, room)| self.leave(who, room));
    }

    /// Nobody remembers anything of a track that is not in the room any more.
    fn forget_gone(&mut self) {
        let published = self.published.clone();
        let is_there = |room: u8, track: TrackId| published.iter().any(|(_, own, at)| (*own, *at) == (track, room));
        self.except.retain(|(_, room, track)| is_there(*room, *track));
        self.paused.retain(|(_, room, track)| is_there(*room, *track));
    }

    fn wants(&self, who: u32, room: u8, track: TrackId) -> bool {
        let is_there = self.published.iter().any(|(whose, own, at)| (*own, *at) == (track, room) && *whose != who);
        let everything = self.inside.get(&(who, room));
        let hears = !self.deaf.contains(&(who, room));
        hears && is_there && everything.is_some_and(|all| *all != self.except.contains(&(who, room, track)))
    }

    /// What somebody is to be fed, each with whether it is paused: only where every room has it paused.
    fn wanted(&self, who: u32) -> BTreeMap<TrackId, bool> {
        let mut wanted = BTreeMap::new();
        for (_, track, room) in &self.published {
            if self.wants(who, *room, *track) {
                let paused = self.paused.contains(&(who, *room, *track));
                *wanted.entry(*track).or_insert(true) &= paused;
            }
        }
        wanted
    }
}

impl Call {
    fn is_open(&self, who: u32) -> bool {
        self.control.session(&user(who)).is_some()
    }

    fn take(&mut self, model: &mut Model, step: &Step, number: usize) {
        match *step {
            Step::Open(who) => drop(self.open(who, Simulcast::All)),
            Step::Close(who) => {
                let closed = self.control.close(self.now, &user(who), LeaveReason::Left, &mut self.effects);
                assert_eq!(closed.is_ok(), self.clients.remove(&who).is_some());
                self.offers.remove(&who);
                (0..2).for_each(|room| model.leave(who, room));
            }
            Step::Join(who, room, all) => {
                let wish = if all { Wish::Everything { except: Vec::new() } } else { Wish::Tracks(Vec::new()) };
                if self.join(who, room, wish).is_ok() {
                    model.inside.insert((who, room), all);
                }
            }
            Step::JoinFor(who, room, milliseconds) => {
                let until = self.now + Duration::from_millis(milliseconds);
                if self.join_until(who, room, Wish::Everything { except: Vec::new() }, Some(until)).is_ok() {
                    model.inside.insert((who, room), true);
                    model.until.insert((who, room), until);
                }
            }
            Step::Renew(who, room, milliseconds) => self.renew(model, (who, room), milliseconds),
            Step::Leave(who, room) => {
                let left =
                    self.control.leave_room(self.now, &user(who), &room_id(room), LeaveReason::Left, &mut self.effects);
                assert_eq!(left.is_ok(), model.inside.contains_key(&(who, room)));
                model.leave(who, room);
            }
            Step::Add(..) | Step::End(..) | Step::RepeatOffer(_) | Step::Restart(_) => self.renegotiate(model, step),
            Step::Unpublish(who, nth) => {
                let Some(track) = self.tracks_of(who).get(nth).copied() else { return };
                let input = Input::Unpublish { participant: participant(who), track };
                if self.handle(0, input).is_ok() {
                    model.published.remove(&(who, track, 0));
                    model.forget_gone();
                }
            }
            Step::PublishIn(who, nth, room) => {
                let Some(track) = self.tracks_of(who).get(nth).copied() else { return };
                if self.control.publish_in(self.now, &user(who), &room_id(room), track, &mut self.effects).is_ok() {
                    model.published.insert((who, track, room));
                }
            }
            Step::Subscribe(who, room, whom, nth) => self.want(model, who, room, (whom, nth), true),
            Step::Unsubscribe(who, room, whom, nth) => self.want(model, who, room, (whom, nth), false),
            Step::Pause(who, room, whom, nth, on) => {
                let Some(track) = self.tracks_of(whom).get(nth).copied() else { return };
                let change = SubscriptionChange { is_paused: Some(on), ..SubscriptionChange::default() };
                let done =
                    self.handle(room, Input::UpdateSubscription { participant: participant(who), track, change });
                assert_eq!(done.is_ok(), model.wants(who, room, track));
                model.paused.remove(&(who, room, track));
                model.paused.extend((done.is_ok() && on).then_some((who, room, track)));
            }
            Step::Offer(_) | Step::Answer(..) | Step::RepeatAnswer(_) | Step::AnswerAnother(..) => self.exchange(step),
            Step::Permit(who, room, sends, hears) => self.permit(model, (who, room), sends, hears),
            Step::Remove(who, room) => {
                let input = Input::Remove { actor: Actor::Api, participant: participant(who), now_seconds: 50 };
                assert_eq!(self.handle(room, input).is_ok(), model.inside.contains_key(&(who, room)));
                model.leave(who, room);
            }
            Step::Finish(who) if self.is_open(who) => self.finish(who),
            Step::Drop(who, publishes) => self.drop_connection(model, who, publishes),
            Step::ControlDies => self.restart(model, number),
            Step::Pass(milliseconds) => {
                self.pass(milliseconds);
                model.pass(self.now);
            }
            Step::Finish(_) => {}
        }
    }

    /// Steps of the client's own connection.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other steps were sorted out before")]
    fn renegotiate(&mut self, model: &mut Model, step: &Step) {
        let (Step::Add(who, _) | Step::End(who, ..) | Step::RepeatOffer(who) | Step::Restart(who)) = *step else {
            return;
        };
        let is_inside = model.inside.keys().any(|(own, _)| *own == who);
        let Some(client) = self.clients.get_mut(&who).filter(|_| is_inside) else { return };
        let before = client.clone();
        match *step {
            Step::Add(_, video) if client.lines.len() < 8 => client.add(video),
            Step::End(_, nth, stops) => {
                let Some(line) = client.lines.get_mut(nth).filter(|line| line.state != LineState::Stopped) else {
                    return;
                };
                line.state = if stops { LineState::Stopped } else { LineState::Inactive };
            }
            Step::RepeatOffer(_) => {
                let Ok(offer) = Offer::parse(client.text().as_bytes()) else { return };
                let offer = ClientOffer { id: OfferId(client.offers), offer: &offer, tracks: &[] };
                let again = self.control.publish(self.now, &user(who), offer, &mut self.effects);
                let is_open = self.control.session(&user(who)).unwrap().publisher.is_some();
                assert_eq!(matches!(again, Ok(Published::Repeated(_))), is_open, "{again:?}");
                return;
            }
            Step::Restart(_) => {
                client.restart_ice();
                drop(self.control.restart_subscriber(self.now, &user(who), &mut self.effects));
            }
            _ => return,
        }
        if before.lines.is_empty() && self.clients[&who].lines.is_empty() {
            return;
        }
        let (old, rooms) = (self.tracks_of(who), model.inside.keys().filter(|(own, _)| *own == who));
        let rooms: Vec<u8> = rooms.map(|(_, room)| *room).filter(|room| !model.dumb.contains(&(who, *room))).collect();
        match self.publish(who, &[]) {
            Ok(_) => {
                let new = self.tracks_of(who);
                model.published.retain(|(own, track, _)| *own != who || new.contains(track));
                for track in new.iter().filter(|track| !old.contains(track)) {
                    model.published.extend(rooms.iter().map(|room| (who, *track, *room)));
                }
                model.forget_gone();
            }
            // The client goes back to what it had: a first offer of which nothing is sent is refused, and a new track that no
            // room lets it publish.
            Err(error) => {
                let is_first = self.control.session(&user(who)).unwrap().publisher.is_none();
                assert!(is_first || rooms.is_empty(), "{error}");
                self.clients.insert(who, before);
            }
        }
    }

    fn permit(&mut self, model: &mut Model, (who, room): (u32, u8), sends: bool, hears: bool) {
        let permissions = PermissionOverrides {
            can_publish: Some(sends),
            can_subscribe: Some(hears),
            ..PermissionOverrides::default()
        };
        let change = Box::new(ParticipantChange { permissions: Some(permissions), ..ParticipantChange::default() });
        if self.handle(room, Input::Update { actor: Actor::Api, participant: participant(who), change }).is_err() {
            return;
        }
        model.dumb.remove(&(who, room));
        model.deaf.remove(&(who, room));
        if !sends {
            model.dumb.insert((who, room));
            model.published.retain(|(own, _, at)| (*own, *at) != (who, room));
            model.forget_gone();
        }
        if !hears {
            model.deaf.insert((who, room));
            model.paused.retain(|(own, at, _)| (*own, *at) != (who, room));
        }
    }

    fn renew(&mut self, model: &mut Model, (who, room): (u32, u8), milliseconds: u64) {
        let until = self.now + Duration::from_millis(milliseconds);
        let term = Term { until, role: Role::Speaker, overrides: PermissionOverrides::default() };
        let admission = Admission::Token { issued_at: Some(100), room_created_at: None };
        let (session, room_id) = (user(who), room_id(room));
        let renewed = self.control.renew_stay(self.now, &session, &room_id, (term, admission), &mut self.effects);
        assert_eq!(renewed.is_ok(), model.inside.contains_key(&(who, room)), "{renewed:?}");
        if let Some(known) = model.until.get_mut(&(who, room)) {
            *known = until.max(*known);
        }
    }

    fn want(&mut self, model: &mut Model, who: u32, room: u8, (whom, nth): (u32, usize), wants: bool) {
        let Some(track) = self.tracks_of(whom).get(nth).copied() else { return };
        let participant = participant(who);
        let input =
            if wants { Input::Subscribe { participant, track } } else { Input::Unsubscribe { participant, track } };
        if self.handle(room, input).is_ok() && model.wants(who, room, track) != wants {
            let differs = model.inside[&(who, room)] != wants;
            model.except.remove(&(who, room, track));
            model.except.extend(differs.then_some((who, room, track)));
            if !wants {
                model.paused.remove(&(who, room, track));
            }
        }
    }

    /// Steps of the connection that we offer.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other steps were sorted out before")]
    fn exchange(&mut self, step: &Step) {
        let (Step::Offer(who) | Step::Answer(who, _) | Step::RepeatAnswer(who) | Step::AnswerAnother(who, _)) = *step
        else {
            return;
        };
        if !self.is_open(who) {
            return;
        }
        match *step {
            Step::Offer(_) => drop(self.make_offer(who)),
            Step::Answer(_, whole) => {
                let Some(offer) = self.make_offer(who) else { return };
                let reaction = if whole { Reaction::TakesAll } else { Reaction::LacksH264 };
                let subscriber = |call: &Self| call.control.session(&user(who)).unwrap().subscriber.clone().unwrap();
                let offered = subscriber(self).offering.unwrap().outstanding.unwrap().offered;
                self.answer(who, &offer, reaction).unwrap();
                let answered = subscriber(self).negotiated;
                if whole {
                    assert_eq!(answered.sections, offered.sections, "what was answered is what was offered");
                }
                assert_eq!(answered.session_version, offered.session_version);
            }
            Step::RepeatAnswer(_) => {
                let session = self.control.session(&user(who)).unwrap();
                let answered = session.signalling.as_ref().unwrap().answered_offer;
                let is_gone = session.subscriber.is_none() || answered == OfferId(0);
                let Some(offer) = self.offers.get(&who).filter(|own| own.id == answered && !is_gone).cloned() else {
                    return;
                };
                let before = self.control.snapshot();
                assert_eq!(self.answer(who, &offer, Reaction::TakesAll), Ok(Taken::Repeated));
                assert_eq!(self.control.plan(), &before);
            }
            Step::AnswerAnother(_, id) => {
                let session = self.control.session(&user(who)).unwrap();
                let in_flight = session.subscriber.as_ref().and_then(|own| own.offering.as_ref()?.outstanding.as_ref());
                let known =
                    [session.signalling.as_ref().unwrap().answered_offer, in_flight.map_or(OfferId(0), |own| own.id)];
                let Some(offer) = self.offers.get(&who).filter(|_| !known.contains(&OfferId(id))).cloned() else {
                    return;
                };
                let before = self.control.snapshot();
                let other = ServerOffer { id: OfferId(id), ..offer };
                assert!(matches!(self.answer(who, &other, Reaction::TakesAll), Err(AnswerRefused::OtherOffer { .. })));
                assert_eq!(self.control.plan(), &before);
            }
            _ => {}
        }
    }

    fn drop_connection(&mut self, model: &mut Model, who: u32, publishes: bool) {
        let Some(session) = self.control.session(&user(who)) else { return };
        let slot = if publishes { &session.publisher } else { &session.subscriber };
        let Some(transport) = slot.as_ref().map(|own| own.transport) else { return };
        self.control.close_transport(self.now, transport, LeaveReason::TransportFailed, &mut self.effects);
        self.connection_gone(model, who, publishes);
    }

    fn connection_gone(&mut self, model: &mut Model, who: u32, publishes: bool) {
        if publishes {
            self.clients.get_mut(&who).unwrap().forget_connection();
            model.published.retain(|(own, _, _)| *own != who);
            model.forget_gone();
        }
    }

    fn restart(&mut self, model: &mut Model, number: usize) {
        let snapshot = self.control.snapshot();
        let owners: BTreeMap<TransportId, (u32, bool)> = (0..USERS)
            .filter_map(|who| Some((who, self.control.session(&user(who))?)))
            .flat_map(|(who, session)| {
                session.connections().map(move |own| (own.transport, (who, own.offering.is_none())))
            })
            .collect();
        let mut effects = Vec::new();
        let before = self.control.clone();
        let epoch = u16::try_from(number + 2).unwrap();
        let (control, rebuilt) = Control::rebuild(self.now, config(epoch), &snapshot, &mut effects);
        assert_eq!(rebuilt.unread, []);
        if rebuilt.given_up.is_empty() {
            assert_eq!(control.plan(), before.plan());
            assert!(control.sessions().eq(before.sessions()), "a successor knows the same");
            assert!(control.rooms().flat_map(Room::participants).eq(before.rooms().flat_map(Room::participants)));
        }
        self.control = control;
        self.effects.extend(effects);
        for (transport, _) in rebuilt.given_up {
            let (who, publishes) = owners[&transport];
            self.connection_gone(model, who, publishes);
        }
    }

    /// What must hold after each step.
    fn check(&mut self, model: &mut Model, step: &Step) {
        self.check_ssrcs();
        for who in 0..USERS {
            let wanted = model.wanted(who);
            let most = model.wanted_max.entry(who).or_default();
            *most = wanted.len().max(*most);
            for (track, egress) in self.fed(who) {
                assert_eq!(wanted.get(&track), Some(&egress.paused), "{who} is fed what it wants, after {step:?}");
            }
            let Some(session) = self.control.session(&user(who)) else { continue };
            let lines = session.subscriber.as_ref().map_or(0, |own| own.offering.as_ref().unwrap().places.len());
            // Of each kind twice what was wanted at most.
            assert!(lines <= 4 * *most, "{lines} m-lines for {most} tracks");
            let rooms: BTreeSet<u8> =
                model.inside.keys().filter(|(own, _)| *own == who).map(|(_, room)| *room).collect();
            assert_eq!(session.memberships.len(), rooms.len());
        }
        let published: BTreeSet<TrackId> = model.published.iter().map(|(_, track, _)| *track).collect();
        let planned = |key: &Key| if let Key::Track(track) = key { Some(*track) } else { None };
        let planned: BTreeSet<TrackId> = self.control.plan().keys().filter_map(planned).collect();
        assert_eq!(planned, published, "after {step:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 200 } else { 4096 }))]

    /// The oracle is [`Model`]: sets of who is where, publishes and wants what.
    #[test]
    fn the_plan_says_what_rooms_and_answers_say_and_all_offers_settle(steps in steps()) {
        let (mut call, mut model) = (Call::new(), Model::default());
        let mut have = call.control.snapshot();
        call.control.take_changes();
        for (number, step) in steps.iter().enumerate() {
            call.take(&mut model, step, number);
            for change in call.control.take_changes() {
                apply(&mut have, &change);
            }
            prop_assert_eq!(&have, call.control.plan(), "after {:?}", step);
            call.check(&mut model, step);
        }
        for who in (0..USERS).filter(|who| call.is_open(*who)).collect::<Vec<_>>() {
            call.settle(who);
            let fed: BTreeMap<TrackId, bool> = call.fed(who).into_iter().map(|(track, egress)| (track, egress.paused)).collect();
            prop_assert_eq!(fed, model.wanted(who), "{} gets what it wants", who);
        }
    }

    /// The same by the effects alone, as a server follows them: whatever waits has its time, and nobody has to ask.
    #[test]
    fn what_is_gathered_is_offered_in_time_without_being_asked_for(steps in steps()) {
        let (mut call, mut model) = (Call::new(), Model::default());
        call.follows = true;
        for (number, step) in steps.iter().enumerate() {
            call.take(&mut model, step, number);
            call.follow();
            call.check(&mut model, step);
            for who in (0..USERS).filter(|who| call.control.is_offer_due(&user(*who))) {
                let due = call.control.poll_timeout();
                prop_assert!(due.is_some_and(|due| due <= call.now + limits::ENDED_GATHER), "{} after {:?}", who, step);
            }
        }
        call.run_out();
        model.pass(call.now);
        for who in (0..USERS).filter(|who| call.is_open(*who)).collect::<Vec<_>>() {
            let fed: BTreeMap<TrackId, bool> = call.fed(who).into_iter().map(|(track, egress)| (track, egress.paused)).collect();
            prop_assert_eq!(fed, model.wanted(who), "{} gets what it wants", who);
            prop_assert!(!call.control.is_offer_due(&user(who)), "{} has been told what ended", who);
        }
    }
}
