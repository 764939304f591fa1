//! Sending in batches: `sendmmsg`, one message per run, cut into datagrams by `UDP_SEGMENT`.

use std::collections::BTreeSet;
use std::io;
use std::mem::zeroed;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use sluice_dataplane_core::port::{RUN_BYTES_MAX, RUN_SEGMENTS_MAX, Run};

use super::address::{self, Control};

/// Bytes of a batch: what fits beside everything else into a core's second-level cache.
pub(crate) const BATCH_BYTES: usize = 256 * 1024;
/// Runs of a batch.
pub(crate) const BATCH_RUNS: usize = 256;
/// Destinations remembered as unable to take several segments; beyond it the set starts anew and learns again.
const WITHOUT_SEGMENTATION_MAX: usize = 4096;

const _: () = assert!(RUN_BYTES_MAX <= BATCH_BYTES, "every run fits into a batch");

/// The sockets to send by, each with the address that it is bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outlets<'a>(pub &'a [(OwnedFd, SocketAddr)]);

impl<'a> Outlets<'a> {
    /// Returns the number of the socket that sends from `local`: one bound to that address, or to all of its family.
    fn position(&self, local: SocketAddr) -> Option<usize> {
        let exact = |(_, bound): &(OwnedFd, SocketAddr)| bound.ip() == local.ip();
        let wildcard =
            |(_, bound): &(OwnedFd, SocketAddr)| bound.ip().is_unspecified() && bound.is_ipv4() == local.is_ipv4();
        self.0.iter().position(exact).or_else(|| self.0.iter().position(wildcard))
    }

    fn at(&self, position: usize) -> Option<BorrowedFd<'a>> {
        self.0.get(position).map(|(socket, _)| socket.as_fd())
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Everything was handed to the kernel, or failed for good and was counted.
    All,
    /// A socket is full; the rest of the batch waits for it.
    Blocked,
}

/// Counters of a sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// System calls.
    pub calls: u64,
    /// Runs handed to the kernel.
    pub runs: u64,
    /// Datagrams handed to the kernel.
    pub datagrams: u64,
    /// Bytes handed to the kernel.
    pub bytes: u64,
    /// Times that a socket was full.
    pub blocked: u64,
    /// Runs that had to be sent datagram by datagram, because the path takes no segmentation.
    pub unsegmented_runs: u64,
    /// Datagrams that the kernel refused: no route, forbidden, too large.
    pub failed_datagrams: u64,
}

#[derive(Clone, Copy, Debug)]
struct Queued {
    run: Run,
    offset: usize,
    outlet: Option<usize>,
}

impl Queued {
    /// Returns what is left when the first `taken_bytes`, whole datagrams, are gone.
    const fn without(self, taken_bytes: usize) -> Self {
        let total_bytes = self.run.total_bytes.saturating_sub(taken_bytes);
        Self { run: Run { total_bytes, ..self.run }, offset: self.offset + taken_bytes, ..self }
    }
}

/// A batch of runs and the buffers of the system call that sends it.
pub(crate) struct Sender {
    bytes: Box<[u8]>,
    used_bytes: usize,
    queue: Vec<Queued>,
    sent: usize,
    names: Box<[libc::sockaddr_storage]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    without_segmentation: BTreeSet<SocketAddr>,
    counters: Counters,
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Sender").field("queued", &self.queue.len()).finish_non_exhaustive()
    }
}

