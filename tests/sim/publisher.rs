//! A publisher: VP8, or AV1 with dependency descriptors, in one encoding or in three by rid, and Opus, with numbered payloads; repairs on request, key frames on
//! request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::receiver_report::ReceiverReport;
use rtcp::sender_report::SenderReport;
use rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtp::packet::Packet;
use sluice_protocol::time::Instant;

use crate::answer::{Answer, RidOf, Section};
use crate::media::{Descriptor, PictureIds, Tag, av1_payload, packet, vp8_payload};
use crate::random::Random;
use crate::srtp::Protection;

/// Packets that can be repeated.
const REPEATABLE: usize = 512;
const FRAME_MS: u64 = 40;
const SOUND_MS: u64 = 20;

/// One SSRC.
#[derive(Clone, Debug)]
struct Stream {
    ssrc: u32,
    index: u64,
    timestamp: u32,
}

impl Stream {
    /// Makes a stream that begins where RFC 3711 section 3.3.1 wants it to, in the lower half of the numbers.
    fn new(ssrc: u32, random: &mut Random) -> Self {
        Self { ssrc, index: random.below(1 << 15), timestamp: random.word() }
    }

    /// Makes a stream whose number perhaps wraps within seconds, though not before the first packets came through: a
    /// receiver that hears the first of them after the wrap cannot know.
    fn wrapping(ssrc: u32, random: &mut Random) -> Self {
        let index = random.pick(&[0, 1000, 65_100, 65_250]) + random.below(50);
        Self { index, ..Self::new(ssrc, random) }
    }
}

/// One encoding of the camera's picture.
#[derive(Debug)]
struct Encoding {
    /// Its name, where there are several.
    rid: Option<&'static str>,
    number: u8,
    frame: u32,
    video: Stream,
    rtx: Stream,
    ids: PictureIds,
    picture_id: u16,
    /// The number of the next frame and the id of the first template, where it has dependency descriptors.
    described: (u16, u8),
    sent: BTreeMap<u64, Packet>,
    key_wanted: bool,
    /// Until when it is not sent, as when the path cannot carry it.
    silent_until: Instant,
}

/// What a frame is made with.
struct Studio<'a> {
    section: &'a Section,
    acknowledged: &'a BTreeSet<u32>,
    protection: &'a mut Protection,
    random: &'a mut Random,
}

impl Encoding {
    fn new(rid: Option<&'static str>, number: u8, ssrcs: [u32; 2], now: Instant, random: &mut Random) -> Self {
        let [video, rtx] = ssrcs;
        Self {
            rid,
            number,
            frame: 0,
            video: Stream::wrapping(video, random),
            rtx: Stream::new(rtx, random),
            ids: random.pick(&[PictureIds::None, PictureIds::Short, PictureIds::Long, PictureIds::Long]),
            picture_id: (random.word() & 0x7fff) as u16,
            described: ((random.word() & 0xffff) as u16, (random.word() & 0x3f) as u8),
            sent: BTreeMap::new(),
            key_wanted: true,
            silent_until: now,
        }
    }

    fn change_ssrc(&mut self, random: &mut Random) {
        self.video = Stream::wrapping(random.word() | 1, random);
        self.rtx = Stream::new(random.word() | 1, random);
        self.described = ((random.word() & 0xffff) as u16, (random.word() & 0x3f) as u8);
        self.sent.clear();
        self.frame = 0;
        self.key_wanted = true;
    }

    /// Makes the packets of a frame, sealed.
    fn make_frame(&mut self, tag: Tag, studio: &mut Studio<'_>) -> Vec<Vec<u8>> {
        let mut sealed = Vec::new();
        let Studio { section, acknowledged, protection, random } = studio;
        let key = std::mem::take(&mut self.key_wanted);
        let parts = if key { random.between(3, 8) } else { random.between(1, 4) } as u8;
        let filler = random.between(20, 60) as usize;
        let (codec, payload_type) = section.picture();
        for part in 0..parts {
            let tag = Tag { encoding: self.number, frame: self.frame, part, parts, key, ..tag };
            let is_described = codec == "AV1";
            let mut payload = match is_described {
                true => av1_payload(&tag, filler),
                false => vp8_payload(&tag, self.ids, self.picture_id, filler),
            };
            let descriptor = self.descriptor(&tag);
            if part + 1 == parts {
                payload.truncate(payload.len() - filler / 2);
            }
            let Stream { ssrc, index, timestamp } = self.video;
            let mut says = if acknowledged.contains(&ssrc) { Vec::new() } else { self.says(section, RidOf::Media) };
            if is_described {
                says.push((section.descriptor(), &descriptor));
            }
            let packet = packet(ssrc, payload_type, index, timestamp, part + 1 == parts, &says, payload);
            sealed.push(protection.seal_rtp(&packet, index));
            self.sent.insert(index, packet);
            self.video.index += 1;
            if self.sent.len() > REPEATABLE {
                self.sent.pop_first();
            }
        }
        if random.chance(20) {
            // A bandwidth probe: padding alone.
            let Stream { ssrc, index, timestamp } = self.video;
            let mut probe = packet(ssrc, payload_type, index, timestamp, false, &[], Vec::new());
            probe.header.padding = true;
            sealed.push(protection.seal_rtp(&probe, index));
            self.video.index += 1;
        }
        self.frame += 1;
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.described.0 = self.described.0.wrapping_add(1);
        sealed
    }

