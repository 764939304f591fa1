//! What was counted.

use sluice_protocol::stats::{EgressStats, IngressStats, ShardStats, Stats, TransportStats};

use super::Engine;
use crate::route::track::Track;

impl Engine {
    /// Adds the counters of this shard to `stats`.
    pub fn stats(&self, stats: &mut Stats) {
        stats.shards.push(self.shard_stats());
        stats.transports.extend(self.transports.iter().map(|transport| TransportStats {
            transport: transport.plan.id,
            received_packets: transport.counters.received_packets,
            received_bytes: transport.counters.received_bytes,
            sent_packets: transport.counters.sent_packets,
            sent_bytes: transport.counters.sent_bytes,
            discarded_packets: transport.counters.discarded_packets,
            rtt_us: transport.rtt.map_or(0, |rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)),
        }));
        stats.ingress.extend(self.tracks.iter().flat_map(ingress_stats));
        stats.egress.extend(self.targets.iter().map(|target| EgressStats {
            egress: target.plan.id,
            packets: target.counters.packets,
            bytes: target.counters.bytes,
            repeats: target.counters.repeats,
            nacks: target.counters.nacks,
            plis: target.counters.plis,
            fraction_lost: target.counters.fraction_lost,
            jitter: target.counters.jitter,
        }));
    }

    fn shard_stats(&self) -> ShardStats {
        let counters = [
            ("transports", self.transports.len()),
            ("tracks", self.tracks.len()),
            ("egresses", self.targets.len()),
            ("replays", self.queues.due.len()),
        ];
        ShardStats {
            shard: self.config.shard,
            counters: counters.map(|(name, count)| (name.to_owned(), count as u64)).to_vec(),
            discards: self.discards.iter().map(|(discard, count)| (discard.name().to_owned(), count)).collect(),
        }
    }
}

/// Returns the counters of all streams of a track that were heard.
fn ingress_stats(track: &Track) -> impl Iterator<Item = IngressStats> {
    let id = track.plan.id;
    track.streams.iter().filter_map(move |stream| {
        Some(IngressStats {
            track: id,
            ssrc: stream.ssrc?,
            payload_type: stream.payload_type?,
            packets: stream.counters.packets,
            bytes: stream.counters.bytes,
            lost: stream.reception.lost(),
            repaired: stream.counters.repaired,
            jitter: stream.reception.jitter(),
            nacks: stream.counters.nacks,
            plis: stream.counters.plis,
            key_frames: stream.counters.key_frames,
        })
    })
}
