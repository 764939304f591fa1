//! What a session with a signalling connection receives: offers of ours, and the client's answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use sluice_protocol::ice::NodeSecret;
use sluice_protocol::ids::{EgressId, TrackId, TransportId};
use sluice_protocol::media::{Bitrate, Mid};
use sluice_protocol::plan::{Key, Layer, Source};
use sluice_protocol::time::Instant;

use super::mint::shard_of;
use super::space::rows_of;
use super::{Control, ControlError, Effect, OpenError};
use crate::room::codec_names;
use crate::sdp::{Answer, AnswerError, Fingerprint, payload_map, write_offer};
use crate::session::{
    OfferId, Offering, PeerConnection, SectionObject, Session, SessionId, SsrcMinter, Waiting, WantedTrack,
    WantedTracks,
};

/// Rows of the shared table that one more track may take: its media and its repairs.
const ROWS_OF_TRACK: usize = 2;

/// An offer of ours as it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOffer {
    /// Its number, which the answer names.
    pub id: OfferId,
    /// The description; the same bytes each time while the candidates are the same.
    pub sdp: String,
    /// The transport that it is for.
    pub transport: TransportId,
}

/// What became of an answer that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// What was offered is in force.
    Settled(TransportId),
    /// The offer was answered before; nothing has changed.
    Repeated,
}

/// Why an answer is not taken; nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerRefused {
    /// No such session, or one without a signalling connection.
    #[error("there is no such session")]
    NoSuchSession,
    /// It answers an offer that is not in flight: none is, or another one.
    #[error("the answer is to offer {answered}; {outstanding} is in flight", answered = .answered.0,
        outstanding = .outstanding.map_or_else(|| "none".to_owned(), |id| id.0.to_string()))]
    OtherOffer {
        /// The offer that it answers.
        answered: OfferId,
        /// The offer in flight.
        outstanding: Option<OfferId>,
    },
    /// The description is not one that answers the offer.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl AnswerRefused {
    /// Returns a stable name in `snake_case`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchSession => "no_such_session",
            Self::OtherOffer { .. } => "other_offer",
            Self::Answer(error) => error.code(),
        }
    }
}

impl Control {
    /// Makes the next offer of a session's subscriber, and opens that connection with the first one. Returns its number;
    /// `None` when there is nothing to offer or an offer is in flight. What is still gathered goes along. The offer may leave
    /// when the data plane has acknowledged the plan.
    ///
    /// # Errors
    /// [`OpenError`] when the connection cannot be opened; it is due again with the next change.
    pub fn make_offer(&mut self, now: Instant, id: &SessionId) -> Result<Option<OfferId>, OpenError> {
        let Some(session) = self.sessions.get(id) else { return Ok(None) };
        let Some(last) = session.signalling.as_ref().map(|own| own.last_offer) else { return Ok(None) };
        let wanted = self.wanted_tracks(session);
        if session.subscriber.is_none() {
            if wanted.is_empty() {
                return Ok(None);
            }
            self.open_subscriber(id)?;
        }
        let next = OfferId(last.0 + 1);
        let random = self.random.next_half();
        let Some(connection) = self.sessions.get_mut(id).and_then(|session| session.subscriber.as_mut()) else {
            return Ok(None);
        };
        let transport = connection.transport;
        let room = self.space.rows_left(transport) / ROWS_OF_TRACK;
        if !connection.make_offer(next, &wanted, room, random) {
            return Ok(None);
        }
        let offered = connection.offering.as_ref().and_then(|own| own.outstanding.as_ref());
        let rows = offered.map_or(0, |own| rows_of(&own.offered)).max(rows_of(&connection.negotiated));
        // With no more tracks than there are rows left for.
        self.space.resize(transport, rows);
        if let Some(signalling) = self.sessions.get_mut(id).and_then(|session| session.signalling.as_mut()) {
            signalling.last_offer = next;
        }
        self.gathering.handle_offered(now, id);
        self.sync(id);
        Ok(Some(next))
    }

