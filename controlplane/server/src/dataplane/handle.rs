//! What the rest of the control plane holds of the other plane.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use sluice_protocol::event::Refusal;
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::plan::{Change, Key, Plan};
use sluice_protocol::session::controller::{Controller, Ticket};
use sluice_protocol::stats::Stats;
use tokio::sync::{Notify, oneshot};

use super::packets::Outgoing;

/// How the other plane is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It starts, for the first time or again.
    Starting,
    /// It is there and takes commands.
    Running,
    /// It keeps dying, or cannot be started.
    Failing {
        /// What is wrong, in a sentence.
        reason: String,
    },
}

/// How the other plane is, for the health report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusReport {
    /// Its state.
    pub state: Status,
    /// Its process, while there is one.
    pub pid: Option<u32>,
    /// How often it was started again since this process started.
    pub restarts: u64,
}

/// Why changes of the plan are not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// The data plane refused these objects of the changes; the others are carried out.
    #[error("the data plane refuses it: {0:?}")]
    Refused(Vec<(Key, Refusal)>),
    /// This process ends, and with it whoever could tell.
    #[error("the control plane is shutting down")]
    Ending,
}

/// Resolves when all changes before it are carried out, or tells which of its own are not.
#[derive(Debug)]
#[must_use = "resolves when the data plane has done it"]
pub struct Acknowledged(oneshot::Receiver<Result<(), NotDone>>);

impl Future for Acknowledged {
    type Output = Result<(), NotDone>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|told| told.unwrap_or(Err(NotDone::Ending)))
    }
}

/// What handle and link share.
pub(super) struct Shared {
    controller: Mutex<Desired>,
    status: Mutex<StatusReport>,
    pub(super) outgoing: Outgoing,
    pub(super) changed: Notify,
}

/// What is wanted, and who waits for it.
pub(super) struct Desired {
    pub(super) controller: Controller<OwnedFd>,
    pub(super) stats: BTreeMap<u64, oneshot::Sender<Stats>>,
    waiting: BTreeMap<Ticket, Waiting>,
}

/// Who waits for changes.
struct Waiting {
    /// What they put.
    keys: BTreeSet<Key>,
    /// What of that was refused.
    refused: Vec<(Key, Refusal)>,
    sender: oneshot::Sender<Result<(), NotDone>>,
}

impl Waiting {
    /// Tells how it ended.
    fn tell(self) {
        let outcome = if self.refused.is_empty() { Ok(()) } else { Err(NotDone::Refused(self.refused)) };
        // Who waited may have gone meanwhile.
        drop(self.sender.send(outcome));
    }
}

impl Desired {
    /// Takes a refusal, which comes before the acknowledgement of the changes that it is about.
    pub(super) fn handle_refused(&mut self, key: Key, refusal: Refusal) {
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.keys.contains(&key)) {
            waiting.refused.push((key, refusal));
        }
    }

    /// Takes the acknowledgement of everything before `ticket`.
    pub(super) fn handle_acknowledged(&mut self, ticket: Ticket) {
        if let Some(waiting) = self.waiting.remove(&ticket) {
            waiting.tell();
        }
    }
}

impl Shared {
    pub(super) fn new(controller: Controller<OwnedFd>) -> Self {
        let status = StatusReport { state: Status::Starting, pid: None, restarts: 0 };
        let desired = Desired { controller, stats: BTreeMap::new(), waiting: BTreeMap::new() };
        Self {
            controller: Mutex::new(desired),
            status: Mutex::new(status),
            outgoing: Outgoing::default(),
            changed: Notify::new(),
        }
    }

    pub(super) fn desired(&self) -> MutexGuard<'_, Desired> {
        self.controller.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> MutexGuard<'_, StatusReport> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The other plane, as the rest of the control plane sees it; clones are cheap.
#[derive(Clone)]
pub struct DataplaneHandle {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for DataplaneHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("DataplaneHandle").field("status", &*self.shared.status()).finish_non_exhaustive()
    }
}

impl DataplaneHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Makes what was rebuilt from a snapshot the plan, and lets commands go out.
    pub fn adopt(&self, plan: Plan) {
        self.shared.desired().controller.adopt(plan);
        self.shared.changed.notify_one();
    }

    /// Changes what is wanted. Changes take effect in the order of calls, connected or not.
    pub fn change(&self, changes: Vec<Change>) -> Acknowledged {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = Waiting { keys: BTreeSet::new(), refused: Vec::new(), sender };
        {
            let mut desired = self.shared.desired();
            for change in changes {
                match change {
                    Change::Put(object) => {
                        let _new = waiting.keys.insert(object.key());
                        desired.controller.put(*object);
                    }
                    Change::Remove(key) => desired.controller.remove(key),
                }
            }
            let ticket = desired.controller.barrier();
            if desired.controller.is_acknowledged(ticket) {
                // Nothing goes out; what is not wanted any more was more than a frame carries.
                let plan = desired.controller.plan();
                let unwanted = waiting.keys.iter().filter(|key| plan.object(key).is_none());
                waiting.refused = unwanted.map(|key| (*key, Refusal::Invalid)).collect();
                waiting.tell();
            } else {
                let _new = desired.waiting.insert(ticket, waiting);
            }
        }
        self.shared.changed.notify_one();
        Acknowledged(receiver)
    }

    /// Asks the publisher of a track for a key frame.
    pub fn request_key_frame(&self, track: TrackId) {
        self.shared.desired().controller.request_key_frame(track);
        self.shared.changed.notify_one();
    }

    /// Sends a DTLS datagram over a transport's path; dropped when the stream is full or nobody is there.
    pub fn send_dtls(&self, transport: TransportId, datagram: &Bytes) {
        self.shared.outgoing.send(transport, datagram);
    }

    /// Returns all counters; `None` when the data plane is not there or too many ask.
    pub async fn stats(&self) -> Option<Stats> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut desired = self.shared.desired();
            let id = desired.controller.request_stats()?;
            let _new = desired.stats.insert(id, sender);
        }
        self.shared.changed.notify_one();
        receiver.await.ok()
    }

    /// Returns the epoch of this control plane; it stands once the data plane is ready.
    #[must_use]
    pub fn epoch(&self) -> u16 {
        self.shared.desired().controller.epoch()
    }

    /// Returns how it is.
    #[must_use]
    pub fn status(&self) -> StatusReport {
        self.shared.status().clone()
    }
}
