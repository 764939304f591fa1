//! Configuration: defaults, then a TOML file, then the environment, then flags.

mod given;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{Parser, ValueEnum};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use given::Given;

use crate::log::{LogFormat, filter};

/// What the control plane can be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// HTTP: API, WHIP, WHEP and the page.
    pub http: Http,
    /// Media.
    pub webrtc: Webrtc,
    /// Who may do what.
    pub auth: Auth,
    /// What outlives a restart.
    pub storage: Storage,
    /// The other plane.
    pub dataplane: Dataplane,
    /// Logging.
    pub log: Log,
}

/// HTTP: API, WHIP, WHEP and the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where to listen. Port 0 takes a free one at the first start and keeps it in the data directory.
    pub listen: SocketAddr,
    /// The longest request body.
    pub body_limit: ByteSize,
    /// How long a request may take to arrive and to be answered.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// Names under which browsers reach the page, besides addresses and `localhost`: those of a reverse proxy.
    pub public_hosts: Vec<String>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8080)),
            body_limit: ByteSize::kib(256),
            request_timeout: Duration::from_secs(30),
            public_hosts: Vec::new(),
        }
    }
}

/// Media.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webrtc {
    /// The UDP port of all media. Port 0 takes a free one at the first start and keeps it in the data directory.
    pub media_port: u16,
    /// The addresses that clients are told; empty for the host's own routable ones, and loopback for those who signal
    /// over it.
    pub announce: Vec<IpAddr>,
    /// STUN and TURN servers that clients are told, as URLs.
    pub ice_servers: Vec<String>,
}

impl Default for Webrtc {
    fn default() -> Self {
        Self { media_port: 3478, announce: Vec::new(), ice_servers: Vec::new() }
    }
}

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// An API key `ID:SECRET` beside those in the data directory; empty for none.
    pub api_key: String,
    /// What people without a token may do on the page.
    pub guests: Guests,
}

/// What people without a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Guests {
    /// Nothing.
    #[default]
    None,
    /// Join rooms that exist, as speakers.
    Join,
    /// Also create rooms, as their hosts.
    Create,
}

impl std::str::FromStr for Guests {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        <Self as ValueEnum>::from_str(text, false).map_err(|_| "it has to be none, join or create")
    }
}

/// What outlives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// The directory of the database, of generated keys and of the socket to the data plane; made when missing.
    pub data_dir: PathBuf,
}

impl Default for Storage {
    fn default() -> Self {
        Self { data_dir: PathBuf::from("/var/lib/sluice") }
    }
}

/// The other plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dataplane {
    /// Its socket; empty for `dataplane.sock` in the data directory.
    pub socket: PathBuf,
    /// Whether to start a data plane when nobody answers on the socket; without it one is waited for, which a service
    /// manager starts.
    pub start: bool,
    /// The program to start; empty for `sluice-dataplane` beside this program.
    pub program: PathBuf,
    /// Whether a clean exit of the control plane stops the data plane too.
    pub stop: bool,
}

impl Default for Dataplane {
    fn default() -> Self {
        Self { socket: PathBuf::new(), start: true, program: PathBuf::new(), stop: false }
    }
}

