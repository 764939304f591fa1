//! What outlives a data plane in its controller's hands: media sockets and tables, made here or inherited.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Context;
use rustix::net::{AddressFamily as Family, SocketFlags, SocketType, socketpair};
use sluice_protocol::session::{AddressFamily, Configuration, DescriptorKind, Ready};

use super::shard_number;
use crate::config::Udp;
use crate::preflight::buffer_advice;
use crate::shard::Setup;
use crate::table::Mapping;
use crate::udp::socket::{self, Buffers};

/// Sockets and tables of all shards, and the configuration that they belong to.
#[derive(Debug)]
pub(super) struct Holdings {
    configuration: Configuration,
    shards: Vec<Holding>,
}

/// Sockets and table of one shard.
#[derive(Debug)]
struct Holding {
    sockets: Vec<OwnedFd>,
    table: Mapping,
}

impl Holdings {
    /// Takes over what a predecessor had, and makes what is missing.
    pub(super) fn new(
        mut configuration: Configuration,
        mut inherited: Vec<(DescriptorKind, OwnedFd)>,
        shards: usize,
        udp: &Udp,
    ) -> anyhow::Result<Self> {
        let mut holdings = Vec::new();
        for number in 0..shards {
            let shard = shard_number(number);
            let mut sockets = Vec::new();
            let mut table = None;
            for (kind, descriptor) in std::mem::take(&mut inherited) {
                match kind {
                    DescriptorKind::MediaSocket { shard: of, .. } if of == shard => sockets.push(descriptor),
                    DescriptorKind::Table { shard: of } if of == shard => table = Some(descriptor),
                    DescriptorKind::MediaSocket { .. }
                    | DescriptorKind::Table { .. }
                    | DescriptorKind::PacketStream { .. }
                    | DescriptorKind::Unknown => inherited.push((kind, descriptor)),
                }
            }
            if sockets.is_empty() {
                sockets = bind_all(&configuration, number > 0, udp)?;
            }
            if let Some(first) = sockets.first() {
                configuration.media_port = socket::local_address(first.as_fd())?.port();
            }
            let table = match table {
                Some(memory) => Mapping::adopt(memory)?,
                None => Mapping::create()?,
            };
            holdings.push(Holding { sockets, table });
        }
        Ok(Self { configuration, shards: holdings })
    }

    /// Returns what shard `number` is made from.
    pub(super) fn setup(&self, number: usize) -> anyhow::Result<Setup> {
        let holding = self.shards.get(number).context("a shard without sockets")?;
        let sockets = holding.sockets.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
        let mut seed = [0; 8];
        let _filled = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty())?;
        Ok(Setup {
            secret: self.configuration.node_secret.clone(),
            table: holding.table.table(),
            sockets,
            seed: u64::from_ne_bytes(seed),
        })
    }

    /// Returns duplicates of everything, for the controller.
    pub(super) fn duplicates(&self) -> io::Result<Vec<(DescriptorKind, OwnedFd)>> {
        let mut duplicates = Vec::new();
        for (number, holding) in self.shards.iter().enumerate() {
            let shard = shard_number(number);
            for media in &holding.sockets {
                let ipv4 = socket::local_address(media.as_fd())?.is_ipv4();
                let family = if ipv4 { AddressFamily::Ipv4 } else { AddressFamily::Ipv6 };
                duplicates.push((DescriptorKind::MediaSocket { shard, family }, media.try_clone()?));
            }
            duplicates.push((DescriptorKind::Table { shard }, holding.table.memory().try_clone_to_owned()?));
        }
        Ok(duplicates)
    }

    /// Returns the sockets of shard `number`.
    pub(super) fn sockets(&self, number: usize) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.shards.get(number).into_iter().flat_map(|holding| holding.sockets.iter().map(AsFd::as_fd))
    }

    /// Returns what to tell the controller.
    pub(super) fn ready(&self, shards: usize) -> Ready {
        Ready { configuration: self.configuration.clone(), shards: shard_number(shards) }
    }
}

/// Makes a packet stream: our end, the controller's end, and what it is.
pub(super) fn packet_stream(number: usize) -> io::Result<(OwnedFd, OwnedFd, DescriptorKind)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(Family::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok((ours, theirs, DescriptorKind::PacketStream { shard: shard_number(number) }))
}

/// Binds the media sockets of one shard. The first shard makes sure that the port is nobody else's; the others join it.
fn bind_all(configuration: &Configuration, join: bool, udp: &Udp) -> anyhow::Result<Vec<OwnedFd>> {
    let wildcards = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let by_default = configuration.listen.is_empty();
    let addresses = if by_default { &wildcards[..] } else { &configuration.listen };
    let buffers = Buffers {
        receive_bytes: usize::try_from(udp.receive_buffer.as_u64())?,
        send_bytes: usize::try_from(udp.send_buffer.as_u64())?,
    };
    let mut port = configuration.media_port;
    let mut sockets = Vec::new();
    for ip in addresses {
        let address = SocketAddr::new(*ip, port);
        if !join {
            match socket::claim(address) {
                // A host without IPv6 is served over IPv4.
                Err(error) if by_default && ip.is_ipv6() && error.kind() != io::ErrorKind::AddrInUse => {
                    tracing::info!(%error, "no IPv6 here; media goes over IPv4 only");
                    continue;
                }
                claimed => claimed.with_context(|| format!("cannot use UDP {address} for media"))?,
            }
        }
        let bound = socket::bind(address, buffers).with_context(|| format!("cannot bind UDP {address} for media"))?;
        port = socket::local_address(bound.as_fd())?.port();
        advise(&bound, buffers)?;
        sockets.push(bound);
    }
    Ok(sockets)
}

/// Says what the system granted less than was asked for.
fn advise(media: &OwnedFd, asked: Buffers) -> io::Result<()> {
    let granted = socket::granted(media.as_fd())?;
    let advice = [
        buffer_advice("udp.receive_buffer", "net.core.rmem_max", asked.receive_bytes, granted.buffers.receive_bytes),
        buffer_advice("udp.send_buffer", "net.core.wmem_max", asked.send_bytes, granted.buffers.send_bytes),
    ];
    for advice in advice.into_iter().flatten() {
        tracing::warn!("{advice}");
    }
    if !granted.gro {
        tracing::warn!("this kernel does not merge received datagrams (UDP_GRO, Linux 5.0); reception costs more");
    }
    Ok(())
}
