//! What rooms and sessions park with the data plane, and how a successor reads it.
//!
//! A cookie is one protobuf message; its details are JSON, in which later versions may add fields. Transport credentials,
//! SRTP keys, and what feeds whom stand in the plan itself and not here.

mod signalled;

use prost::Message as _;
use serde::{Deserialize, Serialize};
use sluice_protocol::ids::{Address, EgressId, TrackId, TransportId};
use sluice_protocol::limits::COOKIE_BYTES_MAX;
use sluice_protocol::plan::Cookie;
use sluice_protocol::time::Instant;

use super::{Membership, PeerConnection, SectionObject, Session, SessionId, SsrcMinter, kind_of};
use crate::access::{PermissionOverrides, Role, Source};
use crate::room::{
    Detail, Identity, Participant, ParticipantId, ParticipantState, PublishedTrack, Receiver, Room, RoomId, RoomRecord,
    Subscription, TemporalLayers, Term, Wish,
};
use crate::sdp::{Negotiated, NegotiatedSection};

pub use signalled::{ParkedConnection, ParkedSignalled};

/// The version that this code writes; it reads all up to it and refuses later ones. It rises when a field changes its
/// meaning, or when forgetting a new one would do harm.
const VERSION: u32 = 2;
/// The version that rooms, and sessions without a signalling connection, are written with: their layout is that of the first.
const VERSION_FIRST: u32 = 1;
const KIND_ROOM: u32 = 1;
const KIND_SESSION: u32 = 2;
const KIND_SIGNALLED: u32 = 3;
const KIND_CONNECTION: u32 = 4;

/// The bytes of a cookie.
#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Envelope {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(uint32, tag = "2")]
    kind: u32,
    /// A [`SessionRecord`], [`RoomRecord`], [`signalled::SignalledRecord`] or [`signalled::ConnectionRecord`] as JSON.
    #[prost(bytes = "vec", tag = "3")]
    details: Vec<u8>,
    /// The metadata of the room, or of each participant.
    #[prost(string, repeated, tag = "4")]
    metadata: Vec<String>,
    #[prost(bytes = "vec", tag = "5")]
    certificate: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    dtls_state: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct SessionRecord {
    id: SessionId,
    members: Vec<MemberRecord>,
    negotiated: Negotiated,
    /// Addresses of tracks (publisher) or egress streams (viewer) by section; zero for none.
    objects: Vec<u64>,
    transport: u64,
    remb_cap: Option<u64>,
    ssrcs: SsrcMinter,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MemberRecord {
    room: RoomId,
    id: ParticipantId,
    identity: Identity,
    name: String,
    role: Role,
    #[serde(default)]
    overrides: PermissionOverrides,
    joined_at: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    term: Option<TermRecord>,
    is_publisher: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_signalled: bool,
    wish: Wish,
    /// When it leaves unless it comes back, in nanoseconds; absent while its transport is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quiet_until: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tracks: Vec<TrackRecord>,
    /// Addresses of the egress streams that this room feeds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    receivers: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    subscriptions: Vec<SubscriptionRecord>,
}

/// What a stay rests on: its end in nanoseconds, and what the token gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TermRecord {
    until: u64,
    role: Role,
    #[serde(default)]
    overrides: PermissionOverrides,
}

/// A subscription: the track's address, and what is wanted of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SubscriptionRecord(
    u64,
    bool,
    Detail,
    #[serde(default, skip_serializing_if = "TemporalLayers::is_all")] TemporalLayers,
);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TrackRecord {
    id: u64,
    source: Source,
    order: u64,
    #[serde(default)]
    muted_by_publisher: bool,
    #[serde(default)]
    muted_by_host: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    width: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    height: Option<u16>,
}

/// Why something is not parked, or not read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CookieError {
    /// More than [`COOKIE_BYTES_MAX`].
    #[error("the description is too complex to be kept over restarts: {size_bytes} bytes")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
    },
    /// Written by a later version, which may have meant something else by the same fields.
    #[error("a parked cookie is of version {version}; this control plane reads up to {VERSION}")]
    UnknownVersion {
        /// Its version.
        version: u32,
    },
    /// Not what this code or an earlier one wrote.
    #[error("a parked cookie cannot be read: {0}")]
    Unreadable(String),
}

