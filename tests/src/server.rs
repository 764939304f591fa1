//! A server under test: both planes as processes, on free ports, with a data directory of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a plane may take to start, on a machine that does other things too.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The secret of the API key that every server under test is given.
const SECRET: &str = "a-secret-for-tests-only";

/// How a server under test is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where HTTP listens; port 0 takes a free one.
    pub http: String,
    /// The UDP port of media; 0 takes a free one.
    pub media_port: u16,
    /// The addresses to announce; none for the server's own choice.
    pub announce: Option<String>,
    /// What people without a token may do.
    pub guests: &'static str,
    /// A command to put before the program, as `ip netns exec NAME`.
    pub wrapper: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        let (http, announce) = ("127.0.0.1:0".to_owned(), Some("127.0.0.1".to_owned()));
        Self { http, media_port: 0, announce, guests: "create", wrapper: Vec::new() }
    }
}

/// A running server; both planes end with it.
#[derive(Debug)]
pub struct Server {
    options: Options,
    folder: TempDir,
    controlplane: Option<Child>,
    base: String,
    dataplane: Option<u32>,
}

impl Server {
    /// Starts a server and waits until it is healthy.
    ///
    /// # Errors
    /// What went wrong, with the end of the log.
    pub async fn start(options: Options) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("sluice-").tempdir()?;
        let mut server = Self { options, folder, controlplane: None, base: String::new(), dataplane: None };
        server.start_controlplane().await?;
        Ok(server)
    }

    /// Starts the control plane on the data directory, and waits until it is healthy.
    ///
    /// # Errors
    /// What went wrong, with the end of the log.
    pub async fn start_controlplane(&mut self) -> Result<()> {
        ensure!(self.controlplane.is_none(), "the control plane runs already");
        let output = self.folder.path().join("controlplane.out");
        let log = File::options().create(true).append(true).open(self.folder.path().join("controlplane.log"))?;
        let mut words = self.options.wrapper.clone();
        words.push(program()?.display().to_string());
        let (first, rest) = words.split_first().context("a program")?;
        let mut command = Command::new(first);
        command.args(rest).arg("--data-dir").arg(self.folder.path().join("data"));
        command.args(["--http", &self.options.http, "--guests", self.options.guests]);
        command.args(["--media-port", &self.options.media_port.to_string()]);
        command.args(["--api-key", &format!("test:{SECRET}")]);
        if let Some(announce) = &self.options.announce {
            command.args(["--announce", announce]);
        }
        let child = command.stdin(Stdio::null()).stdout(File::create(&output)?).stderr(log).spawn()?;
        self.controlplane = Some(child);
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let text = std::fs::read_to_string(&output).unwrap_or_default();
            let address = text.split_whitespace().find(|word| word.starts_with("http://"));
            if let Some(address) = address {
                address.trim_end_matches('/').clone_into(&mut self.base);
                if self.is_healthy().await {
                    // Pages and sessions go on under the same address after a restart.
                    self.base.trim_start_matches("http://").clone_into(&mut self.options.http);
                    return Ok(());
                }
            }
            let ended = self.controlplane.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if ended.is_some() || Instant::now() > deadline {
                bail!("the server does not start ({ended:?}):\n{text}\n{}", self.logs());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns the address of HTTP, without a slash at its end.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns the secret of an API key.
    #[must_use]
    pub const fn secret(&self) -> &'static str {
        SECRET
    }

    /// Returns the data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Returns the ends of both logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let tail = |path: PathBuf| {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            lines.get(lines.len().saturating_sub(40)..).unwrap_or(&[]).join("\n")
        };
        format!(
            "--- control plane\n{}\n--- data plane\n{}",
            tail(self.folder.path().join("controlplane.log")),
            tail(self.data_dir().join("dataplane.log"))
        )
    }

    /// Returns what `/api/health` says.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn health(&self) -> Result<Value> {
        let response = reqwest::get(format!("{}/api/health", self.base)).await?;
        Ok(response.json().await?)
    }

    /// Asks the REST API, as who has its key: status and document.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn api(&self, method: Method, path: &str, body: &Value) -> Result<(u16, Value)> {
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.base)).bearer_auth(SECRET);
        let response = request.json(body).send().await?;
        let status = response.status().as_u16();
        Ok((status, response.json().await.unwrap_or_default()))
    }

    /// Makes a room with this id.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn make_room(&self, id: &str) -> Result<()> {
        let (status, answer) = self.api(Method::POST, "/api/rooms", &json!({ "id": id, "name": id })).await?;
        ensure!(status == 201, "{status}: {answer}");
        Ok(())
    }

    /// Makes a token for a room: `host`, `speaker` or `attendee`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn token(&self, room: &str, identity: &str, role: &str) -> Result<String> {
        let wanted = json!({ "identity": identity, "role": role });
        let (status, answer) = self.api(Method::POST, &format!("/api/rooms/{room}/tokens"), &wanted).await?;
        let token = answer.get("token").and_then(Value::as_str).map(str::to_owned);
        token.with_context(|| format!("{status}: {answer}"))
    }

    async fn is_healthy(&mut self) -> bool {
        let Ok(health) = self.health().await else { return false };
        let Some(pid) = pid_in(&health) else {
            return false;
        };
        self.dataplane = Some(pid);
        // A data plane that a test has killed often leaves the status degraded for a while.
        health.get("ready").is_some_and(|ready| ready == true)
    }

    /// Returns the control plane's process id.
    ///
    /// # Errors
    /// When it does not run.
    pub fn controlplane_pid(&self) -> Result<u32> {
        Ok(self.controlplane.as_ref().context("the control plane does not run")?.id())
    }

    /// Asks the control plane for the data plane's process id.
    ///
    /// # Errors
    /// When it does not say.
    pub async fn dataplane_pid(&mut self) -> Result<u32> {
        let health = self.health().await?;
        let pid = pid_in(&health).context("no pid of the data plane in the health report")?;
        self.dataplane = Some(pid);
        Ok(pid)
    }

    /// Waits until another data plane than `old` serves.
    ///
    /// # Errors
    /// When `limit` is over.
    pub async fn wait_replaced(&mut self, old: u32, limit: Duration) -> Result<u32> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(pid) = self.dataplane_pid().await.ok().filter(|pid| *pid != old) {
                return Ok(pid);
            }
            ensure!(Instant::now() < deadline, "data plane {old} is not replaced within {limit:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns how many datagrams the kernel has dropped because a socket of the data plane was full.
    ///
    /// # Errors
    /// When the data plane, or the kernel's list of sockets, is not there.
    pub async fn socket_drops(&mut self) -> Result<u64> {
        Ok(self.sockets().await?.iter().map(|(_, drops)| drops).sum())
    }

    /// Returns the port that takes media.
    ///
    /// # Errors
    /// When the data plane, or the kernel's list of sockets, is not there.
    pub async fn media_port(&mut self) -> Result<u16> {
        let sockets = self.sockets().await?;
        sockets.first().map(|(port, _)| *port).context("the data plane has no socket")
    }

    /// Ports and drops of the data plane's UDP sockets.
    async fn sockets(&mut self) -> Result<Vec<(u16, u64)>> {
        let pid = self.dataplane_pid().await?;
        let links = std::fs::read_dir(format!("/proc/{pid}/fd"))?;
        let links = links.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        let inode = |link: PathBuf| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
        let inodes: Vec<String> = links.filter_map(inode).collect();
        let mut sockets = Vec::new();
        for list in ["udp", "udp6"] {
            let text = std::fs::read_to_string(format!("/proc/{pid}/net/{list}"))?;
            for row in text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()) {
                let [_, local, .., drops] = *row else { continue };
                if row.get(9).is_some_and(|inode| inodes.iter().any(|known| known == inode)) {
                    let (_, port) = local.split_once(':').context("an address has a port")?;
                    sockets.push((u16::from_str_radix(port, 16)?, drops.parse()?));
                }
            }
        }
        ensure!(!sockets.is_empty(), "the data plane has no socket");
        Ok(sockets)
    }

    /// Kills the control plane, as `kill -9` does.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_controlplane(&mut self) -> Result<()> {
        let mut child = self.controlplane.take().context("the control plane does not run")?;
        child.kill()?;
        let _status = child.wait()?;
        Ok(())
    }

    /// Kills the data plane, as `kill -9` does, and returns when that was.
    ///
    /// # Errors
    /// When it is not known or not there.
    pub async fn kill_dataplane(&mut self) -> Result<Instant> {
        let pid = self.dataplane_pid().await?;
        let at = Instant::now();
        signal(pid, Signal::KILL)?;
        Ok(at)
    }

    /// Sends a signal to a process.
    ///
    /// # Errors
    /// When it is not there.
    pub fn signal(pid: u32, signal_: Signal) -> Result<()> {
        signal(pid, signal_)
    }
}

