//! Publisher and viewer joined over loopback by a signalling server of a few lines, without a forwarder between them.

mod link;
mod server;
mod tests;
