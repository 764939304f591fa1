//! The foreign stacks, all with one face: publish or play, and how much of it has been done.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use sluice_load::Resource;
use sluice_tests::{Browser, Browsers, Script};

/// How a page publishes and plays.
const PAGE: &str = include_str!("../peers/page_peer.js");

/// A foreign stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stack {
    /// Python, with the codecs of `FFmpeg`.
    Aiortc,
    /// The webrtcbin of `GStreamer`, with its own codecs.
    GStreamer,
    /// libdatachannel for Node, with `FFmpeg` as encoder and decoder.
    Datachannel,
    /// A page in Chromium.
    Chromium,
    /// A page in Firefox.
    Firefox,
}

/// What a peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Sends one video and one audio track.
    Publish,
    /// Decodes one video and one audio track.
    Play,
}

/// Frames of picture and sound: decoded by one who plays, encoded by one who publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Pictures.
    pub(crate) video: u64,
    /// Pieces of sound of 20 ms; in a browser, packets of it that were played.
    pub(crate) audio: u64,
}

/// A running peer.
pub(crate) enum Peer {
    Process(Script),
    Page { browsers: Browsers, role: Role },
}

impl Peer {
    /// Starts a peer. It may still be connecting on return.
    pub(crate) async fn start(
        stack: Stack,
        role: Role,
        server: &str,
        resource: &Resource,
        codec: &str,
    ) -> Result<Self> {
        let token = resource.token.clone().unwrap_or_default();
        let word = if role == Role::Publish { "publish" } else { "play" };
        let arguments = [word, &resource.url, &token, codec];
        let browser = match stack {
            Stack::Aiortc => return Ok(Self::Process(Script::aiortc("aiortc_peer.py", &arguments)?)),
            Stack::GStreamer => return Ok(Self::Process(Script::gstreamer("gstreamer_peer.py", &arguments)?)),
            Stack::Datachannel => return Ok(Self::Process(Script::node("datachannel_peer.mjs", &arguments)?)),
            Stack::Chromium => Browser::Chromium,
            Stack::Firefox => Browser::Firefox,
        };
        let mut browsers = Browsers::start()?;
        browsers.open("peer", browser, server).await?;
        let call = format!("peer.{word}({:?}, {token:?}, {codec:?})", resource.url);
        let _none = browsers.evaluate("peer", &format!("(async () => {{ {PAGE}\nawait {call}; }})()")).await?;
        Ok(Self::Page { browsers, role })
    }

    /// Waits until the peer has at least as much as wanted.
    pub(crate) async fn wait_counts(&mut self, limit: Duration, wanted: Counts) -> Result<Counts> {
        let enough = |counts: &Counts| counts.video >= wanted.video && counts.audio >= wanted.audio;
        match self {
            Self::Process(script) => {
                let report = script.wait_for(limit, |report| enough(&counts_of(report))).await?;
                Ok(counts_of(&report))
            }
            Self::Page { browsers, role } => {
                let deadline = Instant::now() + limit;
                loop {
                    let found = browsers.measure("peer").await?;
                    let counts = page_counts(*role, &found);
                    if enough(&counts) {
                        return Ok(counts);
                    }
                    if Instant::now() > deadline {
                        bail!("the page has {counts:?} after {limit:?}: {found:#}");
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Makes the peer delete its session and end.
    pub(crate) async fn leave(self) -> Result<()> {
        match self {
            Self::Process(script) => script.leave().await,
            Self::Page { mut browsers, .. } => {
                let _none = browsers.evaluate("peer", "peer.leave()").await?;
                browsers.stop().await
            }
        }
    }
}

fn counts_of(report: &Value) -> Counts {
    Counts { video: report["video"].as_u64().unwrap_or(0), audio: report["audio"].as_u64().unwrap_or(0) }
}

fn page_counts(role: Role, found: &Value) -> Counts {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    match role {
        Role::Publish => Counts {
            video: number(&found["sentVideo"]["framesEncoded"]),
            audio: number(&found["sentAudio"]["packetsSent"]),
        },
        Role::Play => {
            // Silence that the player makes up for missing sound has no energy.
            let heard = found["audio"]["totalAudioEnergy"].as_f64().unwrap_or(0.0) > 0.0;
            let audio = if heard { number(&found["audio"]["packetsReceived"]) } else { 0 };
            Counts { video: number(&found["video"]["framesDecoded"]), audio }
        }
    }
}
