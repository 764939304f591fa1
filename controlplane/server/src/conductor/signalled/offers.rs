//! Peer connections of sessions: offers made when something is due, sent when the data plane has acknowledged them, and DTLS
//! associations for those that are described on both sides.

use sluice_controlplane_core::plan::{Published, Taken};
use sluice_controlplane_core::room::LeaveReason;
use sluice_controlplane_core::sdp::{Answer, Offer};
use sluice_controlplane_core::session::{OfferId, SessionId};
use sluice_protocol::ids::TransportId;
use tokio::time::sleep;

use super::limits::{CONNECT_WITHIN, OFFER_PAUSE};
use super::told::{News, Reply};
use crate::clock;
use crate::conductor::ConductorError;
use crate::conductor::admit::{refusal, remote_fingerprint};
use crate::conductor::desk::{Desk, Job};
use crate::dataplane::Acknowledged;
use crate::dtls::{Association, Config};

impl Desk {
    /// Makes the offers that are due; each leaves when the data plane has acknowledged it.
    pub(in crate::conductor) fn make_due_offers(&mut self) {
        for session in std::mem::take(&mut self.offers_due) {
            if !self.attended.contains_key(&session) {
                continue;
            }
            let before = self.subscriber_of(&session);
            match self.control.make_offer(clock::now(), &session) {
                Ok(Some(number)) => {
                    let acknowledged = self.dataplane.change(self.control.take_changes());
                    let opened = self.subscriber_of(&session).filter(|now| before != Some(*now));
                    if let Some(transport) = opened {
                        self.expect_connection(transport);
                    }
                    self.tell_when_acknowledged(session, number, acknowledged);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%session, %error, "a session cannot be offered what it should receive; tried again");
                    self.offer_later(session);
                }
            }
        }
    }

    pub(super) fn subscriber_of(&self, session: &SessionId) -> Option<TransportId> {
        Some(self.control.session(session)?.subscriber.as_ref()?.transport)
    }

    fn tell_when_acknowledged(&self, session: SessionId, number: OfferId, acknowledged: Acknowledged) {
        let jobs = self.jobs.clone();
        drop(tokio::spawn(async move {
            // What the data plane refuses ends the connection elsewhere.
            if acknowledged.await.is_ok() {
                let tell: Job = Box::new(move |desk| {
                    if let Some(desk) = desk.filter(|desk| desk.outstanding(&session) == Some(number)) {
                        desk.tell_offer(&session);
                    }
                });
                drop(jobs.send(tell).await);
            }
        }));
    }

    fn outstanding(&self, session: &SessionId) -> Option<OfferId> {
        let connection = self.control.session(session)?.subscriber.as_ref()?;
        connection.offering.as_ref()?.outstanding.as_ref().map(|own| own.id)
    }

    fn offer_later(&self, session: SessionId) {
        let jobs = self.jobs.clone();
        drop(tokio::spawn(async move {
            sleep(OFFER_PAUSE).await;
            let again: Job = Box::new(move |desk| {
                if let Some(desk) = desk
                    && desk.control.is_offer_due(&session)
                {
                    desk.offers_due.insert(session);
                    desk.settle(Vec::new());
                }
            });
            drop(jobs.send(again).await);
        }));
    }

    /// Tells a client the offer in flight of its subscriber's connection, where there is one.
    pub(super) fn tell_offer(&self, session: &SessionId) {
        let Some(attended) = self.attended.get(session) else { return };
        let candidates = self.candidates(attended.origin.client, attended.origin.is_loopback);
        let Some(transport) = self.subscriber_of(session) else { return };
        let own = self.fingerprint_of(transport);
        if let Some(offer) = self.control.offer(session, &self.secret, &own, &candidates) {
            let (offer, transport, sdp) = (offer.id, offer.transport, offer.sdp);
            self.tell(session, News::Offer { offer, transport, sdp });
        }
    }

    /// Takes an offer of the publisher's connection. Its answer may leave when the data plane has acknowledged it.
    pub(super) fn take_offer(
        &mut self,
        session: &SessionId,
        number: OfferId,
        offer: &Offer,
    ) -> Result<(Acknowledged, Reply), ConductorError> {
        use sluice_controlplane_core::plan::ClientOffer;
        self.check_backlog()?;
        let attended = self.attended.get_mut(session).ok_or(ConductorError::NoSuchSession)?;
        // One that is refused says anew what it sends.
        let declared = std::mem::take(&mut attended.declared);
        let origin = attended.origin;
        let mut effects = Vec::new();
        let offer = ClientOffer { id: number, offer, tracks: &declared };
        let published = self.control.publish(clock::now(), session, offer, &mut effects)?;
        let acknowledged = self.settle_and_wait(effects);
        let (Published::Opened(transport) | Published::Changed(transport) | Published::Repeated(transport)) = published;
        if let Published::Opened(_) = published {
            self.accept_association(transport)?;
            self.expect_connection(transport);
        }
        let candidates = self.candidates(origin.client, origin.is_loopback);
        let own = self.fingerprint_of(transport);
        let gone = ConductorError::Unavailable("the session ended while its offer was taken");
        let sdp = self.control.answer(session, &self.secret, &own, &candidates).ok_or(gone)?;
        let tracks = self.control.session(session).map_or_else(Vec::new, |own| own.sent());
        Ok((acknowledged, Reply::Answered { offer: number, transport, sdp, tracks }))
    }

    /// Takes an answer to an offer of the subscriber's connection.
    pub(super) fn take_answer(
        &mut self,
        session: &SessionId,
        number: OfferId,
        answer: &Answer,
    ) -> Result<(), ConductorError> {
        let mut effects = Vec::new();
        let taken = self.control.handle_answer(clock::now(), session, number, answer, &mut effects)?;
        if let Taken::Settled(transport) = taken {
            // An answer that takes nothing describes no transport yet.
            let is_described = self.control.connection(transport).and_then(remote_fingerprint).is_some();
            if is_described && !self.associations.contains_key(&transport) {
                self.accept_association(transport)?;
            }
        }
        self.settle(effects);
        Ok(())
    }

    /// Waits for the DTLS handshake of a peer connection that is described on both sides.
    pub(in crate::conductor) fn accept_association(&mut self, transport: TransportId) -> Result<(), ConductorError> {
        let remote = self.control.connection(transport).and_then(remote_fingerprint);
        let ended = ConductorError::Unavailable("the session ended while it was opened");
        let config = Config { certificate: self.certificate_of(transport), remote_fingerprint: remote.ok_or(ended)? };
        let association = Association::accept(transport, config, &self.endpoint);
        self.first_flights.take(transport).into_iter().for_each(|datagram| association.handle_datagram(datagram));
        let before = self.associations.insert(transport, association);
        debug_assert!(before.is_none(), "a transport has one association");
        Ok(())
    }

    /// Ends a peer connection that does not connect in time: it holds places of those who would.
    fn expect_connection(&self, transport: TransportId) {
        let jobs = self.jobs.clone();
        drop(tokio::spawn(async move {
            sleep(CONNECT_WITHIN).await;
            let check: Job = Box::new(move |desk| {
                let Some(desk) = desk else { return };
                if desk.control.connection(transport).is_some_and(|connection| connection.keys.is_none()) {
                    desk.log_failure(transport, "a peer connection was not connected in time", &"no DTLS handshake");
                    desk.close_transport(transport, LeaveReason::TransportFailed);
                }
            });
            drop(jobs.send(check).await);
        }));
    }
}

impl From<sluice_controlplane_core::plan::PublishError> for ConductorError {
    fn from(error: sluice_controlplane_core::plan::PublishError) -> Self {
        use sluice_controlplane_core::plan::PublishError;
        match error {
            PublishError::NoSuchSession => Self::NoSuchSession,
            PublishError::NotInRoom => Self::NotInRoom,
            PublishError::Open(error) => refusal(error),
            error @ (PublishError::StaleOffer { .. } | PublishError::UnknownMid(_) | PublishError::WrongSource(_)) => {
                Self::Publish(error)
            }
        }
    }
}
