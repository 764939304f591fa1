//! One data plane shard as a pure state machine: the corridor of a packet.
//!
//! The shell receives datagrams and hands them in ([`Datagram`]), the core hands out runs of datagrams through a sink of
//! the shell's ([`Outbox`]). The core opens no socket, reads no clock and takes no lock.

pub mod discard;
pub mod egress;
pub mod fuzzing;
pub mod ingress;
pub mod port;
pub mod srtp;
pub mod wire;
