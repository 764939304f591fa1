//! One publisher, many viewers: the cost of a delivered packet.
//!
//! The phases are cut so that each figure stands alone:
//!
//! 1. The viewers join while the publisher is connected and silent: CPU per join and memory per viewer, with no
//!    forwarding in them. Tokens are made before. A join ends when the viewer's DTLS handshake is done.
//! 2. The publisher sends; after a warm-up CPU, packets and delays are measured over a window.
//! 3. With the stream running, late viewers join: from the request to the first packet, and from the end of the DTLS
//!    handshake to the first whole key frame; how many key frames that asked of the publisher.
//!
//! A generator that was itself the bottleneck voids its figures: [`Report::void`] says why.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::limits::FLOOR_SLOTS_MAX;
use crate::measure::floor::Floor;
use crate::measure::histogram::{Histogram, Summary, millis, quantile};
use crate::measure::process::{Machine, Usage};
use crate::payload::Codec;
use crate::publisher::{Begin, Publisher, PublisherConfig, PublisherStats, SourceConfig};
use crate::signalling::{Resource, Rooms};
use crate::viewer::{ViewerConfig, ViewerStats, Viewers};

/// Handshakes and first pictures are waited for this long.
const PATIENCE: Duration = Duration::from_secs(60);
/// Packets under way at the end of the window are waited for this long before they count as lost.
const SETTLE: Duration = Duration::from_millis(500);
/// A thread that is busier than this share may have been the bottleneck.
const BUSY_SHARE_MAX: f64 = 0.85;
/// A schedule that slips further than this at the 99th percentile did not send what was asked.
const LATENESS_MAX: Duration = Duration::from_millis(5);
/// The kernel's own price is measured this long, before anybody joins and once more after everybody left.
const FLOOR_DURATION: Duration = Duration::from_secs(3);
/// Bytes of a datagram beside the payload: RTP header and AEAD tag (RFC 3550 section 5.1, RFC 7714 section 13.2).
const RTP_AND_TAG_BYTES: usize = 12 + 16;
/// A machine without this share of idle time measured the scheduler.
const IDLE_SHARE_MIN: f64 = 0.03;

/// What to run.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server, as `http://127.0.0.1:8080`.
    pub url: String,
    /// API secret that may make rooms and tokens.
    pub api_secret: String,
    /// Viewers of the measured window.
    pub viewers: usize,
    /// Viewers that join the running stream afterwards.
    pub late_viewers: usize,
    /// Viewers that join at the same time.
    pub at_once: usize,
    /// Threads that drive viewers.
    pub threads: usize,
    /// Video codec.
    pub codec: Codec,
    /// Shape of the video.
    pub video: SourceConfig,
    /// Shape of the audio, if any.
    pub audio: Option<SourceConfig>,
    /// From the first picture everywhere to the window.
    pub warm_up: Duration,
    /// The window.
    pub duration: Duration,
    /// Processes whose CPU and memory are read.
    pub pids: Vec<u32>,
}

/// Figures of one process.
#[derive(Debug, Clone, Serialize)]
pub struct ProcessReport {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// CPU time per delivered packet over the window, in nanoseconds.
    pub cpu_ns_per_packet: f64,
    /// CPU time over the window as a share of one core.
    pub cpu_share: f64,
    /// CPU time per join, in milliseconds.
    pub cpu_ms_per_join: f64,
    /// Memory gained by the joins per viewer, in bytes.
    pub rss_bytes_per_viewer: f64,
    /// Memory gained from before the joins to the end of the window per viewer, in bytes.
    pub rss_bytes_per_viewer_after: f64,
}

/// Durations of a list of joins.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Times {
    /// How many.
    pub count: usize,
    /// Median in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
    /// Longest in milliseconds.
    pub max_ms: f64,
}

impl Times {
    pub(super) fn of(mut values: Vec<Duration>) -> Self {
        let mut ms = |share| quantile(&mut values, share).map_or(0.0, millis);
        let (p50_ms, p99_ms, max_ms) = (ms(0.5), ms(0.99), ms(1.0));
        Self { count: values.len(), p50_ms, p99_ms, max_ms }
    }
}

