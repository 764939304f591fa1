//! Log lines, for people or for programs.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
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

/// Starts to log to standard error, at a level or by a filter. A second call changes nothing. A malformed filter, which the
/// configuration refuses, counts as `info`.
pub fn init(format: LogFormat, level: &str) {
    let filter = filter(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => lines.with_target(false).with_ansi(std::io::stderr().is_terminal()).finish().try_init(),
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

#[cfg(test)]
mod tests {
    use super::*;

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