impl Sender {
    /// Makes an empty batch.
    #[must_use]
    pub(crate) fn new() -> Self {
        // SAFETY: all-zero bytes are a valid `sockaddr_storage`.
        let name: libc::sockaddr_storage = unsafe { zeroed() };
        // SAFETY: all-zero bytes are a valid `mmsghdr`.
        let header: libc::mmsghdr = unsafe { zeroed() };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            bytes: vec![0; BATCH_BYTES].into_boxed_slice(),
            used_bytes: 0,
            queue: Vec::with_capacity(BATCH_RUNS),
            sent: 0,
            names: vec![name; BATCH_RUNS].into_boxed_slice(),
            controls: vec![Control::EMPTY; BATCH_RUNS].into_boxed_slice(),
            vectors: vec![vector; BATCH_RUNS].into_boxed_slice(),
            headers: vec![header; BATCH_RUNS].into_boxed_slice(),
            without_segmentation: BTreeSet::new(),
            counters: Counters::default(),
        }
    }

    /// Returns the counters.
    #[must_use]
    pub(crate) const fn counters(&self) -> Counters {
        self.counters
    }

    /// Lends room for `run`, sending what is queued when the batch is full. `None` when the socket behind is full too, or
    /// the run exceeds [`RUN_BYTES_MAX`] or [`RUN_SEGMENTS_MAX`].
    pub(crate) fn reserve(&mut self, run: Run, outlets: Outlets<'_>) -> Option<&mut [u8]> {
        let segments = run.total_bytes.div_ceil(run.segment_size_bytes.max(1));
        if run.total_bytes == 0 || run.total_bytes > RUN_BYTES_MAX || segments > RUN_SEGMENTS_MAX {
            return None;
        }
        let full = self.queue.len() == BATCH_RUNS || self.used_bytes + run.total_bytes > BATCH_BYTES;
        if full && self.flush(outlets) == Flushed::Blocked {
            return None;
        }
        let offset = self.used_bytes;
        self.used_bytes += run.total_bytes;
        self.queue.push(Queued { run, offset, outlet: outlets.position(run.five_tuple.local) });
        self.bytes.get_mut(offset..self.used_bytes)
    }

    /// Hands the batch to the kernel, as far as its sockets take it.
    pub(crate) fn flush(&mut self, outlets: Outlets<'_>) -> Flushed {
        while let Some(first) = self.queue.get(self.sent) {
            let Some(outlet) = first.outlet.and_then(|position| outlets.at(position)) else {
                self.fail(self.sent);
                self.sent += 1;
                continue;
            };
            let count = self.batchable();
            if count == 0 {
                if self.send_unsegmented(outlet) == Flushed::Blocked {
                    return Flushed::Blocked;
                }
                continue;
            }
            self.point(count);
            match self.call(outlet, count) {
                Ok(sent) => {
                    self.count(sent);
                    self.sent += sent;
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN | libc::ENOBUFS) => {
                        self.counters.blocked += 1;
                        return Flushed::Blocked;
                    }
                    Some(libc::EINTR) => {}
                    Some(libc::EIO | libc::EINVAL | libc::EMSGSIZE) => {
                        if self.send_unsegmented(outlet) == Flushed::Blocked {
                            return Flushed::Blocked;
                        }
                    }
                    _ => {
                        self.fail(self.sent);
                        self.sent += 1;
                    }
                },
            }
        }
        self.queue.clear();
        self.used_bytes = 0;
        self.sent = 0;
        Flushed::All
    }

    /// Returns how many of the waiting runs, from the first on, one system call can send: by one socket, and without one
    /// that must be sent datagram by datagram.
    fn batchable(&self) -> usize {
        let outlet = self.queue.get(self.sent).and_then(|first| first.outlet);
        let fits = |queued: &&Queued| {
            let several = queued.run.total_bytes > queued.run.segment_size_bytes;
            let remote = queued.run.five_tuple.remote;
            queued.outlet == outlet && !(several && self.without_segmentation.contains(&remote))
        };
        self.queue.iter().skip(self.sent).take_while(fits).count()
    }

    fn call(&mut self, outlet: BorrowedFd<'_>, count: usize) -> io::Result<usize> {
        self.counters.calls += 1;
        let count = libc::c_uint::try_from(count).unwrap_or(1);
        // SAFETY: the first `count` headers point into buffers that `self` owns, see `point`; the call does not keep them.
        let result =
            unsafe { libc::sendmmsg(outlet.as_raw_fd(), self.headers.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
        usize::try_from(result).map_err(|_| io::Error::last_os_error())
    }

    /// Points the first `count` headers at the runs that wait.
    fn point(&mut self, count: usize) {
        let parts = self.names.iter_mut().zip(self.controls.iter_mut()).zip(self.vectors.iter_mut());
        let waiting = self.queue.iter().skip(self.sent).take(count);
        for ((header, ((name, control), vector)), queued) in self.headers.iter_mut().zip(parts).zip(waiting) {
            let run = &queued.run;
            let Some(bytes) = self.bytes.get_mut(queued.offset..queued.offset + run.total_bytes) else { continue };
            *vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            let several = run.total_bytes > run.segment_size_bytes;
            let segment = if several { u16::try_from(run.segment_size_bytes).ok() } else { None };
            header.msg_hdr.msg_namelen = address::write(run.five_tuple.remote, name);
            header.msg_hdr.msg_name = std::ptr::from_mut(name).cast();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_controllen = address::write_control(run.five_tuple.local.ip(), segment, control);
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_flags = 0;
        }
    }

    /// Sends the first waiting run datagram by datagram: the path of one destination takes no segmentation. What a full
    /// socket does not take waits as the rest of the run.
    fn send_unsegmented(&mut self, outlet: BorrowedFd<'_>) -> Flushed {
        let Some(queued) = self.queue.get(self.sent).copied() else { return Flushed::All };
        let run = queued.run;
        if run.total_bytes <= run.segment_size_bytes {
            self.counters.failed_datagrams += 1;
            self.sent += 1;
            return Flushed::All;
        }
        if self.without_segmentation.len() >= WITHOUT_SEGMENTATION_MAX {
            self.without_segmentation.clear();
        }
        let _new = self.without_segmentation.insert(run.five_tuple.remote);
        let mut taken_bytes = 0;
        let bytes = self.bytes.get(queued.offset..queued.offset + run.total_bytes).unwrap_or(&[]);
        for datagram in bytes.chunks(run.segment_size_bytes.max(1)) {
            self.counters.calls += 1;
            match send_one(outlet, &run, datagram) {
                Ok(()) => {
                    self.counters.datagrams += 1;
                    self.counters.bytes += datagram.len() as u64;
                }
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS)) => {
                    self.counters.blocked += 1;
                    if let Some(waiting) = self.queue.get_mut(self.sent) {
                        *waiting = queued.without(taken_bytes);
                    }
                    return Flushed::Blocked;
                }
                Err(_) => self.counters.failed_datagrams += 1,
            }
            taken_bytes += datagram.len();
        }
        self.counters.unsegmented_runs += 1;
        self.sent += 1;
        Flushed::All
    }

    fn count(&mut self, sent: usize) {
        for queued in self.queue.iter().skip(self.sent).take(sent) {
            self.counters.runs += 1;
            self.counters.datagrams += datagrams(&queued.run);
            self.counters.bytes += queued.run.total_bytes as u64;
        }
    }

    fn fail(&mut self, index: usize) {
        if let Some(queued) = self.queue.get(index) {
            self.counters.failed_datagrams += datagrams(&queued.run);
        }
    }
}

