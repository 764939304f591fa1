//! What one m-line of a publisher sends, and who is fed from it.

use arrayvec::ArrayVec;
use sluice_protocol::ids::EgressId;
use sluice_protocol::limits::ENCODINGS_MAX;
use sluice_protocol::media::{Codec, PayloadType, Rid, Ssrc};
use sluice_protocol::plan;

use crate::ingress::StreamIndex;
use crate::ingress::alive::Liveness;
use crate::ingress::stream::IngressStream;
use crate::route::history::History;
use crate::route::key_frame_requests::KeyFrameRequests;

/// One track.
#[derive(Debug)]
pub(crate) struct Track {
    /// What the control plane wants of it.
    pub(crate) plan: plan::Track,
    pub(crate) history: History,
    /// Its encodings in the plan's order; where the plan names none, the one that is heard.
    pub(crate) streams: ArrayVec<IngressStream, ENCODINGS_MAX>,
    /// Which of them are sent now.
    pub(crate) liveness: Liveness,
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
            liveness: Liveness::default(),
            targets: Vec::new(),
            key_frames: KeyFrameRequests::default(),
            is_queued: false,
        };
        track.announce();
        track
    }

    /// Takes what the plan changed, which has the same encodings by name; an encoding that was heard already keeps its SSRC
    /// until another one is heard.
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

    /// Finds the stream that `rid` names; `None` for a rid that the plan does not name, and without one where the plan names
    /// some: a publisher may go on sending what an answer left out.
    ///
    /// Where nothing has a name there is one stream, the first, which comes to be with its first packet.
    pub(crate) fn place(&mut self, rid: Option<Rid>) -> Option<StreamIndex> {
        let index = match rid {
            Some(_) => self.streams.iter().position(|stream| stream.rid == rid)?,
            None if self.has_rids() => return None,
            None => 0,
        };
        if self.streams.is_empty() {
            self.streams.push(IngressStream::default());
        }
        u8::try_from(index).ok().map(StreamIndex)
    }

    /// Tells whether the plan names its encodings by rid.
    pub(crate) fn has_rids(&self) -> bool {
        self.plan.encodings.iter().any(|encoding| encoding.rid.is_some())
    }

    /// Tells whether a plan has the encodings of this one by name, in the same order.
    pub(crate) fn has_rids_of(&self, plan: &plan::Track) -> bool {
        let rids = |plan: &plan::Track| plan.encodings.iter().map(|encoding| encoding.rid).collect::<Vec<_>>();
        !(self.has_rids() || plan.encodings.iter().any(|encoding| encoding.rid.is_some()))
            || rids(&self.plan) == rids(plan)
    }

    /// Returns the stream that a repair without a repaired rid belongs to: the only one there is.
    pub(crate) fn only(&self) -> Option<StreamIndex> {
        (self.streams.len() == 1).then_some(StreamIndex(0))
    }

    /// Returns the first stream that some SSRC carries.
    pub(crate) fn first_heard(&self) -> Option<StreamIndex> {
        let index = self.streams.iter().position(|stream| stream.ssrc.is_some())?;
        u8::try_from(index).ok().map(StreamIndex)
    }

    /// Returns the stream that `ssrc` carries now.
    pub(crate) fn carried_by(&self, ssrc: Ssrc) -> Option<StreamIndex> {
        let index = self.streams.iter().position(|stream| stream.ssrc == Some(ssrc))?;
        u8::try_from(index).ok().map(StreamIndex)
    }
}
