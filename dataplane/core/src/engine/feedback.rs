//! The way back: what peers say by RTCP.

use std::time::Duration;

use sluice_protocol::event::Event;
use sluice_protocol::ids::{EgressId, TransportId};
use sluice_protocol::media::Ssrc;
use sluice_protocol::time::Instant;

use super::Engine;
use crate::discard::Discard;
use crate::ingress::sources::SourceRole;
use crate::ingress::stream::IngressStream;
use crate::port::Datagram;
use crate::wire::rtcp::fir::Entry;
use crate::wire::rtcp::report::ReportBlock;
use crate::wire::rtcp::sr::SenderInfo;
use crate::wire::rtcp::{RtcpPacket, packets};

impl Engine {
    /// Opens a compound and follows each packet of it.
    pub(super) fn receive_rtcp(&mut self, now: Instant, datagram: Datagram<'_>) -> Result<(), Discard> {
        let id = self.demux.transport(datagram.five_tuple)?;
        let arrival = datagram.arrival;
        let transport = self.transports.get_mut(id.0).ok_or(Discard::UnvalidatedFiveTuple)?;
        let compound = transport.open_rtcp(&mut self.rows, datagram.bytes)?;
        if compound.is_newest {
            self.follow_newest(now, id, datagram.five_tuple);
        }
        let mut outcome = Ok(());
        for packet in packets(compound.plain) {
            let followed = match packet {
                Ok(packet) => self.follow(now, id, arrival, &packet),
                Err(_) => Err(Discard::RtcpMalformed),
            };
            // One packet that makes no sense does not take the others of its compound along.
            outcome = outcome.and(followed);
        }
        outcome
    }

    fn follow(
        &mut self,
        now: Instant,
        id: TransportId,
        arrival: Instant,
        packet: &RtcpPacket<'_>,
    ) -> Result<(), Discard> {
        match packet {
            RtcpPacket::Pli(pli) => self.follow_key_frame_request(now, id, pli.media),
            RtcpPacket::Fir(fir) => {
                let mut outcome = Ok(());
                for entry in fir.entries() {
                    // An entry about a stream that is not there does not take the others along.
                    let followed = self.follow_full_intra_request(now, id, fir.sender, entry);
                    outcome = outcome.and(followed);
                }
                outcome
            }
            RtcpPacket::Nack(nack) => self.follow_nack(now, id, nack),
            RtcpPacket::Sr(report) => {
                self.follow_sender_report(id, arrival, &report.info);
                report.blocks().for_each(|block| self.follow_block(id, arrival, &block));
                Ok(())
            }
            RtcpPacket::Rr(report) => {
                report.blocks().for_each(|block| self.follow_block(id, arrival, &block));
                Ok(())
            }
            RtcpPacket::Bye(bye) => {
                bye.ssrcs().for_each(|ssrc| self.follow_goodbye(id, ssrc));
                Ok(())
            }
            RtcpPacket::Twcc(_) | RtcpPacket::Unread => Ok(()),
        }
    }

    fn follow_key_frame_request(&mut self, now: Instant, id: TransportId, media: Ssrc) -> Result<(), Discard> {
        let egress = self.egress_of(id, media).ok_or(Discard::RtcpUnknownSsrc)?;
        if let Some(target) = self.targets.get_mut(egress.0) {
            target.counters.plis += 1;
        }
        let Some(target) = self.targets.get(egress.0) else { return Ok(()) };
        if let Some(source) = &target.plan.source {
            let (track, encoding) = (source.track, target.stream.mended_by());
            self.want_key_frame(now, track, encoding);
        }
        Ok(())
    }

    /// Follows a command for a key frame, unless it is the last one of this sender repeated: a repetition keeps its number
    /// (RFC 5104 section 4.3.1.2), and the key frame may have been sent meanwhile.
    fn follow_full_intra_request(
        &mut self,
        now: Instant,
        id: TransportId,
        sender: Ssrc,
        entry: Entry,
    ) -> Result<(), Discard> {
        let egress = self.egress_of(id, entry.ssrc).ok_or(Discard::RtcpUnknownSsrc)?;
        let command = Some((sender, entry.sequence));
        match self.targets.get_mut(egress.0) {
            Some(target) if target.last_command == command => return Ok(()),
            Some(target) => target.last_command = command,
            None => {}
        }
        self.follow_key_frame_request(now, id, entry.ssrc)
    }

    /// Learns how the publisher's wall clock and RTP clock relate, and how its wall clock and ours do: the first report
    /// of any of its streams settles that for all of them, so that they stay together, and for successors, so that what
    /// viewers were told about sound and picture still holds.
    fn follow_sender_report(&mut self, id: TransportId, arrival: Instant, info: &SenderInfo) {
        let wall = self.wall_clock(arrival);
        let Some(stream) = self.media_stream(id, info.ssrc) else { return };
        stream.clock = Some((info.ntp, info.rtp_timestamp));
        stream.reception.note_sender_report(info.ntp, arrival);
        if let Some(transport) = self.transports.get_mut(id.0)
            && transport.clock_offset_nanos.is_none()
        {
            let nanos = wall.nanos_since(info.ntp);
            transport.clock_offset_nanos = Some(nanos);
            self.rows.store_clock_offset_nanos(transport.row, nanos);
        }
    }

    /// Takes what a subscriber says about an egress stream, and the round trip out of it (RFC 3550 section 6.4.1).
    fn follow_block(&mut self, id: TransportId, arrival: Instant, block: &ReportBlock) {
        let wall = self.wall_clock(arrival).middle();
        let Some(egress) = self.egress_of(id, block.ssrc) else { return };
        if let Some(target) = self.targets.get_mut(egress.0) {
            target.counters.fraction_lost = block.fraction_lost;
            target.counters.jitter = block.jitter;
        }
        let elapsed = wall.wrapping_sub(block.last_sr).wrapping_sub(block.delay_since_last_sr);
        // Half of the range and more is a clock that went back, or a report of nobody.
        if block.last_sr != 0
            && elapsed < 1 << 31
            && let Some(transport) = self.transports.get_mut(id.0)
        {
            transport.rtt = Some(Duration::from_nanos((u64::from(elapsed) * 1_000_000_000) >> 16));
        }
    }

    fn follow_goodbye(&mut self, id: TransportId, ssrc: Ssrc) {
        let Some(stream) = self.media_stream(id, ssrc) else { return };
        if stream.payload_type.take().is_none() {
            return;
        }
        let source = self.transports.get(id.0).and_then(|transport| transport.sources.get(ssrc));
        if let Some(track) = source.map(|source| source.track) {
            self.raise(Event::TrackStopped { track, ssrc });
        }
    }

    /// Returns the stream that an SSRC of a publisher carries now.
    fn media_stream(&mut self, id: TransportId, ssrc: Ssrc) -> Option<&mut IngressStream> {
        let source = self.transports.get(id.0)?.sources.get(ssrc)?;
        let is_media = source.role == SourceRole::Media;
        let track = self.tracks.get_mut(source.track.0)?;
        track.stream_mut(source.stream).filter(|stream| is_media && stream.ssrc == Some(ssrc))
    }

    /// Finds the egress stream of a transport that an SSRC names.
    pub(super) fn egress_of(&self, id: TransportId, ssrc: Ssrc) -> Option<EgressId> {
        let transport = self.transports.get(id.0)?;
        let named = |egress: &&EgressId| self.targets.get(egress.0).is_some_and(|target| target.plan.ssrc == ssrc);
        transport.egresses.iter().find(named).copied()
    }
}
