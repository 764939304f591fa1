//! Descriptors as Chromium sends them, tables of the specification, and whatever the writer writes.

use proptest::prelude::*;

use super::rewrite::carries;
use super::structure::TEMPLATES_MAX;
use super::write::{indications, structure as make, template, write};
use super::*;
use crate::srtp::tests::hex;

/// The first packet of a key frame of three spatial and three temporal layers, as Chromium writes it.
const L3T3: &str = "c1017280081485214eafffaaaa863cf0430c10c302afc0aaa0063c00430010c002a000a80006000040001d954926e082b04a\
    0941b820ac1282503157f974000ca864330e222222eca8655304224230eca877530077004200ef008601df010d";

fn structure() -> TemplateStructure {
    DependencyDescriptor::parse(&hex(L3T3), None).unwrap().structure.unwrap()
}

#[test]
fn a_structure_of_three_spatial_and_three_temporal_layers_is_read() {
    let descriptor = DependencyDescriptor::parse(&hex(L3T3), None).unwrap();
    assert!(descriptor.start && descriptor.end);
    assert_eq!((descriptor.template_id, descriptor.frame_number), (1, 0x0172));
    assert_eq!(descriptor.active_decode_targets, Some(0x1ff));
    let structure = structure();
    assert_eq!((structure.decode_targets(), structure.chains(), structure.spatial_layers()), (9, 3, 3));
    let highest = structure.templates().iter().map(|template| template.layer).max();
    assert_eq!(highest, Some(TemplateLayer { spatial: 2, temporal: 2 }));
    let layers = (0..9).map(|target| structure.target_layer(target));
    assert!(layers.eq((0..9).map(|target| TemplateLayer { spatial: target / 3, temporal: target % 3 })));
    assert_eq!(descriptor.indications(None), Some(indications("SSSSSSSSS")), "a key frame");
    assert_eq!(descriptor.references(None), Some(ArrayVec::new()));
    assert_eq!(structure.resolutions[..], [(119, 66), (239, 134), (479, 269)][..]);
    assert_eq!(descriptor.layer(None), Some(TemplateLayer { spatial: 0, temporal: 0 }));
}

#[test]
fn later_packets_refer_to_it() {
    let structure = structure();
    let cases = [
        ("86017340fc", true, false, 0x0173, Some(0x3f)),
        ("46017340fc", false, true, 0x0173, Some(0x3f)),
        ("c3017540fc", true, true, 0x0175, Some(0x3f)),
        ("860173", true, false, 0x0173, None),
        ("0b0174", false, false, 0x0174, None),
    ];
    for (value, start, end, frame_number, mask) in cases {
        let descriptor = DependencyDescriptor::parse(&hex(value), Some(&structure)).unwrap();
        assert_eq!((descriptor.start, descriptor.end), (start, end), "{value}");
        assert_eq!((descriptor.frame_number, descriptor.active_decode_targets), (frame_number, mask), "{value}");
        assert!(descriptor.layer(Some(&structure)).is_some() && descriptor.layer(None).is_none(), "{value}");
    }
}

#[test]
fn templates_count_from_their_offset_and_wrap() {
    let mut structure = TemplateStructure { id_offset: 62, ..structure() };
    structure.templates.truncate(4);
    assert_eq!(structure.template(62), structure.templates().first());
    assert_eq!(structure.template(1), structure.templates().get(3));
    assert_eq!(structure.template(2), None);
    assert_eq!(structure.template(61), None);
}

#[test]
fn a_mask_without_a_structure_and_cut_values_are_refused() {
    assert_eq!(DependencyDescriptor::parse(&hex("86017340fc"), None), None);
    let full = hex(L3T3);
    assert_eq!(DependencyDescriptor::parse(&full[..2], None), None);
    for size in 4..full.len() - 1 {
        assert_eq!(DependencyDescriptor::parse(&full[..size], None), None, "{size}");
    }
}

/// One spatial and two temporal layers, after the table of appendix A.8.3.
fn two_temporal_layers(id_offset: u8) -> TemplateStructure {
    let templates =
        vec![template(0, 0, "SS", &[], &[0]), template(0, 0, "SS", &[2], &[2]), template(0, 1, "-D", &[1], &[1])];
    make(id_offset, 2, templates, &[0, 0])
}

/// Two spatial layers, the upper one referring to the lower one in key frames alone.
fn two_spatial_layers() -> TemplateStructure {
    let templates = vec![
        template(0, 0, "S-", &[2], &[2, 1]),
        template(0, 0, "SS", &[], &[0, 0]),
        template(1, 0, "-S", &[1], &[1, 1]),
        template(1, 0, "-S", &[2], &[1, 1]),
    ];
    make(60, 2, templates, &[0, 1])
}

