//! What all associations of a node share, and what they tell through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use sluice_protocol::ids::TransportId;
use sluice_protocol::media::SrtpKeys;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::error::Error;

/// What all associations of a node share: where their datagrams and events go, places for handshakes, and counters. Per
/// association these would be the largest part of its memory. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Endpoint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    outgoing: mpsc::Sender<(TransportId, Bytes)>,
    events: mpsc::Sender<(TransportId, Event)>,
    handshakes: Arc<Semaphore>,
    dropped: AtomicU64,
    deferred: AtomicU64,
}

/// What the associations of an endpoint counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Datagrams and records that were dropped, both ways: forged, repeated, senseless, or above a limit.
    pub dropped: u64,
    /// First datagrams of handshakes that found no place, and are among [`Counts::dropped`].
    pub deferred: u64,
}

impl Endpoint {
    /// Makes an endpoint with `handshakes_max` places. Datagrams that find `outgoing` full, and application data that
    /// finds `events` full, are dropped and counted.
    #[must_use]
    pub fn new(
        outgoing: mpsc::Sender<(TransportId, Bytes)>,
        events: mpsc::Sender<(TransportId, Event)>,
        handshakes_max: usize,
    ) -> Self {
        let handshakes = Arc::new(Semaphore::new(handshakes_max));
        Self(Arc::new(Inner { outgoing, events, handshakes, dropped: AtomicU64::new(0), deferred: AtomicU64::new(0) }))
    }

    /// Returns what was counted.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let Inner { dropped, deferred, .. } = &*self.0;
        Counts { dropped: dropped.load(Ordering::Relaxed), deferred: deferred.load(Ordering::Relaxed) }
    }

    pub(super) fn events(&self) -> &mpsc::Sender<(TransportId, Event)> {
        &self.0.events
    }

    /// Takes a place for a handshake; it is given back when the permit goes. `None`, counted, when all are taken.
    pub(super) fn begin_handshake(&self) -> Option<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.0.handshakes).try_acquire_owned().ok();
        if place.is_none() {
            self.0.deferred.fetch_add(1, Ordering::Relaxed);
        }
        place
    }

    /// Sends a datagram; drops and counts it when the channel is full, as a network would.
    pub(super) fn send(&self, transport: TransportId, datagram: Vec<u8>) {
        if self.0.outgoing.try_send((transport, datagram.into())).is_err() {
            self.drop_many(1);
        }
    }

    /// Counts datagrams that were dropped.
    pub fn drop_many(&self, count: u64) {
        self.0.dropped.fetch_add(count, Ordering::Relaxed);
    }
}

/// Where an association's datagrams go.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) transport: TransportId,
    pub(super) endpoint: Endpoint,
}

impl Outgoing {
    pub(super) const fn new(transport: TransportId, endpoint: Endpoint) -> Self {
        Self { transport, endpoint }
    }

    /// Sends a datagram; drops and counts it when the channel is full, as a network would.
    pub(super) fn send(&self, datagram: Vec<u8>) {
        self.endpoint.send(self.transport, datagram);
    }

    /// Counts what was dropped of what came in.
    pub(super) fn drop_many(&self, count: u64) {
        self.endpoint.drop_many(count);
    }
}

/// What an association tells.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake ended well. Comes before any application data.
    Connected(Box<Connected>),
    /// The content of one record.
    ApplicationData(Bytes),
    /// The handshake failed, or the peer ended the association with a fatal alert. The last event.
    Failed(Error),
    /// The peer closed the association. The last event.
    Closed,
}

/// The outcome of a handshake.
#[derive(Clone, PartialEq, Eq)]
pub struct Connected {
    /// The keys for the plan.
    pub keys: SrtpKeys,
    /// The state to park, as [`super::Association::export_state`] gives it.
    pub state: Vec<u8>,
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connected").field("keys", &self.keys).finish_non_exhaustive()
    }
}
