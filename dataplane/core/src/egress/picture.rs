//! Picture ids, TL0PICIDX and frame numbers of an egress stream: continuous, whoever feeds it.

use sluice_protocol::media::CodecKind;
use sluice_protocol::table::Anchor;

use super::closing::Closing;
use super::limits::GAP_PICTURES_MAX;
use crate::ingress::Accepted;
use crate::wire::dependency_descriptor::Rewrite;
use crate::wire::picture_id::PictureId;

/// Picture ids on the wire: 15 bits always. A source's 7 bits are widened, since receivers take every id for 15 bits
/// wide, and a wrap after 128 pictures for a step back.
const PICTURE_ID_BITS: u32 = 15;
const PICTURE_ID_MASK: u64 = (1 << PICTURE_ID_BITS) - 1;
/// Where unwrapped numbers start, so that steps back do not end below zero.
const UNWRAPPED_START: u64 = 1 << 32;

/// What a packet's descriptors are to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PictureNumbers {
    /// The picture id, 15 bits, where the source has one.
    pub picture_id: Option<u16>,
    /// `TL0PICIDX`, where the source has one.
    pub tl0picidx: Option<u8>,
    /// What the dependency descriptor is to say, where the source has one.
    pub descriptor: Option<Rewrite>,
}

/// The continuity of pictures. A picture shed as a whole closes up, one that was lost keeps its id; a source without ids
/// is passed as it is, and the next one with ids goes on where the last one stopped.
#[derive(Clone, Debug)]
pub(super) struct Pictures {
    /// The codec that the source's numbers belong to.
    codec: Option<CodecKind>,
    /// From the source's picture ids to ours, both unwrapped; unset while the source has shown none.
    ids: Closing,
    ids_known: bool,
    /// The highest picture id sent, unwrapped; its low 15 bits stand on the wire.
    last_id: u64,
    /// Ours minus the source's TL0PICIDX; unset while the source has shown none.
    tl0_offset: Option<u8>,
    last_tl0: u8,
    /// Ours minus the source's frame number; unset while the source has shown none.
    frame_offset: Option<u16>,
    last_frame: u16,
    /// Ours minus the source's template ids, modulo 64, and the id behind the last structure's. A source that starts has its
    /// structure moved behind the one before, so that no packet of one is taken for the other's.
    template_shift: u8,
    next_template: u8,
    /// Whether the source's structure has to be moved.
    is_new_source: bool,
    /// The decode targets that the receiver is told, where they are not the source's own.
    told: Option<u32>,
    /// The offset of an anchor whose source has not been heard yet.
    resumed_id_offset: Option<u16>,
}

impl Pictures {
    /// Makes numbers that start after those given.
    pub(super) fn new(picture_id: u16, tl0picidx: u8, frame_number: u16) -> Self {
        Self {
            codec: None,
            ids: Closing::default(),
            ids_known: false,
            last_id: UNWRAPPED_START + u64::from(picture_id),
            tl0_offset: None,
            last_tl0: tl0picidx,
            frame_offset: None,
            last_frame: frame_number,
            template_shift: 0,
            next_template: 0,
            is_new_source: true,
            told: None,
            resumed_id_offset: None,
        }
    }

    /// Goes on after `anchor`.
    pub(super) fn restore(&mut self, anchor: &Anchor) {
        *self = Self::new(anchor.picture_id & 0x7fff, anchor.tl0picidx, anchor.frame_number);
        self.resumed_id_offset = Some(anchor.picture_id_offset);
        self.tl0_offset = Some(anchor.tl0picidx_offset);
        self.frame_offset = Some(anchor.frame_number_offset);
        [self.template_shift, self.next_template] = anchor.template_ids.to_be_bytes().map(|id| id & 0x3f);
        self.is_new_source = false;
    }

