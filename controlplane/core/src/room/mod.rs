//! A room: who is in it, what they publish, and who receives it.
//!
//! [`Room::handle`] takes one [`Input`] and either refuses it, with nothing changed, or carries it out and appends what
//! must be done elsewhere ([`Output`]). Fronts (WHIP, WHEP, the WebSocket) hold no rules of their own.
//!
//! ```text
//! created ──start──► starting ──a track is there──► on_air ──stop──► stopped
//!                      ▲   └──────────────stop──────────────────────►┤
//!                      └────────────────start (again)────────────────┘
//! ```

mod admission;
mod detail;
mod event;
mod participant;
mod settings;
mod subscription;
#[cfg(test)]
mod tests;
mod wishes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sluice_protocol::ids::TrackId;
use sluice_protocol::time::Instant;

pub use detail::{Detail, Quality, TemporalLayers};
pub use event::{
    Actor, Admission, Audience, Event, Input, Join, Notice, Output, ParticipantChange, Renewal, RoomChange,
    SubscriptionChange, kind_text, track_of_text, track_text,
};
pub use participant::{
    Identity, LeaveReason, Participant, ParticipantId, ParticipantState, PublishedTrack, Receiver, RoomId,
    Subscription, Term, Wish,
};
pub use settings::{Refusal, RoomError, RoomLimits, RoomMode, RoomSettings};
pub(crate) use subscription::codec_names;
pub use subscription::default_source;

/// Whether a room is on air for an audience.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Never started.
    #[default]
    Created,
    /// Waits for somebody who publishes.
    Starting,
    /// There is something to see or hear.
    OnAir,
    /// Was on air.
    Stopped,
}

impl Stage {
    /// Returns the name in API and events.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::OnAir => "on_air",
            Self::Stopped => "stopped",
        }
    }
}

/// A room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    id: RoomId,
    settings: RoomSettings,
    stage: Stage,
    /// Shared with who shows them as they were: a change makes a copy of one that is shown.
    participants: BTreeMap<ParticipantId, Arc<Participant>>,
    /// Those who publish, by the order of the first track that they still publish.
    publishers: BTreeMap<u64, ParticipantId>,
    /// When participants leave unless something happens, so that nobody is asked in vain.
    deadlines: BTreeSet<(Instant, ParticipantId)>,
    /// Identities that were removed, with the second up to which their tokens are void; at most
    /// [`limits::REVOKED_MAX`], of which the oldest is forgotten.
    revoked: BTreeMap<Identity, u64>,
    /// The same of earlier rooms of this id: their tokens are void here too, but guests ask anew. Bounded alike.
    revoked_before: BTreeMap<Identity, u64>,
    /// The order that the next published track gets.
    order: u64,
    /// Since when nobody is in the room; `None` while somebody is.
    empty_since: Option<Instant>,
    is_closed: bool,
    /// Whether subscriptions are to be brought in line before [`Room::handle`] returns.
    is_stale: bool,
}

/// Which room somebody was removed from, of those that had the same id one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovedFrom {
    /// The one that is there now.
    ThisRoom,
    /// One that has ended.
    EarlierRoom,
}

/// What a room parks for its successor besides its participants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomRecord {
    /// The id.
    pub id: RoomId,
    /// The settings, without the metadata.
    pub settings: RoomSettings,
    /// Whether it is on air.
    pub stage: Stage,
    /// Revoked identities.
    pub revoked: BTreeMap<Identity, u64>,
}

impl Room {
    /// Makes an empty room.
    ///
    /// # Errors
    /// What [`RoomSettings::check`] refuses.
    pub fn new(id: RoomId, settings: RoomSettings, now: Instant) -> Result<Self, RoomError> {
        settings.check()?;
        Ok(Self {
            id,
            settings,
            stage: Stage::Created,
            participants: BTreeMap::new(),
            publishers: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            revoked: BTreeMap::new(),
            revoked_before: BTreeMap::new(),
            order: 1,
            empty_since: Some(now),
            is_closed: false,
            is_stale: false,
        })
    }

