//! Keeps exactly one data plane alive.

use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use sluice_controlplane_core::supervision::{self, Answer, Ended, Reach, Supervision, Verdict, Wait};
use sluice_protocol::ice::NodeSecret;
use sluice_protocol::session::controller::Controller;
use sluice_protocol::session::{Configuration, Identity, Ready};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::handle::{Shared, Status};
use super::limits::{DYING_LIMIT, EVENTS_MAX, START_LIMIT, START_POLL, STOP_LIMIT};
use super::link::{End, Holdings, Link};
use super::process::{self, Process};
use super::socket::{Connection, Trusted, says_nobody};
use super::{DataplaneEvent, DataplaneHandle, epoch};
use crate::clock;

/// What a supervisor needs to know.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The data directory, for the epoch and the data plane's log.
    pub data_dir: PathBuf,
    /// The data plane's socket.
    pub socket: PathBuf,
    /// Whether to start a data plane when none answers; else it is waited for, and somebody else starts it.
    pub start: bool,
    /// The program to start; empty for `sluice-dataplane` beside this one.
    pub program: PathBuf,
    /// Further arguments of the program.
    pub arguments: Vec<String>,
    /// The UDP port of media, 0 for a free one; a data plane that runs already keeps its own.
    pub media_port: u16,
    /// Whether the data plane is stopped when the supervisor is.
    pub stop: bool,
}

/// A running supervisor.
#[derive(Debug)]
pub struct Supervisor {
    shutdown: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Supervisor {
    /// Ends the supervisor; the data plane goes on unless [`Setup::stop`] says otherwise.
    pub async fn shut_down(self) {
        let _ended_already = self.shutdown.send(true);
        drop(self.task.await);
    }
}

/// Starts a supervisor: its handle, and what it tells.
///
/// # Errors
/// When the epoch in the data directory cannot be raised.
pub fn start(setup: Setup) -> io::Result<(Supervisor, DataplaneHandle, mpsc::Receiver<DataplaneEvent>)> {
    let epoch = epoch::raise(&setup.data_dir)?;
    let identity = Identity {
        software: concat!("sluice-controlplane/", env!("CARGO_PKG_VERSION")).to_owned(),
        instance: rand::random(),
        capabilities: Vec::new(),
    };
    let configuration = Configuration {
        node_secret: NodeSecret::new(rand::random()),
        media_port: setup.media_port,
        listen: Vec::new(),
    };
    let shared = Arc::new(Shared::new(Controller::new(identity, epoch, configuration)));
    let handle = DataplaneHandle::new(Arc::clone(&shared));
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    let (shutdown, stopping) = watch::channel(false);
    let keeper = Keeper {
        setup,
        shared,
        events: sender,
        holdings: Vec::new(),
        child: None,
        process: None,
        supervision: Supervision::new(),
    };
    let task = tokio::spawn(keeper.run(stopping));
    Ok((Supervisor { shutdown, task }, handle, receiver))
}

/// The supervisor's task.
struct Keeper {
    setup: Setup,
    shared: Arc<Shared>,
    events: mpsc::Sender<DataplaneEvent>,
    /// Duplicates of the sockets and tables of the data plane, for its successor.
    holdings: Holdings,
    /// The data plane, where this process started it: to be reaped.
    child: Option<Child>,
    /// The data plane that was spoken to last, until it is proved dead.
    process: Option<Arc<Process>>,
    supervision: Supervision,
}

impl Keeper {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        tokio::select! {
            () = self.keep() => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        if let Some(process) = self.process.take().filter(|_| self.setup.stop) {
            process.stop(STOP_LIMIT).await;
            self.reap();
        }
    }

    async fn keep(&mut self) {
        loop {
            let reason = match self.reach().await {
                Ok((connection, process)) => {
                    self.shared.status().pid = process.pid();
                    self.process = Some(Arc::clone(&process));
                    let (end, served) = self.serve(&connection, &process).await;
                    let Some(mut ended) = end.ended() else { return };
                    if ended == Ended::Broken && timeout(DYING_LIMIT, process.died()).await.is_ok() {
                        ended = Ended::Died;
                    }
                    match self.supervision.handle_end(ended, served) {
                        Verdict::Reconnect => {}
                        Verdict::Replace => self.prove_dead(&process).await,
                        Verdict::GiveWay => {
                            self.give_way(&end);
                            return std::future::pending().await;
                        }
                    }
                    end.to_string()
                }
                Err(error) => {
                    self.supervision.handle_unreachable();
                    error
                }
            };
            tracing::warn!(reason, "the data plane is being brought back");
            self.back_off(reason).await;
        }
    }

