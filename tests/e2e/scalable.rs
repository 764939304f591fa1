//! Browsers publish spatial and temporal layers, and browsers with and without dependency descriptors decode them, also
//! after the data plane was killed, which knew the structure of the layers.

use std::time::Duration;

use serde_json::Value;
use sluice_load::Rooms;
use sluice_tests::{ADDRESS, Browser, Browsers, Options, Server, bound, in_own_network};

/// How a page publishes and plays.
const PAGE: &str = include_str!("../peers/page_peer.js");
/// How long a publisher may take until it sends all layers: it raises its rate slowly, and three browsers share the machine.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long pictures are watched then.
const WATCHED: Duration = Duration::from_secs(6);
const URI: &str = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

macro_rules! shows {
    ($($test:ident: $codec:literal, $mode:literal, $with:literal, $without:literal;)*) => {
        $(#[test]
        fn $test() {
            let name = concat!("scalable::", stringify!($test));
            in_own_network(name, plays($codec, $mode, [$with, $without]));
        })*
    };
}

// How high the picture is with descriptors and without: without them Chromium cannot put layers of AV1 together.
shows! {
    av1_in_three_spatial_layers: "av1", "L3T3_KEY", 540, 136;
    av1_in_three_temporal_layers: "av1", "L1T3", 540, 540;
    vp9_in_three_spatial_layers: "vp9", "L3T3_KEY", 540, 540;
}

async fn plays(codec: &str, mode: &str, [with, without]: [u64; 2]) {
    let options = Options { announce: Some(ADDRESS.to_owned()), ..Options::default() };
    let mut server = Server::start(options).await.unwrap();
    let rooms = Rooms::new(server.base(), server.secret()).unwrap();
    let room = rooms.create("scalable").await.unwrap();
    let mut browsers = Browsers::start().unwrap();
    let token = rooms.token(&room, "publisher", "speaker").await.unwrap();
    let url = rooms.whip(&room, &token).unwrap().url;
    open(&mut browsers, &server, "publisher", &format!("publish({url:?}, {token:?}, {codec:?}, [], {mode:?})")).await;
    let sends = |found: &Value| found["sentVideo"]["framesEncoded"].as_u64() > Some(10);
    let sending = browsers.wait_until("publisher", PATIENCE, sends).await.unwrap();
    assert_eq!(sending["sentVideo"]["scalabilityMode"], mode);
    assert!(sending["remote"].as_str().unwrap().contains(URI), "descriptors are negotiated with the publisher");
    for (page, takes_descriptors, height) in [("with", true, with), ("without", false, without)] {
        let token = rooms.token(&room, page, "attendee").await.unwrap();
        let url = rooms.whep(&room, &token).unwrap().url;
        open(&mut browsers, &server, page, &format!("play({url:?}, {token:?}, {codec:?}, {takes_descriptors})")).await;
        let shows = |found: &Value| decoded(found) > 10 && found["video"]["frameHeight"].as_u64() == Some(height);
        let found = browsers.wait_until(page, PATIENCE, shows).await.unwrap_or_else(|error| {
            panic!("{page} descriptors: {error:#}\n{}", server.logs());
        });
        assert_eq!(found["remote"].as_str().unwrap().contains(URI), takes_descriptors);
        browsers.record_pictures(page).await.unwrap();
        let clock = browsers.clock(page).await.unwrap();
        tokio::time::sleep(WATCHED).await;
        let standstill = browsers.longest_standstill(page, clock).await.unwrap();
        let after = browsers.measure(page).await.unwrap();
        let frames = decoded(&after) - decoded(&found);
        println!("measured: {codec} {mode}, {page} descriptors: {frames} pictures, none for {standstill:?} at most");
        assert!(frames >= 8 * WATCHED.as_secs(), "{page} descriptors: {frames} pictures of 15 a second\n{after:#}");
        assert!(standstill < bound(Duration::from_millis(500)), "{page} descriptors: stood still for {standstill:?}");
        assert_eq!(after["video"]["frameHeight"], height);
        let _at = server.kill_dataplane().await.unwrap();
        tokio::time::sleep(WATCHED).await;
        let standstill = browsers.longest_standstill(page, clock).await.unwrap();
        println!("measured: {codec} {mode}, {page} descriptors: data plane killed: stood still for {standstill:?}");
        assert!(standstill < bound(Duration::from_secs(1)), "{page} descriptors: stood still for {standstill:?}");
        let healed = browsers.measure(page).await.unwrap();
        let frames = decoded(&healed) - decoded(&after);
        assert!(frames >= 8 * (WATCHED.as_secs() - 1), "{page} descriptors: {frames} pictures after the kill");
        assert_eq!(healed["video"]["frameHeight"], height);
        browsers.close(page).await.unwrap();
    }
    browsers.stop().await.unwrap();
}

/// Opens a page that begins to publish or to play.
async fn open(browsers: &mut Browsers, server: &Server, page: &str, call: &str) {
    browsers.open(page, Browser::Chromium, server.base()).await.unwrap();
    let _none = browsers.evaluate(page, &format!("(async () => {{ {PAGE}\nawait peer.{call}; }})()")).await.unwrap();
}

fn decoded(found: &Value) -> u64 {
    found["video"]["framesDecoded"].as_u64().unwrap_or(0)
}
