//! Several people's browsers in one call, while everything is well and while planes are killed.

use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_tests::{Browser, Browsers, Chance, Server, in_own_network};

use crate::show::{LIMIT, number, server};

/// How long people look at each other to see that it goes on.
const WATCHED: Duration = Duration::from_secs(4);
/// A plane is killed at a random moment within this time.
const KILLED_WITHIN: Duration = Duration::from_secs(2);
/// Energy of sound (as in `totalAudioEnergy`: squared amplitude by seconds) that somebody has who is heard.
const LOUD: f64 = 1e-3;
/// Energy that silence has at most.
const SILENT: f64 = 1e-8;
/// Who is in the larger call.
const EVERYBODY: [&str; 4] = ["Ann", "Ben", "Cid", "Dan"];

/// What a page shows of each person, what it hears of each, and what identifies it and its connections.
///
/// Firefox counts neither the frames that an element shows of a stream nor the energy of sound: there it is what was decoded,
/// and what packets say of their level (RFC 6464), looked at twenty times a second.
const LOOK: &str = "(async () => {
    const open = watched.connections.filter(({ connectionState }) => connectionState !== 'closed');
    const receiverOf = (track) => open.flatMap((connection) => connection.getReceivers()).find((other) => other.track === track);
    const statsOf = async (track) =>
        [...((await receiverOf(track)?.getStats())?.values() ?? [])].find(({ type }) => type === 'inbound-rtp');
    watched.levels ??= new Map();
    const listen = (track) => {
        watched.levels.set(track, 0);
        let last;
        setInterval(() => {
            for (const { audioLevel = 0, rtpTimestamp } of receiverOf(track)?.getSynchronizationSources() ?? []) {
                if (rtpTimestamp !== last) watched.levels.set(track, watched.levels.get(track) + audioLevel ** 2 / 20);
                last = rtpTimestamp;
            }
        }, 50);
    };
    const [tiles, names, heard] = [{}, {}, {}];
    for (const tile of document.querySelectorAll('.tile')) {
        const video = tile.querySelector('video');
        const shown = video?.getVideoPlaybackQuality().totalVideoFrames ?? 0;
        const frames = shown > 0 ? shown : (await statsOf(video?.srcObject?.getVideoTracks()[0]))?.framesDecoded ?? 0;
        const label = tile.querySelector('.label').textContent;
        const name = tile.querySelector('.name').textContent.trim();
        tiles[name] = { frames, isMuted: label.includes('muted') };
        if (tile.dataset.source === 'camera') names[tile.dataset.identity] = name;
    }
    for (const { srcObject, dataset } of document.querySelectorAll('audio')) {
        const [track] = srcObject?.getAudioTracks() ?? [];
        if (track === undefined) continue;
        const energy = (await statsOf(track))?.totalAudioEnergy;
        if (energy === undefined && !watched.levels.has(track)) listen(track);
        const name = names[dataset.identity] ?? '';
        heard[dataset.source === 'microphone' ? name : `${name}’s screen`] = energy ?? watched.levels.get(track);
    }
    return {
        state: document.querySelector('[data-state]')?.dataset.state ?? '',
        tiles,
        heard,
        identity: [
            watched.mark,
            watched.connections.length,
            open.map((connection) => [connection.localDescription?.sdp, connection.remoteDescription?.sdp]),
        ],
    };
})()";

/// A server with a room that people enter, each in a browser of its own.
pub(crate) struct Call {
    pub(crate) server: Server,
    pub(crate) browsers: Browsers,
    room: String,
}

impl Call {
    /// Has Ann start a call on the front page and enter it.
    pub(crate) async fn start(browser: Browser) -> Self {
        let server = server("create").await;
        let mut browsers = Browsers::start().unwrap();
        let front = format!("{}/", server.base());
        browsers.open("Ann", browser, &front).await.unwrap();
        browsers.type_into("Ann", "#call-name", "A call").await.unwrap();
        browsers.click("Ann", "#start-call button").await.unwrap();
        let mut call = Self::lobby(server, browsers).await;
        call.enter("Ann").await;
        call
    }

