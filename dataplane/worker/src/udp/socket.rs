//! The sockets that media enters and leaves by.

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use socket2::{Domain, Protocol, Socket, Type};

/// Buffers of a media socket, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Buffers {
    /// What the kernel may hold while nobody reads: between the death of a data plane and its successor's first read.
    pub receive_bytes: usize,
    /// What the kernel may hold unsent.
    pub send_bytes: usize,
}

/// What a socket got of what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// The buffers that the kernel granted.
    pub buffers: Buffers,
    /// Whether the kernel merges received datagrams (`UDP_GRO`, Linux 5.0).
    pub gro: bool,
}

/// Binds a media socket with everything that the shard loop relies on: the destination address and the arrival time of
/// each datagram, merged reception, no path MTU discovery (a datagram that is too large is fragmented, not refused).
///
/// # Errors
/// What the system calls return; a kernel without `UDP_GRO` is no error.
pub(crate) fn bind(address: SocketAddr, buffers: Buffers) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let descriptor = OwnedFd::from(socket);
    match address.ip() {
        IpAddr::V4(_) => {
            set(&descriptor, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
            set(&descriptor, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT)?;
        }
        IpAddr::V6(_) => {
            set(&descriptor, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
            set(&descriptor, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT)?;
        }
    }
    set(&descriptor, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    let _no_gro_on_old_kernels = set(&descriptor, libc::SOL_UDP, libc::UDP_GRO, 1);
    set_buffer(&descriptor, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, buffers.receive_bytes)?;
    set_buffer(&descriptor, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, buffers.send_bytes)?;
    let socket = Socket::from(descriptor);
    socket.bind(&address.into())?;
    Ok(OwnedFd::from(socket))
}

/// Makes sure that nobody has bound `address`: sockets that share a port would take datagrams from each other.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`], or what else binding returns.
pub(crate) fn claim(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

/// Tells what a socket has; an inherited one was set up by a predecessor.
///
/// # Errors
/// What `getsockopt` returns.
pub(crate) fn granted(socket: BorrowedFd<'_>) -> io::Result<Granted> {
    // The kernel doubles what is asked for, for its own bookkeeping, and reports the double.
    let size = |option| get(socket, libc::SOL_SOCKET, option).map(|bytes| usize::try_from(bytes).unwrap_or(0) / 2);
    let buffers = Buffers { receive_bytes: size(libc::SO_RCVBUF)?, send_bytes: size(libc::SO_SNDBUF)? };
    Ok(Granted { buffers, gro: get(socket, libc::SOL_UDP, libc::UDP_GRO).is_ok_and(|on| on != 0) })
}

/// Returns the address that a socket is bound to.
///
/// # Errors
/// What `getsockname` returns, or [`io::ErrorKind::InvalidInput`] for a socket that is no IP socket.
pub(crate) fn local_address(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    let address = rustix::net::getsockname(socket)?;
    SocketAddr::try_from(address).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))
}

/// Sets a buffer's size past the system's limit where the process may, else as far as the limit goes.
fn set_buffer(socket: &OwnedFd, forced: libc::c_int, limited: libc::c_int, bytes: usize) -> io::Result<()> {
    let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    set(socket, libc::SOL_SOCKET, forced, bytes).or_else(|_| set(socket, libc::SOL_SOCKET, limited, bytes))
}

fn set(socket: &OwnedFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer is to an `int` of the given size, which the kernel only reads.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get(socket: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointers are to an `int` and to its size, both live during the call.
    let result = unsafe { libc::getsockopt(socket.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut size) };
    if result == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}
