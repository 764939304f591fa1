//! A hundred viewers join a running stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluice_load::{Publisher, PublisherConfig, Rooms, ViewerConfig, Viewers, quantile};
use sluice_tests::{ADDRESS, Options, Server, in_own_network};

const LIMIT: Duration = Duration::from_secs(30);
const VIEWERS: usize = 100;
/// From the end of a viewer's handshake to its first whole key frame.
const MEDIAN: Duration = Duration::from_millis(50);
const WORST_OF_A_HUNDRED: Duration = Duration::from_millis(150);
/// How long the calibration's piece of work takes on two idle cores of 2026.
const CALIBRATION: Duration = Duration::from_millis(2);
const CALIBRATION_ROUNDS: u32 = 400_000;

/// Measures, while something else is measured, how much longer a fixed piece of work takes than on an idle machine:
/// bounds on times are worth as much as the machine that they are measured on.
struct Calibration {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Calibration {
    fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut times = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let sum =
                    (0..CALIBRATION_ROUNDS).fold(1_u32, |sum, round| std::hint::black_box(sum.rotate_left(5) ^ round));
                std::hint::black_box(sum);
                times.push(begun.elapsed());
                std::thread::sleep(Duration::from_millis(20));
            }
            times
        });
        Self { over, thread }
    }

    /// At least 1: a faster machine is given no tighter bounds.
    fn scale(self) -> f64 {
        self.over.store(true, Ordering::Relaxed);
        let mut times = self.thread.join().expect("the calibration ends");
        let usual = quantile(&mut times, 0.9).expect("the calibration has run");
        (usual.as_secs_f64() / CALIBRATION.as_secs_f64()).max(1.0)
    }
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
        let viewers = Viewers::new(1, ViewerConfig::new(resources[0].clone())).unwrap();
        let calibration = Calibration::start();
        for resource in &resources {
            let _id = viewers.join_resource(resource).await.unwrap();
        }
        viewers.wait_connected(LIMIT).await.unwrap();
        let all = viewers.wait_all(LIMIT, |viewer| viewer.key_frame_time().is_some()).await;
        assert!(all, "every viewer has a whole key frame\n{}", server.logs());
        let scale = calibration.scale();
        let mut times: Vec<Duration> = viewers.snapshot().iter().filter_map(|viewer| viewer.key_frame_time()).collect();
        let (median, worst) = (quantile(&mut times, 0.5).unwrap(), quantile(&mut times, 0.99).unwrap());
        let requests = asked(&publisher) - before;
        println!("measured: first key frame p50 {median:?}, p99 {worst:?}, {requests} asked for, machine {scale:.1}");
        assert!(median < MEDIAN.mul_f64(scale), "p50 {median:?}, p99 {worst:?}, on a machine {scale:.1} times as slow");
        assert!(worst < WORST_OF_A_HUNDRED.mul_f64(scale), "p99 {worst:?}, on a machine {scale:.1} times as slow");
        assert!(requests <= 2, "{requests} key frames were asked of the publisher");
        viewers.leave_all().await.unwrap();
        publisher.stop().await.unwrap();
    });
}
