//! Rooms, permissions, signalling state, SDP negotiation and the plan that rooms want, without I/O.
//!
//! [`sdp`] turns a client's offer into what was negotiated and that into an answer. [`room`] decides who is where and who
//! hears whom. [`session`] is one client
//! with its peer connections: one over WHIP or WHEP, up to two with signalling. [`plan`] ties them to the objects that the data plane forwards by, and
//! rebuilds everything from a snapshot of these. [`access`] says who may do what.
//! [`supervision`] decides over the data plane's process.

pub mod access;
#[cfg(test)]
mod cpu_time;
pub mod fuzzing;
pub mod limits;
pub mod plan;
pub mod room;
pub mod sdp;
pub mod session;
pub mod supervision;
