//! Who wants a key frame, who is asked for one, and who starts from the history instead.

use sluice_protocol::ids::{EgressId, TrackId, TransportId};
use sluice_protocol::media::{MediaKind, Ssrc};
use sluice_protocol::time::Instant;

use super::Engine;
use super::report::{COMPOUND_BYTES_MAX, OWN_SSRC};
use crate::history::Position;
use crate::ingress::StreamIndex;
use crate::limits::{REPLAY_AGE_MAX, REPLAY_PACKETS_MAX};
use crate::target::Replay;
use crate::timer::Timer;
use crate::wire::rtcp::{RtcpWriter, pli};

impl Engine {
    /// Notes that somebody wants a key frame of a track: of the stream that `ssrc` carries, or of the first one heard.
    pub(super) fn want_key_frame(&mut self, now: Instant, id: TrackId, ssrc: Option<Ssrc>) {
        let Some(track) = self.tracks.get_mut(id.0) else { return };
        let heard = || track.streams.iter().find_map(|stream| stream.ssrc);
        let is_video = track.plan.kind == MediaKind::Video;
        // A subscriber may still name an SSRC that its publisher has given up, and that nobody answers for.
        let carried = ssrc.filter(|ssrc| track.carried_by(*ssrc).is_some());
        let Some(ssrc) = carried.or_else(heard).filter(|_| is_video) else { return };
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
        let subscriber = self.transports.get(target.plan.transport.0);
        let is_sending =
            subscriber.is_some_and(|transport| transport.agent.target().is_some() && transport.open().is_ok());
        if source.plan.kind != MediaKind::Video || target.plan.paused || source.plan.muted || !is_sending {
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
    pub(super) fn ask_for_key_frames(&mut self, now: Instant, id: TransportId) {
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
        self.send_rtcp(id, buffer.get(..size).unwrap_or(&[]));
        if let (Some(at), Some(transport)) = (next, self.transports.get_mut(id.0)) {
            self.timers.arm(id, &mut transport.deadlines, Timer::KeyFrame, at);
        }
    }
}
