//! A foreign peer as a process: it takes and gives lines of JSON.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Lines of a peer's standard error that are kept for messages.
const ERROR_LINES_MAX: usize = 60;
/// How long a peer may take to say goodbye.
const LEAVE_LIMIT: Duration = Duration::from_secs(10);

/// A running script; it is killed when dropped.
pub struct Script {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    output: Lines<BufReader<ChildStdout>>,
    errors: Arc<Mutex<VecDeque<String>>>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Script {
    /// Starts a Python script of `tests/peers` with the interpreter that has aiortc.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn aiortc(script: &str, arguments: &[&str]) -> Result<Self> {
        Self::aiortc_by(std::process::Command::new, script, arguments)
    }

    /// The same, by a command that somebody makes of the interpreter.
    pub(crate) fn aiortc_by(
        command: impl FnOnce(PathBuf) -> std::process::Command,
        script: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let python = cache()?.join("python/bin/python");
        ensure!(python.exists(), "{} is missing: run .scripts/test-setup", python.display());
        Self::start(command(python).into(), script, arguments)
    }

    /// Starts a Python script of `tests/peers` with the system's interpreter, which has `GStreamer`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn gstreamer(script: &str, arguments: &[&str]) -> Result<Self> {
        Self::start(Command::new("/usr/bin/python3"), script, arguments)
    }

    /// Starts a Node script of `tests/peers`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn node(script: &str, arguments: &[&str]) -> Result<Self> {
        ensure!(folder().join("node_modules").exists(), "node_modules is missing: run .scripts/test-setup");
        let kept = cache()?.join("node/bin/node");
        let node = if kept.exists() { kept } else { PathBuf::from("node") };
        Self::start(Command::new(node), script, arguments)
    }

    fn start(mut command: Command, script: &str, arguments: &[&str]) -> Result<Self> {
        command.arg(folder().join(script)).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("{script} does not start"))?;
        let errors = Arc::default();
        keep_lines(child.stderr.take().context("standard error")?, Arc::clone(&errors));
        let output = BufReader::new(child.stdout.take().context("standard output")?).lines();
        let name = format!("{script} {}", arguments.first().copied().unwrap_or_default());
        Ok(Self { name, input: child.stdin.take(), child, output, errors })
    }

    /// Waits for a line that `wanted` takes, and returns it.
    ///
    /// # Errors
    /// When `limit` is over or the script ends before, with the last line and what it wrote to standard error.
    pub async fn wait_for(&mut self, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let search = async {
            while let Some(line) = self.output.next_line().await? {
                last = serde_json::from_str(&line).with_context(|| format!("not JSON: {line}"))?;
                if wanted(&last) {
                    return Ok(true);
                }
            }
            anyhow::Ok(false)
        };
        match timeout(limit, search).await {
            Ok(Ok(true)) => Ok(last),
            Ok(Ok(false)) => bail!("{} has ended; last it said {last}\n{}", self.name, self.errors()),
            Ok(Err(error)) => Err(error.context(self.errors())),
            Err(_) => bail!("{}: waited {limit:?}; last it said {last}\n{}", self.name, self.errors()),
        }
    }

    /// Returns the script's process id.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pid(&self) -> Result<u32> {
        self.child.id().with_context(|| format!("{} has ended\n{}", self.name, self.errors()))
    }

    /// Says a line to the script.
    ///
    /// # Errors
    /// When it does not listen any more.
    pub async fn say(&mut self, line: &Value) -> Result<()> {
        let input = self.input.as_mut().context("the script was told to leave")?;
        input.write_all(format!("{line}\n").as_bytes()).await.with_context(|| self.errors())
    }

    /// Tells the script to leave in good order, by the end of its input, and waits until it has.
    ///
    /// # Errors
    /// When it does not, or ends with an error.
    pub async fn leave(mut self) -> Result<()> {
        drop(self.input.take());
        let drain = async { while let Ok(Some(_line)) = self.output.next_line().await {} };
        timeout(LEAVE_LIMIT, drain).await.with_context(|| format!("{} does not leave", self.name))?;
        let status = timeout(LEAVE_LIMIT, self.child.wait()).await??;
        ensure!(status.success(), "{} ended with {status}\n{}", self.name, self.errors());
        Ok(())
    }

    /// Returns the end of what the script wrote to standard error.
    #[must_use]
    pub fn errors(&self) -> String {
        let lines = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|line| format!("  {line}\n")).collect()
    }
}

fn keep_lines(stream: impl AsyncRead + Unpin + Send + 'static, kept: Arc<Mutex<VecDeque<String>>>) {
    let _task = tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == ERROR_LINES_MAX {
                drop(kept.pop_front());
            }
            kept.push_back(line);
        }
    });
}

/// Returns the folder of the scripts.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Returns the folder that `.scripts/test-setup` installs into.
fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("SLUICE_TEST_CACHE") {
        return Ok(folder.into());
    }
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    Ok(caches.or_else(home).context("neither SLUICE_TEST_CACHE nor HOME is set")?.join("sluice-tests"))
}
