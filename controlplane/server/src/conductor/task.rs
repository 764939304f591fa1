//! The task that owns rooms, sessions and the plan.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::pending;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use sluice_controlplane_core::plan::{Config, Control};
use sluice_controlplane_core::room::{Identity, RemovedFrom, RoomId};
use sluice_controlplane_core::session::cookie_key_of_session;
use sluice_protocol::ids::TransportId;
use sluice_protocol::plan::{Key, Plan};
use sluice_protocol::session::Ready;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::desk::{Desk, Job};
use super::handle::Handle;
use super::limits::{ASSOCIATION_EVENTS_MAX, EVENT_LINES_PER_SECOND, HANDSHAKES_MAX, JOBS_MAX, OUTGOING_MAX};
use super::stored::{removed, removed_from, settings_of};
use crate::addresses::Announced;
use crate::clock;
use crate::dataplane::{DataplaneEvent, DataplaneHandle, NotDone};
use crate::dtls::{Association, Certificate, Endpoint, Event as DtlsEvent, FirstFlights, Resumed};
use crate::events::Events;
use crate::log::Allowance;
use crate::store::{Store, StoredRemoval, StoredRoom};

/// What the task is made from.
#[derive(Debug)]
pub struct Setup {
    /// The other plane.
    pub dataplane: DataplaneHandle,
    /// What it tells.
    pub events: mpsc::Receiver<DataplaneEvent>,
    /// The database.
    pub store: Store,
    /// The rooms in it.
    pub rooms: Vec<StoredRoom>,
    /// Who was removed from them.
    pub removals: Vec<StoredRemoval>,
    /// The addresses that clients are told.
    pub announced: Announced,
    /// STUN and TURN servers that clients are told.
    pub ice_servers: Vec<String>,
    /// The certificate of new sessions.
    pub certificate: Certificate,
    /// Where rooms' events go.
    pub events_of_rooms: Arc<Events>,
}

/// A conductor at work.
#[derive(Debug)]
pub struct Running {
    /// The way to it.
    pub handle: Handle,
    /// The UDP port of media, once the data plane runs.
    pub port: watch::Receiver<Option<u16>>,
    /// The task, which ends when the supervisor of the data plane does; at any other time it has failed, and the control
    /// plane is of no use without it.
    pub task: JoinHandle<()>,
}

/// Starts the task.
#[must_use]
pub fn run(setup: Setup) -> Running {
    let (jobs, job_receiver) = mpsc::channel(JOBS_MAX);
    let (outgoing, outgoing_receiver) = mpsc::channel(OUTGOING_MAX);
    let (association_events, association_receiver) = mpsc::channel(ASSOCIATION_EVENTS_MAX);
    let (port, port_receiver) = watch::channel(None);
    let jobs_of_task = jobs.clone();
    let endpoint = Endpoint::new(outgoing, association_events, HANDSHAKES_MAX);
    let handle = Handle::new(jobs, setup.dataplane.clone(), setup.store.clone(), endpoint.clone());
    let task = Task {
        desk: None,
        ready: None,
        rooms: setup.rooms,
        removals: setup.removals,
        store: setup.store,
        dataplane: setup.dataplane,
        certificate: Arc::new(setup.certificate),
        announced: setup.announced,
        ice_servers: setup.ice_servers,
        events: setup.events_of_rooms,
        jobs: jobs_of_task,
        endpoint,
        port,
    };
    let inlets = Inlets {
        jobs: job_receiver,
        dataplane: setup.events,
        outgoing: outgoing_receiver,
        associations: association_receiver,
        told: None,
    };
    Running { handle, port: port_receiver, task: tokio::spawn(task.run(inlets)) }
}

/// Everything that wakes the task.
struct Inlets {
    jobs: mpsc::Receiver<Job>,
    dataplane: mpsc::Receiver<DataplaneEvent>,
    outgoing: mpsc::Receiver<(TransportId, Bytes)>,
    associations: mpsc::Receiver<(TransportId, DtlsEvent)>,
    /// What an association told, until the datagrams before it are on their way.
    told: Option<(TransportId, DtlsEvent)>,
}

/// What woke the task.
enum Woken {
    Job(Job),
    Dataplane(Box<DataplaneEvent>),
    /// A DTLS datagram is to be sent.
    Outgoing(TransportId, Bytes),
    Association(TransportId, DtlsEvent),
}

impl Inlets {
    /// Waits for what comes next; `None` at the end, which the supervisor's is. Dropping the future loses nothing.
    ///
    /// What an association tells comes behind all datagrams that were to be sent before: the last flight leaves before the
    /// keys that it leads to are in the plan, because media that came first could not be opened.
    async fn next(&mut self) -> Option<Woken> {
        if self.told.is_none() {
            tokio::select! {
                Some((transport, datagram)) = self.outgoing.recv() => return Some(Woken::Outgoing(transport, datagram)),
                event = self.dataplane.recv() => return event.map(|event| Woken::Dataplane(Box::new(event))),
                Some(told) = self.associations.recv() => self.told = Some(told),
                job = self.jobs.recv() => return job.map(Woken::Job),
            }
        }
        if let Ok((transport, datagram)) = self.outgoing.try_recv() {
            return Some(Woken::Outgoing(transport, datagram));
        }
        self.told.take().map(|(transport, event)| Woken::Association(transport, event))
    }
}

