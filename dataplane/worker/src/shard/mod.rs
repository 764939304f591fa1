//! One shard: a pinned executor around one engine.
//!
//! The loop takes in what waits, lets the engine work, hands out what leaves, and sleeps when nothing is left. Each phase
//! has a budget, and "work is left" decides whether to sleep.

mod failures;
mod link;
mod outbox;
mod packets;
mod sockets;
#[cfg(test)]
mod tests;
mod wake;

use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};
use sluice_dataplane_core::engine::{Command, Config, Engine};
use sluice_dataplane_core::port::Datagram;
use sluice_protocol::event::Event;
use sluice_protocol::session::dataplane::CommandId;
use sluice_protocol::stats::Stats;
use sluice_protocol::time::Instant;

use failures::Failures;
pub(crate) use link::{FromShard, Gone, Setup, ShardEnd, SupervisorEnd, ToShard, link};
use outbox::BatchOutbox;
use packets::PacketStream;
use sockets::Sockets;
use wake::Ready;

use crate::clock;
use crate::udp::receive::{BATCH_MESSAGES, Receiver};
use crate::udp::send::{Flushed, Sender};

/// Messages from the control thread handled in one turn.
const MESSAGES_PER_TURN: usize = 64;
/// Events passed to the control thread in one turn.
const EVENTS_PER_TURN: usize = 256;
/// How long a blocked shard sleeps at most before it tries a full socket again; writability wakes it earlier.
const BLOCKED_SLEEP_MAX: Duration = Duration::from_millis(5);
/// The longest sleep of an idle shard.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// Submissions that the rings of an executor hold; a shard has a handful of sources.
const RING_DEPTH: usize = 64;
/// Memory registered for the executor's own file I/O, of which a shard does none.
const IO_MEMORY_BYTES: usize = 64 * 1024;

/// Counters of the loop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counters {
    turns: u64,
    sleeps: u64,
    receive_calls: u64,
    receive_errors: u64,
    receive_pauses: u64,
    received_messages: u64,
    received_datagrams: u64,
    received_bytes: u64,
    receive_budget_exhausted: u64,
    packet_budget_exhausted: u64,
    message_budget_exhausted: u64,
    event_budget_exhausted: u64,
    blocked_turns: u64,
}

/// Returns the builder of a shard's executor.
#[must_use]
pub(crate) fn executor(core: Option<usize>, name: &str) -> LocalExecutorBuilder {
    LocalExecutorBuilder::new(core.map_or(Placement::Unbound, Placement::Fixed))
        .name(name)
        .ring_depth(RING_DEPTH)
        .io_memory(IO_MEMORY_BYTES)
}

/// Runs a shard on this thread until its link ends.
///
/// # Errors
/// What building the executor or its wake-up sources returns.
pub(crate) fn run(shard: u8, core: Option<usize>, link: ShardEnd) -> anyhow::Result<()> {
    let executor = executor(core, "sluice-shard").make().map_err(|error| anyhow::anyhow!("{error}"))?;
    executor.run(async move {
        let Some(setup) = wait_for_setup(&link) else { return Ok(()) };
        Shard::new(shard, link, setup)?.run().await
    })
}

/// Sleeps until the control thread has sent what an engine needs; `None` when it is gone.
fn wait_for_setup(link: &ShardEnd) -> Option<Setup> {
    loop {
        match link.receive() {
            Ok(Some(ToShard::Setup(setup))) => return Some(*setup),
            Ok(Some(_)) => {}
            Ok(None) => {
                let _doorbell = Ready::wait(link.doorbell(), None, std::iter::empty(), SLEEP_MAX);
                link.silence();
            }
            Err(_) => return None,
        }
    }
}

struct Shard {
    link: ShardEnd,
    /// What the last sleep ended with.
    ready: Ready,
    engine: Engine,
    sockets: Sockets,
    packets: PacketStream,
    receiver: Receiver,
    sender: Sender,
    blocked: bool,
    /// A command that waits for what was sent before it.
    held_command: Option<(CommandId, Box<Command>)>,
    /// Whether messages may wait behind a doorbell that is silent.
    messages_left: bool,
    held_event: Option<Event>,
    failures: Failures,
    counters: Counters,
    shard: u8,
}

