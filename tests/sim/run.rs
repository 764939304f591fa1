//! A run: some peers, much misfortune, then peace in which everybody must see a picture.

use std::time::Duration;

use sluice_protocol::plan::{Key, Plan};
use sluice_protocol::time::Instant;

use crate::controlplane::{ROOMS, participant_id, session_id};
use crate::faults::{Fault, Fired};
use crate::media::Tag;
use crate::network::Weather;
use crate::peer::{Role, State};
use crate::publisher::Publisher;
use crate::signalled::signalled_id;
use crate::world::World;

/// How long things go wrong.
const TROUBLE: Duration = Duration::from_secs(10);
/// How long after the end of trouble everybody has to see a picture: less than a browser may take to check its path again,
/// so that nobody has to wait for that. A key frame may be asked for twice.
const PATIENCE: Duration = Duration::from_millis(2400);
/// The same for members of calls, whose offers are gathered on top of that.
const MEMBERS_PATIENCE: Duration = Duration::from_secs(5);
/// How long the picture then must not freeze.
const PEACE: Duration = Duration::from_secs(2);

/// What a run saw.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) fired: Fired,
    pub(crate) packets: u64,
    pub(crate) repeats: u64,
    pub(crate) frames: u64,
    /// Of those the ones that came with dependency descriptors.
    pub(crate) described: u64,
    pub(crate) calls: u64,
    /// The longest time from the end of trouble to a picture.
    pub(crate) healed_ms: u64,
}

/// Runs one seed; panics with what was broken.
pub(crate) fn run(seed: u64, is_traced: bool) -> Report {
    let mut world = World::new(seed);
    world.is_traced = is_traced;
    for room in 0..ROOMS {
        for _ in 0..world.random.between(1, 2) {
            if world.random.chance(600) {
                let peer = world.add_simulcast(room);
                world.peers[peer].who.is_described = world.random.chance(500);
            } else {
                world.add_peer(room, true);
            }
        }
        for _ in 0..world.random.between(1, 3) {
            world.add_peer(room, false);
        }
    }
    for member in 0..world.random.between(1, 3) {
        let home = world.random.below(ROOMS.into()) as u8;
        let publishes = member == 0 || world.random.chance(500);
        world.add_member(home, publishes);
    }
    let until = world.now + TROUBLE;
    let (mut frames, mut described) = (0, 0);
    while world.now < until {
        world.step();
        misfortune(&mut world);
    }
    heal(&mut world);
    let healed_ms = wait_for_pictures(&mut world);
    hold_pictures(&mut world);
    for peer in 0..world.peers.len() {
        let decoder = world.viewer(peer).map(|viewer| &viewer.decoder);
        frames += decoder.map_or(0, |decoder| decoder.decoded);
        described += decoder.map_or(0, |decoder| decoder.described);
    }
    frames += world.members.iter().map(|member| member.decoded().0).sum::<u64>();
    let report = Report {
        fired: world.fired.clone(),
        packets: world.guard.packets,
        repeats: world.guard.repeats,
        frames,
        described,
        calls: world.calls.len() as u64,
        healed_ms,
    };
    clear_out(&mut world);
    report
}

/// Lets something go wrong, perhaps.
fn misfortune(world: &mut World) {
    let mut strikes = |per_million: u64| world.random.below(1_000_000) < per_million;
    let network = strikes(2000);
    let (peers, planes, ipc, shard) = (strikes(2500), strikes(700), strikes(1500), strikes(1500));
    let members = strikes(2500);
    if network {
        world.network.weather = Weather::draw(&mut world.random);
    }
    if peers {
        trouble_a_peer(world);
    }
    if members && !world.members.is_empty() {
        trouble_a_member(world);
    }
    if planes {
        kill(world);
    }
    if ipc {
        trouble_the_ipc(world);
    }
    if shard {
        trouble_the_shard(world);
    }
}

