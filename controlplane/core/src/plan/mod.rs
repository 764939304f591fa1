//! The plan that rooms want: the one place that knows all rooms and sessions of a node.
//!
//! [`Control`] hands inputs to rooms, carries what rooms decide into sessions, and keeps the [`Plan`] of protocol objects
//! in line with both. It sends nothing: the server hands [`Control::take_changes`] to the IPC session, which brings them to
//! the data plane. [`Control::rebuild`] makes the same state from a snapshot.

#[cfg(test)]
mod calls;
mod connections;
mod gathering;
mod mint;
#[cfg(test)]
mod model;
mod publishing;
mod rebuild;
mod renewing;
mod sessions;
mod signalling;
mod space;
mod subscribing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use sluice_protocol::event::Event as DataEvent;
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::media::Mid;
use sluice_protocol::plan::{Change, Key, Object, Plan, changes};
use sluice_protocol::random::Random;
use sluice_protocol::time::Instant;

pub use publishing::{ClientOffer, PublishError, PublishTrack, Published};
pub use rebuild::{GivenUp, Rebuilt};
pub use sessions::{Open, OpenError};
pub use signalling::OpenSession;
pub use subscribing::{AnswerRefused, ServerOffer, Taken};

use crate::limits;
use crate::room::{
    Audience, Event, Identity, Input, LeaveReason, Notice, Output, ParticipantId, RemovedFrom, Room, RoomError, RoomId,
    RoomSettings,
};
use crate::sdp::Role;
use crate::session::{
    CookieError, Membership, PeerConnection, SectionObject, Session, SessionId, cookie_key_of_room, park_room,
    transport_of_cookie,
};
use gathering::Gathering;
use mint::Addresses;
use space::Space;

/// What a [`Control`] is made with.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Shards of the data plane, at least one. A room lives on one of them.
    pub shards: u8,
    /// The controller's epoch, larger than that of every controller before it.
    pub epoch: u16,
    /// A random number that nobody can guess.
    pub seed: u64,
}

/// All rooms and sessions of a node, and the plan that they want.
#[derive(Clone, Debug)]
pub struct Control {
    rooms: BTreeMap<RoomId, Room>,
    /// Numbers of rooms, under which their cookies are parked.
    numbers: BTreeMap<RoomId, u64>,
    sessions: BTreeMap<SessionId, Session>,
    transports: BTreeMap<TransportId, SessionId>,
    members: BTreeMap<(RoomId, ParticipantId), SessionId>,
    /// When rooms want [`Input::Timeout`], and the same by room.
    timeouts: BTreeSet<(Instant, RoomId)>,
    timeout_of: BTreeMap<RoomId, Instant>,
    plan: Plan,
    /// Keys whose object changed since [`Control::take_changes`].
    changes: BTreeSet<Key>,
    /// Sessions whose cookies are older than they are.
    unparked: BTreeSet<SessionId>,
    addresses: Addresses,
    space: Space,
    gathering: Gathering,
    random: Random,
    shards: u8,
    next_number: u64,
}

/// What the server has to do or tell after an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Whoever listens to the room is told.
    Event {
        /// The room.
        room: RoomId,
        /// Who of them.
        audience: Audience,
        /// What happened.
        event: Event,
    },
    /// One participant is told, and the log.
    Notice {
        /// The room.
        room: RoomId,
        /// The participant.
        participant: ParticipantId,
        /// What.
        notice: Notice,
    },
    /// A session has ended: its DTLS association is to be closed and its resource answers 404. Its objects have left the
    /// plan already.
    SessionClosed {
        /// The session.
        session: SessionId,
        /// Its transport.
        transport: TransportId,
        /// Whose it was.
        membership: Membership,
        /// Why.
        reason: LeaveReason,
    },
    /// A session with a signalling connection is in a room no more; the session goes on.
    MembershipEnded {
        /// The session.
        session: SessionId,
        /// The room, and who it was there.
        membership: Membership,
        /// Why.
        reason: LeaveReason,
    },
    /// A peer connection of a session with a signalling connection has ended: its DTLS association is to be closed, and the
    /// client makes a new one.
    ConnectionClosed {
        /// The session.
        session: SessionId,
        /// Its transport.
        transport: TransportId,
        /// What the client did with it.
        role: Role,
    },
    /// The subscriber's connection of a session has something to offer, has gathered for long enough, and has no offer in
    /// flight: [`Control::make_offer`].
    OfferDue(SessionId),
    /// A session receives a track from now on.
    TrackSubscribed {
        /// The session.
        session: SessionId,
        /// The track.
        track: TrackId,
        /// The m-line of the subscriber's connection.
        mid: Mid,
        /// The codecs that the publisher may send, where the client decodes none of them.
        undecodable: Option<Vec<&'static str>>,
    },
    /// A session receives a track no more.
    TrackUnsubscribed {
        /// The session.
        session: SessionId,
        /// The track.
        track: TrackId,
    },
    /// A client refused the m-line of a track; it is not offered again while it is subscribed to.
    TrackRefused {
        /// The session.
        session: SessionId,
        /// The track.
        track: TrackId,
    },
    /// A room has ended.
    RoomClosed(RoomId),
}

