//! The layers of a camera follow the size of its picture on the page, and nobody sees them change.
//!
//! Ann's camera has three layers. Ben, who has none, looks at her in each of three sizes after each other one; Cid does not
//! touch anything, so that what stops for Cid too, or before it leaves Ann's browser, is told from what stops for Ben alone.

use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_tests::{Browser, in_own_network};

use crate::call::Call;
use crate::show::number;

/// How long a change of layers may take: the estimate of the publisher climbs by about 8 % a second until it is there.
const LIMIT: Duration = Duration::from_secs(60);
/// How long somebody looks on after a change.
const WATCHED: Duration = Duration::from_millis(1500);
/// No picture may stand still for longer.
const FREEZE_MS_MAX: f64 = 500.0;
/// Where something else than the change stood still for as long as this meanwhile, the machine was busy, and the change says
/// nothing. A picture comes every 67 ms, a count every 100 ms.
const DISTURBED_MS_MIN: f64 = 300.0;
/// How often a change is tried that says nothing.
const TRIES: u32 = 4;

/// How large Ben sees Ann: the button that makes it so, whether that has to be off, and the lines of the layer for it.
#[derive(Debug, Clone, Copy)]
struct Size {
    pressed: Option<&'static str>,
    lines: f64,
}

/// On the stage, as large as the page allows.
const LARGE: Size = Size { pressed: Some("Show Ann large"), lines: 720.0 };
/// One of three who are shown alike.
const ALIKE: Size = Size { pressed: None, lines: 360.0 };
/// In the strip beside the stage, on which Ben sees himself.
const THUMBNAIL: Size = Size { pressed: Some("Show yourself large"), lines: 180.0 };

/// Every change from one size to another one, after the first.
const SIZES: [Size; 7] = [LARGE, THUMBNAIL, LARGE, ALIKE, THUMBNAIL, ALIKE, LARGE];

/// Records when each picture of Ann is shown, and when the page itself gets its turn.
const RECORD: &str = "(() => {
    const tile = [...document.querySelectorAll('.tile')].find((tile) => tile.querySelector('.name').textContent.trim() === 'Ann');
    const video = tile.querySelector('video');
    Object.assign(watched, { video, shown: [], turns: [] });
    const next = () => video.requestVideoFrameCallback(() => { watched.shown.push(Date.now()); next(); });
    next();
    setInterval(() => watched.turns.push(Date.now()), 50);
})()";

/// Records when the publisher's counts of encoded pictures have grown, of all layers.
const RECORD_ENCODED: &str = "(() => {
    watched.encoded = [];
    let before = 0;
    setInterval(async () => {
        const stats = await Promise.all(watched.connections.map((connection) => connection.getStats()));
        const sent = stats.flatMap((report) => [...report.values()]).filter(({ type, kind }) => type === 'outbound-rtp' && kind === 'video');
        const now = sent.reduce((sum, { framesEncoded }) => sum + framesEncoded, 0);
        if (now > before) watched.encoded.push(Date.now());
        before = now;
    }, 100);
})()";

/// What a viewer gets of Ann: lines of the picture, and what the browser calls freezes.
const RECEIVED: &str = "(async () => {
    const [track] = watched.video.srcObject.getVideoTracks();
    const receivers = watched.connections.flatMap((connection) => connection.getReceivers());
    const report = await receivers.find((receiver) => receiver.track === track).getStats();
    const { frameHeight, freezeCount, totalFreezesDuration } = [...report.values()].find(({ type }) => type === 'inbound-rtp');
    return { frameHeight, freezeCount, totalFreezesDuration };
})()";

