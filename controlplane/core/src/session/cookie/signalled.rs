//! What sessions with a signalling connection park: themselves with their participants, and each peer connection apart.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::media::Bitrate;
use sluice_protocol::plan::Cookie;

use super::super::{OfferId, Offering, Outstanding, Signalling};
use super::{
    CookieError, Envelope, KIND_CONNECTION, KIND_SIGNALLED, MemberRecord, Membership, PeerConnection, Session,
    SessionId, SsrcMinter, VERSION, cookie_key_of_session, cookie_key_of_signalled, object, seal, word,
};
use crate::room::{Identity, Participant, RoomId};
use crate::sdp::{Negotiated, NegotiatedCodec, PayloadTypes, Simulcast};

#[derive(Serialize, Deserialize)]
pub(super) struct SignalledRecord {
    id: SessionId,
    identity: Identity,
    simulcast: Simulcast,
    client_offer: OfferId,
    last_offer: OfferId,
    answered_offer: OfferId,
    members: Vec<MemberRecord>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct ConnectionRecord {
    session: SessionId,
    /// Every codec of the tables, once.
    codecs: Vec<NegotiatedCodec>,
    table: TableRecord,
    /// Addresses of tracks or egress streams by section; zero for none.
    objects: Vec<u64>,
    transport: u64,
    remb_cap: Option<u64>,
    ssrcs: SsrcMinter,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offering: Option<OfferingRecord>,
}

/// An m-line table whose sections say their codecs by their places in a list.
#[derive(Serialize, Deserialize)]
struct TableRecord {
    negotiated: Negotiated,
    codecs: Vec<Vec<u16>>,
}

#[derive(Serialize, Deserialize)]
struct OfferingRecord {
    payload_types: PayloadTypes,
    /// Addresses of tracks by m-line; zero for none.
    places: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    outstanding: Option<OutstandingRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    refused: Vec<u64>,
    next_mid: u32,
    #[serde(default)]
    wants_restart: bool,
}

#[derive(Serialize, Deserialize)]
struct OutstandingRecord {
    id: OfferId,
    offered: TableRecord,
    tracks: Vec<u64>,
}

/// A session with a signalling connection as parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedSignalled {
    /// The session, without its peer connections.
    pub session: Session,
    members: Vec<(MemberRecord, String)>,
}

/// A peer connection as parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedConnection {
    /// Whose it is.
    pub session: SessionId,
    /// The connection, without credentials, keys, sources and learnt streams, which the plan has.
    pub connection: PeerConnection,
}

impl ParkedSignalled {
    /// Returns the participants with their rooms, once the session has its publisher back.
    #[must_use]
    pub fn participants(&self) -> Vec<(RoomId, Participant)> {
        let publisher = self.session.publisher.as_ref();
        self.members.iter().map(|(member, metadata)| member.clone().restore(metadata.clone(), publisher)).collect()
    }
}

impl Session {
    pub(super) fn park_signalled<'a>(
        &self,
        signalling: &Signalling,
        participant: &impl Fn(&Membership) -> Option<&'a Participant>,
    ) -> Result<Cookie, CookieError> {
        let members: Vec<(&Membership, &Participant)> =
            self.memberships.iter().filter_map(|member| Some((member, participant(member)?))).collect();
        let record = SignalledRecord {
            id: self.id.clone(),
            identity: signalling.identity.clone(),
            simulcast: signalling.simulcast,
            client_offer: signalling.client_offer,
            last_offer: signalling.last_offer,
            answered_offer: signalling.answered_offer,
            members: members.iter().map(|(member, own)| MemberRecord::of(member.room.clone(), own)).collect(),
        };
        let envelope = Envelope {
            version: VERSION,
            kind: KIND_SIGNALLED,
            details: serde_json::to_vec(&record).expect("a session's record is JSON"),
            metadata: members.iter().map(|(_, participant)| participant.metadata.clone()).collect(),
            certificate: signalling.certificate.clone(),
            dtls_state: Vec::new(),
        };
        seal(cookie_key_of_signalled(signalling.number), &envelope)
    }

    pub(super) fn park_connection(&self, connection: &PeerConnection) -> Result<Cookie, CookieError> {
        let mut codecs = Vec::new();
        let table = TableRecord::of(&connection.negotiated, &mut codecs);
        let offering = connection.offering.as_ref().map(|own| OfferingRecord::of(own, &mut codecs));
        let record = ConnectionRecord {
            session: self.id.clone(),
            codecs,
            table,
            objects: connection.sections.iter().map(word).collect(),
            transport: connection.transport.word(),
            remb_cap: connection.remb_cap.map(|cap| cap.0),
            ssrcs: connection.ssrcs,
            offering,
        };
        let envelope = Envelope {
            version: VERSION,
            kind: KIND_CONNECTION,
            details: serde_json::to_vec(&record).expect("a connection's record is JSON"),
            metadata: Vec::new(),
            certificate: connection.certificate.clone(),
            dtls_state: connection.dtls_state.clone(),
        };
        seal(cookie_key_of_session(connection.transport), &envelope)
    }
}

