//! Wire formats as views over bytes and writers into caller-owned bytes: no allocation, no panic on any input.

pub mod av1;
mod cursor;
pub mod dependency_descriptor;
pub mod dtls;
pub mod extension;
pub mod h264;
pub mod picture_id;
pub mod rtcp;
pub mod rtp;
pub mod stun;
pub mod vp8;
pub mod vp9;
