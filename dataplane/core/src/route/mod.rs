//! From an accepted packet to those who are due it: a track keeps the history of what its publisher sent, a target is
//! one subscriber's place in it.

pub(crate) mod history;
pub(crate) mod key_frame_requests;
pub(crate) mod target;
pub(crate) mod track;
