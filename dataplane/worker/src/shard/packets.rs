//! The packet stream between a shard and the control plane: DTLS now, taps and injection later.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{RecvFlags, SendFlags};
use sluice_protocol::ids::TransportId;
use sluice_protocol::limits::PACKET_BATCH_BYTES_MAX;
use sluice_protocol::packet::{BatchReader, BatchWriter, Packet, PacketKind, WriteError};
use sluice_protocol::time::Instant;

/// Batches taken in one turn.
const BATCHES_PER_TURN: usize = 8;

/// The shard's end of the stream, and a batch under way. Without a control plane, and behind a full stream, what should
/// leave is dropped and counted: DTLS repeats itself.
#[derive(Debug)]
pub(super) struct PacketStream {
    socket: Option<OwnedFd>,
    incoming: Box<[u8]>,
    outgoing: Box<[u8]>,
    outgoing_bytes: usize,
    outgoing_packets: u64,
    dropped: u64,
    malformed: u64,
}

impl PacketStream {
    /// Makes a stream that nobody is connected to.
    pub(super) fn new() -> Self {
        Self {
            socket: None,
            incoming: vec![0; PACKET_BATCH_BYTES_MAX].into_boxed_slice(),
            outgoing: vec![0; PACKET_BATCH_BYTES_MAX].into_boxed_slice(),
            outgoing_bytes: 0,
            outgoing_packets: 0,
            dropped: 0,
            malformed: 0,
        }
    }

    /// Goes on with a new socket; the one before is closed.
    pub(super) fn attach(&mut self, socket: OwnedFd) {
        self.socket = Some(socket);
    }

    /// Returns what to sleep on.
    pub(super) fn inlet(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Hands each datagram that is to be sent to `each`. Returns whether more may wait.
    pub(super) fn receive(&mut self, mut each: impl FnMut(TransportId, &[u8])) -> bool {
        for _ in 0..BATCHES_PER_TURN {
            let Some(socket) = &self.socket else { return false };
            match rustix::net::recv(socket, &mut *self.incoming, RecvFlags::DONTWAIT) {
                Ok((_, 0)) => self.socket = None,
                Ok((_, size_bytes)) => {
                    let mut batch = BatchReader::new(self.incoming.get(..size_bytes).unwrap_or(&[]));
                    for packet in batch.by_ref() {
                        if let PacketKind::Dtls(transport) = packet.kind {
                            each(transport, packet.bytes);
                        }
                    }
                    if batch.is_malformed() {
                        self.malformed += 1;
                        tracing::error!("a batch of the control plane is cut short; DTLS repeats what was in it");
                    }
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return false,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => self.socket = None,
            }
        }
        true
    }

    /// Adds a DTLS datagram for the control plane to the batch.
    pub(super) fn punt(&mut self, transport: TransportId, datagram: &[u8]) {
        let packet = Packet { kind: PacketKind::Punt(transport), arrival: Instant::ZERO, bytes: datagram };
        match self.write(packet) {
            Ok(()) => {}
            Err(WriteError::TooLong) => self.dropped += 1,
            Err(WriteError::Full) => {
                self.flush();
                if self.write(packet).is_err() {
                    self.dropped += 1;
                }
            }
        }
    }

    fn write(&mut self, packet: Packet<'_>) -> Result<(), WriteError> {
        let mut writer = BatchWriter::resume(&mut self.outgoing, self.outgoing_bytes);
        writer.write(packet)?;
        self.outgoing_bytes = writer.size_bytes();
        self.outgoing_packets += 1;
        Ok(())
    }

    /// Sends the batch, if there is one.
    pub(super) fn flush(&mut self) {
        let batch = self.outgoing.get(..self.outgoing_bytes).unwrap_or(&[]);
        if batch.is_empty() {
            return;
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = self.socket.as_ref().is_some_and(|socket| rustix::net::send(socket, batch, flags).is_ok());
        if !sent {
            self.dropped += self.outgoing_packets;
        }
        self.outgoing_bytes = 0;
        self.outgoing_packets = 0;
    }

    /// Returns how many batches of the control plane were cut short.
    pub(super) const fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Returns how many datagrams were dropped.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }
}