/// Logging.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// A level, or a filter like `info,sluice_controlplane=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// Command line of `sluice-controlplane`.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "sluice-controlplane",
    version,
    about = "Sluice's control plane: rooms, signalling, and the data plane's supervisor"
)]
pub struct Arguments {
    /// A TOML file; see docs/config/controlplane.toml.
    #[arg(long, env = "SLUICE_CONFIG")]
    pub config: Option<PathBuf>,
    /// The directory of what outlives a restart.
    #[arg(long, value_name = "DIR", env = "SLUICE_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where to listen for HTTP.
    #[arg(long, value_name = "ADDR:PORT", env = "SLUICE_HTTP")]
    pub http: Option<Given<SocketAddr>>,
    /// The UDP port of all media.
    #[arg(long, value_name = "PORT", env = "SLUICE_MEDIA_PORT")]
    pub media_port: Option<Given<u16>>,
    /// The addresses that clients are told.
    #[arg(long, value_name = "IP[,IP…]", value_delimiter = ',', env = "SLUICE_ANNOUNCE")]
    pub announce: Option<Vec<Given<IpAddr>>>,
    /// An API key beside those in the data directory.
    #[arg(long, value_name = "ID:SECRET", env = "SLUICE_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// What people without a token may do on the page.
    #[arg(long, value_name = "none|join|create", env = "SLUICE_GUESTS")]
    pub guests: Option<Given<Guests>>,
    /// The data plane's socket.
    #[arg(long, value_name = "PATH", env = "SLUICE_DATAPLANE_SOCKET")]
    pub dataplane_socket: Option<PathBuf>,
    /// Stops the data plane too on a clean exit.
    #[arg(long)]
    pub stop_dataplane: bool,
    /// How log lines look.
    #[arg(long, value_name = "text|json", env = "SLUICE_LOG_FORMAT")]
    pub log_format: Option<Given<LogFormat>>,
    /// A level, or a filter.
    #[arg(long, env = "SLUICE_LOG_LEVEL")]
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
        config.overlay(arguments, &mut problems);
        problems.extend(config.problems());
        if problems.is_empty() { Ok(config) } else { Err(ConfigError(problems)) }
    }

    fn overlay(&mut self, arguments: &Arguments, problems: &mut Vec<String>) {
        fn set<T>(value: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *value = given;
            }
        }
        fn take<T: Clone>(given: Option<&Given<T>>, key: &str, problems: &mut Vec<String>) -> Option<T> {
            given.and_then(|given| given.take(key, problems))
        }
        set(&mut self.storage.data_dir, arguments.data_dir.clone());
        set(&mut self.http.listen, take(arguments.http.as_ref(), "--http or SLUICE_HTTP", problems));
        let media_port = arguments.media_port.as_ref();
        set(&mut self.webrtc.media_port, take(media_port, "--media-port or SLUICE_MEDIA_PORT", problems));
        if let Some(announce) = &arguments.announce {
            let addresses = announce.iter().filter_map(|given| given.take("--announce or SLUICE_ANNOUNCE", problems));
            self.webrtc.announce = addresses.collect();
        }
        set(&mut self.auth.api_key, arguments.api_key.clone());
        set(&mut self.auth.guests, take(arguments.guests.as_ref(), "--guests or SLUICE_GUESTS", problems));
        set(&mut self.dataplane.socket, arguments.dataplane_socket.clone());
        let log_format = arguments.log_format.as_ref();
        set(&mut self.log.format, take(log_format, "--log-format or SLUICE_LOG_FORMAT", problems));
        set(&mut self.log.level, arguments.log_level.clone());
        self.dataplane.stop |= arguments.stop_dataplane;
    }

    /// Returns the path of the data plane's socket.
    #[must_use]
    pub fn dataplane_socket(&self) -> PathBuf {
        if self.dataplane.socket.as_os_str().is_empty() {
            self.storage.data_dir.join("dataplane.sock")
        } else {
            self.dataplane.socket.clone()
        }
    }

    /// Returns every problem, each naming its key.
    fn problems(&self) -> Vec<String> {
        /// What `sun_path` holds.
        const SOCKET_PATH_BYTES_MAX: usize = 107;
        let mut problems = Vec::new();
        if self.storage.data_dir.as_os_str().is_empty() {
            problems.push("storage.data_dir: must name a directory".to_owned());
        }
        let socket = self.dataplane_socket();
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            problems.push(format!(
                "dataplane.socket: {} is longer than the {SOCKET_PATH_BYTES_MAX} bytes of a socket's path; \
                 choose a shorter storage.data_dir or set it",
                socket.display()
            ));
        }
        if let Some(bad) = self.webrtc.announce.iter().find(|address| address.is_unspecified()) {
            problems.push(format!("webrtc.announce: {bad} is no address that anybody could send to"));
        }
        for url in &self.webrtc.ice_servers {
            if !["stun:", "stuns:", "turn:", "turns:"].iter().any(|scheme| url.starts_with(scheme)) {
                problems.push(format!("webrtc.ice_servers: {url:?} is no STUN or TURN address (RFC 7064, RFC 7065)"));
            }
        }
        if !self.auth.api_key.is_empty() && crate::auth::ApiKey::parse(&self.auth.api_key).is_none() {
            problems.push("auth.api_key: must be ID:SECRET, the ID of [A-Za-z0-9_-]{1,64}, the SECRET of at least 16 visible characters".to_owned());
        }
        if self.http.body_limit < ByteSize::kib(64) || self.http.body_limit > ByteSize::mib(16) {
            problems.push(format!("http.body_limit: {} is not between 64 KiB and 16 MiB", self.http.body_limit));
        }
        if self.http.request_timeout < Duration::from_secs(1) || self.http.request_timeout > Duration::from_secs(600) {
            problems.push("http.request_timeout: must be between 1s and 10m".to_owned());
        }
        for host in &self.http.public_hosts {
            if !is_host_name(host) {
                problems.push(format!("http.public_hosts: {host:?} is no host name; write it without scheme and port"));
            }
        }
        if let Err(error) = filter(&self.log.level) {
            problems.push(format!("log.level: {error}"));
        }
        problems
    }
}

