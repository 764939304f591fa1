//! The kernel's own price of a datagram on this machine, now.
//!
//! Absolute figures of a server say little without it, for what the kernel takes differs from machine to machine. So the
//! same datagrams, at the same pace, to as many sockets, are sent by bare `sendmmsg`: no
//! protocol, no cipher, nothing to decide. A server that delivers a packet cannot cost less, unless it sends several
//! packets of a subscriber as one run.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::event::{Timespec, epoll};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use rustix::time::{ClockId, clock_gettime};

use crate::limits::{FLOOR_SLOTS_MAX, READY_EVENTS};
use crate::sys::{ReceiveBatch, enable_receive_metadata};

/// The receiver looks around at least this often.
const IDLE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Floor {
    /// Sockets, each of which gets every packet.
    pub destinations: usize,
    /// UDP payload in bytes.
    pub datagram_bytes: usize,
    /// Packets per second, each to every destination.
    pub packets_per_second: u32,
    /// How long.
    pub duration: Duration,
}

impl Floor {
    /// CPU time of the sending thread per datagram in nanoseconds, receive side of the loopback included as far as the
    /// kernel does it in the sender's time.
    ///
    /// The sockets are read by another thread, as the endpoints of a run are. Errors are those of the sockets; the bounds
    /// are one to [`FLOOR_SLOTS_MAX`] destinations and at least one packet.
    pub fn measure(self) -> Result<f64> {
        ensure!((1..=FLOOR_SLOTS_MAX).contains(&self.destinations), "a floor needs 1 to {FLOOR_SLOTS_MAX} sockets");
        ensure!(self.packets_per_second > 0, "a floor needs a pace");
        let sockets: Vec<UdpSocket> =
            (0..self.destinations).map(|_| receiver()).collect::<Result<_, _>>().context("no sockets for the floor")?;
        let addresses: Vec<SocketAddrAny> =
            sockets.iter().map(|socket| socket.local_addr().map(Into::into)).collect::<Result<_, _>>()?;
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let reading = scope.spawn(|| read_all(&sockets, &done));
            let sent = self.send(&addresses);
            done.store(true, Ordering::Relaxed);
            reading.join().map_err(|_| anyhow::anyhow!("the floor's receiver panicked"))??;
            sent
        })
    }

    fn send(self, addresses: &[SocketAddrAny]) -> Result<f64> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let payload = vec![0x5a; self.datagram_bytes];
        let mut arena = vec![0; self.datagram_bytes * addresses.len()];
        let interval = Duration::from_secs(1) / self.packets_per_second;
        let start = Instant::now();
        let mut due = start;
        let (mut datagrams, mut spent) = (0_u32, Duration::ZERO);
        while start.elapsed() < self.duration || datagrams == 0 {
            due += interval;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let before = thread_cpu();
            arena.chunks_mut(self.datagram_bytes).for_each(|slot| slot.copy_from_slice(&payload));
            datagrams = datagrams.saturating_add(send_each(&socket, addresses, &arena, self.datagram_bytes)?);
            spent += thread_cpu().saturating_sub(before);
        }
        Ok(spent.as_secs_f64() * 1e9 / f64::from(datagrams))
    }
}

fn receiver() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    enable_receive_metadata(socket.as_fd())?;
    Ok(socket)
}

/// One datagram to each address, in as few calls as the kernel allows; returns how many.
fn send_each(socket: &UdpSocket, addresses: &[SocketAddrAny], arena: &[u8], size: usize) -> Result<u32> {
    let slices: Vec<[IoSlice<'_>; 1]> = arena.chunks(size).map(|slot| [IoSlice::new(slot)]).collect();
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
        addresses.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut messages: Vec<MMsgHdr<'_>> = addresses
        .iter()
        .zip(&slices)
        .zip(&mut controls)
        .map(|((address, slice), control)| MMsgHdr::new_with_addr(address, slice, control))
        .collect();
    let mut rest = messages.as_mut_slice();
    while !rest.is_empty() {
        let sent = sendmmsg(socket, rest, SendFlags::empty()).context("the floor cannot send")?;
        rest = rest.get_mut(sent..).unwrap_or_default();
    }
    Ok(u32::try_from(addresses.len())?)
}

/// Reads the sockets as they become readable, until the sender is done.
fn read_all(sockets: &[UdpSocket], done: &AtomicBool) -> Result<()> {
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (index, socket) in sockets.iter().enumerate() {
        let data = epoll::EventData::new_u64(u64::try_from(index)?);
        epoll::add(&poll, socket, data, epoll::EventFlags::IN | epoll::EventFlags::ET)?;
    }
    let mut batch = ReceiveBatch::new();
    let mut events = Vec::with_capacity(READY_EVENTS);
    while !done.load(Ordering::Relaxed) {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&IDLE))?;
        for event in &events {
            let socket = usize::try_from(event.data.u64()).ok().and_then(|index| sockets.get(index));
            while let Some(socket) = socket
                && batch.receive(socket.as_fd())? > 0
            {}
        }
    }
    Ok(())
}

/// CPU time of the calling thread.
fn thread_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(destinations: usize) -> Floor {
        Floor { destinations, datagram_bytes: 1228, packets_per_second: 500, duration: Duration::from_millis(50) }
    }

    #[test]
    fn a_datagram_costs_more_than_a_copy_and_less_than_a_millisecond() {
        let cost_ns = floor(10).measure().unwrap();
        assert!((50.0..1_000_000.0).contains(&cost_ns), "{cost_ns}");
    }

    #[test]
    fn what_cannot_be_sent_is_named() {
        assert!(floor(0).measure().unwrap_err().to_string().contains("sockets"));
        let too_large = Floor { datagram_bytes: 70_000, ..floor(1) };
        assert!(format!("{:#}", too_large.measure().unwrap_err()).contains("cannot send"));
        assert!(Floor { packets_per_second: 0, ..floor(1) }.measure().is_err());
    }
}
