//! The way in of an RTP packet: open → ingress → history.

use std::time::Duration;

use sluice_protocol::event::Event;
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::media::{CodecKind, Label, MediaKind, PayloadType, Ssrc};
use sluice_protocol::table::{Role, RowKey};
use sluice_protocol::time::Instant;

use super::Engine;
use super::learn::Place;
use super::publishing::table_role;
use crate::discard::Discard;
use crate::ingress::describe::{Extensions, Timestamp, describe, transport_sequence};
use crate::ingress::sources::SourceRole;
use crate::ingress::stream::Repair;
use crate::ingress::{Accepted, ExtendedSequence, StreamIndex};
use crate::port::Datagram;
use crate::route::history::History;
use crate::route::track::{Payload, Track};
use crate::shard::rows::Rows;
use crate::shard::timer::Timer;
use crate::srtp::{Replay, ReplayWindow, estimate_index};
use crate::transport::{Security, Transport};
use crate::wire::rtp::{RtpHeader, RtpView};

/// An opened packet and whose it is.
#[derive(Clone, Copy, Debug)]
struct Opened<'a> {
    view: RtpView<'a>,
    /// The SRTP index of the SSRC that it came on.
    index: u64,
    source: Place,
    arrival: Instant,
}

impl Engine {
    /// Takes a packet of a publisher as far as its track's history.
    pub(super) fn receive_rtp(&mut self, now: Instant, datagram: Datagram<'_>) -> Result<(), Discard> {
        let id = self.demux.transport(datagram.five_tuple)?;
        let opened = self.open(now, id, datagram)?;
        if let Some(sequence) = self.transport_sequence(&opened) {
            self.note_arrival(now, id, sequence, opened.arrival);
        }
        let track = self.tracks.get_mut(opened.source.track.0).ok_or(Discard::SsrcUnknown)?;
        let outcome = match opened.source.role {
            SourceRole::Media => accept_media(now, track, &opened),
            SourceRole::Rtx { of } => accept_repair(now, track, of, &opened),
        };
        self.queues.enqueue_if_stored(track, outcome);
        let accepted = outcome?;
        self.follow_up(now, id, &opened, accepted);
        if accepted.is_padding { Err(Discard::Padding) } else { Ok(()) }
    }

