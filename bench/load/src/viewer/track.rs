//! What one viewer saw of one track.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use str0m::media::{MediaKind, Mid};
use str0m::rtp::RtpPacket;

use super::frames::{FrameCounts, FrameTracker};
use crate::limits::{GAPS_MAX, IDENTIFIERS_MAX, SOURCES_MAX};
use crate::measure::histogram::Histogram;
use crate::measure::ranges::RangeSet;
use crate::payload::{self, Codec, Descriptor, Parsed};
use crate::peer::endpoint::Arrival;

/// Silence between two packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// Arrival of the packet before.
    pub from: Instant,
    /// Arrival of the packet after.
    pub to: Instant,
}

impl Gap {
    /// Its length.
    pub fn length(&self) -> Duration {
        self.to.saturating_duration_since(self.from)
    }
}

/// What came of one publisher's stream.
#[derive(Debug, Clone)]
pub struct SourceStats {
    /// The publisher's stream id.
    pub stream_id: u64,
    /// Packet numbers received.
    pub received: RangeSet,
    /// Packets whose number had come before.
    pub duplicates: u64,
    /// Packets that came after one with a higher number.
    pub out_of_order: u64,
    tracker: FrameTracker,
}

impl SourceStats {
    /// Frames received.
    pub fn frames(&self) -> FrameCounts {
        self.tracker.counts()
    }
}

/// Findings on the RTP stream that the server makes, whoever feeds it.
#[derive(Debug, Clone, Default)]
pub struct RtpStats {
    /// SSRCs in order of appearance.
    pub ssrcs: Vec<u32>,
    /// Payload types in order of change.
    pub payload_types: Vec<u8>,
    /// How often the SSRC was another one than before.
    pub ssrc_changes: u64,
    /// How often the payload type was another one than before.
    pub payload_type_changes: u64,
    /// Extended sequence numbers received under the current SSRC.
    pub sequence: RangeSet,
    /// Numbers missing under earlier SSRCs.
    pub sequence_gaps_before: u64,
    /// Packets with a higher sequence number and an older timestamp than the packet before.
    pub timestamp_steps_back: u64,
    /// Frames whose VP8 or VP9 picture id did not follow the one of the frame received before.
    pub picture_id_breaks: u64,
    highest: Option<(u64, u32)>,
    picture: Option<(u64, u64, u16)>,
}

impl RtpStats {
    /// Sequence numbers that are missing between the first and the last one received.
    pub fn sequence_gaps(&self) -> u64 {
        self.sequence.holes() + self.sequence_gaps_before
    }

    fn handle(&mut self, packet: &RtpPacket) {
        let header = &packet.header;
        let ssrc = *header.ssrc;
        if self.ssrcs.last() != Some(&ssrc) {
            if !self.ssrcs.is_empty() {
                self.ssrc_changes += 1;
                self.sequence_gaps_before += self.sequence.holes();
                self.sequence = RangeSet::new();
                self.highest = None;
            }
            push_bounded(&mut self.ssrcs, ssrc);
        }
        let payload_type = *header.payload_type;
        if self.payload_types.last() != Some(&payload_type) {
            self.payload_type_changes += u64::from(!self.payload_types.is_empty());
            push_bounded(&mut self.payload_types, payload_type);
        }
        let sequence = *packet.seq_no;
        self.sequence.insert(sequence);
        match self.highest {
            Some((highest, _)) if sequence <= highest => {}
            Some((_, timestamp)) => {
                // Serial number arithmetic of RFC 1982: the upper half is the past.
                let step = header.timestamp.wrapping_sub(timestamp);
                self.timestamp_steps_back += u64::from(step > u32::MAX / 2);
                self.highest = Some((sequence, header.timestamp));
            }
            None => self.highest = Some((sequence, header.timestamp)),
        }
    }

    /// Compares picture ids of neighbouring frames of one source; a forwarder may not skip or repeat one between them.
    fn handle_picture(&mut self, parsed: &Parsed) {
        let Descriptor { picture_id: Some(id), .. } = parsed.descriptor else { return };
        let (stream, frame) = (parsed.body.stream_id, parsed.body.frame_number);
        let previous = self.picture.filter(|(last_stream, _, _)| *last_stream == stream);
        match previous {
            Some((_, last_frame, _)) if frame < last_frame => return,
            Some((_, last_frame, last_id)) => {
                let mask: u16 = if id > 0x7f || last_id > 0x7f { 0x7fff } else { 0x7f };
                let step = id.wrapping_sub(last_id) & mask;
                let follows = if frame == last_frame { step == 0 } else { step > 0 && step <= mask / 2 };
                let neighbour_fits = frame != last_frame + 1 || step == 1;
                self.picture_id_breaks += u64::from(!(follows && neighbour_fits));
            }
            None => {}
        }
        self.picture = Some((stream, frame, id));
    }
}

