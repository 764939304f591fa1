//! A model of a decoder: which frames are whole, and which of them could be shown.
//!
//! A frame is *complete* when all its packets are there, and *decodable* when it is complete and either a key frame or
//! the frame before it was decodable.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::limits::OPEN_FRAMES_MAX;
use crate::payload::Body;

/// Counts of frames of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameCounts {
    /// Frames with all their packets.
    pub complete: u64,
    /// Key frames with all their packets.
    pub complete_key_frames: u64,
    /// Frames that a decoder could have shown.
    pub decodable: u64,
    /// Frames given up because too many were open.
    pub abandoned: u64,
    /// Packets of frames that were decoded or passed over before.
    pub stale_packets: u64,
    /// The last decodable frame.
    pub last_decodable: Option<u64>,
}

/// What a packet brought about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The packet made a key frame whole.
    pub(super) key_frame_complete: bool,
    /// Frames that became decodable.
    pub(super) decoded: u64,
}

#[derive(Debug, Clone, Copy)]
struct OpenFrame {
    received: u16,
    expected: u16,
    since: Instant,
}

impl OpenFrame {
    fn is_complete(&self) -> bool {
        self.received >= self.expected
    }
}

/// Frames of one stream, fed with its packets in any order, each once.
#[derive(Debug, Clone, Default)]
pub(super) struct FrameTracker {
    open: BTreeMap<u64, OpenFrame>,
    counts: FrameCounts,
}

impl FrameTracker {
    /// Takes a packet that did not come before.
    pub(super) fn handle_packet(&mut self, at: Instant, body: &Body) -> Progress {
        if self.counts.last_decodable.is_some_and(|last| body.frame_number <= last) {
            self.counts.stale_packets += 1;
            return Progress::default();
        }
        let fresh = OpenFrame { received: 0, expected: body.packet_count, since: at };
        let frame = self.open.entry(body.frame_number).or_insert(fresh);
        frame.received += 1;
        let mut progress = Progress::default();
        if frame.is_complete() {
            self.counts.complete += 1;
            let follows = self.counts.last_decodable.and_then(|last| last.checked_add(1)) == Some(body.frame_number);
            if body.key_frame {
                self.counts.complete_key_frames += 1;
                progress.key_frame_complete = true;
            }
            if body.key_frame || follows {
                progress.decoded = self.decode_from(body.frame_number);
            }
        }
        if self.open.len() > OPEN_FRAMES_MAX {
            self.open.pop_first();
            self.counts.abandoned += 1;
        }
        progress
    }

    /// Shows this frame and all that wait behind it.
    fn decode_from(&mut self, first: u64) -> u64 {
        let mut decoded = 1;
        let mut last = first;
        while self.open.get(&(last + 1)).is_some_and(OpenFrame::is_complete) {
            last += 1;
            decoded += 1;
        }
        // A key frame is shown at once: older frames that still miss packets are passed over.
        self.open = self.open.split_off(&(last + 1));
        self.counts.decodable += decoded;
        self.counts.last_decodable = Some(last);
        decoded
    }

    /// Since when the stream cannot be shown for want of packets; `None` while it can.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.open.first_key_value().map(|(_, frame)| frame.since)
    }

    pub(super) fn counts(&self) -> FrameCounts {
        self.counts
    }

    /// Whether a frame has stood open for longer than `patience`, so that only a key frame helps.
    pub(super) fn needs_key_frame(&self, now: Instant, patience: Duration) -> bool {
        self.stalled_since().is_some_and(|since| now.saturating_duration_since(since) >= patience)
    }

    /// Frames that are neither decoded nor given up.
    #[cfg(test)]
    fn open_frames(&self) -> Vec<u64> {
        self.open.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(frame_number: u64, packet_index: u16, key_frame: bool) -> Body {
        Body {
            stream_id: 1,
            packet_number: frame_number * 2 + u64::from(packet_index),
            frame_number,
            send_time_ns: 0,
            packet_index,
            packet_count: 2,
            key_frame,
        }
    }

    fn feed(tracker: &mut FrameTracker, packets: &[(u64, u16, bool)]) -> Vec<u64> {
        let at = Instant::now();
        packets.iter().map(|(f, i, key)| tracker.handle_packet(at, &packet(*f, *i, *key)).decoded).collect()
    }

    #[test]
    fn nothing_is_decodable_before_a_whole_key_frame() {
        let mut tracker = FrameTracker::default();
        assert_eq!(feed(&mut tracker, &[(3, 0, false), (3, 1, false), (4, 1, true)]), [0, 0, 0]);
        assert_eq!(feed(&mut tracker, &[(4, 0, true)]), [1]);
        assert_eq!(tracker.counts().complete, 2);
        assert_eq!(tracker.counts().last_decodable, Some(4));
        assert_eq!(tracker.open_frames(), [0_u64; 0]);
    }

    #[test]
    fn a_late_packet_frees_the_frames_that_waited_for_it() {
        let mut tracker = FrameTracker::default();
        feed(&mut tracker, &[(0, 0, true), (0, 1, true), (1, 0, false)]);
        assert_eq!(feed(&mut tracker, &[(2, 0, false), (2, 1, false), (3, 0, false), (3, 1, false)]), [0, 0, 0, 0]);
        assert_eq!(feed(&mut tracker, &[(1, 1, false)]), [3]);
        assert_eq!(tracker.counts().decodable, 4);
    }

    #[test]
    fn a_torn_frame_stalls_until_the_next_key_frame() {
        let mut tracker = FrameTracker::default();
        feed(&mut tracker, &[(0, 0, true), (0, 1, true), (1, 0, false), (2, 0, false), (2, 1, false)]);
        assert_eq!(tracker.counts().decodable, 1);
        let later = Instant::now() + Duration::from_secs(1);
        assert!(tracker.needs_key_frame(later, Duration::from_millis(300)));
        assert_eq!(feed(&mut tracker, &[(9, 0, true), (9, 1, true), (1, 1, false)]), [0, 1, 0]);
        assert!(!tracker.needs_key_frame(later, Duration::from_millis(300)));
        assert_eq!(tracker.counts().stale_packets, 1);
    }

    #[test]
    fn open_frames_are_bounded() {
        let mut tracker = FrameTracker::default();
        for frame in 0..1000 {
            feed(&mut tracker, &[(frame, 0, false)]);
        }
        assert_eq!(tracker.open_frames().len(), OPEN_FRAMES_MAX);
        assert_eq!(tracker.counts().abandoned, 1000 - u64::try_from(OPEN_FRAMES_MAX).unwrap());
    }
}