#[test]
fn the_layer_follows_the_size_of_the_tile_and_no_change_is_seen() {
    in_own_network("layers::the_layer_follows_the_size_of_the_tile_and_no_change_is_seen", async {
        let mut call = Call::start(Browser::ChromiumWithALargeCamera).await;
        for name in ["Ben", "Cid"] {
            call.join(name, Browser::ChromiumWithoutDevices).await;
            call.wait_meeting(name, &["Ann"]).await;
            let _none = call.browsers.evaluate(name, RECORD).await.unwrap();
        }
        let _none = call.browsers.evaluate("Ann", RECORD_ENCODED).await.unwrap();
        press(&mut call, "Cid", THUMBNAIL).await;
        wait_lines(&mut call, "Cid", THUMBNAIL.lines).await;
        press(&mut call, "Ben", SIZES[0]).await;
        wait_lines(&mut call, "Ben", SIZES[0].lines).await;

        let (mut longest, mut repeated) = (0.0_f64, 0);
        for pair in SIZES.windows(2) {
            let (standstill, tries) = change(&mut call, pair[0], pair[1]).await;
            longest = longest.max(standstill);
            repeated += tries - 1;
        }
        assert_eq!(number(&received(&mut call, "Cid").await["frameHeight"]), 180.0, "nothing changed for Cid");
        let found = received(&mut call, "Ben").await;
        let (freezes, seconds) = (&found["freezeCount"], &found["totalFreezesDuration"]);
        println!(
            "measured: no picture stood still for longer than {longest} ms over {} changes of layers; the browser counts \
             {freezes} freezes, {seconds} s together; {repeated} changes tried again as the machine was busy",
            SIZES.len() - 1,
        );
        call.browsers.stop().await.unwrap();
    });
}

/// Changes the size, and returns for how long the picture stood still at most, in milliseconds, and at which try the machine
/// let that be told.
async fn change(call: &mut Call, from: Size, to: Size) -> (f64, u32) {
    for tried in 1..=TRIES {
        let begin = now(call).await;
        press(call, "Ben", to).await;
        wait_lines(call, "Ben", to.lines).await;
        tokio::time::sleep_until((Instant::now() + WATCHED).into()).await;
        let end = now(call).await;
        let standstill = longest(call, "Ben", "shown", begin, end).await;
        if standstill <= FREEZE_MS_MAX {
            return (standstill, tried);
        }
        let mut others = Vec::new();
        for (name, what) in [("Cid", "shown"), ("Ben", "turns"), ("Ann", "encoded")] {
            others.push(longest(call, name, what, begin, end).await);
        }
        let is_disturbed = others.iter().any(|other| *other >= DISTURBED_MS_MIN);
        let told =
            format!("Ann stood still for {standstill} ms for Ben, from {from:?} to {to:?}; others: {others:?} ms");
        assert!(is_disturbed, "{told}\n{}", call.server.logs());
        assert!(tried < TRIES, "the machine is too busy: {told}");
        press(call, "Ben", from).await;
        wait_lines(call, "Ben", from.lines).await;
    }
    unreachable!("the last try returns or fails")
}

/// Has somebody see Ann in that size.
async fn press(call: &mut Call, name: &str, size: Size) {
    let pressed = "document.querySelector('button.size[aria-pressed=true]')?.getAttribute('aria-label') ?? ''";
    let before = call.browsers.evaluate(name, pressed).await.unwrap();
    if let Some(label) = size.pressed.or(before.as_str()).filter(|label| !label.is_empty()) {
        call.press_labelled(name, label).await;
    }
}

async fn wait_lines(call: &mut Call, name: &str, lines: f64) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = received(call, name).await;
        if number(&found["frameHeight"]) == lines {
            return;
        }
        if Instant::now() > deadline {
            let picture = call.browsers.picture(name).await;
            let sent = call.browsers.measure("Ann").await.unwrap();
            panic!("{name} waits for {lines} lines: {found}\nAnn: {sent:#}\n{picture}\n{}", call.server.logs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn received(call: &mut Call, name: &str) -> Value {
    call.browsers.evaluate(name, RECEIVED).await.unwrap()
}

/// The clock that all browsers of the machine have in common, in milliseconds.
async fn now(call: &mut Call) -> f64 {
    number(&call.browsers.evaluate("Ben", "Date.now()").await.unwrap())
}

/// The longest time between two records of a page that overlaps a span of time, in milliseconds.
async fn longest(call: &mut Call, name: &str, what: &str, begin: f64, end: f64) -> f64 {
    let script = format!(
        "[...watched.{what}, Date.now()].map((at, place, all) => [all[place - 1] ?? at, at])
            .filter(([from, to]) => to >= {begin} && from <= {end})
            .reduce((longest, [from, to]) => Math.max(longest, to - from), 0)"
    );
    number(&call.browsers.evaluate(name, &script).await.unwrap())
}
