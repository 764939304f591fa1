//! Two ends joined by a wire that the test holds.

mod convergence;
mod frames;
mod handshake;
mod orders;

use super::controller::{self, Controller};
use super::dataplane::{self, Dataplane, Newcomer};
use super::{Configuration, DescriptorKind, Identity, Ready, SessionError};
use crate::ice::{NodeSecret, Ufrag};
use crate::ids::TransportId;
use crate::plan::{Change, Object, Path, Plan, Transport};

pub(super) fn identity(instance: u64) -> Identity {
    Identity { software: "test".into(), instance, capabilities: vec!["one".into()] }
}

pub(super) fn configuration() -> Configuration {
    Configuration { node_secret: NodeSecret::new([7; 32]), media_port: 0, listen: Vec::new() }
}

pub(super) fn ready() -> Ready {
    Ready { configuration: Configuration { media_port: 4242, ..configuration() }, shards: 1 }
}

pub(super) fn controller(epoch: u16) -> Controller<u32> {
    Controller::new(identity(u64::from(epoch)), epoch, configuration())
}

pub(super) fn events<D>(controller: &mut Controller<D>) -> Vec<controller::Event<D>> {
    std::iter::from_fn(|| controller.poll_event()).collect()
}

pub(super) fn dataplane_events(dataplane: &mut Dataplane<u32>) -> Vec<dataplane::Event<u32>> {
    std::iter::from_fn(|| dataplane.poll_event()).collect()
}

/// Lets `controller` introduce itself to `dataplane`.
pub(super) fn connect(controller: &mut Controller<u32>, dataplane: &mut Dataplane<u32>) -> Result<(), SessionError> {
    controller.handle_connected();
    controller.handle_bytes(&dataplane.greeting(), [])?;
    controller.supply_descriptors(Vec::new());
    let mut newcomer = Newcomer::new();
    while let Some(transmit) = controller.poll_transmit() {
        newcomer.handle_bytes(&transmit.bytes, transmit.descriptors)?;
    }
    dataplane.admit(newcomer)
}

/// Carries bytes both ways until nobody has anything to say; the data plane's shell says yes to everything.
pub(super) fn exchange(controller: &mut Controller<u32>, dataplane: &mut Dataplane<u32>) -> Result<(), SessionError> {
    loop {
        let mut quiet = true;
        while let Some(transmit) = controller.poll_transmit() {
            quiet = false;
            dataplane.handle_bytes(&transmit.bytes, transmit.descriptors)?;
        }
        for event in dataplane_events(dataplane) {
            match event {
                dataplane::Event::Configure { .. } | dataplane::Event::Attached => {
                    dataplane.ready(ready(), vec![(DescriptorKind::Table { shard: 0 }, 11)]);
                }
                dataplane::Event::Command { id, .. } => dataplane.acknowledge(id, Ok(())),
                dataplane::Event::StatsRequested(id) => dataplane.reply_stats(id, crate::stats::Stats::default()),
                dataplane::Event::Pinged(nonce) => dataplane.pong(nonce),
                dataplane::Event::RequestKeyFrame(_) | dataplane::Event::Pong(_) => {}
            }
        }
        while let Some(transmit) = dataplane.poll_transmit() {
            quiet = false;
            controller.handle_bytes(&transmit.bytes, transmit.descriptors)?;
        }
        if quiet {
            return Ok(());
        }
    }
}

/// A pair that is live, with `plan` wanted and there.
pub(super) fn live_pair(plan: Plan) -> (Controller<u32>, Dataplane<u32>) {
    let (mut controller, mut dataplane) = (controller(1), Dataplane::new(identity(100), 1));
    connect(&mut controller, &mut dataplane).unwrap();
    exchange(&mut controller, &mut dataplane).unwrap();
    controller.adopt(plan);
    exchange(&mut controller, &mut dataplane).unwrap();
    events(&mut controller);
    (controller, dataplane)
}

/// Sends what the controller has to say, and returns the commands that reach the data plane's shell.
pub(super) fn commands(
    controller: &mut Controller<u32>,
    dataplane: &mut Dataplane<u32>,
) -> Vec<(dataplane::CommandId, Change, bool)> {
    while let Some(transmit) = controller.poll_transmit() {
        dataplane.handle_bytes(&transmit.bytes, transmit.descriptors).unwrap();
    }
    let commands = dataplane_events(dataplane).into_iter().map(|event| {
        let dataplane::Event::Command { id, change, resume } = event else { panic!("{event:?}") };
        (id, change, resume)
    });
    commands.collect()
}

pub(super) fn transport(slot: u32) -> Transport {
    Transport {
        id: TransportId::new(0, slot, 1),
        credentials: vec![Ufrag { transport: TransportId::new(0, slot, 1), restart: 0, random: 5 }],
        keys: None,
        cname: "cname".into(),
        extmap_allow_mixed: true,
        remb_cap: None,
        rtcp_rsize: false,
    }
}

pub(super) fn path(slot: u32, port: u16) -> Object {
    let transport = TransportId::new(0, slot, 1);
    let credentials = Ufrag { transport, restart: 0, random: 5 };
    let address = ([127, 0, 0, 1], port).into();
    Object::Path(Path { transport, local: address, remote: address, credentials })
}
