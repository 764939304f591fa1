//! SSRCs that belong nowhere: of encodings that an answer left out and their publisher sends all the same.
//!
//! Their packets are discarded. What is kept lets their SRTP indices grow, so that they still authenticate after a roll-over
//! of their numbers, and lets none of them come twice: their arrival is told to the sender, whose congestion control would
//! take it for loss otherwise.

use sluice_protocol::media::Ssrc;

use crate::limits::REFUSED_SSRCS_MAX;
use crate::srtp::ReplayWindow;

/// See the module; at most [`REFUSED_SSRCS_MAX`]. Those that come later are discarded without being kept.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    windows: Vec<(Ssrc, ReplayWindow)>,
}

impl Refused {
    /// Makes an empty one, which takes no memory.
    pub(crate) const fn new() -> Self {
        Self { windows: Vec::new() }
    }

    /// Returns which packets of an SSRC were seen.
    pub(crate) fn window(&self, ssrc: Ssrc) -> Option<&ReplayWindow> {
        self.windows.iter().find(|(own, _)| *own == ssrc).map(|(_, window)| window)
    }

    /// Remembers an authenticated packet; false when there is no room for its SSRC.
    pub(crate) fn commit(&mut self, ssrc: Ssrc, index: u64) -> bool {
        if self.window(ssrc).is_none() {
            if self.windows.len() >= REFUSED_SSRCS_MAX {
                return false;
            }
            self.windows.push((ssrc, ReplayWindow::new()));
        }
        self.windows.iter_mut().filter(|(own, _)| *own == ssrc).for_each(|(_, window)| window.commit(index));
        true
    }

    /// Takes an SSRC out that belongs somewhere now.
    pub(crate) fn take(&mut self, ssrc: Ssrc) -> Option<ReplayWindow> {
        let place = self.windows.iter().position(|(own, _)| *own == ssrc)?;
        Some(self.windows.swap_remove(place).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssrcs_that_belong_nowhere_are_bounded_and_their_packets_come_once() {
        let mut refused = Refused::new();
        let taken = (0..100).filter(|number| refused.commit(Ssrc(*number), 7)).count();
        assert_eq!(taken, REFUSED_SSRCS_MAX);
        assert!(refused.commit(Ssrc(0), 8), "one that is known goes on");
        let window = refused.window(Ssrc(0)).unwrap();
        assert_eq!(window.highest(), Some(8));
        assert!(window.check(7).is_err() && window.check(6).is_ok());
        assert_eq!(refused.take(Ssrc(0)).and_then(|window| window.highest()), Some(8));
        assert!(refused.window(Ssrc(0)).is_none());
        assert!(refused.commit(Ssrc(99), 1), "its place is free");
    }
}
