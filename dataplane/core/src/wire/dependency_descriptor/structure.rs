//! The template dependency structure (appendix A.8.2): what descriptors without one refer to.

use arrayvec::ArrayVec;

use super::MANDATORY_SIZE_BYTES;
use super::bits::BitReader;

/// How many templates a structure has at most: an id of six bits.
pub(crate) const TEMPLATES_MAX: usize = 64;
/// How many decode targets a structure has at most.
pub(crate) const DECODE_TARGETS_MAX: u8 = 32;
/// How many frames a frame refers to at most, one more than AV1 has references; a descriptor with more is malformed.
pub(crate) const REFERENCES_MAX: usize = 8;
/// How many spatial layers there are at most.
pub(crate) const SPATIAL_LAYERS_MAX: usize = 4;
/// The largest spatial and temporal ids of a template.
const SPATIAL_ID_MAX: u8 = 3;
const TEMPORAL_ID_MAX: u8 = 7;

const _: () = assert!(SPATIAL_LAYERS_MAX == SPATIAL_ID_MAX as usize + 1);

/// The layer of a frame, or the highest ones of a decode target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TemplateLayer {
    /// The spatial layer, 0 to 3.
    pub spatial: u8,
    /// The temporal layer, 0 to 7.
    pub temporal: u8,
}

/// What a frame is to each decode target, a bit for each, the first one lowest (appendix A.8.1). A target that a frame is
/// present in and that is in neither other set requires it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Indications {
    /// The targets that the frame belongs to.
    pub present: u32,
    /// Those of which no later frame refers to it.
    pub discardable: u32,
    /// Those that can be decoded from it on, if it can be decoded.
    pub switch: u32,
}

impl Indications {
    /// Reads two bits for each target.
    pub(super) fn read(bits: &mut BitReader<'_>, targets: u8) -> Option<Self> {
        let mut read = Self::default();
        for target in 0..targets {
            let bit = target_bit(target);
            match bits.u8(2)? {
                0 => continue,
                1 => read.discardable |= bit,
                2 => read.switch |= bit,
                _ => {}
            }
            read.present |= bit;
        }
        Some(read)
    }
}

/// Returns the bit of a decode target, none for one that cannot be.
pub(crate) fn target_bit(target: u8) -> u32 {
    1_u32.checked_shl(u32::from(target)).unwrap_or(0)
}

/// What most frames of one kind have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Template {
    /// The layer.
    pub layer: TemplateLayer,
    /// What it is to the decode targets.
    pub indications: Indications,
    /// How many frame numbers back the frames are that it refers to, each 1 to 16.
    pub references: ArrayVec<u8, REFERENCES_MAX>,
    /// How many frame numbers back the last frame of each chain is, four bits each, the first chain lowest.
    pub chains: u128,
}

/// What descriptors without a structure refer to: it stays valid until the next one. A key frame brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TemplateStructure {
    /// The template id of the first template.
    pub(super) id_offset: u8,
    pub(super) decode_targets: u8,
    pub(super) chains: u8,
    /// In the order of their ids, at most [`TEMPLATES_MAX`].
    pub(super) templates: Vec<Template>,
    /// The chain that protects each decode target, where there are chains.
    pub(super) protected_by: ArrayVec<u8, { DECODE_TARGETS_MAX as usize }>,
    /// Width and height less one of each spatial layer, where the sender tells.
    pub(super) resolutions: ArrayVec<(u16, u16), SPATIAL_LAYERS_MAX>,
    /// How many bits it takes in a descriptor.
    pub(super) size_bits: u16,
}

impl TemplateStructure {
    /// Returns the template id of the first template.
    pub(crate) const fn id_offset(&self) -> u8 {
        self.id_offset
    }

    /// Returns the number of decode targets, 1 to [`DECODE_TARGETS_MAX`].
    pub(crate) const fn decode_targets(&self) -> u8 {
        self.decode_targets
    }

    /// Returns the number of chains, at most one for each decode target.
    pub(crate) const fn chains(&self) -> u8 {
        self.chains
    }

    /// Returns all decode targets as a mask.
    pub(crate) const fn all_targets(&self) -> u32 {
        u32::MAX >> (DECODE_TARGETS_MAX - self.decode_targets)
    }