    fn descriptor(&self, tag: &Tag) -> Vec<u8> {
        let (number, offset) = self.described;
        let template = (offset + u8::from(!tag.key)) & 0x3f;
        let structure = (tag.key && tag.part == 0).then_some(offset);
        Descriptor { template, number, structure }.write(tag.part == 0, tag.part + 1 == tag.parts)
    }

    /// Repeats a packet (RFC 4588 section 4).
    fn repair(&mut self, sequence: u16, studio: &mut Studio<'_>) -> Option<Vec<u8>> {
        let section = studio.section;
        let (codec, media) = section.picture();
        let repair = *section.repairs.get(&media)?;
        let original = self.sent.values().find(|packet| packet.header.sequence_number == sequence)?;
        let mut payload = sequence.to_be_bytes().to_vec();
        payload.extend_from_slice(&original.payload);
        let is_known = studio.acknowledged.contains(&self.rtx.ssrc);
        let mut says = if is_known { Vec::new() } else { self.says(section, RidOf::Repairs) };
        let descriptor = (codec == "AV1").then(|| original.header.get_extension(section.descriptor())).flatten();
        says.extend(descriptor.as_ref().map(|value| (section.descriptor(), &value[..])));
        let (timestamp, marker) = (original.header.timestamp, original.header.marker);
        let packet = packet(self.rtx.ssrc, repair, self.rtx.index, timestamp, marker, &says, payload);
        let sealed = studio.protection.seal_rtp(&packet, self.rtx.index);
        self.rtx.index += 1;
        Some(sealed)
    }

    fn says<'a>(&self, section: &'a Section, of: RidOf) -> Vec<(u8, &'a [u8])> {
        section.says(self.rid.map(|rid| (of, rid)))
    }
}

#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) tag: Tag,
    random: Random,
    encodings: Vec<Encoding>,
    audio: Stream,
    /// SSRCs that a report named, after which mid and rid are no longer said.
    acknowledged: BTreeSet<u32>,
    pub(crate) key_frames_asked: u64,
    next_frame: Instant,
    next_sound: Instant,
    next_report: Instant,
    pub(crate) silent_until: Instant,
    pub(crate) sounds: u32,
}