fn trouble_a_peer(world: &mut World) {
    let peer = world.random.below(world.peers.len() as u64) as usize;
    let what = world.random.below(10);
    let again = world.now + Duration::from_millis(world.random.between(0, 1500));
    let (now, room) = (world.now, world.peers[peer].who.room);
    let name = world.peers[peer].who.name.clone();
    let Some(call) = world.live(peer).map(|live| live.call) else { return };
    match what {
        0 | 1 => {
            let remote = world.new_address(call);
            if let Some(live) = world.live(peer) {
                live.move_to(now, remote);
                world.note(Fault::AddressChange, &name);
            }
        }
        2 => {
            let random = world.random.word();
            if let Some(controlplane) = &mut world.controlplane {
                controlplane.restart_ice(now, call, random);
                world.note(Fault::IceRestart, &name);
            }
        }
        3 if world.controlplane.is_some() => {
            let is_publisher = world.peers[peer].who.is_publisher;
            world.note(if is_publisher { Fault::PublisherLeft } else { Fault::ViewerLeft }, &name);
            world.leave(peer, again);
        }
        4 => {
            world.peers[peer].state = State::Idle(again);
            world.note(Fault::PeerVanished, &name);
        }
        5 => {
            let muted = world.random.chance(600);
            if let Some(controlplane) = world.controlplane.as_mut().filter(|_| world.peers[peer].who.is_publisher) {
                controlplane.mute(now, room, participant_id(call), muted);
                world.note(Fault::Mute, &format!("{name} {muted}"));
            }
        }
        6 | 7 if !world.peers[peer].who.is_publisher => {
            let wish = world.random.below(4) as u8;
            world.wish(peer, wish);
            world.note(Fault::LayerWish, &format!("{name} {wish}"));
        }
        _ => {
            let Some(live) = world.live(peer) else { return };
            let Role::Publisher(publisher) = &mut live.role else { return };
            trouble_the_camera(publisher, what, again).into_iter().for_each(|fault| world.note(fault, &name));
        }
    }
}

fn trouble_a_member(world: &mut World) {
    let member = world.random.below(world.members.len() as u64) as usize;
    let what = world.random.below(12);
    let later = world.now + Duration::from_millis(world.random.between(0, 1500));
    let name = world.members[member].name.clone();
    let Some(number) = world.members[member].session else { return };
    match what {
        0 => {
            if let Some(controlplane) = world.controlplane.as_mut().filter(|it| it.control.is_some()) {
                controlplane.close(world.now, &signalled_id(number));
                world.forget_member(member, later);
                world.note(Fault::MemberLeft, &name);
            }
        }
        1 => {
            world.forget_member(member, later);
            world.note(Fault::MemberVanished, &name);
        }
        2 | 3 => {
            world.cut_member(member, later);
            world.note(Fault::SocketCut, &name);
        }
        4 | 5 => {
            world.change_room(member);
            world.note(Fault::RoomChange, &name);
        }
        6 => {
            let now = world.now;
            for call in world.link_calls(member) {
                let remote = world.new_address(call);
                if let Some(live) = world.members[member].lives().find(|live| live.call == call) {
                    live.move_to(now, remote);
                }
            }
            world.note(Fault::AddressChange, &name);
        }
        7 => {
            let Some(camera) = world.members[member].camera() else { return };
            trouble_the_camera(camera, 6 + later.nanos % 3, later)
                .into_iter()
                .for_each(|fault| world.note(fault, &name));
        }
        _ => {
            if world.change_subscription(member) {
                world.note(Fault::SubscriptionChange, &name);
            }
        }
    }
}

fn trouble_the_camera(publisher: &mut Publisher, what: u64, again: Instant) -> Option<Fault> {
    match what {
        6 => {
            publisher.change_ssrc();
            Some(Fault::SsrcChange)
        }
        7 => {
            publisher.silent_until = again;
            Some(Fault::PublisherPause)
        }
        _ => publisher.silence(again).map(|_| Fault::EncodingSilence),
    }
}

/// Kills one of the planes, never both at once: with both dies what they keep for each other.
fn kill(world: &mut World) {
    let (Some(controlplane), Some(dataplane)) = (&world.controlplane, &world.dataplane) else { return };
    let outage = Duration::from_millis(world.random.between(5, 400));
    let is_replaying = !world.is_settled();
    match world.random.below(3) {
        0 if dataplane.engine.is_some() => {
            let is_shaking_hands = controlplane.is_shaking_hands();
            world.note(Fault::ControlplaneKilled, &format!("{outage:?}"));
            if is_replaying {
                world.note(Fault::ControlplaneKilledInReplay, "");
            }
            if is_shaking_hands {
                world.note(Fault::HandshakeInterrupted, "");
            }
            world.kill_controlplane(outage);
        }
        1 if controlplane.holds() => {
            world.note(Fault::DataplaneKilled, &format!("{outage:?}"));
            world.kill_dataplane(outage);
        }
        2 if controlplane.holds() => world.dies_after = Some(world.random.below(4)),
        _ => {}
    }
}

