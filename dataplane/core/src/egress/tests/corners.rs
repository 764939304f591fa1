//! Corner cases by name.

use super::*;
use crate::wire::rtp::RtpView;

#[test]
fn a_stream_starts_at_a_key_frame_and_numbers_from_below_two_to_the_fifteenth() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    let early = publisher.delta(2);
    assert_eq!(stream.plan_packet(&early[0].accepted()), Err(Discard::AwaitingKeyFrame));
    assert!(stream.wants_key_frame());
    let key = publisher.key(3);
    assert_eq!(stream.plan_packet(&key[1].accepted()), Err(Discard::AwaitingKeyFrame), "not its start");
    let before = stream.index();
    assert!(before < 1 << 15);
    let sent = offer(&mut stream, &key);
    assert_eq!(sent[0].index, before + 1);
    assert_eq!(steps(&sent), [0, 1, 2]);
    assert!(!stream.wants_key_frame());
    assert_eq!(stream.index(), before + 3);
    assert_eq!(stream.current(), Some((Ssrc(7), StreamIndex(0))));
}

#[test]
fn loss_upstream_stays_a_gap_that_the_late_packet_fills() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    let packets: Vec<_> = [publisher.key(2), publisher.delta(3), publisher.delta(1)].concat();
    let order = [0, 1, 2, 4, 5, 3];
    let sent = offer(&mut stream, order.iter().map(|place| &packets[*place]));
    assert_eq!(steps(&sent), [0, 1, 2, 4, 5, 3]);
    assert_eq!(sent[5].timestamp, sent[2].timestamp, "the late packet has its own frame's time");
    assert_eq!(ids(&sent), [0, 0, 1, 1, 2, 1]);
}

#[test]
fn no_packet_is_sent_twice() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    let packets: Vec<_> = [publisher.key(2), publisher.delta(3)].concat();
    assert_eq!(offer(&mut stream, &packets).len(), 5);
    for packet in &packets {
        assert_eq!(stream.plan_packet(&packet.accepted()), Err(Discard::EgressTooLate));
    }
}

#[test]
fn a_written_packet_carries_what_the_subscriber_negotiated() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    let packets = publisher.key(2);
    let outgoing = stream.plan_packet(&packets[0].accepted()).unwrap();
    let bytes = write(&stream, &outgoing, &packets[0]);
    assert_eq!(bytes.len(), outgoing.size_bytes);
    let view = RtpView::parse(&bytes).unwrap();
    assert_eq!(view.payload_type(), PayloadType(120));
    assert_eq!(view.header().ssrc, Ssrc(0xe6e5));
    assert_eq!(u64::from(view.sequence()), outgoing.index);
    assert_eq!(view.timestamp(), outgoing.timestamp);
    assert_eq!(view.extension(4), Some(&b"1"[..]));
    assert_eq!(view.extension(3), Some(&AbsSendTime::from_nanos(1 << 40).to_bytes()[..]));
    assert_eq!(view.extensions().count(), 2);
    let payload = view.payload();
    let id = (outgoing.picture.picture_id.unwrap() | 0x8000).to_be_bytes();
    assert_eq!(payload[..5], [0x90, 0xe0, id[0], id[1], outgoing.picture.tl0picidx.unwrap()]);
    assert_eq!(payload[5..], packets[0].payload[5..]);
}

#[test]
fn sound_starts_at_once_and_carries_its_level() {
    let (mut stream, mut publisher) = (audio(), Publisher::new(9));
    let packet = publisher.opus();
    let outgoing = stream.plan_packet(&packet.accepted()).unwrap();
    let bytes = write(&stream, &outgoing, &packet);
    let view = RtpView::parse(&bytes).unwrap();
    assert_eq!(view.payload_type(), PayloadType(109));
    assert_eq!(view.extension(1), Some(&[0x85][..]));
    assert_eq!(view.payload(), &packet.payload[..]);
    let next = publisher.opus();
    let following = stream.plan_packet(&next.accepted()).unwrap();
    assert_eq!(following.index, outgoing.index + 1);
    assert_eq!(following.timestamp.wrapping_sub(outgoing.timestamp), 960);
    assert_eq!(following.size_bytes, outgoing.size_bytes, "equal payloads, equal sizes");
    assert!(!stream.wants_key_frame());
}

#[test]
fn a_restart_goes_on_two_numbers_later_with_the_same_offsets_and_asks_for_a_key_frame() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    let before = offer(&mut stream, [publisher.key(2), publisher.delta(2)].concat());
    let last = before[3];
    let (index, anchor) = (stream.index(), stream.state());
    publisher.delta(3);
    let mut successor = EgressStream::new(&plan(MediaKind::Video), true, 99);
    successor.restore(publisher.now, index, &anchor);
    let frame = publisher.delta(2);
    assert_eq!(successor.plan_packet(&frame[1].accepted()), Err(Discard::AwaitingKeyFrame), "a torn frame");
    let after = offer(&mut successor, &frame);
    assert_eq!(after[0].index, last.index + 2);
    assert_eq!(after[0].timestamp.wrapping_sub(last.timestamp), 2 * 2970);
    assert_eq!(ids(&[last, after[0]]), [0, 2], "the picture of the outage is seen to miss");
    assert_eq!(after[0].picture.tl0picidx.unwrap().wrapping_sub(last.picture.tl0picidx.unwrap()), 2);
    assert!(successor.wants_key_frame());
    offer(&mut successor, publisher.key(1));
    assert!(!successor.wants_key_frame());
}
