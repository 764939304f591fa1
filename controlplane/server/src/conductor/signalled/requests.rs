//! What clients of sessions want, carried out.

use sluice_controlplane_core::access::{Claims, RoomClaim};
use sluice_controlplane_core::plan::{ControlError, PublishTrack};
use sluice_controlplane_core::room::{
    Actor, Admission, Identity, Input, Join, LeaveReason, Participant, ParticipantId, Room, RoomError, RoomId, Term,
    Wish,
};
use sluice_controlplane_core::session::{Session, SessionId};
use sluice_protocol::ids::TrackId;
use sluice_protocol::time::Instant;

use super::contract::{Renewer, Request};
use super::limits::DECLARED_MAX;
use super::told::{News, Reply, RequestId};
use crate::auth::LEEWAY_SECONDS;
use crate::clock;
use crate::conductor::admit::{join_of, random_id};
use crate::conductor::desk::Desk;
use crate::conductor::snapshots::refusal;
use crate::conductor::{ConductorError, Entrant, ParticipantSnapshot, RoomSnapshot};
use crate::dataplane::Acknowledged;

/// What is left to do when a request was carried out.
pub(super) enum Rest {
    /// To say that it is done.
    SayDone,
    /// Nothing: it was answered.
    Answered,
    /// To say this, when the data plane has acknowledged what it describes.
    SayAcknowledged(Acknowledged, Box<Reply>),
    /// To remember over restarts who was removed, then to say that it is done.
    RememberRemoval { room: RoomId, identity: Identity, now_seconds: u64 },
    /// To store the room's settings, then to say that it is done.
    StoreRoom(Box<RoomSnapshot>),
}

impl Desk {
    /// Carries a request out.
    pub(super) fn carry_out_request(
        &mut self,
        session: &SessionId,
        id: Option<RequestId>,
        request: Request,
    ) -> Result<Rest, ConductorError> {
        match request {
            Request::JoinRoom { room, entrant, auto_subscribe } => {
                self.join_room(session, id, &room, *entrant, auto_subscribe)?;
                return Ok(Rest::Answered);
            }
            Request::Renew(renewer) => return self.renew(session, *renewer),
            Request::LeaveRoom { room } => {
                self.leave_room(session, &room)?;
                self.reply(session, id, Reply::Left(room));
                return Ok(Rest::Answered);
            }
            Request::Offer { number, offer } => {
                let (acknowledged, reply) = self.take_offer(session, number, &offer)?;
                return Ok(Rest::SayAcknowledged(acknowledged, Box::new(reply)));
            }
            Request::Answer { number, answer } => self.take_answer(session, number, &answer)?,
            Request::RestartSubscriber => {
                let mut effects = Vec::new();
                self.control.restart_subscriber(clock::now(), session, &mut effects).map_err(refusal)?;
                self.settle(effects);
            }
            Request::RenewSubscriber { transport } => {
                if self.subscriber_of(session) == Some(transport) {
                    self.close_transport(transport, LeaveReason::TransportFailed);
                }
            }
            Request::DeclareTrack(track) => self.declare_track(session, track)?,
            Request::PublishIn { track, rooms } => self.publish_in(session, track, rooms)?,
            Request::Unpublish { track, room } => self.unpublish(session, track, room)?,
            Request::Subscribe { room, track } => {
                self.own_input(session, &room, |participant| Input::Subscribe { participant, track })?;
            }
            Request::Unsubscribe { room, track } => {
                self.own_input(session, &room, |participant| Input::Unsubscribe { participant, track })?;
            }
            Request::UpdateSubscription { room, track, change } => {
                self.own_input(session, &room, |participant| Input::UpdateSubscription { participant, track, change })?;
            }
            Request::Mute { room, participant, track, muted } => self.mute(session, room, participant, track, muted)?,
            Request::UpdateParticipant { room, participant, change } => {
                let (actor, participant) = self.actor_and(session, &room, participant.as_deref())?;
                self.input(&room, Input::Update { actor, participant, change: Box::new(change) })?;
            }
            Request::Remove { room, participant } => return self.remove(session, room, &participant),
            Request::Move { room, participant, to } => self.move_as(session, &room, &participant, &to)?,
            Request::UpdateRoom { room, change } => {
                self.check_manages(session, &room)?;
                self.input(&room, Input::UpdateRoom(Box::new(change)))?;
                return Ok(Rest::StoreRoom(Box::new(self.room_snapshot(&room)?)));
            }
            Request::EndRoom { room } => {
                self.check_manages(session, &room)?;
                self.input(&room, Input::Close)?;
            }
            Request::Nothing => {}
        }
        Ok(Rest::SayDone)
    }

