//! Where a packet stands in its egress stream: sequence number, timestamp, picture numbers.
//!
//! Rules: no number twice, no step back, and no torn frame that looks whole. What upstream lost stays a gap, so that the
//! subscriber asks for it and the repeat fits; what is shed closes up, but only after a frame that ended.

use sluice_protocol::media::{MediaKind, Ssrc};
use sluice_protocol::table::Anchor;
use sluice_protocol::time::Instant;

use super::closing::Closing;
use super::limits::{GAP_PACKETS_MAX, LATE_PACKETS_MAX};
use super::picture::{PictureNumbers, Pictures};
use super::rewrite::low_sequence;
use super::select::Chosen;
use super::timestamp::{Stamp, Timeline};
use crate::discard::Discard;
use crate::ingress::{Accepted, ExtendedSequence};

const SEEN_WORDS: usize = (LATE_PACKETS_MAX / 64) as usize;

/// How a packet that is forwarded joins what was sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It goes on with the source.
    Continue,
    /// It is the first after a restart of the data plane, from the source that was forwarded before: offsets hold.
    Resume,
    /// It starts a source, or the same one again after a pause.
    Start,
}

/// How a packet stands to those of its source that were seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Newer than all of them.
    New,
    /// Older than the newest, and not seen yet.
    Late,
}

/// The numbers of one packet of an egress stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// The SRTP index: roll-over counter << 16 | sequence number.
    pub(super) sequence: u64,
    pub(super) timestamp: u32,
    /// Whether it is the last one of its picture.
    pub(super) marker: bool,
    pub(super) picture: PictureNumbers,
}

/// What is left out with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// The rest of its picture, or all of it.
    Picture,
    /// One layer of its picture, of which others are sent.
    Layer,
}

/// The numbering of an egress stream over all its sources.
#[derive(Clone, Debug)]
pub(super) struct Renumber {
    /// The source that the offsets belong to.
    source: Option<Ssrc>,
    sequences: Closing,
    seen: Seen,
    /// The highest number that is sent or kept for what is missing.
    last: u64,
    /// The highest number sent.
    last_sent: u64,
    /// Whether what follows `last` cannot be taken for the rest of a frame: its frame ended, or a gap precedes.
    closed: bool,
    timeline: Timeline,
    pictures: Pictures,
}

impl Renumber {
    /// Makes a numbering whose first packet gets `sequence`.
    pub(super) fn new(kind: MediaKind, sequence: u64, timestamp: u32, pictures: Pictures) -> Self {
        let last = sequence.saturating_sub(1);
        Self {
            source: None,
            sequences: Closing::default(),
            seen: Seen::default(),
            last,
            last_sent: last,
            closed: true,
            timeline: Timeline::new(kind, timestamp),
            pictures,
        }
    }

    /// Goes on after `index`, the highest one sealed, with the offsets of `anchor`; the next packet gets `index` + 2.
    pub(super) fn restore(&mut self, now: Instant, index: u64, anchor: &Anchor) {
        self.last = index;
        self.last_sent = index;
        self.closed = false;
        if anchor.source != 0 {
            self.source = Some(Ssrc(anchor.source));
            self.timeline.restore(anchor.timestamp, anchor.timestamp_offset, now);
            self.pictures.restore(anchor);
        }
    }

    /// Writes what a successor needs.
    pub(super) fn save(&self) -> Anchor {
        let mut anchor = Anchor {
            timestamp: self.timeline.last(),
            timestamp_offset: self.timeline.offset(),
            source: self.source.map_or(0, |source| source.0),
            ..Anchor::default()
        };
        self.pictures.save(&mut anchor);
        anchor
    }

    /// Goes on with another publisher.
    pub(super) const fn hand_over(&mut self) {
        self.timeline.hand_over();
    }

    /// Tells how a packet stands in its source.
    ///
    /// # Errors
    /// [`Discard::EgressTooLate`] for one that was seen, and for one from before what the mapping remembers.
    pub(super) fn order(&self, packet: &Accepted<'_>) -> Result<Order, Discard> {
        let sequence = packet.sequence.0;
        if self.source != Some(packet.ssrc) || sequence > self.sequences.highest() {
            return Ok(Order::New);
        }
        let distance = self.sequences.highest() - sequence;
        if distance >= LATE_PACKETS_MAX || self.seen.has(sequence) || self.sequences.place(sequence).is_none() {
            return Err(Discard::EgressTooLate);
        }
        Ok(Order::Late)
    }

