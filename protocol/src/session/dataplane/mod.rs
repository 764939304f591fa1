//! The data plane's end of the control stream.

mod commands;
mod newcomer;
mod outbox;

use std::collections::{BTreeSet, VecDeque};

pub use newcomer::Newcomer;

use super::error::SessionError;
use super::fence::Fence;
use super::frame::{Command, Configuration, DescriptorKind, Frame, Hello, Identity, Ready, Role};
use super::framing::{self, Link, Received};
use super::{Transmit, VERSION_MAX, VERSION_MIN};
use crate::convert::CommandError;
use crate::event;
use crate::event::Refusal;
use crate::ids::TrackId;
use crate::limits::{
    COMMANDS_IN_FLIGHT_MAX, COOKIES_BYTES_MAX, LEARNT_QUEUED_MAX, PLAN_OBJECTS_MAX, STATS_REQUESTS_MAX,
};
use crate::plan::{Change, Key, Object, Plan, apply};
use crate::stats::Stats;
use commands::Commands;
use outbox::{Outbox, Snapshot};

/// A command, for [`Dataplane::acknowledge`]; unique in the life of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(u64);

/// What a data plane's end tells its shell.
#[expect(clippy::large_enum_variant, reason = "the large one is rare, and all are moved once")]
#[derive(Debug, PartialEq, Eq)]
pub enum Event<D> {
    /// Start with this configuration and these descriptors, then call [`Dataplane::ready`]. Raised once in the life of
    /// a process.
    Configure {
        /// What to run with.
        configuration: Configuration,
        /// The sockets and tables of a predecessor, which was proved dead; none on a first start. A table comes with
        /// what its rows are needed for: commands with `resume`.
        descriptors: Vec<(DescriptorKind, D)>,
    },
    /// Another controller, or the same one again, is here: call [`Dataplane::ready`] again, with fresh duplicates of
    /// all descriptors and with new packet streams in place of the ones before.
    Attached,
    /// Carry this out, then call [`Dataplane::acknowledge`]. Commands of one shard come in the order in which they are
    /// to be carried out. Never about a cookie.
    Command {
        /// For the acknowledgement.
        id: CommandId,
        /// What to do. Putting what is there already changes nothing; removing what is not there neither.
        change: Change,
        /// Whether the object was acknowledged by a predecessor: its keys have been used, and without a row in the
        /// shared table it must be refused with [`Refusal::NoTableRow`]. Where this is not set a row may still be
        /// there, when the predecessor died before it acknowledged; it must then be continued as well.
        resume: bool,
    },
    /// Ask the publisher of a track for a key frame.
    RequestKeyFrame(TrackId),
    /// Call [`Dataplane::reply_stats`] with this id.
    StatsRequested(u64),
    /// Call [`Dataplane::pong`] with this number, once every shard has shown that it is alive.
    Pinged(u64),
    /// The controller answered [`Dataplane::ping`].
    Pong(u64),
}

