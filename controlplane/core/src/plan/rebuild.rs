//! The same state again, from a snapshot of the data plane.

use std::collections::BTreeMap;

use sluice_protocol::ids::TransportId;
use sluice_protocol::plan::{Key, Object, Plan, differing};
use sluice_protocol::time::Instant;

use super::space::rows_of;
use super::{Config, Control, Effect};
use crate::room::{Participant, PublishedTrack, Room, RoomId};
use crate::session::{
    CookieError, Parked, ParkedConnection, ParkedSession, ParkedSignalled, PeerConnection, SectionObject, SessionId,
    unpark,
};

/// What became of a snapshot besides the state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Sessions that go on.
    pub sessions: usize,
    /// Transports that were given up, with the reason: their handshake was half done, or their cookie is missing or
    /// cannot be read. Their resources answer 404 and their clients connect anew.
    pub given_up: Vec<(TransportId, GivenUp)>,
    /// Cookies that were not read, by their keys: the room or session of each is not taken over.
    pub unread: Vec<(u64, CookieError)>,
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
        let (mut sessions, mut signalled, mut connections) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for object in snapshot.objects() {
            let Object::Cookie(cookie) = object else { continue };
            match unpark(cookie) {
                Ok(Parked::Room { record, metadata }) => {
                    let number = cookie.key & !(1 << 63);
                    control.next_number = control.next_number.max(number + 1);
                    control.numbers.insert(record.id.clone(), number);
                    control.rooms.insert(record.id.clone(), Room::restore(*record, metadata, now));
                }
                Ok(Parked::Session(parked)) => {
                    if let Some(transport) = parked.session.offered().map(|connection| connection.transport) {
                        sessions.insert(transport, *parked);
                    }
                }
                Ok(Parked::Signalled(parked)) => {
                    let number = parked.session.signalling.as_ref().map_or(0, |own| own.number);
                    control.next_number = control.next_number.max(number + 1);
                    signalled.insert(parked.session.id.clone(), *parked);
                }
                Ok(Parked::Connection(parked)) => drop(connections.insert(parked.connection.transport, *parked)),
                Err(error) => rebuilt.unread.push((cookie.key, error)),
            }
        }
        for object in snapshot.objects() {
            let Object::Transport(transport) = object else { continue };
            let outcome = match sessions.remove(&transport.id) {
                _ if transport.keys.is_none() => Err(GivenUp::HandshakeHalfDone),
                Some(parked) => control.restore_session(parked, snapshot).map(|()| rebuilt.sessions += 1),
                None => attach(connections.remove(&transport.id), &mut signalled, snapshot),
            };
            if let Err(reason) = outcome {
                rebuilt.given_up.push((transport.id, reason));
            }
        }
        for (_, parked) in signalled {
            control.restore_signalled(parked);
            rebuilt.sessions += 1;
        }
        control.restore_learnt(snapshot);
        control.settle(now, snapshot, effects);
        (control, rebuilt)
    }

    fn restore_session(&mut self, parked: ParkedSession, snapshot: &Plan) -> Result<(), GivenUp> {
        let ParkedSession { mut session, participants } = parked;
        if participants.is_empty() || participants.iter().any(|(room, _)| !self.rooms.contains_key(room)) {
            return Err(GivenUp::NoRoom);
        }
        for connection in session.connections_mut() {
            restore_from_plan(connection, snapshot);
            if connection.credentials.is_empty() {
                return Err(GivenUp::HandshakeHalfDone);
            }
        }
        for (room, mut participant) in participants {
            session.connections().for_each(|connection| restore_receivers(&mut participant, connection));
            self.members.insert((room.clone(), participant.id.clone()), session.id.clone());
            self.restore_participant(&room, participant);
        }
        for connection in session.connections() {
            self.transports.insert(connection.transport, session.id.clone());
            self.space.adopt(connection.transport, rows_of(&connection.negotiated));
        }
        self.sessions.insert(session.id.clone(), session);
        Ok(())
    }

    /// Takes a session with a signalling connection back, with the peer connections that go on. A room that is not there any
    /// more is one that it has left.
    fn restore_signalled(&mut self, parked: ParkedSignalled) {
        let participants = parked.participants();
        let mut session = parked.session;
        session.memberships.retain(|member| self.rooms.contains_key(&member.room));
        for (id, participant) in participants {
            let Some(room) = self.rooms.get_mut(&id) else { continue };
            self.members.insert((id, participant.id.clone()), session.id.clone());
            room.restore_participant(participant);
        }
        for connection in session.connections() {
            self.transports.insert(connection.transport, session.id.clone());
            let offered = connection.offering.as_ref().and_then(|own| own.outstanding.as_ref());
            let rows = offered.map_or(0, |own| rows_of(&own.offered)).max(rows_of(&connection.negotiated));
            self.space.adopt(connection.transport, rows);
        }
        self.sessions.insert(session.id.clone(), session);
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
                    let Some(Object::Track(track)) = snapshot.object(&Key::Track(stream.track)) else { continue };
                    let Some(connection) = self.connection_mut(track.transport) else { continue };
                    // A track that was withdrawn is on its way out with all that was learnt of it.
                    let is_own =
                        |own: &SectionObject| matches!(own, SectionObject::Track { id, .. } if *id == stream.track);
                    if connection.sections.iter().any(is_own) {
                        connection.streams.insert((stream.track, stream.ssrc));
                        self.plan.put(object.clone());
                    }
                }
                Object::Path(_) | Object::Transport(_) | Object::Track(_) | Object::Egress(_) | Object::Cookie(_) => {}
            }
        }
    }

    /// Puts everything restored into the plan, lets rooms settle, and marks what differs from the snapshot.
    fn settle(&mut self, now: Instant, snapshot: &Plan, effects: &mut Vec<Effect>) {
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
            self.carry_out(now, &id, output, effects);
        }
        for id in &sessions {
            self.sync_subscriptions(now, id, effects);
        }
        self.park_sessions();
        self.changes = differing(snapshot, &self.plan);
    }
}

