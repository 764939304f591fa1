//! A media packet as ingress hands it on: opened, placed in its stream, described, and immutable from here.

use std::sync::Arc;

use sluice_protocol::media::{CodecKind, PayloadType, Ssrc};
use sluice_protocol::time::Instant;

use crate::wire::dependency_descriptor::{Indications, TemplateStructure};
use crate::wire::picture_id::PictureId;

/// Which encoding of its track a stream is: its place in the negotiated order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StreamIndex(pub u8);

/// A sequence number unwrapped to 64 bits (RFC 3550 appendix A.1): cycles << 16 | sequence number. For received streams
/// it equals the SRTP index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ExtendedSequence(pub u64);

/// One accepted media packet, lent from its stream's history. A repaired packet stands here as the original did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Accepted<'a> {
    /// Which encoding of the track it belongs to.
    pub stream: StreamIndex,
    /// The SSRC of the media stream.
    pub ssrc: Ssrc,
    /// The unwrapped sequence number.
    pub sequence: ExtendedSequence,
    /// The publisher's RTP timestamp, in units of `clock_rate`.
    pub timestamp: u32,
    /// The marker bit.
    pub marker: bool,
    /// The publisher's payload type of the media, never that of a repair stream.
    pub payload_type: PayloadType,
    /// The codec behind it.
    pub codec: CodecKind,
    /// The RTP clock in Hz.
    pub clock_rate: u32,
    /// What its payload descriptor says.
    pub frame: FrameInfo,
    /// The audio level byte (RFC 6464), where the packet carried it.
    pub audio_level: Option<u8>,
    /// The video orientation byte (3GPP TS 26.114 section 7.4.5), where the packet carried it.
    pub video_orientation: Option<u8>,
    /// The publisher's playout delay bytes, where the packet carried them.
    pub playout_delay: Option<[u8; 3]>,
    /// The dependency descriptor as received, empty where the packet carried none.
    pub dependency_descriptor: &'a [u8],
    /// The structure that the dependency descriptor carries or refers to, where it was received; with it come the layers
    /// and decode targets of `frame`.
    pub structure: Option<&'a Arc<TemplateStructure>>,
    /// The payload without RTP padding, never empty.
    pub payload: &'a [u8],
    /// When the kernel received it.
    pub arrival: Instant,
    /// The publisher's wall clock at `timestamp`, in units of `clock_rate` modulo 2^32, by the last sender report of its
    /// SSRC; `None` before that. It is one clock for all encodings of a track, which have RTP clocks of their own.
    pub captured: Option<u32>,
}

/// What the payload descriptor of a packet says about its frame. Audio packets are whole frames of their own.
#[expect(clippy::struct_excessive_bools, reason = "independent bits of a wire format, not a state machine")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameInfo {
    /// Whether the packet is the first of its frame, as far as the codec's descriptor tells.
    pub start: bool,
    /// Whether the packet is the last of its frame, of all spatial layers.
    pub end: bool,
    /// Whether the packet is the last of its spatial layer's part of the frame, where a dependency descriptor tells.
    pub layer_end: bool,
    /// Whether the frame is a key frame; set on each packet that shows it, and always on the one that starts it.
    pub key: bool,
    /// The picture id, where the codec has one (RFC 7741 section 4.2, RFC 9628 section 4.2).
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX, where the codec has one.
    pub tl0picidx: Option<u8>,
    /// The temporal layer, 0 where there are none.
    pub temporal: u8,
    /// The spatial layer within the stream, 0 where there are none.
    pub spatial: u8,
    /// Whether a receiver may go up to this packet's temporal layer here.
    pub switching_point: bool,
    /// The dependency descriptor's frame number, where the packet carries a descriptor.
    pub frame_number: Option<u16>,
    /// What it is to the decode targets of its structure.
    pub indications: Indications,
    /// The decode targets that its publisher sends.
    pub active_targets: u32,
}
