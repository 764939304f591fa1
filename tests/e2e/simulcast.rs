//! A publisher's encodings and repairs are still known after the data plane was killed: what names them on the wire has not
//! been said again since the first reports.

use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_load::{PublisherConfig, Rooms, Sends, ViewerConfig, ViewerStats, Viewers};
use sluice_tests::{ADDRESS, Browser, Browsers, Chance, Loss, Options, Server, bound, in_own_network};

use crate::show::{KILLED_WITHIN, LIMIT, Show};

/// How a page publishes and plays.
const PAGE: &str = include_str!("../peers/page_peer.js");
const ENCODINGS: &[&str] = &["q", "h", "f"];
/// One of so many packets of the publisher is lost on its way, its repairs among them.
const ONE_IN: u32 = 10;
const LOSSY: Duration = Duration::from_secs(4);
/// A browser encodes and decodes beside the server.
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn numbered_packets_of_an_encoding_are_repaired_after_the_data_plane_was_killed() {
    in_own_network("simulcast::numbered_packets_of_an_encoding_are_repaired_after_the_data_plane_was_killed", async {
        let mut show = Show::start_with(5, |config| PublisherConfig { encodings: ENCODINGS, ..config }).await;
        let before = show.identity().await;
        assert_repaired(&mut show).await;
        Chance::new().wait(KILLED_WITHIN).await;
        let killed = show.server.kill_dataplane().await.unwrap();
        let back = show.viewers.wait_all(LIMIT, |viewer| viewer.first_decoded_after(killed).is_some()).await;
        assert!(back, "everybody sees a frame again\n{}", show.server.logs());
        assert_repaired(&mut show).await;
        assert_eq!(show.identity().await, before, "nobody had to negotiate anew");
        show.end().await;
    });
}

#[test]
fn encodings_that_a_publisher_sends_though_the_answer_left_them_out_reach_nobody() {
    let name = "simulcast::encodings_that_a_publisher_sends_though_the_answer_left_them_out_reach_nobody";
    in_own_network(name, async {
        let make = |config| PublisherConfig { encodings: ENCODINGS, sends: Sends::All, ..config };
        let mut show = Show::start_with(2, make).await;
        assert_only_the_accepted(&show).await;
        let _at = show.server.kill_dataplane().await.unwrap();
        show.assert_goes_on().await;
        assert_only_the_accepted(&show).await;
        show.end().await;
    });
}

/// Checks for a while that viewers get all of the encoding that was accepted and nothing of the others, whose packets are
/// counted.
async fn assert_only_the_accepted(show: &Show) {
    let (mark, before) = (show.mark(), left_out(show).await);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut counted = 0;
    let deadline = Instant::now() + LIMIT;
    while counted < 200 && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(100)).await;
        counted = left_out(show).await - before;
    }
    let published = show.assert_complete(&mark).await;
    let (accepted, _) = show.publisher.stats().video_position().unwrap();
    for viewer in show.viewers.snapshot() {
        let streams: Vec<u64> = viewer.video().unwrap().sources.iter().map(|source| source.stream_id).collect();
        assert_eq!(streams, [accepted], "one encoding\n{}", show.server.logs());
    }
    println!("measured: {published} packets of the encoding that was accepted, {counted} of the two others");
    assert!(counted >= 200, "the others are sent and counted: {counted} beside {published}");
}

