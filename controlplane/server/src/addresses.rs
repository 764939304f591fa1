//! The addresses that clients are told to send media to.

use std::net::{IpAddr, SocketAddr};

use nix::ifaddrs::getifaddrs;

/// Candidates in one answer; a host with more addresses should choose with `webrtc.announce`.
const CANDIDATES_MAX: usize = 16;

/// What to announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// From configuration; empty for the host's own.
    configured: Vec<IpAddr>,
}

impl Announced {
    /// Takes `webrtc.announce`.
    #[must_use]
    pub const fn new(configured: Vec<IpAddr>) -> Self {
        Self { configured }
    }

    /// Returns the candidates for a client, the preferred one first: what was configured, else the host's own routable
    /// addresses as they are now. Who signals over loopback is told loopback first, unless addresses were configured.
    #[must_use]
    pub fn candidates(&self, client: IpAddr, media_port: u16) -> Vec<SocketAddr> {
        let addresses = if self.configured.is_empty() {
            let mut addresses: Vec<IpAddr> = Vec::new();
            if client.to_canonical().is_loopback() {
                addresses.push(client.to_canonical());
            }
            addresses.extend(host_addresses());
            addresses
        } else {
            self.configured.clone()
        };
        addresses.into_iter().take(CANDIDATES_MAX).map(|address| SocketAddr::new(address, media_port)).collect()
    }
}

/// Returns the host's own addresses that others can reach, IPv4 first: most clients try candidates in their order.
fn host_addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let addresses = interfaces.filter_map(|interface| {
        let storage = interface.address?;
        let v4 = storage.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    let mut addresses: Vec<IpAddr> = addresses.filter(is_routable).collect();
    addresses.sort_by_key(|address| (address.is_ipv6(), *address));
    addresses.dedup();
    addresses
}

/// Tells whether another host could reach `address`: neither loopback, nor of one link only, nor a multicast group.
fn is_routable(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn loopback_is_told_only_to_those_who_signal_over_it() {
        let announced = Announced::new(Vec::new());
        assert_eq!(announced.candidates(ip("127.0.0.1"), 7)[0], address("127.0.0.1:7"));
        assert_eq!(announced.candidates(ip("::ffff:127.0.0.1"), 7)[0], address("127.0.0.1:7"));
        assert!(announced.candidates(ip("192.0.2.9"), 7).iter().all(|candidate| !candidate.ip().is_loopback()));
    }

    #[test]
    fn what_is_configured_stands_alone() {
        let announced = Announced::new(vec![ip("192.0.2.1"), ip("2001:db8::1")]);
        let expected = [address("192.0.2.1:7"), address("[2001:db8::1]:7")];
        assert_eq!(announced.candidates(ip("127.0.0.1"), 7), expected);
    }

    #[test]
    fn addresses_of_one_link_are_not_routable() {
        for (address, routable) in
            [("10.1.2.3", true), ("2001:db8::1", true), ("169.254.1.1", false), ("fe80::1", false), ("::1", false)]
        {
            assert_eq!(is_routable(&ip(address)), routable, "{address}");
        }
    }
}
