//! Who may have a connection: a bounded number in all and for each network, and nobody waits for a place.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::limits;
use super::shares::{Share, Shares, network};

/// The places for connections. [`limits::CONNECTIONS_KEPT`] of them are kept for this host, whose proxies and health
/// checks have to get through when strangers hold all others, and as many for strangers.
#[derive(Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    networks: Shares<IpAddr>,
    sides: Shares<bool>,
}

/// A place that is held by a connection.
#[derive(Debug)]
pub(super) struct Place {
    _all: OwnedSemaphorePermit,
    _network: Option<Share<IpAddr>>,
    _side: Share<bool>,
}

impl Places {
    /// Starts with all places free.
    #[must_use]
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(limits::CONNECTIONS_MAX)), networks: Shares::new(), sides: Shares::new() }
    }

    /// Takes a place for a connection from `address`; `None` when its network, or everybody, has as many as there may be.
    /// One network has [`limits::CONNECTIONS_PER_NETWORK_MAX`]; this host is not counted so, because a proxy on it brings
    /// everybody's connections.
    #[must_use]
    pub(super) fn take(&self, address: IpAddr) -> Option<Place> {
        let is_loopback = address.to_canonical().is_loopback();
        let network = if is_loopback {
            None
        } else {
            Some(self.networks.take(network(address), limits::CONNECTIONS_PER_NETWORK_MAX)?)
        };
        let side = self.sides.take(is_loopback, limits::CONNECTIONS_MAX - limits::CONNECTIONS_KEPT)?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Place { _all: all, _network: network, _side: side })
    }

    /// Waits until nobody has a place any more.
    pub(super) async fn are_free(&self) {
        let everybody = u32::try_from(limits::CONNECTIONS_MAX).unwrap_or(u32::MAX);
        drop(self.all.acquire_many(everybody).await);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn take_all(places: &Places, address: IpAddr) -> Vec<Place> {
        std::iter::from_fn(|| places.take(address)).collect()
    }

    #[test]
    fn one_network_does_not_take_the_places_of_others() {
        let places = Places::new();
        let held = take_all(&places, IpAddr::from([192, 0, 2, 1]));
        assert_eq!(held.len(), limits::CONNECTIONS_PER_NETWORK_MAX);
        assert!(places.take(IpAddr::from([192, 0, 2, 2])).is_some());
        drop(held);
        assert!(places.take(IpAddr::from([192, 0, 2, 1])).is_some());
    }

    #[test]
    fn strangers_leave_places_to_this_host_and_this_host_to_strangers() {
        let strangers = || (1..=200_u8).map(|last| IpAddr::from([203, 0, 113, last]));
        let (places, this_host) = (Places::new(), IpAddr::V4(Ipv4Addr::LOCALHOST));
        let held: Vec<Place> = strangers().flat_map(|address| take_all(&places, address)).collect();
        assert_eq!(held.len(), limits::CONNECTIONS_MAX - limits::CONNECTIONS_KEPT);
        assert_eq!(take_all(&places, this_host).len(), limits::CONNECTIONS_KEPT);
        drop(held);
        let held = take_all(&places, this_host);
        assert_eq!(held.len(), limits::CONNECTIONS_MAX - limits::CONNECTIONS_KEPT);
        assert!(strangers().all(|address| places.take(address).is_some()));
    }
}
