//! Every maximum of the conductor.

/// Jobs that wait for the task; handlers wait for a place, so that a slow conductor slows its callers.
pub(super) const JOBS_MAX: usize = 1024;
/// DTLS datagrams that wait to be sent; further ones are dropped, as DTLS repeats itself.
pub(super) const OUTGOING_MAX: usize = 4096;
/// Events of associations that wait for the task; associations wait for a place with what matters.
pub(super) const ASSOCIATION_EVENTS_MAX: usize = 4096;
/// Sessions of this node; an offer beyond them is answered 503.
pub(super) const SESSIONS_MAX: usize = 50_000;