    /// Returns the offer in flight of a session's subscriber, to be sent or sent again.
    #[must_use]
    pub fn offer(
        &self,
        id: &SessionId,
        secret: &NodeSecret,
        fingerprint: &Fingerprint,
        candidates: &[SocketAddr],
    ) -> Option<ServerOffer> {
        let connection = self.sessions.get(id)?.subscriber.as_ref()?;
        let outstanding = connection.offering.as_ref()?.outstanding.as_ref()?;
        let sdp =
            super::connections::write(connection, &outstanding.offered, secret, fingerprint, candidates, write_offer)?;
        Some(ServerOffer { id: outstanding.id, sdp, transport: connection.transport })
    }

    /// Takes a client's answer to the offer in flight: what it accepted enters the plan. What changed meanwhile is offered
    /// next, when [`Effect::OfferDue`] says so.
    ///
    /// # Errors
    /// [`AnswerRefused`]; nothing has changed then, and the offer is still in flight.
    pub fn handle_answer(
        &mut self,
        now: Instant,
        id: &SessionId,
        offer: OfferId,
        answer: &Answer,
        effects: &mut Vec<Effect>,
    ) -> Result<Taken, AnswerRefused> {
        let session = self.sessions.get_mut(id).ok_or(AnswerRefused::NoSuchSession)?;
        let signalling = session.signalling.as_mut().ok_or(AnswerRefused::NoSuchSession)?;
        let connection = session.subscriber.as_mut();
        let in_flight = connection.as_ref().and_then(|own| own.offering.as_ref()?.outstanding.as_ref());
        let outstanding = in_flight.map(|own| own.id);
        let Some(connection) = connection.filter(|_| outstanding == Some(offer)) else {
            return if offer == signalling.answered_offer && offer != OfferId::default() {
                Ok(Taken::Repeated)
            } else {
                Err(AnswerRefused::OtherOffer { answered: offer, outstanding })
            };
        };
        let before = connection.plan_keys();
        let settled = connection.take_answer(answer)?;
        signalling.answered_offer = offer;
        let transport = connection.transport;
        let mut minted = Vec::new();
        for (index, track) in settled.started {
            let Some(egress) = self.addresses.mint_egress(transport.shard()) else { continue };
            minted.push((index, SectionObject::egress(egress), track));
        }
        for (index, object, _) in &minted {
            if let Some(place) = connection.sections.get_mut(*index) {
                *place = object.clone();
            }
        }
        let rows = rows_of(&connection.negotiated);
        self.remove_gone(transport, before);
        // It was made room for when it was offered.
        self.space.resize(transport, rows);
        self.sync_subscriptions(now, id, effects);
        for (_, _, track) in minted {
            self.tell_subscribed(id, track, effects);
        }
        for track in settled.refused {
            effects.push(Effect::TrackRefused { session: id.clone(), track });
        }
        self.sync(id);
        Ok(Taken::Settled(transport))
    }

