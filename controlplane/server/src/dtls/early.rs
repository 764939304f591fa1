//! What clients sent before their answer was taken.
//!
//! Whoever answers an offer may begin its handshake at once, on a shorter way than its answer takes (RFC 8842 section 5.2).
//! The certificate that it is to show stands in that answer, so its first flight waits here. Dropped, it would come again
//! after a second with most implementations, and the first picture with it.

use std::collections::HashMap;

use bytes::Bytes;
use sluice_protocol::ids::TransportId;

use super::limits::{DATAGRAM_BYTES_MAX, EARLY_TRANSPORTS_MAX, FIRST_FLIGHT_DATAGRAMS_MAX};

/// The first flights of clients that are not described yet.
#[derive(Debug, Default)]
pub struct FirstFlights(HashMap<TransportId, Vec<Bytes>>);

impl FirstFlights {
    /// Keeps a datagram until the transport's association is made. Returns false when there is no place for it, or it is
    /// longer than any that is looked at: the client repeats itself.
    #[must_use]
    pub fn keep(&mut self, transport: TransportId, datagram: Bytes) -> bool {
        let is_full = self.0.len() >= EARLY_TRANSPORTS_MAX && !self.0.contains_key(&transport);
        if is_full || datagram.len() > DATAGRAM_BYTES_MAX {
            return false;
        }
        let flight = self.0.entry(transport).or_default();
        let has_place = flight.len() < FIRST_FLIGHT_DATAGRAMS_MAX;
        if has_place {
            flight.push(datagram);
        }
        has_place
    }

    /// Gives out what was kept of a transport, in the order in which it came, or forgets it where nobody takes it.
    pub fn take(&mut self, transport: TransportId) -> Vec<Bytes> {
        self.0.remove(&transport).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transport(number: u32) -> TransportId {
        TransportId::new(0, number, 1)
    }

    #[test]
    fn a_first_flight_waits_in_its_order_and_is_given_out_once() {
        let mut flights = FirstFlights::default();
        for (number, content) in [(1, "hello"), (2, "another"), (1, "rest of it")] {
            assert!(flights.keep(transport(number), Bytes::from(content)));
        }
        assert_eq!(flights.take(transport(1)), ["hello", "rest of it"].map(Bytes::from));
        assert!(flights.take(transport(1)).is_empty());
        assert_eq!(flights.take(transport(2)), [Bytes::from("another")]);
    }

    #[test]
    fn neither_one_client_nor_many_can_fill_the_memory() {
        let mut flights = FirstFlights::default();
        let kept = |flights: &mut FirstFlights, number| flights.keep(transport(number), Bytes::from("hello"));
        assert_eq!((0..100).filter(|_| kept(&mut flights, 0)).count(), FIRST_FLIGHT_DATAGRAMS_MAX);
        assert!(!flights.keep(transport(1), Bytes::from(vec![22; DATAGRAM_BYTES_MAX + 1])), "a long one");
        let clients = 1..10_000;
        assert_eq!(clients.filter(|number| kept(&mut flights, *number)).count(), EARLY_TRANSPORTS_MAX - 1);
        let _taken = flights.take(transport(0));
        assert!(kept(&mut flights, 10_000), "there is a place again");
    }
}