/// How busy the generator was in the window.
#[derive(Debug, Clone, Serialize)]
pub struct GeneratorReport {
    /// Threads that drove viewers.
    pub viewer_threads: usize,
    /// Their CPU time as a share of their cores.
    pub viewer_share: f64,
    /// The publisher's thread.
    pub publisher_share: f64,
    /// CPU time of the viewers' threads per delivered packet, in nanoseconds.
    pub cpu_ns_per_packet: f64,
    /// How late packets were sent.
    pub lateness: Summary,
    /// Datagrams that the kernel dropped at our sockets.
    pub dropped_by_kernel: u64,
    /// Idle share of all cores.
    pub machine_idle_share: f64,
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Viewers of the window.
    pub viewers: usize,
    /// Length of the window in seconds.
    pub seconds: f64,
    /// Packets published in the window.
    pub published: u64,
    /// Packets delivered in the window, to all viewers together.
    pub delivered: u64,
    /// Packets published in the window that did not reach a viewer.
    pub lost: u64,
    /// Packets delivered more than once.
    pub duplicates: u64,
    /// Viewers that lost anything.
    pub viewers_with_loss: usize,
    /// From the send call of the publisher to the kernel's arrival stamp at the viewer.
    pub delay: Summary,
    /// From the request to the end of the DTLS handshake, viewers of phase 1.
    pub handshake: Times,
    /// From the request to the first packet, late viewers.
    pub first_packet: Times,
    /// From the end of the DTLS handshake to the first whole key frame, late viewers.
    pub first_key_frame: Times,
    /// Key frames asked of the publisher by the first viewers and by the late ones.
    pub key_frame_requests: [u64; 2],
    /// Figures of the given processes.
    pub processes: Vec<ProcessReport>,
    /// Sum over the given processes, in nanoseconds per delivered packet.
    pub cpu_ns_per_packet: f64,
    /// CPU time of a bare `sendmmsg` slot of the same size, to as many sockets at the same pace, on this machine in this
    /// run, in nanoseconds: before the joins and after everybody left.
    pub floor_ns_per_packet: [f64; 2],
    /// How busy the generator was.
    pub generator: GeneratorReport,
    /// Why these figures do not count; empty when they do.
    pub void: Vec<String>,
}

/// Runs all phases and cleans up the room.
pub async fn run(config: &Config) -> Result<Report> {
    ensure!(config.viewers > 0, "a fan-out needs a viewer");
    let rooms = Rooms::new(&config.url, &config.api_secret)?;
    let room_id = rooms.create("fanout").await.context("cannot make a room")?;
    let floor_before = floor(config).await?;
    let report = match Run::prepare(config, &rooms, &room_id).await {
        Ok(run) => run.measure().await,
        Err(error) => Err(error),
    };
    rooms.remove(&room_id).await.context("cannot remove the room")?;
    Ok(Report { floor_ns_per_packet: [floor_before, floor(config).await?], ..report? })
}

/// The kernel's own price of the same datagrams at the same pace, in nanoseconds.
async fn floor(config: &Config) -> Result<f64> {
    let floor = Floor {
        destinations: config.viewers.min(FLOOR_SLOTS_MAX),
        datagram_bytes: config.video.packet_size_bytes + RTP_AND_TAG_BYTES,
        packets_per_second: config.video.packets_per_second,
        duration: FLOOR_DURATION,
    };
    spawn_blocking(move || floor.measure()).await?
}

/// Readings of everything at one time.
struct Reading {
    at: Instant,
    usages: Vec<Usage>,
    machine: Option<Machine>,
    viewers_cpu: Duration,
    publisher_cpu: Duration,
    delivered: u64,
    published: PublisherStats,
}

struct Run<'a> {
    config: &'a Config,
    publisher: Publisher,
    viewers: Viewers,
    first: Vec<Resource>,
    late: Vec<Resource>,
}

impl<'a> Run<'a> {
    async fn prepare(config: &'a Config, rooms: &Rooms, room_id: &str) -> Result<Self> {
        let token = rooms.token(room_id, "publisher", "speaker").await?;
        let resource = rooms.whip(room_id, &token)?;
        let video = Some((config.codec, config.video));
        let begin = Begin::Told;
        let publishing = PublisherConfig { video, audio: config.audio, begin, ..PublisherConfig::new(resource) };
        let publisher = Publisher::start(publishing).await.context("cannot publish")?;
        publisher.wait_connected(PATIENCE).await.context("the publisher")?;
        // An identity has one connection, so each viewer is somebody else.
        let first = rooms.whep_each(room_id, "viewer", config.viewers).await?;
        let late = rooms.whep_each(room_id, "late", config.late_viewers).await?;
        let resource = first.first().context("there is a viewer")?.clone();
        // Exact times of arrivals are not asked for here, so that memory stays small.
        let viewers = Viewers::new(config.threads, ViewerConfig { history: 16, ..ViewerConfig::new(resource) })?;
        Ok(Self { config, publisher, viewers, first, late })
    }

