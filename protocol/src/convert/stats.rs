//! Statistics on the wire.

use super::media::payload_type;
use super::{FieldError, narrow};
use crate::ids::{EgressId, TrackId, TransportId};
use crate::media::Ssrc;
use crate::stats::{EgressStats, IngressStats, ShardStats, Stats, TransportStats};
use crate::wire;

pub(super) fn stats(wire: &wire::Stats) -> Result<Stats, FieldError> {
    Ok(Stats {
        shards: wire.shards.iter().map(shard).collect::<Result<_, _>>()?,
        transports: wire.transports.iter().map(transport).collect(),
        ingress: wire.ingress.iter().map(ingress).collect::<Result<_, _>>()?,
        egress: wire.egress.iter().map(egress).collect::<Result<_, _>>()?,
    })
}

pub(crate) fn write_stats(stats: &Stats) -> wire::Stats {
    wire::Stats {
        shards: stats.shards.iter().map(write_shard).collect(),
        transports: stats.transports.iter().map(write_transport).collect(),
        ingress: stats.ingress.iter().map(write_ingress).collect(),
        egress: stats.egress.iter().map(write_egress).collect(),
    }
}

fn shard(wire: &wire::ShardStats) -> Result<ShardStats, FieldError> {
    let counters = |list: &[wire::Counter]| list.iter().map(|counter| (counter.name.clone(), counter.value)).collect();
    Ok(ShardStats {
        shard: narrow(wire.shard, "ShardStats.shard")?,
        counters: counters(&wire.counters),
        discards: counters(&wire.discards),
    })
}

fn write_shard(stats: &ShardStats) -> wire::ShardStats {
    let counters = |list: &[(String, u64)]| {
        list.iter().map(|(name, value)| wire::Counter { name: name.clone(), value: *value }).collect()
    };
    wire::ShardStats {
        shard: stats.shard.into(),
        counters: counters(&stats.counters),
        discards: counters(&stats.discards),
    }
}

fn transport(wire: &wire::TransportStats) -> TransportStats {
    TransportStats {
        transport: TransportId::from_word(wire.transport),
        received_packets: wire.received_packets,
        received_bytes: wire.received_bytes,
        sent_packets: wire.sent_packets,
        sent_bytes: wire.sent_bytes,
        discarded_packets: wire.discarded_packets,
        rtt_us: wire.rtt_us,
    }
}

fn write_transport(stats: &TransportStats) -> wire::TransportStats {
    wire::TransportStats {
        transport: stats.transport.word(),
        received_packets: stats.received_packets,
        received_bytes: stats.received_bytes,
        sent_packets: stats.sent_packets,
        sent_bytes: stats.sent_bytes,
        discarded_packets: stats.discarded_packets,
        rtt_us: stats.rtt_us,
    }
}

fn ingress(wire: &wire::IngressStats) -> Result<IngressStats, FieldError> {
    Ok(IngressStats {
        track: TrackId::from_word(wire.track),
        ssrc: Ssrc(wire.ssrc),
        payload_type: payload_type(wire.payload_type, "IngressStats.payload_type")?,
        packets: wire.packets,
        bytes: wire.bytes,
        lost: wire.lost,
        repaired: wire.repaired,
        jitter: wire.jitter,
        nacks: wire.nacks,
        plis: wire.plis,
        key_frames: wire.key_frames,
    })
}

fn write_ingress(stats: &IngressStats) -> wire::IngressStats {
    wire::IngressStats {
        track: stats.track.word(),
        ssrc: stats.ssrc.0,
        payload_type: stats.payload_type.0.into(),
        packets: stats.packets,
        bytes: stats.bytes,
        lost: stats.lost,
        repaired: stats.repaired,
        jitter: stats.jitter,
        nacks: stats.nacks,
        plis: stats.plis,
        key_frames: stats.key_frames,
    }
}

fn egress(wire: &wire::EgressStats) -> Result<EgressStats, FieldError> {
    Ok(EgressStats {
        egress: EgressId::from_word(wire.egress),
        packets: wire.packets,
        bytes: wire.bytes,
        repeats: wire.repeats,
        nacks: wire.nacks,
        plis: wire.plis,
        fraction_lost: narrow(wire.fraction_lost, "EgressStats.fraction_lost")?,
        jitter: wire.jitter,
    })
}

fn write_egress(stats: &EgressStats) -> wire::EgressStats {
    wire::EgressStats {
        egress: stats.egress.word(),
        packets: stats.packets,
        bytes: stats.bytes,
        repeats: stats.repeats,
        nacks: stats.nacks,
        plis: stats.plis,
        fraction_lost: stats.fraction_lost.into(),
        jitter: stats.jitter,
    }
}
