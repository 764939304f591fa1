//! Wire formats as views over bytes and writers into caller-owned bytes: no allocation, no panic on any input.

mod cursor;
pub mod dtls;
pub mod extension;
pub mod rtcp;
pub mod rtp;
pub mod stun;
