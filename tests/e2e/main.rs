//! End to end: two real planes, and the other end never ours.
#![cfg(test)]

mod audience;
mod documents;
mod identity;
mod media;
mod ports;
mod privileges;
mod scalable;
mod show;
mod simulcast;
mod survival;
mod units;