    /// Returns who a session is in a room.
    fn own(&self, session: &SessionId, room: &RoomId) -> Result<ParticipantId, ConductorError> {
        let session = self.control.session(session).ok_or(ConductorError::NoSuchSession)?;
        session.participant_in(room).cloned().ok_or(ConductorError::NotInRoom)
    }

    fn own_input(
        &mut self,
        session: &SessionId,
        room: &RoomId,
        input: impl FnOnce(ParticipantId) -> Input,
    ) -> Result<(), ConductorError> {
        let own = self.own(session, room)?;
        self.input(room, input(own))
    }

    /// Returns a session as one who acts in a room, and whom it acts on: itself where nobody is named.
    fn actor_and(
        &self,
        session: &SessionId,
        room: &RoomId,
        participant: Option<&str>,
    ) -> Result<(Actor, ParticipantId), ConductorError> {
        let own = self.own(session, room)?;
        let known = self.control.room(room).and_then(|room| room.participant(&own));
        let is_own = |name: &str| known.is_some_and(|own| own.id.0 == name || own.identity.0 == name);
        let participant = match participant.filter(|name| !is_own(name)) {
            Some(name) => {
                // Who manages nobody does not learn who is there, either.
                self.check_manages(session, room)?;
                self.participant_id(room, name)?
            }
            None => own.clone(),
        };
        Ok((Actor::Participant(own), participant))
    }

    fn check_manages(&self, session: &SessionId, room: &RoomId) -> Result<(), ConductorError> {
        let own = self.own(session, room)?;
        let participant = self.control.room(room).and_then(|room| room.participant(&own));
        let manages = participant.is_some_and(|own| own.permissions().can_manage);
        if manages { Ok(()) } else { Err(RoomError::MayNotManage.into()) }
    }

    /// Lets a session into a further room.
    pub(super) fn join_room(
        &mut self,
        session: &SessionId,
        id: Option<RequestId>,
        room: &RoomId,
        entrant: Entrant,
        auto_subscribe: bool,
    ) -> Result<(), ConductorError> {
        self.check_incarnation(room, &entrant.admission)?;
        let wish = if auto_subscribe { Wish::Everything { except: Vec::new() } } else { Wish::Tracks(Vec::new()) };
        let mut effects = Vec::new();
        let good_until = entrant.good_until;
        let join = Join { good_until, ..join_of(entrant, false, wish) };
        let joined = self.control.join_room(clock::now(), session, room, join, &mut effects);
        if joined.is_ok() {
            self.tell_stay(session, id, room);
        }
        self.settle_entry(session, room, effects);
        joined.map_err(refusal)
    }

    fn tell_stay(&self, session: &SessionId, id: Option<RequestId>, room: &RoomId) {
        let stay = self.control.session(session).and_then(|own| self.stay(own, room));
        if let Some(stay) = stay {
            self.reply(session, id, Reply::Joined(Box::new(stay)));
        }
    }

    /// Has a newer token count in those of a session's rooms that it names, and tells in which it does, and until when.
    /// Where none of them takes it, what the last one says is why.
    fn renew(&mut self, session: &SessionId, renewer: Renewer) -> Result<Rest, ConductorError> {
        let Renewer { rooms, entrant } = renewer;
        let mut own = self.rooms_of(session)?;
        own.retain(|room| rooms.as_ref().is_none_or(|named| named.contains(room)));
        let (now, mut effects) = (clock::now(), Vec::new());
        let (mut renewed, mut refused) = (Vec::new(), None);
        for room in own {
            // Who has no end renews nothing.
            let Some(until) = entrant.good_until else { continue };
            let term = Term { until, role: entrant.role, overrides: entrant.overrides.clone() };
            let taken = self.check_incarnation(&room, &entrant.admission).and_then(|()| {
                let rest = (term, entrant.admission.clone());
                self.control.renew_stay(now, session, &room, rest, &mut effects).map_err(refusal)
            });
            match taken {
                Ok(()) => renewed.push((room.clone(), self.ends_at(session, &room))),
                Err(error) => refused = Some(error),
            }
        }
        // What is told holds when the control plane dies in the next moment.
        let acknowledged = self.settle_and_wait(effects);
        match refused {
            Some(error) if renewed.is_empty() => Err(error),
            Some(_) | None => Ok(Rest::SayAcknowledged(acknowledged, Box::new(Reply::Renewed(renewed)))),
        }
    }

    /// Returns when a session's stay in a room ends with its token.
    fn ends_at(&self, session: &SessionId, room: &RoomId) -> Option<Instant> {
        let participant = self.control.session(session)?.participant_in(room)?;
        let own = self.control.room(room)?.participant(participant)?;
        own.term.as_ref().map(|term| term.until)
    }