impl Shard {
    fn new(shard: u8, link: ShardEnd, setup: Setup) -> anyhow::Result<Self> {
        let now = clock::monotonic();
        let config = Config { shard, secret: setup.secret, table: setup.table, wall: (now, clock::wall_ntp()) };
        let sockets = Sockets::new(setup.sockets)?;
        Ok(Self {
            link,
            ready: Ready::ANYWHERE,
            engine: Engine::new(config, setup.seed, now),
            sockets,
            packets: PacketStream::new(),
            receiver: Receiver::new(),
            sender: Sender::new(),
            blocked: false,
            held_command: None,
            messages_left: true,
            held_event: None,
            failures: Failures::default(),
            counters: Counters::default(),
            shard,
        })
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        loop {
            self.counters.turns += 1;
            let received = self.receive();
            let now = clock::monotonic();
            let Ok(told) = self.take_in(now) else { return Ok(()) };
            self.engine.handle_timeout(now);
            self.flush(now);
            let events = self.pass_events();
            if let Some(pause) = self.failures.pause() {
                self.counters.receive_pauses += 1;
                glommio::timer::sleep(pause).await;
            }
            self.sleep(now, received || told || events);
        }
    }

    /// Hands one batch of each socket that has one to the engine. Returns whether more may wait.
    fn receive(&mut self) -> bool {
        let (mut left, mut failed) = (false, false);
        let ready = self.ready;
        for (_, (socket, port)) in self.sockets.inlets().enumerate().filter(|(number, _)| ready.socket(*number)) {
            self.counters.receive_calls += 1;
            let messages = match self.receiver.receive(socket) {
                Ok(messages) => messages,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(_) => {
                    self.counters.receive_errors += 1;
                    (left, failed) = (true, true);
                    continue;
                }
            };
            if messages == BATCH_MESSAGES {
                self.counters.receive_budget_exhausted += 1;
                left = true;
            }
            self.counters.received_messages += messages as u64;
            let (now, wall) = (clock::monotonic(), clock::wall_nanos());
            let (engine, counters) = (&mut self.engine, &mut self.counters);
            self.receiver.for_each(|message| {
                let five_tuple = port.five_tuple(message.remote, message.local);
                let arrival = clock::arrival(message.stamp_nanos, now, wall);
                for bytes in message.bytes.chunks_mut(message.segment_size_bytes) {
                    counters.received_datagrams += 1;
                    counters.received_bytes += bytes.len() as u64;
                    engine.handle_datagram(now, Datagram { five_tuple, arrival, bytes });
                }
            });
        }
        self.failures.note(failed);
        left
    }

    /// Takes what the control plane sends and what the control thread says. Returns whether more may wait.
    fn take_in(&mut self, now: Instant) -> Result<bool, Gone> {
        // Commands wait for what was sent before them.
        let held = self.held_command.is_some();
        if (held || self.ready.packets) && self.take_packets(now) {
            return Ok(true);
        }
        if held || self.ready.doorbell || self.messages_left { self.take_messages(now) } else { Ok(false) }
    }

    /// Hands what the control plane sends over the packet stream to the engine. Returns whether more may wait.
    fn take_packets(&mut self, now: Instant) -> bool {
        let engine = &mut self.engine;
        let handle = |transport, datagram: &[u8]| engine.handle_outgoing(now, transport, datagram);
        let left = self.packets.receive(handle);
        self.counters.packet_budget_exhausted += u64::from(left);
        left
    }

