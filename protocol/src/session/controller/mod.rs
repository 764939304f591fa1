//! The control plane's end of the control stream.
//!
//! ```text
//! Disconnected ─► Greeting ─► Supplying ─► Configuring ─► Reading ─► Rebuilding ─► Live
//!       ▲             └─(the data plane runs)──┘  ▲                └─(lived on)──────┘ │
//!       └────────────────────────────────── connection lost ──────────────────────────┘
//! ```

mod reconcile;

use std::collections::{BTreeSet, VecDeque};

use super::error::SessionError;
use super::frame::{Configuration, DescriptorKind, Frame, Hello, Identity, Ready, Role};
use super::framing::{self, Link, Received};
use super::{Transmit, VERSION_MAX, VERSION_MIN, common_version};
use crate::event;
use crate::event::Refusal;
use crate::ids::TrackId;
use crate::limits::{COOKIE_BYTES_MAX, PLAN_OBJECTS_MAX, STATS_REQUESTS_MAX};
use crate::plan::{Key, Object, Plan};
use crate::stats::Stats;
use reconcile::{Outcome, Reconciler};

/// Stands for all changes made before [`Controller::barrier`] returned it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What a controller tells its owner.
#[expect(clippy::large_enum_variant, reason = "the large one is rare, and all are moved once")]
#[derive(Debug, PartialEq, Eq)]
pub enum Event<D> {
    /// The data plane does not run yet: answer at once with [`Controller::supply_descriptors`], with duplicates of the
    /// sockets and tables of its predecessor, or with nothing.
    DescriptorsWanted,
    /// The data plane runs. Keep these descriptors in place of any from before: they are duplicates of its sockets and
    /// tables, for its successor, and the packet streams.
    Ready {
        /// What it runs with; a controller that has just started takes the node secret from here.
        ready: Ready,
        /// The descriptors.
        descriptors: Vec<(DescriptorKind, D)>,
    },
    /// This controller has just started, and this is what its predecessor left: rebuild, then call
    /// [`Controller::adopt`]. Until then no command leaves. Raised once in the life of a controller.
    Snapshot(Plan),
    /// From here on commands go out.
    Live,
    /// All changes before the ticket are carried out, or refused; [`Event::Refused`] of these come before.
    Acknowledged(Ticket),
    /// The data plane refused an object. It is neither wanted nor there any more, until it is put again.
    Refused {
        /// The object's key.
        key: Key,
        /// Why.
        refusal: Refusal,
    },
    /// The data plane acknowledged that nothing is under this key: its slot may be used again. Follows each
    /// [`Controller::remove`], also of what was never there, unless the key is put again before.
    Removed(Key),
    /// Something happened on the data plane. [`event::Event::Learnt`] and [`event::Event::Forgotten`] are in the plan
    /// already.
    Dataplane(event::Event),
    /// The answer to [`Controller::request_stats`].
    Stats {
        /// What that returned.
        id: u64,
        /// All counters.
        stats: Stats,
    },
    /// The answer to [`Controller::ping`].
    Pong(u64),
}

#[derive(Debug)]
enum State {
    Disconnected,
    Greeting,
    Supplying,
    Configuring,
    Reading(Plan),
    Rebuilding,
    Live,
}

impl State {
    const fn name(&self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::Greeting => "waiting for Hello",
            Self::Supplying | Self::Configuring => "waiting for Ready",
            Self::Reading(_) => "reading the snapshot",
            Self::Rebuilding => "rebuilding",
            Self::Live => "live",
        }
    }
}