fn push_bounded<T>(list: &mut Vec<T>, value: T) {
    if list.len() < IDENTIFIERS_MAX {
        list.push(value);
    } else if let Some(last) = list.last_mut() {
        *last = value;
    }
}

/// What one viewer saw of one m-line.
#[derive(Debug, Clone)]
pub struct TrackStats {
    /// Media id of the m-line.
    pub mid: Mid,
    /// Audio or video.
    pub kind: MediaKind,
    /// Codec of the last packet.
    pub codec: Codec,
    /// Packets authenticated and decrypted, each once.
    pub packets: u64,
    /// Payload bytes of them.
    pub bytes: u64,
    /// Packets that came by retransmission, RFC 4588.
    pub repaired: u64,
    /// Packets that are not a publisher's of this crate, or whose descriptor was damaged.
    pub unreadable: u64,
    /// Packets whose descriptor and body disagree about a key frame's start.
    pub key_frame_mismatches: u64,
    /// Arrival of the first packet.
    pub first_packet_at: Option<Instant>,
    /// Arrival of the last packet.
    pub last_packet_at: Option<Instant>,
    /// Arrival of the packet that completed the first key frame.
    pub first_key_frame_at: Option<Instant>,
    /// Arrival of the packet that made the last decodable frame so.
    pub last_decoded_at: Option<Instant>,
    /// Kernel arrival stamp less the publisher's send time; repaired packets too.
    pub delay: Histogram,
    /// Findings on the RTP stream.
    pub rtp: RtpStats,
    /// What came of each publisher.
    pub sources: Vec<SourceStats>,
    /// Key frames asked for.
    pub key_frame_requests: u64,
    /// The longest silences, longest first.
    pub gaps: Vec<Gap>,
    /// The longest times without a newly decodable frame, longest first.
    pub decode_gaps: Vec<Gap>,
    /// RTCP BYE for an SSRC of this track, when the viewer watches RTCP.
    pub byes: u64,
    arrivals: Recent,
    decodes: Recent,
}

impl TrackStats {
    pub(super) fn new(mid: Mid, kind: MediaKind, history: usize) -> Self {
        Self {
            mid,
            kind,
            codec: if kind == MediaKind::Audio { Codec::Opus } else { Codec::Vp8 },
            packets: 0,
            bytes: 0,
            repaired: 0,
            unreadable: 0,
            key_frame_mismatches: 0,
            first_packet_at: None,
            last_packet_at: None,
            first_key_frame_at: None,
            last_decoded_at: None,
            delay: Histogram::new(),
            rtp: RtpStats::default(),
            sources: Vec::new(),
            key_frame_requests: 0,
            gaps: Vec::new(),
            decode_gaps: Vec::new(),
            byes: 0,
            arrivals: Recent::new(history),
            decodes: Recent::new(history),
        }
    }

    /// Takes a packet in.
    pub(super) fn handle_packet(&mut self, arrival: Arrival, codec: Codec, packet: &RtpPacket) {
        self.packets += 1;
        self.bytes += u64::try_from(packet.payload.len()).unwrap_or(0);
        self.codec = codec;
        self.repaired += u64::from(arrival.wire_ssrc.is_some_and(|wire| wire != *packet.header.ssrc));
        self.first_packet_at.get_or_insert(arrival.at);
        record_gap(&mut self.gaps, self.last_packet_at, arrival.at);
        self.last_packet_at = self.last_packet_at.max(Some(arrival.at));
        self.arrivals.push(arrival.at);
        self.rtp.handle(packet);
        match payload::parse(codec, &packet.payload) {
            Ok(parsed) => self.handle_parsed(arrival, &parsed),
            Err(_) => self.unreadable += 1,
        }
    }

