//! What the loop counts, by the names of `docs/METRICS.md`, as the control thread reads it.

use std::thread;

use rustix::net::{AddressFamily, SocketType};

use super::*;
use crate::shard::packets::PacketStream;

/// Returns a counter of a shard.
fn of(stats: &Stats, name: &str) -> u64 {
    let found = stats.shards[0].counters.iter().find(|(own, _)| own == name);
    found.unwrap_or_else(|| panic!("no counter is called {name}")).1
}

/// Asks a shard whose loop turns, and waits for the answer.
fn asked(control: &SupervisorEnd) -> Box<Stats> {
    control.send(ToShard::Stats(1)).unwrap();
    loop {
        match control.receive().unwrap() {
            Some(FromShard::Stats { stats, .. }) => break stats,
            _ => thread::yield_now(),
        }
    }
}

impl Stage {
    fn counters<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        let stats = self.shard.stats();
        names.map(|name| of(&stats, name))
    }

    /// Returns where peers send to.
    fn media(&self) -> SocketAddr {
        self.shard.sockets.outlets().0[0].1
    }

    fn turn(&mut self) {
        let now = clock::monotonic();
        self.shard.take_in(now).unwrap();
        self.shard.flush(now);
    }
}

#[test]
fn what_is_received_is_counted_in_calls_messages_datagrams_and_bytes() {
    executor(None, "test").make().unwrap().run(async {
        let mut stage = Stage::new();
        let names =
            ["receive_calls", "received_messages", "received_datagrams", "received_bytes", "receive_budget_exhausted"];
        let batch = u64::try_from(BATCH_MESSAGES).unwrap();
        for _ in 0..batch + 3 {
            stage.peer.send_to(&[255; 10], stage.media()).unwrap();
        }
        assert!(stage.shard.receive(), "more waits");
        assert_eq!(stage.counters(names), [1, batch, batch, batch * 10, 1]);
        assert!(!stage.shard.receive());
        assert!(!stage.shard.receive());
        assert_eq!(stage.counters(names), [3, batch + 3, batch + 3, (batch + 3) * 10, 1]);
    });
}

#[test]
fn what_is_sent_is_counted_in_calls_runs_datagrams_and_bytes() {
    executor(None, "test").make().unwrap().run(async {
        let mut stage = Stage::new();
        let names = ["send_calls", "sent_runs", "sent_datagrams", "sent_bytes", "send_blocked", "blocked_turns"];
        assert_eq!(stage.counters(names), [0; 6]);
        for _ in 0..3 {
            stage.send(&FINISHED);
        }
        stage.turn();
        for _ in 0..3 {
            assert_eq!(stage.receive().unwrap(), FINISHED);
        }
        // Each DTLS datagram is a run of its own, and one call takes all of them.
        assert_eq!(stage.counters(names), [1, 3, 3, 3 * FINISHED.len() as u64, 0, 0]);
    });
}

#[test]
fn budgets_that_end_a_turn_are_counted_where_they_ended_it() {
    executor(None, "test").make().unwrap().run(async {
        let mut stage = Stage::new();
        let names = ["packet_budget_exhausted", "message_budget_exhausted", "event_budget_exhausted"];
        let now = clock::monotonic();
        for _ in 0..9 {
            stage.send(&FINISHED);
        }
        assert!(stage.shard.take_packets(now) && !stage.shard.take_packets(now), "eight in a turn");
        assert_eq!(stage.counters(names), [1, 0, 0]);
        for nonce in 0..=MESSAGES_PER_TURN as u64 {
            stage.control.send(ToShard::Ping(nonce)).unwrap();
        }
        assert_eq!((stage.shard.take_messages(now), stage.shard.take_messages(now)), (Ok(true), Ok(false)));
        assert_eq!(stage.counters(names), [1, 1, 0]);
        // Peers who fall silent all at once are as many events.
        for slot in 2..=u32::try_from(EVENTS_PER_TURN).unwrap() + 2 {
            let id = TransportId::new(0, slot, 65_536);
            let ufrag = Ufrag { transport: id, restart: 0, random: 1 };
            let remote = SocketAddr::from(([192, 0, 2, 1], 10_000 + u16::try_from(slot).unwrap()));
            let path = Path { transport: id, local: stage.media(), remote, credentials: ufrag };
            for object in [Object::Transport(transport(id, ufrag)), Object::Path(path)] {
                let put = Command::Put { object: Box::new(object), resume: false };
                assert_eq!(stage.shard.engine.handle_command(now, put), Ok(()));
            }
        }
        stage.shard.engine.handle_timeout(now + Duration::from_secs(600));
        let full_turns = (0..10).take_while(|_| stage.shard.pass_events()).count() as u64;
        assert!((1..10).contains(&full_turns), "more than fits a turn, and an end");
        assert_eq!(stage.counters(names), [1, 1, full_turns]);
    });
}

