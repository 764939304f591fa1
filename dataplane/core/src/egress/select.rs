//! Which packets of its source an egress stream forwards, and where it starts and changes.
//!
//! ```text
//!            source                 key frame                     pause, mute,
//!  Idle ───────────────► Waiting ───────────────► Active ◄──┐     after the open frame
//!    ▲                    ▲   ▲                     │  │    │  key frame of another
//!    │ no source          │   └─────────────────────┘  └────┘  SSRC or encoding
//!    └── any state        │ key frame of another SSRC
//!                      Resumed ──────────────► Active, asking for a key frame
//!                            frame of the same SSRC
//! ```
//! Sound needs no key frame: every packet of it is one.

use sluice_protocol::media::{CodecKind, MediaKind, PayloadType, Ssrc};
use sluice_protocol::plan::Layer;
use sluice_protocol::time::Instant;

use super::limits::SILENCE_MAX;
use super::renumber::{Order, Step};
use crate::discard::Discard;
use crate::ingress::{Accepted, StreamIndex};

/// What chooses among the packets of a track.
#[derive(Clone, Debug)]
pub(super) enum Selector {
    /// Sound: one stream, started and changed at any packet.
    Sound(OneLayer),
    /// Pictures in one layer at a time, started and changed at key frames.
    Pictures(OneLayer),
}

impl Selector {
    /// Makes a selector that waits for a source.
    pub(super) const fn new(kind: MediaKind) -> Self {
        match kind {
            MediaKind::Audio => Self::Sound(OneLayer::new()),
            MediaKind::Video => Self::Pictures(OneLayer::new()),
        }
    }

    /// Decides on a packet.
    ///
    /// # Errors
    /// The reason why it is not forwarded.
    pub(super) fn select(&mut self, packet: &Accepted<'_>, order: Order) -> Result<Step, Discard> {
        match self {
            Self::Sound(layer) => layer.select(packet, order, Entry::AnyPacket),
            Self::Pictures(layer) => layer.select(packet, order, entry_of(packet.codec)),
        }
    }

    /// Tells whether a key frame would let this stream start, change or recover.
    pub(super) const fn wants_key_frame(&self) -> bool {
        match self {
            Self::Sound(_) => false,
            Self::Pictures(layer) => layer.wants_key_frame(),
        }
    }

    /// Returns what both kinds have in common.
    pub(super) const fn layer(&self) -> &OneLayer {
        match self {
            Self::Sound(layer) | Self::Pictures(layer) => layer,
        }
    }

    /// Returns what both kinds have in common.
    pub(super) const fn layer_mut(&mut self) -> &mut OneLayer {
        match self {
            Self::Sound(layer) | Self::Pictures(layer) => layer,
        }
    }
}

/// Where forwarding may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entry {
    /// Anywhere.
    AnyPacket,
    /// At any frame: the codec's key frames are not known to us.
    AnyFrame,
    /// At a key frame.
    KeyFrame,
}

const fn entry_of(codec: CodecKind) -> Entry {
    match codec {
        CodecKind::Other => Entry::AnyFrame,
        CodecKind::Opus => Entry::AnyPacket,
        CodecKind::Vp8 | CodecKind::Vp9 | CodecKind::H264 | CodecKind::Av1 => Entry::KeyFrame,
    }
}

impl Entry {
    const fn admits(self, packet: &Accepted<'_>) -> bool {
        match self {
            Self::AnyPacket => true,
            Self::AnyFrame => packet.frame.start,
            Self::KeyFrame => packet.frame.start && packet.frame.key && packet.frame.spatial == 0,
        }
    }
}

/// Forwards one stream of a track at a time, up to a temporal layer.
#[derive(Clone, Debug)]
pub(super) struct OneLayer {
    state: State,
    /// Whether nothing may be forwarded beyond the frame that is open.
    blocked: bool,
    max: Layer,
}

#[derive(Clone, Debug)]
enum State {
    /// There is no source.
    Idle,
    /// There is one, and a place to start is awaited.
    Waiting,
    /// A restarted data plane knows from the shared table what was forwarded before.
    Resumed(Ssrc),
    /// A stream is forwarded.
    Active(Active),
}