    fn handle_parsed(&mut self, arrival: Arrival, parsed: &Parsed) {
        let body = &parsed.body;
        self.delay.record(Duration::from_nanos(arrival.realtime_ns.saturating_sub(body.send_time_ns)));
        self.rtp.handle_picture(parsed);
        let starts = body.key_frame && body.packet_index == 0 && self.codec.is_video();
        self.key_frame_mismatches += u64::from(starts != parsed.descriptor.starts_key_frame);
        let Some(source) = source_of(&mut self.sources, body.stream_id) else { return };
        let late = source.received.span().is_some_and(|span| body.packet_number + 1 < span.end);
        if !source.received.insert(body.packet_number) {
            source.duplicates += 1;
            return;
        }
        source.out_of_order += u64::from(late);
        let progress = source.tracker.handle_packet(arrival.at, body);
        if progress.key_frame_complete {
            self.first_key_frame_at.get_or_insert(arrival.at);
        }
        if progress.decoded > 0 {
            record_gap(&mut self.decode_gaps, self.last_decoded_at, arrival.at);
            self.last_decoded_at = self.last_decoded_at.max(Some(arrival.at));
            self.decodes.push(arrival.at);
        }
    }

    /// The publisher's stream that sent last.
    pub fn source(&self, stream_id: u64) -> Option<&SourceStats> {
        self.sources.iter().find(|source| source.stream_id == stream_id)
    }

    /// Packet numbers of the stream in `wanted` that did not come; all of them when the stream is unknown.
    pub fn missing(&self, stream_id: u64, wanted: Range<u64>) -> Vec<Range<u64>> {
        match self.source(stream_id) {
            Some(source) => source.received.missing(wanted),
            None => RangeSet::new().missing(wanted),
        }
    }

    /// Arrival of the first packet after `instant`.
    ///
    /// Exact within the recent history, and within the recorded gaps; `None` when there was none yet.
    pub fn first_packet_after(&self, instant: Instant) -> Option<Instant> {
        first_after(&self.arrivals, &self.gaps, instant)
    }

    /// When the first frame after `instant` became decodable; as exact as [`TrackStats::first_packet_after`].
    pub fn first_decoded_after(&self, instant: Instant) -> Option<Instant> {
        first_after(&self.decodes, &self.decode_gaps, instant)
    }

    /// The longest time within `window` in which no packet came; all of it when none came at all.
    ///
    /// This is the figure for an outage: the first packet after a kill may have been under way already. Exact while
    /// the window lies in the recent history, else from the recorded gaps.
    pub fn longest_silence(&self, window: Range<Instant>) -> Duration {
        longest_within(&self.arrivals, &self.gaps, &window)
    }

    /// The longest time within `window` in which no frame became decodable.
    pub fn longest_freeze(&self, window: Range<Instant>) -> Duration {
        longest_within(&self.decodes, &self.decode_gaps, &window)
    }

    /// Frames decodable over all publishers.
    pub fn frames_decodable(&self) -> u64 {
        self.sources.iter().map(|source| source.frames().decodable).sum()
    }

    /// Duplicates over all publishers, by payload number. Repeats on the wire never reach us: the stack drops them.
    pub fn duplicates(&self) -> u64 {
        self.sources.iter().map(|source| source.duplicates).sum()
    }

    /// Since when the picture stands still although packets come.
    pub(super) fn stalled_since(&self) -> Option<Instant> {
        self.sources.last().and_then(|source| source.tracker.stalled_since())
    }

    /// Whether only a key frame helps.
    pub(super) fn needs_key_frame(&self, now: Instant, patience: Duration) -> bool {
        self.sources.last().is_some_and(|source| source.tracker.needs_key_frame(now, patience))
    }
}

/// The source's record, moved to the end so that the last one is the current one.
fn source_of(sources: &mut Vec<SourceStats>, stream_id: u64) -> Option<&mut SourceStats> {
    if sources.last().is_none_or(|last| last.stream_id != stream_id) {
        match sources.iter().position(|source| source.stream_id == stream_id) {
            Some(position) => {
                let source = sources.remove(position);
                sources.push(source);
            }
            None if sources.len() == SOURCES_MAX => return None,
            None => sources.push(SourceStats {
                stream_id,
                received: RangeSet::new(),
                duplicates: 0,
                out_of_order: 0,
                tracker: FrameTracker::default(),
            }),
        }
    }
    sources.last_mut()
}

/// The youngest instants, oldest first.
#[derive(Clone)]
struct Recent {
    instants: VecDeque<Instant>,
    limit: usize,
    forgotten: bool,
}

impl std::fmt::Debug for Recent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} instants up to {:?}", self.instants.len(), self.instants.back())
    }
}

impl Recent {
    fn new(limit: usize) -> Self {
        Self { instants: VecDeque::new(), limit: limit.max(1), forgotten: false }
    }

    fn push(&mut self, at: Instant) {
        if self.instants.len() >= self.limit {
            self.instants.pop_front();
            self.forgotten = true;
        }
        self.instants.push_back(at);
    }
}