    fn leave_room(&mut self, session: &SessionId, room: &RoomId) -> Result<(), ConductorError> {
        let _own = self.own(session, room)?;
        let mut effects = Vec::new();
        let left = self.control.leave_room(clock::now(), session, room, LeaveReason::Left, &mut effects);
        self.settle(effects);
        left.map_err(refusal)
    }

    /// Notes what the next offer sends, so that who may not publish it learns so before.
    fn declare_track(&mut self, session: &SessionId, track: PublishTrack) -> Result<(), ConductorError> {
        let own = self.control.session(session).ok_or(ConductorError::NoSuchSession)?;
        let lets = |room: &RoomId| {
            let participant = own.participant_in(room).ok_or(ConductorError::NotInRoom)?;
            let participant = self.control.room(room).and_then(|room| room.participant(participant));
            Ok::<_, ConductorError>(participant.is_some_and(|own| own.permissions().allows_source(track.source)))
        };
        let mut is_let = false;
        for room in &track.rooms {
            if !lets(room)? {
                return Err(RoomError::MayNotPublish.into());
            }
        }
        for member in &own.memberships {
            is_let |= lets(&member.room)?;
        }
        if !is_let {
            return Err(RoomError::MayNotPublish.into());
        }
        let attended = self.attended.get_mut(session).ok_or(ConductorError::NoSuchSession)?;
        attended.declared.retain(|known| known.mid != track.mid);
        if attended.declared.len() >= DECLARED_MAX {
            return Err(RoomError::TooManyTracks.into());
        }
        attended.declared.push(track);
        Ok(())
    }

    fn publish_in(&mut self, session: &SessionId, track: TrackId, rooms: Vec<RoomId>) -> Result<(), ConductorError> {
        let rooms = if rooms.is_empty() { self.rooms_of(session)? } else { rooms };
        let mut effects = Vec::new();
        let outcome = rooms.iter().try_for_each(|room| {
            let _own = self.own(session, room)?;
            self.control.publish_in(clock::now(), session, room, track, &mut effects).map_err(refusal)
        });
        self.settle(effects);
        outcome
    }

    fn rooms_of(&self, session: &SessionId) -> Result<Vec<RoomId>, ConductorError> {
        let own = self.control.session(session).ok_or(ConductorError::NoSuchSession)?;
        Ok(own.memberships.iter().map(|member| member.room.clone()).collect())
    }

    /// Returns the rooms that a session publishes a track in.
    fn rooms_of_track(&self, session: &Session, track: TrackId) -> Vec<(RoomId, ParticipantId)> {
        let is_there = |room: &Room, own: &ParticipantId| {
            room.participant(own).is_some_and(|own| own.tracks.iter().any(|known| known.id == track))
        };
        let members = session.memberships.iter();
        let there = members
            .filter(|member| self.control.room(&member.room).is_some_and(|room| is_there(room, &member.participant)));
        there.map(|member| (member.room.clone(), member.participant.clone())).collect()
    }

    fn unpublish(&mut self, session: &SessionId, track: TrackId, room: Option<RoomId>) -> Result<(), ConductorError> {
        self.with_own_track(session, Some(track), room, |participant| Input::Unpublish { participant, track })
    }

    /// Hands an input to one room of a session or to all, as far as it publishes a track there.
    fn with_own_track(
        &mut self,
        session: &SessionId,
        track: Option<TrackId>,
        room: Option<RoomId>,
        input: impl Fn(ParticipantId) -> Input,
    ) -> Result<(), ConductorError> {
        let own = self.control.session(session).ok_or(ConductorError::NoSuchSession)?;
        let rooms = match (room, track) {
            (Some(room), _) => vec![(room.clone(), self.own(session, &room)?)],
            (None, Some(track)) => self.rooms_of_track(own, track),
            (None, None) => {
                own.memberships.iter().map(|member| (member.room.clone(), member.participant.clone())).collect()
            }
        };
        if rooms.is_empty() {
            return Err(RoomError::NoSuchTrack.into());
        }
        rooms.into_iter().try_for_each(|(room, participant)| self.input(&room, input(participant)))
    }

    fn mute(
        &mut self,
        session: &SessionId,
        room: Option<RoomId>,
        participant: Option<String>,
        track: Option<TrackId>,
        muted: bool,
    ) -> Result<(), ConductorError> {
        match (room, participant) {
            (Some(room), Some(name)) => {
                let (actor, participant) = self.actor_and(session, &room, Some(&name))?;
                self.input(&room, Input::Mute { actor, participant, track, muted })
            }
            (room, _) => self.with_own_track(session, track, room, |participant| Input::Mute {
                actor: Actor::Participant(participant.clone()),
                participant,
                track,
                muted,
            }),
        }
    }

