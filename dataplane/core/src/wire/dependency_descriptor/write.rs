//! The writer of whole descriptors, for tests: senders are browsers.

use super::bits::BitWriter;
use super::structure::{Indications, Template};
use super::{DependencyDescriptor, TemplateLayer, TemplateStructure};

/// Says what a frame is to each decode target, a character each (appendix A.4): `-` not present, `D` discardable,
/// `S` switch, `R` required.
pub(crate) fn indications(text: &str) -> Indications {
    let mut indications = Indications::default();
    for (target, character) in text.chars().enumerate() {
        let bit = 1 << target;
        match character {
            '-' => continue,
            'D' => indications.discardable |= bit,
            'S' => indications.switch |= bit,
            'R' => {}
            other => panic!("{other} is no indication"),
        }
        indications.present |= bit;
    }
    indications
}

/// Makes a template as the tables of appendix A.8.3 write it.
pub(crate) fn template(spatial: u8, temporal: u8, dtis: &str, references: &[u8], chains: &[u8]) -> Template {
    Template {
        layer: TemplateLayer { spatial, temporal },
        indications: indications(dtis),
        references: references.iter().copied().collect(),
        chains: chains.iter().rev().fold(0, |packed, chain| packed << 4 | u128::from(*chain)),
    }
}

/// Makes a structure, its templates in the order of layers; chain `protected_by[target]` protects each target.
pub(crate) fn structure(
    id_offset: u8,
    targets: u8,
    templates: Vec<Template>,
    protected_by: &[u8],
) -> TemplateStructure {
    let mut structure = TemplateStructure {
        id_offset,
        decode_targets: targets,
        chains: protected_by.iter().max().map_or(0, |highest| highest + 1),
        templates,
        protected_by: protected_by.iter().copied().collect(),
        resolutions: [].into_iter().collect(),
        size_bits: 0,
    };
    let mut bytes = [0; 2048];
    let mut bits = BitWriter::new(&mut bytes);
    write_structure(&structure, &mut bits);
    structure.size_bits = u16::try_from(bits.position()).unwrap();
    structure
}

/// Writes a descriptor; `structure` is the one that it refers to where it carries none.
pub(crate) fn write(descriptor: &DependencyDescriptor, structure: Option<&TemplateStructure>) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    let mut bits = BitWriter::new(&mut bytes);
    bits.flag(descriptor.start).unwrap();
    bits.flag(descriptor.end).unwrap();
    bits.u32(descriptor.template_id.into(), 6).unwrap();
    bits.u32(descriptor.frame_number.into(), 16).unwrap();
    let own = descriptor.structure.as_ref();
    let mask = descriptor.active_decode_targets.filter(|mask| own.is_none_or(|own| *mask != own.all_targets()));
    let flags = [
        own.is_some(),
        mask.is_some(),
        descriptor.custom_indications.is_some(),
        descriptor.custom_references.is_some(),
        descriptor.custom_chains.is_some(),
    ];
    if flags.contains(&true) {
        flags.iter().for_each(|flag| bits.flag(*flag).unwrap());
        write_extended(descriptor, mask, own.or(structure), &mut bits);
    }
    let size = bits.position().div_ceil(8);
    bytes.truncate(size);
    bytes
}

fn write_extended(
    descriptor: &DependencyDescriptor,
    mask: Option<u32>,
    structure: Option<&TemplateStructure>,
    bits: &mut BitWriter<'_>,
) {
    if let Some(own) = &descriptor.structure {
        write_structure(own, bits);
    }
    if let Some(mask) = mask {
        bits.u32(mask, structure.unwrap().decode_targets()).unwrap();
    }
    if let Some(custom) = &descriptor.custom_indications {
        write_indications(custom, structure.unwrap().decode_targets(), bits);
    }
    for difference in descriptor.custom_references.iter().flatten() {
        let nibbles = if *difference <= 16 {
            1
        } else if *difference <= 256 {
            2
        } else {
            3
        };
        bits.u32(nibbles, 2).unwrap();
        bits.u32(u32::from(*difference) - 1, u8::try_from(4 * nibbles).unwrap()).unwrap();
    }
    if descriptor.custom_references.is_some() {
        bits.u32(0, 2).unwrap();
    }
    descriptor.custom_chains.iter().flatten().for_each(|chain| bits.u32((*chain).into(), 8).unwrap());
}

fn write_indications(indications: &Indications, targets: u8, bits: &mut BitWriter<'_>) {
    for target in 0..targets {
        let has = |set: u32| set >> target & 1 == 1;
        let value = match (has(indications.present), has(indications.discardable), has(indications.switch)) {
            (false, ..) => 0,
            (_, true, _) => 1,
            (_, _, true) => 2,
            _ => 3,
        };
        bits.u32(value, 2).unwrap();
    }
}

fn write_structure(structure: &TemplateStructure, bits: &mut BitWriter<'_>) {
    bits.u32(structure.id_offset.into(), 6).unwrap();
    bits.u32(u32::from(structure.decode_targets) - 1, 5).unwrap();
    for pair in structure.templates.windows(2) {
        let (layer, next) = (pair[0].layer, pair[1].layer);
        let step = if next == layer {
            0
        } else if next.spatial == layer.spatial {
            1
        } else {
            2
        };
        bits.u32(step, 2).unwrap();
    }
    bits.u32(3, 2).unwrap();
    structure.templates.iter().for_each(|it| write_indications(&it.indications, structure.decode_targets, bits));
    for template in &structure.templates {
        for difference in &template.references {
            bits.flag(true).unwrap();
            bits.u32(u32::from(*difference) - 1, 4).unwrap();
        }
        bits.flag(false).unwrap();
    }
    bits.non_symmetric(structure.chains, structure.decode_targets + 1).unwrap();
    if structure.chains > 0 {
        structure.protected_by.iter().for_each(|chain| bits.non_symmetric(*chain, structure.chains).unwrap());
        for template in &structure.templates {
            for chain in 0..structure.chains {
                bits.u32(u32::try_from(template.chains >> (4 * chain) & 15).unwrap(), 4).unwrap();
            }
        }
    }
    bits.flag(!structure.resolutions.is_empty()).unwrap();
    for (width, height) in &structure.resolutions {
        bits.u32((*width).into(), 16).unwrap();
        bits.u32((*height).into(), 16).unwrap();
    }
}
