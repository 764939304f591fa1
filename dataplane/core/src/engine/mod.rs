//! The engine: one shard as a pure state machine.
//!
//! `handle_*` takes the world in, [`Engine::flush`] lets packets out through a sink, [`Engine::poll_event`] and
//! [`Engine::poll_timeout`] give out the rest. The corridor of a packet is cut in two: `handle_datagram` opens, accepts
//! and stores; `flush` walks the subscribers, and for each run selects, renumbers, rewrites and seals.

mod command;
mod congestion;
mod feedback;
mod forward;
mod key_frames;
mod learn;
mod publishing;
mod receive;
mod repair;
mod report;
mod stats;
mod stun;
mod subscribing;

use std::collections::VecDeque;
use std::ops::ControlFlow;

use sluice_protocol::event::{Event, Refusal};
use sluice_protocol::ice::NodeSecret;
use sluice_protocol::ids::{EgressId, TrackId, TransportId};
use sluice_protocol::media::MediaKind;
use sluice_protocol::table::Table;
use sluice_protocol::time::{Instant, NtpTime};

pub use command::Command;

use crate::demux::{Demux, Protocol};
use crate::discard::{Discard, Discards};
use crate::egress::Repeat;
use crate::limits::{CONTROL_QUEUE_MAX, EVENTS_MAX, PUNT_QUEUE_MAX};
use crate::port::{Datagram, FiveTuple, Outbox};
use crate::route::target::{Replay, Target};
use crate::route::track::Track;
use crate::shard::control_queue::DatagramQueue;
use crate::shard::rows::Rows;
use crate::shard::seed::SeededState;
use crate::shard::slab::Slab;
use crate::shard::timer::Timers;
use crate::transport::{Security, Transport};

use forward::Planned;

/// What a shard is made from.
#[derive(Clone, Debug)]
pub struct Config {
    /// The shard's number, which stands in the addresses of everything on it.
    pub shard: u8,
    /// The node's secret, from which ICE passwords come.
    pub secret: NodeSecret,
    /// The shard's rows of the shared table, those of a predecessor included.
    pub table: Table,
    /// The wall clock at one moment, for reports.
    pub wall: (Instant, NtpTime),
}

/// One shard.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    random: SeededState,
    transports: Slab<Transport>,
    tracks: Slab<Track>,
    targets: Slab<Target>,
    demux: Demux,
    rows: Rows,
    timers: Timers,
    discards: Discards,
    /// What leaves before any media.
    control: DatagramQueue<(TransportId, FiveTuple)>,
    punts: DatagramQueue<TransportId>,
    events: VecDeque<Event>,
    queues: Queues,
}

/// What the next flush has to do.
#[derive(Debug, Default)]
struct Queues {
    /// Tracks of sound with packets that somebody has not got yet; each stands there once.
    audio: Vec<TrackId>,
    /// The same for pictures.
    video: Vec<TrackId>,
    /// Egress streams that are looked at again when [`Target::due`] says so; each stands there once.
    due: Vec<EgressId>,
    /// What subscribers asked to have repeated.
    repeats: VecDeque<(EgressId, Repeat)>,
    /// Planned packets of the egress stream at work.
    planned: Vec<Planned>,
    /// The egress stream whose planned packets the outbox had no room for; it goes first next time.
    blocked: Option<EgressId>,
    /// Whether the last flush ended at a full outbox.
    is_backlogged: bool,
    /// Turns the order of subscribers, so that nobody is always the last.
    rotation: usize,
}

impl Engine {
    /// Makes a shard without anything on it; `seed` is all its randomness.
    #[must_use]
    pub fn new(config: Config, seed: u64, _now: Instant) -> Self {
        let mut random = SeededState::new(seed);
        let table = config.table;
        Self {
            config,
            transports: Slab::new(),
            tracks: Slab::new(),
            targets: Slab::new(),
            demux: Demux::new(SeededState::new(random.draw())),
            rows: Rows::new(table, SeededState::new(random.draw())),
            timers: Timers::default(),
            discards: Discards::default(),
            control: DatagramQueue::new(CONTROL_QUEUE_MAX),
            punts: DatagramQueue::new(PUNT_QUEUE_MAX),
            events: VecDeque::new(),
            queues: Queues::default(),
            random,
        }
    }

    /// Takes a received datagram: opens it, accepts what is in it, and stores what is to be forwarded.
    pub fn handle_datagram(&mut self, now: Instant, datagram: Datagram<'_>) {
        let five_tuple = datagram.five_tuple;
        let size_bytes = datagram.bytes.len() as u64;
        let outcome = match Demux::classify(datagram.bytes) {
            Ok(Protocol::Stun) => self.receive_stun(now, &datagram),
            Ok(Protocol::Dtls) => self.receive_dtls(now, &datagram),
            Ok(Protocol::Rtp) => self.receive_rtp(now, datagram),
            Ok(Protocol::Rtcp) => self.receive_rtcp(now, datagram),
            Err(discard) => Err(discard),
        };
        if let Err(discard) = outcome {
            self.discards.count(discard);
        }
        if let Ok(id) = self.demux.transport(five_tuple)
            && let Some(transport) = self.transports.get_mut(id.0)
        {
            transport.counters.received_packets += 1;
            transport.counters.received_bytes += size_bytes;
            transport.counters.discarded_packets += u64::from(outcome.is_err());
        }
        self.sweep_timers();
    }

