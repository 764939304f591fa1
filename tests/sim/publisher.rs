//! A publisher: VP8 and Opus with numbered payloads, repairs on request, key frames on request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::receiver_report::ReceiverReport;
use rtcp::sender_report::SenderReport;
use rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtp::packet::Packet;
use sluice_protocol::time::Instant;

use crate::answer::Answer;
use crate::media::{PictureIds, Tag, packet, vp8_payload};
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

#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) tag: Tag,
    random: Random,
    video: Stream,
    rtx: Stream,
    audio: Stream,
    ids: PictureIds,
    picture_id: u16,
    sent: BTreeMap<u64, Packet>,
    /// SSRCs that a report named, after which mid is no longer said.
    acknowledged: BTreeSet<u32>,
    key_wanted: bool,
    pub(crate) key_frames_asked: u64,
    next_frame: Instant,
    next_sound: Instant,
    next_report: Instant,
    pub(crate) silent_until: Instant,
    pub(crate) sounds: u32,
}

impl Publisher {
    /// Makes a publisher whose offer announced `video`, `rtx` and `audio`.
    pub(crate) fn new(tag: Tag, ssrcs: [u32; 3], now: Instant, mut random: Random) -> Self {
        let [video, rtx, audio] = ssrcs;
        let (video, audio) = (Stream::wrapping(video, &mut random), Stream::wrapping(audio, &mut random));
        let rtx = Stream::new(rtx, &mut random);
        let ids = random.pick(&[PictureIds::None, PictureIds::Short, PictureIds::Long, PictureIds::Long]);
        let picture_id = (random.word() & 0x7fff) as u16;
        Self {
            tag,
            random,
            video,
            rtx,
            audio,
            ids,
            picture_id,
            sent: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            key_wanted: true,
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
        self.video = Stream::wrapping(self.random.word() | 1, &mut self.random);
        self.rtx = Stream::new(self.random.word() | 1, &mut self.random);
        self.sent.clear();
        self.tag.incarnation += 1;
        self.tag.frame = 0;
        self.key_wanted = true;
    }

    /// Makes what is due, sealed.
    pub(crate) fn tick(&mut self, now: Instant, answer: &Answer, protection: &mut Protection) -> Vec<Vec<u8>> {
        let mut sealed = Vec::new();
        while self.next_frame <= now {
            self.next_frame = self.next_frame + Duration::from_millis(FRAME_MS);
            if now >= self.silent_until {
                self.frame(now, answer, protection, &mut sealed);
            }
            self.video.timestamp = self.video.timestamp.wrapping_add(90 * FRAME_MS as u32);
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
            for stream in [&self.video, &self.audio] {
                let report = SenderReport {
                    ssrc: stream.ssrc,
                    ntp_time: (now.nanos / 1_000_000_000) << 32,
                    rtp_time: stream.timestamp,
                    ..SenderReport::default()
                };
                sealed.push(protection.seal_rtcp(&[Box::new(report)]));
            }
        }
        sealed
    }

    fn frame(&mut self, now: Instant, answer: &Answer, protection: &mut Protection, sealed: &mut Vec<Vec<u8>>) {
        let Some(section) = answer.section("video") else { return };
        let key = std::mem::take(&mut self.key_wanted);
        let parts = if key { self.random.between(3, 8) } else { self.random.between(1, 4) } as u8;
        let filler = self.random.between(20, 60) as usize;
        for part in 0..parts {
            let tag = Tag { part, parts, key, born_ms: now.nanos / 1_000_000, ..self.tag };
            let mut payload = vp8_payload(&tag, self.ids, self.picture_id, filler);
            if part + 1 == parts {
                payload.truncate(payload.len() - filler / 2);
            }
            let mid = (!self.acknowledged.contains(&self.video.ssrc)).then(|| section.mid_extension());
            let Stream { ssrc, index, timestamp } = self.video;
            let packet = packet(ssrc, section.codecs["VP8"], index, timestamp, part + 1 == parts, mid, payload);
            sealed.push(protection.seal_rtp(&packet, index));
            self.sent.insert(index, packet);
            self.video.index += 1;
            if self.sent.len() > REPEATABLE {
                self.sent.pop_first();
            }
        }
        if self.random.chance(20) {
            // A bandwidth probe: padding alone.
            let Stream { ssrc, index, timestamp } = self.video;
            let mut probe = packet(ssrc, section.codecs["VP8"], index, timestamp, false, None, Vec::new());
            probe.header.padding = true;
            sealed.push(protection.seal_rtp(&probe, index));
            self.video.index += 1;
        }
        self.tag.frame += 1;
        self.picture_id = (self.picture_id + 1) & 0x7fff;
    }

    fn sound(&mut self, now: Instant, answer: &Answer, protection: &mut Protection, sealed: &mut Vec<Vec<u8>>) {
        let Some(section) = answer.section("audio") else { return };
        let tag = Tag { frame: self.sounds, part: 0, parts: 1, key: false, born_ms: now.nanos / 1_000_000, ..self.tag };
        let mut payload = Vec::new();
        tag.write(&mut payload);
        let mid = (!self.acknowledged.contains(&self.audio.ssrc)).then(|| section.mid_extension());
        let Stream { ssrc, index, timestamp } = self.audio;
        let packet = packet(ssrc, section.codecs["OPUS"], index, timestamp, false, mid, payload);
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
        if ssrc == self.video.ssrc {
            self.key_wanted = true;
            self.key_frames_asked += 1;
        }
    }

    /// Repeats a packet (RFC 4588 section 4).
    fn repair(&mut self, ssrc: u32, sequence: u16, answer: &Answer, protection: &mut Protection) -> Option<Vec<u8>> {
        let section = answer.section("video").filter(|_| ssrc == self.video.ssrc)?;
        let media = section.codecs["VP8"];
        let repair = *section.repairs.get(&media)?;
        let original = self.sent.values().find(|packet| packet.header.sequence_number == sequence)?;
        let mut payload = sequence.to_be_bytes().to_vec();
        payload.extend_from_slice(&original.payload);
        let mid = (!self.acknowledged.contains(&self.rtx.ssrc)).then(|| section.mid_extension());
        let (timestamp, marker) = (original.header.timestamp, original.header.marker);
        let packet = packet(self.rtx.ssrc, repair, self.rtx.index, timestamp, marker, mid, payload);
        let sealed = protection.seal_rtp(&packet, self.rtx.index);
        self.rtx.index += 1;
        Some(sealed)
    }
}
