//! The way back: what peers say by RTCP.

use sluice_protocol::ids::{EgressId, TransportId};
use sluice_protocol::media::Ssrc;
use sluice_protocol::time::Instant;

use super::Engine;
use crate::discard::Discard;
use crate::port::Datagram;
use crate::wire::rtcp::{RtcpPacket, packets};

impl Engine {
    /// Opens a compound and follows each packet of it.
    pub(super) fn receive_rtcp(&mut self, now: Instant, datagram: Datagram<'_>) -> Result<(), Discard> {
        let id = self.demux.transport(datagram.five_tuple)?;
        let transport = self.transports.get_mut(id.0).ok_or(Discard::UnvalidatedFiveTuple)?;
        let compound = transport.open_rtcp(datagram.bytes)?;
        for packet in packets(compound) {
            let packet = packet.map_err(|_| Discard::RtcpMalformed)?;
            self.follow(now, id, &packet);
        }
        Ok(())
    }

    fn follow(&mut self, now: Instant, id: TransportId, packet: &RtcpPacket<'_>) {
        match packet {
            RtcpPacket::Pli(pli) => self.follow_key_frame_request(now, id, pli.media),
            RtcpPacket::Fir(fir) => {
                for entry in fir.entries() {
                    self.follow_key_frame_request(now, id, entry.ssrc);
                }
            }
            RtcpPacket::Sr(_)
            | RtcpPacket::Rr(_)
            | RtcpPacket::Sdes(_)
            | RtcpPacket::Bye(_)
            | RtcpPacket::Nack(_)
            | RtcpPacket::Twcc(_)
            | RtcpPacket::Remb(_)
            | RtcpPacket::Xr(_)
            | RtcpPacket::Unknown { .. } => {}
        }
    }

    fn follow_key_frame_request(&mut self, now: Instant, id: TransportId, media: Ssrc) {
        let Some(egress) = self.egress_of(id, media) else {
            self.discards.count(Discard::RtcpUnknownSsrc);
            return;
        };
        if let Some(target) = self.targets.get_mut(egress.0) {
            target.counters.plis += 1;
        }
        self.want_key_frame_for(now, egress);
    }

    /// Finds the egress stream of a transport that an SSRC names.
    pub(super) fn egress_of(&self, id: TransportId, ssrc: Ssrc) -> Option<EgressId> {
        let transport = self.transports.get(id.0)?;
        let named = |egress: &&EgressId| self.targets.get(egress.0).is_some_and(|target| target.plan.ssrc == ssrc);
        transport.egresses.iter().find(named).copied()
    }
}
