//! Configuration: defaults, then a TOML file, then the environment, then flags.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};
use thiserror::Error;

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
    #[arg(long, env = "SLUICE_DATAPLANE_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,
    /// A level, or a filter.
    #[arg(long, env = "SLUICE_DATAPLANE_LOG_LEVEL")]
    pub log_level: Option<String>,
    /// Prints the configuration that results, and exits.
    #[arg(long)]
    pub print_config: bool,
}

/// Why a configuration is refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// The file is not what it should be; the message names line and key.
    #[error("{0}: {1}")]
    Invalid(PathBuf, toml::de::Error),
    /// Values contradict each other or leave their range; all of them at once.
    #[error("{}", .0.join("; "))]
    Problems(Vec<String>),
}

impl Config {
    /// Puts a configuration together: defaults, file, environment and flags.
    ///
    /// # Errors
    /// [`ConfigError`], with every problem found.
    pub fn assemble(arguments: &Arguments) -> Result<Self, ConfigError> {
        let mut config = match &arguments.config {
            Some(path) => Self::read(path)?,
            None => Self::default(),
        };
        if let Some(path) = &arguments.ipc {
            config.ipc.path.clone_from(path);
        }
        if let Some(user) = &arguments.user {
            config.process.user.clone_from(user);
        }
        if let Some(format) = arguments.log_format {
            config.log.format = format;
        }
        if let Some(level) = &arguments.log_level {
            config.log.level.clone_from(level);
        }
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Problems(problems)) }
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable(path.to_owned(), error))?;
        toml::from_str(&text).map_err(|error| ConfigError::Invalid(path.to_owned(), error))
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
    fn unknown_keys_and_all_bad_values_are_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "[udp]\nsend_bufer = \"1MiB\"\n").unwrap();
        let path = file.path().to_str().unwrap();
        let error = Config::assemble(&arguments(&["--config", path])).unwrap_err().to_string();
        assert!(error.contains("send_bufer"), "{error}");
        std::fs::write(&file, "[udp]\nsend_buffer = \"1\"\n[ipc]\npath = \"\"\n").unwrap();
        let error = Config::assemble(&arguments(&["--config", path])).unwrap_err().to_string();
        assert!(error.contains("ipc.path") && error.contains("udp.send_buffer"), "{error}");
    }

    #[test]
    fn the_sample_shows_every_key_with_its_default() {
        let text = include_str!("../../../docs/config/dataplane.toml");
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