struct Task {
    desk: Option<Desk>,
    ready: Option<Ready>,
    rooms: Vec<StoredRoom>,
    removals: Vec<StoredRemoval>,
    store: Store,
    dataplane: DataplaneHandle,
    certificate: Arc<Certificate>,
    announced: Announced,
    ice_servers: Vec<String>,
    events: Arc<Events>,
    jobs: mpsc::Sender<Job>,
    endpoint: Endpoint,
    port: watch::Sender<Option<u16>>,
}

impl Task {
    async fn run(mut self, mut inlets: Inlets) {
        loop {
            let deadline = self.desk.as_ref().and_then(|desk| desk.control.poll_timeout());
            let timeout = async {
                match deadline {
                    Some(deadline) => sleep(deadline.saturating_since(clock::now())).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                woken = inlets.next() => match woken {
                    Some(Woken::Outgoing(transport, datagram)) => self.dataplane.send_dtls(transport, &datagram),
                    Some(Woken::Dataplane(event)) => self.handle_dataplane(*event),
                    Some(Woken::Association(transport, event)) => {
                        if let Some(desk) = &mut self.desk {
                            desk.handle_dtls(transport, event);
                        }
                    }
                    Some(Woken::Job(job)) => job(self.desk.as_mut()),
                    None => return,
                },
                () = timeout => {
                    if let Some(desk) = &mut self.desk {
                        desk.handle_timeout();
                    }
                }
            }
        }
    }

    fn handle_dataplane(&mut self, event: DataplaneEvent) {
        match (event, &mut self.desk) {
            (DataplaneEvent::Ready(ready), desk) => {
                tracing::info!(port = ready.configuration.media_port, shards = ready.shards, "the data plane is ready");
                let _before = self.port.send_replace(Some(ready.configuration.media_port));
                if let Some(desk) = desk {
                    desk.media_port = ready.configuration.media_port;
                }
                self.ready = Some(ready);
            }
            (DataplaneEvent::Snapshot(plan), _) => self.rebuild(&plan),
            (DataplaneEvent::Refused { key, refusal }, Some(desk)) => desk.handle_refused(&key, refusal),
            (DataplaneEvent::Removed(key), Some(desk)) => desk.handle_removed(&key),
            (DataplaneEvent::Happened(event), Some(desk)) => desk.handle_dataplane(&event),
            (DataplaneEvent::Punt(transport, datagram), Some(desk)) => desk.handle_punt(transport, datagram),
            // Nothing is there yet that it could be about.
            (_, None) => {}
        }
    }

    /// Makes the state that a predecessor left, resumes its DTLS associations, and adds the rooms of the database.
    fn rebuild(&mut self, snapshot: &Plan) {
        let Some(ready) = self.ready.clone() else { return };
        let config = Config { shards: ready.shards, epoch: self.dataplane.epoch(), seed: rand::random() };
        let mut effects = Vec::new();
        let (control, rebuilt) = Control::rebuild(clock::now(), config, snapshot, &mut effects);
        tracing::info!(sessions = rebuilt.sessions, rooms = control.rooms().len(), "state taken over");
        for (key, error) in &rebuilt.unread {
            tracing::warn!(key, %error, "what was parked is not taken over");
        }
        for (transport, reason) in &rebuilt.given_up {
            tracing::warn!(?transport, ?reason, "a session could not be taken over; its client connects anew");
        }
        let mut desk = Desk {
            control,
            dataplane: self.dataplane.clone(),
            associations: HashMap::new(),
            first_flights: FirstFlights::default(),
            created_at: HashMap::new(),
            secret: ready.configuration.node_secret,
            media_port: ready.configuration.media_port,
            certificate: Arc::clone(&self.certificate),
            announced: self.announced.clone(),
            ice_servers: self.ice_servers.clone(),
            store: self.store.clone(),
            events: Arc::clone(&self.events),
            endpoint: self.endpoint.clone(),
            attended: HashMap::new(),
            offers_due: BTreeSet::new(),
            ending: Vec::new(),
            expired: VecDeque::new(),
            entering: None,
            event_lines: Allowance::new(EVENT_LINES_PER_SECOND, Instant::now()),
            jobs: self.jobs.clone(),
        };
        desk.attend_restored();
        let resumed = desk.resume_associations();
        desk.open_stored_rooms(&std::mem::take(&mut self.rooms));
        desk.restore_removals(std::mem::take(&mut self.removals));
        self.dataplane.adopt(snapshot.clone());
        let parked = desk.settle_and_wait(effects);
        self.desk = Some(desk);
        // No record leaves before the data plane has parked the raised record numbers.
        let jobs = self.jobs.clone();
        drop(tokio::spawn(async move {
            let refused = match parked.await {
                Ok(()) => BTreeSet::new(),
                Err(NotDone::Refused(refused)) => refused.into_iter().map(|(key, _)| key).collect(),
                Err(NotDone::TooMany | NotDone::Ending) => return,
            };
            let start: Job = Box::new(move |desk| start_associations(desk, resumed, &refused));
            drop(jobs.send(start).await);
        }));
    }
}

/// Starts the associations whose record numbers are parked: not those of `refused` cookies, whose sessions are closed.
fn start_associations(desk: Option<&mut Desk>, resumed: Vec<(TransportId, Resumed)>, refused: &BTreeSet<Key>) {
    let Some(desk) = desk else { return };
    for (transport, association) in resumed {
        let is_parked = !refused.contains(&Key::Cookie(cookie_key_of_session(transport)));
        // Its session may have been closed meanwhile.
        if is_parked && desk.control.session_of(transport).is_some() {
            let _before = desk.associations.insert(transport, association.start());
        }
    }
}

impl Desk {
    /// Rebuilds the DTLS associations of all sessions, and puts their raised record numbers into the plan.
    fn resume_associations(&mut self) -> Vec<(TransportId, Resumed)> {
        let states: Vec<(TransportId, Vec<u8>)> =
            self.control.connections().map(|own| (own.transport, own.dtls_state.clone())).collect();
        let mut resumed = Vec::new();
        for (transport, state) in states {
            match Association::resume(transport, &state, &self.endpoint) {
                Ok(association) => {
                    let parked = self.control.set_dtls_state(transport, association.state().to_vec());
                    if let Err(error) = parked {
                        tracing::warn!(?transport, %error, "a DTLS state is not parked");
                    }
                    resumed.push((transport, association));
                }
                // Media goes on with the keys that the data plane has; only DTLS itself has ended.
                Err(error) => tracing::warn!(?transport, %error, "a DTLS association cannot go on"),
            }
        }
        resumed
    }

