//! A room full of people who come and go, and what that costs.
//!
//! The phases are cut so that each figure stands alone:
//!
//! 1. Everybody joins one after the other, with nothing sent: CPU per join and memory per session.
//! 2. Publishers send, and nobody moves: CPU per delivered packet.
//! 3. People come and go, mute, unpublish and publish again, and lose their sockets, by a seed. In the first half the
//!    driver may kill what it likes, at even distances; the second half is peaceful, so that what grows without end is seen.
//! 4. Everybody stands still. After a while packets are counted: everybody gets every track that is published, where the
//!    server said, and nothing else. Nothing is forgiven here, and little before: [`Report::faults`] says what was wrong.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::fanout::{Times, float};
use crate::call::{Counts, DescriptionMax, Habits, Ledger, Participant, Phase, Shape, Shared, Sight, Who, faults_of};
use crate::measure::histogram::millis;
use crate::measure::process::{Usage, raise_descriptor_limit};
use crate::peer::local_ip_towards;
use crate::peer::worker::Worker;
use crate::signalling::Rooms;

/// How long everybody may take to be in the room at the beginning, and to leave it at the end.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the last offers of a phase are waited for.
const SETTLE: Duration = Duration::from_secs(2);
/// Processes are read this often while people come and go.
const SAMPLE: Duration = Duration::from_secs(1);
/// Memory and files may grow by this share from the middle of the churn to its end, and by this much beyond.
const GROWTH_SHARE_MAX: f64 = 0.1;
const GROWTH_BYTES_MAX: u64 = 16 << 20;
/// How many m-lines a description may have beyond one for each track of the room: a line whose track has gone is free for
/// another one only when the client has answered that.
const SPARE_LINES_MAX: usize = 8;

/// A call.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address of the server.
    pub url: String,
    /// API secret.
    pub api_secret: String,
    /// Who is in the room.
    pub participants: usize,
    /// How many of them publish sound and a camera.
    pub publishers: usize,
    /// What they send.
    pub shape: Shape,
    /// What chance begins with.
    pub seed: u64,
    /// Threads that drive receiving connections.
    pub threads: usize,
    /// Over how long the joins of the beginning are spread.
    pub join: Duration,
    /// Length of the second phase.
    pub steady: Duration,
    /// Length of the third phase.
    pub churn: Duration,
    /// How long everybody stands still before packets are counted.
    pub quiet: Duration,
    /// For how long they are counted.
    pub window: Duration,
    /// How long somebody stays in the third phase, on the average.
    pub stay: Duration,
    /// How long somebody is away, on the average.
    pub away: Duration,
    /// Time between two things that somebody does, on the average.
    pub pause: Duration,
    /// How often the driver strikes.
    pub strikes: usize,
    /// The folder of the server's database, whose size is measured.
    pub files: Option<PathBuf>,
}

impl Config {
    /// Thirty people, ten of them publishing, for half a minute.
    pub fn new(url: &str, api_secret: &str) -> Self {
        Self {
            url: url.to_owned(),
            api_secret: api_secret.to_owned(),
            participants: 30,
            publishers: 10,
            shape: Shape::default(),
            seed: 1,
            threads: 1,
            join: Duration::from_secs(3),
            steady: Duration::from_secs(4),
            churn: Duration::from_secs(30),
            quiet: Duration::from_secs(4),
            window: Duration::from_secs(2),
            stay: Duration::from_secs(10),
            away: Duration::from_secs(2),
            pause: Duration::from_secs(2),
            strikes: 0,
            files: None,
        }
    }
}

/// Whoever knows the server's processes.
pub trait Driver: Send {
    /// The processes to measure, always in the same order.
    fn processes(&mut self) -> impl Future<Output = Result<Vec<u32>>> + Send;

    /// Does harm, for the `turn`-th time, and returns when the server is to be whole again.
    fn strike(&mut self, turn: usize) -> impl Future<Output = Result<()>> + Send;
}

