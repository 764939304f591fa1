//! Two ends joined by a wire that the test holds.

#![cfg(test)]

use super::controller::{self, Controller};
use super::dataplane::{self, Dataplane, Newcomer};
use super::{Configuration, DescriptorKind, Identity, Ready, SessionError};
use crate::ice::NodeSecret;

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

mod smoke {
    use super::*;
    use crate::plan::{Cookie, Object, Plan};

    #[test]
    fn a_fresh_pair_goes_live_and_brings_the_plan_over() {
        let (mut controller, mut dataplane) = (controller(1), Dataplane::new(identity(100), 1));
        connect(&mut controller, &mut dataplane).unwrap();
        exchange(&mut controller, &mut dataplane).unwrap();
        assert!(matches!(
            events(&mut controller)[..],
            [controller::Event::DescriptorsWanted, controller::Event::Ready { .. }, controller::Event::Snapshot(_)]
        ));
        controller.adopt(Plan::new());
        controller.put(Object::Cookie(Cookie { key: 5, bytes: vec![1, 2, 3] }));
        let ticket = controller.barrier();
        assert!(!controller.is_acknowledged(ticket));
        exchange(&mut controller, &mut dataplane).unwrap();
        assert!(controller.is_acknowledged(ticket));
        assert_eq!(dataplane.plan(), controller.plan());
        assert_eq!(events(&mut controller), [controller::Event::Live, controller::Event::Acknowledged(ticket)]);
    }
}
