//! Publishers: WHIP sessions that send numbered synthetic media.

mod role;
mod source;

use std::net::IpAddr;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use str0m::media::{Direction, MediaKind};

pub(crate) use role::{PublisherRole, Sent, payload_type_of};
pub(crate) use source::{Destination, Source, scramble};
pub use source::{SourceConfig, SourceProgress, Spacing};

use crate::payload::{Codec, Pictures};
use crate::peer::connection::Connection;
use crate::peer::endpoint::{Role, Setup};
use crate::peer::worker::Worker;
use crate::peer::{Peer, local_ip_towards};
use crate::signalling::Resource;

/// When a publisher begins to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// As soon as it is connected.
    Connected,
    /// When [`Publisher::set_sending`] says so.
    Told,
}

/// Which encodings of a simulcast a publisher sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sends {
    /// The best alone, which is what a browser does when the answer takes no other.
    Best,
    /// All of them, whatever the answer takes.
    All,
}

/// When candidates are told to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Candidates {
    /// In the offer.
    Offered,
    /// By PATCH after the answer.
    Trickled,
}

/// What to publish and where.
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// WHIP endpoint and token.
    pub resource: Resource,
    /// Video codec and shape; `None` publishes no video.
    pub video: Option<(Codec, SourceConfig)>,
    /// Shape of the audio; `None` publishes no audio.
    pub audio: Option<SourceConfig>,
    /// Pictures of a real encoder for VP8, so that a browser can show them; `None` sends none.
    pub pictures: Option<Pictures>,
    /// Names of the encodings to offer as a simulcast (RFC 8853), best last.
    pub encodings: &'static [&'static str],
    /// Which of them are sent.
    pub sends: Sends,
    /// When to begin.
    pub begin: Begin,
    /// How candidates go.
    pub candidates: Candidates,
    /// Local address; `None`: the one that the route to the server takes.
    pub local_ip: Option<IpAddr>,
}

impl PublisherConfig {
    /// VP8 and Opus as in the published comparison.
    pub fn new(resource: Resource) -> Self {
        Self {
            resource,
            video: Some((Codec::Vp8, SourceConfig::video())),
            audio: Some(SourceConfig::audio()),
            pictures: None,
            encodings: &[],
            sends: Sends::Best,
            begin: Begin::Connected,
            candidates: Candidates::Offered,
            local_ip: None,
        }
    }

    pub(crate) fn setup(&self, local_ip: IpAddr) -> Setup {
        let video = self.video.map(|(codec, _)| codec);
        let audio = self.audio.map(|_| Codec::Opus);
        let kinds = [audio.map(|_| MediaKind::Audio), video.map(|_| MediaKind::Video)];
        Setup {
            direction: Direction::SendOnly,
            kinds: kinds.into_iter().flatten().collect(),
            encodings: self.encodings,
            codecs: video.into_iter().chain(audio).collect(),
            watch_rtcp: false,
            local_ip,
            trickle: self.candidates == Candidates::Trickled,
            descriptors: false,
        }
    }

    pub(crate) fn role(&self) -> PublisherRole {
        let audio = self.audio.map(|config| (Codec::Opus, config, next_stream_id(), None));
        // The best one first: it is what [`PublisherStats::video`] tells of.
        let mut encodings: Vec<_> = self.encodings.iter().rev().copied().map(Some).collect();
        encodings.truncate(if self.sends == Sends::Best { 1 } else { encodings.len() });
        if encodings.is_empty() {
            encodings.push(None);
        }
        let video = self.video.into_iter().flat_map(|(codec, config)| {
            encodings.iter().map(move |encoding| (codec, config, next_stream_id(), *encoding))
        });
        let streams: Vec<_> = audio.into_iter().chain(video).collect();
        PublisherRole::new(&streams, self.pictures.as_ref(), self.begin == Begin::Connected)
    }
}

/// A stream id that no other stream of this host has while both processes live.
pub(crate) fn next_stream_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    u64::from(process::id()) << 32 | NEXT.fetch_add(1, Ordering::Relaxed)
}