    /// Makes the room that `record` was taken from, still without participants.
    #[must_use]
    pub fn restore(record: RoomRecord, metadata: String, now: Instant) -> Self {
        let settings = RoomSettings { metadata, ..record.settings };
        Self {
            id: record.id,
            settings,
            stage: record.stage,
            participants: BTreeMap::new(),
            publishers: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            revoked: record.revoked,
            revoked_before: BTreeMap::new(),
            order: 1,
            empty_since: Some(now),
            is_closed: false,
            is_stale: false,
        }
    }

    /// Puts a participant back that was in the room; its tracks keep their order, its receivers what they received.
    pub fn restore_participant(&mut self, participant: Participant) {
        self.empty_since = None;
        self.order = participant.tracks.iter().map(|track| track.order + 1).fold(self.order, u64::max);
        let id = participant.id.clone();
        self.participants.insert(id.clone(), Arc::new(participant));
        self.reschedule(&id, None);
        self.index_publisher(&id);
    }

    /// Takes over removals that were remembered elsewhere, with the second up to which each voids tokens.
    pub fn restore_removals(&mut self, from: RemovedFrom, removals: impl IntoIterator<Item = (Identity, u64)>) {
        let revoked = match from {
            RemovedFrom::ThisRoom => &mut self.revoked,
            RemovedFrom::EarlierRoom => &mut self.revoked_before,
        };
        for (identity, until) in removals {
            admission::revoke(revoked, identity, until);
        }
    }

    /// Brings all subscriptions in line after a restoration.
    pub fn handle_restored(&mut self, output: &mut Vec<Output>) {
        self.refresh_all(output);
    }

    /// Carries out an input, or refuses it and changes nothing.
    ///
    /// # Errors
    /// [`RoomError`], whose class is [`RoomError::refusal`].
    pub fn handle(&mut self, now: Instant, input: Input, output: &mut Vec<Output>) -> Result<(), RoomError> {
        self.handle_all(now, [input], output)
    }

    /// Carries out inputs in turn up to the first that is refused, and brings subscriptions in line once for all of them.
    ///
    /// # Errors
    /// [`RoomError`] of the one that is refused, which changes nothing; those before it stand.
    pub fn handle_all(
        &mut self,
        now: Instant,
        inputs: impl IntoIterator<Item = Input>,
        output: &mut Vec<Output>,
    ) -> Result<(), RoomError> {
        let handled = inputs.into_iter().try_for_each(|input| self.take(now, input, output));
        if std::mem::take(&mut self.is_stale) {
            self.refresh_all(output);
        }
        handled
    }

    fn take(&mut self, now: Instant, input: Input, output: &mut Vec<Output>) -> Result<(), RoomError> {
        if self.is_closed {
            return Err(RoomError::Closed);
        }
        match input {
            Input::Join(join) => self.handle_join(now, *join, output),
            Input::Connected(participant) => self.handle_state(&participant, ParticipantState::Connected, output),
            Input::Quiet(participant) => {
                let deadline = now + self.settings.reconnect_grace;
                self.handle_state(&participant, ParticipantState::Reconnecting { deadline }, output)
            }
            Input::Leave { participant, reason } => self.handle_leave(now, &participant, reason, output),
            Input::Publish { participant, track } => self.handle_publish(&participant, *track, output),
            Input::Unpublish { participant, track } => self.handle_unpublish(&participant, track, output),
            Input::AddReceivers { participant, receivers } => {
                self.handle_add_receivers(&participant, receivers, output)
            }
            Input::Subscribe { participant, track } => self.handle_subscribe(&participant, track, output),
            Input::Unsubscribe { participant, track } => self.handle_unsubscribe(&participant, track, output),
            Input::UpdateSubscription { participant, track, change } => {
                self.handle_update_subscription(&participant, track, change, output)
            }
            Input::Renegotiated { participant, track, codecs, layers } => {
                self.handle_renegotiated(&participant, track, &codecs, layers, output)
            }
            Input::Mute { actor, participant, track, muted } => {
                self.handle_mute(&actor, &participant, track, muted, output)
            }
            Input::Update { actor, participant, change } => self.handle_update(&actor, &participant, *change, output),
            Input::Remove { actor, participant, now_seconds } => {
                self.handle_remove(now, &actor, &participant, now_seconds, output)
            }
            Input::Renew(renewal) => self.handle_renew(*renewal, output),
            Input::UpdateRoom(change) => self.handle_update_room(*change, output),
            Input::Start => {
                self.handle_start(output);
                Ok(())
            }
            Input::Stop => {
                if matches!(self.stage, Stage::Starting | Stage::OnAir) {
                    self.set_stage(Stage::Stopped, output);
                }
                Ok(())
            }
            Input::Undecodable { egress } => {
                self.handle_undecodable(egress, output);
                Ok(())
            }
            Input::Close => {
                self.close(now, output);
                Ok(())
            }
            Input::Timeout => {
                self.handle_timeout(now, output);
                Ok(())
            }
        }
    }