    /// Connects to a data plane that answers, or starts one, or waits for one that somebody else starts.
    async fn reach(&mut self) -> Result<(Connection, Arc<Process>), String> {
        loop {
            let found = Connection::open(&self.setup.socket, Trusted::current());
            let answer = self.answer(&found);
            match (supervision::reach(answer, self.process.is_some(), self.setup.start), found) {
                (Reach::Serve, Ok(connection)) => {
                    tracing::info!(pid = connection.pid(), "adopting a data plane that runs");
                    return match &self.process {
                        Some(known) => Ok((connection, Arc::clone(known))),
                        None => hold(connection),
                    };
                }
                (Reach::ProveDead, _) => {
                    if let Some(process) = self.process.clone() {
                        tracing::warn!(pid = process.pid(), "a data plane that does not answer any more is killed");
                        self.prove_dead(&process).await;
                    }
                }
                (Reach::Start, _) => return self.start().await,
                (Reach::Await, _) => return self.await_foreign_start().await,
                (Reach::Serve | Reach::Report, found) => {
                    let reason = found.map_or_else(|error| error.to_string(), |_| String::new());
                    return Err(format!("{} takes no connection: {reason}", self.setup.socket.display()));
                }
            }
        }
    }

    /// Tells who answers on the socket.
    fn answer(&self, found: &io::Result<Connection>) -> Answer {
        match found {
            Ok(connection) => {
                let known = self.process.as_ref().and_then(|process| process.pid());
                if known.is_some() && known == u32::try_from(connection.pid()).ok() {
                    Answer::Known
                } else {
                    Answer::Other
                }
            }
            Err(error) if says_nobody(error) => Answer::Nobody,
            Err(_) => Answer::Deaf,
        }
    }

    /// Starts a data plane and waits until it answers.
    async fn start(&mut self) -> Result<(Connection, Arc<Process>), String> {
        let program = process::program(&self.setup.program).map_err(|error| error.to_string())?;
        let log = self.setup.data_dir.join("dataplane.log");
        let child = process::spawn(&program, &self.setup.socket, &log, &self.setup.arguments)
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        tracing::info!(pid = child.id(), program = %program.display(), "started a data plane");
        self.child = Some(child);
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Ok(connection) = Connection::open(&self.setup.socket, Trusted::current()) {
                return hold(connection);
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                self.child = None;
                return Err(format!("the data plane ended as it started ({status}); see {}", log.display()));
            }
            if Instant::now() > deadline {
                if let Some(child) = &mut self.child {
                    drop(child.kill());
                }
                self.reap();
                return Err(format!("the data plane does not answer; see {}", log.display()));
            }
            sleep(START_POLL).await;
        }
    }

    /// Waits for a data plane that a service manager starts.
    async fn await_foreign_start(&self) -> Result<(Connection, Arc<Process>), String> {
        let socket = &self.setup.socket;
        let answering = async {
            loop {
                match Connection::open(socket, Trusted::current()) {
                    Ok(connection) => return connection,
                    Err(_) => sleep(START_POLL).await,
                }
            }
        };
        let connection = timeout(START_LIMIT, answering).await.map_err(|_| {
            format!("no data plane answers on {}, and dataplane.start leaves starting it to others", socket.display())
        })?;
        tracing::info!(pid = connection.pid(), "connected to a data plane that was started");
        hold(connection)
    }

    /// Drives a connection to its end; tells for how long the data plane was served, if it was ever ready.
    async fn serve(&mut self, connection: &Connection, process: &Process) -> (End, Option<Duration>) {
        let data_dir = self.setup.data_dir.clone();
        let store_epoch = move |_: &Ready, raised: u16| {
            if let Err(error) = epoch::store(&data_dir, raised) {
                tracing::error!(%error, "the epoch cannot be stored; the next start finds a higher one by itself");
            }
        };
        let mut link = Link::new(&self.shared, connection, process, &self.events, &mut self.holdings, &store_epoch);
        let began = Instant::now();
        let end = link.run().await;
        (end, link.was_ready.then(|| began.elapsed()))
    }

    /// Leaves the data plane to the control plane that came after this one: neither kills it nor stops it at the end.
    fn give_way(&mut self, end: &End) {
        self.process = None;
        let reason = format!("another control plane has taken over: {end}");
        tracing::error!(reason, "this control plane serves no media any more");
        let mut status = self.shared.status();
        status.pid = None;
        status.state = Status::Failing { reason };
    }

    /// Makes sure that a data plane is dead: only then may another one be given its keys.
    async fn prove_dead(&mut self, process: &Process) {
        process.prove_dead().await;
        self.process = None;
        self.reap();
        let mut status = self.shared.status();
        status.pid = None;
        status.restarts += 1;
        status.replacements.note(clock::now());
    }

    /// Collects the exit of a child that is dead or dying.
    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.wait());
        }
    }

    /// Waits before the next look when the last ones were of no use.
    async fn back_off(&self, reason: String) {
        match self.supervision.wait() {
            Wait::Not => self.shared.status().state = Status::Starting,
            Wait::Failing(delay) => {
                self.shared.status().state = Status::Failing { reason };
                sleep(delay).await;
            }
        }
    }
}

/// Takes hold of the process at the other end.
fn hold(connection: Connection) -> Result<(Connection, Arc<Process>), String> {
    let process = Process::open(connection.pid()).map_err(|error| error.to_string())?;
    Ok((connection, Arc::new(process)))
}
