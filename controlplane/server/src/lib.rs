//! Sluice's control plane: HTTP, signalling, DTLS, stores and the supervisor of the data plane.

pub mod auth;
pub mod config;
pub mod dataplane;
pub mod dtls;
pub mod events;
pub mod http;
pub mod log;
pub mod store;