/// What a cookie held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parked {
    /// A room, without its participants.
    Room {
        /// The room.
        record: Box<RoomRecord>,
        /// Its metadata.
        metadata: String,
    },
    /// A session without a signalling connection, with its participants.
    Session(Box<ParkedSession>),
    /// A session with a signalling connection.
    Signalled(Box<ParkedSignalled>),
    /// A peer connection of such a session.
    Connection(Box<ParkedConnection>),
}

/// A session as parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedSession {
    /// The session, without credentials, keys, sources and learnt streams, which the plan has.
    pub session: Session,
    /// Its participants with their rooms; what their receivers receive is in the plan.
    pub participants: Vec<(RoomId, Participant)>,
}

/// Returns the key of a session's cookie. Shards have six bits, so the two highest bits of an address are free.
#[must_use]
pub const fn cookie_key_of_session(transport: TransportId) -> u64 {
    transport.word() | (1 << 62)
}

/// Returns the transport whose session's cookie has this key; `None` for a room's cookie.
#[must_use]
pub fn transport_of_cookie(key: u64) -> Option<TransportId> {
    let is_session = key >> 62 == 0b01;
    is_session.then(|| TransportId::from_word(key & !(1 << 62)))
}

/// Returns the key of the cookie of the session with a signalling connection with this number.
#[must_use]
pub const fn cookie_key_of_signalled(number: u64) -> u64 {
    number | (0b11 << 62)
}

/// Returns the key of the cookie of the room with this number.
#[must_use]
pub const fn cookie_key_of_room(number: u64) -> u64 {
    number | (1 << 63)
}

const _: () = assert!(sluice_protocol::limits::SHARDS_MAX <= 64, "two bits of a cookie's key are ours");

/// Parks a room, without its participants, under its number.
///
/// # Errors
/// [`CookieError::TooLarge`].
pub fn park_room(room: &Room, number: u64) -> Result<Cookie, CookieError> {
    let details = serde_json::to_vec(&room.record()).expect("a room's record is JSON");
    let envelope = Envelope {
        version: VERSION_FIRST,
        kind: KIND_ROOM,
        details,
        metadata: vec![room.settings().metadata.clone()],
        ..Envelope::default()
    };
    seal(cookie_key_of_room(number), &envelope)
}

impl Session {
    /// Parks this session with its participants as their rooms have them: in one cookie, or with a signalling connection in
    /// one for itself and one for each peer connection. What is too large is left out: metadata first, then the cookie.
    pub fn park<'a>(&self, participant: impl Fn(&Membership) -> Option<&'a Participant>) -> Vec<Cookie> {
        let cookies: Vec<Result<Cookie, CookieError>> = match &self.signalling {
            None => self.connections().map(|connection| self.park_with(connection, &participant)).collect(),
            Some(signalling) => std::iter::once(self.park_signalled(signalling, &participant))
                .chain(self.connections().map(|connection| self.park_connection(connection)))
                .collect(),
        };
        cookies.into_iter().filter_map(Result::ok).collect()
    }

    /// Parks this session of one peer connection.
    fn park_with<'a>(
        &self,
        connection: &PeerConnection,
        participant: &impl Fn(&Membership) -> Option<&'a Participant>,
    ) -> Result<Cookie, CookieError> {
        let members: Vec<(&Membership, &Participant)> =
            self.memberships.iter().filter_map(|member| Some((member, participant(member)?))).collect();
        let record = SessionRecord {
            id: self.id.clone(),
            members: members.iter().map(|(member, own)| MemberRecord::of(member.room.clone(), own)).collect(),
            negotiated: connection.negotiated.clone(),
            objects: connection.sections.iter().map(word).collect(),
            transport: connection.transport.word(),
            remb_cap: connection.remb_cap.map(|cap| cap.0),
            ssrcs: connection.ssrcs,
        };
        let envelope = Envelope {
            version: VERSION_FIRST,
            kind: KIND_SESSION,
            details: serde_json::to_vec(&record).expect("a session's record is JSON"),
            metadata: members.iter().map(|(_, participant)| participant.metadata.clone()).collect(),
            certificate: connection.certificate.clone(),
            dtls_state: connection.dtls_state.clone(),
        };
        seal(cookie_key_of_session(connection.transport), &envelope)
    }
}

