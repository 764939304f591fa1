//! Log lines, for people or for programs.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// What libraries say that concerns nobody: every peer that goes away without a word is an error to `dtls`.
const QUIET: [&str; 2] = ["dtls=error", "sqlx=warn"];

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        <Self as ValueEnum>::from_str(text, false).map_err(|_| "it has to be text or json")
    }
}

/// Standard error that nobody need read.
#[derive(Clone, Copy, Debug)]
struct Lossy;

impl Write for Lossy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lossy {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

/// Starts to log to standard error, at a level or by a filter. A second call changes nothing. A malformed filter, which the
/// configuration refuses, counts as `info`.
pub fn init(format: LogFormat, level: &str) {
    let filter = filter(level).unwrap_or_else(|_| EnvFilter::new("info"));
    // A line that cannot be written, as nobody reads or the disk is full, is lost, and nothing else is.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lossy).log_internal_errors(false);
    let started = match format {
        LogFormat::Text => lines.with_target(false).with_ansi(io::stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    // Only tests start twice in one process.
    drop(started);
}

/// Puts a level or filter behind what keeps libraries quiet, so that it can overrule that.
///
/// # Errors
/// The level or filter is malformed.
pub fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::try_new(format!("{},{level}", QUIET.join(",")))
}

/// How many lines of a kind there may be within a second, where strangers decide how many there would be.
#[derive(Debug)]
pub struct Allowance {
    per_second: u32,
    second: Mutex<Second>,
}

#[derive(Debug)]
struct Second {
    began: Instant,
    lines: u32,
    /// Lines that were left out since the last one that was not; it outlives the second.
    left_out: u64,
}

impl Allowance {
    /// Starts with a full allowance.
    #[must_use]
    pub const fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, second: Mutex::new(Second { began: now, lines: 0, left_out: 0 }) }
    }

    /// Takes a line, and returns how many were left out before it; `None` when this one is to be left out.
    pub fn take(&self, now: Instant) -> Option<u64> {
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(second.began) >= Duration::from_secs(1) {
            (second.began, second.lines) = (now, 0);
        }
        if second.lines >= self.per_second {
            second.left_out += 1;
            return None;
        }
        second.lines += 1;
        Some(std::mem::take(&mut second.left_out))
    }
}

/// Lines of the calling thread, kept for tests.
#[cfg(test)]
pub(crate) mod kept {
    use std::io;
    use std::sync::{Arc, Mutex, OnceLock};

    use tracing::Dispatch;
    use tracing::subscriber::{DefaultGuard, set_default};

    /// A second subscriber beside that of the first test: where there is only one, a line's place that another thread comes
    /// by first is off for all of them.
    static SECOND: OnceLock<Dispatch> = OnceLock::new();

    /// The lines from info level on, as long as this lives.
    pub(crate) struct Kept {
        bytes: Arc<Mutex<Vec<u8>>>,
        _guard: DefaultGuard,
    }

    struct Writer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        /// Starts to keep the lines of this thread.
        pub(crate) fn new() -> Self {
            let _second = SECOND.get_or_init(|| Dispatch::new(tracing_subscriber::registry()));
            let bytes = Arc::new(Mutex::new(Vec::new()));
            let copy = Arc::clone(&bytes);
            let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false);
            let subscriber = lines.with_writer(move || Writer(Arc::clone(&copy))).finish();
            Self { bytes, _guard: set_default(subscriber) }
        }

        /// Returns the lines that have a text in them.
        pub(crate) fn with(&self, text: &str) -> Vec<String> {
            let bytes = self.bytes.lock().unwrap();
            let lines = std::str::from_utf8(&bytes).unwrap().lines();
            lines.filter(|line| line.contains(text)).map(str::to_owned).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_cut_and_the_next_line_says_by_how_many() {
        let start = Instant::now();
        let allowance = Allowance::new(2, start);
        let taken = [0, 10, 20, 999, 1000, 1500, 1999, 2000]
            .map(|millis| allowance.take(start + Duration::from_millis(millis)));
        assert_eq!(taken, [Some(0), Some(0), None, None, Some(2), Some(0), None, Some(1)]);
    }

    #[test]
    fn levels_and_filters_are_taken_and_nonsense_is_not() {
        for level in ["info", "warn,sluice_controlplane=debug", "dtls=trace"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        assert!(filter("sluice=loud").is_err());
        assert!(filter("info").unwrap().to_string().contains("dtls=error"));
        assert!(!filter("info,dtls=trace").unwrap().to_string().contains("dtls=error"));
    }
}
