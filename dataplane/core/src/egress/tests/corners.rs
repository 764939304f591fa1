//! Corner cases by name.

use super::*;
use crate::egress::picture::PictureNumbers;
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
fn another_packet_than_was_planned_is_not_written() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    let planned = publisher.key(1).remove(0);
    let outgoing = stream.plan_packet(&planned.accepted()).unwrap();
    let mut buffer = vec![0; 1500];
    let mut written = |change: fn(&mut Packet)| {
        let mut packet = planned.clone();
        change(&mut packet);
        stream.write(&outgoing, &packet.accepted(), AbsSendTime::from_nanos(0), &mut buffer)
    };
    assert_eq!(written(|_| {}), Some(outgoing.size_bytes));
    assert_eq!(written(|packet| packet.payload.push(0)), None, "longer");
    assert_eq!(written(|packet| packet.payload.truncate(3)), None, "shorter");
    let plain = |packet: &mut Packet| {
        packet.codec = CodecKind::H264;
        packet.payload.truncate(4);
    };
    assert_eq!(written(plain), None, "without a descriptor");
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

#[test]
fn a_restart_goes_on_past_a_late_packet_behind_which_everything_was_shed() {
    let mut plan = plan(MediaKind::Video);
    plan.max_layer.temporal = 0;
    let (mut stream, mut publisher) = (EgressStream::new(&plan, true, 1), Publisher::new(7));
    let frame = publisher.key(4);
    offer(&mut stream, &frame[..1]);
    offer(&mut stream, publisher.frame(1, false, 1, true));
    let late = offer(&mut stream, &frame[1..]);
    assert_eq!(stream.index(), late[2].index);
    let mut successor = EgressStream::new(&plan, true, 2);
    successor.restore(publisher.now, stream.index(), &stream.state());
    assert_eq!(offer(&mut successor, publisher.delta(1))[0].index, late[2].index + 2);
}

#[test]
fn what_is_shed_behind_an_open_frame_leaves_a_hole_so_that_the_frame_does_not_look_whole() {
    let mut plan = plan(MediaKind::Video);
    plan.max_layer.temporal = 0;
    let (mut stream, mut publisher) = (EgressStream::new(&plan, true, 1), Publisher::new(7));
    let mut packets = publisher.key(2);
    packets[1].frame.end = false;
    packets.extend(publisher.frame(2, false, 1, true));
    packets.extend(publisher.delta(1));
    assert_eq!(steps(&offer(&mut stream, &packets)), [0, 1, 3], "one number for the two that were shed");
    let before = stream.index();
    let sent = offer(&mut stream, [publisher.frame(2, false, 1, true), publisher.delta(1)].concat());
    assert_eq!(sent[0].index, before + 1, "behind a frame that ended nothing is left out");
}

#[test]
fn padding_closes_up_even_inside_a_frame() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    let mut packets = publisher.key(3);
    let skipped = packets.remove(1);
    let first = offer(&mut stream, &packets[..1]);
    stream.skip(Ssrc(7), ExtendedSequence(skipped.sequence));
    let last = offer(&mut stream, &packets[1..]);
    assert_eq!(last[0].index, first[0].index + 1);
    assert_eq!(stream.plan_packet(&skipped.accepted()), Err(Discard::EgressTooLate), "its number was given away");
}

#[test]
fn a_late_packet_from_before_a_jump_of_the_source_is_not_sent() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    let key = publisher.key(2);
    let before = offer(&mut stream, &key[..1])[0];
    publisher.timestamp = publisher.timestamp.wrapping_add(90_000 * 600);
    let after = offer(&mut stream, publisher.delta(1))[0];
    assert_eq!(after.index, before.index + 2);
    assert!(after.timestamp.wrapping_sub(before.timestamp) < 90_000, "ten minutes in 33 ms are no time");
    assert_eq!(stream.plan_packet(&key[1].accepted()), Err(Discard::EgressTooLate), "time would go back");
}

#[test]
fn a_late_packet_above_all_that_was_sent_is_the_rest_of_the_newest_frame_or_nothing() {
    let mut plan = plan(MediaKind::Video);
    plan.max_layer.temporal = 0;
    for (ticks, is_sent) in [(-3000, false), (0, true), (3000, false)] {
        let (mut stream, mut publisher) = (EgressStream::new(&plan, true, 1), Publisher::new(7));
        let frame = publisher.key(2);
        offer(&mut stream, &frame[..1]);
        offer(&mut stream, publisher.frame(1, false, 1, true));
        // The publisher's repair may say another time than its original.
        let mut late = frame[1].clone();
        late.timestamp = late.timestamp.wrapping_add_signed(ticks);
        assert_eq!(stream.plan_packet(&late.accepted()).is_ok(), is_sent, "{ticks}");
    }
}