impl TableRecord {
    fn of(negotiated: &Negotiated, codecs: &mut Vec<NegotiatedCodec>) -> Self {
        let mut negotiated = negotiated.clone();
        let mut place_of = |codec: &NegotiatedCodec| {
            let place = codecs.iter().position(|known| known == codec).unwrap_or_else(|| {
                codecs.push(*codec);
                codecs.len() - 1
            });
            u16::try_from(place).unwrap_or(u16::MAX)
        };
        let places = negotiated.sections.iter().map(|own| own.codecs.iter().map(&mut place_of).collect()).collect();
        negotiated.sections.iter_mut().for_each(|section| section.codecs.clear());
        Self { negotiated, codecs: places }
    }

    fn restore(mut self, codecs: &[NegotiatedCodec]) -> Option<Negotiated> {
        if self.codecs.len() != self.negotiated.sections.len() {
            return None;
        }
        for (section, places) in self.negotiated.sections.iter_mut().zip(&self.codecs) {
            section.codecs = places.iter().filter_map(|place| codecs.get(usize::from(*place)).copied()).collect();
        }
        Some(self.negotiated)
    }
}

impl OfferingRecord {
    fn of(offering: &Offering, codecs: &mut Vec<NegotiatedCodec>) -> Self {
        Self {
            payload_types: offering.payload_types.clone(),
            places: words(&offering.places),
            outstanding: offering.outstanding.as_ref().map(|own| OutstandingRecord {
                id: own.id,
                offered: TableRecord::of(&own.offered, codecs),
                tracks: words(&own.tracks),
            }),
            refused: offering.refused.iter().map(|track| track.word()).collect(),
            next_mid: offering.next_mid,
            wants_restart: offering.wants_restart,
        }
    }

    fn restore(self, codecs: &[NegotiatedCodec]) -> Option<Offering> {
        let outstanding = match self.outstanding {
            Some(own) => Some(Outstanding {
                id: own.id,
                offered: own.offered.restore(codecs)?,
                tracks: own.tracks.into_iter().map(track).collect(),
            }),
            None => None,
        };
        Some(Offering {
            payload_types: self.payload_types,
            places: self.places.into_iter().map(track).collect(),
            outstanding,
            refused: self.refused.into_iter().map(TrackId::from_word).collect(),
            next_mid: self.next_mid,
            wants_restart: self.wants_restart,
        })
    }
}

impl SignalledRecord {
    pub(super) fn restore(self, number: u64, metadata: Vec<String>, certificate: Vec<u8>) -> ParkedSignalled {
        let signalling = Signalling {
            client_offer: self.client_offer,
            last_offer: self.last_offer,
            answered_offer: self.answered_offer,
            ..Signalling::new(number, self.identity, certificate, self.simulcast)
        };
        let mut session = Session::signalled(self.id, signalling);
        session.memberships = self.members.iter().map(MemberRecord::membership).collect();
        let metadata = metadata.into_iter().chain(std::iter::repeat_with(String::new));
        ParkedSignalled { session, members: self.members.into_iter().zip(metadata).collect() }
    }
}

impl ConnectionRecord {
    /// Makes the connection; `None` where its lists do not fit together.
    pub(super) fn restore(self, certificate: Vec<u8>, dtls_state: Vec<u8>) -> Option<ParkedConnection> {
        let negotiated = self.table.restore(&self.codecs)?;
        if self.objects.len() != negotiated.sections.len() {
            return None;
        }
        let offering = match self.offering {
            Some(offering) => Some(offering.restore(&self.codecs)?),
            None => None,
        };
        let sections = self.objects.iter().zip(&negotiated.sections).map(|(word, section)| object(*word, section));
        let connection = PeerConnection {
            sections: sections.collect(),
            negotiated,
            transport: TransportId::from_word(self.transport),
            credentials: Vec::new(),
            keys: None,
            remb_cap: self.remb_cap.map(Bitrate),
            certificate,
            dtls_state,
            ssrcs: self.ssrcs,
            offering,
            streams: BTreeSet::new(),
        };
        Some(ParkedConnection { session: self.session, connection })
    }
}

fn words(tracks: &[Option<TrackId>]) -> Vec<u64> {
    tracks.iter().map(|track| track.map_or(0, TrackId::word)).collect()
}

/// Returns the track of a word; no track has the word zero, as no generation is zero.
fn track(word: u64) -> Option<TrackId> {
    (word != 0).then(|| TrackId::from_word(word))
}
