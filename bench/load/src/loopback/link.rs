//! A relay between two sockets that loses what it is told to lose.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a link does to SRTP on its way to the far end; everything else passes.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// One in so many is lost; zero: none.
    pub(super) lose_one_in: AtomicU32,
    /// All are lost.
    pub(super) dark: AtomicBool,
    /// Datagrams lost.
    pub(super) lost: AtomicU64,
}

/// A relay with a near and a far socket.
pub(super) struct Link {
    near: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Link {
    /// Relays between whoever sends to the near socket and `far_end`.
    pub(super) fn towards(far_end: SocketAddr, faults: Arc<Faults>) -> Self {
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = near.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || relay(&near, far_end, &faults, &stopped));
        Self { near: address, stop, thread: Some(thread) }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.near
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
    }
}

fn relay(near: &UdpSocket, far_end: SocketAddr, faults: &Faults, stop: &AtomicBool) {
    let far = UdpSocket::bind("127.0.0.1:0").unwrap();
    near.set_nonblocking(true).unwrap();
    far.set_nonblocking(true).unwrap();
    let look_around = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
    let mut near_end = None;
    let mut media = 0_u32;
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        poll(&mut [PollFd::new(near, PollFlags::IN), PollFd::new(&far, PollFlags::IN)], Some(&look_around)).unwrap();
        while let Some((length, source)) = receive(near, &mut buffer) {
            near_end = Some(source);
            let datagram = &buffer[..length];
            let is_media = datagram[0] >= 128 && !(192..=223).contains(&datagram[1]);
            media += u32::from(is_media);
            let one_in = faults.lose_one_in.load(Ordering::Relaxed);
            let unlucky = one_in > 0 && media.is_multiple_of(one_in);
            if is_media && (unlucky || faults.dark.load(Ordering::Relaxed)) {
                faults.lost.fetch_add(1, Ordering::Relaxed);
            } else {
                far.send_to(datagram, far_end).unwrap();
            }
        }
        while let (Some((length, _)), Some(near_end)) = (receive(&far, &mut buffer), near_end) {
            near.send_to(&buffer[..length], near_end).unwrap();
        }
    }
}

fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
    match socket.recv_from(buffer) {
        Ok(received) => Some(received),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        // The other side has gone.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => None,
        Err(error) => panic!("{error}"),
    }
}
