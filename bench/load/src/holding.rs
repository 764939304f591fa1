//! The command that holds a call, and how it finds and kills the server's processes.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use sluice_load::Shape;
use sluice_load::scenario::call::{Config, Driver};
use tokio::process::Command;

/// Arguments of `sluice-load call`.
#[derive(Debug, Args)]
pub(crate) struct Call {
    /// Address of the server.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// API secret that may make rooms and tokens.
    #[arg(long, env = "SLUICE_API_SECRET", hide_env_values = true)]
    api_secret: String,
    /// Who is in the room.
    #[arg(long, default_value_t = 30)]
    participants: usize,
    /// How many of them publish sound and a camera.
    #[arg(long, default_value_t = 10)]
    publishers: usize,
    /// What chance begins with.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Threads that drive receiving connections.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Seconds over which the joins of the beginning are spread.
    #[arg(long, default_value_t = 3.0)]
    join: f64,
    /// Seconds in which nobody moves, and the cost of a packet is measured.
    #[arg(long, default_value_t = 4.0)]
    steady: f64,
    /// Seconds in which people come and go.
    #[arg(long, default_value_t = 30.0)]
    seconds: f64,
    /// Seconds that somebody stays, on the average.
    #[arg(long, default_value_t = 10.0)]
    stay: f64,
    /// Seconds between two things that somebody does, on the average.
    #[arg(long, default_value_t = 2.0)]
    pause: f64,
    /// Packets of sound a second of each publisher.
    #[arg(long, default_value_t = Shape::default().audio_packets_per_second)]
    audio_packets_per_second: u32,
    /// Frames a second of each encoding.
    #[arg(long, default_value_t = Shape::default().frames_per_second)]
    frames_per_second: u32,
    /// Send the camera in one encoding instead of three.
    #[arg(long)]
    one_encoding: bool,
    /// A shell command that prints the ids of the processes to measure, always in the same order.
    #[arg(long)]
    pids: Option<String>,
    /// A shell command that does harm, and ends when the server is to be whole again; may be repeated. They are run one
    /// after the other in the first half.
    #[arg(long)]
    kill: Vec<String>,
    /// The folder of the server's database.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Call {
    /// Reads the arguments.
    pub(crate) fn config(&self) -> Result<Config> {
        Ok(Config {
            participants: self.participants,
            publishers: self.publishers,
            shape: Shape {
                audio_packets_per_second: self.audio_packets_per_second,
                frames_per_second: self.frames_per_second,
                simulcast: !self.one_encoding,
            },
            seed: self.seed,
            threads: self.threads,
            join: Duration::try_from_secs_f64(self.join)?,
            steady: Duration::try_from_secs_f64(self.steady)?,
            churn: Duration::try_from_secs_f64(self.seconds)?,
            stay: Duration::try_from_secs_f64(self.stay)?,
            pause: Duration::try_from_secs_f64(self.pause)?,
            strikes: self.kill.len(),
            files: self.data_dir.clone(),
            ..Config::new(&self.url, &self.api_secret)
        })
    }

    /// The commands that find and kill processes.
    pub(crate) fn driver(&self) -> Commands {
        Commands { pids: self.pids.clone(), kill: self.kill.clone() }
    }
}

/// Finds and kills processes by shell commands.
#[derive(Debug)]
pub(crate) struct Commands {
    pids: Option<String>,
    kill: Vec<String>,
}

impl Driver for Commands {
    async fn processes(&mut self) -> Result<Vec<u32>> {
        let Some(command) = &self.pids else { return Ok(Vec::new()) };
        let printed = shell(command).await?;
        printed.split_whitespace().map(|pid| pid.parse().with_context(|| format!("no process id: {pid}"))).collect()
    }

    async fn strike(&mut self, turn: usize) -> Result<()> {
        let command = self.kill.get(turn).context("as many commands as strikes")?;
        shell(command).await.map(drop)
    }
}

async fn shell(command: &str) -> Result<String> {
    let output =
        Command::new("sh").args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::inherit()).output().await?;
    ensure!(output.status.success(), "{command}: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
