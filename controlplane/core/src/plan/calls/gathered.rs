//! Offers that gather what comes and goes, and what an offer of many tracks costs.

use super::client::LineState;
use super::*;
use crate::cpu_time::cpu_time;
use crate::limits::{ENDED_GATHER, GATHER, OFFERS_APART};
use crate::room::RoomLimits;

impl Call {
    /// Answers all offers, and lets time pass while something is gathered.
    pub(super) fn run_out(&mut self) {
        for _ in 0..500 {
            self.follow();
            let users: Vec<u32> = self.clients.keys().copied().collect();
            let mut is_quiet = true;
            for number in users {
                if let Some(offer) = self.send_offer(number, None) {
                    self.answer(number, &offer, Reaction::TakesAll).unwrap();
                    is_quiet = false;
                }
            }
            match self.control.poll_timeout() {
                Some(due) => self.pass(u64::try_from(due.saturating_since(self.now).as_millis()).unwrap()),
                None if is_quiet => return,
                None => {}
            }
        }
        panic!("offers do not end");
    }

    /// Returns who is due by now, and makes those offers.
    fn due(&mut self) -> Vec<SessionId> {
        let due = |effect: &Effect| if let Effect::OfferDue(session) = effect { Some(session.clone()) } else { None };
        let due: Vec<SessionId> = self.effects.iter().filter_map(due).collect();
        self.follow();
        due
    }

