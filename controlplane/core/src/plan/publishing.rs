//! What a session with a signalling connection publishes: by the first offer of its publisher's connection, and by later
//! ones.

use std::collections::BTreeMap;

use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::media::{Bitrate, Mid};
use sluice_protocol::time::Instant;

use super::mint::shard_of;
use super::renewing::Opening;
use super::sessions::check_size;
use super::space::rows_of;
use super::{Control, ControlError, Effect, OpenError};
use crate::access::Source;
use crate::room::{Input, ParticipantId, PublishedTrack, RoomError, RoomId, default_source};
use crate::sdp::{
    Negotiated, NegotiatedSection, Offer, Parameters, Role, is_of_another_connection, negotiate, renegotiate,
};
use crate::session::{Membership, OfferId, SectionObject, Session, SessionId, SsrcMinter, kind_of};

/// What a client says of a track that it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishTrack {
    /// The m-line.
    pub mid: Mid,
    /// What it shows or sounds.
    pub source: Source,
    /// The rooms to publish it to; empty for all of the session's that let it.
    pub rooms: Vec<RoomId>,
    /// Whether it starts muted.
    pub muted: bool,
    /// The width of its best picture in pixels, where the client says so.
    pub width: Option<u16>,
    /// The height of its best picture in pixels, where the client says so.
    pub height: Option<u16>,
}

/// An offer of the publisher's connection.
#[derive(Clone, Copy, Debug)]
pub struct ClientOffer<'a> {
    /// The number that the client gave it; each is greater than those before it.
    pub id: OfferId,
    /// The offer.
    pub offer: &'a Offer,
    /// What the client says of its tracks. One of which nothing is said is taken for a microphone or a camera.
    pub tracks: &'a [PublishTrack],
}

/// What became of an offer that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The connection was opened; [`Control::answer`] describes it.
    Opened(TransportId),
    /// The connection was changed; [`Control::answer`] describes it.
    Changed(TransportId),
    /// The offer was taken before, and its answer is the same again.
    Repeated(TransportId),
}

/// Why an offer of the publisher's connection is refused; nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No such session, or one without a signalling connection.
    #[error("there is no such session")]
    NoSuchSession,
    /// The session is in no room, or not in one that a track is to be published to.
    #[error("the session is not in the room")]
    NotInRoom,
    /// A later offer was taken already.
    #[error("the offer is older than offer {}, which was taken", .last.0)]
    StaleOffer {
        /// The last one that was taken.
        last: OfferId,
    },
    /// Something was said of an m-line that sends nothing here.
    #[error("nothing is sent at m-line {0:?}")]
    UnknownMid(String),
    /// A camera that is audio, or the like.
    #[error("m-line {0:?} is of another kind than its source")]
    WrongSource(String),
    /// What openings are refused for too.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl PublishError {
    /// Returns a stable name in `snake_case`; `None` for a reason that openings have too.
    #[must_use]
    pub const fn code(&self) -> Option<&'static str> {
        match self {
            Self::NoSuchSession => Some("no_such_session"),
            Self::NotInRoom => Some("not_in_room"),
            Self::StaleOffer { .. } => Some("stale_offer"),
            Self::UnknownMid(_) => Some("unknown_mid"),
            Self::WrongSource(_) => Some("wrong_source"),
            Self::Open(_) => None,
        }
    }
}

impl From<RoomError> for PublishError {
    fn from(error: RoomError) -> Self {
        Self::Open(OpenError::Room(error))
    }
}

/// What becomes of one m-line.
pub(super) enum Step {
    /// Nothing lives there.
    Nothing,
    /// The track goes on.
    Keep(TrackId),
    /// The track ends.
    Withdraw(TrackId),
    /// A track begins, in these rooms.
    Publish(Beginning),
    /// A track of the connection before goes on over this one; as far as the client says something of it, so.
    Renew(TrackId, Option<Beginning>),
}

