//! Calls: sessions with a signalling connection, scenario by scenario, and against a model.

mod browsers;
mod client;
mod gathered;
mod model;
mod renewed;
mod scenarios;
mod terms;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sluice_protocol::ice::NodeSecret;
use sluice_protocol::ids::{EgressId, TrackId, TransportId};
use sluice_protocol::media::Ssrc;
use sluice_protocol::plan::{Key, Object};

use super::tests::{at, config, join, keys};
use super::*;
use crate::room::{Input, Join, Wish};
use crate::sdp::{Answer, Fingerprint, Offer, Role as Side, Simulcast};
use crate::session::OfferId;
use client::{Client, Reaction};

/// A node with two rooms, and what has been seen of it.
struct Call {
    control: Control,
    effects: Vec<Effect>,
    clients: BTreeMap<u32, Client>,
    /// Our newest offer to each client, as it was sent.
    offers: BTreeMap<u32, ServerOffer>,
    /// Which stream each SSRC ever belonged to.
    ssrcs: BTreeMap<(TransportId, Ssrc), EgressId>,
    now: Instant,
    /// Whether offers are made when effects say so, as a server does it, and not when a test asks for one.
    follows: bool,
}

fn user(number: u32) -> SessionId {
    SessionId(format!("SE_u{number}"))
}

fn participant(number: u32) -> ParticipantId {
    ParticipantId(format!("PA_u{number}"))
}

fn room_id(number: u8) -> RoomId {
    RoomId(format!("room{number}"))
}

impl Call {
    fn new() -> Self {
        let mut control = Control::new(config(1));
        for number in 0..2 {
            control.create_room(at(0), room_id(number), RoomSettings::default()).unwrap();
        }
        let (effects, clients) = (Vec::new(), BTreeMap::new());
        let (offers, ssrcs) = (BTreeMap::new(), BTreeMap::new());
        Self { control, effects, clients, offers, ssrcs, now: at(0), follows: false }
    }

    fn open(&mut self, number: u32, simulcast: Simulcast) -> Result<(), OpenError> {
        let identity = Identity(format!("u{number}"));
        let open = OpenSession { session: user(number), identity, certificate: vec![9; 500], simulcast };
        self.control.open_session(open)?;
        self.clients.insert(number, Client::new(number));
        Ok(())
    }

    fn join(&mut self, number: u32, room: u8, wish: Wish) -> Result<(), ControlError> {
        self.join_until(number, room, wish, None)
    }

    fn join_until(
        &mut self,
        number: u32,
        room: u8,
        wish: Wish,
        good_until: Option<Instant>,
    ) -> Result<(), ControlError> {
        let join = Join {
            is_publisher: false,
            good_until,
            wish,
            participant: participant(number),
            ..join(&format!("u{number}"), Side::Publish)
        };
        self.control.join_room(self.now, &user(number), &room_id(room), join, &mut self.effects)
    }

    /// Lets a client send the offer of what it has, with what it says of its tracks.
    fn publish(&mut self, number: u32, tracks: &[PublishTrack]) -> Result<Published, PublishError> {
        let client = self.clients.get_mut(&number).unwrap();
        let text = client.offer();
        let offer = Offer::parse(text.as_bytes()).unwrap();
        let offer = ClientOffer { id: OfferId(client.offers), offer: &offer, tracks };
        self.control.publish(self.now, &user(number), offer, &mut self.effects)
    }

    /// Makes an offer to a client, whatever is gathered, if there is something to offer; where effects are followed none is
    /// made. The newest one is sent each time.
    fn make_offer(&mut self, number: u32) -> Option<ServerOffer> {
        let made = if self.follows { None } else { self.control.make_offer(self.now, &user(number)).unwrap() };
        self.send_offer(number, made)
    }

