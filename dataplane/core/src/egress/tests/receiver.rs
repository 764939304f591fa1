//! A receiver that believes dependency descriptors alone, and is told afterwards what they should have said.

use std::collections::BTreeSet;

use super::scalable::Truth;
use super::*;
use crate::wire::dependency_descriptor::{DependencyDescriptor, TemplateLayer, target_bit};
use crate::wire::rtp::RtpView;

/// One packet as it was sent.
#[derive(Clone, Debug)]
pub(super) struct Received {
    pub(super) source: (u32, u64),
    pub(super) index: u64,
    pub(super) bytes: Vec<u8>,
}

/// What it saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Numbers between the first and the last that nothing was sent under.
    pub(super) holes: u64,
    /// Parts of pictures that could not be decoded.
    pub(super) undecodable: usize,
    /// The parts decoded, in order.
    pub(super) decoded: Vec<usize>,
    /// Pictures that ended, by the layer of their last part and the decode targets told then.
    pub(super) pictures: Vec<(TemplateLayer, u32)>,
    /// Pictures whose last packet has no marker.
    pub(super) open: usize,
}

#[derive(Debug, Default)]
struct Receiver {
    seen: Seen,
    structure: Option<TemplateStructure>,
    told: u32,
    /// The parts decoded since the last structure, by their frame numbers.
    numbers: BTreeMap<u16, usize>,
    /// The number of the newest frame.
    newest: Option<u16>,
    /// How many packets of the present part came in a row.
    run: usize,
    is_decodable: bool,
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    index: u64,
    timestamp: u32,
    marker: bool,
    layer: TemplateLayer,
}

/// Lets a receiver see all that was sent, in the order of its numbers.
pub(super) fn receive(truth: &Truth, sent: &[Received]) -> Seen {
    let by_number: BTreeMap<u64, &Received> = sent.iter().map(|packet| (packet.index, packet)).collect();
    let sources: BTreeSet<(u32, u64)> = sent.iter().map(|packet| packet.source).collect();
    assert_eq!((by_number.len(), sources.len()), (sent.len(), sent.len()), "a number or a packet twice");
    let mut receiver = Receiver::default();
    by_number.into_values().for_each(|packet| receiver.receive(truth, packet));
    receiver.seen
}

impl Receiver {
    fn receive(&mut self, truth: &Truth, packet: &Received) {
        let view = RtpView::parse(&packet.bytes).unwrap();
        let part = truth.packets[&packet.source];
        let value = view.extension(9).expect("each packet carries a descriptor");
        let descriptor = DependencyDescriptor::parse(value, self.structure.as_ref()).expect("a descriptor reads");
        let layer = descriptor.layer(self.structure.as_ref()).expect("its template is in the structure received last");
        assert_eq!(layer, truth.parts[part].layer);
        let last = Last { index: packet.index, timestamp: view.timestamp(), marker: view.marker(), layer };
        let follows = self.follow(last);
        if let Some(structure) = &descriptor.structure {
            let is_older = self.newest.is_some_and(|newest| is_back(newest, descriptor.frame_number));
            assert!(!is_older, "a structure of an older frame than the newest is dropped with its frame");
            self.structure = Some(structure.clone());
        }
        self.told = descriptor.active_decode_targets.unwrap_or(self.told);
        if self.newest.is_none_or(|newest| !is_back(newest, descriptor.frame_number)) {
            self.newest = Some(descriptor.frame_number);
        }
        self.run = if descriptor.start {
            1
        } else if follows && self.run > 0 {
            self.run + 1
        } else {
            0
        };
        if descriptor.start {
            self.begin(truth, part, &descriptor);
        }
        if descriptor.end {
            self.end(truth, part, descriptor.frame_number);
        }
        if view.marker() {
            assert!(descriptor.end, "a picture ends with one of its parts");
            self.seen.pictures.push((layer, self.told));
        }
    }

    /// Looks at how a packet joins the one before it; tells whether nothing is missing between them.
    fn follow(&mut self, next: Last) -> bool {
        let Some(last) = self.last.replace(next) else { return true };
        let step = next.timestamp.wrapping_sub(last.timestamp).cast_signed();
        assert!(step >= 0, "time goes back");
        self.seen.holes += next.index - last.index - 1;
        if step == 0 {
            assert!(!last.marker, "something follows behind a picture's end");
            assert!(next.layer.spatial >= last.layer.spatial);
        } else if !last.marker {
            self.seen.open += 1;
        }
        next.index == last.index + 1
    }

    fn begin(&mut self, truth: &Truth, part: usize, descriptor: &DependencyDescriptor) {
        let references = descriptor.references(self.structure.as_ref()).unwrap();
        let found: Option<BTreeSet<usize>> =
            references.iter().map(|number| self.numbers.get(number).copied()).collect();
        self.is_decodable = found.is_some();
        if let Some(found) = found {
            assert_eq!(found, truth.parts[part].references, "it refers to other frames than it was made from");
        }
    }

    fn end(&mut self, truth: &Truth, part: usize, number: u16) {
        if self.is_decodable && self.run == truth.parts[part].packets {
            self.numbers.insert(number, part);
            self.seen.decoded.push(part);
        } else {
            self.numbers.remove(&number);
            self.seen.undecodable += 1;
        }
        self.is_decodable = false;
    }
}

/// Tells whether frame number `number` comes before `newest`.
fn is_back(newest: u16, number: u16) -> bool {
    number.wrapping_sub(newest).cast_signed() < 0
}

/// Tells whether a part belongs to one of the decode targets of a mask.
pub(super) fn belongs(truth: &Truth, part: usize, targets: u32) -> bool {
    truth.parts[part].indications.present & targets != 0
}

/// Returns the mask of one decode target.
pub(super) fn target(spatial: u8, temporal: u8) -> u32 {
    target_bit(3 * spatial + temporal)
}
