//! Sluice's control plane: HTTP, signalling, DTLS, stores and the supervisor of the data plane.

pub mod addresses;
pub mod auth;
mod clock;
pub mod conductor;
pub mod config;
pub mod dataplane;
pub mod documents;
pub mod dtls;
pub mod events;
pub mod http;
pub mod json;
pub mod log;
pub mod signalling;
mod startup;
pub mod store;

pub use startup::run;
