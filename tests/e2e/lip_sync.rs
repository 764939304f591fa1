//! Lips and voice stay together while the layer of the picture changes.
//!
//! A foreign publisher flashes and beeps at the same moments, in three encodings whose clocks have nothing in common. A foreign
//! viewer decodes both, and maps what it gets to one clock by the server's sender reports, as any receiver does.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_load::Rooms;
use sluice_tests::{ADDRESS, Options, Script, Server, Signaller, in_own_network};

const LIMIT: Duration = Duration::from_secs(40);
/// How far a beep may be from its flash, and the two further apart or closer together than before the first change.
const APART_MAX: f64 = 0.04;
/// A beep and a flash that belong together are nearer than those that do not.
const TOGETHER: f64 = 0.25;
/// How far what is made may be from its coming: the machine is busy, decoders wait, and a publisher's first report that is
/// late makes all of it seem later. A wrong clock is hours away.
const LATE_MAX: f64 = 20.0;
/// Flashes that are judged in each layer.
const FLASHES: usize = 2;
/// What the viewer wants, and the lines of the layer for it: every change from one layer to another one.
const WISHES: [(&str, u64); 8] = [
    ("high", 360),
    ("low", 90),
    ("high", 360),
    ("medium", 180),
    ("low", 90),
    ("medium", 180),
    ("high", 360),
    ("low", 90),
];

/// Somebody who flashes and beeps, and what signals for it.
struct Publisher {
    client: Signaller,
    encoder: Script,
}

impl Publisher {
    /// Enters a room and publishes picture and sound.
    async fn enter(server: &Server, token: &str) -> Self {
        let mut client = Signaller::enter(server.base(), token).await.unwrap();
        let mut encoder = Script::aiortc("lips_peer.py", &["publish"]).unwrap();
        let offer = encoder.wait_for(LIMIT, |line| line["offer"].is_string()).await.unwrap();
        for (mid, kind, source) in [("0", "audio", "microphone"), ("1", "video", "camera")] {
            let track = json!({ "type": "publish_track", "mid": mid, "kind": kind, "source": source });
            let _done = client.done(track).await.unwrap();
        }
        let answer = client.done(json!({ "type": "offer", "offer_id": 1, "sdp": offer["offer"] })).await.unwrap();
        let sdp = answer["sdp"].as_str().unwrap();
        assert!(sdp.contains("a=simulcast:recv q;h;f"), "three encodings are taken: {sdp}");
        encoder.say(&json!({ "answer": sdp })).await.unwrap();
        let _begun = encoder.wait_for(LIMIT, |line| line["connected"] == true).await.unwrap();
        Self { client, encoder }
    }
}

/// Somebody who decodes, and what signals for it.
struct Viewer {
    client: Signaller,
    decoder: Script,
    picture: String,
}

impl Viewer {
    /// Enters a room where picture and sound are published, and receives both.
    async fn enter(server: &Server, token: &str) -> Self {
        let mut client = Signaller::enter(server.base(), token).await.unwrap();
        let tracks = client.joined().pointer("/participants/0/tracks").cloned().unwrap_or_default();
        let picture = tracks.as_array().unwrap().iter().find(|track| track["kind"] == "video").unwrap()["id"].clone();
        let mut decoder = Script::aiortc("lips_peer.py", &["watch"]).unwrap();
        let offer = client.told("offer").await.unwrap();
        decoder.say(&json!({ "offer": offer["sdp"] })).await.unwrap();
        let answer = decoder.wait_for(LIMIT, |line| line["answer"].is_string()).await.unwrap();
        let answer = json!({ "type": "answer", "offer_id": offer["offer_id"], "sdp": answer["answer"] });
        let _done = client.done(answer).await.unwrap();
        Self { client, decoder, picture: picture.as_str().unwrap().to_owned() }
    }

