//! The media half of a publisher.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use str0m::media::{KeyframeRequestKind, MediaKind, Mid, Pt, Rid};
use str0m::{Event, Rtc};

use super::source::{Destination, Source, SourceConfig, SourceProgress};
use crate::measure::clock::Now;
use crate::payload::{Codec, Pictures};

/// What the role writes and the handle reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sent {
    pub(crate) sources: Vec<SourceProgress>,
    pub(crate) pli: u64,
    pub(crate) fir: u64,
    pub(crate) nacks: u64,
}

/// A stream that waits for its connection.
#[derive(Debug, Clone)]
struct Planned {
    config: SourceConfig,
    codec: Codec,
    pictures: Option<Pictures>,
    encoding: Option<Rid>,
    stream_id: u64,
    mid: Option<Mid>,
}

/// Sends for one publisher.
#[derive(Debug)]
pub(crate) struct PublisherRole {
    planned: Vec<Planned>,
    sources: Vec<Source>,
    sent: Arc<Mutex<Sent>>,
    connected: bool,
    sending: bool,
    started_at: Option<Instant>,
}

impl PublisherRole {
    /// `streams` are codec, shape, id and name of the encoding of each; video shows `pictures`. Nothing is sent before
    /// [`PublisherRole::set_sending`] when `sending` is false.
    pub(crate) fn new(
        streams: &[(Codec, SourceConfig, u64, Option<&str>)],
        pictures: Option<&Pictures>,
        sending: bool,
    ) -> Self {
        let planned = streams
            .iter()
            .map(|(codec, config, stream_id, encoding)| Planned {
                config: *config,
                codec: *codec,
                pictures: pictures.filter(|_| *codec == Codec::Vp8).cloned(),
                encoding: encoding.map(Rid::from),
                stream_id: *stream_id,
                mid: None,
            })
            .collect();
        Self { planned, sources: Vec::new(), sent: Arc::default(), connected: false, sending, started_at: None }
    }

    pub(crate) fn sent_handle(&self) -> Arc<Mutex<Sent>> {
        Arc::clone(&self.sent)
    }

    pub(crate) fn add_media(&mut self, mid: Mid, kind: MediaKind) {
        let is_video = kind == MediaKind::Video;
        let free = self.planned.iter_mut().filter(|plan| plan.mid.is_none() && plan.codec.is_video() == is_video);
        free.for_each(|plan| plan.mid = Some(mid));
    }

    pub(crate) fn handle_connected(&mut self, at: Instant) {
        self.connected = true;
        self.started_at = self.sending.then_some(at);
    }

    /// Starts or stops all streams; a stopped one goes on with its next number and a key frame.
    pub(crate) fn set_sending(&mut self, sending: bool, at: Instant) {
        self.sending = sending;
        if !sending {
            self.started_at = None;
        } else if self.connected && self.started_at.is_none() {
            self.started_at = Some(at);
            for source in &mut self.sources {
                source.resume(at);
            }
        }
    }

    pub(crate) fn request_key_frame(&mut self) {
        self.sources.iter_mut().for_each(Source::request_key_frame);
    }

    pub(crate) fn handle_event(&mut self, event: &Event) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(clippy::wildcard_enum_match_arm, reason = "the foreign enum is open, and the rest is not ours")]
        match event {
            Event::KeyframeRequest(request) => {
                match request.kind {
                    KeyframeRequestKind::Pli => sent.pli += 1,
                    KeyframeRequestKind::Fir => sent.fir += 1,
                }
                for (source, progress) in self.sources.iter_mut().zip(&mut sent.sources) {
                    if source.mid() == request.mid {
                        progress.key_frame_requests += 1;
                        source.request_key_frame();
                    }
                }
            }
            Event::MediaEgressStats(statistics) => sent.nacks = sent.nacks.max(statistics.nacks),
            _ => {}
        }
    }

    /// Writes one packet if one is due.
    pub(crate) fn write_due(&mut self, rtc: &mut Rtc) -> bool {
        let Some(started_at) = self.started_at else { return false };
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if self.sources.is_empty() {
            self.sources = self.planned.iter().filter_map(|plan| start(rtc, plan, started_at)).collect();
            sent.sources = self.sources.iter().map(Source::progress).collect();
            // A codec that the answer left out is not tried again.
            self.planned.retain(|plan| self.sources.iter().any(|source| Some(source.mid()) == plan.mid));
        }
        let now = Now::read();
        let streams = self.sources.iter_mut().zip(&mut sent.sources);
        let Some((source, progress)) = streams.min_by_key(|(source, _)| source.due()) else { return false };
        let is_due = source.due() <= now.instant;
        if is_due {
            source.write(rtc, now, progress);
        }
        is_due
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let started_at = self.started_at.filter(|_| !self.planned.is_empty())?;
        Some(self.sources.iter().map(Source::due).min().unwrap_or(started_at))
    }
}

fn start(rtc: &Rtc, plan: &Planned, at: Instant) -> Option<Source> {
    let mid = plan.mid?;
    let Some(payload_type) = payload_type_of(rtc, mid, plan.codec) else {
        tracing::warn!(%mid, codec = %plan.codec, "the answer does not take this codec");
        return None;
    };
    let to = Destination { mid, encoding: plan.encoding, payload_type };
    Some(Source::new(plan.config, plan.codec, plan.pictures.clone(), to, plan.stream_id, at))
}

/// The negotiated payload type; of the H264 ones the one that fits our packets best.
pub(crate) fn payload_type_of(rtc: &Rtc, mid: Mid, codec: Codec) -> Option<Pt> {
    let wanted = match codec {
        Codec::Vp8 => str0m::format::Codec::Vp8,
        Codec::Vp9 => str0m::format::Codec::Vp9,
        Codec::H264 => str0m::format::Codec::H264,
        Codec::Av1 => str0m::format::Codec::Av1,
        Codec::Opus => str0m::format::Codec::Opus,
    };
    let media = rtc.media(mid)?;
    let negotiated = media.remote_pts();
    let candidates =
        rtc.codec_config().params().iter().filter(|p| p.spec().codec == wanted && negotiated.contains(&p.pt()));
    let suits = |params: &&str0m::format::PayloadParams| {
        let format = params.spec().format;
        // Constrained baseline and packetization mode 1, RFC 6184 section 8.1; profile 0 of VP9.
        let baseline = format.profile_level_id.is_none_or(|id| id >> 8 == 0x42_e0);
        let interleaved = format.packetization_mode.is_none_or(|mode| mode == 1);
        baseline && interleaved && format.profile_id.is_none_or(|id| id == 0)
    };
    let mut others = candidates.clone();
    candidates.clone().find(suits).or_else(|| others.next()).map(|params| params.pt())
}
