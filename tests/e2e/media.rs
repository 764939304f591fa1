//! Media from a foreign publisher to foreign viewers.

use std::time::Duration;

use sluice_load::{MediaKind, Publisher, PublisherConfig, Rooms, ViewerConfig, Viewers};
use sluice_tests::{Options, Server};

const LIMIT: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn what_one_publishes_by_whip_others_play_by_whep() {
    let server = Server::start(Options::default()).await.unwrap();
    assert_flows(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_goes_over_ipv6_alone() {
    let options = Options { http: "[::1]:0".to_owned(), announce: Some("::1".to_owned()), ..Options::default() };
    let mut server = Server::start(options).await.unwrap();
    assert!(server.base().starts_with("http://[::1]:"), "{}", server.base());
    let port = server.media_port().await.unwrap();
    let answer = answer(&server).await;
    let candidates: Vec<&str> = answer.lines().filter(|line| line.starts_with("a=candidate:")).collect();
    assert!(!candidates.is_empty(), "the answer has a candidate: {answer}");
    for candidate in candidates {
        let words: Vec<&str> = candidate.split(' ').collect();
        assert_eq!(words[4..6], ["::1", &port.to_string()], "{candidate}");
    }
    // Publisher and viewers gather the address from which they reach the server, which is this one.
    assert_flows(&server).await;
}

/// What the server answers to a browser's offer.
async fn answer(server: &Server) -> String {
    let rooms = Rooms::new(server.base(), server.secret()).unwrap();
    let room = rooms.create("an answer").await.unwrap();
    let request = reqwest::Client::new().post(format!("{}/whip/{room}", server.base())).bearer_auth(server.secret());
    let offer = include_str!("../../controlplane/core/tests/vectors/sdp/chromium-a-vp8-opus.offer.sdp");
    let answer = request.header("content-type", "application/sdp").body(offer).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    answer.text().await.unwrap()
}

/// Checks that numbered packets of pictures and sound get from a publisher to every viewer, and none is missing.
async fn assert_flows(server: &Server) {
    let rooms = Rooms::new(server.base(), server.secret()).unwrap();
    let room = rooms.create("first light").await.unwrap();
    let token = rooms.token(&room, "publisher", "speaker").await.unwrap();
    let publisher = Publisher::start(PublisherConfig::new(rooms.whip(&room, &token).unwrap())).await.unwrap();
    publisher.wait_connected(LIMIT).await.unwrap();
    let resources = rooms.whep_each(&room, "viewer", 5).await.unwrap();
    let viewers = Viewers::new(1, ViewerConfig::new(resources[0].clone())).unwrap();
    let _ids = viewers.join_each(&resources, 5).await.unwrap();
    viewers.wait_connected(LIMIT).await.unwrap();
    let decoding = viewers.wait_all(LIMIT, |viewer| viewer.key_frame_time().is_some()).await;
    assert!(decoding, "every viewer has a whole key frame\n{}", server.logs());

    let (stream, from) = publisher.stats().video_position().unwrap();
    let (sound, sound_from) = publisher.stats().audio_position().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, to) = publisher.stats().video_position().unwrap();
    let (_, sound_to) = publisher.stats().audio_position().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(to > from + 100 && sound_to > sound_from + 50, "the publisher sends");
    for viewer in viewers.snapshot() {
        assert_eq!(viewer.missing(stream, from..to), [], "video of {:?}", viewer.id);
        assert_eq!(viewer.missing(sound, sound_from..sound_to), [], "sound of {:?}", viewer.id);
        assert!(viewer.video().is_some() && viewer.audio().is_some());
        assert_eq!(viewer.tracks.iter().filter(|track| track.kind == MediaKind::Video).count(), 1);
    }
    viewers.leave_all().await.unwrap();
    publisher.stop().await.unwrap();
}
