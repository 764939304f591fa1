//! Becoming an unprivileged user when started as root.
//!
//! The media sockets are made only when the control plane has said which, long after the user has changed. So the two
//! capabilities that making them may need are kept until then, and given up with the first sockets, before any packet has
//! come in: [`drop_to`] keeps them, [`give_up`] ends it.

use nix::unistd::{Gid, Uid, User, geteuid, setgid, setgroups, setuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_no_new_privs,
};
use thiserror::Error;

/// What making media sockets may need: buffers beyond the system's limit, and ports below 1024.
const KEPT: CapabilitySet = CapabilitySet::NET_ADMIN.union(CapabilitySet::NET_BIND_SERVICE);

/// Why the user cannot be changed.
#[derive(Debug, Error)]
pub(crate) enum PrivilegeError {
    /// There is no such user.
    #[error("process.user: there is no user {0:?}")]
    NoSuchUser(String),
    /// A system call failed.
    #[error("cannot become user {0:?}: {1}")]
    System(String, nix::Error),
    /// Capabilities cannot be changed.
    #[error("cannot give up capabilities: {0}")]
    Capabilities(#[from] rustix::io::Errno),
}

/// Who may connect: the user that started this process, and root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner(u32);

impl Owner {
    /// Returns the user that runs this process now.
    #[must_use]
    pub(crate) fn current() -> Self {
        Self(geteuid().as_raw())
    }

    /// Tells whether a process of `uid` may control this one.
    #[must_use]
    pub(crate) const fn accepts(self, uid: u32) -> bool {
        uid == self.0 || uid == 0
    }
}

/// Becomes `user` for good when this process is root and `user` is not empty; of what root may do, the calling thread
/// keeps what making media sockets needs, until [`give_up`]. Where root has less, as in containers, it keeps what there is.
///
/// Call it before threads are started, after everything else that needs root: limits and the control socket.
///
/// # Errors
/// [`PrivilegeError`] when there is no such user or the system refuses.
pub(crate) fn drop_to(user: &str) -> Result<(), PrivilegeError> {
    if user.is_empty() || !geteuid().is_root() {
        return Ok(());
    }
    let system = |error| PrivilegeError::System(user.to_owned(), error);
    let entry = User::from_name(user).map_err(system)?.ok_or_else(|| PrivilegeError::NoSuchUser(user.to_owned()))?;
    let (uid, gid): (Uid, Gid) = (entry.uid, entry.gid);
    set_no_new_privs(true)?;
    set_keep_capabilities(true)?;
    setgroups(&[gid]).map_err(system)?;
    setgid(gid).map_err(system)?;
    setuid(uid).map_err(system)?;
    set_keep_capabilities(false)?;
    hold(capabilities(None)?.permitted.intersection(KEPT))
}

/// Gives up every capability that the calling thread has, whoever it is from: this process's start as root, or a service
/// manager. A process that is root still stays what it is: it was told to.
///
/// # Errors
/// [`PrivilegeError::Capabilities`], which no kernel has reason to return.
pub(crate) fn give_up() -> Result<(), PrivilegeError> {
    if geteuid().is_root() { Ok(()) } else { hold(CapabilitySet::empty()) }
}

/// Makes `held` all that the calling thread may do.
fn hold(held: CapabilitySet) -> Result<(), PrivilegeError> {
    let sets = CapabilitySets { effective: held, permitted: held, inheritable: CapabilitySet::empty() };
    Ok(set_capabilities(None, sets)?)
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