    /// Wants a quality of the picture, and returns what was seen and heard when enough of it has come.
    async fn want(&mut self, server: &Server, quality: &str, lines: u64) -> (Vec<Flash>, Vec<Beep>) {
        let room = self.client.joined()["room_id"].clone();
        let change =
            json!({ "type": "update_subscription", "room_id": room, "track_id": self.picture, "quality": quality });
        let _done = self.client.done(change).await.unwrap();
        let before = self.decoder.wait_for(LIMIT, |line| line["flashes"].is_array()).await.unwrap();
        let seen = flashes(&before).len();
        // What was made before the first beep that is known, or after the last one, has none to be compared with.
        let judged = |line: &Value| {
            let beeps = beeps(line);
            let (first, last) = (beeps.first().map(|beep| beep.made), beeps.last().map(|beep| beep.made));
            let span = first.unwrap_or(f64::INFINITY) - TOGETHER..last.unwrap_or(f64::NEG_INFINITY) - TOGETHER;
            let fit = flashes(line).into_iter().skip(seen).filter(|flash| flash.lines == lines);
            fit.filter(|flash| span.contains(&flash.made)).take(FLASHES).collect::<Vec<_>>()
        };
        let enough = |line: &Value| judged(line).len() == FLASHES;
        let found = self.decoder.wait_for(LIMIT, enough).await;
        let found = found.unwrap_or_else(|error| panic!("{lines} lines: {error:#}\n{}", server.logs()));
        (judged(&found), beeps(&found))
    }
}

/// When a flash was made, by the viewer's reckoning, in seconds.
#[derive(Debug, Clone, Copy)]
struct Flash {
    made: f64,
    lines: u64,
    late: f64,
}

/// When a beep was made.
#[derive(Debug, Clone, Copy)]
struct Beep {
    made: f64,
    late: f64,
}

#[test]
fn a_beep_stays_with_its_flash_across_changes_of_layers() {
    in_own_network("lip_sync::a_beep_stays_with_its_flash_across_changes_of_layers", async {
        let options = Options { announce: Some(ADDRESS.to_owned()), ..Options::default() };
        let server = Server::start(options).await.unwrap();
        let rooms = Rooms::new(server.base(), server.secret()).unwrap();
        let room = rooms.create("lips").await.unwrap();
        let token = rooms.token(&room, "publisher", "speaker").await.unwrap();
        let publisher = Publisher::enter(&server, &token).await;
        let token = rooms.token(&room, "viewer", "attendee").await.unwrap();
        let mut viewer = Viewer::enter(&server, &token).await;

        let mut first = None;
        let (mut least, mut most, mut late) = (f64::INFINITY, f64::NEG_INFINITY, 0.0_f64);
        for (quality, lines) in WISHES {
            let (flashes, beeps) = viewer.want(&server, quality, lines).await;
            for flash in flashes {
                let beep = nearest(&beeps, flash);
                let apart = flash.made - beep.made;
                let told = format!("{quality}: {apart} s from {beep:?} to {flash:?}; {least} to {most} s before");
                assert!(apart.abs() <= TOGETHER, "no beep belongs to the flash: {told}");
                assert!(flash.late.abs() < LATE_MAX && beep.late.abs() < LATE_MAX, "a wrong clock: {told}");
                let first = *first.get_or_insert(apart);
                assert!(apart.abs() <= APART_MAX && (apart - first).abs() <= APART_MAX, "{told}");
                (least, most, late) = (least.min(apart), most.max(apart), late.max(flash.late));
            }
        }
        println!(
            "measured: a flash was {:.1} to {:.1} ms after its beep over {} changes of layers, and decoded within {late:.1} s",
            least * 1000.0,
            most * 1000.0,
            WISHES.len() - 1
        );
        viewer.decoder.leave().await.unwrap();
        viewer.client.leave().await.unwrap();
        publisher.encoder.leave().await.unwrap();
        publisher.client.leave().await.unwrap();
    });
}

fn nearest(beeps: &[Beep], flash: Flash) -> Beep {
    let distance = |beep: &Beep| (beep.made - flash.made).abs();
    *beeps.iter().min_by(|one, other| distance(one).total_cmp(&distance(other))).expect("beeps were heard")
}

fn flashes(line: &Value) -> Vec<Flash> {
    let flash = |row: &Value| Some(Flash { made: row[0].as_f64()?, lines: row[1].as_u64()?, late: row[2].as_f64()? });
    line["flashes"].as_array().into_iter().flatten().filter_map(flash).collect()
}

fn beeps(line: &Value) -> Vec<Beep> {
    let beep = |row: &Value| Some(Beep { made: row[0].as_f64()?, late: row[1].as_f64()? });
    line["beeps"].as_array().into_iter().flatten().filter_map(beep).collect()
}
