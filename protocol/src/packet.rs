//! The packet stream: datagrams between the planes, many in one message.
//!
//! Each shard has a `SOCK_SEQPACKET` pair. A message is a batch of at most [`PACKET_BATCH_BYTES_MAX`] bytes: packets one
//! after the other, each with a header of [`HEADER_BYTES`] bytes, little-endian, without padding:
//!
//! | bytes | content |
//! |---|---|
//! | 0–7 | address: the transport of a DTLS datagram, the track of a tap or an injection |
//! | 8–15 | arrival in nanoseconds of `CLOCK_MONOTONIC`, 0 where it means nothing |
//! | 16–17 | size of the packet that follows, at most [`PACKET_BYTES_MAX`] |
//! | 18 | kind |
//! | 19 | 0, ignored by readers |
//!
//! A batch that breaks these rules is read up to the fault. A kind that a reader does not know is skipped.

use crate::ids::{Address, TrackId, TransportId};
use crate::limits::{PACKET_BATCH_BYTES_MAX, PACKET_BYTES_MAX};
use crate::time::Instant;

/// Bytes before each packet of a batch.
pub const HEADER_BYTES: usize = 20;

/// What a packet is, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// A DTLS datagram that the data plane received from a transport's validated five-tuple.
    Punt(TransportId),
    /// A DTLS datagram that the control plane sends over a transport's path.
    Dtls(TransportId),
    /// An RTP packet of a track, decrypted, for recording and the like.
    Tap(TrackId),
    /// An RTP packet of a track that enters the corridor at `ingress`.
    Injection(TrackId),
}

impl PacketKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Punt(_) => 1,
            Self::Dtls(_) => 2,
            Self::Tap(_) => 3,
            Self::Injection(_) => 4,
        }
    }

    const fn address(self) -> Address {
        match self {
            Self::Punt(transport) | Self::Dtls(transport) => transport.0,
            Self::Tap(track) | Self::Injection(track) => track.0,
        }
    }

    const fn from_parts(byte: u8, address: Address) -> Option<Self> {
        match byte {
            1 => Some(Self::Punt(TransportId(address))),
            2 => Some(Self::Dtls(TransportId(address))),
            3 => Some(Self::Tap(TrackId(address))),
            4 => Some(Self::Injection(TrackId(address))),
            _ => None,
        }
    }
}

/// One packet of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What it is, and whose.
    pub kind: PacketKind,
    /// When it arrived; zero where it did not arrive from the network.
    pub arrival: Instant,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// Why a packet was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WriteError {
    /// It is longer than [`PACKET_BYTES_MAX`], and will never fit.
    #[error("a packet is over the limit of {PACKET_BYTES_MAX} bytes")]
    TooLong,
    /// The batch is full: send it, clear it, write again.
    #[error("the batch is full")]
    Full,
}

/// Writes packets into caller-owned memory, of which it uses [`PACKET_BATCH_BYTES_MAX`] bytes at most.
#[derive(Debug)]
pub struct BatchWriter<'a> {
    buffer: &'a mut [u8],
    size_bytes: usize,
}

impl<'a> BatchWriter<'a> {
    /// Begins an empty batch in `buffer`.
    #[must_use]
    pub const fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, size_bytes: 0 }
    }

    /// Goes on with a batch whose first `size_bytes` bytes were written before; more than there are count as all.
    #[must_use]
    pub fn resume(buffer: &'a mut [u8], size_bytes: usize) -> Self {
        let size_bytes = size_bytes.min(buffer.len());
        Self { buffer, size_bytes }
    }

    /// Appends a packet.
    ///
    /// # Errors
    ///
    /// See [`WriteError`]; the batch stays as it was.
    pub fn write(&mut self, packet: Packet<'_>) -> Result<(), WriteError> {
        let size = u16::try_from(packet.bytes.len()).map_err(|_| WriteError::TooLong)?;
        if packet.bytes.len() > PACKET_BYTES_MAX {
            return Err(WriteError::TooLong);
        }
        let end = self.size_bytes + HEADER_BYTES + packet.bytes.len();
        if end > PACKET_BATCH_BYTES_MAX {
            return Err(WriteError::Full);
        }
        let room = self.buffer.get_mut(self.size_bytes..end).ok_or(WriteError::Full)?;
        let (header, body) = room.split_at_mut(HEADER_BYTES);
        header.copy_from_slice(&header_bytes(packet, size));
        body.copy_from_slice(packet.bytes);
        self.size_bytes = end;
        Ok(())
    }

    /// Returns the batch so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.buffer.get(..self.size_bytes).unwrap_or(&[])
    }

    /// Returns the size of the batch so far.
    #[must_use]
    pub const fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Tells whether nothing was written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.size_bytes == 0
    }

    /// Begins anew.
    pub const fn clear(&mut self) {
        self.size_bytes = 0;
    }
}

