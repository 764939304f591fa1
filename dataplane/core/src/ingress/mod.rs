//! From an opened packet to an accepted one: whose it is, where it stands in its stream, what it is made of.

mod accepted;
pub(crate) mod alive;
pub(crate) mod arrivals;
pub(crate) mod describe;
pub(crate) mod missing;
pub(crate) mod reception;
pub(crate) mod refused;
pub(crate) mod repair_time;
pub(crate) mod sources;
pub(crate) mod stream;
pub(crate) mod structures;

pub(crate) use accepted::{Accepted, ExtendedSequence, FrameInfo, StreamIndex};
