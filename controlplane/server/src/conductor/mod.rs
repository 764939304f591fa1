//! The owner of rooms, sessions and the plan.
//!
//! One task owns everything ([`desk::Desk`]); whoever wants something sends it a job and awaits the answer ([`Handle`],
//! which is the [`Conductor`] that fronts know).
//! The task also takes what the data plane says, DTLS datagrams and the outcomes of handshakes, and keeps deadlines.
//!
//! ```text
//! HTTP ──job──► task ──changes──► data plane ──acknowledged──► HTTP answers
//!                ▲ │
//!      DTLS ─────┘ └── effects: log, events, associations
//! ```

mod admit;
mod contract;
mod desk;
mod error;
mod handle;
mod limits;
pub mod signalled;
mod snapshots;
mod stored;
mod task;
#[cfg(test)]
mod tests;

pub use contract::{
    Air, Answer, Conductor, ConductorCounts, ConductorHealth, DataplaneState, Entrant, Front, IceServer,
    KEY_IDENTITY_PREFIX, ParticipantSnapshot, ParticipantUpdate, Patched, RoomPosition, RoomSnapshot, SessionActor,
    SessionAddress, Sight, SignalledOffer,
};
pub use error::ConductorError;
pub use handle::Handle;
pub use task::{Running, Setup, run};