fn trouble_the_ipc(world: &mut World) {
    if world.random.chance(300) {
        world.cut_ipc();
        world.reconnect_at = world.now + Duration::from_millis(world.random.below(300));
        world.note(Fault::IpcCut, "");
    } else {
        world.ipc_delay_ms = world.random.pick(&[0, 0, 3, 30]);
        if world.ipc_delay_ms > 0 {
            world.note(Fault::IpcDelay, "");
        }
    }
}

fn trouble_the_shard(world: &mut World) {
    if world.random.chance(300) {
        world.stalled_until = world.now + Duration::from_millis(world.random.between(5, 60));
        world.note(Fault::ShardStall, "");
    } else {
        world.outbox_room = world.random.pick(&[None, None, Some(0), Some(1), Some(2), Some(5)]);
    }
}

/// Ends all trouble.
fn heal(world: &mut World) {
    world.network.weather = Weather::FAIR;
    (world.ipc_delay_ms, world.outbox_room, world.dies_after) = (0, None, None);
    world.stalled_until = world.now;
    for peer in 0..world.peers.len() {
        let (now, room) = (world.now, world.peers[peer].who.room);
        if let State::Idle(at) = &mut world.peers[peer].state {
            *at = now;
        }
        if let Some(live) = world.live(peer)
            && let Role::Publisher(publisher) = &mut live.role
        {
            publisher.recover(now);
            let call = live.call;
            if let Some(controlplane) = &mut world.controlplane {
                controlplane.mute(now, room, participant_id(call), false);
            }
        }
    }
    for member in 0..world.members.len() {
        world.call_member(member);
        let now = world.now;
        if let Some(camera) = world.members[member].camera() {
            camera.recover(now);
        }
    }
}

/// Waits until every viewer sees and hears what is made now; returns how long the last one took.
fn wait_for_pictures(world: &mut World) -> u64 {
    let healed = world.now;
    let until = healed + PATIENCE;
    let before = world.discards();
    let mut blind: Vec<usize> = (0..world.peers.len()).filter(|peer| !world.peers[*peer].who.is_publisher).collect();
    while !blind.is_empty() {
        if world.now >= until {
            let now = world.discards().into_iter();
            let since = now.map(|(name, count)| (count - before.get(&name).copied().unwrap_or(0).min(count), name));
            let since: Vec<_> = since.filter(|(count, _)| *count > 0).collect();
            panic!("{PATIENCE:?} after the end of trouble {}; discards since then: {since:?}", describe(world, &blind));
        }
        world.step();
        unmute(world);
        blind.retain(|peer| !sees(world, *peer));
    }
    let until = healed + MEMBERS_PATIENCE;
    loop {
        let lacking: Vec<String> = (0..world.members.len()).filter_map(|member| world.lacks(member)).collect();
        if lacking.is_empty() {
            break;
        }
        assert!(world.now < until, "{MEMBERS_PATIENCE:?} after the end of trouble: {lacking:#?}");
        world.step();
        unmute(world);
    }
    (world.now.nanos - healed.nanos) / 1_000_000
}

/// A mute that a dead control plane could not take back at the end of trouble is taken back when it lives.
fn unmute(world: &mut World) {
    if !world.now.nanos.is_multiple_of(100_000_000) {
        return;
    }
    for peer in 0..world.peers.len() {
        let (now, room) = (world.now, world.peers[peer].who.room);
        if world.peers[peer].who.is_publisher
            && let Some(call) = world.live(peer).map(|live| live.call)
            && let Some(controlplane) = &mut world.controlplane
        {
            controlplane.mute(now, room, participant_id(call), false);
        }
    }
}

