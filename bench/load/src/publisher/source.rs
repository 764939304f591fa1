//! The schedule of one synthetic stream: which packet is due when.

use std::time::{Duration, Instant};

use str0m::Rtc;
use str0m::media::{MediaKind, Mid, Pt, Rid};
use str0m::rtp::{ExtensionValues, RtpWrite};

use crate::limits::CATCH_UP;
use crate::measure::clock::Now;
use crate::measure::histogram::Histogram;
use crate::payload::{self, Body, Codec, PictureSize, Pictures};

/// How the packets of a frame lie in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spacing {
    /// Evenly over the frame's time.
    Even,
    /// All at once, as an encoder without pacer sends them.
    Burst,
}

/// Shape of a synthetic stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SourceConfig {
    /// Packets per second, key frames aside.
    pub packets_per_second: u32,
    /// Packets of a frame.
    pub packets_per_frame: u16,
    /// Packets of a key frame.
    pub packets_per_key_frame: u16,
    /// RTP payload size in bytes: descriptor, numbers, filler. Header, extensions and tag come on top.
    pub packet_size_bytes: usize,
    /// How packets lie in time.
    pub spacing: Spacing,
    /// Key frames come at least this often; `None`: at the start and on request only.
    pub key_frame_interval: Option<Duration>,
    /// Picture size announced.
    pub picture: PictureSize,
}

impl SourceConfig {
    /// The stream of the published comparison: 125 packets/s of 1200 bytes, evenly spread, 5 packets a frame.
    pub fn video() -> Self {
        Self {
            packets_per_second: 125,
            packets_per_frame: 5,
            packets_per_key_frame: 5,
            packet_size_bytes: 1200,
            spacing: Spacing::Even,
            key_frame_interval: None,
            picture: PictureSize { width: 640, height: 360 },
        }
    }

    /// Opus as browsers send it: 50 packets/s.
    pub fn audio() -> Self {
        Self {
            packets_per_second: 50,
            packets_per_frame: 1,
            packets_per_key_frame: 1,
            packet_size_bytes: 120,
            spacing: Spacing::Burst,
            key_frame_interval: None,
            picture: PictureSize { width: 0, height: 0 },
        }
    }

    fn frame_interval(&self) -> Duration {
        let rate = f64::from(self.packets_per_second.max(1));
        Duration::from_secs_f64(f64::from(self.packets_per_frame.max(1)) / rate)
    }
}

/// What was sent on one stream.
#[derive(Debug, Clone)]
pub struct SourceProgress {
    /// Name of the stream in every packet.
    pub stream_id: u64,
    /// Audio or video.
    pub kind: MediaKind,
    /// Packets sent, which is the next packet's number.
    pub packets: u64,
    /// Frames begun.
    pub frames: u64,
    /// Key frames begun.
    pub key_frames: u64,
    /// PLI and FIR received.
    pub key_frame_requests: u64,
    /// Frames left out because this process woke too late; they take no number.
    pub skipped_frames: u64,
    /// How late packets were sent.
    pub lateness: Histogram,
}

/// Which stream of the stack packets are written to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Destination {
    pub(crate) mid: Mid,
    pub(crate) encoding: Option<Rid>,
    pub(crate) payload_type: Pt,
}

/// One stream being sent.
#[derive(Debug)]
pub(crate) struct Source {
    config: SourceConfig,
    codec: Codec,
    pictures: Option<Pictures>,
    /// The picture of this frame among the pictures.
    picture: usize,
    to: Destination,
    /// When frame zero of the schedule was due; moves when frames are skipped.
    anchor: Instant,
    /// Frames of the schedule since the anchor.
    scheduled: u32,
    /// Packet of the frame that is due next, and how many it has.
    index: u16,
    count: u16,
    key_frame: bool,
    wants_key_frame: bool,
    last_key_frame_at: Option<Instant>,
    timestamp: u32,
    timestamp_base: u32,
    started_at: Instant,
    sequence: u64,
    stream_id: u64,
    packet_number: u64,
    frame_number: u64,
}

impl Source {
    pub(crate) fn new(
        config: SourceConfig,
        codec: Codec,
        pictures: Option<Pictures>,
        to: Destination,
        id: u64,
        at: Instant,
    ) -> Self {
        let mut source = Self {
            config,
            codec,
            pictures,
            picture: 0,
            to,
            anchor: at,
            scheduled: 0,
            index: 0,
            count: 0,
            key_frame: false,
            wants_key_frame: true,
            last_key_frame_at: None,
            timestamp: 0,
            timestamp_base: scramble(id),
            started_at: at,
            // A first number above 2^15 would make an early wrap ambiguous, RFC 3711 section 3.3.1.
            sequence: u64::from(scramble(id ^ 1) >> 17),
            stream_id: id,
            packet_number: 0,
            frame_number: 0,
        };
        source.begin_frame();
        source
    }

