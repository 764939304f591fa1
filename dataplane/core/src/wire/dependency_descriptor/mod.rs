//! The dependency descriptor (RTP Payload Format For AV1, version 1.0, appendix A): where frames start and end, which
//! layer and decode targets they belong to, what they refer to, and the structure that later packets refer to.

mod bits;
mod rewrite;
mod structure;
#[cfg(test)]
pub(crate) mod write;

use arrayvec::ArrayVec;

use bits::BitReader;
pub(crate) use rewrite::{Rewrite, SIZE_BYTES_MAX, carries_structure};
use structure::{DECODE_TARGETS_MAX, REFERENCES_MAX, Template};
pub(crate) use structure::{Indications, TemplateLayer, TemplateStructure, target_bit};

/// The size of the mandatory fields.
pub(crate) const MANDATORY_SIZE_BYTES: usize = 3;

/// One packet's descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DependencyDescriptor {
    /// Whether the packet is the first of its frame.
    pub start: bool,
    /// Whether the packet is the last of its frame.
    pub end: bool,
    /// The template that the frame is made by, 0 to 63.
    pub template_id: u8,
    /// Counts frames in decode order over all layers, wrapping.
    pub frame_number: u16,
    /// The structure that the packet carries; the first packet of a key frame does.
    pub structure: Option<TemplateStructure>,
    /// Which decode targets can be had from now on, the first one lowest, where the packet says so. All of them when the
    /// packet carries a structure and nothing else.
    pub active_decode_targets: Option<u32>,
    /// What the frame is to the decode targets, where that is not what its template says.
    pub custom_indications: Option<Indications>,
    /// How many frame numbers back the frames are that it refers to, where that is not what its template says.
    pub custom_references: Option<ArrayVec<u16, REFERENCES_MAX>>,
    /// How many frame numbers back the last frame of each chain is, where that is not what its template says.
    pub custom_chains: Option<ArrayVec<u8, { DECODE_TARGETS_MAX as usize }>>,
}

impl DependencyDescriptor {
    /// Parses an extension's value; `structure` is the one that was received last, which tells how many decode targets
    /// and chains there are. Padding is not looked at.
    ///
    /// `None` if it is malformed or needs a structure that is missing.
    pub(crate) fn parse(value: &[u8], structure: Option<&TemplateStructure>) -> Option<Self> {
        let (mandatory, extended) = value.split_first_chunk::<MANDATORY_SIZE_BYTES>()?;
        let [first, high, low] = *mandatory;
        let mut descriptor = Self {
            start: first & 0x80 != 0,
            end: first & 0x40 != 0,
            template_id: first & 0x3f,
            frame_number: u16::from_be_bytes([high, low]),
            structure: None,
            active_decode_targets: None,
            custom_indications: None,
            custom_references: None,
            custom_chains: None,
        };
        if !extended.is_empty() {
            descriptor.read_extended(&mut BitReader::new(extended), structure)?;
        }
        Some(descriptor)
    }

    /// Returns the template of the packet's frame, in its own structure or in the one received last.
    pub(crate) fn template<'a>(&'a self, structure: Option<&'a TemplateStructure>) -> Option<&'a Template> {
        self.structure.as_ref().or(structure)?.template(self.template_id)
    }

    /// Returns the layer of the packet, by its own structure or by the one received last.
    pub(crate) fn layer(&self, structure: Option<&TemplateStructure>) -> Option<TemplateLayer> {
        self.template(structure).map(|template| template.layer)
    }

    /// Returns what the frame is to the decode targets.
    pub(crate) fn indications(&self, structure: Option<&TemplateStructure>) -> Option<Indications> {
        self.custom_indications.or_else(|| self.template(structure).map(|template| template.indications))
    }

    /// Returns the numbers of the frames that the frame refers to; `None` without its template.
    pub(crate) fn references(&self, structure: Option<&TemplateStructure>) -> Option<ArrayVec<u16, REFERENCES_MAX>> {
        let template = self.template(structure)?;
        let number = |difference: u16| self.frame_number.wrapping_sub(difference);
        Some(match &self.custom_references {
            Some(custom) => custom.iter().map(|difference| number(*difference)).collect(),
            None => template.references.iter().map(|difference| number(u16::from(*difference))).collect(),
        })
    }

    fn read_extended(&mut self, bits: &mut BitReader<'_>, structure: Option<&TemplateStructure>) -> Option<()> {
        let (has_structure, has_mask) = (bits.flag()?, bits.flag()?);
        let (has_indications, has_references, has_chains) = (bits.flag()?, bits.flag()?, bits.flag()?);
        if has_structure {
            let attached = TemplateStructure::read(bits)?;
            self.active_decode_targets = Some(attached.all_targets());
            self.structure = Some(attached);
        }
        let structure = self.structure.as_ref().or(structure);
        if has_mask {
            self.active_decode_targets = Some(bits.u32(structure?.decode_targets())?);
        }
        if has_indications {
            self.custom_indications = Some(Indications::read(bits, structure?.decode_targets())?);
        }
        if has_references {
            self.custom_references = Some(read_references(bits)?);
        }
        if has_chains {
            self.custom_chains = Some((0..structure?.chains()).map(|_| bits.u8(8)).collect::<Option<_>>()?);
        }
        Some(())
    }
}

/// Reads distances of four, eight or twelve bits, each behind its width.
fn read_references(bits: &mut BitReader<'_>) -> Option<ArrayVec<u16, REFERENCES_MAX>> {
    let mut references = ArrayVec::new();
    loop {
        match bits.u8(2)? {
            0 => return Some(references),
            nibbles => references.try_push(bits.u16(4 * nibbles)? + 1).ok()?,
        }
    }
}

/// Returns the frame number of a descriptor's value; `None` if it is too short to be one.
pub(crate) fn frame_number(value: &[u8]) -> Option<u16> {
    match value {
        [_, high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
