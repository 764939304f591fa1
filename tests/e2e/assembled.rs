//! Pictures put together out of packets, as a receiver does it: in the order of sequence numbers, from a gap on with the next key
//! frame, and none without what its descriptor says that it was made with.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sluice_load::film::{Descriptor, Recorded, Structure};
use sluice_load::payload::Codec;

/// A picture that a decoder may be given: whole, and nothing that it needs is missing.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    /// When its last packet came.
    pub(crate) at: Instant,
    pub(crate) timestamp: u32,
    /// What its payload says, where it does.
    pub(crate) picture_id: Option<u16>,
    pub(crate) base_index: Option<u8>,
    /// The temporal layer, by the payload or the dependency descriptor.
    pub(crate) temporal: u8,
    pub(crate) is_key: bool,
    pub(crate) bitstream: Vec<u8>,
}

/// What was put together of packets.
#[derive(Debug, Default)]
pub(crate) struct Assembled {
    pub(crate) pictures: Vec<Whole>,
    /// Packets that never came.
    pub(crate) missing: u64,
    /// Whole pictures that a decoder is not given, because one before them is missing.
    pub(crate) passed_over: usize,
}

/// Puts pictures together; `described` where each packet has a dependency descriptor.
pub(crate) fn assemble(codec: Codec, described: bool, packets: Vec<Recorded>) -> Result<Assembled> {
    let mut ordered = BTreeMap::new();
    for packet in packets {
        let number = packet.sequence;
        if let Some(other) = ordered.insert(number, packet) {
            bail!("number {number} came twice: {}", other.timestamp);
        }
    }
    let (mut assembled, mut frames) = (Assembled::default(), Frames::default());
    let (mut open, mut before, mut runs): (Vec<Recorded>, Option<u64>, bool) = (Vec::new(), None, false);
    for packet in ordered.into_values() {
        let gap = before.map_or(0, |before| packet.sequence - before - 1);
        before = Some(packet.sequence);
        if gap > 0 {
            assembled.missing += gap;
            (runs, open) = (false, Vec::new());
        }
        if open.last().is_some_and(|last: &Recorded| last.timestamp != packet.timestamp) {
            bail!("a picture has no end, and nothing is missing: before {}", packet.sequence);
        }
        let ends = packet.marker;
        open.push(packet);
        if !ends {
            continue;
        }
        let packets = std::mem::take(&mut open);
        let Some(mut whole) = join(codec, &packets) else {
            // It has lost its beginning.
            ensure!(!runs, "a picture without a beginning, and nothing is missing");
            continue;
        };
        runs |= whole.is_key;
        if !runs {
            assembled.passed_over += 1;
            continue;
        }
        if described {
            let temporal = frames.take(&packets, whole.is_key);
            let temporal = temporal.with_context(|| format!("descriptors before {}", packets[0].sequence))?;
            ensure!(whole.temporal == temporal || codec == Codec::Av1, "payload and descriptor tell other layers");
            whole.temporal = temporal;
        }
        if let Some(last) = assembled.pictures.last() {
            assert_base_index(last, &whole)?;
        }
        assembled.pictures.push(whole);
    }
    Ok(assembled)
}

/// A picture of the base layer has a later index than what was before, and the others have that of the one before them. Between
/// two pictures that came one after the other there is no other picture of the base layer, unless one was lost: then a key frame
/// follows.
fn assert_base_index(before: &Whole, after: &Whole) -> Result<()> {
    let (Some(last), Some(next)) = (before.base_index, after.base_index) else { return Ok(()) };
    let step = next.wrapping_sub(last);
    let allowed = match (after.temporal, after.is_key) {
        (0, true) => 1..=127,
        (0, false) => 1..=1,
        _ => 0..=0,
    };
    ensure!(allowed.contains(&step), "TL0PICIDX {next} after {last}, of temporal layer {}", after.temporal);
    Ok(())
}

/// What a receiver knows by dependency descriptors.
#[derive(Debug, Default)]
struct Frames {
    structure: Option<Structure>,
    /// The decode targets that it was told.
    active: u32,
    newest: Option<u16>,
    /// Frames since the last key frame.
    decodable: Vec<u16>,
}

