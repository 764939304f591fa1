//! A member: somebody with a signalled session, who joins rooms, publishes in one of them, and receives what is published in all
//! of them. What is unanswered it asks again when its socket is back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sluice_controlplane_core::room::Quality;
use sluice_protocol::ids::TransportId;
use sluice_protocol::time::Instant;

use crate::answer::Answer;
use crate::media::Tag;
use crate::peer::{Live, Role};
use crate::publisher::Publisher;
use crate::random::Random;
use crate::signalled::{Ask, Asker};
use crate::subscriber::Subscriber;
use crate::world::{Call, LOOK_EVERY, RIDS_MAX, World, local};

/// The number that is added to a member's for its media, so that they are not taken for a peer's.
pub(crate) const MEMBERS: usize = 1000;

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// The room that it publishes in.
    pub(crate) home: u8,
    pub(crate) publishes: bool,
    pub(crate) is_simulcast: bool,
    /// The number of its session, and when it opens one; none before that.
    pub(crate) session: Option<usize>,
    opens_at: Instant,
    /// The process that knows its socket, and until when it has none.
    process: Option<u64>,
    pub(crate) cut_until: Instant,
    next_look: Instant,
    /// Whether something of the session was acknowledged.
    is_known: bool,
    /// The rooms that it wants to be in.
    pub(crate) rooms: BTreeSet<u8>,
    /// Those that it ever wanted its session to be in.
    entered: BTreeSet<u8>,
    asks: Vec<(u64, Ask, bool)>,
    requests: u64,
    offers: u64,
    publisher: Option<Link>,
    /// The connection of the publisher whose answer is awaited: its call and SSRCs.
    offered: Option<(usize, [u32; 3])>,
    subscriber: Option<Link>,
    /// How much it wants of the picture of a connection.
    wants: BTreeMap<usize, (bool, Quality)>,
}

#[derive(Debug)]
struct Link {
    transport: TransportId,
    live: Live,
}

impl Member {
    fn asker(&self, number: usize) -> Asker {
        Asker { number, name: self.name.clone(), is_new: !self.is_known }
    }

    fn ask(&mut self, ask: Ask) {
        self.requests += 1;
        self.asks.push((self.requests, ask, false));
    }

    /// Its connections that live.
    pub(crate) fn lives(&mut self) -> impl Iterator<Item = &mut Live> {
        self.publisher.iter_mut().chain(&mut self.subscriber).map(|link| &mut link.live)
    }

    /// The connection that its media comes from.
    pub(crate) fn publishing(&self) -> Option<usize> {
        self.publisher.as_ref().map(|link| link.live.call)
    }

    /// Its camera.
    pub(crate) fn camera(&mut self) -> Option<&mut Publisher> {
        match &mut self.publisher.as_mut()?.live.role {
            Role::Publisher(publisher) => Some(publisher),
            Role::Viewer(_) | Role::Subscriber(_) => None,
        }
    }

    fn subscriber(&self) -> Option<&Subscriber> {
        match &self.subscriber.as_ref()?.live.role {
            Role::Subscriber(subscriber) => Some(subscriber),
            Role::Viewer(_) | Role::Publisher(_) => None,
        }
    }

    /// Frames that it has decoded, and how often a picture froze.
    pub(crate) fn decoded(&self) -> (u64, u64) {
        let freezes = self.subscriber().into_iter().flat_map(|own| own.viewers()).map(|viewer| viewer.decoder.freezes);
        (self.subscriber().map_or(0, Subscriber::decoded), freezes.sum())
    }

    /// What was seen and heard, made since `since_ms`: pictures by connection with their encoding, sounds by connection.
    fn fresh(&self, since_ms: u64) -> (BTreeMap<usize, u8>, BTreeSet<usize>) {
        let (mut pictures, mut sounds) = (BTreeMap::new(), BTreeSet::new());
        for viewer in self.subscriber().into_iter().flat_map(|own| own.viewers()) {
            let is_fresh = |tag: &Tag| tag.born_ms > since_ms;
            let call = |tag: &Tag| (tag.incarnation >> 8) as usize;
            pictures.extend(viewer.decoder.last().filter(is_fresh).map(|tag| (call(&tag), tag.encoding)));
            sounds.extend(viewer.last_sound.filter(is_fresh).map(|tag| call(&tag)));
        }
        (pictures, sounds)
    }
}

impl World {
    /// Adds a member whose session opens at once.
    pub(crate) fn add_member(&mut self, home: u8, publishes: bool) -> usize {
        self.members.push(Member {
            name: format!("member{}", self.members.len()),
            home,
            publishes,
            is_simulcast: publishes && self.random.chance(600),
            session: None,
            opens_at: self.now,
            process: None,
            cut_until: self.now,
            next_look: self.now,
            is_known: false,
            rooms: BTreeSet::from([home]),
            entered: BTreeSet::new(),
            asks: Vec::new(),
            requests: 0,
            offers: 0,
            publisher: None,
            offered: None,
            subscriber: None,
            wants: BTreeMap::new(),
        });
        self.members.len() - 1
    }

