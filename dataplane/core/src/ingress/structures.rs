//! What the dependency descriptors of one SSRC refer to: the structure that was received last, and the one before it for
//! packets that come late.

use std::sync::{Arc, Weak};

use arrayvec::ArrayVec;

use super::ExtendedSequence;
use crate::limits::STRUCTURES_MAX;
use crate::wire::dependency_descriptor::{DependencyDescriptor, Indications, TemplateLayer, TemplateStructure};

/// What a packet's descriptor says, by the structure that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Description {
    /// Whether it is the first packet of its layer's part of the frame.
    pub(crate) start: bool,
    /// Whether it is the last one of it.
    pub(crate) end: bool,
    /// Whether it brings a structure, which a key frame alone does.
    pub(crate) key: bool,
    pub(crate) layer: TemplateLayer,
    pub(crate) indications: Indications,
    /// The decode targets that are sent.
    pub(crate) active_targets: u32,
    pub(crate) structure: Arc<TemplateStructure>,
}

/// The structures of one SSRC.
///
/// A packet that needs a structure which is missing (its key frame's first packet is lost, or a predecessor of this process
/// received it) has no description, and neither has a packet with a new structure while the history still refers to
/// [`STRUCTURES_MAX`] others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Structures {
    present: Option<Known>,
    /// The one before, for packets older than the present one.
    former: Option<Known>,
    /// All that may still be referred to.
    kept: ArrayVec<Weak<TemplateStructure>, STRUCTURES_MAX>,
}

/// A structure and since when it holds.
#[derive(Clone, Debug)]
struct Known {
    structure: Arc<TemplateStructure>,
    since: ExtendedSequence,
    /// The decode targets that are sent, by its newest packet.
    active_targets: u32,
    newest: ExtendedSequence,
}

impl Structures {
    /// Reads the descriptor of packet `sequence`; `None` if it is malformed or what it refers to is not known.
    pub(crate) fn describe(&mut self, sequence: ExtendedSequence, value: &[u8]) -> Option<Description> {
        let is_late = self.present.as_ref().is_some_and(|present| sequence < present.since);
        let known = if is_late { &self.former } else { &self.present };
        let known = known.clone().filter(|known| sequence >= known.since);
        let mut descriptor = DependencyDescriptor::parse(value, known.as_ref().map(|known| &*known.structure))?;
        let attached = match descriptor.structure.take() {
            Some(attached) => Some(self.keep(attached)?),
            None => None,
        };
        let key = attached.is_some();
        let known_targets = known.as_ref().map(|known| known.active_targets);
        let structure = attached.or_else(|| known.map(|known| known.structure))?;
        let layer = descriptor.layer(Some(&structure))?;
        let description = Description {
            start: descriptor.start,
            end: descriptor.end,
            key,
            layer,
            indications: descriptor.indications(Some(&structure))?,
            active_targets: descriptor
                .active_decode_targets
                .or(known_targets)
                .unwrap_or_else(|| structure.all_targets()),
            structure,
        };
        self.follow(sequence, is_late, &description);
        Some(description)
    }

    /// Takes over what a packet says for those behind it.
    fn follow(&mut self, sequence: ExtendedSequence, is_late: bool, description: &Description) {
        let Description { structure, active_targets, key, .. } = description;
        let place = if is_late { &mut self.former } else { &mut self.present };
        if !key {
            if let Some(known) = place.as_mut().filter(|known| sequence >= known.newest) {
                known.newest = sequence;
                known.active_targets = *active_targets;
            }
            return;
        }
        let known =
            Known { structure: structure.clone(), since: sequence, active_targets: *active_targets, newest: sequence };
        let before = place.replace(known);
        if !is_late {
            self.former = before;
        }
    }

