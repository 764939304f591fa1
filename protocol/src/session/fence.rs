//! One controller at a time: who may command a data plane.

use super::error::SessionError;

/// Remembers the highest epoch that was admitted, and the process that showed it.
///
/// A higher epoch is always admitted and supplants whoever is connected. The same epoch is admitted only from the same
/// process, which lost its connection. Everybody else is refused, connected or not: an old controller that wakes up
/// after its successor came would undo what that one wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    epoch: u16,
    instance: u64,
}

impl Fence {
    /// Makes a fence that admits everybody with an epoch above 0.
    #[must_use]
    pub const fn new() -> Self {
        Self { epoch: 0, instance: 0 }
    }

    /// Decides about a controller, and remembers it when it is admitted.
    ///
    /// # Errors
    ///
    /// [`SessionError::Fenced`] with the epoch that has to be exceeded.
    pub const fn admit(&mut self, epoch: u16, instance: u64) -> Result<(), SessionError> {
        if epoch > self.epoch || (epoch == self.epoch && epoch > 0 && instance == self.instance) {
            self.epoch = epoch;
            self.instance = instance;
            return Ok(());
        }
        Err(SessionError::Fenced { epoch: self.epoch })
    }

    /// Returns the highest epoch that was admitted, 0 when none was.
    #[must_use]
    pub const fn epoch(&self) -> u16 {
        self.epoch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_higher_epoch_or_the_same_process_is_admitted() {
        let mut fence = Fence::new();
        let refused = |epoch| Err(SessionError::Fenced { epoch });
        assert_eq!(fence.admit(0, 1), refused(0), "epochs begin at 1");
        assert_eq!(fence.admit(3, 1), Ok(()));
        assert_eq!(fence.admit(3, 1), Ok(()), "the same process again");
        assert_eq!(fence.admit(3, 2), refused(3), "another process with the same epoch");
        assert_eq!(fence.admit(2, 1), refused(3), "an epoch from before");
        assert_eq!(fence.admit(4, 2), Ok(()));
        assert_eq!(fence.admit(3, 1), refused(4), "the supplanted one");
        assert_eq!(fence.epoch(), 4);
    }
}