    /// Lets a member's session be gone; it opens another one at `again`.
    pub(crate) fn forget_member(&mut self, index: usize, again: Instant) {
        let member = &mut self.members[index];
        (member.session, member.opens_at) = (None, again.max(self.now));
        (member.publisher, member.subscriber, member.offered) = (None, None, None);
        member.asks.clear();
        member.wants.clear();
    }

    /// Lets a member open its session now if it has none, and have its socket again.
    pub(crate) fn call_member(&mut self, index: usize) {
        let member = &mut self.members[index];
        (member.opens_at, member.cut_until) = (self.now, self.now);
    }

    /// Cuts a member's socket: what was under way is lost.
    pub(crate) fn cut_member(&mut self, index: usize, until: Instant) {
        let Some(number) = self.members[index].session else { return };
        self.members[index].cut_until = until;
        self.members[index].process = None;
        if let Some(controlplane) = &mut self.controlplane {
            controlplane.lose(self.now, number);
        }
    }

    /// Lets a member enter or leave the room that it does not publish in.
    pub(crate) fn change_room(&mut self, index: usize) {
        let member = &mut self.members[index];
        let other = 1 - member.home;
        if member.rooms.remove(&other) {
            member.ask(Ask::Leave(other));
            let rooms = &member.rooms;
            let calls = &self.calls;
            member.wants.retain(|call, _| rooms.contains(&calls[*call].room));
        } else {
            member.rooms.insert(other);
            member.entered.insert(other);
            member.ask(Ask::Join(other));
            if let Some(link) = &member.subscriber {
                self.guard.admit(link.live.call, other);
            }
        }
    }

    /// Lets a member want another quality of something that it sees, or nothing of it.
    pub(crate) fn change_subscription(&mut self, index: usize) -> bool {
        let seen: Vec<usize> = self.members[index].fresh(self.now.nanos / 1_000_000 - 300).0.into_keys().collect();
        let Some(call) = (!seen.is_empty()).then(|| self.random.pick(&seen)) else { return false };
        let (paused, quality) =
            (self.random.chance(200), self.random.pick(&[Quality::Low, Quality::Medium, Quality::High]));
        let (room, transport) = (self.calls[call].room, self.calls[call].transport);
        let member = &mut self.members[index];
        if !member.rooms.contains(&room) {
            return false;
        }
        member.wants.insert(call, (paused, quality));
        member.ask(Ask::Update { room, transport, paused, quality });
        true
    }

    pub(crate) fn turn_member(&mut self, index: usize) {
        let now = self.now;
        self.talk(index);
        let member = &mut self.members[index];
        let mut sent = Vec::new();
        for live in member.lives() {
            sent.extend(live.tick(now).into_iter().map(|bytes| (live.remote, bytes)));
        }
        for (remote, bytes) in sent {
            self.send(remote, bytes);
        }
    }

    /// Opens the session, resumes it, and asks what is to be asked.
    fn talk(&mut self, index: usize) {
        let now = self.now;
        let Some(controlplane) = self.controlplane.as_mut().filter(|it| it.control.is_some()) else { return };
        let member = &mut self.members[index];
        if member.cut_until > now {
            return;
        }
        let Some(number) = member.session else {
            if member.opens_at <= now {
                self.open_member(index);
            }
            return;
        };
        if member.process != Some(controlplane.instance) {
            member.process = Some(controlplane.instance);
            member.asks.iter_mut().for_each(|(_, _, is_sent)| *is_sent = false);
            controlplane.resume(now, number);
        }
        let asker = member.asker(number);
        for (request, ask, is_sent) in &mut member.asks {
            if !std::mem::replace(is_sent, true) {
                controlplane.ask(now, &asker, *request, ask);
            }
        }
        if member.next_look <= now {
            member.next_look = now + LOOK_EVERY;
            self.look_after(index, number);
        }
    }

    /// Sees whether the session and its connections are there; the control plane tells when one is closed.
    fn look_after(&mut self, index: usize, number: usize) {
        let Some(controlplane) = &self.controlplane else { return };
        let [publisher, subscriber] = controlplane.transports(number);
        if controlplane.has_session(number) != Some(true) {
            if self.members[index].is_known {
                self.forget_member(index, self.now + Duration::from_millis(50));
            }
            return;
        }
        let member = &mut self.members[index];
        member.subscriber = member.subscriber.take().filter(|link| Some(link.transport) == subscriber);
        let had = member.publisher.is_some();
        member.publisher = member.publisher.take().filter(|link| Some(link.transport) == publisher);
        let is_awaited = member.asks.iter().any(|(_, ask, _)| matches!(ask, Ask::Offer(..)));
        if member.publishes && !is_awaited && publisher.is_none() && (had || member.offered.is_none()) {
            self.offer_camera(index);
        }
    }

