//! The engine between model peers: what goes in by one comes out at the other.

mod corridor;
mod ice;
mod peer;
mod world;