/// The packets of encodings that were left out, as the server counts them.
async fn left_out(show: &Show) -> u64 {
    let request = reqwest::Client::new().get(format!("{}/metrics", show.server.base()));
    let text = request.bearer_auth(show.server.secret()).send().await.unwrap().text().await.unwrap();
    let counters = text.lines().filter(|line| line.starts_with("sluice_shard_discards_total{"));
    let counters = counters.filter(|line| line.contains("reason=\"rid_unknown\""));
    counters.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// Loses packets for a while, and checks that every viewer gets all of them.
async fn assert_repaired(show: &mut Show) {
    let loss = Loss::towards(show.server.media_port().await.unwrap(), ONE_IN).unwrap();
    let mark = show.mark();
    tokio::time::sleep(LOSSY).await;
    let lost = loss.count().unwrap();
    drop(loss);
    assert!(lost > 5, "the network loses packets: {lost}");
    let published = show.assert_complete(&mark).await;
    println!("measured: {lost} packets lost of {published} published, and repaired");
}

#[test]
fn a_browsers_simulcast_is_repaired_after_the_data_plane_was_killed() {
    in_own_network("simulcast::a_browsers_simulcast_is_repaired_after_the_data_plane_was_killed", async {
        let mut cast = Cast::start().await;
        let publishing = cast.browsers.measure("publisher").await.unwrap();
        let offer = publishing["local"].as_str().unwrap();
        assert!(offer.contains("a=simulcast:send q;h;f"), "three encodings are offered: {offer}");
        Chance::new().wait(KILLED_WITHIN).await;
        let clock = cast.browsers.clock("viewer").await.unwrap();
        let _at = cast.server.kill_dataplane().await.unwrap();
        tokio::time::sleep(LOSSY).await;
        let standstill = cast.browsers.longest_standstill("viewer", clock).await.unwrap();
        println!("measured: data plane killed: a simulcast stood still for {standstill:?}");
        assert!(standstill < bound(Duration::from_secs(1)), "stood still for {standstill:?}\n{}", cast.server.logs());
        cast.assert_repaired().await;
        let after = cast.browsers.measure("publisher").await.unwrap();
        for key in ["mark", "connections", "local", "remote", "pair"] {
            assert_eq!(after[key], publishing[key], "the publisher's page went on as it was");
        }
        assert_eq!(after["sentVideo"]["ssrc"], publishing["sentVideo"]["ssrc"], "one encoding all the time");
        cast.viewers.leave_all().await.unwrap();
        cast.browsers.stop().await.unwrap();
    });
}

/// A browser that publishes a simulcast, a browser that plays it, and foreign viewers who count numbers.
struct Cast {
    server: Server,
    browsers: Browsers,
    viewers: Viewers,
}

impl Cast {
    async fn start() -> Self {
        let options = Options { announce: Some(ADDRESS.to_owned()), ..Options::default() };
        let server = Server::start(options).await.unwrap();
        let rooms = Rooms::new(server.base(), server.secret()).unwrap();
        let room = rooms.create("simulcast").await.unwrap();
        let mut browsers = Browsers::start().unwrap();
        let token = rooms.token(&room, "publisher", "speaker").await.unwrap();
        let url = rooms.whip(&room, &token).unwrap().url;
        open(&mut browsers, &server, "publisher", &format!("publish({url:?}, {token:?}, 'vp8', {ENCODINGS:?})")).await;
        let sends = |found: &Value| sent(found, "framesEncoded") > 30;
        let _sends = browsers.wait_until("publisher", PATIENCE, sends).await.unwrap();
        let token = rooms.token(&room, "page", "attendee").await.unwrap();
        let url = rooms.whep(&room, &token).unwrap().url;
        open(&mut browsers, &server, "viewer", &format!("play({url:?}, {token:?})")).await;
        let _plays = browsers.wait_until("viewer", PATIENCE, |found| decoded(found) > 30).await.unwrap();
        browsers.record_pictures("viewer").await.unwrap();
        let resources = rooms.whep_each(&room, "viewer", 3).await.unwrap();
        let viewers = Viewers::start_each(&resources, ViewerConfig::new(resources[0].clone())).await.unwrap();
        let served = viewers.wait_all(LIMIT, |viewer| viewer.video().is_some_and(|video| video.packets > 50)).await;
        assert!(served, "foreign viewers get packets\n{}", server.logs());
        Self { server, browsers, viewers }
    }

    /// Loses packets for a while, and checks that the publisher repairs them, and that nobody misses any.
    async fn assert_repaired(&mut self) {
        let torn: Vec<u64> = self.viewers.snapshot().iter().map(gaps).collect();
        let before = self.browsers.measure("publisher").await.unwrap();
        let seen = decoded(&self.browsers.measure("viewer").await.unwrap());
        let loss = Loss::towards(self.server.media_port().await.unwrap(), ONE_IN).unwrap();
        tokio::time::sleep(LOSSY).await;
        let lost = loss.count().unwrap();
        drop(loss);
        let after = self.browsers.measure("publisher").await.unwrap();
        let repairs = sent(&after, "retransmittedPacketsSent") - sent(&before, "retransmittedPacketsSent");
        println!("measured: {lost} packets of a simulcast lost, {repairs} sent again by the browser");
        assert!(lost > 5, "the network loses packets: {lost}");
        assert!(repairs >= lost / 2, "the browser repairs what was lost: {repairs} of {lost}");
        let most = torn.iter().max().copied().unwrap_or(0);
        let whole = self.viewers.wait_all(LIMIT, |viewer| gaps(viewer) <= most).await;
        let now: Vec<u64> = self.viewers.snapshot().iter().map(gaps).collect();
        assert!(whole, "numbers missing before {torn:?}, now {now:?}\n{}", self.server.logs());
        let shown = decoded(&self.browsers.measure("viewer").await.unwrap()) - seen;
        assert!(shown > 15 * LOSSY.as_secs(), "the viewer has decoded {shown} pictures");
    }
}

/// Opens a page that begins to publish or to play.
async fn open(browsers: &mut Browsers, server: &Server, page: &str, call: &str) {
    browsers.open(page, Browser::Chromium, server.base()).await.unwrap();
    let _none = browsers.evaluate(page, &format!("(async () => {{ {PAGE}\nawait peer.{call}; }})()")).await.unwrap();
}

fn sent(found: &Value, key: &str) -> u64 {
    found["sentVideo"][key].as_u64().unwrap_or(0)
}

fn decoded(found: &Value) -> u64 {
    found["video"]["framesDecoded"].as_u64().unwrap_or(0)
}

/// Numbers that the server has given out and the viewer has not got.
fn gaps(viewer: &ViewerStats) -> u64 {
    viewer.video().map_or(0, |video| video.rtp.sequence_gaps())
}
