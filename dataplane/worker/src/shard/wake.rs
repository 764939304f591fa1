//! What a shard sleeps on: the doorbell of the control thread, the packet stream, the sockets, and a deadline.
//!
//! One `ppoll` per turn is the whole of it. It says what waits where, so that a turn makes no call that finds nothing:
//! `docs/decisions/0005-a-shard-sleeps-in-poll.md` has the figures.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Where something waits. Whoever looks where nothing does loses a system call and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    /// The control thread has rung.
    pub(super) doorbell: bool,
    /// The packet stream has a batch, or its end.
    pub(super) packets: bool,
    /// A bit for each socket.
    sockets: u64,
}

impl Ready {
    /// Something may wait anywhere.
    pub(super) const ANYWHERE: Self = Self { doorbell: true, packets: true, sockets: u64::MAX };

    /// Sleeps until something waits, at most for `longest`, and tells where.
    pub(super) fn wait<'a>(
        doorbell: BorrowedFd<'a>,
        packets: Option<BorrowedFd<'a>>,
        sockets: impl Iterator<Item = BorrowedFd<'a>>,
        longest: Duration,
    ) -> Self {
        let watched = [doorbell].into_iter().chain(packets).chain(sockets);
        let mut watched: Vec<_> = watched.map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)).collect();
        let longest = Timespec::try_from(longest).ok();
        // An interruption, or a kernel short of memory: whoever is asked for says whether something waits.
        if poll(&mut watched, longest.as_ref()).is_err() {
            return Self::ANYWHERE;
        }
        let mut fired = watched.iter().map(|source| !source.revents().is_empty());
        let doorbell = fired.next().unwrap_or(true);
        let packets = packets.is_some() && fired.next().unwrap_or(true);
        let bits = fired.enumerate().filter(|(_, fired)| *fired).map(|(number, _)| bit(number));
        Self { doorbell, packets, sockets: bits.fold(0, |bits, bit| bits | bit) }
    }

    /// Tells whether a datagram, or an error, may wait in a socket.
    pub(super) const fn socket(self, number: usize) -> bool {
        self.sockets & bit(number) != 0
    }
}

/// Returns a socket's bit; those behind the first 63, which no host has addresses for, share one.
const fn bit(number: usize) -> u64 {
    1 << if number < 63 { number } else { 63 }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn what_waits_is_told_apart() {
        let pairs: Vec<_> = (0..2).map(|_| UnixDatagram::pair().unwrap()).collect();
        let sockets: Vec<_> = (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let send = |source: usize| {
            let sent = match source {
                0 | 1 => pairs[source].1.send(&[1]),
                socket => sockets[socket - 2].send_to(&[1], sockets[socket - 2].local_addr().unwrap()),
            };
            assert_eq!(sent.unwrap(), 1);
        };
        let look = |packets: bool| {
            let stream = packets.then(|| pairs[1].0.as_fd());
            Ready::wait(pairs[0].0.as_fd(), stream, sockets.iter().map(AsFd::as_fd), Duration::ZERO)
        };
        let told = |ready: Ready| [ready.doorbell, ready.packets, ready.socket(0), ready.socket(1), ready.socket(2)];
        assert_eq!(told(look(true)), [false; 5]);
        for source in [1, 3, 0, 4, 2] {
            let before = told(look(true));
            assert!(!before[source]);
            send(source);
            let mut expected = before;
            expected[source] = true;
            // On a busy machine the kernel delivers a moment later.
            let until = std::time::Instant::now() + Duration::from_secs(5);
            while told(look(true)) != expected && std::time::Instant::now() < until {}
            assert_eq!(told(look(true)), expected, "{source}");
        }
        assert_eq!(told(look(false)), [true, false, true, true, true], "without a stream nobody moves into its place");
    }

    #[test]
    fn sleep_ends_with_its_time_and_a_socket_beyond_the_bits_is_never_overheard() {
        let (doorbell, _other) = UnixDatagram::pair().unwrap();
        let started = std::time::Instant::now();
        let ready = Ready::wait(doorbell.as_fd(), None, std::iter::empty(), Duration::from_millis(3));
        assert!(started.elapsed() >= Duration::from_millis(3) || ready == Ready::ANYWHERE);
        let one = UdpSocket::bind("127.0.0.1:0").unwrap();
        one.send_to(&[1], one.local_addr().unwrap()).unwrap();
        let quiet = UdpSocket::bind("127.0.0.1:0").unwrap();
        let many = std::iter::repeat_n(quiet.as_fd(), 70).chain([one.as_fd()]);
        let ready = Ready::wait(doorbell.as_fd(), None, many, Duration::from_secs(5));
        assert!(ready.socket(70));
        assert!(!ready.socket(62) || ready == Ready::ANYWHERE);
    }
}
