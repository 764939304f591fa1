//! One DTLS association: the handle that the rest of the control plane holds.
//!
//! ```text
//! accept ──► Idle ──first datagram──► Handshaking ──Connected──► Open ──close_notify, fatal alert──► Closed
//!                                        └──Failed──► Closed      ▲
//! resume ──► Resumed ──start─────────────────────────────────────┘
//! ```
//!
//! A task exists only while the handshake runs. An open association is a few hundred bytes, and its datagrams are
//! opened where they are handed in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sluice_protocol::ids::TransportId;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::endpoint::{Connected, Endpoint, Event, Outgoing};
use super::error::Error;
use super::limits::{DATAGRAM_BYTES_MAX, HANDSHAKE_QUEUE_MAX};
use super::records::Dtls12;
use super::session::{Config, Opened, Session};

/// The implementation in use.
type Stack = Dtls12;

/// One DTLS association as the server (`a=setup:passive`).
///
/// Dropping it ends it silently; the peer learns of the end only by [`Association::close`].
#[derive(Debug)]
pub struct Association {
    shared: Arc<Shared>,
}

impl Association {
    /// Makes an association that waits for a client's handshake.
    ///
    /// The handshake's deadline ([`super::limits::HANDSHAKE_DEADLINE`]) runs from the first datagram that finds one of the endpoint's
    /// places for handshakes free. Without one the datagram is dropped and counted: the client repeats its `ClientHello`
    /// (RFC 6347 section 4.2.4), so that it queues by itself.
    #[must_use]
    pub fn accept(transport: TransportId, config: Config, endpoint: &Endpoint) -> Self {
        Self { shared: Shared::new(transport, endpoint, Phase::Idle(Box::new(config))) }
    }

    /// Rebuilds an association from its parked state, after a restart of the control plane.
    ///
    /// Park [`Resumed::state`] before [`Resumed::start`]: it says which record numbers are used from now on.
    ///
    /// # Errors
    /// [`Error::State`]
    pub fn resume(transport: TransportId, state: &[u8], endpoint: &Endpoint) -> Result<Resumed, Error> {
        let session = Stack::resume(state)?;
        let state = session.export();
        let association = Self { shared: Shared::new(transport, endpoint, Phase::Open(Box::new(session))) };
        Ok(Resumed { state, association })
    }

    /// Takes a datagram from the peer. Never blocks; a datagram that finds the queue full is dropped and counted.
    ///
    /// # Panics
    /// When the first datagram comes outside of a tokio runtime.
    pub fn handle_datagram(&self, datagram: Bytes) {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return self.shared.drop_one();
        }
        let mut phase = self.shared.phase();
        if let Phase::Idle(config) = &*phase {
            let Some(place) = self.shared.endpoint().begin_handshake() else { return self.shared.drop_one() };
            let (sender, incoming) = mpsc::channel(HANDSHAKE_QUEUE_MAX);
            let handshake = run_handshake(Arc::clone(&self.shared), config.clone(), incoming);
            let task = tokio::spawn(async move {
                handshake.await;
                drop(place);
            });
            *phase = Phase::Handshaking(sender, task.abort_handle());
        }
        match &mut *phase {
            Phase::Handshaking(sender, _) => {
                if sender.try_send(datagram).is_err() {
                    self.shared.drop_one();
                }
            }
            Phase::Open(session) => {
                if self.shared.handle_open(session, &datagram) == Next::Close {
                    phase.close();
                }
            }
            Phase::Idle(_) | Phase::Closed => self.shared.drop_one(),
        }
    }

    /// Seals application data and sends it as one datagram.
    ///
    /// # Errors
    /// [`Error::ApplicationData`] when the association is not open or the data is longer than
    /// [`super::limits::APPLICATION_DATA_BYTES_MAX`].
    pub fn send_application_data(&self, data: &[u8]) -> Result<(), Error> {
        match &mut *self.shared.phase() {
            Phase::Open(session) => {
                self.shared.outgoing.send(session.seal_application_data(data)?);
                Ok(())
            }
            Phase::Idle(_) | Phase::Handshaking(..) | Phase::Closed => {
                Err(Error::ApplicationData("the association is not open"))
            }
        }
    }

    /// Returns the state of an open association, to be parked as part of a cookie.
    ///
    /// What is sent later needs no new state, but received records that are newer than the parked state could be
    /// replayed once after a restart: where application data flows, park it again from time to time.
    #[must_use]
    pub fn export_state(&self) -> Option<Vec<u8>> {
        match &*self.shared.phase() {
            Phase::Open(session) => Some(session.export()),
            Phase::Idle(_) | Phase::Handshaking(..) | Phase::Closed => None,
        }
    }

    /// Closes the association and tells the peer of an open one. No event follows.
    pub fn close(&self) {
        let mut phase = self.shared.phase();
        if let Phase::Open(session) = &mut *phase
            && let Ok(datagram) = session.seal_close_notify()
        {
            self.shared.outgoing.send(datagram);
        }
        phase.close();
    }
}

