//! Every maximum and deadline of the way to the other plane.

use std::time::Duration;

/// Events that wait for the owner of the plan; the link waits for a place.
pub(super) const EVENTS_MAX: usize = 4096;
/// Descriptors that come or go with one system call; the kernel allows 253.
pub(super) const DESCRIPTORS_MAX: usize = 64;
/// Bytes read from the control stream at once.
pub(super) const READ_BYTES: usize = 64 * 1024;
/// How long a data plane may take from its start to its greeting, and from there to being ready.
pub(super) const START_LIMIT: Duration = Duration::from_secs(10);
/// How often a starting data plane is looked for.
pub(super) const START_POLL: Duration = Duration::from_millis(1);
/// How often a data plane is asked whether it is alive.
pub(super) const PING_INTERVAL: Duration = Duration::from_millis(500);
/// How long it may take to answer before it counts as hung, is killed and replaced. Forwarding itself needs microseconds;
/// a machine that schedules a process so late serves no calls either.
pub(super) const PONG_LIMIT: Duration = Duration::from_secs(2);
/// A data plane that served for less counts as failing; one that dies of what is replayed to it dies within milliseconds.
pub(super) const SHORT_LIFE: Duration = Duration::from_secs(2);
/// Short lives in a row from which on the next start waits.
pub(super) const SHORT_LIVES_MAX: u32 = 2;
/// The longest wait between starts.
pub(super) const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// How long a data plane that was asked to end may take.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(3);
/// Connections in a row that a living data plane may break before it is replaced.
pub(super) const BROKEN_CONNECTIONS_MAX: u32 = 3;

const _: () = assert!(PING_INTERVAL.as_millis() * 2 <= PONG_LIMIT.as_millis(), "a lost tick is no hang");
