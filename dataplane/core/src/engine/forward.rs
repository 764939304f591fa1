//! The way out: for each subscriber select, renumber, rewrite and seal, in runs of equal size.

use std::num::NonZeroU8;
use std::ops::ControlFlow;
use std::time::Duration;

use sluice_protocol::ids::{EgressId, TrackId};
use sluice_protocol::media::{MediaKind, PayloadType};
use sluice_protocol::table::Anchor;
use sluice_protocol::time::Instant;

use super::Engine;
use crate::discard::Discard;
use crate::egress::Outgoing;
use crate::limits::{
    BACKLOG_AUDIO_AGE_MAX, BACKLOG_VIDEO_AGE_MAX, REPLAY_BURST_PACKETS, REPLAY_INTERVAL, SEALED_BYTES_MAX,
};
use crate::port::{Class, Outbox, RUN_BYTES_MAX, RUN_SEGMENTS_MAX, Run};
use crate::route::history::{History, Position};
use crate::route::target::{Replay, Target};
use crate::route::track::Track;
use crate::shard::rows::Rows;
use crate::transport::{Open, Transport};
use crate::wire::extension::AbsSendTime;
use crate::wire::rtp::{RtpHeader, write_padding};

/// Sizes that differ by at most so many bytes are made equal by padding (RFC 3550 section 5.1), so that the packets of a
/// frame, which encoders split into nearly equal parts, leave in one run.
const PADDING_BYTES_MAX: usize = 12;

/// A packet whose numbers are taken: it leaves, or is missing downstream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    position: Position,
    outgoing: Outgoing,
}

/// How the planning of a subscriber's packets ended.
#[derive(Clone, Copy, Debug, Default)]
struct Outlook {
    /// Whether more packets wait than may leave now.
    more: bool,
    undecodable: Option<PayloadType>,
    wants_key_frame: bool,
}

impl Engine {
    pub(super) fn flush_punts(&mut self, outbox: &mut impl Outbox) {
        while let Some((transport, datagram)) = self.punts.front() {
            outbox.punt(transport, datagram);
            self.punts.pop();
        }
    }

    pub(super) fn flush_control(&mut self, outbox: &mut impl Outbox) -> ControlFlow<()> {
        while let Some(((id, five_tuple), datagram)) = self.control.front() {
            let size = datagram.len();
            let run = Run { five_tuple, segment_size_bytes: size, total_bytes: size, class: Class::Control };
            let Some(bytes) = outbox.reserve_run(run) else { return ControlFlow::Break(()) };
            bytes.copy_from_slice(datagram);
            self.control.pop();
            if let Some(transport) = self.transports.get_mut(id.0) {
                transport.counters.sent_packets += 1;
                transport.counters.sent_bytes += size as u64;
            }
        }
        ControlFlow::Continue(())
    }

    /// Lets out what was planned when the outbox was full, then sound, then repeats and pictures.
    pub(super) fn flush_media(&mut self, now: Instant, outbox: &mut impl Outbox) -> ControlFlow<()> {
        if let Some(id) = self.queues.blocked.take() {
            self.drop_evicted(id);
            self.release(now, id, outbox)?;
        }
        self.queues.rotation = self.queues.rotation.wrapping_add(1);
        while let Some(id) = self.queues.audio.first().copied() {
            self.flush_track(now, id, outbox)?;
            self.queues.audio.swap_remove(0);
        }
        self.flush_repeats(now, outbox)?;
        while let Some(id) = self.queues.video.first().copied() {
            self.flush_track(now, id, outbox)?;
            self.queues.video.swap_remove(0);
        }
        self.flush_due(now, outbox)
    }

    /// Drops what left the history while it waited; its numbers are missing downstream.
    fn drop_evicted(&mut self, id: EgressId) {
        let Self { targets, tracks, queues, discards, .. } = self;
        let source = targets.get(id.0).and_then(|target| target.plan.source.as_ref());
        let Some(track) = source.and_then(|source| tracks.get(source.track.0)) else { return };
        queues.planned.retain(|planned| {
            let is_there = track.history.packet(planned.position).is_some();
            if !is_there {
                discards.count(Discard::Overrun);
            }
            is_there
        });
    }