    /// Authenticates and decrypts a packet in place, and finds out whose it is.
    fn open<'a>(&mut self, now: Instant, id: TransportId, datagram: Datagram<'a>) -> Result<Opened<'a>, Discard> {
        let bytes = datagram.bytes;
        let transport = self.transports.get_mut(id.0).ok_or(Discard::UnvalidatedFiveTuple)?;
        let Transport { security, sources, refused, .. } = transport;
        let Security::Open(open) = security else { return Err(Discard::NoKeys) };
        let header = RtpHeader::parse(bytes).map_err(|_| Discard::RtpMalformed)?;
        let known = sources.get_mut(header.ssrc);
        let index = match &known {
            Some(source) => next_index(&source.window, header.sequence)?,
            None => match refused.window(header.ssrc) {
                Some(window) => next_index(window, header.sequence)?,
                None => next_index(&window_left(&self.rows, id, header.ssrc), header.sequence)?,
            },
        };
        let size_bytes = open.opener.open_rtp(bytes, header.size_bytes(), index).map_err(|_| Discard::SrtpForged)?;
        let plain: &'a [u8] = bytes.get(..size_bytes).ok_or(Discard::SrtpForged)?;
        let view = header.view(plain).map_err(|_| Discard::RtpMalformed)?;
        let place = match known {
            Some(source) => Place { track: source.track, stream: source.stream, role: source.role },
            None => match self.learn(now, id, &view) {
                Ok(place) => place,
                Err(discard) => {
                    self.note_refused(now, id, &view, index, datagram.arrival);
                    return Err(discard);
                }
            },
        };
        if self.commit(now, id, header.ssrc, index) {
            self.follow_newest(now, id, datagram.five_tuple);
        }
        Ok(Opened { view, index, source: place, arrival: datagram.arrival })
    }

    /// Returns a packet's transport-wide number, where that is negotiated.
    fn transport_sequence(&self, opened: &Opened<'_>) -> Option<u16> {
        let track = self.tracks.get(opened.source.track.0)?;
        transport_sequence(&opened.view, track.plan.extensions.transport_sequence)
    }

    /// Notes a packet that belongs nowhere: it goes no further, but it was not lost on its way.
    fn note_refused(&mut self, now: Instant, id: TransportId, view: &RtpView<'_>, index: u64, arrival: Instant) {
        let Some(transport) = self.transports.get_mut(id.0) else { return };
        if !transport.refused.commit(view.ssrc(), index) {
            return;
        }
        // Where it is negotiated it has one id on the whole transport (RFC 8843 section 9.2).
        let tracks = transport.tracks.iter().filter_map(|track| self.tracks.get(track.0));
        let extension = tracks.map(|track| track.plan.extensions.transport_sequence).find(|id| *id != 0).unwrap_or(0);
        if let Some(sequence) = transport_sequence(view, extension) {
            self.note_arrival(now, id, sequence, arrival);
        }
    }

    /// Remembers that an index was seen, here and in the shared table; returns true when it is the highest of its SSRC.
    fn commit(&mut self, now: Instant, id: TransportId, ssrc: Ssrc, index: u64) -> bool {
        let Some(transport) = self.transports.get_mut(id.0) else { return false };
        let Some(source) = transport.sources.get_mut(ssrc) else { return false };
        source.window.commit(index);
        source.heard = Some(now);
        let highest = source.window.highest().unwrap_or(index);
        if let Some(row) = source.row {
            self.rows.store_index(row, highest);
            return highest == index;
        }
        let track = self.tracks.get(source.track.0);
        let stream = track.and_then(|track| track.stream(source.stream));
        let key = RowKey {
            transport: id,
            owner: source.track.word(),
            ssrc,
            role: table_role(source.role),
            mid: track.map_or_else(Label::default, |track| track.plan.mid.0),
            rid: stream.and_then(|stream| stream.rid).map_or_else(Label::default, |rid| rid.0),
            repairs: source.role.repaired(),
        };
        // A full table costs a publisher's replay window over a restart, not its media.
        source.row = self.rows.occupy(&key, highest);
        highest == index
    }

    /// Does what a stored packet calls for besides being forwarded.
    fn follow_up(&mut self, now: Instant, id: TransportId, opened: &Opened<'_>, stored: Stored) {
        let Some(track) = self.tracks.get_mut(opened.source.track.0) else { return };
        if stored.is_restart {
            track.key_frames.restart(opened.source.stream);
        }
        if stored.is_key_frame {
            track.key_frames.satisfy(opened.source.stream);
        }
        let missing = track.stream(opened.source.stream).and_then(|stream| stream.missing.next());
        if let Some(transport) = self.transports.get_mut(id.0) {
            stored.repair_time.into_iter().for_each(|time| transport.repair_time.sample(time));
            missing.into_iter().for_each(|at| self.timers.arm(id, &mut transport.deadlines, Timer::Nack, at));
        }
        if stored.is_restart {
            self.raise(Event::TrackStarted {
                track: opened.source.track,
                ssrc: stored.ssrc,
                payload_type: stored.payload_type,
            });
            self.want_key_frame_of_viewers(now, opened.source.track, stored);
        }
    }

    /// An encoding that starts, or starts anew, without a key frame in front is asked for one if somebody is to see it.
    fn want_key_frame_of_viewers(&mut self, now: Instant, id: TrackId, stored: Stored) {
        let Some(track) = self.tracks.get(id.0).filter(|track| track.plan.kind == MediaKind::Video) else { return };
        let Some(encoding) = track.carried_by(stored.ssrc).filter(|_| !stored.is_key_frame) else { return };
        let mut viewers = track.targets.iter().filter_map(|target| self.targets.get(target.0));
        if viewers.any(|target| target.stream.key_frame_of().is_none_or(|wanted| wanted == encoding)) {
            self.want_key_frame(now, id, Some(encoding));
        }
    }
}

