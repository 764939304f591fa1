//! Every maximum and deadline of the way to the other plane.

use std::time::Duration;

/// Events that wait for the owner of the plan; the link waits for a place.
pub(super) const EVENTS_MAX: usize = 4096;
/// Who waits for changes to be acknowledged; further ones are told so at once. Those who gave up make room first.
pub const WAITING_MAX: usize = 4096;
/// Changed keys that wait to be acknowledged, from which on nobody new is let in. A session has about five.
pub(super) const CHANGES_WAITING_MAX: usize = 64 * 1024;
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
/// How long a data plane that was asked to end may take.
pub(super) const STOP_LIMIT: Duration = Duration::from_secs(3);
/// How long a process whose stream broke may take to show that it is dying: it closes its sockets first.
pub(super) const DYING_LIMIT: Duration = Duration::from_millis(50);

const _: () = assert!(PING_INTERVAL.as_millis() * 2 <= PONG_LIMIT.as_millis(), "a lost tick is no hang");
