//! The engine's outbox over a batch of system calls.

use sluice_dataplane_core::port::{Outbox, Run};
use sluice_protocol::ids::TransportId;

use super::packets::PacketStream;
use crate::udp::send::{Outlets, Sender};

/// Lends room in the sending batch, and hands DTLS to the packet stream.
#[derive(Debug)]
pub(super) struct BatchOutbox<'a> {
    sender: &'a mut Sender,
    outlets: Outlets<'a>,
    packets: &'a mut PacketStream,
}

impl<'a> BatchOutbox<'a> {
    /// Makes an outbox for one flush.
    pub(super) const fn new(sender: &'a mut Sender, outlets: Outlets<'a>, packets: &'a mut PacketStream) -> Self {
        Self { sender, outlets, packets }
    }
}

impl Outbox for BatchOutbox<'_> {
    fn reserve_run(&mut self, run: Run) -> Option<&mut [u8]> {
        self.sender.reserve(run, self.outlets)
    }

    fn punt(&mut self, transport: TransportId, datagram: &[u8]) {
        self.packets.punt(transport, datagram);
    }
}
