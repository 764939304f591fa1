//! Simulation: one shard, the control core and the IPC session with model peers, under virtual time in one process with
//! one seed.
//!
//! `SLUICE_SIM_SEEDS=N` runs N seeds, `SLUICE_SIM_SEED=N` replays one.
#![cfg(test)]
#![expect(clippy::cast_possible_truncation, reason = "the numbers of a run are small, and its own")]

mod answer;
mod controlplane;
mod dataplane;
mod decoder;
mod faults;
mod guard;
mod ice;
mod ipc;
mod media;
mod member;
mod network;
mod peer;
mod publisher;
mod random;
mod run;
mod scenarios;
mod signalled;
mod srtp;
mod subscriber;
mod viewer;
mod world;

use std::panic::{catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use faults::Fired;
use run::Report;

/// Seeds of a run without further wishes.
const SEEDS: u64 = 20;
/// From so many seeds on each fault point must have fired.
const SEEDS_THAT_COVER: u64 = 20;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs one seed; when it fails it says how to see that again.
fn run_seed(seed: u64, is_traced: bool) -> Report {
    match catch_unwind(|| run::run(seed, is_traced)) {
        Ok(report) => report,
        Err(panic) => {
            eprintln!("seed {seed} fails; replay: SLUICE_SIM_SEED={seed} cargo test -p sluice-tests --test sim");
            resume_unwind(panic);
        }
    }
}

#[test]
fn calls_survive_whatever_goes_wrong() {
    if let Some(seed) = number("SLUICE_SIM_SEED") {
        println!("seed {seed}: {:?}", run_seed(seed, true));
        return;
    }
    let first = number("SLUICE_SIM_FIRST").unwrap_or(1);
    let seeds = number("SLUICE_SIM_SEEDS").unwrap_or(SEEDS);
    let (next, failures, reports) = (AtomicU64::new(first), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    match catch_unwind(|| run_seed(seed, false)) {
                        Ok(report) => reports.lock().unwrap().push(report),
                        Err(_) => failures.lock().unwrap().push(seed),
                    }
                }
            });
        }
    });
    let (failures, reports) = (failures.into_inner().unwrap(), reports.into_inner().unwrap());
    let mut fired = Fired::new();
    reports.iter().for_each(|report| fired.add(&report.fired));
    let sum = |count: fn(&Report) -> u64| reports.iter().map(count).sum::<u64>();
    let slowest = reports.iter().map(|report| report.healed_ms).max().unwrap_or(0);
    println!(
        "{} seeds: {} connections, {} packets of which {} repeats, {} frames decoded, {} of them with dependency \
         descriptors, pictures back at most {slowest} ms \
         after the end of trouble; fault points: {}",
        reports.len(),
        sum(|report| report.calls),
        sum(|report| report.packets),
        sum(|report| report.repeats),
        sum(|report| report.frames),
        sum(|report| report.described),
        fired.report(),
    );
    assert!(failures.is_empty(), "these seeds fail: {failures:?}");
    if seeds >= SEEDS_THAT_COVER {
        assert!(sum(|report| report.described) > 0, "nobody decoded a frame by its dependency descriptors");
        assert!(fired.missing().is_empty(), "these fault points never fired: {:?}", fired.missing());
    }
}
