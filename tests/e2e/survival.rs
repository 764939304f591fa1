//! Calls outlive either plane.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use sluice_load::{ViewerStats, quantile};
use sluice_tests::{Browser, Chance, Server, bound, in_own_network, is_alive};

use crate::show::{KILLED_WITHIN, LIMIT, Show};

/// Fifty viewers.
const FOREIGN: usize = 48;
const BROWSERS: [Browser; 2] = [Browser::Chromium, Browser::Firefox];
/// How long the control plane is away, and how long it is watched when it is back.
const AWAY: Duration = Duration::from_secs(3);
const BACK: Duration = Duration::from_secs(2);
/// How long everybody is watched when all is well again.
const PEACE: Duration = Duration::from_secs(1);

#[test]
fn the_picture_does_not_stutter_when_the_control_plane_is_killed() {
    in_own_network("survival::the_picture_does_not_stutter_when_the_control_plane_is_killed", async {
        let mut show = Show::start_with_browsers(FOREIGN, &BROWSERS).await;
        let (before, dropped) = (show.identity().await, show.server.socket_drops().await.unwrap());
        Chance::new().wait(KILLED_WITHIN).await;
        let pages = show.audience.as_mut().unwrap().moments().await;
        let mark = show.mark();
        show.server.kill_controlplane().unwrap();
        tokio::time::sleep(AWAY).await;
        show.server.start_controlplane().await.unwrap();
        tokio::time::sleep(BACK).await;
        show.audience.as_mut().unwrap().assert_no_freeze(&pages, AWAY + BACK).await;
        assert!(show.assert_complete(&mark).await > 300, "the publisher went on");
        assert_eq!(show.server.socket_drops().await.unwrap(), dropped, "no socket of the server has overflown");
        assert_eq!(show.identity().await, before, "nobody had to negotiate anew");
        show.assert_people_come_and_go().await;
        show.end().await;
    });
}