/// Returns the SRTP index of a sequence number, unless it was seen or is too old (RFC 3711 section 3.3.2).
fn next_index(window: &ReplayWindow, sequence: u16) -> Result<u64, Discard> {
    let index = estimate_index(window.highest().unwrap_or(0), sequence);
    window.check(index).map(|()| index).map_err(|replay| match replay {
        Replay::Duplicate => Discard::SrtpReplayed,
        Replay::TooOld => Discard::SrtpTooOld,
    })
}

/// Returns the window of an SSRC that this process has not heard yet, as a predecessor left it.
fn window_left(rows: &Rows, id: TransportId, ssrc: Ssrc) -> ReplayWindow {
    let row = rows.find(id, ssrc, Role::Ingress).or_else(|| rows.find(id, ssrc, Role::IngressRtx));
    row.map_or_else(ReplayWindow::new, |row| ReplayWindow::resume(rows.index(row)))
}

/// What became of a packet that went into the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    ssrc: Ssrc,
    payload_type: PayloadType,
    is_key_frame: bool,
    /// Whether the stream began with it, or changed its SSRC or payload type.
    is_restart: bool,
    /// Whether it only keeps its number's place, for it to be numbered away.
    is_padding: bool,
    /// How long it took from the first request for it, in a repair that was asked for.
    repair_time: Option<Duration>,
}

/// Counts a packet that came on its stream's own SSRC and stores it.
fn accept_media(now: Instant, track: &mut Track, opened: &Opened<'_>) -> Result<Stored, Discard> {
    let view = &opened.view;
    let Some(Payload::Media(codec)) = track.payload(view.payload_type()) else {
        return Err(Discard::PayloadTypeUnknown);
    };
    let repair = if track.plan.nack { Repair::Asked } else { Repair::NotNegotiated };
    let sequence = ExtendedSequence(opened.index);
    let Track { plan, history, streams, liveness, .. } = track;
    let stream = streams.get_mut(usize::from(opened.source.stream.0)).ok_or(Discard::SsrcUnknown)?;
    if !stream.carry(now, view.ssrc()) {
        return Err(Discard::TooLate);
    }
    let is_known = history.find(opened.source.stream, sequence).is_some_and(|packet| packet.ssrc == view.ssrc());
    let follows = stream.is_silent() || follows(history, codec.kind, opened.source.stream, view.ssrc(), sequence);
    stream.receive(now, sequence, repair);
    stream.reception.receive(sequence.0, view.timestamp(), codec.clock_rate, opened.arrival);
    stream.counters.bytes += view.payload().len() as u64;
    if is_known {
        return Err(Discard::Duplicate);
    }
    if plan.muted {
        return Err(Discard::Muted);
    }
    let extensions = Extensions::read(view, &plan.extensions, codec.kind);
    let description = stream.described(sequence, extensions.dependency_descriptor);
    let timestamp = stream.judge(view.timestamp(), follows);
    if !view.payload().is_empty() {
        liveness.receive(opened.arrival, opened.source.stream, timestamp != Timestamp::Seen);
    }
    let accepted = Accepted {
        stream: opened.source.stream,
        ssrc: view.ssrc(),
        sequence,
        timestamp: view.timestamp(),
        marker: view.marker(),
        payload_type: codec.payload_type,
        codec: codec.kind,
        clock_rate: codec.clock_rate,
        frame: describe(
            codec.kind,
            timestamp,
            view.marker(),
            view.payload(),
            extensions.dependency_descriptor,
            description.as_ref(),
        ),
        audio_level: extensions.audio_level,
        video_orientation: extensions.video_orientation,
        playout_delay: extensions.playout_delay,
        dependency_descriptor: extensions.dependency_descriptor,
        structure: description.as_ref().map(|description| &description.structure),
        payload: view.payload(),
        arrival: opened.arrival,
        captured: stream.captured(view.timestamp(), codec.clock_rate),
    };
    let is_restart = stream.payload_type.replace(codec.payload_type) != Some(codec.payload_type);
    store(track, &accepted, is_restart)
}

