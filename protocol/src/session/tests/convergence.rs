//! Any interleaving of changes, lost connections, restarts of either side and refusals converges.
//!
//! The oracle is the owner's own mirror of what it wants, changed by its own acts and by what the controller tells it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::super::controller::{Event as Told, Ticket};
use super::super::dataplane::{CommandId, Event as Asked};
use super::*;
use crate::event::{Event, Refusal};
use crate::ice::Ufrag;
use crate::ids::{EgressId, TrackId, TransportId};
use crate::media::{ExtensionIds, MediaKind, Mid, Ssrc};
use crate::plan::{
    Change, Cookie, Egress, Key, Layer, Object, Path, Plan, Source, Stream, StreamRole, Track, Transport,
};

const SHARDS: u8 = 2;
const SLOTS: u32 = 3;

#[derive(Clone, Debug)]
enum Act {
    Put(Object),
    Remove(Key),
    Barrier,
    Learn(Object),
    Forget(Key),
    /// Deliver up to so many bytes.
    ToDataplane(usize),
    ToController(usize),
    /// Let a shard carry out its next command.
    Step(u8),
    /// Deliver everything in both directions once; without it hardly any run gets past its greetings.
    Exchange,
    Connect,
    Disconnect,
    RestartDataplane,
    RestartController,
    /// The owner has rebuilt; it leaves out the transport of this slot.
    Adopt(u32),
}

fn transport_id() -> impl Strategy<Value = TransportId> {
    (0..SHARDS, 0..SLOTS).prop_map(|(shard, slot)| TransportId::new(shard, slot, 1))
}

fn track_id() -> impl Strategy<Value = TrackId> {
    (0..SHARDS, 0..SLOTS).prop_map(|(shard, slot)| TrackId::new(shard, slot, 1))
}

fn learnt() -> impl Strategy<Value = Object> {
    let path = (transport_id(), 1_u16..4).prop_map(|(transport, port)| {
        let address = ([127, 0, 0, 1], port).into();
        let credentials = Ufrag { transport, restart: 0, random: 0 };
        Object::Path(Path { transport, local: address, remote: address, credentials })
    });
    let stream = (track_id(), 1_u32..3, any::<bool>()).prop_map(|(track, ssrc, repairs)| {
        let role = if repairs { StreamRole::Rtx { of: Ssrc(9) } } else { StreamRole::Media };
        Object::Stream(Stream { track, ssrc: Ssrc(ssrc), role, rid: None })
    });
    prop_oneof![path, stream]
}

fn object() -> impl Strategy<Value = Object> {
    let transport = (transport_id(), 0_u8..3).prop_map(|(id, variant)| {
        Object::Transport(Transport {
            id,
            credentials: vec![Ufrag { transport: id, restart: variant, random: 1 }],
            keys: None,
            // The engine refuses this one.
            cname: if variant == 2 && id.slot() == 2 { "refuse" } else { "cname" }.into(),
            extmap_allow_mixed: variant == 1,
            remb_cap: None,
            rtcp_rsize: variant == 1,
        })
    });
    let track = (track_id(), any::<bool>()).prop_map(|(id, muted)| {
        Object::Track(Track {
            id,
            transport: TransportId::new(id.shard(), id.slot(), 1),
            kind: MediaKind::Audio,
            mid: Mid::default(),
            codecs: Vec::new(),
            extensions: ExtensionIds::default(),
            encodings: Vec::new(),
            muted,
            nack: false,
        })
    });
    let egress = (track_id(), 0..SLOTS).prop_map(|(track, slot)| {
        Object::Egress(Egress {
            id: EgressId::new(track.shard(), slot, 1),
            transport: TransportId::new(track.shard(), slot, 1),
            kind: MediaKind::Audio,
            mid: Mid::default(),
            ssrc: Ssrc(slot),
            rtx: None,
            nack: false,
            extensions: ExtensionIds::default(),
            source: Some(Source { track, payloads: Vec::new() }),
            paused: false,
            max_layer: Layer::MAX,
            playout_delay: None,
        })
    });
    let cookie = (0_u64..3, prop::collection::vec(any::<u8>(), 0..600))
        .prop_map(|(key, bytes)| Object::Cookie(Cookie { key, bytes }));
    prop_oneof![3 => transport, 2 => track, 2 => egress, 2 => cookie]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => object().prop_map(Act::Put),
        5 => object().prop_map(|object| Act::Remove(object.key())),
        1 => learnt().prop_map(|object| Act::Remove(object.key())),
        2 => Just(Act::Barrier),
        6 => learnt().prop_map(Act::Learn),
        2 => learnt().prop_map(|object| Act::Forget(object.key())),
        10 => (1_usize..400).prop_map(Act::ToDataplane),
        10 => (1_usize..400).prop_map(Act::ToController),
        20 => (0..SHARDS).prop_map(Act::Step),
        12 => Just(Act::Exchange),
        8 => Just(Act::Connect),
        3 => Just(Act::Disconnect),
        1 => Just(Act::RestartDataplane),
        1 => Just(Act::RestartController),
        3 => (0..2 * SLOTS).prop_map(Act::Adopt),
    ]
}

