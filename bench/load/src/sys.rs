//! The one module with `unsafe`: batched receive with arrival stamps, and the socket options it needs.

#![expect(unsafe_code, reason = "recvmmsg with control messages has no safe wrapper")]

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::limits::{RECEIVE_BATCH, RUN_BYTES_MAX};

/// `u64` words of control data per message: stamp (32 bytes), segment size (24) and overflow counter (24) fit.
const CONTROL_WORDS: usize = 16;

/// Asks the kernel for arrival stamps, for runs of equal datagrams in one piece, and for its count of dropped datagrams.
///
/// Receive offload is an optimisation: a kernel without it delivers datagrams one by one.
pub(crate) fn enable_receive_metadata(socket: BorrowedFd<'_>) -> io::Result<()> {
    set_flag(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)?;
    set_flag(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL)?;
    if let Err(error) = set_flag(socket, libc::SOL_UDP, libc::UDP_GRO) {
        tracing::debug!(%error, "no receive offload");
    }
    Ok(())
}

fn set_flag(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> io::Result<()> {
    set_option(socket, level, name, 1)
}

fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of_val(&value)).expect("an int is short");
    // SAFETY: the descriptor is borrowed for the call, the value is a live int of the given length.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, ptr::from_ref(&value).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Datagrams of equal size (the last may be shorter) from one source, as the kernel joined them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    /// All payloads, one behind the other.
    pub(crate) bytes: &'a [u8],
    /// Size of each datagram but the last.
    pub(crate) segment_size_bytes: usize,
    /// Sender.
    pub(crate) source: SocketAddr,
    /// Kernel arrival stamp, `CLOCK_REALTIME` in nanoseconds.
    pub(crate) arrival_ns: Option<u64>,
    /// Datagrams that the kernel has dropped for this socket so far, when it said so.
    pub(crate) dropped: Option<u32>,
}

impl<'a> Run<'a> {
    /// Walks the single datagrams.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.segment_size_bytes.max(1))
    }
}

/// What a slot holds after a receive.
#[derive(Debug, Clone, Copy)]
struct Filled {
    length: usize,
    segment_size_bytes: usize,
    source: SocketAddr,
    arrival_ns: Option<u64>,
    dropped: Option<u32>,
}

/// Buffers for one receive call, shared by all sockets of a thread.
#[derive(Debug)]
pub(crate) struct ReceiveBatch {
    buffers: Vec<Vec<u8>>,
    filled: Vec<Filled>,
}

impl ReceiveBatch {
    pub(crate) fn new() -> Self {
        Self {
            buffers: (0..RECEIVE_BATCH).map(|_| vec![0; RUN_BYTES_MAX]).collect(),
            filled: Vec::with_capacity(RECEIVE_BATCH),
        }
    }

    /// Receives up to [`RECEIVE_BATCH`] runs without waiting; returns how many, zero when there was nothing.
    pub(crate) fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.filled.clear();
        let mut controls = [[0_u64; CONTROL_WORDS]; RECEIVE_BATCH];
        // SAFETY: all-zero is a valid value of this plain C structure.
        let mut names: [libc::sockaddr_storage; RECEIVE_BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above; null pointers and zero lengths.
        let mut vectors: [libc::iovec; RECEIVE_BATCH] = unsafe { mem::zeroed() };
        // SAFETY: as above.
        let mut messages: [libc::mmsghdr; RECEIVE_BATCH] = unsafe { mem::zeroed() };
        let slots = self.buffers.iter_mut().zip(&mut controls).zip(&mut names).zip(&mut vectors).zip(&mut messages);
        for ((((buffer, control), name), vector), message) in slots {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = buffer.len();
            let header = &mut message.msg_hdr;
            header.msg_name = ptr::from_mut(name).cast();
            header.msg_namelen = libc::socklen_t::try_from(size_of_val(name)).expect("an address is short");
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_controllen = size_of_val(control);
            header.msg_control = control.as_mut_ptr().cast();
        }
        let slots = libc::c_uint::try_from(RECEIVE_BATCH).expect("a batch is short");
        // SAFETY: every header points to its own live buffer, address and control array with their true lengths.
        let received = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), slots, libc::MSG_DONTWAIT, ptr::null_mut())
        };
        let Ok(received) = usize::try_from(received) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock { Ok(0) } else { Err(error) };
        };
        for (message, name) in messages.iter().zip(&names).take(received) {
            let length = usize::try_from(message.msg_len).expect("a datagram fits");
            let Some(source) = socket_addr(name) else { continue };
            self.filled.push(read_control(&message.msg_hdr, length, source));
        }
        Ok(self.filled.len())
    }

    /// The run in slot `index` of the last receive.
    pub(crate) fn run(&self, index: usize) -> Option<Run<'_>> {
        let filled = self.filled.get(index)?;
        Some(Run {
            bytes: self.buffers.get(index)?.get(..filled.length)?,
            segment_size_bytes: filled.segment_size_bytes,
            source: filled.source,
            arrival_ns: filled.arrival_ns,
            dropped: filled.dropped,
        })
    }
}

