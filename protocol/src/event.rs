//! What a data plane tells its controller unasked.

use crate::ids::{EgressId, TrackId, TransportId};
use crate::media::{PayloadType, Ssrc};
use crate::plan::{Key, Object};

/// A rare thing that happened on a shard. Events are lost when no controller is connected; what must not be lost is
/// state, and stands in the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A [`crate::plan::Path`] or [`crate::plan::Stream`] was learnt or changed; both planes put it into their plan.
    Learnt(Box<Object>),
    /// The data plane removed a learnt object (its SSRC retired, or its transport went quiet).
    Forgotten(Key),
    /// A transport's first authenticated nomination, or its return after [`Event::TransportSilent`].
    TransportConnected(TransportId),
    /// No authenticated request came for 30 s: sending stopped (RFC 7675 section 5.1).
    TransportSilent(TransportId),
    /// A stream of a track started, or changed its payload type.
    TrackStarted {
        /// The track.
        track: TrackId,
        /// The SSRC.
        ssrc: Ssrc,
        /// The payload type.
        payload_type: PayloadType,
    },
    /// A stream ended by BYE (RFC 3550 section 6.6); its next packet starts it again.
    ///
    /// Silence ends nothing, however long: a microphone with nothing attached to it, a screen that does not change, an
    /// encoding that Chromium suspends for want of bandwidth, and a tab that is frozen in the background all send no
    /// packet for minutes and then go on. Their participant is there all the while, and viewers of whoever has published
    /// longest stay with that one. A peer that is gone sends no binding requests either: [`Event::TransportSilent`]
    /// says so, and that is what its room goes by.
    TrackStopped {
        /// The track.
        track: TrackId,
        /// The SSRC.
        ssrc: Ssrc,
    },
    /// A subscriber is sent nothing because it has no payload type for what the publisher sends.
    Undecodable {
        /// The egress stream.
        egress: EgressId,
        /// The publisher's payload type.
        payload_type: PayloadType,
    },
}

/// Why a command was not carried out. The object is then absent from the data plane's plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The shard or slot of the address is not one of this data plane.
    NoSuchAddress,
    /// What the object refers to is not there.
    NoSuchReference,
    /// An older generation than the one that lives in the slot.
    StaleGeneration,
    /// A limit of [`crate::limits`], or of the shared table, was reached.
    PlanFull,
    /// Keys were to be resumed, but the shared table has no row for them: the indices that they were used with are
    /// unknown, so the session must be negotiated anew.
    NoTableRow,
    /// A field is out of its range, or keys of a living transport were to be changed.
    Invalid,
}
