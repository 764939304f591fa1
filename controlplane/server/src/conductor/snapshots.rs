//! Rooms and participants as HTTP shows them.

use std::sync::Arc;

use sluice_controlplane_core::room::{
    Admission, Input, Participant, ParticipantId, Room, RoomError, RoomId, track_text,
};

use super::desk::Desk;
use super::{ConductorError, ParticipantSnapshot, ParticipantUpdate, RoomPosition, RoomSnapshot, Sight};
use crate::clock;

impl Desk {
    /// Returns a room as it is now.
    pub(super) fn snapshot(&self, room: &Room) -> RoomSnapshot {
        RoomSnapshot {
            id: room.id().0.clone(),
            settings: room.settings().clone(),
            stage: room.stage().clone(),
            participants: room.participants().len(),
            hidden_participants: hidden_participants(room),
            created_at: self.created_at.get(room.id()).copied().unwrap_or_else(|| clock::from_unix_millis(0)),
        }
    }

    /// Returns a room as it is now.
    pub(super) fn room_snapshot(&self, id: &RoomId) -> Result<RoomSnapshot, ConductorError> {
        self.control.room(id).map(|room| self.snapshot(room)).ok_or(ConductorError::NoSuchRoom)
    }

    /// Checks that a token which names the creation of its room means the one that is there now.
    pub(super) fn check_incarnation(&self, id: &RoomId, admission: &Admission) -> Result<(), ConductorError> {
        let Admission::Token { room_created_at: Some(named), .. } = admission else { return Ok(()) };
        let created_at = self.created_at.get(id).map(|at| clock::unix_millis(*at));
        let is_it = created_at.and_then(|at| u64::try_from(at).ok()).is_none_or(|at| at == *named);
        if is_it { Ok(()) } else { Err(RoomError::EarlierRoom.into()) }
    }

    /// Returns a page of rooms in the order of creation.
    pub(super) fn room_snapshots(&self, after: Option<&RoomPosition>, limit: usize) -> Vec<RoomSnapshot> {
        let place = |room: &Room| {
            let created_at = self.created_at.get(room.id()).copied();
            (created_at.map_or(0, |at| u64::try_from(clock::unix_millis(at)).unwrap_or(0)), room.id().0.clone())
        };
        let after = after.map(|position| (position.created_at_ms, position.id.clone()));
        let mut rooms: Vec<((u64, String), &Room)> = self.control.rooms().map(|room| (place(room), room)).collect();
        rooms.retain(|(place, _)| after.as_ref().is_none_or(|after| place > after));
        rooms.sort_by(|(left, _), (right, _)| left.cmp(right));
        rooms.into_iter().take(limit).map(|(_, room)| self.snapshot(room)).collect()
    }

    /// Returns a page of participants in the order of their ids.
    pub(super) fn participant_snapshots(
        &self,
        room: &RoomId,
        sight: Sight,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ParticipantSnapshot>, ConductorError> {
        let room = self.control.room(room).ok_or(ConductorError::NoSuchRoom)?;
        let seen = room.participants().filter(|own| sight == Sight::All || !own.is_hidden());
        let later = seen.filter(|own| after.is_none_or(|after| own.id.0.as_str() > after));
        Ok(later.take(limit).map(participant_snapshot).collect())
    }

    /// Returns the id of the participant with this id or identity.
    pub(super) fn participant_id(&self, room: &RoomId, name: &str) -> Result<ParticipantId, ConductorError> {
        let room = self.control.room(room).ok_or(ConductorError::NoSuchRoom)?;
        let by_id = room.participants().find(|own| own.id.0 == name);
        let found = by_id.or_else(|| room.participants().find(|own| own.identity.0 == name));
        Ok(found.ok_or(RoomError::NoSuchParticipant)?.id.clone())
    }

    /// Changes and mutes a participant. Everything is checked before anything is changed.
    pub(super) fn update_participant(
        &mut self,
        room: &RoomId,
        name: &str,
        update: ParticipantUpdate,
    ) -> Result<ParticipantSnapshot, ConductorError> {
        use sluice_controlplane_core::room::Actor;
        let participant = self.participant_id(room, name)?;
        let own = self.control.room(room).and_then(|room| room.participant(&participant));
        let tracks = own.map_or(&[][..], |own| &own.tracks);
        let mut inputs = vec![Input::Update {
            actor: Actor::Api,
            participant: participant.clone(),
            change: Box::new(update.change),
        }];
        let mute = |track, muted| Input::Mute { actor: Actor::Api, participant: participant.clone(), track, muted };
        inputs.extend(update.muted.map(|muted| mute(None, muted)));
        for (text, muted) in update.tracks {
            let track = tracks.iter().find(|track| track_text(track.id) == text).ok_or(RoomError::NoSuchTrack)?;
            inputs.push(mute(Some(track.id), muted));
        }
        let mut effects = Vec::new();
        let outcome = inputs
            .into_iter()
            .try_for_each(|input| self.control.handle(clock::now(), room, input, &mut effects).map_err(refusal));
        self.settle(effects);
        outcome?;
        let own = self.control.room(room).and_then(|room| room.participant(&participant));
        own.map(participant_snapshot).ok_or(ConductorError::Room(RoomError::NoSuchParticipant))
    }

    /// Hands an input to a room and settles what it decides.
    pub(super) fn input(&mut self, room: &RoomId, input: Input) -> Result<(), ConductorError> {
        let mut effects = Vec::new();
        let outcome = self.control.handle(clock::now(), room, input, &mut effects);
        self.settle(effects);
        outcome.map_err(refusal)
    }
}

/// Returns how many participants of a room are hidden.
pub(super) fn hidden_participants(room: &Room) -> usize {
    room.participants().filter(|own| own.is_hidden()).count()
}

pub(super) fn participant_snapshot(participant: &Arc<Participant>) -> ParticipantSnapshot {
    ParticipantSnapshot { participant: Arc::clone(participant), joined_at: clock::wall_of(participant.joined_at) }
}

/// Turns a refusal of the pure core into one that HTTP knows.
pub(super) fn refusal(error: sluice_controlplane_core::plan::ControlError) -> ConductorError {
    use sluice_controlplane_core::plan::ControlError;
    match error {
        ControlError::NoSuchRoom => ConductorError::NoSuchRoom,
        ControlError::RoomExists => ConductorError::RoomExists,
        ControlError::TooManyRooms => ConductorError::TooManyRooms,
        ControlError::NoSuchSession | ControlError::KeysKnown => ConductorError::NoSuchSession,
        ControlError::OtherIdentity => ConductorError::NotYourSession,
        ControlError::Room(error) => ConductorError::Room(error),
        ControlError::Cookie(_) => ConductorError::Room(RoomError::TooLong("metadata")),
    }
}
