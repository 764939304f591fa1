//! Round trips, and the `rtcp` crate as the independent oracle.

use proptest::prelude::*;
use rtcp::transport_feedbacks::transport_layer_cc::{PacketStatusChunk, SymbolTypeTcc, TransportLayerCc};
use webrtc_util::marshal::Unmarshal;

use super::*;
use crate::wire::rtcp::{RtcpError, RtcpPacket, RtcpWriter, packets};

fn fields(base_sequence: u16) -> FeedbackFields {
    FeedbackFields { sender: Ssrc(1), media: Ssrc(2), base_sequence, feedback_count: 7 }
}

/// Writes all of `arrivals`, in as many packets as that takes, and reads them back.
fn round_trip(base_sequence: u16, arrivals: &[Option<i64>], buffer_size: usize) -> Vec<(u16, Status)> {
    let mut statuses = Vec::new();
    let mut rest = arrivals;
    while rest.iter().any(Option::is_some) {
        let mut buffer = vec![0; buffer_size];
        let mut writer = RtcpWriter::new(&mut buffer);
        let at = u16::try_from(arrivals.len() - rest.len()).unwrap();
        let covered = write(&mut writer, &fields(base_sequence.wrapping_add(at)), rest).unwrap();
        let size = writer.size_bytes();
        let mut packets = packets(&buffer[..size]);
        let Some(Ok(RtcpPacket::Twcc(feedback))) = packets.next() else { panic!("not feedback") };
        assert!(packets.next().is_none());
        assert_eq!(usize::from(feedback.status_count), covered);
        statuses.extend(feedback.statuses());
        rest = &rest[covered..];
    }
    statuses
}

fn arrivals() -> impl Strategy<Value = Vec<Option<i64>>> {
    let step = prop_oneof![4 => -20i64..256, 1 => -30_000i64..30_000, 1 => 30_000i64..90_000];
    let group = (prop::option::weighted(0.7, step), 1usize..40);
    (0i64..1 << 31, prop::collection::vec(group, 1..30)).prop_map(|(start, groups)| {
        let mut at = start;
        let mut arrivals = vec![Some(at)];
        for (step, repeat) in groups {
            for _ in 0..repeat {
                arrivals.push(step.map(|step| {
                    at = (at + step).max(0);
                    at
                }));
            }
        }
        arrivals
    })
}

/// The low 32 bits of the clock survive: 24 bits of 64 ms.
fn on_the_wire(arrival: Option<i64>) -> Option<i64> {
    arrival.map(|ticks| ticks & 0xffff_ffff)
}

proptest! {
    #[test]
    fn every_arrival_comes_back_however_small_the_buffer(
        base: u16, arrivals in arrivals(), size in 200usize..1400,
    ) {
        // A gap longer than one packet of this size covers has no time to refer to.
        let read = round_trip(base, &arrivals, size);
        for (index, (sequence, status)) in read.iter().enumerate() {
            prop_assert_eq!(*sequence, base.wrapping_add(u16::try_from(index).unwrap()));
            let time = match status {
                Status::Lost => None,
                Status::Received { arrival_ticks } => Some(arrival_ticks & 0xffff_ffff),
                Status::ReceivedUntimed => panic!("never written"),
            };
            prop_assert_eq!(time, on_the_wire(arrivals[index]), "index {}", index);
        }
        prop_assert!(arrivals[read.len()..].iter().all(Option::is_none));
    }

    /// The oracle reads the same symbols and deltas.
    #[test]
    fn the_rtcp_crate_reads_what_is_written(base: u16, arrivals in arrivals()) {
        let mut buffer = vec![0; 4096];
        let mut writer = RtcpWriter::new(&mut buffer);
        let covered = write(&mut writer, &fields(base), &arrivals).unwrap();
        let size = writer.size_bytes();
        let theirs = TransportLayerCc::unmarshal(&mut &buffer[..size]).unwrap();
        prop_assert_eq!(theirs.base_sequence_number, base);
        prop_assert_eq!(usize::from(theirs.packet_status_count), covered);
        prop_assert_eq!((theirs.sender_ssrc, theirs.media_ssrc, theirs.fb_pkt_count), (1, 2, 7));
        let mut symbols = Vec::new();
        for chunk in &theirs.packet_chunks {
            match chunk {
                PacketStatusChunk::RunLengthChunk(run) => {
                    symbols.extend(vec![run.packet_status_symbol; usize::from(run.run_length)]);
                }
                PacketStatusChunk::StatusVectorChunk(vector) => symbols.extend(&vector.symbol_list),
            }
        }
        let mut deltas = theirs.recv_deltas.iter();
        let mut at = i64::from(theirs.reference_time) * REFERENCE_TICKS;
        for (index, symbol) in symbols.into_iter().take(covered).enumerate() {
            let time = (symbol != SymbolTypeTcc::PacketNotReceived).then(|| {
                at += deltas.next().unwrap().delta / 250;
                at & 0xffff_ffff
            });
            prop_assert_eq!(time, on_the_wire(arrivals[index]), "index {}", index);
        }
    }
}

