//! One connection to a data plane, from its greeting to its end.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, select_all};
use sluice_controlplane_core::supervision::Ended;
use sluice_protocol::event::Event as HappenedThere;
use sluice_protocol::ids::TransportId;
use sluice_protocol::session::controller::Event;
use sluice_protocol::session::{DescriptorKind, ErrorCode, Ready, SessionError};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::DataplaneEvent;
use super::handle::{Shared, Status};
use super::limits::{PING_INTERVAL, PONG_LIMIT, START_LIMIT};
use super::packets;
use super::process::Process;
use super::readiness::watch;
use super::socket::Connection;

/// What a data plane's successor is given: duplicates of its sockets and tables.
pub(super) type Holdings = Vec<(DescriptorKind, OwnedFd)>;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The process died.
    #[error("the data plane died")]
    Died,
    /// It does not answer.
    #[error("the data plane does not answer")]
    Hung,
    /// It was not ready in time.
    #[error("the data plane was not ready in time")]
    NotReady,
    /// The stream broke or was closed.
    #[error("the control stream broke: {0}")]
    Broken(#[from] io::Error),
    /// The other side does not keep to the protocol.
    #[error("the control stream ended: {0}")]
    Session(#[from] SessionError),
    /// Nobody listens to this control plane's events any more: it is shutting down.
    #[error("the control plane is shutting down")]
    Shutdown,
}

impl End {
    /// Returns what this is to the one who decides over processes; `None` at the end of this control plane.
    pub(super) const fn ended(&self) -> Option<Ended> {
        Some(match self {
            Self::Died => Ended::Died,
            Self::Hung | Self::NotReady => Ended::Silent,
            Self::Session(
                SessionError::Fenced { .. }
                | SessionError::EpochsUsedUp
                | SessionError::Peer { code: ErrorCode::Fenced, .. },
            ) => Ended::Fenced,
            Self::Broken(_) | Self::Session(_) => Ended::Broken,
            Self::Shutdown => return None,
        })
    }
}

/// A connection at work.
pub(super) struct Link<'a> {
    shared: &'a Shared,
    connection: &'a Connection,
    process: &'a Process,
    events: &'a mpsc::Sender<DataplaneEvent>,
    holdings: &'a mut Holdings,
    streams: Vec<Arc<AsyncFd<OwnedFd>>>,
    /// When the oldest unanswered ping was sent.
    pinged: Option<(u64, Instant)>,
    nonce: u64,
    /// When the data plane must be ready; none once it is.
    ready_by: Option<Instant>,
    pub(super) was_ready: bool,
    on_ready: &'a (dyn Fn(&Ready, u16) + Send + Sync),
}

/// The next batch of one packet stream.
type Punts<'a> = BoxFuture<'a, io::Result<Vec<(TransportId, Bytes)>>>;

/// What woke the link.
enum Woken {
    Bytes(Vec<u8>, Vec<OwnedFd>),
    Punts(Vec<(TransportId, Bytes)>),
    Changed,
    Tick,
}

