//! The engine under whatever order of datagrams, commands, time, full sockets and restarts.
//!
//! Input is a script: a byte says what happens, those behind it how. Peers hold the keys, so that what they send gets
//! past the cipher. The controller keeps the plan as the IPC session does, and puts it again to each successor.

mod objects;
mod outbox;
mod peers;
mod script;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sluice_protocol::event::{Event, Refusal};
use sluice_protocol::ice::NodeSecret;
use sluice_protocol::ids::TrackId;
use sluice_protocol::plan::{Key, Object, Plan};
use sluice_protocol::stats::Stats;
use sluice_protocol::table::{ROW_WORDS, Table};
use sluice_protocol::time::{Instant, NtpTime};

use crate::engine::{Command, Config, Engine};
use crate::port::{Datagram, FiveTuple};
use outbox::Wire;
use peers::Peers;
use script::Script;

/// More rows than scripts can fill: a full table gives up the indices of SSRCs that retired, which no controller uses
/// again, but a script may.
const ROWS: usize = 1024;
/// Restarts of one script.
const RESTARTS_MAX: u8 = 8;

/// The rows. A table lives as long as its process, so all scripts share one, one after the other.
static WORDS: [AtomicU64; ROWS * ROW_WORDS] = [const { AtomicU64::new(0) }; ROWS * ROW_WORDS];
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A script in which pictures and sound are forwarded, repeated, lost and asked for, and go on after a kill.
#[rustfmt::skip]
pub const ENGINE_SCRIPT: &[u8] = &[
    // A publisher's transport and a viewer's, with keys; a track of pictures and one of sound; what the viewer is sent.
    10, 0, 0, 0x0a, 0,
    10, 0, 1, 0x0a, 0,
    10, 3, 0, 0, 0x42, 0x1b,
    10, 3, 1, 0, 0x81, 0x05,
    10, 6, 0, 1, 0x0e, 0, 1, 0x19, 0, 0,
    10, 6, 1, 1, 0x01, 2, 0x05, 1, 0,
    // Both nominate their pair.
    3, 1, 0, 0,
    3, 2, 1, 0,
    1, 255,
    // A key frame, sound, a gap, and the repair of the second packet lost in it.
    5, 1, 0, 0, 0, 0, 3, 0, 14, 0x90, 0x80, 0x92, 0x34, 0, 0x9d, 1, 0x2a, 0x80, 2, 0x68, 1, 0, 0x11,
    5, 1, 0, 1, 8, 0, 4, 0, 3, 1, 2, 3,
    1, 255,
    5, 1, 0, 0, 0, 201, 3, 0, 6, 0x90, 0x80, 0x92, 0x35, 1, 7,
    0, 1, 30,
    1, 255,
    5, 1, 0, 2, 1, 0, 2, 0, 4, 0x90, 0x80, 0x92, 0x36,
    // The viewer asks for a repeat, for a key frame, and reports; the publisher reports.
    9, 2, 1, 24, 0, 0, 0, 0,
    9, 2, 1, 2, 0, 0, 0, 0,
    9, 2, 1, 4, 0, 0, 0, 1,
    9, 1, 0, 3, 0, 0, 0, 1,
    0, 40, 25,
    1, 255,
    // DTLS both ways, an unreadable compound, statistics, a full outbox.
    14, 2, 1, 14, 22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1,
    2, 2, 14, 22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1,
    8, 2, 1, 8, 0x81, 6, 0, 1, 0, 0, 0, 1,
    14, 3,
    5, 1, 0, 0, 0, 0, 3, 0, 6, 0x90, 0x80, 0x92, 0x37, 0, 7,
    1, 0,
    // Death, and everything goes on; then the viewer leaves.
    15, 50,
    5, 1, 0, 0, 0, 0, 3, 0, 6, 0x90, 0x80, 0x92, 0x38, 0, 7,
    5, 1, 0, 1, 8, 0, 4, 0, 3, 1, 2, 3,
    1, 255,
    13, 4, 0,
    13, 0, 1,
    1, 255,
];

/// Runs a script. Whatever it says: nothing panics, what leaves authenticates, no index is used twice, limits hold, and
/// what the controller had acknowledged can be resumed.
///
/// # Panics
/// When something of that does not hold, or when two threads run scripts at once.
pub fn fuzz_engine(data: &[u8]) {
    drop(perform(data));
}