fn record_gap(gaps: &mut Vec<Gap>, last: Option<Instant>, to: Instant) {
    let Some(from) = last else { return };
    let gap = Gap { from, to };
    let full = gaps.len() >= GAPS_MAX;
    if full && gaps.last().is_some_and(|shortest| shortest.length() >= gap.length()) {
        return;
    }
    let position = gaps.partition_point(|longer| longer.length() >= gap.length());
    gaps.insert(position, gap);
    gaps.truncate(GAPS_MAX);
}

fn first_after(recent: &Recent, gaps: &[Gap], instant: Instant) -> Option<Instant> {
    let within_history = !recent.forgotten || recent.instants.front().is_some_and(|oldest| *oldest <= instant);
    if !within_history && let Some(gap) = gaps.iter().find(|gap| gap.from <= instant && instant < gap.to) {
        return Some(gap.to);
    }
    recent.instants.iter().filter(|at| **at > instant).min().copied()
}

fn longest_within(recent: &Recent, gaps: &[Gap], window: &Range<Instant>) -> Duration {
    let within_history = !recent.forgotten || recent.instants.front().is_some_and(|oldest| *oldest <= window.start);
    if !within_history {
        let overlap = |gap: &Gap| gap.to.min(window.end).saturating_duration_since(gap.from.max(window.start));
        // The silence that still lasts is in no gap yet.
        let last = recent.instants.back().map(|last| Gap { from: *last, to: window.end });
        return gaps.iter().chain(&last).map(overlap).max().unwrap_or_default();
    }
    let mut inside: Vec<Instant> = recent.instants.iter().copied().filter(|at| window.contains(at)).collect();
    inside.sort_unstable();
    let ends = inside.iter().copied().chain([window.end]);
    let starts = [window.start].into_iter().chain(inside.iter().copied());
    ends.zip(starts).map(|(end, start)| end.saturating_duration_since(start)).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_packet_after_is_found_in_history_and_in_gaps_that_left_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut recent = Recent::new(4);
        let mut gaps = Vec::new();
        let mut last = None;
        for ms in [0, 10, 400, 410, 420, 430, 440, 450] {
            record_gap(&mut gaps, last, at(ms));
            last = Some(at(ms));
            recent.push(at(ms));
        }
        assert_eq!(first_after(&recent, &gaps, at(100)), Some(at(400)));
        assert_eq!(first_after(&recent, &gaps, at(431)), Some(at(440)));
        assert_eq!(first_after(&recent, &gaps, at(450)), None);
        assert_eq!(gaps[0].length(), Duration::from_millis(390));
    }

    #[test]
    fn the_longest_silence_is_cut_to_the_window_and_counts_its_end() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        for history in [100, 3] {
            let mut recent = Recent::new(history);
            let mut gaps = Vec::new();
            let mut last = None;
            for ms in [0, 10, 300, 310, 400, 410] {
                record_gap(&mut gaps, last, at(ms));
                last = Some(at(ms));
                recent.push(at(ms));
            }
            let longest = |from, to| longest_within(&recent, &gaps, &(at(from)..at(to))).as_millis();
            assert_eq!(longest(5, 320), 290, "{history}");
            assert_eq!(longest(100, 320), 200, "{history}");
            assert_eq!(longest(100, 150), 50, "{history}");
            assert_eq!(longest(310, 410), 90, "{history}");
            assert_eq!(longest(5, 1000), 590, "{history}");
        }
        let mut silent = Recent::new(9);
        silent.push(at(0));
        assert_eq!(longest_within(&silent, &[], &(at(5)..at(50))), Duration::from_millis(45));
    }

    #[test]
    fn only_the_longest_gaps_are_kept_longest_first() {
        let start = Instant::now();
        let mut gaps = Vec::new();
        for ms in 0..100_u64 {
            record_gap(&mut gaps, Some(start), start + Duration::from_millis(ms * 37 % 100));
        }
        let lengths: Vec<_> = gaps.iter().map(Gap::length).collect();
        assert_eq!(lengths.len(), GAPS_MAX);
        assert_eq!(lengths[0], Duration::from_millis(99));
        assert!(lengths.windows(2).all(|pair| pair[0] >= pair[1]));
    }

    #[test]
    fn a_stream_that_never_came_misses_everything() {
        let track = TrackStats::new("v".into(), MediaKind::Video, 16);
        assert_eq!(track.missing(1, 5..9), vec![5..9]);
    }
}
