//! The bytes of an egress packet: header and extensions as the subscriber negotiated them, payload descriptor renumbered.

use core::slice;

use arrayvec::ArrayVec;
use sluice_protocol::media::{CodecKind, ExtensionIds, Mid, PayloadType, Ssrc};

use super::limits::DATAGRAM_BYTES_COMFORTABLE;
use super::picture::PictureNumbers;
use crate::discard::Discard;
use crate::ingress::Accepted;
use crate::srtp::RTP_OVERHEAD_BYTES_MAX;
use crate::wire::dependency_descriptor::{
    MANDATORY_SIZE_BYTES, SIZE_BYTES_MAX as DESCRIPTOR_SIZE_BYTES_MAX, TemplateStructure, carries_structure,
};
use crate::wire::extension::{ABS_SEND_TIME_SIZE_BYTES, PLAYOUT_DELAY_SIZE_BYTES};
use crate::wire::rtp::{Extension, ExtensionForm, RtpFields, header_size_bytes, write_header};

/// The size of the original sequence number in front of a repaired payload (RFC 4588 section 4).
const ORIGINAL_SEQUENCE_SIZE_BYTES: usize = 2;
/// Extensions that one packet can have.
const EXTENSIONS_MAX: usize = 6;
/// The largest value in the one-byte form (RFC 8285 section 4.2).
const ONE_BYTE_FORM_SIZE_BYTES_MAX: usize = 16;
/// Stands for a dependency descriptor of any size, while that alone counts.
static ANY_DESCRIPTOR: [u8; DESCRIPTOR_SIZE_BYTES_MAX] = [0; DESCRIPTOR_SIZE_BYTES_MAX];

/// Header extensions of a packet, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExtensionSet(u8);

impl ExtensionSet {
    const MID: Self = Self(1);
    const ABS_SEND_TIME: Self = Self(1 << 1);
    const AUDIO_LEVEL: Self = Self(1 << 2);
    const PLAYOUT_DELAY: Self = Self(1 << 3);
    const VIDEO_ORIENTATION: Self = Self(1 << 4);
    const DEPENDENCY_DESCRIPTOR: Self = Self(1 << 5);

    /// What a packet goes without when it would be too large, dearest last. Orientation and dependency descriptor stay:
    /// without them pictures are shown or decoded wrongly.
    const OPTIONAL: [Self; 4] = [Self::PLAYOUT_DELAY, Self::AUDIO_LEVEL, Self::ABS_SEND_TIME, Self::MID];

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    const fn with(self, other: Self, present: bool) -> Self {
        if present { Self(self.0 | other.0) } else { self }
    }
}

/// What is written the same way into every packet of an egress stream.
#[derive(Clone, Debug)]
pub(super) struct Format {
    pub(super) ids: ExtensionIds,
    /// Whether one- and two-byte forms may be mixed (RFC 8285 section 4.1.2).
    pub(super) mixed: bool,
    pub(super) mid: Mid,
    /// The plan's playout delay, or the publisher's last one: repeated in each packet, so that sizes stay equal.
    pub(super) playout_delay: Option<[u8; PLAYOUT_DELAY_SIZE_BYTES]>,
}

/// An egress packet whose numbers and size are settled; [`super::EgressStream::write`] makes its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// The SSRC.
    pub ssrc: Ssrc,
    /// The SRTP index: roll-over counter << 16 | sequence number.
    pub index: u64,
    /// The RTP timestamp.
    pub timestamp: u32,
    /// The subscriber's payload type.
    pub payload_type: PayloadType,
    /// The marker bit.
    pub marker: bool,
    /// What the payload descriptor and the dependency descriptor will say.
    pub picture: PictureNumbers,
    /// The size of the RTP packet in bytes, before padding and seal.
    pub size_bytes: usize,
    /// How much of that is payload.
    pub payload_size_bytes: usize,
    /// In a repair packet the sequence number that is repaired (RFC 4588 section 4).
    pub original: Option<u16>,
    extensions: ExtensionSet,
    form: ExtensionForm,
}