    fn open_member(&mut self, index: usize) {
        let number = self.sessions;
        self.sessions += 1;
        let instance = self.controlplane.as_ref().map(|controlplane| controlplane.instance);
        let member = &mut self.members[index];
        (member.session, member.process) = (Some(number), instance);
        (member.is_known, member.offers, member.offered) = (false, 0, None);
        member.entered.clone_from(&member.rooms);
        for room in [member.home, 1 - member.home] {
            if member.rooms.contains(&room) {
                member.ask(Ask::Join(room));
            }
        }
        if member.publishes {
            self.offer_camera(index);
        }
    }

    fn offer_camera(&mut self, index: usize) {
        let (home, is_simulcast) = (self.members[index].home, self.members[index].is_simulcast);
        let (offer, ssrcs) = self.draw_offer(is_simulcast, false);
        let keys = self.draw_keys();
        let call = self.guard.open(&[home], true, &keys);
        assert_eq!(call, self.calls.len(), "calls are numbered alike");
        // The transport is known with the answer.
        self.calls.push(Call { peer: None, keys, ssrcs, transport: TransportId::from_word(u64::MAX), room: home });
        let member = &mut self.members[index];
        member.offered = Some((call, ssrcs));
        member.offers += 1;
        let number = member.offers;
        member.ask(Ask::Offer(number, offer, home));
    }

    /// Takes it that something was done.
    pub(crate) fn take_done(&mut self, number: usize, request: u64) {
        if let Some(member) = self.members.iter_mut().find(|member| member.session == Some(number)) {
            member.is_known = true;
            if member.process.is_some() {
                let done = member.asks.extract_if(.., |(own, _, _)| *own == request);
                if done.last().is_some_and(|(_, ask, _)| matches!(ask, Ask::Offer(..))) {
                    member.offered = None;
                }
            }
        }
    }

    /// Takes the answer to a member's offer.
    pub(crate) fn take_published(&mut self, number: usize, request: u64, text: &str) {
        let transport = self.controlplane.as_ref().and_then(|it| it.transports(number)[0]);
        let index = self.members.iter().position(|own| own.session == Some(number) && own.process.is_some());
        let (Some(transport), Some(index)) = (transport, index) else { return };
        if self.members[index].asks.iter().all(|(own, _, _)| *own != request) {
            return;
        }
        let offered = self.members[index].offered;
        self.take_done(number, request);
        let Some((call, ssrcs)) = offered else { return };
        let answer = Answer::parse(text);
        assert_eq!(answer.candidate, Some(local()), "the answer says where");
        self.guard.learn_answer(call, &answer);
        self.calls[call].transport = transport;
        let tag = Tag {
            room: self.members[index].home,
            publisher: (MEMBERS + index) as u16,
            incarnation: (call as u32) << 8,
            encoding: 0,
            frame: 0,
            part: 0,
            parts: 0,
            key: false,
            born_ms: 0,
        };
        let rids: &[&str] = if self.members[index].is_simulcast { &crate::controlplane::RIDS } else { &[] };
        let publisher = Publisher::new(tag, rids, ssrcs, self.now, Random::new(self.random.draw()));
        let (remote, keys) = (self.new_address(call), self.calls[call].keys);
        let live = Live::new(self.now, call, remote, answer, keys, Role::Publisher(publisher));
        self.members[index].publisher = Some(Link { transport, live });
    }

    /// Takes an offer, and answers it.
    pub(crate) fn take_offer(&mut self, number: usize, offer: &sluice_controlplane_core::plan::ServerOffer) {
        let index = self.members.iter().position(|own| own.session == Some(number) && own.process.is_some());
        let Some(index) = index else { return };
        let parsed = Answer::parse(&offer.sdp);
        assert_eq!(parsed.candidate, Some(local()), "the offer says where");
        let now = self.now;
        let known = self.members[index].subscriber.take().filter(|link| link.transport == offer.transport);
        let mut link = known.unwrap_or_else(|| {
            let keys = self.draw_keys();
            let rooms: Vec<u8> = self.members[index].entered.iter().copied().collect();
            let call = self.guard.open(&rooms, true, &keys);
            assert_eq!(call, self.calls.len(), "calls are numbered alike");
            let transport = offer.transport;
            self.calls.push(Call { peer: None, keys, ssrcs: [0; 3], transport, room: self.members[index].home });
            let remote = self.new_address(call);
            let live = Live::new(now, call, remote, parsed.clone(), keys, Role::Subscriber(Subscriber::default()));
            Link { transport, live }
        });
        self.guard.learn_answer(link.live.call, &parsed);
        if link.live.answer.ufrag != parsed.ufrag {
            link.live.restart_ice(now, &parsed);
        }
        if let Role::Subscriber(subscriber) = &mut link.live.role {
            subscriber.follow_offer(now, &parsed);
        }
        let member = &mut self.members[index];
        member.subscriber = Some(link);
        member.asks.retain(|(_, ask, _)| !matches!(ask, Ask::Answer(..)));
        member.ask(Ask::Answer(offer.id, answer_to(&offer.sdp)));
    }

