//! CPU time and memory of other processes, from `/proc`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Ticks per second of `/proc/PID/stat`: `USER_HZ`, which Linux fixes at 100 for user space.
const TICKS_PER_SECOND: u64 = 100;

/// Why a process could not be read.
#[derive(Debug)]
pub enum UsageError {
    /// No such process, or no permission.
    Unreadable(u32, io::Error),
    /// A file of another shape than `proc(5)` says.
    Shape(u32, &'static str),
}

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable(pid, error) => write!(f, "process {pid}: {error}"),
            Self::Shape(pid, file) => write!(f, "process {pid}: cannot read its {file}"),
        }
    }
}

impl std::error::Error for UsageError {}

/// CPU time and memory of a process at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Resident memory in bytes, shared pages included.
    pub rss_bytes: u64,
    /// CPU time of each thread in nanoseconds.
    threads: BTreeMap<u32, u64>,
    /// User and system time of the process, threads that ended included, in ticks.
    ticks: u64,
}

impl Usage {
    /// Reads a process.
    pub fn read(pid: u32) -> Result<Self, UsageError> {
        let file = |name: &str| {
            fs::read_to_string(format!("/proc/{pid}/{name}")).map_err(|error| UsageError::Unreadable(pid, error))
        };
        let stat = file("stat")?;
        let (name, ticks) = parse_stat(&stat).ok_or(UsageError::Shape(pid, "stat"))?;
        let rss_bytes = parse_rss(&file("status")?).ok_or(UsageError::Shape(pid, "status"))?;
        Ok(Self { pid, name, rss_bytes, threads: read_threads(pid)?, ticks })
    }

    /// CPU time used since an earlier reading.
    ///
    /// Exact to the scheduler's nanoseconds as long as no thread ended in between; else at least the ten milliseconds
    /// of `stat`.
    pub fn cpu_since(&self, earlier: &Self) -> Duration {
        let exact: u64 = self
            .threads
            .iter()
            .map(|(thread, now)| now.saturating_sub(earlier.threads.get(thread).copied().unwrap_or(0)))
            .sum();
        let all_live = earlier.threads.keys().all(|thread| self.threads.contains_key(thread));
        let coarse = self.ticks.saturating_sub(earlier.ticks) * (1_000_000_000 / TICKS_PER_SECOND);
        Duration::from_nanos(if all_live { exact } else { exact.max(coarse) })
    }
}

fn read_threads(pid: u32) -> Result<BTreeMap<u32, u64>, UsageError> {
    let unreadable = |error| UsageError::Unreadable(pid, error);
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        // A thread may end while we look.
        let Ok(schedstat) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
        let thread = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let nanos = schedstat.split_whitespace().next().and_then(|first| first.parse().ok());
        let (Some(thread), Some(nanos)) = (thread, nanos) else { return Err(UsageError::Shape(pid, "schedstat")) };
        threads.insert(thread, nanos);
    }
    Ok(threads)
}

/// Name and ticks. The name stands in parentheses and may contain anything.
fn parse_stat(stat: &str) -> Option<(String, u64)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    // The first field of the tail is the third of the file; utime and stime are the 14th and 15th.
    let mut fields = tail.split_whitespace().skip(14 - 3);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((name, user + system))
}

fn parse_rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Raises the limit of open descriptors to what the system allows: a viewer needs a socket, and 1024 is a usual default.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, current = limit.current, "the number of sockets stays limited");
    }
}

/// Idle share of all cores between two readings of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    idle: u64,
    total: u64,
}

impl Machine {
    pub(crate) fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let fields: Vec<u64> = stat.lines().next()?.split_whitespace().skip(1).map_while(|f| f.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guests are part of user.
        Some(Self { idle: fields.get(3)? + fields.get(4)?, total: fields.iter().take(8).sum() })
    }

    #[expect(clippy::cast_precision_loss, reason = "ticks of a run are far below 2^52")]
    pub(crate) fn idle_share_since(&self, earlier: &Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total).max(1);
        self.idle.saturating_sub(earlier.idle) as f64 / total as f64
    }
}

#[cfg(test)]
mod tests {
    use std::process;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "12 (a) (b) S 1 2 3 4 5 6 7 8 9 10 40 2 0 0 20 0 1 0 5";
        assert_eq!(parse_stat(stat), Some(("a) (b".to_owned(), 42)));
        assert_eq!(parse_rss("Name:\tx\nVmRSS:\t  123 kB\n"), Some(123 * 1024));
    }

    #[test]
    fn our_own_work_is_seen() {
        let before = Usage::read(process::id()).unwrap();
        let start = Instant::now();
        let mut sum = 0_u64;
        while start.elapsed() < Duration::from_millis(30) {
            sum = std::hint::black_box(sum + 1);
        }
        let after = Usage::read(process::id()).unwrap();
        assert!(after.cpu_since(&before) > Duration::from_millis(1), "{sum}");
        assert!(after.rss_bytes > 100_000);
    }

    #[test]
    fn the_descriptor_limit_rises_to_the_hard_one() {
        raise_descriptor_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        let error = Usage::read(u32::MAX).unwrap_err();
        assert!(error.to_string().contains("4294967295"));
    }

    #[test]
    fn a_thread_that_ended_falls_back_to_the_coarse_count() {
        let usage = |threads: &[(u32, u64)], ticks| Usage {
            pid: 1,
            name: String::new(),
            rss_bytes: 0,
            threads: threads.iter().copied().collect(),
            ticks,
        };
        let before = usage(&[(1, 100), (2, 50)], 10);
        assert_eq!(usage(&[(1, 400), (2, 60), (3, 5)], 99).cpu_since(&before), Duration::from_nanos(315));
        assert_eq!(usage(&[(1, 400)], 12).cpu_since(&before), Duration::from_millis(20));
    }
}
