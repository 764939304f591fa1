//! What the system must offer, checked at the start, each problem with the command that mends it.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use thiserror::Error;

/// Locked memory that one shard's rings need, in bytes.
const MEMLOCK_PER_SHARD_BYTES: u64 = 512 * 1024;

/// Why the data plane cannot start here.
#[derive(Debug, Error)]
pub(crate) enum PreflightError {
    /// `io_uring` is missing or forbidden.
    #[error(
        "io_uring is not available ({0}): Linux 5.10 or newer is needed; \
         if the kernel is new enough, allow it (sysctl -w kernel.io_uring_disabled=0) and, in a container, \
         start it with a seccomp profile that permits io_uring_setup, io_uring_enter and io_uring_register"
    )]
    NoIoUring(io::Error),
    /// The limit of locked memory is too low, and may not be raised.
    #[error(
        "the limit of locked memory is {have} bytes, {need} are needed: \
         raise it (ulimit -l {need_kib}, LimitMEMLOCK= in a systemd unit, --ulimit memlock= for a container)"
    )]
    Memlock {
        /// What is allowed.
        have: u64,
        /// What is needed.
        need: u64,
        /// The same in KiB, as `ulimit -l` takes it.
        need_kib: u64,
    },
}

/// Checks what there is no going on without: `io_uring` and locked memory for `shards` shards.
///
/// # Errors
/// [`PreflightError`], with what to do.
pub(crate) fn check(shards: u64) -> Result<(), PreflightError> {
    memlock(MEMLOCK_PER_SHARD_BYTES * shards)?;
    io_uring()
}

/// Raises the limit of open files as far as it goes; the data plane needs few, but its controller's duplicates count too.
pub(crate) fn raise_open_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _as_it_was = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Raises the limit of locked memory where the process may, and checks it.
fn memlock(need: u64) -> Result<(), PreflightError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK).unwrap_or((0, 0));
    if soft >= need {
        return Ok(());
    }
    if setrlimit(Resource::RLIMIT_MEMLOCK, need, hard.max(need)).is_ok() {
        return Ok(());
    }
    Err(PreflightError::Memlock { have: soft, need, need_kib: need.div_ceil(1024) })
}

/// Builds the smallest executor there is, which sets up rings.
fn io_uring() -> Result<(), PreflightError> {
    let built = crate::shard::executor(None, "sluice-preflight").make();
    match built {
        Ok(executor) => {
            drop(executor);
            Ok(())
        }
        Err(error) => Err(PreflightError::NoIoUring(io::Error::other(error.to_string()))),
    }
}

/// Returns the advice for a socket that was granted smaller buffers than asked for.
#[must_use]
pub(crate) fn buffer_advice(name: &str, sysctl: &str, asked_bytes: usize, granted_bytes: usize) -> Option<String> {
    (granted_bytes < asked_bytes).then(|| {
        format!(
            "{name} is {granted_bytes} bytes instead of {asked_bytes}; packets are lost earlier while a plane restarts: \
             sysctl -w {sysctl}={asked_bytes}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_names_the_sysctl_and_only_comes_when_needed() {
        assert_eq!(buffer_advice("udp.receive_buffer", "net.core.rmem_max", 10, 10), None);
        let advice = buffer_advice("udp.receive_buffer", "net.core.rmem_max", 10, 5).unwrap();
        assert!(advice.contains("sysctl -w net.core.rmem_max=10"), "{advice}");
    }
}
