//! What the front of signalled sessions does in the control plane's process: it translates what clients ask, makes the offers that
//! are due, and repeats what was unanswered to whoever resumes.

use sluice_controlplane_core::access::{PermissionOverrides, Role as RoomRole, Source};
use sluice_controlplane_core::plan::{ClientOffer, Effect, OpenSession, PublishError, PublishTrack};
use sluice_controlplane_core::room::{
    Admission, Detail, Identity as Name, Input, Join, LeaveReason, ParticipantId, Quality, SubscriptionChange, Wish,
};
use sluice_controlplane_core::sdp::{Answer, Offer, Simulcast};
use sluice_controlplane_core::session::{OfferId, SessionId};
use sluice_protocol::ids::{TrackId, TransportId};
use sluice_protocol::media::{Label, MediaKind, Mid};
use sluice_protocol::plan::Object;
use sluice_protocol::time::Instant;

use crate::controlplane::{Controlplane, Reply, room_id};

/// What a client asks of its session, until it is told that it is done.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Join(u8),
    Leave(u8),
    /// More or less of the picture that arrives at a transport.
    Update {
        room: u8,
        transport: TransportId,
        paused: bool,
        quality: Quality,
    },
    /// An offer of its publisher, with its number and the room to publish in.
    Offer(u64, String, u8),
    /// The answer to an offer.
    Answer(OfferId, String),
}

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) number: usize,
    pub(crate) name: String,
    /// Whether nothing of the session was acknowledged yet, so that it is opened where there is none.
    pub(crate) is_new: bool,
}

impl Controlplane {
    /// Does what a client asks; the reply comes when the data plane has acknowledged it. What was done before is done.
    pub(crate) fn ask(&mut self, now: Instant, asker: &Asker, request: u64, ask: &Ask) {
        let id = signalled_id(asker.number);
        let Some(control) = &mut self.control else { return };
        if control.session(&id).is_none() {
            if !asker.is_new {
                return;
            }
            let identity = Name(asker.name.clone());
            let certificate = vec![1; 32];
            let open = OpenSession { session: id.clone(), identity, certificate, simulcast: Simulcast::All };
            control.open_session(open).expect("it is new");
        }
        let mut reply = Reply::Done(asker.number, request);
        match ask {
            Ask::Join(room) => {
                let join = Join {
                    participant: member_id(asker.number),
                    identity: Name(asker.name.clone()),
                    name: asker.name.clone(),
                    metadata: "{}".to_owned(),
                    role: RoomRole::Speaker,
                    overrides: PermissionOverrides::default(),
                    admission: Admission::Token { issued_at: Some(100), room_created_at: None },
                    is_publisher: false,
                    is_signalled: true,
                    good_until: None,
                    wish: Wish::Everything { except: Vec::new() },
                };
                // Refused where it is in the room already, by a request whose reply was lost.
                let _joined = control.join_room(now, &id, &room_id(*room), join, &mut self.effects);
            }
            Ask::Leave(room) => {
                let _left = control.leave_room(now, &id, &room_id(*room), LeaveReason::Left, &mut self.effects);
            }
            Ask::Update { room, transport, paused, quality } => {
                if let Some(track) = self.track_at(*transport) {
                    let detail = Some(Detail::Quality(*quality));
                    let change = SubscriptionChange { is_paused: Some(*paused), detail, temporal_layers: None };
                    let input = Input::UpdateSubscription { participant: member_id(asker.number), track, change };
                    let control = self.control.as_mut().expect("it was there");
                    let _updated = control.handle(now, &room_id(*room), input, &mut self.effects);
                }
            }
            Ask::Offer(number, text, room) => {
                let tracks = tracks_of(text, *room);
                let offer = Offer::parse(text.as_bytes()).expect("browsers' offers parse");
                let offer = ClientOffer { id: OfferId(*number), offer: &offer, tracks: &tracks };
                match control.publish(now, &id, offer, &mut self.effects) {
                    Ok(_) => reply = Reply::Published(asker.number, request),
                    // It was taken, and its connection given up by a process that could not go on with its handshake.
                    Err(PublishError::StaleOffer { .. }) => {}
                    Err(error) => panic!("a browser's offer is taken: {error}"),
                }
            }
            Ask::Answer(number, text) => {
                let answer = Answer::parse(text.as_bytes()).expect("answers parse");
                // Refused where the connection that it is for was given up.
                let _taken = control.handle_answer(now, &id, *number, &answer, &mut self.effects);
            }
        }
        self.reply_later(now, reply, id);
    }

    /// A client is back at its session: what is unanswered is repeated.
    pub(crate) fn resume(&mut self, now: Instant, number: usize) {
        let id = signalled_id(number);
        let Some(control) = &mut self.control else { return };
        if control.signalling_resumed(now, &id, &mut self.effects).is_err() {
            return;
        }
        if control.is_offer_due(&id) {
            self.effects.push(Effect::OfferDue(id.clone()));
        }
        self.reply_later(now, Reply::Offer(number), id);
    }