/// What the controller's owner has done since it started.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    Fresh,
    Rebuilding(Plan),
    Rebuilt,
}

struct World {
    controller: Controller<u32>,
    dataplane: Dataplane<u32>,
    newcomer: Option<Newcomer<u32>>,
    connected: bool,
    to_dataplane: VecDeque<u8>,
    to_controller: VecDeque<u8>,
    descriptors: Vec<u32>,
    shards: BTreeMap<u8, VecDeque<(CommandId, Change)>>,
    engine: Plan,
    mirror: Plan,
    owner: Owner,
    epoch: u16,
    instance: u64,
    /// Keys that a dead data plane had acknowledged and the living one has not.
    resumable: BTreeSet<Key>,
    tickets: BTreeSet<Ticket>,
}

impl World {
    fn new() -> Self {
        Self {
            controller: controller(1),
            dataplane: Dataplane::new(identity(1000), SHARDS),
            newcomer: None,
            connected: false,
            to_dataplane: VecDeque::new(),
            to_controller: VecDeque::new(),
            descriptors: Vec::new(),
            shards: BTreeMap::new(),
            engine: Plan::new(),
            mirror: Plan::new(),
            owner: Owner::Fresh,
            epoch: 1,
            instance: 1000,
            resumable: BTreeSet::new(),
            tickets: BTreeSet::new(),
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            // The owner of a controller that has just started rebuilds before it wants anything.
            Act::Put(object) if self.owner == Owner::Rebuilt => {
                self.mirror.put(object.clone());
                self.controller.put(object);
            }
            Act::Remove(key) if self.owner == Owner::Rebuilt => {
                self.mirror.remove_with_learnt(&key);
                self.controller.remove(key);
            }
            Act::Barrier => drop(self.tickets.insert(self.controller.barrier())),
            Act::Put(_) | Act::Remove(_) => {}
            Act::Learn(object) => {
                let parent = object.key().parent().unwrap();
                if self.engine.object(&parent).is_some() {
                    self.engine.put(object.clone());
                    self.dataplane.raise(Event::Learnt(Box::new(object)));
                }
            }
            Act::Forget(key) => {
                if self.engine.remove(&key).is_some() {
                    self.dataplane.raise(Event::Forgotten(key));
                }
            }
            Act::ToDataplane(size_bytes) => self.deliver_to_dataplane(size_bytes),
            Act::ToController(size_bytes) => self.deliver_to_controller(size_bytes),
            Act::Step(shard) => self.step(shard),
            Act::Exchange => {
                self.deliver_to_dataplane(usize::MAX);
                self.pump();
                self.deliver_to_controller(usize::MAX);
            }
            Act::Connect if !self.connected => {
                self.connected = true;
                self.controller.handle_connected();
                self.newcomer = Some(Newcomer::new());
                self.to_controller.extend(self.dataplane.greeting());
            }
            Act::Connect => {}
            Act::Disconnect => self.disconnect(),
            Act::RestartDataplane => {
                self.disconnect();
                self.resumable.extend(self.controller.acknowledged().keys());
                self.instance += 1;
                self.dataplane = Dataplane::new(identity(self.instance), SHARDS);
                self.engine = Plan::new();
                self.shards.clear();
            }
            Act::RestartController => {
                self.disconnect();
                self.epoch += 1;
                self.controller = controller(self.epoch);
                self.mirror = Plan::new();
                self.owner = Owner::Fresh;
                self.resumable.clear();
                self.tickets.clear();
            }
            Act::Adopt(slot) => self.adopt(slot),
        }
        self.pump();
    }