fn seal(key: u64, envelope: &Envelope) -> Result<Cookie, CookieError> {
    let mut bytes = envelope.encode_to_vec();
    if bytes.len() > COOKIE_BYTES_MAX {
        // What applications attached can be set again; who somebody is and what it may do cannot.
        let metadata = vec![String::new(); envelope.metadata.len()];
        bytes = Envelope { metadata, ..envelope.clone() }.encode_to_vec();
    }
    if bytes.len() > COOKIE_BYTES_MAX {
        return Err(CookieError::TooLarge { size_bytes: bytes.len() });
    }
    Ok(Cookie { key, bytes })
}

/// Reads a cookie back. Fields that later code added without a new version are ignored.
///
/// # Errors
/// [`CookieError::UnknownVersion`], [`CookieError::Unreadable`].
pub fn unpark(cookie: &Cookie) -> Result<Parked, CookieError> {
    let unreadable = |error: &dyn std::fmt::Display| CookieError::Unreadable(error.to_string());
    let envelope = Envelope::decode(cookie.bytes.as_slice()).map_err(|error| unreadable(&error))?;
    if !(1..=VERSION).contains(&envelope.version) {
        return Err(CookieError::UnknownVersion { version: envelope.version });
    }
    match envelope.kind {
        KIND_ROOM => {
            let record = serde_json::from_slice(&envelope.details).map_err(|error| unreadable(&error))?;
            let metadata = envelope.metadata.into_iter().next().unwrap_or_default();
            Ok(Parked::Room { record: Box::new(record), metadata })
        }
        KIND_SESSION => {
            let record: SessionRecord =
                serde_json::from_slice(&envelope.details).map_err(|error| unreadable(&error))?;
            if record.objects.len() != record.negotiated.sections.len() {
                return Err(unreadable(&"sections and objects differ in number"));
            }
            Ok(Parked::Session(Box::new(record.restore(envelope.metadata, envelope.certificate, envelope.dtls_state))))
        }
        KIND_SIGNALLED => {
            let record: signalled::SignalledRecord =
                serde_json::from_slice(&envelope.details).map_err(|error| unreadable(&error))?;
            let number = cookie.key & !(0b11 << 62);
            let parked = record.restore(number, envelope.metadata, envelope.certificate);
            Ok(Parked::Signalled(Box::new(parked)))
        }
        KIND_CONNECTION => {
            let record: signalled::ConnectionRecord =
                serde_json::from_slice(&envelope.details).map_err(|error| unreadable(&error))?;
            let parked = record.restore(envelope.certificate, envelope.dtls_state);
            Ok(Parked::Connection(Box::new(
                parked.ok_or_else(|| unreadable(&"sections and objects differ in number"))?,
            )))
        }
        kind => Err(unreadable(&format_args!("kind {kind}"))),
    }
}

