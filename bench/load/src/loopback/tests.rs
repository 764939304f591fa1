use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use str0m::media::MediaKind;

use super::link::Faults;
use super::server::Server;
use crate::payload::Codec;
use crate::publisher::Candidates;
use crate::scenario::fanout;
use crate::{
    Publisher, PublisherConfig, Refused, Rooms, SourceConfig, Spacing, State, ViewerConfig, ViewerStats, Viewers,
    wait_until,
};

/// Generous: the machine may be busy with builds.
const LIMIT: Duration = Duration::from_secs(20);

fn fast() -> SourceConfig {
    SourceConfig { packets_per_second: 250, packet_size_bytes: 600, ..SourceConfig::video() }
}

fn video_only(server: &Server, codec: Codec, config: SourceConfig) -> PublisherConfig {
    PublisherConfig { video: Some((codec, config)), audio: None, ..PublisherConfig::new(server.whip()) }
}

fn has_packets(viewer: &ViewerStats, stream: u64, count: u64) -> bool {
    viewer.missing(stream, 0..count).is_empty()
}

/// Publishes until the far end has `count` packets of the video in one piece.
async fn publish_packets(server: &Server, publisher: &Publisher, session: u32, count: u64) -> u64 {
    publisher.wait_connected(LIMIT).await.unwrap();
    assert!(wait_until(LIMIT, || publisher.stats().video.is_some()).await);
    let (stream, _) = publisher.stats().video_position().unwrap();
    let arrived = wait_until(LIMIT, || has_packets(&server.far_viewer(session), stream, count)).await;
    let missing = server.far_viewer(session).missing(stream, 0..count);
    assert!(arrived, "{missing:?} of {:?}", publisher.stats().video);
    stream
}

#[tokio::test]
async fn everything_published_arrives_once_in_order_and_is_decodable() {
    let server = Server::start().await;
    let publisher = Publisher::start(PublisherConfig::new(server.whip())).await.unwrap();
    publish_packets(&server, &publisher, 1, 100).await;
    publisher.set_sending(false);
    let quiet = wait_until(LIMIT, || {
        let (seen, sent) = (server.far_viewer(1).packets(), publisher.stats());
        seen == sent.video.unwrap().packets + sent.audio.unwrap().packets
    });
    assert!(quiet.await);
    let (seen, sent) = (server.far_viewer(1), publisher.stats());
    let (video, audio) = (seen.video().unwrap(), seen.audio().unwrap());
    assert_eq!(video.packets, sent.video.as_ref().unwrap().packets);
    assert_eq!(audio.packets, sent.audio.as_ref().unwrap().packets);
    assert_eq!((video.codec, audio.codec), (Codec::Vp8, Codec::Opus));
    for track in [video, audio] {
        assert_eq!((track.unreadable, track.duplicates(), track.key_frame_mismatches), (0, 0, 0));
        assert_eq!((track.rtp.sequence_gaps(), track.rtp.timestamp_steps_back, track.rtp.ssrc_changes), (0, 0, 0));
        assert_eq!((track.rtp.picture_id_breaks, track.rtp.payload_type_changes), (0, 0));
        assert_eq!(track.delay.count(), track.packets);
        assert!(track.delay.max() > Duration::ZERO && track.delay.max() < Duration::from_secs(5));
    }
    assert_eq!(video.sources[0].out_of_order, 0);
    assert!(video.frames_decodable() >= sent.video.unwrap().frames - 1);
    assert_eq!(video.sources[0].frames().complete_key_frames, 1);
    assert!(seen.connection.first(State::DtlsConnected) >= seen.connection.first(State::IceChecking));
    assert!(video.first_key_frame_at >= video.first_packet_at);
    publisher.stop().await.unwrap();
    assert_eq!(server.sessions(), 0);
}