    /// Returns how many bits it takes in a descriptor.
    pub(crate) fn size_bits(&self) -> usize {
        usize::from(self.size_bits)
    }

    /// Returns the size of a descriptor that carries it and says which decode targets there are.
    pub(crate) fn descriptor_size_bytes(&self) -> usize {
        let flags_bits = 5;
        MANDATORY_SIZE_BYTES + (flags_bits + self.size_bits() + usize::from(self.decode_targets)).div_ceil(8)
    }

    /// Returns the templates in the order of their ids, at most [`TEMPLATES_MAX`].
    pub(crate) fn templates(&self) -> &[Template] {
        &self.templates
    }

    /// Returns a template; `None` if the structure does not have it.
    pub(crate) fn template(&self, template_id: u8) -> Option<&Template> {
        self.templates.get(usize::from(template_id.wrapping_sub(self.id_offset) & 0x3f))
    }

    /// Returns the number of spatial layers, 1 to 4.
    pub(crate) fn spatial_layers(&self) -> u8 {
        self.templates.iter().map(|template| template.layer.spatial).max().unwrap_or(0) + 1
    }

    /// Returns the highest layers of a decode target.
    pub(crate) fn target_layer(&self, target: u8) -> TemplateLayer {
        let bit = target_bit(target);
        let members = self.templates.iter().filter(|template| template.indications.present & bit != 0);
        members.fold(TemplateLayer::default(), |highest, template| TemplateLayer {
            spatial: highest.spatial.max(template.layer.spatial),
            temporal: highest.temporal.max(template.layer.temporal),
        })
    }

    /// Returns the decode targets of which each frame belongs to `target` too: what a receiver of `target` can decode.
    pub(crate) fn targets_within(&self, target: u8) -> u32 {
        let bit = target_bit(target);
        let outside = self.templates.iter().filter(|template| template.indications.present & bit == 0);
        outside.fold(self.all_targets(), |within, template| within & !template.indications.present)
    }

    pub(super) fn read(bits: &mut BitReader<'_>) -> Option<Self> {
        let start = bits.position();
        let id_offset = bits.u8(6)?;
        let decode_targets = bits.u8(5)? + 1;
        let mut templates = read_layers(bits)?;
        for template in &mut templates {
            template.indications = Indications::read(bits, decode_targets)?;
        }
        for template in &mut templates {
            while bits.flag()? {
                template.references.try_push(bits.u8(4)? + 1).ok()?;
            }
        }
        let chains = bits.non_symmetric(decode_targets + 1)?;
        let mut structure = Self {
            id_offset,
            decode_targets,
            chains,
            templates,
            protected_by: ArrayVec::new(),
            resolutions: ArrayVec::new(),
            size_bits: 0,
        };
        structure.read_chains(bits)?;
        if bits.flag()? {
            for _ in 0..structure.spatial_layers() {
                structure.resolutions.try_push((bits.u16(16)?, bits.u16(16)?)).ok()?;
            }
        }
        structure.size_bits = u16::try_from(bits.position() - start).ok()?;
        Some(structure)
    }

    fn read_chains(&mut self, bits: &mut BitReader<'_>) -> Option<()> {
        if self.chains == 0 {
            return Some(());
        }
        for _ in 0..self.decode_targets {
            self.protected_by.try_push(bits.non_symmetric(self.chains)?).ok()?;
        }
        for template in &mut self.templates {
            for chain in 0..self.chains {
                template.chains |= u128::from(bits.u8(4)?) << (4 * chain);
            }
        }
        Some(())
    }
}

/// Reads the layers: each template says how the next one's differs, the last one that it is the last.
fn read_layers(bits: &mut BitReader<'_>) -> Option<Vec<Template>> {
    let mut templates = Vec::new();
    let mut layer = TemplateLayer::default();
    while templates.len() < TEMPLATES_MAX {
        templates.push(Template { layer, ..Template::default() });
        match bits.u8(2)? {
            0 => {}
            1 if layer.temporal < TEMPORAL_ID_MAX => layer.temporal += 1,
            2 if layer.spatial < SPATIAL_ID_MAX => layer = TemplateLayer { spatial: layer.spatial + 1, temporal: 0 },
            3 => return Some(templates),
            _ => return None,
        }
    }
    None
}
