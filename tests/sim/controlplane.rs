//! The control plane's process: rooms and sessions with the controller's end of the IPC session, as the server drives
//! them. DTLS is one record each way, at the end of which both ends have the keys that the simulator made for them.

use std::collections::BTreeMap;

use sluice_controlplane_core::access::{PermissionOverrides, Role as RoomRole};
use sluice_controlplane_core::plan::{Config, Control, Effect, Open, ServerOffer};
use sluice_controlplane_core::room::{
    Actor, Admission, Identity as Name, Input, Join, LeaveReason, ParticipantId, RoomId, RoomSettings, Wish,
};
use sluice_controlplane_core::sdp::{Fingerprint, IceCredentials, Offer, Role};
use sluice_controlplane_core::session::SessionId;
use sluice_protocol::ice::NodeSecret;
use sluice_protocol::ids::TransportId;
use sluice_protocol::media::{Label, MediaKind, Rid, SrtpKeys};
use sluice_protocol::plan::{Change, Encoding, Key, Object, Plan};
use sluice_protocol::session::controller::{Controller, Event, Ticket};
use sluice_protocol::session::{Configuration, DescriptorKind, Identity, Ready};
use sluice_protocol::time::Instant;

use crate::dataplane::MEDIA_PORT;

/// Rooms of a node.
pub(crate) const ROOMS: u8 = 2;
/// The encodings that some publishers' offers name, the smallest first.
pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];

/// What somebody outside waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Answer(usize),
    Restart(usize),
    /// The offer in flight of a signalled session's subscriber.
    Offer(usize),
    /// The answer to a signalled session's own offer.
    Published(usize, u64),
    /// What a signalled session asked for is done.
    Done(usize, u64),
}

/// What happened that others have to know.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// A reply may leave.
    Replied(Reply, String),
    /// A transport is gone from the data plane.
    Gone(TransportId),
    /// An offer may leave to a signalled session.
    Offered(usize, ServerOffer),
}

pub(crate) struct Controlplane {
    pub(crate) controller: Controller<u32>,
    pub(crate) control: Option<Control>,
    ready: Option<Ready>,
    replies: BTreeMap<Ticket, Vec<(Reply, SessionId)>>,
    /// What the core wants done, until it is settled.
    pub(crate) effects: Vec<Effect>,
    /// Counts the processes.
    pub(crate) instance: u64,
    holdings: Vec<(DescriptorKind, u32)>,
    seed: u64,
    wishes: Wishes,
}

/// The highest encoding that each viewer's transport wants; without an entry everything.
pub(crate) type Wishes = BTreeMap<TransportId, u8>;

impl std::fmt::Debug for Controlplane {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Controlplane").finish_non_exhaustive()
    }
}

impl Controlplane {
    /// Starts a process; its epoch is what a fresh one begins with, and rises at the data plane's hello.
    pub(crate) fn new(instance: u64, seed: u64, wishes: Wishes) -> Self {
        let identity = Identity { software: "controlplane".to_owned(), instance, capabilities: Vec::new() };
        let configuration =
            Configuration { node_secret: NodeSecret::new([9; 32]), media_port: MEDIA_PORT, listen: Vec::new() };
        Self {
            controller: Controller::new(identity, 1, configuration),
            control: None,
            ready: None,
            replies: BTreeMap::new(),
            effects: Vec::new(),
            instance,
            holdings: Vec::new(),
            seed,
            wishes,
        }
    }

    /// Does what the controller's end tells.
    pub(crate) fn handle_events(&mut self, now: Instant, outcomes: &mut Vec<Outcome>) {
        while let Some(event) = self.controller.poll_event() {
            match event {
                Event::DescriptorsWanted => self.controller.supply_descriptors(self.holdings.clone()),
                Event::Ready { ready, descriptors } => {
                    self.ready = Some(ready);
                    self.holdings = descriptors;
                }
                Event::Snapshot(snapshot) => self.rebuild(now, &snapshot),
                Event::Acknowledged(ticket) => {
                    for (reply, session) in self.replies.remove(&ticket).unwrap_or_default() {
                        outcomes.extend(self.reply(reply, &session));
                    }
                }
                Event::Refused { key, .. } => self.handle_refused(now, &key),
                Event::Removed(key) => {
                    if let Some(control) = &mut self.control {
                        control.handle_absent(&key);
                    }
                    if let Key::Transport(transport) = key {
                        outcomes.push(Outcome::Gone(transport));
                    }
                }
                Event::Dataplane(event) => {
                    if let Some(control) = &mut self.control {
                        control.handle_event(now, &event, &mut self.effects);
                    }
                    self.settle(now);
                }
                Event::Live | Event::Stats { .. } | Event::Pong(_) => {}
            }
        }
    }

