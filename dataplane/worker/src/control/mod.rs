//! The control thread: listens for the control plane, keeps the plan, and hands its steps to the shards.
//!
//! It sleeps in `poll` on the listener, the connections and the shards' doorbells, so that nothing of the control stream,
//! however long, delays a packet.

mod descriptors;
mod gathering;
mod socket;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use sluice_dataplane_core::engine::Command;
use sluice_protocol::event::Refusal;
use sluice_protocol::plan::{Change, Key};
use sluice_protocol::session::Transmit;
use sluice_protocol::session::dataplane::{CommandId, Dataplane, Event, Newcomer};
use sluice_protocol::stats::Stats;

use crate::config::Udp;
use crate::privileges;
use crate::shard::{FromShard, SupervisorEnd, ToShard};
use descriptors::Holdings;
use gathering::Gathering;
pub(crate) use socket::Listener;
use socket::{Connection, Received};

/// Connections that have not introduced themselves. A further one takes the place of the one that has been silent for
/// longest: a controller introduces itself at once, and strangers who say nothing must not keep it out.
const NEWCOMERS_MAX: usize = 16;

/// The connection that is served, and what it did not take yet.
struct Served {
    connection: Connection,
    unsent: Option<Unsent>,
}

/// What woke the control thread.
struct Woken {
    somebody_connects: bool,
    /// Whether the connection that is served has bytes, room or an end.
    served: bool,
    /// Which shards have rung.
    doorbells: Vec<bool>,
}

struct Unsent {
    transmit: Transmit<OwnedFd>,
    sent_bytes: usize,
}

/// The control thread's state.
pub(crate) struct Control {
    listener: Listener,
    session: Dataplane<OwnedFd>,
    served: Option<Served>,
    newcomers: Vec<(Connection, Newcomer<OwnedFd>)>,
    shards: Vec<SupervisorEnd>,
    holdings: Option<Holdings>,
    gathering: Gathering,
    /// Whether a controller has put a cookie, and so everything before it.
    is_settled: bool,
    udp: Udp,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Control").field("served", &self.served.is_some()).finish_non_exhaustive()
    }
}

impl Control {
    /// Makes a control thread's state over shards that wait for their setup.
    #[must_use]
    pub(crate) fn new(listener: Listener, session: Dataplane<OwnedFd>, shards: Vec<SupervisorEnd>, udp: Udp) -> Self {
        let (served, newcomers) = (None, Vec::new());
        let (gathering, is_settled) = (Gathering::default(), false);
        Self { listener, session, served, newcomers, shards, holdings: None, gathering, is_settled, udp }
    }

    /// Runs until a shard is gone or the data plane cannot be set up.
    ///
    /// # Errors
    /// What made it end.
    pub(crate) fn run(&mut self) -> anyhow::Result<()> {
        loop {
            let woken = self.wait()?;
            if woken.somebody_connects {
                self.accept();
            }
            self.hear_newcomers();
            if woken.served {
                self.hear_served();
            }
            self.take_messages(&woken.doorbells)?;
            self.handle_events()?;
            self.transmit();
        }
    }

