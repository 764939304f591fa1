//! Tests of an egress stream as a whole: a publisher that makes packets, and corner cases by name.

mod camera;
mod corners;
mod decoder;
mod described;
mod layers;
mod property;
mod receiver;
mod repeats;
mod scalable;
mod simulcast;
mod viewer;

use core::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use sluice_protocol::ids::{EgressId, TrackId, TransportId};
use sluice_protocol::media::{CodecKind, ExtensionIds, Label, MediaKind, Mid, PayloadType, Ssrc};
use sluice_protocol::plan::{Egress, Layer, PayloadMap, Source};
use sluice_protocol::time::Instant;

use super::*;
use crate::ingress::FrameInfo;
use crate::wire::dependency_descriptor::TemplateStructure;
use crate::wire::picture_id::PictureId;

/// A packet of [`Publisher`], with its bytes.
#[derive(Clone, Debug)]
struct Packet {
    ssrc: u32,
    stream: u8,
    sequence: u64,
    timestamp: u32,
    payload_type: u8,
    codec: CodecKind,
    frame: FrameInfo,
    payload: Vec<u8>,
    descriptor: Vec<u8>,
    structure: Option<Arc<TemplateStructure>>,
    arrival: Instant,
    captured: Option<u32>,
}

impl Packet {
    fn accepted(&self) -> Accepted<'_> {
        Accepted {
            stream: StreamIndex(self.stream),
            ssrc: Ssrc(self.ssrc),
            sequence: ExtendedSequence(self.sequence),
            timestamp: self.timestamp,
            marker: self.frame.end,
            payload_type: PayloadType(self.payload_type),
            codec: self.codec,
            clock_rate: if self.codec == CodecKind::Opus { 48_000 } else { 90_000 },
            frame: self.frame,
            audio_level: (self.codec == CodecKind::Opus).then_some(0x85),
            video_orientation: None,
            playout_delay: None,
            dependency_descriptor: &self.descriptor,
            structure: self.structure.as_ref(),
            payload: &self.payload,
            arrival: self.arrival,
            captured: self.captured,
        }
    }
}

/// How wide a publisher's picture ids are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ids {
    None,
    Seven,
    Fifteen,
}

/// Makes VP8 frames of a given number of packets, or Opus packets.
#[derive(Clone, Debug)]
struct Publisher {
    ssrc: u32,
    stream: u8,
    sequence: u64,
    timestamp: u32,
    ids: Ids,
    picture_id: u16,
    tl0picidx: u8,
    now: Instant,
    /// Whether its sender reports have come.
    reports: bool,
}

impl Publisher {
    fn new(ssrc: u32) -> Self {
        Self {
            ssrc,
            stream: 0,
            sequence: u64::from(ssrc) * 1000 + 1,
            timestamp: ssrc.wrapping_mul(0x0123_4567),
            ids: Ids::Fifteen,
            picture_id: u16::try_from(ssrc & 0x3f).unwrap(),
            tl0picidx: 0,
            now: Instant::from_millis(1000),
            reports: false,
        }
    }

    /// A VP8 frame of `packets` packets, 33 ms after the one before.
    fn frame(&mut self, packets: usize, key: bool, temporal: u8, sync: bool) -> Vec<Packet> {
        if temporal == 0 {
            self.tl0picidx = self.tl0picidx.wrapping_add(1);
        }
        let mut frame = Vec::new();
        for number in 0..packets {
            let (start, end) = (number == 0, number + 1 == packets);
            let bits = if self.ids == Ids::Seven { 7 } else { 15 };
            let picture_id = (self.ids != Ids::None).then_some(PictureId {
                value: if bits == 7 { self.picture_id & 0x7f } else { self.picture_id & 0x7fff },
                bits,
            });
            let mut payload = vec![0x80 | u8::from(start) << 4, if picture_id.is_some() { 0xe0 } else { 0x60 }];
            match picture_id {
                Some(id) if bits == 7 => payload.push(u8::try_from(id.value).unwrap()),
                Some(id) => payload.extend((id.value | 0x8000).to_be_bytes()),
                None => {}
            }
            payload.extend([self.tl0picidx, temporal << 6 | u8::from(sync) << 5]);
            payload.extend([u8::from(!key), 1, 2, 3, 4]);
            frame.push(Packet {
                ssrc: self.ssrc,
                stream: self.stream,
                sequence: self.sequence,
                timestamp: self.timestamp,
                payload_type: 96,
                codec: CodecKind::Vp8,
                frame: FrameInfo {
                    start,
                    end,
                    key: key && start,
                    picture_id,
                    tl0picidx: Some(self.tl0picidx),
                    temporal,
                    switching_point: sync,
                    ..FrameInfo::default()
                },
                payload,
                descriptor: Vec::new(),
                structure: None,
                arrival: self.now,
                captured: self.captured(),
            });
            self.sequence += 1;
        }
        self.picture_id = self.picture_id.wrapping_add(1) & 0x7fff;
        self.step(33, 2970);
        frame
    }

