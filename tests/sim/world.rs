//! Both planes, the wire between them, the network and the peers: everything under one clock and one seed.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use sluice_dataplane_core::port::{self, FiveTuple};
use sluice_protocol::ids::TransportId;
use sluice_protocol::media::{MasterKey, SrtpKeys, SrtpProfile};
use sluice_protocol::table::{RowIndex, Table};
use sluice_protocol::time::Instant;

use crate::answer::{Answer, DESCRIPTOR};
use crate::controlplane::{Controlplane, Outcome, RIDS, Reply, Who, Wishes};
use crate::dataplane::{Dataplane, MEDIA_PORT, Wire};
use crate::faults::{Fault, Fired};
use crate::guard::Guard;
use crate::ipc::Connection;
use crate::media::Tag;
use crate::member::{MEMBERS, Member};
use crate::network::{Datagram, Network, Way};
use crate::peer::{Live, Peer, Role, State, record};
use crate::publisher::Publisher;
use crate::random::Random;
use crate::viewer::Viewer;

/// Datagrams that an inherited socket holds: 4 MiB of small ones.
const INHERITED_MAX: usize = 4096;
/// How long a client waits for an answer before it asks anew.
const ANSWER_PATIENCE: Duration = Duration::from_millis(1500);
/// How often a client looks whether its session is still there.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The highest encoding of several.
pub(crate) const RIDS_MAX: u8 = RIDS.len() as u8 - 1;

const PUBLISHER_OFFER: &str = include_str!("../../controlplane/core/tests/vectors/sdp/chromium-a-vp8-opus.offer.sdp");
const VIEWER_OFFER: &str = include_str!("../../controlplane/core/tests/vectors/sdp/chromium-d-recvonly.offer.sdp");
const SIMULCAST_OFFER: &str =
    include_str!("../../controlplane/core/tests/vectors/sdp/chromium-b-simulcast-vp8.offer.sdp");
/// The line behind which a viewer's offer names the dependency descriptor too.
const LAST_EXTENSION: &str = "a=extmap:8 http://www.webrtc.org/experiments/rtp-hdrext/color-space";
/// SSRCs in the offers, to be replaced: video, its repairs, audio. That of several encodings names its sound's alone.
const OFFERED_SSRCS: [u32; 3] = [206_276_523, 1_355_181_594, 3_610_126_777];
const SIMULCAST_AUDIO_SSRC: u32 = 3_810_407_352;