    /// Writes what a successor needs into `anchor`.
    pub(super) fn save(&self, anchor: &mut Anchor) {
        anchor.picture_id = low_id(self.last_id);
        anchor.picture_id_offset = self.resumed_id_offset.unwrap_or_else(|| low_id(self.ids.offset()));
        anchor.tl0picidx = self.last_tl0;
        anchor.tl0picidx_offset = self.tl0_offset.unwrap_or(0);
        anchor.frame_number = self.last_frame;
        anchor.frame_number_offset = self.frame_offset.unwrap_or(0);
        anchor.template_ids = u16::from_be_bytes([self.template_shift, self.next_template]);
    }

    /// Forgets the source: the next numbers follow the last ones sent.
    pub(super) fn start(&mut self) {
        self.ids_known = false;
        self.resumed_id_offset = None;
        self.tl0_offset = None;
        self.frame_offset = None;
        self.is_new_source = true;
    }

    /// Sets which decode targets the receiver is told from now on; `None` for the source's own ones.
    pub(super) const fn tell(&mut self, targets: Option<u32>) {
        self.told = targets;
    }

    /// Returns the numbers of a packet that is newer than all before it. The flag tells that the source's numbers
    /// jumped and were anchored anew, so that nothing before this packet has a place any more.
    pub(super) fn advance(&mut self, packet: &Accepted<'_>) -> (PictureNumbers, bool) {
        if self.codec.is_some_and(|codec| codec != packet.codec) {
            self.start();
        }
        self.codec = Some(packet.codec);
        // A source that is resumed may have gone on for so long that its small numbers cannot be told from earlier ones.
        let fresh = packet.frame.start && (packet.frame.key || self.resumed_id_offset.is_some());
        let (picture_id, mut jumped) = packet.frame.picture_id.map_or((None, false), |id| self.advance_id(id));
        let tl0picidx = packet.frame.tl0picidx.map(|value| {
            let next = self.last_tl0.wrapping_add(1);
            let back = |offset: u8| fresh && value.wrapping_add(offset).wrapping_sub(self.last_tl0).cast_signed() < 0;
            jumped |= self.tl0_offset.is_some_and(back);
            let offset = self.tl0_offset.filter(|offset| !back(*offset)).unwrap_or_else(|| next.wrapping_sub(value));
            self.tl0_offset = Some(offset);
            let mapped = value.wrapping_add(offset);
            if mapped.wrapping_sub(self.last_tl0).cast_signed() > 0 {
                self.last_tl0 = mapped;
            }
            mapped
        });
        let frame_number = packet.frame.frame_number.map(|value| {
            self.follow_structure(packet);
            let next = self.last_frame.wrapping_add(1);
            let back =
                |offset: u16| fresh && value.wrapping_add(offset).wrapping_sub(self.last_frame).cast_signed() < 0;
            jumped |= self.frame_offset.is_some_and(back);
            let offset = self.frame_offset.filter(|offset| !back(*offset)).unwrap_or_else(|| next.wrapping_sub(value));
            self.frame_offset = Some(offset);
            let mapped = value.wrapping_add(offset);
            if mapped.wrapping_sub(self.last_frame).cast_signed() > 0 {
                self.last_frame = mapped;
            }
            mapped
        });
        (PictureNumbers { picture_id, tl0picidx, descriptor: frame_number.map(|number| self.rewrite(number)) }, jumped)
    }

    /// Moves the template ids of a source that starts behind those used before.
    fn follow_structure(&mut self, packet: &Accepted<'_>) {
        let Some(structure) = packet.structure.filter(|_| packet.frame.key || self.is_new_source) else { return };
        if std::mem::take(&mut self.is_new_source) {
            self.template_shift = self.next_template.wrapping_sub(structure.id_offset()) & 0x3f;
        }
        let count = u8::try_from(structure.templates().len()).unwrap_or(0);
        self.next_template = structure.id_offset().wrapping_add(self.template_shift).wrapping_add(count) & 0x3f;
    }

    const fn rewrite(&self, frame_number: u16) -> Rewrite {
        Rewrite { frame_number, template_shift: self.template_shift, active_decode_targets: self.told }
    }