/// The fields of a packet whose size is to be settled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) ssrc: Ssrc,
    pub(super) index: u64,
    pub(super) timestamp: u32,
    pub(super) payload_type: PayloadType,
    pub(super) marker: bool,
    pub(super) picture: PictureNumbers,
    pub(super) original: Option<u16>,
}

impl Format {
    /// Settles extensions and size of a packet.
    ///
    /// # Errors
    /// [`Discard::DescriptorMalformed`] when the payload ends inside its descriptor.
    pub(super) fn outgoing(&self, identity: &Identity, packet: &Accepted<'_>) -> Result<Outgoing, Discard> {
        let descriptor = Descriptor::of(packet, &identity.picture);
        if packet.payload.len() < descriptor.source_size_bytes() {
            return Err(Discard::DescriptorMalformed);
        }
        let original_size = if identity.original.is_some() { ORIGINAL_SEQUENCE_SIZE_BYTES } else { 0 };
        let body = original_size + packet.payload.len() + descriptor.growth_bytes();
        let (extensions, form, header) = self.fitting(packet, &identity.picture, body);
        Ok(Outgoing {
            ssrc: identity.ssrc,
            index: identity.index,
            timestamp: identity.timestamp,
            payload_type: identity.payload_type,
            marker: identity.marker,
            picture: identity.picture,
            size_bytes: header + body,
            payload_size_bytes: body,
            original: identity.original,
            extensions,
            form,
        })
    }

    /// Writes a packet of `outgoing.size_bytes` to the front of `buffer` and returns its size.
    pub(super) fn write(
        &self,
        outgoing: &Outgoing,
        packet: &Accepted<'_>,
        abs_send_time: [u8; ABS_SEND_TIME_SIZE_BYTES],
        buffer: &mut [u8],
    ) -> Option<usize> {
        let fields = RtpFields {
            marker: outgoing.marker,
            payload_type: outgoing.payload_type,
            sequence: low_sequence(outgoing.index),
            timestamp: outgoing.timestamp,
            ssrc: outgoing.ssrc,
        };
        let mut changed;
        let descriptor = match outgoing.picture.descriptor {
            Some(rewrite) if outgoing.extensions.has(ExtensionSet::DEPENDENCY_DESCRIPTOR) => {
                changed = [0; DESCRIPTOR_SIZE_BYTES_MAX];
                rewrite.write(packet.dependency_descriptor, structure_of(packet), &mut changed)?
            }
            _ => &[],
        };
        let values = Values { packet, abs_send_time: &abs_send_time, descriptor };
        let extensions = self.extensions(outgoing.extensions, &values);
        let header = write_header(buffer, &fields, outgoing.form, &extensions).ok()?;
        let mut body = buffer.get_mut(header..outgoing.size_bytes)?;
        if let Some(original) = outgoing.original {
            let (number, rest) = body.split_at_mut_checked(ORIGINAL_SEQUENCE_SIZE_BYTES)?;
            number.copy_from_slice(&original.to_be_bytes());
            body = rest;
        }
        Descriptor::of(packet, &outgoing.picture).write(packet.payload, body)?;
        Some(outgoing.size_bytes)
    }

    /// Chooses extensions and form for a packet with `body` bytes behind its header, and returns the header's size.
    fn fitting(
        &self,
        packet: &Accepted<'_>,
        numbers: &PictureNumbers,
        body: usize,
    ) -> (ExtensionSet, ExtensionForm, usize) {
        let ids = &self.ids;
        let mut set = ExtensionSet(0)
            .with(ExtensionSet::MID, ids.mid != 0 && !self.mid.0.as_bytes().is_empty())
            .with(ExtensionSet::ABS_SEND_TIME, ids.abs_send_time != 0)
            .with(ExtensionSet::AUDIO_LEVEL, ids.audio_level != 0 && packet.audio_level.is_some())
            .with(ExtensionSet::PLAYOUT_DELAY, ids.playout_delay != 0 && self.playout_delay.is_some())
            .with(ExtensionSet::VIDEO_ORIENTATION, ids.video_orientation != 0 && packet.video_orientation.is_some());
        let mut values = Values { packet, abs_send_time: &[0; ABS_SEND_TIME_SIZE_BYTES], descriptor: &[] };
        if let Some(size) = self.descriptor_size_bytes(packet, numbers) {
            set = set.with(ExtensionSet::DEPENDENCY_DESCRIPTOR, true);
            values.descriptor = ANY_DESCRIPTOR.get(..size).unwrap_or(&[]);
        }
        let mut form = self.form(&mut set, &values);
        let mut header = self.header_size(set, form, &values);
        for optional in ExtensionSet::OPTIONAL {
            if header + body + RTP_OVERHEAD_BYTES_MAX <= DATAGRAM_BYTES_COMFORTABLE {
                break;
            }
            set = set.without(optional);
            form = self.form(&mut set, &values);
            header = self.header_size(set, form, &values);
        }
        (set, form, header)
    }