/// The stream that is forwarded.
#[derive(Clone, Copy, Debug)]
struct Active {
    ssrc: Ssrc,
    stream: StreamIndex,
    payload_type: PayloadType,
    /// The SSRC before this one; its stragglers do not take the stream back.
    former: Option<Ssrc>,
    /// When its newest packet arrived.
    heard: Instant,
    /// The timestamp of the newest frame.
    timestamp: u32,
    /// Whether that frame is forwarded and has not ended.
    open: bool,
    /// Whether a key frame would repair or improve what is forwarded.
    wants_key_frame: bool,
    /// The highest temporal layer forwarded, and since which timestamp.
    temporal: u8,
    since: u32,
    /// What held before `since`, for late packets.
    temporal_before: u8,
    /// Whether the next frame may be of any temporal layer.
    may_rise: bool,
}

impl OneLayer {
    const fn new() -> Self {
        Self { state: State::Idle, blocked: false, max: Layer::MAX }
    }

    /// Takes the place of whatever was forwarded: another track, or none.
    pub(super) fn set_source(&mut self, present: bool) {
        self.state = if present { State::Waiting } else { State::Idle };
    }

    /// Goes on with `source` where the shared table says it was forwarded.
    pub(super) fn resume(&mut self, source: Ssrc) {
        if matches!(self.state, State::Waiting) {
            self.state = State::Resumed(source);
        }
    }

    /// Stops after the frame that is open, or lets forwarding start again.
    pub(super) fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
        let ends_now = match &self.state {
            State::Active(active) => !active.open,
            State::Resumed(_) => true,
            State::Idle | State::Waiting => false,
        };
        if blocked && ends_now {
            self.state = State::Waiting;
        }
    }

    /// Sets the highest layer; it is reached at the next frame that allows it.
    pub(super) const fn set_max(&mut self, max: Layer) {
        self.max = max;
    }

    /// Waits for a place to start again, because something of the stream was shed.
    pub(super) fn interrupt(&mut self) {
        if !matches!(self.state, State::Idle) {
            self.state = State::Waiting;
        }
    }

    /// Tells whether packets of `source` are forwarded, so that one left out has to be numbered away.
    pub(super) fn forwards(&self, source: Ssrc) -> bool {
        matches!(&self.state, State::Active(active) if active.ssrc == source)
    }

    /// Returns the SSRC and encoding forwarded.
    pub(super) const fn current(&self) -> Option<(Ssrc, StreamIndex)> {
        match &self.state {
            State::Active(active) => Some((active.ssrc, active.stream)),
            State::Idle | State::Waiting | State::Resumed(_) => None,
        }
    }

    const fn wants_key_frame(&self) -> bool {
        match &self.state {
            State::Idle => false,
            State::Waiting | State::Resumed(_) => !self.blocked,
            State::Active(active) => active.wants_key_frame && !self.blocked,
        }
    }

    fn select(&mut self, packet: &Accepted<'_>, order: Order, entry: Entry) -> Result<Step, Discard> {
        match &mut self.state {
            State::Idle => Err(Discard::LayerNotSelected),
            State::Waiting | State::Resumed(_) if self.blocked => Err(Discard::Paused),
            State::Waiting => self.start(packet, order, entry, None),
            State::Resumed(source) if *source == packet.ssrc && packet.frame.start => {
                let active = Active::new(packet, None, self.max);
                self.state = State::Active(Active { wants_key_frame: !entry.admits(packet), ..active });
                Ok(Step::Resume)
            }
            State::Resumed(_) => self.start(packet, order, entry, None),
            State::Active(active) if self.blocked => {
                if active.ssrc != packet.ssrc {
                    return Err(Discard::Paused);
                }
                if active.timestamp == packet.timestamp && active.open {
                    active.pass(packet, order);
                    return Ok(Step::Continue);
                }
                if order == Order::New {
                    self.state = State::Waiting;
                }
                Err(Discard::Paused)
            }
            State::Active(active) if active.ssrc == packet.ssrc => active.follow(packet, order, entry, self.max),
            State::Active(active) => {
                let former = active.ssrc;
                active.consider(packet, self.max)?;
                self.start(packet, order, entry, Some(former))
            }
        }
    }

    fn start(
        &mut self,
        packet: &Accepted<'_>,
        order: Order,
        entry: Entry,
        former: Option<Ssrc>,
    ) -> Result<Step, Discard> {
        if packet.stream.0 > self.max.spatial {
            return Err(Discard::LayerNotSelected);
        }
        // A late packet was passed over or sent before: time does not go back to it.
        if order == Order::Late || !entry.admits(packet) {
            if let State::Active(active) = &mut self.state {
                active.wants_key_frame = true;
            }
            return Err(Discard::AwaitingKeyFrame);
        }
        self.state = State::Active(Active::new(packet, former, self.max));
        Ok(Step::Start)
    }
}

