//! Sluice's data plane: sockets, clock, cores and the shared table around the core.
//!
//! [`run`] opens the control socket and starts a thread per shard; [`control`] keeps the plan, [`shard`] moves packets.

mod clock;
pub mod config;
mod control;
pub mod log;
mod preflight;
mod privileges;
mod shard;
mod table;
mod udp;

use std::thread;

use anyhow::Context;
use config::{Config, Pin};
use control::{Control, Listener};
use privileges::Owner;
use sluice_protocol::session::Identity;
use sluice_protocol::session::dataplane::Dataplane;

/// Shards of this data plane.
const SHARDS: usize = 1;
/// Cores from which on shards are pinned by default; on smaller machines the scheduler knows better.
const PINNED_FROM_CORES: usize = 4;

/// Makes any panic end the process: a supervisor starts it again and replays the plan, while half a data plane is worse
/// than none.
pub fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// Runs a data plane until it fails.
///
/// # Errors
/// What keeps it from running, with what to do about it.
pub fn run(config: &Config) -> anyhow::Result<()> {
    // A session of its own, so that a terminal's hang-up or the control plane's end does not reach it. A process that
    // leads a group already, as under a service manager, has one.
    let _leader_already = rustix::process::setsid();
    let owner = Owner::current();
    preflight::raise_open_files();
    let listener = Listener::bind(&config.ipc.path, owner)?;
    preflight::check(SHARDS as u64)?;
    privileges::drop_to(&config.process.user)?;
    let mut shards = Vec::new();
    for number in 0..SHARDS {
        let (ours, theirs) = shard::link()?;
        shards.push(ours);
        let core = core_of(number, config.process.pin);
        let shard = u8::try_from(number).context("too many shards")?;
        let body = move || {
            // Shards use sockets that the control thread has made.
            let ended = privileges::give_up().map_err(Into::into).and_then(|()| shard::run(shard, core, theirs));
            if let Err(error) = ended {
                tracing::error!(shard, "{error:#}");
            }
        };
        let _detached = thread::Builder::new().name(format!("shard-{number}")).spawn(body)?;
    }
    let session = Dataplane::new(identity()?, u8::try_from(SHARDS).context("too many shards")?);
    tracing::info!(socket = %config.ipc.path.display(), shards = SHARDS, "the data plane waits for its controller");
    Control::new(listener, session, shards, config.udp.clone()).run()
}

fn identity() -> anyhow::Result<Identity> {
    let mut instance = [0; 8];
    let _filled = rustix::rand::getrandom(&mut instance, rustix::rand::GetRandomFlags::empty())?;
    Ok(Identity {
        software: concat!("sluice-dataplane/", env!("CARGO_PKG_VERSION")).to_owned(),
        instance: u64::from_ne_bytes(instance),
        capabilities: Vec::new(),
    })
}

/// Returns the core to pin a shard to. The last cores are taken first: the first one serves most interrupts.
fn core_of(shard: usize, pin: Pin) -> Option<usize> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let pinned = match pin {
        Pin::Auto => cores >= PINNED_FROM_CORES,
        Pin::On => true,
        Pin::Off => false,
    };
    pinned.then(|| cores - 1 - shard % cores)
}