impl MemberRecord {
    fn of(room: RoomId, participant: &Participant) -> Self {
        let track = |track: &PublishedTrack| TrackRecord {
            id: track.id.word(),
            source: track.source,
            order: track.order,
            muted_by_publisher: track.muted_by_publisher,
            muted_by_host: track.muted_by_host,
            width: track.width,
            height: track.height,
        };
        Self {
            room,
            id: participant.id.clone(),
            identity: participant.identity.clone(),
            name: participant.name.clone(),
            role: participant.role,
            overrides: participant.overrides.clone(),
            joined_at: participant.joined_at.nanos,
            term: participant.term.clone().map(|Term { until, role, overrides }| TermRecord {
                until: until.nanos,
                role,
                overrides,
            }),
            is_publisher: participant.is_publisher,
            is_signalled: participant.is_signalled,
            wish: participant.wish.clone(),
            quiet_until: participant.state.deadline().map(|deadline| deadline.nanos),
            tracks: participant.tracks.iter().map(track).collect(),
            receivers: participant.receivers.iter().map(|receiver| receiver.egress.word()).collect(),
            subscriptions: participant
                .subscriptions
                .iter()
                .map(|own| SubscriptionRecord(own.track.word(), own.is_paused, own.detail, own.temporal_layers))
                .collect(),
        }
    }

    fn membership(&self) -> Membership {
        Membership { room: self.room.clone(), participant: self.id.clone() }
    }

    /// Makes the participant; what it publishes and where it receives is on `connection`.
    pub(super) fn restore(self, metadata: String, connection: Option<&PeerConnection>) -> (RoomId, Participant) {
        let sections = || connection.into_iter().flat_map(|own| own.negotiated.sections.iter().zip(&own.sections));
        let published = |record: TrackRecord| {
            let id = TrackId::from_word(record.id);
            let is_meant =
                |object: &SectionObject| matches!(object, SectionObject::Track { id: own, .. } if *own == id);
            let (section, _) = sections().find(|(_, object)| is_meant(object))?;
            Some(PublishedTrack {
                id,
                kind: kind_of(section),
                source: record.source,
                codecs: section.codecs.clone(),
                layers: section.layers(),
                width: record.width,
                height: record.height,
                muted_by_publisher: record.muted_by_publisher,
                muted_by_host: record.muted_by_host,
                order: record.order,
            })
        };
        let receivers = sections().filter_map(|(section, object)| match object {
            SectionObject::Egress { id, .. } if self.receivers.contains(&id.word()) => {
                Some(Receiver { egress: *id, kind: kind_of(section), codecs: section.codecs.clone(), track: None })
            }
            SectionObject::Nothing | SectionObject::Track { .. } | SectionObject::Egress { .. } => None,
        });
        let participant = Participant {
            id: self.id,
            identity: self.identity,
            name: self.name,
            metadata,
            role: self.role,
            overrides: self.overrides,
            state: match self.quiet_until {
                None => ParticipantState::Connected,
                Some(nanos) => ParticipantState::Reconnecting { deadline: Instant { nanos } },
            },
            joined_at: Instant { nanos: self.joined_at },
            term: self.term.map(|TermRecord { until, role, overrides }| Term {
                until: Instant { nanos: until },
                role,
                overrides,
            }),
            is_publisher: self.is_publisher,
            is_signalled: self.is_signalled,
            wish: self.wish,
            tracks: self.tracks.into_iter().filter_map(published).collect(),
            receivers: receivers.collect(),
            subscriptions: self.subscriptions.iter().map(SubscriptionRecord::restore).collect(),
        };
        (self.room, participant)
    }
}

impl SubscriptionRecord {
    const fn restore(&self) -> Subscription {
        Subscription { track: TrackId::from_word(self.0), is_paused: self.1, detail: self.2, temporal_layers: self.3 }
    }
}

/// Returns the word of what lives at a section, zero for nothing.
const fn word(object: &SectionObject) -> u64 {
    match object {
        SectionObject::Nothing => 0,
        SectionObject::Track { id, .. } => id.word(),
        SectionObject::Egress { id, .. } => id.word(),
    }
}

/// Returns what lives at a section, from its word.
const fn object(word: u64, section: &NegotiatedSection) -> SectionObject {
    match (word, &section.sent) {
        (0, _) => SectionObject::Nothing,
        (word, Some(_)) => SectionObject::egress(EgressId(Address::from_word(word))),
        (word, None) => SectionObject::Track { id: TrackId(Address::from_word(word)), muted: false },
    }
}

