//! Sluice's data plane: sockets, clock, cores and the shared table around the core.
