//! The `rtcp` crate as the independent oracle, both ways.

use proptest::prelude::*;
use rtcp::goodbye::Goodbye as TheirBye;
use rtcp::packet::Packet;
use rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest as TheirFir};
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtcp::receiver_report::ReceiverReport as TheirRr;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport as TheirSr;
use rtcp::source_description::{SdesType, SourceDescription as TheirSdes};
use rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use sluice_protocol::media::{Bitrate, Ssrc};
use sluice_protocol::time::NtpTime;

use super::report::ReportBlock;
use super::*;

fn written(write: impl FnOnce(&mut RtcpWriter<'_>)) -> Vec<u8> {
    let mut buffer = vec![0xaa; 2048];
    let mut writer = RtcpWriter::new(&mut buffer);
    write(&mut writer);
    let size = writer.size_bytes();
    assert_eq!(size + writer.remaining_bytes(), 2048);
    buffer.truncate(size);
    buffer
}

fn only(bytes: &[u8]) -> RtcpPacket<'_> {
    let mut packets = packets(bytes);
    let packet = packets.next().unwrap().unwrap();
    assert!(packets.next().is_none());
    packet
}

/// Reads one packet with the oracle.
fn theirs<T: 'static + Clone>(bytes: &[u8]) -> T {
    let packets = rtcp::packet::unmarshal(&mut &bytes[..]).unwrap();
    assert_eq!(packets.len(), 1);
    packets[0].as_any().downcast_ref::<T>().unwrap().clone()
}

fn marshalled(packet: &(dyn Packet + Send + Sync)) -> Vec<u8> {
    packet.marshal().unwrap().to_vec()
}

fn blocks() -> impl Strategy<Value = Vec<ReportBlock>> {
    let block = (any::<u32>(), any::<u8>(), 0i32..1 << 23, any::<[u32; 4]>()).prop_map(
        |(ssrc, fraction_lost, cumulative_lost, [highest_sequence, jitter, last_sr, delay_since_last_sr])| {
            ReportBlock {
                ssrc: Ssrc(ssrc),
                fraction_lost,
                cumulative_lost,
                highest_sequence,
                jitter,
                last_sr,
                delay_since_last_sr,
            }
        },
    );
    prop::collection::vec(block, 0..=report::BLOCKS_MAX)
}

fn their_blocks(blocks: &[ReportBlock]) -> Vec<ReceptionReport> {
    let block = |block: &ReportBlock| ReceptionReport {
        ssrc: block.ssrc.0,
        fraction_lost: block.fraction_lost,
        total_lost: u32::try_from(block.cumulative_lost).unwrap(),
        last_sequence_number: block.highest_sequence,
        jitter: block.jitter,
        last_sender_report: block.last_sr,
        delay: block.delay_since_last_sr,
    };
    blocks.iter().map(block).collect()
}

