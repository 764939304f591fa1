//! What must hold of everything that is sealed, asserted in builds with debug assertions.

/// Watches one SSRC: no index twice, and no timestamp that goes back while the numbers go on. Costs nothing without
/// debug assertions.
#[derive(Clone, Debug, Default)]
pub(crate) struct SealGuard {
    #[cfg(debug_assertions)]
    window: Option<super::ReplayWindow>,
    #[cfg(debug_assertions)]
    newest: Option<(u64, u32)>,
}

impl SealGuard {
    /// Makes a guard for a stream whose indices up to `used` may have been sealed by a predecessor.
    #[cfg(debug_assertions)]
    pub(crate) const fn after(used: Option<u64>) -> Self {
        let window = match used {
            Some(used) => super::ReplayWindow::resume(used),
            None => super::ReplayWindow::new(),
        };
        Self { window: Some(window), newest: None }
    }

    /// Makes a guard for a stream whose indices up to `used` may have been sealed by a predecessor.
    #[cfg(not(debug_assertions))]
    pub(crate) const fn after(_used: Option<u64>) -> Self {
        Self {}
    }

    /// Asserts that a media packet may be sealed.
    #[cfg(debug_assertions)]
    pub(crate) fn media(&mut self, index: u64, timestamp: u32) {
        self.repair(index);
        let Some((newest, before)) = self.newest else {
            self.newest = Some((index, timestamp));
            return;
        };
        let step = timestamp.wrapping_sub(before).cast_signed();
        if index > newest {
            assert!(step >= 0, "time goes back from {before} at {newest} to {timestamp} at {index}");
            self.newest = Some((index, timestamp));
        } else {
            assert!(step <= 0, "a late packet {index} is newer ({timestamp}) than {newest} ({before})");
        }
    }

    /// Asserts that a media packet may be sealed.
    #[cfg(not(debug_assertions))]
    pub(crate) const fn media(&mut self, _index: u64, _timestamp: u32) {}

    /// Asserts that a repair packet may be sealed.
    #[cfg(debug_assertions)]
    pub(crate) fn repair(&mut self, index: u64) {
        let window = self.window.get_or_insert_with(super::ReplayWindow::new);
        assert_eq!(window.check(index), Ok(()), "index {index} was sealed already");
        window.commit(index);
    }

    /// Asserts that a repair packet may be sealed.
    #[cfg(not(debug_assertions))]
    pub(crate) const fn repair(&mut self, _index: u64) {}
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    fn outcome(packets: &[(u64, u32)]) -> Result<(), String> {
        let packets = packets.to_vec();
        std::panic::catch_unwind(move || {
            let mut guard = SealGuard::after(Some(9));
            for (index, timestamp) in packets {
                guard.media(index, timestamp);
            }
        })
        .map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
    }

    #[test]
    fn order_and_lateness_are_fine_but_no_number_twice_and_no_time_back() {
        assert_eq!(outcome(&[(10, 0), (12, 3000), (11, 0), (13, 3000)]), Ok(()));
        assert!(outcome(&[(9, 0)]).is_err(), "a predecessor sealed it");
        assert!(outcome(&[(10, 0), (10, 0)]).is_err());
        assert!(outcome(&[(10, 3000), (11, 0)]).unwrap_err().contains("time goes back"));
        assert!(outcome(&[(10, 0), (12, 0), (11, 1)]).unwrap_err().contains("late packet"));
    }
}
