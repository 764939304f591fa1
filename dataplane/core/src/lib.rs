//! One data plane shard as a pure state machine: the corridor of a packet.
//!
//! The shell receives datagrams and hands them in ([`port::Datagram`]), the core hands out runs of datagrams through a
//! sink of the shell's ([`port::Outbox`]). The core opens no socket, reads no clock and takes no lock.
//!
//! A packet passes through `demux` (whose it is), `transport` (may it, and with which keys), `ingress` (where it stands
//! in its stream and what it is made of), `route` (the history of its track, and who is due it) and `egress` (as what a
//! subscriber gets it). [`engine`] calls them in this order, out of `srtp` and `wire` they take formats, and `shard` is
//! what they keep their state in.

mod demux;
pub mod discard;
mod egress;
pub mod engine;
pub mod fuzzing;
mod ingress;
mod limits;
pub mod port;
mod route;
mod shard;
pub mod srtp;
mod transport;
mod wire;
