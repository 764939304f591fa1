//! What one viewer has seen, as a copy that does not change any more.

use std::ops::Range;
use std::time::{Duration, Instant};

use str0m::media::MediaKind;

use super::ViewerId;
use super::role::Tracks;
use super::track::TrackStats;
use crate::peer::connection::Connection;

/// A viewer's record at one time.
#[derive(Debug, Clone)]
pub struct ViewerStats {
    /// Which viewer.
    pub id: ViewerId,
    /// Address of its WHEP session.
    pub location: String,
    /// Times, states, datagrams.
    pub connection: Connection,
    /// Tracks in order of their first packet.
    pub tracks: Vec<TrackStats>,
    /// Sender reports received.
    pub sender_reports: u64,
    /// RTCP BYE received, when RTCP is watched.
    pub byes: u64,
    /// Packets on more m-lines than are recorded.
    pub uncounted: u64,
}

impl ViewerStats {
    pub(crate) fn new(id: ViewerId, location: String, connection: Connection, tracks: Tracks) -> Self {
        Self {
            id,
            location,
            connection,
            tracks: tracks.tracks,
            sender_reports: tracks.sender_reports,
            byes: tracks.byes,
            uncounted: tracks.uncounted,
        }
    }

    /// The first video track.
    pub fn video(&self) -> Option<&TrackStats> {
        self.tracks.iter().find(|track| track.kind == MediaKind::Video)
    }

    /// The first audio track.
    pub fn audio(&self) -> Option<&TrackStats> {
        self.tracks.iter().find(|track| track.kind == MediaKind::Audio)
    }

    /// Packets delivered on all tracks.
    pub fn packets(&self) -> u64 {
        self.tracks.iter().map(|track| track.packets).sum()
    }

    /// Packet numbers of the publisher's stream in `wanted` that reached no track.
    pub fn missing(&self, stream_id: u64, wanted: Range<u64>) -> Vec<Range<u64>> {
        match self.tracks.iter().find(|track| track.source(stream_id).is_some()) {
            Some(track) => track.missing(stream_id, wanted),
            None if wanted.is_empty() => Vec::new(),
            None => vec![wanted],
        }
    }

    /// Arrival of the first packet of any track after `instant`, see [`TrackStats::first_packet_after`].
    pub fn first_packet_after(&self, instant: Instant) -> Option<Instant> {
        self.tracks.iter().filter_map(|track| track.first_packet_after(instant)).min()
    }

    /// When the first video frame after `instant` became decodable.
    pub fn first_decoded_after(&self, instant: Instant) -> Option<Instant> {
        self.video().and_then(|track| track.first_decoded_after(instant))
    }

    /// From posting the offer to the first packet of any track.
    pub fn join_time(&self) -> Option<Duration> {
        let first = self.tracks.iter().filter_map(|track| track.first_packet_at).min()?;
        Some(first.saturating_duration_since(self.connection.requested_at?))
    }

    /// From the end of the DTLS handshake to the first whole key frame, both by the kernel's stamps.
    pub fn key_frame_time(&self) -> Option<Duration> {
        let first = self.video()?.first_key_frame_at?;
        Some(first.saturating_duration_since(self.connection.handshake_ended_at()?))
    }
}
