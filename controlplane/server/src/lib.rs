//! Sluice's control plane: HTTP, signalling, DTLS, stores and the supervisor of the data plane.

pub mod dtls;