    /// Takes a call that Ann has started and is about to enter.
    pub(crate) async fn lobby(server: Server, mut browsers: Browsers) -> Self {
        let deadline = Instant::now() + LIMIT;
        let room = loop {
            let address = browsers.evaluate("Ann", "location.href").await.unwrap();
            match address.as_str() {
                Some(room) if room.contains("/room/") => break room.to_owned(),
                other => assert!(Instant::now() < deadline, "Ann is at {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        Self { server, browsers, room }
    }

    /// Has somebody open the link in a browser and enter the room.
    pub(crate) async fn join(&mut self, name: &str, browser: Browser) {
        self.browsers.open(name, browser, &self.room).await.unwrap();
        self.enter(name).await;
    }

    /// Has somebody say its name in the lobby, and enter.
    pub(crate) async fn enter(&mut self, name: &str) {
        self.browsers.click(name, "#own-name").await.unwrap();
        self.browsers.type_into(name, "#own-name", name).await.unwrap();
        self.press(name, "form button.join").await;
        self.wait(name, "to be in the call", |found| found["state"] == "live").await;
    }

    pub(crate) async fn press(&mut self, name: &str, selector: &str) {
        self.browsers.click(name, selector).await.unwrap_or_else(|error| panic!("{name}: {error:#}"));
    }

    pub(crate) async fn press_labelled(&mut self, name: &str, label: &str) {
        self.press(name, &format!("button[aria-label=\"{label}\"]")).await;
    }

    async fn look(&mut self, name: &str) -> Value {
        self.browsers.evaluate(name, LOOK).await.unwrap()
    }

    /// Waits until a page is as wanted, and returns what it shows.
    async fn wait(&mut self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + LIMIT;
        loop {
            let found = self.look(name).await;
            if wanted(&found) {
                return found;
            }
            if Instant::now() > deadline {
                let text = self.browsers.text(name).await.unwrap();
                let picture = self.browsers.picture(name).await;
                panic!("{name} waits for {what}: {found:#}\n{text}\n{picture}\n{}", self.server.logs());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits until somebody sees the moving pictures of the others, and hears each of them, from now on.
    pub(crate) async fn wait_meeting(&mut self, name: &str, others: &[&str]) {
        let before = self.look(name).await;
        let grows = |found: &Value, other: &&str| frames(found, other) > frames(&before, other) + 5.0;
        let hears = |found: &Value, other: &&str| heard(found, other) > heard(&before, other) + LOUD;
        let meets = |found: &Value| others.iter().all(|other| grows(found, other) && hears(found, other));
        let _met = self.wait(name, &format!("picture and sound of {others:?}"), meets).await;
    }

    /// Waits until somebody sees pictures that move, from now on.
    async fn wait_moving(&mut self, name: &str, tiles: &[&str]) {
        let before = self.look(name).await;
        let grows = |found: &Value, tile: &&str| frames(found, tile) > frames(&before, tile) + 1.0;
        let moves = |found: &Value| tiles.iter().all(|tile| grows(found, tile));
        let _seen = self.wait(name, &format!("moving pictures of {tiles:?}"), moves).await;
    }

    async fn wait_muted(&mut self, name: &str, other: &str, is_muted: bool) {
        let wanted = |found: &Value| found["tiles"][other]["isMuted"] == is_muted;
        let _seen = self.wait(name, &format!("{other} to be muted: {is_muted}"), wanted).await;
    }

    async fn wait_gone(&mut self, name: &str, tile: &str) {
        let gone = |found: &Value| found["tiles"].get(tile).is_none();
        let _seen = self.wait(name, &format!("{tile} to be gone"), gone).await;
    }

    /// Looks on for a while, and says how much somebody has seen of another one and heard meanwhile.
    async fn flow(&mut self, name: &str, other: &str) -> (f64, f64) {
        let before = self.look(name).await;
        tokio::time::sleep_until((Instant::now() + WATCHED).into()).await;
        let after = self.look(name).await;
        (frames(&after, other) - frames(&before, other), heard(&after, other) - heard(&before, other))
    }

    /// Kills the control plane at a random moment and starts another one. One of the people sees and hears somebody all the
    /// while, and for everybody it goes on as it was.
    pub(crate) async fn outlives_the_control_plane(&mut self, people: &[&str], (viewer, seen): (&str, &str)) {
        Chance::new().wait(KILLED_WITHIN).await;
        let before = self.look_at(people).await;
        self.server.kill_controlplane().unwrap();
        for name in people {
            let _lost = self.wait(name, "the loss to show", |found| found["state"] == "reconnecting").await;
        }
        let (pictures, sound) = self.flow(viewer, seen).await;
        let enough = 4.0 * WATCHED.as_secs_f64();
        assert!(pictures > enough && sound > 0.0, "{pictures} pictures, {sound} of sound meanwhile");
        self.server.start_controlplane().await.unwrap();
        for (name, before) in people.iter().zip(before) {
            let after = self.wait(name, "to be back", |found| found["state"] == "live").await;
            assert_eq!(after["identity"], before["identity"], "{name} went on as it was");
        }
        self.wait_meeting(viewer, &[seen]).await;
    }

    /// Kills the data plane at a random moment. All who see somebody see and hear that one again, and for everybody it goes on
    /// as it was.
    pub(crate) async fn outlives_the_data_plane(&mut self, people: &[&str], seeing: &[(&str, &str)]) {
        Chance::new().wait(KILLED_WITHIN).await;
        let before = self.look_at(people).await;
        let killed = self.server.dataplane_pid().await.unwrap();
        let _at = self.server.kill_dataplane().await.unwrap();
        for (viewer, seen) in seeing {
            self.wait_meeting(viewer, &[seen]).await;
        }
        assert_ne!(self.server.dataplane_pid().await.unwrap(), killed, "another data plane has taken over");
        for ((name, before), after) in people.iter().zip(before).zip(self.look_at(people).await) {
            assert_eq!(after["identity"], before["identity"], "{name} went on as it was");
        }
    }

    async fn look_at(&mut self, people: &[&str]) -> Vec<Value> {
        let mut found = Vec::new();
        for name in people {
            found.push(self.look(name).await);
        }
        found
    }
}

/// Pictures of somebody that were shown since its tile began to play.
fn frames(found: &Value, name: &str) -> f64 {
    number(&found["tiles"][name]["frames"])
}

/// Energy of somebody's sound.
fn heard(found: &Value, name: &str) -> f64 {
    number(&found["heard"][name])
}

#[test]
fn four_people_meet_mute_share_a_screen_leave_and_come_back() {
    in_own_network("call::four_people_meet_mute_share_a_screen_leave_and_come_back", async {
        let mut call = Call::start(Browser::ChromiumWithASmallCamera).await;
        call.join("Ben", Browser::ChromiumWithASmallCamera).await;
        call.wait_meeting("Ann", &["Ben"]).await;
        call.wait_meeting("Ben", &["Ann"]).await;
        call.join("Cid", Browser::FirefoxWithASmallCamera).await;
        call.press_labelled("Ben", "Mute the microphone").await;
        call.press_labelled("Ben", "Share your screen").await;
        for name in ["Ann", "Cid"] {
            call.wait_muted(name, "Ben", true).await;
            call.wait_moving(name, &["Ben", "Ben’s screen"]).await;
        }
        call.join("Dan", Browser::ChromiumWithASmallCamera).await;
        call.wait_meeting("Dan", &["Ann", "Cid"]).await;
        call.wait_muted("Dan", "Ben", true).await;
        call.wait_moving("Dan", &["Ben", "Ben’s screen"]).await;
        hear_all_but(&mut call, "Ben").await;

        call.press_labelled("Ben", "Unmute the microphone").await;
        call.press_labelled("Ben", "Stop sharing your screen").await;
        for name in EVERYBODY {
            call.wait_meeting(name, &others_of(name)).await;
            call.wait_gone(name, if name == "Ben" { "Your screen" } else { "Ben’s screen" }).await;
        }

        call.press_labelled("Cid", "Leave the call").await;
        call.browsers.wait_text("Cid", LIMIT, "You left the call").await.unwrap();
        for name in others_of("Cid") {
            call.wait_gone(name, "Cid").await;
        }
        call.press("Cid", "form button.join").await;
        for name in EVERYBODY {
            call.wait_meeting(name, &others_of(name)).await;
        }
        call.browsers.stop().await.unwrap();
    });
}

fn others_of(name: &str) -> Vec<&'static str> {
    EVERYBODY.into_iter().filter(|other| *other != name).collect()
}

/// Checks that everybody hears everybody but one who is muted.
async fn hear_all_but(call: &mut Call, muted: &str) {
    let before = call.look_at(&EVERYBODY).await;
    tokio::time::sleep_until((Instant::now() + WATCHED).into()).await;
    let after = call.look_at(&EVERYBODY).await;
    for ((name, before), after) in EVERYBODY.into_iter().zip(&before).zip(&after) {
        for other in others_of(name) {
            let energy = heard(after, other) - heard(before, other);
            let is_right = if other == muted { energy < SILENT } else { energy > LOUD };
            assert!(is_right, "{name} hears {other} with {energy:e}, and {muted} is muted\n{}", call.server.logs());
        }
    }
}

#[test]
fn a_call_outlives_either_plane_without_a_reload_or_a_negotiation() {
    in_own_network("call::a_call_outlives_either_plane_without_a_reload_or_a_negotiation", async {
        let mut call = Call::start(Browser::ChromiumWithASmallCamera).await;
        call.join("Ben", Browser::ChromiumWithASmallCamera).await;
        call.wait_meeting("Ann", &["Ben"]).await;
        call.wait_meeting("Ben", &["Ann"]).await;
        call.outlives_the_control_plane(&["Ann", "Ben"], ("Ann", "Ben")).await;
        // The session works: what is said in it arrives.
        call.press_labelled("Ben", "Mute the microphone").await;
        call.wait_muted("Ann", "Ben", true).await;
        call.press_labelled("Ben", "Unmute the microphone").await;
        call.wait_muted("Ann", "Ben", false).await;
        call.outlives_the_data_plane(&["Ann", "Ben"], &[("Ann", "Ben"), ("Ben", "Ann")]).await;
        call.browsers.stop().await.unwrap();
    });
}
