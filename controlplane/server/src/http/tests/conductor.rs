//! A conductor without media: rooms in a map, and a record of what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use async_trait::async_trait;
use sluice_controlplane_core::session::SessionId;

use crate::conductor::signalled::{Opened, Opener, Request, Resume, Resumed, Sessions};
use sluice_controlplane_core::access::{PermissionOverrides, Role};
use sluice_controlplane_core::room::{
    Admission, Identity, Participant, ParticipantId, ParticipantState, RoomChange, RoomError, RoomSettings, Stage, Wish,
};
use sluice_controlplane_core::sdp::OfferError;
use sluice_protocol::ids::{EgressId, TrackId, TransportId};
use sluice_protocol::media::{PayloadType, Ssrc};
use sluice_protocol::stats::{EgressStats, IngressStats, ShardStats, Stats, TransportStats};
use sluice_protocol::time::Instant;

use crate::conductor::{
    Air, Answer, Conductor, ConductorCounts, ConductorError, ConductorHealth, DataplaneState, Entrant, IceServer,
    ParticipantSnapshot, ParticipantUpdate, Patched, RoomPosition, RoomSnapshot, SessionActor, SessionAddress, Sight,
    SignalledOffer,
};
use crate::dtls::Counts;

/// The conductor.
#[derive(Default)]
pub(super) struct Rooms {
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) rooms: BTreeMap<String, RoomSnapshot>,
    pub(super) participants: BTreeMap<String, ParticipantSnapshot>,
    /// Identities whose tokens are void.
    pub(super) revoked: Vec<String>,
    /// Session ids with front, room and identity.
    pub(super) sessions: BTreeMap<String, (String, String)>,
    /// What came, for tests to look at.
    pub(super) entrants: Vec<Entrant>,
    pub(super) offers: Vec<SignalledOffer>,
    pub(super) updates: Vec<ParticipantUpdate>,
    pub(super) dataplane: Option<DataplaneState>,
    /// Whether offers are never answered.
    pub(super) is_stuck: bool,
}

const PARTICIPANT: &str = "PA_1";

pub(super) fn participant(id: &str, hidden: bool) -> ParticipantSnapshot {
    let participant = Participant {
        id: ParticipantId(id.to_owned()),
        identity: Identity(format!("identity-{id}")),
        name: "Name".to_owned(),
        metadata: "{\"a\":1}".to_owned(),
        role: Role::Speaker,
        overrides: PermissionOverrides { hidden: Some(hidden), ..PermissionOverrides::default() },
        state: ParticipantState::Connected,
        joined_at: Instant::from_nanos(0),
        term: None,
        is_publisher: true,
        is_signalled: false,
        wish: Wish::LongestPublishing,
        tracks: Vec::new(),
        receivers: Vec::new(),
        subscriptions: Vec::new(),
    };
    ParticipantSnapshot { participant: Arc::new(participant), joined_at: SystemTime::UNIX_EPOCH }
}

impl Rooms {
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap())
    }

    fn in_room<T>(
        &self,
        room_id: &str,
        act: impl FnOnce(&mut RoomSnapshot) -> Result<T, ConductorError>,
    ) -> Result<T, ConductorError> {
        self.with(|state| act(state.rooms.get_mut(room_id).ok_or(ConductorError::NoSuchRoom)?))
    }

    async fn answer(&self, room_id: &str, entrant: Entrant, offer: SignalledOffer) -> Result<Answer, ConductorError> {
        if self.with(|state| state.is_stuck) {
            std::future::pending::<()>().await;
        }
        let admission = entrant.admission.clone();
        self.check_admission(room_id, &entrant.identity, entrant.role, &admission).await?;
        if !offer.sdp.starts_with(b"v=0") {
            return Err(OfferError::Syntax("no v= line".to_owned()).into());
        }
        if !offer.sdp.windows(2).any(|pair| pair == b"m=") {
            return Err(OfferError::NoSection.into());
        }
        self.with(|state| {
            let session_id = format!("session{}", state.sessions.len());
            state.sessions.insert(session_id.clone(), (room_id.to_owned(), entrant.identity.clone()));
            state.entrants.push(entrant);
            state.offers.push(offer);
            let stun = IceServer { url: "stun:stun.example.org".to_owned(), credentials: None };
            Ok(Answer { session_id, etag: "one".to_owned(), sdp: "v=0\r\n".to_owned(), ice_servers: vec![stun] })
        })
    }

    fn session(&self, session: SessionAddress<'_>, actor: &SessionActor) -> Result<(), ConductorError> {
        self.with(|state| match state.sessions.get(session.session_id) {
            Some((room_id, _)) if room_id != session.room_id => Err(ConductorError::NoSuchSession),
            Some((_, owner)) => match actor {
                SessionActor::Identity(identity) if identity != owner => Err(ConductorError::NotYourSession),
                SessionActor::Identity(_) | SessionActor::Manager(_) => Ok(()),
            },
            None => Err(ConductorError::NoSuchSession),
        })
    }
}