    fn remove(&mut self, session: &SessionId, room: RoomId, name: &str) -> Result<Rest, ConductorError> {
        let (actor, participant) = self.actor_and(session, &room, Some(name))?;
        let (identity, now_seconds) = self.remove_as(actor, &room, participant)?;
        Ok(Rest::RememberRemoval { room, identity, now_seconds })
    }

    /// Removes a participant, and tells whom to remember as removed, and since when.
    pub(in crate::conductor) fn remove_as(
        &mut self,
        actor: Actor,
        room: &RoomId,
        participant: ParticipantId,
    ) -> Result<(Identity, u64), ConductorError> {
        let own = self.control.room(room).and_then(|room| room.participant(&participant));
        let identity = own.map(|own| own.identity.clone()).ok_or(RoomError::NoSuchParticipant)?;
        let now_seconds = clock::unix_seconds();
        self.input(room, Input::Remove { actor, participant, now_seconds })?;
        Ok((identity, now_seconds))
    }

    fn move_as(&mut self, session: &SessionId, from: &RoomId, name: &str, to: &RoomId) -> Result<(), ConductorError> {
        self.check_manages(session, from)?;
        self.check_manages(session, to)?;
        let participant = self.participant_id(from, name)?;
        self.move_participant(from, &participant, to).map(drop)
    }

    /// Returns what a token says that admits a participant to another room as it is in its own, for as long as it may stay
    /// there; `None` where that ends with no token. It is as old as the move: a removal that comes later voids it.
    fn claims_for(&self, own: &Participant, to: &RoomId) -> Option<Box<Claims>> {
        let until = own.term.as_ref()?.until;
        let created_at = self.created_at.get(to).and_then(|at| u64::try_from(clock::unix_millis(*at)).ok());
        Some(Box::new(Claims {
            room_id: Some(RoomClaim::One(to.0.clone())),
            user_id: own.identity.0.clone(),
            name: own.name.clone(),
            role: own.role,
            permissions: own.overrides.clone(),
            metadata: own.metadata.clone(),
            exp: clock::unix_seconds_at(until).saturating_sub(LEEWAY_SECONDS),
            iat: Some(clock::unix_seconds()),
            room_created_at: created_at,
            guest: false,
            admin: false,
        }))
    }

    /// Moves a participant to another room, with what it publishes, and returns it as it is there.
    pub(in crate::conductor) fn move_participant(
        &mut self,
        from: &RoomId,
        participant: &ParticipantId,
        to: &RoomId,
    ) -> Result<ParticipantSnapshot, ConductorError> {
        let session = self.control.session_of_member(from, participant).filter(|own| own.signalling.is_some());
        let id = session.map(|own| own.id.clone()).ok_or(ConductorError::NotMovable)?;
        let known = self.control.room(from).and_then(|room| room.participant(participant)).cloned();
        let own = known.ok_or(RoomError::NoSuchParticipant)?;
        let join = Join {
            participant: ParticipantId(format!("PA_{}", random_id())),
            identity: own.identity.clone(),
            name: own.name.clone(),
            metadata: own.metadata.clone(),
            role: own.role,
            overrides: own.overrides.clone(),
            admission: Admission::Api,
            good_until: own.term.as_ref().map(|term| term.until),
            is_publisher: false,
            is_signalled: true,
            wish: match own.wish {
                Wish::Everything { .. } => Wish::Everything { except: Vec::new() },
                Wish::Tracks(_) | Wish::Participant(_) | Wish::LongestPublishing => Wish::Tracks(Vec::new()),
            },
        };
        let (now, mut effects) = (clock::now(), Vec::new());
        let moved = self.control.join_room(now, &id, to, join, &mut effects).and_then(|()| {
            self.tell(&id, News::Moved { room: from.clone(), to: to.clone(), claims: self.claims_for(&own, to) });
            for track in &own.tracks {
                // What the other room does not let it publish is not published there.
                match self.control.publish_in(now, &id, to, track.id, &mut effects) {
                    Ok(()) | Err(ControlError::Room(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            self.control.leave_room(now, &id, from, LeaveReason::Moved, &mut effects)
        });
        if moved.is_ok() {
            self.tell_stay(&id, None, to);
        }
        self.settle_entry(&id, to, effects);
        moved.map_err(refusal)?;
        let there = self.control.session(&id).and_then(|own| self.stay(own, to));
        there.map(|stay| stay.own).ok_or(ConductorError::NoSuchSession)
    }
}