#[test]
fn a_receiver_of_a_target_can_decode_those_whose_frames_it_gets() {
    let structure = two_temporal_layers(0);
    assert_eq!((structure.targets_within(0), structure.targets_within(1)), (0b01, 0b11));
    let structure = two_spatial_layers();
    assert_eq!((structure.targets_within(0), structure.targets_within(1)), (0b01, 0b10));
    assert_eq!(structure.target_layer(1), TemplateLayer { spatial: 1, temporal: 0 });
}

#[test]
fn custom_references_take_the_place_of_the_templates() {
    let structure = two_spatial_layers();
    // The third template refers one frame back; then the flag of custom references, 300 in twelve bits and 2 in four.
    let plain = DependencyDescriptor::parse(&hex("be000a"), Some(&structure)).unwrap();
    assert_eq!(plain.references(Some(&structure)).unwrap()[..], [9]);
    let custom = DependencyDescriptor { custom_references: Some([300, 2].into_iter().collect()), ..plain };
    // 00010, 11 and 299 in twelve bits, 01 and 1 in four, 00.
    let value = hex("be000a16256880");
    assert_eq!(write(&custom, Some(&structure)), value);
    let read = DependencyDescriptor::parse(&value, Some(&structure)).unwrap();
    assert_eq!(read.references(Some(&structure)).unwrap()[..], [10u16.wrapping_sub(300), 8]);
}

/// Numbers of a rewrite, with or without a mask.
fn rewrite(frame_number: u16, template_shift: u8, active_decode_targets: Option<u32>) -> Rewrite {
    Rewrite { frame_number, template_shift, active_decode_targets }
}

#[test]
fn a_rewrite_changes_what_it_names_and_nothing_else() {
    let structure = structure();
    let cases = [
        ("860173", rewrite(0xbeef, 0, None), "86beef"),
        ("860173", rewrite(0xbeef, 60, None), "82beef"),
        ("86017340fc", rewrite(0xbeef, 1, None), "87beef40fc"),
        // The mask of nine bits behind the flags: 01000 and 000000111, or 111111000.
        ("86017340fc", rewrite(1, 0, Some(7)), "860001401c"),
        ("860173", rewrite(1, 0, Some(7)), "860001401c"),
        ("860173", rewrite(1, 0, Some(0x1f8)), "86000147e0"),
        // Custom references, none of them, stay behind the mask: 01010, nine bits, 00.
        ("86017310", rewrite(1, 0, Some(7)), "860001501c00"),
        ("060173", rewrite(1, 0, Some(7)), "060001"),
    ];
    for (value, rewrite, expected) in cases {
        let mut buffer = [0xaa; SIZE_BYTES_MAX];
        let value = hex(value);
        assert_eq!(rewrite.write(&value, Some(&structure), &mut buffer), Some(&hex(expected)[..]), "{value:02x?}");
        assert_eq!(rewrite.size_bytes(&value, Some(&structure)), hex(expected).len());
    }
}

#[test]
fn a_mask_is_left_out_where_no_structure_says_how_long_it_is_or_no_room_is_left() {
    let mut buffer = [0; SIZE_BYTES_MAX];
    assert_eq!(rewrite(1, 0, Some(1)).write(&[0x86, 1, 0x73], None, &mut buffer), Some(&[0x86, 0, 1][..]));
    let large = [0x80; SIZE_BYTES_MAX];
    let written = rewrite(0x8080, 0, Some(1)).write(&large, Some(&two_temporal_layers(0)), &mut buffer).unwrap();
    assert_eq!(written.len(), SIZE_BYTES_MAX);
    assert_eq!(rewrite(1, 0, None).write(&[0x86, 1], None, &mut buffer), None);
}

#[test]
fn too_many_references_are_refused() {
    let references = |count: usize| DependencyDescriptor {
        custom_references: Some((1..).take(count).collect()),
        ..DependencyDescriptor::parse(&[0xc0, 0, 1], None).unwrap()
    };
    let mut value = write(&references(REFERENCES_MAX), None);
    assert!(DependencyDescriptor::parse(&value, None).is_some());
    // The end of the list, right behind the eighth distance, becomes a ninth one.
    let end = (24 + 5 + REFERENCES_MAX * 6) / 8;
    value[end] |= 0xff >> ((5 + REFERENCES_MAX * 6) % 8);
    value.extend([0; 8]);
    assert_eq!(DependencyDescriptor::parse(&value, None), None);
}

/// Indications of so many targets.
fn any_indications(targets: u8) -> impl Strategy<Value = Indications> {
    let text = prop::collection::vec(prop::sample::select(vec!['-', 'D', 'S', 'R']), usize::from(targets));
    text.prop_map(|characters| indications(&characters.into_iter().collect::<String>()))
}