    /// Sleeps until something is to be done, and wakes shards whose sockets can be written again.
    fn wait(&self) -> io::Result<Woken> {
        let mut descriptors = vec![PollFd::new(&self.listener, PollFlags::IN)];
        if let Some(served) = &self.served {
            let out = if served.unsent.is_some() { PollFlags::OUT } else { PollFlags::empty() };
            descriptors.push(PollFd::new(&served.connection, PollFlags::IN | out));
        }
        descriptors.extend(self.newcomers.iter().map(|(connection, _)| PollFd::new(connection, PollFlags::IN)));
        let first_doorbell = descriptors.len();
        let doorbells: Vec<BorrowedFd<'_>> = self.shards.iter().map(SupervisorEnd::doorbell).collect();
        descriptors.extend(doorbells.iter().map(|doorbell| PollFd::new(doorbell, PollFlags::IN)));
        let first_socket = descriptors.len();
        let mut blocked = Vec::new();
        if let Some(holdings) = &self.holdings {
            for (number, shard) in self.shards.iter().enumerate().filter(|(_, shard)| shard.is_blocked()) {
                for socket in holdings.sockets(number) {
                    descriptors.push(PollFd::from_borrowed_fd(socket, PollFlags::OUT));
                    blocked.push(shard);
                }
            }
        }
        match poll(&mut descriptors, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let fired: Vec<bool> = descriptors.iter().map(|descriptor| !descriptor.revents().is_empty()).collect();
        for (fired, shard) in fired.iter().skip(first_socket).zip(blocked) {
            if *fired {
                shard.unblock();
            }
        }
        Ok(Woken {
            somebody_connects: fired.first() == Some(&true),
            served: self.served.is_some() && fired.get(1) == Some(&true),
            doorbells: fired.get(first_doorbell..first_socket).unwrap_or_default().to_vec(),
        })
    }

    fn accept(&mut self) {
        for _ in 0..NEWCOMERS_MAX {
            let Some(connection) = self.listener.accept() else { return };
            if self.newcomers.len() == NEWCOMERS_MAX {
                let (silent, _) = self.newcomers.remove(0);
                tracing::warn!(pid = silent.pid(), "closed a connection that said nothing");
            }
            // The greeting is far smaller than the socket's buffer, so a connection that does not take it is broken.
            let greeting = self.session.greeting();
            if connection.send(&greeting, &[]).is_ok_and(|sent| sent == greeting.len()) {
                self.newcomers.push((connection, Newcomer::new()));
            }
        }
    }

    fn hear_newcomers(&mut self) {
        for (mut connection, mut newcomer) in std::mem::take(&mut self.newcomers) {
            let Some(Received { bytes, descriptors, ended }) = connection.receive() else {
                self.newcomers.push((connection, newcomer));
                continue;
            };
            if ended {
                continue;
            }
            match newcomer.handle_bytes(&bytes, descriptors) {
                Ok(false) => self.newcomers.push((connection, newcomer)),
                Ok(true) => self.admit(connection, newcomer),
                Err(error) => {
                    tracing::warn!(pid = connection.pid(), %error, "closed a connection that is no controller's");
                    drop(connection.send(&error.farewell(), &[]));
                }
            }
        }
    }

    fn admit(&mut self, connection: Connection, newcomer: Newcomer<OwnedFd>) {
        match self.session.admit(newcomer) {
            Ok(()) => {
                tracing::info!(pid = connection.pid(), "a controller is connected");
                self.served = Some(Served { connection, unsent: None });
            }
            Err(error) => {
                tracing::warn!(pid = connection.pid(), %error, "refused a controller");
                drop(connection.send(&error.farewell(), &[]));
            }
        }
    }

    /// Reads once from the connection that is served; what is left wakes this thread again.
    fn hear_served(&mut self) {
        let Some(served) = &mut self.served else { return };
        let Some(Received { bytes, descriptors, ended }) = served.connection.receive() else { return };
        if ended {
            tracing::info!(pid = served.connection.pid(), "the controller is gone; forwarding goes on");
            self.disconnect();
        } else if let Err(error) = self.session.handle_bytes(&bytes, descriptors) {
            tracing::warn!(pid = served.connection.pid(), %error, "the controller's connection is closed");
            self.transmit();
            self.disconnect();
        }
    }

    fn disconnect(&mut self) {
        self.served = None;
        self.session.handle_disconnected();
    }

    /// Takes what the shards say who have rung.
    fn take_messages(&mut self, rang: &[bool]) -> anyhow::Result<()> {
        for (number, _) in rang.iter().enumerate().filter(|(_, rang)| **rang) {
            if let Some(shard) = self.shards.get(number) {
                shard.silence();
            }
            while let Some(shard) = self.shards.get(number) {
                let Ok(message) = shard.receive() else { anyhow::bail!("shard {number} has ended") };
                match message {
                    None => break,
                    Some(FromShard::Done { id, result }) => self.session.acknowledge(id, result),
                    Some(FromShard::Event(event)) => self.session.raise(event),
                    Some(FromShard::Stats { id, stats }) => self.gather_stats(id, *stats)?,
                    Some(FromShard::Pong(nonce)) => self.gather_pong(nonce),
                }
            }
        }
        Ok(())
    }

    fn handle_events(&mut self) -> anyhow::Result<()> {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Configure { configuration, descriptors } => {
                    let holdings = Holdings::new(configuration, descriptors, self.shards.len(), &self.udp);
                    match holdings {
                        Ok(holdings) => {
                            privileges::give_up()?;
                            self.start(holdings)?;
                        }
                        Err(error) => {
                            self.session.fail(error.to_string());
                            self.transmit();
                            return Err(error);
                        }
                    }
                }
                Event::Attached => self.attach()?,
                Event::Command { id, change, resume } => self.command(id, change, resume)?,
                Event::RequestKeyFrame(track) => self.send(track.shard(), ToShard::KeyFrame(track))?,
                Event::StatsRequested(id) => self.request_stats(id)?,
                Event::Pinged(nonce) => self.ping(nonce)?,
                Event::Pong(_) => {}
            }
        }
        Ok(())
    }

    fn start(&mut self, holdings: Holdings) -> anyhow::Result<()> {
        for (number, shard) in self.shards.iter().enumerate() {
            let setup = holdings.setup(number)?;
            shard.send(ToShard::Setup(Box::new(setup))).map_err(|_| gone(number))?;
        }
        self.holdings = Some(holdings);
        self.attach()
    }

    /// Gives the controller duplicates of everything, and both sides a new packet stream.
    fn attach(&mut self) -> anyhow::Result<()> {
        let Some(holdings) = &self.holdings else { return Ok(()) };
        let mut descriptors = holdings.duplicates()?;
        for (number, shard) in self.shards.iter().enumerate() {
            let (ours, theirs, kind) = descriptors::packet_stream(number)?;
            shard.send(ToShard::PacketStream(ours)).map_err(|_| gone(number))?;
            descriptors.push((kind, theirs));
        }
        self.session.ready(holdings.ready(self.shards.len()), descriptors);
        Ok(())
    }

    fn command(&mut self, id: CommandId, change: Change, resume: bool) -> anyhow::Result<()> {
        let (key, command) = match change {
            Change::Put(object) => (object.key(), Command::Put { object, resume }),
            Change::Remove(key) => (key, Command::Remove(key)),
        };
        if matches!((&key, &command), (Key::Cookie(_), Command::Put { .. })) && !self.is_settled {
            // Cookies live on the first shard, which takes the command itself for this.
            self.is_settled = true;
            (1..self.shards.len()).try_for_each(|number| self.send(shard_number(number), ToShard::SettleRows))?;
        }
        let shard = match key {
            Key::Transport(id) | Key::Path(id) => id.shard(),
            Key::Track(id) | Key::Stream(id, _) => id.shard(),
            Key::Egress(id) => id.shard(),
            Key::Cookie(_) => 0,
        };
        if usize::from(shard) >= self.shards.len() {
            self.session.acknowledge(id, Err(Refusal::NoSuchAddress));
            return Ok(());
        }
        self.send(shard, ToShard::Command { id, command: Box::new(command) })
    }

    fn send(&self, shard: u8, message: ToShard) -> anyhow::Result<()> {
        match self.shards.get(usize::from(shard)) {
            Some(end) => end.send(message).map_err(|_| gone(usize::from(shard))),
            None => Ok(()),
        }
    }

    fn request_stats(&mut self, id: u64) -> anyhow::Result<()> {
        if self.gathering.ask_stats(id, self.shards.len()) { self.tell_shards(|| ToShard::Stats(id)) } else { Ok(()) }
    }

    fn gather_stats(&mut self, id: u64, part: Stats) -> anyhow::Result<()> {
        let events_dropped = self.session.events_dropped();
        let Some(stats) = self.gathering.take_stats(id, part, events_dropped) else { return Ok(()) };
        self.session.reply_stats(id, stats);
        self.gathering.next_stats().map_or(Ok(()), |next| self.request_stats(next))
    }

    fn ping(&mut self, nonce: u64) -> anyhow::Result<()> {
        if self.holdings.is_none() {
            self.session.pong(nonce);
            return Ok(());
        }
        self.gathering.ask_pong(nonce, self.shards.len());
        self.tell_shards(|| ToShard::Ping(nonce))
    }

    fn gather_pong(&mut self, nonce: u64) {
        if self.gathering.take_pong(nonce) {
            self.session.pong(nonce);
        }
    }

    fn tell_shards(&self, message: impl Fn() -> ToShard) -> anyhow::Result<()> {
        (0..self.shards.len()).try_for_each(|number| self.send(shard_number(number), message()))
    }

    /// Sends what the session has for the controller, as far as the socket takes it.
    fn transmit(&mut self) {
        while let Some(served) = &mut self.served {
            if served.unsent.is_none() {
                served.unsent = self.session.poll_transmit().map(|transmit| Unsent { transmit, sent_bytes: 0 });
            }
            let Some(unsent) = &mut served.unsent else { return };
            let descriptors: Vec<BorrowedFd<'_>> = unsent.transmit.descriptors.iter().map(AsFd::as_fd).collect();
            let rest = unsent.transmit.bytes.get(unsent.sent_bytes..).unwrap_or(&[]);
            match served.connection.send(rest, &descriptors) {
                Ok(sent) => {
                    unsent.sent_bytes += sent;
                    unsent.transmit.descriptors.clear();
                    if unsent.sent_bytes >= unsent.transmit.bytes.len() {
                        served.unsent = None;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.disconnect(),
            }
        }
    }
}

fn gone(shard: usize) -> anyhow::Error {
    anyhow::anyhow!("shard {shard} takes no messages any more")
}

/// Shards are counted in eight bits, see [`sluice_protocol::limits::SHARDS_MAX`].
fn shard_number(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}