fn header_bytes(packet: Packet<'_>, size: u16) -> [u8; HEADER_BYTES] {
    let [a0, a1, a2, a3, a4, a5, a6, a7] = packet.kind.address().word().to_le_bytes();
    let [t0, t1, t2, t3, t4, t5, t6, t7] = packet.arrival.nanos.to_le_bytes();
    let [s0, s1] = size.to_le_bytes();
    [a0, a1, a2, a3, a4, a5, a6, a7, t0, t1, t2, t3, t4, t5, t6, t7, s0, s1, packet.kind.byte(), 0]
}

/// Reads the packets of a batch, one after the other.
///
/// It ends at the end of the batch, or before the first packet that is cut short or too long;
/// [`BatchReader::is_malformed`] tells the difference afterwards.
#[derive(Clone, Debug)]
pub struct BatchReader<'a> {
    rest: &'a [u8],
    malformed: bool,
}

impl<'a> BatchReader<'a> {
    /// Begins to read `batch`.
    #[must_use]
    pub const fn new(batch: &'a [u8]) -> Self {
        Self { rest: batch, malformed: false }
    }

    /// Tells whether reading ended at a fault.
    #[must_use]
    pub const fn is_malformed(&self) -> bool {
        self.malformed
    }

    /// Returns the next packet with the kind as it stands, `None` at the end and at a fault.
    fn read(&mut self) -> Option<(Option<PacketKind>, Instant, &'a [u8])> {
        let ([a0, a1, a2, a3, a4, a5, a6, a7, tail @ ..], rest) = self.rest.split_first_chunk::<HEADER_BYTES>()?;
        let [t0, t1, t2, t3, t4, t5, t6, t7, s0, s1, kind, _] = tail;
        let address = Address::from_word(u64::from_le_bytes([*a0, *a1, *a2, *a3, *a4, *a5, *a6, *a7]));
        let arrival = Instant::from_nanos(u64::from_le_bytes([*t0, *t1, *t2, *t3, *t4, *t5, *t6, *t7]));
        let size_bytes = usize::from(u16::from_le_bytes([*s0, *s1]));
        let (bytes, rest) = (size_bytes <= PACKET_BYTES_MAX).then(|| rest.split_at_checked(size_bytes))??;
        self.rest = rest;
        Some((PacketKind::from_parts(*kind, address), arrival, bytes))
    }
}