/// A process.
#[derive(Debug, Clone, Serialize)]
pub struct ProcessReport {
    /// Its name.
    pub name: String,
    /// CPU time of the joins, per session, in milliseconds: a session with its connections, subscribed to everything.
    pub cpu_ms_per_join: f64,
    /// Growth of resident memory over the joins, per session, in bytes.
    pub rss_bytes_per_session: f64,
    /// CPU time of the steady phase per delivered packet, in nanoseconds.
    pub cpu_ns_per_packet: f64,
    /// Resident memory in the middle of the churn and at its end, in bytes.
    pub rss_bytes: [u64; 2],
}

/// What came out.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Who was in the room, and how many of them published.
    pub participants: usize,
    /// How many published.
    pub publishers: usize,
    /// What chance began with.
    pub seed: u64,
    /// Length of the third phase in seconds.
    pub churn_seconds: f64,
    /// How often the driver struck.
    pub strikes: usize,
    /// What was done.
    pub counts: Counts,
    /// What the server refused, by request and code.
    pub refusals: BTreeMap<String, u64>,
    /// From opening the session to the first packet of the last of all tracks that were there.
    pub joins: Times,
    /// The largest offer of the first half of the churn and before, and of the second half.
    pub descriptions: [DescriptionMax; 2],
    /// Packets sent and delivered in all.
    pub sent: u64,
    /// Packets delivered in all.
    pub delivered: u64,
    /// Packets delivered that others had overtaken.
    pub out_of_order: u64,
    /// Packets a second delivered in the steady phase.
    pub steady_packets_per_second: f64,
    /// Figures of the processes.
    pub processes: Vec<ProcessReport>,
    /// Bytes of the database in the middle of the churn and at its end.
    pub files_bytes: [u64; 2],
    /// Who was there at the end.
    pub present: usize,
    /// Everything that was not as it should be; empty when all was.
    pub faults: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, joins, descriptions: [first, second], .. } = self;
        writeln!(
            f,
            "{} participants, {} publish; {:.0} s of coming and going, {} kills, seed {}",
            self.participants, self.publishers, self.churn_seconds, self.strikes, self.seed
        )?;
        writeln!(
            f,
            "sessions     {} joins, {} leaves, {} WebSockets cut, {} resumed ({} anew), {} lost, {} tries unreachable",
            counts.joins,
            counts.leaves,
            counts.cuts,
            counts.resumes,
            counts.resumes_anew,
            counts.sessions_lost,
            counts.unreachable
        )?;
        writeln!(
            f,
            "offers       {} of the server answered, {} of participants; {} tracks published, {} mutes, {} connections closed",
            counts.offers_answered,
            counts.offers_made,
            counts.tracks_published,
            counts.mutes,
            counts.connections_closed
        )?;
        for (what, times) in &self.refusals {
            writeln!(f, "refused      {what}, {times} times")?;
        }
        writeln!(
            f,
            "joins        p50 {:.0} ms, p99 {:.0} ms, max {:.0} ms from the WebSocket to the first packet of all tracks ({})",
            joins.p50_ms, joins.p99_ms, joins.max_ms, joins.count
        )?;
        writeln!(
            f,
            "offers' size {} m-lines and {} bytes at most in the first half, {} and {} in the second",
            first.lines, first.bytes, second.lines, second.bytes
        )?;
        writeln!(
            f,
            "packets      {} sent, {} delivered, {} overtaken; {:.0} delivered a second in peace",
            self.sent, self.delivered, self.out_of_order, self.steady_packets_per_second
        )?;
        for process in &self.processes {
            writeln!(f, "process      {process}")?;
        }
        let [middle, end] = self.files_bytes;
        writeln!(f, "database     {middle} bytes in the middle, {end} at the end")?;
        writeln!(f, "at the end   {} present, {} faults", self.present, self.faults.len())?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "FAULT        {fault}"))
    }
}

impl fmt::Display for ProcessReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [middle, end] = self.rss_bytes.map(|bytes| float(bytes) / 1e6);
        write!(
            f,
            "{}: {:.2} ms per join, {:.0} kB per session, {:.0} ns per delivered packet, {middle:.1} MB in the middle, {end:.1} MB at the end",
            self.name,
            self.cpu_ms_per_join,
            self.rss_bytes_per_session / 1e3,
            self.cpu_ns_per_packet
        )
    }
}

