//! Rooms, permissions, signalling state, SDP negotiation and the plan that rooms want, without I/O.
//!
//! [`sdp`] turns a client's offer into what was negotiated and that into an answer.

pub mod fuzzing;
pub mod limits;
pub mod sdp;
