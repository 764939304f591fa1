//! The sending half of a participant: one stream per encoding of each m-line, switched on and off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use str0m::media::{MediaKind, Mid, Rid};
use str0m::{Event, Rtc};

use super::shape::Shape;
use crate::measure::clock::Now;
use crate::payload::Codec;
use crate::publisher::{Destination, Source, SourceProgress, payload_type_of};

/// Sends for one participant.
#[derive(Debug)]
pub(crate) struct Sender {
    shape: Shape,
    lines: Vec<Line>,
    connected: bool,
    sent: Arc<AtomicU64>,
}

/// An m-line.
#[derive(Debug)]
struct Line {
    mid: Mid,
    kind: MediaKind,
    /// Names of the streams to send, one per encoding; empty while nothing is sent.
    stream_ids: Vec<u64>,
    /// What is to begin, or to begin anew.
    is_fresh: bool,
    streams: Vec<Stream>,
}

/// One encoding.
#[derive(Debug)]
struct Stream {
    encoding: Option<Rid>,
    source: Source,
    progress: SourceProgress,
}

impl Sender {
    /// A sender that counts its packets in `sent`.
    pub(crate) fn new(shape: Shape, sent: Arc<AtomicU64>) -> Self {
        Self { shape, lines: Vec::new(), connected: false, sent }
    }

    pub(crate) fn add_media(&mut self, mid: Mid, kind: MediaKind) {
        self.lines.push(Line { mid, kind, stream_ids: Vec::new(), is_fresh: false, streams: Vec::new() });
    }

    /// The m-lines in their order.
    pub(crate) fn mids(&self) -> Vec<(Mid, MediaKind)> {
        self.lines.iter().map(|line| (line.mid, line.kind)).collect()
    }

    pub(crate) fn handle_connected(&mut self, _at: Instant) {
        self.connected = true;
    }

    /// Sends new streams of these names at an m-line, one per encoding; none to be silent.
    pub(crate) fn set_line(&mut self, mid: Mid, stream_ids: Vec<u64>) {
        if let Some(line) = self.lines.iter_mut().find(|line| line.mid == mid) {
            line.stream_ids = stream_ids;
            line.is_fresh = true;
        }
    }

    pub(crate) fn handle_event(&mut self, event: &Event) {
        let Event::KeyframeRequest(request) = event else { return };
        let streams = self.lines.iter_mut().filter(|line| line.mid == request.mid).flat_map(|line| &mut line.streams);
        for stream in streams.filter(|stream| request.rid.is_none() || stream.encoding == request.rid) {
            stream.source.request_key_frame();
        }
    }

    /// Writes one packet if one is due.
    pub(crate) fn write_due(&mut self, rtc: &mut Rtc) -> bool {
        if !self.connected {
            return false;
        }
        let now = Now::read();
        for line in &mut self.lines {
            line.refresh(&self.shape, rtc, now.instant);
        }
        let sending = self.lines.iter_mut().filter(|line| !line.stream_ids.is_empty());
        let earliest = sending.flat_map(|line| &mut line.streams).min_by_key(|stream| stream.source.due());
        let Some(stream) = earliest.filter(|stream| stream.source.due() <= now.instant) else { return false };
        stream.source.write(rtc, now, &mut stream.progress);
        self.sent.fetch_add(1, Ordering::Relaxed);
        true
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if !self.connected {
            return None;
        }
        if self.lines.iter().any(|line| line.is_fresh) {
            return Some(Instant::now());
        }
        let sending = self.lines.iter().filter(|line| !line.stream_ids.is_empty());
        sending.flat_map(|line| &line.streams).map(|stream| stream.source.due()).min()
    }
}

impl Line {
    /// Makes the streams be what was asked for.
    fn refresh(&mut self, shape: &Shape, rtc: &Rtc, now: Instant) {
        if !std::mem::take(&mut self.is_fresh) {
            return;
        }
        if !self.streams.is_empty() {
            for (stream, id) in self.streams.iter_mut().zip(&self.stream_ids) {
                stream.source.restart(*id, now);
            }
            return;
        }
        let (codec, encodings) = shape.encodings_of(self.kind);
        let Some(payload_type) = payload_type_of(rtc, self.mid, codec) else {
            tracing::warn!(mid = %self.mid, "the answer does not take this codec");
            return;
        };
        for ((name, config), id) in encodings.into_iter().zip(&self.stream_ids) {
            let encoding = name.map(Rid::from);
            let to = Destination { mid: self.mid, encoding, payload_type };
            let source = Source::new(config, codec, None, to, *id, now);
            self.streams.push(Stream { encoding, progress: source.progress(), source });
        }
    }
}

/// The codec of a kind of media in calls.
pub(crate) fn codec_of(kind: MediaKind) -> Codec {
    if kind == MediaKind::Video { Codec::Vp8 } else { Codec::Opus }
}