/// A reading of everything.
#[derive(Debug, Clone)]
struct Reading {
    usages: Vec<Usage>,
    delivered: u64,
    files_bytes: u64,
    at: Instant,
}

struct Run<'a, D> {
    config: &'a Config,
    driver: &'a mut D,
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
}

/// Holds a call and cleans up its room.
pub async fn run(config: &Config, driver: &mut impl Driver) -> Result<Report> {
    ensure!(config.publishers <= config.participants, "who publishes is a participant");
    raise_descriptor_limit();
    let rooms = Rooms::new(&config.url, &config.api_secret)?;
    let room_id = rooms.create("call").await.context("cannot make a room")?;
    let shared = share(config, &rooms, &room_id)?;
    let (phase, watched) = watch::channel(Phase::Join);
    let mut participants = Vec::new();
    for index in 0..config.participants {
        participants.push(participant(config, &rooms, &shared, index, watched.clone()).await?);
    }
    let report = Run { config, driver, shared, phase }.hold(participants).await;
    rooms.remove(&room_id).await.context("cannot remove the room")?;
    report
}

fn share(config: &Config, rooms: &Rooms, room_id: &str) -> Result<Arc<Shared>> {
    let threads = config.threads.max(1);
    let receiving: Result<Vec<_>, _> = (0..threads).map(|_| Worker::spawn("receiving").map(Arc::new)).collect();
    Ok(Arc::new(Shared {
        signalling: rooms.signalling()?,
        room_id: room_id.to_owned(),
        shape: config.shape,
        local_ip: local_ip_towards(&config.url)?,
        receiving: receiving?,
        sending: Arc::new(Worker::spawn("sending")?),
        sent: Arc::default(),
        delivered: Arc::default(),
        is_live: false.into(),
        ledger: Ledger::default().into(),
    }))
}

async fn participant(
    config: &Config,
    rooms: &Rooms,
    shared: &Arc<Shared>,
    index: usize,
    phase: watch::Receiver<Phase>,
) -> Result<Participant> {
    let publishes = index < config.publishers;
    let identity = format!("{}-{index}", if publishes { "speaker" } else { "attendee" });
    let role = if publishes { "speaker" } else { "attendee" };
    let token = rooms.token(&shared.room_id, &identity, role).await.context("cannot make a token")?;
    let habits = Habits { stay: config.stay, away: config.away, pause: config.pause };
    let who = Who { index, identity, token, publishes };
    Ok(Participant::new(Arc::clone(shared), who, habits, config.seed, phase))
}

