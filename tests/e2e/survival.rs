//! Calls outlive either plane.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use sluice_load::{quantile, wait_until};
use sluice_tests::{Browser, Server, bound, in_own_network};

use crate::show::{LIMIT, Show};

/// Fifty viewers.
const FOREIGN: usize = 48;
const BROWSERS: [Browser; 2] = [Browser::Chromium, Browser::Firefox];
/// How long the control plane is away, and how long it is watched when it is back.
const AWAY: Duration = Duration::from_secs(3);
const BACK: Duration = Duration::from_secs(2);
/// When a data plane that answers no more has been noticed at the latest, on a machine that does nothing else.
const HANG_NOTICED: Duration = Duration::from_secs(2);

#[test]
fn the_picture_does_not_stutter_when_the_control_plane_is_killed() {
    in_own_network("survival::the_picture_does_not_stutter_when_the_control_plane_is_killed", async {
        let mut show = Show::start_with_browsers(FOREIGN, &BROWSERS).await;
        let (before, dropped) = (show.identity(), show.server.socket_drops().await.unwrap());
        let pages = show.audience.as_mut().unwrap().moments().await;
        let (stream, from) = show.position();
        show.server.kill_controlplane().unwrap();
        tokio::time::sleep(AWAY).await;
        show.server.start_controlplane().await.unwrap();
        tokio::time::sleep(BACK).await;
        show.audience.as_mut().unwrap().assert_no_freeze(&pages, AWAY + BACK).await;
        let (_, to) = show.position();
        assert!(to > from + 300, "the publisher went on");
        show.assert_complete(stream, from..to).await;
        assert_eq!(show.server.socket_drops().await.unwrap(), dropped, "no socket of the server has overflown");
        assert_eq!(show.identity(), before, "nobody had to negotiate anew");
        show.assert_people_come_and_go().await;
        show.end().await;
    });
}

#[test]
fn the_picture_is_back_within_half_a_second_when_the_data_plane_is_killed() {
    in_own_network("survival::the_picture_is_back_within_half_a_second_when_the_data_plane_is_killed", async {
        let mut show = Show::start_with_browsers(FOREIGN, &BROWSERS).await;
        let before = show.identity();
        let pages = show.audience.as_mut().unwrap().moments().await;
        let killed = show.server.kill_dataplane().await.unwrap();
        let back = show.viewers.wait_all(LIMIT, |viewer| viewer.first_decoded_after(killed).is_some()).await;
        assert!(back, "everybody sees a frame again\n{}", show.server.logs());
        assert_back_in_time(&show, killed);
        assert_eq!(show.identity(), before, "nobody had to negotiate anew");
        // Whoever stands still shows it by now.
        tokio::time::sleep(BACK).await;
        let standstill = show.audience.as_mut().unwrap().longest_standstill(&pages).await;
        let limit = bound(Duration::from_secs(1));
        assert!(standstill <= limit, "a picture stood still for {standstill:?}\n{}", show.server.logs());
        let pages = show.audience.as_mut().unwrap().moments().await;
        tokio::time::sleep(BACK).await;
        show.audience.as_mut().unwrap().assert_no_freeze(&pages, BACK).await;
        show.assert_people_come_and_go().await;
        show.end().await;
    });
}

fn assert_back_in_time(show: &Show, killed: Instant) {
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
    show.end().await;
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
