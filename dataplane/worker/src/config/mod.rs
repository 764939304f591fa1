//! Configuration: defaults, then a TOML file, then the environment, then flags.

mod given;

use std::path::PathBuf;

use bytesize::ByteSize;
use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tracing_subscriber::EnvFilter;

pub use given::Given;

/// What the data plane can be told. What it shall forward comes from the control plane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The socket that the control plane connects to.
    pub ipc: Ipc,
    /// Media sockets.
    pub udp: Udp,
    /// The process.
    pub process: Process,
    /// Logging.
    pub log: Log,
}

/// The socket that the control plane connects to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ipc {
    /// The path of the Unix socket.
    pub path: PathBuf,
}

impl Default for Ipc {
    fn default() -> Self {
        Self { path: PathBuf::from("/run/sluice/dataplane.sock") }
    }
}

/// Media sockets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Udp {
    /// What the kernel may hold while nobody reads; 4 MiB hold half a second at 70 Mbit/s.
    pub receive_buffer: ByteSize,
    /// What the kernel may hold unsent.
    pub send_buffer: ByteSize,
}

impl Default for Udp {
    fn default() -> Self {
        Self { receive_buffer: ByteSize::mib(4), send_buffer: ByteSize::mib(4) }
    }
}

/// The process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// The user to become when started as root; empty to stay root.
    pub user: String,
    /// Whether shards are pinned to cores.
    pub pin: Pin,
}

impl Default for Process {
    fn default() -> Self {
        Self { user: "nobody".to_owned(), pin: Pin::Auto }
    }
}