/// Reads the control messages of a header that `recvmmsg` has filled.
fn read_control(header: &libc::msghdr, length: usize, source: SocketAddr) -> Filled {
    let mut filled = Filled { length, segment_size_bytes: length, source, arrival_ns: None, dropped: None };
    // SAFETY: the kernel has written `msg_controllen` bytes of well-formed messages.
    let mut control = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !control.is_null() {
        // SAFETY: not null, so it points to a whole aligned header inside the control array.
        let message = unsafe { *control };
        // SAFETY: the data follows its header.
        let data = unsafe { libc::CMSG_DATA(control) };
        match (message.cmsg_level, message.cmsg_type) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: this type carries a timespec.
                let stamp = unsafe { ptr::read_unaligned(data.cast::<libc::timespec>()) };
                filled.arrival_ns = nanos(stamp);
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: this type carries an int.
                let size = unsafe { ptr::read_unaligned(data.cast::<libc::c_int>()) };
                filled.segment_size_bytes = usize::try_from(size).unwrap_or(length);
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                // SAFETY: this type carries an unsigned 32-bit counter.
                filled.dropped = Some(unsafe { ptr::read_unaligned(data.cast::<u32>()) });
            }
            _ => {}
        }
        // SAFETY: both pointers belong to the same control array.
        control = unsafe { libc::CMSG_NXTHDR(header, control) };
    }
    filled
}

fn nanos(stamp: libc::timespec) -> Option<u64> {
    let seconds = u64::try_from(stamp.tv_sec).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(stamp.tv_nsec).ok()?)
}

/// Reads the address that the kernel wrote, for the two families we use.
fn socket_addr(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says so, and the storage is as large and as aligned as any address.
            let address = unsafe { *ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(address.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { *ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            let port = u16::from_be(address.sin6_port);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, address.sin6_scope_id)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_batch_returns_the_datagrams_in_order_with_source_and_arrival_stamp() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        enable_receive_metadata(receiver.as_fd()).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let before = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
        sender.send_to(b"first", receiver.local_addr().unwrap()).unwrap();
        sender.send_to(b"second one", receiver.local_addr().unwrap()).unwrap();
        let mut batch = ReceiveBatch::new();
        let mut datagrams = Vec::new();
        while datagrams.len() < 2 {
            for index in 0..batch.receive(receiver.as_fd()).unwrap() {
                let run = batch.run(index).unwrap();
                assert_eq!(run.source, sender.local_addr().unwrap());
                assert!(run.arrival_ns.unwrap() >= before);
                datagrams.extend(run.datagrams().map(<[u8]>::to_vec));
            }
        }
        assert_eq!(datagrams, [b"first".to_vec(), b"second one".to_vec()]);
        assert_eq!(batch.receive(receiver.as_fd()).unwrap(), 0);
    }

    #[test]
    fn datagrams_of_a_segmented_send_come_apart_again() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        enable_receive_metadata(receiver.as_fd()).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        set_option(sender.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 100).unwrap();
        let bytes: Vec<u8> = (0..450_u16).map(|byte| u8::try_from(byte % 251).unwrap()).collect();
        sender.send_to(&bytes, receiver.local_addr().unwrap()).unwrap();
        let mut batch = ReceiveBatch::new();
        let mut datagrams: Vec<Vec<u8>> = Vec::new();
        while datagrams.len() < 5 {
            for index in 0..batch.receive(receiver.as_fd()).unwrap() {
                datagrams.extend(batch.run(index).unwrap().datagrams().map(<[u8]>::to_vec));
            }
        }
        assert_eq!(datagrams, bytes.chunks(100).map(<[u8]>::to_vec).collect::<Vec<_>>());
    }

    #[test]
    fn a_run_of_equal_datagrams_is_split_at_its_segment_size() {
        let run = Run {
            bytes: b"aabbc",
            segment_size_bytes: 2,
            source: "127.0.0.1:1".parse().unwrap(),
            arrival_ns: None,
            dropped: None,
        };
        assert_eq!(run.datagrams().collect::<Vec<_>>(), [b"aa".as_slice(), b"bb", b"c"]);
    }
}
