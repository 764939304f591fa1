//! VP8 payload descriptors (RFC 7741 section 4.2). A frame ends where the marker bit says so.

use crate::wire::cursor::Reader;
use crate::wire::picture_id::{ByteField, PictureIdField};

/// A payload descriptor, with the first bit of the payload header behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp8Descriptor {
    /// The size of the descriptor in bytes, 1 to 6.
    pub size_bytes: u8,
    /// Whether the packet starts a frame: the start of partition 0.
    pub start: bool,
    /// Whether the packet starts a key frame; only the packet that starts a frame tells.
    pub key_frame: bool,
    /// Whether no other frame refers to this one.
    pub non_reference: bool,
    /// The picture id, where the sender uses one.
    pub picture_id: Option<PictureIdField>,
    /// The index of the base temporal layer's frames, where the sender uses it.
    pub tl0picidx: Option<ByteField>,
    /// The temporal layer with its switching bit, where the sender uses temporal layers.
    pub temporal: Option<TemporalLayer>,
    /// The temporal key frame index, 5 bits, where the sender uses it.
    pub key_index: Option<u8>,
}

/// The temporal layer of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemporalLayer {
    /// The layer, 0 to 3.
    pub id: u8,
    /// Whether the frame refers to the base layer only, so that a receiver may go up to this layer here.
    pub layer_sync: bool,
}

impl Vp8Descriptor {
    /// Parses the descriptor at the front of an RTP payload; `None` if the payload ends inside it or right behind it.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let offset = |reader: &Reader<'_>| payload.len() - reader.remaining();
        let first = reader.u8()?;
        let present = if first & 0x80 == 0 { 0 } else { reader.u8()? };
        let place = offset(&reader);
        let picture_id = if present & 0x80 == 0 { None } else { Some(PictureIdField::read(&mut reader, place)?) };
        let place = offset(&reader);
        let tl0picidx = if present & 0x40 == 0 { None } else { Some(ByteField::read(&mut reader, place)?) };
        let layer = if present & 0x30 == 0 { 0 } else { reader.u8()? };
        let temporal = TemporalLayer { id: layer >> 6, layer_sync: layer & 0x20 != 0 };
        let size_bytes = u8::try_from(offset(&reader)).ok()?;
        let start = first & 0x10 != 0 && first & 0x07 == 0;
        // The lowest bit of the payload header is clear in key frames (RFC 7741 section 4.3).
        let inter_frame = reader.u8()? & 1 != 0;
        Some(Self {
            size_bytes,
            start,
            key_frame: start && !inter_frame,
            non_reference: first & 0x20 != 0,
            picture_id,
            tl0picidx,
            temporal: (present & 0x20 != 0).then_some(temporal),
            key_index: (present & 0x10 != 0).then_some(layer & 0x1f),
        })
    }

    /// Writes picture id and TL0PICIDX into `payload`, a copy of the one that was parsed, in their widths; what the
    /// descriptor has no place for is left out.
    pub fn rewrite(&self, payload: &mut [u8], picture_id: u16, tl0picidx: u8) {
        if let Some(field) = self.picture_id {
            field.rewrite(payload, picture_id);
        }
        if let Some(field) = self.tl0picidx {
            field.rewrite(payload, tl0picidx);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::picture_id::PictureIdWidth;
    use proptest::prelude::*;
    use rtp::codecs::vp8::Vp8Packet;
    use rtp::packetizer::Depacketizer;

    #[test]
    fn descriptors_are_those_of_rfc_7741_section_4_6() {
        // A key frame with a picture id of 7 bits, then of 15 bits; a later fragment; a second partition.
        let key = Vp8Descriptor::parse(&[0x90, 0x80, 0x11, 0x00]).unwrap();
        assert!(key.start && key.key_frame);
        assert_eq!(key.picture_id.map(|id| (id.value, id.width)), Some((0x11, PictureIdWidth::Bits7)));
        let inter = Vp8Descriptor::parse(&[0xb0, 0x80, 0x92, 0x34, 0x01]).unwrap();
        assert!(inter.start && !inter.key_frame && inter.non_reference);
        assert_eq!(inter.picture_id.map(|id| (id.value, id.width)), Some((0x1234, PictureIdWidth::Bits15)));
        let fragment = Vp8Descriptor::parse(&[0x80, 0x80, 0x11, 0x00]).unwrap();
        assert!(!fragment.start && !fragment.key_frame);
        let partition = Vp8Descriptor::parse(&[0x91, 0x80, 0x11, 0x00]).unwrap();
        assert!(!partition.start && !partition.key_frame);
        let plain = Vp8Descriptor::parse(&[0x10, 0x00]).unwrap();
        assert!(plain.key_frame && plain.picture_id.is_none() && plain.temporal.is_none());
    }

    #[test]
    fn a_rewrite_keeps_widths_and_everything_else() {
        let cases: [(&[u8], &[u8]); 4] = [
            (&[0x90, 0xf0, 0x11, 0x22, 0xa5, 0x00], &[0x90, 0xf0, 0x56, 0x99, 0xa5, 0x00]),
            (&[0x90, 0xf0, 0x80, 0x11, 0x22, 0xa5, 0x00], &[0x90, 0xf0, 0xb4, 0xd6, 0x99, 0xa5, 0x00]),
            (&[0x90, 0x40, 0x22, 0x00], &[0x90, 0x40, 0x99, 0x00]),
            (&[0x10, 0x00], &[0x10, 0x00]),
        ];
        for (payload, expected) in cases {
            let mut copy = payload.to_vec();
            Vp8Descriptor::parse(payload).unwrap().rewrite(&mut copy, 0x34d6, 0x99);
            assert_eq!(copy, expected);
        }
    }

    proptest! {
        /// Oracle: the depacketizer of the `rtp` crate.
        #[test]
        fn descriptors_agree_with_the_rtp_crate(bytes in prop::collection::vec(any::<u8>(), 0..12), id: u16, index: u8) {
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
                prop_assert_eq!(ours.tl0picidx.map(|field| field.value), (oracle.l == 1).then_some(oracle.tl0_pic_idx));
                prop_assert_eq!(ours.temporal.map(|layer| (layer.id, layer.layer_sync)), (oracle.t == 1).then_some((oracle.tid, oracle.y == 1)));
                prop_assert_eq!(ours.key_index, (oracle.k == 1).then_some(oracle.key_idx));

                let mut copy = bytes;
                ours.rewrite(&mut copy, id, index);
                let again = Vp8Descriptor::parse(&copy).unwrap();
                prop_assert_eq!(again.size_bytes, ours.size_bytes);
                prop_assert_eq!(again.picture_id.map(|again| again.value), ours.picture_id.map(|ours| id & ours.width.max()));
                prop_assert_eq!(&copy[usize::from(ours.size_bytes)..], &rest[..]);
            }
        }
    }
}
