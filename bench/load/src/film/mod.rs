//! Films: real pictures of a real encoder in several encodings, sent as a simulcast and recorded as they come.
//!
//! What a viewer decodes of them tells whether a forwarder's changes between encodings are sound, which numbered payloads
//! alone cannot: a picture that was made with another one than the decoder has looks wrong.

mod cut;
mod descriptor;
mod projector;
mod recorder;

use std::sync::Arc;

use crate::payload::Codec;

pub use descriptor::{Descriptor, Structure, Template};
pub use projector::{Draft, Projection, Projector};
pub use recorder::{Recorded, Recorder};

pub(crate) use descriptor::{Carrier, URI};
pub(crate) use projector::ProjectorRole;
pub(crate) use recorder::RecorderRole;

/// A film in several encodings, which begins anew when it is over.
///
/// It has an entry every [`Film::entry_every`] pictures: from each one on, a group of pictures was encoded that needs
/// nothing from before it. So a sender can answer a request for a key frame at the next entry, as an encoder would.
#[derive(Debug, Clone)]
pub struct Film {
    /// VP8, VP9, H264 or AV1.
    pub codec: Codec,
    /// How the pictures of a group refer to each other: the one at place `n` as the step at `n` modulo the steps says.
    pub pattern: &'static [Step],
    /// Whether dependency descriptors tell that.
    pub descriptors: bool,
    /// Pictures in a second.
    pub rate: u32,
    /// Pictures from an entry to the next one; divides the pictures of a group.
    pub entry_every: usize,
    /// Its encodings as [`RIDS`] names them.
    pub encodings: Arc<[Encoding]>,
}

/// A picture behind a key frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Its temporal layer.
    pub temporal: u8,
    /// How many pictures before it stands the one that it was made with; 15 at most.
    pub back: usize,
}

/// Each picture is made with the one before.
pub const PLAIN: &[Step] = &[Step { temporal: 0, back: 1 }];

/// Names of the encodings of a film (RFC 8851), the smallest first.
pub const RIDS: &[&str] = &["q", "h", "f"];

/// One encoding of a film.
#[derive(Debug, Clone)]
pub struct Encoding {
    /// The group of each entry, all of the same length: bitstreams of pictures, the first one a key frame, the others
    /// made as [`Film::pattern`] says. H264 in the form of its Annex B, AV1 as temporal units whose units all tell their sizes.
    pub groups: Vec<Vec<Vec<u8>>>,
}
