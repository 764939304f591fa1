//! What the task owns, and how effects of the pure core become deeds.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fmt::Display;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use sluice_controlplane_core::plan::{Control, Effect};
use sluice_controlplane_core::room::{Audience, Event as RoomEvent, LeaveReason, Notice, RoomId, track_text};
use sluice_controlplane_core::session::{Membership, SessionId};
use sluice_protocol::event::{Event as DataplaneEvent, Refusal};
use sluice_protocol::ice::NodeSecret;
use sluice_protocol::ids::TransportId;
use sluice_protocol::plan::Key;

use tokio::sync::mpsc;

use super::ConductorError;
use super::admit::remote_fingerprint;
use super::signalled::{Arrival, Attendance, News};
use crate::addresses::Announced;
use crate::clock;
use crate::dataplane::{Acknowledged, DataplaneHandle};
use crate::dtls::{Association, Certificate, Endpoint, Event as DtlsEvent, FirstFlights};
use crate::events::Events;
use crate::log::Allowance;
use crate::store::Store;

/// What somebody wants of the task; `None` while the state of a predecessor is not known.
pub(super) type Job = Box<dyn FnOnce(Option<&mut Desk>) + Send>;

/// Everything of a live conductor.
pub(super) struct Desk {
    pub(super) control: Control,
    pub(super) dataplane: DataplaneHandle,
    pub(super) associations: HashMap<TransportId, Association>,
    /// Of clients that began a handshake before their answer to our offer was taken.
    pub(super) first_flights: FirstFlights,
    pub(super) created_at: HashMap<RoomId, SystemTime>,
    pub(super) secret: NodeSecret,
    pub(super) media_port: u16,
    pub(super) certificate: Arc<Certificate>,
    pub(super) announced: Announced,
    pub(super) ice_servers: Vec<String>,
    pub(super) store: Store,
    pub(super) events: Arc<Events>,
    pub(super) endpoint: Endpoint,
    /// Sessions with a signalling connection.
    pub(super) attended: HashMap<SessionId, Attendance>,
    /// Sessions whose subscriber has something to offer.
    pub(super) offers_due: BTreeSet<SessionId>,
    /// Sessions that have left a room, and why: whoever is in none ends.
    pub(super) ending: Vec<(SessionId, LeaveReason)>,
    /// Sessions that ended with their token, the newest last.
    pub(super) expired: VecDeque<SessionId>,
    /// Who is being let into a room and was told how it is: what led there is no news to it.
    pub(super) entering: Option<(SessionId, RoomId)>,
    /// How many lines events of rooms may make.
    pub(super) event_lines: Allowance,
    /// The way back to the task, for what is to be done later.
    pub(super) jobs: mpsc::Sender<Job>,
}

impl Desk {
    /// Carries effects out and sends what changed of the plan.
    pub(super) fn settle(&mut self, effects: Vec<Effect>) {
        effects.into_iter().for_each(|effect| self.carry_out(effect));
        self.dataplane.send(self.control.take_changes());
        self.follow_up();
    }

    /// Carries out what the entry of a session into a room leads to, which its client is told beforehand with the room as it
    /// is now.
    pub(super) fn settle_entry(&mut self, session: &SessionId, room: &RoomId, effects: Vec<Effect>) {
        self.entering = Some((session.clone(), room.clone()));
        effects.into_iter().for_each(|effect| self.carry_out(effect));
        self.entering = None;
        self.settle(Vec::new());
    }

    /// Does what effects led to besides.
    fn follow_up(&mut self) {
        self.make_due_offers();
        for (session, reason) in std::mem::take(&mut self.ending) {
            self.end_if_nowhere(&session, reason);
        }
    }

    /// Does the same; what comes back resolves when the data plane has done it.
    pub(super) fn settle_and_wait(&mut self, effects: Vec<Effect>) -> Acknowledged {
        effects.into_iter().for_each(|effect| self.carry_out(effect));
        let acknowledged = self.dataplane.change(self.control.take_changes());
        self.follow_up();
        acknowledged
    }