    /// Returns the numbers of a packet that comes late, `None` when its picture has no place any more.
    pub(super) fn place_late(&self, packet: &Accepted<'_>) -> Option<PictureNumbers> {
        let picture_id = match packet.frame.picture_id {
            Some(_) if !self.ids_known => return None,
            Some(id) => Some(low_id(self.ids.place(self.unwrap(id)).filter(|id| *id <= self.last_id)?)),
            None => None,
        };
        Some(PictureNumbers {
            picture_id,
            tl0picidx: match packet.frame.tl0picidx {
                Some(value) => Some(value.wrapping_add(self.tl0_offset?)),
                None => None,
            },
            descriptor: match packet.frame.frame_number {
                Some(value) => Some(self.rewrite(value.wrapping_add(self.frame_offset?))),
                None => None,
            },
        })
    }

    /// Notes that a packet newer than all before it was shed; its picture's id is given away when nothing of the
    /// picture was sent. Frame numbers stay as they are: dependency descriptors name distances between them.
    pub(super) fn shed(&mut self, packet: &Accepted<'_>) {
        if let Some(id) = packet.frame.picture_id
            && self.ids_known
        {
            self.ids.give_away(self.unwrap(id));
        }
    }

    /// Returns ours minus the source's TL0PICIDX.
    pub(super) fn tl0_offset(&self) -> u8 {
        self.tl0_offset.unwrap_or(0)
    }

    /// Returns what dependency descriptors are changed by: ours minus the source's frame number, and the rest as it is.
    pub(super) fn descriptors(&self) -> Rewrite {
        self.rewrite(self.frame_offset.unwrap_or(0))
    }

    fn advance_id(&mut self, id: PictureId) -> (Option<u16>, bool) {
        let mut jumped = false;
        if self.ids_known {
            let unwrapped = self.unwrap(id);
            let step = unwrapped.wrapping_sub(self.ids.highest());
            match self.ids.place(unwrapped).filter(|_| step <= GAP_PICTURES_MAX) {
                Some(_) => self.ids.keep(unwrapped),
                // The source began to count anew, or lost so much that the distance says nothing. One picture is left
                // out, so that nobody takes the next one for the successor of the last.
                None => {
                    self.ids.rebase(unwrapped, self.last_id + 2);
                    jumped = true;
                }
            }
            self.last_id = self.last_id.max(self.ids.place(unwrapped).unwrap_or(0));
            return (Some(low_id(self.ids.place(unwrapped).unwrap_or(self.last_id))), jumped);
        }
        let step = match self.resumed_id_offset.take() {
            Some(offset) => {
                let mask = if id.bits == 7 { 0x7f } else { 0x7fff };
                let distance = id.value.wrapping_add(offset).wrapping_sub(low_id(self.last_id)) & mask;
                if distance == 0 || u64::from(distance) > GAP_PICTURES_MAX { 2 } else { u64::from(distance) }
            }
            None => 1,
        };
        self.last_id += step;
        self.ids.rebase(UNWRAPPED_START + u64::from(id.value), self.last_id);
        self.ids_known = true;
        (Some(low_id(self.last_id)), jumped)
    }

    /// Unwraps a picture id of the source near the highest one seen.
    fn unwrap(&self, id: PictureId) -> u64 {
        let shift = if id.bits == 7 { 16 - 7 } else { 16 - PICTURE_ID_BITS };
        let seen = u16::try_from(self.ids.highest() & 0xffff).unwrap_or(0);
        let distance = (id.value.wrapping_sub(seen) << shift).cast_signed() >> shift;
        self.ids.highest().wrapping_add_signed(i64::from(distance))
    }
}

/// Returns the bits of an unwrapped picture id that stand on the wire.
fn low_id(unwrapped: u64) -> u16 {
    u16::try_from(unwrapped & PICTURE_ID_MASK).unwrap_or(0)
}
