//! Sluice's data plane: sockets, clock, cores and the shared table around the core.

pub mod clock;
pub mod config;
pub mod privileges;
pub mod table;
pub mod udp;
