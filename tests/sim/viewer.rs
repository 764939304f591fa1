//! A viewer: puts pictures and sound together, asks for what is missing, reports.

use std::collections::BTreeMap;
use std::time::Duration;

use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport;
use rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};
use rtp::packet::Packet;
use sluice_dataplane_core::srtp::estimate_index;
use sluice_protocol::time::Instant;

use crate::answer::{Answer, Section};
use crate::decoder::{Arrived, Decoder};
use crate::media::{Descriptor, Tag, Vp8};
use crate::srtp::Protection;

const NACK_EVERY: Duration = Duration::from_millis(25);
const PLI_EVERY: Duration = Duration::from_millis(500);
const REPORT_EVERY: Duration = Duration::from_millis(1000);
/// The codecs of pictures.
const CODECS: [&str; 2] = ["VP8", "AV1"];
/// How often one number is asked for.
const ASKED_MAX: u8 = 5;

#[derive(Debug)]
pub(crate) struct Viewer {
    pub(crate) decoder: Decoder,
    pub(crate) sounds: u64,
    pub(crate) last_sound: Option<Tag>,
    pub(crate) repaired: u64,
    highest_video: u64,
    asked: BTreeMap<u64, u8>,
    next_nack: Instant,
    next_pli: Instant,
    next_report: Instant,
}

impl Viewer {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            decoder: Decoder::default(),
            sounds: 0,
            last_sound: None,
            repaired: 0,
            highest_video: 0,
            asked: BTreeMap::new(),
            next_nack: now,
            next_pli: now,
            next_report: now + REPORT_EVERY,
        }
    }

    /// Takes a packet that authenticated.
    pub(crate) fn receive(&mut self, now: Instant, index: u64, packet: &Packet, answer: &Answer) {
        let ssrc = packet.header.ssrc;
        let video = answer.section("video").expect("the viewer asked for pictures");
        if Some(ssrc) == video.ssrc {
            let media = packet.header.payload_type;
            let codec = CODECS.into_iter().find(|codec| video.codecs.get(*codec) == Some(&media));
            self.highest_video = self.highest_video.max(index);
            let codec = codec.expect("the payload type is one that was negotiated");
            self.take_picture(now, index, &packet.payload, packet, (codec, video));
        } else if Some(ssrc) == video.rtx {
            let media = packet.header.payload_type;
            let repaired = |codec: &&str| video.codecs.get(*codec).and_then(|media| video.repairs.get(media));
            let codec = CODECS.into_iter().find(|codec| repaired(codec) == Some(&media));
            let codec = codec.expect("a repair has the payload type of one's repairs");
            let (number, payload) = packet.payload.split_first_chunk::<2>().expect("a repair names its original");
            self.repaired += 1;
            let index = estimate_index(self.highest_video, u16::from_be_bytes(*number));
            self.take_picture(now, index, payload, packet, (codec, video));
        } else {
            let tag = Tag::parse(&packet.payload).expect("sound is numbered");
            self.sounds += 1;
            if self.last_sound.is_none_or(|last| last.born_ms < tag.born_ms) {
                self.last_sound = Some(tag);
            }
        }
    }

    fn take_picture(
        &mut self,
        now: Instant,
        index: u64,
        payload: &[u8],
        packet: &Packet,
        (codec, video): (&str, &Section),
    ) {
        let value = packet.header.get_extension(video.descriptor());
        let (vp8, descriptor) = if codec == "AV1" {
            let value = value.expect("a packet of AV1 has a descriptor");
            (Vp8::parse_av1(payload), Some(Descriptor::parse(&value)))
        } else {
            assert!(value.is_none(), "VP8 has none");
            (Vp8::parse(payload), None)
        };
        let vp8 = vp8.expect("pictures are numbered");
        let (timestamp, marker) = (packet.header.timestamp, packet.header.marker);
        self.decoder.push(now, index, Arrived { timestamp, marker, vp8, descriptor });
    }

    /// Takes reports.
    pub(crate) fn follow(compound: &[u8]) {
        for packet in rtcp::packet::unmarshal(&mut &compound[..]).expect("what the data plane says parses") {
            if let Some(report) = packet.as_any().downcast_ref::<SenderReport>() {
                assert_ne!(report.ntp_time, 0, "a report that maps nothing");
            }
        }
    }

    /// Returns what is due to be said, sealed.
    pub(crate) fn tick(&mut self, now: Instant, answer: &Answer, protection: &mut Protection) -> Vec<Vec<u8>> {
        let mut sealed = Vec::new();
        let Some(media_ssrc) = answer.section("video").and_then(|section| section.ssrc) else { return sealed };
        self.decoder.advance(now);
        if self.next_nack <= now {
            self.next_nack = now + NACK_EVERY;
            let numbers = self.ask();
            if !numbers.is_empty() {
                let nacks = nack_pairs_from_sequence_numbers(&numbers);
                sealed.push(protection.seal_rtcp(&[Box::new(TransportLayerNack {
                    sender_ssrc: 1,
                    media_ssrc,
                    nacks,
                })]));
            }
        }
        if self.next_pli <= now && self.decoder.wants_key_frame() {
            self.next_pli = now + PLI_EVERY;
            sealed.push(protection.seal_rtcp(&[Box::new(PictureLossIndication { sender_ssrc: 1, media_ssrc })]));
        }
        if self.next_report <= now {
            self.next_report = now + REPORT_EVERY;
            let last_sequence_number = (self.highest_video & 0xffff_ffff) as u32;
            let block = ReceptionReport { ssrc: media_ssrc, last_sequence_number, ..ReceptionReport::default() };
            let report = ReceiverReport { ssrc: 1, reports: vec![block], ..ReceiverReport::default() };
            sealed.push(protection.seal_rtcp(&[Box::new(report)]));
        }
        sealed
    }

    fn ask(&mut self) -> Vec<u16> {
        let missing = self.decoder.missing();
        self.asked.retain(|number, _| missing.contains(number));
        let mut numbers = Vec::new();
        for number in missing {
            let asked = self.asked.entry(number).or_insert(0);
            if *asked < ASKED_MAX && numbers.len() < 64 {
                *asked += 1;
                numbers.push((number & 0xffff) as u16);
            }
        }
        numbers
    }
}