impl Frames {
    /// Takes a picture of one frame, and returns its temporal layer.
    fn take(&mut self, packets: &[Recorded], is_key: bool) -> Result<u8> {
        let mut descriptors = Vec::new();
        for packet in packets {
            let value = packet.descriptor.as_ref().context("a packet has none")?;
            let descriptor = Descriptor::read(value, self.structure.as_ref()).context("it cannot be read")?;
            if let Some(structure) = &descriptor.structure {
                self.active = u32::MAX >> (u32::BITS - u32::from(structure.targets()));
                self.structure = Some(structure.clone());
            }
            self.active = descriptor.active.unwrap_or(self.active);
            descriptors.push(descriptor);
        }
        let [first, ..] = &descriptors[..] else { bail!("no packet") };
        for (place, descriptor) in descriptors.iter().enumerate() {
            let ends = place + 1 == descriptors.len();
            ensure!((descriptor.starts, descriptor.ends) == (place == 0, ends), "{place}: {descriptor:?}");
            ensure!((descriptor.frame, descriptor.template) == (first.frame, first.template), "two frames are mixed");
        }
        ensure!(first.structure.is_some() == is_key, "a key frame has a structure, and no other: {first:?}");
        let step = self.newest.map_or(1, |newest| first.frame.wrapping_sub(newest));
        ensure!((1..1 << 15).contains(&step), "frame {} after {:?}", first.frame, self.newest);
        self.newest = Some(first.frame);
        let template = self.structure.as_ref().and_then(|structure| structure.template(first.template));
        let template = template.with_context(|| format!("no template {} is known", first.template))?;
        let target = usize::try_from(self.active.checked_ilog2().context("no target is active")?)?;
        ensure!(template.indications.get(target) > Some(&0), "it is in no target that was told: {:b}", self.active);
        if is_key {
            self.decodable.clear();
        }
        for back in first.back.as_ref().unwrap_or(&template.back) {
            let number = first.frame.wrapping_sub(*back);
            ensure!(self.decodable.contains(&number), "frame {} needs {number}, which was not sent", first.frame);
        }
        self.decodable.push(first.frame);
        Ok(template.temporal)
    }
}

fn join(codec: Codec, packets: &[Recorded]) -> Option<Whole> {
    let (first, last) = (packets.first()?, packets.last()?);
    let at = packets.iter().map(|packet| packet.at).max()?;
    let (mut bitstream, mut said) = (Vec::new(), Said::default());
    match codec {
        Codec::H264 => {
            starts_access(&first.payload).then_some(())?;
            bitstream.extend([0, 0, 0, 1, 9, 0xf0]);
            packets.iter().try_for_each(|packet| join_h264(&mut bitstream, &packet.payload))?;
        }
        Codec::Av1 => bitstream = join_av1(packets)?,
        Codec::Vp8 | Codec::Vp9 | Codec::Opus => {
            let read = if codec == Codec::Vp9 { vp9 } else { vp8 };
            for (place, packet) in packets.iter().enumerate() {
                let (says, content) = read(&packet.payload)?;
                (says.starts == (place == 0)).then_some(())?;
                said = says;
                bitstream.extend(content);
            }
        }
    }
    let is_key = is_key(codec, &bitstream);
    let Said { picture_id, base_index, temporal, .. } = said;
    Some(Whole { at, timestamp: last.timestamp, picture_id, base_index, temporal, is_key, bitstream })
}

/// What the descriptor in a payload says.
#[derive(Debug, Default)]
struct Said {
    starts: bool,
    picture_id: Option<u16>,
    base_index: Option<u8>,
    temporal: u8,
}

/// Descriptor and bitstream, RFC 7741 section 4.2.
fn vp8(payload: &[u8]) -> Option<(Said, &[u8])> {
    let (first, mut rest) = payload.split_first()?;
    // S, and partition 0.
    let mut said = Said { starts: first & 0x1f == 0x10, ..Said::default() };
    if first & 0x80 != 0 {
        let (fields, after) = rest.split_first()?;
        rest = after;
        if fields & 0x80 != 0 {
            (said.picture_id, rest) = picture_id(rest)?;
        }
        if fields & 0x40 != 0 {
            let (index, after) = rest.split_first()?;
            (said.base_index, rest) = (Some(*index), after);
        }
        if fields & 0x30 != 0 {
            let (layer, after) = rest.split_first()?;
            (said.temporal, rest) = (layer >> 6, after);
        }
    }
    Some((said, rest))
}

/// Descriptor and bitstream, RFC 9628 section 4.2, in non-flexible mode.
fn vp9(payload: &[u8]) -> Option<(Said, &[u8])> {
    let (flags, mut rest) = payload.split_first()?;
    let mut said = Said { starts: flags & 0x08 != 0, ..Said::default() };
    if flags & 0x80 != 0 {
        (said.picture_id, rest) = picture_id(rest)?;
    }
    if flags & 0x20 != 0 {
        let ([layer, index], after) = rest.split_first_chunk()?;
        (said.temporal, said.base_index, rest) = (layer >> 5, Some(*index), after);
    }
    if flags & 0x02 != 0 {
        // One layer, without its size, and a group of pictures with one reference each.
        let ([0x08, pictures], after) = rest.split_first_chunk()? else { return None };
        rest = after.get(usize::from(*pictures) * 2..)?;
    }
    Some((said, rest))
}