    /// Brings all subscribers of a track up to date, each in turn being the first.
    fn flush_track(&mut self, now: Instant, id: TrackId, outbox: &mut impl Outbox) -> ControlFlow<()> {
        let count = self.tracks.get(id.0).map_or(0, |track| track.targets.len());
        let rotation = self.queues.rotation;
        for index in 0..count {
            let turned = (index + rotation) % count;
            let target = self.tracks.get(id.0).and_then(|track| track.targets.get(turned).copied());
            if let Some(target) = target {
                self.forward(now, target, outbox)?;
            }
        }
        if let Some(track) = self.tracks.get_mut(id.0) {
            track.is_queued = false;
        }
        ControlFlow::Continue(())
    }

    /// Goes on with those that catch up with a key frame, a burst each, and with those that wait no longer for the rest of a
    /// frame.
    fn flush_due(&mut self, now: Instant, outbox: &mut impl Outbox) -> ControlFlow<()> {
        let mut index = 0;
        while let Some(id) = self.queues.due.get(index).copied() {
            if self.targets.get(id.0).and_then(Target::due).is_some_and(|due| due <= now) {
                self.forward(now, id, outbox)?;
            }
            let target = self.targets.get_mut(id.0);
            let is_due_again = target.as_ref().is_some_and(|target| target.due().is_some());
            if is_due_again {
                index += 1;
                continue;
            }
            self.queues.due.swap_remove(index);
            if let Some(target) = target {
                target.is_listed = false;
            }
        }
        ControlFlow::Continue(())
    }

    /// Forwards to one subscriber what its track has for it; stops when the outbox is full.
    fn forward(&mut self, now: Instant, id: EgressId, outbox: &mut impl Outbox) -> ControlFlow<()> {
        loop {
            let outlook = self.plan(now, id);
            self.release(now, id, outbox)?;
            if let Some(payload_type) = outlook.undecodable {
                self.report_undecodable(id, payload_type);
            }
            if outlook.wants_key_frame {
                self.want_key_frame_for(now, id);
            }
            if !outlook.more {
                return ControlFlow::Continue(());
            }
        }
    }

    /// Decides on the packets from the subscriber's place in the history on, at most a run's number of them.
    fn plan(&mut self, now: Instant, id: EgressId) -> Outlook {
        let Self { targets, tracks, transports, queues, discards, .. } = self;
        let mut outlook = Outlook::default();
        let Some(target) = targets.get_mut(id.0) else { return outlook };
        let source = target.plan.source.as_ref().and_then(|source| tracks.get(source.track.0));
        let Some(track) = source else { return outlook };
        let Track { history, plan, .. } = track;
        let transport = transports.get(target.plan.transport.0);
        let Some(overhead) = transport.and_then(sealing_overhead) else {
            skip_all(target, history, || discards.count(Discard::NotSending));
            (target.replay, target.held) = (None, None);
            return outlook;
        };
        if target.stream.set_alive(track.liveness.alive()) && target.look_back(now, track) {
            queues.replay(now, target);
        }
        let allowed = target.allowance(now);
        let is_replay = target.replay.is_some();
        let is_backlogged = queues.is_backlogged && !is_replay;
        target.cursor = catch_up(target.cursor, history, || discards.count(Discard::Overrun));
        while queues.planned.len() < allowed
            && let Some(position) = target.step(now, history)
        {
            let Some(packet) = history.packet(position) else { continue };
            if packet.payload.is_empty() {
                target.stream.skip(packet.ssrc, packet.sequence);
                continue;
            }
            if is_backlogged && now.saturating_since(packet.arrival) > patience_of(plan.kind) {
                target.stream.shed(&packet);
                discards.count(Discard::Backlog);
                continue;
            }
            match target.stream.plan_packet(&packet) {
                Ok(outgoing) if outgoing.size_bytes + overhead > SEALED_BYTES_MAX => {
                    discards.count(Discard::EgressOversized);
                }
                Ok(outgoing) => queues.planned.push(Planned { position, outgoing }),
                Err(discard) => {
                    discards.count(discard);
                    target.note(now, position, discard);
                    if discard == Discard::PayloadTypeUnmapped {
                        outlook.undecodable = Some(packet.payload_type);
                    }
                }
            }
        }
        queues.look_again(target);
        let is_behind = target.cursor < history.head();
        outlook.more = target.settle(now, is_behind);
        outlook.wants_key_frame = target.stream.wants_key_frame() && !is_replay;
        outlook
    }