    /// Moves what both ends want to send onto the wire, and hears what they tell.
    fn pump(&mut self) {
        while let Some(told) = self.controller.poll_event() {
            self.hear(told);
        }
        // What the living data plane has acknowledged is not to be resumed any more.
        let controller = &self.controller;
        if controller.is_live() {
            self.resumable.retain(|key| controller.acknowledged().object(key).is_none());
        }
        while let Some(asked) = self.dataplane.poll_event() {
            match asked {
                Asked::Configure { .. } | Asked::Attached => {
                    self.dataplane.ready(ready(), vec![(DescriptorKind::Table { shard: 0 }, 11)]);
                }
                Asked::Command { id, change, resume } => {
                    let key = key_of(&change);
                    assert!(!matches!(key, Key::Cookie(_)), "cookies never reach the engine");
                    if matches!(change, Change::Put(_)) {
                        assert_eq!(resume, self.resumable.contains(&key), "resume of {key:?}");
                    }
                    self.shards.entry(shard_of(&key)).or_default().push_back((id, change));
                }
                Asked::RequestKeyFrame(_) | Asked::StatsRequested(_) | Asked::Pinged(_) | Asked::Pong(_) => {}
            }
        }
        if self.connected {
            while let Some(transmit) = self.controller.poll_transmit() {
                assert!(transmit.descriptors.is_empty());
                self.to_dataplane.extend(transmit.bytes);
            }
        }
        if self.dataplane.is_connected() {
            while let Some(transmit) = self.dataplane.poll_transmit() {
                self.to_controller.extend(transmit.bytes);
                self.descriptors.extend(transmit.descriptors);
            }
        }
    }

    fn hear(&mut self, told: Told<u32>) {
        match told {
            Told::DescriptorsWanted => self.controller.supply_descriptors(Vec::new()),
            Told::Snapshot(plan) => {
                assert_eq!(self.owner, Owner::Fresh, "raised once");
                self.owner = Owner::Rebuilding(plan);
            }
            Told::Refused { key, .. } => {
                self.resumable.remove(&key);
                if self.controller.plan().object(&key).is_none() {
                    self.mirror.remove_with_learnt(&key);
                }
            }
            Told::Removed(key) => {
                self.resumable.remove(&key);
                // What is learnt may have been learnt anew before its removal was acknowledged.
                let is_learnt = matches!(key, Key::Path(_) | Key::Stream(..));
                assert!(is_learnt || self.mirror.object(&key).is_none(), "{key:?} was removed");
            }
            Told::Dataplane(Event::Learnt(object)) => {
                let parent = object.key().parent().unwrap();
                if self.mirror.object(&parent).is_some() {
                    self.mirror.put(*object);
                }
            }
            Told::Dataplane(Event::Forgotten(key)) => {
                self.resumable.remove(&key);
                self.mirror.remove(&key);
            }
            Told::Acknowledged(ticket) => assert!(self.tickets.remove(&ticket)),
            Told::Ready { .. } | Told::Live | Told::Stats { .. } | Told::Pong(_) | Told::Dataplane(_) => {}
        }
    }

    fn adopt(&mut self, left_out: u32) {
        let Owner::Rebuilding(mut plan) = self.owner.clone() else { return };
        for shard in 0..SHARDS {
            plan.remove_with_learnt(&Key::Transport(TransportId::new(shard, left_out, 1)));
        }
        self.controller.adopt(plan.clone());
        self.owner = Owner::Rebuilt;
        self.mirror = self.controller.plan().clone();
        for object in plan.objects().filter(|object| !object.is_learnt()) {
            assert_eq!(self.mirror.object(&object.key()), Some(object));
        }
        let mirror = &self.mirror;
        self.resumable.retain(|key| mirror.object(key).is_some());
    }

    fn disconnect(&mut self) {
        if !self.connected {
            return;
        }
        self.connected = false;
        self.controller.handle_disconnected();
        if self.newcomer.take().is_none() {
            self.dataplane.handle_disconnected();
        }
        self.to_dataplane.clear();
        self.to_controller.clear();
        self.descriptors.clear();
    }

