//! Every maximum of the WebSocket front, and what relates them.

use std::time::Duration;

use sluice_controlplane_core::limits::{ANSWER_BYTES_MAX, METADATA_BYTES_MAX};

use crate::conductor::signalled::limits::RESUME_WITHIN;

/// Bytes of a message from a client: the longest answer with its line ends as JSON writes them, and the rest.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Messages of one connection within a second, on the average.
pub const MESSAGES_PER_SECOND: u32 = 50;
/// Messages of one connection at once, after it was quiet.
pub const MESSAGES_AT_ONCE: u32 = 200;
/// Messages of one connection that make work for everybody in a room (offers, joins and moves, what is muted, renamed and
/// removed) within a second, on the average. Who wants more waits.
pub const DEAR_PER_SECOND: u32 = 5;
/// The same at once, after it was quiet.
pub const DEAR_AT_ONCE: u32 = 20;
/// Bytes of text, told to everybody in a room, that count as one more such message: 5 KiB within a second.
pub const DEAR_TEXT_BYTES: usize = 1024;
/// How long a connection may be without a message from its client.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection without a token may take to say which session it resumes.
pub const RESUME_PATIENCE: Duration = Duration::from_secs(5);
/// How long a client may take to close a connection that the server closes.
pub const CLOSE_PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of a connection's buffers for reading and for writing: most messages are shorter, and there are as many buffers as
/// connections.
pub const BUFFER_BYTES: usize = 4096;
/// Bytes that may wait to be written: one message, as the next one waits for it. The longest lists the participants of a large
/// room with their metadata.
pub const WRITE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// From how many bytes on a message counts as long.
pub const LONG_MESSAGE_BYTES: usize = 64 * 1024;
/// Bytes of all long messages that wait to be taken by their clients; further ones are not written before.
pub const LONG_MESSAGES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long a client may take for a long message: 4 MiB at 1 Mbit/s.
pub const LONG_MESSAGE_PATIENCE: Duration = Duration::from_secs(40);

const _: () = assert!(ANSWER_BYTES_MAX + ANSWER_BYTES_MAX / 4 < MESSAGE_BYTES_MAX, "an answer fits into a message");
const _: () = assert!(RESUME_WITHIN.as_secs() < IDLE_TIMEOUT.as_secs(), "who is idle is gone for longer than a break");
const _: () =
    assert!(1 + 2 * METADATA_BYTES_MAX / DEAR_TEXT_BYTES > DEAR_AT_ONCE as usize, "long texts have their price");
const _: () = assert!(WRITE_BYTES_MAX > BUFFER_BYTES, "a buffer is less than what may wait");