/// Holds the plan of a data plane for its controller: applies commands, remembers what was learnt and the controller's
/// cookies, and tells all of it to the next controller.
#[derive(Debug)]
pub struct Dataplane<D> {
    identity: Identity,
    shards: u8,
    fence: Fence,
    plan: Plan,
    cookie_bytes: usize,
    /// What this process learnt from the wire itself, which is newer than what a controller knows.
    learnt_here: BTreeSet<Key>,
    commands: Commands,
    setup: Setup,
    link: Link<D>,
    connected: bool,
    /// Counts connections.
    connection: u64,
    /// Whether this connection sent `Configure`, and whether it was answered.
    attachment: Attachment,
    received: u64,
    /// Requests of this connection that the shell has not answered.
    stats_requested: BTreeSet<u64>,
    received_descriptors: Vec<(DescriptorKind, D)>,
    outbox: Outbox,
    events_dropped: u64,
    events: VecDeque<Event<D>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setup {
    Idle,
    Starting,
    Running,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attachment {
    None,
    Asked,
    Answered,
}

impl<D> Dataplane<D> {
    /// Makes the end of a data plane that has just started. `shards` is 0 when that is not known yet.
    #[must_use]
    pub const fn new(identity: Identity, shards: u8) -> Self {
        Self {
            identity,
            shards,
            fence: Fence::new(),
            plan: Plan::new(),
            cookie_bytes: 0,
            learnt_here: BTreeSet::new(),
            commands: Commands::new(),
            setup: Setup::Idle,
            link: Link::new(),
            connected: false,
            connection: 0,
            attachment: Attachment::None,
            received: 0,
            stats_requested: BTreeSet::new(),
            received_descriptors: Vec::new(),
            outbox: Outbox::new(),
            events_dropped: 0,
            events: VecDeque::new(),
        }
    }

    /// Takes a connection whose controller has introduced itself, and decides whether to serve it.
    ///
    /// When it is admitted, the connection that was served until now is over: the shell closes it.
    ///
    /// # Errors
    ///
    /// [`SessionError::Fenced`]: send [`SessionError::farewell`] to the newcomer and close it; the connection that is
    /// served goes on. [`SessionError::Unexpected`] for a newcomer that has not introduced itself.
    pub fn admit(&mut self, newcomer: Newcomer<D>) -> Result<(), SessionError> {
        let Some(hello) = newcomer.hello else {
            return Err(SessionError::Unexpected { frame: "nothing", state: "waiting for a controller's Hello" });
        };
        self.fence.admit(hello.epoch, hello.identity.instance)?;
        self.handle_disconnected();
        self.link = newcomer.link;
        self.connected = true;
        // What came after the hello; if it is unreadable, the error frame is in the link.
        drop(self.handle_bytes(&[], []));
        Ok(())
    }

    /// Takes bytes of the controller that is served, and the descriptors that came with them.
    ///
    /// # Errors
    ///
    /// The connection is over: send what [`Self::poll_transmit`] still returns, close it, and call
    /// [`Self::handle_disconnected`].
    pub fn handle_bytes(&mut self, bytes: &[u8], descriptors: impl IntoIterator<Item = D>) -> Result<(), SessionError> {
        let outcome = self.link.handle_bytes(bytes, descriptors).and_then(|()| self.receive());
        self.settle();
        if let Err(error) = &outcome {
            self.link.fail(error.clone());
        }
        outcome
    }

    /// Takes the end of the connection that is served. Commands that were received are still to be carried out.
    pub fn handle_disconnected(&mut self) {
        self.link = Link::new();
        self.connected = false;
        self.connection += 1;
        self.attachment = Attachment::None;
        self.received = 0;
        self.stats_requested.clear();
        self.received_descriptors.clear();
        self.outbox = Outbox::new();
    }

    /// Tells the controller that the data plane runs, and passes duplicates of all sockets and tables, and the
    /// controller's ends of the packet streams. Without a connection the descriptors are dropped.
    pub fn ready(&mut self, ready: Ready, descriptors: Vec<(DescriptorKind, D)>) {
        self.setup = Setup::Running;
        self.shards = ready.shards;
        if self.attachment != Attachment::Asked {
            return;
        }
        self.attachment = Attachment::Answered;
        let sent = self.link.send_descriptors(descriptors).and_then(|()| self.link.send(&Frame::Ready(ready)));
        self.check(sent);
    }

    /// Tells the controller why the data plane cannot run, after which the shell sends what is left and ends.
    pub fn fail(&mut self, reason: String) {
        self.link.fail(SessionError::Configuration(reason));
    }

    /// Reports what became of a command. A refused put leaves nothing under its key, and nothing learnt about it.
    ///
    /// Calls of this and of [`Self::raise`] come in the order in which a shard did the things that they report. A
    /// command that was acknowledged before is left alone.
    pub fn acknowledge(&mut self, command: CommandId, outcome: Result<(), Refusal>) {
        if let Some(change) = self.commands.acknowledge(command, outcome) {
            self.apply(&change, outcome);
        }
        self.settle();
    }

    /// Reports what happened on a shard. What was learnt joins the plan, unless what it is about has gone meanwhile, or
    /// the plan is full.
    pub fn raise(&mut self, event: event::Event) {
        match event {
            event::Event::Learnt(object) => self.learn(*object),
            event::Event::Forgotten(key) => self.forget(key),
            event::Event::TransportConnected(_)
            | event::Event::TransportSilent(_)
            | event::Event::TrackStarted { .. }
            | event::Event::TrackStopped { .. }
            | event::Event::Undecodable { .. } => {
                if self.connected && !self.outbox.push_event(event) {
                    self.events_dropped += 1;
                }
            }
        }
    }

    /// Answers [`Event::StatsRequested`]. An answer for a connection that is gone is dropped.
    pub fn reply_stats(&mut self, id: u64, stats: Stats) {
        if self.stats_requested.remove(&id) {
            self.outbox.push_stats(id, stats);
        }
    }

    /// Answers [`Event::Pinged`].
    pub fn pong(&mut self, nonce: u64) {
        if self.connected {
            let sent = self.link.send(&Frame::Pong(nonce));
            self.check(sent);
        }
    }

    /// Asks the controller whether it is alive; [`Event::Pong`] follows.
    pub fn ping(&mut self, nonce: u64) {
        if self.connected {
            let sent = self.link.send(&Frame::Ping(nonce));
            self.check(sent);
        }
    }

    /// Returns what is to be sent next to the controller that is served.
    pub fn poll_transmit(&mut self) -> Option<Transmit<D>> {
        let (outbox, plan, idle) = (&mut self.outbox, &self.plan, self.commands.is_empty());
        self.link.transmit(|buffer| outbox.append_next(plan, idle, buffer))
    }

    /// Returns what is to be done next.
    pub fn poll_event(&mut self) -> Option<Event<D>> {
        self.events.pop_front()
    }

    /// Returns the bytes that every new connection is sent first.
    #[must_use]
    pub fn greeting(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let hello = Hello {
            role: Role::Dataplane,
            version_min: VERSION_MIN,
            version_max: VERSION_MAX,
            identity: self.identity.clone(),
            epoch: self.fence.epoch(),
            shards: self.shards,
            running: self.setup != Setup::Idle,
        };
        framing::append(&Frame::Hello(hello), &mut bytes);
        bytes
    }

    /// Returns what was acknowledged and learnt, and the controller's cookies.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Tells whether a controller is served.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connected
    }

    /// Returns the number of events dropped because the controller did not read.
    #[must_use]
    pub const fn events_dropped(&self) -> u64 {
        self.events_dropped
    }

    fn receive(&mut self) -> Result<(), SessionError> {
        while let Some(received) = self.link.receive()? {
            match received {
                Received::Frame(frame) => self.handle_frame(frame)?,
                Received::UnreadableCommand(error) => self.handle_unreadable(error)?,
            }
        }
        Ok(())
    }

    fn handle_frame(&mut self, frame: Frame) -> Result<(), SessionError> {
        match (self.attachment, frame) {
            (_, Frame::Ping(nonce)) => self.events.push_back(Event::Pinged(nonce)),
            (_, Frame::Pong(nonce)) => self.events.push_back(Event::Pong(nonce)),
            (Attachment::None, Frame::Descriptors(kinds)) => {
                let descriptors = self.link.take_descriptors(kinds)?;
                self.received_descriptors.extend(descriptors);
            }
            (Attachment::None, Frame::Configure(configuration)) => self.handle_configure(configuration),
            (Attachment::Answered, Frame::SnapshotRequest) => {
                self.outbox.learnt.clear();
                self.outbox.snapshot = Snapshot::Asked;
            }
            (Attachment::Answered, Frame::Command(command)) => self.handle_command(command)?,
            (Attachment::Answered, Frame::RequestKeyFrame(track)) => {
                self.events.push_back(Event::RequestKeyFrame(track));
            }
            (Attachment::Answered, Frame::StatsRequest(id)) => {
                if self.stats_requested.len() + self.outbox.stats_queued() >= STATS_REQUESTS_MAX {
                    return Err(SessionError::TooMany { what: "requests for statistics" });
                }
                if self.stats_requested.insert(id) {
                    self.events.push_back(Event::StatsRequested(id));
                }
            }
            (attachment, frame) => {
                let state = match attachment {
                    Attachment::None => "waiting for Configure",
                    Attachment::Asked => "starting",
                    Attachment::Answered => "serving",
                };
                return Err(SessionError::Unexpected { frame: frame.name(), state });
            }
        }
        Ok(())
    }

    fn handle_configure(&mut self, configuration: Configuration) {
        self.attachment = Attachment::Asked;
        let descriptors = std::mem::take(&mut self.received_descriptors);
        match self.setup {
            Setup::Idle => {
                self.setup = Setup::Starting;
                self.events.push_back(Event::Configure { configuration, descriptors });
            }
            // The shell is about to call `ready`, which answers this connection.
            Setup::Starting => {}
            Setup::Running => self.events.push_back(Event::Attached),
        }
    }

    fn handle_command(&mut self, command: Command) -> Result<(), SessionError> {
        self.expect_sequence(command.sequence)?;
        match self.judge(&command.change) {
            Some(outcome) => self.commands.push_done(command.sequence, self.connection, outcome),
            None => {
                let id = self.commands.push(command.change.clone(), command.sequence, self.connection);
                self.events.push_back(Event::Command { id, change: command.change, resume: command.resume });
            }
        }
        Ok(())
    }

    /// Does what no shard needs to be asked about.
    fn judge(&mut self, change: &Change) -> Option<Result<(), Refusal>> {
        let key = match change {
            Change::Put(object) => object.key(),
            Change::Remove(key) => *key,
        };
        if matches!(change, Change::Put(_)) {
            let full = self.plan.len() + self.commands.len() >= PLAN_OBJECTS_MAX;
            if full && self.plan.object(&key).is_none() {
                return Some(Err(Refusal::PlanFull));
            }
            if self.learnt_here.contains(&key) {
                self.tell_learnt(key);
                return Some(Ok(()));
            }
        }
        matches!(key, Key::Cookie(_)).then(|| {
            let outcome = self.check_cookie(change);
            self.apply(change, outcome);
            outcome
        })
    }

    fn handle_unreadable(&mut self, error: CommandError) -> Result<(), SessionError> {
        self.expect_sequence(error.sequence)?;
        self.commands.push_done(error.sequence, self.connection, Err(Refusal::Invalid));
        Ok(())
    }

    fn expect_sequence(&mut self, found: u64) -> Result<(), SessionError> {
        let expected = self.received + 1;
        if found != expected {
            return Err(SessionError::Sequence { found, expected });
        }
        if found - self.outbox.acknowledged() > COMMANDS_IN_FLIGHT_MAX as u64 {
            return Err(SessionError::TooMany { what: "commands" });
        }
        self.received = found;
        Ok(())
    }

    /// Tells the commands that are done, as far as no older one is open.
    fn settle(&mut self) {
        while let Some(settled) = self.commands.settle() {
            if settled.connection == self.connection {
                self.outbox.settle(settled.sequence, settled.outcome);
            }
        }
    }

    fn apply(&mut self, change: &Change, outcome: Result<(), Refusal>) {
        match (change, outcome) {
            (Change::Put(object), Ok(())) => {
                if let Object::Cookie(cookie) = object.as_ref() {
                    self.cookie_bytes += cookie.bytes.len();
                    self.cookie_bytes -= self.cookie_size_bytes(&object.key());
                }
                apply(&mut self.plan, change);
            }
            (Change::Put(object), Err(_)) => self.lose(&object.key()),
            (Change::Remove(key), _) => self.lose(key),
        }
    }

    fn check_cookie(&self, change: &Change) -> Result<(), Refusal> {
        let Change::Put(object) = change else { return Ok(()) };
        let Object::Cookie(cookie) = object.as_ref() else { return Ok(()) };
        let others = self.cookie_bytes - self.cookie_size_bytes(&object.key());
        if others + cookie.bytes.len() > COOKIES_BYTES_MAX { Err(Refusal::PlanFull) } else { Ok(()) }
    }

    fn cookie_size_bytes(&self, key: &Key) -> usize {
        match self.plan.object(key) {
            Some(Object::Cookie(cookie)) => cookie.bytes.len(),
            _ => 0,
        }
    }

    fn lose(&mut self, key: &Key) {
        self.cookie_bytes -= self.cookie_size_bytes(key);
        for object in self.plan.remove_with_learnt(key) {
            self.learnt_here.remove(&object.key());
            self.outbox.learnt.remove(&object.key());
        }
    }

    fn learn(&mut self, object: Object) {
        let key = object.key();
        let Some(parent) = key.parent() else { return };
        let room = self.plan.len() < PLAN_OBJECTS_MAX || self.plan.object(&key).is_some();
        if !room || self.plan.object(&parent).is_none() {
            return;
        }
        self.learnt_here.insert(key);
        if self.plan.put(object.clone()).as_ref() != Some(&object) {
            self.tell_learnt(key);
        }
    }

    fn forget(&mut self, key: Key) {
        self.learnt_here.remove(&key);
        if key.parent().is_some() && self.plan.remove(&key).is_some() {
            self.tell_learnt(key);
        }
    }

    fn tell_learnt(&mut self, key: Key) {
        if !self.connected {
            return;
        }
        self.outbox.learnt.insert(key);
        if self.outbox.learnt.len() > LEARNT_QUEUED_MAX {
            self.link.fail(SessionError::Stalled);
        }
    }

    fn check(&mut self, sent: Result<(), SessionError>) {
        if let Err(error) = sent {
            self.link.fail(error);
        }
    }
}
