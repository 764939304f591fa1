//! One egress stream as the engine keeps it: the decisions are `egress`', the place in the history is here.

use sluice_protocol::media::Ssrc;
use sluice_protocol::plan;
use sluice_protocol::table::RowIndex;
use sluice_protocol::time::Instant;

use crate::egress::EgressStream;
use crate::route::history::Position;
use crate::srtp::guard::SealGuard;

/// One egress stream and what it needs to leave.
#[derive(Debug)]
pub(crate) struct Target {
    /// What the control plane wants of it.
    pub(crate) plan: plan::Egress,
    pub(crate) stream: EgressStream,
    /// The next packet of the track's history that it has not looked at.
    pub(crate) cursor: Position,
    pub(crate) row: RowIndex,
    pub(crate) rtx_row: Option<RowIndex>,
    /// How it catches up with a key frame out of the history; `None` when it follows live.
    pub(crate) replay: Option<Replay>,
    /// What predecessors had sent.
    pub(crate) inherited: SentBefore,
    /// Who commanded a key frame by FIR last, and the number of that command.
    pub(crate) last_command: Option<(Ssrc, u8)>,
    /// Whether the controller was told that it cannot be served.
    pub(crate) is_undecodable: bool,
    pub(crate) counters: TargetCounters,
    pub(crate) guard: SealGuard,
    pub(crate) rtx_guard: SealGuard,
}

/// What an egress stream had sent when its last data plane ended, as sender reports count it, modulo 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SentBefore {
    pub(crate) packets: u32,
    pub(crate) payload_bytes: u32,
}

/// A replay that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replay {
    /// When the next burst may leave.
    pub(crate) next: Instant,
}

impl Target {
    /// Returns packets and payload bytes sent since transmission began, whichever process sent them, modulo 2^32
    /// (RFC 3550 section 6.4.1).
    pub(crate) fn sent(&self) -> (u32, u32) {
        self.sent_with(0, 0)
    }

    /// Returns the same as it will be when further packets, of so many payload bytes together, have left.
    pub(crate) fn sent_with(&self, packets: u64, payload_bytes: u64) -> (u32, u32) {
        let low = |count: u64| u32::try_from(count & 0xffff_ffff).unwrap_or(0);
        let SentBefore { packets: packets_before, payload_bytes: payload_bytes_before } = self.inherited;
        (
            packets_before.wrapping_add(low(self.counters.packets.wrapping_add(packets))),
            payload_bytes_before.wrapping_add(low(self.counters.bytes.wrapping_add(payload_bytes))),
        )
    }
}

/// What is counted per egress stream, since this process began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TargetCounters {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) repeats: u64,
    pub(crate) nacks: u64,
    pub(crate) plis: u64,
    pub(crate) fraction_lost: u8,
    pub(crate) jitter: u32,
}
