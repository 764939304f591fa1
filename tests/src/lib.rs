//! What the tests of Sluice as a whole share: a server of their own, as two real processes; foreign peers; networks.

mod browsers;
mod calibration;
mod chance;
mod check;
mod network;
mod script;
mod sdp;
mod server;
mod signalling;

pub use browsers::{Browser, Browsers};
pub use calibration::bound;
pub use chance::Chance;
pub use check::{encode, nominating_check};
pub use network::{ADDRESS, Link, Loss, in_own_network};
pub use script::Script;
pub use sdp::{Sent, answer, offer};
pub use server::{Options, Server, is_alive};
pub use signalling::{Frame, Heard, Signaller, status_of};
