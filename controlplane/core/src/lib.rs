//! Rooms, permissions, SDP negotiation and the plan that rooms want, as pure state machines.
