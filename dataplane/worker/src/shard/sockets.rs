//! The media sockets of a shard.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use sluice_dataplane_core::port::FiveTuple;

use crate::udp::send::Outlets;
use crate::udp::socket;

/// The address that a socket is bound to, often a wildcard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound(SocketAddr);

impl Bound {
    /// Returns the five-tuple of a datagram; `local` is the address that it was sent to.
    pub(super) fn five_tuple(self, remote: SocketAddr, local: Option<IpAddr>) -> FiveTuple {
        FiveTuple { local: SocketAddr::new(local.unwrap_or_else(|| self.0.ip()), self.0.port()), remote }
    }
}

/// The sockets with their addresses.
#[derive(Debug)]
pub(super) struct Sockets {
    bound: Vec<(OwnedFd, SocketAddr)>,
}

impl Sockets {
    /// Takes the sockets.
    pub(super) fn new(sockets: Vec<OwnedFd>) -> io::Result<Self> {
        let bound = sockets
            .into_iter()
            .map(|socket| socket::local_address(socket.as_fd()).map(|address| (socket, address)))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self { bound })
    }

    /// Returns the sockets to receive by.
    pub(super) fn inlets(&self) -> impl Iterator<Item = (BorrowedFd<'_>, Bound)> {
        self.bound.iter().map(|(socket, address)| (socket.as_fd(), Bound(*address)))
    }

    /// Returns the sockets to send by.
    pub(super) fn outlets(&self) -> Outlets<'_> {
        Outlets(&self.bound)
    }
}