    fn rebuild(&mut self, now: Instant, snapshot: &Plan) {
        let config = Config { shards: 1, epoch: self.controller.epoch(), seed: self.seed };
        let (mut control, _) = Control::rebuild(now, config, snapshot, &mut self.effects);
        for number in 0..ROOMS {
            if control.room(&room_id(number)).is_none() {
                control.create_room(now, room_id(number), RoomSettings::default()).unwrap();
            }
        }
        self.control = Some(control);
        self.controller.adopt(snapshot.clone());
        self.lose_signalling(now);
        self.settle(now);
        for transport in self.wishes.keys().copied().collect::<Vec<_>>() {
            self.put_wish(transport);
        }
    }

    /// Notes what a viewer wants.
    pub(crate) fn wish(&mut self, transport: TransportId, spatial: u8) {
        self.wishes.insert(transport, spatial);
        self.put_wish(transport);
    }

    fn put_wish(&mut self, transport: TransportId) {
        let Some(control) = &self.control else { return };
        for object in control.plan().objects() {
            if matches!(object, Object::Egress(egress) if egress.transport == transport) {
                self.controller.put(adapt(&self.wishes, object.clone()));
            }
        }
    }

    /// Returns the plan that rooms and wishes make.
    pub(crate) fn plan(&self) -> Plan {
        let objects = self.control.iter().flat_map(|control| control.plan().objects());
        objects.map(|object| adapt(&self.wishes, object.clone())).collect()
    }

    /// A session whose object is refused cannot go on.
    fn handle_refused(&mut self, now: Instant, key: &Key) {
        let Some(control) = &self.control else { return };
        let connection = control.connection_of_key(key);
        if let Some(transport) = connection.map(|own| own.transport)
            && let Some(control) = &mut self.control
        {
            control.close_transport(now, transport, LeaveReason::Left, &mut self.effects);
            self.settle(now);
        }
    }

    /// Notes who is told when the data plane has what the plan is now.
    pub(crate) fn reply_later(&mut self, now: Instant, reply: Reply, session: SessionId) {
        if let Some(ticket) = self.settle(now) {
            self.replies.entry(ticket).or_default().push((reply, session));
        }
    }

    /// Brings what changed to the controller.
    pub(crate) fn settle(&mut self, now: Instant) -> Option<Ticket> {
        let offered = self.follow_effects(now);
        for change in self.control.as_mut()?.take_changes() {
            match change {
                Change::Put(object) => self.controller.put(adapt(&self.wishes, *object)),
                Change::Remove(key) => self.controller.remove(key),
            }
        }
        let ticket = self.controller.barrier();
        for (number, session) in offered {
            self.replies.entry(ticket).or_default().push((Reply::Offer(number), session));
        }
        Some(ticket)
    }

    /// Opens a session; the answer comes when the data plane has acknowledged it.
    pub(crate) fn open(&mut self, now: Instant, call: usize, who: &Who, offer: &str) -> Option<TransportId> {
        let control = self.control.as_mut()?;
        let offer = Offer::parse(offer.as_bytes()).expect("browsers' offers parse");
        let role = if who.is_publisher { Role::Publish } else { Role::Play };
        let join = Join {
            participant: participant_id(call),
            identity: Name(who.name.clone()),
            name: who.name.clone(),
            metadata: "{}".to_owned(),
            role: if who.is_publisher { RoomRole::Speaker } else { RoomRole::Attendee },
            overrides: PermissionOverrides::default(),
            admission: Admission::Token { issued_at: Some(100), room_created_at: None },
            good_until: None,
            is_publisher: who.is_publisher,
            is_signalled: false,
            wish: Wish::LongestPublishing,
        };
        let session = session_id(call);
        let open = Open {
            session: session.clone(),
            room: room_id(who.room),
            join,
            offer: &offer,
            role,
            certificate: vec![1; 32],
        };
        let transport = control.open(now, open, &mut self.effects).expect("there is room");
        self.reply_later(now, Reply::Answer(call), session);
        Some(transport)
    }

    /// Restarts ICE of a session; the fragment comes when the data plane has acknowledged it.
    pub(crate) fn restart_ice(&mut self, now: Instant, call: usize, random: u32) {
        let Some(control) = &mut self.control else { return };
        let session = session_id(call);
        let remote = IceCredentials::new(&format!("u{random:08x}"), &format!("{random:024x}")).unwrap();
        if control.restart_ice(&session, remote) == Ok(true) {
            self.reply_later(now, Reply::Restart(call), session);
        }
    }

