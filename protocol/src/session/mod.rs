//! The two ends of the control stream, without I/O.
//!
//! A shell owns a Unix socket and passes bytes and descriptors in and out; [`controller::Controller`] and
//! [`dataplane::Dataplane`] decide. Both are generic over the descriptor: an owned file descriptor in shells, a number
//! in tests. `docs/IPC.md` describes the messages and their order.
//!
//! ```text
//! data plane                               controller
//!     Hello            ──────────────────►
//!                      ◄──────────────────     Hello
//!                      ◄──────────────────     Descriptors*   (to a data plane that does not run yet)
//!                      ◄──────────────────     Configure
//!     Descriptors*     ──────────────────►
//!     Ready            ──────────────────►
//!                      ◄──────────────────     SnapshotRequest
//!     SnapshotObject*  ──────────────────►
//!     SnapshotEnd      ──────────────────►
//!     Event*           ──────────────────►
//!                      ◄──────────────────     Command*
//!     Ack*             ──────────────────►
//! ```

pub mod controller;
pub mod dataplane;
mod error;
mod fence;
mod frame;
mod framing;
#[cfg(test)]
mod tests;

pub use error::SessionError;
pub use fence::Fence;
pub use frame::{
    Ack, AddressFamily, Command, Configuration, DescriptorKind, ErrorCode, Frame, Hello, Identity, Ready, Role,
};

/// The oldest version of the protocol that this crate speaks.
pub const VERSION_MIN: u32 = 1;
/// The newest version of the protocol that this crate speaks.
pub const VERSION_MAX: u32 = 1;

/// What a shell sends: all of `bytes`, with `descriptors` attached to the first of them (`SCM_RIGHTS`).
#[derive(Debug, PartialEq, Eq)]
pub struct Transmit<D> {
    /// Whole frames; never empty.
    pub bytes: Vec<u8>,
    /// At most [`crate::limits::DESCRIPTORS_PER_FRAME_MAX`]; to be closed after they were sent.
    pub descriptors: Vec<D>,
}

/// Returns the newest common version.
fn common_version(hello: &Hello) -> Result<u32, SessionError> {
    let version = hello.version_max.min(VERSION_MAX);
    if version < hello.version_min.max(VERSION_MIN) {
        return Err(SessionError::Version { min: hello.version_min, max: hello.version_max });
    }
    Ok(version)
}
