//! What a datagram is, by its first byte, and whose, by its five-tuple.

use hashbrown::HashMap;
use sluice_protocol::ids::TransportId;

use crate::discard::Discard;
use crate::limits::DATAGRAM_BYTES_MAX;
use crate::port::FiveTuple;
use crate::shard::seed::SeededState;

/// The protocols that share a five-tuple (RFC 7983 section 7, RFC 5761 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// STUN.
    Stun,
    /// DTLS.
    Dtls,
    /// SRTP.
    Rtp,
    /// SRTCP.
    Rtcp,
}

/// Which transport each validated five-tuple belongs to.
///
/// Only authenticated binding requests put something in, at most
/// [`crate::limits::FIVE_TUPLES_PER_TRANSPORT_MAX`] per transport.
#[derive(Debug)]
pub(crate) struct Demux {
    transports: HashMap<FiveTuple, TransportId, SeededState>,
}

impl Demux {
    pub(crate) const fn new(seed: SeededState) -> Self {
        Self { transports: HashMap::with_hasher(seed) }
    }

    /// Tells the protocol of a datagram.
    pub(crate) fn classify(datagram: &[u8]) -> Result<Protocol, Discard> {
        if datagram.len() > DATAGRAM_BYTES_MAX {
            return Err(Discard::Oversized);
        }
        match (datagram.first(), datagram.get(1)) {
            (Some(0..=3), _) => Ok(Protocol::Stun),
            (Some(20..=63), _) => Ok(Protocol::Dtls),
            (Some(128..=191), Some(192..=223)) => Ok(Protocol::Rtcp),
            (Some(128..=191), Some(_)) => Ok(Protocol::Rtp),
            _ => Err(Discard::Unclassified),
        }
    }

    /// Returns the transport that validated `five_tuple`.
    pub(crate) fn transport(&self, five_tuple: FiveTuple) -> Result<TransportId, Discard> {
        self.transports.get(&five_tuple).copied().ok_or(Discard::UnvalidatedFiveTuple)
    }

    /// Gives `five_tuple` to `transport` and returns the transport that had it, if it was another one.
    pub(crate) fn validate(&mut self, five_tuple: FiveTuple, transport: TransportId) -> Option<TransportId> {
        self.transports.insert(five_tuple, transport).filter(|before| *before != transport)
    }

    /// Forgets `five_tuple` if it is still of `transport`.
    pub(crate) fn forget(&mut self, five_tuple: FiveTuple, transport: TransportId) {
        if self.transports.get(&five_tuple) == Some(&transport) {
            self.transports.remove(&five_tuple);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn the_first_bytes_tell_the_protocol() {
        let cases = [
            (&[0, 1][..], Ok(Protocol::Stun)),
            (&[3], Ok(Protocol::Stun)),
            (&[4, 0], Err(Discard::Unclassified)),
            (&[20], Ok(Protocol::Dtls)),
            (&[63], Ok(Protocol::Dtls)),
            (&[64, 0], Err(Discard::Unclassified)),
            (&[128, 96], Ok(Protocol::Rtp)),
            (&[144, 191], Ok(Protocol::Rtp)),
            (&[128, 192], Ok(Protocol::Rtcp)),
            (&[129, 201], Ok(Protocol::Rtcp)),
            (&[128, 223], Ok(Protocol::Rtcp)),
            (&[191, 224], Ok(Protocol::Rtp)),
            (&[192, 96], Err(Discard::Unclassified)),
            (&[128], Err(Discard::Unclassified)),
            (&[], Err(Discard::Unclassified)),
        ];
        for (bytes, protocol) in cases {
            assert_eq!(Demux::classify(bytes), protocol, "{bytes:?}");
        }
        assert_eq!(Demux::classify(&[128; DATAGRAM_BYTES_MAX]), Ok(Protocol::Rtp));
        assert_eq!(Demux::classify(&[128; DATAGRAM_BYTES_MAX + 1]), Err(Discard::Oversized));
    }

    #[test]
    fn a_five_tuple_has_one_owner_and_only_the_owner_forgets_it() {
        let mut demux = Demux::new(SeededState::new(1));
        let local: SocketAddr = "192.0.2.1:7882".parse().unwrap();
        let five_tuple = FiveTuple { local, remote: "192.0.2.2:5000".parse().unwrap() };
        let [a, b] = [TransportId::new(0, 1, 1), TransportId::new(0, 2, 1)];
        assert_eq!(demux.transport(five_tuple), Err(Discard::UnvalidatedFiveTuple));
        assert_eq!(demux.validate(five_tuple, a), None);
        assert_eq!(demux.validate(five_tuple, a), None);
        assert_eq!(demux.validate(five_tuple, b), Some(a));
        demux.forget(five_tuple, a);
        assert_eq!(demux.transport(five_tuple), Ok(b));
        demux.forget(five_tuple, b);
        assert_eq!(demux.transport(five_tuple), Err(Discard::UnvalidatedFiveTuple));
    }
}