#[test]
fn a_long_clean_stretch_takes_one_chunk() {
    let arrivals: Vec<Option<i64>> = (0..500).map(|n| Some(1000 + n * 4)).collect();
    let mut buffer = [0; 1200];
    let mut writer = RtcpWriter::new(&mut buffer);
    assert_eq!(write(&mut writer, &fields(65_300), &arrivals), Ok(500));
    // Header, fixed part, one chunk for the first large step and one run.
    assert!(writer.size_bytes() <= 20 + 4 + 2 + 500 + 3, "{}", writer.size_bytes());
}

#[test]
fn what_cannot_be_written_is_refused_without_a_trace() {
    let mut buffer = [0; 27];
    let mut writer = RtcpWriter::new(&mut buffer);
    assert_eq!(write(&mut writer, &fields(0), &[]), Err(RtcpError::Content));
    assert_eq!(write(&mut writer, &fields(0), &[None, None]), Err(RtcpError::Content));
    let mut tight = [0; 23];
    assert_eq!(write(&mut RtcpWriter::new(&mut tight), &fields(0), &[Some(5)]), Err(RtcpError::Buffer));
    assert_eq!(tight, [0; 23]);
    assert_eq!(write(&mut writer, &fields(0), &[Some(5)]), Ok(1));
    assert_eq!(writer.size_bytes(), 24);
}

#[test]
fn claims_beyond_the_packet_are_refused() {
    let body = |count: u16, chunks: &[u16], deltas: &[u8]| {
        let mut body = vec![0, 0, 0, 1, 0, 0, 0, 2, 0, 9];
        body.extend(count.to_be_bytes());
        body.extend([0, 0, 1, 0]);
        body.extend(chunks.iter().flat_map(|chunk| chunk.to_be_bytes()));
        body.extend(deltas);
        body
    };
    let cases = [
        (body(0, &[], &[]), false),
        (body(1, &[], &[]), false),
        (body(1, &[0x2001], &[]), false),
        (body(1, &[0x2001], &[4]), true),
        (body(2, &[0x2001], &[4]), false),
        (body(2, &[0x2001, 0, 0, 0x0001], &[4]), true),
        (body(PARSED_STATUSES_MAX, &[0x1fff, 1], &[]), true),
        (body(PARSED_STATUSES_MAX + 1, &[0x1fff, 0x1fff], &[]), false),
    ];
    for (body, good) in cases {
        let parsed = TransportFeedback::parse(&body);
        assert_eq!(parsed.is_some(), good, "{body:02x?}");
        if let Some(feedback) = parsed {
            assert_eq!(feedback.statuses().count(), usize::from(feedback.status_count));
        }
    }
}
