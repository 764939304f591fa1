//! A data plane without media: the session's own end over a real socket, in a process that can be killed.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use sluice_protocol::event::Event as Happened;
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::limits::PACKET_BATCH_BYTES_MAX;
use sluice_protocol::media::{PayloadType, Ssrc};
use sluice_protocol::packet::{BatchReader, BatchWriter, Packet, PacketKind};
use sluice_protocol::plan::{Change, Object};
use sluice_protocol::session::dataplane::{Dataplane, Event, Newcomer};
use sluice_protocol::session::{Configuration, DescriptorKind, Identity, Ready, Transmit};
use sluice_protocol::stats::{ShardStats, Stats};
use sluice_protocol::time::Instant;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;

use crate::dataplane::readiness::watch;
use crate::dataplane::socket::{Connection, Trusted};

/// Where the process listens, and whether it says that it cannot run: what the tests' script passes on.
const SOCKET: &str = "SLUICE_TEST_DATAPLANE_SOCKET";
const BROKEN: &str = "SLUICE_TEST_DATAPLANE_BROKEN";
/// The track of which a key frame is asked to have the process break its connection and live on.
pub(super) const BREAKS: TrackId = TrackId::new(0, 999, 1);
/// How long such a process lives at most.
const LIFE: Duration = Duration::from_secs(120);

/// Writes a program that starts such a process, for [`super::super::Setup::program`]. Each start adds a line to `starts`
/// in `folder`.
pub(crate) fn program(folder: &Path, broken: bool) -> std::path::PathBuf {
    let path = folder.join("fake-dataplane");
    let tests = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\necho >> {starts}\n{BROKEN}={broken} {SOCKET}=\"$2\" exec {tests} {name} --exact --ignored --nocapture\n",
        starts = folder.join("starts").display(),
        broken = u8::from(broken),
        tests = tests.display(),
        name = "dataplane::tests::fake::a_data_plane_that_other_tests_start",
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    path
}

#[tokio::test]
#[ignore = "a process that other tests start"]
async fn a_data_plane_that_other_tests_start() {
    let Ok(socket) = std::env::var(SOCKET) else { return };
    drop(std::fs::remove_file(&socket));
    let listener = UnixListener::bind(&socket).unwrap();
    let identity = Identity { software: "fake".into(), instance: rand::random(), capabilities: Vec::new() };
    let fake = Fake {
        session: Dataplane::new(identity, 1),
        served: None,
        configuration: None,
        held: Vec::new(),
        stream: None,
        counters: Counters::default(),
        broken: std::env::var(BROKEN).is_ok_and(|broken| broken == "1"),
    };
    // A test that fails leaves no process behind for long.
    if let Ok(end) = tokio::time::timeout(LIFE, fake.run(listener)).await {
        end.unwrap();
    }
}

#[derive(Default)]
struct Counters {
    commands: u64,
    resumed: u64,
    inherited: u64,
}

struct Fake {
    session: Dataplane<OwnedFd>,
    served: Option<Connection>,
    configuration: Option<Configuration>,
    held: Vec<(DescriptorKind, OwnedFd)>,
    stream: Option<Arc<AsyncFd<OwnedFd>>>,
    counters: Counters,
    broken: bool,
}

impl Fake {
    async fn run(mut self, listener: UnixListener) -> io::Result<()> {
        let mut newcomer: Option<(Connection, Newcomer<OwnedFd>)> = None;
        loop {
            let stream = self.stream.clone();
            tokio::select! {
                accepted = listener.accept() => {
                    let connection = Connection::over(accepted?.0.into_std()?, Trusted::current())?;
                    let greeting = Transmit { bytes: self.session.greeting(), descriptors: Vec::new() };
                    connection.send(greeting).await?;
                    newcomer = Some((connection, Newcomer::new()));
                }
                received = receive(newcomer.as_ref().map(|(connection, _)| connection)) => {
                    let Some((connection, mut who)) = newcomer.take() else { continue };
                    match received {
                        Ok((bytes, _)) if bytes.is_empty() => {}
                        Ok((bytes, descriptors)) => match who.handle_bytes(&bytes, descriptors) {
                            Ok(true) => self.admit(connection, who).await?,
                            Ok(false) => newcomer = Some((connection, who)),
                            // A controller that finds a higher epoch here says so instead of a hello.
                            Err(_) => {}
                        },
                        Err(_) => {}
                    }
                }
                received = receive(self.served.as_ref()) => match received {
                    Ok((bytes, descriptors)) if !bytes.is_empty() => {
                        self.session.handle_bytes(&bytes, descriptors).unwrap();
                    }
                    Ok(_) | Err(_) => {
                        self.served = None;
                        self.session.handle_disconnected();
                    }
                },
                () = echo(stream.as_deref()) => self.stream = None,
            }
            self.handle_events()?;
            self.transmit().await;
        }
    }

    async fn admit(&mut self, connection: Connection, newcomer: Newcomer<OwnedFd>) -> io::Result<()> {
        match self.session.admit(newcomer) {
            Ok(()) => self.served = Some(connection),
            Err(error) => {
                connection.send(Transmit { bytes: error.farewell(), descriptors: Vec::new() }).await?;
            }
        }
        Ok(())
    }