/// Runs a script, and returns all that left.
fn perform(data: &[u8]) -> Wire {
    let _rows = Rows::take();
    let mut stage = Stage::new(Table::new(&WORDS), Script::new(data));
    while let Some(step) = stage.script.step() {
        stage.perform(step);
    }
    stage.flush(None);
    stage.wire
}

/// The right to use the rows, all of them free at first.
struct Rows;

impl Rows {
    fn take() -> Self {
        assert!(!TAKEN.swap(true, Ordering::AcqRel), "one script at a time");
        WORDS.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        Self
    }
}

impl Drop for Rows {
    fn drop(&mut self) {
        TAKEN.store(false, Ordering::Release);
    }
}

struct Stage<'a> {
    script: Script<'a>,
    engine: Engine,
    table: Table,
    now: Instant,
    /// What the controller had acknowledged and heard of.
    plan: Plan,
    /// Transports that are gone: a controller mints no address twice.
    gone: Vec<Key>,
    peers: Peers,
    wire: Wire,
    restarts: u8,
}

impl<'a> Stage<'a> {
    fn new(table: Table, script: Script<'a>) -> Self {
        let now = Instant::from_millis(1_000_000);
        Self {
            script,
            engine: engine(table, now),
            table,
            now,
            plan: Plan::new(),
            gone: Vec::new(),
            peers: Peers::default(),
            wire: Wire::default(),
            restarts: 0,
        }
    }

    fn perform(&mut self, step: u8) {
        match step % 16 {
            0 => self.pass(),
            1 => {
                let room = self.script.byte();
                self.flush(Some(room.into()).filter(|_| room < 200));
            }
            2 => {
                let (five_tuple, bytes) = (objects::five_tuple(&mut self.script), self.script.bytes());
                self.deliver(five_tuple, bytes.to_vec());
            }
            3 => {
                let (five_tuple, bytes) = peers::request(&mut self.script);
                self.deliver(five_tuple, bytes);
            }
            4 => {
                let (five_tuple, bytes) = peers::arbitrary_rtp(&mut self.script);
                self.deliver(five_tuple, bytes);
            }
            5..=7 => {
                let (five_tuple, bytes) = self.peers.media(&mut self.script);
                self.deliver(five_tuple, bytes);
            }
            8 => {
                let (five_tuple, bytes) = self.peers.arbitrary_rtcp(&mut self.script);
                self.deliver(five_tuple, bytes);
            }
            9 => {
                let (five_tuple, bytes) = self.peers.report(&mut self.script, &self.wire);
                self.deliver(five_tuple, bytes);
            }
            10..=12 => self.put(),
            13 => {
                let key = objects::key(&mut self.script);
                self.remove(key);
            }
            14 => self.controller(),
            _ => self.restart(),
        }
        self.listen();
    }

    fn deliver(&mut self, five_tuple: FiveTuple, mut bytes: Vec<u8>) {
        let arrival = self.now;
        self.engine.handle_datagram(self.now, Datagram { five_tuple, arrival, bytes: &mut bytes });
    }

    /// Lets up to 65 seconds pass at once.
    fn pass(&mut self) {
        let millis = u64::from(self.script.byte()) * u64::from(self.script.byte());
        self.now = self.now + Duration::from_millis(millis);
        self.engine.handle_timeout(self.now);
        assert!(self.engine.poll_timeout().is_none_or(|at| at.nanos > 0), "a deadline is a time");
    }

    fn flush(&mut self, room: Option<usize>) {
        self.wire.room = room;
        self.engine.flush(self.now, &mut self.wire);
        self.wire.judge();
    }

    fn put(&mut self) {
        let object = objects::object(&mut self.script);
        if self.gone.contains(&object.key()) {
            return;
        }
        let outcome = self.engine.handle_command(self.now, put(&object, false));
        match outcome {
            Ok(()) => {
                let older = self.plan.keys().copied().find(|key| objects::is_older(key, &object.key()));
                older.into_iter().for_each(|key| self.lose(key));
                drop(self.plan.put(object));
            }
            Err(_) => self.lose(object.key()),
        }
    }

