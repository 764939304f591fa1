//! Every maximum of events.

/// Events that are kept for those who resume.
pub(super) const EVENTS_KEPT_MAX: usize = 4096;
/// Bytes of one event; a larger one is not told (the room's metadata never stands in one).
pub(super) const EVENT_BYTES_MAX: usize = 8 * 1024;