fn picture_id(bytes: &[u8]) -> Option<(Option<u16>, &[u8])> {
    let long = bytes.first()? & 0x80 != 0;
    let (bytes, after) = bytes.split_at_checked(if long { 2 } else { 1 })?;
    Some((Some(bytes.iter().fold(0, |id, byte| id << 8 | u16::from(*byte)) & 0x7fff), after))
}

/// A temporal unit, `AOMedia`'s RTP payload format for AV1, section 4.4.
fn join_av1(packets: &[Recorded]) -> Option<Vec<u8>> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    let mut is_open = false;
    for packet in packets {
        let (head, mut rest) = packet.payload.split_first()?;
        let count = usize::from(head >> 4 & 3);
        (is_open == (head & 0x80 != 0)).then_some(())?;
        let mut place = 0;
        while !rest.is_empty() {
            place += 1;
            let size;
            (size, rest) = if place == count { (rest.len(), rest) } else { leb128(rest)? };
            let (element, after) = rest.split_at_checked(size)?;
            rest = after;
            match units.last_mut().filter(|_| place == 1 && is_open) {
                Some(unit) => unit.extend(element),
                None => units.push(element.to_vec()),
            }
        }
        is_open = head & 0x40 != 0;
    }
    (!is_open).then_some(())?;
    // A temporal delimiter, and each unit with its size.
    let mut stream = vec![0x12, 0];
    for unit in units {
        let (head, content) = unit.split_first()?;
        stream.push(head | 2);
        let mut size = content.len();
        while size > 0x7f {
            stream.push(u8::try_from(size & 0x7f).ok()? | 0x80);
            size >>= 7;
        }
        stream.push(u8::try_from(size).ok()?);
        stream.extend(content);
    }
    Some(stream)
}

fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().take(4).position(|byte| byte & 0x80 == 0)?;
    let (number, rest) = bytes.split_at_checked(end + 1)?;
    Some((number.iter().rev().fold(0, |value, byte| value << 7 | usize::from(byte & 0x7f)), rest))
}

/// Whether a payload begins with what a picture begins with: parameter sets, a message, or a slice's first macroblock.
fn starts_access(payload: &[u8]) -> bool {
    let slice = |unit: Option<&u8>, content: Option<&u8>| match unit.map(|unit| unit & 0x1f) {
        Some(6..=9) => true,
        Some(1 | 5) => content.is_some_and(|byte| byte & 0x80 != 0),
        _ => false,
    };
    match payload.first().map(|header| header & 0x1f) {
        Some(24) => slice(payload.get(3), payload.get(4)),
        Some(28) => payload.get(1).is_some_and(|header| header & 0x80 != 0) && slice(payload.get(1), payload.get(2)),
        _ => slice(payload.first(), payload.get(1)),
    }
}

/// RFC 6184, sections 5.6 to 5.8.
fn join_h264(stream: &mut Vec<u8>, payload: &[u8]) -> Option<()> {
    const START: [u8; 4] = [0, 0, 0, 1];
    match payload.first()? & 0x1f {
        24 => {
            let mut rest = payload.get(1..)?;
            while let Some((size, after)) = rest.split_first_chunk() {
                let (unit, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
                stream.extend(START.iter().chain(unit));
                rest = after;
            }
        }
        28 => {
            let [indicator, header, content @ ..] = payload else { return None };
            if header & 0x80 != 0 {
                stream.extend(START.iter().chain(&[indicator & 0xe0 | header & 0x1f]));
            }
            stream.extend(content);
        }
        _ => stream.extend(START.iter().chain(payload)),
    }
    Some(())
}

/// Whether a picture needs none before it.
pub(crate) fn is_key(codec: Codec, picture: &[u8]) -> bool {
    match codec {
        Codec::H264 => picture.windows(4).any(|it| it[..3] == [0, 0, 1] && it[3] & 0x1f == 5),
        // A sequence header behind the temporal delimiter.
        Codec::Av1 => picture.get(2).is_some_and(|head| head >> 3 == 1),
        // Neither a picture that is shown again nor one that is predicted.
        Codec::Vp9 => picture.first().is_some_and(|first| first & 0x0c == 0),
        Codec::Vp8 | Codec::Opus => picture.first().is_some_and(|tag| tag & 1 == 0),
    }
}
