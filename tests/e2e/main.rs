//! End to end: two real planes, and the other end never ours.
#![cfg(test)]

mod documents;
mod media;
mod privileges;
mod survival;
mod units;
