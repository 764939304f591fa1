//! The engine between model peers: what goes in by one comes out at the other.

mod allocation;
mod chaos;
mod corridor;
mod discards;
mod hostile;
mod ice;
mod key_frames;
mod layers;
mod left_out;
mod paths;
mod peer;
mod plan;
mod repair;
mod replay;
mod report;
mod resume;
mod stage;
mod world;