/// A track that begins.
pub(super) struct Beginning {
    pub(super) source: Source,
    pub(super) members: Vec<Membership>,
    pub(super) muted: bool,
    width: Option<u16>,
    height: Option<u16>,
}

impl Control {
    /// Takes an offer of the publisher's connection: the first one opens it, later ones add tracks and end them. One of
    /// another peer connection of the client opens a new transport in place of the one there is. The answer may leave when
    /// the data plane has acknowledged the plan.
    ///
    /// # Errors
    /// [`PublishError`]; nothing has changed then.
    pub fn publish(
        &mut self,
        now: Instant,
        id: &SessionId,
        offer: ClientOffer<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<Published, PublishError> {
        let session = self.sessions.get(id).ok_or(PublishError::NoSuchSession)?;
        let signalling = session.signalling.as_ref().ok_or(PublishError::NoSuchSession)?;
        let last = signalling.client_offer;
        if offer.id <= last {
            return match &session.publisher {
                Some(connection) if offer.id == last => Ok(Published::Repeated(connection.transport)),
                _ => Err(PublishError::StaleOffer { last }),
            };
        }
        let (simulcast, certificate) = (signalling.simulcast, signalling.certificate.clone());
        let mut random = self.random;
        let mut ssrcs = SsrcMinter::new(random.next_half());
        let before = session.publisher.as_ref().filter(|own| !is_of_another_connection(&own.negotiated, offer.offer));
        let is_open = before.is_some();
        let negotiated = match before {
            Some(connection) => renegotiate(&connection.negotiated, offer.offer, simulcast),
            None => {
                let cname = format!("{:016x}", random.next());
                let session_id = random.next();
                let parameters = Parameters { role: Role::Publish, simulcast, session_id, cname: &cname };
                negotiate(offer.offer, &parameters, &mut || ssrcs.mint())
            }
        };
        let negotiated = negotiated.map_err(OpenError::from)?;
        let steps = match &session.publisher {
            Some(connection) if !is_open => self.steps_of_renewal(session, connection, &negotiated, offer.tracks)?,
            _ => self.steps(session, &negotiated, offer.tracks)?,
        };
        self.check_limits(session, &steps)?;
        check_size(&negotiated, &certificate).map_err(OpenError::from)?;
        let before = session.publisher.as_ref().map(|own| own.transport);
        self.random = random;
        let transport = match before {
            Some(_) if is_open => self.change_publisher(now, id, negotiated, &steps, effects)?,
            Some(before) => {
                let opening = Opening { negotiated, ssrcs, certificate };
                self.renew_publisher(now, id, before, opening, &steps, effects)?
            }
            None => self.open_publisher(id, negotiated, ssrcs, certificate)?,
        };
        if let Some(signalling) = self.sessions.get_mut(id).and_then(|session| session.signalling.as_mut()) {
            signalling.client_offer = offer.id;
        }
        self.begin(now, id, steps, effects);
        self.sync(id);
        Ok(if is_open { Published::Changed(transport) } else { Published::Opened(transport) })
    }

    /// Publishes a track that a session publishes elsewhere in a further room of the session.
    ///
    /// # Errors
    /// [`ControlError::NoSuchSession`], [`ControlError::NoSuchRoom`] when the session is not in the room, or the room's refusal.
    pub fn publish_in(
        &mut self,
        now: Instant,
        id: &SessionId,
        room: &RoomId,
        track: TrackId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ControlError> {
        let session = self.sessions.get(id).ok_or(ControlError::NoSuchSession)?;
        let member = session.memberships.iter().find(|member| member.room == *room).ok_or(ControlError::NoSuchRoom)?;
        let participant = member.participant.clone();
        let tracks =
            |member: &Membership| Some(&self.rooms.get(&member.room)?.participant(&member.participant)?.tracks);
        if tracks(member).is_some_and(|own| own.iter().any(|own| own.id == track)) {
            return Ok(());
        }
        let mut known = session.memberships.iter().filter_map(tracks).flatten();
        let track = known.find(|own| own.id == track).ok_or(RoomError::NoSuchTrack)?.clone();
        self.handle(now, room, Input::Publish { participant, track: Box::new(track) }, effects)
    }

    /// Returns where the tracks of a transport are published.
    pub(super) fn publications(&self, id: &SessionId, transport: TransportId) -> Vec<(RoomId, ParticipantId, TrackId)> {
        let Some(session) = self.sessions.get(id) else { return Vec::new() };
        let sections = session.connection(transport).map_or(&[][..], |connection| &connection.sections);
        let is_own = |track: &PublishedTrack| {
            sections.iter().any(|object| matches!(object, SectionObject::Track { id, .. } if *id == track.id))
        };
        let mut found = Vec::new();
        for Membership { room, participant } in &session.memberships {
            let own = self.rooms.get(room).and_then(|room| room.participant(participant));
            let tracks = own.into_iter().flat_map(|own| &own.tracks).filter(|track| is_own(track));
            found.extend(tracks.map(|track| (room.clone(), participant.clone(), track.id)));
        }
        found
    }

    /// Decides what becomes of each m-line.
    fn steps(
        &self,
        session: &Session,
        negotiated: &Negotiated,
        tracks: &[PublishTrack],
    ) -> Result<Vec<Step>, PublishError> {
        check_mids(negotiated, tracks)?;
        let mut steps = Vec::with_capacity(negotiated.sections.len());
        for (index, section) in negotiated.sections.iter().enumerate() {
            let said = tracks.iter().find(|track| track.mid == section.mid);
            let before = session.publisher.as_ref().and_then(|connection| {
                let own = connection.negotiated.sections.get(index)?;
                Some((own.mid, own.is_served(), connection.sections.get(index)?))
            });
            steps.push(match (section.is_served(), before) {
                (true, Some((mid, _, SectionObject::Track { id, .. }))) if mid == section.mid => Step::Keep(*id),
                (false, Some((_, _, SectionObject::Track { id, .. }))) => Step::Withdraw(*id),
                // It was withdrawn while the client went on sending: it stays so until the client says something new.
                (true, Some((mid, true, _))) if mid == section.mid && said.is_none() => Step::Nothing,
                (true, _) => Step::Publish(self.beginning(session, section, said)?),
                (false, _) => Step::Nothing,
            });
        }
        Ok(steps)
    }

    pub(super) fn beginning(
        &self,
        session: &Session,
        section: &NegotiatedSection,
        said: Option<&PublishTrack>,
    ) -> Result<Beginning, PublishError> {
        let kind = kind_of(section);
        let source = said.map_or_else(|| default_source(kind), |said| said.source);
        if source.kind() != kind {
            return Err(PublishError::WrongSource(section.mid.0.as_str().to_owned()));
        }
        let lets = |member: &&Membership| {
            let participant = self.rooms.get(&member.room).and_then(|room| room.participant(&member.participant));
            participant.is_some_and(|own| own.permissions().allows_source(source))
        };
        let named = said.map_or(&[][..], |said| &said.rooms);
        let mut members: Vec<Membership> = Vec::new();
        for room in named {
            let member =
                session.memberships.iter().find(|member| member.room == *room).ok_or(PublishError::NotInRoom)?;
            if !lets(&member) {
                return Err(RoomError::MayNotPublish.into());
            }
            if !members.contains(member) {
                members.push(member.clone());
            }
        }
        if named.is_empty() {
            members.extend(session.memberships.iter().filter(lets).cloned());
        }
        if session.memberships.is_empty() {
            return Err(PublishError::NotInRoom);
        }
        if members.is_empty() {
            return Err(RoomError::MayNotPublish.into());
        }
        let (width, height) = said.map_or((None, None), |said| (said.width, said.height));
        let muted = said.is_some_and(|said| said.muted);
        Ok(Beginning { source, members, muted, width, height })
    }

    /// Refuses more tracks than a room lets one participant have.
    fn check_limits(&self, session: &Session, steps: &[Step]) -> Result<(), PublishError> {
        let is_ending = |id: TrackId| steps.iter().any(|step| matches!(step, Step::Withdraw(own) if *own == id));
        for member in &session.memberships {
            let Some(room) = self.rooms.get(&member.room) else { continue };
            let tracks = room.participant(&member.participant).map_or(&[][..], |own| &own.tracks);
            let going_on = tracks.iter().filter(|track| !is_ending(track.id)).count();
            let is_here = |step: &&Step| matches!(step, Step::Publish(begins) if begins.members.contains(member));
            let count = going_on + steps.iter().filter(is_here).count();
            if count > usize::try_from(room.settings().limits.tracks_per_participant).unwrap_or(usize::MAX) {
                return Err(RoomError::TooManyTracks.into());
            }
        }
        Ok(())
    }

    /// Opens the publisher's connection, whose tracks are not published yet.
    fn open_publisher(
        &mut self,
        id: &SessionId,
        negotiated: Negotiated,
        ssrcs: SsrcMinter,
        certificate: Vec<u8>,
    ) -> Result<TransportId, PublishError> {
        let session = self.sessions.get(id).ok_or(PublishError::NoSuchSession)?;
        let identity = session.signalling.as_ref().ok_or(PublishError::NoSuchSession)?.identity.clone();
        let room = session.memberships.first().ok_or(PublishError::NotInRoom)?.room.clone();
        let bitrate = self.rooms.get(&room).map_or(0, |room| room.settings().limits.bitrate);
        let (shard, rows) = (shard_of(&room, self.shards), rows_of(&negotiated));
        self.space.check(shard, &room, &identity, rows).map_err(OpenError::from)?;
        let connection = self.new_connection(shard, negotiated, ssrcs, Bitrate(bitrate), certificate);
        let connection = connection.ok_or(OpenError::Full)?;
        let transport = connection.transport;
        self.space.take(transport, &room, &identity, rows);
        self.transports.insert(transport, id.clone());
        if let Some(session) = self.sessions.get_mut(id) {
            session.publisher = Some(connection);
        }
        Ok(transport)
    }

    /// Changes the publisher's connection: tracks that end are withdrawn, those that begin get their addresses.
    fn change_publisher(
        &mut self,
        now: Instant,
        id: &SessionId,
        negotiated: Negotiated,
        steps: &[Step],
        effects: &mut Vec<Effect>,
    ) -> Result<TransportId, PublishError> {
        let connection = self.sessions.get(id).and_then(|session| session.publisher.as_ref());
        let transport = connection.ok_or(PublishError::NoSuchSession)?.transport;
        let rows = rows_of(&negotiated);
        self.space.check_resize(transport, rows).map_err(OpenError::from)?;
        let mut minted = Vec::new();
        for _ in steps.iter().filter(|step| matches!(step, Step::Publish(_))) {
            let Some(track) = self.addresses.mint_track(transport.shard()) else {
                for track in minted {
                    self.addresses.release(&sluice_protocol::plan::Key::Track(track));
                }
                return Err(OpenError::Full.into());
            };
            minted.push(track);
        }
        self.space.resize(transport, rows);
        let published = self.publications(id, transport);
        let is_ending = |own: TrackId| steps.iter().any(|step| matches!(step, Step::Withdraw(track) if *track == own));
        self.unpublish(now, published.into_iter().filter(|(_, _, track)| is_ending(*track)), effects);
        let random = self.random.next_half();
        let mut minted = minted.into_iter();
        let Some(connection) = self.connection_mut(transport) else { return Err(PublishError::NoSuchSession) };
        if connection.is_restart(&negotiated.remote_ice) {
            connection.restart_ice(negotiated.remote_ice.clone(), random);
        }
        connection.sections.resize(negotiated.sections.len(), SectionObject::Nothing);
        for (object, step) in connection.sections.iter_mut().zip(steps) {
            if let Step::Publish(_) = step {
                *object = minted.next().map_or(SectionObject::Nothing, |id| SectionObject::Track { id, muted: false });
            }
        }
        connection.negotiated = negotiated;
        Ok(transport)
    }

    /// Publishes the tracks that begin, and tells rooms of codecs that changed.
    fn begin(&mut self, now: Instant, id: &SessionId, steps: Vec<Step>, effects: &mut Vec<Effect>) {
        let Some(connection) = self.sessions.get(id).and_then(|session| session.publisher.as_ref()) else { return };
        let rows = connection.negotiated.sections.iter().zip(&connection.sections);
        let rows: Vec<(NegotiatedSection, SectionObject)> =
            rows.map(|(section, object)| (section.clone(), object.clone())).collect();
        // The plan has a track before a room feeds somebody from it.
        self.sync(id);
        let members = self.sessions.get(id).map_or_else(Vec::new, |session| session.memberships.clone());
        let mut beginning: BTreeMap<RoomId, Vec<Input>> = BTreeMap::new();
        let mut begun = Vec::new();
        for (step, (section, object)) in steps.into_iter().zip(rows) {
            let SectionObject::Track { id: track, .. } = object else { continue };
            match step {
                Step::Publish(begins) => {
                    let published = begins.track(track, &section);
                    for Membership { room, participant } in begins.members {
                        let track = Box::new(published.clone());
                        beginning.entry(room).or_default().push(Input::Publish { participant, track });
                    }
                    begun.push(track);
                }
                Step::Keep(track) => {
                    for Membership { room, participant } in members.clone() {
                        let (codecs, layers) = (section.codecs.clone(), section.layers());
                        // A room where it is not published has no such track.
                        let input = Input::Renegotiated { participant, track, codecs, layers };
                        drop(self.handle(now, &room, input, effects));
                    }
                }
                Step::Renew(track, said) => self.go_on(now, id, track, said, &section, effects),
                Step::Nothing | Step::Withdraw(_) => {}
            }
        }
        for (room, inputs) in beginning {
            self.handle_all(now, &room, inputs, effects).expect("they were checked before");
        }
        begun.into_iter().for_each(|track| self.silence(track));
    }

    /// Ends tracks where they are published.
    pub(super) fn unpublish(
        &mut self,
        now: Instant,
        published: impl IntoIterator<Item = (RoomId, ParticipantId, TrackId)>,
        effects: &mut Vec<Effect>,
    ) {
        let mut ending: BTreeMap<RoomId, Vec<Input>> = BTreeMap::new();
        for (room, participant, track) in published {
            ending.entry(room).or_default().push(Input::Unpublish { participant, track });
        }
        for (room, inputs) in ending {
            // They are published there, and whoever publishes may end it.
            drop(self.handle_all(now, &room, inputs, effects));
        }
    }
}

/// Refuses what is said of m-lines at which nothing is sent.
pub(super) fn check_mids(negotiated: &Negotiated, tracks: &[PublishTrack]) -> Result<(), PublishError> {
    let is_sent = |mid| negotiated.sections.iter().any(|section| section.mid == mid && section.is_served());
    match tracks.iter().find(|track| !is_sent(track.mid)) {
        Some(unknown) => Err(PublishError::UnknownMid(unknown.mid.0.as_str().to_owned())),
        None => Ok(()),
    }
}

impl Beginning {
    pub(super) fn track(&self, id: TrackId, section: &NegotiatedSection) -> PublishedTrack {
        PublishedTrack {
            id,
            kind: kind_of(section),
            source: self.source,
            codecs: section.codecs.clone(),
            layers: section.layers(),
            width: self.width,
            height: self.height,
            muted_by_publisher: self.muted,
            muted_by_host: false,
            order: 0,
        }
    }
}
