//! Header extensions that Sluice negotiates, and with whom.

use sluice_protocol::media::{ExtensionIds, MediaKind};

use super::Role;

/// A header extension that the contract knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// See [`ExtensionIds::mid`].
    Mid,
    /// See [`ExtensionIds::rid`].
    Rid,
    /// See [`ExtensionIds::repaired_rid`].
    RepairedRid,
    /// See [`ExtensionIds::audio_level`].
    AudioLevel,
    /// See [`ExtensionIds::abs_send_time`].
    AbsSendTime,
    /// See [`ExtensionIds::transport_sequence`].
    TransportSequence,
    /// See [`ExtensionIds::playout_delay`].
    PlayoutDelay,
    /// See [`ExtensionIds::video_orientation`].
    VideoOrientation,
    /// See [`ExtensionIds::dependency_descriptor`].
    DependencyDescriptor,
}

impl Extension {
    /// All of them, in the order in which answers name them.
    pub const ALL: [Self; 9] = [
        Self::AudioLevel,
        Self::AbsSendTime,
        Self::VideoOrientation,
        Self::TransportSequence,
        Self::PlayoutDelay,
        Self::Mid,
        Self::Rid,
        Self::RepairedRid,
        Self::DependencyDescriptor,
    ];

    /// Returns the URI.
    #[must_use]
    pub const fn uri(self) -> &'static str {
        match self {
            Self::Mid => "urn:ietf:params:rtp-hdrext:sdes:mid",
            Self::Rid => "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
            Self::RepairedRid => "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
            Self::AudioLevel => "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            Self::AbsSendTime => "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
            Self::TransportSequence => "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            Self::PlayoutDelay => "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
            Self::VideoOrientation => "urn:3gpp:video-orientation",
            Self::DependencyDescriptor => {
                "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
            }
        }
    }

    /// Returns the extension of a URI.
    #[must_use]
    pub fn of_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.uri() == uri)
    }

    /// Tells whether Sluice answers this extension.
    ///
    /// Video orientation is answered to nobody: a publisher that may not send it turns the picture itself, which is right
    /// for every viewer, also for those that do not know the extension (Firefox, recordings, HLS). Transport-wide numbers go
    /// to publishers only, as there is no estimation towards viewers yet; a playout delay is ours to tell, not theirs.
    #[must_use]
    pub const fn is_answered(self, role: Role, kind: MediaKind) -> bool {
        match (self, role, kind) {
            (Self::Mid | Self::AbsSendTime, _, _)
            | (Self::AudioLevel, _, MediaKind::Audio)
            | (Self::TransportSequence, Role::Publish, _)
            | (Self::Rid | Self::RepairedRid, Role::Publish, MediaKind::Video)
            | (Self::DependencyDescriptor, _, MediaKind::Video)
            | (Self::PlayoutDelay, Role::Play, MediaKind::Video) => true,
            (
                Self::VideoOrientation
                | Self::DependencyDescriptor
                | Self::AudioLevel
                | Self::TransportSequence
                | Self::Rid
                | Self::RepairedRid
                | Self::PlayoutDelay,
                _,
                _,
            ) => false,
        }
    }

    /// Returns the id that our own offers give to this extension: its place among [`Self::ALL`], from 1.
    #[must_use]
    pub const fn offered_id(self) -> u8 {
        match self {
            Self::AudioLevel => 1,
            Self::AbsSendTime => 2,
            Self::VideoOrientation => 3,
            Self::TransportSequence => 4,
            Self::PlayoutDelay => 5,
            Self::Mid => 6,
            Self::Rid => 7,
            Self::RepairedRid => 8,
            Self::DependencyDescriptor => 9,
        }
    }

    /// Returns the id of this extension, zero where not negotiated.
    #[must_use]
    pub const fn id_in(self, ids: &ExtensionIds) -> u8 {
        match self {
            Self::Mid => ids.mid,
            Self::Rid => ids.rid,
            Self::RepairedRid => ids.repaired_rid,
            Self::AudioLevel => ids.audio_level,
            Self::AbsSendTime => ids.abs_send_time,
            Self::TransportSequence => ids.transport_sequence,
            Self::PlayoutDelay => ids.playout_delay,
            Self::VideoOrientation => ids.video_orientation,
            Self::DependencyDescriptor => ids.dependency_descriptor,
        }
    }

    /// Sets the id of this extension.
    pub const fn set_in(self, ids: &mut ExtensionIds, id: u8) {
        let field = match self {
            Self::Mid => &mut ids.mid,
            Self::Rid => &mut ids.rid,
            Self::RepairedRid => &mut ids.repaired_rid,
            Self::AudioLevel => &mut ids.audio_level,
            Self::AbsSendTime => &mut ids.abs_send_time,
            Self::TransportSequence => &mut ids.transport_sequence,
            Self::PlayoutDelay => &mut ids.playout_delay,
            Self::VideoOrientation => &mut ids.video_orientation,
            Self::DependencyDescriptor => &mut ids.dependency_descriptor,
        };
        *field = id;
    }
}
