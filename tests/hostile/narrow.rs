//! A viewer behind a link that is too slow for what it asked for, who then stops reading.

use std::time::Duration;

use rustix::process::Signal;
use sluice_tests::{ADDRESS, Link, Options, Server, in_own_network};

use crate::metrics::{Discards, ShardEvents};
use crate::stage::{LIMIT, Stage};

/// A fifth of what the publisher sends, and a queue that is full after a few seconds of it.
const RATE: &str = "250kbit";
const QUEUE: &str = "400kb";
/// A send buffer, which all viewers share, that the slow link's queue keeps full within seconds.
const SMALL_BUFFER: &str = "[udp]\nsend_buffer = \"64KiB\"\n";
const DEEP_QUEUE: &str = "20mb";
/// How long the link is too slow, and how long its viewer reads nothing.
const SLOW: Duration = Duration::from_secs(6);
/// When everybody misses nothing any more after the queue is gone.
const RECOVERED: Duration = Duration::from_secs(2);

#[test]
fn a_viewer_who_stops_reading_behind_a_slow_link_takes_nothing_from_the_others() {
    in_own_network("narrow::a_viewer_who_stops_reading_behind_a_slow_link_takes_nothing_from_the_others", async {
        // Whoever is behind the link asks over it too.
        let options =
            Options { http: format!("{ADDRESS}:0"), announce: Some(ADDRESS.to_owned()), ..Options::default() };
        let mut stage = Stage::start_with(options).await;
        let token = stage.rooms.token(&stage.room, "far-away", "attendee").await.unwrap();
        let resource = stage.rooms.whep(&stage.room, &token).unwrap();
        let link = Link::start().unwrap();
        let mut viewer = link.aiortc("attacker_peer.py", &["play", &resource.url, &token]).unwrap();
        let packets = |report: &serde_json::Value| {
            let heard = report["heard"].as_object().into_iter().flatten();
            heard.filter_map(|(_, stream)| stream["packets"].as_u64()).sum::<u64>()
        };
        let _sees = viewer.wait_for(LIMIT, |report| packets(report) > 100).await.unwrap();
        let (before, counted) = (stage.before().await, Discards::read(&stage.server).await);
        let loops = ShardEvents::read(&stage.server).await;
        link.narrow(RATE, QUEUE).unwrap();
        tokio::time::sleep(SLOW).await;
        let lost = link.dropped().unwrap();
        // A run of packets that does not fit counts as one.
        assert!(lost > 10, "the link drops what does not fit: {lost} packets");
        stage.assert_lost_nothing(&before).await;
        Server::signal(viewer.pid().unwrap(), Signal::STOP).unwrap();
        tokio::time::sleep(SLOW).await;
        let more = link.dropped().unwrap() - lost;
        assert!(more > 10, "the server goes on sending to whom it takes for slow: {more} packets dropped");
        stage.assert_undisturbed(&before).await;
        let now = Discards::read(&stage.server).await;
        for reason in ["backlog", "overrun", "control_full"] {
            assert_eq!(now.of(reason), counted.of(reason), "{reason}: the others waited for a slow one");
        }
        let loops_now = ShardEvents::read(&stage.server).await;
        for name in ["send_blocked", "blocked_turns"] {
            assert_eq!(loops_now.of(name), loops.of(name), "{name}: the link's queue was full, not the socket");
        }
        Server::signal(viewer.pid().unwrap(), Signal::CONT).unwrap();
        stage.assert_newcomer_is_served("newcomer").await;
        stage.end().await;
    });
}

#[test]
fn a_socket_that_a_slow_link_keeps_full_is_shed_by_name_and_left_behind_when_it_drains() {
    in_own_network(
        "narrow::a_socket_that_a_slow_link_keeps_full_is_shed_by_name_and_left_behind_when_it_drains",
        async {
            let folder = tempfile::tempdir().unwrap();
            let config = folder.path().join("dataplane.toml");
            std::fs::write(&config, SMALL_BUFFER).unwrap();
            let options = Options {
                http: format!("{ADDRESS}:0"),
                announce: Some(ADDRESS.to_owned()),
                wrapper: vec!["env".to_owned(), format!("SLUICE_DATAPLANE_CONFIG={}", config.display())],
                ..Options::default()
            };
            let mut stage = Stage::start_with(options).await;
            let token = stage.rooms.token(&stage.room, "far-away", "attendee").await.unwrap();
            let resource = stage.rooms.whep(&stage.room, &token).unwrap();
            let link = Link::start().unwrap();
            let mut viewer = link.aiortc("attacker_peer.py", &["play", &resource.url, &token]).unwrap();
            let _sees = viewer.wait_for(LIMIT, |report| report["heard"].is_object()).await.unwrap();
            let (before, counted) = (stage.before().await, Discards::read(&stage.server).await);
            let loops = ShardEvents::read(&stage.server).await;
            link.narrow(RATE, DEEP_QUEUE).unwrap();
            counted.wait_rise(&stage.server, "backlog", 20).await;
            let full = ShardEvents::read(&stage.server).await;
            for name in ["send_blocked", "blocked_turns"] {
                assert!(full.of(name) > loops.of(name), "{name}: a socket was full, and stayed so over a turn");
            }
            assert_eq!(link.dropped().unwrap(), 0, "it is the socket that is full, not the queue");
            link.widen().unwrap();
            stage.assert_same_memory(&before).await;
            tokio::time::sleep(RECOVERED).await;
            let (before, drained) = (stage.before().await, ShardEvents::read(&stage.server).await);
            stage.assert_lost_nothing(&before).await;
            let loops = ShardEvents::read(&stage.server).await;
            for name in ["send_blocked", "blocked_turns"] {
                assert_eq!(loops.of(name), drained.of(name), "{name}: no socket is full any more");
            }
            stage.assert_newcomer_is_served("newcomer").await;
            stage.end().await;
        },
    );
}
