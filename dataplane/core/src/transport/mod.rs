//! One peer connection's transport: its ICE agent, its keys, and what is counted per peer.

mod control_replay;
mod ice;
mod punt;

use std::time::Duration;

use sluice_protocol::ids::{EgressId, TrackId};
use sluice_protocol::media::{SrtpKeys, Ssrc};
use sluice_protocol::plan;
use sluice_protocol::table::RowIndex;
use sluice_protocol::time::Instant;

pub(crate) use control_replay::ControlReplay;
pub(crate) use ice::{Agent, Changes, Consent};
pub(crate) use punt::PuntWindow;

use crate::discard::Discard;
use crate::ingress::arrivals::Arrivals;
use crate::ingress::refused::Refused;
use crate::ingress::repair_time::RepairTime;
use crate::ingress::sources::Sources;
use crate::port::FiveTuple;
use crate::shard::rows::Rows;
use crate::shard::timer::Deadlines;
use crate::srtp::{Opener, Sealer, SrtpError};

/// One BUNDLE.
#[derive(Debug)]
pub(crate) struct Transport {
    /// What the control plane wants of it.
    pub(crate) plan: plan::Transport,
    /// Its row of the shared table: the last SRTCP index used, and its path.
    pub(crate) row: RowIndex,
    pub(crate) agent: Agent,
    pub(crate) security: Security,
    pub(crate) punts: PuntWindow,
    pub(crate) deadlines: Deadlines,
    /// The SSRCs that it is heard with.
    pub(crate) sources: Sources,
    /// Those that belong nowhere.
    pub(crate) refused: Refused,
    pub(crate) tracks: Vec<TrackId>,
    pub(crate) egresses: Vec<EgressId>,
    pub(crate) rtcp: ControlReplay,
    pub(crate) counters: Counters,
    /// The last round trip that a report told.
    pub(crate) rtt: Option<Duration>,
    /// How long it takes to repeat what it is asked for.
    pub(crate) repair_time: RepairTime,
    /// When its packets arrived, for transport-wide feedback.
    pub(crate) arrivals: Arrivals,
    /// When it was last told its fixed cap.
    pub(crate) cap_told: Option<Instant>,
    /// Our wall clock minus the peer's, from its first sender report to this process or a predecessor; for all of its
    /// streams.
    pub(crate) clock_offset_nanos: Option<i64>,
    /// How many SSRCs it may still introduce.
    pub(crate) learning: Allowance,
    /// How many repeats it may still ask for.
    pub(crate) repeats: Allowance,
}

/// Keys exist only here.
#[derive(Debug)]
pub(crate) enum Security {
    /// The DTLS handshake is not done: SRTP is dropped and counted.
    Handshaking,
    /// Keys are there, and stay.
    Open(Box<Open>),
}

/// The contexts of one DTLS association.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) keys: SrtpKeys,
    pub(crate) opener: Opener,
    pub(crate) sealer: Sealer,
}

/// What is counted per transport.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) received_packets: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_packets: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) discarded_packets: u64,
}

/// What a peer reports, opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compound<'a> {
    pub(crate) plain: &'a [u8],
    /// Whether its sender has said nothing later that came before it.
    pub(crate) is_newest: bool,
}

impl Transport {
    pub(crate) fn new(plan: plan::Transport, row: RowIndex, agent: Agent) -> Self {
        Self {
            plan,
            row,
            agent,
            security: Security::Handshaking,
            punts: PuntWindow::new(),
            deadlines: Deadlines::new(),
            sources: Sources::new(),
            refused: Refused::new(),
            tracks: Vec::new(),
            egresses: Vec::new(),
            rtcp: ControlReplay::default(),
            counters: Counters {
                received_packets: 0,
                received_bytes: 0,
                sent_packets: 0,
                sent_bytes: 0,
                discarded_packets: 0,
            },
            rtt: None,
            repair_time: RepairTime::default(),
            arrivals: Arrivals::default(),
            cap_told: None,
            clock_offset_nanos: None,
            learning: Allowance::new(),
            repeats: Allowance::new(),
        }
    }

    pub(crate) fn open(&self) -> Result<&Open, Discard> {
        match &self.security {
            Security::Open(open) => Ok(open),
            Security::Handshaking => Err(Discard::NoKeys),
        }
    }

    /// Returns the nominated pair as plan and shared table keep it, `None` before the first nomination.
    pub(crate) fn path(&self) -> Option<plan::Path> {
        let (FiveTuple { local, remote }, credentials) = self.agent.path()?;
        Some(plan::Path { transport: self.plan.id, local, remote, credentials })
    }

    /// Authenticates and decrypts a compound in place. That its index was seen is remembered, here and in the shared table.
    pub(crate) fn open_rtcp<'a>(&mut self, rows: &mut Rows, bytes: &'a mut [u8]) -> Result<Compound<'a>, Discard> {
        let Security::Open(open) = &self.security else { return Err(Discard::NoKeys) };
        let sender = bytes.get(4..8).and_then(|ssrc| ssrc.try_into().ok()).map(u32::from_be_bytes);
        let sender = Ssrc(sender.ok_or(Discard::RtcpMalformed)?);
        let index = u64::from(open.opener.rtcp_index(bytes).map_err(|_| Discard::SrtcpForged)?);
        self.rtcp.check(sender, index)?;
        let size_bytes = open.opener.open_rtcp(bytes).map_err(|_| Discard::SrtcpForged)?;
        let is_newest = self.rtcp.commit(rows, self.plan.id, sender, index);
        let plain = bytes.get(..size_bytes).ok_or(Discard::SrtcpForged)?;
        Ok(Compound { plain, is_newest })
    }
}

impl Open {
    pub(crate) fn new(keys: &SrtpKeys) -> Result<Self, SrtpError> {
        Ok(Self {
            keys: *keys,
            opener: Opener::new(keys.profile, &keys.remote)?,
            sealer: Sealer::new(keys.profile, &keys.local)?,
        })
    }
}

/// How many things happened in the current window, and whether one more may.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    started: Instant,
    used: u32,
}

impl Allowance {
    pub(crate) const fn new() -> Self {
        Self { started: Instant::ZERO, used: 0 }
    }

    /// Takes one of `limit` per `window`; false when there is none left.
    pub(crate) fn take(&mut self, now: Instant, window: Duration, limit: u32) -> bool {
        if now.saturating_since(self.started) >= window {
            *self = Self { started: now, used: 0 };
        }
        let allowed = self.used < limit;
        self.used += u32::from(allowed);
        allowed
    }
}