    pub(crate) fn mid(&self) -> Mid {
        self.to.mid
    }

    /// The empty account of this stream, to be kept by the caller and passed to [`Source::write`].
    pub(crate) fn progress(&self) -> SourceProgress {
        SourceProgress {
            stream_id: self.stream_id,
            kind: if self.codec.is_video() { MediaKind::Video } else { MediaKind::Audio },
            packets: 0,
            frames: 0,
            key_frames: 0,
            key_frame_requests: 0,
            skipped_frames: 0,
            lateness: Histogram::new(),
        }
    }

    /// Makes the next frame a key frame.
    pub(crate) fn request_key_frame(&mut self) {
        self.wants_key_frame = true;
    }

    /// Goes on after a pause, with a key frame unless a frame is half sent.
    pub(crate) fn resume(&mut self, at: Instant) {
        self.anchor = at;
        self.scheduled = 0;
        self.wants_key_frame = true;
        if self.index == 0 {
            self.begin_frame();
        }
    }

    /// Goes on as another stream: numbers begin anew, with a key frame; time and sequence of RTP go on.
    pub(crate) fn restart(&mut self, stream_id: u64, at: Instant) {
        self.stream_id = stream_id;
        (self.packet_number, self.frame_number, self.index) = (0, 0, 0);
        self.resume(at);
    }

    /// When the next packet is due.
    pub(crate) fn due(&self) -> Instant {
        let interval = self.config.frame_interval();
        let begin = self.anchor + interval * self.scheduled;
        match self.config.spacing {
            Spacing::Burst => begin,
            Spacing::Even => begin + interval * u32::from(self.index) / u32::from(self.count.max(1)),
        }
    }

    /// Writes the next packet into the stack.
    pub(crate) fn write(&mut self, rtc: &mut Rtc, now: Now, progress: &mut SourceProgress) {
        progress.lateness.record(now.instant.saturating_duration_since(self.due()));
        let body = Body {
            stream_id: self.stream_id,
            packet_number: self.packet_number,
            frame_number: self.frame_number,
            send_time_ns: now.realtime_ns,
            packet_index: self.index,
            packet_count: self.count,
            key_frame: self.key_frame,
        };
        let size_bytes = self.config.packet_size_bytes;
        let payload = match &self.pictures {
            Some(pictures) => pictures.write(&body, self.picture, size_bytes),
            None => payload::write(self.codec, &body, self.config.picture, size_bytes),
        };
        let last = self.index + 1 == self.count;
        let is_video = self.codec.is_video();
        let levels = ExtensionValues {
            audio_level: (!is_video).then_some(-30),
            voice_activity: (!is_video).then_some(true),
            ..ExtensionValues::default()
        };
        if let Some(stream) = rtc.direct_api().stream_tx_by_mid(self.to.mid, self.to.encoding) {
            stream.write_rtp(
                RtpWrite::new(self.to.payload_type, self.sequence.into(), self.timestamp, now.instant, payload)
                    .marker(last && is_video)
                    .nackable(is_video)
                    .ext_vals(levels),
            );
        }
        progress.frames += u64::from(self.index == 0);
        progress.key_frames += u64::from(self.index == 0 && self.key_frame);
        progress.packets += 1;
        self.packet_number += 1;
        self.sequence += 1;
        self.index += 1;
        if last {
            self.frame_number += 1;
            self.scheduled += 1;
            progress.skipped_frames += self.skip_what_is_too_late(now.instant);
            self.begin_frame();
        }
    }

    /// Leaves out frames of long ago; returns how many.
    fn skip_what_is_too_late(&mut self, now: Instant) -> u64 {
        let interval = self.config.frame_interval();
        let mut skipped = 0;
        while now.saturating_duration_since(self.anchor + interval * self.scheduled) > CATCH_UP {
            self.scheduled += 1;
            skipped += 1;
        }
        // Keeps the multiplication exact over days.
        if self.scheduled >= 1 << 16 {
            self.anchor += interval * self.scheduled;
            self.scheduled = 0;
        }
        skipped
    }

