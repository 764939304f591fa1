//! What leaves, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use sluice_protocol::ids::TransportId;
use sluice_protocol::media::Ssrc;

use super::objects::{TRANSPORTS, keys, transport_of};
use crate::limits::SEALED_BYTES_MAX;
use crate::port::{Class, Outbox, RUN_BYTES_MAX, RUN_SEGMENTS_MAX, Run};
use crate::srtp::{Opener, estimate_index};
use crate::wire::rtp::RtpHeader;

/// An outbox with room for some runs, and the memory of all that left.
#[derive(Default)]
pub(super) struct Wire {
    /// How many runs are still taken; any number when `None`.
    pub(super) room: Option<usize>,
    runs: Vec<(Run, Vec<u8>)>,
    highest: BTreeMap<Ssrc, u64>,
    used: BTreeSet<(Ssrc, u64)>,
    reports: BTreeSet<(TransportId, u32)>,
}

impl Outbox for Wire {
    fn reserve_run(&mut self, run: Run) -> Option<&mut [u8]> {
        assert!(run.total_bytes > 0 && run.total_bytes <= RUN_BYTES_MAX && run.segment_size_bytes > 0, "{run:?}");
        assert!(run.total_bytes.div_ceil(run.segment_size_bytes) <= RUN_SEGMENTS_MAX, "{run:?}");
        assert!(run.class == Class::Control || run.segment_size_bytes <= SEALED_BYTES_MAX, "{run:?}");
        if let Some(room) = &mut self.room {
            *room = room.checked_sub(1)?;
        }
        self.runs.push((run, vec![0xee; run.total_bytes]));
        self.runs.last_mut().map(|(_, bytes)| bytes.as_mut_slice())
    }

    fn punt(&mut self, transport: TransportId, datagram: &[u8]) {
        assert!(
            transport.slot() < u32::from(TRANSPORTS) && datagram.first().is_some_and(|byte| (20..64).contains(byte))
        );
    }
}

impl Wire {
    /// Looks at what left since it was asked last.
    pub(super) fn judge(&mut self) {
        for (run, mut bytes) in std::mem::take(&mut self.runs) {
            for datagram in bytes.chunks_mut(run.segment_size_bytes) {
                match datagram {
                    [128..=191, 192..=223, ..] => self.judge_report(datagram),
                    [128..=191, ..] => self.judge_media(datagram),
                    // STUN, DTLS of the controller, or zeros in the place of what had gone from the history.
                    [..] => {}
                }
            }
        }
    }

    /// Returns the highest sequence number that left under an SSRC.
    pub(super) fn last_sequence(&self, ssrc: Ssrc) -> u16 {
        self.highest.get(&ssrc).and_then(|index| u16::try_from(index & 0xffff).ok()).unwrap_or(0)
    }

    /// Returns how many packets of media left, and how many reports.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.used.len(), self.reports.len())
    }

    fn judge_media(&mut self, datagram: &mut [u8]) {
        let header = RtpHeader::parse(datagram).expect("what leaves has a header");
        let ssrc = header.ssrc;
        let keys = keys(transport_of(ssrc));
        let opener = Opener::new(keys.profile, &keys.local).expect("every key works");
        let highest = self.highest.entry(ssrc).or_insert_with(|| u64::from(header.sequence));
        let index = estimate_index(*highest, header.sequence);
        *highest = (*highest).max(index);
        opener.open_rtp(datagram, header.size_bytes(), index).expect("what leaves authenticates");
        assert!(self.used.insert((ssrc, index)), "{ssrc:?}: index {index} twice");
    }

    /// A report is its transport's, whichever that is: the one whose key opens it.
    fn judge_report(&mut self, datagram: &[u8]) {
        let transports = (0..TRANSPORTS).flat_map(|slot| [1, 2].map(|generation| (slot, generation)));
        let opened = transports.map(|(slot, generation)| TransportId::new(0, slot.into(), generation)).find_map(|id| {
            let keys = keys(id);
            let opener = Opener::new(keys.profile, &keys.local).expect("every key works");
            let index = opener.rtcp_index(datagram).ok()?;
            opener.open_rtcp(&mut datagram.to_vec()).ok().map(|_| (id, index))
        });
        let (transport, index) = opened.expect("what leaves authenticates");
        assert!(self.reports.insert((transport, index)), "{transport:?}: SRTCP index {index} twice");
    }
}
