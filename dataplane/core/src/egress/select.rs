//! Which packets of its source an egress stream forwards, and where it starts and changes.
//!
//! ```text
//!            source                 key frame                     pause, mute,
//!  Idle ───────────────► Waiting ───────────────► Active ◄──┐     after the open frame
//!    ▲                    ▲   ▲                     │  │    │  key frame of the same encoding's
//!    │ no source          │   └─────────────────────┘  └────┘  next SSRC
//!    └── any state        │ key frame of another SSRC
//!                      Resumed ──────────────► Active, asking for a key frame
//!                            frame of the same SSRC
//! ```
//! Sound needs no key frame: every packet of it is one.
//!
//! Active follows the wish ([`super::wish`]), which is another encoding when the subscriber wants another one, or when the
//! present one is not sent any more:
//!
//! ```text
//!                      wish: another encoding           its key frame, and
//!               ┌────────────────────────────► Awaiting  no frame is open
//!  Active: Steady ◄──────────────────────────── │  │ ───────────────► Steady, in the other encoding
//!               ▲      wish: the present one    │  │                         ▲
//!               │                               │  │ its key frame           │ the frame ended, or does not
//!               │ wish: the present one         │  ▼                         │ end in time
//!               └────────────────────────────── Finishing ──────────────────┘
//! ```
//! - Steady, Awaiting: the present encoding is forwarded. Awaiting asks for a key frame, unless the history has a young one.
//! - Finishing: only the rest of the open frame is forwarded. The engine remembers where the key frame is and goes back
//!   there, so nothing of it is lost; after a bounded time the rest of the open frame counts as lost. Where the wish returns
//!   after packets of the present encoding were left out, a key frame of that is waited for (Cut), and one of any other
//!   encoding that is wished by then waits for nothing.
//! - When the present encoding is silent there is no picture to keep: any encoding that may be forwarded takes its place.

use sluice_protocol::media::{CodecKind, MediaKind, PayloadType, Ssrc};
use sluice_protocol::plan::Layer;
use sluice_protocol::time::Instant;

use super::decode_target::{DecodeTargets, Judgement};
use super::limits::SILENCE_MAX;
use super::renumber::{Order, Step};
use super::wish::{Wanted, Wish, wish};
use crate::discard::Discard;
use crate::ingress::alive::Alive;
use crate::ingress::{Accepted, StreamIndex};

