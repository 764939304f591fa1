//! The dependency descriptor (RTP Payload Format For AV1, version 1.0, appendix A): where frames start and end, which
//! layer they belong to, and the structure that later packets refer to.

mod bits;

use bits::BitReader;

/// The size of the mandatory fields.
pub(crate) const MANDATORY_SIZE_BYTES: usize = 3;
/// How many templates a structure has at most: an id of six bits.
pub(crate) const TEMPLATES_MAX: usize = 64;
/// How many decode targets a structure has at most.
pub(crate) const DECODE_TARGETS_MAX: u8 = 32;
/// The largest spatial and temporal ids of a template.
const SPATIAL_ID_MAX: u8 = 3;
const TEMPORAL_ID_MAX: u8 = 7;

/// The layer of a template.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TemplateLayer {
    /// The spatial layer, 0 to 3.
    pub spatial: u8,
    /// The temporal layer, 0 to 7.
    pub temporal: u8,
}

/// What descriptors without a structure refer to: it stays valid until the next one. A key frame brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateStructure {
    /// The template id of the first template.
    id_offset: u8,
    decode_targets: u8,
    chains: u8,
    template_count: u8,
    layers: [TemplateLayer; TEMPLATES_MAX],
}

impl TemplateStructure {
    /// Returns the number of decode targets, 1 to [`DECODE_TARGETS_MAX`].
    pub(crate) const fn decode_targets(&self) -> u8 {
        self.decode_targets
    }

    /// Returns the number of chains, at most one for each decode target.
    pub(crate) const fn chains(&self) -> u8 {
        self.chains
    }

    /// Returns the layers of the templates, in the order of their ids, at most [`TEMPLATES_MAX`].
    pub(crate) fn templates(&self) -> &[TemplateLayer] {
        self.layers.get(..usize::from(self.template_count)).unwrap_or(&[])
    }

    /// Returns the layer of a template; `None` if the structure does not have it.
    pub(crate) fn layer(&self, template_id: u8) -> Option<TemplateLayer> {
        let index = usize::from(template_id.wrapping_sub(self.id_offset) & 0x3f);
        self.templates().get(index).copied()
    }

    /// Returns the number of spatial layers, 1 to 4.
    pub(crate) fn spatial_layers(&self) -> u8 {
        self.templates().iter().map(|layer| layer.spatial).max().unwrap_or(0) + 1
    }

    fn read(bits: &mut BitReader<'_>) -> Option<Self> {
        let id_offset = bits.u8(6)?;
        let decode_targets = bits.u8(5)? + 1;
        let mut structure = Self {
            id_offset,
            decode_targets,
            chains: 0,
            template_count: 0,
            layers: [TemplateLayer::default(); TEMPLATES_MAX],
        };
        structure.read_layers(bits)?;
        let templates = usize::from(structure.template_count);
        // Two bits of indication for each target of each template.
        bits.skip(templates * usize::from(decode_targets) * 2)?;
        for _ in 0..templates {
            // Frame differences of four bits, each behind a set flag; bounded by the bits.
            while bits.flag()? {
                bits.skip(4)?;
            }
        }
        structure.chains = bits.non_symmetric(decode_targets + 1)?;
        if structure.chains > 0 {
            for _ in 0..decode_targets {
                bits.non_symmetric(structure.chains)?;
            }
            bits.skip(templates * usize::from(structure.chains) * 4)?;
        }
        if bits.flag()? {
            bits.skip(usize::from(structure.spatial_layers()) * 32)?;
        }
        Some(structure)
    }

    /// Reads the layers: each template says how the next one's differs, the last one that it is the last.
    fn read_layers(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        let mut layer = TemplateLayer::default();
        for slot in &mut self.layers {
            *slot = layer;
            self.template_count += 1;
            match bits.u8(2)? {
                0 => {}
                1 if layer.temporal < TEMPORAL_ID_MAX => layer.temporal += 1,
                2 if layer.spatial < SPATIAL_ID_MAX => {
                    layer = TemplateLayer { spatial: layer.spatial + 1, temporal: 0 }
                }
                3 => return Some(()),
                _ => return None,
            }
        }
        None
    }
}

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
}

impl DependencyDescriptor {
    /// Parses an extension's value; `structure` is the one that was received last, which tells how many decode targets
    /// there are. What follows the mask is not read.
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
        };
        if !extended.is_empty() {
            descriptor.read_extended(&mut BitReader::new(extended), structure)?;
        }
        Some(descriptor)
    }

    /// Returns the layer of the packet, by its own structure or by the one received last.
    pub(crate) fn layer(&self, structure: Option<&TemplateStructure>) -> Option<TemplateLayer> {
        self.structure.as_ref().or(structure)?.layer(self.template_id)
    }

    fn read_extended(&mut self, bits: &mut BitReader<'_>, structure: Option<&TemplateStructure>) -> Option<()> {
        let (has_structure, has_mask) = (bits.flag()?, bits.flag()?);
        // Custom indications, frame differences and chains come after all that is read here.
        bits.skip(3)?;
        if has_structure {
            let attached = TemplateStructure::read(bits)?;
            self.active_decode_targets = Some(u32::MAX >> (DECODE_TARGETS_MAX - attached.decode_targets));
            self.structure = Some(attached);
        }
        if has_mask {
            let targets = self.structure.as_ref().or(structure)?.decode_targets;
            self.active_decode_targets = Some(bits.u32(targets)?);
        }
        Some(())
    }
}

/// Returns the frame number of a descriptor's value; `None` if it is too short to be one.
pub(crate) fn frame_number(value: &[u8]) -> Option<u16> {
    match value {
        [_, high, low, ..] => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

/// Writes a frame number into a copy of a descriptor's value; `None` if it is too short to be one.
pub(crate) fn rewrite_frame_number(value: &mut [u8], frame_number: u16) -> Option<()> {
    value.get_mut(1..MANDATORY_SIZE_BYTES)?.copy_from_slice(&frame_number.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests;
