//! Why a connection ends, and how its client is told.

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// Its client left.
    Left,
    /// It broke, or its client closed it to come back.
    Gone,
    /// A message is none.
    Malformed,
    /// The session cannot be opened or resumed, for the reason with this code.
    Refused(String),
    /// Nothing was heard of the client for too long.
    Idle,
    /// The session goes on over another connection.
    TakenOver,
    /// Another session took this one's place.
    Replaced,
    /// A message was too large.
    TooLarge,
    /// Too many messages came.
    TooMany,
    /// The client reads too slowly; what it missed it learns when it resumes.
    TooSlow,
    /// The session has ended.
    Ended,
    /// The server stops; another one goes on with the session.
    Stopping,
}

impl Close {
    /// Returns the code of the close frame (RFC 6455 section 7.4).
    pub(super) const fn code(&self) -> u16 {
        match self {
            Self::Left | Self::Ended => 1000,
            Self::Stopping => 1001,
            Self::Gone => 1006,
            Self::Malformed => 4400,
            Self::Refused(_) => 4403,
            Self::Idle => 4408,
            Self::TakenOver | Self::Replaced => 4409,
            Self::TooLarge => 4413,
            Self::TooMany => 4429,
            Self::TooSlow => 4503,
        }
    }

    /// Returns its reason, at most 123 bytes.
    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Left => "the client left",
            Self::Gone => "the connection broke",
            Self::Malformed => "a message is text with a JSON object",
            Self::Refused(code) => code,
            Self::Idle => "nothing was heard for too long",
            Self::TakenOver => "the session goes on over another connection",
            Self::Replaced => "replaced by another session of the same identity",
            Self::TooLarge => "a message was too large",
            Self::TooMany => "too many messages",
            Self::TooSlow => "the client reads too slowly",
            Self::Ended => "the session has ended",
            Self::Stopping => "the server stops",
        }
    }

    /// Tells whether the session ends with the connection; otherwise it is waited for.
    pub(super) const fn ends_session(&self) -> bool {
        matches!(self, Self::Left)
    }
}
