//! One data plane shard as a pure state machine: the corridor of a packet.
