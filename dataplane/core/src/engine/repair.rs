//! Losses both ways: what publishers are asked to repeat, and what subscribers are sent again.

use std::ops::ControlFlow;
use std::time::Duration;

use arrayvec::ArrayVec;
use sluice_protocol::ids::{EgressId, TransportId};
use sluice_protocol::time::Instant;

use super::Engine;
use super::forward::seal;
use super::report::{FEEDBACK_BYTES_MAX, OWN_SSRC};
use crate::discard::Discard;
use crate::egress::Repeat;
use crate::limits::{MISSING_MAX, REPEAT_QUEUE_MAX, REPEAT_WINDOW, REPEATS_PER_WINDOW_MAX, SEALED_BYTES_MAX};
use crate::port::{Class, Outbox, Run};
use crate::shard::timer::Timer;
use crate::wire::extension::AbsSendTime;
use crate::wire::rtcp::nack::Nack;
use crate::wire::rtcp::{RtcpWriter, nack};

impl Engine {
    /// Asks a publisher for what is missing and due, and comes back for the rest.
    pub(super) fn ask_for_repeats(&mut self, now: Instant, id: TransportId) {
        let Some(transport) = self.transports.get(id.0) else { return };
        let patience = transport.repair_time.patience(transport.rtt);
        let mut buffer = [0; FEEDBACK_BYTES_MAX];
        let mut writer = RtcpWriter::new(&mut buffer);
        let mut next: Option<Instant> = None;
        let tracks = &mut self.tracks;
        for track in &transport.tracks {
            let Some(track) = tracks.get_mut(track.0).filter(|track| track.plan.nack) else { continue };
            for stream in &mut track.streams {
                let Some(media) = stream.ssrc else { continue };
                let mut asked: ArrayVec<u16, MISSING_MAX> = ArrayVec::new();
                stream.missing.take_due(now, patience, |sequence| {
                    // The list is as long as there can be gaps.
                    let _ = asked.try_push(u16::try_from(sequence & 0xffff).unwrap_or(0));
                });
                // What does not fit is asked for with its next try.
                let written = nack::write(&mut writer, OWN_SSRC, media, &asked).unwrap_or(0);
                stream.counters.nacks += written as u64;
                next = next.into_iter().chain(stream.missing.next()).min();
            }
        }
        let size = writer.size_bytes();
        self.send_feedback(id, buffer.get(..size).unwrap_or(&[]));
        if let (Some(at), Some(transport)) = (next, self.transports.get_mut(id.0)) {
            self.timers.arm(id, &mut transport.deadlines, Timer::Nack, at);
        }
    }

    /// Queues what a subscriber asks to have repeated, within the limit of its transport.
    pub(super) fn follow_nack(&mut self, now: Instant, id: TransportId, nack: &Nack<'_>) -> Result<(), Discard> {
        let egress = self.egress_of(id, nack.media).ok_or(Discard::RtcpUnknownSsrc)?;
        let Self { transports, targets, queues, discards, .. } = self;
        let transport = transports.get_mut(id.0).ok_or(Discard::RtcpUnknownSsrc)?;
        let target = targets.get_mut(egress.0).ok_or(Discard::RtcpUnknownSsrc)?;
        if !target.plan.nack || target.plan.rtx.is_none() {
            return Err(Discard::RepeatGone);
        }
        let round_trip = transport.rtt.unwrap_or(Duration::ZERO);
        for sequence in nack.sequences() {
            target.counters.nacks += 1;
            let is_allowed = queues.repeats.len() < REPEAT_QUEUE_MAX
                && transport.repeats.take(now, REPEAT_WINDOW, REPEATS_PER_WINDOW_MAX);
            if !is_allowed {
                return Err(Discard::RepeatLimited);
            }
            match target.stream.repeat(now, sequence, round_trip) {
                Ok(repeat) => queues.repeats.push_back((egress, repeat)),
                Err(discard) => discards.count(discard),
            }
        }
        Ok(())
    }

    /// Sends what was asked for again, as far as the outbox takes it.
    pub(super) fn flush_repeats(&mut self, now: Instant, outbox: &mut impl Outbox) -> ControlFlow<()> {
        while let Some((id, repeat)) = self.queues.repeats.front().copied() {
            match self.repeat(now, id, &repeat, outbox) {
                Ok(flow) => flow?,
                Err(discard) => self.discards.count(discard),
            }
            self.queues.repeats.pop_front();
        }
        ControlFlow::Continue(())
    }

    /// Sends one packet again, in a repair packet of its own number (RFC 4588 section 4).
    fn repeat(
        &mut self,
        now: Instant,
        id: EgressId,
        repeat: &Repeat,
        outbox: &mut impl Outbox,
    ) -> Result<ControlFlow<()>, Discard> {
        let Self { targets, tracks, transports, rows, .. } = self;
        let target = targets.get_mut(id.0).ok_or(Discard::RepeatGone)?;
        let transport = transports.get_mut(target.plan.transport.0).ok_or(Discard::RepeatGone)?;
        let five_tuple = transport.agent.target().ok_or(Discard::NotSending)?;
        let open = transport.open()?;
        let source = target.plan.source.as_ref().ok_or(Discard::RepeatGone)?;
        let track = tracks.get(source.track.0).ok_or(Discard::RepeatGone)?;
        let stream = track.carried_by(repeat.source).ok_or(Discard::RepeatGone)?;
        let packet = track.history.find(stream, repeat.sequence).ok_or(Discard::RepeatGone)?;
        let row = target.rtx_row.ok_or(Discard::RepeatGone)?;
        let outgoing = target.stream.plan_repeat(repeat, &packet)?;
        let size = outgoing.size_bytes + open.sealer.rtp_overhead_bytes();
        if size > SEALED_BYTES_MAX {
            return Err(Discard::EgressOversized);
        }
        let run = Run { five_tuple, segment_size_bytes: size, total_bytes: size, class: Class::Video };
        let Some(bytes) = outbox.reserve_run(run) else { return Ok(ControlFlow::Break(())) };
        rows.store_index(row, outgoing.index);
        target.rtx_guard.repair(outgoing.index);
        let sent_at = AbsSendTime::from_nanos(now.nanos);
        let write = |buffer: &mut [u8]| target.stream.write(&outgoing, &packet, sent_at, buffer);
        let sealed = seal(open, outgoing.index, outgoing.size_bytes, bytes, write);
        debug_assert_eq!(sealed, Some(size), "a planned repeat is written as planned");
        target.counters.repeats += 1;
        transport.counters.sent_packets += 1;
        transport.counters.sent_bytes += size as u64;
        Ok(ControlFlow::Continue(()))
    }
}