impl Publisher {
    /// Makes a publisher whose offer announced `video`, `rtx` and `audio`, or of several encodings their rids alone.
    pub(crate) fn new(tag: Tag, rids: &[&'static str], ssrcs: [u32; 3], now: Instant, mut random: Random) -> Self {
        let [video, rtx, audio] = ssrcs;
        let mut encodings = vec![Encoding::new(rids.first().copied(), 0, [video, rtx], now, &mut random)];
        for (number, rid) in (1..).zip(rids.iter().skip(1)) {
            let ssrcs = [random.word() | 1, random.word() | 1];
            encodings.push(Encoding::new(Some(rid), number, ssrcs, now, &mut random));
        }
        let audio = Stream::wrapping(audio, &mut random);
        Self {
            tag,
            random,
            encodings,
            audio,
            acknowledged: BTreeSet::new(),
            key_frames_asked: 0,
            next_frame: now,
            next_sound: now,
            next_report: now,
            silent_until: now,
            sounds: 0,
        }
    }

    /// Goes on under other SSRCs, as after a replaced sender.
    pub(crate) fn change_ssrc(&mut self) {
        self.tag.incarnation += 1;
        for encoding in &mut self.encodings {
            encoding.change_ssrc(&mut self.random);
        }
    }

    /// Returns how many frames were made of the only encoding.
    pub(crate) fn frames(&self) -> u64 {
        self.encodings.iter().map(|encoding| u64::from(encoding.frame)).max().unwrap_or(0)
    }

    /// Leaves one of several encodings out until `until`; returns which.
    pub(crate) fn silence(&mut self, until: Instant) -> Option<u8> {
        let count = self.encodings.len() as u64;
        let encoding = (count > 1).then(|| self.random.below(count) as usize)?;
        self.encodings[encoding].silent_until = until;
        Some(self.encodings[encoding].number)
    }

    /// Sends everything again.
    pub(crate) fn recover(&mut self, now: Instant) {
        self.silent_until = now;
        self.encodings.iter_mut().for_each(|encoding| encoding.silent_until = now);
    }

    /// Makes what is due, sealed.
    pub(crate) fn tick(&mut self, now: Instant, answer: &Answer, protection: &mut Protection) -> Vec<Vec<u8>> {
        let mut sealed = Vec::new();
        while self.next_frame <= now {
            self.next_frame = self.next_frame + Duration::from_millis(FRAME_MS);
            if now >= self.silent_until {
                self.make_frames(now, answer, protection, &mut sealed);
            }
            for encoding in &mut self.encodings {
                encoding.video.timestamp = encoding.video.timestamp.wrapping_add(90 * FRAME_MS as u32);
            }
        }
        while self.next_sound <= now {
            self.next_sound = self.next_sound + Duration::from_millis(SOUND_MS);
            if now >= self.silent_until {
                self.sound(now, answer, protection, &mut sealed);
            }
            self.audio.timestamp = self.audio.timestamp.wrapping_add(48 * SOUND_MS as u32);
        }
        if self.next_report <= now {
            self.next_report = now + Duration::from_millis(1000);
            for stream in self.encodings.iter().map(|encoding| &encoding.video).chain([&self.audio]) {
                let report = SenderReport {
                    ssrc: stream.ssrc,
                    ntp_time: (u128::from(now.nanos) << 32).div_euclid(1_000_000_000) as u64,
                    rtp_time: stream.timestamp,
                    ..SenderReport::default()
                };
                sealed.push(protection.seal_rtcp(&[Box::new(report)]));
            }
        }
        sealed
    }

    /// Makes a frame of each encoding that is sent; their packets mix.
    fn make_frames(&mut self, now: Instant, answer: &Answer, protection: &mut Protection, sealed: &mut Vec<Vec<u8>>) {
        let Some(section) = answer.section("video") else { return };
        let Self { tag, random, encodings, acknowledged, .. } = self;
        let tag = Tag { born_ms: now.nanos / 1_000_000, ..*tag };
        let mut studio = Studio { section, acknowledged, protection, random };
        let sending = encodings.iter_mut().filter(|encoding| encoding.silent_until <= now);
        let mut queues: Vec<_> =
            sending.map(|encoding| encoding.make_frame(tag, &mut studio).into_iter().peekable()).collect();
        let mut first = 0;
        while queues.iter_mut().any(|queue| queue.peek().is_some()) {
            if queues.len() > 1 && studio.random.chance(300) {
                first = studio.random.below(queues.len() as u64) as usize;
            }
            let next = (first..queues.len()).chain(0..first).find(|place| queues[*place].peek().is_some());
            sealed.extend(next.and_then(|place| queues[place].next()));
        }
    }

    fn sound(&mut self, now: Instant, answer: &Answer, protection: &mut Protection, sealed: &mut Vec<Vec<u8>>) {
        let Some(section) = answer.section("audio") else { return };
        let tag = Tag { frame: self.sounds, parts: 1, born_ms: now.nanos / 1_000_000, ..self.tag };
        let mut payload = Vec::new();
        tag.write(&mut payload);
        let Stream { ssrc, index, timestamp } = self.audio;
        let says = if self.acknowledged.contains(&ssrc) { Vec::new() } else { section.says(None) };
        let packet = packet(ssrc, section.codecs["OPUS"], index, timestamp, false, &says, payload);
        sealed.push(protection.seal_rtp(&packet, index));
        self.audio.index += 1;
        self.sounds += 1;
    }

    /// Takes reports and requests; returns repairs, sealed.
    pub(crate) fn follow(&mut self, compound: &[u8], answer: &Answer, protection: &mut Protection) -> Vec<Vec<u8>> {
        let mut sealed = Vec::new();
        for packet in rtcp::packet::unmarshal(&mut &compound[..]).expect("what the data plane says parses") {
            let any = packet.as_any();
            if let Some(pli) = any.downcast_ref::<PictureLossIndication>() {
                self.want_key_frame(pli.media_ssrc);
            } else if let Some(fir) = any.downcast_ref::<FullIntraRequest>() {
                fir.fir.iter().for_each(|entry| self.want_key_frame(entry.ssrc));
            } else if let Some(report) = any.downcast_ref::<ReceiverReport>() {
                self.acknowledged.extend(report.reports.iter().map(|block| block.ssrc));
            } else if let Some(report) = any.downcast_ref::<SenderReport>() {
                self.acknowledged.extend(report.reports.iter().map(|block| block.ssrc));
            } else if let Some(nack) = any.downcast_ref::<TransportLayerNack>() {
                for sequence in nack.nacks.iter().flat_map(|pair| pair.packet_list()) {
                    sealed.extend(self.repair(nack.media_ssrc, sequence, answer, protection));
                }
            }
        }
        sealed
    }

    fn want_key_frame(&mut self, ssrc: u32) {
        if let Some(encoding) = self.encodings.iter_mut().find(|encoding| encoding.video.ssrc == ssrc) {
            encoding.key_wanted = true;
            self.key_frames_asked += 1;
        }
    }

    fn repair(&mut self, ssrc: u32, sequence: u16, answer: &Answer, protection: &mut Protection) -> Option<Vec<u8>> {
        let section = answer.section("video")?;
        let Self { random, encodings, acknowledged, .. } = self;
        let encoding = encodings.iter_mut().find(|encoding| encoding.video.ssrc == ssrc)?;
        encoding.repair(sequence, &mut Studio { section, acknowledged, protection, random })
    }
}
