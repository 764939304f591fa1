//! Viewers who are gone without a word, or take nothing any more.

use std::net::UdpSocket;
use std::time::Duration;

use sluice_load::wait_until;

use crate::metrics::Discards;
use crate::stage::{LIMIT, Stage, new_sockets, sockets};

#[tokio::test(flavor = "multi_thread")]
async fn viewers_who_vanish_or_stop_reading_take_nothing_from_the_others() {
    let mut stage = Stage::start().await;
    let mut unread = Vec::new();
    for turn in 0..6 {
        let token = stage.rooms.token(&stage.room, &format!("rude-{turn}"), "attendee").await.unwrap();
        let resource = stage.rooms.whep(&stage.room, &token).unwrap();
        let others = sockets();
        let id = stage.viewers.join_resource(&resource).await.unwrap();
        let sees = wait_until(LIMIT, || stage.viewers.viewer(id).is_some_and(|viewer| viewer.video().is_some())).await;
        assert!(sees, "{}", stage.server.logs());
        // Half of them leave their socket open and never read from it again; the ports of the others answer with ICMP.
        if turn % 2 == 0 {
            unread.extend(new_sockets(&others));
        }
        let _stats = stage.viewers.vanish(id).unwrap();
    }
    let before = stage.before().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stage.assert_undisturbed(&before).await;
    let waiting = |socket: &UdpSocket| {
        socket.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| socket.recv(&mut [0; 2000]).ok()).count()
    };
    let unread = unread.iter().map(waiting).max();
    assert!(unread > Some(20), "who stopped reading was sent to: {unread:?}");
    stage.assert_newcomer_is_served("newcomer").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_key_frame_requests_reaches_the_publisher_as_a_few() {
    let mut stage = Stage::start().await;
    let (before, counted) = (stage.before().await, Discards::read(&stage.server).await);
    let asked = stage.publisher.stats().pli + stage.publisher.stats().fir;
    let ids: Vec<_> = stage.viewers.snapshot().iter().map(|viewer| viewer.id).collect();
    for _ in 0..200 {
        for id in &ids {
            stage.viewers.request_key_frame(*id);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stats = stage.publisher.stats();
    let reached = stats.pli + stats.fir - asked;
    assert!((1..=20).contains(&reached), "of 600 requests in two seconds {reached} reached the publisher");
    stage.assert_undisturbed(&before).await;
    let now = Discards::read(&stage.server).await;
    assert_eq!(now.of("overrun"), counted.of("overrun"), "nobody fell behind");
    stage.end().await;
}