    fn deliver_to_dataplane(&mut self, size_bytes: usize) {
        let bytes: Vec<u8> = self.to_dataplane.drain(..size_bytes.min(self.to_dataplane.len())).collect();
        match self.newcomer.take() {
            None if self.connected => self.dataplane.handle_bytes(&bytes, []).unwrap(),
            None => {}
            Some(mut newcomer) => {
                if newcomer.handle_bytes(&bytes, []).unwrap() {
                    self.dataplane.admit(newcomer).unwrap();
                } else {
                    self.newcomer = Some(newcomer);
                }
            }
        }
    }

    fn deliver_to_controller(&mut self, size_bytes: usize) {
        let bytes: Vec<u8> = self.to_controller.drain(..size_bytes.min(self.to_controller.len())).collect();
        if self.connected {
            self.controller.handle_bytes(&bytes, self.descriptors.drain(..)).unwrap();
        }
    }

    /// The engine of one shard: refuses what refers to nothing, and one kind of transport.
    fn step(&mut self, shard: u8) {
        let Some((id, change)) = self.shards.get_mut(&shard).and_then(VecDeque::pop_front) else { return };
        let outcome = match &change {
            Change::Put(object) => judge(&self.engine, object),
            Change::Remove(_) => Ok(()),
        };
        match (&change, outcome) {
            (Change::Put(object), Ok(())) => drop(self.engine.put(Object::clone(object))),
            (change, _) => drop(self.engine.remove_with_learnt(&key_of(change))),
        }
        self.dataplane.acknowledge(id, outcome);
    }

    /// Lets everything arrive, and returns when nothing moves any more.
    fn heal(&mut self) {
        self.act(Act::Connect);
        loop {
            self.act(Act::ToDataplane(usize::MAX));
            self.act(Act::ToController(usize::MAX));
            for shard in 0..SHARDS {
                self.act(Act::Step(shard));
            }
            self.act(Act::Adopt(SLOTS));
            if self.to_dataplane.is_empty()
                && self.to_controller.is_empty()
                && self.shards.values().all(VecDeque::is_empty)
            {
                return;
            }
        }
    }
}

fn judge(engine: &Plan, object: &Object) -> Result<(), Refusal> {
    let reference = match object {
        Object::Transport(transport) if transport.cname == "refuse" => return Err(Refusal::Invalid),
        Object::Transport(_) | Object::Cookie(_) => return Ok(()),
        Object::Path(path) => Key::Transport(path.transport),
        Object::Track(track) => Key::Transport(track.transport),
        Object::Stream(stream) => Key::Track(stream.track),
        Object::Egress(egress) => Key::Transport(egress.transport),
    };
    engine.object(&reference).map(|_| ()).ok_or(Refusal::NoSuchReference)
}

fn key_of(change: &Change) -> Key {
    match change {
        Change::Put(object) => object.key(),
        Change::Remove(key) => *key,
    }
}

fn shard_of(key: &Key) -> u8 {
    match key {
        Key::Transport(id) | Key::Path(id) => id.shard(),
        Key::Track(id) | Key::Stream(id, _) => id.shard(),
        Key::Egress(id) => id.shard(),
        Key::Cookie(_) => 0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn everything_converges(live in any::<bool>(), acts in prop::collection::vec(act(), 0..200)) {
        let mut world = World::new();
        if live {
            world.heal();
        }
        for act in acts {
            world.act(act);
        }
        world.heal();
        prop_assert!(world.controller.is_live());
        prop_assert_eq!(world.dataplane.plan(), world.controller.plan(), "data plane and controller");
        prop_assert_eq!(world.controller.acknowledged(), world.controller.plan(), "have and want");
        prop_assert_eq!(&world.mirror, world.controller.plan(), "owner and controller");
        let forwarded: Vec<_> =
            world.dataplane.plan().objects().filter(|object| !matches!(object, Object::Cookie(_))).collect();
        prop_assert_eq!(world.engine.objects().collect::<Vec<_>>(), forwarded, "engine and data plane");
        prop_assert!(world.tickets.is_empty(), "tickets left: {:?}", world.tickets);
    }
}