/// What a publisher has sent and heard.
#[derive(Debug, Clone)]
pub struct PublisherStats {
    /// Times, states, datagrams.
    pub connection: Connection,
    /// Audio, when it is sent.
    pub audio: Option<SourceProgress>,
    /// Video, when it is sent: the best encoding of it.
    pub video: Option<SourceProgress>,
    /// Picture loss indications received.
    pub pli: u64,
    /// Full intra requests received.
    pub fir: u64,
    /// NACKs received, as of the last second.
    pub nacks: u64,
}

impl PublisherStats {
    pub(crate) fn new(connection: Connection, sent: &Sent) -> Self {
        let find = |kind| sent.sources.iter().find(|source| source.kind == kind).cloned();
        Self {
            connection,
            audio: find(MediaKind::Audio),
            video: find(MediaKind::Video),
            pli: sent.pli,
            fir: sent.fir,
            nacks: sent.nacks,
        }
    }

    /// Stream id and number of the next video packet; to be taken before and after a span of time.
    pub fn video_position(&self) -> Option<(u64, u64)> {
        self.video.as_ref().map(|video| (video.stream_id, video.packets))
    }

    /// Stream id and number of the next audio packet.
    pub fn audio_position(&self) -> Option<(u64, u64)> {
        self.audio.as_ref().map(|audio| (audio.stream_id, audio.packets))
    }
}

/// A publisher on its own thread, so that its schedule does not suffer from viewers.
///
/// Dropping it vanishes without a word.
#[derive(Debug)]
pub struct Publisher {
    // Declared before the worker: it is removed from there first.
    peer: Peer,
    sent: Arc<Mutex<Sent>>,
    worker: Arc<Worker>,
}

impl Publisher {
    /// Posts the offer and returns when the answer is accepted; media flows once connected.
    pub async fn start(config: PublisherConfig) -> Result<Self> {
        let worker = Arc::new(Worker::spawn("publisher")?);
        Self::start_on(worker, config).await
    }

    /// The same on a thread that others share.
    pub(crate) async fn start_on(worker: Arc<Worker>, config: PublisherConfig) -> Result<Self> {
        let local_ip = match config.local_ip {
            Some(ip) => ip,
            None => local_ip_towards(&config.resource.url)?,
        };
        let role = config.role();
        let sent = role.sent_handle();
        let setup = config.setup(local_ip);
        let role = Role::Publisher(Box::new(role));
        let peer = Peer::join(Arc::clone(&worker), &config.resource, &setup, role).await?;
        Ok(Self { peer, sent, worker })
    }

    /// Waits until media may flow.
    pub async fn wait_connected(&self, limit: Duration) -> Result<()> {
        self.peer.wait_connected(limit).await
    }

    /// What was sent and heard so far.
    pub fn stats(&self) -> PublisherStats {
        let connection = self.peer.connection();
        PublisherStats::new(connection, &self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Starts or pauses all streams. Numbers go on where they stopped; the first frame after a pause is a key frame.
    pub fn set_sending(&self, sending: bool) {
        self.peer.act(move |endpoint, now| {
            if let Some(publisher) = endpoint.publisher_mut() {
                publisher.set_sending(sending, now.instant);
            }
            Ok(())
        });
    }

    /// Makes the next video frame a key frame.
    pub fn send_key_frame(&self) {
        self.peer.act(|endpoint, _| {
            if let Some(publisher) = endpoint.publisher_mut() {
                publisher.request_key_frame();
            }
            Ok(())
        });
    }

    /// Restarts ICE by PATCH.
    pub async fn restart_ice(&self) -> Result<()> {
        self.peer.restart_ice().await
    }

    /// Address of the WHIP session.
    pub fn location(&self) -> &str {
        self.peer.location()
    }

    /// CPU time of the publisher's thread.
    pub fn cpu(&self) -> Duration {
        self.worker.cpu()
    }

    /// Says goodbye and deletes the session.
    pub async fn stop(self) -> Result<()> {
        self.peer.leave().await
    }

    /// Says goodbye on the transport alone.
    #[cfg(test)]
    pub(crate) fn close_transport_for_test(&self) {
        self.peer.act(|endpoint, now| endpoint.close(now));
    }

    /// Goes without a word, as a killed process does.
    pub fn vanish(self) {
        self.peer.vanish();
    }
}
