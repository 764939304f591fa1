//! The conductor as HTTP sees it: each call is a job for the task.

use std::net::IpAddr;
use std::time::SystemTime;

use async_trait::async_trait;
use sluice_controlplane_core::access::{PermissionOverrides, Role as RoomRole};
use sluice_controlplane_core::limits::{REPLACED_LATELY, REPLACED_LATELY_MAX};
use sluice_controlplane_core::room::{
    Actor, Admission, Identity, Input, Join, ParticipantId, RemovedFrom, Room, RoomChange, RoomError, RoomId,
    RoomSettings, Wish,
};
use sluice_controlplane_core::sdp::{Offer, Role};
use sluice_protocol::stats::Stats;
use sluice_protocol::time::Instant;
use tokio::sync::{mpsc, oneshot};

use super::admit::Newcomer;
use super::desk::{Desk, Job};
use super::snapshots::{hidden_participants, refusal};
use super::stored::{removed, stored_settings};
use super::{
    Air, Answer, Conductor, ConductorCounts, ConductorError, ConductorHealth, DataplaneState, Entrant,
    ParticipantSnapshot, ParticipantUpdate, Patched, RoomPosition, RoomSnapshot, SessionActor, SessionAddress, Sight,
    SignalledOffer,
};
use crate::clock;
use crate::dataplane::{DataplaneHandle, Status, StatusReport};
use crate::dtls::Endpoint;
use crate::store::{Store, StoredRemoval, StoredRoom};

/// A way to the conductor; clones are cheap.
#[derive(Clone, Debug)]
pub struct Handle {
    jobs: mpsc::Sender<Job>,
    dataplane: DataplaneHandle,
    pub(super) store: Store,
    endpoint: Endpoint,
}

impl Handle {
    pub(super) const fn new(
        jobs: mpsc::Sender<Job>,
        dataplane: DataplaneHandle,
        store: Store,
        endpoint: Endpoint,
    ) -> Self {
        Self { jobs, dataplane, store, endpoint }
    }

    /// Has the task run `job`, and returns what it says; refused while the state of a predecessor is not known yet.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<T, ConductorError> {
        const STARTING: ConductorError = ConductorError::Unavailable("the data plane is not ready yet");
        const ENDING: ConductorError = ConductorError::Unavailable("the control plane is shutting down");
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move |desk| {
            // Who asked may have gone meanwhile.
            drop(sender.send(desk.map(job)));
        });
        self.jobs.send(job).await.map_err(|_| ENDING)?;
        receiver.await.map_err(|_| ENDING)?.ok_or(STARTING)
    }

    async fn admit(&self, newcomer: Newcomer) -> Result<Answer, ConductorError> {
        let admitted = self.ask(move |desk| desk.open(&newcomer)).await??;
        admitted.acknowledged.await?;
        Ok(admitted.answer)
    }
}

#[async_trait]
impl Conductor for Handle {
    async fn create_room(&self, room_id: &str, settings: RoomSettings) -> Result<RoomSnapshot, ConductorError> {
        settings.check()?;
        let removals = self.store.removals_of(room_id).await?;
        let (id, created_at) = (RoomId(room_id.to_owned()), SystemTime::now());
        let stored = StoredRoom {
            id: room_id.to_owned(),
            settings: stored_settings(&settings),
            created_at: clock::unix_millis(created_at),
        };
        self.store.insert_room(&stored).await.map_err(|error| {
            if error.is_taken() { ConductorError::RoomExists } else { ConductorError::Store(error) }
        })?;
        let created = self
            .ask(move |desk| {
                desk.check_backlog()?;
                desk.control.create_room(clock::now(), id.clone(), settings).map_err(refusal)?;
                let removals = removals.into_iter().map(removed);
                desk.control.restore_removals(&id, RemovedFrom::EarlierRoom, removals).map_err(refusal)?;
                let _new = desk.created_at.insert(id.clone(), created_at);
                desk.settle(Vec::new());
                desk.room_snapshot(&id)
            })
            .await
            .and_then(|created| created);
        if created.is_err() {
            let _gone = self.store.delete_room(room_id).await?;
        }
        created
    }

    async fn rooms(&self, after: Option<&RoomPosition>, limit: usize) -> Result<Vec<RoomSnapshot>, ConductorError> {
        let after = after.cloned();
        self.ask(move |desk| desk.room_snapshots(after.as_ref(), limit)).await
    }

    async fn room(&self, room_id: &str) -> Result<RoomSnapshot, ConductorError> {
        let id = RoomId(room_id.to_owned());
        self.ask(move |desk| desk.room_snapshot(&id)).await?
    }

    async fn update_room(&self, room_id: &str, change: RoomChange) -> Result<RoomSnapshot, ConductorError> {
        let id = RoomId(room_id.to_owned());
        let update = move |desk: &mut Desk| {
            desk.input(&id, Input::UpdateRoom(Box::new(change)))?;
            desk.room_snapshot(&id)
        };
        let room = self.ask(update).await??;
        let _there = self.store.update_room(room_id, &stored_settings(&room.settings)).await?;
        Ok(room)
    }

