//! Repeats, and packets that do not fit the common form.

use super::*;
use crate::wire::rtp::RtpView;

const ROUND_TRIP: Duration = Duration::from_millis(50);

fn low(outgoing: &Outgoing) -> u16 {
    u16::try_from(outgoing.index & 0xffff).unwrap()
}

#[test]
fn a_repeat_carries_the_same_payload_behind_its_original_number() {
    let (mut stream, mut publisher) = (video(), Publisher { ids: Ids::Seven, ..Publisher::new(7) });
    let packets = [publisher.key(2), publisher.delta(2)].concat();
    let sent = offer(&mut stream, &packets);
    let repeat = stream.repeat(publisher.now, low(&sent[2]), ROUND_TRIP).unwrap();
    assert_eq!((repeat.source, repeat.sequence), (Ssrc(7), ExtendedSequence(packets[2].sequence)));
    let before = stream.rtx_index();
    let outgoing = stream.plan_repeat(&repeat, &packets[2].accepted()).unwrap();
    assert_eq!((outgoing.index, stream.rtx_index()), (before + 1, before + 1));
    let original = write(&stream, &sent[2], &packets[2]);
    let repeated = write(&stream, &outgoing, &packets[2]);
    let (original, repeated) = (RtpView::parse(&original).unwrap(), RtpView::parse(&repeated).unwrap());
    assert_eq!(repeated.header().ssrc, Ssrc(0xe6e6));
    assert_eq!(repeated.payload_type(), PayloadType(121));
    assert_eq!(repeated.timestamp(), original.timestamp());
    assert_eq!(repeated.payload()[..2], low(&sent[2]).to_be_bytes());
    assert_eq!(&repeated.payload()[2..], original.payload());
}

#[test]
fn a_repeat_after_a_switch_still_says_what_was_sent_before_it() {
    let (mut stream, mut first) = (video(), Publisher::new(7));
    let packets = first.key(2);
    let sent = offer(&mut stream, &packets);
    let mut second = Publisher { now: first.now, ..Publisher::new(8) };
    let later = second.key(2);
    let sent_later = offer(&mut stream, &later);
    let repeat = stream.repeat(first.now, low(&sent_later[1]), ROUND_TRIP).unwrap();
    let outgoing = stream.plan_repeat(&repeat, &later[1].accepted()).unwrap();
    assert_eq!((outgoing.timestamp, outgoing.picture), (sent_later[1].timestamp, sent_later[1].picture));
    let repeat = stream.repeat(first.now, low(&sent[1]), ROUND_TRIP).unwrap();
    let outgoing = stream.plan_repeat(&repeat, &packets[1].accepted()).unwrap();
    assert_eq!((outgoing.timestamp, outgoing.picture), (sent[1].timestamp, sent[1].picture));
    let other = second.key(1);
    assert_eq!(stream.plan_repeat(&repeat, &other[0].accepted()), Err(Discard::RepeatGone));
}

#[test]
fn a_packet_that_came_before_the_start_of_its_key_frame_is_had_by_asking() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    let key = publisher.key(3);
    let sent = offer(&mut stream, [&key[1], &key[0], &key[2]].map(Clone::clone));
    assert_eq!(steps(&sent), [0, 2]);
    let missing = low(&sent[0]).wrapping_add(1);
    let repeat = stream.repeat(publisher.now, missing, ROUND_TRIP).unwrap();
    assert_eq!(repeat.sequence, ExtendedSequence(key[1].sequence));
    let outgoing = stream.plan_repeat(&repeat, &key[1].accepted()).unwrap();
    assert_eq!((outgoing.original, outgoing.picture), (Some(missing), sent[0].picture));
    assert_eq!(stream.plan_packet(&key[1].accepted()), Err(Discard::EgressTooLate), "not once more");
    let again = stream.repeat(publisher.now, missing, ROUND_TRIP).unwrap();
    assert_eq!(stream.plan_repeat(&again, &key[1].accepted()).unwrap().index, outgoing.index + 1);
    assert_eq!(stream.repeat(publisher.now, missing.wrapping_add(2), ROUND_TRIP), Err(Discard::RepeatGone));
}

