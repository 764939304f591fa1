//! From an opened packet to an accepted one: whose it is, where it stands in its stream, what it is made of.

mod accepted;

pub use accepted::{Accepted, ExtendedSequence, FrameInfo, PictureId, StreamIndex};
