//! Who wants a key frame, who is asked for one, and who starts from the history instead.

use arrayvec::ArrayVec;
use sluice_protocol::ids::{EgressId, TrackId, TransportId};
use sluice_protocol::limits::ENCODINGS_MAX;
use sluice_protocol::media::{MediaKind, Ssrc};
use sluice_protocol::time::Instant;

use super::Engine;
use super::report::{FEEDBACK_BYTES_MAX, OWN_SSRC};
use crate::ingress::StreamIndex;
use crate::route::key_frame_requests::Wish;
use crate::shard::timer::Timer;
use crate::wire::rtcp::{RtcpWriter, pli};

/// Requests, of 12 bytes each, that fit one compound.
const REQUESTS_PER_COMPOUND: usize = FEEDBACK_BYTES_MAX / 12;

impl Engine {
    /// Notes that somebody wants a key frame of a track: of `encoding`, or of whichever is heard first.
    pub(super) fn want_key_frame(&mut self, now: Instant, id: TrackId, encoding: Option<StreamIndex>) {
        let Some(track) = self.tracks.get_mut(id.0).filter(|track| track.plan.kind == MediaKind::Video) else { return };
        // Nobody answers for an encoding that no SSRC carries.
        let named = encoding.filter(|encoding| track.stream(*encoding).is_some_and(|stream| stream.ssrc.is_some()));
        let named = named.map(|encoding| (encoding, Wish::This));
        let Some((encoding, wish)) = named.or_else(|| Some((track.first_heard()?, Wish::Any))) else { return };
        track.key_frames.want(encoding, wish);
        let Some(at) = track.key_frames.due() else { return };
        let publisher = track.plan.transport;
        if at <= now {
            self.ask_for_key_frames(now, publisher);
        } else if let Some(transport) = self.transports.get_mut(publisher.0) {
            self.timers.arm(publisher, &mut transport.deadlines, Timer::KeyFrame, at);
        }
    }

    /// Notes that somebody wants a key frame of the encoding that an SSRC carries.
    pub(super) fn want_key_frame_of(&mut self, now: Instant, id: TrackId, ssrc: Ssrc) {
        let encoding = self.tracks.get(id.0).and_then(|track| track.carried_by(ssrc));
        self.want_key_frame(now, id, encoding);
    }

    /// Notes that an egress stream needs a key frame to go on.
    pub(super) fn want_key_frame_for(&mut self, now: Instant, id: EgressId) {
        let Some(target) = self.targets.get(id.0) else { return };
        let Some(source) = &target.plan.source else { return };
        let (track, encoding) = (source.track, target.stream.key_frame_of());
        self.want_key_frame(now, track, encoding);
    }

    /// Starts an egress stream from its track's last key frame where that is young enough: of the wished encoding, else
    /// of the highest one below. Asks for the wished one's where that is not to be had.
    pub(super) fn start_from_history(&mut self, now: Instant, id: EgressId, track: TrackId) {
        let (Some(target), Some(source)) = (self.targets.get_mut(id.0), self.tracks.get(track.0)) else { return };
        let subscriber = self.transports.get(target.plan.transport.0);
        let is_sending =
            subscriber.is_some_and(|transport| transport.agent.target().is_some() && transport.open().is_ok());
        if source.plan.kind != MediaKind::Video || target.plan.paused || source.plan.muted || !is_sending {
            return;
        }
        let awaited = target.stream.awaited();
        let all = (0..source.streams.len()).rev().filter_map(|index| u8::try_from(index).ok()).map(StreamIndex);
        let streams = awaited.into_iter().chain(all.filter(|stream| target.stream.allows(*stream)));
        let found = streams.map(|stream| (stream, target.find(now, source, stream)));
        match found.filter_map(|(stream, position)| Some((stream, position?))).next() {
            Some((stream, position)) => {
                target.cursor = position;
                self.queues.replay(now, target);
                if awaited.is_some_and(|awaited| awaited != stream) {
                    self.want_key_frame(now, track, awaited);
                }
            }
            None => self.want_key_frame(now, track, awaited),
        }
    }

    /// Brings an egress stream to the encoding that is wished now: from the last key frame of that where it is young
    /// enough, else by asking for one.
    pub(super) fn turn_from_history(&mut self, now: Instant, id: EgressId, track: TrackId) {
        let (Some(target), Some(source)) = (self.targets.get_mut(id.0), self.tracks.get(track.0)) else { return };
        if target.look_back(now, source) {
            self.queues.replay(now, target);
        } else {
            self.want_key_frame_for(now, id);
        }
    }

    /// Asks for all key frames that are wanted of a publisher and due, and comes back for those that are not.
    pub(super) fn ask_for_key_frames(&mut self, now: Instant, id: TransportId) {
        let Some(transport) = self.transports.get(id.0) else { return };
        if transport.agent.target().is_none() || transport.open().is_err() {
            return;
        }
        let mut due: ArrayVec<Ssrc, REQUESTS_PER_COMPOUND> = ArrayVec::new();
        let mut next: Option<Instant> = None;
        for index in 0..transport.tracks.len() {
            let track = self.transports.get(id.0).and_then(|transport| transport.tracks.get(index).copied());
            let Some(track) = track.and_then(|track| self.tracks.get_mut(track.0)) else { continue };
            for encoding in track.key_frames.take_due(now) {
                let Some(stream) = track.stream_mut(encoding) else { continue };
                stream.counters.plis += 1;
                due.extend(stream.ssrc);
            }
            next = next.into_iter().chain(track.key_frames.due()).min();
            if due.remaining_capacity() < ENCODINGS_MAX {
                self.send_key_frame_requests(id, &due);
                due.clear();
            }
        }
        self.send_key_frame_requests(id, &due);
        if let (Some(at), Some(transport)) = (next, self.transports.get_mut(id.0)) {
            self.timers.arm(id, &mut transport.deadlines, Timer::KeyFrame, at);
        }
    }

    fn send_key_frame_requests(&mut self, id: TransportId, ssrcs: &[Ssrc]) {
        let mut buffer = [0; FEEDBACK_BYTES_MAX];
        let mut writer = RtcpWriter::new(&mut buffer);
        let written = ssrcs.iter().all(|ssrc| pli::write(&mut writer, OWN_SSRC, *ssrc).is_ok());
        debug_assert!(written, "the compound was measured");
        let size = writer.size_bytes();
        self.send_feedback(id, buffer.get(..size).unwrap_or(&[]));
    }
}
