//! Changes of the encoding, corner case by corner case.

use super::decoder::Sent;
use super::viewer::Viewer;
use super::*;

/// Three encodings that make a frame each at the same moments.
struct Stage {
    viewer: Viewer,
    encodings: [Publisher; 3],
}

impl Stage {
    fn new(reports: bool) -> Self {
        let encoding = |stream: u8| Publisher { stream, reports, ..Publisher::new(70 + 2 * u32::from(stream)) };
        Self { viewer: Viewer::new(1), encodings: [0, 1, 2].map(encoding) }
    }

    /// A viewer who sees `encoding`, which is the highest that it wants.
    fn watching(encoding: u8, reports: bool) -> Self {
        let mut stage = Self::new(reports);
        stage.viewer.want(|plan| plan.max_layer.spatial = encoding);
        stage.round([true; 3]);
        // Long enough for the key frames to be too old to go back to.
        stage.rounds(20, [false; 3]);
        assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(encoding), None));
        stage.viewer.take();
        stage
    }

    /// Frames of two packets of all encodings, the lowest first.
    fn round(&mut self, keys: [bool; 3]) {
        self.round_of(&[0, 1, 2], keys);
    }

    fn rounds(&mut self, count: usize, keys: [bool; 3]) {
        (0..count).for_each(|_| self.round(keys));
    }

    /// The same of some encodings alone; the others are not sent.
    fn round_of(&mut self, sending: &[u8], keys: [bool; 3]) {
        for index in 0..3 {
            let packets = self.make(index, keys[usize::from(index)]);
            if sending.contains(&index) {
                self.viewer.receive_all(packets);
            }
        }
        self.pass();
    }

    fn make(&mut self, index: u8, key: bool) -> Vec<Packet> {
        self.encodings[usize::from(index)].frame(2, key, 0, false)
    }

    fn pass(&mut self) {
        self.viewer.now = self.encodings[0].now;
    }
}

/// The encodings that packets came from, each once.
fn sources(sent: &[Sent]) -> Vec<u32> {
    let mut sources: Vec<u32> = sent.iter().map(|sent| (sent.source.0 - 70) / 2).collect();
    sources.dedup();
    sources
}

fn outgoing(sent: &[Sent]) -> Vec<Outgoing> {
    sent.iter().map(|sent| sent.outgoing).collect()
}

/// Numbers, picture ids and TL0PICIDX follow each other without a gap.
fn is_continuous(sent: &[Sent]) {
    let outgoing = outgoing(sent);
    let expected: Vec<u64> = (0..).take(sent.len()).collect();
    assert_eq!(steps(&outgoing), expected);
    for pair in outgoing.windows(2) {
        let id = |packet: &Outgoing| packet.picture.picture_id.unwrap();
        let tl0 = |packet: &Outgoing| packet.picture.tl0picidx.unwrap();
        let is_next = u16::from(pair[1].timestamp != pair[0].timestamp);
        assert_eq!(id(&pair[1]).wrapping_sub(id(&pair[0])) & 0x7fff, is_next, "{pair:?}");
        assert_eq!(u16::from(tl0(&pair[1]).wrapping_sub(tl0(&pair[0]))), is_next, "{pair:?}");
    }
}

#[test]
fn the_first_picture_is_the_first_key_frame_and_the_wished_encoding_follows_at_its_own() {
    let mut stage = Stage::new(false);
    stage.round([true; 3]);
    stage.round([false; 3]);
    assert_eq!(stage.viewer.sees(), Some(2));
    let sent = stage.viewer.take();
    assert_eq!(sources(&sent), [0, 1, 2]);
    is_continuous(&sent);
}

#[test]
fn up_is_asked_for_and_the_present_encoding_goes_on_until_the_key_frame_comes() {
    let mut stage = Stage::watching(0, false);
    stage.viewer.want(|plan| plan.max_layer.spatial = 2);
    assert_eq!(stage.viewer.asks(), Some(2), "and not the one between");
    stage.rounds(3, [false, true, false]);
    assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(0), Some(2)));
    stage.round([false, false, true]);
    assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(2), None));
    stage.round([false; 3]);
    let sent = stage.viewer.take();
    assert_eq!(sources(&sent), [0, 2]);
    assert_eq!(sent.len(), 2 * 6);
    is_continuous(&sent);
}