#[tokio::test]
async fn each_video_codec_is_negotiated_and_read_back() {
    let server = Server::start().await;
    for (session, codec) in (1..).zip(Codec::VIDEO) {
        let config = SourceConfig { spacing: Spacing::Burst, ..fast() };
        let publisher = Publisher::start(video_only(&server, codec, config)).await.unwrap();
        publish_packets(&server, &publisher, session, 30).await;
        let seen = server.far_viewer(session);
        let video = seen.video().unwrap();
        assert_eq!((video.codec, video.unreadable, video.key_frame_mismatches), (codec, 0, 0), "{codec}");
        assert!(video.frames_decodable() >= 6, "{codec}");
    }
}

#[tokio::test]
async fn a_key_frame_request_is_counted_and_answered_with_the_next_frame() {
    let server = Server::start().await;
    let publisher = Publisher::start(video_only(&server, Codec::Vp8, fast())).await.unwrap();
    publish_packets(&server, &publisher, 1, 10).await;
    assert_eq!(publisher.stats().video.unwrap().key_frames, 1);
    server.request_key_frame(1);
    let answered =
        wait_until(LIMIT, || server.far_viewer(1).video().unwrap().sources[0].frames().complete_key_frames == 2);
    assert!(answered.await);
    let stats = publisher.stats();
    assert_eq!((stats.pli, stats.fir), (1, 0));
    assert_eq!(stats.video.unwrap().key_frame_requests, 1);
}

#[tokio::test]
async fn lost_packets_are_asked_for_again_and_arrive_repaired() {
    let faults = Arc::new(Faults::default());
    faults.lose_one_in.store(10, Ordering::Relaxed);
    let server = Server::with(|_, _| {}, Some(Arc::clone(&faults))).await;
    let publisher = Publisher::start(video_only(&server, Codec::Vp8, fast())).await.unwrap();
    publish_packets(&server, &publisher, 1, 200).await;
    let seen = server.far_viewer(1);
    let video = seen.video().unwrap();
    assert!(faults.lost.load(Ordering::Relaxed) > 10);
    assert!(video.repaired > 10, "{}", video.repaired);
    assert!(video.sources[0].out_of_order >= video.repaired);
    assert!(wait_until(LIMIT, || publisher.stats().nacks > 0).await);
}

#[tokio::test]
async fn a_dark_link_leaves_a_gap_torn_frames_and_a_request_for_a_key_frame() {
    let faults = Arc::new(Faults::default());
    let server = Server::with(|_, _| {}, Some(Arc::clone(&faults))).await;
    // More packets per second than the sender remembers for repair, so that the hole stays.
    let config = SourceConfig { packets_per_second: 2500, packet_size_bytes: 200, ..SourceConfig::video() };
    let publisher = Publisher::start(video_only(&server, Codec::Vp8, config)).await.unwrap();
    let stream = publish_packets(&server, &publisher, 1, 50).await;
    let dark_from = Instant::now();
    faults.dark.store(true, Ordering::Relaxed);
    let (_, from) = publisher.stats().video_position().unwrap();
    assert!(wait_until(LIMIT, || publisher.stats().video.unwrap().packets > from + 2000).await);
    faults.dark.store(false, Ordering::Relaxed);
    let dark = dark_from.elapsed();
    let bright = Instant::now();

    assert!(wait_until(LIMIT, || server.far_viewer(1).first_decoded_after(bright).is_some()).await);
    let seen = server.far_viewer(1);
    let video = seen.video().unwrap();
    let missing: u64 = seen.missing(stream, 0..from + 2000).iter().map(|range| range.end - range.start).sum();
    assert!(missing > 500, "{missing}");
    assert!(video.rtp.sequence_gaps() > 500);
    assert!(video.gaps[0].length() + Duration::from_millis(100) > dark, "{:?} {dark:?}", video.gaps[0].length());
    let first = seen.first_packet_after(dark_from + dark / 2).unwrap();
    assert!(first >= dark_from + dark / 2);
    assert!(video.key_frame_requests > 0 && publisher.stats().pli > 0);
    assert!(video.decode_gaps[0].length() >= video.gaps[0].length());
}

