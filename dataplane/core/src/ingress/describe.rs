//! What a packet says about its frame, and the header extensions that go on with it.

use sluice_protocol::media::{CodecKind, ExtensionIds};

use super::FrameInfo;
use super::structures::Description;
use crate::wire::av1::Av1AggregationHeader;
use crate::wire::dependency_descriptor::frame_number;
use crate::wire::extension::parse_transport_sequence;
use crate::wire::h264::H264Payload;
use crate::wire::rtp::RtpView;
use crate::wire::vp8::Vp8Descriptor;
use crate::wire::vp9::Vp9Descriptor;

/// Whether a packet's timestamp is that of the packet before it in its stream.
///
/// Codecs whose payload does not tell where a frame starts need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timestamp {
    /// It is newer than all before.
    New,
    /// It is newer than all before, and the packet before has not come, which may belong to the same frame.
    NewBehindGap,
    /// It was seen already, or is older.
    Seen,
}

/// Reads the payload descriptor of `codec`, and what the dependency descriptor says, where there is one. What cannot be
/// read is no start of anything.
pub(crate) fn describe(
    codec: CodecKind,
    timestamp: Timestamp,
    marker: bool,
    payload: &[u8],
    dependency_descriptor: &[u8],
    description: Option<&Description>,
) -> FrameInfo {
    let frame = FrameInfo {
        frame_number: frame_number(dependency_descriptor),
        ..of_payload(codec, timestamp, marker, payload)
    };
    match description {
        None => frame,
        Some(description) => overlay(codec, frame, description),
    }
}

/// Adds what the dependency descriptor says. It knows layers and ends of their frames better than any payload; what is a key
/// frame, and where one begins, is left to payloads that tell it.
fn overlay(codec: CodecKind, frame: FrameInfo, description: &Description) -> FrameInfo {
    let starts_picture = description.start && description.layer.spatial == 0;
    let (start, key) = match codec {
        CodecKind::Av1 => (starts_picture, frame.key || description.key),
        CodecKind::H264 => (starts_picture, frame.key),
        CodecKind::Other => (starts_picture, description.key),
        CodecKind::Opus | CodecKind::Vp8 | CodecKind::Vp9 => (frame.start, frame.key),
    };
    FrameInfo {
        start,
        key,
        layer_end: description.end,
        temporal: description.layer.temporal,
        spatial: description.layer.spatial,
        indications: description.indications,
        active_targets: description.active_targets,
        ..frame
    }
}

fn of_payload(codec: CodecKind, timestamp: Timestamp, marker: bool, payload: &[u8]) -> FrameInfo {
    let is_new = timestamp != Timestamp::Seen;
    let frame = FrameInfo { end: marker, ..FrameInfo::default() };
    match codec {
        CodecKind::Opus => FrameInfo { start: true, end: true, ..frame },
        CodecKind::Vp8 => Vp8Descriptor::parse(payload).map_or(frame, |descriptor| FrameInfo {
            start: descriptor.start,
            key: descriptor.key_frame,
            picture_id: descriptor.picture_id,
            tl0picidx: descriptor.tl0picidx,
            temporal: descriptor.temporal.map_or(0, |temporal| temporal.id),
            switching_point: descriptor.temporal.is_some_and(|temporal| temporal.layer_sync),
            ..frame
        }),
        CodecKind::Vp9 => Vp9Descriptor::parse(payload).map_or(frame, |descriptor| FrameInfo {
            start: descriptor.starts_picture(),
            key: descriptor.key_frame(),
            picture_id: descriptor.picture_id,
            tl0picidx: descriptor.tl0picidx,
            temporal: descriptor.layer.map_or(0, |layer| layer.temporal),
            spatial: descriptor.layer.map_or(0, |layer| layer.spatial),
            switching_point: descriptor.layer.is_some_and(|layer| layer.switching_up),
            ..frame
        }),
        CodecKind::H264 => H264Payload::parse(payload).map_or(frame, |payload| FrameInfo {
            // Behind a gap an IDR slice may lack its parameters: who began with it could not decode it.
            start: is_new && payload.may_start && (timestamp == Timestamp::New || !payload.idr || payload.parameters),
            key: payload.key_frame(),
            ..frame
        }),
        CodecKind::Av1 => Av1AggregationHeader::parse(payload).map_or(frame, |header| FrameInfo {
            start: is_new && !header.continues_previous(),
            key: header.new_sequence(),
            ..frame
        }),
        CodecKind::Other => FrameInfo { start: is_new, ..frame },
    }
}

