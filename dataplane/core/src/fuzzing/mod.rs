//! Bodies of the fuzz targets: each takes arbitrary bytes and asserts what must hold for all input. Fuzz targets and
//! the replay of their corpus call them; nothing else does.

mod engine;

use sluice_protocol::media::{MasterKey, SrtpProfile};

pub use engine::{ENGINE_SCRIPT, fuzz_engine};

use crate::srtp::{Opener, Sealer};
use crate::wire::av1::Av1AggregationHeader;
use crate::wire::dependency_descriptor::{
    DependencyDescriptor, Rewrite, SIZE_BYTES_MAX, TemplateStructure, frame_number, target_bit,
};
use crate::wire::dtls;
use crate::wire::h264::H264Payload;
use crate::wire::rtcp::{self, RtcpPacket};
use crate::wire::rtp::{self, Extension, RtpHeader, RtpView};
use crate::wire::stun::{self, Binding};
use crate::wire::vp8::Vp8Descriptor;
use crate::wire::vp9::Vp9Descriptor;

/// Parses an RTP packet; what is parsed is written again and must read the same.
pub fn fuzz_rtp(data: &[u8]) {
    let Ok(view) = RtpView::parse(data) else { return };
    assert_eq!(RtpHeader::parse(data).map(|header| header.size_bytes()), Ok(view.header_size_bytes()));
    assert_eq!(view.header_size_bytes() + view.payload().len() + view.padding_size_bytes(), data.len());
    let Some(form) = view.header().extension_form() else { return };
    let extensions: Vec<Extension<'_>> = view.extensions().collect();
    let mut buffer = vec![0; data.len() + 64];
    let size = rtp::write_header(
        &mut buffer,
        &rtp::RtpFields {
            marker: view.marker(),
            payload_type: view.payload_type(),
            sequence: view.sequence(),
            timestamp: view.timestamp(),
            ssrc: view.ssrc(),
        },
        form,
        &extensions,
    )
    .expect("what was read in a form can be written in it");
    buffer.truncate(size);
    let again = RtpView::parse(&buffer).expect("what was written can be read");
    assert!(again.extensions().eq(extensions), "extensions survive a rewrite");
}

/// Opens arbitrary bytes as SRTP and SRTCP in every profile; without the key nothing may open.
pub fn fuzz_srtp(data: &[u8]) {
    let master = MasterKey { key: [0x5a; 32], salt: [0xa5; 14] };
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::AesCm128HmacSha1_80] {
        let opener = Opener::new(profile, &master).expect("every key works");
        let sealer = Sealer::new(profile, &master).expect("every key works");
        let mut packet = data.to_vec();
        assert!(opener.open_rtcp(&mut packet).is_err(), "nobody sealed this");
        let Ok(header) = RtpHeader::parse(data) else { continue };
        let index = u64::from(header.sequence);
        let mut packet = data.to_vec();
        assert!(opener.open_rtp(&mut packet, header.size_bytes(), index).is_err(), "nobody sealed this");
        let mut packet = data.to_vec();
        packet.resize(data.len() + sealer.rtp_overhead_bytes(), 0);
        sealer.seal_rtp(&mut packet, header.size_bytes(), data.len(), index).expect("there is room");
        let plain = opener.open_rtp(&mut packet, header.size_bytes(), index);
        assert_eq!(plain.map(|size| packet.get(..size)), Ok(Some(data)), "what was sealed opens");
    }
}

/// Parses a STUN message; a request gets an answer that parses and verifies.
pub fn fuzz_stun(data: &[u8]) {
    let Ok(binding) = Binding::parse(data) else { return };
    assert!(stun::is_stun(data));
    let key = stun::ShortTermKey::new(b"no request can know this password");
    assert!(!binding.verify(&key), "nobody signed this");
    let mut buffer = [0; stun::RESPONSE_SIZE_BYTES_MAX];
    let code = stun::ErrorCode::UnknownAttribute;
    let size = stun::write_error(&mut buffer, binding.transaction, code, binding.unknown_attributes(), &key)
        .expect("every answer fits");
    let answer = buffer.get(..size).map(Binding::parse).expect("the size is inside").expect("answers parse");
    assert!(answer.verify(&key) && answer.has_fingerprint && answer.transaction == binding.transaction);
}

/// Walks DTLS records and judges them; what passes after the handshake has no plaintext alert and no short record.
pub fn fuzz_dtls(data: &[u8]) {
    let connected = dtls::filter(data, dtls::Association::Connected);
    if connected.is_ok() {
        assert_eq!(dtls::filter(data, dtls::Association::Handshaking), Ok(()));
        let sizes = dtls::records(data).map(|record| record.expect("it passed the filter"));
        let total: usize = sizes.map(|record| record.fragment.len() + dtls::RECORD_HEADER_SIZE_BYTES).sum();
        assert_eq!(total, data.len());
    }
}

/// Walks an RTCP compound and everything in its packets; feedback that was read can be written and reads the same.
pub fn fuzz_rtcp(data: &[u8]) {
    let mut count = 0;
    for packet in rtcp::packets(data) {
        count += 1;
        assert!(count <= data.len().div_ceil(rtcp::HEADER_SIZE_BYTES), "bounded by the bytes");
        let Ok(packet) = packet else { continue };
        walk_rtcp(&packet, data.len());
    }
}