    async fn measure(self) -> Result<Report> {
        let before = self.read()?;
        self.viewers.join_each(&self.first, self.config.at_once).await.context("cannot play")?;
        self.viewers.wait_connected(PATIENCE).await.context("a viewer")?;
        let joined = self.read()?;

        self.publisher.set_sending(true);
        let shown = self.viewers.wait_all(PATIENCE, |viewer| viewer.key_frame_time().is_some()).await;
        ensure!(shown, "not every viewer had a whole key frame within {PATIENCE:?}");
        sleep(self.config.warm_up).await;
        let delays_before = delays(&self.viewers.snapshot());
        let start = self.read()?;
        sleep(self.config.duration).await;
        let end = self.read()?;
        let delay = delays(&self.viewers.snapshot()).since(&delays_before).summary();
        sleep(SETTLE).await;
        let seen = self.viewers.snapshot();

        let asked = requests(&self.publisher);
        let late_ids = self.viewers.join_each(&self.late, self.config.at_once).await.context("cannot join late")?;
        let shown = self.viewers.wait_all(PATIENCE, |viewer| viewer.key_frame_time().is_some()).await;
        ensure!(shown, "not every late viewer had a whole key frame within {PATIENCE:?}");
        let late: Vec<_> = late_ids.iter().filter_map(|id| self.viewers.viewer(*id)).collect();
        let asked_late = requests(&self.publisher) - asked;

        let mut report = self.assemble(&before, &joined, &start, &end, &seen);
        report.delay = delay;
        report.first_packet = Times::of(late.iter().filter_map(ViewerStats::join_time).collect());
        report.first_key_frame = Times::of(late.iter().filter_map(ViewerStats::key_frame_time).collect());
        report.key_frame_requests = [asked, asked_late];
        self.viewers.leave_all().await.context("cannot leave")?;
        self.publisher.stop().await.context("cannot stop publishing")?;
        Ok(report)
    }

    fn read(&self) -> Result<Reading> {
        let usages: Result<Vec<_>, _> = self.config.pids.iter().map(|pid| Usage::read(*pid)).collect();
        Ok(Reading {
            at: Instant::now(),
            usages: usages?,
            machine: Machine::read(),
            viewers_cpu: self.viewers.cpu(),
            publisher_cpu: self.publisher.cpu(),
            delivered: self.viewers.delivered(),
            published: self.publisher.stats(),
        })
    }

    fn assemble(
        &self,
        before: &Reading,
        joined: &Reading,
        start: &Reading,
        end: &Reading,
        seen: &[ViewerStats],
    ) -> Report {
        let delivered = end.delivered - start.delivered;
        let losses: Vec<u64> = seen.iter().map(|viewer| lost(viewer, start, end)).collect();
        let processes = self.processes(before, joined, start, end, delivered);
        let generator = self.generator(start, end, delivered, seen);
        let void = reasons_to_void(&generator);
        Report {
            viewers: seen.len(),
            seconds: end.at.duration_since(start.at).as_secs_f64(),
            published: spans(start, end).map(|(_, from, to)| to - from).sum(),
            delivered,
            lost: losses.iter().sum(),
            duplicates: seen.iter().flat_map(|viewer| &viewer.tracks).map(|track| track.duplicates()).sum(),
            viewers_with_loss: losses.iter().filter(|lost| **lost > 0).count(),
            delay: Histogram::new().summary(),
            handshake: Times::of(seen.iter().filter_map(handshake_time).collect()),
            first_packet: Times::of(Vec::new()),
            first_key_frame: Times::of(Vec::new()),
            key_frame_requests: [0, 0],
            cpu_ns_per_packet: processes.iter().map(|process| process.cpu_ns_per_packet).sum(),
            processes,
            floor_ns_per_packet: [0.0, 0.0],
            generator,
            void,
        }
    }

    fn processes(
        &self,
        before: &Reading,
        joined: &Reading,
        start: &Reading,
        end: &Reading,
        delivered: u64,
    ) -> Vec<ProcessReport> {
        let seconds = end.at.duration_since(start.at).as_secs_f64();
        let count = float(u64::try_from(self.config.viewers).unwrap_or(u64::MAX));
        let readings = before.usages.iter().zip(&joined.usages).zip(&start.usages).zip(&end.usages);
        readings
            .map(|(((before, joined), start), end)| {
                let cpu = end.cpu_since(start).as_secs_f64();
                let gained = |now: &Usage| (float(now.rss_bytes) - float(before.rss_bytes)) / count;
                ProcessReport {
                    pid: end.pid,
                    name: end.name.clone(),
                    cpu_ns_per_packet: cpu * 1e9 / float(delivered.max(1)),
                    cpu_share: cpu / seconds,
                    cpu_ms_per_join: millis(joined.cpu_since(before)) / count,
                    rss_bytes_per_viewer: gained(joined),
                    rss_bytes_per_viewer_after: gained(end),
                }
            })
            .collect()
    }

