//! Every maximum of an egress stream.

use core::time::Duration;

/// Packets behind the newest one of a source that may still come late; an older one is discarded. As deep as the SRTP
/// replay window of ingress.
pub(crate) const LATE_PACKETS_MAX: u64 = 1024;
/// Runs of numbers given away that are remembered for late packets; what came before the oldest one is discarded.
pub(crate) const GIVEN_AWAY_MAX: usize = 64;
/// Numbers left open for packets lost upstream; a larger jump of the source leaves one, so that a receiver never asks
/// for thousands.
pub(crate) const GAP_PACKETS_MAX: u64 = 512;
/// Picture ids left open for pictures lost upstream; a larger jump leaves one.
pub(crate) const GAP_PICTURES_MAX: u64 = 256;
/// Packets of a video stream whose repeat can be asked for; the newer one takes the place of the older.
pub(crate) const REPEATABLE_PACKETS: usize = 1024;
/// Changes of the source, or of its offsets, behind which packets can still be repeated.
pub(crate) const REPEATABLE_ERAS: usize = 8;
/// Repeats of one packet; Chromium asks ten times at most.
pub(crate) const REPEATS_PER_PACKET_MAX: u8 = 10;
/// The least time between two repeats of one packet, whatever round-trip time is claimed.
pub(crate) const REPEAT_INTERVAL_MIN: Duration = Duration::from_millis(5);
/// Bytes of a datagram above which optional header extensions are shed.
pub(crate) const DATAGRAM_BYTES_COMFORTABLE: usize = 1250;
/// How long an encoding may be silent before another one, or a former SSRC, takes its place.
pub(crate) const SILENCE_MAX: Duration = Duration::from_millis(500);
/// How far a source's timestamp may run ahead of its packets' arrival before it counts as a new timeline.
pub(crate) const TIMESTAMP_LEAD_MAX: Duration = Duration::from_secs(10);
/// How far the publisher's reports and the arrivals may differ about the distance of two frames; beyond it one of the
/// reports is from before its wall clock was set, and the arrivals decide.
pub(crate) const CAPTURE_ERROR_MAX: Duration = Duration::from_millis(500);
/// How far behind what was sent last a source may start: as old as a packet of the history can be, and the error above.
pub(crate) const CATCH_UP_MAX: Duration = Duration::from_secs(3);

const _: () = assert!(REPEATABLE_PACKETS.is_power_of_two() && REPEATABLE_PACKETS <= 1 << 15);
const _: () = assert!(LATE_PACKETS_MAX.is_multiple_of(64) && GAP_PACKETS_MAX < LATE_PACKETS_MAX);
const _: () = assert!(GAP_PICTURES_MAX < 1 << 14, "a gap stays unambiguous in 15 bits");