    fn add(&mut self, number: u32, is_video: bool) {
        self.clients.get_mut(&number).unwrap().add(is_video);
        self.publish(number, &[]).unwrap();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

/// Some in a room who have been offered what the first of them sends: a microphone and a camera, a while ago.
fn gathering(count: u32) -> Call {
    let mut call = Call::new();
    call.follows = true;
    for number in 0..count {
        call.open(number, Simulcast::All).unwrap();
        call.join(number, 0, Wish::Everything { except: Vec::new() }).unwrap();
    }
    call.clients.get_mut(&0).unwrap().add(false);
    call.add(0, true);
    call.run_out();
    call.pass(5000);
    call.effects.clear();
    call
}

#[test]
fn tracks_that_come_together_make_one_offer_and_the_first_one_waits_for_nothing() {
    let mut call = gathering(3);
    call.add(1, false);
    assert_eq!(call.due(), [user(0)], "a connection that is not there yet is offered at once");
    call.pass(5);
    call.add(1, true);
    assert_eq!(call.due(), [], "an offer is in flight to one, and the other one's is gathered");
    call.pass(millis(GATHER) - 6);
    assert_eq!(call.due(), []);
    call.pass(1);
    assert_eq!(call.due(), [user(2)]);
    let offer = call.offers[&2].clone();
    assert_eq!((offer.id, offer.sdp.matches("m=").count()), (OfferId(2), 4), "both came with one offer");
    call.answer(2, &offer, Reaction::TakesAll).unwrap();
    call.add(1, true);
    call.pass(millis(OFFERS_APART) - 1);
    assert_eq!(call.due(), [], "offers that follow one another keep apart");
    call.pass(1);
    assert_eq!(call.due(), [user(2)]);
    call.run_out();
    assert_eq!(call.fed(2).len(), 5);
}

#[test]
fn what_ends_is_silent_at_once_and_is_offered_with_what_comes_or_after_a_while() {
    let mut call = gathering(2);
    let end = |call: &mut Call, nth: usize| {
        call.clients.get_mut(&0).unwrap().lines[nth].state = LineState::Inactive;
        call.publish(0, &[]).unwrap();
    };
    let gone = call.tracks_of(0)[0];
    end(&mut call, 0);
    assert!(call.effects.contains(&Effect::TrackUnsubscribed { session: user(1), track: gone }));
    assert_eq!((call.fed(1).len(), call.due()), (1, Vec::new()), "nothing is sent there any more");
    call.pass(millis(ENDED_GATHER) - 500);
    call.add(0, true);
    call.pass(millis(GATHER));
    assert_eq!(call.due(), [user(1)]);
    let offer = call.offers[&1].clone();
    assert_eq!((offer.sdp.matches("a=inactive").count(), offer.sdp.matches("m=").count()), (1, 3), "{}", offer.sdp);
    call.answer(1, &offer, Reaction::TakesAll).unwrap();
    assert_eq!(call.control.poll_timeout(), None, "nothing is left to be told");
    end(&mut call, 1);
    call.pass(millis(ENDED_GATHER) - 1);
    assert_eq!(call.due(), []);
    call.pass(1);
    assert_eq!(call.due(), [user(1)], "nothing came");
    call.run_out();
    call.check_ssrcs();
}

#[test]
fn what_comes_and_goes_while_it_is_gathered_is_not_offered() {
    let mut call = gathering(2);
    call.add(0, true);
    let track = call.tracks_of(0)[2];
    call.handle(0, Input::Unpublish { participant: participant(0), track }).unwrap();
    assert_eq!((call.due(), call.control.poll_timeout()), (Vec::new(), None));
    call.control.restart_subscriber(call.now, &user(1), &mut call.effects).unwrap();
    assert_eq!(call.due(), [user(1)], "who changes its network waits for nothing");
    assert_eq!(call.offers[&1].sdp.matches("m=").count(), 2);
}

#[test]
fn a_track_that_finds_no_m_line_does_not_wait_as_long_as_what_ended() {
    const EACH: usize = 8;
    let publishers = u32::try_from(limits::SUBSCRIBED_SECTIONS_MAX / EACH).unwrap();
    let (late, viewer) = (publishers, publishers + 1);
    let mut call = Call::new();
    call.follows = true;
    for number in 0..=viewer {
        call.open(number, Simulcast::All).unwrap();
        call.join(number, 0, Wish::Everything { except: Vec::new() }).unwrap();
    }
    for number in 0..publishers {
        (0..EACH).for_each(|_| call.clients.get_mut(&number).unwrap().add(false));
        call.publish(number, &[]).unwrap();
    }
    call.run_out();
    call.pass(5000);
    assert_eq!(call.fed(viewer).len(), limits::SUBSCRIBED_SECTIONS_MAX, "there are as many as there may be");
    call.add(late, false);
    call.pass(millis(ENDED_GATHER));
    assert!(!call.due().contains(&user(viewer)), "there is no m-line for it");
    call.run_out();
    let track = call.tracks_of(1)[0];
    call.handle(0, Input::Unpublish { participant: participant(1), track }).unwrap();
    call.pass(millis(GATHER));
    assert!(call.due().contains(&user(viewer)), "its m-line is needed");
    call.run_out();
    assert_eq!(call.fed(viewer).len(), limits::SUBSCRIBED_SECTIONS_MAX);
    assert!(call.fed_tracks(viewer).contains(&call.tracks_of(late)[0]));
}

/// Returns how long an offer of some tracks takes in a room of some people, until what changed is taken.
fn time_of_offer(people: u32, tracks: usize) -> Duration {
    let mut call = Call::new();
    let tracks_per_participant = u32::try_from(tracks).unwrap();
    let limits = RoomLimits { tracks_per_participant, ..RoomLimits::default() };
    call.control.create_room(at(0), room_id(2), RoomSettings { limits, ..RoomSettings::default() }).unwrap();
    for number in 0..people {
        call.open(number, Simulcast::All).unwrap();
        call.join(number, 2, Wish::Everything { except: Vec::new() }).unwrap();
    }
    (0..tracks).for_each(|_| call.clients.get_mut(&0).unwrap().add(false));
    call.control.take_changes();
    let began = cpu_time();
    call.publish(0, &[]).unwrap();
    drop(call.control.take_changes());
    let took = cpu_time() - began;
    assert_eq!(call.tracks_of(0).len(), tracks);
    took
}

#[test]
fn an_offer_of_eight_tracks_costs_a_room_little_more_than_one_of_one() {
    // By turns, and the best of each, so that what else the machine does falls on both.
    let rounds = (0..5).map(|_| (time_of_offer(60, 1), time_of_offer(60, 8)));
    let (one, eight) = rounds.reduce(|best, round| (best.0.min(round.0), best.1.min(round.1))).unwrap();
    // When each track was a walk over the room of its own it was nearly ten times as much.
    assert!(eight < 5 * one, "{one:?} for one track, {eight:?} for eight");
}

#[test]
#[ignore = "figures for docs/BENCHMARKS.md"]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn cost_of_an_offer_of_many_tracks_in_a_full_room() {
    for tracks in [2, 32] {
        let best = (0..5).map(|_| time_of_offer(250, tracks)).min().unwrap();
        println!("{best:?} for an offer of {tracks} tracks in a room of 250");
    }
}