#[async_trait]
impl Conductor for Rooms {
    async fn create_room(&self, room_id: &str, settings: RoomSettings) -> Result<RoomSnapshot, ConductorError> {
        settings.check()?;
        self.with(|state| {
            if state.rooms.contains_key(room_id) {
                return Err(ConductorError::RoomExists);
            }
            let id = room_id.to_owned();
            let created_at = SystemTime::UNIX_EPOCH;
            let stage = Stage::Created;
            let room = RoomSnapshot { id, settings, stage, participants: 0, hidden_participants: 0, created_at };
            state.rooms.insert(room_id.to_owned(), room.clone());
            Ok(room)
        })
    }

    async fn rooms(&self, after: Option<&RoomPosition>, limit: usize) -> Result<Vec<RoomSnapshot>, ConductorError> {
        let later = |room: &&RoomSnapshot| after.is_none_or(|after| room.position() > *after);
        Ok(self.with(|state| state.rooms.values().filter(later).take(limit).cloned().collect()))
    }

    async fn room(&self, room_id: &str) -> Result<RoomSnapshot, ConductorError> {
        self.in_room(room_id, |room| Ok(room.clone()))
    }

    async fn update_room(&self, room_id: &str, change: RoomChange) -> Result<RoomSnapshot, ConductorError> {
        self.in_room(room_id, |room| {
            let old = room.settings.clone();
            let settings = RoomSettings {
                name: change.name.unwrap_or(old.name),
                metadata: change.metadata.unwrap_or(old.metadata),
                pin: change.pin.unwrap_or(old.pin),
                is_locked: change.is_locked.unwrap_or(old.is_locked),
                limits: change.limits.unwrap_or(old.limits),
                empty_timeout: change.empty_timeout.unwrap_or(old.empty_timeout),
                ..old
            };
            settings.check()?;
            room.settings = settings;
            Ok(room.clone())
        })
    }

    async fn delete_room(&self, room_id: &str) -> Result<(), ConductorError> {
        self.with(|state| state.rooms.remove(room_id).map(drop).ok_or(ConductorError::NoSuchRoom))
    }

    async fn set_on_air(&self, room_id: &str, air: Air) -> Result<RoomSnapshot, ConductorError> {
        self.in_room(room_id, |room| {
            room.stage = if air == Air::Start { Stage::Starting } else { Stage::Stopped };
            Ok(room.clone())
        })
    }

