//! Keeps exactly one data plane alive.

use std::io;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use sluice_protocol::ice::NodeSecret;
use sluice_protocol::session::controller::Controller;
use sluice_protocol::session::{Configuration, Identity, Ready};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::handle::{Shared, Status};
use super::limits::{
    BACK_OFF_MAX, BROKEN_CONNECTIONS_MAX, EVENTS_MAX, SHORT_LIFE, SHORT_LIVES_MAX, START_LIMIT, START_POLL, STOP_LIMIT,
};
use super::link::{End, Holdings, Link};
use super::process::{self, Process};
use super::socket::{Connection, Trusted};
use super::{DataplaneEvent, DataplaneHandle, epoch};

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
        short_lives: 0,
        broken_connections: 0,
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
    short_lives: u32,
    broken_connections: u32,
}

impl Keeper {
    async fn run(mut self, mut stopping: watch::Receiver<bool>) {
        tokio::select! {
            () = self.keep() => {}
            _ = stopping.wait_for(|stop| *stop) => {}
        }
        let pid = self.shared.status().pid.and_then(|pid| i32::try_from(pid).ok()).filter(|_| self.setup.stop);
        if let Some(process) = pid.and_then(|pid| Process::open(pid).ok()) {
            process.stop(STOP_LIMIT).await;
            self.reap();
        }
    }

    async fn keep(&mut self) {
        loop {
            let reason = match self.reach().await {
                Ok((connection, process)) => {
                    self.shared.status().pid = process.pid();
                    let end = self.serve(&connection, &process).await;
                    if matches!(end, End::Shutdown) {
                        return;
                    }
                    if end.is_fenced() {
                        self.give_way(&end);
                        return std::future::pending().await;
                    }
                    self.settle(&end, &process).await;
                    end.to_string()
                }
                Err(error) => {
                    self.short_lives += 1;
                    error
                }
            };
            tracing::warn!(reason, "the data plane is being brought back");
            self.back_off(reason).await;
        }
    }

    /// Connects to a data plane that answers, or starts one, or waits for one that somebody else starts.
    async fn reach(&mut self) -> Result<(Connection, Process), String> {
        match Connection::open(&self.setup.socket, Trusted::current()) {
            Ok(connection) => {
                let process = Process::open(connection.pid()).map_err(|error| error.to_string())?;
                tracing::info!(pid = connection.pid(), "adopting a data plane that runs");
                return Ok((connection, process));
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error.to_string()),
            Err(_) => {}
        }
        if !self.setup.start {
            return self.await_foreign_start().await;
        }
        let program = process::program(&self.setup.program).map_err(|error| error.to_string())?;
        let log = self.setup.data_dir.join("dataplane.log");
        let child = process::spawn(&program, &self.setup.socket, &log, &self.setup.arguments)
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        tracing::info!(pid = child.id(), program = %program.display(), "started a data plane");
        self.child = Some(child);
        let deadline = Instant::now() + START_LIMIT;
        loop {
            if let Ok(connection) = Connection::open(&self.setup.socket, Trusted::current()) {
                let process = Process::open(connection.pid()).map_err(|error| error.to_string())?;
                return Ok((connection, process));
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
    async fn await_foreign_start(&self) -> Result<(Connection, Process), String> {
        let socket = &self.setup.socket;
        let answering = async {
            loop {
                match Connection::open(socket, Trusted::current()) {
                    Ok(connection) => return connection,
                    Err(_) => sleep(START_POLL).await,
                }
            }
        };
        let connection = tokio::time::timeout(START_LIMIT, answering).await.map_err(|_| {
            format!("no data plane answers on {}, and dataplane.start leaves starting it to others", socket.display())
        })?;
        let process = Process::open(connection.pid()).map_err(|error| error.to_string())?;
        tracing::info!(pid = connection.pid(), "connected to a data plane that was started");
        Ok((connection, process))
    }

    async fn serve(&mut self, connection: &Connection, process: &Process) -> End {
        let data_dir = self.setup.data_dir.clone();
        let store_epoch = move |_: &Ready, raised: u16| {
            if let Err(error) = epoch::store(&data_dir, raised) {
                tracing::error!(%error, "the epoch cannot be stored; the next start finds a higher one by itself");
            }
        };
        let mut link = Link::new(&self.shared, connection, process, &self.events, &mut self.holdings, &store_epoch);
        let began = Instant::now();
        let end = link.run().await;
        let was_ready = link.was_ready;
        if was_ready {
            self.broken_connections = 0;
        }
        let served = was_ready && began.elapsed() >= SHORT_LIFE;
        self.short_lives = if served { 0 } else { self.short_lives + 1 };
        end
    }

    /// Leaves the data plane to the control plane that came after this one: neither kills it nor stops it at the end.
    fn give_way(&self, end: &End) {
        let reason = format!("another control plane has taken over: {end}");
        tracing::error!(reason, "this control plane serves no media any more");
        let mut status = self.shared.status();
        status.pid = None;
        status.state = Status::Failing { reason };
    }

    /// Makes sure that a data plane whose connection ended is dead, unless it may be connected to again.
    async fn settle(&mut self, end: &End, process: &Process) {
        let may_go_on = match end {
            End::Died | End::Hung | End::NotReady | End::Shutdown => false,
            End::Broken(_) | End::Session(_) => self.broken_connections < BROKEN_CONNECTIONS_MAX,
        };
        if may_go_on {
            self.broken_connections += 1;
            // A process that is dying closes its sockets first: give it the moment that this takes.
            let died = tokio::time::timeout(Duration::from_millis(50), process.died()).await.is_ok();
            if !died {
                return;
            }
        }
        process.prove_dead().await;
        self.reap();
        self.broken_connections = 0;
        let mut status = self.shared.status();
        status.pid = None;
        status.restarts += 1;
    }

    /// Collects the exit of a child that is dead or dying.
    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.wait());
        }
    }

    /// Waits before the next start when the last ones were of no use; the first restart is at once.
    async fn back_off(&self, reason: String) {
        if self.short_lives <= SHORT_LIVES_MAX {
            self.shared.status().state = Status::Starting;
            return;
        }
        self.shared.status().state = Status::Failing { reason };
        let doublings = (self.short_lives - SHORT_LIVES_MAX).min(10);
        sleep(BACK_OFF_MAX.min(Duration::from_millis(50) * 2_u32.pow(doublings))).await;
    }
}