impl Drop for Association {
    fn drop(&mut self) {
        self.shared.phase().close();
    }
}

/// An association that was rebuilt and has not started yet.
#[derive(Debug)]
#[must_use = "park the state, then start it"]
pub struct Resumed {
    state: Vec<u8>,
    association: Association,
}

impl Resumed {
    /// Returns the state to park in the place of the old one.
    #[must_use]
    pub fn state(&self) -> &[u8] {
        &self.state
    }

    /// Starts the association. Call it when [`Self::state`] is parked and not earlier: a second restart with the old
    /// state would use record numbers again, and with them nonces.
    #[must_use]
    pub fn start(self) -> Association {
        self.association
    }
}

#[derive(Debug)]
struct Shared {
    outgoing: Outgoing,
    phase: Mutex<Phase>,
}

enum Phase {
    Idle(Box<Config>),
    Handshaking(mpsc::Sender<Bytes>, AbortHandle),
    Open(Box<Stack>),
    Closed,
}

impl Phase {
    fn close(&mut self) {
        if let Self::Handshaking(_, task) = self {
            task.abort();
        }
        *self = Self::Closed;
    }
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Idle(_) => "Idle",
            Self::Handshaking(..) => "Handshaking",
            Self::Open(_) => "Open",
            Self::Closed => "Closed",
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Stay,
    Close,
}

impl Shared {
    fn new(transport: TransportId, endpoint: &Endpoint, phase: Phase) -> Arc<Self> {
        let outgoing = Outgoing::new(transport, endpoint.clone());
        Arc::new(Self { outgoing, phase: Mutex::new(phase) })
    }

    const fn endpoint(&self) -> &Endpoint {
        &self.outgoing.endpoint
    }

    /// Locks the phase; no code that can panic half-way changes it.
    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handle_open(&self, session: &mut Stack, datagram: &[u8]) -> Next {
        let (mut next, dropped_before) = (Next::Stay, session.dropped());
        session.handle_datagram(datagram, |opened| match opened {
            Opened::ApplicationData(data) => {
                let event = (self.outgoing.transport, Event::ApplicationData(data.into()));
                if self.endpoint().events().try_send(event).is_err() {
                    self.drop_one();
                }
            }
            Opened::Repeat(flight) => self.outgoing.send(flight),
            Opened::Closed(answer) => {
                self.outgoing.send(answer);
                self.send_last(Event::Closed);
                next = Next::Close;
            }
            Opened::FatalAlert(description) => {
                self.send_last(Event::Failed(Error::PeerAlert(description)));
                next = Next::Close;
            }
        });
        self.endpoint().drop_many(session.dropped() - dropped_before);
        next
    }

    /// Sends an event that must not be lost, without blocking.
    fn send_last(&self, event: Event) {
        let (transport, events) = (self.outgoing.transport, self.endpoint().events().clone());
        if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send((transport, event)) {
            tokio::spawn(async move { events.send(event).await });
        }
    }

    fn drop_one(&self) {
        self.endpoint().drop_many(1);
    }
}

async fn run_handshake(shared: Arc<Shared>, config: Box<Config>, mut incoming: mpsc::Receiver<Bytes>) {
    let established = match Stack::handshake(&config, &mut incoming, &shared.outgoing).await {
        Ok(established) => established,
        Err(error) => {
            *shared.phase() = Phase::Closed;
            drop(shared.endpoint().events().send((shared.outgoing.transport, Event::Failed(error))).await);
            return;
        }
    };
    let connected = Connected { keys: established.keys, state: established.session.export() };
    let mut session = Box::new(established.session);
    // Until the event has its place, datagrams wait in `incoming`: nothing overtakes it.
    let Ok(place) = shared.endpoint().events().reserve().await else { return };
    // Who gets the event finds the association open: the phase is locked until it is.
    let mut phase = shared.phase();
    if !matches!(*phase, Phase::Handshaking(..)) {
        return;
    }
    place.send((shared.outgoing.transport, Event::Connected(Box::new(connected))));
    let mut next = Next::Stay;
    for datagram in established.early.into_iter().chain(std::iter::from_fn(|| incoming.try_recv().ok())) {
        if next == Next::Stay {
            next = shared.handle_open(&mut session, &datagram);
        }
    }
    *phase = if next == Next::Stay { Phase::Open(session) } else { Phase::Closed };
}
