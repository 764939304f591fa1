//! The connection between the planes: late, in pieces, and cut at times.

use std::collections::VecDeque;
use std::time::Duration;

use sluice_protocol::ids::TransportId;
use sluice_protocol::session::Transmit;
use sluice_protocol::time::Instant;

use crate::random::Random;

/// A piece of the control stream with the descriptors that travel with it.
type Piece = (Instant, Vec<u8>, Vec<u32>);
/// A DTLS datagram of the packet stream.
type Packet = (Instant, TransportId, Vec<u8>);

/// One direction.
#[derive(Debug, Default)]
pub(crate) struct Pipe {
    pieces: VecDeque<Piece>,
    packets: VecDeque<Packet>,
    last: Instant,
}

impl Pipe {
    pub(crate) fn send(&mut self, now: Instant, transmit: Transmit<u32>, delay_ms: u64, random: &mut Random) {
        let Transmit { mut bytes, descriptors } = transmit;
        let rest =
            if delay_ms > 0 { bytes.split_off(random.below(bytes.len() as u64 + 1) as usize) } else { Vec::new() };
        self.push(now + Duration::from_millis(random.below(delay_ms + 1)), bytes, descriptors);
        if !rest.is_empty() {
            self.push(now + Duration::from_millis(random.below(delay_ms + 1)), rest, Vec::new());
        }
    }

    fn push(&mut self, at: Instant, bytes: Vec<u8>, descriptors: Vec<u32>) {
        self.last = self.last.max(at);
        self.pieces.push_back((self.last, bytes, descriptors));
    }

    pub(crate) fn send_packet(&mut self, at: Instant, transport: TransportId, datagram: Vec<u8>) {
        self.packets.push_back((at, transport, datagram));
    }

    pub(crate) fn receive(&mut self, now: Instant) -> Option<(Vec<u8>, Vec<u32>)> {
        let (_, bytes, descriptors) = self.pieces.pop_front_if(|(at, ..)| *at <= now)?;
        Some((bytes, descriptors))
    }

    pub(crate) fn receive_packet(&mut self, now: Instant) -> Option<(TransportId, Vec<u8>)> {
        let (_, transport, datagram) = self.packets.pop_front_if(|(at, ..)| *at <= now)?;
        Some((transport, datagram))
    }
}

/// Both directions.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    pub(crate) to_controller: Pipe,
    pub(crate) to_dataplane: Pipe,
}