    /// Says what a member sees and hears otherwise than it should.
    pub(crate) fn lacks(&self, index: usize) -> Option<String> {
        let member = &self.members[index];
        let since_ms = self.now.nanos / 1_000_000 - 150;
        let (seen, heard) = member.fresh(since_ms);
        let (mut pictures, mut sounds) = (BTreeMap::new(), BTreeSet::new());
        let peers = self.peers.iter().filter(|peer| peer.who.is_publisher).filter_map(|peer| {
            let call = peer.state.live()?.call;
            Some((call, 1, if peer.who.is_simulcast { RIDS_MAX } else { 0 }))
        });
        let others = self.members.iter().enumerate().filter(|(other, _)| *other != index);
        let members = others.filter_map(|(_, other)| {
            let layers = if other.is_simulcast { RIDS_MAX + 1 } else { 1 };
            Some((other.publishing()?, layers, layers - 1))
        });
        for (call, layers, highest) in peers.chain(members) {
            if !member.rooms.contains(&self.calls[call].room) {
                continue;
            }
            sounds.insert(call);
            let (paused, quality) = member.wants.get(&call).copied().unwrap_or((false, Quality::High));
            let encoding = match quality {
                Quality::Low => 0,
                Quality::Medium => (layers - 1) / 2,
                Quality::High => highest,
            };
            if !paused {
                pictures.insert(call, encoding);
            }
        }
        let is_complete = (member.publishing().is_some() || !member.publishes) && member.asks.is_empty();
        let fed: BTreeSet<TransportId> = match (&member.subscriber, &self.controlplane) {
            (Some(link), Some(controlplane)) => controlplane.fed(link.transport).into_iter().collect(),
            _ => BTreeSet::new(),
        };
        let wanted = pictures.keys().map(|call| self.calls[*call].transport).collect();
        let is_right = is_complete && seen == pictures && heard == sounds && fed == wanted;
        (!is_right).then(|| {
            format!(
                "{} in {:?} of {:?} sees {seen:?} not {pictures:?}, hears {heard:?} not {sounds:?}, is fed {} of {} \
                 pictures, asks {:?}, publishes {:?}",
                member.name,
                member.session,
                member.rooms,
                fed.len(),
                pictures.len(),
                member.asks.iter().map(|(request, _, is_sent)| (request, is_sent)).collect::<Vec<_>>(),
                member.publishing(),
            )
        })
    }

    /// The numbers of a member's connections.
    pub(crate) fn link_calls(&mut self, index: usize) -> Vec<usize> {
        self.members[index].lives().map(|live| live.call).collect()
    }
}

/// Answers an offer as browsers do: the same m-lines and numbers, the other direction, its own transport.
fn answer_to(offer: &str) -> String {
    let mut sections = offer.split("\r\nm=");
    let _session = sections.next();
    let (mut text, mut bundle) = (String::new(), Vec::new());
    for section in sections {
        let is_rejected = section.split(' ').nth(1) == Some("0");
        let mid = section.lines().find_map(|line| line.strip_prefix("a=mid:")).expect("an m-line has a mid");
        if !is_rejected {
            bundle.push(mid);
        }
        for (place, line) in section.lines().enumerate() {
            let theirs = ["a=ssrc", "a=msid", "a=candidate", "a=end-of-candidates"];
            if theirs.iter().any(|name| line.starts_with(name)) {
                continue;
            }
            let (name, _) = line.split_once(':').unwrap_or((line, ""));
            text += &match name {
                _ if place == 0 => format!("m={line}"),
                "a=sendonly" => "a=recvonly".to_owned(),
                "a=setup" => "a=setup:active".to_owned(),
                "a=ice-ufrag" => "a=ice-ufrag:member00".to_owned(),
                "a=ice-pwd" => "a=ice-pwd:abcdefghijklmnopqrstuvwx".to_owned(),
                "a=fingerprint" => format!("a=fingerprint:sha-256 {}", vec!["CD"; 32].join(":")),
                _ => line.to_owned(),
            };
            text += "\r\n";
        }
    }
    let head = format!("v=0\r\no=- 7 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {}\r\n", bundle.join(" "));
    format!("{head}a=extmap-allow-mixed\r\n{text}")
}
