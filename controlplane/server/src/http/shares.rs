//! How much of something one holder has at the same time.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Shares that are held now, counted by holder. Memory is bounded by the number of shares: a holder without any is
/// forgotten.
#[derive(Debug)]
pub(super) struct Shares<K: Eq + Hash + Clone> {
    held: Arc<Mutex<HashMap<K, usize>>>,
}

/// One share; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct Share<K: Eq + Hash + Clone> {
    held: Arc<Mutex<HashMap<K, usize>>>,
    holder: K,
}

impl<K: Eq + Hash + Clone> Shares<K> {
    /// Starts without holders.
    #[must_use]
    pub(super) fn new() -> Self {
        Self { held: Arc::default() }
    }

    /// Takes a share for `holder`, unless it has `max` of them.
    #[must_use]
    pub(super) fn take(&self, holder: K, max: usize) -> Option<Share<K>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&holder).copied().unwrap_or(0);
        if count >= max {
            return None;
        }
        held.insert(holder.clone(), count + 1);
        Some(Share { held: Arc::clone(&self.held), holder })
    }
}

impl<K: Eq + Hash + Clone> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.holder);
            }
        }
    }
}

/// Returns what one customer of a provider holds: an IPv4 address, or a /64 of IPv6.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_comes_back_when_it_is_dropped_and_others_have_their_own() {
        let shares = Shares::new();
        let held: Vec<_> = (0..3).map(|_| shares.take("a", 3).unwrap()).collect();
        assert!(shares.take("a", 3).is_none());
        let other = shares.take("b", 3);
        assert!(other.is_some());
        drop(held);
        assert!(shares.take("a", 1).is_some());
        drop(other);
        assert!(shares.held.lock().unwrap().is_empty(), "who holds nothing is forgotten");
    }

    #[test]
    fn a_network_is_an_address_of_the_old_protocol_and_half_of_one_of_the_new() {
        for (address, expected) in
            [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::")]
        {
            assert_eq!(network(address.parse().unwrap()), expected.parse::<IpAddr>().unwrap(), "{address}");
        }
    }
}
