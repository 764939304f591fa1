//! End to end: two real planes, and the other end never ours.
#![cfg(test)]

mod assembled;
mod audience;
mod call;
mod call_soak;
mod connections;
mod documents;
mod film;
mod identity;
mod lip_sync;
mod log;
mod media;
mod ports;
mod privileges;
mod resume;
mod scalable;
mod sessions;
mod show;
mod signaling;
mod simulcast;
mod survival;
mod switches;
mod tokens;
mod units;