    /// Takes a DTLS datagram of the control plane and queues it for the peer of `transport`. Dropped, and counted, when
    /// there is no such transport, no validated five-tuple, or the queue is full: DTLS repeats itself.
    pub fn handle_outgoing(&mut self, _now: Instant, transport: TransportId, datagram: &[u8]) {
        let target = self.transports.get(transport.0).and_then(|transport| match transport.security {
            Security::Handshaking => transport.agent.handshake_target(),
            Security::Open(_) => transport.agent.target().or_else(|| transport.agent.handshake_target()),
        });
        match target {
            Some(five_tuple) => self.queue_control(transport, five_tuple, datagram),
            None => self.discards.count(Discard::NotSending),
        }
    }

    /// Carries out a command of the plan. Commands are idempotent: putting what is there changes nothing, nor does
    /// removing what is not.
    ///
    /// # Errors
    /// The reason why it was refused; nothing is then under its key.
    pub fn handle_command(&mut self, now: Instant, command: Command) -> Result<(), Refusal> {
        let outcome = match command {
            Command::Put { object, resume } => self.put(now, *object, resume),
            Command::Remove(key) => {
                self.remove(key);
                Ok(())
            }
        };
        self.sweep_timers();
        outcome
    }

    /// Takes it that a controller has put everything that a predecessor may have left rows of the shared table for. The
    /// first cookie says the same: controllers put in the order of keys, and cookies come last.
    pub fn settle_rows(&mut self) {
        let transports = &self.transports;
        self.rows.settle(|transport| transports.get(transport.0).is_some());
    }

    /// Takes it that a controller has come, perhaps another one: what it may have missed is told again.
    pub fn handle_controller(&mut self) {
        self.announce_silence();
    }

    /// Asks the publisher of a track for a key frame, within its limits.
    pub fn request_key_frame(&mut self, now: Instant, track: TrackId) {
        self.want_key_frame(now, track, None);
        self.sweep_timers();
    }

    /// Lets out what is due: DTLS for the control plane, then control packets, sound, repeats and pictures, each
    /// subscriber in runs. What finds no room stays, within its bounds, for the next call.
    ///
    /// There is no budget but the outbox's room: a call lets out what was handed in since the one before, times its
    /// subscribers, and of what waits longer at most a queue of repeats and of each replay a burst.
    pub fn flush(&mut self, now: Instant, outbox: &mut impl Outbox) {
        self.flush_punts(outbox);
        let flow = match self.flush_control(outbox) {
            ControlFlow::Continue(()) => self.flush_media(now, outbox),
            ControlFlow::Break(()) => ControlFlow::Break(()),
        };
        // Only behind a full outbox does age count against a packet: a slow turn of the loop is not the network's.
        self.queues.is_backlogged = flow.is_break();
        self.sweep_timers();
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns when [`Engine::handle_timeout`] and [`Engine::flush`] want to be called again without anything having
    /// come; it may be early.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        // Behind a full outbox a replay waits for room, of which the shell knows.
        let due = if self.queues.is_backlogged { &[] } else { self.queues.due.as_slice() };
        due.iter().filter_map(|id| self.targets.get(id.0)?.due()).chain(self.timers.next()).min()
    }

    /// Keeps the deadlines that were overtaken, or whose transport is gone, from piling up.
    fn sweep_timers(&mut self) {
        let transports = &self.transports;
        self.timers.sweep(transports.len(), |id, timer, at| {
            transports.get(id.0).is_some_and(|transport| transport.deadlines.is_armed(timer, at))
        });
    }

    /// Adds an event. When too many wait, news goes and state stays: what was learnt must not be lost.
    fn raise(&mut self, event: Event) {
        if self.events.len() >= EVENTS_MAX {
            self.discards.count(Discard::EventsFull);
            if is_news(&event) {
                return;
            }
            let _oldest = self.events.remove(self.events.iter().position(is_news).unwrap_or(0));
        }
        self.events.push_back(event);
    }

    fn queue_control(&mut self, transport: TransportId, five_tuple: FiveTuple, datagram: &[u8]) {
        if !self.control.push((transport, five_tuple), datagram) {
            self.discards.count(Discard::ControlFull);
        }
    }
}

/// Whether an event tells of what a later one, or a count, tells again.
const fn is_news(event: &Event) -> bool {
    matches!(event, Event::TrackStarted { .. } | Event::TrackStopped { .. } | Event::Undecodable { .. })
}

impl Queues {
    /// Lets a subscriber, whose place in the history was set back, catch up from now on.
    fn replay(&mut self, now: Instant, target: &mut Target) {
        target.replay = Some(Replay { next: now });
        self.look_again(target);
    }

    /// Comes back to a subscriber in time, also when nothing comes from its publisher.
    fn look_again(&mut self, target: &mut Target) {
        if target.due().is_some() && !std::mem::replace(&mut target.is_listed, true) {
            self.due.push(target.plan.id);
        }
    }

    /// Puts a track into its queue, unless it stands there already.
    fn enqueue(&mut self, track: &mut Track) {
        if std::mem::replace(&mut track.is_queued, true) {
            return;
        }
        match track.plan.kind {
            MediaKind::Audio => self.audio.push(track.plan.id),
            MediaKind::Video => self.video.push(track.plan.id),
        }
    }
}

#[cfg(test)]
mod tests;