    /// Lets the next offer of a session's subscriber restart ICE: the client's network has changed.
    ///
    /// # Errors
    /// [`ControlError::NoSuchSession`] without such a connection.
    pub fn restart_subscriber(
        &mut self,
        now: Instant,
        id: &SessionId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ControlError> {
        let connection = self.sessions.get_mut(id).and_then(|session| session.subscriber.as_mut());
        let offering = connection.and_then(|own| own.offering.as_mut()).ok_or(ControlError::NoSuchSession)?;
        offering.wants_restart = true;
        self.sync_subscriptions(now, id, effects);
        self.sync(id);
        Ok(())
    }

    /// Tells whether a session's subscriber has something to offer, gathered or not, and no offer in flight.
    #[must_use]
    pub fn is_offer_due(&self, id: &SessionId) -> bool {
        let Some(session) = self.sessions.get(id).filter(|session| session.signalling.is_some()) else { return false };
        let wanted = self.wanted_tracks(session);
        session
            .subscriber
            .as_ref()
            .map_or(!wanted.is_empty(), |connection| connection.waiting(&wanted) != Waiting::Nothing)
    }

    /// Returns what all rooms of a session have it subscribed to. A track that it gets from several of them arrives once, as
    /// the one of them wants it that wants most.
    pub(super) fn wanted_tracks(&self, session: &Session) -> WantedTracks {
        let mut wanted = WantedTracks::new();
        for member in &session.memberships {
            let Some(room) = self.rooms.get(&member.room) else { continue };
            let subscriptions = room.participant(&member.participant).map_or(&[][..], |own| &own.subscriptions);
            if subscriptions.is_empty() {
                continue;
            }
            let published: BTreeMap<TrackId, _> = room.all_published().map(|own| (own.1.id, own)).collect();
            for subscription in subscriptions {
                let Some((publisher, track)) = published.get(&subscription.track) else { continue };
                let temporal = subscription.temporal_layers.max_layer();
                let max_layer = Layer { temporal, ..subscription.detail.max_layer(track) };
                let known = wanted.entry(track.id).or_insert_with(|| WantedTrack {
                    kind: track.kind,
                    codecs: track.codecs.clone(),
                    stream: stream_of(publisher.id.0.as_str(), track.source),
                    is_paused: subscription.is_paused,
                    max_layer,
                });
                known.is_paused &= subscription.is_paused;
                known.max_layer = Layer {
                    spatial: known.max_layer.spatial.max(max_layer.spatial),
                    temporal: known.max_layer.temporal.max(max_layer.temporal),
                };
            }
        }
        wanted
    }

    /// Brings a session's subscriber in line with what its rooms have it subscribed to.
    pub(super) fn sync_subscriptions(&mut self, now: Instant, id: &SessionId, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get(id).filter(|session| session.signalling.is_some()) else { return };
        let wanted = self.wanted_tracks(session);
        let Some(connection) = self.sessions.get_mut(id).and_then(|session| session.subscriber.as_mut()) else {
            let waiting = if wanted.is_empty() { Waiting::Nothing } else { Waiting::Urgent };
            self.gather(now, id, waiting, effects);
            return;
        };
        let (transport, before) = (connection.transport, connection.plan_keys());
        let mut retired = false;
        for (index, track) in connection.retire(&wanted) {
            retired = true;
            if let Some(object) = connection.sections.get_mut(index)
                && std::mem::replace(object, SectionObject::Nothing) != SectionObject::Nothing
            {
                effects.push(Effect::TrackUnsubscribed { session: id.clone(), track });
            }
        }
        feed(connection, &wanted);
        let (objects, waiting) = (connection.objects(), connection.waiting(&wanted));
        if retired {
            self.remove_gone(transport, before);
            self.sync(id);
        }
        for object in objects {
            self.put(object);
        }
        self.gather(now, id, waiting, effects);
    }

    /// Gathers what waits to be offered, or says that an offer is due.
    fn gather(&mut self, now: Instant, id: &SessionId, waiting: Waiting, effects: &mut Vec<Effect>) {
        if self.gathering.handle_waiting(now, id, waiting) {
            tell_due(id, effects);
        }
    }

    /// Says which offers are due by now.
    pub(super) fn tell_gathered(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for id in self.gathering.take_due(now) {
            tell_due(&id, effects);
        }
    }

    /// Tells a session that the data plane finds no payload type for what it should be sent; `false` where the stream is not
    /// one of such a session.
    pub(super) fn tell_undecodable(&self, egress: EgressId, effects: &mut Vec<Effect>) -> bool {
        let Some(connection) = self.connection_of_key(&Key::Egress(egress)) else { return false };
        let Some(offering) = &connection.offering else { return false };
        let is_meant = |object: &SectionObject| matches!(object, SectionObject::Egress { id, .. } if *id == egress);
        let mut places = connection.sections.iter().zip(&offering.places).filter(|(object, _)| is_meant(object));
        let track = places.next().and_then(|(_, place)| *place);
        if let (Some(session), Some(track)) = (self.session_of(connection.transport), track) {
            self.tell_subscribed(&session.id, track, effects);
        }
        true
    }

    /// Tells a session at which m-line a track arrives, and whether it decodes it.
    fn tell_subscribed(&self, id: &SessionId, track: TrackId, effects: &mut Vec<Effect>) {
        let Some((mid, undecodable)) = self.sessions.get(id).and_then(|session| self.arrival(session, track)) else {
            return;
        };
        effects.push(Effect::TrackSubscribed { session: id.clone(), track, mid, undecodable });
    }

    /// Returns the m-line at which a track arrives, and the codecs that its publisher may send where the client decodes none
    /// of them.
    fn arrival(&self, session: &Session, track: TrackId) -> Option<(Mid, Option<Vec<&'static str>>)> {
        let connection = session.subscriber.as_ref()?;
        let mid = connection.mid_of(track)?;
        let rooms = session.memberships.iter().filter_map(|member| self.rooms.get(&member.room));
        let published = rooms.filter_map(|room| room.published(track)).next();
        let section = connection.negotiated.sections.iter().find(|section| section.mid == mid);
        let codecs = section.map_or(&[][..], |section| &section.codecs);
        let undecodable =
            published.filter(|(_, own)| payload_map(&own.codecs, codecs).is_empty()).map(|(_, own)| codec_names(own));
        Some((mid, undecodable))
    }

    /// Returns the tracks that arrive at a session, as [`Effect::TrackSubscribed`] told them.
    #[must_use]
    pub fn arrivals(&self, session: &Session) -> Vec<(TrackId, Mid, Option<Vec<&'static str>>)> {
        let places = session.subscriber.iter().filter_map(|own| Some((own, own.offering.as_ref()?)));
        let rows = places.flat_map(|(own, offering)| own.sections.iter().zip(&offering.places));
        let sent = rows.filter(|(object, _)| matches!(object, SectionObject::Egress { .. }));
        sent.filter_map(|(_, place)| {
            let track = (*place)?;
            let (mid, undecodable) = self.arrival(session, track)?;
            Some((track, mid, undecodable))
        })
        .collect()
    }

    /// Opens the subscriber's connection, on which nothing is negotiated yet.
    fn open_subscriber(&mut self, id: &SessionId) -> Result<(), OpenError> {
        let Some(session) = self.sessions.get(id) else { return Ok(()) };
        let (Some(signalling), Some(member)) = (&session.signalling, session.memberships.first()) else {
            return Ok(());
        };
        let (room, identity) = (member.room.clone(), signalling.identity.clone());
        let certificate = signalling.certificate.clone();
        let shard = shard_of(&room, self.shards);
        let ssrcs = SsrcMinter::new(self.random.next_half());
        let cname = format!("{:016x}", self.random.next());
        let negotiated = PeerConnection::nothing_negotiated(self.random.next(), cname);
        let rows = rows_of(&negotiated);
        self.space.check(shard, &room, &identity, rows)?;
        let connection =
            self.new_connection(shard, negotiated, ssrcs, Bitrate(0), certificate).ok_or(OpenError::Full)?;
        let connection = PeerConnection { offering: Some(Offering::default()), remb_cap: None, ..connection };
        let transport = connection.transport;
        self.space.take(transport, &room, &identity, rows);
        self.transports.insert(transport, id.clone());
        if let Some(session) = self.sessions.get_mut(id) {
            session.subscriber = Some(connection);
        }
        Ok(())
    }

    /// Removes from the plan what a connection had and has no more.
    fn remove_gone(&mut self, transport: TransportId, before: Vec<Key>) {
        let after = self.connection(transport).map_or_else(Vec::new, PeerConnection::plan_keys);
        for key in before.into_iter().filter(|key| !after.contains(key)) {
            self.remove(&key);
        }
    }
}

/// Sets what feeds each stream, and how much of it may leave.
fn feed(connection: &mut PeerConnection, wanted: &WantedTracks) {
    let Some(offering) = &connection.offering else { return };
    let rows = connection.sections.iter_mut().zip(&connection.negotiated.sections).zip(&offering.places);
    for ((object, section), place) in rows {
        let SectionObject::Egress { source, is_paused, max_layer, .. } = object else { continue };
        let Some((track, wish)) = place.and_then(|track| Some((track, wanted.get(&track)?))) else {
            (*source, *max_layer) = (None, Layer::MAX);
            continue;
        };
        let payloads = payload_map(&wish.codecs, &section.codecs);
        *source = (!payloads.is_empty()).then_some(Source { track, payloads });
        (*is_paused, *max_layer) = (wish.is_paused, wish.max_layer);
    }
}

fn tell_due(id: &SessionId, effects: &mut Vec<Effect>) {
    let due = Effect::OfferDue(id.clone());
    if !effects.contains(&due) {
        effects.push(due);
    }
}

/// Returns the media stream that a track is part of: browsers play what shares one in sync, and a screen has a clock of its
/// own.
fn stream_of(participant: &str, source: crate::access::Source) -> String {
    match source {
        crate::access::Source::Camera | crate::access::Source::Microphone => participant.to_owned(),
        crate::access::Source::ScreenShare | crate::access::Source::ScreenShareAudio => format!("{participant}-screen"),
    }
}
