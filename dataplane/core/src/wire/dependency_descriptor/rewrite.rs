//! What an egress stream changes in a descriptor: numbers, and which decode targets there are for its receiver.
//!
//! Everything else stays, bit by bit. Frame numbers and references are distances, so a frame that is left out leaves its
//! number free and nothing else has to change.

use super::MANDATORY_SIZE_BYTES;
use super::bits::{BitReader, BitWriter};
use super::structure::TemplateStructure;

/// The largest value of a header extension in two-byte form (RFC 8285 section 4.3).
pub(crate) const SIZE_BYTES_MAX: usize = 255;
/// The flags of the extended fields: structure, mask, custom indications, references and chains.
const FLAGS_BITS: u8 = 5;
/// The first two of them, where they stand in their byte.
const STRUCTURE: u8 = 0x80;
const MASK: u8 = 0x40;

/// What a descriptor is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rewrite {
    /// The frame number.
    pub frame_number: u16,
    /// What is added to template ids, modulo 64.
    pub template_shift: u8,
    /// The decode targets that can be had, where they are not the sender's own: said by each first packet of a frame, and by
    /// those that say it anyway.
    pub active_decode_targets: Option<u32>,
}

impl Rewrite {
    /// Returns the size of the value that [`Rewrite::write`] makes out of `value`.
    pub(crate) fn size_bytes(&self, value: &[u8], structure: Option<&TemplateStructure>) -> usize {
        value.len() + self.targets(value, structure).map_or(0, |targets| targets.growth_bytes)
    }

    /// Writes what `value` becomes to the front of `buffer`, and returns it. `structure` is the one that `value` carries or
    /// refers to; without it, and where there is no room, the decode targets stay.
    ///
    /// `None` if `value` is no descriptor, or too large.
    pub(crate) fn write<'a>(
        &self,
        value: &[u8],
        structure: Option<&TemplateStructure>,
        buffer: &'a mut [u8; SIZE_BYTES_MAX],
    ) -> Option<&'a [u8]> {
        let out = buffer.get_mut(..self.size_bytes(value, structure))?;
        match self.targets(value, structure) {
            Some(targets) => targets.write(value, out)?,
            None => out.copy_from_slice(value),
        }
        let [first, high, low, rest @ ..] = &mut *out else { return None };
        *first = (*first & 0xc0) | (first.wrapping_add(self.template_shift) & 0x3f);
        [*high, *low] = self.frame_number.to_be_bytes();
        if carries_structure(value) {
            // The offset of template ids: three bits in each of two bytes.
            let [flags, offset, ..] = rest else { return None };
            let shifted = (((*flags & 7) << 3) | (*offset >> 5)).wrapping_add(self.template_shift) & 0x3f;
            *flags = (*flags & !7) | (shifted >> 3);
            *offset = (*offset & 0x1f) | (shifted << 5);
        }
        Some(out)
    }

    /// Returns what is to be written about decode targets, where that is known and fits.
    fn targets<'a>(&self, value: &[u8], structure: Option<&'a TemplateStructure>) -> Option<Targets<'a>> {
        let (mask, structure) = (self.active_decode_targets?, structure?);
        if !carries(value, STRUCTURE | MASK) && value.first().is_none_or(|first| first & 0x80 == 0) {
            return None;
        }
        let growth_bits = match value.len() {
            _ if carries(value, MASK) => 0,
            MANDATORY_SIZE_BYTES => FLAGS_BITS + structure.decode_targets(),
            _ => structure.decode_targets(),
        };
        let growth_bytes = usize::from(growth_bits).div_ceil(8);
        (value.len() + growth_bytes <= SIZE_BYTES_MAX).then_some(Targets { mask, structure, growth_bytes })
    }
}

/// Decode targets that can be had.
#[derive(Debug, Clone, Copy)]
struct Targets<'a> {
    mask: u32,
    structure: &'a TemplateStructure,
    /// By how much a value gets longer.
    growth_bytes: usize,
}

impl Targets<'_> {
    /// Copies `value` with this mask instead of its own one, if any.
    fn write(&self, value: &[u8], out: &mut [u8]) -> Option<()> {
        out.fill(0);
        let (mandatory, extended) = value.split_at_checked(MANDATORY_SIZE_BYTES)?;
        let (head, tail) = out.split_at_mut_checked(MANDATORY_SIZE_BYTES)?;
        head.copy_from_slice(mandatory);
        let flags = extended.first().copied().unwrap_or(0);
        let (mut from, mut to) = (BitReader::new(extended), BitWriter::new(tail));
        to.u32(u32::from((flags | MASK) >> (8 - FLAGS_BITS)), FLAGS_BITS)?;
        if !extended.is_empty() {
            from.skip(FLAGS_BITS.into())?;
        }
        if flags & STRUCTURE != 0 {
            to.copy(&mut from, self.structure.size_bits())?;
        }
        to.u32(self.mask, self.structure.decode_targets())?;
        if flags & MASK != 0 {
            from.skip(self.structure.decode_targets().into())?;
        }
        to.copy_rest(&mut from)
    }
}

/// Tells whether a value says that it carries a structure.
pub(crate) fn carries_structure(value: &[u8]) -> bool {
    carries(value, STRUCTURE)
}

/// Tells whether a value has a flag among its extended fields.
pub(super) fn carries(value: &[u8], flag: u8) -> bool {
    value.get(MANDATORY_SIZE_BYTES).is_some_and(|flags| flags & flag != 0)
}