#[test]
fn dtls_that_the_control_plane_does_not_take_is_counted() {
    executor(None, "test").make().unwrap().run(async {
        let mut stage = Stage::new();
        let handshake = |stage: &mut Stage| {
            stage.peer.send_to(&FINISHED, stage.media()).unwrap();
            stage.shard.receive();
            stage.turn();
            stage.counters(["punts_dropped"])
        };
        assert_eq!(handshake(&mut stage), [0]);
        let mut batch = [0; 2048];
        assert!(stage.stream.recv(&mut batch).unwrap() > FINISHED.len(), "it was taken");
        // Nobody is connected to this one.
        stage.shard.packets = PacketStream::new();
        assert_eq!(handshake(&mut stage), [1]);
    });
}

#[test]
fn a_batch_that_is_cut_short_is_counted_and_what_stands_before_the_fault_leaves() {
    executor(None, "test").make().unwrap().run(async {
        let mut stage = Stage::new();
        let mut buffer = [0; 2048];
        let mut batch = BatchWriter::new(&mut buffer);
        for _ in 0..2 {
            batch
                .write(Packet { kind: PacketKind::Dtls(TRANSPORT), arrival: Instant::ZERO, bytes: &FINISHED })
                .unwrap();
        }
        let bytes = batch.as_bytes();
        stage.stream.send(&bytes[..bytes.len() - 1]).unwrap();
        stage.turn();
        assert_eq!(stage.receive().unwrap(), FINISHED);
        assert_eq!(stage.counters(["batches_malformed", "sent_datagrams"]), [1, 1]);
    });
}

#[test]
fn a_socket_that_always_fails_is_counted_and_pauses_the_loop_which_turns_on() {
    let (control, end) = link().unwrap();
    let loop_of_shard = thread::spawn(move || {
        executor(None, "test").make().unwrap().run(async move {
            // No datagram ever comes out of this one, which is not connected.
            let broken = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            let table = Mapping::create().unwrap().table();
            let setup = Setup { secret: NodeSecret::new([7; 32]), table, sockets: vec![broken], seed: 1 };
            Shard::new(0, end, setup).unwrap().run().await.unwrap();
        });
    });
    let until = std::time::Instant::now() + PATIENCE;
    let stats = loop {
        let stats = asked(&control);
        if of(&stats, "receive_pauses") > 0 || std::time::Instant::now() > until {
            break stats;
        }
    };
    let [turns, errors, pauses] = ["turns", "receive_errors", "receive_pauses"].map(|name| of(&stats, name));
    assert!(pauses > 0 && errors > 64 && turns >= errors, "{turns} turns, {errors} errors, {pauses} pauses");
    drop(control);
    loop_of_shard.join().unwrap();
}

#[test]
fn an_idle_shard_sleeps_and_says_so() {
    let (control, end) = link().unwrap();
    let loop_of_shard = thread::spawn(move || {
        executor(None, "test").make().unwrap().run(async move {
            let table = Mapping::create().unwrap().table();
            let setup = Setup { secret: NodeSecret::new([7; 32]), table, sockets: Vec::new(), seed: 1 };
            Shard::new(0, end, setup).unwrap().run().await.unwrap();
        });
    });
    let until = std::time::Instant::now() + PATIENCE;
    let mut stats = asked(&control);
    while of(&stats, "sleeps") < 3 && std::time::Instant::now() < until {
        stats = asked(&control);
    }
    let [turns, sleeps] = ["turns", "sleeps"].map(|name| of(&stats, name));
    assert!(sleeps >= 3 && turns >= sleeps, "{turns} turns, {sleeps} sleeps");
    drop(control);
    loop_of_shard.join().unwrap();
}