    /// Refuses newcomers while the data plane is further behind than what is kept for it may grow.
    pub(super) fn check_backlog(&self) -> Result<(), ConductorError> {
        if self.dataplane.is_behind() {
            return Err(ConductorError::Unavailable("the data plane is too far behind"));
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Event { room, audience, event } => {
                // What only others are told has a line as what managers are told.
                if audience != Audience::Others
                    && let Some(left_out) = self.event_lines.take(std::time::Instant::now())
                {
                    if left_out > 0 {
                        tracing::warn!(left_out, "more happens in rooms than is logged");
                    }
                    log_event(&room, &event);
                }
                self.events.publish(SystemTime::now(), &room.0, audience, &event);
                self.tell_room(&room, audience, &event);
            }
            Effect::Notice { room, participant, notice } => match notice {
                Notice::Subscribed { track, .. } => {
                    tracing::info!(%room, %participant, track = track_text(track), "subscribed");
                }
                Notice::Unsubscribed { track, .. } => {
                    tracing::debug!(%room, %participant, track = track_text(track), "unsubscribed");
                }
                Notice::Undecodable { track, codecs, .. } => {
                    let codecs = codecs.join(", ");
                    tracing::warn!(%room, %participant, track = track_text(track), codecs, "cannot decode what is sent");
                }
            },
            Effect::SessionClosed { session, transport, membership, reason } => {
                self.end_association(transport);
                let (room, participant) = (membership.room, membership.participant);
                tracing::info!(%room, %participant, %session, reason = reason.as_str(), "session closed");
            }
            Effect::MembershipEnded { session, membership, reason } => {
                self.tell_membership_ended(&session, &membership, reason);
                let (room, participant) = (membership.room, membership.participant);
                tracing::info!(%room, %participant, %session, reason = reason.as_str(), "session left a room");
            }
            Effect::ConnectionClosed { session, transport, role } => {
                self.end_association(transport);
                tracing::debug!(%session, ?transport, ?role, "peer connection closed");
                self.tell(&session, News::ConnectionClosed { role, transport });
            }
            Effect::TrackSubscribed { session, track, mid, undecodable } => {
                match &undecodable {
                    Some(codecs) => {
                        let codecs = codecs.join(", ");
                        tracing::warn!(%session, track = track_text(track), codecs, "cannot decode what is sent");
                    }
                    None => tracing::debug!(%session, track = track_text(track), "subscribed"),
                }
                self.tell(&session, News::Subscribed(Arrival { track, mid, undecodable }));
            }
            Effect::TrackUnsubscribed { session, track } => {
                tracing::debug!(%session, track = track_text(track), "unsubscribed");
                self.tell(&session, News::Unsubscribed { track, refused: false });
            }
            Effect::TrackRefused { session, track } => {
                tracing::info!(%session, track = track_text(track), "the client refused a track");
                self.tell(&session, News::Unsubscribed { track, refused: true });
            }
            Effect::OfferDue(session) => drop(self.offers_due.insert(session)),
            Effect::RoomClosed(room) => self.forget_room(room),
        }
    }

    /// Forgets a room that has ended, in the database too. A database that does not answer has the room come back empty
    /// at the next start, which is logged.
    fn forget_room(&mut self, room: RoomId) {
        let _created_at = self.created_at.remove(&room);
        let store = self.store.clone();
        drop(tokio::spawn(async move {
            if let Err(error) = store.delete_room(&room.0).await {
                tracing::error!(%room, %error, "a closed room stays in the database");
            }
        }));
    }

    /// Takes an event of the data plane.
    pub(super) fn handle_dataplane(&mut self, event: &DataplaneEvent) {
        let mut effects = Vec::new();
        self.control.handle_event(clock::now(), event, &mut effects);
        self.settle(effects);
    }

    /// Takes the acknowledgement that nothing is under a key any more.
    pub(super) fn handle_removed(&mut self, key: &Key) {
        self.control.handle_absent(key);
    }

    /// Takes the data plane's refusal of an object: its session cannot go on.
    pub(super) fn handle_refused(&mut self, key: &Key, refusal: Refusal) {
        tracing::error!(?key, ?refusal, "the data plane refuses an object");
        if let Some(transport) = self.control.connection_of_key(key).map(|connection| connection.transport) {
            self.log_failure(transport, "refused by the data plane", &format_args!("{refusal:?}"));
            self.close_transport(transport, LeaveReason::Interrupted);
        }
    }

