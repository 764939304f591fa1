//! The other plane: its process, the control stream to it, and the packet streams.
//!
//! [`supervisor`] keeps exactly one data plane alive: it adopts one that answers, starts one when none does, proves it dead
//! before another takes over its keys. What it does when is decided by [`sluice_controlplane_core::supervision`]. [`link`]
//! drives one connection. Everybody else holds a [`DataplaneHandle`]: changes of the plan go in, [`DataplaneEvent`]s come
//! out.

mod epoch;
mod handle;
mod limits;
mod link;
mod packets;
mod process;
mod readiness;
mod socket;
mod supervisor;
#[cfg(test)]
pub(crate) mod tests;

use bytes::Bytes;
use sluice_protocol::event::{Event, Refusal};
use sluice_protocol::ids::TransportId;
use sluice_protocol::plan::{Key, Plan};
use sluice_protocol::session::Ready;

pub use handle::{Acknowledged, DataplaneHandle, NotDone, Status, StatusReport};
pub use limits::WAITING_MAX;
pub use socket::is_deserted;
pub use supervisor::{Setup, Supervisor, start};

/// What the other plane tells the owner of the plan.
#[expect(clippy::large_enum_variant, reason = "the large one is rare, and all are moved once")]
#[derive(Debug)]
pub enum DataplaneEvent {
    /// It runs, with this configuration.
    Ready(Ready),
    /// This is what a predecessor of this control plane left: rebuild, then call [`DataplaneHandle::adopt`]. Comes once.
    Snapshot(Plan),
    /// It refused an object, which is not wanted any more until it is put again.
    Refused {
        /// The object's key.
        key: Key,
        /// Why.
        refusal: Refusal,
    },
    /// Nothing is under this key any more: its slot may be used again.
    Removed(Key),
    /// Something happened there.
    Happened(Event),
    /// A DTLS datagram for a transport's association.
    Punt(TransportId, Bytes),
}
