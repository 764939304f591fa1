//! A hundred viewers join a running stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use sluice_load::{Publisher, PublisherConfig, Rooms, ViewerConfig, ViewerStats, Viewers, quantile};
use sluice_tests::{ADDRESS, Options, Server, in_own_network};

const LIMIT: Duration = Duration::from_secs(30);
const VIEWERS: usize = 100;
/// Handshakes at a time: generator and planes share the processors, and a handshake is more work for a client than for the
/// server.
const AT_ONCE: usize = 4;
/// From the end of a viewer's handshake, which is the arrival of the server's last flight, to the arrival of the packet
/// that makes its first key frame whole, both by the kernel's stamps.
const MEDIAN: Duration = Duration::from_millis(50);
const WORST_OF_A_HUNDRED: Duration = Duration::from_millis(150);
/// Work of a few milliseconds, about as long as the longest that a plane is busy at a time.
const CALIBRATION_ROUNDS: u32 = 400_000;

/// Measures, while something else is measured, how much longer a piece of work takes than the processor worked on it:
/// bounds on times are worth as much as the machine's leisure to keep them.
struct Calibration {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<f64>>,
}

impl Calibration {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut ratios = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                let (begun, worked) = (Instant::now(), processor_time());
                let sum =
                    (0..CALIBRATION_ROUNDS).fold(1_u32, |sum, round| std::hint::black_box(sum.rotate_left(5) ^ round));
                std::hint::black_box(sum);
                ratios.push(begun.elapsed().as_secs_f64() / (processor_time() - worked).as_secs_f64());
                std::thread::sleep(Duration::from_millis(20));
            }
            ratios
        });
        Self { over, thread }
    }

    /// At least 1: a machine at leisure is given the bounds themselves.
    fn scale(self) -> f64 {
        self.over.store(true, Ordering::Relaxed);
        let mut ratios = self.thread.join().expect("the calibration ends");
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() * 9 / 10).copied().expect("the calibration has run").max(1.0)
    }
}

/// What the processor has worked for this thread.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("less than a second"))
}

/// Two for those who come first, and what the limit per track lets through while the others come: two a second. Without
/// merging, a hundred viewers would ask a hundred times.
fn allowed(took: Duration) -> u64 {
    2 + 2 * (took.as_secs() + 1)
}

/// What is known of a viewer who waited longer than `limit`.
fn slow(viewer: &ViewerStats, limit: Duration) -> Option<String> {
    let time = viewer.key_frame_time().filter(|time| *time > limit)?;
    let (video, ended) = (viewer.video()?, viewer.connection.handshake_ended_at()?);
    let first = video.first_packet_at?.saturating_duration_since(ended);
    let (told, wire) =
        (viewer.connection.dtls_connected_at()?.saturating_duration_since(ended), viewer.connection.wire);
    Some(format!(
        "\n{time:?} after the handshake, of which the stack heard {told:?} later: first packet after {first:?}, {} gaps, \
         {} key frames asked for, {} packets, {wire:?}",
        video.rtp.sequence_gaps(),
        video.key_frame_requests,
        viewer.packets(),
    ))
}

#[test]
fn a_hundred_viewers_have_a_picture_at_once() {
    in_own_network("joins::a_hundred_viewers_have_a_picture_at_once", async {
        let options = Options { announce: Some(ADDRESS.to_owned()), ..Options::default() };
        let server = Server::start(options).await.unwrap();
        let rooms = Rooms::new(server.base(), server.secret()).unwrap();
        let room = rooms.create("joins").await.unwrap();
        let token = rooms.token(&room, "publisher", "speaker").await.unwrap();
        let publisher = Publisher::start(PublisherConfig::new(rooms.whip(&room, &token).unwrap())).await.unwrap();
        publisher.wait_connected(LIMIT).await.unwrap();
        // The stream has run for a while when the first viewer comes.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let asked = |publisher: &Publisher| publisher.stats().pli + publisher.stats().fir;
        let before = asked(&publisher);
        let resources = rooms.whep_each(&room, "viewer", VIEWERS).await.unwrap();
        // Who waits a fifth of a second here waits for the processor; a second is a loss, and worth a request.
        let config = ViewerConfig {
            key_frame_patience: Some(Duration::from_secs(1)),
            ..ViewerConfig::new(resources[0].clone())
        };
        let viewers = Viewers::new(1, config).unwrap();
        let calibration = Calibration::start();
        let begun = Instant::now();
        let _ids = viewers.join_each(&resources, AT_ONCE).await.unwrap();
        let took = begun.elapsed();
        viewers.wait_connected(LIMIT).await.unwrap();
        let all = viewers.wait_all(LIMIT, |viewer| viewer.key_frame_time().is_some()).await;
        let without: Vec<_> =
            viewers.snapshot().into_iter().filter(|viewer| viewer.key_frame_time().is_none()).collect();
        let seen = |viewer: &ViewerStats| viewer.video().map(|video| (video.packets, video.rtp.sequence_gaps()));
        let found: Vec<_> = without.iter().map(seen).collect();
        assert!(all, "no key frame, but (packets, gaps) of video: {found:?}\n{}", server.logs());
        let scale = calibration.scale();
        let seen = viewers.snapshot();
        let mut times: Vec<Duration> = seen.iter().filter_map(ViewerStats::key_frame_time).collect();
        let (median, worst) = (quantile(&mut times, 0.5).unwrap(), quantile(&mut times, 0.99).unwrap());
        let requests = asked(&publisher) - before;
        println!(
            "measured: first key frame p50 {median:?}, p99 {worst:?}, {requests} asked for in {took:?}, scale {scale:.1}"
        );
        let slow: String = seen.iter().filter_map(|viewer| slow(viewer, WORST_OF_A_HUNDRED)).collect();
        assert!(median < MEDIAN.mul_f64(scale), "p50 {median:?}, p99 {worst:?}, at a scale of {scale:.1}{slow}");
        assert!(worst < WORST_OF_A_HUNDRED.mul_f64(scale), "p99 {worst:?}, at a scale of {scale:.1}{slow}");
        assert!(requests <= allowed(took), "{requests} key frames were asked of the publisher in {took:?}");
        viewers.leave_all().await.unwrap();
        publisher.stop().await.unwrap();
    });
}
