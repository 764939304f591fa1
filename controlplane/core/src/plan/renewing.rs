//! A publisher's connection that takes the place of one that is there: the client has given that one up, and its offer is of
//! a new peer connection. The old transport ends at once, and the tracks go on over the new one under their names, so that
//! nobody sees them leave.

use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::media::Bitrate;
use sluice_protocol::plan::Key;
use sluice_protocol::time::Instant;

use super::publishing::{Beginning, Step, check_mids};
use super::space::rows_of;
use super::{Control, Effect, OpenError, PublishError, PublishTrack};
use crate::access::Source;
use crate::room::{Actor, Input, ParticipantId, RoomId, default_source};
use crate::sdp::{Negotiated, NegotiatedSection, Role};
use crate::session::{Membership, PeerConnection, SectionObject, Session, SessionId, SsrcMinter, kind_of};

/// What a new connection is made of.
pub(super) struct Opening {
    pub(super) negotiated: Negotiated,
    pub(super) ssrcs: SsrcMinter,
    pub(super) certificate: Vec<u8>,
}

impl Control {
    /// Decides what becomes of each m-line of a new connection, then which tracks of the one before end. A track goes on at
    /// the first m-line of its source; m-lines and their names begin anew with a connection.
    pub(super) fn steps_of_renewal(
        &self,
        session: &Session,
        before: &PeerConnection,
        negotiated: &Negotiated,
        tracks: &[PublishTrack],
    ) -> Result<Vec<Step>, PublishError> {
        check_mids(negotiated, tracks)?;
        let rows = before.negotiated.sections.iter().zip(&before.sections);
        let own = rows.filter_map(|(section, object)| match object {
            SectionObject::Track { id, .. } => {
                let source = self.source_of(session, *id).unwrap_or_else(|| default_source(kind_of(section)));
                Some((*id, source))
            }
            SectionObject::Egress { .. } | SectionObject::Nothing => None,
        });
        let mut left: Vec<(TrackId, Source)> = own.collect();
        let mut steps = Vec::with_capacity(negotiated.sections.len() + left.len());
        for section in &negotiated.sections {
            if !section.is_served() {
                steps.push(Step::Nothing);
                continue;
            }
            let said = tracks.iter().find(|track| track.mid == section.mid);
            let source = said.map_or_else(|| default_source(kind_of(section)), |said| said.source);
            let same = left.iter().position(|(_, own)| *own == source && source.kind() == kind_of(section));
            let begins = || self.beginning(session, section, said);
            steps.push(match same {
                Some(place) => Step::Renew(left.remove(place).0, said.map(|_| begins()).transpose()?),
                None => Step::Publish(begins()?),
            });
        }
        steps.extend(left.into_iter().map(|(track, _)| Step::Withdraw(track)));
        Ok(steps)
    }

    /// Returns what a track of a session shows or sounds, as the rooms know that it is published in.
    fn source_of(&self, session: &Session, track: TrackId) -> Option<Source> {
        let known = session.memberships.iter().filter_map(|member| {
            let tracks = &self.rooms.get(&member.room)?.participant(&member.participant)?.tracks;
            tracks.iter().find(|own| own.id == track).map(|own| own.source)
        });
        known.into_iter().next()
    }

    /// Opens a connection in place of the one there is, which is closed.
    pub(super) fn renew_publisher(
        &mut self,
        now: Instant,
        id: &SessionId,
        before: TransportId,
        opening: Opening,
        steps: &[Step],
        effects: &mut Vec<Effect>,
    ) -> Result<TransportId, PublishError> {
        let Opening { negotiated, ssrcs, certificate } = opening;
        let session = self.sessions.get(id).ok_or(PublishError::NoSuchSession)?;
        let identity = session.signalling.as_ref().ok_or(PublishError::NoSuchSession)?.identity.clone();
        let room = session.memberships.first().ok_or(PublishError::NotInRoom)?.room.clone();
        let bitrate = Bitrate(self.rooms.get(&room).map_or(0, |room| room.settings().limits.bitrate));
        let rows = rows_of(&negotiated);
        self.space.check_instead(before, &room, &identity, rows).map_err(OpenError::from)?;
        // Tracks live on the shard of their transport, and some of them stay.
        let connection = self.new_connection(before.shard(), negotiated, ssrcs, bitrate, certificate);
        let mut connection = connection.ok_or(OpenError::Full)?;
        for (object, step) in connection.sections.iter_mut().zip(steps) {
            if let (SectionObject::Track { id: minted, .. }, Step::Renew(track, _)) = (&mut *object, step) {
                self.addresses.release(&Key::Track(*minted));
                *minted = *track;
            }
        }
        let is_ending = |own: &TrackId| steps.iter().any(|step| matches!(step, Step::Withdraw(track) if track == own));
        let ending = self.publications(id, before).into_iter().filter(|(_, _, track)| is_ending(track));
        self.unpublish(now, ending.collect::<Vec<_>>(), effects);
        let kept: Vec<Key> = connection.plan_keys();
        self.drop_connection(id, Role::Publish, &kept, effects);
        let transport = connection.transport;
        self.space.take(transport, &room, &identity, rows);
        self.transports.insert(transport, id.clone());
        if let Some(session) = self.sessions.get_mut(id) {
            session.publisher = Some(connection);
        }
        Ok(transport)
    }

    /// Lets rooms have a track that goes on over a new connection as the client says.
    pub(super) fn go_on(
        &mut self,
        now: Instant,
        id: &SessionId,
        track: TrackId,
        said: Option<Beginning>,
        section: &NegotiatedSection,
        effects: &mut Vec<Effect>,
    ) {
        let members = self.sessions.get(id).map_or_else(Vec::new, |session| session.memberships.clone());
        let (mut beginning, mut ending) = (Vec::new(), Vec::new());
        for Membership { room, participant } in members {
            let is_here = self.is_published(&room, &participant, track);
            let wanted = said.as_ref().map(|said| said.members.iter().any(|member| member.room == room));
            match (is_here, wanted, &said) {
                (true, Some(false), _) => ending.push((room, vec![Input::Unpublish { participant, track }])),
                (true, _, said) => beginning.push((room, still(participant, track, section, said.as_ref()))),
                (false, Some(true), Some(said)) => {
                    let track = Box::new(said.track(track, section));
                    beginning.push((room, vec![Input::Publish { participant, track }]));
                }
                (false, _, _) => {}
            }
        }
        // One that were published nowhere for a moment would end.
        for (room, inputs) in beginning.into_iter().chain(ending) {
            // It was checked who may publish what; whoever publishes may end and mute it.
            drop(self.handle_all(now, &room, inputs, effects));
        }
        self.silence(track);
    }

    fn is_published(&self, room: &RoomId, participant: &ParticipantId, track: TrackId) -> bool {
        let participant = self.rooms.get(room).and_then(|room| room.participant(participant));
        participant.is_some_and(|own| own.tracks.iter().any(|own| own.id == track))
    }
}

/// Returns what a room is told of a track that goes on in it.
fn still(
    participant: ParticipantId,
    track: TrackId,
    section: &NegotiatedSection,
    said: Option<&Beginning>,
) -> Vec<Input> {
    let mute = said.map(|said| Input::Mute {
        actor: Actor::Participant(participant.clone()),
        participant: participant.clone(),
        track: Some(track),
        muted: said.muted,
    });
    let (codecs, layers) = (section.codecs.clone(), section.layers());
    mute.into_iter().chain([Input::Renegotiated { participant, track, codecs, layers }]).collect()
}
