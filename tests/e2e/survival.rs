//! Calls outlive either plane.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use sluice_load::{Publisher, PublisherConfig, Rooms, ViewerConfig, ViewerStats, Viewers, quantile, wait_until};
use sluice_tests::{Options, Server, bound};

const LIMIT: Duration = Duration::from_secs(15);
/// When a data plane that answers no more has been noticed at the latest, on a machine that does nothing else.
const HANG_NOTICED: Duration = Duration::from_secs(2);

/// A room with a publisher and viewers that all decode.
struct Show {
    server: Server,
    rooms: Rooms,
    room: String,
    publisher: Publisher,
    viewers: Viewers,
}

impl Show {
    async fn start(count: usize) -> Self {
        let server = Server::start(Options::default()).await.unwrap();
        let rooms = Rooms::new(server.base(), server.secret()).unwrap();
        let room = rooms.create("survival").await.unwrap();
        let token = rooms.token(&room, "publisher", "speaker").await.unwrap();
        let publisher = Publisher::start(PublisherConfig::new(rooms.whip(&room, &token).unwrap())).await.unwrap();
        publisher.wait_connected(LIMIT).await.unwrap();
        let resources = rooms.whep_each(&room, "viewer", count).await.unwrap();
        let viewers = Viewers::new(1, ViewerConfig::new(resources[0].clone())).unwrap();
        let _ids = viewers.join_each(&resources, 8).await.unwrap();
        viewers.wait_connected(LIMIT).await.unwrap();
        let show = Self { server, rooms, room, publisher, viewers };
        let is_served = |viewer: &ViewerStats| viewer.key_frame_time().is_some() && viewer.audio().is_some();
        let served = show.viewers.wait_all(LIMIT, is_served).await;
        assert!(served, "every viewer has a whole key frame and sound\n{}", show.server.logs());
        show
    }

    fn position(&self) -> (u64, u64) {
        self.publisher.stats().video_position().unwrap()
    }

    /// Everything that identifies the connections: none of it may change when a plane is killed.
    fn identity(&self) -> Vec<(String, Vec<u32>)> {
        let ssrcs = |viewer: &ViewerStats| viewer.tracks.iter().flat_map(|track| track.rtp.ssrcs.clone()).collect();
        self.viewers.snapshot().iter().map(|viewer| (viewer.location.clone(), ssrcs(viewer))).collect()
    }