/// Wants a plan, and brings a data plane to it over any number of connections, restarts of either side and refusals.
///
/// The owner changes what is wanted with [`Self::put`] and [`Self::remove`] at any time, connected or not. What the data
/// plane learns from the wire (paths and streams) joins what is wanted, goes when its transport or track goes, and is
/// replayed to a new data plane. At most [`crate::limits::COMMANDS_IN_FLIGHT_MAX`] commands are under way.
#[derive(Debug)]
pub struct Controller<D> {
    identity: Identity,
    epoch: u16,
    configuration: Configuration,
    reconciler: Reconciler,
    link: Link<D>,
    state: State,
    /// Whether a connection got as far as `Hello`: the epoch is fixed from then on.
    introduced: bool,
    /// The snapshot was raised, or is not needed.
    rebuilt: Rebuilt,
    instance: u64,
    received_descriptors: Vec<(DescriptorKind, D)>,
    key_frames: BTreeSet<TrackId>,
    next_stats: u64,
    stats: VecDeque<(u64, Stats)>,
    events: VecDeque<Event<D>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rebuilt {
    No,
    Raised,
    Yes,
}

impl<D> Controller<D> {
    /// Makes a controller that has just started.
    ///
    /// `epoch` is greater than that of every controller before it on this node, and above 0. `configuration` is for a
    /// data plane that does not run yet.
    #[must_use]
    pub const fn new(identity: Identity, epoch: u16, configuration: Configuration) -> Self {
        Self {
            identity,
            epoch,
            configuration,
            reconciler: Reconciler::new(),
            link: Link::new(),
            state: State::Disconnected,
            introduced: false,
            rebuilt: Rebuilt::No,
            instance: 0,
            received_descriptors: Vec::new(),
            key_frames: BTreeSet::new(),
            next_stats: 0,
            stats: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes a new connection. The data plane speaks first.
    pub fn handle_connected(&mut self) {
        self.handle_disconnected();
        self.state = State::Greeting;
    }

    /// Takes bytes of the data plane, and the descriptors that came with them, in the order of arrival.
    ///
    /// # Errors
    ///
    /// The connection is over: send what [`Self::poll_transmit`] still returns, close it, and call
    /// [`Self::handle_disconnected`].
    pub fn handle_bytes(&mut self, bytes: &[u8], descriptors: impl IntoIterator<Item = D>) -> Result<(), SessionError> {
        let outcome = self.link.handle_bytes(bytes, descriptors).and_then(|()| self.receive());
        if let Err(error) = &outcome {
            self.link.fail(error.clone());
        }
        self.collect_outcomes();
        outcome
    }

    /// Takes the end of the connection. What is wanted stays; what was under way is decided by the next snapshot.
    pub fn handle_disconnected(&mut self) {
        self.link = Link::new();
        self.state = State::Disconnected;
        self.received_descriptors.clear();
        self.key_frames.clear();
        self.stats.clear();
        self.reconciler.handle_disconnected();
    }

    /// Answers [`Event::DescriptorsWanted`]; at any other time the descriptors are dropped.
    pub fn supply_descriptors(&mut self, descriptors: Vec<(DescriptorKind, D)>) {
        if !matches!(self.state, State::Supplying) {
            return;
        }
        let sent = self.link.send_descriptors(descriptors).and_then(|()| self.configure());
        if let Err(error) = sent {
            self.link.fail(error);
        }
    }

    /// Answers [`Event::Snapshot`] with everything that is wanted from now on, in place of what was wanted before. What
    /// was learnt stays as long as its transport or track is in `want`.
    pub fn adopt(&mut self, want: Plan) {
        self.reconciler.adopt(want);
        self.rebuilt = Rebuilt::Yes;
        if matches!(self.state, State::Rebuilding) {
            self.state = State::Live;
            self.events.push_back(Event::Live);
        }
        self.collect_outcomes();
    }

    /// Wants an object, in place of what is under its key. An object that no frame can carry is refused with
    /// [`Refusal::Invalid`].
    pub fn put(&mut self, object: Object) {
        if let Object::Cookie(cookie) = &object
            && cookie.bytes.len() > COOKIE_BYTES_MAX
        {
            self.events.push_back(Event::Refused { key: object.key(), refusal: Refusal::Invalid });
            return;
        }
        self.reconciler.put(object);
        self.collect_outcomes();
    }

    /// Wants nothing under `key`, nor what was learnt about it. [`Event::Removed`] follows.
    pub fn remove(&mut self, key: Key) {
        self.reconciler.remove(key);
        self.collect_outcomes();
    }

    /// Returns a ticket for all changes so far, another one at each call; [`Event::Acknowledged`] follows, once for each.
    pub fn barrier(&mut self) -> Ticket {
        let ticket = self.reconciler.barrier();
        self.collect_outcomes();
        ticket
    }

    /// Forgets a ticket that nobody waits for any more: no [`Event::Acknowledged`] follows.
    pub fn forget(&mut self, ticket: Ticket) {
        self.reconciler.forget(ticket);
    }

    /// Asks a track's publisher for a key frame; forgotten when there is no live connection.
    pub fn request_key_frame(&mut self, track: TrackId) {
        if matches!(self.state, State::Live) {
            self.key_frames.insert(track);
        }
    }

    /// Asks for statistics, `None` when there is no live connection or [`STATS_REQUESTS_MAX`] requests are waiting. A
    /// lost connection loses the request.
    pub fn request_stats(&mut self) -> Option<u64> {
        if !matches!(self.state, State::Live) || self.stats.len() >= STATS_REQUESTS_MAX {
            return None;
        }
        self.next_stats += 1;
        let id = self.next_stats;
        self.send(&Frame::StatsRequest(id));
        self.stats.push_back((id, Stats::default()));
        Some(id)
    }

    /// Asks whether the data plane is alive; [`Event::Pong`] with the same number follows. Tells whether the question
    /// could be asked: not before the data plane's hello.
    pub fn ping(&mut self, nonce: u64) -> bool {
        let connected = !matches!(self.state, State::Disconnected | State::Greeting) && !self.link.has_failed();
        if connected {
            self.send(&Frame::Ping(nonce));
        }
        connected
    }

    /// Returns what is to be sent next.
    pub fn poll_transmit(&mut self) -> Option<Transmit<D>> {
        let (reconciler, key_frames) = (&mut self.reconciler, &mut self.key_frames);
        let live = matches!(self.state, State::Live);
        let transmit = self.link.transmit(|buffer| {
            if !live {
                return false;
            }
            if let Some(track) = key_frames.pop_first() {
                return framing::append(&Frame::RequestKeyFrame(track), buffer);
            }
            while let Some(command) = reconciler.next_command() {
                if framing::append(&Frame::Command(command), buffer) {
                    return true;
                }
                reconciler.refuse_last();
            }
            false
        });
        self.collect_outcomes();
        transmit
    }

    /// Returns what is to be told next.
    pub fn poll_event(&mut self) -> Option<Event<D>> {
        self.events.pop_front()
    }

    /// Returns what is wanted.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        self.reconciler.want()
    }

    /// Returns what the data plane has acknowledged; while there is no connection, what it had.
    #[must_use]
    pub const fn acknowledged(&self) -> &Plan {
        self.reconciler.have()
    }

    /// Tells whether all changes before `ticket` are carried out or refused.
    #[must_use]
    pub fn is_acknowledged(&self, ticket: Ticket) -> bool {
        self.reconciler.is_acknowledged(ticket)
    }

    /// Returns how many keys were changed and are not acknowledged. While there is no connection nothing is, and what
    /// comes and goes meanwhile is kept until its absence can be confirmed: who makes changes bounds this.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.reconciler.unsettled()
    }

