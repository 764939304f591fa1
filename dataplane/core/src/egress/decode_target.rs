//! Which decode target of a source with dependency descriptors is forwarded (RTP Payload Format For AV1, appendix A.4).
//!
//! A decode target is a spatial and a temporal layer with all that they need. The one that the subscriber has use for takes
//! the place of the present one at a frame that is a switch indication for it, if all that this frame refers to was
//! forwarded: everything of the target behind such a frame can be decoded. Down to a lower temporal layer that is its next
//! frame, up to a higher one the next that begins it; to another spatial layer often no frame but a key frame, which is
//! then asked for.

use std::sync::Arc;

use arrayvec::ArrayVec;
use sluice_protocol::plan::Layer;

use crate::ingress::Accepted;
use crate::wire::dependency_descriptor::{DependencyDescriptor, TemplateLayer, TemplateStructure, target_bit};

/// How many frame numbers back is remembered what was forwarded.
const FORWARDED_MAX: u16 = 256;
const FORWARDED_WORDS: usize = (FORWARDED_MAX / 64) as usize;
/// How many changes back late packets are still judged by what was forwarded then; older ones are not forwarded.
const EARLIER_MAX: usize = 8;

/// What is decided about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judgement {
    /// Whether it belongs to what is forwarded.
    pub(super) passes: bool,
    /// Whether nothing of its picture comes behind it.
    pub(super) ends: bool,
}

/// Chooses among the frames of one source.
#[derive(Clone, Debug)]
pub(super) struct DecodeTargets {
    structure: Arc<TemplateStructure>,
    present: Target,
    /// The frame number from which on it is forwarded.
    since: u16,
    /// What was forwarded before, and since which frame numbers, for late packets; the oldest goes first.
    earlier: ArrayVec<(u16, Target), EARLIER_MAX>,
    /// The timestamp of the picture whose last packet was forwarded last.
    ended: Option<u32>,
    /// The target that the subscriber has use for, and what that was found by.
    wanted: u8,
    limit: Layer,
    active: u32,
    /// Whether a frame began the wanted target that could not be switched to.
    wants_key_frame: bool,
    /// Whether fewer targets were told than the source has, since the last structure.
    is_restricted: bool,
    forwarded: Forwarded,
}

/// A decode target of a structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    index: u8,
    layer: TemplateLayer,
    /// The targets that a receiver of it can decode.
    within: u32,
}

impl Target {
    fn of(structure: &TemplateStructure, index: u8) -> Self {
        Self { index, layer: structure.target_layer(index), within: structure.targets_within(index) }
    }
}

impl DecodeTargets {
    /// Starts with a frame of the source.
    pub(super) fn new(packet: &Accepted<'_>, structure: &Arc<TemplateStructure>, limit: Layer) -> Self {
        let number = packet.frame.frame_number.unwrap_or(0);
        let wanted = best(structure, limit, packet.frame.active_targets);
        let present = Target::of(structure, wanted);
        let mut targets = Self {
            structure: structure.clone(),
            present,
            since: number,
            earlier: ArrayVec::new(),
            ended: None,
            wanted,
            limit,
            active: packet.frame.active_targets,
            wants_key_frame: false,
            is_restricted: false,
            forwarded: Forwarded::from(number),
        };
        targets.restrict(packet);
        targets
    }

    /// Decides on a packet of the source, whose structure is known. The target changes with the first packet of a frame that
    /// is newer than all before.
    pub(super) fn judge(
        &mut self,
        packet: &Accepted<'_>,
        structure: &Arc<TemplateStructure>,
        limit: Layer,
    ) -> Judgement {
        let frame = &packet.frame;
        let number = frame.frame_number.unwrap_or(0);
        if self.forwarded.advance(number) {
            self.begin_frame(packet, structure, limit);
        }
        let Some(target) = self.target_of(number) else { return Judgement { passes: false, ends: false } };
        let passes = frame.indications.present & target_bit(target.index) != 0;
        let ends = frame.end || frame.layer_end && frame.spatial >= target.layer.spatial;
        if passes {
            self.forwarded.set(number);
        }
        if passes && ends {
            self.ended = Some(packet.timestamp);
        }
        Judgement { passes, ends }
    }

    /// Tells whether a key frame is needed to get what the subscriber has use for.
    pub(super) const fn wants_key_frame(&self) -> bool {
        self.wants_key_frame
    }

    /// Returns the decode targets that the receiver is to be told, where they are not the source's own.
    pub(super) fn told(&self) -> Option<u32> {
        self.is_restricted.then_some(self.present.within & self.active)
    }

    /// Tells whether other layers of a packet's picture are forwarded.
    pub(super) const fn shows_picture_of(&self, packet: &Accepted<'_>) -> bool {
        packet.frame.temporal <= self.present.layer.temporal
    }

