//! What peers who hold the keys send.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use sluice_protocol::ice::NodeSecret;
use sluice_protocol::ids::TransportId;
use sluice_protocol::media::{PayloadType, Ssrc};
use sluice_protocol::time::NtpTime;

use super::objects::{CODECS, egress_ssrc, five_tuple, keys, source_ssrc, transport_id, ufrag};
use super::outbox::Wire;
use super::script::Script;
use crate::port::FiveTuple;
use crate::srtp::Sealer;
use crate::wire::rtcp::report::ReportBlock;
use crate::wire::rtcp::sr::SenderInfo;
use crate::wire::rtcp::{RtcpWriter, bye, nack, pli, rr, sr};
use crate::wire::rtp::{Extension, ExtensionForm, RtpFields, RtpHeader, write_header};

pub(super) const SECRET: [u8; 32] = [7; 32];
/// What sealing adds at most.
const SEAL_BYTES_MAX: usize = 32;

/// All peers: where their counts stand.
#[derive(Default)]
pub(super) struct Peers {
    /// The next SRTP index of each SSRC that a transport is sent.
    indices: BTreeMap<(TransportId, Ssrc), u64>,
    /// The next SRTCP index of each transport.
    reports: BTreeMap<TransportId, u32>,
}

impl Peers {
    /// Makes a packet of media, or of repairs.
    pub(super) fn media(&mut self, script: &mut Script<'_>) -> (FiveTuple, Vec<u8>) {
        let (five_tuple, transport, ssrc) = (five_tuple(script), transport_id(script), source_ssrc(script));
        let (codec, step, flags) = (script.byte(), script.byte(), script.byte());
        let next = self.indices.entry((transport, ssrc)).or_insert(1000);
        // Mostly the next one, at times a gap, a jump or a packet of before.
        let index = match step {
            0..=199 => *next,
            200..=229 => *next + u64::from(step - 199),
            230..=239 => *next + 1000 * u64::from(step - 229),
            _ => next.saturating_sub(u64::from(step - 238)),
        };
        *next = (*next).max(index + 1);
        let payload_type = CODECS.iter().cycle().nth(usize::from(codec >> 1)).map_or(0, |codec| codec.0) + (codec & 1);
        let fields = RtpFields {
            marker: flags & 1 != 0,
            payload_type: PayloadType(payload_type),
            sequence: u16::try_from(index & 0xffff).unwrap_or(0),
            timestamp: u32::try_from(index & 0xffff).unwrap_or(0).wrapping_mul(1500) ^ (u32::from(flags >> 6) << 28),
            ssrc,
        };
        let sequence = fields.sequence.to_be_bytes();
        let names = [[b'a' + (flags >> 1) % 3], [b'a' + (flags >> 3) % 3]];
        let descriptor = script.bytes();
        let extensions: Vec<Extension<'_>> = [
            (flags & 32 == 0, Extension { id: 4, value: names.first().map_or(&[], |name| name) }),
            (flags & 16 != 0, Extension { id: 5, value: names.last().map_or(&[], |name| name) }),
            (flags & 8 != 0, Extension { id: 3, value: &sequence }),
            ((1..16).contains(&descriptor.len()), Extension { id: 9, value: descriptor }),
        ]
        .into_iter()
        .filter_map(|(is_there, extension)| is_there.then_some(extension))
        .collect();
        let mut plain = vec![0; 128];
        let header = write_header(&mut plain, &fields, ExtensionForm::fitting(&extensions), &extensions).unwrap_or(12);
        plain.truncate(header);
        if codec & 1 == 1 {
            plain.extend(u16::try_from((index + u64::from(flags % 4)) & 0xffff).unwrap_or(0).to_be_bytes());
        }
        plain.extend(script.bytes());
        (five_tuple, seal_rtp(transport, plain, index))
    }

    /// Seals what the script says for a compound.
    pub(super) fn arbitrary_rtcp(&mut self, script: &mut Script<'_>) -> (FiveTuple, Vec<u8>) {
        let (five_tuple, transport) = (five_tuple(script), transport_id(script));
        let mut plain = script.bytes().to_vec();
        if let [first, second, ..] = plain.as_mut_slice() {
            *first = 0x80 | (*first & 0x3f);
            *second = 200 + *second % 8;
        }
        (five_tuple, self.seal_rtcp(transport, plain))
    }

    /// Makes a report, a request or a goodbye that concerns something.
    pub(super) fn report(&mut self, script: &mut Script<'_>, wire: &Wire) -> (FiveTuple, Vec<u8>) {
        let (five_tuple, transport, what) = (five_tuple(script), transport_id(script), script.byte());
        let (source, egress) = (source_ssrc(script), egress_ssrc(transport, script));
        let number = u32::from(script.byte()) << 8 | u32::from(script.byte());
        let mut plain = vec![0; 256];
        let mut writer = RtcpWriter::new(&mut plain);
        let block = ReportBlock {
            ssrc: egress,
            fraction_lost: what,
            cumulative_lost: 0,
            highest_sequence: number,
            jitter: number,
            last_sr: number << 8,
            delay_since_last_sr: number,
        };
        let last = wire.last_sequence(egress);
        let back = u16::try_from(number & 0xffff).unwrap_or(0);
        let sequences: Vec<u16> =
            (0..u16::from(what >> 3)).map(|offset| last.wrapping_sub(back).wrapping_sub(offset)).collect();
        let ntp = NtpTime(u64::from(number) << 40);
        let info = SenderInfo { ssrc: source, ntp, rtp_timestamp: number << 8, packets: 1, payload_bytes: 1 };
        let written = match what % 6 {
            0 | 1 => nack::write(&mut writer, Ssrc(1), egress, &sequences).map(|_| ()),
            2 => pli::write(&mut writer, Ssrc(1), egress),
            3 => sr::write(&mut writer, &info, &[block]),
            4 => rr::write(&mut writer, Ssrc(1), &[block]),
            _ => bye::write(&mut writer, &[source, egress]),
        };
        let size = if written.is_ok() { writer.size_bytes() } else { 0 };
        plain.truncate(size);
        (five_tuple, self.seal_rtcp(transport, plain))
    }

    fn seal_rtcp(&mut self, transport: TransportId, mut plain: Vec<u8>) -> Vec<u8> {
        let index = self.reports.entry(transport).or_insert(0);
        *index += 1;
        let size = plain.len();
        plain.resize(size + SEAL_BYTES_MAX, 0);
        let size = sealer(transport).seal_rtcp(&mut plain, size, *index).unwrap_or(size);
        plain.truncate(size);
        plain
    }
}

