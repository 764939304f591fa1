//! A hundred viewers join a running stream.

use std::time::{Duration, Instant};

use sluice_load::{Publisher, PublisherConfig, Rooms, ViewerConfig, ViewerStats, Viewers, quantile};
use sluice_tests::{ADDRESS, Options, Server, bound, in_own_network};

const LIMIT: Duration = Duration::from_secs(30);
const VIEWERS: usize = 100;
/// Handshakes at a time: generator and planes share the processors, and a handshake is more work for a client than for the
/// server.
const AT_ONCE: usize = 4;
/// From the end of a viewer's handshake, which is the arrival of the server's last flight, to the arrival of the packet
/// that makes its first key frame whole, both by the kernel's stamps.
const MEDIAN: Duration = Duration::from_millis(50);
const WORST_OF_A_HUNDRED: Duration = Duration::from_millis(150);
/// Key frames asked of the publisher: one for those who come first, and one more if the others take longer than a viewer can
/// be given the last one again (`REPLAY_AGE_MAX` in `dataplane/core/src/limits.rs`). Without merging, a hundred viewers would
/// ask a hundred times.
const KEY_FRAMES_ASKED_MAX: u64 = 2;

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
        let viewers = Viewers::new(1, ViewerConfig::new(resources[0].clone())).unwrap();
        // Before anybody joins: what the machine is late by itself, and not what the joins make it.
        let (median_max, worst_max) = (bound(MEDIAN), bound(WORST_OF_A_HUNDRED));
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
        let seen = viewers.snapshot();
        let mut times: Vec<Duration> = seen.iter().filter_map(ViewerStats::key_frame_time).collect();
        let (median, worst) = (quantile(&mut times, 0.5).unwrap(), quantile(&mut times, 0.99).unwrap());
        let requests = asked(&publisher) - before;
        println!(
            "measured: first key frame p50 {median:?} of {median_max:?}, p99 {worst:?} of {worst_max:?}, {requests} asked for \
             in {took:?}"
        );
        let slow: String = seen.iter().filter_map(|viewer| slow(viewer, WORST_OF_A_HUNDRED)).collect();
        assert!(median < median_max, "p50 {median:?}, p99 {worst:?}, at most {median_max:?}{slow}");
        assert!(worst < worst_max, "p99 {worst:?}, at most {worst_max:?}{slow}");
        assert!(requests >= 1, "the first viewer's key frame is asked for");
        assert!(
            requests <= KEY_FRAMES_ASKED_MAX,
            "{requests} key frames were asked of the publisher in {took:?}{slow}"
        );
        viewers.leave_all().await.unwrap();
        publisher.stop().await.unwrap();
    });
}