    fn remove(&mut self, key: Key) {
        assert_eq!(self.engine.handle_command(self.now, Command::Remove(key)), Ok(()));
        self.lose(key);
    }

    /// Forgets what is under a key. Egress streams of a transport that goes are removed by their controller, too.
    fn lose(&mut self, key: Key) {
        drop(self.plan.remove_with_learnt(&key));
        let Key::Transport(transport) = key else { return };
        self.gone.push(key);
        let belongs = |object: &&Object| match object {
            Object::Track(track) => track.transport == transport,
            Object::Egress(egress) => egress.transport == transport,
            Object::Transport(_) | Object::Path(_) | Object::Stream(_) | Object::Cookie(_) => false,
        };
        let orphans: Vec<Key> = self.plan.objects().filter(belongs).map(Object::key).collect();
        for key in orphans {
            drop(self.plan.remove_with_learnt(&key));
        }
    }

    fn controller(&mut self) {
        match self.script.byte() % 4 {
            0 => self.engine.handle_controller(),
            1 => {
                let track = TrackId(objects::track_address(&mut self.script));
                self.engine.request_key_frame(self.now, track);
            }
            2 => {
                let transport = objects::transport_id(&mut self.script);
                let mut record = self.script.bytes().to_vec();
                // The control plane sends nothing but DTLS (RFC 7983 section 7).
                record.iter_mut().take(1).for_each(|byte| *byte = 20 + *byte % 44);
                self.engine.handle_outgoing(self.now, transport, &record);
            }
            _ => {
                let mut stats = Stats::default();
                self.engine.stats(&mut stats);
                assert_eq!(stats.shards.len(), 1);
            }
        }
    }

    /// Takes the events. One that comes about something that is gone is late, as in the session.
    fn listen(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::Learnt(object) => {
                    if object.key().parent().is_some_and(|parent| self.plan.object(&parent).is_some()) {
                        drop(self.plan.put(*object));
                    }
                }
                Event::Forgotten(key) => drop(self.plan.remove(&key)),
                Event::TransportConnected(_)
                | Event::TransportSilent(_)
                | Event::TrackStarted { .. }
                | Event::TrackStopped { .. }
                | Event::Undecodable { .. } => {}
            }
        }
    }

    /// Kills the engine, with whatever it had not sent, and puts everything again to its successor.
    fn restart(&mut self) {
        if self.restarts >= RESTARTS_MAX {
            return;
        }
        self.restarts += 1;
        self.now = self.now + Duration::from_millis(u64::from(self.script.byte()));
        self.engine = engine(self.table, self.now);
        let objects: Vec<Object> = self.plan.objects().cloned().collect();
        for object in objects {
            let outcome = self.engine.handle_command(self.now, put(&object, true));
            let is_learnt = object.is_learnt();
            assert!(outcome.is_ok() || is_learnt, "{:?} was acknowledged, and now it is {outcome:?}", object.key());
            assert_ne!(outcome, Err(Refusal::NoTableRow), "{:?} has its row", object.key());
        }
    }
}

fn engine(table: Table, now: Instant) -> Engine {
    let wall = (now, NtpTime::from_unix_nanos(1_800_000_000_000_000_000));
    Engine::new(Config { shard: 0, secret: NodeSecret::new(peers::SECRET), table, wall }, now.nanos, now)
}

fn put(object: &Object, resume: bool) -> Command {
    Command::Put { object: Box::new(object.clone()), resume }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, as there is one table.
    #[test]
    fn a_script_goes_all_the_way_and_its_neighbours_break_nothing() {
        let (media, reports) = perform(ENGINE_SCRIPT).counts();
        assert!(media >= 7 && reports >= 5, "{media} packets of media and {reports} reports left");
        for size in 0..ENGINE_SCRIPT.len() {
            fuzz_engine(&ENGINE_SCRIPT[..size]);
        }
        for index in 0..ENGINE_SCRIPT.len() {
            for change in [1, 2, 8, 0xff] {
                let mut script = ENGINE_SCRIPT.to_vec();
                script[index] ^= change;
                fuzz_engine(&script);
                script.remove(index);
                fuzz_engine(&script);
            }
        }
    }
}