impl<D: Driver> Run<'_, D> {
    async fn hold(mut self, participants: Vec<Participant>) -> Result<Report> {
        let before = self.read().await?;
        let count = u32::try_from(participants.len().max(1))?;
        let (sender, sights) = mpsc::channel(participants.len().max(1));
        let tasks: Vec<_> = (0_u32..)
            .zip(participants)
            .map(|(index, participant)| {
                tokio::spawn(participant.live(self.config.join * index / count, sender.clone()))
            })
            .collect();
        drop(sender);
        self.wait_joined().await?;
        let joined = self.read().await?;

        self.shared.is_live.store(true, Ordering::Relaxed);
        self.phase.send_replace(Phase::Steady);
        sleep(SETTLE).await;
        let start = self.read().await?;
        sleep(self.config.steady).await;
        let end = self.read().await?;

        self.phase.send_replace(Phase::Churn);
        let samples = self.churn().await?;
        self.phase.send_replace(Phase::Quiet);
        sleep(self.config.quiet).await;
        self.phase.send_replace(Phase::Window);
        sleep(self.config.window).await;
        self.phase.send_replace(Phase::Over);
        let sights = collect(sights).await?;
        self.phase.send_replace(Phase::Leave);
        left(tasks).await?;
        self.report(&[before, joined, start, end], &samples, &sights)
    }

    async fn wait_joined(&self) -> Result<()> {
        let tracks = u64::try_from(self.config.publishers * 2)?;
        let everybody = u64::try_from(self.config.participants)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let counts = self.shared.ledger().counts.clone();
            if counts.joins >= everybody && counts.tracks_published >= tracks {
                break;
            }
            ensure!(Instant::now() < end, "not everybody joined: {counts:?} {:?}", self.shared.ledger().faults());
            sleep(Duration::from_millis(50)).await;
        }
        sleep(SETTLE).await;
        Ok(())
    }

    async fn read(&mut self) -> Result<Reading> {
        let pids = self.driver.processes().await?;
        let usages: Result<Vec<_>, _> = pids.into_iter().map(Usage::read).collect();
        let files_bytes = self.config.files.as_deref().map_or(0, bytes_in);
        let delivered = self.shared.delivered.load(Ordering::Relaxed);
        Ok(Reading { usages: usages?, delivered, files_bytes, at: Instant::now() })
    }

    /// Lets people come and go, strikes in the first half, and returns readings of the middle and of the end.
    async fn churn(&mut self) -> Result<[Vec<Reading>; 2]> {
        let start = Instant::now();
        let half = self.config.churn / 2;
        let strikes = u32::try_from(self.config.strikes)?;
        for turn in 0..self.config.strikes {
            // The last strike comes well before the half is over.
            let at = half * (2 * u32::try_from(turn)? + 1) / (2 * strikes.max(1));
            sleep(at.saturating_sub(start.elapsed())).await;
            self.shared.ledger().strike();
            self.driver.strike(turn).await?;
            self.shared.ledger().strike();
        }
        sleep(half.saturating_sub(start.elapsed())).await;
        let span = self.config.churn / 10;
        let middle = self.sample(start, half + span).await?;
        self.shared.ledger().is_second_half = true;
        sleep((self.config.churn - span).saturating_sub(start.elapsed())).await;
        Ok([middle, self.sample(start, self.config.churn).await?])
    }

    async fn sample(&mut self, start: Instant, until: Duration) -> Result<Vec<Reading>> {
        let mut samples = vec![self.read().await?];
        while start.elapsed() + SAMPLE < until {
            sleep(SAMPLE).await;
            samples.push(self.read().await?);
        }
        sleep(until.saturating_sub(start.elapsed())).await;
        Ok(samples)
    }

    fn report(&self, readings: &[Reading; 4], samples: &[Vec<Reading>; 2], sights: &[Sight]) -> Result<Report> {
        let [_, _, start, end] = readings;
        let processes = processes(self.config, readings, samples)?;
        let ledger = self.shared.ledger();
        let files = |samples: &[Reading]| samples.iter().map(|reading| reading.files_bytes).min().unwrap_or(0);
        let [middle, last] = samples;
        let files_bytes = [files(middle), files(last)];
        let mut faults = ledger.faults();
        faults.extend(faults_of(sights));
        faults.extend(growth(&processes, files_bytes));
        faults.extend(too_long(self.config, ledger.descriptions));
        let steady = end.at.duration_since(start.at).as_secs_f64();
        Ok(Report {
            participants: self.config.participants,
            publishers: self.config.publishers,
            seed: self.config.seed,
            churn_seconds: self.config.churn.as_secs_f64(),
            strikes: self.config.strikes,
            counts: ledger.counts.clone(),
            refusals: ledger.refusals.clone(),
            joins: Times::of(ledger.join_times.clone()),
            descriptions: ledger.descriptions,
            sent: self.shared.sent.load(Ordering::Relaxed),
            delivered: self.shared.delivered.load(Ordering::Relaxed),
            out_of_order: ledger.out_of_order,
            steady_packets_per_second: float(end.delivered - start.delivered) / steady,
            processes,
            files_bytes,
            present: sights.len(),
            faults,
        })
    }
}

