//! One egress stream as the engine keeps it: the decisions are `egress`', the place in the history is here.

use sluice_protocol::media::Ssrc;
use sluice_protocol::plan;
use sluice_protocol::table::RowIndex;
use sluice_protocol::time::Instant;

use crate::discard::Discard;
use crate::egress::EgressStream;
use crate::ingress::StreamIndex;
use crate::limits::{OPEN_FRAME_MAX, REPLAY_AGE_MAX, REPLAY_PACKETS_MAX};
use crate::route::history::{History, Position};
use crate::route::track::Track;
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
    /// A key frame behind, to which it goes back when the open frame has ended.
    pub(crate) held: Option<Held>,
    /// Whether the flush comes back to it when [`Target::due`] says so.
    pub(crate) is_listed: bool,
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

/// A key frame of another encoding that waits for the open frame to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) position: Position,
    /// Since when it waits.
    pub(crate) since: Instant,
}

impl Target {
    /// Finds the last key frame of an encoding, if it is young and near enough, of the SSRC that carries it now, and no step
    /// back from what the subscriber has seen.
    pub(crate) fn find(&self, now: Instant, track: &Track, encoding: StreamIndex) -> Option<Position> {
        let position = track.history.key_frame(encoding)?;
        let packet = track.history.packet(position)?;
        let is_within = track.history.head().0 - position.0 <= REPLAY_PACKETS_MAX
            && now.saturating_since(packet.arrival) <= REPLAY_AGE_MAX
            && track.stream(encoding).is_some_and(|stream| stream.ssrc == Some(packet.ssrc));
        (is_within && self.stream.is_newer(&packet)).then_some(position)
    }

    /// Looks behind for a key frame of the encoding that is to be forwarded instead of the present one; returns true when
    /// there is one to go back to. What lies ahead comes by itself.
    pub(crate) fn look_back(&mut self, now: Instant, track: &Track) -> bool {
        let Some(encoding) = self.stream.awaited() else { return false };
        let Some(position) = self.find(now, track, encoding).filter(|position| *position < self.cursor) else {
            return false;
        };
        if self.stream.current().is_some() {
            self.stream.finish();
            self.held = Some(Held { position, since: now });
        } else {
            self.cursor = position;
        }
        true
    }

    /// Returns the place of the next packet and moves on, or back to a key frame that need not wait any more.
    pub(crate) fn step(&mut self, now: Instant, history: &History) -> Option<Position> {
        if self.held.is_some() {
            self.go_back(now);
        }
        let position = self.cursor;
        (position < history.head()).then(|| {
            self.cursor = position.next();
            position
        })
    }

    /// Remembers a key frame that has to wait.
    pub(crate) fn note(&mut self, now: Instant, position: Position, discard: Discard) {
        if discard == Discard::AwaitingFrameEnd {
            self.held.get_or_insert(Held { position, since: now });
        }
    }

    /// Returns when it is to be looked at though nothing has come: for its replay, and for a key frame that has waited long
    /// enough.
    pub(crate) fn due(&self) -> Option<Instant> {
        let given_up = self.held.map(|held| held.since + OPEN_FRAME_MAX);
        self.replay.map(|replay| replay.next).or(given_up)
    }

    /// Goes back to the key frame that waits, once it need not wait any more.
    fn go_back(&mut self, now: Instant) {
        let Some(held) = self.held else { return };
        if !self.stream.is_finishing() {
            self.held = None;
        } else if self.stream.has_finished() || now.saturating_since(held.since) >= OPEN_FRAME_MAX {
            self.stream.turn();
            self.cursor = self.cursor.min(held.position);
            self.held = None;
        }
    }

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
