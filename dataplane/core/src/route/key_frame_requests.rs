//! When a publisher is asked for a key frame, and of which encoding. One request stands for all who want one.
//!
//! There are two limits. One is the encoding's: it is not asked again before its encoder could answer. The other is the
//! track's: Chromium answers a request on any VP8 encoding with key frames on all of them, so one that is wanted right
//! after another was asked for waits a moment, in which it usually comes by itself.

use arrayvec::ArrayVec;
use sluice_protocol::limits::ENCODINGS_MAX;
use sluice_protocol::time::Instant;

use crate::ingress::StreamIndex;
use crate::limits::{KEY_FRAME_INTERVAL_MIN, KEY_FRAME_PATIENCE, KEY_FRAME_TRACK_INTERVAL_MIN, KEY_FRAME_TRIES_MAX};

/// The requests to one track, whose encodings are [`ENCODINGS_MAX`] at most; wishes for others are dropped.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyFrameRequests {
    encodings: [Encoding; ENCODINGS_MAX],
    /// When any of them was asked last.
    asked: Option<Instant>,
}

/// What would satisfy somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    /// A key frame of any encoding; it is asked of this one.
    Any,
    /// A key frame of this encoding.
    This,
}

#[derive(Clone, Copy, Debug, Default)]
struct Encoding {
    /// What the most particular of those who wait wish.
    wish: Option<Wish>,
    asked: Option<Instant>,
    /// Requests since somebody began to wait.
    tries: u8,
}

impl KeyFrameRequests {
    /// Notes that somebody waits for a key frame.
    pub(crate) fn want(&mut self, encoding: StreamIndex, wish: Wish) {
        if wish == Wish::Any && self.encodings.iter().any(|encoding| encoding.wish.is_some()) {
            return;
        }
        let Some(encoding) = self.encodings.get_mut(usize::from(encoding.0)) else { return };
        if encoding.wish.is_none() {
            encoding.tries = 0;
        }
        encoding.wish = encoding.wish.max(Some(wish));
    }

    /// Notes that a key frame of an encoding came.
    pub(crate) fn satisfy(&mut self, encoding: StreamIndex) {
        for (index, other) in self.encodings.iter_mut().enumerate() {
            if index == usize::from(encoding.0) || other.wish == Some(Wish::Any) {
                other.wish = None;
            }
        }
    }

    /// Notes that an encoding started, perhaps under another SSRC, which was not asked yet.
    pub(crate) fn restart(&mut self, encoding: StreamIndex) {
        if let Some(encoding) = self.encodings.get_mut(usize::from(encoding.0)) {
            *encoding = Encoding { wish: encoding.wish, ..Encoding::default() };
        }
    }

    /// Returns which encodings to ask now, in one go. Whichever does not answer is asked again, [`KEY_FRAME_TRIES_MAX`]
    /// times in all.
    pub(crate) fn take_due(&mut self, now: Instant) -> ArrayVec<StreamIndex, ENCODINGS_MAX> {
        let mut due = ArrayVec::new();
        if self.due().is_none_or(|at| at > now) {
            return due;
        }
        for (encoding, index) in self.encodings.iter_mut().zip(0..) {
            if encoding.due().is_some_and(|at| at <= now) {
                encoding.ask(now);
                due.push(StreamIndex(index));
            }
        }
        self.asked = Some(now);
        due
    }

    /// Returns when somebody is to be asked, which may lie in the past; `None` when nobody waits.
    pub(crate) fn due(&self) -> Option<Instant> {
        let first = self.encodings.iter().filter_map(Encoding::due).min()?;
        Some(self.asked.map_or(first, |asked| first.max(asked + KEY_FRAME_TRACK_INTERVAL_MIN)))
    }
}

impl Encoding {
    fn ask(&mut self, now: Instant) {
        self.asked = Some(now);
        self.tries += 1;
        if self.tries >= KEY_FRAME_TRIES_MAX {
            self.wish = None;
        }
    }

