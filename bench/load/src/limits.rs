//! Every bound of the load generator in one place.

use std::time::Duration;

/// Runs of datagrams taken from a socket by one system call.
pub(crate) const RECEIVE_BATCH: usize = 4;
/// Bytes of one run: the largest UDP payload.
pub(crate) const RUN_BYTES_MAX: usize = 65_535;
/// Receive buffer asked for per socket. A viewer of 2 Mbit/s survives a pause of a few seconds with it; the kernel may
/// grant less (`net.core.rmem_max`).
pub(crate) const SOCKET_BUFFER_BYTES: usize = 2 << 20;
/// Sockets served between two looks at the timers.
pub(crate) const READY_EVENTS: usize = 256;
/// Input datagrams of one socket before others have their turn.
pub(crate) const RECEIVES_PER_TURN: usize = 4;

/// Sockets of the kernel's own price: what one `sendmmsg` may take (`UIO_MAXIOV`).
pub(crate) const FLOOR_SLOTS_MAX: usize = 1024;

/// Separate ranges of numbers kept per set; beyond it the two lowest ranges merge and `overflowed` is set.
pub(crate) const RANGES_MAX: usize = 4096;
/// Frames that wait for packets; the oldest is given up.
pub(crate) const OPEN_FRAMES_MAX: usize = 128;
/// Publishers told apart on one track; packets of further ones are counted only.
pub(crate) const SOURCES_MAX: usize = 16;
/// Tracks recorded per viewer.
pub(crate) const TRACKS_MAX: usize = 8;
/// Largest gaps between arrivals kept per track.
pub(crate) const GAPS_MAX: usize = 32;
/// SSRCs and payload types listed per track.
pub(crate) const IDENTIFIERS_MAX: usize = 32;
/// State changes kept per endpoint.
pub(crate) const STATE_CHANGES_MAX: usize = 64;
/// Packets that a recorder keeps: half an hour of a film.
pub(crate) const RECORDED_PACKETS_MAX: usize = 1 << 20;
/// Packets whose sending may be made up for after a late wake; older ones are skipped and counted.
pub(crate) const CATCH_UP: Duration = Duration::from_secs(1);
/// Key frame requests are not repeated faster than this.
pub(crate) const KEY_FRAME_REQUEST_INTERVAL: Duration = Duration::from_millis(500);

const _: () = assert!(RECEIVE_BATCH > 0 && RECEIVES_PER_TURN > 0);
const _: () = assert!(RANGES_MAX > 1);

/// Faults of a call that are kept in words.
pub(crate) const FAULTS_MAX: usize = 100;
/// Joins of a call whose times are kept.
pub(crate) const JOIN_TIMES_MAX: usize = 1 << 20;