    fn handle_events(&mut self) -> io::Result<()> {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Configure { .. } if self.broken => self.session.fail("the port is taken".into()),
                Event::Configure { configuration, descriptors } => {
                    self.counters.inherited = descriptors.len() as u64;
                    self.held = descriptors;
                    if self.held.is_empty() {
                        let table = tempfile::tempfile()?;
                        self.held.push((DescriptorKind::Table { shard: 0 }, table.into()));
                    }
                    self.configuration = Some(Configuration { media_port: 4242, ..configuration });
                    self.attach()?;
                }
                Event::Attached => self.attach()?,
                Event::Command { id, change, resume } => {
                    self.counters.commands += 1;
                    self.counters.resumed += u64::from(resume);
                    if let Change::Put(object) = &change
                        && let Object::Transport(transport) = &**object
                        && !transport.cname.is_empty()
                    {
                        self.punt(transport.id, &[22; 50])?;
                    }
                    if let Change::Put(object) = &change
                        && matches!(object.key(), sluice_protocol::plan::Key::Egress(_))
                    {
                        self.session.acknowledge(id, Err(sluice_protocol::event::Refusal::NoSuchReference));
                    }
                    self.session.acknowledge(id, Ok(()));
                }
                Event::RequestKeyFrame(BREAKS) => {
                    self.served = None;
                    self.session.handle_disconnected();
                    return Ok(());
                }
                Event::RequestKeyFrame(track) => {
                    let (ssrc, payload_type) = (Ssrc(1), PayloadType(96));
                    self.session.raise(Happened::TrackStarted { track, ssrc, payload_type });
                }
                Event::StatsRequested(id) => self.session.reply_stats(id, self.stats()),
                Event::Pinged(nonce) => self.session.pong(nonce),
                Event::Pong(_) => {}
            }
        }
        Ok(())
    }

    /// Hands a datagram over as if a client had sent it: for each transport of a session one that is no DTLS.
    fn punt(&self, transport: TransportId, bytes: &[u8]) -> io::Result<()> {
        let Some(stream) = &self.stream else { return Ok(()) };
        let mut buffer = [0; 2100];
        let mut writer = BatchWriter::new(&mut buffer);
        let kind = PacketKind::Punt(transport);
        writer.write(Packet { kind, arrival: Instant::ZERO, bytes }).map_err(|_| io::ErrorKind::InvalidInput)?;
        send(stream.get_ref(), writer.as_bytes(), SendFlags::NOSIGNAL)?;
        Ok(())
    }

    fn attach(&mut self) -> io::Result<()> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        self.stream = Some(Arc::new(watch(ours, Interest::READABLE)?));
        let duplicate = |(kind, descriptor): &(DescriptorKind, OwnedFd)| Ok((*kind, descriptor.try_clone()?));
        let mut descriptors = self.held.iter().map(duplicate).collect::<io::Result<Vec<_>>>()?;
        descriptors.push((DescriptorKind::PacketStream { shard: 0 }, theirs));
        let configuration = self.configuration.clone().unwrap();
        self.session.ready(Ready { configuration, shards: 1 }, descriptors);
        Ok(())
    }

    fn stats(&self) -> Stats {
        let Counters { commands, resumed, inherited } = self.counters;
        let counters = [("commands", commands), ("resumed", resumed), ("inherited", inherited)];
        let counters = counters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Stats { shards: vec![ShardStats { shard: 0, counters, discards: Vec::new() }], ..Stats::default() }
    }

    async fn transmit(&mut self) {
        while let Some(connection) = &self.served {
            let Some(transmit) = self.session.poll_transmit() else { return };
            if connection.send(transmit).await.is_err() {
                self.served = None;
                self.session.handle_disconnected();
            }
        }
    }
}

async fn receive(connection: Option<&Connection>) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    match connection {
        Some(connection) => connection.receive().await,
        None => std::future::pending().await,
    }
}

/// Punts what it is told to send, until the stream ends.
async fn echo(stream: Option<&AsyncFd<OwnedFd>>) {
    let Some(stream) = stream else { return std::future::pending().await };
    loop {
        let mut buffer = vec![0; PACKET_BATCH_BYTES_MAX];
        let read = |socket: &OwnedFd| Ok(recv(socket, &mut buffer[..], RecvFlags::DONTWAIT)?.1);
        let Ok(size_bytes @ 1..) = stream.async_io(Interest::READABLE, read).await else { return };
        for packet in BatchReader::new(&buffer[..size_bytes]) {
            let PacketKind::Dtls(transport) = packet.kind else { panic!("{packet:?}") };
            let mut answer = [0; 2100];
            let mut writer = BatchWriter::new(&mut answer);
            writer.write(Packet { kind: PacketKind::Punt(transport), ..packet }).unwrap();
            send(stream.get_ref(), writer.as_bytes(), SendFlags::NOSIGNAL).unwrap();
        }
    }
}

/// A datagram and whose it is, as the tests compare them.
pub(super) type Punted = (TransportId, Bytes);