#[test]
fn a_key_frame_newer_than_all_that_was_seen_is_gone_back_to_at_once_and_its_frames_stand_in_their_place() {
    for reports in [false, true] {
        let mut stage = Stage::watching(2, reports);
        stage.round([false; 3]);
        let before = stage.viewer.take();
        // The present encoding stalls, not long enough to count as silent.
        stage.round_of(&[0, 1], [true, false, false]);
        for _ in 0..5 {
            stage.round_of(&[0, 1], [false; 3]);
        }
        assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(2), None));
        stage.viewer.want(|plan| plan.max_layer.spatial = 0);
        assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(0), None));
        stage.round([false; 3]);
        let sent = [before, stage.viewer.take()].concat();
        is_continuous(&sent);
        let frames = sent.iter().step_by(2).map(|it| it.outgoing.timestamp.wrapping_sub(sent[0].outgoing.timestamp));
        assert_eq!(frames.collect::<Vec<_>>(), (0..8).map(|frame| 2970 * frame).collect::<Vec<_>>());
    }
}

#[test]
fn a_key_frame_older_than_what_was_seen_is_not_gone_back_to() {
    for (from, to) in [(0, 2), (2, 0)] {
        let mut stage = Stage::watching(from, false);
        stage.round([true; 3]);
        stage.viewer.want(|plan| plan.max_layer.spatial = to);
        assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(from), Some(to)));
    }
}

#[test]
fn the_open_frame_is_finished_and_nothing_of_the_new_key_frame_is_lost() {
    let mut stage = Stage::watching(0, false);
    stage.viewer.want(|plan| plan.max_layer.spatial = 2);
    let (low, high) = (stage.make(0, false), stage.make(2, true));
    for packet in [&low[0], &high[0], &high[1], &low[1]] {
        stage.viewer.receive(packet);
    }
    stage.pass();
    let next = stage.make(2, false);
    stage.viewer.receive_all(&next);
    let sent = stage.viewer.take();
    let expected = [&low[0], &low[1], &high[0], &high[1], &next[0], &next[1]];
    assert_eq!(
        sent.iter().map(|sent| sent.source).collect::<Vec<_>>(),
        expected.map(|packet| (packet.ssrc, packet.sequence))
    );
    is_continuous(&sent);
}

#[test]
fn an_open_frame_whose_end_does_not_come_is_waited_for_a_while_and_then_seen_to_be_torn() {
    let mut stage = Stage::watching(0, false);
    stage.viewer.want(|plan| plan.max_layer.spatial = 2);
    let (low, high) = (stage.make(0, false), stage.make(2, true));
    stage.viewer.receive_all([&low[0], &high[0], &high[1]]);
    for _ in 0..3 {
        stage.pass();
        assert_eq!(stage.viewer.sees(), Some(0));
        let (low, high) = (stage.make(0, false), stage.make(2, false));
        stage.viewer.receive_all([low, high].concat());
    }
    stage.pass();
    let high = stage.make(2, false);
    stage.viewer.receive_all(&high);
    assert_eq!(stage.viewer.sees(), Some(2));
    let sent = stage.viewer.take();
    assert_eq!(sources(&sent), [0, 2]);
    assert_eq!(steps(&outgoing(&sent))[..3], [0, 2, 3], "the torn frame does not look whole");
    assert_eq!(sent.len(), 1 + 2 * 5, "nothing of the new encoding is lost, nothing more of the old one is begun");
}

#[test]
fn an_end_that_comes_late_finishes_the_frame() {
    let mut stage = Stage::watching(0, false);
    stage.viewer.want(|plan| plan.max_layer.spatial = 2);
    let (low, high) = (stage.make(0, false), stage.make(2, true));
    let next = stage.make(0, false);
    stage.viewer.receive_all([&low[0], &high[0], &high[1], &next[0], &low[1]]);
    assert_eq!(stage.viewer.sees(), Some(2));
    let sent = stage.viewer.take();
    assert_eq!(sent.len(), 4);
    is_continuous(&sent);
}