    async fn participants(
        &self,
        room_id: &str,
        sight: Sight,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ParticipantSnapshot>, ConductorError> {
        self.room(room_id).await?;
        let later = |(id, _): &(&String, &ParticipantSnapshot)| after.is_none_or(|after| id.as_str() > after);
        let take = |state: &mut State| {
            let seen = state.participants.iter().filter(|(_, own)| sight == Sight::All || !own.participant.is_hidden());
            seen.filter(later).take(limit).map(|(_, found)| found.clone()).collect()
        };
        Ok(self.with(take))
    }

    async fn update_participant(
        &self,
        room_id: &str,
        id: &str,
        update: ParticipantUpdate,
    ) -> Result<ParticipantSnapshot, ConductorError> {
        self.room(room_id).await?;
        self.with(|state| state.updates.push(update));
        if id == PARTICIPANT { Ok(participant(id, false)) } else { Err(RoomError::NoSuchParticipant.into()) }
    }

    async fn move_participant(&self, _: &str, _: &str, _: &str) -> Result<ParticipantSnapshot, ConductorError> {
        Err(ConductorError::NotMovable)
    }

    async fn remove_participant(&self, room_id: &str, id: &str) -> Result<(), ConductorError> {
        self.room(room_id).await?;
        if id == PARTICIPANT { Ok(()) } else { Err(RoomError::NoSuchParticipant.into()) }
    }

    async fn check_admission(
        &self,
        room_id: &str,
        identity: &str,
        _: Role,
        admission: &Admission,
    ) -> Result<(), ConductorError> {
        // The conductor is another task.
        tokio::task::yield_now().await;
        let room = self.room(room_id).await?;
        if self.with(|state| state.revoked.iter().any(|revoked| revoked == identity)) {
            return Err(RoomError::Revoked.into());
        }
        match admission {
            Admission::Guest { pin } if room.settings.pin.is_some() && *pin != room.settings.pin => {
                Err(RoomError::WrongPin.into())
            }
            Admission::Guest { .. } | Admission::Token { .. } | Admission::Api => Ok(()),
        }
    }

    async fn publish(&self, room_id: &str, entrant: Entrant, offer: SignalledOffer) -> Result<Answer, ConductorError> {
        self.answer(room_id, entrant, offer).await
    }

    async fn play(
        &self,
        room_id: &str,
        entrant: Entrant,
        _: Option<&str>,
        offer: SignalledOffer,
    ) -> Result<Answer, ConductorError> {
        self.answer(room_id, entrant, offer).await
    }

    async fn patch(
        &self,
        session: SessionAddress<'_>,
        actor: &SessionActor,
        if_match: Option<&str>,
        _: &[u8],
    ) -> Result<Patched, ConductorError> {
        self.session(session, actor)?;
        match if_match {
            None => Err(ConductorError::EtagMissing),
            Some("\"one\"") => Ok(Patched::Taken),
            Some("*") => Ok(Patched::Restarted { fragment: "a=ice-ufrag:x\r\n".to_owned(), etag: "two".to_owned() }),
            Some(_) => Err(ConductorError::EtagMismatch),
        }
    }

    async fn end(&self, session: SessionAddress<'_>, actor: &SessionActor) -> Result<(), ConductorError> {
        self.session(session, actor)?;
        self.with(|state| state.sessions.remove(session.session_id));
        Ok(())
    }

    async fn health(&self) -> ConductorHealth {
        ConductorHealth {
            dataplane: self.with(|state| state.dataplane.clone()).unwrap_or(DataplaneState::Running),
            dataplane_pid: Some(4242),
            dataplane_restarts: 3,
            rooms: self.with(|state| state.rooms.len()),
            participants: 0,
            hidden_participants: 0,
        }
    }

    fn counts(&self) -> ConductorCounts {
        ConductorCounts { dtls: Counts { dropped: 5, deferred: 4 }, dtls_unsent: 6, changes_waiting: 7 }
    }

    async fn stats(&self) -> Result<Stats, ConductorError> {
        if self.with(|state| state.dataplane.is_some()) {
            return Err(ConductorError::Unavailable("the data plane is not there"));
        }
        let shard = ShardStats {
            shard: 1,
            counters: vec![("datagrams_received".to_owned(), 9), ("replays".to_owned(), 2)],
            discards: vec![("replayed".to_owned(), 5)],
        };
        let (transport, track) = (TransportId::new(0, 1, 1), TrackId::new(0, 1, 1));
        let transports = [(4, 5), (60, 70)].map(|(received_packets, sent_packets)| TransportStats {
            transport,
            received_packets,
            received_bytes: 1,
            sent_packets,
            sent_bytes: 2,
            discarded_packets: 3,
            rtt_us: 0,
        });
        let received = IngressStats {
            track,
            ssrc: Ssrc(1),
            payload_type: PayloadType(96),
            packets: 1,
            bytes: 1,
            lost: 0,
            repaired: 0,
            jitter: 0,
            nacks: 0,
            plis: 0,
            key_frames: 0,
        };
        let sent = EgressStats {
            egress: EgressId::new(0, 1, 1),
            packets: 1,
            bytes: 1,
            repeats: 0,
            nacks: 0,
            plis: 0,
            fraction_lost: 0,
            jitter: 0,
        };
        Ok(Stats {
            shards: vec![shard],
            transports: transports.to_vec(),
            ingress: vec![received; 3],
            egress: vec![sent; 4],
        })
    }
}

/// Signalling has tests of its own, over the real conductor.
#[async_trait]
impl Sessions for Rooms {
    async fn open_session(&self, _: Opener) -> Result<Opened, ConductorError> {
        Err(ConductorError::Unavailable("there are no sessions here"))
    }

    async fn resume_session(&self, _: Resume) -> Result<Resumed, ConductorError> {
        Err(ConductorError::NoSuchSession)
    }

    async fn lose_connection(&self, _: &SessionId, _: u64) {}

    async fn close_session(&self, _: &SessionId) {}

    async fn ask(&self, _: &SessionId, _: Option<u64>, _: Request) -> Result<(), ConductorError> {
        Err(ConductorError::NoSuchSession)
    }
}