    /// Gives a packet its numbers.
    ///
    /// # Errors
    /// [`Discard::EgressTooLate`] for a late packet whose numbers were given away.
    pub(super) fn number(&mut self, chosen: Chosen, order: Order, packet: &Accepted<'_>) -> Result<Numbers, Discard> {
        match (chosen.step, order) {
            (Step::Continue, Order::Late) => self.number_late(chosen, packet),
            (Step::Continue, Order::New) => Ok(self.number_new(chosen, packet)),
            (Step::Resume | Step::Start, _) => Ok(self.number_first(chosen, packet)),
        }
    }

    /// Notes that a packet of the current source was shed. The number is given away, unless the frame before is open.
    pub(super) fn shed(&mut self, order: Order, packet: &Accepted<'_>, left: Left) {
        if self.source != Some(packet.ssrc) {
            return;
        }
        if order == Order::New {
            self.shed_number(packet.sequence, Whole::PartOfAFrame);
            if left == Left::Picture {
                self.pictures.shed(packet);
            }
        } else {
            self.seen.set(packet.sequence.0);
        }
    }

    /// Notes that `sequence` of the current source carries no media: its number is given away, open frame or not.
    pub(super) fn skip(&mut self, source: Ssrc, sequence: ExtendedSequence) {
        if self.source != Some(source) {
            return;
        }
        if sequence.0 > self.sequences.highest() {
            self.shed_number(sequence, Whole::NoMedia);
        } else {
            self.seen.set(sequence.0);
        }
    }

    /// Finds the packet for which the number `sequence` is kept, and which was not seen yet.
    pub(super) fn missing(&self, sequence: u16) -> Option<(Ssrc, ExtendedSequence)> {
        let behind = low_sequence(self.last_sent).wrapping_sub(sequence);
        let number = self.last_sent.checked_sub(u64::from(behind))?;
        let source = self.sequences.source_of(number).filter(|source| !self.seen.has(*source))?;
        let is_near = self.sequences.highest().checked_sub(source)? < LATE_PACKETS_MAX;
        self.source.filter(|_| is_near).map(|ssrc| (ssrc, ExtendedSequence(source)))
    }

    /// Returns the source that the offsets belong to.
    pub(super) const fn source(&self) -> Option<Ssrc> {
        self.source
    }

    /// Returns the highest number sent.
    pub(super) const fn last_sent(&self) -> u64 {
        self.last_sent
    }

    /// Returns the timeline.
    pub(super) const fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Returns the picture numbers.
    pub(super) const fn pictures(&self) -> &Pictures {
        &self.pictures
    }

    fn number_first(&mut self, chosen: Chosen, packet: &Accepted<'_>) -> Numbers {
        let same = self.source == Some(packet.ssrc);
        self.source = Some(packet.ssrc);
        let sequence = self.last + if self.closed { 1 } else { 2 };
        self.rebase(packet.sequence.0, sequence);
        let timestamp = if same {
            self.timeline.reenter(&Stamp::of(packet))
        } else {
            self.timeline.anchor(&Stamp::of(packet));
            self.timeline.last()
        };
        if chosen.step == Step::Start {
            self.pictures.start();
        }
        let (picture, _) = self.pictures.advance(packet);
        self.sent(sequence, chosen);
        Numbers { sequence, timestamp, marker: is_marked(chosen, packet), picture }
    }

    fn number_new(&mut self, chosen: Chosen, packet: &Accepted<'_>) -> Numbers {
        let source = packet.sequence.0;
        let step = source - self.sequences.highest();
        if step > GAP_PACKETS_MAX {
            self.rebase(source, self.last + 2);
        }
        let (timestamp, time_jumped) = self.timeline.advance(&Stamp::of(packet), step == 1);
        let (picture, pictures_jumped) = self.pictures.advance(packet);
        if time_jumped || pictures_jumped {
            self.sequences.raise_floor(source);
        }
        self.seen.advance(self.sequences.highest(), source);
        self.sequences.keep(source);
        let sequence = self.sequences.place(source).unwrap_or(self.last + 1);
        self.sent(sequence, chosen);
        Numbers { sequence, timestamp, marker: is_marked(chosen, packet), picture }
    }