    fn key(&mut self, packets: usize) -> Vec<Packet> {
        self.frame(packets, true, 0, false)
    }

    fn delta(&mut self, packets: usize) -> Vec<Packet> {
        self.frame(packets, false, 0, false)
    }

    fn opus(&mut self) -> Packet {
        let packet = Packet {
            ssrc: self.ssrc,
            stream: 0,
            sequence: self.sequence,
            timestamp: self.timestamp,
            payload_type: 111,
            codec: CodecKind::Opus,
            frame: FrameInfo { start: true, end: true, key: true, ..FrameInfo::default() },
            payload: vec![0xfc; 80],
            descriptor: Vec::new(),
            structure: None,
            arrival: self.now,
            captured: None,
        };
        self.sequence += 1;
        self.step(20, 960);
        packet
    }

    /// All publishers of a test have one wall clock, and what they make arrives at once.
    fn captured(&self) -> Option<u32> {
        let ticks = self.now.nanos / 1000 * 9 / 100;
        self.reports.then(|| u32::try_from(ticks & 0xffff_ffff).unwrap())
    }

    fn step(&mut self, millis: u64, ticks: u32) {
        self.now = self.now + Duration::from_millis(millis);
        self.timestamp = self.timestamp.wrapping_add(ticks);
    }
}

fn plan(kind: MediaKind) -> Egress {
    let map = |from, to, rtx| PayloadMap { from: PayloadType(from), to: PayloadType(to), rtx };
    Egress {
        id: EgressId::new(0, 1, 1),
        transport: TransportId::new(0, 1, 1),
        kind,
        mid: Mid(Label::new(b"1").unwrap()),
        ssrc: Ssrc(0xe6e5),
        rtx: (kind == MediaKind::Video).then_some(Ssrc(0xe6e6)),
        nack: kind == MediaKind::Video,
        extensions: ExtensionIds { mid: 4, abs_send_time: 3, audio_level: 1, ..ExtensionIds::default() },
        source: Some(Source {
            track: TrackId::new(0, 1, 1),
            payloads: vec![map(96, 120, Some(PayloadType(121))), map(98, 122, None), map(111, 109, None)],
        }),
        paused: false,
        max_layer: Layer::MAX,
        playout_delay: None,
    }
}

fn video() -> EgressStream {
    EgressStream::new(&plan(MediaKind::Video), true, 1)
}

fn audio() -> EgressStream {
    EgressStream::new(&plan(MediaKind::Audio), true, 1)
}

/// Offers packets in order and returns what is forwarded.
fn offer(stream: &mut EgressStream, packets: impl IntoIterator<Item = impl Borrow<Packet>>) -> Vec<Outgoing> {
    packets.into_iter().filter_map(|packet| stream.plan_packet(&packet.borrow().accepted()).ok()).collect()
}

fn write(stream: &EgressStream, outgoing: &Outgoing, packet: &Packet) -> Vec<u8> {
    let mut bytes = vec![0xaa; 1500];
    let size = stream.write(outgoing, &packet.accepted(), AbsSendTime::from_nanos(1 << 40), &mut bytes).unwrap();
    bytes.truncate(size);
    bytes
}

/// Sequence numbers relative to the first one.
fn steps(outgoing: &[Outgoing]) -> Vec<u64> {
    outgoing.iter().map(|packet| packet.index - outgoing[0].index).collect()
}

/// Picture ids relative to the first one.
fn ids(outgoing: &[Outgoing]) -> Vec<u16> {
    let id = |packet: &Outgoing| packet.picture.picture_id.unwrap();
    outgoing.iter().map(|packet| id(packet).wrapping_sub(id(&outgoing[0])) & 0x7fff).collect()
}
