//! A shard over real sockets, one step of its loop at a time.

mod counters;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use sluice_dataplane_core::engine::Command;
use sluice_protocol::ice::{NodeSecret, Ufrag};
use sluice_protocol::ids::TransportId;
use sluice_protocol::packet::{BatchWriter, Packet, PacketKind};
use sluice_protocol::plan::{Key, Object, Path, Transport};
use sluice_protocol::session::dataplane::CommandId;

use super::*;
use crate::table::Mapping;
use crate::udp::socket::{self, Buffers};

const TRANSPORT: TransportId = TransportId::new(0, 1, 65_536);
/// A record of a handshake.
const FINISHED: [u8; 17] = [22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0];
const PATIENCE: Duration = Duration::from_secs(5);

/// A shard with a transport whose handshake is under way, the other ends of its links, and the peer.
struct Stage {
    shard: Shard,
    control: SupervisorEnd,
    stream: UnixDatagram,
    peer: UdpSocket,
}

impl Stage {
    fn new() -> Self {
        let (control, link) = link().unwrap();
        let buffers = Buffers { receive_bytes: 64 * 1024, send_bytes: 64 * 1024 };
        let media = socket::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), buffers).unwrap();
        let local = socket::local_address(std::os::fd::AsFd::as_fd(&media)).unwrap();
        // Mapped for the life of the process.
        let table = Mapping::create().unwrap().table();
        let setup = Setup { secret: NodeSecret::new([7; 32]), table, sockets: vec![media], seed: 1 };
        let mut shard = Shard::new(0, link, setup).unwrap();
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let (stream, theirs) = UnixDatagram::pair().unwrap();
        shard.packets.attach(theirs.into());
        let ufrag = Ufrag { transport: TRANSPORT, restart: 0, random: 1 };
        let transport = transport(TRANSPORT, ufrag);
        let path = Path { transport: TRANSPORT, local, remote: peer.local_addr().unwrap(), credentials: ufrag };
        let mut stage = Self { shard, control, stream, peer };
        for object in [Object::Transport(transport), Object::Path(path)] {
            stage.command(Command::Put { object: Box::new(object), resume: false });
        }
        stage.carry_out();
        stage
    }

    fn command(&self, command: Command) {
        let message = ToShard::Command { id: CommandId::default(), command: Box::new(command) };
        self.control.send(message).unwrap();
    }

    /// Sends a datagram of the control plane's, without a turn of the loop.
    fn send(&self, datagram: &[u8]) {
        let mut buffer = [0; 2048];
        let mut batch = BatchWriter::new(&mut buffer);
        batch.write(Packet { kind: PacketKind::Dtls(TRANSPORT), arrival: Instant::ZERO, bytes: datagram }).unwrap();
        let size_bytes = batch.size_bytes();
        self.stream.send(&buffer[..size_bytes]).unwrap();
    }

    /// Returns what the peer receives next. The executor's timer interrupts system calls.
    fn receive(&self) -> std::io::Result<Vec<u8>> {
        let until = std::time::Instant::now() + PATIENCE;
        let mut datagram = [0; 2048];
        loop {
            match self.peer.recv(&mut datagram) {
                Ok(size_bytes) => return Ok(datagram[..size_bytes].to_vec()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted && std::time::Instant::now() < until => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn carry_out(&mut self) {
        while self.shard.take_in(clock::monotonic()).unwrap() {}
        while let Ok(Some(answer)) = self.control.receive() {
            if let FromShard::Done { result, .. } = answer {
                assert_eq!(result, Ok(()));
            }
        }
    }
}

/// A transport whose handshake is under way.
fn transport(id: TransportId, ufrag: Ufrag) -> Transport {
    Transport {
        id,
        credentials: vec![ufrag],
        keys: None,
        cname: "peer".to_owned(),
        extmap_allow_mixed: true,
        remb_cap: None,
        rtcp_rsize: true,
    }
}

#[test]
fn what_was_sent_before_a_command_leaves_before_it_is_carried_out() {
    executor(None, "test").make().unwrap().run(async {
        let mut stage = Stage::new();
        // The turn has looked for datagrams already when these come, with a command behind them that ends their transport.
        assert!(!stage.shard.take_packets(clock::monotonic()));
        for number in 0..20_u8 {
            stage.send(&[&FINISHED[..], &[number]].concat());
        }
        stage.command(Command::Remove(Key::Transport(TRANSPORT)));
        stage.carry_out();
        stage.shard.flush(clock::monotonic());
        for number in 0..20_u8 {
            assert_eq!(
                stage.receive().expect("it left before its transport ended"),
                [&FINISHED[..], &[number]].concat()
            );
        }
        // After the command there is nobody to send to.
        stage.send(&FINISHED);
        assert!(!stage.shard.take_packets(clock::monotonic()));
        stage.shard.flush(clock::monotonic());
        stage.peer.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert!(stage.peer.recv(&mut [0; 64]).is_err());
    });
}
