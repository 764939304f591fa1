//! VP9 payload descriptors (RFC 9628 section 4.2). A picture ends where the marker bit says so; its layer frames end by
//! themselves.

use crate::wire::cursor::Reader;
use crate::wire::picture_id::PictureId;

/// The most reference indices of a frame in flexible mode (RFC 9628 section 4.2).
const REFERENCES_MAX: usize = 3;

/// A payload descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vp9Descriptor {
    /// The size of the descriptor in bytes; a scalability structure makes it long.
    pub size_bytes: u16,
    /// The flags of the first byte.
    pub flags: Vp9Flags,
    /// The picture id, where the sender uses one.
    pub picture_id: Option<PictureId>,
    /// Temporal and spatial layer, where the sender uses layers.
    pub layer: Option<Vp9Layer>,
    /// The index of the base temporal layer's pictures, where the sender uses layers without flexible mode.
    pub tl0picidx: Option<u8>,
}

/// The first byte of a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vp9Flags(u8);

impl Vp9Flags {
    /// P: the layer frame refers to earlier pictures.
    pub(crate) const fn inter_picture_predicted(self) -> bool {
        self.0 & 0x40 != 0
    }

    /// F: references are listed.
    pub(crate) const fn flexible(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// B: the packet starts a layer frame.
    pub(crate) const fn start(self) -> bool {
        self.0 & 0x08 != 0
    }
}

/// The layer of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vp9Layer {
    /// The temporal layer, 0 to 7.
    pub temporal: u8,
    /// Whether a receiver may go up to this temporal layer here.
    pub switching_up: bool,
    /// The spatial layer, 0 to 7.
    pub spatial: u8,
}

impl Vp9Descriptor {
    /// Parses the descriptor at the front of an RTP payload; `None` if the payload ends inside it or right behind it, or
    /// lists more than three references.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let first = reader.u8()?;
        let flags = Vp9Flags(first);
        let picture_id = if first & 0x80 == 0 { None } else { Some(PictureId::read(&mut reader)?) };
        let (mut layer, mut tl0picidx) = (None, None);
        if first & 0x20 != 0 {
            let byte = reader.u8()?;
            layer = Some(Vp9Layer { temporal: byte >> 5, switching_up: byte & 0x10 != 0, spatial: (byte >> 1) & 7 });
            if !flags.flexible() {
                tl0picidx = Some(reader.u8()?);
            }
        }
        if flags.flexible() && flags.inter_picture_predicted() {
            skip_references(&mut reader)?;
        }
        if first & 0x02 != 0 {
            skip_structure(&mut reader)?;
        }
        let size_bytes = u16::try_from(payload.len() - reader.remaining()).ok()?;
        (!reader.is_empty()).then_some(Self { size_bytes, flags, picture_id, layer, tl0picidx })
    }

    /// Returns whether the packet belongs to a key frame: nothing earlier and no lower layer is referred to.
    pub(crate) fn key_frame(&self) -> bool {
        !self.flags.inter_picture_predicted() && self.layer.is_none_or(|layer| layer.spatial == 0)
    }

    /// Returns whether the packet starts a picture: the lowest layer frame of it.
    pub(crate) fn starts_picture(&self) -> bool {
        self.flags.start() && self.layer.is_none_or(|layer| layer.spatial == 0)
    }
}

fn skip_references(reader: &mut Reader<'_>) -> Option<()> {
    for _ in 0..REFERENCES_MAX {
        // The low bit says whether another one follows.
        if reader.u8()? & 1 == 0 {
            return Some(());
        }
    }
    None
}

/// Skips a scalability structure.
fn skip_structure(reader: &mut Reader<'_>) -> Option<()> {
    let head = reader.u8()?;
    let layers = (head >> 5) + 1;
    if head & 0x10 != 0 {
        reader.take(usize::from(layers) * 4)?;
    }
    if head & 0x08 != 0 {
        let pictures = reader.u8()?;
        for _ in 0..pictures {
            let references = (reader.u8()? >> 2) & 3;
            reader.take(usize::from(references))?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtp::codecs::vp9::Vp9Packet;
    use rtp::packetizer::Depacketizer;

    #[test]
    fn a_key_frame_is_told_from_its_upper_layers_and_from_other_frames() {
        // I P L F B E V Z, picture id, layer, TL0PICIDX, payload.
        let cases: [(&[u8], bool, bool); 5] = [
            (&[0xa8, 0x05, 0x00, 0x07, 1], true, true),
            (&[0xa0, 0x05, 0x00, 0x07, 1], true, false),
            (&[0xa8, 0x05, 0x03, 0x07, 1], false, false),
            (&[0xe8, 0x05, 0x00, 0x07, 1], false, true),
            (&[0x88, 0x05, 1], true, true),
        ];
        for (payload, key_frame, start) in cases {
            let descriptor = Vp9Descriptor::parse(payload).unwrap();
            assert_eq!((descriptor.key_frame(), descriptor.starts_picture()), (key_frame, start), "{payload:02x?}");
        }
    }

    #[test]
    fn a_structure_is_skipped() {
        // Two layers with sizes, a group of two pictures with one and two references.
        let mut payload = vec![0x8a, 0x05, 0x38, 1, 0x40, 0, 0xb4, 2, 0x80, 1, 0x68, 2, 0x04, 1, 0x28, 1, 2];
        assert_eq!(Vp9Descriptor::parse(&payload), None);
        payload.push(0xaa);
        let descriptor = Vp9Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.size_bytes, 17);
    }

    #[test]
    fn a_fourth_reference_is_refused() {
        assert!(Vp9Descriptor::parse(&[0xd0, 0x05, 3, 5, 6, 0]).is_some());
        assert_eq!(Vp9Descriptor::parse(&[0xd0, 0x05, 3, 5, 7, 8, 0]), None);
    }

    proptest! {
        /// Oracle: the depacketizer of the `rtp` crate.
        #[test]
        fn descriptors_agree_with_the_rtp_crate(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            crate::fuzzing::fuzz_payloads(&bytes);
            let mut bytes = bytes;
            if bytes.first().is_some_and(|first| first & 0x02 != 0) {
                // The oracle takes the reserved bits of a structure for its G bit: clear them.
                bytes[0] &= !0x02;
                let head = Vp9Descriptor::parse(&bytes).map(|descriptor| usize::from(descriptor.size_bytes));
                bytes[0] |= 0x02;
                if let Some(byte) = head.and_then(|head| bytes.get_mut(head)) {
                    *byte &= 0xf8;
                }
            }
            let mut oracle = Vp9Packet::default();
            let theirs = oracle.depacketize(&bytes.clone().into()).ok().filter(|rest| !rest.is_empty());
            let ours = Vp9Descriptor::parse(&bytes);
            // The oracle refuses the third reference, which RFC 9628 allows.
            prop_assert!(ours.is_some() || theirs.is_none());
            if let (Some(ours), Some(rest)) = (ours, theirs) {
                prop_assert_eq!(usize::from(ours.size_bytes), bytes.len() - rest.len());
                prop_assert_eq!(ours.picture_id.map(|id| id.value), oracle.i.then_some(oracle.picture_id));
                let layer = oracle.l.then_some(Vp9Layer {
                    temporal: oracle.tid, switching_up: oracle.u, spatial: oracle.sid,
                });
                prop_assert_eq!(ours.layer, layer);
                prop_assert_eq!(ours.tl0picidx, (oracle.l && !oracle.f).then_some(oracle.tl0picidx));
                prop_assert_eq!(ours.flags.start(), oracle.b);
            }
        }
    }
}
