//! Browsers among the viewers: each plays by WHEP in a page of its own, and decodes what the publisher sends.

use std::time::Duration;

use serde_json::Value;
use sluice_load::Rooms;
use sluice_load::payload::Pictures;
use sluice_tests::{Browser, Browsers, Server};

/// How long a browser may take until it shows something, on a machine that serves fifty others at the same time.
const LIMIT: Duration = Duration::from_secs(40);
/// How a page plays.
const PAGE: &str = include_str!("../peers/page_peer.js");
/// A box that wanders over a plain ground: every picture is another one, and each fits a packet.
const BOX: &str = "[0][1]overlay=x='mod(2*n,120)':y='30+20*sin(n/8)'";
const SOURCES: [&str; 2] = ["color=navy:s=160x90:r=25", "color=orange:s=40x30:r=25"];
const ENCODER: &str = "-c:v libvpx -b:v 120k -g 999 -auto-alt-ref 0 -lag-in-frames 0 -deadline realtime -cpu-used 4";

/// Four seconds of VP8 from a foreign encoder.
pub(crate) fn pictures() -> Pictures {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pictures.ivf");
    let mut command = std::process::Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-nostdin"]);
    command.args(SOURCES.iter().flat_map(|source| ["-f", "lavfi", "-i", source]));
    command.args(["-filter_complex", BOX, "-frames:v", "100"]).args(ENCODER.split(' ')).arg(&file);
    assert!(command.status().expect("ffmpeg is installed").success(), "ffmpeg encodes");
    Pictures::from_ivf(&std::fs::read(&file).unwrap()).unwrap()
}

/// Pages that play.
pub(crate) struct Audience {
    browsers: Browsers,
    pages: Vec<String>,
}

/// What a page was like at a moment.
pub(crate) struct Moment {
    found: Value,
    clock_ms: f64,
}

impl Audience {
    /// Opens a page in each browser and waits until all of them show moving pictures.
    pub(crate) async fn join(server: &Server, rooms: &Rooms, room: &str, kinds: &[Browser]) -> Self {
        let mut audience = Self { browsers: Browsers::start().unwrap(), pages: Vec::new() };
        for (number, kind) in kinds.iter().enumerate() {
            let page = format!("{kind:?}-{number}");
            let token = rooms.token(room, &page, "attendee").await.unwrap();
            let url = rooms.whep(room, &token).unwrap().url;
            audience.browsers.open(&page, *kind, server.base()).await.unwrap();
            let play = format!("(async () => {{ {PAGE}\nawait peer.play({url:?}, {token:?}); }})()");
            let _none = audience.browsers.evaluate(&page, &play).await.unwrap();
            let plays = |found: &Value| number_of(found, "framesDecoded") > 40.0;
            let found = audience.browsers.wait_until(&page, LIMIT, plays).await;
            let _plays = found.unwrap_or_else(|error| panic!("{error:#}\n{}", server.logs()));
            audience.browsers.record_pictures(&page).await.unwrap();
            audience.pages.push(page);
        }
        audience
    }

    /// Takes down what every page is like now.
    pub(crate) async fn moments(&mut self) -> Vec<Moment> {
        let mut moments = Vec::new();
        for page in &self.pages {
            let clock_ms = self.browsers.clock(page).await.unwrap();
            moments.push(Moment { found: self.browsers.measure(page).await.unwrap(), clock_ms });
        }
        moments
    }

    /// Checks that every page has decoded pictures all the time since `before`, without a freeze.
    pub(crate) async fn assert_no_freeze(&mut self, before: &[Moment], time: Duration) {
        let after = self.moments().await;
        for ((page, before), after) in self.pages.iter().zip(before).zip(&after) {
            let grown = number_of(&after.found, "framesDecoded") - number_of(&before.found, "framesDecoded");
            assert!(grown > 20.0 * time.as_secs_f64(), "{page} has decoded {grown} pictures in {time:?}");
            assert_eq!(freezes(after), freezes(before), "{page} froze: {:#}", after.found);
            assert_eq!(identity(after), identity(before), "{page} went on as it was");
        }
    }

    /// Returns the longest time that a picture stood still in any page since `before`, and checks that nobody negotiated
    /// anew.
    pub(crate) async fn longest_standstill(&mut self, before: &[Moment]) -> Duration {
        let after = self.moments().await;
        let mut longest = Duration::ZERO;
        for ((page, before), after) in self.pages.iter().zip(before).zip(&after) {
            let standstill = self.browsers.longest_standstill(page, before.clock_ms).await.unwrap();
            println!("measured: data plane killed: the picture stood still for {standstill:?} in {page}");
            longest = longest.max(standstill);
            assert_eq!(identity(after), identity(before), "{page} went on as it was");
        }
        longest
    }

    pub(crate) async fn leave(mut self) {
        for page in &self.pages {
            let _none = self.browsers.evaluate(page, "peer.leave()").await.unwrap();
        }
        self.browsers.stop().await.unwrap();
    }
}

fn number_of(found: &Value, key: &str) -> f64 {
    found["video"][key].as_f64().unwrap_or(0.0)
}

/// Freezes that the browser itself has counted.
fn freezes(moment: &Moment) -> u64 {
    moment.found["video"]["freezeCount"].as_u64().expect("the browser counts freezes")
}

/// Everything that identifies a page and its connection.
fn identity(moment: &Moment) -> Vec<Value> {
    ["mark", "connections", "local", "remote", "pair"].map(|key| moment.found[key].clone()).into()
}
