//! Which DTLS datagrams of a transport reach the control plane.

use sluice_protocol::time::Instant;

use super::Allowance;
use crate::discard::Discard;
use crate::limits::{PUNT_WINDOW, PUNTS_PER_WINDOW_BEFORE_KEYS_MAX, PUNTS_PER_WINDOW_MAX};
use crate::wire::dtls::{self, Association};

/// The allowance of one transport.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PuntWindow(Allowance);

impl PuntWindow {
    pub(crate) const fn new() -> Self {
        Self(Allowance::new())
    }

    /// Judges a datagram by its records and the transport's allowance.
    pub(crate) fn admit(&mut self, now: Instant, association: Association, datagram: &[u8]) -> Result<(), Discard> {
        dtls::filter(datagram, association).map_err(|_| Discard::DtlsFiltered)?;
        let limit = match association {
            Association::Handshaking => PUNTS_PER_WINDOW_BEFORE_KEYS_MAX,
            Association::Connected => PUNTS_PER_WINDOW_MAX,
        };
        if self.0.take(now, PUNT_WINDOW, limit) { Ok(()) } else { Err(Discard::DtlsCapped) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record header of the given content type and epoch with `size` bytes behind it.
    fn record(content_type: u8, epoch: u8, size: u8) -> Vec<u8> {
        let mut record = vec![content_type, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 1, 0, size];
        record.resize(13 + usize::from(size), 0);
        record
    }

    #[test]
    fn a_handshake_gets_its_fill_per_window_and_no_more() {
        let mut punts = PuntWindow::new();
        let hello = record(22, 0, 40);
        let admitted = |punts: &mut PuntWindow, millis| {
            (0..200)
                .filter(|_| punts.admit(Instant::from_millis(millis), Association::Handshaking, &hello).is_ok())
                .count()
        };
        assert_eq!(admitted(&mut punts, 20_000), 64);
        assert_eq!(admitted(&mut punts, 29_999), 0);
        assert_eq!(admitted(&mut punts, 30_000), 64);
    }

    #[test]
    fn a_plain_alert_after_the_handshake_goes_nowhere() {
        let mut punts = PuntWindow::new();
        let now = Instant::from_millis(20_000);
        let alert = record(21, 0, 2);
        assert_eq!(punts.admit(now, Association::Connected, &alert), Err(Discard::DtlsFiltered));
        assert_eq!(punts.admit(now, Association::Connected, &record(22, 0, 40)), Ok(()), "a lost last flight repeats");
    }
}