/// Returns what those have who are there.
async fn collect(mut sights: mpsc::Receiver<Option<Sight>>) -> Result<Vec<Sight>> {
    let mut collected = Vec::new();
    while let Some(sight) = timeout(PATIENCE, sights.recv()).await.context("somebody does not tell what it has")? {
        collected.extend(sight);
    }
    Ok(collected)
}

/// Waits for everybody to leave.
async fn left(tasks: Vec<JoinHandle<()>>) -> Result<()> {
    for task in tasks {
        timeout(PATIENCE, task).await.context("somebody does not leave")?.context("a participant has panicked")?;
    }
    Ok(())
}

fn processes(config: &Config, readings: &[Reading; 4], samples: &[Vec<Reading>; 2]) -> Result<Vec<ProcessReport>> {
    let [before, joined, start, end] = readings;
    let sessions = float(u64::try_from(config.participants.max(1))?);
    let packets = float((end.delivered - start.delivered).max(1));
    let mut reports = Vec::new();
    for (index, first) in before.usages.iter().enumerate() {
        let of = |reading: &Reading| reading.usages.get(index).cloned().context("the driver names as many processes");
        let (joined, start, end) = (of(joined)?, of(start)?, of(end)?);
        let mut rss_bytes = [0; 2];
        for (rss, samples) in rss_bytes.iter_mut().zip(samples) {
            let sizes: Vec<u64> =
                samples.iter().filter_map(|reading| Some(reading.usages.get(index)?.rss_bytes)).collect();
            *rss = sizes.iter().sum::<u64>() / u64::try_from(sizes.len().max(1))?;
        }
        reports.push(ProcessReport {
            name: first.name.clone(),
            cpu_ms_per_join: millis(joined.cpu_since(first)) / sessions,
            rss_bytes_per_session: (float(joined.rss_bytes) - float(first.rss_bytes)) / sessions,
            cpu_ns_per_packet: end.cpu_since(&start).as_secs_f64() * 1e9 / packets,
            rss_bytes,
        });
    }
    Ok(reports)
}

/// What grew while people came and went.
fn growth(processes: &[ProcessReport], files_bytes: [u64; 2]) -> Vec<String> {
    let sizes = processes.iter().map(|process| (format!("memory of {}", process.name), process.rss_bytes));
    let sizes = sizes.chain([("database".to_owned(), files_bytes)]);
    let grew =
        |[middle, end]: [u64; 2]| float(end) > float(middle) * (1.0 + GROWTH_SHARE_MAX) + float(GROWTH_BYTES_MAX);
    sizes.filter(|(_, size)| grew(*size)).map(|(what, size)| format!("{what} grew: {size:?} bytes")).collect()
}

/// Which descriptions have more m-lines than there ever were tracks.
fn too_long(config: &Config, descriptions: [DescriptionMax; 2]) -> Option<String> {
    let most = config.publishers * 2 + SPARE_LINES_MAX;
    let is_long = descriptions.iter().any(|max| max.lines > most);
    is_long.then(|| format!("descriptions have up to {descriptions:?}, and there are {} tracks", config.publishers * 2))
}

/// Bytes of the database files in a folder.
fn bytes_in(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let database = entries.filter(|entry| entry.file_name().to_string_lossy().contains(".db"));
    database.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_named_and_what_only_moves_is_not() {
        let process = |rss_bytes| ProcessReport {
            name: "plane".to_owned(),
            cpu_ms_per_join: 0.0,
            rss_bytes_per_session: 0.0,
            cpu_ns_per_packet: 0.0,
            rss_bytes,
        };
        assert_eq!(growth(&[process([100 << 20, 110 << 20])], [1000, 9000]), Vec::<String>::new());
        assert_eq!(growth(&[process([100 << 20, 130 << 20])], [0, 0]).len(), 1);
        assert_eq!(growth(&[], [1 << 20, 40 << 20]).len(), 1);
        let config = Config::new("", "");
        let max = |lines| DescriptionMax { lines, bytes: 1 };
        assert_eq!(too_long(&config, [max(20), max(28)]), None);
        assert!(too_long(&config, [max(20), max(29)]).is_some());
    }
}
