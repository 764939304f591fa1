//! Sleeping on descriptors with the executor.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd};

use glommio::net::{UdpSocket, UnixStream};

/// A media socket to sleep on; reading goes past it.
pub(crate) struct UdpWaiter(UdpSocket);

impl std::fmt::Debug for UdpWaiter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("UdpWaiter")
    }
}

impl UdpWaiter {
    /// Takes a duplicate of `socket` for sleeping.
    ///
    /// # Errors
    /// What duplicating a descriptor returns.
    pub(crate) fn new(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let duplicate = socket.try_clone_to_owned()?.into_raw_fd();
        // SAFETY: the descriptor is open and nobody else owns this duplicate.
        Ok(Self(unsafe { UdpSocket::from_raw_fd(duplicate) }))
    }

    /// Returns when a datagram, or an error, waits in the socket.
    pub(crate) async fn readable(&self) {
        // An error is as good a reason to look as a datagram is.
        let _ready = self.0.peek_from(&mut [0; 1]).await;
    }
}

/// A Unix socket to sleep on, of a stream or of packets; reading goes past it.
pub(crate) struct UnixWaiter(UnixStream);

impl std::fmt::Debug for UnixWaiter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("UnixWaiter")
    }
}

impl UnixWaiter {
    /// Takes a duplicate of `socket` for sleeping.
    ///
    /// # Errors
    /// What duplicating a descriptor returns.
    pub(crate) fn new(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let duplicate = socket.try_clone_to_owned()?.into_raw_fd();
        // SAFETY: the descriptor is open and nobody else owns this duplicate.
        Ok(Self(unsafe { UnixStream::from_raw_fd(duplicate) }))
    }

    /// Returns when bytes, the end of the stream, or an error wait in the socket.
    pub(crate) async fn readable(&self) {
        // An error is as good a reason to look as bytes are.
        let _ready = self.0.peek(&mut [0; 1]).await;
    }
}
