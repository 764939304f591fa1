//! VP8 payload descriptors (RFC 7741 section 4.2). A frame ends where the marker bit says so.

use crate::wire::cursor::Reader;
use crate::wire::picture_id::PictureId;

/// A payload descriptor, with the first bit of the payload header behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vp8Descriptor {
    /// The size of the descriptor in bytes, 1 to 6.
    pub size_bytes: u8,
    /// Whether the packet starts a frame: the start of partition 0.
    pub start: bool,
    /// Whether the packet starts a key frame; only the packet that starts a frame tells.
    pub key_frame: bool,
    /// The picture id, where the sender uses one.
    pub picture_id: Option<PictureId>,
    /// The index of the base temporal layer's frames, where the sender uses it.
    pub tl0picidx: Option<u8>,
    /// The temporal layer with its switching bit, where the sender uses temporal layers.
    pub temporal: Option<TemporalLayer>,
}

/// The temporal layer of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TemporalLayer {
    /// The layer, 0 to 3.
    pub id: u8,
    /// Whether the frame refers to the base layer only, so that a receiver may go up to this layer here.
    pub layer_sync: bool,
}

impl Vp8Descriptor {
    /// Parses the descriptor at the front of an RTP payload; `None` if the payload ends inside it or right behind it.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let first = reader.u8()?;
        let present = if first & 0x80 == 0 { 0 } else { reader.u8()? };
        let picture_id = if present & 0x80 == 0 { None } else { Some(PictureId::read(&mut reader)?) };
        let tl0picidx = if present & 0x40 == 0 { None } else { Some(reader.u8()?) };
        let layer = if present & 0x30 == 0 { 0 } else { reader.u8()? };
        let temporal = TemporalLayer { id: layer >> 6, layer_sync: layer & 0x20 != 0 };
        let size_bytes = u8::try_from(payload.len() - reader.remaining()).ok()?;
        let start = first & 0x10 != 0 && first & 0x07 == 0;
        // The lowest bit of the payload header is clear in key frames (RFC 7741 section 4.3).
        let inter_frame = reader.u8()? & 1 != 0;
        Some(Self {
            size_bytes,
            start,
            key_frame: start && !inter_frame,
            picture_id,
            tl0picidx,
            temporal: (present & 0x20 != 0).then_some(temporal),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtp::codecs::vp8::Vp8Packet;
    use rtp::packetizer::Depacketizer;

    #[test]
    fn descriptors_are_those_of_rfc_7741_section_4_6() {
        // A key frame with a picture id of 7 bits, then of 15 bits; a later fragment; a second partition.
        let key = Vp8Descriptor::parse(&[0x90, 0x80, 0x11, 0x00]).unwrap();
        assert!(key.start && key.key_frame);
        assert_eq!(key.picture_id, Some(PictureId { value: 0x11, bits: 7 }));
        let inter = Vp8Descriptor::parse(&[0xb0, 0x80, 0x92, 0x34, 0x01]).unwrap();
        assert!(inter.start && !inter.key_frame);
        assert_eq!(inter.picture_id, Some(PictureId { value: 0x1234, bits: 15 }));
        let fragment = Vp8Descriptor::parse(&[0x80, 0x80, 0x11, 0x00]).unwrap();
        assert!(!fragment.start && !fragment.key_frame);
        let partition = Vp8Descriptor::parse(&[0x91, 0x80, 0x11, 0x00]).unwrap();
        assert!(!partition.start && !partition.key_frame);
        let plain = Vp8Descriptor::parse(&[0x10, 0x00]).unwrap();
        assert!(plain.key_frame && plain.picture_id.is_none() && plain.temporal.is_none());
    }

    proptest! {
        /// Oracle: the depacketizer of the `rtp` crate.
        #[test]
        fn descriptors_agree_with_the_rtp_crate(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            crate::fuzzing::fuzz_payloads(&bytes);
            let mut oracle = Vp8Packet::default();
            let theirs = if bytes.len() < 8 { None } else { oracle.depacketize(&bytes.clone().into()).ok() };
            let ours = Vp8Descriptor::parse(&bytes);
            if let Some(rest) = theirs {
                let ours = ours.unwrap();
                prop_assert_eq!(usize::from(ours.size_bytes), bytes.len() - rest.len());
                prop_assert_eq!(ours.start, oracle.s == 1 && oracle.pid == 0);
                prop_assert_eq!(ours.key_frame, ours.start && rest[0] & 1 == 0);
                prop_assert_eq!(ours.picture_id.map(|id| id.value), (oracle.i == 1).then_some(oracle.picture_id));
                prop_assert_eq!(ours.tl0picidx, (oracle.l == 1).then_some(oracle.tl0_pic_idx));
                prop_assert_eq!(ours.temporal.map(|layer| (layer.id, layer.layer_sync)), (oracle.t == 1).then_some((oracle.tid, oracle.y == 1)));
            }
        }
    }
}