/// Tells whether a process can still do anything. One that is dead may be there until it is reaped, by whoever inherited it.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    // The state follows the name, which is in brackets and may have some of its own (proc_pid_stat(5)).
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.controlplane.take() {
            drop(child.kill());
            drop(child.wait());
        }
        // The last one that was heard of may have been replaced since.
        for pid in self.dataplane.into_iter().chain(processes_of(self.folder.path())) {
            drop(signal(pid, Signal::KILL));
        }
    }
}

/// Returns the processes whose command line names a folder, which no other test has.
fn processes_of(folder: &Path) -> Vec<u32> {
    let name = folder.display().to_string();
    let names = |pid: u32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&name)
    };
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(|pid| names(*pid)).collect()
}

/// Returns the data plane's process id in a health report.
fn pid_in(health: &Value) -> Option<u32> {
    u32::try_from(health.pointer("/dependencies/dataplane/pid")?.as_u64()?).ok()
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id")?;
    kill_process(pid, signal).with_context(|| format!("signal to {pid:?}"))
}

/// Returns the control plane's program: in the folder that `SLUICE_BIN_DIR` names, else beside this test.
fn program() -> Result<PathBuf> {
    let folder = match std::env::var_os("SLUICE_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::current_exe()?.ancestors().nth(2).map(Path::to_owned).context("a target folder")?,
    };
    let program = folder.join("sluice-controlplane");
    ensure!(
        program.exists(),
        "{} is missing: cargo build -p sluice-controlplane -p sluice-dataplane",
        program.display()
    );
    Ok(program)
}