/// Gives a peer connection back to its session with a signalling connection.
fn attach(
    parked: Option<ParkedConnection>,
    signalled: &mut BTreeMap<SessionId, ParkedSignalled>,
    snapshot: &Plan,
) -> Result<(), GivenUp> {
    let ParkedConnection { session, mut connection } = parked.ok_or(GivenUp::NoCookie)?;
    let owner = signalled.get_mut(&session).ok_or(GivenUp::NoCookie)?;
    restore_from_plan(&mut connection, snapshot);
    if connection.credentials.is_empty() {
        return Err(GivenUp::HandshakeHalfDone);
    }
    let role = connection.negotiated.role;
    *owner.session.slot(role) = Some(connection);
    Ok(())
}

/// Takes credentials, keys, sources and mutes, which are parked in the plan itself.
fn restore_from_plan(connection: &mut PeerConnection, snapshot: &Plan) {
    if let Some(Object::Transport(transport)) = snapshot.object(&Key::Transport(connection.transport)) {
        connection.credentials.clone_from(&transport.credentials);
        connection.keys = transport.keys;
    }
    for object in &mut connection.sections {
        match object {
            SectionObject::Nothing => {}
            SectionObject::Track { id, muted } => {
                if let Some(Object::Track(track)) = snapshot.object(&Key::Track(*id)) {
                    *muted = track.muted;
                }
            }
            SectionObject::Egress { id, source, is_paused, max_layer } => {
                if let Some(Object::Egress(egress)) = snapshot.object(&Key::Egress(*id)) {
                    source.clone_from(&egress.source);
                    (*is_paused, *max_layer) = (egress.paused, egress.max_layer);
                }
            }
        }
    }
}

fn restore_receivers(participant: &mut Participant, connection: &PeerConnection) {
    for receiver in &mut participant.receivers {
        receiver.track = connection.sections.iter().find_map(|object| match object {
            SectionObject::Egress { id, source, .. } if *id == receiver.egress => {
                source.as_ref().map(|source| source.track)
            }
            SectionObject::Egress { .. } | SectionObject::Track { .. } | SectionObject::Nothing => None,
        });
    }
    debug_assert!(participant.tracks.iter().all(|track: &PublishedTrack| track.order > 0), "an order starts at 1");
}

#[cfg(test)]
mod tests {
    use sluice_protocol::event::Event as DataEvent;
    use sluice_protocol::media::Ssrc;
    use sluice_protocol::plan::{Change, Cookie, Stream, StreamRole};

    use super::super::tests::{World, at, config, room};
    use super::*;
    use crate::cpu_time::cpu_time;
    use crate::room::{Input, ParticipantId};
    use crate::session::cookie_key_of_session;

