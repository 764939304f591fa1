//! Every maximum of a shard, and what relates them. What happens at a limit stands where it is used.

use std::time::Duration;

use sluice_protocol::limits::{PACKET_BYTES_MAX, STREAMS_PER_TRANSPORT_MAX};

use crate::port::{RUN_BYTES_MAX, RUN_SEGMENTS_MAX};

/// Bytes of a received datagram; a larger one is discarded. Media fits an Ethernet frame, DTLS the packet stream.
pub(crate) const DATAGRAM_BYTES_MAX: usize = PACKET_BYTES_MAX;
/// Bytes of a sealed packet that is sent: what IPv6 over Ethernet leaves, so that nothing is fragmented on the way.
pub(crate) const SEALED_BYTES_MAX: usize = 1452;
/// Five-tuples that one transport remembers as validated; the one validated longest ago goes first.
pub(crate) const FIVE_TUPLES_PER_TRANSPORT_MAX: usize = 8;
/// Tracks of one transport; more are refused with `PlanFull`.
pub(crate) const TRACKS_PER_TRANSPORT_MAX: usize = 64;
/// Egress streams of one transport; more are refused with `PlanFull`.
pub(crate) const EGRESSES_PER_TRANSPORT_MAX: usize = 512;
/// SSRCs that one transport may be heard with; beyond it one that carries nothing now makes room, or none does.
pub(crate) const STREAMS_MAX: usize = STREAMS_PER_TRANSPORT_MAX;

/// SSRCs of one transport that belong to no track and whose packets are told as arrived all the same: an encoding that an
/// answer left out has two, and a publisher with more than this finds the rest reported as lost.
pub(crate) const REFUSED_SSRCS_MAX: usize = 16;
/// SSRCs that one transport may introduce within [`LEARNING_WINDOW`]; each of them is an event to the control plane.
pub(crate) const LEARNT_PER_WINDOW_MAX: u32 = 128;
/// The window of that limit.
pub(crate) const LEARNING_WINDOW: Duration = Duration::from_secs(10);
/// How long an SSRC is silent before the one that carried its stream before may have it back.
pub(crate) const SSRC_SILENCE_MIN: Duration = Duration::from_millis(500);
/// How long an encoding is silent, while the others go on, before it counts as not sent any more. Encoders that are short
/// of bits leave out a few frames.
pub(crate) const ENCODING_SILENCE_MIN: Duration = Duration::from_millis(300);
/// Frames that the others begin meanwhile at least, so that few frames a second are no silence.
pub(crate) const ENCODING_SILENCE_FRAMES: u8 = 6;
/// Template structures of one SSRC that its packets in the history may refer to; a packet with a further one is forwarded
/// without what its dependency descriptor says. Browsers make a new one when the layers change.
pub(crate) const STRUCTURES_MAX: usize = 8;

/// DTLS datagrams waiting for the next flush to hand them to the control plane; more are dropped.
pub(crate) const PUNT_QUEUE_MAX: usize = 256;
/// DTLS datagrams of one transport that are handed on within [`PUNT_WINDOW`]; more are dropped. A handshake with all
/// its retransmissions needs about 40, data channels behind it are bounded by SCTP.
pub(crate) const PUNTS_PER_WINDOW_BEFORE_KEYS_MAX: u32 = 64;
/// The same once the handshake is done and DTLS carries data channels.
pub(crate) const PUNTS_PER_WINDOW_MAX: u32 = 20_000;
/// The window of the two limits above.
pub(crate) const PUNT_WINDOW: Duration = Duration::from_secs(10);
/// STUN answers, reports and outgoing DTLS waiting for the next flush; more are dropped and counted, as all of them are
/// repeated by their protocols.
pub(crate) const CONTROL_QUEUE_MAX: usize = 1024;
/// Events waiting for the shell; of more, those that tell no state are dropped, the oldest first.
pub(crate) const EVENTS_MAX: usize = 4096;

/// Entries of the heap of deadlines for each transport; of more, those that were overtaken are swept out, which leaves at
/// most one for each kind of deadline.
pub(crate) const TIMER_ENTRIES_PER_TRANSPORT_MAX: usize = 16;

/// Without an authenticated request for this long nothing is sent any more (RFC 7675 section 5.1).
pub(crate) const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long after a nomination the peer's packets may still come from the pair that it has left: what was under way.
pub(crate) const NOMINATION_SETTLED: Duration = Duration::from_millis(200);

/// A five-tuple that was heard within this time is not given to another transport. Browsers check every 2.5 to 6 s.
pub(crate) const FIVE_TUPLE_HELD: Duration = Duration::from_secs(10);
/// STUN transactions that a transport remembers; at a check every 2.5 s those of the last 160 s.
pub(crate) const TRANSACTIONS_MAX: usize = 64;

/// Packets in the history of a video track.
pub(crate) const HISTORY_VIDEO_PACKETS_MAX: usize = 4096;
/// Bytes in the history of a video track; 4 MiB hold 1.6 s of 20 Mbit/s.
pub(crate) const HISTORY_VIDEO_BYTES_MAX: usize = 4 << 20;
/// How long the history of a video track keeps a packet at most.
pub(crate) const HISTORY_VIDEO_AGE_MAX: Duration = Duration::from_millis(2000);
/// Packets in the history of an audio track.
pub(crate) const HISTORY_AUDIO_PACKETS_MAX: usize = 64;
/// Bytes in the history of an audio track.
pub(crate) const HISTORY_AUDIO_BYTES_MAX: usize = 64 << 10;
/// How long the history of an audio track keeps a packet at most.
pub(crate) const HISTORY_AUDIO_AGE_MAX: Duration = Duration::from_millis(500);