impl Default for Sender {
    fn default() -> Self {
        Self::new()
    }
}

fn datagrams(run: &Run) -> u64 {
    run.total_bytes.div_ceil(run.segment_size_bytes.max(1)) as u64
}

fn send_one(outlet: BorrowedFd<'_>, run: &Run, datagram: &[u8]) -> io::Result<()> {
    // SAFETY: all-zero bytes are a valid `sockaddr_storage`.
    let mut name: libc::sockaddr_storage = unsafe { zeroed() };
    // SAFETY: all-zero bytes are a valid `msghdr`.
    let mut header: libc::msghdr = unsafe { zeroed() };
    let mut control = Control::EMPTY;
    let mut vector = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
    header.msg_namelen = address::write(run.five_tuple.remote, &mut name);
    header.msg_name = (&raw mut name).cast();
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_controllen = address::write_control(run.five_tuple.local.ip(), None, &mut control);
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: the header points at live buffers, which the kernel only reads.
    let result = unsafe { libc::sendmsg(outlet.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::{AsFd, OwnedFd};
    use std::time::Duration;

    use sluice_dataplane_core::port::{Class, FiveTuple};

    use super::*;
    use crate::udp::receive::Receiver;
    use crate::udp::socket::{self, Buffers};

    const BUFFERS: Buffers = Buffers { receive_bytes: 4 << 20, send_bytes: 4 << 20 };

    /// A sending socket with its address, and a receiving one.
    fn pair(ip: &str) -> ([(OwnedFd, SocketAddr); 1], SocketAddr, UdpSocket) {
        let outlet = socket::bind(format!("{ip}:0").parse().unwrap(), BUFFERS).unwrap();
        let local = socket::local_address(outlet.as_fd()).unwrap();
        let peer = UdpSocket::bind(format!("{ip}:0")).unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        ([(outlet, local)], local, peer)
    }

    fn run(local: SocketAddr, remote: SocketAddr, segment_size_bytes: usize, total_bytes: usize) -> Run {
        Run { five_tuple: FiveTuple { local, remote }, segment_size_bytes, total_bytes, class: Class::Video }
    }

    fn received_sizes(peer: &UdpSocket, count: usize) -> Vec<usize> {
        let mut bytes = vec![0; 65_536];
        (0..count).map(|_| peer.recv(&mut bytes).unwrap()).collect()
    }

    #[test]
    fn runs_arrive_as_datagrams_at_each_boundary() {
        for ip in ["127.0.0.1", "[::1]"] {
            let (outlet, local, peer) = pair(ip);
            let remote = peer.local_addr().unwrap();
            for (segment, total) in [
                (1200, 1199),
                (1200, 1200),
                (1200, 1201),
                (1200, 2399),
                (1200, 2400),
                (1200, 2401),
                (1000, 63_000),
                (1000, 63_001),
                (1000, 64_000),
                (1024, RUN_BYTES_MAX - 1),
                (1024, RUN_BYTES_MAX),
            ] {
                let mut sender = Sender::new();
                let bytes = sender.reserve(run(local, remote, segment, total), Outlets(&outlet));
                let Some(bytes) = bytes else { panic!("{segment} {total}: no room") };
                for (index, byte) in bytes.iter_mut().enumerate() {
                    *byte = u8::try_from(index % 251).unwrap();
                }
                assert_eq!(sender.flush(Outlets(&outlet)), Flushed::All);
                let expected: Vec<usize> = vec![0_u8; total].chunks(segment).map(<[u8]>::len).collect();
                assert_eq!(received_sizes(&peer, expected.len()), expected, "{ip} {segment} {total}");
                assert_eq!(sender.counters().failed_datagrams, 0, "{ip} {segment} {total}");
            }
        }
    }

    #[test]
    fn runs_over_the_limits_are_refused() {
        let (outlet, local, peer) = pair("127.0.0.1");
        let remote = peer.local_addr().unwrap();
        let mut sender = Sender::new();
        for (segment, total) in [(1200, RUN_BYTES_MAX + 1), (10, 10 * (RUN_SEGMENTS_MAX + 1)), (1200, 0)] {
            assert!(sender.reserve(run(local, remote, segment, total), Outlets(&outlet)).is_none());
        }
        assert!(sender.queue.is_empty());
    }

    #[test]
    fn a_batch_of_runs_to_both_families_arrives_whole() {
        let (v4, local4, peer4) = pair("127.0.0.1");
        let (v6, local6, peer6) = pair("[::1]");
        let both: Vec<_> = v4.into_iter().chain(v6).collect();
        let outlets = Outlets(&both);
        let mut sender = Sender::new();
        for turn in 0..400 {
            let (local, peer) = if turn % 3 == 0 { (local6, &peer6) } else { (local4, &peer4) };
            let lent = sender.reserve(run(local, peer.local_addr().unwrap(), 100, 250), outlets).unwrap();
            lent.fill(7);
        }
        assert_eq!(sender.flush(outlets), Flushed::All);
        assert_eq!(sender.counters().datagrams, 1200);
        assert!(sender.counters().calls < 400, "several runs share a call");
    }

    #[test]
    fn a_destination_without_a_socket_or_a_route_fails_alone() {
        let (outlet, local, peer) = pair("127.0.0.1");
        let outlets = Outlets(&outlet);
        let mut sender = Sender::new();
        let v6: SocketAddr = "[::1]:9".parse().unwrap();
        sender.reserve(run(v6, v6, 100, 100), outlets).unwrap().fill(1);
        sender.reserve(run(local, peer.local_addr().unwrap(), 100, 300), outlets).unwrap().fill(2);
        assert_eq!(sender.flush(outlets), Flushed::All);
        assert_eq!(received_sizes(&peer, 3), [100, 100, 100]);
        assert_eq!(sender.counters().failed_datagrams, 1);
    }

    #[test]
    fn a_path_without_segmentation_gets_datagrams_one_by_one() {
        let (outlet, local, peer) = pair("127.0.0.1");
        let remote = peer.local_addr().unwrap();
        let outlets = Outlets(&outlet);
        let mut sender = Sender::new();
        let _new = sender.without_segmentation.insert(remote);
        sender.reserve(run(local, remote, 100, 100), outlets).unwrap().fill(1);
        sender.reserve(run(local, remote, 100, 250), outlets).unwrap().fill(2);
        sender.reserve(run(local, remote, 100, 90), outlets).unwrap().fill(3);
        assert_eq!(sender.flush(outlets), Flushed::All);
        assert_eq!(received_sizes(&peer, 5), [100, 100, 100, 50, 90]);
        assert_eq!(sender.counters().unsegmented_runs, 1);
    }

    #[test]
    fn the_rest_of_a_run_that_a_full_socket_did_not_take_leaves_later() {
        let (outlet, local, peer) = pair("127.0.0.1");
        let remote = peer.local_addr().unwrap();
        let outlets = Outlets(&outlet);
        for taken_segments in [1, 2] {
            let mut sender = Sender::new();
            let _new = sender.without_segmentation.insert(remote);
            let bytes = sender.reserve(run(local, remote, 100, 250), outlets).unwrap();
            bytes.iter_mut().zip(0..).for_each(|(byte, index)| *byte = index);
            sender.queue[0] = sender.queue[0].without(100 * taken_segments);
            assert_eq!(sender.flush(outlets), Flushed::All);
            let mut received = [0; 200];
            let mut left = Vec::new();
            while left.len() < 250 - 100 * taken_segments {
                let size = peer.recv(&mut received).unwrap();
                left.extend_from_slice(&received[..size]);
            }
            let expected: Vec<u8> = (0..250).skip(100 * taken_segments).collect();
            assert_eq!(left, expected);
        }
    }

    #[test]
    fn segments_larger_than_the_path_takes_are_sent_one_by_one_and_remembered() {
        let (outlet, local, peer) = pair("127.0.0.1");
        let remote = peer.local_addr().unwrap();
        let outlets = Outlets(&outlet);
        let mut sender = Sender::new();
        // Loopback carries 65,536 bytes: one segment of the largest size fits, a fragmenting run of two does not exist,
        // so a path error is made by a zero destination port, which the kernel refuses with EINVAL.
        let nowhere = SocketAddr::new(remote.ip(), 0);
        sender.reserve(run(local, nowhere, 100, 200), outlets).unwrap().fill(1);
        sender.reserve(run(local, remote, 100, 200), outlets).unwrap().fill(2);
        assert_eq!(sender.flush(outlets), Flushed::All);
        assert_eq!(received_sizes(&peer, 2), [100, 100]);
        assert!(sender.without_segmentation.contains(&nowhere));
        assert_eq!(sender.counters().failed_datagrams, 2);
    }

    #[test]
    fn what_one_socket_sends_another_receives_merged_with_address_and_stamp() {
        let (outlet, local, _) = pair("127.0.0.1");
        let inlet = socket::bind("0.0.0.0:0".parse().unwrap(), BUFFERS).unwrap();
        let port = socket::local_address(inlet.as_fd()).unwrap().port();
        let remote: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
        let mut sender = Sender::new();
        sender.reserve(run(local, remote, 1000, 3500), Outlets(&outlet)).unwrap().fill(9);
        assert_eq!(sender.flush(Outlets(&outlet)), Flushed::All);
        let mut receiver = Receiver::new();
        let mut sizes = Vec::new();
        while sizes.iter().sum::<usize>() < 3500 {
            if receiver.receive(inlet.as_fd()).is_err() {
                continue;
            }
            receiver.for_each(|message| {
                assert_eq!(message.remote, local);
                assert_eq!(message.local, Some("127.0.0.1".parse().unwrap()));
                assert!(message.stamp_nanos.is_some());
                sizes.extend(message.bytes.chunks(message.segment_size_bytes).map(<[u8]>::len));
            });
        }
        assert_eq!(sizes, [1000, 1000, 1000, 500]);
    }
}