    /// Tells whether commands go out.
    #[must_use]
    pub const fn is_live(&self) -> bool {
        matches!(self.state, State::Live)
    }

    /// Returns the epoch. It may rise once, at the first hello of a data plane that has seen a higher one; it stands
    /// when [`Event::Ready`] is raised, and is to be stored then.
    #[must_use]
    pub const fn epoch(&self) -> u16 {
        self.epoch
    }

    /// Returns what a data plane is configured with: what the last one ran with, once there was one.
    #[must_use]
    pub const fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    fn receive(&mut self) -> Result<(), SessionError> {
        while let Some(received) = self.link.receive()? {
            match received {
                Received::Frame(frame) => self.handle_frame(frame)?,
                Received::UnreadableCommand(_) => return Err(self.unexpected("Command")),
            }
        }
        Ok(())
    }

    fn handle_frame(&mut self, frame: Frame) -> Result<(), SessionError> {
        match (&mut self.state, frame) {
            (State::Greeting, Frame::Hello(hello)) => self.handle_hello(&hello)?,
            (State::Disconnected | State::Greeting, frame) => return Err(self.unexpected(frame.name())),
            (_, Frame::Ping(nonce)) => self.link.send(&Frame::Pong(nonce))?,
            (_, Frame::Pong(nonce)) => self.events.push_back(Event::Pong(nonce)),
            (State::Configuring, Frame::Descriptors(kinds)) => {
                let descriptors = self.link.take_descriptors(kinds)?;
                self.received_descriptors.extend(descriptors);
            }
            (State::Configuring, Frame::Ready(ready)) => {
                self.configuration = ready.configuration.clone();
                let descriptors = std::mem::take(&mut self.received_descriptors);
                self.events.push_back(Event::Ready { ready, descriptors });
                self.link.send(&Frame::SnapshotRequest)?;
                self.state = State::Reading(Plan::new());
            }
            (State::Reading(plan), Frame::SnapshotObject(object)) => {
                if plan.len() >= PLAN_OBJECTS_MAX {
                    return Err(SessionError::TooMany { what: "objects" });
                }
                plan.put(*object);
            }
            (State::Reading(plan), Frame::SnapshotEnd) => {
                let snapshot = std::mem::take(plan);
                self.handle_snapshot(snapshot);
            }
            (State::Rebuilding | State::Live, Frame::Event(event)) => self.handle_event(event),
            (State::Live, Frame::Ack(ack)) => self.reconciler.handle_ack(&ack)?,
            (State::Live, Frame::StatsReply { id, part, last }) => self.handle_stats(id, part, last),
            (_, frame) => return Err(self.unexpected(frame.name())),
        }
        Ok(())
    }