/// Makes a binding request (RFC 8489 section 5) whose integrity is right, unless the script says otherwise.
pub(super) fn request(script: &mut Script<'_>) -> (FiveTuple, Vec<u8>) {
    let (five_tuple, transport, flags) = (five_tuple(script), transport_id(script), script.byte());
    let ufrag = ufrag(transport, flags % 4).to_text();
    let mut attributes = Vec::new();
    let mut attribute = |number: u16, value: &[u8]| {
        attributes.extend(number.to_be_bytes());
        attributes.extend(u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
        attributes.extend(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    };
    attribute(0x0006, &[ufrag.as_bytes().as_slice(), b":peer"].concat());
    attribute(0x0024, &[0x6e, 0, 1, 0xff]);
    attribute(if flags & 4 == 0 { 0x802a } else { 0x8029 }, &[7; 8]);
    if flags & 8 == 0 {
        attribute(0x0025, &[]);
    }
    if flags & 16 != 0 {
        attribute(u16::from(flags), script.bytes());
    }
    let size = u16::try_from(attributes.len() + 24).unwrap_or(0);
    let mut message = [&[0, 1][..], &size.to_be_bytes(), &0x2112_a442_u32.to_be_bytes(), &[flags; 12]].concat();
    message.extend(attributes);
    let password = NodeSecret::new(SECRET).password(&ufrag);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &password);
    let integrity = hmac::sign(&key, &message);
    message.extend([0, 8, 0, 20]);
    message.extend(integrity.as_ref());
    if flags & 0xe0 == 0xe0 {
        message.reverse();
    }
    (five_tuple, message)
}

/// Seals what the script says for an RTP packet.
pub(super) fn arbitrary_rtp(script: &mut Script<'_>) -> (FiveTuple, Vec<u8>) {
    let (five_tuple, transport, rolls) = (five_tuple(script), transport_id(script), script.below(3));
    let mut plain = script.bytes().to_vec();
    if let Some(first) = plain.first_mut() {
        *first = 0x80 | (*first & 0x3f);
    }
    let sequence = plain.get(2..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u16::from_be_bytes);
    let index = (u64::from(rolls) << 16) | u64::from(sequence);
    (five_tuple, seal_rtp(transport, plain, index))
}

fn sealer(transport: TransportId) -> Sealer {
    let keys = keys(transport);
    Sealer::new(keys.profile, &keys.remote).expect("every key works")
}

/// Seals a packet whose header can be read; leaves another one as it is.
fn seal_rtp(transport: TransportId, mut plain: Vec<u8>, index: u64) -> Vec<u8> {
    let Ok(header) = RtpHeader::parse(&plain) else { return plain };
    let size = plain.len();
    plain.resize(size + SEAL_BYTES_MAX, 0);
    let size = sealer(transport).seal_rtp(&mut plain, header.size_bytes(), size, index).unwrap_or(size);
    plain.truncate(size);
    plain
}