fn walk_rtcp(packet: &RtcpPacket<'_>, size: usize) {
    match packet {
        RtcpPacket::Sr(report) => assert!(report.blocks().count() <= rtcp::report::BLOCKS_MAX),
        RtcpPacket::Rr(report) => assert!(report.blocks().count() <= rtcp::report::BLOCKS_MAX),
        RtcpPacket::Bye(goodbye) => assert!(goodbye.ssrcs().count() <= usize::from(rtcp::bye::SOURCES_MAX)),
        RtcpPacket::Nack(nack) => assert!(nack.sequences().count() <= size / 4 * rtcp::nack::PAIR_SEQUENCES_MAX),
        RtcpPacket::Fir(request) => assert!(request.entries().count() <= size / 8),
        RtcpPacket::Twcc(feedback) => rewrite_twcc(feedback),
        RtcpPacket::Pli(_) | RtcpPacket::Unread => {}
    }
}

fn rewrite_twcc(feedback: &rtcp::twcc::TransportFeedback<'_>) {
    use rtcp::twcc::{FeedbackFields, Status};
    assert_eq!(feedback.statuses().count(), usize::from(feedback.status_count), "parsing checked all of it");
    let arrivals: Vec<Option<i64>> = feedback
        .statuses()
        .map(|(_, status)| match status {
            Status::Received { arrival_ticks } => Some(arrival_ticks),
            Status::Lost | Status::ReceivedUntimed => None,
        })
        .collect();
    let fields = FeedbackFields {
        sender: feedback.sender,
        media: feedback.media,
        base_sequence: feedback.base_sequence,
        feedback_count: feedback.feedback_count,
    };
    let mut buffer = [0; 4096];
    let mut writer = rtcp::RtcpWriter::new(&mut buffer);
    let Ok(covered) = rtcp::twcc::write(&mut writer, &fields, &arrivals) else { return };
    let size = writer.size_bytes();
    let mut again = rtcp::packets(buffer.get(..size).expect("the size is inside"));
    let statuses: Vec<(u16, Status)> = match again.next() {
        Some(Ok(RtcpPacket::Twcc(again))) => again.statuses().collect(),
        _ => Vec::new(),
    };
    assert_eq!(statuses.len(), covered, "what was written is feedback on as much");
    for ((sequence, status), arrival) in statuses.into_iter().zip(arrivals) {
        let read = match status {
            Status::Received { arrival_ticks } => Some(arrival_ticks & 0xffff_ffff),
            Status::Lost | Status::ReceivedUntimed => None,
        };
        assert_eq!(read, arrival.map(|ticks| ticks & 0xffff_ffff), "sequence {sequence}");
    }
}

/// Parses a payload as each codec; descriptors end inside it.
pub fn fuzz_payloads(data: &[u8]) {
    let key_frame = H264Payload::parse(data).is_some_and(H264Payload::key_frame);
    let sequence = Av1AggregationHeader::parse(data).is_some_and(Av1AggregationHeader::new_sequence);
    assert!(!data.is_empty() || !(key_frame || sequence), "nothing starts in nothing");
    if let Some(descriptor) = Vp8Descriptor::parse(data) {
        assert!(usize::from(descriptor.size_bytes) < data.len(), "something follows");
        assert!(descriptor.start || !descriptor.key_frame, "only the start of a frame tells");
    }
    if let Some(descriptor) = Vp9Descriptor::parse(data) {
        assert!(usize::from(descriptor.size_bytes) < data.len(), "something follows");
    }
}

/// Parses a dependency descriptor, then again with its own structure as the one received before, and rewrites it.
pub fn fuzz_dependency_descriptor(data: &[u8]) {
    let Some(descriptor) = DependencyDescriptor::parse(data, None) else { return };
    let structure = descriptor.structure.as_ref();
    let again = DependencyDescriptor::parse(data, structure);
    assert_eq!(again.as_ref(), Some(&descriptor), "its own structure comes first");
    assert_eq!(frame_number(data), Some(descriptor.frame_number));
    if let Some(structure) = structure {
        assert!(structure.chains() <= structure.decode_targets(), "a chain is for a target");
        assert!(descriptor.layer(None).is_none_or(|layer| layer.spatial < structure.spatial_layers()));
        let within =
            (0..structure.decode_targets()).all(|target| structure.targets_within(target) & target_bit(target) != 0);
        assert!(within, "each target is within itself");
    }
    let active_decode_targets = structure.map(TemplateStructure::all_targets);
    let rewrite = Rewrite { frame_number: !descriptor.frame_number, template_shift: 0, active_decode_targets };
    let mut buffer = [0; SIZE_BYTES_MAX];
    let Some(written) = rewrite.write(data, structure, &mut buffer) else {
        assert!(data.len() > SIZE_BYTES_MAX, "what is no larger than an extension can be rewritten");
        return;
    };
    let again = DependencyDescriptor::parse(written, structure).expect("a rewrite keeps the shape");
    let active_decode_targets = active_decode_targets.or(descriptor.active_decode_targets);
    let expected = DependencyDescriptor { frame_number: !descriptor.frame_number, active_decode_targets, ..descriptor };
    assert_eq!(again, expected);
}
