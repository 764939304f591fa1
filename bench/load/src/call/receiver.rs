//! The receiving half of a participant: which numbered streams came under which SSRC.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use str0m::Rtc;
use str0m::media::Mid;
use str0m::rtp::RtpPacket;

use crate::measure::ranges::RangeSet;
use crate::payload;
use crate::peer::endpoint::Arrival;
use crate::viewer::identify;

/// What the role writes and the participant reads.
#[derive(Debug, Default)]
pub(crate) struct Received {
    streams: HashMap<u32, Stream>,
    /// Packets that came twice, by their numbers in the payload.
    pub(crate) duplicates: u64,
    /// Packets that came after one with a higher number.
    pub(crate) out_of_order: u64,
    /// Packets whose payload does not read.
    pub(crate) unreadable: u64,
    /// Packets of each SSRC, m-line and stream since the window was opened.
    pub(crate) window: HashMap<(u32, Mid, u64), u64>,
}

/// One SSRC.
#[derive(Debug)]
struct Stream {
    mid: Mid,
    first_at: Instant,
    /// Numbers of each stream that came.
    numbers: HashMap<u64, RangeSet>,
}

impl Received {
    /// When the first packet of an SSRC came, if it came at this m-line.
    pub(crate) fn first_at(&self, ssrc: u32, mid: &str) -> Option<Instant> {
        self.streams.get(&ssrc).filter(|stream| *stream.mid == *mid).map(|stream| stream.first_at)
    }

    /// Streams by number that came under each SSRC.
    pub(crate) fn pairs(&self) -> HashSet<(u32, u64)> {
        let pairs = self.streams.iter().flat_map(|(ssrc, stream)| stream.numbers.keys().map(|id| (*ssrc, *id)));
        pairs.collect()
    }

    /// Forgets SSRCs that are not in use any more.
    pub(crate) fn forget(&mut self, ssrcs: &[u32]) {
        for ssrc in ssrcs {
            self.streams.remove(ssrc);
        }
    }

    fn handle_packet(&mut self, mid: Mid, at: Instant, ssrc: u32, stream_id: u64, number: u64) {
        let fresh = || Stream { mid, first_at: at, numbers: HashMap::new() };
        let stream = self.streams.entry(ssrc).or_insert_with(fresh);
        stream.mid = mid;
        let numbers = stream.numbers.entry(stream_id).or_default();
        let highest = numbers.span().map(|span| span.end - 1);
        if !numbers.insert(number) {
            self.duplicates += 1;
        } else if highest.is_some_and(|highest| number < highest) {
            self.out_of_order += 1;
        }
        *self.window.entry((ssrc, mid, stream_id)).or_default() += 1;
    }
}

/// Receives for one participant.
#[derive(Debug)]
pub(crate) struct Receiver {
    received: Arc<Mutex<Received>>,
    delivered: Arc<AtomicU64>,
}

impl Receiver {
    /// A receiver whose record others read, and that counts packets in `delivered` too.
    pub(crate) fn new(received: Arc<Mutex<Received>>, delivered: Arc<AtomicU64>) -> Self {
        Self { received, delivered }
    }

    pub(crate) fn handle_packet(&self, rtc: &mut Rtc, arrival: Arrival, packet: &RtpPacket) {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        let known = identify(rtc, packet);
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        let read = known.and_then(|(mid, codec)| Some((mid, payload::parse(codec, &packet.payload).ok()?)));
        match read {
            Some((mid, parsed)) => {
                let body = parsed.body;
                received.handle_packet(mid, arrival.at, *packet.header.ssrc, body.stream_id, body.packet_number);
            }
            None => received.unreadable += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_told_apart_by_what_they_say_and_how_they_came() {
        let mut received = Received::default();
        let at = Instant::now();
        for (ssrc, stream, number) in [(1, 7, 0), (1, 7, 2), (1, 7, 1), (1, 7, 2), (2, 8, 0)] {
            received.handle_packet("0".into(), at, ssrc, stream, number);
        }
        assert_eq!((received.duplicates, received.out_of_order), (1, 1));
        assert_eq!(received.pairs(), HashSet::from([(1, 7), (2, 8)]));
        assert_eq!(received.first_at(1, "0"), Some(at));
        assert_eq!(received.first_at(1, "1"), None, "another m-line");
        received.forget(&[1]);
        assert_eq!((received.pairs().len(), received.duplicates), (1, 1));
    }
}