    /// Makes the offers that are due.
    fn follow(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
            let Effect::OfferDue(session) = effect else { continue };
            let made = self.control.make_offer(self.now, &session).unwrap();
            let number = session.0.trim_start_matches("SE_u").parse().unwrap();
            self.send_offer(number, made);
        }
    }

    /// Lets time pass.
    fn pass(&mut self, milliseconds: u64) {
        self.now = self.now + Duration::from_millis(milliseconds);
        self.control.handle_timeout(self.now, &mut self.effects);
    }

    fn send_offer(&mut self, number: u32, made: Option<OfferId>) -> Option<ServerOffer> {
        let (secret, fingerprint) = (NodeSecret::new([3; 32]), Fingerprint::sha256(&[0xab; 32]));
        let candidates: [SocketAddr; 1] = ["192.0.2.1:7000".parse().unwrap()];
        let offer = self.control.offer(&user(number), &secret, &fingerprint, &candidates)?;
        if let Some(before) = self.offers.insert(number, offer.clone()) {
            match made {
                Some(id) => assert!(id == offer.id && id > before.id, "numbers of offers grow"),
                None => assert_eq!(before, offer, "an offer in flight is repeated as it was"),
            }
        }
        Some(offer)
    }

    fn answer(&mut self, number: u32, offer: &ServerOffer, reaction: Reaction) -> Result<Taken, AnswerRefused> {
        let text = client::answer(&offer.sdp, number, reaction);
        let answer = Answer::parse(text.as_bytes()).unwrap();
        self.control.handle_answer(self.now, &user(number), offer.id, &answer, &mut self.effects)
    }

    /// Lets a client answer everything that it is offered, until nothing is due.
    fn settle(&mut self, number: u32) {
        for _ in 0..20 {
            let Some(offer) = self.make_offer(number) else { return };
            self.answer(number, &offer, Reaction::TakesAll).unwrap();
        }
        panic!("offers to {number} do not end");
    }

    fn finish(&mut self, number: u32) {
        let session = self.control.session(&user(number)).unwrap();
        let transports: Vec<TransportId> =
            session.connections().filter(|own| own.keys.is_none()).map(|own| own.transport).collect();
        for transport in transports {
            self.control.handle_handshake(self.now, transport, keys(), vec![5; 450], &mut self.effects).unwrap();
        }
    }

    fn handle(&mut self, room: u8, input: Input) -> Result<(), ControlError> {
        self.control.handle(self.now, &room_id(room), input, &mut self.effects)
    }

    /// The tracks that somebody publishes, in the order of its m-lines.
    fn tracks_of(&self, number: u32) -> Vec<TrackId> {
        let publisher = self.control.session(&user(number)).and_then(|session| session.publisher.as_ref());
        let id = |object: &SectionObject| if let SectionObject::Track { id, .. } = object { Some(*id) } else { None };
        publisher.map_or_else(Vec::new, |own| own.sections.iter().filter_map(id).collect())
    }

    /// The streams of somebody in the plan, by the track that feeds each.
    fn fed(&self, number: u32) -> Vec<(TrackId, sluice_protocol::plan::Egress)> {
        let subscriber = self.control.session(&user(number)).and_then(|session| session.subscriber.as_ref());
        let Some(transport) = subscriber.map(|own| own.transport) else { return Vec::new() };
        let mut fed: Vec<_> = self
            .control
            .plan()
            .objects()
            .filter_map(|object| if let Object::Egress(egress) = object { Some(egress) } else { None })
            .filter(|egress| egress.transport == transport)
            .map(|egress| (egress.source.as_ref().unwrap().track, egress.clone()))
            .collect();
        fed.sort_by_key(|(track, _)| *track);
        fed
    }

    fn fed_tracks(&self, number: u32) -> Vec<TrackId> {
        self.fed(number).into_iter().map(|(track, _)| track).collect()
    }

    /// Checks that no SSRC ever stands for another stream than before.
    fn check_ssrcs(&mut self) {
        for object in self.control.plan().objects() {
            let Object::Egress(egress) = object else { continue };
            for ssrc in [Some(egress.ssrc), egress.rtx].into_iter().flatten() {
                let before = *self.ssrcs.entry((egress.transport, ssrc)).or_insert(egress.id);
                assert_eq!(before, egress.id, "an SSRC is used again");
            }
            assert!(self.control.plan().object(&Key::Transport(egress.transport)).is_some());
        }
    }
}
