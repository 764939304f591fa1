//! A transport's nominated pair as six words of its row.
//!
//! | word | content, least significant first |
//! |---|---|
//! | 0–1 | the peer's IP address: 16 bytes, or 4 and zeros |
//! | 2–3 | ours |
//! | 4 | the peer's port 16 · our port 16 · the peer's scope (RFC 4007 section 11) 32 |
//! | 5 | of the ufrag that it was nominated under: random 32 · restart 8; family 8: 4, 6, or 0 without a path |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use crate::ice::Ufrag;
use crate::ids::TransportId;
use crate::plan::Path;

/// 64-bit words of a path.
pub(super) const PATH_WORDS: usize = 6;

/// The words where no path is known.
pub(super) const NO_PATH: [u64; PATH_WORDS] = [0; PATH_WORDS];

/// Returns a path as words, `None` for one that no socket of ours can have learnt: of two families, or with a scope on
/// our own address, which the kernel does not tell.
pub(super) fn to_words(path: &Path) -> Option<[u64; PATH_WORDS]> {
    let (family, scope) = match (path.local, path.remote) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => (4_u8, 0),
        (SocketAddr::V6(local), SocketAddr::V6(remote)) if local.scope_id() == 0 => (6, remote.scope_id()),
        (SocketAddr::V4(_) | SocketAddr::V6(_), _) => return None,
    };
    let Ufrag { restart, random, .. } = path.credentials;
    let [remote_low, remote_high] = ip_words(path.remote.ip());
    let [local_low, local_high] = ip_words(path.local.ip());
    let ports = u64::from(path.remote.port()) | (u64::from(path.local.port()) << 16);
    Some([
        remote_low,
        remote_high,
        local_low,
        local_high,
        ports | (u64::from(scope) << 32),
        u64::from(random) | (u64::from(restart) << 32) | (u64::from(family) << 40),
    ])
}

/// Reads the path of `transport` from words, `None` where there is none.
pub(super) fn from_words(transport: TransportId, words: [u64; PATH_WORDS]) -> Option<Path> {
    let [remote_low, remote_high, local_low, local_high, addresses, credentials] = words;
    let [r0, r1, l0, l1, scope @ ..] = addresses.to_le_bytes();
    let [n0, n1, n2, n3, restart, family, _, _] = credentials.to_le_bytes();
    let random = u32::from_le_bytes([n0, n1, n2, n3]);
    let scope = u32::from_le_bytes(scope);
    Some(Path {
        transport,
        local: address(family, [local_low, local_high], u16::from_le_bytes([l0, l1]), 0)?,
        remote: address(family, [remote_low, remote_high], u16::from_le_bytes([r0, r1]), scope)?,
        credentials: Ufrag { transport, restart, random },
    })
}

fn ip_words(ip: IpAddr) -> [u64; 2] {
    match ip {
        IpAddr::V4(ip) => [u64::from(u32::from_le_bytes(ip.octets())), 0],
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, h, rest @ ..] = ip.octets();
            [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes(rest)]
        }
    }
}

fn address(family: u8, words: [u64; 2], port: u16, scope: u32) -> Option<SocketAddr> {
    let [low, high] = words.map(u64::to_le_bytes);
    match family {
        4 => {
            let [a, b, c, d, ..] = low;
            Some(SocketAddr::from((Ipv4Addr::new(a, b, c, d), port)))
        }
        6 => {
            let mut octets = [0; 16];
            let (first, last) = octets.split_at_mut(8);
            first.copy_from_slice(&low);
            last.copy_from_slice(&high);
            Some(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRANSPORT: TransportId = TransportId::new(1, 2, 3);

    fn path(local: &str, remote: &str) -> Path {
        Path {
            transport: TRANSPORT,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            credentials: Ufrag { transport: TRANSPORT, restart: 0xfe, random: 0x1234_5678 },
        }
    }

    #[test]
    fn paths_of_either_family_read_as_they_were_written() {
        for (local, remote) in [
            ("192.0.2.1:7882", "198.51.100.7:65535"),
            ("0.0.0.0:0", "255.255.255.255:1"),
            ("[2001:db8::1]:7882", "[2001:db8:ffff::7]:40000"),
            ("[fe80::1]:7882", "[fe80::2%17]:40000"),
            ("[::ffff:192.0.2.1]:7882", "[::ffff:198.51.100.7]:40000"),
        ] {
            let path = path(local, remote);
            let words = to_words(&path).unwrap();
            assert_eq!(from_words(TRANSPORT, words), Some(path), "{local} {remote}");
        }
    }

    #[test]
    fn words_of_no_path_and_of_an_unknown_family_are_none() {
        assert_eq!(from_words(TRANSPORT, NO_PATH), None);
        let mut words = to_words(&path("192.0.2.1:7882", "198.51.100.7:1")).unwrap();
        words[5] |= 0xf0 << 40;
        assert_eq!(from_words(TRANSPORT, words), None);
    }

    #[test]
    fn what_no_socket_learns_is_not_written() {
        for (local, remote) in [("192.0.2.1:1", "[2001:db8::1]:2"), ("[fe80::1%3]:1", "[fe80::2%3]:2")] {
            assert_eq!(to_words(&path(local, remote)), None, "{local} {remote}");
        }
    }
}
