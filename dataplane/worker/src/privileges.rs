//! Becoming an unprivileged user when started as root.

use nix::unistd::{Gid, Uid, User, geteuid, setgid, setgroups, setuid};
use thiserror::Error;

/// Why the user cannot be changed.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// There is no such user.
    #[error("process.user: there is no user {0:?}")]
    NoSuchUser(String),
    /// A system call failed.
    #[error("cannot become user {0:?}: {1}")]
    System(String, nix::Error),
}

/// Who may connect: the user that started this process, and root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(u32);

impl Owner {
    /// Returns the user that runs this process now.
    #[must_use]
    pub fn current() -> Self {
        Self(geteuid().as_raw())
    }

    /// Tells whether a process of `uid` may control this one.
    #[must_use]
    pub const fn accepts(self, uid: u32) -> bool {
        uid == self.0 || uid == 0
    }
}

/// Becomes `user` for good when this process is root and `user` is not empty.
///
/// Call it before threads are started, after everything that needs root: limits and the control socket.
///
/// # Errors
/// [`PrivilegeError`] when there is no such user or the system refuses.
pub fn drop_to(user: &str) -> Result<(), PrivilegeError> {
    if user.is_empty() || !geteuid().is_root() {
        return Ok(());
    }
    let system = |error| PrivilegeError::System(user.to_owned(), error);
    let entry = User::from_name(user).map_err(system)?.ok_or_else(|| PrivilegeError::NoSuchUser(user.to_owned()))?;
    let (uid, gid): (Uid, Gid) = (entry.uid, entry.gid);
    setgroups(&[gid]).map_err(system)?;
    setgid(gid).map_err(system)?;
    setuid(uid).map_err(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_starting_user_and_root_may_connect_and_nobody_else() {
        let owner = Owner(1000);
        assert!(owner.accepts(1000) && owner.accepts(0));
        assert!(!owner.accepts(1001));
    }
}
