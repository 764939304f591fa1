//! The media half of a viewer: counts what comes, asks for key frames.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use str0m::media::{MediaKind, Mid};
use str0m::rtp::{RawPacket, RtpPacket};
use str0m::{Event, Rtc};

use super::track::TrackStats;
use crate::limits::{KEY_FRAME_REQUEST_INTERVAL, TRACKS_MAX};
use crate::payload::Codec;
use crate::peer::endpoint::Arrival;

/// What the role writes and the handle reads.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tracks {
    pub(crate) tracks: Vec<TrackStats>,
    /// Packets of m-lines beyond the limit.
    pub(crate) uncounted: u64,
    /// Sender reports received, with the last NTP time and RTP timestamp of each.
    pub(crate) sender_reports: u64,
    /// BYE packets, when RTCP is watched.
    pub(crate) byes: u64,
}

/// Receives for one viewer.
#[derive(Debug)]
pub(crate) struct ViewerRole {
    tracks: Arc<Mutex<Tracks>>,
    /// A picture that stands still longer than this asks for a key frame; `None` never asks.
    patience: Option<Duration>,
    history: usize,
    requested_at: Option<Instant>,
    stalled_since: Option<Instant>,
}

impl ViewerRole {
    pub(crate) fn new(patience: Option<Duration>, history: usize) -> Self {
        Self { tracks: Arc::default(), patience, history, requested_at: None, stalled_since: None }
    }

    pub(crate) fn tracks_handle(&self) -> Arc<Mutex<Tracks>> {
        Arc::clone(&self.tracks)
    }

    pub(crate) fn handle_packet(&mut self, rtc: &mut Rtc, arrival: Arrival, packet: &RtpPacket) {
        let Some((mid, codec)) = identify(rtc, packet) else { return };
        let mut guard = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        let tracks = &mut *guard;
        let known = tracks.tracks.iter().position(|track| track.mid == mid);
        if known.is_none() {
            if tracks.tracks.len() == TRACKS_MAX {
                tracks.uncounted += 1;
                return;
            }
            let kind = if codec.is_video() { MediaKind::Video } else { MediaKind::Audio };
            tracks.tracks.push(TrackStats::new(mid, kind, self.history));
        }
        let index = known.unwrap_or(tracks.tracks.len() - 1);
        let Some(track) = tracks.tracks.get_mut(index) else { return };
        track.handle_packet(arrival, codec, packet);
        if codec.is_video() {
            self.stalled_since = track.stalled_since();
        }
    }

    pub(crate) fn handle_event(&self, event: &Event) {
        let mut tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::SenderFeedback(_) = event {
            tracks.sender_reports += 1;
        }
        if let Some(RawPacket::RtcpRx(str0m::rtp::rtcp::Rtcp::Goodbye(goodbye))) = event.as_raw_packet() {
            tracks.byes += 1;
            for track in &mut tracks.tracks {
                let named = goodbye.reports.iter().any(|ssrc| track.rtp.ssrcs.contains(&**ssrc));
                track.byes += u64::from(named);
            }
        }
    }

    /// The m-line to ask a key frame for, now; counts the request.
    pub(crate) fn key_frame_wanted(&mut self, now: Instant) -> Option<Mid> {
        let patience = self.patience?;
        if self.poll_timeout().is_none_or(|due| due > now) {
            return None;
        }
        let mut tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        let stalled = tracks
            .tracks
            .iter_mut()
            .find(|track| track.kind == MediaKind::Video && track.needs_key_frame(now, patience))?;
        stalled.key_frame_requests += 1;
        self.requested_at = Some(now);
        Some(stalled.mid)
    }

    /// When a key frame will be wanted if nothing comes.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let wanted = self.stalled_since? + self.patience?;
        let allowed = self.requested_at.map(|at| at + KEY_FRAME_REQUEST_INTERVAL);
        Some(allowed.map_or(wanted, |allowed| allowed.max(wanted)))
    }

    pub(crate) fn video_mids(&self) -> Vec<Mid> {
        let tracks = self.tracks.lock().unwrap_or_else(PoisonError::into_inner);
        tracks.tracks.iter().filter(|track| track.kind == MediaKind::Video).map(|track| track.mid).collect()
    }
}

/// Finds the m-line by SSRC and the codec by payload type.
pub(crate) fn identify(rtc: &mut Rtc, packet: &RtpPacket) -> Option<(Mid, Codec)> {
    let mid = rtc.direct_api().stream_rx(&packet.header.ssrc)?.mid();
    let params = rtc.codec_config().params().iter().find(|params| params.pt() == packet.header.payload_type)?;
    #[expect(clippy::wildcard_enum_match_arm, reason = "the foreign enum has codecs that are never offered")]
    let codec = match params.spec().codec {
        str0m::format::Codec::Vp8 => Codec::Vp8,
        str0m::format::Codec::Vp9 => Codec::Vp9,
        str0m::format::Codec::H264 => Codec::H264,
        str0m::format::Codec::Av1 => Codec::Av1,
        str0m::format::Codec::Opus => Codec::Opus,
        _ => return None,
    };
    Some((mid, codec))
}

#[cfg(test)]
mod tests {
    use str0m::rtp::rtcp::{Goodbye, Rtcp};

    use super::*;

    fn bye(ssrc: u32) -> Event {
        let reports = str0m::rtp::Ssrc::from(ssrc).into();
        Event::RawPacket(Box::new(RawPacket::RtcpRx(Rtcp::Goodbye(Goodbye { reports }))))
    }

    #[test]
    fn a_bye_counts_for_the_track_of_its_ssrc() {
        let role = ViewerRole::new(None, 4);
        let tracks = role.tracks_handle();
        let mut track = TrackStats::new("v".into(), MediaKind::Video, 4);
        track.rtp.ssrcs.push(5);
        tracks.lock().unwrap().tracks.push(track);
        role.handle_event(&bye(6));
        role.handle_event(&bye(5));
        let tracks = tracks.lock().unwrap();
        assert_eq!((tracks.byes, tracks.tracks[0].byes), (2, 1));
    }
}