fn sees(world: &World, peer: usize) -> bool {
    let now_ms = world.now.nanos / 1_000_000;
    let is_fresh = |born_ms: u64| now_ms - born_ms < 150;
    world.viewer(peer).is_some_and(|viewer| {
        let is_wished = |tag: &Tag| tag.encoding == world.wished(peer, usize::from(tag.publisher));
        let picture = viewer.decoder.last().is_some_and(|tag| is_fresh(tag.born_ms) && is_wished(&tag));
        picture && viewer.last_sound.is_some_and(|tag| is_fresh(tag.born_ms))
    })
}

/// Now that nothing goes wrong, nothing may freeze.
fn hold_pictures(world: &mut World) {
    world.pass(Duration::from_millis(1000));
    let freezes = |world: &World| -> Vec<Option<(usize, u64)>> {
        let viewers = (0..world.peers.len()).map(|peer| Some((peer, world.viewer(peer)?.decoder.freezes)));
        let members = world.members.iter().enumerate().map(|(index, member)| Some((index, member.decoded().1)));
        viewers.chain(members).collect()
    };
    let before = freezes(world);
    world.pass(PEACE);
    assert_eq!(freezes(world), before, "no picture freezes when nothing goes wrong");
    let blind: Vec<usize> =
        (0..world.peers.len()).filter(|peer| !world.peers[*peer].who.is_publisher && !sees(world, *peer)).collect();
    assert!(blind.is_empty(), "in peace {}", describe(world, &blind));
    let lacking: Vec<String> = (0..world.members.len()).filter_map(|member| world.lacks(member)).collect();
    assert!(lacking.is_empty(), "in peace {lacking:#?}");
    assert!(world.is_settled(), "the planes agree");
    let (controlplane, dataplane) = (world.controlplane.as_ref().unwrap(), world.dataplane.as_ref().unwrap());
    let (want, have) = (controlplane.controller.plan(), dataplane.session.plan());
    compare("the controller", want, have);
    compare("the rooms", &controlplane.plan(), have);
}

fn compare(who: &str, want: &Plan, have: &Plan) {
    for key in want.keys().chain(have.keys()) {
        assert_eq!(want.object(key), have.object(key), "{who} and the data plane have one plan");
    }
}

/// Everybody goes; nothing may stay behind.
fn clear_out(world: &mut World) {
    let controlplane = world.controlplane.as_mut().unwrap();
    let never = world.now + Duration::from_secs(1000);
    let sessions: Vec<_> =
        controlplane.control.as_ref().unwrap().sessions().map(|session| session.id.clone()).collect();
    for session in sessions {
        controlplane.close(world.now, &session);
    }
    for peer in &mut world.peers {
        peer.state = State::Idle(never);
    }
    for member in 0..world.members.len() {
        world.forget_member(member, never);
    }
    world.pass(Duration::from_millis(500));
    let dataplane = world.dataplane.as_ref().unwrap();
    let left: Vec<&Key> = dataplane.session.plan().keys().filter(|key| !matches!(key, Key::Cookie(_))).collect();
    assert!(left.is_empty(), "{left:?} stays in the plan");
    let stats = dataplane.stats();
    let counters = stats.shards.iter().flat_map(|shard| &shard.counters);
    let left: Vec<_> = counters.filter(|(_, count)| *count > 0).collect();
    assert!(left.is_empty(), "{left:?} stays in the shard");
    // Rows of transports that ended while no data plane lived stay until their slots are used again.
    let deaths = world.fired.of(Fault::DataplaneKilled) + world.fired.of(Fault::DataplaneKilledInFlush);
    assert!(deaths > 0 || world.rows_taken() == 0, "rows stay in the table");
}

fn describe(world: &World, peers: &[usize]) -> String {
    let line = |peer: &usize| {
        let state = match &world.peers[*peer].state {
            State::Idle(at) => format!("connects at {at:?}"),
            State::Asked { call, since } => format!("has asked in {} at {since:?}", session_id(*call)),
            State::Live(live) => {
                let viewer = world.viewer(*peer);
                format!(
                    "in {} at {} sees {:?}, hears {:?}",
                    session_id(live.call),
                    live.remote,
                    viewer.and_then(|it| it.decoder.last()),
                    viewer.and_then(|it| it.last_sound),
                )
            }
        };
        format!("{} {state}", world.peers[*peer].who.name)
    };
    let lines: Vec<String> = peers.iter().map(line).collect();
    format!("at {:?} blind: {}", world.now, lines.join("; "))
}