proptest! {
    #[test]
    fn reports_are_those_of_the_rtcp_crate(ssrc: u32, ntp: u64, rtp_timestamp: u32, packets: u32, payload_bytes: u32, blocks in blocks()) {
        let info = sr::SenderInfo { ssrc: Ssrc(ssrc), ntp: NtpTime(ntp), rtp_timestamp, packets, payload_bytes };
        let bytes = written(|writer| sr::write(writer, &info, &blocks).unwrap());
        let RtcpPacket::Sr(view) = only(&bytes) else { panic!("not a sender report") };
        prop_assert_eq!(view.info, info);
        prop_assert_eq!(view.blocks().collect::<Vec<_>>(), &blocks[..]);
        let oracle = TheirSr {
            ssrc, ntp_time: ntp, rtp_time: rtp_timestamp, packet_count: packets, octet_count: payload_bytes,
            reports: their_blocks(&blocks), ..TheirSr::default()
        };
        prop_assert_eq!(&marshalled(&oracle), &bytes);

        let bytes = written(|writer| rr::write(writer, Ssrc(ssrc), &blocks).unwrap());
        let RtcpPacket::Rr(view) = only(&bytes) else { panic!("not a receiver report") };
        prop_assert_eq!(view.blocks().collect::<Vec<_>>(), &blocks[..]);
        let oracle = TheirRr { ssrc, reports: their_blocks(&blocks), ..TheirRr::default() };
        prop_assert_eq!(&marshalled(&oracle), &bytes);
    }

    #[test]
    fn descriptions_and_goodbyes_are_those_of_the_rtcp_crate(ssrcs in prop::collection::vec(any::<u32>(), 1..=31), cname in "[a-zA-Z0-9@]{1,40}") {
        let ours: Vec<Ssrc> = ssrcs.iter().map(|ssrc| Ssrc(*ssrc)).collect();
        let bytes = written(|writer| sdes::write(writer, &ours, cname.as_bytes()).unwrap());
        prop_assert!(matches!(only(&bytes), RtcpPacket::Unread));
        let oracle: TheirSdes = theirs(&bytes);
        prop_assert_eq!(oracle.chunks.len(), ssrcs.len());
        for (chunk, ssrc) in oracle.chunks.iter().zip(&ssrcs) {
            prop_assert_eq!(chunk.source, *ssrc);
            prop_assert_eq!(chunk.items[0].sdes_type, SdesType::SdesCname);
            prop_assert_eq!(&chunk.items[0].text[..], cname.as_bytes());
        }

        let bytes = written(|writer| bye::write(writer, &ours).unwrap());
        let RtcpPacket::Bye(view) = only(&bytes) else { panic!("not a goodbye") };
        prop_assert_eq!(view.ssrcs().collect::<Vec<_>>(), ours);
        prop_assert_eq!(theirs::<TheirBye>(&bytes).sources, &ssrcs[..]);
        let with_reason = marshalled(&TheirBye { sources: ssrcs.clone(), reason: cname.into() });
        let RtcpPacket::Bye(view) = only(&with_reason) else { panic!("not a goodbye") };
        prop_assert_eq!(view.ssrcs().map(|ssrc| ssrc.0).collect::<Vec<_>>(), ssrcs);
    }

    #[test]
    fn nacks_name_the_same_packets_to_the_rtcp_crate(start: u16, steps in prop::collection::vec(1u16..40, 1..120)) {
        let mut at = start;
        let sequences: Vec<u16> = steps.iter().map(|step| { at = at.wrapping_add(*step); at }).collect();
        let bytes = written(|writer| assert_eq!(nack::write(writer, Ssrc(1), Ssrc(2), &sequences), Ok(sequences.len())));
        let RtcpPacket::Nack(view) = only(&bytes) else { panic!("not a NACK") };
        prop_assert_eq!(view.media, Ssrc(2));
        prop_assert_eq!(view.sequences().collect::<Vec<_>>(), &sequences[..]);
        let oracle: TransportLayerNack = theirs(&bytes);
        let named: Vec<u16> = oracle.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
        prop_assert_eq!(named, sequences);
        prop_assert_eq!(&marshalled(&oracle), &bytes);
    }

    #[test]
    fn key_frame_requests_and_bounds_are_those_of_the_rtcp_crate(
        sender: u32, media: u32, bitrate in 1u64..1 << 40,
        entries in prop::collection::vec((any::<u32>(), any::<u8>()), 1..8),
    ) {
        let bytes = written(|writer| pli::write(writer, Ssrc(sender), Ssrc(media)).unwrap());
        let RtcpPacket::Pli(view) = only(&bytes) else { panic!("not a PLI") };
        prop_assert_eq!((view.sender.0, view.media.0), (sender, media));
        prop_assert_eq!(marshalled(&PictureLossIndication { sender_ssrc: sender, media_ssrc: media }), bytes);

        let ours: Vec<fir::Entry> = entries.iter().map(|(ssrc, sequence)| fir::Entry { ssrc: Ssrc(*ssrc), sequence: *sequence }).collect();
        let fir = entries.iter().map(|(ssrc, sequence)| FirEntry { ssrc: *ssrc, sequence_number: *sequence }).collect();
        let bytes = marshalled(&TheirFir { sender_ssrc: sender, media_ssrc: 0, fir });
        let RtcpPacket::Fir(view) = only(&bytes) else { panic!("not a FIR") };
        prop_assert_eq!((view.sender.0, view.entries().collect::<Vec<_>>()), (sender, ours));

        let ssrcs: Vec<Ssrc> = entries.iter().map(|(ssrc, _)| Ssrc(*ssrc)).collect();
        let bytes = written(|writer| remb::write(writer, Ssrc(sender), Bitrate(bitrate), &ssrcs).unwrap());
        prop_assert!(matches!(only(&bytes), RtcpPacket::Unread));
        let oracle: ReceiverEstimatedMaximumBitrate = theirs(&bytes);
        prop_assert_eq!(oracle.sender_ssrc, sender);
        prop_assert_eq!(oracle.ssrcs, ssrcs.iter().map(|ssrc| ssrc.0).collect::<Vec<_>>());
        // Ours has 18 significant bits, which fit the oracle's float of 24.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number within 40 bits")]
        let told = f64::from(oracle.bitrate) as u64;
        prop_assert!(told <= bitrate && bitrate - told <= bitrate >> 17, "{} {}", told, bitrate);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), packet_type in 198u8..208, format in 0u8..64) {
        crate::fuzzing::fuzz_rtcp(&bytes);
        let words = bytes.len() / 4;
        let mut framed = vec![0x80 | format, packet_type, 0, u8::try_from(words).unwrap()];
        framed.extend(&bytes[..words * 4]);
        crate::fuzzing::fuzz_rtcp(&framed);
        framed.extend(framed.clone());
        crate::fuzzing::fuzz_rtcp(&framed);
    }
}

