//! The data plane's process: started, watched, proved dead.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::readiness::watch;

/// A process that is held by its descriptor, so that its number cannot come to mean another one.
#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    descriptor: AsyncFd<OwnedFd>,
}

impl Process {
    /// Takes hold of a process.
    ///
    /// # Errors
    /// When there is none with this number.
    pub(super) fn open(pid: i32) -> io::Result<Self> {
        let number = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        let descriptor = pidfd_open(number, PidfdFlags::NONBLOCK)?;
        Ok(Self { pid, descriptor: watch(descriptor, Interest::READABLE)? })
    }

    /// Returns the number.
    pub(super) fn pid(&self) -> Option<u32> {
        u32::try_from(self.pid).ok()
    }

    /// Returns when the process is dead: its descriptors are closed, it sends nothing any more.
    pub(super) async fn died(&self) {
        // An error of waiting cannot be told from death in any useful way, and does not happen to a valid descriptor.
        drop(self.descriptor.readable().await);
    }

    /// Kills the process and returns when it is dead. A stopped process dies too.
    pub(super) async fn prove_dead(&self) {
        let _dead_already = pidfd_send_signal(self.descriptor.get_ref(), Signal::KILL);
        self.died().await;
    }

    /// Asks the process to end, and kills it when it does not within `limit`.
    pub(super) async fn stop(&self, limit: Duration) {
        let _dead_already = pidfd_send_signal(self.descriptor.get_ref(), Signal::TERM);
        if tokio::time::timeout(limit, self.died()).await.is_err() {
            self.prove_dead().await;
        }
    }
}

/// Returns the program to start: the configured one, else `sluice-dataplane` beside this program.
///
/// # Errors
/// When this program's own path is not known.
pub(super) fn program(configured: &Path) -> io::Result<PathBuf> {
    if !configured.as_os_str().is_empty() {
        return Ok(configured.to_owned());
    }
    Ok(std::env::current_exe()?.with_file_name("sluice-dataplane"))
}

/// Starts a data plane that listens at `socket` and writes its log to `log`.
///
/// It takes a session of its own, and its log is a file and no pipe of ours, so that it outlives this process.
///
/// # Errors
/// When the program or the log file cannot be opened.
pub(super) fn spawn(program: &Path, socket: &Path, log: &Path, arguments: &[String]) -> io::Result<Child> {
    let sink = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(program);
    command.arg("--ipc").arg(socket).args(arguments);
    command.stdin(Stdio::null()).stdout(sink.try_clone()?).stderr(sink);
    command.spawn()
}