    /// Gives the rooms back who was removed from them; a data plane that lived on knows the newest of these too.
    fn restore_removals(&mut self, removals: Vec<StoredRemoval>) {
        let mut of_rooms: HashMap<RoomId, [Vec<(Identity, u64)>; 2]> = HashMap::new();
        for removal in removals {
            let id = RoomId(removal.room_id.clone());
            let created_at_ms = self.created_at.get(&id).map_or(0, |at| clock::unix_millis(*at));
            let from = removed_from(&removal, created_at_ms);
            let [this, earlier] = of_rooms.entry(id).or_default();
            if from == RemovedFrom::ThisRoom { this } else { earlier }.push(removed(removal));
        }
        for (id, [this, earlier]) in of_rooms {
            for (from, removals) in [(RemovedFrom::ThisRoom, this), (RemovedFrom::EarlierRoom, earlier)] {
                if let Err(error) = self.control.restore_removals(&id, from, removals) {
                    tracing::error!(room = %id, %error, "removals from a room are not known to it");
                }
            }
        }
    }

    /// Opens the rooms of the database that the data plane knows nothing of: those of a start after both planes ended.
    fn open_stored_rooms(&mut self, rooms: &[StoredRoom]) {
        for stored in rooms {
            let id = RoomId(stored.id.clone());
            let created_at: SystemTime = clock::from_unix_millis(stored.created_at);
            let _before = self.created_at.insert(id.clone(), created_at);
            if self.control.room(&id).is_some() {
                continue;
            }
            let Some(settings) = settings_of(&stored.settings) else {
                tracing::error!(room = %id, "the settings of a room in the database cannot be read");
                continue;
            };
            if let Err(error) = self.control.create_room(clock::now(), id.clone(), settings) {
                tracing::error!(room = %id, %error, "a room of the database cannot be opened");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_an_association_tells_comes_behind_what_it_sent_before() {
        let transport = TransportId::new(0, 1, 1);
        let (outgoing, outgoing_receiver) = mpsc::channel(64);
        let (associations, association_receiver) = mpsc::channel(64);
        let (_jobs, jobs) = mpsc::channel(1);
        let (_dataplane, dataplane) = mpsc::channel(1);
        let mut inlets =
            Inlets { jobs, dataplane, outgoing: outgoing_receiver, associations: association_receiver, told: None };
        // Which inlet is looked at first is a matter of chance.
        for round in 0..50_u8 {
            for flight in 0..3 {
                outgoing.try_send((transport, Bytes::from(vec![round, flight]))).unwrap();
            }
            associations.try_send((transport, DtlsEvent::Closed)).unwrap();
            for flight in 0..3 {
                let woken = inlets.next().await;
                let Some(Woken::Outgoing(_, datagram)) = woken else { panic!("the flight leaves first") };
                assert_eq!(datagram[..], [round, flight]);
            }
            assert!(matches!(inlets.next().await, Some(Woken::Association(_, DtlsEvent::Closed))));
        }
    }
}
