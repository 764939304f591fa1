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
/// Bytes of the program's name in a hello.
pub const SOFTWARE_BYTES_MAX: usize = 128;
/// Abilities in a hello.
pub const CAPABILITIES_MAX: usize = 64;
/// Addresses that a data plane is told to bind.
pub const LISTEN_ADDRESSES_MAX: usize = 32;
/// Descriptors that travel with one frame; the kernel takes 253 at once (`SCM_MAX_FD`).
pub const DESCRIPTORS_PER_FRAME_MAX: usize = 64;
/// Descriptors received ahead of the frame that explains them; more end the connection.
pub const DESCRIPTORS_QUEUED_MAX: usize = 4 * DESCRIPTORS_PER_FRAME_MAX;
/// Bytes after which a transmit of the control stream takes no further frame.
pub const TRANSMIT_BYTES_TARGET: usize = 64 * 1024;
/// Events that wait for a controller to read; further ones are dropped and counted.
pub const EVENTS_QUEUED_MAX: usize = 1024;
/// Learnt objects that wait for a controller to read; more end the connection, for the next one starts with a snapshot.
pub const LEARNT_QUEUED_MAX: usize = 64 * 1024;
/// Requests for statistics that are not answered yet.
pub const STATS_REQUESTS_MAX: usize = 4;
/// Frames of the control stream that wait for a peer to read, besides those made on demand; more end the connection.
pub const CONTROL_FRAMES_QUEUED_MAX: usize = 256;
/// Bytes of the text in an error frame.
pub const ERROR_TEXT_BYTES_MAX: usize = 256;

const _: () = assert!(COOKIE_BYTES_MAX + 1024 <= FRAME_BYTES_MAX, "a cookie fits into a frame");
const _: () = assert!(PACKET_BYTES_MAX + 64 <= PACKET_BATCH_BYTES_MAX, "a packet fits into a batch");
const _: () = assert!(SHARDS_MAX <= 256, "a shard fits into its eight bits");
const _: () = assert!(SLOTS_MAX <= 1 << 24, "a slot fits into its 24 bits");
const _: () = assert!(DESCRIPTORS_PER_FRAME_MAX <= 253, "SCM_MAX_FD");
const _: () = assert!(TRANSMIT_BYTES_TARGET <= FRAME_BYTES_MAX, "a transmit stays below two frames");
const _: () =
    assert!(COMMANDS_IN_FLIGHT_MAX * 16 <= FRAME_BYTES_MAX, "an acknowledgement of refusals fits into a frame");
