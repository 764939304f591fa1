//! One data plane shard as a pure state machine: the corridor of a packet.
//!
//! The shell receives datagrams and hands them in ([`Datagram`]), the core hands out runs of datagrams through a sink of
//! the shell's ([`Outbox`]). The core opens no socket, reads no clock and takes no lock.

mod control_queue;
mod demux;
pub mod discard;
mod egress;
pub mod engine;
pub mod fuzzing;
mod guard;
mod history;
mod ingress;
mod key_frame_requests;
mod limits;
pub mod port;
mod rows;
mod seed;
mod slab;
pub mod srtp;
mod target;
mod timer;
mod track;
mod transport;
mod wire;
