//! What happens, told to those whom it concerns.

use std::sync::Arc;

use sluice_controlplane_core::room::{
    Audience, Event, LeaveReason, Participant, ParticipantId, Room, RoomId, track_of_text,
};
use sluice_controlplane_core::session::{Membership, SessionId};

use super::told::{News, Told};
use crate::conductor::desk::Desk;
use crate::conductor::snapshots::participant_snapshot;

impl Desk {
    /// Tells the sessions in a room of an event.
    pub(in crate::conductor) fn tell_room(&self, id: &RoomId, audience: Audience, event: &Event) {
        let Some(room) = self.control.room(id) else { return };
        let mut told = None;
        for listener in room.participants().filter(|own| own.is_signalled && hears(own, audience, event)) {
            if told.is_none() {
                told = self.news_of(room, event).map(|news| Arc::new(Told::News(news)));
            }
            let Some(told) = &told else { return };
            let session = self.control.session_of_member(id, &listener.id).map(|session| &session.id);
            let session = session.filter(|session| !self.is_entering(session, id));
            if let Some(attended) = session.and_then(|session| self.attended.get(session)) {
                attended.line.tell(Arc::clone(told));
            }
        }
    }

    fn is_entering(&self, session: &SessionId, room: &RoomId) -> bool {
        self.entering.as_ref().is_some_and(|(entrant, entered)| entrant == session && entered == room)
    }

    /// Returns an event in words for clients; `None` where what it is about is gone already.
    fn news_of(&self, room: &Room, event: &Event) -> Option<News> {
        let id = || room.id().clone();
        let snapshot =
            |participant: &ParticipantId| room.participant(participant).map(participant_snapshot).map(Box::new);
        Some(match event {
            Event::ParticipantJoined { participant_id, .. } => {
                News::ParticipantJoined { room: id(), participant: snapshot(participant_id)? }
            }
            Event::ParticipantUpdated { participant_id, .. } => {
                News::ParticipantUpdated { room: id(), participant: snapshot(participant_id)? }
            }
            Event::ParticipantLeft { participant_id, identity, reason } => News::ParticipantLeft {
                room: id(),
                participant: participant_id.clone(),
                identity: identity.clone(),
                reason: *reason,
            },
            Event::TrackPublished { participant_id, track_id, .. } => {
                let (_, track) = room.published(track_of_text(track_id)?)?;
                let (participant, track) = (participant_id.clone(), Box::new(track.clone()));
                News::TrackPublished { room: id(), participant, track }
            }
            Event::TrackUnpublished { participant_id, track_id } => {
                News::TrackUnpublished { room: id(), participant: participant_id.clone(), track: track_id.clone() }
            }
            Event::TrackMuted { participant_id, track_id, muted, by_host, muted_by_host } => News::TrackMuted {
                room: id(),
                participant: participant_id.clone(),
                track: track_id.clone(),
                muted: *muted,
                by_host: *by_host,
                muted_by_host: *muted_by_host,
            },
            Event::RoomUpdated { .. } | Event::RoomStage { .. } => News::RoomUpdated(Box::new(self.snapshot(room))),
            // Each of them is told why it is not there any more.
            Event::RoomClosed => return None,
        })
    }

    /// Tells a session that it is in a room no more, where it did not ask for that.
    pub(in crate::conductor) fn tell_membership_ended(
        &mut self,
        session: &SessionId,
        membership: &Membership,
        reason: LeaveReason,
    ) {
        if !matches!(reason, LeaveReason::Left | LeaveReason::Moved) {
            self.tell(session, News::Removed { room: membership.room.clone(), reason });
        }
        self.ending.push((session.clone(), reason));
    }
}

/// Tells whether a participant hears of an event. Its own coming and what it publishes it knows; of what others do to it, it
/// hears even where it is hidden.
fn hears(listener: &Participant, audience: Audience, event: &Event) -> bool {
    let (about, is_own_doing) = match event {
        Event::ParticipantJoined { participant_id, .. }
        | Event::TrackPublished { participant_id, .. }
        | Event::ParticipantLeft { participant_id, .. } => (Some(participant_id), true),
        Event::ParticipantUpdated { participant_id, .. }
        | Event::TrackUnpublished { participant_id, .. }
        | Event::TrackMuted { participant_id, .. } => (Some(participant_id), false),
        Event::RoomUpdated { .. } | Event::RoomStage { .. } | Event::RoomClosed => (None, false),
    };
    if about == Some(&listener.id) {
        return !is_own_doing && audience != Audience::Others;
    }
    audience.includes(listener.permissions().can_manage)
}
