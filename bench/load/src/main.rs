//! `sluice-load`: puts a server under load and says what it cost.

mod holding;
mod report;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use sluice_load::payload::{Codec, PictureSize};
use sluice_load::scenario::{call, fanout};
use sluice_load::{SourceConfig, Spacing};
use tracing_subscriber::EnvFilter;

use crate::holding::Call;
use crate::report::Format;

/// Puts a server under load with foreign endpoints.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// One publisher, many viewers: the cost of a delivered packet.
    Fanout(Box<Fanout>),
    /// A room full of people who come and go: what a session costs, and whether everybody gets what they should.
    Call(Box<Call>),
}

#[derive(Debug, Args)]
struct Fanout {
    /// Address of the server.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// API secret that may make rooms and tokens.
    #[arg(long, env = "SLUICE_API_SECRET", hide_env_values = true)]
    api_secret: String,
    /// Viewers of the measured window.
    #[arg(long, default_value_t = 100)]
    viewers: usize,
    /// Viewers that join the running stream afterwards.
    #[arg(long, default_value_t = 100)]
    late_viewers: usize,
    /// Viewers that join at the same time.
    #[arg(long, default_value_t = 4)]
    at_once: usize,
    /// Threads that drive viewers.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// vp8, vp9, h264 or av1.
    #[arg(long, default_value = "vp8")]
    codec: Codec,
    /// Video packets per second.
    #[arg(long, default_value_t = 125)]
    packets_per_second: u32,
    /// RTP payload of a video packet in bytes.
    #[arg(long, default_value_t = 1200)]
    packet_size: usize,
    /// Packets of a frame.
    #[arg(long, default_value_t = 5)]
    packets_per_frame: u16,
    /// Packets of a key frame.
    #[arg(long, default_value_t = 5)]
    packets_per_key_frame: u16,
    /// Send a frame's packets at once instead of evenly.
    #[arg(long)]
    burst: bool,
    /// Publish audio too.
    #[arg(long)]
    audio: bool,
    /// Seconds between periodic key frames; without it only at the start and on request.
    #[arg(long)]
    key_frame_seconds: Option<f64>,
    /// Seconds of warm-up.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds of the measured window.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Processes to measure; may be repeated.
    #[arg(long = "pid")]
    pids: Vec<u32>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Fanout {
    fn config(&self) -> Result<fanout::Config> {
        let video = SourceConfig {
            packets_per_second: self.packets_per_second,
            packets_per_frame: self.packets_per_frame,
            packets_per_key_frame: self.packets_per_key_frame,
            packet_size_bytes: self.packet_size,
            spacing: if self.burst { Spacing::Burst } else { Spacing::Even },
            key_frame_interval: self.key_frame_seconds.map(Duration::try_from_secs_f64).transpose()?,
            picture: PictureSize { width: 1280, height: 720 },
        };
        Ok(fanout::Config {
            url: self.url.clone(),
            api_secret: self.api_secret.clone(),
            viewers: self.viewers,
            late_viewers: self.late_viewers,
            at_once: self.at_once,
            threads: self.threads,
            codec: self.codec,
            video,
            audio: self.audio.then(SourceConfig::audio),
            warm_up: Duration::try_from_secs_f64(self.warm_up)?,
            duration: Duration::try_from_secs_f64(self.seconds)?,
            pids: self.pids.clone(),
        })
    }
}

/// Ends with 2 when the figures are void or not everybody got what they should, so that no script takes them for a result.
fn main() -> Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,str0m=error")))
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    match arguments.scenario {
        Scenario::Fanout(fanout) => {
            let report = runtime.block_on(fanout::run(&fanout.config()?))?;
            report::print(&report, format_of(fanout.json))?;
            Ok(if report.void.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
        }
        Scenario::Call(holding) => {
            let report = runtime.block_on(call::run(&holding.config()?, &mut holding.driver()))?;
            report::print_call(&report, format_of(holding.json))?;
            Ok(if report.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
        }
    }
}

fn format_of(json: bool) -> Format {
    if json { Format::Json } else { Format::Text }
}