    fn reply(&self, reply: Reply, session: &SessionId) -> Option<Outcome> {
        let secret = &self.ready.as_ref()?.configuration.node_secret;
        let candidates = [std::net::SocketAddr::from(([192, 0, 2, 1], MEDIA_PORT))];
        let fingerprint = Fingerprint::sha256(&[0xab; 32]);
        let control = self.control.as_ref()?;
        let text = match reply {
            Reply::Answer(_) | Reply::Published(..) => control.answer(session, secret, &fingerprint, &candidates)?,
            Reply::Restart(_) => control.restart_answer(session, secret, &fingerprint, &candidates)?,
            Reply::Offer(number) => {
                let offer = control.offer(session, secret, &fingerprint, &candidates)?;
                return Some(Outcome::Offered(number, offer));
            }
            Reply::Done(..) => String::new(),
        };
        Some(Outcome::Replied(reply, text))
    }

    /// Takes a DTLS datagram. Returns what goes back.
    pub(crate) fn handle_punt(&mut self, now: Instant, transport: TransportId, keys: &SrtpKeys) -> bool {
        let Some(control) = &mut self.control else { return false };
        let Some(connection) = control.connection(transport) else { return false };
        if connection.keys.is_none() {
            control.handle_handshake(now, transport, *keys, vec![5; 64], &mut self.effects).expect("no keys yet");
            self.settle(now);
        }
        true
    }

    pub(crate) fn mute(&mut self, now: Instant, room: u8, participant: ParticipantId, muted: bool) {
        let Some(control) = &mut self.control else { return };
        let input = Input::Mute { actor: Actor::Api, participant, track: None, muted };
        if control.handle(now, &room_id(room), input, &mut self.effects).is_ok() {
            self.settle(now);
        }
    }

    pub(crate) fn close(&mut self, now: Instant, session: &SessionId) {
        let Some(control) = &mut self.control else { return };
        if control.close(now, session, LeaveReason::Left, &mut self.effects).is_ok() {
            self.settle(now);
        }
    }

    /// Lets deadlines take effect.
    pub(crate) fn tick(&mut self, now: Instant) {
        if let Some(control) = &mut self.control
            && control.poll_timeout().is_some_and(|due| due <= now)
        {
            control.handle_timeout(now, &mut self.effects);
            self.settle(now);
        }
    }

    /// Tells whether a client that asks for its session finds it; `None` while nobody knows.
    pub(crate) fn has(&self, call: usize) -> Option<bool> {
        Some(self.control.as_ref()?.session(&session_id(call)).is_some())
    }

    /// Tells whether some handshake is not done.
    pub(crate) fn is_shaking_hands(&self) -> bool {
        self.control.as_ref().is_some_and(|control| control.connections().any(|connection| connection.keys.is_none()))
    }

    /// Tells whether it holds duplicates for a successor of the data plane.
    pub(crate) fn holds(&self) -> bool {
        !self.holdings.is_empty()
    }
}

/// Who opens a connection.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) name: String,
    pub(crate) room: u8,
    pub(crate) is_publisher: bool,
    /// Whether it publishes its picture in several encodings.
    pub(crate) is_simulcast: bool,
    /// Whether that is AV1 with dependency descriptors.
    pub(crate) is_described: bool,
}

/// Puts into an object of the rooms' plan what viewers want of it, and all encodings of a publisher who names several: the
/// negotiation takes the best one alone.
fn adapt(wishes: &Wishes, mut object: Object) -> Object {
    if let Object::Track(track) = &mut object
        && track.encodings.iter().any(|encoding| encoding.rid.is_some())
    {
        let encoding = |rid: &&str| Encoding { rid: Label::new(rid.as_bytes()).map(Rid), ssrc: None, rtx: None };
        track.encodings = RIDS.iter().map(encoding).collect();
    }
    if let Object::Egress(egress) = &mut object
        && egress.kind == MediaKind::Video
    {
        egress.max_layer.spatial = wishes.get(&egress.transport).copied().unwrap_or(egress.max_layer.spatial);
    }
    object
}

pub(crate) fn room_id(number: u8) -> RoomId {
    RoomId(format!("room{number}"))
}

pub(crate) fn session_id(call: usize) -> SessionId {
    SessionId(format!("SE_{call}"))
}

pub(crate) fn participant_id(call: usize) -> ParticipantId {
    ParticipantId(format!("PA_{call}"))
}
