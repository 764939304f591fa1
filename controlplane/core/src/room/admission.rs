//! Who enters a room, and what others may do to those inside.

use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_protocol::ids::TrackId;
use sluice_protocol::time::Instant;

use super::settings::{check_overrides, check_texts, check_wish};
use super::subscription::{published, unpublished};
use super::{
    Actor, Admission, Audience, Event, Identity, Join, LeaveReason, Output, Participant, ParticipantChange,
    ParticipantId, ParticipantState, Renewal, Room, RoomError, Term, track_text,
};
use crate::access::{Permissions, Role, is_id};
use crate::limits;

impl Room {
    /// Tells whether [`super::Input::Join`] would be taken; so a front can refuse before it does anything costly.
    ///
    /// # Errors
    /// The refusal.
    pub fn check_join(&self, join: &Join) -> Result<(), RoomError> {
        check_texts(&join.name, &join.metadata)?;
        check_wish(&join.wish)?;
        check_overrides(&join.overrides)?;
        if !is_id(&join.identity.0) || !is_id(&join.participant.0) {
            return Err(RoomError::BadId);
        }
        if self.participants.contains_key(&join.participant) {
            return Err(RoomError::ParticipantExists);
        }
        match &join.admission {
            Admission::Api => {}
            Admission::Token { issued_at, .. } => self.check_revoked(&join.identity, *issued_at)?,
            Admission::Guest { pin } => {
                if self.revoked.contains_key(&join.identity) {
                    return Err(RoomError::Revoked);
                }
                let is_right =
                    self.settings.pin.as_ref().is_none_or(|own| pin.as_ref().is_some_and(|pin| equal(own, pin)));
                if !is_right {
                    return Err(RoomError::WrongPin);
                }
            }
        }
        if self.settings.is_locked && join.role != Role::Host && join.admission != Admission::Api {
            return Err(RoomError::Locked);
        }
        let permissions = Permissions::of(join.role, &join.overrides);
        if join.is_publisher && !permissions.can_publish {
            return Err(RoomError::MayNotPublish);
        }
        let replaced = usize::from(self.replaced_by(join).is_some());
        let limit = usize::try_from(self.settings.limits.participants).unwrap_or(usize::MAX);
        if self.participants.len() - replaced >= limit {
            return Err(RoomError::RoomFull);
        }
        self.check_metadata(None, &join.metadata, limits::METADATA_OF_ROOM_BYTES_MAX)
    }

    /// Checks that what all participants carry stays little enough to tell it to everybody who enters; `own` carries
    /// something else so far.
    fn check_metadata(&self, own: Option<&Participant>, metadata: &str, bytes_max: usize) -> Result<(), RoomError> {
        let before = own.map_or(0, |own| own.metadata.len());
        if metadata.len() <= before {
            return Ok(());
        }
        let all: usize = self.participants.values().map(|participant| participant.metadata.len()).sum();
        if all - before + metadata.len() > bytes_max { Err(RoomError::TooMuchMetadata) } else { Ok(()) }
    }

    /// Refuses a token that was issued before its holder was removed.
    fn check_revoked(&self, identity: &Identity, issued_at: Option<u64>) -> Result<(), RoomError> {
        let removals = [&self.revoked, &self.revoked_before];
        let void_until = removals.into_iter().filter_map(|removed| removed.get(identity)).max();
        let is_void = void_until.is_some_and(|until| issued_at.is_none_or(|issued_at| issued_at <= *until));
        if is_void { Err(RoomError::Revoked) } else { Ok(()) }
    }

    /// Returns whom a joiner replaces: the publisher of the same identity, or its participant with a signalling connection.
    /// Those who only play are not replaced, because one token may stand in a link that many open.
    fn replaced_by(&self, join: &Join) -> Option<&Arc<Participant>> {
        let mut others = self.participants.values();
        let is_same_kind = |other: &Participant| {
            (join.is_publisher && other.is_publisher) || (join.is_signalled && other.is_signalled)
        };
        others.find(|other| is_same_kind(other) && other.identity == join.identity)
    }