    /// Returns when [`Input::Timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let empty = self.empty_since.zip(self.settings.empty_timeout).map(|(since, timeout)| since + timeout);
        self.deadlines.first().map(|(deadline, _)| *deadline).into_iter().chain(empty).min()
    }

    /// Returns the id.
    #[must_use]
    pub const fn id(&self) -> &RoomId {
        &self.id
    }

    /// Returns the settings.
    #[must_use]
    pub const fn settings(&self) -> &RoomSettings {
        &self.settings
    }

    /// Returns whether the room is on air.
    #[must_use]
    pub const fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Returns the participants in the order of their ids.
    pub fn participants(&self) -> impl ExactSizeIterator<Item = &Arc<Participant>> {
        self.participants.values()
    }

    /// Returns a participant.
    #[must_use]
    pub fn participant(&self, id: &ParticipantId) -> Option<&Arc<Participant>> {
        self.participants.get(id)
    }

    /// Returns what to park.
    #[must_use]
    pub fn record(&self) -> RoomRecord {
        RoomRecord {
            id: self.id.clone(),
            settings: self.settings.clone(),
            stage: self.stage.clone(),
            revoked: self.revoked.clone(),
        }
    }

    fn participant_mut(&mut self, id: &ParticipantId) -> Result<&mut Participant, RoomError> {
        self.participants.get_mut(id).map(Arc::make_mut).ok_or(RoomError::NoSuchParticipant)
    }

    /// Keeps the order of deadlines in line with a participant that left at `before` until now.
    fn reschedule(&mut self, id: &ParticipantId, before: Option<Instant>) {
        let after = self.participants.get(id).and_then(|participant| participant.leaves_at());
        if let Some(before) = before {
            self.deadlines.remove(&(before, id.clone()));
        }
        self.deadlines.extend(after.map(|after| (after, id.clone())));
    }

    fn tell_updated(&self, id: &ParticipantId, output: &mut Vec<Output>) {
        let Some(participant) = self.participants.get(id) else { return };
        let event = Event::ParticipantUpdated {
            participant_id: id.clone(),
            name: participant.name.clone(),
            role: participant.role,
            state: participant.state.as_str(),
        };
        output.push(Output::Event { audience: participant.audience(), event });
    }

    fn handle_state(
        &mut self,
        id: &ParticipantId,
        state: ParticipantState,
        output: &mut Vec<Output>,
    ) -> Result<(), RoomError> {
        let participant = self.participant_mut(id)?;
        let is_quiet_joiner = matches!(
            (&participant.state, &state),
            (ParticipantState::Joining { .. }, ParticipantState::Reconnecting { .. })
        );
        if participant.state.as_str() == state.as_str() || is_quiet_joiner {
            return Ok(());
        }
        let before = participant.leaves_at();
        participant.state = state;
        self.reschedule(id, before);
        output.push(Output::Changed(id.clone()));
        self.tell_updated(id, output);
        Ok(())
    }

    fn handle_leave(
        &mut self,
        now: Instant,
        id: &ParticipantId,
        reason: LeaveReason,
        output: &mut Vec<Output>,
    ) -> Result<(), RoomError> {
        let tracks: Vec<TrackId> = self.participant_mut(id)?.tracks.iter().map(|track| track.id).collect();
        let has_published = !tracks.is_empty();
        for track in tracks {
            self.withdraw(id, track, output);
        }
        let Some(participant) = self.participants.remove(id) else { return Err(RoomError::NoSuchParticipant) };
        self.reschedule(id, participant.leaves_at());
        for receiver in &participant.receivers {
            if let Some(track) = receiver.track {
                let notice = Notice::Unsubscribed { track, egress: receiver.egress };
                output.push(Output::Notice { participant: id.clone(), notice });
            }
        }
        output.push(Output::Gone { participant: id.clone(), reason });
        let audience = participant.audience();
        let event =
            Event::ParticipantLeft { participant_id: id.clone(), identity: participant.identity.clone(), reason };
        output.push(Output::Event { audience, event });
        if self.participants.is_empty() {
            self.empty_since = Some(now);
        }
        self.is_stale |= has_published;
        Ok(())
    }

    fn handle_start(&mut self, output: &mut Vec<Output>) {
        if !matches!(self.stage, Stage::Starting | Stage::OnAir) {
            self.set_stage(Stage::Starting, output);
            self.go_on_air(output);
        }
    }

    /// Goes on air as soon as there is something to see or hear for an audience.
    fn go_on_air(&mut self, output: &mut Vec<Output>) {
        let mut publishers = self.publishers.values().filter_map(|id| self.participants.get(id));
        if self.stage == Stage::Starting && publishers.any(|publisher| !publisher.is_hidden()) {
            self.set_stage(Stage::OnAir, output);
        }
    }

    fn set_stage(&mut self, stage: Stage, output: &mut Vec<Output>) {
        self.stage = stage;
        let event = Event::RoomStage { stage: self.stage.as_str() };
        output.push(Output::Event { audience: Audience::Everybody, event });
    }

    fn handle_update_room(&mut self, change: RoomChange, output: &mut Vec<Output>) -> Result<(), RoomError> {
        let mut settings = self.settings.clone();
        let RoomChange { name, metadata, pin, is_locked, limits, empty_timeout } = change;
        settings.name = name.unwrap_or(settings.name);
        settings.metadata = metadata.unwrap_or(settings.metadata);
        settings.pin = pin.unwrap_or(settings.pin);
        settings.is_locked = is_locked.unwrap_or(settings.is_locked);
        settings.limits = limits.unwrap_or(settings.limits);
        settings.empty_timeout = empty_timeout.unwrap_or(settings.empty_timeout);
        settings.check()?;
        self.settings = settings;
        let event = Event::RoomUpdated { is_locked: self.settings.is_locked, name: self.settings.name.clone() };
        output.push(Output::Event { audience: Audience::Everybody, event });
        Ok(())
    }

    fn close(&mut self, now: Instant, output: &mut Vec<Output>) {
        let everybody: Vec<ParticipantId> = self.participants.keys().cloned().collect();
        for participant in everybody {
            self.handle_leave(now, &participant, LeaveReason::RoomClosed, output).expect("the participant is there");
        }
        output.push(Output::Event { audience: Audience::Everybody, event: Event::RoomClosed });
        self.is_closed = true;
        output.push(Output::Closed);
    }

    fn handle_timeout(&mut self, now: Instant, output: &mut Vec<Output>) {
        let is_due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        let due = self.deadlines.iter().take_while(|(deadline, _)| *deadline <= now);
        let reason = |id: &ParticipantId| {
            let participant = self.participants.get(id);
            let term = participant.and_then(|participant| participant.term.as_ref());
            match participant.map(|participant| participant.state) {
                _ if is_due(term.map(|term| term.until)) => LeaveReason::TokenExpired,
                Some(ParticipantState::Joining { .. }) => LeaveReason::JoinTimeout,
                Some(ParticipantState::Connected | ParticipantState::Reconnecting { .. }) | None => {
                    LeaveReason::ConnectionLost
                }
            }
        };
        let gone: Vec<(ParticipantId, LeaveReason)> = due.map(|(_, id)| (id.clone(), reason(id))).collect();
        for (participant, reason) in gone {
            self.handle_leave(now, &participant, reason, output).expect("the participant is there");
        }
        if is_due(self.empty_since.zip(self.settings.empty_timeout).map(|(since, timeout)| since + timeout)) {
            self.close(now, output);
        }
    }
}