/// Why a [`Control`] refuses something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No such room.
    #[error("there is no such room")]
    NoSuchRoom,
    /// The id of a room is taken.
    #[error("the room id is taken")]
    RoomExists,
    /// [`limits::ROOMS_MAX`] of the node, or [`limits::ROOMS_PER_SESSION_MAX`] of the session, is reached.
    #[error("there are as many rooms as there may be")]
    TooManyRooms,
    /// No such session.
    #[error("there is no such session")]
    NoSuchSession,
    /// A session enters all its rooms with one identity.
    #[error("the token is for another identity than the session's")]
    OtherIdentity,
    /// Keys of a transport never change.
    #[error("the session has its keys already")]
    KeysKnown,
    /// The room refuses it.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// What has to be parked does not fit.
    #[error(transparent)]
    Cookie(#[from] CookieError),
}

impl Control {
    /// Makes a node without rooms.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let shards = config.shards.max(1);
        Self {
            rooms: BTreeMap::new(),
            numbers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            transports: BTreeMap::new(),
            members: BTreeMap::new(),
            timeouts: BTreeSet::new(),
            timeout_of: BTreeMap::new(),
            plan: Plan::new(),
            changes: BTreeSet::new(),
            unparked: BTreeSet::new(),
            addresses: Addresses::new(shards, config.epoch),
            space: Space::default(),
            gathering: Gathering::default(),
            random: Random::new(config.seed),
            shards,
            next_number: 1,
        }
    }

    /// Opens a room.
    ///
    /// # Errors
    /// [`ControlError::RoomExists`], [`ControlError::TooManyRooms`], or what the settings are refused for.
    pub fn create_room(&mut self, now: Instant, id: RoomId, settings: RoomSettings) -> Result<(), ControlError> {
        if self.rooms.contains_key(&id) {
            return Err(ControlError::RoomExists);
        }
        if self.rooms.len() >= limits::ROOMS_MAX {
            return Err(ControlError::TooManyRooms);
        }
        let room = Room::new(id.clone(), settings, now)?;
        self.numbers.insert(id.clone(), self.next_number);
        self.next_number += 1;
        self.rooms.insert(id.clone(), room);
        self.schedule(&id);
        self.park_room(&id)?;
        Ok(())
    }

    /// Gives a room removals that were remembered elsewhere, see [`Room::restore_removals`].
    ///
    /// # Errors
    /// [`ControlError::NoSuchRoom`].
    pub fn restore_removals(
        &mut self,
        room: &RoomId,
        from: RemovedFrom,
        removals: impl IntoIterator<Item = (Identity, u64)>,
    ) -> Result<(), ControlError> {
        self.rooms.get_mut(room).ok_or(ControlError::NoSuchRoom)?.restore_removals(from, removals);
        self.park_room(room)?;
        Ok(())
    }

    /// Hands an input to a room and carries out what it decides.
    ///
    /// # Errors
    /// [`ControlError::NoSuchRoom`], or the room's refusal; nothing has changed then.
    pub fn handle(
        &mut self,
        now: Instant,
        room: &RoomId,
        input: Input,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ControlError> {
        self.handle_all(now, room, [input], effects)
    }

    /// Hands several inputs to a room, which brings subscriptions in line once for all of them.
    ///
    /// # Errors
    /// [`ControlError::NoSuchRoom`], or the room's refusal of one of them; those before it stand.
    pub(crate) fn handle_all(
        &mut self,
        now: Instant,
        room: &RoomId,
        inputs: impl IntoIterator<Item = Input>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ControlError> {
        let mut output = Vec::new();
        let handled = self.rooms.get_mut(room).ok_or(ControlError::NoSuchRoom)?.handle_all(now, inputs, &mut output);
        if handled.is_ok() || !output.is_empty() {
            self.carry_out(now, room, output, effects);
        }
        Ok(handled?)
    }

    /// Takes an event of the data plane.
    pub fn handle_event(&mut self, now: Instant, event: &DataEvent, effects: &mut Vec<Effect>) {
        match event {
            DataEvent::Learnt(object) => self.handle_learnt(object),
            DataEvent::Forgotten(key) => self.handle_forgotten(key),
            // Who has a signalling connection is there for as long as that is.
            DataEvent::TransportConnected(transport) | DataEvent::TransportSilent(transport)
                if self.session_of(*transport).is_some_and(|session| session.signalling.is_some()) => {}
            DataEvent::TransportConnected(transport) => {
                let has_keys = self.connection(*transport).is_some_and(|connection| connection.keys.is_some());
                if has_keys {
                    self.tell_rooms(now, *transport, Input::Connected, effects);
                }
            }
            DataEvent::TransportSilent(transport) => self.tell_rooms(now, *transport, Input::Quiet, effects),
            DataEvent::TrackStarted { .. } | DataEvent::TrackStopped { .. } => {}
            DataEvent::Undecodable { egress, .. } if self.tell_undecodable(*egress, effects) => {}
            DataEvent::Undecodable { egress, .. } => {
                if let Some(Object::Egress(object)) = self.plan.object(&Key::Egress(*egress)) {
                    let egress = *egress;
                    self.tell_rooms(now, object.transport, |_| Input::Undecodable { egress }, effects);
                }
            }
        }
    }

    /// Lets deadlines that have passed take effect; due at [`Control::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let due = self.timeouts.iter().take_while(|(due, _)| *due <= now);
        let due: Vec<RoomId> = due.map(|(_, room)| room.clone()).collect();
        for room in due {
            self.handle(now, &room, Input::Timeout, effects).expect("the room is there and open");
        }
        self.tell_gathered(now, effects);
    }

    /// Gives the slot of an object back, after the data plane acknowledged that the object is absent.
    pub fn handle_absent(&mut self, key: &Key) {
        if self.plan.object(key).is_none() {
            self.addresses.release(key);
        }
    }

    /// Returns when [`Control::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let rooms = self.timeouts.first().map(|(due, _)| *due);
        rooms.into_iter().chain(self.gathering.poll_timeout()).min()
    }

    /// Returns the plan that the data plane should have. Cookies of sessions are in it as [`Control::take_changes`] left them.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Returns what has changed of the plan since the last call, in the order in which a data plane may be told; after
    /// [`Control::rebuild`] the way from its snapshot.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.park_sessions();
        changes(&self.plan, &std::mem::take(&mut self.changes))
    }

    /// Returns the plan as a data plane has it that was told all changes.
    #[cfg(test)]
    fn snapshot(&mut self) -> Plan {
        self.park_sessions();
        self.plan.clone()
    }

    /// Returns a room.
    #[must_use]
    pub fn room(&self, id: &RoomId) -> Option<&Room> {
        self.rooms.get(id)
    }

    /// Returns all rooms in the order of their ids.
    pub fn rooms(&self) -> impl ExactSizeIterator<Item = &Room> {
        self.rooms.values()
    }

    /// Returns a session.
    #[must_use]
    pub fn session(&self, id: &SessionId) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// Returns all sessions in the order of their ids.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = &Session> {
        self.sessions.values()
    }

    /// Returns the session of a transport.
    #[must_use]
    pub fn session_of(&self, transport: TransportId) -> Option<&Session> {
        self.sessions.get(self.transports.get(&transport)?)
    }

    /// Returns the session of a participant.
    #[must_use]
    pub fn session_of_member(&self, room: &RoomId, participant: &ParticipantId) -> Option<&Session> {
        self.sessions.get(self.members.get(&(room.clone(), participant.clone()))?)
    }

    /// Returns the peer connection of a transport.
    #[must_use]
    pub fn connection(&self, transport: TransportId) -> Option<&PeerConnection> {
        self.session_of(transport)?.connection(transport)
    }

    /// Returns all peer connections.
    pub fn connections(&self) -> impl Iterator<Item = &PeerConnection> {
        self.sessions.values().flat_map(Session::connections)
    }

    /// Returns the peer connection that an object of the plan belongs to; so the server finds whom to close when the data
    /// plane refuses an object.
    #[must_use]
    pub fn connection_of_key(&self, key: &Key) -> Option<&PeerConnection> {
        let transport = match key {
            Key::Transport(transport) | Key::Path(transport) => *transport,
            Key::Track(track) | Key::Stream(track, _) => match self.plan.object(&Key::Track(*track))? {
                Object::Track(track) => track.transport,
                Object::Transport(_) | Object::Path(_) | Object::Stream(_) | Object::Egress(_) | Object::Cookie(_) => {
                    return None;
                }
            },
            Key::Egress(_) => match self.plan.object(key)? {
                Object::Egress(egress) => egress.transport,
                Object::Transport(_) | Object::Path(_) | Object::Stream(_) | Object::Track(_) | Object::Cookie(_) => {
                    return None;
                }
            },
            Key::Cookie(cookie) => transport_of_cookie(*cookie)?,
        };
        self.connection(transport)
    }

    fn tell_rooms(
        &mut self,
        now: Instant,
        transport: TransportId,
        input: impl Fn(ParticipantId) -> Input,
        effects: &mut Vec<Effect>,
    ) {
        let session = self.session_of(transport).map(|session| session.id.clone());
        if let Some(id) = session {
            self.tell_rooms_of(now, &id, input, effects);
        }
    }

    /// Tells all rooms of a session something of its participant.
    fn tell_rooms_of(
        &mut self,
        now: Instant,
        id: &SessionId,
        input: impl Fn(ParticipantId) -> Input,
        effects: &mut Vec<Effect>,
    ) {
        let memberships = self.sessions.get(id).map_or_else(Vec::new, |session| session.memberships.clone());
        for Membership { room, participant } in memberships {
            // A participant that has just left is no longer told anything.
            drop(self.handle(now, &room, input(participant), effects));
        }
    }

    /// Carries a room's decisions into sessions and the plan.
    fn carry_out(&mut self, now: Instant, room: &RoomId, output: Vec<Output>, effects: &mut Vec<Effect>) {
        let mut parked = BTreeSet::new();
        let mut is_closed = false;
        for output in output {
            match output {
                Output::Event { audience, event } => {
                    effects.push(Effect::Event { room: room.clone(), audience, event });
                }
                Output::Notice { participant, notice } => {
                    effects.push(Effect::Notice { room: room.clone(), participant, notice });
                }
                Output::Feed { participant, egress, source } => {
                    let member = (room.clone(), participant);
                    self.change_section(&member, |object| match object {
                        SectionObject::Egress { id, source: own, .. } if *id == egress => *own = source.clone(),
                        SectionObject::Egress { .. } | SectionObject::Track { .. } | SectionObject::Nothing => {}
                    });
                }
                Output::Withdrawn { participant, track } => self.withdraw_track(room, &participant, track),
                Output::Silence(track) => self.silence(track),
                Output::Gone { participant, reason } => {
                    parked.remove(&participant);
                    let membership = Membership { room: room.clone(), participant };
                    self.end_membership(now, &membership, reason, effects);
                }
                Output::Changed(participant) => drop(parked.insert(participant)),
                Output::Closed => is_closed = true,
            }
        }
        for participant in parked {
            if let Some(session) = self.members.get(&(room.clone(), participant)).cloned() {
                self.sync(&session);
                self.sync_subscriptions(now, &session, effects);
            }
        }
        if is_closed {
            self.remove_room(room);
            effects.push(Effect::RoomClosed(room.clone()));
        } else if let Err(error) = self.park_room(room) {
            unreachable!("a room's cookie is bounded by its limits: {error}");
        }
        self.schedule(room);
    }

    /// Keeps the order of timeouts in line with a room.
    fn schedule(&mut self, room: &RoomId) {
        let due = self.rooms.get(room).and_then(Room::poll_timeout);
        let before = match due {
            Some(due) => self.timeout_of.insert(room.clone(), due),
            None => self.timeout_of.remove(room),
        };
        if before == due {
            return;
        }
        if let Some(before) = before {
            self.timeouts.remove(&(before, room.clone()));
        }
        self.timeouts.extend(due.map(|due| (due, room.clone())));
    }

    fn remove_room(&mut self, room: &RoomId) {
        self.rooms.remove(room);
        if let Some(number) = self.numbers.remove(room) {
            self.remove(&Key::Cookie(cookie_key_of_room(number)));
        }
    }

    fn park_room(&mut self, id: &RoomId) -> Result<(), CookieError> {
        if let (Some(room), Some(number)) = (self.rooms.get(id), self.numbers.get(id)) {
            let cookie = park_room(room, *number)?;
            self.put(Object::Cookie(cookie));
        }
        Ok(())
    }

    /// Puts an object into the plan, if it is not there just so.
    fn put(&mut self, object: Object) {
        let key = object.key();
        if self.plan.object(&key) != Some(&object) {
            self.plan.put(object);
            self.changes.insert(key);
        }
    }

    /// Removes an object from the plan.
    fn remove(&mut self, key: &Key) {
        if self.plan.remove(key).is_some() {
            self.changes.insert(*key);
        }
    }
}
