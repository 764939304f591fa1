//! The data plane's process: one shard's engine and the session with its controller, as the shell drives them.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicU64;

use sluice_dataplane_core::engine::{Command, Config, Engine};
use sluice_dataplane_core::port::{Outbox, Run};
use sluice_protocol::event::{Event as Happened, Refusal};
use sluice_protocol::ids::TransportId;
use sluice_protocol::plan::Change;
use sluice_protocol::session::dataplane::{CommandId, Dataplane as Session, Event, Newcomer};
use sluice_protocol::session::{Configuration, DescriptorKind, Identity, Ready};
use sluice_protocol::stats::Stats;
use sluice_protocol::table::{ROW_WORDS, Table};
use sluice_protocol::time::{Instant, NtpTime};

/// Rows of a shard's table.
const ROWS: usize = 1024;
pub(crate) const MEDIA_PORT: u16 = 7000;

/// Makes the memory of a table, which outlives every process of the run.
pub(crate) fn new_table() -> Table {
    Table::new(Box::leak((0..ROWS * ROW_WORDS).map(|_| AtomicU64::new(0)).collect()))
}

/// What a flush let out.
#[derive(Debug, Default)]
pub(crate) struct Wire {
    pub(crate) runs: Vec<(Run, Vec<u8>)>,
    pub(crate) punts: Vec<(TransportId, Vec<u8>)>,
    /// How many runs were refused.
    pub(crate) refused: u64,
    /// How many runs are still taken; unlimited when `None`.
    pub(crate) room: Option<u64>,
    /// After how many runs the process dies.
    pub(crate) dies_after: Option<u64>,
}

/// What a killed flush unwinds with.
struct Killed;

impl Outbox for Wire {
    fn reserve_run(&mut self, run: Run) -> Option<&mut [u8]> {
        if let Some(left) = &mut self.dies_after {
            match left.checked_sub(1) {
                Some(fewer) => *left = fewer,
                None => resume_unwind(Box::new(Killed)),
            }
        }
        if let Some(room) = &mut self.room {
            let Some(fewer) = room.checked_sub(1) else {
                self.refused += 1;
                return None;
            };
            *room = fewer;
        }
        self.runs.push((run, vec![0; run.total_bytes]));
        self.runs.last_mut().map(|(_, bytes)| bytes.as_mut_slice())
    }

    fn punt(&mut self, transport: TransportId, datagram: &[u8]) {
        self.punts.push((transport, datagram.to_vec()));
    }
}

/// What the shard tells the control thread.
#[derive(Debug)]
enum FromShard {
    Done(CommandId, Result<(), Refusal>),
    Event(Happened),
}

#[derive(Debug)]
pub(crate) struct Dataplane {
    pub(crate) session: Session<u32>,
    pub(crate) newcomer: Option<Newcomer<u32>>,
    pub(crate) engine: Option<Engine>,
    running: Option<(Configuration, u32)>,
    commands: VecDeque<(CommandId, Command)>,
    key_frames: Vec<sluice_protocol::ids::TrackId>,
}

impl Dataplane {
    pub(crate) fn new(instance: u64) -> Self {
        let identity = Identity { software: "dataplane".to_owned(), instance, capabilities: Vec::new() };
        Self {
            session: Session::new(identity, 1),
            newcomer: None,
            engine: None,
            running: None,
            commands: VecDeque::new(),
            key_frames: Vec::new(),
        }
    }

    /// Takes bytes of the control stream.
    pub(crate) fn handle_bytes(&mut self, bytes: &[u8], descriptors: Vec<u32>) {
        let Some(mut newcomer) = self.newcomer.take() else {
            return self.session.handle_bytes(bytes, descriptors).expect("the controller keeps to the protocol");
        };
        if newcomer.handle_bytes(bytes, descriptors).expect("a controller") {
            self.session.admit(newcomer).expect("the controller is admitted");
        } else {
            self.newcomer = Some(newcomer);
        }
    }

    /// Does what the session asks for. `tables` are all that were ever made; a descriptor is a number among them.
    pub(crate) fn handle_events(&mut self, now: Instant, seed: u64, tables: &mut Vec<Table>) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Configure { configuration, descriptors } => {
                    let inherited = descriptors.iter().find(|(kind, _)| matches!(kind, DescriptorKind::Table { .. }));
                    let table = inherited.map_or_else(
                        || {
                            tables.push(new_table());
                            (tables.len() - 1) as u32
                        },
                        |(_, table)| *table,
                    );
                    let wall = (now, NtpTime::from_unix_nanos(1_800_000_000_000_000_000 + now.nanos));
                    let secret = configuration.node_secret.clone();
                    let config = Config { shard: 0, secret, table: tables[table as usize], wall };
                    self.engine = Some(Engine::new(config, seed, now));
                    self.running = Some((configuration, table));
                    self.answer();
                }
                Event::Attached => self.answer(),
                Event::Command { id, change, resume } => self.commands.push_back((
                    id,
                    match change {
                        Change::Put(object) => Command::Put { object, resume },
                        Change::Remove(key) => Command::Remove(key),
                    },
                )),
                Event::RequestKeyFrame(track) => self.key_frames.push(track),
                Event::StatsRequested(id) => {
                    let stats = self.stats();
                    self.session.reply_stats(id, stats);
                }
                Event::Pinged(nonce) => self.session.pong(nonce),
                Event::Pong(_) => {}
            }
        }
    }

    fn answer(&mut self) {
        let Some((configuration, table)) = self.running.clone() else { return };
        let ready = Ready { configuration, shards: 1 };
        self.session.ready(ready, vec![(DescriptorKind::Table { shard: 0 }, table)]);
    }

    /// Turns the shard's loop once. Returns false when the process died in it.
    pub(crate) fn turn(&mut self, now: Instant, wire: &mut Wire) -> bool {
        let Some(engine) = &mut self.engine else { return true };
        let mut told = Vec::new();
        for (id, command) in self.commands.drain(..) {
            let outcome = engine.handle_command(now, command);
            told.push(FromShard::Done(id, outcome));
        }
        for track in self.key_frames.drain(..) {
            engine.request_key_frame(now, track);
        }
        engine.handle_timeout(now);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| engine.flush(now, wire))) {
            if panic.is::<Killed>() {
                return false;
            }
            resume_unwind(panic);
        }
        while let Some(event) = engine.poll_event() {
            told.push(FromShard::Event(event));
        }
        for message in told {
            match message {
                FromShard::Done(id, outcome) => self.session.acknowledge(id, outcome),
                FromShard::Event(event) => self.session.raise(event),
            }
        }
        true
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        if let Some(engine) = &self.engine {
            engine.stats(&mut stats);
        }
        stats
    }

    /// Tells whether commands wait for the shard.
    pub(crate) fn is_busy(&self) -> bool {
        !self.commands.is_empty()
    }
}
