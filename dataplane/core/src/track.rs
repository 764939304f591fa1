//! What one m-line of a publisher sends, and who is fed from it.

use arrayvec::ArrayVec;
use sluice_protocol::ids::EgressId;
use sluice_protocol::limits::ENCODINGS_MAX;
use sluice_protocol::media::{Codec, PayloadType, Rid, Ssrc};
use sluice_protocol::plan;
use sluice_protocol::time::Instant;

use crate::history::History;
use crate::ingress::StreamIndex;
use crate::ingress::stream::IngressStream;
use crate::limits::{KEY_FRAME_INTERVAL_MIN, KEY_FRAME_PATIENCE, KEY_FRAME_TRIES_MAX};

/// One track.
#[derive(Debug)]
pub(crate) struct Track {
    /// What the control plane wants of it.
    pub(crate) plan: plan::Track,
    pub(crate) history: History,
    /// Its encodings, in the plan's order, then in the order of appearance.
    pub(crate) streams: ArrayVec<IngressStream, ENCODINGS_MAX>,
    /// The egress streams that it feeds.
    pub(crate) targets: Vec<EgressId>,
    pub(crate) key_frames: KeyFrameRequests,
    /// Whether it waits in the engine's list of tracks with something to send.
    pub(crate) is_queued: bool,
}

/// What a payload type of a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Media of this codec.
    Media(Codec),
    /// Repairs of this codec.
    Rtx(Codec),
}

impl Track {
    pub(crate) fn new(plan: plan::Track) -> Self {
        let history = History::new(plan.kind);
        let mut track = Self {
            plan,
            history,
            streams: ArrayVec::new(),
            targets: Vec::new(),
            key_frames: KeyFrameRequests::default(),
            is_queued: false,
        };
        track.announce();
        track
    }

    /// Takes what the plan changed; an encoding that was heard already keeps its SSRC until another one is heard.
    pub(crate) fn update(&mut self, plan: plan::Track) {
        self.plan = plan;
        self.announce();
    }

    /// Makes the streams that the plan's description announces; those beyond [`ENCODINGS_MAX`] were refused before.
    fn announce(&mut self) {
        for (index, encoding) in self.plan.encodings.iter().enumerate().take(ENCODINGS_MAX) {
            match self.streams.get_mut(index) {
                Some(stream) if stream.is_silent() => {
                    *stream = IngressStream::new(encoding.rid, encoding.ssrc.or(stream.ssrc));
                }
                Some(_) => {}
                None => self.streams.push(IngressStream::new(encoding.rid, encoding.ssrc)),
            }
        }
    }

    /// Tells what a payload type carries, if it was negotiated.
    pub(crate) fn payload(&self, payload_type: PayloadType) -> Option<Payload> {
        self.plan.codecs.iter().find_map(|codec| {
            if codec.payload_type == payload_type {
                Some(Payload::Media(*codec))
            } else if codec.rtx == Some(payload_type) {
                Some(Payload::Rtx(*codec))
            } else {
                None
            }
        })
    }

    /// Returns the RTP clock of a payload type of media, in Hz.
    pub(crate) fn clock_rate(&self, payload_type: PayloadType) -> Option<u32> {
        self.plan.codecs.iter().find(|codec| codec.payload_type == payload_type).map(|codec| codec.clock_rate)
    }

    pub(crate) fn stream_mut(&mut self, index: StreamIndex) -> Option<&mut IngressStream> {
        self.streams.get_mut(usize::from(index.0))
    }

    pub(crate) fn stream(&self, index: StreamIndex) -> Option<&IngressStream> {
        self.streams.get(usize::from(index.0))
    }

    /// Finds the stream that `rid` names, or adds it; `None` when the track has as many as it may.
    ///
    /// Without a rid there is one stream, the first.
    pub(crate) fn place(&mut self, rid: Option<Rid>) -> Option<StreamIndex> {
        let known = match rid {
            Some(_) => self.streams.iter().position(|stream| stream.rid == rid),
            None => (!self.streams.is_empty()).then_some(0),
        };
        let index = match known {
            Some(index) => index,
            None => {
                self.streams.try_push(IngressStream::new(rid, None)).ok()?;
                self.streams.len() - 1
            }
        };
        u8::try_from(index).ok().map(StreamIndex)
    }

    /// Returns the stream that a repair without a repaired rid belongs to: the only one there is.
    pub(crate) fn only(&self) -> Option<StreamIndex> {
        (self.streams.len() == 1).then_some(StreamIndex(0))
    }

    /// Returns the stream that `ssrc` carries now.
    pub(crate) fn carried_by(&self, ssrc: Ssrc) -> Option<StreamIndex> {
        let index = self.streams.iter().position(|stream| stream.ssrc == Some(ssrc))?;
        u8::try_from(index).ok().map(StreamIndex)
    }
}

/// When a track is asked for a key frame. One request stands for all who want one.
///
/// Chromium answers a request on any VP8 layer with key frames on all of them, so the limit is the track's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyFrameRequests {
    /// The SSRC whose key frame is wanted; `None` when nobody wants one.
    wanted: Option<Ssrc>,
    asked: Option<Instant>,
    tries: u8,
}

impl KeyFrameRequests {
    /// Notes that a key frame of `ssrc` is wanted, and returns when to look at [`Self::take_due`].
    pub(crate) fn want(&mut self, now: Instant, ssrc: Ssrc) -> Instant {
        if self.wanted.is_none() {
            self.tries = 0;
        }
        self.wanted = Some(ssrc);
        self.due().unwrap_or(now).max(now)
    }

    /// Notes that a key frame came.
    pub(crate) const fn satisfy(&mut self) {
        self.wanted = None;
    }

    /// Returns whom to ask now. Whoever does not answer is asked again, [`KEY_FRAME_TRIES_MAX`] times in all.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Ssrc> {
        let ssrc = self.wanted?;
        if self.due()? > now {
            return None;
        }
        self.asked = Some(now);
        self.tries += 1;
        if self.tries >= KEY_FRAME_TRIES_MAX {
            self.wanted = None;
        }
        Some(ssrc)
    }

    /// Returns when somebody is to be asked, which may lie in the past.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.wanted?;
        let interval = if self.tries == 0 { KEY_FRAME_INTERVAL_MIN } else { KEY_FRAME_PATIENCE };
        Some(self.asked.map_or(Instant::ZERO, |asked| asked + interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_wishes_are_two_requests() {
        let mut requests = KeyFrameRequests::default();
        let mut asked = Vec::new();
        for millis in 10_000..10_600 {
            let now = Instant::from_millis(millis);
            if millis % 5 == 0 && millis <= 10_495 {
                requests.want(now, Ssrc(1));
            }
            if requests.take_due(now).is_some() {
                asked.push(millis);
            }
            if millis == 10_050 {
                requests.satisfy();
            }
        }
        assert_eq!(asked, [10_000, 10_500]);
    }

    #[test]
    fn a_publisher_that_does_not_answer_is_asked_a_bounded_number_of_times() {
        let mut requests = KeyFrameRequests::default();
        requests.want(Instant::from_millis(0), Ssrc(1));
        let asked: Vec<u64> =
            (0..60_000).filter(|millis| requests.take_due(Instant::from_millis(*millis)).is_some()).collect();
        assert_eq!(asked, (0..10).map(|round| round * 1000).collect::<Vec<_>>());
        assert_eq!(requests.due(), None);
    }
}