    #[test]
    fn cookies_that_are_not_read_are_named_and_their_sessions_given_up() {
        let mut world = World::new();
        let (ann, ben) = (world.publish("ann", "chromium-a-vp8-opus"), world.play("ben", "chromium-d-recvonly"));
        world.finish(ann);
        world.finish(ben);
        let mut snapshot = world.control.snapshot();
        let key = cookie_key_of_session(ben);
        // Version 9, in front of which nothing else stands.
        snapshot.put(Object::Cookie(Cookie { key, bytes: vec![8, 9] }));
        let (mut successor, rebuilt) = Control::rebuild(at(0), config(2), &snapshot, &mut Vec::new());
        assert_eq!((rebuilt.sessions, rebuilt.given_up), (1, vec![(ben, GivenUp::NoCookie)]));
        assert_eq!(rebuilt.unread, [(key, CookieError::UnknownVersion { version: 9 })]);
        let told = successor.take_changes();
        assert!(
            told.contains(&Change::Remove(Key::Cookie(key))) && told.contains(&Change::Remove(Key::Transport(ben)))
        );
    }

    /// Makes a world of publishers, each heard with as many streams as a transport may be.
    fn heard(publishers: usize) -> (World, Vec<(TransportId, Vec<Object>)>) {
        let mut world = World::new();
        let streams_of = |world: &mut World, number: usize| {
            let transport = world.publish(&format!("p{number}"), "chromium-a-vp8-opus");
            world.finish(transport);
            let is_own = |object: &&Object| matches!(object, Object::Track(track) if track.transport == transport);
            let Some(Object::Track(track)) = world.control.plan().objects().rfind(is_own).cloned() else { panic!() };
            let stream = |ssrc| Stream { track: track.id, ssrc: Ssrc(ssrc), role: StreamRole::Media, rid: None };
            let streams: Vec<Object> = (1..=64).map(|ssrc| Object::Stream(stream(ssrc))).collect();
            for stream in &streams {
                world.control.handle_event(at(0), &DataEvent::Learnt(Box::new(stream.clone())), &mut Vec::new());
            }
            (transport, streams)
        };
        let streams = (0..publishers).map(|number| streams_of(&mut world, number)).collect();
        (world, streams)
    }

    #[test]
    fn learnt_streams_are_taken_over_by_the_session_that_has_their_track() {
        let (mut world, streams) = heard(3);
        let (withdrawn, _) = streams[1];
        // The snapshot is older than the withdrawal, the cookie newer.
        let mut snapshot = world.control.snapshot();
        let own = world.control.room(&room()).unwrap().participant(&ParticipantId("PA_p1".to_owned())).unwrap();
        for track in own.tracks.clone() {
            world.handle(Input::Unpublish { participant: ParticipantId("PA_p1".to_owned()), track: track.id });
        }
        let cookie = Key::Cookie(cookie_key_of_session(withdrawn));
        snapshot.put(world.control.snapshot().object(&cookie).unwrap().clone());
        let (successor, _) = Control::rebuild(at(0), config(2), &snapshot, &mut Vec::new());
        for (transport, streams) in &streams {
            let connection = successor.connection(*transport).unwrap();
            let kept = if *transport == withdrawn { 0 } else { streams.len() };
            assert_eq!(connection.streams.len(), kept);
            let in_plan = streams.iter().filter(|stream| successor.plan().object(&stream.key()) == Some(stream));
            assert_eq!(in_plan.count(), kept);
        }
    }

    #[test]
    fn rebuilding_four_times_as_much_takes_about_four_times_as_long() {
        let [small, large] = [75, 300].map(|publishers| heard(publishers).0.control.snapshot());
        let time = |snapshot| {
            let began = cpu_time();
            drop(Control::rebuild(at(0), config(2), snapshot, &mut Vec::new()));
            cpu_time() - began
        };
        // By turns, and the best of each, so that what else the machine does falls on both.
        let rounds = (0..20).map(|_| (time(&small), time(&large)));
        let (small, large) = rounds.reduce(|best, round| (best.0.min(round.0), best.1.min(round.1))).unwrap();
        // A walk over all sessions for each stream made it sixteen times as long.
        assert!(large < 9 * small, "{small:?} for 75 publishers, {large:?} for 300");
    }
}