/// Whether shards are pinned to cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pin {
    /// Pinned on machines of four cores or more; on smaller ones the scheduler knows better.
    Auto,
    /// Pinned.
    On,
    /// Not pinned.
    Off,
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A level, or a filter like `info,sluice_dataplane=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

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

/// Command line of `sluice-dataplane`.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "sluice-dataplane",
    version,
    about = "Sluice's data plane: forwards media as the control plane plans it"
)]
pub struct Arguments {
    /// A TOML file; see docs/config/dataplane.toml.
    #[arg(long, env = "SLUICE_DATAPLANE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The path of the Unix socket that the control plane connects to.
    #[arg(long, env = "SLUICE_DATAPLANE_IPC")]
    pub ipc: Option<PathBuf>,
    /// The user to become when started as root; empty to stay root.
    #[arg(long, env = "SLUICE_DATAPLANE_USER")]
    pub user: Option<String>,
    /// How log lines look.
    #[arg(long, value_name = "text|json", env = "SLUICE_DATAPLANE_LOG_FORMAT")]
    pub log_format: Option<Given<LogFormat>>,
    /// A level, or a filter.
    #[arg(long, env = "SLUICE_DATAPLANE_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// Prints the configuration that results, and exits.
    #[arg(long)]
    pub print_config: bool,
}

/// Why a configuration is refused: all its problems at once, each with its key.
#[derive(Debug, Error)]
#[error("the configuration is refused:\n  {}", .0.join("\n  "))]
pub struct ConfigError(Vec<String>);

impl Config {
    /// Puts a configuration together: defaults, file, environment and flags.
    ///
    /// # Errors
    /// [`ConfigError`], with every problem found.
    pub fn assemble(arguments: &Arguments) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let read = |path: &PathBuf| given::read(path, &mut problems);
        let mut config: Self = arguments.config.as_ref().map(read).unwrap_or_default();
        if let Some(path) = &arguments.ipc {
            config.ipc.path.clone_from(path);
        }
        if let Some(user) = &arguments.user {
            config.process.user.clone_from(user);
        }
        let format = arguments.log_format.as_ref();
        let format = format.and_then(|given| given.take("--log-format or SLUICE_DATAPLANE_LOG_FORMAT", &mut problems));
        config.log.format = format.unwrap_or(config.log.format);
        if let Some(level) = &arguments.log_level {
            config.log.level.clone_from(level);
        }
        problems.extend(config.problems());
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }

    /// Returns every problem, each naming its key.
    fn problems(&self) -> Vec<String> {
        /// What `sun_path` holds.
        const SOCKET_PATH_BYTES_MAX: usize = 107;
        let mut problems = Vec::new();
        let path_bytes = self.ipc.path.as_os_str().len();
        if path_bytes == 0 || path_bytes > SOCKET_PATH_BYTES_MAX {
            problems.push(format!("ipc.path: {path_bytes} bytes long, must be 1 to {SOCKET_PATH_BYTES_MAX}"));
        }
        for (key, size) in [("udp.receive_buffer", self.udp.receive_buffer), ("udp.send_buffer", self.udp.send_buffer)]
        {
            if size < ByteSize::kib(64) || size > ByteSize::gib(1) {
                problems.push(format!("{key}: {size} is not between 64 KiB and 1 GiB"));
            }
        }
        if let Err(error) = EnvFilter::try_new(&self.log.level) {
            problems.push(format!("log.level: {error}"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &[&str]) -> Arguments {
        Arguments::parse_from([&["sluice-dataplane"], line].concat())
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "[udp]\nsend_buffer = \"1MiB\"\n[log]\nlevel = \"warn\"\n").unwrap();
        let path = file.path().to_str().unwrap();
        let config = Config::assemble(&arguments(&["--config", path, "--log-level", "debug"])).unwrap();
        assert_eq!(config.udp.send_buffer, ByteSize::mib(1));
        assert_eq!(config.udp.receive_buffer, Udp::default().receive_buffer);
        assert_eq!(config.log.level, "debug");
    }

    #[test]
    fn all_problems_are_told_at_once_each_with_its_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "user = 1\n[upd]\n[udp]\nsend_bufer = \"1MiB\"\nsend_buffer = \"1\"\nreceive_buffer = \"much\"\n\
            [ipc]\npath = \"\"\n[process]\npin = \"maybe\"\n";
        std::fs::write(&file, text).unwrap();
        let path = file.path().to_str().unwrap();
        let line = ["--config", path, "--log-level", "a=loud", "--log-format", "xml"];
        let error = Config::assemble(&arguments(&line)).unwrap_err().to_string();
        let keys = [
            "user",
            "upd",
            "udp.send_bufer",
            "udp.send_buffer",
            "udp.receive_buffer",
            "ipc.path",
            "process.pin",
            "log.level",
            "--log-format or SLUICE_DATAPLANE_LOG_FORMAT",
        ];
        for key in keys {
            assert_eq!(
                error.lines().filter(|line| line.starts_with(&format!("  {key}: "))).count(),
                1,
                "{key} in {error}"
            );
        }
        assert_eq!(error.lines().count(), 1 + keys.len(), "{error}");
    }

    #[test]
    fn a_file_that_is_not_there_or_no_toml_hides_no_other_problem() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "[udp\n").unwrap();
        for (path, problem) in [(file.path().to_str().unwrap(), "is not TOML"), ("/nowhere/at.all", "cannot read")] {
            let line = ["--config", path, "--log-format", "xml"];
            let error = Config::assemble(&arguments(&line)).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("--log-format"), "{error}");
        }
    }

    #[test]
    fn the_sample_shows_every_key_with_its_default() {
        let text = include_str!("../../../../docs/config/dataplane.toml");
        assert_eq!(toml::from_str::<Config>(text).unwrap(), Config::default());
        let keys = |value: &toml::Value| -> Vec<String> {
            let tables = value.as_table().into_iter().flatten();
            tables
                .flat_map(|(table, keys)| keys.as_table().unwrap().keys().map(move |key| format!("{table}.{key}")))
                .collect()
        };
        let all = toml::Value::try_from(Config::default()).unwrap();
        assert_eq!(keys(&toml::from_str(text).unwrap()), keys(&all));
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
    }
}
