//! One received stream: an encoding of a track, whichever SSRC carries it now.

use sluice_protocol::media::{PayloadType, Rid, Ssrc};
use sluice_protocol::time::{Instant, NtpTime};

use super::ExtendedSequence;
use super::describe::Timestamp;
use super::missing::Missing;
use super::reception::Reception;
use super::structures::{Description, Structures};
use crate::limits::SSRC_SILENCE_MIN;
use crate::srtp::estimate_index;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct IngressStream {
    /// The encoding's name, where there are several.
    pub(crate) rid: Option<Rid>,
    /// The SSRC that carries it now; `None` until announced or heard.
    pub(crate) ssrc: Option<Ssrc>,
    /// The SSRC that carried it before.
    former: Option<Ssrc>,
    /// When the present SSRC took over.
    since: Instant,
    /// When it was last heard.
    heard: Instant,
    /// The payload type last seen.
    pub(crate) payload_type: Option<PayloadType>,
    /// The newest timestamp seen.
    timestamp: Option<u32>,
    /// The highest sequence number since the stream (re)started.
    highest: Option<u64>,
    pub(crate) reception: Reception,
    pub(crate) missing: Missing,
    /// Wall clock and RTP clock of the publisher at one moment, from its last sender report.
    pub(crate) clock: Option<(NtpTime, u32)>,
    /// What its dependency descriptors refer to.
    pub(crate) structures: Structures,
    pub(crate) counters: StreamCounters,
}

/// What is counted per received stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StreamCounters {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) repaired: u64,
    pub(crate) nacks: u64,
    pub(crate) plis: u64,
    pub(crate) key_frames: u64,
}

/// Whether packets of a stream are asked for when they are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repair {
    /// They are (RFC 4585 generic NACK).
    Asked,
    /// They are not.
    NotNegotiated,
}

impl IngressStream {
    /// Makes a stream of the encoding `rid`, carried by `ssrc` if that was announced.
    pub(crate) fn new(rid: Option<Rid>, ssrc: Option<Ssrc>) -> Self {
        Self { rid, ssrc, ..Self::default() }
    }

    /// Takes `ssrc` as the stream's carrier; what was counted belongs to the one before. False for stragglers of the
    /// one before, which gets the stream back only when the present one has been silent for [`SSRC_SILENCE_MIN`]. One
    /// that was announced or learnt and not heard yet gives way at once: a successor does not know which was the last.
    pub(crate) fn carry(&mut self, now: Instant, ssrc: Ssrc) -> bool {
        if self.ssrc != Some(ssrc) {
            if self.former == Some(ssrc) && now.saturating_since(self.heard) < SSRC_SILENCE_MIN {
                return false;
            }
            let was_heard = !self.is_silent();
            if self.ssrc.is_some() {
                self.restart();
            }
            self.former = self.ssrc.replace(ssrc).filter(|_| was_heard);
            self.since = now;
        }
        self.heard = now;
        true
    }

    /// Notes a packet that came on the stream's own SSRC.
    pub(crate) fn receive(&mut self, now: Instant, sequence: ExtendedSequence, repair: Repair) {
        self.counters.packets += 1;
        let Some(highest) = self.highest else {
            self.highest = Some(sequence.0);
            return;
        };
        if sequence.0 > highest {
            if repair == Repair::Asked {
                self.missing.advance(now, highest, sequence.0);
            }
            self.highest = Some(sequence.0);
        } else {
            self.missing.fill(sequence.0);
        }
    }

    /// Tells whether repairs of `of` are repairs of the SSRC that carries the stream now. Those of a former one name numbers
    /// that mean other packets by now. A publisher that keeps its repair SSRC when it changes the other is repaired again
    /// after [`SSRC_SILENCE_MIN`].
    pub(crate) fn is_repaired_as(&self, now: Instant, of: Option<Ssrc>) -> bool {
        of.is_none() || of == self.ssrc || now.saturating_since(self.since) >= SSRC_SILENCE_MIN
    }

    /// Places an original sequence number out of a repair packet; `None` before the stream was heard itself.
    pub(crate) fn place_repair(&self, original: u16) -> Option<ExtendedSequence> {
        self.highest.map(|highest| ExtendedSequence(estimate_index(highest, original)))
    }

    /// Notes a packet that came as a repair; returns when it had been asked for first.
    pub(crate) fn repair(&mut self, sequence: ExtendedSequence) -> Option<Instant> {
        self.counters.packets += 1;
        self.counters.repaired += 1;
        self.missing.fill(sequence.0)
    }

    /// Returns the publisher's wall clock at `timestamp`, in ticks of `clock_rate` modulo 2^32, by its last sender report
    /// (RFC 3550 section 6.4.1).
    pub(crate) fn captured(&self, timestamp: u32, clock_rate: u32) -> Option<u32> {
        let (ntp, rtp) = self.clock?;
        let ticks = (u128::from(ntp.0) * u128::from(clock_rate)) >> 32;
        let ticks = u32::try_from(ticks & u128::from(u32::MAX)).unwrap_or(0);
        Some(ticks.wrapping_add(timestamp.wrapping_sub(rtp)))
    }

    /// Returns what the dependency descriptor of a packet says, where it carries one that is known.
    pub(crate) fn described(&mut self, sequence: ExtendedSequence, value: &[u8]) -> Option<Description> {
        if value.is_empty() { None } else { self.structures.describe(sequence, value) }
    }

    /// Returns whether nothing was received of the present SSRC yet.
    pub(crate) const fn is_silent(&self) -> bool {
        self.highest.is_none()
    }

    /// Tells whether a packet's timestamp is newer than all before; `follows` says whether the packet before has come.
    pub(crate) fn judge(&mut self, timestamp: u32, follows: bool) -> Timestamp {
        let is_new = self.timestamp.is_none_or(|newest| timestamp.wrapping_sub(newest).cast_signed() > 0);
        if is_new {
            self.timestamp = Some(timestamp);
            return if follows { Timestamp::New } else { Timestamp::NewBehindGap };
        }
        Timestamp::Seen
    }

    fn restart(&mut self) {
        self.timestamp = None;
        self.highest = None;
        self.reception = Reception::default();
        self.missing.clear();
        self.clock = None;
        self.payload_type = None;
        self.structures = Structures::default();
    }
}