/// The header extensions of a packet that are carried on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extensions<'a> {
    pub(crate) audio_level: Option<u8>,
    pub(crate) video_orientation: Option<u8>,
    pub(crate) playout_delay: Option<[u8; 3]>,
    pub(crate) dependency_descriptor: &'a [u8],
}

impl<'a> Extensions<'a> {
    /// Reads the extensions that `ids` names, in one pass. The dependency descriptor of VP8 is left: its payload says as
    /// much, also where there is none.
    pub(crate) fn read(view: &RtpView<'a>, ids: &ExtensionIds, codec: CodecKind) -> Self {
        let mut read = Self::default();
        for extension in view.extensions() {
            match extension.id {
                id if id == ids.audio_level => read.audio_level = extension.value.first().copied(),
                id if id == ids.video_orientation => read.video_orientation = extension.value.first().copied(),
                id if id == ids.playout_delay => read.playout_delay = extension.value.try_into().ok(),
                id if id == ids.dependency_descriptor && codec != CodecKind::Vp8 => {
                    read.dependency_descriptor = extension.value;
                }
                _ => {}
            }
        }
        read
    }
}

/// Returns the transport-wide sequence number of a packet, where `id` is negotiated and the packet has one.
pub(crate) fn transport_sequence(view: &RtpView<'_>, id: u8) -> Option<u16> {
    if id == 0 { None } else { view.extension(id).and_then(parse_transport_sequence) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(codec: CodecKind, timestamp: Timestamp, payload: &[u8]) -> (bool, bool) {
        let frame = describe(codec, timestamp, false, payload, &[], None);
        (frame.start, frame.key)
    }

    #[test]
    fn starts_and_key_frames_are_told_by_each_codec() {
        use Timestamp::{New, NewBehindGap, Seen};
        type Case = (CodecKind, Timestamp, &'static [u8], (bool, bool));
        let cases: &[Case] = &[
            (CodecKind::Opus, Seen, &[1], (true, false)),
            (CodecKind::Vp8, New, &[0x10, 0x00, 1, 2], (true, true)),
            (CodecKind::Vp8, New, &[0x10, 0x01, 1, 2], (true, false)),
            (CodecKind::Vp8, Seen, &[0x00, 0x00, 1, 2], (false, false)),
            (CodecKind::Vp9, New, &[0x08, 1], (true, true)),
            (CodecKind::Vp9, New, &[0x48, 1], (true, false)),
            (CodecKind::H264, New, &[0x67, 0x42], (true, true)),
            (CodecKind::H264, Seen, &[0x65, 0x88], (false, true)),
            (CodecKind::H264, New, &[0x41, 0x9a], (true, false)),
            (CodecKind::H264, New, &[0x65, 0x88], (true, true)),
            (CodecKind::H264, NewBehindGap, &[0x65, 0x88], (false, true)),
            (CodecKind::H264, NewBehindGap, &[0x67, 0x42], (true, true)),
            (CodecKind::H264, NewBehindGap, &[0x78, 0, 2, 0x67, 0x42, 0, 2, 0x65, 0x88], (true, true)),
            (CodecKind::H264, NewBehindGap, &[0x41, 0x9a], (true, false)),
            (CodecKind::Av1, New, &[0x18, 1], (true, true)),
            (CodecKind::Av1, Seen, &[0x90, 1], (false, false)),
            (CodecKind::Other, New, &[1], (true, false)),
            (CodecKind::Vp8, New, &[], (false, false)),
        ];
        for (codec, timestamp, payload, expected) in cases {
            assert_eq!(of(*codec, *timestamp, payload), *expected, "{codec:?} {payload:x?}");
        }
    }

    #[test]
    fn the_frame_number_follows_the_descriptors_first_byte() {
        assert_eq!(
            describe(CodecKind::Av1, Timestamp::New, true, &[0, 1], &[0xc0, 1, 2], None).frame_number,
            Some(0x102)
        );
        assert_eq!(describe(CodecKind::Av1, Timestamp::New, true, &[0, 1], &[0xc0, 1], None).frame_number, None);
    }
}