    pub(super) fn handle_join(&mut self, now: Instant, join: Join, output: &mut Vec<Output>) -> Result<(), RoomError> {
        self.check_join(&join)?;
        if let Some(replaced) = self.replaced_by(&join).map(|other| other.id.clone()) {
            self.handle_leave(now, &replaced, LeaveReason::Replaced, output)?;
        }
        // Who has a signalling connection is there for as long as that is.
        let state = match join.is_signalled {
            true => ParticipantState::Connected,
            false => ParticipantState::Joining { deadline: now + self.settings.join_timeout },
        };
        let (role, overrides) = (join.role, join.overrides.clone());
        let participant = Participant {
            id: join.participant,
            identity: join.identity,
            name: join.name,
            metadata: join.metadata,
            role: join.role,
            overrides: join.overrides,
            state,
            joined_at: now,
            term: join.good_until.map(|until| Term { until, role, overrides }),
            is_publisher: join.is_publisher,
            is_signalled: join.is_signalled,
            wish: join.wish,
            tracks: Vec::new(),
            receivers: Vec::new(),
            subscriptions: Vec::new(),
        };
        let id = participant.id.clone();
        let (audience, event) = (participant.audience(), joined(&participant));
        self.empty_since = None;
        let is_signalled = participant.is_signalled;
        self.participants.insert(id.clone(), Arc::new(participant));
        self.reschedule(&id, None);
        output.push(Output::Event { audience, event });
        if is_signalled {
            // Others have nowhere to receive yet.
            self.refresh(&id, output);
        }
        Ok(())
    }

    /// A newer token prolongs a stay and changes nothing else of it: what hosts made of the participant since stays. One that
    /// ends earlier changes nothing at all, as the older one could be shown again.
    pub(super) fn handle_renew(&mut self, renewal: Renewal, output: &mut Vec<Output>) -> Result<(), RoomError> {
        let Renewal { participant: id, term, admission } = renewal;
        let own = self.participants.get(&id).ok_or(RoomError::NoSuchParticipant)?;
        if let Admission::Token { issued_at, .. } = admission {
            self.check_revoked(&own.identity, issued_at)?;
        }
        let Some(before) = &own.term else { return Ok(()) };
        if !term.permissions().cover(&before.permissions()) {
            return Err(RoomError::GivesLess);
        }
        if term.until <= before.until {
            return Ok(());
        }
        let left_at = own.leaves_at();
        self.participant_mut(&id)?.term = Some(term);
        self.reschedule(&id, left_at);
        output.push(Output::Changed(id));
        Ok(())
    }

    fn check_manages(&self, actor: &Actor) -> Result<(), RoomError> {
        match actor {
            Actor::Api => Ok(()),
            Actor::Participant(id) => {
                let actor = self.participants.get(id).ok_or(RoomError::NoSuchParticipant)?;
                if actor.permissions().can_manage { Ok(()) } else { Err(RoomError::MayNotManage) }
            }
        }
    }

    /// Who mutes itself sets and clears its own mute; a host's is apart, and only hosts clear it.
    pub(super) fn handle_mute(
        &mut self,
        actor: &Actor,
        id: &ParticipantId,
        track: Option<TrackId>,
        muted: bool,
        output: &mut Vec<Output>,
    ) -> Result<(), RoomError> {
        let by_host = *actor != Actor::Participant(id.clone());
        if by_host {
            self.check_manages(actor)?;
        }
        let participant = self.participant_mut(id)?;
        if track.is_some_and(|wanted| participant.tracks.iter().all(|track| track.id != wanted)) {
            return Err(RoomError::NoSuchTrack);
        }
        let (audience, mut events) = (participant.audience(), Vec::new());
        for own in participant.tracks.iter_mut().filter(|own| track.is_none_or(|wanted| wanted == own.id)) {
            let before = own.clone();
            if by_host {
                own.muted_by_host = muted;
            } else {
                own.muted_by_publisher = muted;
            }
            if own.is_muted() != before.is_muted() {
                output.push(Output::Silence(own.id));
            }
            if *own != before {
                events.push(Event::TrackMuted {
                    participant_id: id.clone(),
                    track_id: track_text(own.id),
                    muted: own.is_muted(),
                    by_host,
                    muted_by_host: own.muted_by_host,
                });
            }
        }
        if !events.is_empty() {
            output.push(Output::Changed(id.clone()));
        }
        for event in events {
            output.push(Output::Event { audience, event });
        }
        Ok(())
    }

