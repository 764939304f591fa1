//! The packet streams: DTLS both ways, many datagrams in one message.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::net::{RecvFlags, SendFlags};
use sluice_protocol::ids::TransportId;
use sluice_protocol::limits::PACKET_BATCH_BYTES_MAX;
use sluice_protocol::packet::{BatchReader, BatchWriter, HEADER_BYTES, Packet, PacketKind};
use sluice_protocol::time::Instant;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The streams by shard, for everybody who sends. What finds no stream, or a full one, is dropped and counted: DTLS
/// repeats itself.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    streams: Mutex<Vec<Arc<AsyncFd<OwnedFd>>>>,
    dropped: AtomicU64,
}

impl Outgoing {
    /// Takes the streams of a new connection, by shard; none while there is no connection.
    pub(super) fn replace(&self, streams: Vec<Arc<AsyncFd<OwnedFd>>>) {
        *self.streams.lock().unwrap_or_else(PoisonError::into_inner) = streams;
    }

    /// Returns how many datagrams were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn send(&self, transport: TransportId, datagram: &Bytes) {
        let stream = {
            let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
            streams.get(usize::from(transport.shard())).cloned()
        };
        let mut buffer = vec![0; HEADER_BYTES + datagram.len()];
        let mut writer = BatchWriter::new(&mut buffer);
        let packet = Packet { kind: PacketKind::Dtls(transport), arrival: Instant::ZERO, bytes: datagram };
        let written = writer.write(packet).is_ok();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = stream
            .filter(|_| written)
            .is_some_and(|stream| rustix::net::send(stream.get_ref(), writer.as_bytes(), flags).is_ok());
        if !sent {
            let _before = self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Waits for a batch of a stream, and returns its punted datagrams.
///
/// # Errors
/// When the stream is broken or the data plane closed it.
pub(super) async fn receive(
    stream: &AsyncFd<OwnedFd>,
    buffer: &mut Box<[u8]>,
) -> io::Result<Vec<(TransportId, Bytes)>> {
    if buffer.len() < PACKET_BATCH_BYTES_MAX {
        *buffer = vec![0; PACKET_BATCH_BYTES_MAX].into_boxed_slice();
    }
    let read = |socket: &OwnedFd| {
        rustix::net::recv(socket, &mut **buffer, RecvFlags::DONTWAIT).map(|(_, size)| size).map_err(io::Error::from)
    };
    let size_bytes = stream.async_io(Interest::READABLE, read).await?;
    if size_bytes == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
    }
    let mut packets = BatchReader::new(buffer.get(..size_bytes).unwrap_or(&[]));
    let punts = packets.by_ref().filter_map(|packet| match packet.kind {
        PacketKind::Punt(transport) => Some((transport, Bytes::copy_from_slice(packet.bytes))),
        PacketKind::Dtls(_) | PacketKind::Tap(_) | PacketKind::Injection(_) => None,
    });
    let punts = punts.collect();
    if packets.is_malformed() {
        tracing::error!("a batch of the data plane is cut short; DTLS repeats what was in it");
    }
    Ok(punts)
}
