//! What the control plane wants of a data plane, as a map of small objects.
//!
//! A [`Plan`] holds everything that a data plane needs to forward, and everything that a restarted control plane needs
//! to find its way: transports, tracks, egress streams, what was learnt from the wire, and opaque cookies. Keys sort so
//! that what depends comes after what it depends on; [`changes`] puts in that order and removes in the opposite one.

mod cascade;
mod diff;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Bound;

pub use diff::{Change, apply, changes, diff, differing};

use crate::ice::Ufrag;
use crate::ids::{EgressId, TrackId, TransportId};
use crate::media::{Bitrate, Codec, ExtensionIds, MediaKind, Mid, PayloadType, Rid, SrtpKeys, Ssrc};

/// The key of an object in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A [`Transport`].
    Transport(TransportId),
    /// The [`Path`] of a transport.
    Path(TransportId),
    /// A [`Track`].
    Track(TrackId),
    /// A [`Stream`] of a track.
    Stream(TrackId, Ssrc),
    /// An [`Egress`].
    Egress(EgressId),
    /// A cookie; the number means something to the control plane alone.
    Cookie(u64),
}

/// One object of a plan, with its key inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    /// A peer connection's transport.
    Transport(Transport),
    /// Where a transport's peer is; learnt.
    Path(Path),
    /// What an m-line of a publisher sends.
    Track(Track),
    /// An SSRC of a track; learnt.
    Stream(Stream),
    /// What an m-line of a subscriber receives.
    Egress(Egress),
    /// Bytes that the control plane parks for its successor.
    Cookie(Cookie),
}

impl Object {
    /// Returns the key.
    #[must_use]
    pub const fn key(&self) -> Key {
        match self {
            Self::Transport(transport) => Key::Transport(transport.id),
            Self::Path(path) => Key::Path(path.transport),
            Self::Track(track) => Key::Track(track.id),
            Self::Stream(stream) => Key::Stream(stream.track, stream.ssrc),
            Self::Egress(egress) => Key::Egress(egress.id),
            Self::Cookie(cookie) => Key::Cookie(cookie.key),
        }
    }

    /// Tells whether the data plane learns this object from the wire and the control plane only keeps it.
    #[must_use]
    pub const fn is_learnt(&self) -> bool {
        matches!(self, Self::Path(_) | Self::Stream(_))
    }
}

/// One BUNDLE of one peer connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// The address, which also stands in the ufrags.
    pub id: TransportId,
    /// The valid local credentials, oldest first: one, or two between an ICE restart and its nomination. Their
    /// passwords come from [`crate::ice::NodeSecret::password`].
    pub credentials: Vec<Ufrag>,
    /// SRTP keys, once the DTLS handshake is done. They never change for an id.
    pub keys: Option<SrtpKeys>,
    /// The canonical name in reports of all egress streams of this transport (RFC 3550 section 6.5.1).
    pub cname: String,
    /// Whether one- and two-byte header extensions may be mixed (RFC 8285 section 4.1.2).
    pub extmap_allow_mixed: bool,
    /// A fixed cap to tell a publisher that has no transport-wide feedback (draft-alvestrand-rmcat-remb).
    pub remb_cap: Option<Bitrate>,
    /// Whether feedback may leave alone, without a report and a description in front (`a=rtcp-rsize`, RFC 5506).
    pub rtcp_rsize: bool,
}

/// Where the peer of a transport is: the pair that was last nominated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The transport.
    pub transport: TransportId,
    /// Our address, with the port of the socket that received the nomination.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// The credentials that authenticated the nomination.
    pub credentials: Ufrag,
}

/// What one m-line of a publisher sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// The address.
    pub id: TrackId,
    /// The transport that it arrives on, of the same shard.
    pub transport: TransportId,
    /// Audio or video.
    pub kind: MediaKind,
    /// The m-line's mid.
    pub mid: Mid,
    /// The negotiated payload types.
    pub codecs: Vec<Codec>,
    /// The negotiated header extensions.
    pub extensions: ExtensionIds,
    /// What was negotiated of the description, the smallest picture first, as [`Layer::spatial`] counts; empty where only the
    /// mid tells. An encoding with a rid that is not named here is discarded, and so is one without where some are named.
    pub encodings: Vec<Encoding>,
    /// Whether the publisher, or a host, muted it: nothing is forwarded.
    pub muted: bool,
    /// Whether losses are asked for (RFC 4585 generic NACK).
    pub nack: bool,
}

/// An encoding that a description announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// Its name, where there are several (RFC 8851).
    pub rid: Option<Rid>,
    /// Its SSRC, where announced.
    pub ssrc: Option<Ssrc>,
    /// The SSRC of its repair stream (RFC 4588, `ssrc-group:FID`), where announced.
    pub rtx: Option<Ssrc>,
}

