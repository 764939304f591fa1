//! Dependency descriptors (RTP Payload Format For AV1, appendix A): written for pictures in temporal layers, and read as a
//! receiver does.

use std::cmp::Ordering;

use str0m::rtp::{ExtensionSerializer, ExtensionValues};

use super::Step;

/// The name of the header extension in SDP.
pub(crate) const URI: &str = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";
/// Template ids go around behind this one, and a structure has so many templates at most.
const IDS: u8 = 64;
/// A value that is longer needs the two-byte form, RFC 8285 section 4.3.
const SHORT_BYTES_MAX: usize = 16;

const NOT_PRESENT: u8 = 0;
const DISCARDABLE: u8 = 1;
const SWITCH: u8 = 2;

/// What a packet says about its frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// Whether the packet is the first one of its frame.
    pub starts: bool,
    /// Whether the packet is the last one of its frame.
    pub ends: bool,
    /// The number of the frame.
    pub frame: u16,
    /// The id of the template that the frame follows.
    pub template: u8,
    /// The structure that holds from here on.
    pub structure: Option<Structure>,
    /// The decode targets that are sent, one bit for each, where the packet tells.
    pub active: Option<u32>,
    /// The distances to the frames that it refers to, where they are others than its template's.
    pub back: Option<Vec<u16>>,
}

/// The templates that frames follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    first_id: u8,
    targets: u8,
    protected_by: Vec<u8>,
    templates: Vec<Template>,
}

/// A kind of frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The spatial layer.
    pub spatial: u8,
    /// The temporal layer.
    pub temporal: u8,
    /// What the frame is to each decode target: nothing, discardable, a switch or required.
    pub indications: Vec<u8>,
    /// The distances to the frames that it refers to.
    pub back: Vec<u16>,
    /// The distances to the last frame of each chain.
    pub chains: Vec<u8>,
}

impl Structure {
    /// One spatial layer whose pictures follow a pattern: a template for key frames, and one for each step.
    pub(crate) fn of(pattern: &[Step]) -> Self {
        let highest = pattern.iter().map(|step| step.temporal).max().unwrap_or(0);
        let template = |temporal: u8, back: &[u16], chain: u8| Template {
            spatial: 0,
            temporal,
            indications: (0..=highest)
                .map(|target| match target.cmp(&temporal) {
                    Ordering::Less => NOT_PRESENT,
                    Ordering::Equal if temporal > 0 => DISCARDABLE,
                    Ordering::Equal | Ordering::Greater => SWITCH,
                })
                .collect(),
            back: back.to_vec(),
            chains: vec![chain],
        };
        let mut templates = vec![template(0, &[], 0)];
        templates.extend(steps(pattern).into_iter().map(|(place, step)| {
            let to_base = if step.temporal == 0 { step.back } else { place };
            let to_base = u8::try_from(to_base).unwrap_or(u8::MAX);
            template(step.temporal, &[u16::try_from(step.back).unwrap_or(u16::MAX)], to_base)
        }));
        let targets = highest + 1;
        Self { first_id: 0, targets, protected_by: vec![0; usize::from(targets)], templates }
    }

    /// The id of the template for the picture at `place` of a group.
    pub(crate) fn template_at(&self, pattern: &[Step], place: usize) -> u8 {
        let step = steps(pattern).iter().position(|(index, _)| place > 0 && place % pattern.len() == *index);
        let index = step.map_or(0, |index| index + 1);
        self.first_id.wrapping_add(u8::try_from(index).unwrap_or(u8::MAX)) % IDS
    }

    /// The template of an id, where it is one of this structure.
    pub fn template(&self, id: u8) -> Option<&Template> {
        self.templates.get(usize::from((id + IDS - self.first_id) % IDS))
    }

    /// How many decode targets there are.
    pub fn targets(&self) -> u8 {
        self.targets
    }

    fn write(&self, bits: &mut Bits) {
        bits.put(self.first_id.into(), 6);
        bits.put(u32::from(self.targets) - 1, 5);
        let layers = self.templates.iter().map(|it| (it.spatial, it.temporal));
        for (layer, next) in layers.clone().zip(layers.skip(1).map(Some).chain([None])) {
            let step = match next {
                None => 3,
                Some(next) if next == layer => 0,
                Some(next) if next.0 == layer.0 => 1,
                Some(_) => 2,
            };
            bits.put(step, 2);
        }
        for indication in self.templates.iter().flat_map(|it| &it.indications) {
            bits.put((*indication).into(), 2);
        }
        for template in &self.templates {
            for back in &template.back {
                bits.put(1, 1);
                bits.put(u32::from(*back) - 1, 4);
            }
            bits.put(0, 1);
        }
        let chains = self.templates.first().map_or(0, |it| u32::try_from(it.chains.len()).unwrap_or(0));
        bits.put_below(chains, u32::from(self.targets) + 1);
        for chain in self.protected_by.iter().filter(|_| chains > 0) {
            bits.put_below((*chain).into(), chains);
        }
        for chain in self.templates.iter().flat_map(|it| &it.chains) {
            bits.put((*chain).into(), 4);
        }
        // No resolutions.
        bits.put(0, 1);
    }

