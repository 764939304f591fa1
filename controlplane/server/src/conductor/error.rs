//! Why the conductor refuses something.

use sluice_controlplane_core::plan::{AnswerRefused, PublishError};
use sluice_controlplane_core::room::RoomError;
use sluice_controlplane_core::sdp::{FragmentError, OfferError};

use crate::dataplane::NotDone;
use crate::store::StoreError;

/// Why the conductor refuses.
#[derive(Debug, thiserror::Error)]
pub enum ConductorError {
    /// No such room.
    #[error("there is no such room")]
    NoSuchRoom,
    /// The id is taken.
    #[error("a room with this id exists")]
    RoomExists,
    /// The node has as many rooms as it takes.
    #[error("the server has as many rooms as it takes")]
    TooManyRooms,
    /// The node has as many sessions as it takes.
    #[error("the server has as many sessions as it takes")]
    TooManySessions,
    /// As many as there may be have been let in and have not connected yet.
    #[error("too many are joining at this time; try again")]
    TooManyJoining,
    /// The room's refusal.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The offer cannot be served.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// The fragment cannot be taken.
    #[error(transparent)]
    Fragment(#[from] FragmentError),
    /// No such session.
    #[error("there is no such session")]
    NoSuchSession,
    /// The session has ended with its token.
    #[error("the token that the session rested on has expired")]
    TokenExpired,
    /// The session is another identity's.
    #[error("the session belongs to somebody else")]
    NotYourSession,
    /// The session is not in the room.
    #[error("the session is not in this room")]
    NotInRoom,
    /// The participant came by WHIP or WHEP, whose sessions are bound to their room.
    #[error("only participants with a signalling connection can be moved")]
    NotMovable,
    /// An offer of a session that is refused for something that openings are not.
    #[error(transparent)]
    Publish(PublishError),
    /// An answer that is not taken.
    #[error(transparent)]
    Answer(#[from] AnswerRefused),
    /// `If-Match` is missing.
    #[error("the request needs an If-Match header with the session's ETag")]
    EtagMissing,
    /// `If-Match` names another ICE session.
    #[error("the ICE session that If-Match names is not the current one")]
    EtagMismatch,
    /// The database.
    #[error("the database does not answer")]
    Store(#[from] StoreError),
    /// The data plane, or the conductor itself, is not there; trying again helps.
    #[error("{0}")]
    Unavailable(&'static str),
    /// The data plane did not do what the answer would have described.
    #[error(transparent)]
    NotDone(#[from] NotDone),
}

impl ConductorError {
    /// Returns a stable name in `snake_case`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSuchRoom => "no_such_room",
            Self::RoomExists => "room_exists",
            Self::TooManyRooms => "too_many_rooms",
            Self::TooManySessions => "too_many_sessions",
            Self::TooManyJoining => "too_many_joining",
            Self::Room(error) => error.code(),
            Self::Offer(error) => error.code(),
            Self::Fragment(error) => error.code(),
            Self::NoSuchSession => "no_such_session",
            Self::TokenExpired => "token_expired",
            Self::NotYourSession => "not_your_session",
            Self::NotInRoom => "not_in_room",
            Self::NotMovable => "not_movable",
            Self::Publish(error) => match error.code() {
                Some(code) => code,
                None => "offer_refused",
            },
            Self::Answer(error) => error.code(),
            Self::EtagMissing => "if_match_missing",
            Self::EtagMismatch => "if_match_failed",
            Self::Store(_) => "database_unavailable",
            Self::Unavailable(_) | Self::NotDone(NotDone::TooMany | NotDone::Ending) => "unavailable",
            Self::NotDone(NotDone::Refused(_)) => "dataplane_refuses",
        }
    }
}