    async fn delete_room(&self, room_id: &str) -> Result<(), ConductorError> {
        let id = RoomId(room_id.to_owned());
        self.ask(move |desk| desk.input(&id, Input::Close)).await??;
        let _gone = self.store.delete_room(room_id).await?;
        Ok(())
    }

    async fn set_on_air(&self, room_id: &str, air: Air) -> Result<RoomSnapshot, ConductorError> {
        let id = RoomId(room_id.to_owned());
        let input = match air {
            Air::Start => Input::Start,
            Air::Stop => Input::Stop,
        };
        let change = move |desk: &mut Desk| {
            desk.input(&id, input)?;
            desk.room_snapshot(&id)
        };
        self.ask(change).await?
    }

    async fn participants(
        &self,
        room_id: &str,
        sight: Sight,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ParticipantSnapshot>, ConductorError> {
        let (id, after) = (RoomId(room_id.to_owned()), after.map(str::to_owned));
        self.ask(move |desk| desk.participant_snapshots(&id, sight, after.as_deref(), limit)).await?
    }

    async fn update_participant(
        &self,
        room_id: &str,
        participant: &str,
        update: ParticipantUpdate,
    ) -> Result<ParticipantSnapshot, ConductorError> {
        let (id, participant) = (RoomId(room_id.to_owned()), participant.to_owned());
        self.ask(move |desk| desk.update_participant(&id, &participant, update)).await?
    }

    async fn move_participant(
        &self,
        room_id: &str,
        participant: &str,
        to: &str,
    ) -> Result<ParticipantSnapshot, ConductorError> {
        let (from, name, to) = (RoomId(room_id.to_owned()), participant.to_owned(), RoomId(to.to_owned()));
        let move_it = move |desk: &mut Desk| {
            let participant = desk.participant_id(&from, &name)?;
            desk.move_participant(&from, &participant, &to)
        };
        self.ask(move_it).await?
    }

    async fn remove_participant(&self, room_id: &str, participant: &str) -> Result<(), ConductorError> {
        let (id, name) = (RoomId(room_id.to_owned()), participant.to_owned());
        let remove = move |desk: &mut Desk| {
            let participant = desk.participant_id(&id, &name)?;
            desk.remove_as(Actor::Api, &id, participant)
        };
        let (Identity(identity), now_seconds) = self.ask(remove).await??;
        // Whoever has the answer may rely on the removal over restarts of both planes.
        let void_until = i64::try_from(now_seconds).unwrap_or(i64::MAX);
        self.store.insert_removal(&StoredRemoval { room_id: room_id.to_owned(), identity, void_until }).await?;
        Ok(())
    }

    async fn check_admission(
        &self,
        room_id: &str,
        identity: &str,
        role: RoomRole,
        admission: &Admission,
    ) -> Result<(), ConductorError> {
        let (id, identity, admission) = (RoomId(room_id.to_owned()), identity.to_owned(), admission.clone());
        let check = move |desk: &mut Desk| {
            let room = desk.control.room(&id).ok_or(ConductorError::NoSuchRoom)?;
            desk.check_incarnation(&id, &admission)?;
            check_admission(room, identity, role, admission).map_err(ConductorError::Room)
        };
        self.ask(check).await?
    }

    async fn publish(&self, room_id: &str, entrant: Entrant, offer: SignalledOffer) -> Result<Answer, ConductorError> {
        let wish = Wish::Tracks(Vec::new());
        let newcomer = newcomer(room_id, entrant, Role::Publish, wish, &offer)?;
        self.admit(newcomer).await
    }

    async fn play(
        &self,
        room_id: &str,
        entrant: Entrant,
        participant: Option<&str>,
        offer: SignalledOffer,
    ) -> Result<Answer, ConductorError> {
        let wish = participant.map_or(Wish::LongestPublishing, |name| Wish::Participant(name.to_owned()));
        let newcomer = newcomer(room_id, entrant, Role::Play, wish, &offer)?;
        self.admit(newcomer).await
    }

    async fn patch(
        &self,
        session: SessionAddress<'_>,
        actor: &SessionActor,
        if_match: Option<&str>,
        fragment: &[u8],
    ) -> Result<Patched, ConductorError> {
        let (front, room_id, session_id) = (session.front, session.room_id.to_owned(), session.session_id.to_owned());
        let (actor, if_match, fragment) = (actor.clone(), if_match.map(str::to_owned), fragment.to_vec());
        let patch = move |desk: &mut Desk| {
            let address = SessionAddress { front, room_id: &room_id, session_id: &session_id };
            desk.patch(address, &actor, if_match.as_deref(), &fragment)
        };
        let (patched, acknowledged) = self.ask(patch).await??;
        acknowledged.await?;
        Ok(patched)
    }

    async fn end(&self, session: SessionAddress<'_>, actor: &SessionActor) -> Result<(), ConductorError> {
        let (front, room_id, session_id) = (session.front, session.room_id.to_owned(), session.session_id.to_owned());
        let actor = actor.clone();
        let end = move |desk: &mut Desk| {
            let address = SessionAddress { front, room_id: &room_id, session_id: &session_id };
            desk.end(address, &actor)
        };
        self.ask(end).await?
    }

    async fn health(&self) -> ConductorHealth {
        let counts = |desk: &mut Desk| {
            let participants = desk.control.rooms().map(|room| room.participants().len()).sum();
            let hidden = desk.control.rooms().map(hidden_participants).sum();
            (desk.control.rooms().len(), participants, hidden)
        };
        let counts = self.ask(counts).await;
        let status = self.dataplane.status();
        let dataplane = state_of(&status, counts.is_ok(), clock::now());
        let (rooms, participants, hidden_participants) = counts.unwrap_or((0, 0, 0));
        ConductorHealth {
            dataplane,
            dataplane_pid: status.pid,
            dataplane_restarts: status.restarts,
            rooms,
            participants,
            hidden_participants,
        }
    }

    fn counts(&self) -> ConductorCounts {
        ConductorCounts {
            dtls: self.endpoint.counts(),
            dtls_unsent: self.dataplane.dtls_unsent(),
            changes_waiting: self.dataplane.changes_waiting(),
        }
    }

    async fn stats(&self) -> Result<Stats, ConductorError> {
        self.dataplane.stats().await.ok_or(ConductorError::Unavailable("the data plane does not answer"))
    }
}

/// Judges the data plane; `is_served` tells whether the task has taken over what it has.
fn state_of(status: &StatusReport, is_served: bool, now: Instant) -> DataplaneState {
    match &status.state {
        Status::Failing { reason } => DataplaneState::Failing { reason: reason.clone() },
        Status::Running if is_served && status.replacements.are_too_many(now) => DataplaneState::Unstable {
            reason: format!(
                "it was replaced {REPLACED_LATELY_MAX} times or more within {} s",
                REPLACED_LATELY.as_secs()
            ),
        },
        Status::Running if is_served => DataplaneState::Running,
        Status::Running | Status::Starting => DataplaneState::Starting,
    }
}

/// Reads an offer; the costly part, done by the caller and not by the task.
fn newcomer(
    room_id: &str,
    entrant: Entrant,
    role: Role,
    wish: Wish,
    offer: &SignalledOffer,
) -> Result<Newcomer, ConductorError> {
    let client: IpAddr = offer.client;
    Ok(Newcomer {
        room: RoomId(room_id.to_owned()),
        entrant,
        role,
        wish,
        offer: Offer::parse(&offer.sdp)?,
        client,
        is_loopback: offer.is_loopback,
    })
}

/// Asks a room about somebody who may come later; whether there is a place then does not matter now.
fn check_admission(room: &Room, identity: String, role: RoomRole, admission: Admission) -> Result<(), RoomError> {
    let is_guest = matches!(admission, Admission::Guest { .. });
    let join = Join {
        participant: ParticipantId("later".to_owned()),
        name: identity.clone(),
        identity: Identity(identity),
        metadata: String::new(),
        role,
        overrides: PermissionOverrides::default(),
        admission,
        good_until: None,
        is_publisher: false,
        is_signalled: false,
        wish: Wish::LongestPublishing,
    };
    match room.check_join(&join) {
        Err(error @ (RoomError::WrongPin | RoomError::Revoked)) => Err(error),
        Err(RoomError::Locked) if is_guest => Err(RoomError::Locked),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use sluice_controlplane_core::supervision::Replacements;

    use super::*;

    #[test]
    fn a_data_plane_that_is_replaced_often_is_not_called_well_between_two_deaths() {
        let (now, mut often) = (Instant::from_millis(90_000), Replacements::default());
        (0..REPLACED_LATELY_MAX).for_each(|_| often.note(now));
        let judged = |state, replacements, is_served| {
            state_of(&StatusReport { state, pid: None, restarts: 3, replacements }, is_served, now)
        };
        let failing = Status::Failing { reason: "it dies".to_owned() };
        assert_eq!(judged(Status::Running, Replacements::default(), true), DataplaneState::Running);
        assert!(matches!(judged(Status::Running, often, true), DataplaneState::Unstable { .. }));
        for replacements in [Replacements::default(), often] {
            assert_eq!(judged(Status::Running, replacements, false), DataplaneState::Starting);
            assert_eq!(judged(Status::Starting, replacements, true), DataplaneState::Starting);
            let expected = DataplaneState::Failing { reason: "it dies".to_owned() };
            assert_eq!(judged(failing.clone(), replacements, false), expected);
        }
    }
}