    /// Seals what is planned for a subscriber and lets it out, run by run. What the outbox has no room for stays
    /// planned, and goes first the next time.
    fn release(&mut self, now: Instant, id: EgressId, outbox: &mut impl Outbox) -> ControlFlow<()> {
        let Self { targets, tracks, transports, queues, rows, .. } = self;
        let target = targets.get_mut(id.0);
        let transport = target.as_ref().and_then(|target| transports.get_mut(target.plan.transport.0));
        let (Some(target), Some(transport)) = (target, transport) else {
            queues.planned.clear();
            return ControlFlow::Continue(());
        };
        let source = target.plan.source.as_ref().and_then(|source| tracks.get(source.track.0));
        let (Some(five_tuple), Some(track), Ok(open)) = (transport.agent.target(), source, transport.open()) else {
            queues.planned.clear();
            return ControlFlow::Continue(());
        };
        let mut sent = Sent::default();
        let mut flow = ControlFlow::Continue(());
        let mut done = 0;
        if !queues.planned.is_empty() {
            store_state(rows, target, &queues.planned);
        }
        while let Some(rest) = queues.planned.get(done..).filter(|rest| !rest.is_empty()) {
            let shape = Shape::of(rest, open.sealer.rtp_overhead_bytes());
            let run = Run {
                five_tuple,
                segment_size_bytes: shape.segment_size_bytes,
                total_bytes: shape.total_bytes,
                class: class_of(track.plan.kind),
            };
            let Some(bytes) = outbox.reserve_run(run) else {
                flow = ControlFlow::Break(());
                break;
            };
            let packets = rest.get(..shape.packets).unwrap_or(rest);
            seal_run(now, target, &track.history, open, packets, &shape, bytes);
            sent.add(&shape, packets);
            done += shape.packets;
        }
        queues.planned.drain(..done);
        if flow.is_break() {
            queues.blocked = Some(id);
        }
        target.counters.packets += sent.packets;
        target.counters.bytes += sent.payload_bytes;
        transport.counters.sent_packets += sent.packets;
        transport.counters.sent_bytes += sent.bytes;
        flow
    }
}

impl Target {
    /// Returns how many packets may be planned now.
    fn allowance(&self, now: Instant) -> usize {
        match self.replay {
            Some(replay) if replay.next > now => 0,
            Some(_) => REPLAY_BURST_PACKETS as usize,
            None => RUN_SEGMENTS_MAX,
        }
    }

    /// Ends a replay that caught up, or sets its next burst; returns whether more may be planned at once.
    fn settle(&mut self, now: Instant, is_behind: bool) -> bool {
        match &mut self.replay {
            Some(replay) if is_behind => {
                if replay.next <= now {
                    *replay = Replay { next: now + REPLAY_INTERVAL };
                }
                false
            }
            Some(_) => {
                self.replay = None;
                false
            }
            None => is_behind,
        }
    }
}

/// What left.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    packets: u64,
    bytes: u64,
    payload_bytes: u64,
}

impl Sent {
    fn add(&mut self, shape: &Shape, packets: &[Planned]) {
        self.packets += packets.len() as u64;
        self.bytes += shape.total_bytes as u64;
        self.payload_bytes += payload_bytes_of(packets);
    }
}

/// The shape of the run that starts a list of planned packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    packets: usize,
    /// Sealed.
    segment_size_bytes: usize,
    /// Sealed.
    total_bytes: usize,
}

impl Shape {
    /// Takes as many packets as nearly have one size; a clearly shorter one ends the run.
    fn of(planned: &[Planned], overhead_bytes: usize) -> Self {
        Self::of_sizes(planned.iter().map(|planned| planned.outgoing.size_bytes + overhead_bytes))
    }

    fn of_sizes(sizes: impl IntoIterator<Item = usize>) -> Self {
        let mut shape = Self { packets: 0, segment_size_bytes: 0, total_bytes: 0 };
        let mut smallest = usize::MAX;
        for size in sizes {
            let largest = shape.segment_size_bytes.max(size);
            let is_equal = shape.packets == 0 || largest - smallest.min(size) <= PADDING_BYTES_MAX;
            let is_last = !is_equal && size < smallest;
            let total = if is_last { shape.total_bytes + size } else { largest * (shape.packets + 1) };
            if !(is_equal || is_last) || shape.packets == RUN_SEGMENTS_MAX || total > RUN_BYTES_MAX {
                break;
            }
            shape.packets += 1;
            shape.total_bytes = total;
            if is_last {
                break;
            }
            shape.segment_size_bytes = largest;
            smallest = smallest.min(size);
        }
        shape
    }

