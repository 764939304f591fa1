//! The control stream's socket: bytes with descriptors.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use sluice_protocol::session::Transmit;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::limits::{DESCRIPTORS_MAX, READ_BYTES};
use super::readiness::watch;

/// The users whose processes are spoken to. A data plane that left root after it opened its socket counts as root's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trusted([u32; 2]);

impl Trusted {
    /// The user that runs this process, and root.
    pub(super) fn current() -> Self {
        Self([rustix::process::geteuid().as_raw(), 0])
    }

    fn accepts(self, user: u32) -> bool {
        self.0.contains(&user)
    }
}

/// Tells whether nobody listens at `path`; whoever listens there and takes no connection is somebody. Never waits.
pub fn is_deserted(path: &Path) -> bool {
    Connection::open(path, Trusted::current()).is_err_and(|error| says_nobody(&error))
}

/// Tells whether connecting failed because nobody listens.
pub(super) fn says_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// A connection to a data plane.
#[derive(Debug)]
pub(super) struct Connection {
    stream: AsyncFd<UnixStream>,
    pid: i32,
}

impl Connection {
    /// Connects to whoever listens at `path`, without waiting: who takes no connection now is not waited for.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] and [`io::ErrorKind::ConnectionRefused`] when nobody listens,
    /// [`io::ErrorKind::WouldBlock`] when the listener's queue is full, [`io::ErrorKind::PermissionDenied`] when it is
    /// not one of `trusted`.
    pub(super) fn open(path: &Path, trusted: Trusted) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Self::over(socket.into(), trusted)
    }

    /// Takes a stream that is connected.
    ///
    /// # Errors
    /// When it is no Unix socket with a peer, and [`io::ErrorKind::PermissionDenied`] when that is not one of `trusted`:
    /// whoever is spoken to gets the node's secret and all keys.
    pub(super) fn over(stream: UnixStream, trusted: Trusted) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        let user = peer.uid.as_raw();
        if !trusted.accepts(user) {
            let text = format!("a process of user {user} listens there, which is neither this user nor root");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let pid = peer.pid.as_raw_nonzero().get();
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn a_listener_of_another_user_is_not_spoken_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        let own = rustix::process::geteuid().as_raw();
        let stranger = Connection::open(&path, Trusted([own + 1, own + 2])).unwrap_err();
        assert_eq!(stranger.kind(), io::ErrorKind::PermissionDenied);
        assert!(stranger.to_string().contains(&format!("user {own} ")), "{stranger}");
        let connection = Connection::open(&path, Trusted::current()).unwrap();
        assert_eq!(connection.pid(), i32::try_from(std::process::id()).unwrap());
        assert!(
            Trusted::current().accepts(0) && Trusted::current().accepts(own) && !Trusted::current().accepts(own + 1)
        );
    }

    #[tokio::test]
    async fn a_listener_that_takes_no_connection_is_told_from_none_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let kind = || Connection::open(&path, Trusted::current()).unwrap_err().kind();
        assert_eq!(kind(), io::ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let _waiting = Connection::open(&path, Trusted::current()).unwrap();
        assert_eq!(kind(), io::ErrorKind::WouldBlock);
        drop(listener);
        assert_eq!(kind(), io::ErrorKind::ConnectionRefused);
    }
}
