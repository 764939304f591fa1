//! What publishers are told about the way to us: transport-wide feedback, or a fixed cap.

use sluice_protocol::ids::TransportId;
use sluice_protocol::media::Ssrc;
use sluice_protocol::time::Instant;

use super::Engine;
use super::report::{FEEDBACK_BYTES_MAX, OWN_SSRC};
use crate::limits::{FEEDBACK_INTERVAL, REMB_INTERVAL};
use crate::shard::timer::Timer;
use crate::wire::rtcp::twcc::{self, FeedbackFields};
use crate::wire::rtcp::{RtcpWriter, remb};

impl Engine {
    /// Notes a packet's transport-wide number and sees to it that feedback follows.
    pub(super) fn note_arrival(&mut self, now: Instant, id: TransportId, sequence: u16, arrival: Instant) {
        let Some(transport) = self.transports.get_mut(id.0) else { return };
        transport.arrivals.record(sequence, arrival);
        self.timers.arm(id, &mut transport.deadlines, Timer::Feedback, now + FEEDBACK_INTERVAL);
    }

    /// Tells a publisher what arrived, and its cap where it has one.
    pub(super) fn give_feedback(&mut self, now: Instant, id: TransportId) {
        if let Some(media) = self.first_ssrc(id) {
            self.give_arrivals(id, media);
            self.give_cap(now, id, media);
        }
        // A cap is told for as long as there is one, from the first packet on.
        if let Some(transport) = self.transports.get_mut(id.0).filter(|transport| transport.plan.remb_cap.is_some()) {
            let told = transport.cap_told.unwrap_or(now);
            // Nobody may be heard any more whom to tell: a time that has passed would come up again and again.
            let next = (told + REMB_INTERVAL).max(now + FEEDBACK_INTERVAL);
            self.timers.arm(id, &mut transport.deadlines, Timer::Feedback, next);
        }
    }

    fn give_arrivals(&mut self, id: TransportId, media: Ssrc) {
        let mut buffer = [0; FEEDBACK_BYTES_MAX];
        // Each turn tells at least one arrival, or drops what cannot be told.
        while let Some(transport) = self.transports.get_mut(id.0).filter(|transport| !transport.arrivals.is_empty()) {
            let mut writer = RtcpWriter::new(&mut buffer);
            let (base_sequence, feedback_count, arrivals) = transport.arrivals.pending();
            let fields = FeedbackFields { sender: OWN_SSRC, media, base_sequence, feedback_count };
            match twcc::write(&mut writer, &fields, arrivals) {
                Ok(told) if told > 0 => transport.arrivals.told(told),
                Ok(_) | Err(_) => transport.arrivals.clear(),
            }
            let size = writer.size_bytes();
            self.send_feedback(id, buffer.get(..size).unwrap_or(&[]));
        }
    }

    fn give_cap(&mut self, now: Instant, id: TransportId, media: Ssrc) {
        let Some(transport) = self.transports.get_mut(id.0) else { return };
        let Some(cap) = transport.plan.remb_cap else { return };
        if transport.cap_told.is_some_and(|told| now < told + REMB_INTERVAL) {
            return;
        }
        transport.cap_told = Some(now);
        let mut buffer = [0; FEEDBACK_BYTES_MAX];
        let mut writer = RtcpWriter::new(&mut buffer);
        let written = remb::write(&mut writer, OWN_SSRC, cap, &[media]).is_ok();
        let size = writer.size_bytes();
        self.send_feedback(id, buffer.get(..size).filter(|_| written).unwrap_or(&[]));
    }

    /// Returns a media SSRC that the transport was heard with.
    fn first_ssrc(&self, id: TransportId) -> Option<Ssrc> {
        let transport = self.transports.get(id.0)?;
        transport.sources.iter().find(|source| source.heard.is_some()).map(|source| source.ssrc)
    }
}
