//! What one subscriber's m-line is sent: `select` → `renumber` → `rewrite`.
//!
//! An [`EgressStream`] keeps one SSRC for its whole life and makes one continuous stream of whatever feeds it: the same
//! publisher under another SSRC, another publisher, another codec, with pauses between. It decides and writes; it holds
//! no packets. [`EgressStream::plan_packet`] settles a packet's numbers and size, [`EgressStream::write`] makes its bytes
//! when the run that it belongs to is known.
//!
//! A stream that starts or changes is offered the history from its last key frame on, in the order of sequence numbers;
//! a packet that it was sent already is discarded, so offering twice does no harm.

mod closing;
mod decode_target;
pub(crate) mod limits;
mod picture;
mod renumber;
mod repeat;
mod rewrite;
mod select;
#[cfg(test)]
mod tests;
mod timestamp;
mod wish;

use core::time::Duration;

use sluice_protocol::ids::TrackId;
use sluice_protocol::media::{MediaKind, PayloadType, Ssrc};
use sluice_protocol::plan::{Egress, PayloadMap};
use sluice_protocol::random::Random;
use sluice_protocol::table::Anchor;
use sluice_protocol::time::Instant;

pub(crate) use repeat::Repeat;
pub(crate) use rewrite::Outgoing;

use crate::discard::Discard;
use crate::ingress::alive::Alive;
use crate::ingress::{Accepted, ExtendedSequence, StreamIndex};
use crate::wire::extension::{AbsSendTime, PlayoutDelay};
use picture::Pictures;
use renumber::{Left, Order, Renumber};
use repeat::Repeats;
use rewrite::{Format, Identity};
use select::{Chosen, Selector};
use timestamp::Stamp;

/// One egress stream.
#[derive(Clone, Debug)]
pub(crate) struct EgressStream {
    ssrc: Ssrc,
    /// The repair stream and its highest SRTP index used, where negotiated.
    rtx: Option<Ssrc>,
    rtx_index: u64,
    kind: MediaKind,
    track: Option<TrackId>,
    payloads: Vec<PayloadMap>,
    format: Format,
    /// Whether the plan, not the publisher, says the playout delay.
    playout_delay_planned: bool,
    paused: bool,
    muted: bool,
    selector: Selector,
    renumber: Renumber,
    repeats: Repeats,
}

impl EgressStream {
    /// Makes the stream that `plan` describes. `extmap_allow_mixed` is its transport's; `seed` gives the first numbers
    /// (RFC 3550 section 5.1), sequence numbers below 2^15, so that the first wrap is far (RFC 3711 section 3.3.1).
    #[must_use]
    pub(crate) fn new(plan: &Egress, extmap_allow_mixed: bool, seed: u64) -> Self {
        let random = |number: u64| Random::new(seed ^ number).next();
        let short = |number: u64| u16::try_from(random(number) & 0x7fff).unwrap_or(0);
        let timestamp = u32::try_from(random(3) & u64::from(u32::MAX)).unwrap_or(0);
        let tl0picidx = u8::try_from(random(5) & 0xff).unwrap_or(0);
        let mut stream = Self {
            ssrc: plan.ssrc,
            rtx: plan.rtx,
            rtx_index: u64::from(short(2)),
            kind: plan.kind,
            track: None,
            payloads: Vec::new(),
            format: Format { ids: plan.extensions, mixed: extmap_allow_mixed, mid: plan.mid, playout_delay: None },
            playout_delay_planned: false,
            paused: false,
            muted: false,
            selector: Selector::new(plan.kind),
            renumber: Renumber::new(
                plan.kind,
                u64::from(short(1)) + 1,
                timestamp,
                Pictures::new(short(4), tl0picidx, short(6)),
            ),
            repeats: Repeats::default(),
        };
        stream.update(plan);
        stream
    }