#[test]
fn repeats_are_limited_per_round_trip_and_in_all() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    let sent = offer(&mut stream, publisher.key(1));
    let mut now = publisher.now;
    assert!(stream.repeat(now, low(&sent[0]), ROUND_TRIP).is_ok());
    now = now + ROUND_TRIP - Duration::from_millis(1);
    assert_eq!(stream.repeat(now, low(&sent[0]), ROUND_TRIP), Err(Discard::RepeatLimited));
    for _ in 1..limits::REPEATS_PER_PACKET_MAX {
        now = now + ROUND_TRIP;
        assert!(stream.repeat(now, low(&sent[0]), ROUND_TRIP).is_ok());
    }
    now = now + ROUND_TRIP;
    assert_eq!(stream.repeat(now, low(&sent[0]), ROUND_TRIP), Err(Discard::RepeatLimited));
}

#[test]
fn what_was_not_sent_or_is_too_old_cannot_be_repeated() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    assert_eq!(stream.repeat(publisher.now, 5, ROUND_TRIP), Err(Discard::RepeatGone), "nothing was sent");
    let first = offer(&mut stream, publisher.key(1))[0];
    assert_eq!(stream.repeat(publisher.now, low(&first).wrapping_add(1), ROUND_TRIP), Err(Discard::RepeatGone));
    for _ in 0..limits::REPEATABLE_PACKETS {
        offer(&mut stream, publisher.delta(1));
    }
    assert_eq!(stream.repeat(publisher.now, low(&first), ROUND_TRIP), Err(Discard::RepeatGone));
    assert!(stream.repeat(publisher.now, low(&first).wrapping_add(1), ROUND_TRIP).is_ok());
    let mut sources = Publisher { now: publisher.now, ..Publisher::new(100) };
    for ssrc in 0..u32::try_from(limits::REPEATABLE_ERAS).unwrap() {
        sources = Publisher { now: sources.now + Duration::from_secs(1), ..Publisher::new(100 + ssrc) };
        offer(&mut stream, sources.key(1));
    }
    assert_eq!(
        stream.repeat(publisher.now, low(&first).wrapping_add(2), ROUND_TRIP),
        Err(Discard::RepeatGone),
        "its source is forgotten"
    );
}

#[test]
fn a_large_packet_sheds_optional_extensions_dearest_last() {
    let mut plan = plan(MediaKind::Video);
    plan.extensions.playout_delay = 5;
    plan.playout_delay = Some(sluice_protocol::plan::PlayoutDelay { min: 0, max: 10 });
    let mut publisher = Publisher::new(7);
    // The header is 12 + 4 + 2 (mid) + 4 (abs-send-time) + 4 (playout delay), padded to 28 bytes; the seal adds 16.
    for (size, expected) in [(100, 3), (1206, 3), (1207, 2), (1210, 2), (1211, 1), (1214, 1), (1215, 0), (1300, 0)] {
        let mut stream = EgressStream::new(&plan, true, 1);
        let mut packets = publisher.key(1);
        packets[0].payload.resize(size, 0);
        let sent = offer(&mut stream, &packets);
        let bytes = write(&stream, &sent[0], &packets[0]);
        assert_eq!(bytes.len(), sent[0].size_bytes);
        let view = RtpView::parse(&bytes).unwrap();
        assert_eq!(view.extensions().count(), expected, "{size}");
        assert_eq!(view.extension(5), (expected == 3).then_some(&[0, 0, 10][..]), "{size}");
    }
}

#[test]
fn a_payload_that_ends_inside_its_descriptor_is_refused() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    let mut packets = publisher.key(1);
    packets[0].payload.truncate(4);
    assert_eq!(stream.plan_packet(&packets[0].accepted()), Err(Discard::DescriptorMalformed));
}
