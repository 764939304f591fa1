//! Seeds of the corpora: what real clients sent, and what writers write.

use std::fs;
use std::path::Path;

use rtcp::goodbye::Goodbye;
use rtcp::packet::Packet as RtcpPacket;
use rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport;
use rtcp::source_description::{SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem};
use rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};
use sluice_protocol::ice::NodeSecret;
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::packet::{BatchWriter, Packet, PacketKind};
use sluice_protocol::session::controller::Controller;
use sluice_protocol::session::dataplane::Dataplane;
use sluice_protocol::session::{Configuration, Identity};
use sluice_protocol::time::Instant;
use sluice_tests::{encode, nominating_check};
use webrtc_util::marshal::Marshal;

type Seeds = Vec<(String, Vec<u8>)>;

/// Returns the seeds of a target by name.
pub(crate) fn of(target: &str) -> Seeds {
    match target {
        "rtp" | "srtp" => rtp(),
        "stun" => vec![named("request", stun())],
        "dtls" => flights().into_iter().map(|(name, datagrams)| (name, datagrams[0].clone())).collect(),
        "rtcp" => rtcp(),
        "payloads" => payloads(),
        "dependency_descriptor" => descriptors(),
        "engine" => vec![named("forward-and-restart", sluice_dataplane_core::fuzzing::ENGINE_SCRIPT.to_vec())],
        "ipc_frames" => ipc(),
        "packet_batch" => vec![named("batch", batch())],
        "sdp_offer" => offers(),
        "sdp_answer" => answers(),
        "sdp_fragment" => vec![named("fragment", FRAGMENT.as_bytes().to_vec())],
        "client_hello" => flights().into_iter().map(|(name, datagrams)| (name, prefixed(&datagrams))).collect(),
        "open_datagram" => flights().into_iter().map(|(name, datagrams)| (name, last(&datagrams))).collect(),
        other => panic!("{other} has no seeds"),
    }
}

const FRAGMENT: &str = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n\
    a=mid:0\r\na=candidate:1 1 udp 2130706431 192.0.2.7 50000 typ host\r\na=end-of-candidates\r\n";

/// The first packet of a key frame of three spatial and three temporal layers, as Chromium writes it.
const L3T3: &str = "c1017280081485214eafffaaaa863cf0430c10c302afc0aaa0063c00430010c002a000a80006000040001d954926e082b04a\
    0941b820ac1282503157f974000ca864330e222222eca8655304224230eca877530077004200ef008601df010d";

