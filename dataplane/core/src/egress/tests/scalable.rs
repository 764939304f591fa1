//! An encoder of AV1 or VP9 with spatial and three temporal layers (0 2 1 2) that writes dependency descriptors, and writes
//! down what it made. Packets are described as ingress does it.

use std::collections::BTreeSet;

use super::*;
use crate::ingress::describe::{Timestamp, describe};
use crate::ingress::structures::Structures;
use crate::wire::dependency_descriptor::write::{structure, template, write};
use crate::wire::dependency_descriptor::{DependencyDescriptor, Indications, TemplateLayer};

/// How spatial layers refer to each other, as the scalability modes of the W3C call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `L3T3`: each refers to the one below.
    Full,
    /// `L3T3_KEY`: in key frames alone.
    Key,
}

/// One layer's part of a picture, as it was made.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) layer: TemplateLayer,
    /// Which other parts it refers to.
    pub(super) references: BTreeSet<usize>,
    pub(super) packets: usize,
    /// The decode targets it belongs to.
    pub(super) indications: Indications,
}

#[derive(Clone, Debug)]
pub(super) struct Scalable {
    pub(super) ssrc: u32,
    pub(super) mode: Mode,
    pub(super) codec: CodecKind,
    /// Spatial layers that its structure has, and those that it sends.
    pub(super) layers: u8,
    pub(super) active: u8,
    pub(super) now: Instant,
    pub(super) sequence: u64,
    timestamp: u32,
    picture_id: u16,
    tl0picidx: u8,
    frame_number: u16,
    structure: TemplateStructure,
    structures: Structures,
    /// The part made last of each spatial and temporal layer: its frame number and what it is called in the truth.
    made: [[Option<(u16, usize)>; 3]; 3],
    place: usize,
    is_mask_told: bool,
    newest: Option<u32>,
}

/// What was made: the parts, and which one a packet belongs to.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    pub(super) parts: Vec<Part>,
    pub(super) packets: BTreeMap<(u32, u64), usize>,
}

/// What makes a part of a picture.
#[derive(Clone, Copy, Debug)]
struct Place {
    spatial: u8,
    temporal: u8,
    key: bool,
}

impl Scalable {
    pub(super) fn new(ssrc: u32, mode: Mode, layers: u8, codec: CodecKind) -> Self {
        let random = Random::new(u64::from(ssrc)).next();
        let low = |shift: u32| u16::try_from(random >> shift & 0xffff).unwrap();
        let mut templates = Vec::new();
        for (spatial, temporal) in (0..layers).flat_map(|spatial| [0, 1, 2].map(|temporal| (spatial, temporal))) {
            let place = Place { spatial, temporal, key: false };
            templates.push(template(spatial, temporal, &dtis(mode, layers, place), &[3], &[]));
        }
        Self {
            ssrc,
            mode,
            codec,
            layers,
            active: layers,
            now: Instant::from_millis(1000),
            sequence: u64::from(low(0)),
            timestamp: u32::from(low(16)) << 16,
            picture_id: low(32) & 0x7fff,
            tl0picidx: u8::try_from(low(8) & 0xff).unwrap(),
            frame_number: low(48),
            structure: structure(u8::try_from(low(24) & 0x3f).unwrap(), layers * 3, templates, &[]),
            structures: Structures::default(),
            made: [[None; 3]; 3],
            place: 0,
            is_mask_told: true,
            newest: None,
        }
    }

    /// Sends so many spatial layers from now on; more than before begin with a key frame.
    pub(super) fn activate(&mut self, layers: u8) {
        let layers = layers.clamp(1, self.layers);
        if layers > self.active {
            self.made = [[None; 3]; 3];
        }
        self.is_mask_told &= layers == self.active;
        self.active = layers;
    }

    /// Makes a picture, each part of so many packets.
    pub(super) fn picture(&mut self, truth: &mut Truth, packets: usize, wants_key: bool) -> Vec<Packet> {
        let key = wants_key || self.made[0][0].is_none();
        self.place = if key { 0 } else { self.place + 1 };
        let temporal = [0, 2, 1, 2][self.place % 4];
        if temporal == 0 {
            self.tl0picidx = self.tl0picidx.wrapping_add(1);
        }
        if key {
            self.made = [[None; 3]; 3];
        }
        let mut made = Vec::new();
        for spatial in 0..self.active {
            made.extend(self.part(truth, packets, Place { spatial, temporal, key }));
        }
        self.is_mask_told = true;
        self.picture_id = self.picture_id.wrapping_add(1) & 0x7fff;
        self.now = self.now + Duration::from_millis(33);
        self.timestamp = self.timestamp.wrapping_add(2970);
        made
    }

