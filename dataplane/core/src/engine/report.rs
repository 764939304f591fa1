//! What is due by the clock, and the sender and receiver reports (RFC 3550 section 6.4).

use sluice_protocol::ids::{EgressId, TransportId};
use sluice_protocol::limits::CNAME_BYTES_MAX;
use sluice_protocol::media::Ssrc;
use sluice_protocol::time::{Instant, NtpTime};

use arrayvec::ArrayVec;

use super::Engine;
use crate::discard::Discard;
use crate::limits::REPORT_INTERVAL;
use crate::shard::timer::Timer;
use crate::wire::rtcp::report::{BLOCKS_MAX, ReportBlock};
use crate::wire::rtcp::sr::SenderInfo;
use crate::wire::rtcp::{RtcpWriter, bye, rr, sdes, sr};

/// The SSRC of receiver reports and feedback; nothing is ever sent as media under it, as libwebrtc's receivers do.
pub(super) const OWN_SSRC: Ssrc = Ssrc(1);
/// A compound of ours, before it is sealed, fits any path.
pub(super) const COMPOUND_BYTES_MAX: usize = 1200;
/// What may stand in front of feedback: an empty receiver report, and a description of one source.
const PREFIX_BYTES_MAX: usize = 8 + 8 + (2 + CNAME_BYTES_MAX + 1).next_multiple_of(4);
/// Feedback of ours, before what may have to stand in front of it.
pub(super) const FEEDBACK_BYTES_MAX: usize = COMPOUND_BYTES_MAX - PREFIX_BYTES_MAX;
/// What sealing may add.
const SEALING_BYTES_MAX: usize = crate::srtp::RTCP_OVERHEAD_BYTES_MAX;
/// Sender reports with their descriptions that fit one compound: 28 bytes and at most 48 each.
const SENDERS_PER_COMPOUND: usize = 14;
/// Report blocks of one compound without sender reports.
const BLOCKS_PER_COMPOUND: usize = BLOCKS_MAX;

const _: () = assert!(SENDERS_PER_COMPOUND * (28 + 48) + 8 <= COMPOUND_BYTES_MAX, "a compound of sender reports fits");
const _: () = assert!(BLOCKS_PER_COMPOUND * 24 + 8 + 48 <= COMPOUND_BYTES_MAX, "a compound of blocks fits");

