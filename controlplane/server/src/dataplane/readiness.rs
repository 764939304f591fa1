//! Descriptors that the runtime watches.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Lets the runtime watch a descriptor.
///
/// # Errors
/// When the kernel cannot watch it.
#[expect(
    deprecated,
    reason = "its unsafe successor asks for a descriptor that stays open and the same: `T` owns one, and this crate \
              has no unsafe code"
)]
pub(super) fn watch<T: AsRawFd + Into<OwnedFd>>(descriptor: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(descriptor, interest)
}
