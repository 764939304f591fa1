//! Every maximum of the conductor, and what relates them.

use std::time::Duration;

use crate::dtls::limits::HANDSHAKE_DEADLINE;

/// Jobs that wait for the task; handlers wait for a place, so that a slow conductor slows its callers.
pub(super) const JOBS_MAX: usize = 1024;
/// DTLS datagrams that wait to be sent; further ones are dropped, as DTLS repeats itself.
pub(super) const OUTGOING_MAX: usize = 4096;
/// Events of associations that wait for the task; associations wait for a place with what matters.
pub(super) const ASSOCIATION_EVENTS_MAX: usize = 4096;
/// Sessions of this node; an offer beyond them is answered 503.
pub(super) const SESSIONS_MAX: usize = 50_000;
/// Log lines of what happens in rooms, within a second: who comes and goes is a stranger's to decide.
pub(super) const EVENT_LINES_PER_SECOND: u32 = 200;
/// DTLS handshakes at the same time; the first datagram of a further one is dropped and counted, and comes again.
pub(super) const HANDSHAKES_MAX: usize = 4096;

/// What a handshake costs a core of this decade: 0.5 to 0.7 ms, mostly for signatures.
const HANDSHAKE_CPU: Duration = Duration::from_millis(1);
const _: () = assert!(
    HANDSHAKES_MAX as u128 * HANDSHAKE_CPU.as_micros() < HANDSHAKE_DEADLINE.as_micros() / 2,
    "one core ends all handshakes that begin at once long before their deadline"
);
const _: () = assert!(HANDSHAKES_MAX < SESSIONS_MAX, "a handshake is a session's");
