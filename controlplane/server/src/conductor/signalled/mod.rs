//! Sessions with a signalling connection: attended while their client is there, told what happens, and waited for when it is
//! gone for a moment.
//!
//! ```text
//!  front ──open, resume, ask──► conductor ──► control core
//!    ▲                              │ effects
//!    └──────── line ◄───────────────┘ told, numbered
//! ```
//!
//! A front has no rules of its own: it puts messages of its protocol into a [`Request`] and what it takes from the [`Line`]
//! into messages of its protocol.

mod attendance;
mod contract;
mod handle;
pub mod limits;
mod line;
mod offers;
mod requests;
mod resume_token;
mod telling;
mod told;

pub(super) use attendance::Attendance;
pub use contract::{Opened, Opener, Origin, Renewer, Request, Resume, Resumed, SessionState, Sessions};
pub use line::{End, Line, Next};
pub use told::{Arrival, News, Reply, RequestId, SaidRefusal, Stay, Told};