    fn begin_frame(&mut self, packet: &Accepted<'_>, structure: &Arc<TemplateStructure>, limit: Layer) {
        let frame = &packet.frame;
        let is_other = !Arc::ptr_eq(&self.structure, structure);
        if is_other || limit != self.limit || frame.active_targets != self.active {
            (self.limit, self.active) = (limit, frame.active_targets);
            self.wanted = best(structure, limit, frame.active_targets);
        }
        if is_other {
            self.structure = structure.clone();
            self.change(packet);
        } else if self.wanted == self.present.index {
            self.wants_key_frame = false;
        } else if frame.indications.switch & target_bit(self.wanted) != 0 {
            let is_higher = self.structure.target_layer(self.wanted).spatial > self.present.layer.spatial;
            let is_complete = self.ended == Some(packet.timestamp);
            if !self.has_all_that_is_referred_to(packet) {
                self.wants_key_frame = true;
            } else if !(is_higher && is_complete) {
                // A picture that was said to be complete gets no further layer.
                self.change(packet);
            }
        }
        self.restrict(packet);
    }

    fn change(&mut self, packet: &Accepted<'_>) {
        if self.earlier.is_full() {
            self.earlier.remove(0);
        }
        self.earlier.push((self.since, self.present));
        self.present = Target::of(&self.structure, self.wanted);
        self.since = packet.frame.frame_number.unwrap_or(0);
        self.wants_key_frame = false;
    }

    /// Returns the target that a frame was, or is, chosen by; `None` for one that is too old to know.
    fn target_of(&self, number: u16) -> Option<Target> {
        if !is_before(number, self.since) {
            return Some(self.present);
        }
        self.earlier.iter().rev().find(|(since, _)| !is_before(number, *since)).map(|(_, target)| *target)
    }

    /// Decides whether the receiver has to be told which targets there are. The source's structure says that there are all.
    fn restrict(&mut self, packet: &Accepted<'_>) {
        let has_fewer = self.present.within & self.active != self.active;
        self.is_restricted = has_fewer || self.is_restricted && !packet.frame.key;
    }

    fn has_all_that_is_referred_to(&self, packet: &Accepted<'_>) -> bool {
        let descriptor = DependencyDescriptor::parse(packet.dependency_descriptor, Some(&self.structure));
        let references = descriptor.and_then(|descriptor| descriptor.references(Some(&self.structure)));
        references.is_some_and(|references| references.iter().all(|number| self.forwarded.has(*number)))
    }
}

/// Returns the highest of the active targets that is not above `limit`; the lowest where all of them are.
fn best(structure: &TemplateStructure, limit: Layer, active: u32) -> u8 {
    let active = if active & structure.all_targets() == 0 { structure.all_targets() } else { active };
    let targets = (0..structure.decode_targets()).filter(|target| active & target_bit(*target) != 0);
    let targets = targets.map(|target| (structure.target_layer(target), target));
    let is_within =
        |(layer, _): &(TemplateLayer, u8)| layer.spatial <= limit.spatial && layer.temporal <= limit.temporal;
    let highest = targets.clone().filter(is_within).max_by_key(|(layer, _)| *layer);
    highest.or_else(|| targets.min_by_key(|(layer, _)| *layer)).map_or(0, |(_, target)| target)
}

/// Tells whether frame number `a` comes before `b`.
const fn is_before(a: u16, b: u16) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// Which of the newest [`FORWARDED_MAX`] frame numbers were forwarded.
#[derive(Clone, Debug)]
struct Forwarded {
    newest: u16,
    words: [u64; FORWARDED_WORDS],
}

impl Forwarded {
    const fn from(number: u16) -> Self {
        Self { newest: number.wrapping_sub(1), words: [0; FORWARDED_WORDS] }
    }

    /// Moves on to `number` if that is newer than all before, and tells whether it is.
    fn advance(&mut self, number: u16) -> bool {
        if !is_before(self.newest, number) {
            return false;
        }
        if number.wrapping_sub(self.newest) >= FORWARDED_MAX {
            self.words = [0; FORWARDED_WORDS];
        }
        while self.newest != number && self.words != [0; FORWARDED_WORDS] {
            self.newest = self.newest.wrapping_add(1);
            let (word, bit) = place_of(self.newest);
            if let Some(bits) = self.words.get_mut(word) {
                *bits &= !bit;
            }
        }
        self.newest = number;
        true
    }

    fn set(&mut self, number: u16) {
        let (word, bit) = place_of(number);
        if self.newest.wrapping_sub(number) < FORWARDED_MAX
            && let Some(bits) = self.words.get_mut(word)
        {
            *bits |= bit;
        }
    }

    fn has(&self, number: u16) -> bool {
        let (word, bit) = place_of(number);
        self.newest.wrapping_sub(number) < FORWARDED_MAX && self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }
}

fn place_of(number: u16) -> (usize, u64) {
    let place = number % FORWARDED_MAX;
    (usize::from(place / 64), 1 << (place % 64))
}