impl<'a> Link<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        connection: &'a Connection,
        process: &'a Process,
        events: &'a mpsc::Sender<DataplaneEvent>,
        holdings: &'a mut Holdings,
        on_ready: &'a (dyn Fn(&Ready, u16) + Send + Sync),
    ) -> Self {
        Self {
            shared,
            connection,
            process,
            events,
            holdings,
            streams: Vec::new(),
            pinged: None,
            nonce: 0,
            ready_by: Some(Instant::now() + START_LIMIT),
            was_ready: false,
            on_ready,
        }
    }

    /// Drives the connection until it ends.
    pub(super) async fn run(&mut self) -> End {
        self.shared.desired().controller.handle_connected();
        let end = match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.shared.outgoing.replace(Vec::new());
        let mut desired = self.shared.desired();
        desired.controller.handle_disconnected();
        desired.stats.clear();
        end
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let mut ticks = interval(PING_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffers: Vec<Box<[u8]>> = Vec::new();
        loop {
            self.drain().await?;
            self.transmit().await?;
            buffers.resize_with(self.streams.len(), || Box::from([]));
            let deadline = self.deadline();
            let woken = {
                let streams = self.streams.iter().zip(&mut buffers);
                let punts: Vec<Punts<'_>> =
                    streams.map(|(stream, buffer)| packets::receive(stream, buffer).boxed()).collect();
                let punts =
                    async { if punts.is_empty() { std::future::pending().await } else { select_all(punts).await.0 } };
                tokio::select! {
                    biased;
                    () = self.process.died() => return Err(End::Died),
                    () = self.shared.changed.notified() => Woken::Changed,
                    received = self.connection.receive() => {
                        let (bytes, descriptors) = received?;
                        Woken::Bytes(bytes, descriptors)
                    }
                    received = punts => Woken::Punts(received?),
                    _ = ticks.tick() => Woken::Tick,
                    () = sleep_until(deadline) => Woken::Tick,
                }
            };
            self.handle(woken).await?;
        }
    }

    /// Returns when patience ends.
    fn deadline(&self) -> Instant {
        let far = Instant::now() + PONG_LIMIT + PING_INTERVAL;
        let pong_by = self.pinged.map_or(far, |(_, at)| at + PONG_LIMIT);
        self.ready_by.map_or(pong_by, |ready_by| ready_by.min(pong_by))
    }

    async fn handle(&mut self, woken: Woken) -> Result<(), End> {
        match woken {
            Woken::Bytes(bytes, _) if bytes.is_empty() => {
                return Err(End::Broken(io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            Woken::Bytes(bytes, descriptors) => {
                let outcome = self.shared.desired().controller.handle_bytes(&bytes, descriptors);
                if let Err(error) = outcome {
                    // The other side is told why before the connection is closed.
                    drop(self.transmit().await);
                    return Err(End::Session(error));
                }
            }
            Woken::Punts(punts) => {
                for (transport, datagram) in punts {
                    self.tell(DataplaneEvent::Punt(transport, datagram)).await?;
                }
            }
            Woken::Changed => {}
            Woken::Tick => self.tick()?,
        }
        Ok(())
    }

    /// Looks whether patience has ended, and asks again whether the data plane is alive.
    fn tick(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.ready_by.is_some_and(|ready_by| now >= ready_by) {
            return Err(End::NotReady);
        }
        match self.pinged {
            Some((_, at)) if now >= at + PONG_LIMIT => Err(End::Hung),
            Some(_) => Ok(()),
            None => {
                self.nonce += 1;
                if self.was_ready && self.shared.desired().controller.ping(self.nonce) {
                    self.pinged = Some((self.nonce, now));
                }
                Ok(())
            }
        }
    }

    /// Handles what the session tells.
    async fn drain(&mut self) -> Result<(), End> {
        loop {
            let Some(event) = self.shared.desired().controller.poll_event() else { return Ok(()) };
            match event {
                Event::DescriptorsWanted => {
                    let duplicate =
                        |(kind, descriptor): &(DescriptorKind, OwnedFd)| Ok((*kind, descriptor.try_clone()?));
                    let duplicates = self.holdings.iter().map(duplicate).collect::<io::Result<Holdings>>()?;
                    self.shared.desired().controller.supply_descriptors(duplicates);
                }
                Event::Ready { ready, descriptors } => self.handle_ready(ready, descriptors).await?,
                Event::Snapshot(plan) => self.tell(DataplaneEvent::Snapshot(plan)).await?,
                Event::Live => self.shared.status().state = Status::Running,
                Event::Acknowledged(ticket) => self.shared.desired().handle_acknowledged(ticket),
                Event::Refused { key, refusal } => {
                    self.shared.desired().handle_refused(key, refusal);
                    self.tell(DataplaneEvent::Refused { key, refusal }).await?;
                }
                Event::Removed(key) => self.tell(DataplaneEvent::Removed(key)).await?,
                Event::Dataplane(event) => self.tell_happened(event).await?,
                Event::Stats { id, stats } => {
                    let waiting = self.shared.desired().stats.remove(&id);
                    if let Some(waiting) = waiting {
                        drop(waiting.send(stats));
                    }
                }
                Event::Pong(nonce) => {
                    if self.pinged.is_some_and(|(asked, _)| asked == nonce) {
                        self.pinged = None;
                    }
                }
            }
        }
    }

    async fn handle_ready(&mut self, ready: Ready, descriptors: Holdings) -> Result<(), End> {
        let (streams, holdings): (Vec<_>, Vec<_>) =
            descriptors.into_iter().partition(|(kind, _)| matches!(kind, DescriptorKind::PacketStream { .. }));
        *self.holdings = holdings;
        let mut streams: Vec<(DescriptorKind, OwnedFd)> = streams;
        streams.sort_by_key(|(kind, _)| *kind);
        let open = |(_, stream)| watch(stream, Interest::READABLE).map(Arc::new);
        self.streams = streams.into_iter().map(open).collect::<io::Result<_>>()?;
        self.shared.outgoing.replace(self.streams.clone());
        self.ready_by = None;
        self.was_ready = true;
        let epoch = self.shared.desired().controller.epoch();
        (self.on_ready)(&ready, epoch);
        self.tell(DataplaneEvent::Ready(ready)).await
    }

    async fn tell_happened(&self, event: HappenedThere) -> Result<(), End> {
        self.tell(DataplaneEvent::Happened(event)).await
    }

    /// Passes an event on, and waits while [`EVENTS_MAX`](super::limits::EVENTS_MAX) are waiting: an event that is lost
    /// would leave rooms and plan apart for good, and what the data plane says meanwhile waits with it.
    ///
    /// This is the only wait between the two, so it ends. Who takes the events (the conductor's task) waits for nothing but
    /// further input: all that it does with an event is synchronous, and so is all that it uses of a
    /// [`DataplaneHandle`](super::DataplaneHandle), whose lock nobody holds while waiting. Acknowledgements are awaited by
    /// others, who hold nothing that it needs. A slow conductor is not taken for a hung data plane either: answers that have
    /// arrived are read before patience is looked at.
    async fn tell(&self, event: DataplaneEvent) -> Result<(), End> {
        self.events.send(event).await.map_err(|_| End::Shutdown)
    }

    async fn transmit(&self) -> Result<(), End> {
        loop {
            let Some(transmit) = self.shared.desired().controller.poll_transmit() else { return Ok(()) };
            tokio::select! {
                () = self.process.died() => return Err(End::Died),
                sent = self.connection.send(transmit) => sent?,
                () = tokio::time::sleep(PONG_LIMIT) => return Err(End::Hung),
            }
        }
    }
}
