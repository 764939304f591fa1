//! Reception in batches: `recvmmsg` with `UDP_GRO`, destination addresses and arrival stamps.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};

use super::address::{self, Control};

/// Messages of one system call.
pub(crate) const BATCH_MESSAGES: usize = 32;
/// Bytes of one message; merged datagrams fill up to 64 KiB.
const MESSAGE_BYTES: usize = 65_536;

/// One received message: a datagram, or several of one five-tuple that the kernel merged.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// Where it came from.
    pub remote: SocketAddr,
    /// The address of ours that it was sent to; `None` when the kernel did not say.
    pub local: Option<IpAddr>,
    /// When the kernel received it, in nanoseconds of `CLOCK_REALTIME`.
    pub stamp_nanos: Option<u64>,
    /// The size of each merged datagram but the last; at least 1.
    pub segment_size_bytes: usize,
    /// The datagrams, back to back.
    pub bytes: &'a mut [u8],
}

/// Buffers for one batch of received messages. Memory is touched as far as it is used.
pub(crate) struct Receiver {
    bytes: Box<[u8]>,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    received: usize,
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Receiver").field("received", &self.received).finish_non_exhaustive()
    }
}

impl Receiver {
    /// Makes empty buffers.
    #[must_use]
    pub(crate) fn new() -> Self {
        // SAFETY: all-zero bytes are a valid `sockaddr_storage`.
        let name: libc::sockaddr_storage = unsafe { zeroed() };
        // SAFETY: all-zero bytes are a valid `mmsghdr`.
        let header: libc::mmsghdr = unsafe { zeroed() };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            bytes: vec![0; BATCH_MESSAGES * MESSAGE_BYTES].into_boxed_slice(),
            names: vec![name; BATCH_MESSAGES].into_boxed_slice(),
            controls: vec![Control::EMPTY; BATCH_MESSAGES].into_boxed_slice(),
            vectors: vec![vector; BATCH_MESSAGES].into_boxed_slice(),
            headers: vec![header; BATCH_MESSAGES].into_boxed_slice(),
            received: 0,
        }
    }

    /// Receives what waits in `socket`, at most [`BATCH_MESSAGES`], and returns how many messages that are.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing waits; a pending error of the socket otherwise, which is consumed.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.received = 0;
        self.point();
        let count = libc::c_uint::try_from(BATCH_MESSAGES).unwrap_or(1);
        // SAFETY: all headers point into buffers that `self` owns, see `point`; the call does not keep them.
        let result = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let received = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
        self.received = received;
        Ok(received)
    }

    /// Calls `each` with every message of the last batch, in order. Messages of unknown address families, and those cut
    /// short by the kernel, are passed over.
    pub(crate) fn for_each(&mut self, mut each: impl FnMut(Message<'_>)) {
        let chunks = self.bytes.chunks_exact_mut(MESSAGE_BYTES);
        for ((header, name), bytes) in self.headers.iter().zip(&self.names).zip(chunks).take(self.received) {
            let size_bytes = header.msg_len as usize;
            let truncated = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let (Some(remote), Some(bytes)) = (address::read(name), bytes.get_mut(..size_bytes)) else { continue };
            if truncated || bytes.is_empty() {
                continue;
            }
            let control = address::read_control(&header.msg_hdr);
            let segment_size_bytes = control.segment_size_bytes.filter(|size| *size > 0).unwrap_or(size_bytes);
            each(Message { remote, local: control.local, stamp_nanos: control.stamp_nanos, segment_size_bytes, bytes });
        }
    }

    /// Points every header at its buffers, anew for each call because the kernel writes sizes into the headers.
    fn point(&mut self) {
        let chunks = self.bytes.chunks_exact_mut(MESSAGE_BYTES);
        let parts = self.names.iter_mut().zip(self.controls.iter_mut()).zip(self.vectors.iter_mut()).zip(chunks);
        for (header, (((name, control), vector), chunk)) in self.headers.iter_mut().zip(parts) {
            *vector = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: chunk.len() };
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = control.0.len();
            header.msg_hdr.msg_flags = 0;
            header.msg_len = 0;
        }
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}