    /// Returns the size of a packet's dependency descriptor, where it is sent: of codecs whose receivers cannot do without
    /// it. VP8 and H264 are decoded in the order of their packets, and sources with and without it take turns.
    ///
    /// Where only the one-byte form may be used, descriptors whose structure does not fit into it are of no use.
    fn descriptor_size_bytes(&self, packet: &Accepted<'_>, numbers: &PictureNumbers) -> Option<usize> {
        let rewrite = numbers.descriptor.filter(|_| self.ids.dependency_descriptor != 0)?;
        let (value, structure) = (packet.dependency_descriptor, structure_of(packet));
        let is_needed = matches!(packet.codec, CodecKind::Av1 | CodecKind::Vp9);
        // A structure that was not taken cannot be rewritten.
        let is_known = structure.is_some() || !carries_structure(value);
        if !is_needed || !is_known || value.len() < MANDATORY_SIZE_BYTES {
            return None;
        }
        let fits = |structure: &TemplateStructure| structure.descriptor_size_bytes() <= ONE_BYTE_FORM_SIZE_BYTES_MAX;
        if !self.mixed && !structure.is_some_and(fits) {
            return None;
        }
        let size = rewrite.size_bytes(value, structure);
        (size <= DESCRIPTOR_SIZE_BYTES_MAX).then_some(size)
    }

    /// Chooses the form that carries `set`; where only the one-byte form may be used, what it cannot carry is left out.
    fn form(&self, set: &mut ExtensionSet, values: &Values<'_>) -> ExtensionForm {
        if self.mixed {
            return ExtensionForm::fitting(&self.extensions(*set, values));
        }
        for (extension, id) in self.members() {
            if id > 14 {
                *set = set.without(extension);
            }
        }
        if values.descriptor.len() > ONE_BYTE_FORM_SIZE_BYTES_MAX {
            *set = set.without(ExtensionSet::DEPENDENCY_DESCRIPTOR);
        }
        ExtensionForm::OneByte
    }

    fn header_size(&self, set: ExtensionSet, form: ExtensionForm, values: &Values<'_>) -> usize {
        let extensions = self.extensions(set, values);
        header_size_bytes(form, extensions.iter().map(|extension| extension.value.len()))
    }

    const fn members(&self) -> [(ExtensionSet, u8); EXTENSIONS_MAX] {
        [
            (ExtensionSet::MID, self.ids.mid),
            (ExtensionSet::ABS_SEND_TIME, self.ids.abs_send_time),
            (ExtensionSet::AUDIO_LEVEL, self.ids.audio_level),
            (ExtensionSet::PLAYOUT_DELAY, self.ids.playout_delay),
            (ExtensionSet::VIDEO_ORIENTATION, self.ids.video_orientation),
            (ExtensionSet::DEPENDENCY_DESCRIPTOR, self.ids.dependency_descriptor),
        ]
    }