    fn read(bits: &mut Reading<'_>) -> Option<Self> {
        let first_id = bits.small(6)?;
        let targets = bits.small(5)? + 1;
        let mut templates = Vec::new();
        let (mut spatial, mut temporal) = (0, 0);
        loop {
            let template = Template { spatial, temporal, indications: vec![], back: vec![], chains: vec![] };
            templates.push(template);
            match bits.take(2)? {
                0 => {}
                1 => temporal += 1,
                2 => (spatial, temporal) = (spatial + 1, 0),
                _ => break,
            }
            (templates.len() < usize::from(IDS)).then_some(())?;
        }
        for template in &mut templates {
            template.indications = (0..targets).map(|_| bits.small(2)).collect::<Option<_>>()?;
        }
        for template in &mut templates {
            while bits.take(1)? == 1 {
                template.back.push(u16::try_from(bits.take(4)?).ok()? + 1);
            }
        }
        let chains = bits.take_below(u32::from(targets) + 1)?;
        let protected = (0..targets).filter(|_| chains > 0);
        let protected_by =
            protected.map(|_| u8::try_from(bits.take_below(chains)?).ok()).collect::<Option<Vec<_>>>()?;
        for template in &mut templates {
            template.chains = (0..chains).map(|_| bits.small(4)).collect::<Option<_>>()?;
        }
        if bits.take(1)? == 1 {
            for _ in 0..=spatial {
                let _size = (bits.take(16)?, bits.take(16)?);
            }
        }
        Some(Self { first_id, targets, protected_by, templates })
    }
}

/// The steps of a pattern and their places, in the order of templates: by layer.
fn steps(pattern: &[Step]) -> Vec<(usize, Step)> {
    let mut steps: Vec<_> = pattern.iter().copied().enumerate().collect();
    steps.sort_by_key(|(place, step)| (step.temporal, *place));
    steps
}

impl Descriptor {
    /// Writes what a publisher says: no mask, and no distances but the template's.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut bits = Bits::default();
        bits.put(self.starts.into(), 1);
        bits.put(self.ends.into(), 1);
        bits.put(self.template.into(), 6);
        bits.put(self.frame.into(), 16);
        if let Some(structure) = &self.structure {
            bits.put(0b1_0000, 5);
            structure.write(&mut bits);
        }
        bits.0
            .chunks(8)
            .map(|byte| byte.iter().enumerate().fold(0, |all, (at, bit)| all | u8::from(*bit) << (7 - at)))
            .collect()
    }

    /// Reads a descriptor; `known` is the structure that holds.
    pub fn read(value: &[u8], known: Option<&Structure>) -> Option<Self> {
        let mut bits = Reading { bytes: value, at: 0 };
        let (starts, ends) = (bits.take(1)? == 1, bits.take(1)? == 1);
        let template = bits.small(6)?;
        let frame = u16::try_from(bits.take(16)?).ok()?;
        let mut descriptor = Self { starts, ends, frame, template, structure: None, active: None, back: None };
        if value.len() <= 3 {
            return Some(descriptor);
        }
        let flags: Vec<bool> = (0..5).map(|_| bits.take(1).map(|bit| bit == 1)).collect::<Option<_>>()?;
        let [attached, active, indications, back, chains] = <[bool; 5]>::try_from(flags).ok()?;
        if attached {
            descriptor.structure = Some(Structure::read(&mut bits)?);
        }
        let structure = descriptor.structure.as_ref().or(known)?;
        if active {
            descriptor.active = Some(bits.take(structure.targets.into())?);
        }
        for _ in (0..structure.targets).filter(|_| indications) {
            let _indication = bits.take(2)?;
        }
        if back {
            let mut distances = Vec::new();
            loop {
                let size = bits.take(2)?;
                if size == 0 {
                    break;
                }
                distances.push(u16::try_from(bits.take(4 * size)?).ok()? + 1);
            }
            descriptor.back = Some(distances);
        }
        if chains {
            for _ in &structure.templates.first()?.chains {
                let _distance = bits.take(8)?;
            }
        }
        Some(descriptor)
    }
}

/// A value on its way through the foreign stack.
#[derive(Debug, Clone)]
pub(crate) struct Value(pub(crate) Vec<u8>);

