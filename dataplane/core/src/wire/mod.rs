//! Wire formats as views over bytes and writers into caller-owned bytes: no allocation, no panic on any input.

pub(crate) mod av1;
mod cursor;
pub(crate) mod dependency_descriptor;
pub(crate) mod dtls;
pub(crate) mod extension;
pub(crate) mod h264;
pub(crate) mod picture_id;
pub(crate) mod rtcp;
pub(crate) mod rtp;
pub(crate) mod stun;
pub(crate) mod vp8;
pub(crate) mod vp9;
