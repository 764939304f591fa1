//! The contract between Sluice's control plane and data plane.
//!
//! The control plane says what it wants as a [`plan::Plan`], a map of small objects under compiled addresses
//! ([`ids`]). [`plan::changes`] are idempotent; [`session`] numbers them and carries them over a byte
//! stream without doing I/O itself; [`table`] is the row of shared memory that lets a restarted data plane go on where
//! the killed one stopped. `docs/IPC.md` describes the same for implementers in other languages.

pub mod convert;
pub mod event;
pub mod fuzzing;
pub mod ice;
pub mod ids;
pub mod limits;
pub mod media;
pub mod packet;
pub mod plan;
pub mod random;
pub mod session;
pub mod stats;
pub mod table;
pub mod time;
mod wire;
