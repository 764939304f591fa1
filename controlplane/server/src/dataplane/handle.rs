//! What the rest of the control plane holds of the other plane.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use sluice_controlplane_core::supervision::Replacements;
use sluice_protocol::event::Refusal;
use sluice_protocol::ids::TransportId;
use sluice_protocol::plan::{Change, Key, Plan};
use sluice_protocol::session::controller::{Controller, Ticket};
use sluice_protocol::stats::Stats;
use tokio::sync::{Notify, oneshot};

use super::limits::{CHANGES_WAITING_MAX, WAITING_MAX};
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
    /// When that was lately.
    pub replacements: Replacements,
}

/// Why changes of the plan are not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// The data plane refused these objects of the changes; the others are carried out.
    #[error("the data plane refuses it: {0:?}")]
    Refused(Vec<(Key, Refusal)>),
    /// [`WAITING_MAX`] others wait for changes already; these are under way all the same.
    #[error("too many wait for the data plane")]
    TooMany,
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
    /// Changes what is wanted, and returns the keys of what is put.
    fn change(&mut self, changes: Vec<Change>) -> BTreeSet<Key> {
        let mut keys = BTreeSet::new();
        for change in changes {
            match change {
                Change::Put(object) => {
                    let _new = keys.insert(object.key());
                    self.controller.put(*object);
                }
                Change::Remove(key) => self.controller.remove(key),
            }
        }
        keys
    }

    /// Lets somebody wait for everything that was changed up to now.
    fn wait(&mut self, mut waiting: Waiting) {
        if self.controller.unsettled() == 0 {
            // Nothing goes out; what is not wanted any more was more than a frame carries.
            let plan = self.controller.plan();
            let unwanted = waiting.keys.iter().filter(|key| plan.object(key).is_none());
            waiting.refused = unwanted.map(|key| (*key, Refusal::Invalid)).collect();
            return waiting.tell();
        }
        if self.waiting.len() >= WAITING_MAX {
            self.forget_those_who_gave_up();
        }
        if self.waiting.len() >= WAITING_MAX {
            drop(waiting.sender.send(Err(NotDone::TooMany)));
            return;
        }
        let ticket = self.controller.barrier();
        let _new = self.waiting.insert(ticket, waiting);
    }

    fn forget_those_who_gave_up(&mut self) {
        let Self { controller, waiting, .. } = self;
        waiting.retain(|ticket, waiting| {
            let is_gone = waiting.sender.is_closed();
            if is_gone {
                controller.forget(*ticket);
            }
            !is_gone
        });
    }

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
        let status =
            StatusReport { state: Status::Starting, pid: None, restarts: 0, replacements: Replacements::default() };
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

    /// Changes what is wanted, for those who need not know when it is done. Changes take effect in the order of calls,
    /// connected or not.
    pub fn send(&self, changes: Vec<Change>) {
        let _keys = self.shared.desired().change(changes);
        self.shared.changed.notify_one();
    }

    /// Changes what is wanted as [`Self::send`] does, and tells when it is done.
    pub fn change(&self, changes: Vec<Change>) -> Acknowledged {
        let (sender, receiver) = oneshot::channel();
        {
            let mut desired = self.shared.desired();
            let keys = desired.change(changes);
            desired.wait(Waiting { keys, refused: Vec::new(), sender });
        }
        self.shared.changed.notify_one();
        Acknowledged(receiver)
    }

    /// Returns how many changed objects wait for the data plane's acknowledgement.
    #[must_use]
    pub fn changes_waiting(&self) -> usize {
        self.shared.desired().controller.unsettled()
    }

    /// Returns how many DTLS datagrams found no stream to the data plane, or a full one.
    #[must_use]
    pub fn dtls_unsent(&self) -> u64 {
        self.shared.outgoing.dropped()
    }

    /// Tells whether [`CHANGES_WAITING_MAX`] changes wait for the data plane: nobody new is to be let in.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.changes_waiting() >= CHANGES_WAITING_MAX
    }

    /// Asks the publisher of a track for a key frame. The data plane asks by itself for what viewers need; tests alone see
    /// the contract's frame by this.
    #[cfg(test)]
    pub(crate) fn request_key_frame(&self, track: sluice_protocol::ids::TrackId) {
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

#[cfg(test)]
mod tests {
    use sluice_protocol::ice::NodeSecret;
    use sluice_protocol::plan::{Cookie, Object};
    use sluice_protocol::session::{Configuration, Identity};

    use super::*;

    /// A handle to a data plane that never comes.
    fn alone() -> DataplaneHandle {
        let identity = Identity { software: "test".into(), instance: 1, capabilities: Vec::new() };
        let configuration = Configuration { node_secret: NodeSecret::new([1; 32]), media_port: 0, listen: Vec::new() };
        DataplaneHandle::new(Arc::new(Shared::new(Controller::new(identity, 1, configuration))))
    }

    fn cookie(key: u64) -> Change {
        Change::Put(Box::new(Object::Cookie(Cookie { key, bytes: vec![1] })))
    }

    #[tokio::test]
    async fn those_who_wait_while_the_data_plane_is_away_are_bounded_and_those_who_gave_up_make_room() {
        let handle = alone();
        for number in 0..3 * WAITING_MAX as u64 {
            drop(handle.change(vec![cookie(number % 7)]));
            assert!(handle.shared.desired().waiting.len() <= WAITING_MAX);
        }
        let waiting: Vec<_> = (0..WAITING_MAX).map(|_| handle.change(vec![cookie(1)])).collect();
        assert_eq!(handle.change(vec![cookie(2)]).await, Err(NotDone::TooMany));
        drop(waiting);
        let patient = handle.change(vec![cookie(3)]);
        assert_eq!(handle.shared.desired().waiting.len(), 1);
        drop(handle);
        assert_eq!(patient.await, Err(NotDone::Ending));
    }

    #[test]
    fn changes_that_nobody_waits_for_leave_nobody_waiting_and_say_when_they_are_too_many() {
        let handle = alone();
        for number in 0..CHANGES_WAITING_MAX as u64 {
            assert!(!handle.is_behind(), "{number}");
            // What goes again is kept too: only the data plane can say that it never had it.
            let change = cookie(number);
            let Change::Put(object) = &change else { unreachable!() };
            let key = object.key();
            handle.send(vec![change, Change::Remove(key)]);
        }
        assert!(handle.is_behind());
        assert!(handle.shared.desired().waiting.is_empty());
    }
}