impl<'a> Iterator for BatchReader<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read() {
                Some((Some(kind), arrival, bytes)) => return Some(Packet { kind, arrival, bytes }),
                Some((None, ..)) => {}
                None => {
                    self.malformed |= !self.rest.is_empty();
                    self.rest = &[];
                    return None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(kind: PacketKind, bytes: &[u8]) -> Packet<'_> {
        Packet { kind, arrival: Instant::from_nanos(0x0102_0304_0506_0708), bytes }
    }

    #[test]
    fn the_bytes_of_a_batch_are_golden() {
        let mut buffer = [0xff; 256];
        let mut writer = BatchWriter::new(&mut buffer);
        writer.write(packet(PacketKind::Punt(TransportId::new(1, 2, 3)), &[0x16, 0xfe, 0xfd])).unwrap();
        writer.write(packet(PacketKind::Injection(TrackId::new(4, 5, 6)), &[])).unwrap();
        assert_eq!(
            writer.as_bytes(),
            [
                3, 0, 0, 0, 2, 0, 0, 1, 8, 7, 6, 5, 4, 3, 2, 1, 3, 0, 1, 0, 0x16, 0xfe, 0xfd, //
                6, 0, 0, 0, 5, 0, 0, 4, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 4, 0,
            ]
        );
    }

    #[test]
    fn an_unknown_kind_is_skipped() {
        let mut buffer = [0; 256];
        let mut writer = BatchWriter::new(&mut buffer);
        writer.write(packet(PacketKind::Tap(TrackId::new(0, 0, 1)), b"future")).unwrap();
        writer.write(packet(PacketKind::Dtls(TransportId::new(0, 0, 2)), b"known")).unwrap();
        let size_bytes = writer.size_bytes();
        buffer[18] = 99;
        let mut reader = BatchReader::new(&buffer[..size_bytes]);
        assert_eq!(reader.next().unwrap().bytes, b"known");
        assert_eq!(reader.next(), None);
        assert!(!reader.is_malformed());
    }

    #[test]
    fn a_batch_is_read_up_to_its_fault() {
        let mut buffer = [0; 256];
        let mut writer = BatchWriter::new(&mut buffer);
        let kind = PacketKind::Punt(TransportId::new(0, 0, 1));
        writer.write(packet(kind, b"whole")).unwrap();
        writer.write(packet(kind, b"cut")).unwrap();
        let size_bytes = writer.size_bytes();
        for cut in 26..size_bytes {
            let mut reader = BatchReader::new(&buffer[..cut]);
            assert_eq!(reader.by_ref().count(), 1, "{cut}");
            assert!(reader.is_malformed());
        }
        let mut over = vec![0; HEADER_BYTES + PACKET_BYTES_MAX + 1];
        over[18] = 1;
        over[16..18].copy_from_slice(&2049_u16.to_le_bytes());
        let mut reader = BatchReader::new(&over);
        assert_eq!(reader.next(), None);
        assert!(reader.is_malformed(), "a packet over the limit");
    }

    #[test]
    fn limits_of_packets_and_batches_hold_to_the_byte() {
        let kind = PacketKind::Dtls(TransportId::new(0, 0, 1));
        let largest = vec![7; PACKET_BYTES_MAX];
        let mut buffer = vec![0; 2 * PACKET_BATCH_BYTES_MAX];
        let mut writer = BatchWriter::new(&mut buffer);
        assert_eq!(writer.write(packet(kind, &[0; PACKET_BYTES_MAX + 1])), Err(WriteError::TooLong));
        assert_eq!(writer.write(packet(kind, &vec![0; 1 << 16])), Err(WriteError::TooLong));
        while writer.write(packet(kind, &largest)).is_ok() {}
        let rest = PACKET_BATCH_BYTES_MAX - writer.size_bytes() - HEADER_BYTES;
        assert_eq!(writer.write(packet(kind, &largest[..rest + 1])), Err(WriteError::Full));
        assert_eq!(writer.write(packet(kind, &largest[..rest])), Ok(()));
        assert_eq!(writer.size_bytes(), PACKET_BATCH_BYTES_MAX);
        let mut small = [0; 30];
        assert_eq!(BatchWriter::new(&mut small).write(packet(kind, &[0; 11])), Err(WriteError::Full));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            packets in prop::collection::vec(
                (0_u8..4, any::<u64>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..100)), 0..50)
        ) {
            let mut buffer = vec![0; PACKET_BATCH_BYTES_MAX];
            let mut size_bytes = 0;
            let packets: Vec<_> = packets.iter().map(|(kind, word, nanos, bytes)| {
                let kind = PacketKind::from_parts(kind + 1, Address::from_word(*word)).unwrap();
                Packet { kind, arrival: Instant::from_nanos(*nanos), bytes }
            }).collect();
            for packet in &packets {
                let mut writer = BatchWriter::resume(&mut buffer, size_bytes);
                writer.write(*packet).unwrap();
                size_bytes = writer.size_bytes();
            }
            let read: Vec<_> = BatchReader::new(&buffer[..size_bytes]).collect();
            prop_assert_eq!(read, packets);
        }
    }
}