#[tokio::test]
async fn viewers_join_count_and_leave_one_by_one() {
    let server = Server::with(|publishing, _| publishing.video = Some((Codec::Vp8, fast())), None).await;
    let viewers = Viewers::start(5, ViewerConfig::new(server.whep())).await.unwrap();
    viewers.wait_connected(LIMIT).await.unwrap();
    let shown = |viewer: &ViewerStats| viewer.video().is_some_and(|video| video.frames_decodable() > 5);
    assert!(viewers.wait_all(LIMIT, |viewer| shown(viewer) && viewer.audio().is_some()).await);
    let snapshot = viewers.snapshot();
    assert_eq!(snapshot.len(), 5);
    for viewer in &snapshot {
        assert!(viewer.join_time().unwrap() > Duration::ZERO);
        assert!(viewer.key_frame_time().is_some());
        assert!(viewer.connection.wire.rtp >= viewer.packets());
        assert_eq!(viewer.connection.wire.dropped_by_kernel, 0);
    }
    assert!(viewers.delivered() >= snapshot.iter().map(ViewerStats::packets).sum());
    let (leaving, vanishing) = (snapshot[0].id, snapshot[1].id);
    assert!(viewers.leave(leaving).await.unwrap().packets() > 0);
    assert!(viewers.vanish(vanishing).is_some());
    assert_eq!((viewers.count(), server.sessions()), (3, 4));
    let late = viewers.join().await.unwrap();
    assert!(viewers.wait_all(LIMIT, shown).await);
    assert!(viewers.viewer(late).is_some() && viewers.viewer(leaving).is_none());
    let far = server.far_publisher(3).video.unwrap();
    assert!(snapshot[2].missing(far.stream_id, 0..5).is_empty());
    assert!(wait_until(LIMIT, || viewers.cpu() > Duration::ZERO).await);
    viewers.leave_all().await.unwrap();
    assert_eq!(server.sessions(), 1);
}

#[tokio::test]
async fn a_publisher_that_stops_closes_the_far_end() {
    let server = Server::start().await;
    let publisher = Publisher::start(video_only(&server, Codec::Vp8, fast())).await.unwrap();
    publish_packets(&server, &publisher, 1, 10).await;
    // The session is kept, to look at what the far end hears.
    publisher.close_transport_for_test();
    assert!(wait_until(LIMIT, || server.far_viewer(1).connection.first(State::Closed).is_some()).await);
}

#[tokio::test]
async fn an_ice_restart_changes_credentials_and_the_media_goes_on() {
    let server = Server::start().await;
    let publisher = Publisher::start(video_only(&server, Codec::Vp8, fast())).await.unwrap();
    let stream = publish_packets(&server, &publisher, 1, 20).await;
    let changes = publisher.stats().connection.state_changes;
    publisher.restart_ice().await.unwrap();
    publisher.restart_ice().await.unwrap();
    let patches = server.inner.patches.lock().unwrap().clone();
    let ufrag = |fragment: &str| fragment.lines().find(|line| line.starts_with("a=ice-ufrag:")).unwrap().to_owned();
    assert_ne!(ufrag(&patches[0]), ufrag(&patches[1]));
    assert!(wait_until(LIMIT, || publisher.stats().connection.state_changes > changes).await);
    publisher.wait_connected(LIMIT).await.unwrap();
    let (_, sent) = publisher.stats().video_position().unwrap();
    assert!(wait_until(LIMIT, || has_packets(&server.far_viewer(1), stream, sent + 20)).await);
    publisher.stop().await.unwrap();
}

#[tokio::test]
async fn candidates_may_follow_the_offer_by_patch() {
    let server = Server::start().await;
    let config = PublisherConfig { candidates: Candidates::Trickled, ..video_only(&server, Codec::Vp8, fast()) };
    let publisher = Publisher::start(config).await.unwrap();
    publish_packets(&server, &publisher, 1, 10).await;
    let patches = server.inner.patches.lock().unwrap().clone();
    assert_eq!(patches.len(), 1);
    assert!(patches[0].contains("typ host") && patches[0].contains("a=end-of-candidates"));
}