    /// Takes a DTLS datagram that the data plane handed over.
    pub(super) fn handle_punt(&mut self, transport: TransportId, datagram: Bytes) {
        if let Some(association) = self.associations.get(&transport) {
            return association.handle_datagram(datagram);
        }
        // What follows the end of a connection is its client's farewell.
        let Some(connection) = self.control.connection(transport) else { return };
        if remote_fingerprint(connection).is_some() || !self.first_flights.keep(transport, datagram) {
            self.endpoint.drop_many(1);
        }
    }

    fn end_association(&mut self, transport: TransportId) {
        let _unheard = self.first_flights.take(transport);
        if let Some(association) = self.associations.remove(&transport) {
            association.close();
        }
    }

    /// Takes what an association tells.
    pub(super) fn handle_dtls(&mut self, transport: TransportId, event: DtlsEvent) {
        match event {
            DtlsEvent::Connected(connected) => {
                let mut effects = Vec::new();
                let (keys, state) = (connected.keys, connected.state);
                match self.control.handle_handshake(clock::now(), transport, keys, state, &mut effects) {
                    Ok(()) => self.settle(effects),
                    // The session was closed while the handshake ended.
                    Err(error) => tracing::debug!(?transport, %error, "a handshake came too late"),
                }
            }
            DtlsEvent::ApplicationData(_) => {}
            DtlsEvent::Failed(error) => {
                // The peer is at fault, or the network: nothing that an operator acts on.
                self.log_failure(transport, "DTLS failed", &error);
                self.close_transport(transport, LeaveReason::TransportFailed);
            }
            DtlsEvent::Closed => self.close_transport(transport, LeaveReason::Left),
        }
    }

    /// One line for each participant whose transport failed. There are as many of them as people who were let in.
    pub(super) fn log_failure(&self, transport: TransportId, what: &str, reason: &dyn Display) {
        let Some(session) = self.control.session_of(transport) else { return };
        for Membership { room, participant } in &session.memberships {
            tracing::info!(%room, %participant, session = %session.id, %reason, "{what}");
        }
    }

    /// Ends what a transport belongs to.
    pub(super) fn close_transport(&mut self, transport: TransportId, reason: LeaveReason) {
        let mut effects = Vec::new();
        self.control.close_transport(clock::now(), transport, reason, &mut effects);
        self.settle(effects);
    }

    /// Lets deadlines that have passed take effect.
    pub(super) fn handle_timeout(&mut self) {
        let mut effects = Vec::new();
        self.control.handle_timeout(clock::now(), &mut effects);
        self.settle(effects);
    }
}

/// One line for what an operator wants to see of a room.
fn log_event(room: &RoomId, event: &RoomEvent) {
    match event {
        RoomEvent::ParticipantJoined { participant_id, identity, role, .. } => {
            tracing::info!(%room, participant = %participant_id, %identity, ?role, "joined");
        }
        RoomEvent::ParticipantUpdated { participant_id, state, .. } => {
            tracing::info!(%room, participant = %participant_id, state, "updated");
        }
        RoomEvent::ParticipantLeft { participant_id, identity, reason } => {
            tracing::info!(%room, participant = %participant_id, %identity, reason = reason.as_str(), "left");
        }
        RoomEvent::TrackPublished { participant_id, track_id, kind, .. } => {
            tracing::info!(%room, participant = %participant_id, track = track_id, kind, "published");
        }
        RoomEvent::TrackUnpublished { participant_id, track_id } => {
            tracing::info!(%room, participant = %participant_id, track = track_id, "unpublished");
        }
        RoomEvent::TrackMuted { participant_id, track_id, muted, by_host, .. } => {
            tracing::info!(%room, participant = %participant_id, track = track_id, muted, by_host, "muted");
        }
        RoomEvent::RoomUpdated { .. } => tracing::info!(%room, "room updated"),
        RoomEvent::RoomStage { stage } => tracing::info!(%room, stage, "room stage"),
        RoomEvent::RoomClosed => tracing::info!(%room, "room closed"),
    }
}