    fn begin_frame(&mut self) {
        let begin = self.anchor + self.config.frame_interval() * self.scheduled;
        let too_old = |last: Instant, limit| begin.saturating_duration_since(last) >= limit;
        let periodic = match (self.config.key_frame_interval, self.last_key_frame_at) {
            (Some(limit), Some(last)) => too_old(last, limit),
            _ => false,
        };
        // After the last picture comes the first one again, which is the key frame of all.
        let shown = self.pictures.as_ref().is_some_and(|pictures| self.picture + 1 >= pictures.count());
        // Every Opus packet stands alone.
        self.key_frame = !self.codec.is_video() || self.wants_key_frame || periodic || shown;
        self.index = 0;
        self.count = self.config.packets_per_frame.max(1);
        if self.key_frame {
            self.count = self.config.packets_per_key_frame.max(1);
            self.wants_key_frame = false;
            self.last_key_frame_at = Some(begin);
        }
        self.picture = if self.key_frame { 0 } else { self.picture + 1 };
        let elapsed = begin.saturating_duration_since(self.started_at);
        let ticks = elapsed.as_nanos() * u128::from(self.codec.clock_rate_hz()) / 1_000_000_000;
        let ticks = u32::try_from(ticks & u128::from(u32::MAX)).expect("masked to 32 bits");
        self.timestamp = self.timestamp_base.wrapping_add(ticks);
    }
}

/// Spreads an id over 32 bits (a step of `SplitMix64`), so that streams begin at different numbers.
pub(crate) fn scramble(id: u64) -> u32 {
    let mixed = (id.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    u32::try_from(mixed >> 32).expect("shifted to 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(config: SourceConfig, at: Instant) -> Source {
        let to = Destination { mid: "v".into(), encoding: None, payload_type: 96.into() };
        Source::new(config, Codec::Vp8, None, to, 7, at)
    }

    /// Writes into a stack without media: the schedule goes on, nothing is sent.
    fn run(source: &mut Source, packets: usize) -> (Vec<(Duration, bool, u32)>, SourceProgress) {
        let mut rtc = Rtc::new(source.started_at);
        let mut progress = source.progress();
        let start = source.started_at;
        let rows = (0..packets)
            .map(|_| {
                let due = source.due();
                let row = (due - start, source.key_frame, source.timestamp.wrapping_sub(source.timestamp_base));
                source.write(&mut rtc, Now { instant: due, realtime_ns: 1 }, &mut progress);
                row
            })
            .collect();
        (rows, progress)
    }

    #[test]
    fn packets_are_spread_evenly_and_a_frame_shares_its_timestamp() {
        let mut source = source(SourceConfig::video(), Instant::now());
        let (rows, progress) = run(&mut source, 11);
        assert_eq!((progress.packets, progress.frames), (11, 3));
        for (number, (due, _, _)) in (0_u64..).zip(&rows) {
            assert_eq!(*due, Duration::from_millis(number * 8));
        }
        let timestamps: Vec<u32> = rows.iter().map(|(_, _, timestamp)| *timestamp).collect();
        assert_eq!(timestamps, [0, 0, 0, 0, 0, 3600, 3600, 3600, 3600, 3600, 7200]);
        assert_eq!(rows.iter().filter(|(_, key, _)| *key).count(), 5);
    }

    #[test]
    fn a_burst_has_one_due_time_and_a_request_makes_the_next_frame_a_key_frame() {
        let config = SourceConfig { spacing: Spacing::Burst, packets_per_key_frame: 3, ..SourceConfig::video() };
        let mut source = source(config, Instant::now());
        let (mut rows, _) = run(&mut source, 1);
        source.request_key_frame();
        let (more, progress) = run(&mut source, 5 + 2);
        rows.extend(more);
        let millis: Vec<_> = rows.iter().map(|(due, _, _)| due.as_millis()).collect();
        assert_eq!(millis, [0, 0, 0, 40, 40, 40, 80, 80]);
        assert!(rows[5].1 && !rows[6].1);
        assert_eq!(progress.key_frames, 1);
    }

    #[test]
    fn a_late_wake_is_made_up_for_within_a_second_and_skipped_beyond() {
        let start = Instant::now();
        let mut source =
            source(SourceConfig { packets_per_frame: 1, packets_per_key_frame: 1, ..SourceConfig::video() }, start);
        let mut rtc = Rtc::new(start);
        let late = start + Duration::from_secs(3);
        let mut progress = source.progress();
        source.write(&mut rtc, Now { instant: late, realtime_ns: 1 }, &mut progress);
        assert_eq!(progress.skipped_frames, 249);
        assert_eq!(source.due(), start + Duration::from_secs(2));
        assert_eq!(progress.packets, 1);
    }
}