    /// Returns the extensions of `set` with their values.
    fn extensions<'a>(&'a self, set: ExtensionSet, values: &Values<'a>) -> ArrayVec<Extension<'a>, EXTENSIONS_MAX> {
        let Values { packet, abs_send_time, descriptor } = *values;
        let ids = &self.ids;
        let mut list = ArrayVec::new();
        let mut push = |extension, id, value: Option<&'a [u8]>| {
            if set.has(extension)
                && let Some(value) = value
            {
                list.push(Extension { id, value });
            }
        };
        push(ExtensionSet::MID, ids.mid, Some(self.mid.0.as_bytes()));
        push(ExtensionSet::ABS_SEND_TIME, ids.abs_send_time, Some(abs_send_time));
        push(ExtensionSet::AUDIO_LEVEL, ids.audio_level, packet.audio_level.as_ref().map(slice::from_ref));
        push(ExtensionSet::PLAYOUT_DELAY, ids.playout_delay, self.playout_delay.as_ref().map(<[u8; 3]>::as_slice));
        push(
            ExtensionSet::VIDEO_ORIENTATION,
            ids.video_orientation,
            packet.video_orientation.as_ref().map(slice::from_ref),
        );
        push(ExtensionSet::DEPENDENCY_DESCRIPTOR, ids.dependency_descriptor, Some(descriptor));
        list
    }
}

/// What the extensions of one packet say.
#[derive(Clone, Copy, Debug)]
struct Values<'a> {
    packet: &'a Accepted<'a>,
    abs_send_time: &'a [u8; ABS_SEND_TIME_SIZE_BYTES],
    /// The dependency descriptor as it is sent.
    descriptor: &'a [u8],
}

fn structure_of<'a>(packet: &Accepted<'a>) -> Option<&'a TemplateStructure> {
    packet.structure.map(|structure| &**structure)
}

/// Where picture id and TL0PICIDX stand in a payload, and what is written there.
#[derive(Clone, Copy, Debug, Default)]
struct Descriptor {
    /// Offset, size in the source's payload, and the value to write in two bytes.
    picture_id: Option<(usize, usize, u16)>,
    /// Offset in the source's payload, and the value to write.
    tl0picidx: Option<(usize, u8)>,
}

impl Descriptor {
    fn of(packet: &Accepted<'_>, numbers: &PictureNumbers) -> Self {
        // RFC 7741 section 4.2: required byte, X byte, PictureID, TL0PICIDX.
        // RFC 9628 section 4.2: required byte, picture id, layer indices, TL0PICIDX.
        let (start, between) = match packet.codec {
            CodecKind::Vp8 => (2, 0),
            CodecKind::Vp9 => (1, 1),
            CodecKind::Opus | CodecKind::H264 | CodecKind::Av1 | CodecKind::Other => return Self::default(),
        };
        let size = packet.frame.picture_id.map_or(0, |id| if id.bits == 7 { 1 } else { 2 });
        Self {
            picture_id: numbers.picture_id.filter(|_| size != 0).map(|value| (start, size, value)),
            tl0picidx: numbers.tl0picidx.map(|value| (start + size + between, value)),
        }
    }

    /// Returns how much of the source's payload has to be there.
    fn source_size_bytes(&self) -> usize {
        let picture_end = self.picture_id.map_or(0, |(offset, size, _)| offset + size);
        self.tl0picidx.map_or(picture_end, |(offset, _)| offset + 1)
    }

    /// Returns by how much the payload grows: one byte where an id of seven bits is widened.
    fn growth_bytes(&self) -> usize {
        self.picture_id.map_or(0, |(_, size, _)| 2_usize.saturating_sub(size))
    }

    fn write(&self, payload: &[u8], body: &mut [u8]) -> Option<()> {
        match self.picture_id {
            None => copy(payload, body)?,
            Some((offset, size, value)) => {
                let (head, rest) = body.split_at_mut_checked(offset)?;
                let (id, tail) = rest.split_at_mut_checked(2)?;
                copy(payload.get(..offset)?, head)?;
                id.copy_from_slice(&(value | 0x8000).to_be_bytes());
                copy(payload.get(offset + size..)?, tail)?;
            }
        }
        if let Some((offset, value)) = self.tl0picidx {
            *body.get_mut(offset + self.growth_bytes())? = value;
        }
        Some(())
    }
}

/// Copies all of `from` to all of `to`; `None` when they are not of one size.
fn copy(from: &[u8], to: &mut [u8]) -> Option<()> {
    (from.len() == to.len()).then(|| to.copy_from_slice(from))
}

/// Returns the sequence number of an SRTP index.
pub(super) fn low_sequence(index: u64) -> u16 {
    u16::try_from(index & 0xffff).unwrap_or(0)
}
