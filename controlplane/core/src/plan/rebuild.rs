//! The same state again, from a snapshot of the data plane.

use std::collections::BTreeMap;

use sluice_protocol::ids::TransportId;
use sluice_protocol::plan::{Key, Object, Plan};
use sluice_protocol::time::Instant;

use super::{Config, Control, Effect};
use crate::room::{Participant, PublishedTrack, Room, RoomId};
use crate::session::{Parked, ParkedSession, SectionObject, Session, unpark};

/// What became of a snapshot besides the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Sessions that go on.
    pub sessions: usize,
    /// Transports that were given up, with the reason: their handshake was half done, or their cookie is missing or
    /// cannot be read. Their resources answer 404 and their clients connect anew.
    pub given_up: Vec<(TransportId, GivenUp)>,
}

/// Why a transport of a snapshot is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GivenUp {
    /// It has no keys: a half-done handshake cannot be resumed.
    HandshakeHalfDone,
    /// Nothing was parked for it, or what was parked cannot be read.
    NoCookie,
    /// Its room is not in the snapshot.
    NoRoom,
}

impl Control {
    /// Makes the state from which `snapshot` was planned. Slots of the snapshot are taken, what cannot go on is marked as
    /// changed, so that the next difference removes it, and rooms bring their subscriptions in line.
    #[must_use]
    pub fn rebuild(now: Instant, config: Config, snapshot: &Plan, effects: &mut Vec<Effect>) -> (Self, Rebuilt) {
        let mut control = Self::new(config);
        let mut rebuilt = Rebuilt::default();
        snapshot.keys().for_each(|key| control.addresses.adopt(key));
        let mut sessions = BTreeMap::new();
        for object in snapshot.objects() {
            let Object::Cookie(cookie) = object else { continue };
            match unpark(cookie) {
                Ok(Parked::Room { record, metadata }) => {
                    let number = cookie.key & !(1 << 63);
                    control.next_number = control.next_number.max(number + 1);
                    control.numbers.insert(record.id.clone(), number);
                    control.rooms.insert(record.id.clone(), Room::restore(*record, metadata, now));
                }
                Ok(Parked::Session(parked)) => drop(sessions.insert(parked.session.transport, *parked)),
                Err(_) => {}
            }
        }
        for object in snapshot.objects() {
            let Object::Transport(transport) = object else { continue };
            let outcome = match sessions.remove(&transport.id) {
                _ if transport.keys.is_none() => Err(GivenUp::HandshakeHalfDone),
                None => Err(GivenUp::NoCookie),
                Some(parked) => control.restore_session(parked, snapshot),
            };
            match outcome {
                Ok(()) => rebuilt.sessions += 1,
                Err(reason) => rebuilt.given_up.push((transport.id, reason)),
            }
        }
        control.restore_learnt(snapshot);
        control.settle(snapshot, effects);
        (control, rebuilt)
    }

    fn restore_session(&mut self, parked: ParkedSession, snapshot: &Plan) -> Result<(), GivenUp> {
        let ParkedSession { mut session, participants } = parked;
        if participants.is_empty() || participants.iter().any(|(room, _)| !self.rooms.contains_key(room)) {
            return Err(GivenUp::NoRoom);
        }
        restore_from_plan(&mut session, snapshot);
        if session.credentials.is_empty() {
            return Err(GivenUp::HandshakeHalfDone);
        }
        for (room, mut participant) in participants {
            restore_receivers(&mut participant, &session);
            self.members.insert((room.clone(), participant.id.clone()), session.id.clone());
            self.restore_participant(&room, participant);
        }
        self.transports.insert(session.transport, session.id.clone());
        self.sessions.insert(session.id.clone(), session);
        Ok(())
    }

    fn restore_participant(&mut self, room: &RoomId, participant: Participant) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.restore_participant(participant);
        }
    }

    /// Takes over what was learnt about transports and tracks that go on.
    fn restore_learnt(&mut self, snapshot: &Plan) {
        for object in snapshot.objects() {
            match object {
                Object::Path(path) if self.transports.contains_key(&path.transport) => {
                    self.plan.put(object.clone());
                }
                Object::Stream(stream) => {
                    let has_track = |session: &&mut Session| {
                        session
                            .sections
                            .iter()
                            .any(|own| matches!(own, SectionObject::Track { id, .. } if *id == stream.track))
                    };
                    if let Some(session) = self.sessions.values_mut().find(has_track) {
                        session.streams.insert((stream.track, stream.ssrc));
                        self.plan.put(object.clone());
                    }
                }
                Object::Path(_) | Object::Transport(_) | Object::Track(_) | Object::Egress(_) | Object::Cookie(_) => {}
            }
        }
    }

    /// Puts everything restored into the plan, lets rooms settle, and marks what differs from the snapshot.
    fn settle(&mut self, snapshot: &Plan, effects: &mut Vec<Effect>) {
        let sessions: Vec<_> = self.sessions.keys().cloned().collect();
        for id in &sessions {
            self.sync(id);
        }
        let rooms: Vec<RoomId> = self.rooms.keys().cloned().collect();
        for id in rooms {
            let mut output = Vec::new();
            if let Some(room) = self.rooms.get_mut(&id) {
                room.handle_restored(&mut output);
            }
            self.carry_out(&id, output, effects);
        }
        self.changes = snapshot.keys().chain(self.plan.keys()).copied().collect();
        let (plan, changes) = (&self.plan, &mut self.changes);
        changes.retain(|key| plan.object(key) != snapshot.object(key));
    }
}

/// Takes credentials, keys, sources and mutes, which are parked in the plan itself.
fn restore_from_plan(session: &mut Session, snapshot: &Plan) {
    if let Some(Object::Transport(transport)) = snapshot.object(&Key::Transport(session.transport)) {
        session.credentials.clone_from(&transport.credentials);
        session.keys = transport.keys;
    }
    for object in &mut session.sections {
        match object {
            SectionObject::Nothing => {}
            SectionObject::Track { id, muted } => {
                if let Some(Object::Track(track)) = snapshot.object(&Key::Track(*id)) {
                    *muted = track.muted;
                }
            }
            SectionObject::Egress { id, source } => {
                if let Some(Object::Egress(egress)) = snapshot.object(&Key::Egress(*id)) {
                    source.clone_from(&egress.source);
                }
            }
        }
    }
}

fn restore_receivers(participant: &mut Participant, session: &Session) {
    for receiver in &mut participant.receivers {
        receiver.track = session.sections.iter().find_map(|object| match object {
            SectionObject::Egress { id, source } if *id == receiver.egress => {
                source.as_ref().map(|source| source.track)
            }
            SectionObject::Egress { .. } | SectionObject::Track { .. } | SectionObject::Nothing => None,
        });
    }
    debug_assert!(participant.tracks.iter().all(|track: &PublishedTrack| track.order > 0), "an order starts at 1");
}