    /// Changes of role and permissions take tracks and subscriptions away at once where they are no longer allowed.
    pub(super) fn handle_update(
        &mut self,
        actor: &Actor,
        id: &ParticipantId,
        change: ParticipantChange,
        output: &mut Vec<Output>,
    ) -> Result<(), RoomError> {
        let is_own_text =
            *actor == Actor::Participant(id.clone()) && change.role.is_none() && change.permissions.is_none();
        if !is_own_text {
            self.check_manages(actor)?;
        }
        check_texts(change.name.as_deref().unwrap_or(""), change.metadata.as_deref().unwrap_or(""))?;
        change.permissions.as_ref().map_or(Ok(()), check_overrides)?;
        let participant = self.participant(id).ok_or(RoomError::NoSuchParticipant)?;
        let metadata = change.metadata.as_deref().unwrap_or("");
        self.check_metadata(Some(participant), metadata, limits::METADATA_CHANGED_OF_ROOM_BYTES_MAX)?;
        if !changes(&change, participant) {
            return Ok(());
        }
        let ParticipantChange { name, metadata, role, permissions: overrides } = change;
        let (role, before) = (role.unwrap_or(participant.role), participant.audience());
        let permissions = Permissions::of(role, overrides.as_ref().unwrap_or(&participant.overrides));
        let forbidden = participant.tracks.iter().filter(|track| !permissions.allows_source(track.source));
        let forbidden: Vec<TrackId> = forbidden.map(|track| track.id).collect();
        output.push(Output::Changed(id.clone()));
        // Told to those who have been told of the track.
        for track in &forbidden {
            self.withdraw(id, *track, output);
        }
        let participant = self.participant_mut(id)?;
        participant.name = name.unwrap_or_else(|| std::mem::take(&mut participant.name));
        participant.metadata = metadata.unwrap_or_else(|| std::mem::take(&mut participant.metadata));
        participant.role = role;
        participant.overrides = overrides.unwrap_or_else(|| std::mem::take(&mut participant.overrides));
        self.tell_updated(id, output);
        let is_shown_otherwise = self.tell_shown_otherwise(id, before, output);
        if forbidden.is_empty() && !is_shown_otherwise {
            self.refresh(id, output);
        } else {
            self.go_on_air(output);
            self.is_stale = true;
        }
        Ok(())
    }

    /// Tells those who do not see the hidden that somebody comes or goes, as far as they can know, who has become visible or
    /// hidden; and whether that is so.
    fn tell_shown_otherwise(&self, id: &ParticipantId, before: Audience, output: &mut Vec<Output>) -> bool {
        let Some(participant) = self.participants.get(id).filter(|own| own.audience() != before) else { return false };
        let mut tell = |event| output.push(Output::Event { audience: Audience::Others, event });
        if participant.is_hidden() {
            participant.tracks.iter().for_each(|track| tell(unpublished(id, track.id)));
            let (participant_id, identity) = (id.clone(), participant.identity.clone());
            tell(Event::ParticipantLeft { participant_id, identity, reason: LeaveReason::Left });
            return true;
        }
        tell(joined(participant));
        for track in &participant.tracks {
            tell(published(id, track));
            if track.is_muted() {
                let (participant_id, track_id) = (id.clone(), track_text(track.id));
                let by_host = track.muted_by_host;
                tell(Event::TrackMuted { participant_id, track_id, muted: true, by_host, muted_by_host: by_host });
            }
        }
        true
    }

    pub(super) fn handle_remove(
        &mut self,
        now: Instant,
        actor: &Actor,
        id: &ParticipantId,
        now_seconds: u64,
        output: &mut Vec<Output>,
    ) -> Result<(), RoomError> {
        self.check_manages(actor)?;
        let identity = self.participant_mut(id)?.identity.clone();
        revoke(&mut self.revoked, identity.clone(), now_seconds);
        // Other stays of the same identity (it publishes here and plays there) end with it.
        let stays = self.participants.values().filter(|participant| participant.identity == identity);
        let stays: Vec<ParticipantId> = stays.map(|participant| participant.id.clone()).collect();
        for stay in stays {
            self.handle_leave(now, &stay, LeaveReason::Removed, output)?;
        }
        Ok(())
    }
}

/// Remembers that tokens of an identity are void up to a second; of [`limits::REVOKED_MAX`] the oldest is forgotten.
pub(super) fn revoke(revoked: &mut BTreeMap<Identity, u64>, identity: Identity, until: u64) {
    if revoked.len() >= limits::REVOKED_MAX && !revoked.contains_key(&identity) {
        let oldest = revoked.iter().min_by_key(|(_, until)| **until).map(|(identity, _)| identity.clone());
        if let Some(oldest) = oldest {
            revoked.remove(&oldest);
        }
    }
    let known = revoked.entry(identity).or_insert(until);
    *known = until.max(*known);
}

/// Returns the event of somebody who is there.
fn joined(participant: &Participant) -> Event {
    Event::ParticipantJoined {
        participant_id: participant.id.clone(),
        identity: participant.identity.clone(),
        name: participant.name.clone(),
        role: participant.role,
        state: participant.state.as_str(),
    }
}

/// Compares without telling by its time how much was right.
fn equal(own: &str, given: &str) -> bool {
    let difference = own.bytes().zip(given.bytes()).fold(0, |difference, (own, given)| difference | (own ^ given));
    own.len() == given.len() && difference == 0
}

/// Tells whether a participant is otherwise than before with a change.
fn changes(change: &ParticipantChange, participant: &Participant) -> bool {
    let ParticipantChange { name, metadata, role, permissions } = change;
    name.as_ref().is_some_and(|name| *name != participant.name)
        || metadata.as_ref().is_some_and(|metadata| *metadata != participant.metadata)
        || role.is_some_and(|role| role != participant.role)
        || permissions.as_ref().is_some_and(|permissions| *permissions != participant.overrides)
}