    async fn new_viewer_decodes(&self, identity: &str) {
        let token = self.rooms.token(&self.room, identity, "attendee").await.unwrap();
        let id = self.viewers.join_resource(&self.rooms.whep(&self.room, &token).unwrap()).await.unwrap();
        let decodes =
            wait_until(LIMIT, || self.viewers.viewer(id).is_some_and(|viewer| viewer.key_frame_time().is_some()));
        assert!(decodes.await, "a new viewer has a whole key frame\n{}", self.server.logs());
        let _stats = self.viewers.leave(id).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_does_not_stutter_when_the_control_plane_is_killed() {
    let mut show = Show::start(50).await;
    let before = show.identity();
    let (stream, from) = show.position();
    show.server.kill_controlplane().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    show.server.start_controlplane().await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, to) = show.position();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(to > from + 300, "the publisher went on");
    for viewer in show.viewers.snapshot() {
        assert_eq!(viewer.missing(stream, from..to), [], "{:?} lost packets\n{}", viewer.id, show.server.logs());
    }
    assert_eq!(show.identity(), before, "nobody had to negotiate anew");
    show.new_viewer_decodes("latecomer").await;
    show.viewers.leave_all().await.unwrap();
    show.publisher.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_picture_is_back_within_half_a_second_when_the_data_plane_is_killed() {
    let mut show = Show::start(50).await;
    let before = show.identity();
    let killed = show.server.kill_dataplane().await.unwrap();
    let back = show.viewers.wait_all(LIMIT, |viewer| viewer.first_decoded_after(killed).is_some()).await;
    assert!(back, "everybody sees a frame again\n{}", show.server.logs());
    let viewers = show.viewers.snapshot();
    let after = |instant: Option<Instant>| instant.unwrap().saturating_duration_since(killed);
    let mut packets: Vec<Duration> = viewers.iter().map(|viewer| after(viewer.first_packet_after(killed))).collect();
    let mut frames: Vec<Duration> = viewers.iter().map(|viewer| after(viewer.first_decoded_after(killed))).collect();
    let (median, worst) = (quantile(&mut packets, 0.5).unwrap(), quantile(&mut packets, 1.0).unwrap());
    let frame = quantile(&mut frames, 1.0).unwrap();
    println!(
        "measured: data plane killed: first packets p50 {median:?}, all {worst:?}; first decoded frames all {frame:?}"
    );
    let logs = show.server.logs();
    assert!(median <= bound(Duration::from_millis(200)), "first packets: median {median:?}\n{logs}");
    assert!(worst <= bound(Duration::from_millis(500)), "first packets: all within {worst:?}\n{logs}");
    assert!(frame <= bound(Duration::from_secs(1)), "first decoded frames: all within {frame:?}\n{logs}");
    assert_eq!(show.identity(), before, "nobody had to negotiate anew");
    show.new_viewer_decodes("latecomer").await;
    show.viewers.leave_all().await.unwrap();
    show.publisher.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_data_plane_is_replaced_and_sends_nothing_when_it_would_go_on() {
    let mut show = Show::start(5).await;
    let before = show.identity();
    let old = show.server.dataplane_pid().await.unwrap();
    let stopped = Instant::now();
    Server::signal(old, Signal::STOP).unwrap();
    let back =
        show.viewers.wait_all(LIMIT, |viewer| viewer.first_decoded_after(stopped + HANG_NOTICED).is_some()).await;
    assert!(back, "everybody sees a frame again\n{}", show.server.logs());
    let new = show.server.dataplane_pid().await.unwrap();
    assert_ne!(old, new, "another process serves");
    assert!(Server::signal(old, Signal::CONT).is_err(), "the old process is dead, not asleep");
    assert_eq!(show.identity(), before, "nobody had to negotiate anew");
    show.viewers.leave_all().await.unwrap();
    show.publisher.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_planes_may_be_killed_ten_times_while_viewers_come_and_go() {
    let mut show = Show::start(8).await;
    for turn in 0..10 {
        let token = show.rooms.token(&show.room, &format!("guest-{turn}"), "attendee").await.unwrap();
        let resource = show.rooms.whep(&show.room, &token).unwrap();
        if turn % 2 == 0 {
            let _at = show.server.kill_dataplane().await.unwrap();
        } else {
            show.server.kill_controlplane().unwrap();
            tokio::time::sleep(Duration::from_millis(100 * turn)).await;
            show.server.start_controlplane().await.unwrap();
        }
        let guest = show.viewers.join_resource(&resource).await.unwrap();
        let watching =
            wait_until(LIMIT, || show.viewers.viewer(guest).is_some_and(|viewer| viewer.key_frame_time().is_some()));
        assert!(watching.await, "turn {turn}: a newcomer sees a picture\n{}", show.server.logs());
        let now = Instant::now();
        let everybody = show.viewers.wait_all(LIMIT, |viewer| viewer.first_decoded_after(now).is_some()).await;
        assert!(everybody, "turn {turn}: everybody sees a picture\n{}", show.server.logs());
        if turn % 3 == 0 {
            let _stats = show.viewers.leave(guest).await.unwrap();
        } else {
            let _stats = show.viewers.vanish(guest).unwrap();
        }
    }
    for viewer in show.viewers.snapshot() {
        for track in &viewer.tracks {
            assert_eq!(track.rtp.timestamp_steps_back, 0, "time of {:?} goes on", viewer.id);
            assert_eq!(track.rtp.ssrcs.len(), 1, "{:?} keeps its SSRC", viewer.id);
        }
    }
    show.publisher.stop().await.unwrap();
}