    /// Carries out what the control thread says. Returns whether more may wait, and an error when it is gone.
    fn take_messages(&mut self, now: Instant) -> Result<bool, Gone> {
        if self.ready.doorbell {
            self.link.silence();
        }
        self.messages_left = true;
        if let Some((id, command)) = self.held_command.take() {
            self.carry_out(now, id, *command);
        }
        for _ in 0..MESSAGES_PER_TURN {
            match self.link.receive()? {
                None => {
                    self.messages_left = false;
                    return Ok(false);
                }
                Some(ToShard::Command { id, command }) => {
                    // What was sent before the command goes before it: the end of a handshake before the first media under
                    // its keys, a goodbye before the end of its transport.
                    if self.take_packets(now) {
                        self.held_command = Some((id, command));
                        return Ok(true);
                    }
                    self.carry_out(now, id, *command);
                }
                Some(ToShard::SettleRows) => self.engine.settle_rows(),
                Some(ToShard::KeyFrame(track)) => self.engine.request_key_frame(now, track),
                Some(ToShard::PacketStream(socket)) => {
                    self.packets.attach(socket);
                    self.engine.handle_controller();
                }
                Some(ToShard::Stats(id)) => self.link.send(FromShard::Stats { id, stats: Box::new(self.stats()) }),
                Some(ToShard::Ping(nonce)) => self.link.send(FromShard::Pong(nonce)),
                Some(ToShard::Setup(_)) => {}
            }
        }
        self.counters.message_budget_exhausted += 1;
        Ok(true)
    }

    fn carry_out(&mut self, now: Instant, id: CommandId, command: Command) {
        let result = self.engine.handle_command(now, command);
        self.link.send(FromShard::Done { id, result });
    }

    /// Lets the engine send, as far as the sockets take it.
    fn flush(&mut self, now: Instant) {
        let outlets = self.sockets.outlets();
        if self.blocked && self.sender.flush(outlets) == Flushed::Blocked {
            self.counters.blocked_turns += 1;
        }
        let mut outbox = BatchOutbox::new(&mut self.sender, outlets, &mut self.packets);
        self.engine.flush(now, &mut outbox);
        self.blocked = self.sender.flush(outlets) == Flushed::Blocked;
        if self.blocked {
            self.link.report_blocked();
        }
        self.packets.flush();
    }

    /// Passes events on. Returns whether more wait and can be taken.
    fn pass_events(&mut self) -> bool {
        for _ in 0..EVENTS_PER_TURN {
            let Some(event) = self.held_event.take().or_else(|| self.engine.poll_event()) else { return false };
            if let Some(event) = self.link.send_event(event) {
                self.held_event = Some(event);
                return false;
            }
        }
        self.counters.event_budget_exhausted += 1;
        true
    }

    /// Finds out what waits, and sleeps until something does unless work is left.
    fn sleep(&mut self, now: Instant, work_left: bool) {
        let mut longest = if self.blocked || self.held_event.is_some() { BLOCKED_SLEEP_MAX } else { SLEEP_MAX };
        if let Some(deadline) = self.engine.poll_timeout() {
            longest = longest.min(deadline.saturating_since(now));
        }
        if work_left {
            longest = Duration::ZERO;
        }
        self.counters.sleeps += u64::from(!longest.is_zero());
        let sockets = self.sockets.inlets().map(|(socket, _)| socket);
        self.ready = Ready::wait(self.link.doorbell(), self.packets.inlet(), sockets, longest);
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.engine.stats(&mut stats);
        let (loops, sent) = (self.counters, self.sender.counters());
        let counters = [
            ("turns", loops.turns),
            ("sleeps", loops.sleeps),
            ("receive_calls", loops.receive_calls),
            ("receive_errors", loops.receive_errors),
            ("receive_pauses", loops.receive_pauses),
            ("received_messages", loops.received_messages),
            ("received_datagrams", loops.received_datagrams),
            ("received_bytes", loops.received_bytes),
            ("receive_budget_exhausted", loops.receive_budget_exhausted),
            ("packet_budget_exhausted", loops.packet_budget_exhausted),
            ("message_budget_exhausted", loops.message_budget_exhausted),
            ("event_budget_exhausted", loops.event_budget_exhausted),
            ("blocked_turns", loops.blocked_turns),
            ("send_calls", sent.calls),
            ("sent_runs", sent.runs),
            ("sent_datagrams", sent.datagrams),
            ("sent_bytes", sent.bytes),
            ("send_blocked", sent.blocked),
            ("unsegmented_runs", sent.unsegmented_runs),
            ("failed_datagrams", sent.failed_datagrams),
            ("punts_dropped", self.packets.dropped()),
            ("batches_malformed", self.packets.malformed()),
        ];
        if let Some(shard) = stats.shards.iter_mut().find(|shard| shard.shard == self.shard) {
            shard.counters.extend(counters.map(|(name, value)| (name.to_owned(), value)));
        }
        stats
    }
}