#[test]
fn a_pause_ends_with_the_open_frame_and_goes_on_at_a_key_frame_without_a_hole() {
    let mut plan = plan(MediaKind::Video);
    let (mut stream, mut publisher) = (EgressStream::new(&plan, true, 1), Publisher::new(7));
    let key = publisher.key(3);
    let mut sent = offer(&mut stream, &key[..2]);
    plan.paused = true;
    stream.update(&plan);
    sent.extend(offer(&mut stream, &key[2..]));
    assert_eq!(steps(&sent), [0, 1, 2], "the frame is finished");
    assert_eq!(stream.plan_packet(&publisher.delta(1)[0].accepted()), Err(Discard::Paused));
    assert!(!stream.wants_key_frame());
    plan.paused = false;
    stream.update(&plan);
    assert!(stream.wants_key_frame());
    assert_eq!(stream.plan_packet(&publisher.delta(1)[0].accepted()), Err(Discard::AwaitingKeyFrame));
    sent.extend(offer(&mut stream, publisher.key(1)));
    assert_eq!(steps(&sent), [0, 1, 2, 3]);
    assert_eq!(ids(&sent), [0, 0, 0, 1]);
    assert_eq!(sent[3].timestamp.wrapping_sub(sent[0].timestamp), 3 * 2970, "the pause took its time");
}

#[test]
fn another_source_starts_at_its_key_frame_and_continues_everything() {
    let mut plan = plan(MediaKind::Video);
    let (mut stream, mut first) = (EgressStream::new(&plan, true, 1), Publisher::new(7));
    let mut sent = offer(&mut stream, [first.key(2), first.delta(2)].concat());
    let torn = first.delta(2);
    sent.extend(offer(&mut stream, &torn[..1]));
    plan.source.as_mut().unwrap().track = TrackId::new(0, 2, 1);
    stream.update(&plan);
    assert!(stream.wants_key_frame());
    let mut second = Publisher { now: first.now, ..Publisher::new(0x7000_0009) };
    assert_eq!(stream.plan_packet(&second.delta(1)[0].accepted()), Err(Discard::AwaitingKeyFrame));
    sent.extend(offer(&mut stream, second.key(1)));
    assert_eq!(steps(&sent), [0, 1, 2, 3, 4, 6], "the torn frame of the first does not look whole");
    assert_eq!(ids(&sent), [0, 0, 1, 1, 2, 3]);
    assert_eq!(sent[5].timestamp.wrapping_sub(sent[4].timestamp), 2 * 2970, "two frame intervals passed");
    let tl0 = |packet: &Outgoing| packet.picture.tl0picidx.unwrap();
    assert_eq!(tl0(&sent[5]).wrapping_sub(tl0(&sent[4])), 1);
    assert!(offer(&mut stream, &torn[1..]).is_empty(), "nothing more of the first");
}

#[test]
fn a_publisher_that_comes_back_under_another_ssrc_is_followed_and_the_former_one_does_not_return() {
    let (mut stream, mut former) = (video(), Publisher::new(7));
    let mut sent = offer(&mut stream, former.key(1));
    let mut next = Publisher { now: former.now, ..Publisher::new(8) };
    sent.extend(offer(&mut stream, [next.key(1), next.delta(1)].concat()));
    let straggler = Publisher { now: next.now, ..former.clone() }.key(1);
    assert_eq!(stream.plan_packet(&straggler[0].accepted()), Err(Discard::LayerNotSelected));
    assert_eq!(steps(&sent), [0, 1, 2]);
    former.now = next.now + Duration::from_secs(1);
    sent.extend(offer(&mut stream, former.key(1)));
    assert_eq!(steps(&sent), [0, 1, 2, 3], "but it may when the other one fell silent");
}

#[test]
fn a_payload_type_changes_only_at_a_key_frame_and_one_without_a_name_is_numbered_away() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    let mut sent = offer(&mut stream, publisher.key(1));
    let mut unknown = publisher.delta(1);
    unknown[0].payload_type = 100;
    assert_eq!(stream.plan_packet(&unknown[0].accepted()), Err(Discard::PayloadTypeUnmapped));
    let mut other = [publisher.delta(1), publisher.key(1)].concat();
    for packet in &mut other {
        (packet.payload_type, packet.codec, packet.frame.picture_id, packet.frame.tl0picidx) =
            (98, CodecKind::H264, None, None);
    }
    assert_eq!(stream.plan_packet(&other[0].accepted()), Err(Discard::AwaitingKeyFrame));
    assert!(stream.wants_key_frame());
    sent.extend(offer(&mut stream, &other[1..]));
    sent.extend(offer(&mut stream, {
        let mut back = publisher.key(1);
        back[0].frame.picture_id.as_mut().unwrap().value = 5;
        back
    }));
    assert_eq!(steps(&sent), [0, 1, 2]);
    assert_eq!(sent.iter().map(|packet| packet.payload_type.0).collect::<Vec<_>>(), [120, 122, 120]);
    assert_eq!(ids(&[sent[0], sent[2]]), [0, 1], "picture ids go on where they stopped");
}

