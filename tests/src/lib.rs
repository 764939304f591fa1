//! What the tests of Sluice as a whole share: a server of their own, as two real processes.

mod server;

pub use server::{Options, Server};