fn named(name: &str, bytes: Vec<u8>) -> (String, Vec<u8>) {
    (name.to_owned(), bytes)
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Returns what each recorded client sent, datagram by datagram.
fn flights() -> Vec<(String, Vec<Vec<u8>>)> {
    let names = ["aiortc", "chromium-156", "firefox-153", "firefox-153-restart"];
    let flight = |name: &str| {
        let text = fs::read_to_string(repository().join(format!("tests/vectors/dtls/{name}.hex"))).unwrap();
        let received = text.lines().filter_map(|line| line.strip_prefix("RX "));
        (name.to_owned(), received.map(hex).collect::<Vec<_>>())
    };
    names.into_iter().map(flight).collect()
}

fn prefixed(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for datagram in datagrams.iter().take(3) {
        bytes.extend(u16::try_from(datagram.len()).unwrap().to_be_bytes());
        bytes.extend(datagram);
    }
    bytes
}

fn last(datagrams: &[Vec<u8>]) -> Vec<u8> {
    datagrams.last().unwrap().clone()
}

fn offers() -> Seeds {
    let folder = repository().join("controlplane/core/tests/vectors/sdp");
    let names = [
        "chromium-a-vp8-opus",
        "chromium-b-simulcast-vp8",
        "chromium-d-recvonly",
        "chromium-e-datachannel",
        "firefox-a-all-codecs",
        "firefox-d-recvonly",
    ];
    let offer = |name: &str| (name.to_owned(), fs::read(folder.join(format!("{name}.offer.sdp"))).unwrap());
    names.into_iter().map(offer).collect()
}

fn answers() -> Seeds {
    let folder = repository().join("controlplane/core/tests/vectors/answers");
    let answer = |name: &str| (name.to_owned(), fs::read(folder.join(format!("{name}.answer.sdp"))).unwrap());
    ["chromium-1", "chromium-2", "firefox-2"].into_iter().map(answer).collect()
}

fn rtp() -> Seeds {
    let packet = |profile: Option<u16>, payload: Vec<u8>| {
        let mut packet = rtp::packet::Packet::default();
        packet.header.version = 2;
        packet.header.payload_type = 96;
        packet.header.sequence_number = 0x1234;
        packet.header.ssrc = 0xdead_beef;
        packet.header.marker = true;
        if let Some(profile) = profile {
            packet.header.extension = true;
            packet.header.extension_profile = profile;
            packet.header.set_extension(4, vec![b'0'].into()).unwrap();
            packet.header.set_extension(2, vec![1, 2, 3].into()).unwrap();
        }
        packet.payload = payload.into();
        packet.marshal().unwrap().to_vec()
    };
    let mut padded = packet(None, vec![7; 20]);
    padded[0] |= 0x20;
    padded.extend([0, 0, 0, 4]);
    vec![
        named("plain", packet(None, vec![1; 40])),
        named("one-byte-extensions", packet(Some(0xbede), vec![2; 40])),
        named("two-byte-extensions", packet(Some(0x1000), vec![3; 40])),
        named("padding", padded),
    ]
}

fn stun() -> Vec<u8> {
    let check = nominating_check("ECq83vAAMAAQnerb7v:abcd", "another password than the body has").unwrap();
    encode(check.with_transaction_id([7; 12].into())).unwrap()
}

fn rtcp() -> Seeds {
    let compound =
        |packets: Vec<Box<dyn RtcpPacket + Send + Sync>>| ::rtcp::packet::marshal(&packets).unwrap().to_vec();
    let block = ReceptionReport { ssrc: 5, fraction_lost: 3, total_lost: 9, ..ReceptionReport::default() };
    let item = SourceDescriptionItem { sdes_type: SdesType::SdesCname, text: "stream".into() };
    let chunk = SourceDescriptionChunk { source: 1, items: vec![item] };
    let sender = SenderReport {
        ssrc: 1,
        ntp_time: 1 << 40,
        rtp_time: 77,
        reports: vec![block.clone()],
        ..SenderReport::default()
    };
    let nacks = nack_pairs_from_sequence_numbers(&[10, 11, 20, 65_535, 3]);
    let fir = FullIntraRequest { sender_ssrc: 1, media_ssrc: 0, fir: vec![FirEntry { ssrc: 5, sequence_number: 2 }] };
    let remb = ReceiverEstimatedMaximumBitrate { sender_ssrc: 1, bitrate: 2_000_000.0, ssrcs: vec![5, 6] };
    vec![
        named("sender", compound(vec![Box::new(sender), Box::new(SourceDescription { chunks: vec![chunk] })])),
        named(
            "receiver",
            compound(vec![Box::new(ReceiverReport { ssrc: 1, reports: vec![block], ..ReceiverReport::default() })]),
        ),
        named("nack", compound(vec![Box::new(TransportLayerNack { sender_ssrc: 1, media_ssrc: 5, nacks })])),
        named(
            "pli-fir",
            compound(vec![Box::new(PictureLossIndication { sender_ssrc: 1, media_ssrc: 5 }), Box::new(fir)]),
        ),
        named("remb", compound(vec![Box::new(remb)])),
        named("bye", compound(vec![Box::new(Goodbye { sources: vec![5], reason: "".into() })])),
        named("twcc", hex("8fcd00060000000100000005 0010 0008 000001 02 2005 d000 0102 0304 0500 0000")),
        named("xr", hex("80cf00040000000104000002 0000000100000002")),
    ]
}

fn payloads() -> Seeds {
    vec![
        named("vp8-key", hex("90809234 00 9d012a 80026801 0011223344")),
        named("vp8-layers", hex("90f0 8123 45 a7 01 0203040506")),
        named("vp9-flexible", hex("fa 8123 21 07 0c 18 0203040506")),
        named("vp9-structure", hex("ae 8123 0a 1b 3801 4000 b4 02 0203")),
        named("h264-stap-a", hex("78 0004 67420001 0002 68ce 0003 658800")),
        named("h264-fu-a", hex("7c85 888000112233")),
        named("av1-sequence", hex("18 0a0b00000024cf7f0d bfff3008 32")),
    ]
}

fn descriptors() -> Seeds {
    let seeds = [("structure", L3T3), ("mask", "86017340fc"), ("short", "860173"), ("one-template", "c00001c0")];
    seeds.into_iter().map(|(name, text)| named(name, hex(text))).collect()
}

fn ipc() -> Seeds {
    let identity = |instance| Identity { software: "seed".to_owned(), instance, capabilities: vec!["some".to_owned()] };
    let configuration = Configuration { node_secret: NodeSecret::new([3; 32]), media_port: 7000, listen: Vec::new() };
    let dataplane: Dataplane<u32> = Dataplane::new(identity(1), 1);
    let mut controller: Controller<u32> = Controller::new(identity(2), 1, configuration);
    controller.handle_connected();
    controller.handle_bytes(&dataplane.greeting(), []).unwrap();
    controller.supply_descriptors(Vec::new());
    let mut frames = Vec::new();
    while let Some(transmit) = controller.poll_transmit() {
        frames.extend(transmit.bytes);
    }
    // Without its size in front, the parser of single frames reads the same.
    vec![
        named("greeting", dataplane.greeting()),
        named("hello", dataplane.greeting()[4..].to_vec()),
        named("controller", frames),
    ]
}

fn batch() -> Vec<u8> {
    let mut buffer = vec![0; 1024];
    let mut writer = BatchWriter::new(&mut buffer);
    let kinds = [PacketKind::Punt(TransportId::new(0, 1, 2)), PacketKind::Tap(TrackId::new(0, 3, 4))];
    for (kind, bytes) in kinds.into_iter().zip([&[22, 1, 2][..], &[128; 40]]) {
        writer.write(Packet { kind, arrival: Instant::from_millis(5), bytes }).unwrap();
    }
    writer.as_bytes().to_vec()
}