#[test]
fn a_wish_taken_back_while_the_frame_ends_leaves_everything_as_it_was() {
    let mut stage = Stage::watching(0, false);
    stage.viewer.want(|plan| plan.max_layer.spatial = 2);
    let (low, high) = (stage.make(0, false), stage.make(2, true));
    stage.viewer.receive_all([&low[0], &high[0]]);
    stage.viewer.want(|plan| plan.max_layer.spatial = 0);
    stage.viewer.receive_all([&high[1], &low[1]]);
    stage.pass();
    stage.round([false; 3]);
    assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(0), None));
    let sent = stage.viewer.take();
    assert_eq!(sources(&sent), [0]);
    is_continuous(&sent);
}

#[test]
fn a_wish_taken_back_after_a_frame_was_left_out_waits_for_a_key_frame() {
    let mut stage = Stage::watching(0, false);
    stage.viewer.want(|plan| plan.max_layer.spatial = 2);
    let (low, high) = (stage.make(0, false), stage.make(2, true));
    let left_out = stage.make(0, false);
    stage.viewer.receive_all([&low[0], &high[0], &left_out[0], &left_out[1]]);
    stage.viewer.take();
    stage.viewer.want(|plan| plan.max_layer.spatial = 0);
    assert_eq!(stage.viewer.asks(), Some(0));
    stage.pass();
    stage.round([false; 3]);
    assert_eq!(stage.viewer.take().len(), 0);
    stage.round([true, false, false]);
    assert_eq!((stage.viewer.take().len(), stage.viewer.asks()), (2, None));
}

#[test]
fn an_encoding_that_falls_silent_gives_way_to_the_next_lower_one_and_takes_over_when_it_returns() {
    let mut stage = Stage::watching(2, false);
    for _ in 0..12 {
        assert_eq!(stage.viewer.sees(), Some(2));
        if stage.viewer.asks().is_some() {
            break;
        }
        stage.round_of(&[0, 1], [false; 3]);
    }
    assert_eq!(stage.viewer.asks(), Some(1), "within 400 ms");
    stage.round_of(&[0, 1], [false, true, false]);
    assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(1), None));
    stage.rounds(2, [false; 3]);
    assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(1), Some(2)), "it is back");
    stage.round([false, false, true]);
    assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(2), None));
    is_continuous(&stage.viewer.take());
}

#[test]
fn without_a_picture_any_encoding_takes_the_place_of_a_silent_one() {
    let mut stage = Stage::watching(2, false);
    for _ in 0..12 {
        stage.round_of(&[0, 1], [false; 3]);
    }
    assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(2), Some(1)));
    stage.round_of(&[0, 1], [true, false, false]);
    assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(0), Some(1)));
    stage.round_of(&[0, 1], [false, true, false]);
    assert_eq!(stage.viewer.sees(), Some(1));
}

#[test]
fn an_encoding_that_is_silent_in_the_midst_of_a_frame_is_left_at_once_and_torn_visibly() {
    let mut stage = Stage::watching(2, false);
    let torn = stage.make(2, false);
    stage.viewer.receive(&torn[0]);
    stage.pass();
    for _ in 0..12 {
        stage.round_of(&[0, 1], [false; 3]);
    }
    stage.round_of(&[0, 1], [false, true, false]);
    assert_eq!(stage.viewer.sees(), Some(1));
    assert_eq!(steps(&outgoing(&stage.viewer.take()))[..3], [0, 2, 3]);
}

#[test]
fn a_layer_that_does_not_exist_is_the_next_lower_one_or_else_the_lowest() {
    for (sending, max, expected) in [(&[0, 1][..], 2, 1), (&[0, 2], 1, 0), (&[1, 2], 0, 1), (&[2], 0, 2)] {
        let mut stage = Stage::new(false);
        stage.viewer.want(|plan| plan.max_layer.spatial = max);
        for round in 0..40 {
            stage.round_of(sending, [round % 10 == 0; 3]);
        }
        assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(expected), None), "{sending:?} {max}");
    }
}