    fn generator(&self, start: &Reading, end: &Reading, delivered: u64, seen: &[ViewerStats]) -> GeneratorReport {
        let seconds = end.at.duration_since(start.at).as_secs_f64();
        let threads = self.viewers.threads();
        let viewers_cpu = end.viewers_cpu.saturating_sub(start.viewers_cpu).as_secs_f64();
        let publisher_cpu = end.publisher_cpu.saturating_sub(start.publisher_cpu).as_secs_f64();
        let mut lateness = Histogram::new();
        let ends = [&end.published.video, &end.published.audio];
        for (end, start) in ends.into_iter().zip([&start.published.video, &start.published.audio]) {
            if let (Some(end), Some(start)) = (end, start) {
                lateness.merge(&end.lateness.since(&start.lateness));
            }
        }
        let idle = start.machine.zip(end.machine).map(|(start, end)| end.idle_share_since(&start));
        GeneratorReport {
            viewer_threads: threads,
            viewer_share: viewers_cpu / seconds / float(u64::try_from(threads).unwrap_or(1)),
            publisher_share: publisher_cpu / seconds,
            cpu_ns_per_packet: viewers_cpu * 1e9 / float(delivered.max(1)),
            lateness: lateness.summary(),
            dropped_by_kernel: seen.iter().map(|viewer| viewer.connection.wire.dropped_by_kernel).sum(),
            machine_idle_share: idle.unwrap_or(0.0),
        }
    }
}

/// Streams and packet numbers published between two readings.
fn spans(start: &Reading, end: &Reading) -> impl Iterator<Item = (u64, u64, u64)> {
    let video = start.published.video_position().zip(end.published.video_position());
    let audio = start.published.audio_position().zip(end.published.audio_position());
    video.into_iter().chain(audio).map(|((stream_id, from), (_, to))| (stream_id, from, to))
}

fn lost(viewer: &ViewerStats, start: &Reading, end: &Reading) -> u64 {
    spans(start, end)
        .flat_map(|(stream_id, from, to)| viewer.missing(stream_id, from..to))
        .map(|range| range.end - range.start)
        .sum()
}

fn handshake_time(viewer: &ViewerStats) -> Option<Duration> {
    let done = viewer.connection.dtls_connected_at()?;
    Some(done.saturating_duration_since(viewer.connection.requested_at?))
}

fn delays(viewers: &[ViewerStats]) -> Histogram {
    let mut all = Histogram::new();
    for track in viewers.iter().flat_map(|viewer| &viewer.tracks) {
        all.merge(&track.delay);
    }
    all
}

fn requests(publisher: &Publisher) -> u64 {
    let stats = publisher.stats();
    stats.pli + stats.fir
}

fn reasons_to_void(generator: &GeneratorReport) -> Vec<String> {
    let mut reasons = Vec::new();
    if generator.viewer_share > BUSY_SHARE_MAX {
        reasons.push(format!("the viewers' threads were busy {:.0} % of the time", generator.viewer_share * 100.0));
    }
    if generator.publisher_share > BUSY_SHARE_MAX {
        reasons.push(format!("the publisher's thread was busy {:.0} % of the time", generator.publisher_share * 100.0));
    }
    if generator.lateness.p99_ms > millis(LATENESS_MAX) {
        reasons.push(format!("packets were sent late, p99 {:.1} ms", generator.lateness.p99_ms));
    }
    if generator.dropped_by_kernel > 0 {
        reasons.push(format!("the kernel dropped {} datagrams at our sockets", generator.dropped_by_kernel));
    }
    if generator.machine_idle_share < IDLE_SHARE_MIN {
        reasons.push(format!("the machine was idle {:.1} % of the time", generator.machine_idle_share * 100.0));
    }
    reasons
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are far below 2^52")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn idle_generator() -> GeneratorReport {
        GeneratorReport {
            viewer_threads: 1,
            viewer_share: 0.3,
            publisher_share: 0.1,
            cpu_ns_per_packet: 5_000.0,
            lateness: Histogram::new().summary(),
            dropped_by_kernel: 0,
            machine_idle_share: 0.4,
        }
    }

    #[test]
    fn a_saturated_generator_voids_its_figures_and_names_each_reason() {
        assert_eq!(reasons_to_void(&idle_generator()), Vec::<String>::new());
        let mut slow = Histogram::new();
        slow.record(Duration::from_millis(20));
        let busy = GeneratorReport {
            viewer_share: 0.95,
            publisher_share: 0.9,
            lateness: slow.summary(),
            dropped_by_kernel: 3,
            machine_idle_share: 0.0,
            ..idle_generator()
        };
        let reasons = reasons_to_void(&busy);
        for word in ["viewers' threads", "publisher's thread", "sent late", "dropped 3", "machine was idle 0.0"] {
            assert!(reasons.iter().any(|reason| reason.contains(word)), "{word}: {reasons:?}");
        }
    }

    #[test]
    fn times_of_nothing_are_zero_and_of_a_list_are_its_quantiles() {
        assert_eq!(Times::of(Vec::new()).count, 0);
        let times = Times::of((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!((times.count, times.p50_ms, times.p99_ms, times.max_ms), (100, 50.0, 99.0, 100.0));
    }
}