/// Tells whether a text is a host name, without scheme, port or placeholder.
fn is_host_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &[&str]) -> Arguments {
        Arguments::parse_from([&["sluice-controlplane"], line].concat())
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "[http]\nlisten = \"127.0.0.1:81\"\n[webrtc]\nmedia_port = 5000\n").unwrap();
        let line =
            ["--config", file.path().to_str().unwrap(), "--http", "[::1]:82", "--announce", "192.0.2.1,2001:db8::1"];
        let config = Config::assemble(&arguments(&line)).unwrap();
        assert_eq!(config.http.listen, "[::1]:82".parse::<SocketAddr>().unwrap());
        assert_eq!(config.webrtc.media_port, 5000);
        assert_eq!(config.webrtc.announce.len(), 2);
        assert_eq!(config.auth.guests, Guests::None);
    }

    #[test]
    fn all_problems_are_told_at_once_each_with_its_key() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let text = "port = 1\n[htpt]\nlisten = \"127.0.0.1:81\"\n[http]\nlistn = \"127.0.0.1:81\"\nlisten = 7\n\
            request_timeout = \"0s\"\nbody_limit = \"1 TiB\"\npublic_hosts = [\"https://x\"]\n[webrtc]\nmedia_port = 70000\n\
            ice_servers = [\"http://x\"]\n[dataplane]\nstart = \"yes\"\n[auth]\nguests = \"all\"\n[storage]\ndata_dir = \"\"\n";
        std::fs::write(&file, text).unwrap();
        let line = [
            "--config",
            path,
            "--announce",
            "0.0.0.0,nowhere",
            "--api-key",
            "short:key",
            "--log-level",
            "a=loud",
            "--http",
            "x",
            "--media-port",
            "-",
            "--guests",
            "everybody",
            "--log-format",
            "xml",
        ];
        let error = Config::assemble(&arguments(&line)).unwrap_err().to_string();
        let keys = [
            "port",
            "htpt",
            "http.listn",
            "http.listen",
            "http.request_timeout",
            "http.body_limit",
            "http.public_hosts",
            "webrtc.media_port",
            "webrtc.ice_servers",
            "dataplane.start",
            "auth.guests",
            "webrtc.announce",
            "auth.api_key",
            "log.level",
            "--announce or SLUICE_ANNOUNCE",
            "--http or SLUICE_HTTP",
            "--media-port or SLUICE_MEDIA_PORT",
            "--guests or SLUICE_GUESTS",
            "--log-format or SLUICE_LOG_FORMAT",
            "storage.data_dir",
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
        std::fs::write(&file, "[http\n").unwrap();
        for (path, problem) in [(file.path().to_str().unwrap(), "is not TOML"), ("/nowhere/at.all", "cannot read")] {
            let error = Config::assemble(&arguments(&["--config", path, "--http", "x"])).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains("--http or SLUICE_HTTP"), "{error}");
        }
    }

    #[test]
    fn names_under_which_the_page_is_reached_are_names() {
        for good in ["meet.example.org", "Meet", "192.0.2.1", "a-b.example"] {
            assert!(is_host_name(good), "{good}");
        }
        for bad in ["", ".", "https://meet.example.org", "meet.example.org:443", "*.example.org", "a b", "example.org."]
        {
            assert!(!is_host_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_sample_holds_every_key_with_its_default() {
        let sample = include_str!("../../../../docs/config/controlplane.toml");
        assert_eq!(toml::from_str::<Config>(sample).unwrap(), Config::default());
        let keys = |text: &str| {
            let table: toml::Table = toml::from_str(text).unwrap();
            let of_section = |(section, keys): (&String, &toml::Value)| {
                let keys = keys.as_table().unwrap().keys();
                keys.map(|key| format!("{section}.{key}")).collect::<Vec<_>>()
            };
            table.iter().flat_map(of_section).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(keys(sample), keys(&toml::to_string(&Config::default()).unwrap()));
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let text = toml::to_string(&Config::default()).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), Config::default());
    }
}
