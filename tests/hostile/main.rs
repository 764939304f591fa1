//! Hostile peers against two real planes: each attack is refused by name or counted, nobody else loses a packet, and
//! memory stays bounded.
#![cfg(test)]

mod attacker;
mod call;
mod control;
mod datagram;
mod flood;
mod http;
mod keys;
mod metrics;
mod narrow;
mod replay;
mod requests;
mod signalling;
mod silence;
mod slow;
mod spoof;
mod stage;
mod token;
mod tokens;
mod vanish;
mod wire;
