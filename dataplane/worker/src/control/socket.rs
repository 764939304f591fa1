//! The control socket: who may connect, and bytes with descriptors over it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use thiserror::Error;

use crate::privileges::Owner;

/// Descriptors that come or go with one system call; the kernel allows 253.
const DESCRIPTORS_MAX: usize = 64;
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// Why the control socket cannot be opened.
#[derive(Debug, Error)]
pub(crate) enum ListenError {
    /// Another data plane answers there.
    #[error("{0}: another data plane answers on this socket")]
    InUse(PathBuf),
    /// Something that is no socket is in the way.
    #[error("{0}: not a socket; remove it, or choose another ipc.path")]
    Occupied(PathBuf),
    /// A system call failed.
    #[error("{0}: {1}")]
    System(PathBuf, io::Error),
}

/// The listening socket, with mode 0600.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: UnixListener,
    owner: Owner,
}

impl Listener {
    /// Opens the socket at `path`, in place of one that nobody answers on.
    ///
    /// # Errors
    /// [`ListenError`].
    pub(crate) fn bind(path: &Path, owner: Owner) -> Result<Self, ListenError> {
        let system = |error| ListenError::System(path.to_owned(), error);
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(system)?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => return Err(ListenError::Occupied(path.to_owned())),
            Ok(_) if UnixStream::connect(path).is_ok() => return Err(ListenError::InUse(path.to_owned())),
            Ok(_) => std::fs::remove_file(path).map_err(system)?,
            Err(_) => {}
        }
        let before = rustix::process::umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        let _ours = rustix::process::umask(before);
        let socket = bound.map_err(system)?;
        socket.set_nonblocking(true).map_err(system)?;
        Ok(Self { socket, owner })
    }

    /// Accepts a connection of somebody who may control this process; `None` when none waits. Others are closed.
    pub(super) fn accept(&self) -> Option<Connection> {
        loop {
            let (stream, _) = self.socket.accept().ok()?;
            let Ok(peer) = rustix::net::sockopt::socket_peercred(&stream) else { continue };
            if !self.owner.accepts(peer.uid.as_raw()) {
                tracing::warn!(uid = peer.uid.as_raw(), "refused a controller of another user");
                continue;
            }
            if stream.set_nonblocking(true).is_ok() {
                return Some(Connection::new(stream, peer.pid.as_raw_nonzero().get()));
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A connected controller.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    pid: i32,
    buffer: Box<[u8]>,
}

/// What one read brought.
#[derive(Debug, Default)]
pub(super) struct Received {
    /// Bytes; none with [`Received::ended`].
    pub(super) bytes: Vec<u8>,
    /// Descriptors that came with them.
    pub(super) descriptors: Vec<OwnedFd>,
    /// Whether the peer is gone.
    pub(super) ended: bool,
}

impl Connection {
    fn new(stream: UnixStream, pid: i32) -> Self {
        Self { stream, pid, buffer: vec![0; READ_BYTES].into_boxed_slice() }
    }

    /// Returns the peer's process id, for log lines.
    pub(super) const fn pid(&self) -> i32 {
        self.pid
    }

    /// Reads what waits; `None` when nothing does.
    pub(super) fn receive(&mut self) -> Option<Received> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let result = rustix::net::recvmsg(&self.stream, &mut [IoSliceMut::new(&mut self.buffer)], &mut control, flags);
        match result {
            Ok(message) => {
                let bytes = self.buffer.get(..message.bytes).unwrap_or_default().to_vec();
                let descriptors = control
                    .drain()
                    .filter_map(|message| {
                        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                            Some(descriptors)
                        } else {
                            None
                        }
                    })
                    .flatten()
                    .collect();
                Some(Received { ended: bytes.is_empty(), bytes, descriptors })
            }
            Err(error) if error == rustix::io::Errno::WOULDBLOCK || error == rustix::io::Errno::INTR => None,
            Err(_) => Some(Received { ended: true, ..Received::default() }),
        }
    }

    /// Writes as much of `bytes` as the socket takes, with `descriptors` on the first byte, and returns how much it was.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when it takes nothing now; others mean that the peer is gone.
    pub(super) fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        Ok(rustix::net::sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, flags)?)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Mutex;

    use super::*;

    /// The file mode mask is the process's, and a process binds one listener; these tests are several in one.
    static BINDING: Mutex<()> = Mutex::new(());

    fn bind(path: &Path) -> Result<Listener, ListenError> {
        let _alone = BINDING.lock().unwrap();
        Listener::bind(path, Owner::current())
    }

    #[test]
    fn the_socket_is_for_its_owner_only_and_replaces_a_dead_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/dataplane.sock");
        let first = bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(bind(&path), Err(ListenError::InUse(_))));
        drop(first);
        assert!(bind(&path).is_ok());
        let file = folder.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        assert!(matches!(bind(&file), Err(ListenError::Occupied(_))));
    }

    #[test]
    fn bytes_and_descriptors_come_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dataplane.sock");
        let listener = bind(&path).unwrap();
        let client = Connection::new(UnixStream::connect(&path).unwrap(), 0);
        let mut server = listener.accept().unwrap();
        assert_eq!(server.pid(), i32::try_from(std::process::id()).unwrap());
        assert!(server.receive().is_none());
        let file = tempfile::tempfile().unwrap();
        assert_eq!(client.send(b"hello", &[file.as_fd(), file.as_fd()]).unwrap(), 5);
        let received = server.receive().unwrap();
        assert_eq!((received.bytes.as_slice(), received.descriptors.len(), received.ended), (&b"hello"[..], 2, false));
        drop(client);
        assert!(server.receive().unwrap().ended);
    }
}
