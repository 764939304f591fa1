//! Descriptors as Chromium sends them, and structures written bit by bit.

use proptest::prelude::*;

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
    let highest = structure.templates().iter().map(|layer| (layer.spatial, layer.temporal)).max();
    assert_eq!(highest, Some((2, 2)));
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
    let structure = TemplateStructure { id_offset: 62, template_count: 4, ..structure() };
    assert_eq!(structure.layer(62), structure.templates().first().copied());
    assert_eq!(structure.layer(1), structure.templates().get(3).copied());
    assert_eq!(structure.layer(2), None);
    assert_eq!(structure.layer(61), None);
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

#[test]
fn a_frame_number_is_rewritten_in_place() {
    let mut value = hex("86017340fc");
    rewrite_frame_number(&mut value, 0xbeef).unwrap();
    assert_eq!(value, hex("86beef40fc"));
    assert_eq!(rewrite_frame_number(&mut [0, 0], 1), None);
}

/// Appends `count` low bits of `value`.
fn push(bits: &mut Vec<bool>, value: u32, count: u32) {
    bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
}

/// Appends a value below `limit` as `ns(limit)`.
fn push_non_symmetric(bits: &mut Vec<bool>, value: u32, limit: u32) {
    let width = 32 - limit.leading_zeros();
    let short_values = (1 << width) - limit;
    if value < short_values { push(bits, value, width - 1) } else { push(bits, value + short_values, width) }
}

proptest! {
    #[test]
    fn a_structure_is_read_as_it_was_written(
        id_offset in 0u32..64,
        targets in 1u32..=32,
        steps in prop::collection::vec(0u32..3, 0..20),
        differences in prop::collection::vec(0u32..4, 21),
        chains in 0u32..=4,
        resolutions: bool,
        mask: Option<u32>,
    ) {
        let chains = chains.min(targets);
        let mut layers = vec![TemplateLayer::default()];
        let mut bits = Vec::new();
        push(&mut bits, 0b10 | u32::from(mask.is_some()), 2);
        push(&mut bits, 0, 3);
        push(&mut bits, id_offset, 6);
        push(&mut bits, targets - 1, 5);
        for step in steps {
            let last = *layers.last().unwrap();
            let next = match step {
                0 => last,
                1 => TemplateLayer { temporal: last.temporal + 1, ..last },
                _ => TemplateLayer { spatial: last.spatial + 1, temporal: 0 },
            };
            if next.temporal <= 7 && next.spatial <= 3 {
                push(&mut bits, step, 2);
                layers.push(next);
            }
        }
        push(&mut bits, 3, 2);
        let templates = u32::try_from(layers.len()).unwrap();
        for _ in 0..templates * targets {
            push(&mut bits, 2, 2);
        }
        for count in differences.iter().take(layers.len()) {
            for _ in 0..*count {
                push(&mut bits, 0b1_0101, 5);
            }
            push(&mut bits, 0, 1);
        }
        push_non_symmetric(&mut bits, chains, targets + 1);
        if chains > 0 {
            for target in 0..targets {
                push_non_symmetric(&mut bits, target % chains, chains);
            }
            for _ in 0..templates * chains {
                push(&mut bits, 9, 4);
            }
        }
        push(&mut bits, u32::from(resolutions), 1);
        if resolutions {
            let spatial = layers.iter().map(|layer| layer.spatial).max().unwrap() + 1;
            for _ in 0..spatial {
                push(&mut bits, 0x027f_0167, 32);
            }
        }
        let all = u32::MAX >> (32 - targets);
        if let Some(mask) = mask {
            push(&mut bits, mask & all, targets);
        }
        // Nothing of what follows is read, but that there is a first byte after the last bit shows that none is missing.
        let mut value = vec![0xc0 | u8::try_from(id_offset).unwrap(), 1, 2];
        value.extend(bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |sum, (bit, set)| sum | u8::from(*set) << (7 - bit))));

        let descriptor = DependencyDescriptor::parse(&value, None).unwrap();
        let structure = descriptor.structure.as_ref().unwrap();
        prop_assert_eq!(structure.templates(), &layers[..]);
        prop_assert_eq!(u32::from(structure.decode_targets()), targets);
        prop_assert_eq!(u32::from(structure.chains()), chains);
        prop_assert_eq!(descriptor.active_decode_targets, Some(mask.map_or(all, |mask| mask & all)));
        prop_assert_eq!(descriptor.layer(None), Some(layers[0]));
        value.pop();
        prop_assert_eq!(DependencyDescriptor::parse(&value, None), None);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        crate::fuzzing::fuzz_dependency_descriptor(&bytes);
        crate::fuzzing::fuzz_dependency_descriptor(&[&[0xc0, 0, 1, 0xc0], &bytes[..]].concat());
    }
}
