//! One subscriber of a track in three encodings, as the engine feeds it: through the history, from its place there.

use sluice_protocol::media::{Codec, Rid};
use sluice_protocol::plan::{self, Encoding};
use sluice_protocol::table::RowIndex;

use super::decoder::Sent;
use super::*;
use crate::route::history::Position;
use crate::route::target::{SentBefore, Target, TargetCounters};
use crate::route::track::Track;
use crate::srtp::guard::SealGuard;

/// What a track in three encodings feeds.
pub(super) struct Viewer {
    pub(super) target: Target,
    pub(super) track: Track,
    pub(super) now: Instant,
    pub(super) sent: Vec<Sent>,
}

impl Viewer {
    pub(super) fn new(seed: u64) -> Self {
        let rids: [&[u8]; 3] = [b"q", b"h", b"f"];
        let encoding = |rid: &[u8]| Encoding { rid: Label::new(rid).map(Rid), ssrc: None, rtx: None };
        let plan = plan(MediaKind::Video);
        let track = Track::new(plan::Track {
            id: TrackId::new(0, 1, 1),
            transport: plan.transport,
            kind: MediaKind::Video,
            mid: plan.mid,
            codecs: vec![Codec { payload_type: PayloadType(96), rtx: None, kind: CodecKind::Vp8, clock_rate: 90_000 }],
            extensions: ExtensionIds::default(),
            encodings: rids.map(encoding).to_vec(),
            muted: false,
            nack: false,
        });
        let target = Target {
            stream: EgressStream::new(&plan, true, seed),
            cursor: Position(0),
            row: RowIndex(0),
            rtx_row: None,
            replay: None,
            held: None,
            is_listed: false,
            inherited: SentBefore::default(),
            last_command: None,
            is_undecodable: false,
            counters: TargetCounters::default(),
            guard: SealGuard::after(None),
            rtx_guard: SealGuard::after(None),
            plan,
        };
        Self { target, track, now: Instant::from_millis(1000), sent: Vec::new() }
    }

    /// Changes what the subscriber wants, as a command does.
    pub(super) fn want(&mut self, change: impl FnOnce(&mut Egress)) {
        let Self { target, track, now, .. } = self;
        let (awaited, was_paused) = (target.stream.awaited(), target.plan.paused);
        change(&mut target.plan);
        target.stream.update(&target.plan);
        let turns = target.stream.awaited().is_some_and(|encoding| awaited != Some(encoding));
        if turns || was_paused && !target.plan.paused {
            target.look_back(*now, track);
        }
        self.forward();
    }

    /// Takes a packet of the publisher.
    pub(super) fn receive(&mut self, packet: &Packet) {
        let Self { track, now, .. } = self;
        let encoding = StreamIndex(packet.stream);
        let packet = Accepted { arrival: *now, ..packet.accepted() };
        let is_known = track.history.find(encoding, packet.sequence).is_some_and(|known| known.ssrc == packet.ssrc);
        if !track.stream_mut(encoding).unwrap().carry(*now, packet.ssrc) || is_known {
            return;
        }
        track.stream_mut(encoding).unwrap().receive(
            *now,
            packet.sequence,
            crate::ingress::stream::Repair::NotNegotiated,
        );
        track.liveness.receive(*now, encoding, packet.frame.start);
        track.history.push(&packet).unwrap();
        self.forward();
    }

    pub(super) fn receive_all(&mut self, packets: impl IntoIterator<Item = impl Borrow<Packet>>) {
        packets.into_iter().for_each(|packet| self.receive(packet.borrow()));
    }

    /// Forwards what lies ahead of the subscriber's place.
    pub(super) fn forward(&mut self) {
        let Self { target, track, now, sent } = self;
        if target.stream.set_alive(track.liveness.alive()) {
            target.look_back(*now, track);
        }
        while let Some(position) = target.step(*now, &track.history) {
            let Some(packet) = track.history.packet(position) else { continue };
            match target.stream.plan_packet(&packet) {
                Ok(outgoing) => {
                    target.guard.media(outgoing.index, outgoing.timestamp);
                    let mut bytes = [0; 1500];
                    let at = AbsSendTime::from_nanos(0);
                    assert_eq!(target.stream.write(&outgoing, &packet, at, &mut bytes), Some(outgoing.size_bytes));
                    sent.push(Sent { source: (packet.ssrc.0, packet.sequence.0), start: packet.frame.start, outgoing });
                }
                Err(discard) => target.note(*now, position, discard),
            }
        }
    }

    /// Returns the encoding that is forwarded.
    pub(super) fn sees(&self) -> Option<u8> {
        self.target.stream.current().map(|(_, stream)| stream.0)
    }

    /// Returns the encoding that would be asked for a key frame.
    pub(super) fn asks(&self) -> Option<u8> {
        let stream = &self.target.stream;
        stream.wants_key_frame().then(|| stream.key_frame_of()).flatten().map(|encoding| encoding.0)
    }

    /// Returns what was sent since this was called last.
    pub(super) fn take(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }
}
