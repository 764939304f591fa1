//! HTTP: the REST interface, WHIP and WHEP, health, metrics, event streams and the page.
//!
//! Handlers translate: extract, authorize, ask the [`Conductor`], answer. [`layers`] does for all of them what every
//! request needs; [`serve()`] moves bytes.

mod authorize;
mod event_streams;
mod extract;
mod guests;
mod health;
mod layers;
pub mod limits;
mod metrics;
mod openapi;
mod page;
mod participants;
mod patience;
mod places;
mod problem;
mod refusals;
mod rooms;
mod routes;
mod same_origin;
mod serve;
mod sessions;
mod shares;
#[cfg(test)]
mod tests;
mod tokens;
mod websocket;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{Semaphore, watch};

pub use problem::{Fault, Problem};
pub use routes::router;
pub use serve::{Peer, serve};

use crate::auth::KeyRing;
use crate::conductor::Conductor;
use crate::conductor::signalled::Sessions;
use crate::config;
use crate::events::Events;
use crate::signalling;
use crate::store::Store;

/// What the HTTP front is made of.
pub struct Parts {
    /// Limits and time-outs.
    pub config: config::Http,
    /// What people without a token may do.
    pub guests: config::Guests,
    /// The API keys; the first one signs what is issued.
    pub keys: KeyRing,
    /// The owner of rooms and sessions.
    pub conductor: Arc<dyn Conductor>,
    /// The owner of sessions, as signalling connections see it.
    pub sessions: Arc<dyn Sessions>,
    /// What happened in rooms.
    pub events: Arc<Events>,
    /// The database, for its health only.
    pub store: Store,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Parts")
            .field("config", &self.config)
            .field("guests", &self.guests)
            .finish_non_exhaustive()
    }
}

/// The HTTP front; clones are the same one.
#[derive(Clone, Debug)]
pub struct Server(Arc<Inner>);

/// What all requests share.
#[derive(Debug)]
pub struct Inner {
    parts: Parts,
    metrics: metrics::Metrics,
    lines: layers::Lines,
    guest_counts: guests::GuestCounts,
    requests: Arc<Semaphore>,
    /// Bodies that are waited for, of all and by network.
    bodies: Arc<Semaphore>,
    bodies_of_networks: shares::Shares<IpAddr>,
    /// Long messages of signalling connections, by KiB.
    long_messages: Arc<Semaphore>,
    event_streams: Arc<Semaphore>,
    /// Event streams of participants, by room and identity; all of them together under nobody's name.
    event_streams_of: shares::Shares<Option<(String, String)>>,
    is_stopping: watch::Sender<bool>,
}

impl Server {
    /// Puts a front together; nothing listens before [`serve()`].
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            parts,
            metrics: metrics::Metrics::new(),
            lines: layers::Lines::new(Instant::now()),
            guest_counts: guests::GuestCounts::new(Instant::now()),
            requests: Arc::new(Semaphore::new(limits::REQUESTS_MAX)),
            bodies: Arc::new(Semaphore::new(limits::BODIES_MAX)),
            bodies_of_networks: shares::Shares::new(),
            long_messages: Arc::new(Semaphore::new(signalling::limits::LONG_MESSAGES_BYTES_MAX / 1024)),
            event_streams: Arc::new(Semaphore::new(limits::EVENT_STREAMS_MAX)),
            event_streams_of: shares::Shares::new(),
            is_stopping: watch::Sender::new(false),
        }))
    }

    /// Ends event streams, which otherwise never end.
    pub fn stop(&self) {
        self.is_stopping.send_replace(true);
    }
}

impl Deref for Server {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Deref for Inner {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.parts
    }
}

/// Returns the seconds since 1970.
fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
