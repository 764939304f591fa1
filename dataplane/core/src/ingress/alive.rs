//! Which encodings of a track its publisher sends now.
//!
//! Browsers stop sending an encoding without a word: when the path or the processor cannot carry it, or when nobody asked
//! for it. It is told by the others going on. When all of them are silent there is nothing better, so all stay what they
//! are.

use sluice_protocol::limits::ENCODINGS_MAX;
use sluice_protocol::time::Instant;

use super::StreamIndex;
use crate::limits::{ENCODING_SILENCE_FRAMES, ENCODING_SILENCE_MIN};

const _: () = assert!(ENCODINGS_MAX <= 8, "a bit for each encoding");

/// A set of encodings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Alive(u8);

impl Alive {
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn with(self, encoding: StreamIndex) -> Self {
        Self(self.0 | bit(encoding))
    }

    pub(crate) fn has(self, encoding: StreamIndex) -> bool {
        self.0 & bit(encoding) != 0
    }

    /// Returns the highest one that is not above `limit`.
    pub(crate) fn highest_up_to(self, limit: StreamIndex) -> Option<StreamIndex> {
        let within = self.0 & u8::MAX.checked_shr(7_u32.saturating_sub(u32::from(limit.0))).unwrap_or(0);
        within.checked_ilog2().and_then(|index| u8::try_from(index).ok()).map(StreamIndex)
    }

    pub(crate) fn lowest(self) -> Option<StreamIndex> {
        u8::try_from(self.0.trailing_zeros()).ok().filter(|_| self.0 != 0).map(StreamIndex)
    }
}

fn bit(encoding: StreamIndex) -> u8 {
    1_u8.checked_shl(u32::from(encoding.0)).unwrap_or(0)
}

/// Finds out which encodings are alive. One is from its first packet on, until it has been silent for
/// [`ENCODING_SILENCE_MIN`] while the others began [`ENCODING_SILENCE_FRAMES`] frames.
#[derive(Clone, Debug, Default)]
pub(crate) struct Liveness {
    alive: Alive,
    encodings: [Encoding; ENCODINGS_MAX],
}

#[derive(Clone, Copy, Debug, Default)]
struct Encoding {
    /// When it was heard last.
    heard: Instant,
    /// Frames of the others since then.
    missed: u8,
}

impl Liveness {
    /// Notes a packet of media.
    pub(crate) fn receive(&mut self, arrival: Instant, encoding: StreamIndex, starts_frame: bool) {
        let Some(heard) = self.encodings.get_mut(usize::from(encoding.0)) else { return };
        *heard = Encoding { heard: arrival, missed: 0 };
        self.alive = self.alive.with(encoding);
        if !starts_frame || self.alive == Alive::NONE.with(encoding) {
            return;
        }
        for (other, index) in self.encodings.iter_mut().zip(0..) {
            if StreamIndex(index) == encoding {
                continue;
            }
            other.missed = other.missed.saturating_add(1);
            if other.missed >= ENCODING_SILENCE_FRAMES && arrival.saturating_since(other.heard) >= ENCODING_SILENCE_MIN
            {
                self.alive.0 &= !bit(StreamIndex(index));
            }
        }
    }

    pub(crate) const fn alive(&self) -> Alive {
        self.alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: StreamIndex = StreamIndex(0);
    const HIGH: StreamIndex = StreamIndex(2);

    /// Lets encodings send a frame each at the same moments, `interval_ms` apart; returns who was alive after each.
    fn run(interval_ms: u64, rounds: &[&[StreamIndex]]) -> Vec<Alive> {
        let mut liveness = Liveness::default();
        let mut alive = Vec::new();
        for (round, encodings) in (1..).zip(rounds) {
            for encoding in *encodings {
                liveness.receive(Instant::from_millis(round * interval_ms), *encoding, true);
                liveness.receive(Instant::from_millis(round * interval_ms + 1), *encoding, false);
            }
            alive.push(liveness.alive());
        }
        alive
    }

    #[test]
    fn an_encoding_dies_when_the_others_go_on_without_it_and_lives_again_with_its_first_packet() {
        let both: &[StreamIndex] = &[LOW, HIGH];
        let mut rounds = vec![both; 3];
        rounds.extend([&[LOW][..]; 20]);
        rounds.push(both);
        let alive = run(33, &rounds);
        let all = Alive::NONE.with(LOW).with(HIGH);
        let died = alive.iter().position(|alive| *alive == Alive::NONE.with(LOW)).unwrap();
        assert_eq!((alive[2], alive[died - 1], died), (all, all, 2 + 10), "330 ms after the last packet");
        assert_eq!(alive[22], Alive::NONE.with(LOW));
        assert_eq!(alive[23], all);
    }

    #[test]
    fn few_frames_a_second_are_no_silence() {
        for interval_ms in [200, 1000, 5000] {
            let alive = run(interval_ms, &[&[LOW, HIGH][..]; 50]);
            assert!(alive.iter().all(|alive| alive.has(LOW) && alive.has(HIGH)), "{interval_ms}");
        }
    }

    #[test]
    fn an_only_encoding_never_dies_and_silence_of_all_changes_nothing() {
        let alive = run(10_000, &[&[HIGH][..]; 10]);
        assert_eq!(alive, [Alive::NONE.with(HIGH); 10]);
        let mut liveness = Liveness::default();
        for encoding in [LOW, HIGH, LOW] {
            liveness.receive(Instant::from_millis(1), encoding, true);
        }
        liveness.receive(Instant::from_millis(60_000), LOW, true);
        assert!(liveness.alive().has(HIGH), "it may come right behind");
    }

    #[test]
    fn encodings_beyond_the_maximum_are_nobody() {
        assert_eq!(Alive::NONE.with(StreamIndex(8)), Alive::NONE);
        assert!(!Alive::NONE.with(LOW).has(StreamIndex(200)));
        assert_eq!(Alive(0xff).highest_up_to(StreamIndex(200)), Some(StreamIndex(7)));
        assert_eq!(Alive::NONE.lowest(), None);
    }
}