    /// A client's socket is gone.
    pub(crate) fn lose(&mut self, now: Instant, number: usize) {
        let Some(control) = &mut self.control else { return };
        let _known = control.signalling_lost(now, &signalled_id(number), &mut self.effects);
        self.settle(now);
    }

    /// Nobody has a socket to a process that has just begun.
    pub(crate) fn lose_signalling(&mut self, now: Instant) {
        let Some(control) = &mut self.control else { return };
        let signalled = control.sessions().filter(|session| session.signalling.is_some());
        for id in signalled.map(|session| session.id.clone()).collect::<Vec<_>>() {
            control.signalling_lost(now, &id, &mut self.effects).expect("it is there");
        }
    }

    /// Makes the offers that are due and ends sessions that are in no room any more; returns whom something is offered.
    pub(crate) fn follow_effects(&mut self, now: Instant) -> Vec<(usize, SessionId)> {
        let mut offered = Vec::new();
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                let Some(control) = &mut self.control else { return offered };
                if let Effect::OfferDue(id) = effect {
                    if control.make_offer(now, &id).expect("there is room").is_some() {
                        offered.push((number_of(&id), id));
                    }
                } else if let Effect::MembershipEnded { session, .. } = effect
                    && control.session(&session).is_some_and(|own| own.memberships.is_empty())
                {
                    let _closed = control.close(now, &session, LeaveReason::Left, &mut self.effects);
                }
            }
        }
        offered
    }

    /// Tells whether a client's session is there; `None` while nobody knows.
    pub(crate) fn has_session(&self, number: usize) -> Option<bool> {
        Some(self.control.as_ref()?.session(&signalled_id(number)).is_some())
    }

    /// Returns the transports of a client's session, of its publisher and its subscriber.
    pub(crate) fn transports(&self, number: usize) -> [Option<TransportId>; 2] {
        let session = self.control.as_ref().and_then(|control| control.session(&signalled_id(number)));
        let publisher = session.and_then(|session| session.publisher.as_ref());
        let subscriber = session.and_then(|session| session.subscriber.as_ref());
        [publisher, subscriber].map(|connection| connection.map(|own| own.transport))
    }

    /// Tells whether the plan has a stream under an SSRC.
    pub(crate) fn plans(&self, transport: TransportId, ssrc: u32) -> Option<bool> {
        let control = self.control.as_ref()?;
        Some(control.plan().objects().any(|object| {
            matches!(object, Object::Egress(egress)
                if egress.transport == transport && (egress.ssrc.0 == ssrc || egress.rtx.is_some_and(|rtx| rtx.0 == ssrc)))
        }))
    }

    /// Returns the pictures that the plan feeds to a transport, each by the transport that it arrives at.
    pub(crate) fn fed(&self, transport: TransportId) -> Vec<TransportId> {
        let Some(control) = &self.control else { return Vec::new() };
        let mut tracks = Vec::new();
        for object in control.plan().objects() {
            if let Object::Egress(egress) = object
                && (egress.transport, egress.kind, egress.paused) == (transport, MediaKind::Video, false)
            {
                tracks.extend(egress.source.as_ref().map(|source| source.track));
            }
        }
        let arrives = |object: &Object| {
            if let Object::Track(track) = object { tracks.contains(&track.id).then_some(track.transport) } else { None }
        };
        control.plan().objects().filter_map(arrives).collect()
    }

    fn track_at(&self, transport: TransportId) -> Option<TrackId> {
        let is_there = |object: &Object| {
            if let Object::Track(track) = object {
                (track.transport == transport && track.kind == MediaKind::Video).then_some(track.id)
            } else {
                None
            }
        };
        self.control.as_ref()?.plan().objects().find_map(is_there)
    }
}

/// Says of each m-line of an offer where it is published.
fn tracks_of(offer: &str, room: u8) -> Vec<PublishTrack> {
    let sections = crate::answer::Answer::parse(offer).sections;
    let track = |section: &crate::answer::Section| PublishTrack {
        mid: Label::new(section.mid.as_bytes()).map(Mid).expect("a browser's mid is short"),
        source: if section.kind == "video" { Source::Camera } else { Source::Microphone },
        rooms: vec![room_id(room)],
        muted: false,
        height: None,
        width: None,
    };
    sections.iter().map(track).collect()
}

/// The session of a client.
pub(crate) fn signalled_id(number: usize) -> SessionId {
    SessionId(format!("SE_m{number}"))
}

/// Who a client is in its rooms.
pub(crate) fn member_id(number: usize) -> ParticipantId {
    ParticipantId(format!("PA_m{number}"))
}

fn number_of(id: &SessionId) -> usize {
    id.0.trim_start_matches("SE_m").parse().expect("offers go to signalled sessions alone")
}
