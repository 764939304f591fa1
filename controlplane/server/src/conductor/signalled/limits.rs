//! Every maximum of sessions with a signalling connection, and what relates them.

use std::time::Duration;

use sluice_controlplane_core::limits::TRACKS_PER_PARTICIPANT_MAX;

/// What is kept of what a client was told, for a connection that comes back; a client that is further behind is told how
/// things are instead.
pub(super) const TOLD_KEPT_MAX: usize = 256;
/// Bytes of it that were taken already.
pub(super) const TOLD_KEPT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of it in all: what waits for a connection that is slow, or away.
pub(super) const TOLD_WAITING_BYTES_MAX: usize = 1024 * 1024;
/// The least time between two tellings of how everything is in a session's rooms, to a client that has missed what is not
/// kept. One that comes back sooner waits.
pub(super) const TOLD_ANEW_INTERVAL_MIN: Duration = Duration::from_secs(1);
/// How long a session whose connection was lost is waited for before others learn of it.
pub const RESUME_WITHIN: Duration = Duration::from_secs(15);
/// How long a peer connection may take from its description to the end of its DTLS handshake.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// How long to wait before an offer that could not be made is tried again.
pub(super) const OFFER_PAUSE: Duration = Duration::from_secs(1);
/// Sessions that have ended with their token and are remembered, so that a client which comes back learns why there is none;
/// the oldest is forgotten.
pub(super) const EXPIRED_KEPT_MAX: usize = 1024;
/// Tracks that a client may speak of before it offers them.
pub(super) const DECLARED_MAX: usize = 32;
/// Bytes of a token with which a session is resumed: its id and a tag.
pub(super) const RESUME_TOKEN_BYTES_MAX: usize = 128;

const _: () = assert!(DECLARED_MAX >= TRACKS_PER_PARTICIPANT_MAX as usize, "all that may be published may be declared");
const _: () =
    assert!(TOLD_KEPT_BYTES_MAX < TOLD_WAITING_BYTES_MAX, "what is needed is kept longer than what was taken");
