//! Stays that end with the token that they rest on.

use super::*;
use crate::access::{PermissionOverrides, Role};
use crate::room::{Actor, Admission, LeaveReason, ParticipantChange, RoomError, Term};

/// A moment, in seconds.
fn second(seconds: u64) -> Instant {
    at(seconds * 1000)
}

/// One in both rooms, whose tokens are good for 60 s in the first one and for 90 s in the other.
fn one() -> Call {
    let mut call = Call::new();
    call.open(0, Simulcast::All).unwrap();
    for (room, until) in [(0, 60), (1, 90)] {
        call.join_until(0, room, Wish::Tracks(Vec::new()), Some(second(until))).unwrap();
    }
    call.effects.clear();
    call
}

fn term(until: u64, role: Role) -> Term {
    Term { until: second(until), role, overrides: PermissionOverrides::default() }
}

impl Call {
    fn show(&mut self, room: u8, term: Term, issued_at: u64) -> Result<(), ControlError> {
        let admission = Admission::Token { issued_at: Some(issued_at), room_created_at: None };
        self.control.renew_stay(self.now, &user(0), &room_id(room), (term, admission), &mut self.effects)
    }

    /// Lets everything happen until a moment, and returns which rooms were left, when, and why.
    fn left_until(&mut self, seconds: u64) -> Vec<(u64, String, LeaveReason)> {
        let mut left = Vec::new();
        while let Some(due) = self.control.poll_timeout().filter(|due| *due <= second(seconds)) {
            self.now = due;
            self.control.handle_timeout(due, &mut self.effects);
            for effect in std::mem::take(&mut self.effects) {
                let Effect::MembershipEnded { membership, reason, .. } = effect else { continue };
                left.push((due.nanos / 1_000_000_000, membership.room.0, reason));
            }
        }
        self.now = second(seconds);
        left
    }
}

fn expired(seconds: u64, room: u8) -> (u64, String, LeaveReason) {
    (seconds, room_id(room).0, LeaveReason::TokenExpired)
}

#[test]
fn a_stay_ends_with_its_token_and_the_session_goes_on_elsewhere() {
    let mut call = one();
    assert_eq!(call.left_until(59), []);
    assert_eq!(call.left_until(89), [expired(60, 0)]);
    let session = call.control.session(&user(0)).unwrap();
    assert_eq!(session.memberships.iter().map(|own| own.room.clone()).collect::<Vec<_>>(), [room_id(1)]);
    assert_eq!(call.left_until(1000), [expired(90, 1)]);
    assert!(call.control.session(&user(0)).unwrap().memberships.is_empty());
}

#[test]
fn a_newer_token_prolongs_the_stay_in_its_room_and_never_shortens_it() {
    let mut call = one();
    call.show(0, term(120, Role::Speaker), 100).unwrap();
    call.show(0, term(30, Role::Speaker), 100).unwrap();
    assert_eq!(call.left_until(1000), [expired(90, 1), expired(120, 0)]);
    assert_eq!(call.show(0, term(2000, Role::Speaker), 100), Err(ControlError::NoSuchRoom), "it is over");
}

#[test]
fn a_token_renews_only_where_it_gives_no_less_whatever_hosts_changed_since() {
    let mut call = one();
    let less = Err(ControlError::Room(RoomError::GivesLess));
    assert_eq!(call.show(0, term(120, Role::Attendee), 100), less);
    let change = ParticipantChange { role: Some(Role::Host), ..ParticipantChange::default() };
    let update = Input::Update { actor: Actor::Api, participant: participant(0), change: Box::new(change) };
    call.handle(0, update).unwrap();
    call.show(0, term(120, Role::Speaker), 100).unwrap();
    let role = |call: &Call| call.control.room(&room_id(0)).unwrap().participant(&participant(0)).unwrap().role;
    assert_eq!(role(&call), Role::Host, "a token changes nothing but the end");
    call.show(0, term(150, Role::Host), 100).unwrap();
    assert_eq!(call.show(0, term(180, Role::Speaker), 100), less, "the stay rests on a host's token now");
    assert_eq!(call.left_until(1000), [expired(90, 1), expired(150, 0)]);
}

#[test]
fn a_token_from_before_a_removal_renews_nothing() {
    let mut call = one();
    let remove = Input::Remove { actor: Actor::Api, participant: participant(0), now_seconds: 200 };
    call.handle(0, remove).unwrap();
    let join = Join {
        is_publisher: false,
        admission: Admission::Token { issued_at: Some(201), room_created_at: None },
        good_until: Some(second(60)),
        ..join("u0", Side::Publish)
    };
    let join = Join { participant: participant(0), ..join };
    call.control.join_room(call.now, &user(0), &room_id(0), join, &mut call.effects).unwrap();
    call.effects.clear();
    let revoked = Err(ControlError::Room(RoomError::Revoked));
    assert_eq!(call.show(0, term(120, Role::Speaker), 100), revoked, "of the earlier stay");
    call.show(0, term(70, Role::Speaker), 201).unwrap();
    assert_eq!(call.left_until(80), [expired(70, 0)]);
}

#[test]
fn who_reconnects_has_the_rest_of_its_token_and_no_more() {
    let mut call = one();
    assert_eq!(call.left_until(50), []);
    call.control.signalling_lost(call.now, &user(0), &mut call.effects).unwrap();
    assert_eq!(call.left_until(61), [expired(60, 0)], "before the time for coming back is over");
    call.control.signalling_resumed(call.now, &user(0), &mut call.effects).unwrap();
    call.show(1, term(300, Role::Speaker), 100).unwrap();
    assert_eq!(call.left_until(299), []);
    call.control.signalling_lost(call.now, &user(0), &mut call.effects).unwrap();
    call.show(1, term(1000, Role::Speaker), 100).unwrap();
    let lost = (329, room_id(1).0, LeaveReason::ConnectionLost);
    assert_eq!(call.left_until(2000), [lost], "a newer token does not wait for whom nobody hears of");
}

#[test]
fn a_successor_keeps_the_end_of_stays_and_what_they_rest_on() {
    let mut call = one();
    call.show(1, term(100, Role::Host), 100).unwrap();
    let snapshot = call.control.snapshot();
    let (control, rebuilt) = Control::rebuild(second(70), config(2), &snapshot, &mut call.effects);
    assert_eq!((rebuilt.unread.len(), rebuilt.sessions), (0, 1));
    (call.control, call.now) = (control, second(70));
    call.effects.clear();
    assert_eq!(call.control.poll_timeout(), Some(second(60)), "what passed meanwhile is due");
    call.control.handle_timeout(call.now, &mut call.effects);
    assert!(call.control.session(&user(0)).unwrap().participant_in(&room_id(0)).is_none());
    let less = Err(ControlError::Room(RoomError::GivesLess));
    assert_eq!(call.show(1, term(500, Role::Speaker), 100), less);
    call.effects.clear();
    assert_eq!(call.left_until(1000), [expired(100, 1)]);
}