impl Active {
    const fn new(packet: &Accepted<'_>, former: Option<Ssrc>, max: Layer) -> Self {
        Self {
            ssrc: packet.ssrc,
            stream: packet.stream,
            payload_type: packet.payload_type,
            former,
            heard: packet.arrival,
            timestamp: packet.timestamp,
            open: !packet.frame.end,
            wants_key_frame: false,
            temporal: max.temporal,
            since: packet.timestamp,
            temporal_before: max.temporal,
            may_rise: false,
        }
    }

    /// Tells whether a packet of another SSRC may take over, if it is a place to start at: the next higher encoding,
    /// the same one under a new SSRC, or any when the present one fell silent or is above the limit.
    fn consider(&self, packet: &Accepted<'_>, max: Layer) -> Result<(), Discard> {
        let silent = packet.arrival.saturating_since(self.heard) >= SILENCE_MAX || self.stream.0 > max.spatial;
        let better = packet.stream > self.stream && packet.stream.0 <= max.spatial;
        let successor = packet.stream == self.stream && self.former != Some(packet.ssrc);
        if silent || better || successor { Ok(()) } else { Err(Discard::LayerNotSelected) }
    }

    fn follow(&mut self, packet: &Accepted<'_>, order: Order, entry: Entry, max: Layer) -> Result<Step, Discard> {
        if order == Order::New {
            let starts = entry.admits(packet);
            if packet.payload_type != self.payload_type && !starts {
                self.wants_key_frame = true;
                self.heard = packet.arrival;
                self.open = false;
                return Err(Discard::AwaitingKeyFrame);
            }
            self.payload_type = packet.payload_type;
            self.wants_key_frame &= !starts;
            if packet.timestamp != self.timestamp {
                self.begin_frame(packet, starts, max);
            }
        }
        let is_before = packet.timestamp.wrapping_sub(self.since).cast_signed() < 0;
        let temporal = if is_before { self.temporal_before } else { self.temporal };
        if packet.frame.temporal > temporal {
            return Err(Discard::LayerNotSelected);
        }
        self.pass(packet, order);
        Ok(Step::Continue)
    }

    /// Moves the temporal limit where the frame that begins allows it. Down goes at once; up where nothing that was
    /// shed is referred to.
    fn begin_frame(&mut self, packet: &Accepted<'_>, is_key: bool, max: Layer) {
        let frame = &packet.frame;
        let before = self.temporal;
        // RFC 7741 section 4.2: a frame with Y refers to the base layer alone, so its own layer can start with it.
        let rises_here =
            packet.codec == CodecKind::Vp8 && frame.switching_point && frame.temporal == before.saturating_add(1);
        if before > max.temporal || is_key || self.may_rise {
            self.temporal = max.temporal;
        } else if rises_here {
            self.temporal = frame.temporal.min(max.temporal);
        }
        // RFC 9628 section 4.2: after a picture with U, no higher layer refers to what came before it.
        self.may_rise = packet.codec == CodecKind::Vp9 && frame.switching_point && frame.temporal <= self.temporal;
        if self.temporal != before {
            self.temporal_before = before;
            self.since = packet.timestamp;
        }
        self.timestamp = packet.timestamp;
        self.open = false;
    }

    const fn pass(&mut self, packet: &Accepted<'_>, order: Order) {
        if matches!(order, Order::New) {
            self.heard = packet.arrival;
            self.open = !packet.frame.end;
        }
    }
}
