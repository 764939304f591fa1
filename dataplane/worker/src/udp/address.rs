//! Socket addresses and control messages between Rust and the kernel.

use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Writes `address` into `storage` and returns the size that counts.
pub(super) fn write(address: SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            // SAFETY: `sockaddr_storage` is large enough and aligned for every socket address.
            unsafe { std::ptr::from_mut(storage).cast::<libc::sockaddr_in>().write(raw) };
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            // SAFETY: `sockaddr_storage` is large enough and aligned for every socket address.
            unsafe { std::ptr::from_mut(storage).cast::<libc::sockaddr_in6>().write(raw) };
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// Reads an address; `None` for a family that is neither IPv4 nor IPv6.
pub(super) fn read(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says which address the storage holds, and it is large enough for it.
            let raw = unsafe { *std::ptr::from_ref(storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
            Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(raw.sin_port))))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says which address the storage holds, and it is large enough for it.
            let raw = unsafe { *std::ptr::from_ref(storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
            let port = u16::from_be(raw.sin6_port);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, port, raw.sin6_flowinfo, raw.sin6_scope_id)))
        }
        _ => None,
    }
}

/// Room for the control messages of one datagram.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control(pub(super) [u8; 128]);

impl Control {
    pub(super) const EMPTY: Self = Self([0; 128]);
}

/// What the kernel says about a received datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// The address that it was sent to.
    pub(super) local: Option<IpAddr>,
    /// The size of each of the datagrams that were merged into this one (`UDP_GRO`).
    pub(super) segment_size_bytes: Option<usize>,
    /// When it arrived, in nanoseconds of `CLOCK_REALTIME`.
    pub(super) stamp_nanos: Option<u64>,
}

/// Reads the control messages that `header` came with.
pub(super) fn read_control(header: &libc::msghdr) -> Received {
    let mut received = Received::default();
    // SAFETY: `header` was filled by the kernel and its control buffer lives as long as it.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return whole, aligned headers or null.
        let head = unsafe { *message };
        // SAFETY: as above; the data follows the header.
        let data = unsafe { libc::CMSG_DATA(message) };
        match (head.cmsg_level, head.cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the kernel puts an `in_pktinfo` there; the read asks for no alignment.
                let info = unsafe { data.cast::<libc::in_pktinfo>().read_unaligned() };
                received.local = Some(IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel puts an `in6_pktinfo` there; the read asks for no alignment.
                let info = unsafe { data.cast::<libc::in6_pktinfo>().read_unaligned() };
                received.local = Some(IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)));
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: the kernel puts an `int` there; the read asks for no alignment.
                let size = unsafe { data.cast::<libc::c_int>().read_unaligned() };
                received.segment_size_bytes = usize::try_from(size).ok();
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: the kernel puts a `timespec` there; the read asks for no alignment.
                let stamp = unsafe { data.cast::<libc::timespec>().read_unaligned() };
                let seconds = u64::try_from(stamp.tv_sec).unwrap_or(0);
                received.stamp_nanos = Some(seconds * 1_000_000_000 + u64::try_from(stamp.tv_nsec).unwrap_or(0));
            }
            _ => {}
        }
        // SAFETY: `message` came from the same header.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    received
}

/// Writes the control messages of a run: the address to send from, and the size to cut it into where it has several
/// segments. Returns the size that counts.
pub(super) fn write_control(local: IpAddr, segment_size_bytes: Option<u16>, control: &mut Control) -> usize {
    // SAFETY: all-zero bytes are a valid message header.
    let mut header: libc::msghdr = unsafe { zeroed() };
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = control.0.len();
    // SAFETY: the control buffer is large and aligned enough for the messages below.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    let mut size = match local {
        IpAddr::V4(ip) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            put(message, libc::IPPROTO_IP, libc::IP_PKTINFO, info)
        }
        IpAddr::V6(ip) => {
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
            put(message, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info)
        }
    };
    if let Some(segment) = segment_size_bytes {
        // SAFETY: `message` is a whole message within the control buffer.
        message = unsafe { libc::CMSG_NXTHDR(&raw const header, message) };
        size += put(message, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    size
}

/// Writes one control message with `value` as its data and returns its size with padding.
fn put<T>(message: *mut libc::cmsghdr, level: libc::c_int, kind: libc::c_int, value: T) -> usize {
    let size = size_of::<T>() as libc::c_uint;
    // SAFETY: CMSG_LEN only computes.
    let message_size = unsafe { libc::CMSG_LEN(size) };
    let head = libc::cmsghdr { cmsg_len: message_size as usize, cmsg_level: level, cmsg_type: kind };
    // SAFETY: the caller's buffer holds a header and data of this size at `message`.
    unsafe { message.write(head) };
    // SAFETY: CMSG_DATA only computes where the data of a whole message is.
    let data = unsafe { libc::CMSG_DATA(message) };
    // SAFETY: as above; the data has room for the value, and the write asks for no alignment.
    unsafe { data.cast::<T>().write_unaligned(value) };
    // SAFETY: CMSG_SPACE only computes.
    (unsafe { libc::CMSG_SPACE(size) }) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_way_to_the_kernel_and_back() {
        for text in ["192.0.2.7:5000", "[2001:db8::7]:5000", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().unwrap();
            // SAFETY: all-zero bytes are a valid storage.
            let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
            let _ = write(address, &mut storage);
            assert_eq!(read(&storage), Some(address));
        }
    }

    #[test]
    fn a_storage_of_another_family_is_no_address() {
        // SAFETY: all-zero bytes are a valid storage.
        let storage: libc::sockaddr_storage = unsafe { zeroed() };
        assert_eq!(read(&storage), None);
    }
}