#[tokio::test]
async fn a_refusal_names_status_and_reason() {
    let server = Server::start().await;
    let mut config = PublisherConfig::new(server.whip());
    config.resource.token = Some("wrong".to_owned());
    let error = Publisher::start(config).await.unwrap_err();
    let refused = error.downcast_ref::<Refused>().unwrap();
    assert_eq!((refused.status, refused.body.as_str()), (StatusCode::UNAUTHORIZED, "no such token"));
}

#[tokio::test]
async fn rooms_and_tokens_are_made_over_rest() {
    let server = Server::start().await;
    let rooms = Rooms::new(server.url(), "open").unwrap();
    let room = rooms.create("a-room").await.unwrap();
    assert_eq!(room, "a-room");
    let each = rooms.whep_each(&room, "viewer", 2).await.unwrap();
    assert_eq!(each[1].token.as_deref(), Some("a-room viewer-1 attendee"));
    assert_eq!(each[1].url, format!("{}/whep/a-room", server.url()));
    assert!(Rooms::new(server.url(), "closed").unwrap().create("x").await.is_err());
}

/// The server of these tests forwards nothing, each viewer gets media of its own: whatever was published is lost.
#[tokio::test]
async fn a_fan_out_counts_media_that_is_not_the_publishers_as_loss() {
    let server = Server::with(|publishing, _| publishing.video = Some((Codec::Vp8, fast())), None).await;
    let config = fanout::Config {
        url: server.url().to_owned(),
        api_secret: "open".to_owned(),
        viewers: 3,
        late_viewers: 2,
        at_once: 2,
        threads: 2,
        codec: Codec::Vp8,
        video: fast(),
        audio: Some(SourceConfig::audio()),
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(600),
        pids: vec![std::process::id()],
    };
    let report = fanout::run(&config).await.unwrap();
    assert_eq!((report.viewers, report.viewers_with_loss, report.duplicates), (3, 3, 0));
    assert!(report.published > 100, "{report:?}");
    assert_eq!(report.lost, report.published * 3);
    assert!(report.delivered > 100 && report.delay.count >= report.delivered / 2, "{report:?}");
    assert_eq!((report.handshake.count, report.first_packet.count, report.first_key_frame.count), (3, 2, 2));
    assert!(report.handshake.p50_ms > 0.0 && report.first_packet.p50_ms > 0.0);
    let process = &report.processes[0];
    assert!(process.cpu_ns_per_packet > 0.0 && process.cpu_ms_per_join > 0.0);
    assert!(report.generator.viewer_share > 0.0 && report.generator.publisher_share > 0.0);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["processes"][0]["pid"], std::process::id());
    assert_eq!(server.sessions(), 0);
}

#[tokio::test]
async fn a_silent_publisher_sends_nothing_until_it_is_told_and_starts_with_a_key_frame() {
    let server = Server::start().await;
    let config = PublisherConfig { begin: crate::Begin::Told, ..video_only(&server, Codec::Vp8, fast()) };
    let publisher = Publisher::start(config).await.unwrap();
    publisher.wait_connected(LIMIT).await.unwrap();
    assert!(publisher.stats().video.is_none());
    assert_eq!(server.far_viewer(1).packets(), 0);
    publisher.set_sending(true);
    publish_packets(&server, &publisher, 1, 10).await;
    publisher.set_sending(false);
    let stopped = publisher.stats().video.unwrap();
    publisher.set_sending(true);
    assert!(wait_until(LIMIT, || publisher.stats().video.unwrap().packets > stopped.packets + 12).await);
    assert_eq!(publisher.stats().video.unwrap().key_frames, 2);
    assert!(server.far_viewer(1).tracks.iter().all(|track| track.kind == MediaKind::Video));
}