#[test]
fn a_pause_in_the_midst_of_a_change_ends_it_and_the_picture_comes_back_in_the_wished_encoding() {
    let mut stage = Stage::watching(0, false);
    stage.viewer.want(|plan| plan.max_layer.spatial = 2);
    let (low, high) = (stage.make(0, false), stage.make(2, true));
    stage.viewer.receive_all([&low[0], &high[0]]);
    stage.viewer.want(|plan| plan.paused = true);
    stage.viewer.receive_all([&high[1], &low[1]]);
    stage.pass();
    stage.rounds(30, [false; 3]);
    assert_eq!((stage.viewer.take().len(), stage.viewer.asks()), (2, None), "the frame that was open is finished");
    stage.viewer.want(|plan| plan.paused = false);
    assert_eq!(stage.viewer.asks(), Some(2));
    stage.round([false, false, true]);
    assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(2), None));
}

#[test]
fn a_key_frame_that_cannot_be_sent_does_not_end_the_picture() {
    let mut stage = Stage::watching(0, false);
    stage.viewer.want(|plan| plan.max_layer.spatial = 2);
    let mut high = stage.make(2, true);
    high.iter_mut().for_each(|packet| packet.payload_type = 100);
    stage.viewer.receive_all(&high);
    stage.round([false; 3]);
    assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(0), Some(2)));
    is_continuous(&stage.viewer.take());
}

#[test]
fn reports_of_both_encodings_keep_frames_where_they_were_captured_whatever_the_arrivals_say() {
    let mut stage = Stage::watching(0, true);
    let last = {
        stage.round([false; 3]);
        stage.viewer.take().pop().unwrap().outgoing.timestamp
    };
    stage.viewer.want(|plan| plan.max_layer.spatial = 2);
    let key = stage.make(2, true);
    // It spends 25 ms longer on the way than the frames before.
    stage.viewer.now = stage.viewer.now + Duration::from_millis(25);
    stage.viewer.receive_all(&key);
    assert_eq!(stage.viewer.take()[0].outgoing.timestamp.wrapping_sub(last), 2970);
    let mut stage = Stage::watching(0, false);
    stage.viewer.want(|plan| plan.max_layer.spatial = 2);
    let key = stage.make(2, true);
    stage.viewer.receive_all(&key);
    stage.encodings[2].reports = true;
    stage.pass();
    stage.round([false; 3]);
    let sent = outgoing(&stage.viewer.take());
    assert_eq!(sent[2].timestamp.wrapping_sub(sent[0].timestamp), 2970, "a report that comes later corrects nothing");
}

#[test]
fn a_successor_goes_on_with_the_encoding_of_the_anchor_and_changes_as_usual() {
    let mut stage = Stage::watching(1, false);
    stage.round([false; 3]);
    let last = stage.viewer.take().pop().unwrap().outgoing;
    let (index, anchor) = (stage.viewer.target.stream.index(), stage.viewer.target.stream.state());
    let (plan, now) = (stage.viewer.target.plan.clone(), stage.viewer.now);
    stage.viewer = Viewer { now, ..Viewer::new(5) };
    stage.viewer.want(|new| *new = plan);
    stage.viewer.target.stream.restore(now, index, &anchor);
    stage.round([false; 3]);
    assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(1), Some(1)));
    let after = stage.viewer.take()[0].outgoing;
    assert_eq!((after.index, after.timestamp.wrapping_sub(last.timestamp)), (last.index + 2, 2970));
    stage.viewer.want(|plan| plan.max_layer.spatial = 2);
    assert_eq!(stage.viewer.asks(), Some(2));
    stage.round([true; 3]);
    assert_eq!((stage.viewer.sees(), stage.viewer.asks()), (Some(2), None));
}

#[test]
fn a_repeat_after_a_change_says_what_was_sent() {
    let mut stage = Stage::watching(0, false);
    stage.round_of(&[2], [false, false, true]);
    stage.round_of(&[2], [false; 3]);
    stage.viewer.want(|plan| plan.max_layer.spatial = 2);
    let sent = stage.viewer.take();
    assert_eq!(sent.len(), 4);
    for sent in sent {
        let low = u16::try_from(sent.outgoing.index & 0xffff).unwrap();
        let stream = &mut stage.viewer.target.stream;
        let repeat = stream.repeat(stage.viewer.now, low, Duration::ZERO).unwrap();
        let packet = stage.viewer.track.history.find(StreamIndex(2), repeat.sequence).unwrap();
        let again = stream.plan_repeat(&repeat, &packet).unwrap();
        assert_eq!((again.timestamp, again.picture), (sent.outgoing.timestamp, sent.outgoing.picture));
    }
}
