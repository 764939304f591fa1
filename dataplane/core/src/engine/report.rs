//! What a transport says by itself, from the timer heap.

use sluice_protocol::ids::{EgressId, TrackId, TransportId};
use sluice_protocol::media::{MediaKind, Ssrc};
use sluice_protocol::time::Instant;

use super::Engine;
use super::command::has_key_frames;
use crate::discard::Discard;
use crate::history::Position;
use crate::ingress::StreamIndex;
use crate::limits::{REPLAY_AGE_MAX, REPLAY_PACKETS_MAX};
use crate::target::Replay;
use crate::timer::Timer;
use crate::wire::rtcp::{RtcpWriter, pli};

/// The SSRC of receiver reports and feedback on transports where nothing is sent; as libwebrtc's receivers do.
pub(super) const OWN_SSRC: Ssrc = Ssrc(1);
/// A compound of ours fits any path.
const COMPOUND_BYTES_MAX: usize = 1200;

impl Engine {
    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, id, timer)) = self.timers.pop_due(now) {
            let Some(transport) = self.transports.get_mut(id.0) else { continue };
            if !transport.deadlines.fire(timer, at) {
                continue;
            }
            match timer {
                Timer::Consent => self.check_consent(now, id),
                Timer::KeyFrame => self.ask_for_key_frames(now, id),
                Timer::Report | Timer::Feedback | Timer::Nack => {}
            }
        }
    }

    /// Notes that somebody wants a key frame of a track: of the stream that `ssrc` carries, or of the first one heard.
    pub(super) fn want_key_frame(&mut self, now: Instant, id: TrackId, ssrc: Option<Ssrc>) {
        let Some(track) = self.tracks.get_mut(id.0) else { return };
        let heard = || track.streams.iter().find_map(|stream| stream.ssrc);
        let Some(ssrc) = ssrc.or_else(heard).filter(|_| has_key_frames(track.plan.kind)) else { return };
        let at = track.key_frames.want(now, ssrc);
        let publisher = track.plan.transport;
        if at <= now {
            self.ask_for_key_frames(now, publisher);
        } else if let Some(transport) = self.transports.get_mut(publisher.0) {
            self.timers.arm(publisher, &mut transport.deadlines, Timer::KeyFrame, at);
        }
    }

    /// Notes that an egress stream needs a key frame to go on.
    pub(super) fn want_key_frame_for(&mut self, now: Instant, id: EgressId) {
        let Some(target) = self.targets.get(id.0) else { return };
        let Some(source) = &target.plan.source else { return };
        let ssrc = target.stream.current().map(|(ssrc, _)| ssrc);
        self.want_key_frame(now, source.track, ssrc);
    }

    /// Starts an egress stream from its track's last key frame where that is young enough, else asks for one.
    pub(super) fn start_from_history(&mut self, now: Instant, id: EgressId, track: TrackId) {
        let (Some(target), Some(source)) = (self.targets.get_mut(id.0), self.tracks.get(track.0)) else { return };
        if source.plan.kind != MediaKind::Video || target.plan.paused || source.plan.muted {
            return;
        }
        let streams = (0..source.streams.len()).filter_map(|index| u8::try_from(index).ok()).map(StreamIndex);
        let young = |position: &Position| {
            let packet = source.history.packet(*position);
            source.history.head().0 - position.0 <= REPLAY_PACKETS_MAX
                && packet.is_some_and(|packet| now.saturating_since(packet.arrival) <= REPLAY_AGE_MAX)
        };
        match streams.filter_map(|stream| source.history.key_frame(stream)).find(young) {
            Some(position) => {
                target.cursor = position;
                if target.replay.replace(Replay { next: now }).is_none() {
                    self.queues.replaying.push(id);
                }
            }
            None => self.want_key_frame(now, track, None),
        }
    }

    /// Asks for all key frames that are wanted of a publisher and due, and comes back for those that are not.
    fn ask_for_key_frames(&mut self, now: Instant, id: TransportId) {
        let Some(transport) = self.transports.get(id.0) else { return };
        if transport.agent.target().is_none() || transport.open().is_err() {
            return;
        }
        let mut buffer = [0; COMPOUND_BYTES_MAX];
        let mut writer = RtcpWriter::new(&mut buffer);
        let mut next: Option<Instant> = None;
        for track in &transport.tracks {
            let Some(track) = self.tracks.get_mut(track.0) else { continue };
            if let Some(ssrc) = track.key_frames.take_due(now)
                && pli::write(&mut writer, OWN_SSRC, ssrc).is_ok()
                && let Some(stream) = track.streams.iter_mut().find(|stream| stream.ssrc == Some(ssrc))
            {
                stream.counters.plis += 1;
            }
            next = next.into_iter().chain(track.key_frames.due()).min();
        }
        let size = writer.size_bytes();
        if let Some(compound) = buffer.get(..size).filter(|compound| !compound.is_empty()) {
            self.send_rtcp(id, compound);
        }
        if let (Some(at), Some(transport)) = (next, self.transports.get_mut(id.0)) {
            self.timers.arm(id, &mut transport.deadlines, Timer::KeyFrame, at);
        }
    }

    /// Seals a compound and queues it for the peer. The index is stored before it is used.
    pub(super) fn send_rtcp(&mut self, id: TransportId, compound: &[u8]) {
        let Some(transport) = self.transports.get(id.0) else { return };
        let (Some(five_tuple), Ok(open)) = (transport.agent.target(), transport.open()) else {
            self.discards.count(Discard::NotSending);
            return;
        };
        let index = self.rows.index(open.srtcp_row) + 1;
        self.rows.store_index(open.srtcp_row, index);
        let mut buffer = [0; COMPOUND_BYTES_MAX + 64];
        let Some(plain) = buffer.get_mut(..compound.len()) else { return };
        plain.copy_from_slice(compound);
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let sealed = open.sealer.seal_rtcp(&mut buffer, compound.len(), index).ok();
        if let Some(sealed) = sealed.and_then(|size| buffer.get(..size)) {
            self.queue_control(id, five_tuple, sealed);
        }
    }
}
