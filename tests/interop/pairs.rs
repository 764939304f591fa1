//! One stack publishes, another plays.

use std::time::Duration;

use anyhow::{Context, Result};
use sluice_load::Rooms;
use sluice_tests::{ADDRESS, Options, Server, in_own_network};

use crate::expect::judged;
use crate::stacks::{Counts, Peer, Role, Stack};

/// How long a peer may take until it has what is wanted, on a machine that encodes and decodes at the same time.
const LIMIT: Duration = Duration::from_secs(30);
/// A picture that goes on for seconds, and sound for as long.
const WANTED: Counts = Counts { video: 40, audio: 100 };

macro_rules! pairs {
    ($($test:ident: $publisher:ident, $player:ident, $codec:literal;)*) => {
        /// All tests here, by which `expect.toml` calls them.
        pub(crate) const NAMES: &[&str] = &[$(concat!("pairs::", stringify!($test))),*];

        $(#[test]
        fn $test() {
            let name = concat!("pairs::", stringify!($test));
            in_own_network(name, judged(name, plays(Stack::$publisher, Stack::$player, $codec)));
        })*
    };
}

pairs! {
    aiortc_to_gstreamer_vp8: Aiortc, GStreamer, "vp8";
    gstreamer_to_aiortc_vp8: GStreamer, Aiortc, "vp8";
    aiortc_to_datachannel_h264: Aiortc, Datachannel, "h264";
    datachannel_to_aiortc_h264: Datachannel, Aiortc, "h264";
    datachannel_to_chromium_vp8: Datachannel, Chromium, "vp8";
    chromium_to_datachannel_vp8: Chromium, Datachannel, "vp8";
    gstreamer_to_gstreamer_vp9: GStreamer, GStreamer, "vp9";
    gstreamer_to_chromium_h264: GStreamer, Chromium, "h264";
    chromium_to_gstreamer_h264: Chromium, GStreamer, "h264";
    chromium_to_aiortc_vp8: Chromium, Aiortc, "vp8";
    chromium_to_chromium_av1: Chromium, Chromium, "av1";
    chromium_to_firefox_vp9: Chromium, Firefox, "vp9";
    chromium_to_firefox_h264: Chromium, Firefox, "h264";
    firefox_to_chromium_av1: Firefox, Chromium, "av1";
}

async fn plays(publisher: Stack, player: Stack, codec: &str) -> Result<()> {
    let options = Options { announce: Some(ADDRESS.to_owned()), ..Options::default() };
    let server = Server::start(options).await?;
    let outcome = play(&server, publisher, player, codec).await;
    outcome.with_context(|| server.logs())
}

async fn play(server: &Server, publisher: Stack, player: Stack, codec: &str) -> Result<()> {
    let rooms = Rooms::new(server.base(), server.secret())?;
    let room = rooms.create("interoperability").await?;
    let token = rooms.token(&room, "publisher", "speaker").await?;
    let whip = rooms.whip(&room, &token)?;
    let token = rooms.token(&room, "player", "attendee").await?;
    let whep = rooms.whep(&room, &token)?;
    let mut sending = Peer::start(publisher, Role::Publish, server.base(), &whip, codec).await?;
    let _begun = sending.wait_counts(LIMIT, Counts { video: 10, audio: 10 }).await.context("the publisher")?;
    let mut playing = Peer::start(player, Role::Play, server.base(), &whep, codec).await?;
    let some = playing.wait_counts(LIMIT, WANTED).await.context("the player")?;
    let more = Counts { video: some.video + 30, audio: some.audio + 50 };
    let _goes_on = playing.wait_counts(LIMIT, more).await.context("the player, a second later")?;
    playing.leave().await.context("the player leaves")?;
    sending.leave().await.context("the publisher leaves")
}