/// A key frame older than this is not replayed to a new viewer who can wait for a fresh one.
pub(crate) const REPLAY_AGE_MAX: Duration = Duration::from_millis(1900);
/// A key frame further back than so many packets is not replayed.
pub(crate) const REPLAY_PACKETS_MAX: u64 = 1024;
/// How long a key frame of another encoding waits for the rest of the frame before it.
pub(crate) const OPEN_FRAME_MAX: Duration = Duration::from_millis(100);
/// Packets of a replay in one [`REPLAY_INTERVAL`].
pub(crate) const REPLAY_BURST_PACKETS: u32 = 32;
/// How often a replay goes on.
pub(crate) const REPLAY_INTERVAL: Duration = Duration::from_millis(5);
/// How long live pictures wait behind a full socket before whole frames are dropped.
pub(crate) const BACKLOG_VIDEO_AGE_MAX: Duration = Duration::from_millis(10);
/// How long sound waits behind a full socket, where it goes first: as long as a jitter buffer may still use it.
pub(crate) const BACKLOG_AUDIO_AGE_MAX: Duration = Duration::from_millis(200);

/// Missing sequence numbers of one stream that are asked for; beyond it the oldest is given up.
pub(crate) const MISSING_MAX: usize = 256;
/// A jump ahead by more than this is a new start of the stream, not a loss.
pub(crate) const SEQUENCE_JUMP_MAX: u64 = 512;
/// How often one number is asked for before it is given up.
pub(crate) const NACK_TRIES_MAX: u8 = 10;
/// How long one number is asked for; later a repeat comes after the decoder's patience.
pub(crate) const NACK_AGE_MAX: Duration = Duration::from_millis(1000);
/// The least time between two requests for the same number.
pub(crate) const NACK_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// How long a publisher is given for a repair before it has made one: most are nearer, and a request too many costs less
/// than a frame that comes too late.
pub(crate) const REPAIR_TIME_UNKNOWN: Duration = Duration::from_millis(80);
/// How long a publisher is given for a repair at most, so that there are two requests in [`NACK_AGE_MAX`].
pub(crate) const REPAIR_TIME_MAX: Duration = Duration::from_millis(500);

/// The least time between two key frame requests to one encoding of a track.
pub(crate) const KEY_FRAME_INTERVAL_MIN: Duration = Duration::from_millis(500);
/// The least time between two key frame requests to a track, whichever encodings they name.
pub(crate) const KEY_FRAME_TRACK_INTERVAL_MIN: Duration = Duration::from_millis(200);
/// How long a publisher may take to answer a key frame request before it is asked again.
pub(crate) const KEY_FRAME_PATIENCE: Duration = Duration::from_millis(1000);
/// How often a key frame is asked for in a row before waiting for a subscriber to ask again.
pub(crate) const KEY_FRAME_TRIES_MAX: u8 = 10;

/// How often transport-wide feedback is sent while packets come.
pub(crate) const FEEDBACK_INTERVAL: Duration = Duration::from_millis(50);
/// How often the fixed cap is repeated to a publisher that has no transport-wide feedback.
pub(crate) const REMB_INTERVAL: Duration = Duration::from_millis(1000);
/// How often sender and receiver reports go out per transport (RFC 3550 section 6.2, reduced as RFC 4585 allows).
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_millis(1000);

/// Repeats that one transport is sent within [`REPEAT_WINDOW`].
pub(crate) const REPEATS_PER_WINDOW_MAX: u32 = 1000;
/// The window of that limit.
pub(crate) const REPEAT_WINDOW: Duration = Duration::from_millis(1000);
/// Repeats waiting for the next flush, of all transports; more are dropped, as they will be asked for again.
pub(crate) const REPEAT_QUEUE_MAX: usize = 4096;

const _: () = assert!(SEALED_BYTES_MAX * 2 <= RUN_BYTES_MAX, "a run of two fits");
const _: () = assert!(REPLAY_BURST_PACKETS as usize <= RUN_SEGMENTS_MAX, "a burst of a replay may be one run");
const _: () = assert!(REPLAY_PACKETS_MAX <= HISTORY_VIDEO_PACKETS_MAX as u64, "a replay comes from the history");
const _: () = assert!(OPEN_FRAME_MAX.as_nanos() < ENCODING_SILENCE_MIN.as_nanos(), "silence ends no wait");
const _: () = assert!(REPLAY_AGE_MAX.as_nanos() < HISTORY_VIDEO_AGE_MAX.as_nanos(), "a replay comes from the history");
const _: () =
    assert!(BACKLOG_AUDIO_AGE_MAX.as_nanos() < HISTORY_AUDIO_AGE_MAX.as_nanos(), "what waits is still in the history");
const _: () = assert!(
    KEY_FRAME_TRACK_INTERVAL_MIN.as_nanos() < KEY_FRAME_INTERVAL_MIN.as_nanos(),
    "a track's limit does not make its encodings' pointless"
);
const _: () =
    assert!(KEY_FRAME_INTERVAL_MIN.as_nanos() < KEY_FRAME_PATIENCE.as_nanos(), "patience outlasts the least interval");
const _: () = assert!(
    NACK_INTERVAL_MIN.as_nanos() < REPAIR_TIME_UNKNOWN.as_nanos()
        && REPAIR_TIME_UNKNOWN.as_nanos() < REPAIR_TIME_MAX.as_nanos()
        && REPAIR_TIME_MAX.as_nanos() < NACK_AGE_MAX.as_nanos(),
    "what is never repaired is asked for twice"
);
const _: () = assert!(MISSING_MAX as u64 <= SEQUENCE_JUMP_MAX, "a list of missing numbers spans less than a jump");
const _: () =
    assert!((PUNTS_PER_WINDOW_BEFORE_KEYS_MAX as usize) < PUNT_QUEUE_MAX, "one handshake does not fill the queue");
