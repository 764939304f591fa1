//! What crosses the border between a shard's shell and its core.

use std::net::SocketAddr;

use sluice_protocol::ids::TransportId;
use sluice_protocol::time::Instant;

/// Our address and the peer's: with UDP as the one protocol, the five-tuple of RFC 7983.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FiveTuple {
    /// Our address: the destination of what was received, the source of what is sent.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
}

/// A received datagram. The core opens SRTP in place, so the bytes are lent mutably.
#[derive(Debug)]
pub struct Datagram<'a> {
    /// Where it came from and to.
    pub five_tuple: FiveTuple,
    /// When the kernel received it, on the clock of the loop's `now`, never later than that.
    pub arrival: Instant,
    /// The UDP payload.
    pub bytes: &'a mut [u8],
}

/// What a run carries; decides who waits behind a full socket, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// STUN, DTLS and RTCP.
    Control,
    /// RTP of audio tracks.
    Audio,
    /// RTP of video tracks, repairs included.
    Video,
}

/// A run of datagrams to one destination: all of `segment_size_bytes` but the last, which may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// From where to where.
    pub five_tuple: FiveTuple,
    /// The size of each datagram but the last.
    pub segment_size_bytes: usize,
    /// The size of all datagrams together, at most [`RUN_BYTES_MAX`] and [`RUN_SEGMENTS_MAX`] segments.
    pub total_bytes: usize,
    /// What it carries.
    pub class: Class,
}

/// Bytes of one run: the largest UDP payload over IPv4.
pub const RUN_BYTES_MAX: usize = 65_507;
/// Segments of one run: the kernel's `UDP_MAX_SEGMENTS` before Linux 6.9.
pub const RUN_SEGMENTS_MAX: usize = 64;

/// Where the core puts what leaves; the shell implements it over a batch of system calls, a simulator over a queue.
pub trait Outbox {
    /// Lends `run.total_bytes` bytes that the core fills with the run's datagrams, back to back, before its next call.
    ///
    /// `None` when the run cannot be taken now, because the batch or the socket behind it is full; the core then keeps
    /// or drops what it wanted to send, and is called again when there is room.
    fn reserve_run(&mut self, run: Run) -> Option<&mut [u8]>;

    /// Hands a DTLS datagram of `transport` to the control plane. Dropped, and counted by the shell, when the stream to
    /// the control plane is full: DTLS repeats itself.
    fn punt(&mut self, transport: TransportId, datagram: &[u8]);
}
