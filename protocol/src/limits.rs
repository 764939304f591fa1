//! Every maximum of the contract, and what relates them.

/// Shards of one data plane; the shard has eight bits in an address.
pub const SHARDS_MAX: usize = 64;
/// Slots of one kind of object on one shard; the slot has 24 bits in an address.
pub const SLOTS_MAX: u32 = 1 << 20;
/// Objects in one plan; a command above it is refused with [`crate::event::Refusal::PlanFull`].
pub const PLAN_OBJECTS_MAX: usize = 1 << 20;
/// Bytes of one opaque cookie.
pub const COOKIE_BYTES_MAX: usize = 60 * 1024;
/// Bytes of all cookies of one plan.
pub const COOKIES_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Bytes of one frame of the control stream; a longer one ends the connection.
pub const FRAME_BYTES_MAX: usize = 128 * 1024;
/// Bytes of one datagram that crosses the packet stream.
pub const PACKET_BYTES_MAX: usize = 2048;
/// Bytes of one write to the packet stream.
pub const PACKET_BATCH_BYTES_MAX: usize = 64 * 1024;
/// Commands sent and not yet acknowledged.
pub const COMMANDS_IN_FLIGHT_MAX: usize = 4096;
/// Credentials of one transport that are valid at the same time: the current ones and those of an ICE restart.
pub const CREDENTIALS_MAX: usize = 2;
/// Payload types that one track may announce.
pub const CODECS_MAX: usize = 32;
/// SSRCs that a track's description may announce up front, repairs not counted.
pub const ENCODINGS_MAX: usize = 8;
/// Streams (SSRCs) that one transport may be heard with, repairs included.
pub const STREAMS_PER_TRANSPORT_MAX: usize = 64;
/// Bytes of a mid or rid; one-byte header extensions carry no more (RFC 8285 section 4.2).
pub const LABEL_BYTES_MAX: usize = 16;
/// Bytes of a canonical name (RFC 3550 section 6.5.1 allows 255; ours are short).
pub const CNAME_BYTES_MAX: usize = 32;

const _: () = assert!(COOKIE_BYTES_MAX + 1024 <= FRAME_BYTES_MAX, "a cookie fits into a frame");
const _: () = assert!(PACKET_BYTES_MAX + 64 <= PACKET_BATCH_BYTES_MAX, "a packet fits into a batch");
const _: () = assert!(SHARDS_MAX <= 256, "a shard fits into its eight bits");
const _: () = assert!(SLOTS_MAX <= 1 << 24, "a slot fits into its 24 bits");