    fn part(&mut self, truth: &mut Truth, packets: usize, place: Place) -> Vec<Packet> {
        let Place { spatial, temporal, key } = place;
        let [own, below] = [Some(spatial), spatial.checked_sub(1)].map(|layer| layer.map(usize::from));
        let base = self.made[own.unwrap()];
        let mut references: Vec<(u16, usize)> = match temporal {
            0 => base[0].into_iter().collect(),
            1 => base[0].into_iter().chain(base[1].filter(|_| self.place % 8 > 4)).collect(),
            _ => [base[0], base[1]].into_iter().flatten().collect(),
        };
        if key || self.mode == Mode::Full {
            references.extend(below.and_then(|below| self.made[below][usize::from(temporal)]));
        }
        let number = self.frame_number;
        self.frame_number = number.wrapping_add(1);
        self.made[usize::from(spatial)][usize::from(temporal)] = Some((number, truth.parts.len()));
        if temporal == 0 {
            // What the upper layers made before is not referred to any more.
            self.made[usize::from(spatial)][1..].fill(None);
        }
        let dtis = dtis(self.mode, self.layers, place);
        let indications = crate::wire::dependency_descriptor::write::indications(&dtis);
        let descriptor = DependencyDescriptor {
            template_id: (self.structure.id_offset() + 3 * spatial + temporal) & 0x3f,
            frame_number: number,
            custom_indications: key.then_some(indications),
            custom_references: Some(references.iter().map(|(to, _)| number.wrapping_sub(*to)).collect()),
            ..DependencyDescriptor::parse(&[0, 0, 0], None).unwrap()
        };
        truth.parts.push(Part {
            layer: TemplateLayer { spatial, temporal },
            references: references.into_iter().map(|(_, part)| part).collect(),
            packets,
            indications,
        });
        let ends = (0..packets).map(|packet| (packet == 0, packet + 1 == packets));
        ends.map(|(start, end)| self.packet(truth, place, DependencyDescriptor { start, end, ..descriptor.clone() }))
            .collect()
    }

    fn packet(&mut self, truth: &mut Truth, place: Place, mut descriptor: DependencyDescriptor) -> Packet {
        let (start, end) = (descriptor.start, descriptor.end);
        let (first, marker) = (start && place.spatial == 0, end && place.spatial + 1 == self.active);
        let active = self.structure.all_targets() >> (3 * (self.layers - self.active));
        if first && place.key {
            descriptor.structure = Some(self.structure.clone());
        }
        if descriptor.structure.is_some() || !self.is_mask_told {
            descriptor.active_decode_targets = Some(active);
        }
        let value = write(&descriptor, Some(&self.structure));
        let payload = self.payload(place, start, end);
        let sequence = ExtendedSequence(self.sequence);
        let timestamp =
            if self.newest.replace(self.timestamp) == Some(self.timestamp) { Timestamp::Seen } else { Timestamp::New };
        let description = self.structures.describe(sequence, &value).unwrap();
        let frame = describe(self.codec, timestamp, marker, &payload, &value, Some(&description));
        assert_eq!((frame.spatial, frame.temporal), (place.spatial, place.temporal));
        assert_eq!((frame.start, frame.key && frame.start), (first, first && place.key));
        truth.packets.insert((self.ssrc, self.sequence), truth.parts.len() - 1);
        self.sequence += 1;
        Packet {
            ssrc: self.ssrc,
            stream: 0,
            sequence: sequence.0,
            timestamp: self.timestamp,
            payload_type: 96,
            codec: self.codec,
            frame,
            payload,
            descriptor: value,
            structure: Some(description.structure),
            arrival: self.now,
            captured: None,
        }
    }

    fn payload(&self, place: Place, start: bool, end: bool) -> Vec<u8> {
        let bit = |set: bool, shift: u32| u8::from(set) << shift;
        if self.codec == CodecKind::Av1 {
            let is_sequence = start && place.spatial == 0 && place.key;
            return vec![bit(!start, 7) | bit(is_sequence, 3), 1, 2, 3];
        }
        let [high, low] = (self.picture_id | 0x8000).to_be_bytes();
        let flags = 0xa0 | bit(!place.key, 6) | bit(start, 3) | bit(end, 2);
        vec![flags, high, low, place.temporal << 5 | place.spatial << 1, self.tl0picidx, 1, 2, 3]
    }
}

/// What a part is to each decode target: three temporal ones for each spatial layer.
fn dtis(mode: Mode, layers: u8, place: Place) -> String {
    let targets = (0..layers).flat_map(|spatial| [0, 1, 2].map(|temporal| (spatial, temporal)));
    let of = |(spatial, temporal): (u8, u8)| match (spatial.cmp(&place.spatial), temporal.cmp(&place.temporal)) {
        (core::cmp::Ordering::Less, _) | (_, core::cmp::Ordering::Less) => '-',
        (core::cmp::Ordering::Greater, _) if place.key => 'S',
        (core::cmp::Ordering::Greater, _) if mode == Mode::Key => '-',
        (core::cmp::Ordering::Greater, _) => 'R',
        (_, core::cmp::Ordering::Equal) if temporal == 2 => 'D',
        (_, core::cmp::Ordering::Equal) if temporal == 1 => 'R',
        _ => 'S',
    };
    targets.map(of).collect()
}