    fn handle_hello(&mut self, hello: &Hello) -> Result<(), SessionError> {
        if hello.role != Role::Dataplane {
            return Err(SessionError::Unexpected { frame: "Hello", state: "waiting for a data plane" });
        }
        common_version(hello)?;
        self.choose_epoch(hello.epoch)?;
        self.instance = hello.identity.instance;
        self.link.send(&Frame::Hello(Hello {
            role: Role::Controller,
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            identity: self.identity.clone(),
            epoch: self.epoch,
            shards: 0,
            running: false,
        }))?;
        if hello.running {
            return self.configure();
        }
        self.state = State::Supplying;
        self.events.push_back(Event::DescriptorsWanted);
        Ok(())
    }

    /// A controller that has just started goes past every epoch that was here; one that lived on gives way.
    const fn choose_epoch(&mut self, seen: u16) -> Result<(), SessionError> {
        if !self.introduced && self.epoch <= seen {
            let Some(next) = seen.checked_add(1) else { return Err(SessionError::EpochsUsedUp) };
            self.epoch = next;
        }
        if self.epoch < seen {
            return Err(SessionError::Fenced { epoch: seen });
        }
        self.introduced = true;
        Ok(())
    }

    fn configure(&mut self) -> Result<(), SessionError> {
        self.state = State::Configuring;
        self.link.send(&Frame::Configure(self.configuration.clone()))
    }

    fn handle_snapshot(&mut self, snapshot: Plan) {
        let raised = (self.rebuilt == Rebuilt::No).then(|| snapshot.clone());
        let (learnt, forgotten) = self.reconciler.resynchronise(self.instance, snapshot);
        self.state = if self.rebuilt == Rebuilt::Yes { State::Live } else { State::Rebuilding };
        let learnt = learnt.into_iter().map(|object| event::Event::Learnt(Box::new(object)));
        let news = learnt.chain(forgotten.into_iter().map(event::Event::Forgotten)).map(Event::Dataplane);
        self.events.extend(news);
        if let Some(snapshot) = raised {
            self.rebuilt = Rebuilt::Raised;
            self.events.push_back(Event::Snapshot(snapshot));
        }
        if self.is_live() {
            self.events.push_back(Event::Live);
        }
    }

    fn handle_event(&mut self, event: event::Event) {
        match &event {
            event::Event::Learnt(object) => self.reconciler.handle_learnt(object),
            event::Event::Forgotten(key) if key.parent().is_some() => self.reconciler.handle_forgotten(*key),
            event::Event::Forgotten(_)
            | event::Event::TransportConnected(_)
            | event::Event::TransportSilent(_)
            | event::Event::TrackStarted { .. }
            | event::Event::TrackStopped { .. }
            | event::Event::Undecodable { .. } => {}
        }
        self.events.push_back(Event::Dataplane(event));
    }

    fn handle_stats(&mut self, id: u64, part: Stats, last: bool) {
        let Some(position) = self.stats.iter().position(|(waiting, _)| *waiting == id) else { return };
        if let Some((_, stats)) = self.stats.get_mut(position) {
            stats.shards.extend(part.shards);
            stats.transports.extend(part.transports);
            stats.ingress.extend(part.ingress);
            stats.egress.extend(part.egress);
        }
        if last && let Some((id, stats)) = self.stats.remove(position) {
            self.events.push_back(Event::Stats { id, stats });
        }
    }

    fn send(&mut self, frame: &Frame) {
        if let Err(error) = self.link.send(frame) {
            self.link.fail(error);
        }
    }

    fn collect_outcomes(&mut self) {
        while let Some(outcome) = self.reconciler.poll_outcome() {
            self.events.push_back(match outcome {
                Outcome::Acknowledged(ticket) => Event::Acknowledged(ticket),
                Outcome::Refused(key, refusal) => Event::Refused { key, refusal },
                Outcome::Removed(key) => Event::Removed(key),
            });
        }
    }

    const fn unexpected(&self, frame: &'static str) -> SessionError {
        SessionError::Unexpected { frame, state: self.state.name() }
    }
}