/// Takes the original out of a repair packet (RFC 4588 section 4) and stores it, unless it came meanwhile.
fn accept_repair(now: Instant, track: &mut Track, of: Option<Ssrc>, opened: &Opened<'_>) -> Result<Stored, Discard> {
    let view = &opened.view;
    let Some(Payload::Rtx(codec)) = track.payload(view.payload_type()) else {
        return Err(Discard::PayloadTypeUnknown);
    };
    let (original, payload) = match view.payload().split_first_chunk::<2>() {
        None => return Err(Discard::Padding),
        Some((_, [])) => return Err(Discard::Padding),
        Some((original, payload)) => (u16::from_be_bytes(*original), payload),
    };
    let Track { plan, history, streams, .. } = track;
    let stream = streams.get_mut(usize::from(opened.source.stream.0)).ok_or(Discard::RtxMalformed)?;
    let ssrc = stream.ssrc.ok_or(Discard::RtxMalformed)?;
    if !stream.is_repaired_as(now, of) {
        return Err(Discard::TooLate);
    }
    let sequence = stream.place_repair(original).ok_or(Discard::RtxMalformed)?;
    if history.find(opened.source.stream, sequence).is_some_and(|packet| packet.ssrc == ssrc) {
        return Err(Discard::Duplicate);
    }
    if plan.muted {
        return Err(Discard::Muted);
    }
    let asked = stream.repair(sequence);
    stream.counters.bytes += payload.len() as u64;
    let extensions = Extensions::read(view, &plan.extensions, codec.kind);
    let description = stream.described(sequence, extensions.dependency_descriptor);
    let follows = follows(history, codec.kind, opened.source.stream, ssrc, sequence);
    let timestamp = stream.judge(view.timestamp(), follows);
    let accepted = Accepted {
        stream: opened.source.stream,
        ssrc,
        sequence,
        timestamp: view.timestamp(),
        marker: view.marker(),
        payload_type: codec.payload_type,
        codec: codec.kind,
        clock_rate: codec.clock_rate,
        frame: describe(
            codec.kind,
            timestamp,
            view.marker(),
            payload,
            extensions.dependency_descriptor,
            description.as_ref(),
        ),
        audio_level: extensions.audio_level,
        video_orientation: extensions.video_orientation,
        playout_delay: extensions.playout_delay,
        dependency_descriptor: extensions.dependency_descriptor,
        structure: description.as_ref().map(|description| &description.structure),
        payload,
        arrival: opened.arrival,
        captured: stream.captured(view.timestamp(), codec.clock_rate),
    };
    let stored = store(track, &accepted, false)?;
    Ok(Stored { repair_time: asked.map(|asked| opened.arrival.saturating_since(asked)), ..stored })
}

/// Tells whether the packet before one has come; said of codecs that need it.
fn follows(history: &History, codec: CodecKind, stream: StreamIndex, ssrc: Ssrc, sequence: ExtendedSequence) -> bool {
    let before = ExtendedSequence(sequence.0.wrapping_sub(1));
    codec != CodecKind::H264 || history.find(stream, before).is_some_and(|packet| packet.ssrc == ssrc)
}

fn store(track: &mut Track, accepted: &Accepted<'_>, is_restart: bool) -> Result<Stored, Discard> {
    let is_key_frame = accepted.frame.key && accepted.frame.start;
    if is_key_frame && let Some(stream) = track.stream_mut(accepted.stream) {
        stream.counters.key_frames += 1;
    }
    track.history.push(accepted).ok_or(Discard::Oversized)?;
    Ok(Stored {
        ssrc: accepted.ssrc,
        payload_type: accepted.payload_type,
        is_key_frame,
        is_restart,
        is_padding: accepted.payload.is_empty(),
        repair_time: None,
    })
}

impl super::Queues {
    /// Puts a track into its queue when its history has something new.
    fn enqueue_if_stored(&mut self, track: &mut Track, outcome: Result<Stored, Discard>) {
        if outcome.is_ok() {
            self.enqueue(track);
        }
    }
}