/// Carries descriptors through the foreign stack as they are.
#[derive(Debug)]
pub(crate) struct Carrier;

impl ExtensionSerializer for Carrier {
    fn write_to(&self, buffer: &mut [u8], values: &ExtensionValues) -> usize {
        let value = values.user_values.get::<Value>().map_or(&[][..], |value| &value.0);
        let Some(place) = buffer.get_mut(..value.len()) else { return 0 };
        place.copy_from_slice(value);
        value.len()
    }

    fn parse_value(&self, bytes: &[u8], values: &mut ExtensionValues) -> bool {
        values.user_values.set(Value(bytes.to_vec()));
        true
    }

    fn is_video(&self) -> bool {
        true
    }

    fn is_audio(&self) -> bool {
        false
    }

    fn requires_two_byte_form(&self, values: &ExtensionValues) -> bool {
        values.user_values.get::<Value>().is_some_and(|value| value.0.len() > SHORT_BYTES_MAX)
    }
}

/// Bits being written.
#[derive(Debug, Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        self.0.extend((0..count).rev().map(|shift| value >> shift & 1 == 1));
    }

    /// `ns(n)`: a number below `limit`.
    fn put_below(&mut self, value: u32, limit: u32) {
        let width = u32::BITS - limit.leading_zeros();
        let short = (1 << width) - limit;
        if value < short { self.put(value, width - 1) } else { self.put(value + short, width) }
    }
}

/// Bits being read.
#[derive(Debug)]
struct Reading<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reading<'_> {
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn small(&mut self, count: u32) -> Option<u8> {
        self.take(count).and_then(|value| u8::try_from(value).ok())
    }

    fn take_below(&mut self, limit: u32) -> Option<u32> {
        let width = u32::BITS - limit.leading_zeros();
        let short = (1 << width) - limit;
        let value = self.take(width.checked_sub(1)?)?;
        if value < short { Some(value) } else { Some((value << 1) - short + self.take(1)?) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: [Step; 4] = [
        Step { temporal: 0, back: 4 },
        Step { temporal: 2, back: 1 },
        Step { temporal: 1, back: 2 },
        Step { temporal: 2, back: 1 },
    ];

    #[test]
    fn what_is_written_is_read_and_each_place_has_the_template_of_its_layer() {
        let structure = Structure::of(&THREE);
        let ids: Vec<u8> = (0..9).map(|place| structure.template_at(&THREE, place)).collect();
        assert_eq!(ids, [0, 3, 2, 4, 1, 3, 2, 4, 1]);
        let layers: Vec<u8> = ids.iter().map(|id| structure.template(*id).unwrap().temporal).collect();
        assert_eq!(layers, [0, 2, 1, 2, 0, 2, 1, 2, 0]);
        let chains: Vec<&[u8]> = (0..5).map(|id| &*structure.template(id).unwrap().chains).collect();
        assert_eq!(chains, [[0], [4], [2], [1], [3]]);
        assert_eq!(structure.template(5), None);
        let key = Descriptor {
            starts: true,
            ends: false,
            frame: 0xfffe,
            template: 0,
            structure: Some(structure.clone()),
            active: None,
            back: None,
        };
        assert_eq!(Descriptor::read(&key.write(), None), Some(key.clone()));
        let last = Descriptor { starts: false, ends: true, frame: 7, template: 4, structure: None, ..key };
        assert_eq!(last.write(), [0x44, 0, 7]);
        assert_eq!(Descriptor::read(&last.write(), Some(&structure)), Some(last));
    }

    #[test]
    fn masks_and_distances_of_a_frame_are_read() {
        let structure = Structure::of(&THREE);
        // Mask, indications and distances: 1 and 18; then one chain.
        let mut bits = Bits::default();
        for (value, count) in [(0b10_000011, 8), (9, 16), (0b01111, 5), (0b011, 3), (0b01_10_10, 6)] {
            bits.put(value, count);
        }
        for (value, count) in [(1, 2), (0, 4), (2, 2), (17, 8), (0, 2), (5, 8)] {
            bits.put(value, count);
        }
        let bytes: Vec<u8> = bits
            .0
            .chunks(8)
            .map(|byte| byte.iter().fold(0, |all, bit| all << 1 | u8::from(*bit)) << (8 - byte.len()))
            .collect();
        let read = Descriptor::read(&bytes, Some(&structure)).unwrap();
        assert_eq!((read.active, read.back), (Some(0b011), Some(vec![1, 18])));
        assert_eq!(Descriptor::read(&bytes[..5], Some(&structure)), None);
        assert_eq!(Descriptor::read(&bytes, None), None);
    }
}