fn any_structure() -> impl Strategy<Value = TemplateStructure> {
    (1u8..=32).prop_flat_map(|targets| {
        let references = prop::collection::vec(1u8..=16, 0..REFERENCES_MAX);
        let templates = prop::collection::vec((0u8..3, any_indications(targets), references, any::<u128>()), 1..20);
        let chains = prop_oneof![Just(0), 1..=targets];
        let resolutions = prop::option::of(any::<[(u16, u16); 4]>());
        (0u8..64, templates, chains, resolutions).prop_map(move |(id_offset, templates, chains, resolutions)| {
            let protected_by: Vec<u8> =
                if chains == 0 { vec![] } else { (0..targets).map(|target| (target + chains - 1) % chains).collect() };
            let mut layer = TemplateLayer::default();
            let mut made = Vec::new();
            for (step, indications, references, distances) in templates {
                let distances = if chains == 32 { distances } else { distances & ((1 << (4 * chains)) - 1) };
                made.push(Template {
                    layer,
                    indications,
                    references: references.into_iter().collect(),
                    chains: distances,
                });
                match step {
                    1 if layer.temporal < 7 => layer.temporal += 1,
                    2 if layer.spatial < 3 => layer = TemplateLayer { spatial: layer.spatial + 1, temporal: 0 },
                    _ => {}
                }
            }
            let mut structure = make(id_offset, targets, made, &protected_by);
            if let Some(resolutions) = resolutions {
                let count = usize::from(structure.spatial_layers());
                structure.resolutions = resolutions.into_iter().take(count).collect();
                structure.size_bits += u16::try_from(32 * count).unwrap();
            }
            structure
        })
    })
}

fn any_descriptor() -> impl Strategy<Value = (DependencyDescriptor, TemplateStructure)> {
    any_structure().prop_flat_map(|structure| {
        let (targets, chains) = (structure.decode_targets, usize::from(structure.chains));
        let all = structure.all_targets();
        let custom = (
            prop::option::of(any_indications(targets)),
            prop::option::of(prop::collection::vec(1u16..=4096, 0..REFERENCES_MAX)),
            prop::option::of(prop::collection::vec(any::<u8>(), chains)),
        );
        let fields = (any::<bool>(), any::<bool>(), 0u8..64, any::<u16>(), any::<bool>(), any::<Option<u32>>());
        (fields, custom).prop_map(move |((start, end, template_id, frame_number, attached, mask), custom)| {
            let descriptor = DependencyDescriptor {
                start,
                end,
                template_id,
                frame_number,
                structure: attached.then(|| structure.clone()),
                active_decode_targets: mask.map(|mask| mask & all).or_else(|| attached.then_some(all)),
                custom_indications: custom.0,
                custom_references: custom.1.map(|list| list.into_iter().collect()),
                custom_chains: custom.2.map(|list| list.into_iter().collect()),
            };
            (descriptor, structure.clone())
        })
    })
}

proptest! {
    /// Oracle: the writer.
    #[test]
    fn a_descriptor_is_read_as_it_was_written((descriptor, structure) in any_descriptor()) {
        let value = write(&descriptor, Some(&structure));
        let read = DependencyDescriptor::parse(&value, Some(&structure));
        prop_assert_eq!(read.as_ref(), Some(&descriptor));
        prop_assert!(structure.templates().len() <= TEMPLATES_MAX);
        if value.len() > MANDATORY_SIZE_BYTES + 1 {
            let cut = &value[..value.len() - 1];
            prop_assert_eq!(DependencyDescriptor::parse(cut, Some(&structure)), None);
        }
    }

    /// Oracle: the writer, told the same.
    #[test]
    fn a_rewritten_descriptor_reads_as_one_that_was_written_so(
        (descriptor, structure) in any_descriptor(),
        frame_number: u16,
        template_shift in 0u8..64,
        mask: Option<u32>,
    ) {
        let value = write(&descriptor, Some(&structure));
        prop_assume!(value.len() <= SIZE_BYTES_MAX - 8);
        let shifted = |id: u8| (id + template_shift) % 64;
        let mask = mask.map(|mask| mask & structure.all_targets());
        let mask = mask.filter(|_| descriptor.start || descriptor.active_decode_targets.is_some());
        let mut buffer = [0xaa; SIZE_BYTES_MAX];
        let rewrite = rewrite(frame_number, template_shift, mask);
        let written = rewrite.write(&value, Some(&structure), &mut buffer).unwrap();
        prop_assert_eq!(written.len(), rewrite.size_bytes(&value, Some(&structure)));
        prop_assert!(mask.is_none() || carries(written, 0x40));
        let expected = DependencyDescriptor {
            frame_number,
            template_id: shifted(descriptor.template_id),
            active_decode_targets: mask.or(descriptor.active_decode_targets),
            structure: descriptor
                .structure
                .clone()
                .map(|own| TemplateStructure { id_offset: shifted(own.id_offset), ..own }),
            ..descriptor
        };
        prop_assert_eq!(DependencyDescriptor::parse(written, Some(&structure)), Some(expected));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        crate::fuzzing::fuzz_dependency_descriptor(&bytes);
        crate::fuzzing::fuzz_dependency_descriptor(&[&[0xc0, 0, 1, 0xc0], &bytes[..]].concat());
    }
}