    fn number_late(&mut self, chosen: Chosen, packet: &Accepted<'_>) -> Result<Numbers, Discard> {
        let numbers = self.place_late(chosen, packet).ok_or(Discard::EgressTooLate)?;
        self.seen.set(packet.sequence.0);
        // What came after it may all have been shed, so that it is the highest number that was ever sealed.
        self.last_sent = self.last_sent.max(numbers.sequence);
        Ok(numbers)
    }

    fn place_late(&self, chosen: Chosen, packet: &Accepted<'_>) -> Option<Numbers> {
        let numbers = Numbers {
            sequence: self.sequences.place(packet.sequence.0)?,
            timestamp: self.timeline.place_late(packet.timestamp)?,
            marker: is_marked(chosen, packet),
            picture: self.pictures.place_late(packet)?,
        };
        // Above everything that was sent there is only the rest of the newest frame. A repair may say another time than
        // its original had: the publisher writes both.
        let fits = numbers.sequence < self.last_sent || numbers.timestamp == self.timeline.last();
        fits.then_some(numbers)
    }

    /// Returns the picture numbers.
    pub(super) const fn pictures_mut(&mut self) -> &mut Pictures {
        &mut self.pictures
    }

    fn rebase(&mut self, source: u64, egress: u64) {
        self.sequences.rebase(source, egress);
        self.seen = Seen::default();
        self.seen.set(source);
    }

    fn sent(&mut self, sequence: u64, chosen: Chosen) {
        self.last = sequence;
        self.last_sent = sequence;
        self.closed = chosen.ends;
    }

    fn shed_number(&mut self, sequence: ExtendedSequence, whole: Whole) {
        let source = sequence.0;
        let highest = self.sequences.highest();
        if source - highest > GAP_PACKETS_MAX {
            // Too far to keep every place: the next packet is anchored anew behind one missing number.
            self.rebase(source, self.last + 2);
            self.last += 2;
            self.closed = true;
            return;
        }
        self.seen.advance(highest, source);
        let place = source.wrapping_add(self.sequences.offset());
        let follows = source == highest + 1;
        if follows && !self.closed && whole == Whole::PartOfAFrame {
            // The rest of the frame goes missing visibly: this number is kept and never filled.
            self.sequences.keep(source);
            self.last = place;
            self.closed = true;
            return;
        }
        self.sequences.give_away(source);
        self.last = place - 1;
        self.closed |= !follows;
    }
}

/// Tells whether a packet gets the marker bit: its publisher's, or its own where it has become the last of its picture as
/// higher layers are left out (RTP Payload Format For AV1, section 4.2; RFC 9628 section 4.1).
const fn is_marked(chosen: Chosen, packet: &Accepted<'_>) -> bool {
    packet.marker || packet.structure.is_some() && chosen.ends
}

/// What a number stood for that is given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    /// Media: with it a frame that was begun would look whole though it is torn.
    PartOfAFrame,
    /// Nothing.
    NoMedia,
}

/// Which of the newest [`LATE_PACKETS_MAX`] numbers of a source were seen.
#[derive(Clone, Debug, Default)]
struct Seen {
    words: [u64; SEEN_WORDS],
}

impl Seen {
    fn has(&self, number: u64) -> bool {
        let (word, bit) = place_of(number);
        self.words.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn set(&mut self, number: u64) {
        let (word, bit) = place_of(number);
        if let Some(bits) = self.words.get_mut(word) {
            *bits |= bit;
        }
    }

    /// Moves on from `highest` to `number`, which is set; those between are not.
    fn advance(&mut self, highest: u64, number: u64) {
        if number.saturating_sub(highest) >= LATE_PACKETS_MAX {
            self.words = [0; SEEN_WORDS];
        } else {
            for between in highest + 1..number {
                let (word, bit) = place_of(between);
                if let Some(bits) = self.words.get_mut(word) {
                    *bits &= !bit;
                }
            }
        }
        self.set(number);
    }
}

fn place_of(number: u64) -> (usize, u64) {
    let place = number % LATE_PACKETS_MAX;
    (usize::try_from(place / 64).unwrap_or(0), 1 << (place % 64))
}
