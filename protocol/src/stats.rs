//! Counters of a data plane, read by the controller.

use crate::ids::{EgressId, TrackId, TransportId};
use crate::media::{PayloadType, Ssrc};

/// Everything counted since the data plane started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Per shard.
    pub shards: Vec<ShardStats>,
    /// Per transport.
    pub transports: Vec<TransportStats>,
    /// Per stream that is received.
    pub ingress: Vec<IngressStats>,
    /// Per stream that is sent.
    pub egress: Vec<EgressStats>,
}

/// Counters of one shard, by name; `docs/METRICS.md` lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// The shard.
    pub shard: u8,
    /// Named counters of the shell and the core.
    pub counters: Vec<(String, u64)>,
    /// Datagrams and packets discarded, by reason.
    pub discards: Vec<(String, u64)>,
}

/// Counters of one transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportStats {
    /// The transport.
    pub transport: TransportId,
    /// Datagrams received.
    pub received_packets: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Datagrams sent.
    pub sent_packets: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Datagrams and packets discarded.
    pub discarded_packets: u64,
    /// The last round-trip time from reports, in microseconds, 0 when unknown.
    pub rtt_us: u32,
}

/// Counters of one received stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngressStats {
    /// The track.
    pub track: TrackId,
    /// The SSRC.
    pub ssrc: Ssrc,
    /// The payload type last seen.
    pub payload_type: PayloadType,
    /// Packets received, repairs included.
    pub packets: u64,
    /// Payload bytes received.
    pub bytes: u64,
    /// Packets lost for good, RFC 3550 section 6.4.1; may be negative with duplicates.
    pub lost: i64,
    /// Packets repaired.
    pub repaired: u64,
    /// Interarrival jitter in units of the RTP clock (RFC 3550 section 6.4.1).
    pub jitter: u32,
    /// Repeats asked for.
    pub nacks: u64,
    /// Key frames asked for.
    pub plis: u64,
    /// Key frames received.
    pub key_frames: u64,
}

/// Counters of one sent stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EgressStats {
    /// The egress stream.
    pub egress: EgressId,
    /// Packets sent, repeats not counted.
    pub packets: u64,
    /// Payload bytes sent.
    pub bytes: u64,
    /// Repeats sent.
    pub repeats: u64,
    /// Repeats asked for.
    pub nacks: u64,
    /// Key frames asked for.
    pub plis: u64,
    /// The fraction lost of the last report, in 1/256.
    pub fraction_lost: u8,
    /// The jitter of the last report, in units of the RTP clock.
    pub jitter: u32,
}