/// What is decided about a packet that is forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    /// How it joins what was sent before.
    pub(super) step: Step,
    /// Whether it is the last packet of its picture that is forwarded.
    pub(super) ends: bool,
}

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
    pub(super) fn select(&mut self, packet: &Accepted<'_>, order: Order) -> Result<Chosen, Discard> {
        match self {
            Self::Sound(layer) => layer.select(packet, order, Entry::AnyPacket),
            Self::Pictures(layer) => layer.select(packet, order, entry_of(packet.codec)),
        }
    }

    /// Tells whether a key frame would let this stream start, change or recover.
    pub(super) fn wants_key_frame(&self) -> bool {
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

/// Forwards one encoding of a track at a time, up to a temporal layer.
#[derive(Clone, Debug)]
pub(super) struct OneLayer {
    state: State,
    wanted: Wanted,
    alive: Alive,
    /// What follows from the two.
    wish: Wish,
    /// The choice among the layers of the stream that is forwarded, where it has dependency descriptors.
    targets: Option<Box<DecodeTargets>>,
    /// Whether the subscriber is sent dependency descriptors of any size.
    has_descriptors: bool,
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
    turn: Turn,
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

/// How far the change to another encoding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// None is under way, or its key frame is awaited.
    No,
    /// The key frame is there, and the open frame is to end first.
    Finishing {
        /// Whether a frame of the present encoding was left out meanwhile.
        is_cut: bool,
    },
    /// No further frame of the present encoding can be decoded, as one was left out.
    Cut,
}

impl OneLayer {
    const fn new() -> Self {
        Self {
            state: State::Idle,
            wanted: Wanted { max: Layer::MAX, paused: false },
            alive: Alive::NONE,
            wish: Wish::First,
            targets: None,
            has_descriptors: false,
        }
    }

    /// Says whether the subscriber is sent dependency descriptors of any size.
    pub(super) const fn set_descriptors(&mut self, present: bool) {
        self.has_descriptors = present;
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
    pub(super) fn set_paused(&mut self, paused: bool) {
        self.wanted.paused = paused;
        self.decide();
        let ends_now = match &self.state {
            State::Active(active) => !active.open,
            State::Resumed(_) => true,
            State::Idle | State::Waiting => false,
        };
        if paused && ends_now {
            self.state = State::Waiting;
        }
    }

    /// Sets the highest layer; it is reached at the next frame that allows it.
    pub(super) fn set_max(&mut self, max: Layer) {
        self.wanted.max = max;
        self.decide();
    }

    /// Says which encodings are alive; returns true when another one is wished for that.
    pub(super) fn set_alive(&mut self, alive: Alive) -> bool {
        if self.alive == alive {
            return false;
        }
        self.alive = alive;
        self.decide()
    }

    /// Decides anew which encoding is wished; returns true when it is another one.
    fn decide(&mut self) -> bool {
        let before = std::mem::replace(&mut self.wish, wish(self.wanted, self.alive));
        let is_changed = before != self.wish;
        if is_changed {
            self.stop_turning();
        }
        is_changed
    }

    /// Gives up the change that is under way.
    fn stop_turning(&mut self) {
        if let State::Active(active) = &mut self.state
            && let Turn::Finishing { is_cut } = active.turn
        {
            active.turn = if is_cut { Turn::Cut } else { Turn::No };
        }
    }

    /// Returns the encoding that is wished, where one is.
    pub(super) const fn wished(&self) -> Option<StreamIndex> {
        match self.wish {
            Wish::Encoding(stream) => Some(stream),
            Wish::Nothing | Wish::First => None,
        }
    }

    /// Returns the encoding that is to take the place of the present one, or of none.
    pub(super) fn awaited(&self) -> Option<StreamIndex> {
        let present = self.current().map(|(_, stream)| stream);
        self.wished().filter(|wished| !matches!(self.state, State::Idle) && present != Some(*wished))
    }

    /// Tells whether packets of `stream` may be forwarded.
    pub(super) fn allows(&self, stream: StreamIndex) -> bool {
        stream.0 <= self.wanted.max.spatial || self.wished() == Some(stream)
    }

    /// Tells whether there is a picture now that a change must not tear.
    pub(super) fn has_picture(&self) -> bool {
        matches!(&self.state, State::Active(active) if active.turn != Turn::Cut && active.is_heard(self.alive))
    }

    /// Lets the change begin whose key frame lies behind in the history: once the open frame has ended.
    pub(super) const fn finish(&mut self) {
        if let State::Active(active) = &mut self.state
            && matches!(active.turn, Turn::No)
        {
            active.turn = Turn::Finishing { is_cut: false };
        }
    }

    /// Tells whether a key frame waits for the open frame to end.
    pub(super) const fn is_finishing(&self) -> bool {
        matches!(&self.state, State::Active(Active { turn: Turn::Finishing { .. }, .. }))
    }

    /// Tells whether the open frame has ended, or will not.
    pub(super) fn has_finished(&self) -> bool {
        matches!(&self.state, State::Active(active) if !active.open || !active.is_heard(self.alive))
    }

    /// Takes it that the key frame comes next.
    pub(super) fn turn(&mut self) {
        if let State::Active(active) = &mut self.state {
            active.open = false;
        }
        self.stop_turning();
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

    fn wants_key_frame(&self) -> bool {
        match &self.state {
            _ if self.is_paused() => false,
            State::Idle => false,
            State::Waiting | State::Resumed(_) => true,
            State::Active(active) => match active.turn {
                Turn::No => {
                    let targets = self.targets.as_ref();
                    active.wants_key_frame
                        || self.awaited().is_some()
                        || targets.is_some_and(|targets| targets.wants_key_frame())
                }
                Turn::Finishing { .. } => false,
                Turn::Cut => true,
            },
        }
    }

    const fn is_paused(&self) -> bool {
        self.wanted.paused
    }

    /// Returns the decode targets that the receiver is to be told, where they are not the source's own.
    pub(super) fn told_targets(&self) -> Option<u32> {
        self.targets.as_ref().and_then(|targets| targets.told())
    }

    /// Tells whether other layers of a packet's picture are forwarded.
    pub(super) fn shows_picture_of(&self, packet: &Accepted<'_>) -> bool {
        packet.structure.is_some() && self.targets.as_ref().is_some_and(|targets| targets.shows_picture_of(packet))
    }

    /// Returns the highest layer within a packet's stream that is forwarded. Spatial layers of a stream are counted where it
    /// is the only one of its track, as [`Layer::spatial`] counts encodings where there are several. Without descriptors
    /// nothing tells a receiver of AV1 that several layers are one picture: it gets the lowest.
    fn limit(&self, packet: &Accepted<'_>) -> Layer {
        let is_only = self.alive == Alive::NONE || self.alive == Alive::NONE.with(StreamIndex(0));
        let spatial = if packet.codec == CodecKind::Av1 && !self.has_descriptors {
            0
        } else if is_only {
            self.wanted.max.spatial
        } else {
            u8::MAX
        };
        Layer { spatial, ..self.wanted.max }
    }

    fn select(&mut self, packet: &Accepted<'_>, order: Order, entry: Entry) -> Result<Chosen, Discard> {
        let (is_paused, limit) = (self.is_paused(), self.limit(packet));
        let targets = &mut self.targets;
        match &mut self.state {
            State::Idle => Err(Discard::LayerNotSelected),
            State::Waiting | State::Resumed(_) if is_paused => Err(Discard::Paused),
            State::Waiting => self.start(packet, order, entry, None),
            State::Resumed(source) if *source == packet.ssrc && packet.frame.start => {
                *targets = packet.structure.map(|structure| Box::new(DecodeTargets::new(packet, structure, limit)));
                let judgement = judge(targets, packet, limit);
                let active = Active::new(packet, judgement.ends, None, self.wanted.max);
                self.state = State::Active(Active { wants_key_frame: !entry.admits(packet), ..active });
                Ok(Chosen { step: Step::Resume, ends: judgement.ends })
            }
            State::Resumed(_) => self.start(packet, order, entry, None),
            State::Active(active) if is_paused => {
                if active.ssrc != packet.ssrc {
                    return Err(Discard::Paused);
                }
                if active.timestamp == packet.timestamp && active.open {
                    let judgement = judge(targets, packet, limit);
                    return active.pass(packet, order, judgement);
                }
                if order == Order::New {
                    self.state = State::Waiting;
                }
                Err(Discard::Paused)
            }
            State::Active(active) if active.ssrc == packet.ssrc && active.turn == Turn::No => {
                active.follow(packet, order, entry, Limits { layer: limit, targets })
            }
            State::Active(active) if active.ssrc == packet.ssrc => self.leave(packet, order, entry),
            State::Active(_) => self.turn_to(packet, order, entry),
        }
    }

    /// Decides on a packet of the encoding that is being left.
    fn leave(&mut self, packet: &Accepted<'_>, order: Order, entry: Entry) -> Result<Chosen, Discard> {
        let limits = Limits { layer: self.limit(packet), targets: &mut self.targets };
        let State::Active(active) = &mut self.state else { return Err(Discard::LayerNotSelected) };
        if active.turn == Turn::Cut && order == Order::New {
            if !entry.admits(packet) {
                return Err(Discard::AwaitingKeyFrame);
            }
            active.turn = Turn::No;
            return active.follow(packet, order, entry, limits);
        }
        if order == Order::New && packet.timestamp != active.timestamp {
            active.turn = Turn::Finishing { is_cut: true };
            return Err(Discard::LayerNotSelected);
        }
        let chosen = active.follow(packet, order, entry, limits)?;
        // The last packet may come late, behind one of the next frame.
        active.open &= !(chosen.ends && packet.timestamp == active.timestamp);
        Ok(chosen)
    }

    /// Decides on a packet of another SSRC than the present one: of the encoding that is to take its place, of the same
    /// one under a new SSRC, or of any when the present one fell silent.
    fn turn_to(&mut self, packet: &Accepted<'_>, order: Order, entry: Entry) -> Result<Chosen, Discard> {
        let State::Active(active) = &mut self.state else { return Err(Discard::LayerNotSelected) };
        let former = active.ssrc;
        let is_silent = packet.arrival.saturating_since(active.heard) >= SILENCE_MAX;
        let is_heard = active.is_heard(self.alive);
        if packet.stream == active.stream {
            if active.former == Some(packet.ssrc) && !is_silent {
                return Err(Discard::LayerNotSelected);
            }
        } else if self.wish == Wish::Encoding(packet.stream) {
            // Where a frame was left out already, the rest of the open one has had its time: it counts as lost.
            let is_given_up = matches!(active.turn, Turn::Finishing { is_cut: true } | Turn::Cut);
            if entry.admits(packet) && active.open && is_heard && !is_given_up {
                active.turn = Turn::Finishing { is_cut: false };
                return Err(Discard::AwaitingFrameEnd);
            }
        } else if is_heard {
            return Err(Discard::LayerNotSelected);
        }
        self.start(packet, order, entry, Some(former))
    }

    fn start(
        &mut self,
        packet: &Accepted<'_>,
        order: Order,
        entry: Entry,
        former: Option<Ssrc>,
    ) -> Result<Chosen, Discard> {
        if !self.allows(packet.stream) {
            return Err(Discard::LayerNotSelected);
        }
        // A late packet was passed over or sent before: time does not go back to it.
        if order == Order::Late || !entry.admits(packet) {
            if let State::Active(active) = &mut self.state
                && active.stream == packet.stream
            {
                active.wants_key_frame = true;
            }
            return Err(Discard::AwaitingKeyFrame);
        }
        let limit = self.limit(packet);
        self.targets = packet.structure.map(|structure| Box::new(DecodeTargets::new(packet, structure, limit)));
        let judgement = judge(&mut self.targets, packet, limit);
        self.state = State::Active(Active::new(packet, judgement.ends, former, self.wanted.max));
        Ok(Chosen { step: Step::Start, ends: judgement.ends })
    }
}

impl Active {
    const fn new(packet: &Accepted<'_>, ends: bool, former: Option<Ssrc>, max: Layer) -> Self {
        Self {
            ssrc: packet.ssrc,
            stream: packet.stream,
            payload_type: packet.payload_type,
            former,
            heard: packet.arrival,
            timestamp: packet.timestamp,
            open: !ends,
            turn: Turn::No,
            wants_key_frame: false,
            temporal: max.temporal,
            since: packet.timestamp,
            temporal_before: max.temporal,
            may_rise: false,
        }
    }

    /// Tells whether its encoding is sent, as far as is known.
    fn is_heard(&self, alive: Alive) -> bool {
        alive == Alive::NONE || alive.has(self.stream)
    }

    fn follow(
        &mut self,
        packet: &Accepted<'_>,
        order: Order,
        entry: Entry,
        limits: Limits<'_>,
    ) -> Result<Chosen, Discard> {
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
                self.begin_frame(packet, starts, limits.layer);
            }
        }
        let judgement = judge(limits.targets, packet, limits.layer);
        if packet.structure.is_some() {
            return self.pass(packet, order, judgement);
        }
        let is_before = packet.timestamp.wrapping_sub(self.since).cast_signed() < 0;
        let temporal = if is_before { self.temporal_before } else { self.temporal };
        self.pass(packet, order, Judgement { passes: packet.frame.temporal <= temporal, ..judgement })
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

    fn pass(&mut self, packet: &Accepted<'_>, order: Order, judgement: Judgement) -> Result<Chosen, Discard> {
        if !judgement.passes {
            return Err(Discard::LayerNotSelected);
        }
        if order == Order::New {
            self.heard = packet.arrival;
            self.open = !judgement.ends;
        }
        Ok(Chosen { step: Step::Continue, ends: judgement.ends })
    }
}

/// The highest layer that is forwarded, and the choice among those that dependency descriptors tell.
#[derive(Debug)]
struct Limits<'a> {
    layer: Layer,
    targets: &'a mut Option<Box<DecodeTargets>>,
}

/// Judges a packet by its dependency descriptor; one without passes.
fn judge(targets: &mut Option<Box<DecodeTargets>>, packet: &Accepted<'_>, limit: Layer) -> Judgement {
    match packet.structure {
        None => Judgement { passes: true, ends: packet.frame.end },
        Some(structure) => {
            let targets = targets.get_or_insert_with(|| Box::new(DecodeTargets::new(packet, structure, limit)));
            targets.judge(packet, structure, limit)
        }
    }
}