    /// Takes over what changed in the plan. SSRCs, kind and mid of an egress stream never change.
    pub(crate) fn update(&mut self, plan: &Egress) {
        self.format.ids = plan.extensions;
        self.playout_delay_planned = plan.playout_delay.is_some();
        if let Some(delay) = plan.playout_delay {
            self.format.playout_delay = Some(PlayoutDelay { min_10ms: delay.min, max_10ms: delay.max }.to_bytes());
        }
        let track = plan.source.as_ref().map(|source| source.track);
        self.payloads.clear();
        self.payloads.extend(plan.source.iter().flat_map(|source| source.payloads.iter().copied()));
        if track != self.track {
            self.track = track;
            self.hand_over();
        }
        let takes_descriptors = self.format.ids.dependency_descriptor != 0 && self.format.mixed;
        self.selector.layer_mut().set_descriptors(takes_descriptors);
        self.selector.layer_mut().set_max(plan.max_layer);
        self.paused = plan.paused;
        self.block();
    }

    /// Goes on with what has nothing to do with the source before: another track, or other encodings of the same one.
    pub(crate) fn hand_over(&mut self) {
        self.selector.layer_mut().set_source(self.track.is_some());
        self.renumber.hand_over();
    }

    /// Says whether the track is muted: what is open ends, and nothing follows.
    pub(crate) fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
        self.block();
    }

    /// Goes on after a restart of the data plane: `index` is the highest one sealed and `anchor` the row's, whose
    /// source is forwarded again at its next frame. Call it once, after [`EgressStream::new`].
    pub(crate) fn restore(&mut self, now: Instant, index: u64, anchor: &Anchor) {
        self.renumber.restore(now, index, anchor);
        if let Some(source) = self.renumber.source() {
            self.selector.layer_mut().resume(source);
        }
        self.block();
    }

    /// Goes on with the repair stream after a restart: `index` is the highest one sealed.
    pub(crate) fn restore_rtx(&mut self, index: u64) {
        self.rtx_index = index;
    }

    /// Decides on a packet of the source: whether it is forwarded, and as what. Its numbers are taken then, so what is
    /// not sent in the end is missing downstream.
    ///
    /// # Errors
    /// The reason why it is not forwarded. [`Discard::PayloadTypeUnmapped`] is for the controller to know.
    pub(crate) fn plan_packet(&mut self, packet: &Accepted<'_>) -> Result<Outgoing, Discard> {
        let order = self.renumber.order(packet)?;
        let (chosen, payload_type) = match self.choose(packet, order) {
            Ok(chosen) => chosen,
            Err(discard) => {
                if self.selector.layer().forwards(packet.ssrc) {
                    self.renumber.shed(order, packet, self.left_out(packet));
                }
                return Err(discard);
            }
        };
        if packet.structure.is_some() {
            self.renumber.pictures_mut().tell(self.selector.layer().told_targets());
        }
        let numbers = self.renumber.number(chosen, order, packet)?;
        if packet.playout_delay.is_some() && !self.playout_delay_planned {
            self.format.playout_delay = packet.playout_delay;
        }
        if self.rtx.is_some() && self.kind == MediaKind::Video {
            self.repeats.remember(&numbers, &self.renumber, packet);
        }
        let identity = Identity {
            ssrc: self.ssrc,
            index: numbers.sequence,
            timestamp: numbers.timestamp,
            payload_type,
            marker: numbers.marker,
            picture: numbers.picture,
            original: None,
        };
        self.format.outgoing(&identity, packet)
    }

    /// Numbers away what ingress dropped because it carries no media (padding, bandwidth probes).
    pub(crate) fn skip(&mut self, source: Ssrc, sequence: ExtendedSequence) {
        if self.selector.layer().forwards(source) {
            self.renumber.skip(source, sequence);
        }
    }

    /// Leaves out a packet that would have been forwarded. Pictures then wait for a key frame; nothing torn looks whole.
    pub(crate) fn shed(&mut self, packet: &Accepted<'_>) {
        if self.selector.layer().forwards(packet.ssrc)
            && let Ok(order) = self.renumber.order(packet)
        {
            self.renumber.shed(order, packet, Left::Picture);
            if self.kind == MediaKind::Video {
                self.selector.layer_mut().interrupt();
            }
        }
    }

    /// Writes a planned packet, `outgoing.size_bytes` long, to the front of `buffer` and returns its size; `None` when
    /// `buffer` is too small or `packet` is another one than was planned.
    pub(crate) fn write(
        &self,
        outgoing: &Outgoing,
        packet: &Accepted<'_>,
        abs_send_time: AbsSendTime,
        buffer: &mut [u8],
    ) -> Option<usize> {
        self.format.write(outgoing, packet, abs_send_time.to_bytes(), buffer)
    }

    /// Finds what a subscriber asks to have repeated; not again within `round_trip`, in which the last repeat may still
    /// be on its way.
    ///
    /// # Errors
    /// [`Discard::RepeatGone`] when it was never sent or is too old, [`Discard::RepeatLimited`].
    pub(crate) fn repeat(&mut self, now: Instant, sequence: u16, round_trip: Duration) -> Result<Repeat, Discard> {
        match self.repeats.take(now, sequence, round_trip) {
            Err(Discard::RepeatGone) => {
                let (source, number) = self.renumber.missing(sequence).ok_or(Discard::RepeatGone)?;
                Ok(Repeat { source, sequence: number, original: sequence, sent: None })
            }
            taken => taken,
        }
    }

    /// Settles the repair packet for `packet`, which is the one that `repeat` names, out of the history.
    ///
    /// # Errors
    /// [`Discard::RepeatGone`] when its payload type has no repair stream, or `packet` is another one.
    pub(crate) fn plan_repeat(&mut self, repeat: &Repeat, packet: &Accepted<'_>) -> Result<Outgoing, Discard> {
        // A probe has no payload, and its number is given away.
        if repeat.source != packet.ssrc || repeat.sequence != packet.sequence || packet.payload.is_empty() {
            return Err(Discard::RepeatGone);
        }
        let ssrc = self.rtx.ok_or(Discard::RepeatGone)?;
        let payload_type = self.mapped(packet.payload_type).and_then(|map| map.rtx).ok_or(Discard::RepeatGone)?;
        let (timestamp, marker, picture) = match repeat.sent {
            Some(sent) => sent.numbers(packet),
            None => {
                let missing = self.renumber.missing(repeat.original);
                missing.filter(|it| *it == (packet.ssrc, packet.sequence)).ok_or(Discard::RepeatGone)?;
                self.plan_packet(packet).map(|first| (first.timestamp, first.marker, first.picture))?
            }
        };
        let index = self.rtx_index + 1;
        let original = Some(repeat.original);
        let identity = Identity { ssrc, index, timestamp, payload_type, marker, picture, original };
        let outgoing = self.format.outgoing(&identity, packet)?;
        self.rtx_index = index;
        Ok(outgoing)
    }

    /// Returns what a successor needs to go on, but for what was sent, which the engine counts.
    #[must_use]
    pub(crate) fn state(&self) -> Anchor {
        self.renumber.save()
    }

    /// Returns the highest SRTP index given out, one below the first before anything was sent.
    #[must_use]
    pub(crate) const fn index(&self) -> u64 {
        self.renumber.last_sent()
    }

    /// Returns the highest SRTP index of the repair stream given out, one below the first before that.
    #[must_use]
    pub(crate) const fn rtx_index(&self) -> u64 {
        self.rtx_index
    }

    /// Says which encodings of the track are alive; returns true when another one is wished for that.
    pub(crate) fn set_alive(&mut self, alive: Alive) -> bool {
        self.selector.layer_mut().set_alive(alive)
    }

    /// Returns the encoding that is to take the place of the present one, or of none. Its last key frame may be in the
    /// history; offer that, or what comes.
    #[must_use]
    pub(crate) fn awaited(&self) -> Option<StreamIndex> {
        self.selector.layer().awaited()
    }

    /// Tells whether packets of an encoding may be forwarded.
    #[must_use]
    pub(crate) fn allows(&self, encoding: StreamIndex) -> bool {
        self.selector.layer().allows(encoding)
    }

    /// Tells whether there is a picture now: a change must not tear it, and can wait.
    #[must_use]
    pub(crate) fn has_picture(&self) -> bool {
        self.selector.layer().has_picture()
    }

    /// Tells whether `packet` was made after the newest frame sent, as far as is known: a picture does not step back.
    #[must_use]
    pub(crate) fn is_newer(&self, packet: &Accepted<'_>) -> bool {
        self.renumber.timeline().is_newer(&Stamp::of(packet))
    }

    /// Takes it that a key frame of the awaited encoding was found behind. [`EgressStream::has_finished`] tells when to
    /// offer it.
    pub(crate) fn finish(&mut self) {
        self.selector.layer_mut().finish();
    }

    /// Tells whether a key frame of the awaited encoding is to be offered again, as the open frame has to end first.
    #[must_use]
    pub(crate) const fn is_finishing(&self) -> bool {
        self.selector.layer().is_finishing()
    }

    /// Tells whether the open frame has ended, or will not.
    #[must_use]
    pub(crate) fn has_finished(&self) -> bool {
        self.selector.layer().has_finished()
    }

    /// Takes it that the key frame is offered next, whether the open frame has ended or not.
    pub(crate) fn turn(&mut self) {
        self.selector.layer_mut().turn();
    }

    /// Tells whether a key frame would let this stream start, change or recover.
    #[must_use]
    pub(crate) fn wants_key_frame(&self) -> bool {
        self.selector.wants_key_frame()
    }

    /// Returns the encoding whose key frame would do that; `None` when any would.
    #[must_use]
    pub(crate) fn key_frame_of(&self) -> Option<StreamIndex> {
        self.awaited().or_else(|| self.current().map(|(_, stream)| stream))
    }

    /// Returns the encoding whose key frame would mend what the subscriber lost.
    #[must_use]
    pub(crate) fn mended_by(&self) -> Option<StreamIndex> {
        let present = self.current().filter(|_| self.has_picture()).map(|(_, stream)| stream);
        present.or_else(|| self.key_frame_of())
    }

    /// Returns the SSRC and encoding that are forwarded now.
    #[must_use]
    pub(crate) const fn current(&self) -> Option<(Ssrc, StreamIndex)> {
        self.selector.layer().current()
    }

    /// Returns egress minus source timestamp of the source forwarded last, modulo 2^32, for sender reports; `None`
    /// before the first packet.
    #[must_use]
    pub(crate) fn timestamp_offset(&self) -> Option<u32> {
        self.renumber.source().map(|_| self.renumber.timeline().offset())
    }

    fn choose(&mut self, packet: &Accepted<'_>, order: Order) -> Result<(Chosen, PayloadType), Discard> {
        let payload_type = self.mapped(packet.payload_type).ok_or(Discard::PayloadTypeUnmapped)?.to;
        let chosen = self.selector.select(packet, order)?;
        Ok((chosen, payload_type))
    }

    /// Returns what is left out with a packet.
    fn left_out(&self, packet: &Accepted<'_>) -> Left {
        if self.selector.layer().shows_picture_of(packet) { Left::Layer } else { Left::Picture }
    }

    fn mapped(&self, payload_type: PayloadType) -> Option<&PayloadMap> {
        self.payloads.iter().find(|map| map.from == payload_type)
    }

    fn block(&mut self) {
        self.selector.layer_mut().set_paused(self.paused || self.muted);
    }
}
