//! Answers that are waited for from all shards.

use std::collections::VecDeque;

use sluice_protocol::limits::STATS_REQUESTS_MAX;
use sluice_protocol::stats::Stats;

/// Pings that wait for shards; the oldest is forgotten for a further one, and never answered. A controller has one under
/// way.
const PINGS_MAX: usize = 8;

/// Events that the controller did not read in time, for whom they were dropped.
const EVENTS_DROPPED: &str = "events_dropped";

/// What shards are asked, and what they have answered so far. Statistics are gathered one request at a time, in the order
/// of asking; of more than [`STATS_REQUESTS_MAX`] that wait, the oldest is a controller's that is gone.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    stats: Option<(u64, usize, Stats)>,
    stats_waiting: VecDeque<u64>,
    /// Nonces, with the number of shards that have not answered.
    pings: VecDeque<(u64, usize)>,
}

impl Gathering {
    /// Takes a request for statistics of `shards` shards, and tells whether to ask them now; else it waits.
    pub(super) fn ask_stats(&mut self, id: u64, shards: usize) -> bool {
        if self.stats.is_none() {
            self.stats = Some((id, shards, Stats::default()));
            return true;
        }
        if self.stats_waiting.len() >= STATS_REQUESTS_MAX {
            self.stats_waiting.pop_front();
        }
        self.stats_waiting.push_back(id);
        false
    }

    /// Takes a shard's part, and returns all of it when it was the last. What the session counts stands with the first shard.
    pub(super) fn take_stats(&mut self, id: u64, part: Stats, events_dropped: u64) -> Option<Stats> {
        let (_, missing, stats) = self.stats.as_mut().filter(|(asked, _, _)| *asked == id)?;
        stats.shards.extend(part.shards);
        stats.transports.extend(part.transports);
        stats.ingress.extend(part.ingress);
        stats.egress.extend(part.egress);
        *missing -= 1;
        if *missing > 0 {
            return None;
        }
        let (_, _, mut stats) = self.stats.take()?;
        if let Some(shard) = stats.shards.iter_mut().min_by_key(|shard| shard.shard) {
            shard.counters.push((EVENTS_DROPPED.to_owned(), events_dropped));
        }
        Some(stats)
    }

    /// Returns the request that has waited for longest, to be asked again.
    pub(super) fn next_stats(&mut self) -> Option<u64> {
        self.stats_waiting.pop_front()
    }

    /// Takes a ping that `shards` shards are asked.
    pub(super) fn ask_pong(&mut self, nonce: u64, shards: usize) {
        if self.pings.len() >= PINGS_MAX {
            self.pings.pop_front();
        }
        self.pings.push_back((nonce, shards));
    }

    /// Takes a shard's answer, and tells whether it was the last.
    pub(super) fn take_pong(&mut self, nonce: u64) -> bool {
        let Some(position) = self.pings.iter().position(|(asked, _)| *asked == nonce) else { return false };
        let Some((_, missing)) = self.pings.get_mut(position) else { return false };
        *missing -= 1;
        let is_last = *missing == 0;
        if is_last {
            self.pings.remove(position);
        }
        is_last
    }
}

#[cfg(test)]
mod tests {
    use sluice_protocol::stats::ShardStats;

    use super::*;

    #[test]
    fn statistics_are_gathered_in_the_order_of_asking_and_the_oldest_of_too_many_is_dropped() {
        let mut gathering = Gathering::default();
        assert!(gathering.ask_stats(1, 2));
        for id in 2..=6 {
            assert!(!gathering.ask_stats(id, 2), "one at a time");
        }
        assert!(gathering.take_stats(1, Stats::default(), 0).is_none(), "one shard is missing");
        assert!(gathering.take_stats(9, Stats::default(), 0).is_none(), "nobody asked");
        assert!(gathering.take_stats(1, Stats::default(), 0).is_some());
        assert!(gathering.take_stats(1, Stats::default(), 0).is_none(), "it was told");
        let order: Vec<u64> = std::iter::from_fn(|| gathering.next_stats()).collect();
        assert_eq!(order, [3, 4, 5, 6], "four wait at most");
    }

    #[test]
    fn a_ping_is_answered_when_all_shards_have_and_too_many_push_the_oldest_out() {
        let mut gathering = Gathering::default();
        for nonce in 0..=PINGS_MAX as u64 {
            gathering.ask_pong(nonce, 2);
        }
        assert!(!gathering.take_pong(0) && !gathering.take_pong(0), "pushed out");
        assert!(!gathering.take_pong(5));
        assert!(gathering.take_pong(5));
        assert!(!gathering.take_pong(5), "once");
        assert_eq!(gathering.pings.len(), PINGS_MAX - 1);
    }

    #[test]
    fn what_the_session_dropped_is_counted_once_with_the_first_shard() {
        let part = |shard| Stats { shards: vec![ShardStats { shard, ..ShardStats::default() }], ..Stats::default() };
        let mut gathering = Gathering::default();
        assert!(gathering.ask_stats(1, 2));
        assert!(gathering.take_stats(1, part(1), 6).is_none());
        let stats = gathering.take_stats(1, part(0), 7).unwrap();
        let counted = stats.shards.iter().map(|shard| (shard.shard, shard.counters.clone()));
        let dropped = vec![("events_dropped".to_owned(), 7)];
        assert_eq!(counted.collect::<Vec<_>>(), [(1, Vec::new()), (0, dropped)]);
    }
}