    fn due(&self) -> Option<Instant> {
        let _: Wish = self.wish?;
        let interval = if self.tries == 0 { KEY_FRAME_INTERVAL_MIN } else { KEY_FRAME_PATIENCE };
        Some(self.asked.map_or(Instant::ZERO, |asked| asked + interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: StreamIndex = StreamIndex(0);
    const HIGH: StreamIndex = StreamIndex(1);

    /// What happens at a millisecond.
    #[derive(Clone, Copy, Debug)]
    enum Happens {
        Wanted(StreamIndex, Wish),
        Came(StreamIndex),
        Started(StreamIndex),
    }
    use Happens::{Came, Started, Wanted};
    use Wish::{Any, This};

    /// A name, what happens when, and who is to be asked when.
    type Case = (&'static str, &'static [(u64, Happens)], &'static [(u64, u8)]);

    /// Lets things happen; returns who was asked when, up to ten seconds.
    fn asked(happens: &[(u64, Happens)]) -> Vec<(u64, u8)> {
        let mut requests = KeyFrameRequests::default();
        let mut asked = Vec::new();
        for millis in 0..10_000 {
            for (_, what) in happens.iter().filter(|(at, _)| *at == millis) {
                match what {
                    Wanted(encoding, wish) => requests.want(*encoding, *wish),
                    Came(encoding) => requests.satisfy(*encoding),
                    Started(encoding) => requests.restart(*encoding),
                }
            }
            let due = requests.due();
            let now = Instant::from_millis(millis);
            let taken = requests.take_due(now);
            assert_eq!(due.is_some_and(|due| due <= now), !taken.is_empty(), "the timer tells when to come");
            asked.extend(taken.iter().map(|encoding| (millis, encoding.0)));
        }
        asked
    }

    #[test]
    fn requests_are_merged_and_limited_per_encoding_and_per_track() {
        let cases: &[Case] = &[
            ("nobody wants any", &[(5, Came(LOW))], &[]),
            ("one wish, answered", &[(5, Wanted(LOW, This)), (90, Came(LOW))], &[(5, 0)]),
            (
                "many wishes before the answer are one",
                &[(5, Wanted(LOW, This)), (6, Wanted(LOW, This)), (80, Wanted(LOW, Any)), (90, Came(LOW))],
                &[(5, 0)],
            ),
            (
                "a wish after the answer waits for the encoding's interval",
                &[(0, Wanted(LOW, This)), (90, Came(LOW)), (100, Wanted(LOW, This)), (560, Came(LOW))],
                &[(0, 0), (500, 0)],
            ),
            (
                "wishes for two encodings at once leave together",
                &[(0, Wanted(LOW, This)), (0, Wanted(HIGH, This)), (90, Came(LOW)), (95, Came(HIGH))],
                &[(0, 0), (0, 1)],
            ),
            (
                "another encoding's wish waits for the track's interval",
                &[(0, Wanted(LOW, This)), (50, Wanted(HIGH, This)), (90, Came(LOW)), (290, Came(HIGH))],
                &[(0, 0), (200, 1)],
            ),
            (
                "a key frame on all encodings answers what was not asked yet",
                &[(0, Wanted(LOW, This)), (50, Wanted(HIGH, This)), (90, Came(LOW)), (90, Came(HIGH))],
                &[(0, 0)],
            ),
            (
                "one encoding's key frame does not answer another one's wish",
                &[(0, Wanted(LOW, This)), (0, Wanted(HIGH, This)), (90, Came(LOW)), (1100, Came(HIGH))],
                &[(0, 0), (0, 1), (1000, 1)],
            ),
            ("whoever takes any encoding is answered by any", &[(0, Wanted(LOW, Any)), (90, Came(HIGH))], &[(0, 0)]),
            (
                "whoever takes any encoding joins those who wait",
                &[(0, Wanted(HIGH, This)), (300, Wanted(LOW, Any)), (400, Came(HIGH))],
                &[(0, 1)],
            ),
            (
                "a particular wish outweighs one for any",
                &[(0, Wanted(LOW, Any)), (10, Wanted(LOW, This)), (90, Came(HIGH)), (1050, Came(LOW))],
                &[(0, 0), (1000, 0)],
            ),
            (
                "an encoding that starts anew is asked as soon as its track may be",
                &[(0, Wanted(LOW, This)), (10, Started(LOW)), (290, Came(LOW))],
                &[(0, 0), (200, 0)],
            ),
            ("an encoding that starts unasked stays so", &[(0, Started(LOW))], &[]),
            ("an encoding that no track has is nobody's", &[(0, Wanted(StreamIndex(8), This))], &[]),
        ];
        for (name, happens, expected) in cases {
            assert_eq!(asked(happens), *expected, "{name}");
        }
    }

    #[test]
    fn a_hundred_viewers_a_second_of_eight_encodings_stay_within_both_limits() {
        let wishes: Vec<(u64, Happens)> = (0..10_000)
            .filter(|millis| millis % 10 == 0)
            .flat_map(|millis| {
                let encoding = StreamIndex(u8::try_from(millis / 10 % 8).unwrap());
                [(millis, Wanted(encoding, This)), (millis + 5, Came(encoding))]
            })
            .collect();
        let asked = asked(&wishes);
        for encoding in 0..8 {
            let times: Vec<u64> = asked.iter().filter(|(_, index)| *index == encoding).map(|(at, _)| *at).collect();
            assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 500), "{encoding}: {times:?}");
        }
        let mut times: Vec<u64> = asked.iter().map(|(at, _)| *at).collect();
        times.dedup();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 200) && times.len() > 10, "{times:?}");
    }

    #[test]
    fn a_publisher_that_does_not_answer_is_asked_a_bounded_number_of_times() {
        let asked = asked(&[(0, Wanted(LOW, This))]);
        assert_eq!(asked, (0..10).map(|round| (round * 1000, 0)).collect::<Vec<_>>());
        let mut requests = KeyFrameRequests::default();
        requests.want(LOW, This);
        for round in 0..u64::from(KEY_FRAME_TRIES_MAX) {
            assert_eq!(requests.take_due(Instant::from_millis(10_000 * round)).len(), 1);
        }
        assert_eq!(requests.due(), None);
    }
}
