//! A receiver that judges what one subscriber was sent, knowing what the publisher made.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// What the publisher made: which frame a packet belongs to, and what that frame refers to.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    /// By SSRC and sequence number: the frame.
    pub(super) packets: BTreeMap<(u32, u64), usize>,
    pub(super) frames: Vec<Frame>,
}

/// One frame as it was made.
#[derive(Clone, Debug, Default)]
pub(super) struct Frame {
    pub(super) packets: BTreeSet<(u32, u64)>,
    pub(super) references: Vec<usize>,
    pub(super) key: bool,
    /// When it was captured.
    pub(super) moment: Instant,
}

/// One packet as it was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) source: (u32, u64),
    pub(super) start: bool,
    pub(super) outgoing: Outgoing,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Numbers between the first and the last one that nothing was sent under.
    pub(super) holes: u64,
    pub(super) frames_decoded: usize,
    /// How often decoding stopped, at a hole or a torn frame.
    pub(super) freezes: usize,
    /// How often a frame was decoded after one that was captured later.
    pub(super) steps_back: usize,
}

/// Judges all that was sent, in the order of its numbers: as a subscriber sees it who lost nothing himself.
///
/// A hole or a torn frame freezes it until the next key frame; whatever it decodes must be whole in truth, have all its
/// references, and follow the picture before it.
pub(super) fn judge(truth: &Truth, sent: &[Sent]) -> Verdict {
    let mut by_number = BTreeMap::new();
    let mut sources = BTreeSet::new();
    for packet in sent {
        let before = by_number.insert(packet.outgoing.index, *packet);
        assert!(before.is_none(), "a number twice: {before:?} {packet:?}");
        assert!(sources.insert(packet.source), "packet {:?} twice", packet.source);
    }
    let ordered: Vec<Sent> = by_number.into_values().collect();
    for pair in ordered.windows(2) {
        no_step_back(&pair[0].outgoing, &pair[1].outgoing);
    }
    let mut verdict = Verdict::default();
    let mut decoder = Decoder::default();
    let mut from = 0;
    while from < ordered.len() {
        let follows = from > 0 && ordered[from].outgoing.index == ordered[from - 1].outgoing.index + 1;
        verdict.holes +=
            if from == 0 { 0 } else { ordered[from].outgoing.index - ordered[from - 1].outgoing.index - 1 };
        let length = 1 + ordered[from..].windows(2).take_while(|pair| continues(&pair[0], &pair[1])).count();
        decoder.take(truth, &ordered[from..from + length], follows || from == 0, &mut verdict);
        from += length;
    }
    verdict
}

fn continues(a: &Sent, b: &Sent) -> bool {
    !a.outgoing.marker && b.outgoing.timestamp == a.outgoing.timestamp && b.outgoing.index == a.outgoing.index + 1
}

fn no_step_back(a: &Outgoing, b: &Outgoing) {
    assert!(b.timestamp.wrapping_sub(a.timestamp).cast_signed() >= 0, "time goes back: {a:?} {b:?}");
    if let (Some(a), Some(b)) = (a.picture.picture_id, b.picture.picture_id) {
        assert!((b.wrapping_sub(a) & 0x7fff) < 1 << 14, "picture id goes back: {a} {b}");
    }
    if let (Some(a), Some(b)) = (a.picture.tl0picidx, b.picture.tl0picidx) {
        assert!(b.wrapping_sub(a).cast_signed() >= 0, "TL0PICIDX goes back: {a} {b}");
    }
}

#[derive(Debug, Default)]
struct Decoder {
    decoded: BTreeSet<usize>,
    /// The picture id of the frame before, while nothing is missing.
    picture_id: Option<u16>,
    running: bool,
    moment: Instant,
}

impl Decoder {
    fn take(&mut self, truth: &Truth, packets: &[Sent], follows: bool, verdict: &mut Verdict) {
        let first = packets[0];
        let looks_whole = first.start && packets[packets.len() - 1].outgoing.marker;
        let frame = truth.packets[&first.source];
        let made = &truth.frames[frame];
        if looks_whole {
            let have: BTreeSet<_> = packets.iter().map(|packet| packet.source).collect();
            assert_eq!(have, made.packets, "a torn frame looks whole");
        }
        if self.running && !(follows && looks_whole) {
            self.running = false;
            verdict.freezes += 1;
        }
        if !looks_whole || !(self.running || made.key) {
            return;
        }
        let id = first.outgoing.picture.picture_id;
        if self.running {
            assert!(made.references.iter().all(|it| self.decoded.contains(it)), "refers to what was never sent");
            if let (Some(before), Some(id)) = (self.picture_id, id) {
                assert_eq!(id.wrapping_sub(before) & 0x7fff, 1, "picture ids follow each other");
            }
        }
        self.picture_id = id.or_else(|| self.picture_id.filter(|_| self.running));
        self.running = true;
        self.decoded.insert(frame);
        verdict.frames_decoded += 1;
        verdict.steps_back += usize::from(made.moment < self.moment);
        self.moment = made.moment;
    }
}