    /// Gives a structure a place; that of an equal one, if there is one.
    fn keep(&mut self, structure: TemplateStructure) -> Option<Arc<TemplateStructure>> {
        self.kept.retain(|kept| kept.strong_count() > 0);
        let equal = self.kept.iter().filter_map(Weak::upgrade).find(|kept| **kept == structure);
        if equal.is_some() {
            return equal;
        }
        let structure = Arc::new(structure);
        self.kept.try_push(Arc::downgrade(&structure)).ok()?;
        Some(structure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::dependency_descriptor::write::{structure, template, write};

    /// Two temporal layers whose template ids begin at `id_offset`.
    fn layers(id_offset: u8) -> TemplateStructure {
        let templates =
            vec![template(0, 0, "SS", &[], &[]), template(0, 0, "SS", &[2], &[]), template(0, 1, "-D", &[1], &[])];
        structure(id_offset, 2, templates, &[])
    }

    fn value(template_id: u8, structure: Option<&TemplateStructure>, mask: Option<u32>) -> Vec<u8> {
        let descriptor = DependencyDescriptor {
            template_id,
            structure: structure.cloned(),
            active_decode_targets: mask,
            ..DependencyDescriptor::parse(&[0xc0, 0, 7], None).unwrap()
        };
        write(&descriptor, Some(&layers(0)))
    }

    fn describe(structures: &mut Structures, sequence: u64, value: &[u8]) -> Option<Description> {
        structures.describe(ExtendedSequence(sequence), value)
    }

    #[test]
    fn packets_are_described_by_the_structure_before_them_whenever_they_come() {
        let mut structures = Structures::default();
        assert_eq!(describe(&mut structures, 9, &value(2, None, None)), None, "before any");
        let first = describe(&mut structures, 10, &value(0, Some(&layers(0)), None)).unwrap();
        assert!(first.key && first.start && first.end);
        let second = describe(&mut structures, 20, &value(3, Some(&layers(3)), None)).unwrap();
        let cases = [
            (25, 5, Some((&second, 1))),
            (25, 2, None),
            (15, 2, Some((&first, 1))),
            (15, 5, None),
            (10, 1, Some((&first, 0))),
            (9, 1, None),
        ];
        for (sequence, template_id, expected) in cases {
            let described = describe(&mut structures, sequence, &value(template_id, None, None));
            let found = described.as_ref().map(|it| (&it.structure, it.layer.temporal));
            assert_eq!(found, expected.map(|(it, temporal)| (&it.structure, temporal)), "{sequence} {template_id}");
        }
    }

    #[test]
    fn a_mask_holds_for_what_comes_behind_it_and_a_late_one_changes_nothing() {
        let mut structures = Structures::default();
        let mut active = |sequence, value: &[u8]| describe(&mut structures, sequence, value).unwrap().active_targets;
        assert_eq!(active(10, &value(0, Some(&layers(0)), None)), 0b11);
        assert_eq!(active(12, &value(1, None, Some(0b01))), 0b01);
        assert_eq!(active(11, &value(1, None, Some(0b11))), 0b11);
        assert_eq!(active(13, &value(1, None, None)), 0b01);
        assert_eq!(active(14, &value(0, Some(&layers(0)), None)), 0b11);
    }

    #[test]
    fn structures_are_kept_once_and_so_many_at_most() {
        let mut structures = Structures::default();
        let first = describe(&mut structures, 0, &value(0, Some(&layers(0)), None)).unwrap();
        let again = describe(&mut structures, 1, &value(0, Some(&layers(0)), None)).unwrap();
        assert!(Arc::ptr_eq(&first.structure, &again.structure));
        let mut held = Vec::new();
        for offset in 0..40 {
            let sequence = u64::from(offset) + 2;
            held.extend(describe(&mut structures, sequence, &value(offset, Some(&layers(offset)), None)));
        }
        assert_eq!(held.len(), STRUCTURES_MAX);
        held.clear();
        assert!(describe(&mut structures, 99, &value(50, Some(&layers(50)), None)).is_some());
    }
}