/// One peer connection, by whichever side it is known.
#[derive(Debug)]
pub(crate) struct Call {
    /// The peer that it is, unless it is a member's.
    pub(crate) peer: Option<usize>,
    pub(crate) keys: SrtpKeys,
    pub(crate) ssrcs: [u32; 3],
    pub(crate) transport: TransportId,
    /// The room that it publishes to.
    pub(crate) room: u8,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) random: Random,
    pub(crate) fired: Fired,
    pub(crate) network: Network,
    pub(crate) guard: Guard,
    pub(crate) peers: Vec<Peer>,
    pub(crate) members: Vec<Member>,
    /// Sessions that members have opened.
    pub(crate) sessions: usize,
    pub(crate) calls: Vec<Call>,
    /// What viewers want, whichever control plane lives.
    wishes: Wishes,
    pub(crate) dataplane: Option<Dataplane>,
    pub(crate) controlplane: Option<Controlplane>,
    connection: Option<Connection>,
    tables: Vec<Table>,
    inherited: VecDeque<Datagram>,
    instances: u64,
    addresses: u32,
    /// When a process that is dead is started again.
    pub(crate) restart_at: Instant,
    pub(crate) reconnect_at: Instant,
    pub(crate) ipc_delay_ms: u64,
    /// How many runs a flush may send now.
    pub(crate) outbox_room: Option<u64>,
    /// The next flush dies after so many runs.
    pub(crate) dies_after: Option<u64>,
    /// The shard's loop does not turn before this.
    pub(crate) stalled_until: Instant,
    /// Whether it is told what goes wrong.
    pub(crate) is_traced: bool,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let network = Network::new(Random::new(random.draw()));
        let now = Instant::from_millis(100_000);
        Self {
            now,
            random,
            fired: Fired::new(),
            network,
            guard: Guard::default(),
            peers: Vec::new(),
            members: Vec::new(),
            sessions: 0,
            calls: Vec::new(),
            wishes: Wishes::new(),
            dataplane: None,
            controlplane: None,
            connection: None,
            tables: Vec::new(),
            inherited: VecDeque::new(),
            instances: 0,
            addresses: 0,
            restart_at: now,
            reconnect_at: now,
            ipc_delay_ms: 0,
            outbox_room: None,
            dies_after: None,
            stalled_until: now,
            is_traced: false,
        }
    }

    /// Counts a fault, and says it when one seed is looked at.
    pub(crate) fn note(&mut self, fault: Fault, detail: &str) {
        self.fired.count(fault);
        if self.is_traced {
            eprintln!("{:>9} {fault:?} {detail}", self.now.nanos / 1_000_000);
        }
    }

    /// Adds a peer that connects at once.
    pub(crate) fn add_peer(&mut self, room: u8, is_publisher: bool) -> usize {
        let name = format!("peer{}", self.peers.len());
        let who = Who { name, room, is_publisher, is_simulcast: false, is_described: false };
        self.peers.push(Peer { who, state: State::Idle(self.now), next_look: self.now });
        self.peers.len() - 1
    }

    /// Adds a publisher in three encodings, who connects at once.
    pub(crate) fn add_simulcast(&mut self, room: u8) -> usize {
        let peer = self.add_peer(room, true);
        self.peers[peer].who.is_simulcast = true;
        peer
    }

    /// Lets a viewer want at most this encoding. A control plane that is dead hears of it when it lives again.
    pub(crate) fn wish(&mut self, peer: usize, spatial: u8) {
        let Some(call) = self.live(peer).map(|live| live.call) else { return };
        let transport = self.calls[call].transport;
        self.wishes.insert(transport, spatial);
        if let Some(controlplane) = &mut self.controlplane {
            controlplane.wish(transport, spatial);
        }
    }

    /// Returns the encoding that a viewer is to see of a publisher.
    pub(crate) fn wished(&self, viewer: usize, publisher: usize) -> u8 {
        let is_simulcast = match publisher.checked_sub(MEMBERS) {
            Some(member) => self.members[member].is_simulcast,
            None => self.peers[publisher].who.is_simulcast,
        };
        let State::Live(live) = &self.peers[viewer].state else { return 0 };
        let wish = self.wishes.get(&self.calls[live.call].transport).copied().unwrap_or(u8::MAX);
        let highest = if is_simulcast { RIDS_MAX } else { 0 };
        wish.min(highest)
    }

    pub(crate) fn live(&mut self, peer: usize) -> Option<&mut Live> {
        match &mut self.peers[peer].state {
            State::Live(live) => Some(live),
            State::Idle(_) | State::Asked { .. } => None,
        }
    }

    pub(crate) fn viewer(&self, peer: usize) -> Option<&Viewer> {
        match &self.peers[peer].state {
            State::Live(live) => match &live.role {
                Role::Viewer(viewer) => Some(viewer),
                Role::Publisher(_) | Role::Subscriber(_) => None,
            },
            State::Idle(_) | State::Asked { .. } => None,
        }
    }

    /// Lets time pass in steps of a millisecond.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.now < until {
            self.step();
        }
    }

    /// Lets a millisecond pass.
    pub(crate) fn step(&mut self) {
        self.now = self.now + Duration::from_millis(1);
        self.start_processes();
        self.deliver();
        self.turn_ipc();
        for peer in 0..self.peers.len() {
            self.turn_peer(peer);
        }
        for member in 0..self.members.len() {
            self.turn_member(member);
        }
        if self.now >= self.stalled_until {
            self.turn_dataplane();
        }
        if let Some(controlplane) = &mut self.controlplane {
            controlplane.tick(self.now);
        }
        self.turn_ipc();
    }

    fn start_processes(&mut self) {
        if self.restart_at <= self.now {
            if self.controlplane.is_none() {
                self.instances += 1;
                self.controlplane = Some(Controlplane::new(self.instances, self.random.draw(), self.wishes.clone()));
            }
            if self.dataplane.is_none() {
                self.instances += 1;
                self.dataplane = Some(Dataplane::new(self.instances));
            }
        }
        if self.connection.is_none()
            && self.reconnect_at <= self.now
            && let (Some(controlplane), Some(dataplane)) = (&mut self.controlplane, &mut self.dataplane)
        {
            controlplane.controller.handle_connected();
            dataplane.newcomer = Some(sluice_protocol::session::dataplane::Newcomer::new());
            controlplane.controller.handle_bytes(&dataplane.session.greeting(), []).expect("the greeting is read");
            self.connection = Some(Connection::default());
        }
    }

    /// Breaks the connection between the planes.
    pub(crate) fn cut_ipc(&mut self) {
        self.connection = None;
        if let Some(controlplane) = &mut self.controlplane {
            controlplane.controller.handle_disconnected();
        }
        if let Some(dataplane) = &mut self.dataplane {
            dataplane.newcomer = None;
            dataplane.session.handle_disconnected();
        }
    }

    pub(crate) fn kill_dataplane(&mut self, outage: Duration) {
        self.dataplane = None;
        self.guard.learn_death();
        self.cut_ipc();
        self.restart_at = self.now + outage;
        self.reconnect_at = self.restart_at;
    }

    pub(crate) fn kill_controlplane(&mut self, outage: Duration) {
        self.controlplane = None;
        self.cut_ipc();
        self.restart_at = self.now + outage;
        self.reconnect_at = self.restart_at;
    }

    /// Brings what has arrived to where it goes. What a dead data plane does not read waits in the socket.
    fn deliver(&mut self) {
        let is_running = self.now >= self.stalled_until
            && self.dataplane.as_ref().is_some_and(|dataplane| dataplane.engine.is_some());
        if is_running {
            while let Some(datagram) = self.inherited.pop_front() {
                self.hand_to_engine(datagram);
            }
        }
        while let Some(datagram) = self.network.receive(self.now) {
            match datagram.way {
                Way::ToServer if is_running => self.hand_to_engine(datagram),
                Way::ToServer => {
                    if self.inherited.len() < INHERITED_MAX {
                        self.fired.count(Fault::DatagramsInherited);
                        self.inherited.push_back(datagram);
                    }
                }
                Way::ToPeer => self.hand_to_peer(&datagram),
            }
        }
    }

    fn hand_to_engine(&mut self, mut datagram: Datagram) {
        let engine = self.dataplane.as_mut().and_then(|dataplane| dataplane.engine.as_mut());
        let five_tuple = FiveTuple { local: local(), remote: datagram.remote };
        if let Some(engine) = engine {
            let (arrival, bytes) = (self.now, datagram.bytes.as_mut_slice());
            engine.handle_datagram(self.now, port::Datagram { five_tuple, arrival, bytes });
        }
    }

    fn hand_to_peer(&mut self, datagram: &Datagram) {
        let lives = self.peers.iter_mut().filter_map(|peer| match &mut peer.state {
            State::Live(live) if live.remote == datagram.remote => Some(&mut **live),
            State::Live(_) | State::Idle(_) | State::Asked { .. } => None,
        });
        let members = self.members.iter_mut().flat_map(Member::lives);
        let members = members.filter(|live| live.remote == datagram.remote);
        let mut answers = Vec::new();
        for live in lives.chain(members) {
            answers.extend(live.receive(self.now, &datagram.bytes));
        }
        for bytes in answers {
            self.network.send(
                self.now,
                Datagram { way: Way::ToServer, remote: datagram.remote, bytes },
                &mut self.fired,
            );
        }
    }

    fn turn_ipc(&mut self) {
        let (now, delay_ms) = (self.now, self.ipc_delay_ms);
        let mut outcomes = Vec::new();
        if let (Some(connection), Some(controlplane), Some(dataplane)) =
            (&mut self.connection, &mut self.controlplane, &mut self.dataplane)
        {
            while let Some((bytes, descriptors)) = connection.to_dataplane.receive(now) {
                dataplane.handle_bytes(&bytes, descriptors);
            }
            while let Some((bytes, descriptors)) = connection.to_controller.receive(now) {
                controlplane
                    .controller
                    .handle_bytes(&bytes, descriptors)
                    .expect("the data plane keeps to the protocol");
            }
            while let Some((transport, _)) = connection.to_controller.receive_packet(now) {
                let Some(call) = self.calls.iter().position(|call| call.transport == transport) else { continue };
                if controlplane.handle_punt(now, transport, &self.calls[call].keys) {
                    self.guard.learn_keys(call);
                    connection.to_dataplane.send_packet(now, transport, record(2));
                }
            }
            while let Some((transport, datagram)) = connection.to_dataplane.receive_packet(now) {
                if let Some(engine) = &mut dataplane.engine {
                    engine.handle_outgoing(now, transport, &datagram);
                }
            }
            controlplane.handle_events(now, &mut outcomes);
            dataplane.handle_events(now, self.random.draw(), &mut self.tables);
            while let Some(transmit) = controlplane.controller.poll_transmit() {
                connection.to_dataplane.send(now, transmit, delay_ms, &mut self.random);
            }
            while let Some(transmit) = dataplane.session.poll_transmit() {
                connection.to_controller.send(now, transmit, delay_ms, &mut self.random);
            }
        }
        for outcome in outcomes {
            self.take(outcome);
        }
    }

    fn take(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Gone(transport) => {
                if let Some(call) = self.calls.iter().position(|call| call.transport == transport) {
                    self.guard.learn_gone(call);
                }
            }
            Outcome::Offered(number, offer) => self.take_offer(number, &offer),
            Outcome::Replied(Reply::Offer(_), _) => {}
            Outcome::Replied(Reply::Published(number, request), text) => self.take_published(number, request, &text),
            Outcome::Replied(Reply::Done(number, request), _) => self.take_done(number, request),
            Outcome::Replied(Reply::Answer(call), text) => self.take_answer(call, &Answer::parse(&text)),
            Outcome::Replied(Reply::Restart(call), text) => {
                let (now, Some(peer)) = (self.now, self.calls[call].peer) else { return };
                if let Some(live) = self.live(peer).filter(|live| live.call == call) {
                    live.restart_ice(now, &Answer::parse(&text));
                }
            }
        }
    }

    fn take_answer(&mut self, call: usize, answer: &Answer) {
        self.guard.learn_answer(call, answer);
        let Call { peer: Some(peer), keys, ssrcs, .. } = self.calls[call] else { return };
        if !matches!(self.peers[peer].state, State::Asked { call: asked, .. } if asked == call) {
            return;
        }
        assert_eq!(answer.candidate, Some(local()), "the answer says where");
        let who = self.peers[peer].who.clone();
        let role = if who.is_publisher {
            let tag = Tag {
                room: who.room,
                publisher: peer as u16,
                incarnation: (call as u32) << 8,
                encoding: 0,
                frame: 0,
                part: 0,
                parts: 0,
                key: false,
                born_ms: 0,
            };
            let rids: &[&str] = if who.is_simulcast { &RIDS } else { &[] };
            Role::Publisher(Publisher::new(tag, rids, ssrcs, self.now, Random::new(self.random.draw())))
        } else {
            Role::Viewer(Viewer::new(self.now))
        };
        let remote = self.new_address(call);
        let live = Live::new(self.now, call, remote, answer.clone(), keys, role);
        self.peers[peer].state = State::Live(Box::new(live));
    }

    /// Takes an address that nobody has had.
    pub(crate) fn new_address(&mut self, call: usize) -> SocketAddr {
        self.addresses += 1;
        let [_, high, middle, low] = self.addresses.to_be_bytes();
        let remote = SocketAddr::from(([10, high, middle, low], 40_000 + (self.random.below(20_000) as u16)));
        self.guard.learn_address(call, remote);
        remote
    }

    fn turn_peer(&mut self, peer: usize) {
        let now = self.now;
        match &mut self.peers[peer].state {
            State::Idle(at) if *at <= now => self.open(peer),
            State::Asked { since, .. } if now.saturating_since(*since) > ANSWER_PATIENCE => {
                self.peers[peer].state = State::Idle(now);
            }
            State::Idle(_) | State::Asked { .. } => {}
            State::Live(live) => {
                let (remote, call) = (live.remote, live.call);
                for bytes in live.tick(now) {
                    self.network.send(now, Datagram { way: Way::ToServer, remote, bytes }, &mut self.fired);
                }
                if self.peers[peer].next_look <= now {
                    self.peers[peer].next_look = now + LOOK_EVERY;
                    let found = self.controlplane.as_ref().and_then(|controlplane| controlplane.has(call));
                    if found == Some(false) {
                        self.peers[peer].state = State::Idle(now + Duration::from_millis(50));
                    }
                }
            }
        }
    }

    fn open(&mut self, peer: usize) {
        if self.controlplane.as_ref().is_none_or(|it| it.control.is_none()) {
            return;
        }
        let call = self.calls.len();
        let who = self.peers[peer].who.clone();
        let (offer, ssrcs) = if who.is_publisher {
            self.draw_offer(who.is_simulcast, who.is_described)
        } else {
            (VIEWER_OFFER.replace(LAST_EXTENSION, &format!("{LAST_EXTENSION}\r\na=extmap:12 {DESCRIPTOR}")), [0; 3])
        };
        let keys = self.draw_keys();
        let Some(controlplane) = &mut self.controlplane else { return };
        let Some(transport) = controlplane.open(self.now, call, &who, &offer) else { return };
        assert_eq!(self.guard.open(&[who.room], false, &keys), call, "calls are numbered alike");
        self.calls.push(Call { peer: Some(peer), keys, ssrcs, transport, room: who.room });
        self.peers[peer].state = State::Asked { call, since: self.now };
    }

    /// Draws the offer of a publisher, with SSRCs of its own: video, its repairs, audio.
    pub(crate) fn draw_offer(&mut self, is_simulcast: bool, is_described: bool) -> (String, [u32; 3]) {
        let mut ssrcs = OFFERED_SSRCS;
        let mut offer = PUBLISHER_OFFER.to_owned();
        if is_simulcast {
            ssrcs[2] = SIMULCAST_AUDIO_SSRC;
            let codec = if is_described { "AV1" } else { "VP8" };
            offer = SIMULCAST_OFFER.replace("VP8/90000", &format!("{codec}/90000"));
        }
        for ssrc in &mut ssrcs {
            let offered = ssrc.to_string();
            *ssrc = self.random.word() | 1;
            offer = offer.replace(&offered, &ssrc.to_string());
        }
        (offer, ssrcs)
    }

    pub(crate) fn draw_keys(&mut self) -> SrtpKeys {
        let profiles = [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::AesCm128HmacSha1_80];
        let profile = self.random.pick(&profiles);
        let mut master = || {
            let mut master = MasterKey { key: [0; 32], salt: [0; 14] };
            self.random.fill(&mut master.key[..profile.key_bytes()]);
            self.random.fill(&mut master.salt[..profile.salt_bytes()]);
            master
        };
        SrtpKeys { profile, local: master(), remote: master() }
    }

    /// Sends a datagram to the server.
    pub(crate) fn send(&mut self, remote: SocketAddr, bytes: Vec<u8>) {
        self.network.send(self.now, Datagram { way: Way::ToServer, remote, bytes }, &mut self.fired);
    }

    /// Closes a peer's connection as its page does; it comes back at `again`.
    pub(crate) fn leave(&mut self, peer: usize, again: Instant) {
        if let Some(call) = self.live(peer).map(|live| live.call)
            && let Some(controlplane) = &mut self.controlplane
        {
            controlplane.close(self.now, &crate::controlplane::session_id(call));
        }
        self.peers[peer].state = State::Idle(again);
    }

    /// Turns the shard's loop, and puts what it let out on the network, past the guard.
    fn turn_dataplane(&mut self) {
        let Some(dataplane) = &mut self.dataplane else { return };
        let mut wire = Wire { room: self.outbox_room, dies_after: self.dies_after.take(), ..Wire::default() };
        let lives_on = dataplane.turn(self.now, &mut wire);
        if wire.refused > 0 {
            self.fired.count(Fault::OutboxFull);
        }
        let mut runs = std::mem::take(&mut wire.runs);
        if !lives_on {
            // The last run may be half written, and of the others some had not reached the kernel yet.
            runs.pop();
            runs.truncate(self.random.below(runs.len() as u64 + 1) as usize);
        }
        for (run, bytes) in runs {
            assert_eq!(run.five_tuple.local, local());
            for datagram in bytes.chunks(run.segment_size_bytes) {
                let remote = run.five_tuple.remote;
                self.guard.check(remote, datagram);
                let datagram = Datagram { way: Way::ToPeer, remote, bytes: datagram.to_vec() };
                self.network.send(self.now, datagram, &mut self.fired);
            }
        }
        self.check_goodbyes();
        for (transport, datagram) in wire.punts {
            if let Some(connection) = &mut self.connection {
                let at = self.now + Duration::from_millis(self.ipc_delay_ms);
                connection.to_controller.send_packet(at, transport, datagram);
            }
        }
        if !lives_on {
            self.note(Fault::DataplaneKilledInFlush, "");
            let outage = Duration::from_millis(self.random.between(20, 200));
            self.kill_dataplane(outage);
        }
    }

    /// An SSRC may say good-bye when its session is over, and not before.
    fn check_goodbyes(&mut self) {
        for (call, ssrc) in std::mem::take(&mut self.guard.goodbyes) {
            let lives = self.controlplane.as_ref().and_then(|controlplane| match &self.calls[call] {
                Call { peer: Some(_), .. } => controlplane.has(call),
                Call { transport, .. } => controlplane.plans(*transport, ssrc),
            });
            assert_ne!(lives, Some(true), "{ssrc:#x} of connection {call} says good-bye though it lives");
        }
    }

    /// Returns what the living engine discarded, by reason.
    pub(crate) fn discards(&self) -> BTreeMap<String, u64> {
        let shards = self.dataplane.iter().flat_map(|dataplane| dataplane.stats().shards);
        shards.flat_map(|shard| shard.discards).collect()
    }

    /// Returns how many rows of the living table are taken.
    pub(crate) fn rows_taken(&self) -> usize {
        let Some(table) = self.tables.last() else { return 0 };
        (0..table.len() as u32).filter(|row| table.key(RowIndex(*row)).is_some()).count()
    }

    /// Tells whether both planes agree and nothing is under way.
    pub(crate) fn is_settled(&self) -> bool {
        let (Some(controlplane), Some(dataplane)) = (&self.controlplane, &self.dataplane) else { return false };
        controlplane.controller.is_live()
            && !dataplane.is_busy()
            && controlplane.controller.plan() == controlplane.controller.acknowledged()
    }
}

pub(crate) fn local() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], MEDIA_PORT))
}
