//! The network between peers and the data plane: loss, delay, reordering and duplicates by seed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sluice_protocol::time::Instant;

use crate::faults::{Fault, Fired};
use crate::random::Random;

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToPeer,
}

/// A datagram under way.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    pub(crate) way: Way,
    /// The peer's address.
    pub(crate) remote: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// How bad the network is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss_per_mille: u64,
    pub(crate) duplicate_per_mille: u64,
    pub(crate) reorder_per_mille: u64,
    pub(crate) delay_ms: u64,
}

impl Weather {
    pub(crate) const FAIR: Self = Self { loss_per_mille: 0, duplicate_per_mille: 0, reorder_per_mille: 0, delay_ms: 5 };

    pub(crate) fn draw(random: &mut Random) -> Self {
        Self {
            loss_per_mille: random.pick(&[0, 0, 10, 30, 150]),
            duplicate_per_mille: random.pick(&[0, 0, 20]),
            reorder_per_mille: random.pick(&[0, 10, 100]),
            delay_ms: random.pick(&[1, 5, 30]),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Network {
    random: Random,
    pub(crate) weather: Weather,
    in_flight: BTreeMap<(Instant, u64), Datagram>,
    order: u64,
}

impl Network {
    pub(crate) fn new(random: Random) -> Self {
        Self { random, weather: Weather::FAIR, in_flight: BTreeMap::new(), order: 0 }
    }

    pub(crate) fn send(&mut self, now: Instant, datagram: Datagram, fired: &mut Fired) {
        let weather = self.weather;
        if self.random.chance(weather.loss_per_mille) {
            fired.count(Fault::Loss);
            return;
        }
        if self.random.chance(weather.duplicate_per_mille) {
            fired.count(Fault::Duplicate);
            let at = now + Duration::from_millis(weather.delay_ms + self.random.below(60));
            self.put(at, datagram.clone());
        }
        let mut delay_ms = weather.delay_ms;
        if self.random.chance(weather.reorder_per_mille) {
            fired.count(Fault::Reorder);
            delay_ms += self.random.between(5, 60);
        }
        self.put(now + Duration::from_millis(delay_ms), datagram);
    }

    /// Returns the next datagram that has arrived.
    pub(crate) fn receive(&mut self, now: Instant) -> Option<Datagram> {
        let entry = self.in_flight.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }

    fn put(&mut self, at: Instant, datagram: Datagram) {
        self.order += 1;
        self.in_flight.insert((at, self.order), datagram);
    }
}
