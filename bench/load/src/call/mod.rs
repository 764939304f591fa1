//! Participants of a call: a WebSocket session each, a connection to publish over and one to receive over.
//!
//! They join, publish, mute, break off and leave by a seed, and keep account of what they were told and what came.

mod chance;
mod description;
mod ledger;
mod participant;
mod publisher;
mod receiver;
mod roster;
mod sender;
mod session;
mod shape;
mod socket;
mod stay;
mod subscriber;
mod verdict;

pub use ledger::{Counts, DescriptionMax};
pub use shape::Shape;

pub(crate) use ledger::Ledger;
pub(crate) use participant::{Habits, Participant, Phase, Who};
pub(crate) use receiver::Receiver;
pub(crate) use sender::Sender;
pub(crate) use stay::{Shared, Sight};
pub(crate) use verdict::faults_of;
