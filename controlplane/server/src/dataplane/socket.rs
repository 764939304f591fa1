//! The control stream's socket: bytes with descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use sluice_protocol::session::Transmit;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::limits::{DESCRIPTORS_MAX, READ_BYTES};
use super::readiness::watch;

/// A connection to a data plane.
#[derive(Debug)]
pub(super) struct Connection {
    stream: AsyncFd<UnixStream>,
    pid: i32,
}

impl Connection {
    /// Connects to whoever listens at `path`.
    ///
    /// # Errors
    /// When nobody does.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        Self::over(stream)
    }

    /// Takes a stream that is connected.
    ///
    /// # Errors
    /// When it is no Unix socket with a peer.
    pub(super) fn over(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let pid = rustix::net::sockopt::socket_peercred(&stream)?.pid.as_raw_nonzero().get();
        Ok(Self { stream: watch(stream, Interest::READABLE | Interest::WRITABLE)?, pid })
    }

    /// Returns the process at the other end.
    pub(super) const fn pid(&self) -> i32 {
        self.pid
    }

    /// Waits for bytes, and returns them with the descriptors that came along; empty at the end of the stream.
    ///
    /// # Errors
    /// When the stream is broken.
    pub(super) async fn receive(&self) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
        let read = |stream: &UnixStream| {
            let mut bytes = vec![0; READ_BYTES];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let message = rustix::net::recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
            bytes.truncate(message.bytes);
            let mut descriptors = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(passed) = message {
                    descriptors.extend(passed);
                }
            }
            Ok((bytes, descriptors))
        };
        self.stream.async_io(Interest::READABLE, read).await
    }

    /// Sends all of a transmit.
    ///
    /// # Errors
    /// When the stream is broken.
    pub(super) async fn send(&self, transmit: Transmit<OwnedFd>) -> io::Result<()> {
        let mut descriptors = transmit.descriptors;
        let mut rest = transmit.bytes.as_slice();
        while !rest.is_empty() {
            let write = |stream: &UnixStream| {
                let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                if !borrowed.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&borrowed)) {
                    return Err(io::Error::from(io::ErrorKind::InvalidInput));
                }
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                Ok(rustix::net::sendmsg(stream, &[IoSlice::new(rest)], &mut control, flags)?)
            };
            let sent = self.stream.async_io(Interest::WRITABLE, write).await?;
            descriptors.clear();
            rest = rest.get(sent..).unwrap_or(&[]);
        }
        Ok(())
    }
}
