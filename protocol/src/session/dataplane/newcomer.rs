//! A connection that has not been admitted yet.

use crate::session::common_version;
use crate::session::error::SessionError;
use crate::session::frame::{Frame, Hello, Role};
use crate::session::framing::{Link, Received};

/// A connection whose controller has not introduced itself, or was not admitted yet.
///
/// The shell keeps it beside the connection that is served, sends it [`super::Dataplane::greeting`], and feeds it until
/// [`Self::handle_bytes`] tells that the controller has introduced itself; then [`super::Dataplane::admit`] decides.
#[derive(Debug)]
pub struct Newcomer<D> {
    pub(super) link: Link<D>,
    pub(super) hello: Option<Hello>,
}

impl<D> Newcomer<D> {
    /// Makes a newcomer of a connection just accepted.
    #[must_use]
    pub const fn new() -> Self {
        Self { link: Link::new(), hello: None }
    }

    /// Takes bytes and descriptors; tells whether the controller has introduced itself.
    ///
    /// # Errors
    ///
    /// This is no controller that we understand: send [`SessionError::farewell`] and close.
    pub fn handle_bytes(
        &mut self,
        bytes: &[u8],
        descriptors: impl IntoIterator<Item = D>,
    ) -> Result<bool, SessionError> {
        self.link.handle_bytes(bytes, descriptors)?;
        if self.hello.is_some() {
            return Ok(true);
        }
        match self.link.receive()? {
            None => Ok(false),
            Some(Received::Frame(Frame::Hello(hello))) if hello.role == Role::Controller => {
                common_version(&hello)?;
                self.hello = Some(hello);
                Ok(true)
            }
            Some(Received::Frame(frame)) => {
                Err(SessionError::Unexpected { frame: frame.name(), state: "waiting for a controller's Hello" })
            }
            Some(Received::UnreadableCommand(_)) => {
                Err(SessionError::Unexpected { frame: "Command", state: "waiting for a controller's Hello" })
            }
        }
    }
}