/// What role an SSRC plays in its track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamRole {
    /// It carries media.
    Media,
    /// It repairs the media stream with this SSRC (RFC 4588).
    Rtx {
        /// The SSRC of the media stream.
        of: Ssrc,
    },
}

/// An SSRC of a track, as learnt from the wire or announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The track.
    pub track: TrackId,
    /// The SSRC.
    pub ssrc: Ssrc,
    /// Media or repair.
    pub role: StreamRole,
    /// The encoding's name, where there are several.
    pub rid: Option<Rid>,
}

/// What one m-line of a subscriber receives: one SSRC for its whole life, whoever feeds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    /// The address.
    pub id: EgressId,
    /// The transport that it leaves by, of the same shard.
    pub transport: TransportId,
    /// Audio or video.
    pub kind: MediaKind,
    /// The m-line's mid.
    pub mid: Mid,
    /// The SSRC.
    pub ssrc: Ssrc,
    /// The SSRC of the repair stream, where negotiated.
    pub rtx: Option<Ssrc>,
    /// Whether the subscriber may ask for repeats (RFC 4585 generic NACK).
    pub nack: bool,
    /// The negotiated header extensions.
    pub extensions: ExtensionIds,
    /// What feeds it now.
    pub source: Option<Source>,
    /// Whether it is paused: nothing leaves, the source goes on.
    pub paused: bool,
    /// The highest layer that the subscriber has use for. Of the encodings that the publisher sends the highest one up to
    /// this is forwarded, or the lowest one when all of them are higher: to send nothing is [`Self::paused`].
    pub max_layer: Layer,
    /// The playout delay to tell the receiver, in units of 10 ms, where the extension is negotiated.
    pub playout_delay: Option<PlayoutDelay>,
}

/// The track that feeds an egress stream, and what becomes of its payload types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The track; on this shard in plans of one shard.
    pub track: TrackId,
    /// Payload types in and out; a packet with another one is discarded and reported as
    /// [`crate::event::Event::Undecodable`].
    pub payloads: Vec<PayloadMap>,
}

/// One payload type of a track and what it is called on an egress stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadMap {
    /// The payload type that the publisher sends.
    pub from: PayloadType,
    /// The payload type that the subscriber negotiated for the same format.
    pub to: PayloadType,
    /// The payload type of its repair stream, where negotiated.
    pub rtx: Option<PayloadType>,
}

/// A layer: encoding (by the order of rids or SSRCs) or spatial layer, and temporal layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layer {
    /// Encoding or spatial layer, 0 the smallest.
    pub spatial: u8,
    /// Temporal layer, 0 the base.
    pub temporal: u8,
}

impl Layer {
    /// Everything there is.
    pub const MAX: Self = Self { spatial: u8::MAX, temporal: u8::MAX };
}

/// The least and greatest delay from capture to display, each in units of 10 ms, at most 4095.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlayoutDelay {
    /// The least.
    pub min: u16,
    /// The greatest.
    pub max: u16,
}

/// Bytes that the control plane parks with the data plane for its successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// The key.
    pub key: u64,
    /// The bytes, at most [`crate::limits::COOKIE_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// A map of objects by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    objects: BTreeMap<Key, Object>,
}

impl Plan {
    /// Makes an empty plan.
    #[must_use]
    pub const fn new() -> Self {
        Self { objects: BTreeMap::new() }
    }

    /// Puts an object under its key and returns what was there.
    pub fn put(&mut self, object: Object) -> Option<Object> {
        self.objects.insert(object.key(), object)
    }

    /// Removes what is under `key` and returns it.
    pub fn remove(&mut self, key: &Key) -> Option<Object> {
        self.objects.remove(key)
    }

    /// Returns the object under `key`.
    #[must_use]
    pub fn object(&self, key: &Key) -> Option<&Object> {
        self.objects.get(key)
    }

    /// Returns all objects in the order of their keys.
    pub fn objects(&self) -> impl DoubleEndedIterator<Item = &Object> {
        self.objects.values()
    }

    /// Returns the objects from a key on, in the order of their keys.
    pub fn objects_from(&self, start: Bound<Key>) -> impl Iterator<Item = &Object> {
        self.objects.range((start, Bound::Unbounded)).map(|(_, object)| object)
    }

    /// Returns all keys in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &Key> {
        self.objects.keys()
    }

    /// Returns the number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Tells whether there is no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

impl FromIterator<Object> for Plan {
    fn from_iter<I: IntoIterator<Item = Object>>(objects: I) -> Self {
        Self { objects: objects.into_iter().map(|object| (object.key(), object)).collect() }
    }
}