impl Engine {
    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, id, timer)) = self.timers.pop_due(now) {
            let Some(transport) = self.transports.get_mut(id.0) else { continue };
            if !transport.deadlines.fire(timer, at) {
                continue;
            }
            match timer {
                Timer::Consent => self.check_consent(now, id),
                Timer::KeyFrame => self.ask_for_key_frames(now, id),
                Timer::Nack => self.ask_for_repeats(now, id),
                Timer::Feedback => self.give_feedback(now, id),
                Timer::Report => self.report(now, id),
            }
        }
        self.sweep_timers();
    }

    /// Returns the wall clock at `now`.
    pub(super) fn wall_clock(&self, now: Instant) -> NtpTime {
        let (at, ntp) = self.config.wall;
        let nanos = now.nanos.cast_signed().wrapping_sub(at.nanos.cast_signed());
        ntp.offset_nanos(nanos)
    }

    /// Reports on everything that a transport sends and receives.
    fn report(&mut self, now: Instant, id: TransportId) {
        let Some(transport) = self.transports.get_mut(id.0) else { return };
        if transport.agent.target().is_none() || transport.open().is_err() {
            return;
        }
        self.timers.arm(id, &mut transport.deadlines, Timer::Report, now + REPORT_INTERVAL);
        self.report_sending(now, id);
        self.report_receiving(now, id);
    }

    fn report_sending(&mut self, now: Instant, id: TransportId) {
        let Some(egresses) = self.transports.get(id.0).map(|transport| transport.egresses.len()) else { return };
        let mut infos: ArrayVec<SenderInfo, SENDERS_PER_COMPOUND> = ArrayVec::new();
        for index in 0..egresses {
            let egress = self.transports.get(id.0).and_then(|transport| transport.egresses.get(index).copied());
            if let Some(info) = egress.and_then(|egress| self.sender_info(now, egress)) {
                infos.push(info);
            }
            if infos.is_full() {
                self.send_sender_reports(id, &infos);
                infos.clear();
            }
        }
        self.send_sender_reports(id, &infos);
    }

    fn send_sender_reports(&mut self, id: TransportId, infos: &[SenderInfo]) {
        let Some(transport) = self.transports.get(id.0).filter(|_| !infos.is_empty()) else { return };
        let mut buffer = [0; COMPOUND_BYTES_MAX];
        let mut writer = RtcpWriter::new(&mut buffer);
        let ssrcs: ArrayVec<Ssrc, SENDERS_PER_COMPOUND> = infos.iter().map(|info| info.ssrc).collect();
        let written = infos.iter().all(|info| sr::write(&mut writer, info, &[]).is_ok())
            && sdes::write(&mut writer, &ssrcs, transport.plan.cname.as_bytes()).is_ok();
        debug_assert!(written, "the compound was measured");
        let size = writer.size_bytes();
        self.send_rtcp(id, buffer.get(..size).unwrap_or(&[]));
    }

    /// Maps the wall clock to an egress stream's RTP clock, by the publisher's own report and the transport's one offset
    /// of clocks; `None` before the publisher has reported, or before anything was sent.
    fn sender_info(&self, now: Instant, id: EgressId) -> Option<SenderInfo> {
        let ntp = self.wall_clock(now);
        let target = self.targets.get(id.0)?;
        if target.counters.packets == 0 {
            return None;
        }
        let track = self.tracks.get(target.plan.source.as_ref()?.track.0)?;
        let (ssrc, index) = target.stream.current()?;
        let stream = track.stream(index).filter(|stream| stream.ssrc == Some(ssrc))?;
        let (source_ntp, source_rtp) = stream.clock?;
        let offset = self.transports.get(track.plan.transport.0)?.clock_offset_nanos?;
        let clock_rate = track.clock_rate(stream.payload_type?)?;
        let elapsed = ntp.nanos_since(source_ntp.offset_nanos(offset));
        let ticks = i128::from(elapsed) * i128::from(clock_rate) / 1_000_000_000;
        let ticks = u32::try_from(ticks.rem_euclid(1 << 32)).unwrap_or(0);
        let rtp_timestamp = source_rtp.wrapping_add(ticks).wrapping_add(target.stream.timestamp_offset()?);
        let (packets, payload_bytes) = target.sent();
        Some(SenderInfo { ssrc: target.plan.ssrc, ntp, rtp_timestamp, packets, payload_bytes })
    }

    /// Sends a receiver report on all streams that are heard, as many compounds as that takes.
    fn report_receiving(&mut self, now: Instant, id: TransportId) {
        let Self { transports, tracks, .. } = self;
        let Some(transport) = transports.get(id.0) else { return };
        let mut blocks: Vec<ReportBlock> = Vec::new();
        for track in &transport.tracks {
            let Some(track) = tracks.get_mut(track.0) else { continue };
            for stream in &mut track.streams {
                let Some((ssrc, block)) = stream.ssrc.zip(stream.reception.report(now)) else { continue };
                blocks.push(ReportBlock {
                    ssrc,
                    fraction_lost: block.fraction_lost,
                    cumulative_lost: block.cumulative_lost,
                    highest_sequence: block.highest,
                    jitter: block.jitter,
                    last_sr: block.last_report,
                    delay_since_last_sr: block.delay,
                });
            }
        }
        for blocks in blocks.chunks(BLOCKS_PER_COMPOUND) {
            let Some(transport) = self.transports.get(id.0) else { return };
            let mut buffer = [0; COMPOUND_BYTES_MAX];
            let mut writer = RtcpWriter::new(&mut buffer);
            let written = rr::write(&mut writer, OWN_SSRC, blocks).is_ok()
                && sdes::write(&mut writer, &[OWN_SSRC], transport.plan.cname.as_bytes()).is_ok();
            debug_assert!(written, "the compound was measured");
            let size = writer.size_bytes();
            self.send_rtcp(id, buffer.get(..size).unwrap_or(&[]));
        }
    }

    /// Says that an egress stream's SSRCs retire (RFC 3550 section 6.6): only then, never for a pause or a mute.
    pub(super) fn say_goodbye(&mut self, id: EgressId) {
        let Some(target) = self.targets.get(id.0) else { return };
        let (transport_id, ssrc, rtx) = (target.plan.transport, target.plan.ssrc, target.plan.rtx);
        let Some(transport) = self.transports.get(transport_id.0).filter(|transport| transport.open().is_ok()) else {
            return;
        };
        if target.sent().0 == 0 || transport.agent.target().is_none() {
            return;
        }
        let retiring: ArrayVec<Ssrc, 2> = [Some(ssrc), rtx].into_iter().flatten().collect();
        let mut buffer = [0; COMPOUND_BYTES_MAX];
        let mut writer = RtcpWriter::new(&mut buffer);
        let written = rr::write(&mut writer, ssrc, &[]).is_ok()
            && sdes::write(&mut writer, &[ssrc], transport.plan.cname.as_bytes()).is_ok()
            && bye::write(&mut writer, &retiring).is_ok();
        debug_assert!(written, "the compound was measured");
        let size = writer.size_bytes();
        self.send_rtcp(transport_id, buffer.get(..size).unwrap_or(&[]));
    }

    /// Sends feedback of at most [`FEEDBACK_BYTES_MAX`]; nothing happens for none. It goes alone where the peer takes
    /// reduced size (RFC 5506), else in a compound that starts with a report and a name (RFC 3550 section 6.1). That
    /// report is empty: those about streams have their own interval, and tell what was lost since the last of them.
    pub(super) fn send_feedback(&mut self, id: TransportId, feedback: &[u8]) {
        let Some(transport) = self.transports.get(id.0).filter(|_| !feedback.is_empty()) else { return };
        if transport.plan.rtcp_rsize {
            return self.send_rtcp(id, feedback);
        }
        let mut buffer = [0; COMPOUND_BYTES_MAX];
        let mut writer = RtcpWriter::new(&mut buffer);
        let written = rr::write(&mut writer, OWN_SSRC, &[]).is_ok()
            && sdes::write(&mut writer, &[OWN_SSRC], transport.plan.cname.as_bytes()).is_ok()
            && writer.append(feedback).is_ok();
        debug_assert!(written, "the compound was measured");
        let size = writer.size_bytes();
        self.send_rtcp(id, buffer.get(..size).filter(|_| written).unwrap_or(&[]));
    }

    /// Seals a compound and queues it for the peer; nothing happens for an empty one. The index is stored before it is
    /// used.
    pub(super) fn send_rtcp(&mut self, id: TransportId, compound: &[u8]) {
        let Some(transport) = self.transports.get(id.0).filter(|_| !compound.is_empty()) else { return };
        let (Some(five_tuple), Ok(open)) = (transport.agent.target(), transport.open()) else {
            self.discards.count(Discard::NotSending);
            return;
        };
        let mut buffer = [0; COMPOUND_BYTES_MAX + SEALING_BYTES_MAX];
        let Some(plain) = buffer.get_mut(..compound.len()) else { return };
        plain.copy_from_slice(compound);
        let index = self.rows.index(transport.row) + 1;
        self.rows.store_index(transport.row, index);
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let sealed = open.sealer.seal_rtcp(&mut buffer, compound.len(), index).ok();
        if let Some(sealed) = sealed.and_then(|size| buffer.get(..size)) {
            self.queue_control(id, five_tuple, sealed);
        }
    }
}