    /// Returns the sealed size of packet `index`.
    fn size_of(&self, index: usize) -> usize {
        if index + 1 == self.packets {
            self.total_bytes - self.segment_size_bytes * index
        } else {
            self.segment_size_bytes
        }
    }
}

/// Stores index and anchor of what is about to be sealed, so that a successor goes on past it. `planned` counts as sent:
/// a successor's reports may be ahead by what did not leave, but never go back.
fn store_state(rows: &Rows, target: &Target, planned: &[Planned]) {
    let (packets, payload_bytes) = target.sent_with(planned.len() as u64, payload_bytes_of(planned));
    let anchor = Anchor { packets, payload_bytes, ..target.stream.state() };
    rows.store_anchor(target.row, &anchor);
    rows.store_index(target.row, target.stream.index());
}

fn payload_bytes_of(packets: &[Planned]) -> u64 {
    packets.iter().map(|planned| planned.outgoing.payload_size_bytes as u64).sum()
}

/// Writes, pads and seals the packets of a run into the outbox's bytes.
fn seal_run(
    now: Instant,
    target: &mut Target,
    history: &History,
    open: &Open,
    packets: &[Planned],
    shape: &Shape,
    bytes: &mut [u8],
) {
    let sent_at = AbsSendTime::from_nanos(now.nanos);
    for ((index, planned), segment) in packets.iter().enumerate().zip(bytes.chunks_mut(shape.segment_size_bytes)) {
        let plain_size = shape.size_of(index) - open.sealer.rtp_overhead_bytes();
        target.guard.media(planned.outgoing.index, planned.outgoing.timestamp);
        let sealed = seal(open, planned.outgoing.index, plain_size, segment, |buffer| {
            target.stream.write(&planned.outgoing, &history.packet(planned.position)?, sent_at, buffer)
        });
        debug_assert_eq!(sealed, Some(shape.size_of(index)), "a planned packet is written as planned");
    }
}

/// Writes a packet to the front of `segment`, pads it to `plain_size` and seals it under `index`; returns its sealed size.
/// When any of that fails the segment is nothing but zeros: it leaves with its run, and neither plain bytes nor what lay in
/// the buffer before may; zeros are no packet of any kind.
pub(super) fn seal(
    open: &Open,
    index: u64,
    plain_size: usize,
    segment: &mut [u8],
    write: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> Option<usize> {
    let sealed = write(segment).and_then(|size| pad(segment, size, plain_size)).and_then(|size| {
        let header = RtpHeader::parse(segment).ok()?.size_bytes();
        open.sealer.seal_rtp(segment, header, size, index).ok()
    });
    if sealed.is_none() {
        segment.fill(0);
    }
    sealed
}

/// Pads a packet of `size` to `wanted`.
fn pad(segment: &mut [u8], size: usize, wanted: usize) -> Option<usize> {
    let missing = u8::try_from(wanted.checked_sub(size)?).ok()?;
    match NonZeroU8::new(missing) {
        Some(padding) => write_padding(segment, size, padding).ok(),
        None => Some(size),
    }
}

/// Returns what sealing adds for a peer that can be sent to.
fn sealing_overhead(transport: &Transport) -> Option<usize> {
    transport.agent.target()?;
    transport.open().ok().map(|open| open.sealer.rtp_overhead_bytes())
}

/// Passes over everything, for a peer that nothing can be sent to.
fn skip_all(target: &mut Target, history: &History, mut count: impl FnMut()) {
    while target.cursor < history.head() {
        target.cursor = target.cursor.next();
        count();
    }
}

/// Returns the place from which packets are still there.
fn catch_up(cursor: Position, history: &History, mut count: impl FnMut()) -> Position {
    for _ in cursor.0..history.oldest().0 {
        count();
    }
    cursor.max(history.oldest())
}

/// Returns how long a packet waits behind a full outbox.
const fn patience_of(kind: MediaKind) -> Duration {
    match kind {
        MediaKind::Audio => BACKLOG_AUDIO_AGE_MAX,
        MediaKind::Video => BACKLOG_VIDEO_AGE_MAX,
    }
}

const fn class_of(kind: MediaKind) -> Class {
    match kind {
        MediaKind::Audio => Class::Audio,
        MediaKind::Video => Class::Video,
    }
}