impl SessionRecord {
    fn restore(self, metadata: Vec<String>, certificate: Vec<u8>, dtls_state: Vec<u8>) -> ParkedSession {
        let sections = self.objects.iter().zip(&self.negotiated.sections).map(|(word, section)| object(*word, section));
        let memberships = self.members.iter().map(MemberRecord::membership).collect();
        let connection = PeerConnection {
            sections: sections.collect(),
            negotiated: self.negotiated,
            transport: TransportId::from_word(self.transport),
            credentials: Vec::new(),
            keys: None,
            remb_cap: self.remb_cap.map(sluice_protocol::media::Bitrate),
            certificate,
            dtls_state,
            ssrcs: self.ssrcs,
            offering: None,
            streams: std::collections::BTreeSet::new(),
        };
        let mut metadata = metadata.into_iter();
        let restored = self
            .members
            .into_iter()
            .map(|member| member.restore(metadata.next().unwrap_or_default(), Some(&connection)));
        let participants = restored.collect();
        ParkedSession { session: Session::new(self.id, memberships, connection), participants }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::RoomSettings;

    #[test]
    fn a_subscription_of_all_temporal_layers_is_written_as_before_there_was_a_choice() {
        let of = |count| SubscriptionRecord(7, false, Detail::Height(9), TemporalLayers::new(count).unwrap());
        for (record, text) in [(of(8), r#"[7,false,{"height":9}]"#), (of(2), r#"[7,false,{"height":9},2]"#)] {
            assert_eq!(serde_json::to_string(&record).unwrap(), text);
            assert_eq!(serde_json::from_str::<SubscriptionRecord>(text).unwrap(), record);
        }
    }

    #[test]
    fn a_cookie_of_another_version_is_refused_by_its_number() {
        let id = RoomId("room".to_owned());
        let room = Room::new(id, RoomSettings::default(), Instant { nanos: 0 }).unwrap();
        let cookie = park_room(&room, 5).unwrap();
        assert!(matches!(unpark(&cookie), Ok(Parked::Room { .. })));
        for (version, readable) in [(0, false), (1, true), (VERSION, true), (VERSION + 1, false), (u32::MAX, false)] {
            let envelope = Envelope { version, ..Envelope::decode(cookie.bytes.as_slice()).unwrap() };
            let outcome = unpark(&Cookie { bytes: envelope.encode_to_vec(), ..cookie.clone() });
            match outcome {
                Ok(_) => assert!(readable, "{version}"),
                Err(error) => assert_eq!((readable, error), (false, CookieError::UnknownVersion { version })),
            }
        }
    }

    #[test]
    fn cookies_of_the_first_version_are_read() {
        let mut found = Vec::new();
        for line in include_str!("../../../tests/vectors/cookies/version-1.hex").lines() {
            let (key, digits) = line.split_once(' ').unwrap();
            let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
            let bytes: Vec<u8> = (0..digits.len()).step_by(2).map(byte).collect();
            let key = u64::from_str_radix(key, 16).unwrap();
            match unpark(&Cookie { key, bytes: bytes.clone() }).unwrap() {
                Parked::Room { record, .. } => found.push(record.id.0),
                Parked::Signalled(_) | Parked::Connection(_) => panic!("there were none"),
                Parked::Session(parked) => {
                    let connection = parked.session.offered().unwrap();
                    assert_eq!(cookie_key_of_session(connection.transport), key);
                    let of = |member: &Membership| {
                        let own = parked.participants.iter().find(|(room, _)| *room == member.room);
                        own.map(|(_, participant)| participant)
                    };
                    let again = parked.session.park(of);
                    assert_eq!(unpark(&again[0]), Ok(Parked::Session(parked.clone())));
                    let tracks = parked.participants.iter().map(|(_, own)| own.tracks.len() + own.receivers.len());
                    found.push(format!("{} {:?}", parked.session.id.0, tracks.collect::<Vec<_>>()));
                }
            }
        }
        assert_eq!(found, ["SE_ann [2, 2]", "SE_ben [3]", "room", "stage"]);
    }
}