#[test]
fn negative_and_excessive_loss_counts_are_kept_in_24_bits() {
    let block = |cumulative_lost| ReportBlock {
        ssrc: Ssrc(1),
        fraction_lost: 0,
        cumulative_lost,
        highest_sequence: 0,
        jitter: 0,
        last_sr: 0,
        delay_since_last_sr: 0,
    };
    for (given, read) in [(-1, -1), (-0x80_0001, -0x80_0000), (0x80_0000, 0x7f_ffff)] {
        let bytes = written(|writer| rr::write(writer, Ssrc(1), &[block(given)]).unwrap());
        let RtcpPacket::Rr(view) = only(&bytes) else { panic!("not a receiver report") };
        assert_eq!(view.blocks().next().unwrap().cumulative_lost, read);
    }
}

#[test]
fn extended_reports_are_passed_over() {
    // RFC 3611 section 4.4, in front of a PLI.
    let mut bytes = vec![0x80, 207, 0, 4, 0, 0, 0, 1, 4, 0, 0, 2, 1, 2, 3, 4, 5, 6, 7, 8];
    bytes.extend(written(|writer| pli::write(writer, Ssrc(1), Ssrc(2)).unwrap()));
    let read: Vec<_> = packets(&bytes).map(Result::unwrap).collect();
    assert!(matches!(read[..], [RtcpPacket::Unread, RtcpPacket::Pli(_)]));
}

#[test]
fn compounds_and_packets_of_reduced_size_are_read() {
    let bytes = written(|writer| {
        rr::write(writer, Ssrc(1), &[]).unwrap();
        sdes::write(writer, &[Ssrc(1)], b"x").unwrap();
        pli::write(writer, Ssrc(1), Ssrc(2)).unwrap();
    });
    let kinds: Vec<RtcpPacket<'_>> = packets(&bytes).map(Result::unwrap).collect();
    assert!(matches!(kinds[..], [RtcpPacket::Rr(_), RtcpPacket::Unread, RtcpPacket::Pli(_)]));
    // RFC 5506: feedback alone.
    assert!(matches!(only(&bytes[bytes.len() - 12..]), RtcpPacket::Pli(_)));
}

#[test]
fn malformed_packets_are_refused_by_name_and_do_not_hide_their_neighbours() {
    let good = written(|writer| pli::write(writer, Ssrc(1), Ssrc(2)).unwrap());
    let cases: [(&[u8], RtcpError, usize); 9] = [
        (&[0x80], RtcpError::Truncated, 1),
        (&[0x80, 200, 0, 1, 0, 0, 0], RtcpError::Truncated, 1),
        (&[0x40, 200, 0, 0], RtcpError::Version, 1),
        (&[0xa0, 200, 0, 0], RtcpError::Padding, 1),
        (&[0xa0, 203, 0, 1, 0, 0, 0, 0], RtcpError::Padding, 1),
        (&[0xa0, 203, 0, 1, 0, 0, 0, 5], RtcpError::Padding, 1),
        (&[0x81, 203, 0, 0], RtcpError::Content, 2),
        (&[0x81, 201, 0, 1, 0, 0, 0, 1], RtcpError::Content, 2),
        (&[0x84, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0], RtcpError::Content, 2),
    ];
    for (bytes, error, count) in cases {
        let compound = [bytes, &good].concat();
        let read: Vec<_> = if count == 1 { packets(bytes).collect() } else { packets(&compound).collect() };
        assert_eq!(read[0].as_ref().unwrap_err(), &error, "{bytes:02x?}");
        assert_eq!(read.len(), count, "{bytes:02x?}");
    }
}

#[test]
fn what_does_not_fit_leaves_no_trace() {
    let mut buffer = [0; 20];
    let mut writer = RtcpWriter::new(&mut buffer);
    pli::write(&mut writer, Ssrc(1), Ssrc(2)).unwrap();
    assert_eq!(pli::write(&mut writer, Ssrc(1), Ssrc(2)), Err(RtcpError::Buffer));
    assert_eq!(writer.size_bytes(), 12);
    assert_eq!(rr::write(&mut writer, Ssrc(1), &[]), Ok(()));
    assert_eq!(writer.remaining_bytes(), 0);

    let mut buffer = [0; 16];
    let mut writer = RtcpWriter::new(&mut buffer);
    assert_eq!(nack::write(&mut writer, Ssrc(1), Ssrc(2), &[1, 17, 18, 100]), Ok(2));
    assert_eq!(nack::write(&mut writer, Ssrc(1), Ssrc(2), &[18]), Err(RtcpError::Buffer));
    assert_eq!(nack::write(&mut writer, Ssrc(1), Ssrc(2), &[]), Err(RtcpError::Content));
    assert_eq!(bye::write(&mut writer, &[Ssrc(1); 32]), Err(RtcpError::Content));
    assert_eq!(sdes::write(&mut writer, &[Ssrc(1)], &[b'a'; 256]), Err(RtcpError::Content));
}