#[test]
fn picture_ids_of_seven_bits_are_widened_and_do_not_wrap_after_127() {
    let (mut stream, mut publisher) = (video(), Publisher { ids: Ids::Seven, picture_id: 126, ..Publisher::new(7) });
    let packets = [publisher.key(1), publisher.delta(1), publisher.delta(1), publisher.delta(1)].concat();
    let sent = offer(&mut stream, &packets);
    assert_eq!(ids(&sent), [0, 1, 2, 3]);
    let bytes = write(&stream, &sent[2], &packets[2]);
    let payload = RtpView::parse(&bytes).unwrap().payload().to_vec();
    assert_eq!(payload.len(), packets[2].payload.len() + 1);
    let id = (sent[2].picture.picture_id.unwrap() | 0x8000).to_be_bytes();
    assert_eq!(payload[..5], [0x90, 0xe0, id[0], id[1], sent[2].picture.tl0picidx.unwrap()]);
    assert_eq!(payload[5..], packets[2].payload[4..]);
}

#[test]
fn a_source_without_picture_ids_is_passed_as_it_is() {
    let (mut stream, mut publisher) = (video(), Publisher { ids: Ids::None, ..Publisher::new(7) });
    let mut packets = publisher.key(1);
    packets[0].frame.tl0picidx = None;
    let sent = offer(&mut stream, &packets);
    assert_eq!(sent[0].picture, PictureNumbers::default());
    let bytes = write(&stream, &sent[0], &packets[0]);
    assert_eq!(RtpView::parse(&bytes).unwrap().payload(), &packets[0].payload[..]);
}

#[test]
fn every_field_wraps_without_a_step_back() {
    let (mut stream, mut publisher) = (video(), Publisher::new(7));
    let first = offer(&mut stream, publisher.key(1))[0];
    let mut before = first;
    for _ in 0..70_000 {
        publisher.step(700, 63_000);
        let next = offer(&mut stream, publisher.delta(1))[0];
        assert_eq!(next.index, before.index + 1);
        assert_eq!(next.timestamp.wrapping_sub(before.timestamp), 65_970);
        assert_eq!(ids(&[before, next]), [0, 1]);
        assert_eq!(next.picture.tl0picidx.unwrap().wrapping_sub(before.picture.tl0picidx.unwrap()), 1);
        before = next;
    }
    assert_eq!(before.index >> 16, 1, "the index goes on where the number wraps");
}

#[test]
fn vp9_goes_up_after_a_switching_point_in_a_layer_that_is_forwarded() {
    let mut plan = plan(MediaKind::Video);
    plan.max_layer.temporal = 0;
    let (mut stream, mut publisher) = (EgressStream::new(&plan, true, 1), Publisher::new(7));
    let vp9 = |mut packets: Vec<Packet>| {
        packets[0].codec = CodecKind::Vp9;
        packets
    };
    offer(&mut stream, vp9(publisher.key(1)));
    plan.max_layer.temporal = 2;
    stream.update(&plan);
    // Temporal layer, U, forwarded: U in a layer that is shed says nothing about what was shed before.
    let pictures =
        [(2, true, false), (1, true, false), (0, false, true), (2, false, false), (0, true, true), (2, false, true)];
    for (temporal, switching, forwarded) in pictures {
        let picture = vp9(publisher.frame(1, false, temporal, switching));
        assert_eq!(stream.plan_packet(&picture[0].accepted()).is_ok(), forwarded, "{temporal} {switching}");
    }
}

#[test]
fn sound_changes_its_source_at_once_and_pauses_between_packets() {
    let mut plan = plan(MediaKind::Audio);
    let (mut stream, mut first) = (EgressStream::new(&plan, true, 1), Publisher::new(7));
    let mut sent = offer(&mut stream, [first.opus(), first.opus()]);
    stream.set_muted(true);
    assert_eq!(stream.plan_packet(&first.opus().accepted()), Err(Discard::Paused));
    stream.set_muted(false);
    sent.extend(offer(&mut stream, [first.opus()]));
    plan.source.as_mut().unwrap().track = TrackId::new(0, 2, 1);
    stream.update(&plan);
    let mut second = Publisher { now: first.now, ..Publisher::new(9) };
    sent.extend(offer(&mut stream, [second.opus(), second.opus()]));
    assert_eq!(steps(&sent), [0, 1, 2, 3, 4]);
    let times: Vec<_> = sent.iter().map(|packet| packet.timestamp.wrapping_sub(sent[0].timestamp)).collect();
    assert_eq!(times, [0, 960, 2880, 3840, 4800]);
}