#[test]
fn the_picture_is_back_within_half_a_second_when_the_data_plane_is_killed() {
    in_own_network("survival::the_picture_is_back_within_half_a_second_when_the_data_plane_is_killed", async {
        let mut show = Show::start_with_browsers(FOREIGN, &BROWSERS).await;
        let before = show.identity().await;
        Chance::new().wait(KILLED_WITHIN).await;
        let pages = show.audience.as_mut().unwrap().moments().await;
        let killed = show.server.kill_dataplane().await.unwrap();
        let back = show.viewers.wait_all(LIMIT, |viewer| viewer.first_decoded_after(killed).is_some()).await;
        assert!(back, "everybody sees a frame again\n{}", show.server.logs());
        assert_back_in_time(&show, killed);
        assert_eq!(show.identity().await, before, "nobody had to negotiate anew");
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
    let before = show.identity().await;
    let old = show.server.dataplane_pid().await.unwrap();
    Chance::new().wait(KILLED_WITHIN).await;
    let stopped = Instant::now();
    Server::signal(old, Signal::STOP).unwrap();
    let new = show.server.wait_replaced(old, LIMIT).await.unwrap();
    println!("measured: a stopped data plane was replaced after {:?}", stopped.elapsed());
    assert_cannot_wake(old);
    show.assert_goes_on().await;
    // What is sent now comes from the new process, once: under old keys a viewer would get the same number twice, or a
    // datagram that it cannot authenticate.
    let (mark, refused_before) = (show.mark(), refused(&show).await);
    tokio::time::sleep(PEACE).await;
    assert!(show.assert_complete(&mark).await > 50, "the publisher goes on");
    assert_eq!(refused(&show).await, refused_before, "every datagram is a packet that is taken");
    assert_streams_went_on(&show);
    assert_eq!(show.server.dataplane_pid().await.unwrap(), new, "nothing was replaced again");
    assert_eq!(show.identity().await, before, "nobody had to negotiate anew");
    show.end().await;
}

/// Datagrams of SRTP, per viewer, that were no packet which it took: repeats, and what does not authenticate. A datagram
/// that has just come is not yet a packet, so the least of several looks counts.
async fn refused(show: &Show) -> Vec<u64> {
    let refused = |viewer: &ViewerStats| viewer.connection.wire.rtp.saturating_sub(viewer.packets());
    let mut least = vec![u64::MAX; show.viewers.count()];
    for _ in 0..20 {
        let now = show.viewers.snapshot();
        least = least.iter().zip(&now).map(|(least, viewer)| *least.min(&refused(viewer))).collect();
        tokio::time::sleep(Duration::from_millis(7)).await;
    }
    least
}

/// Checks that a data plane which was replaced does nothing when it is told to go on.
fn assert_cannot_wake(old: u32) {
    // Nobody hears it, or what is left to be reaped.
    drop(Server::signal(old, Signal::CONT));
    assert!(!is_alive(old), "the old process is dead, not asleep");
}

/// What can go wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    /// The control plane is killed, and started after a while.
    ControlPlane,
    /// The data plane is killed; the control plane starts another one.
    DataPlane,
    /// The data plane is stopped, replaced, and would go on then.
    Sleep,
    /// The data plane is stopped, and goes on after a while: before it is missed, in the middle of being replaced, or not
    /// any more.
    Nap,
}

/// Ten times, each kind more than once.
const TROUBLES: [Trouble; 10] = {
    use Trouble::{ControlPlane, DataPlane, Nap, Sleep};
    [ControlPlane, DataPlane, Sleep, ControlPlane, DataPlane, Sleep, ControlPlane, DataPlane, Nap, Nap]
};
/// A stopped data plane is missed and replaced after two seconds or a little more.
const NAP: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn both_planes_may_die_or_sleep_ten_times_in_any_order_while_viewers_come_and_go() {
    let mut show = Show::start(8).await;
    let before = show.identity().await;
    let mut chance = Chance::new();
    let mut troubles = TROUBLES;
    chance.shuffle(&mut troubles);
    for (turn, trouble) in troubles.into_iter().enumerate() {
        println!("chance: turn {turn}: {trouble:?}");
        let early = show.join(&format!("early-{turn}")).await;
        show.assert_served(early).await;
        // Somebody joins in the middle of it, as far as there is somebody to ask.
        let token = show.rooms.token(&show.room, &format!("late-{turn}"), "attendee").await.unwrap();
        let late = show.rooms.whep(&show.room, &token).unwrap();
        chance.wait(KILLED_WITHIN).await;
        let mark = show.mark();
        trouble.strike(&mut show, &mut chance).await;
        let late = show.viewers.join_resource(&late).await.unwrap();
        show.assert_served(late).await;
        show.assert_goes_on().await;
        if trouble == Trouble::ControlPlane {
            let published = show.assert_complete(&mark).await;
            println!("measured: mixed, control plane killed: {published} packets published, none missing");
        }
        let peace = show.mark();
        chance.wait(PEACE).await;
        let _published = show.assert_complete(&peace).await;
        assert_eq!(show.identity().await, before, "turn {turn}, {trouble:?}: nobody had to negotiate anew");
        let (leaves, vanishes) = if chance.below(2) == 0 { (early, late) } else { (late, early) };
        let _stats = show.viewers.leave(leaves).await.unwrap();
        let _stats = show.viewers.vanish(vanishes).unwrap();
    }
    assert_streams_went_on(&show);
    show.end().await;
}

impl Trouble {
    async fn strike(self, show: &mut Show, chance: &mut Chance) {
        match self {
            Self::ControlPlane => {
                show.server.kill_controlplane().unwrap();
                chance.wait(AWAY).await;
                show.server.start_controlplane().await.unwrap();
            }
            Self::DataPlane => {
                let _at = show.server.kill_dataplane().await.unwrap();
            }
            Self::Sleep => {
                let old = show.server.dataplane_pid().await.unwrap();
                Server::signal(old, Signal::STOP).unwrap();
                let _new = show.server.wait_replaced(old, LIMIT).await.unwrap();
                chance.wait(PEACE).await;
                assert_cannot_wake(old);
            }
            Self::Nap => {
                let old = show.server.dataplane_pid().await.unwrap();
                Server::signal(old, Signal::STOP).unwrap();
                chance.wait(NAP).await;
                println!("chance: {}", if is_alive(old) { "it goes on" } else { "it was replaced" });
                // There is nobody to hear it when it was replaced.
                drop(Server::signal(old, Signal::CONT));
            }
        }
    }
}

/// Checks what a receiver would stumble over: one SSRC to a stream, time that goes on, and no packet twice.
fn assert_streams_went_on(show: &Show) {
    for viewer in show.viewers.snapshot() {
        for track in &viewer.tracks {
            assert_eq!(track.rtp.timestamp_steps_back, 0, "time of {:?} goes on", viewer.id);
            assert_eq!(track.rtp.ssrcs.len(), 1, "{:?} keeps its SSRC", viewer.id);
            assert_eq!(track.duplicates(), 0, "{:?} gets no packet twice", viewer.id);
        }
    }
}
