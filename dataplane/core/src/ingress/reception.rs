//! What a receiver reports about a stream (RFC 3550 section 6.4.1, appendices A.3 and A.8).

use std::time::Duration;

use sluice_protocol::time::{Instant, NtpTime};

/// Counts what came and what should have, and how evenly.
///
/// After a restart it begins with the first packet seen, so that an outage of ours is not reported as the publisher's
/// loss.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reception {
    /// The first sequence number counted; `None` before the first packet.
    base: Option<u64>,
    highest: u64,
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// Smoothed difference of transit times, in 1/16 of a clock tick.
    jitter_16ths: u32,
    last_transit: Option<i64>,
    last_report: Option<PeerReport>,
}

/// The last sender report of the publisher, as our reports echo it.
#[derive(Clone, Copy, Debug)]
struct PeerReport {
    middle: u32,
    arrival: Instant,
}

/// One report block's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) fraction_lost: u8,
    /// Clamped to 24 bits, signed.
    pub(crate) cumulative_lost: i32,
    pub(crate) highest: u32,
    pub(crate) jitter: u32,
    /// The middle of the last sender report's NTP time, 0 when there was none.
    pub(crate) last_report: u32,
    /// The delay since, in 1/65536 s.
    pub(crate) delay: u32,
}

impl Reception {
    /// Counts a packet that came by its own SSRC.
    pub(crate) fn receive(&mut self, sequence: u64, timestamp: u32, clock_rate: u32, arrival: Instant) {
        if self.base.is_none() {
            self.base = Some(sequence);
            self.highest = sequence;
        }
        self.highest = self.highest.max(sequence);
        self.received += 1;
        let ticks = u128::from(arrival.nanos) * u128::from(clock_rate) / 1_000_000_000;
        let arrival_ticks = u32::try_from(ticks & 0xffff_ffff).unwrap_or(0);
        let transit = i64::from(arrival_ticks.wrapping_sub(timestamp).cast_signed());
        if let Some(last) = self.last_transit.replace(transit) {
            let difference = u32::try_from((transit - last).unsigned_abs()).unwrap_or(u32::MAX);
            // A jump of the clock is no jitter: RFC 3550 has no such case, encoders that restart do.
            if difference < clock_rate.saturating_mul(2) {
                let decay = (self.jitter_16ths + 8) >> 4;
                self.jitter_16ths = self.jitter_16ths.saturating_add(difference).saturating_sub(decay);
            }
        }
    }

    /// Notes a sender report of the publisher.
    pub(crate) fn note_sender_report(&mut self, ntp: NtpTime, arrival: Instant) {
        self.last_report = Some(PeerReport { middle: ntp.middle(), arrival });
    }

    /// Makes the next report block and starts the next interval; `None` before the first packet.
    pub(crate) fn report(&mut self, now: Instant) -> Option<Block> {
        let expected = self.expected()?;
        let expected_interval = expected.saturating_sub(self.expected_before);
        let received_interval = self.received.saturating_sub(self.received_before);
        self.expected_before = expected;
        self.received_before = self.received;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction = (lost_interval * 256).checked_div(expected_interval).unwrap_or(0).min(255);
        let delay = self.last_report.map_or(0, |report| units_of_65536th(now.saturating_since(report.arrival)));
        Some(Block {
            fraction_lost: u8::try_from(fraction).unwrap_or(u8::MAX),
            cumulative_lost: i32::try_from(self.lost().clamp(-0x0080_0000, 0x007f_ffff)).unwrap_or(0),
            highest: u32::try_from(self.highest & 0xffff_ffff).unwrap_or(0),
            jitter: self.jitter(),
            last_report: self.last_report.map_or(0, |report| report.middle),
            delay,
        })
    }

    /// Returns the packets lost for good; negative with duplicates.
    pub(crate) fn lost(&self) -> i64 {
        let expected = self.expected().unwrap_or(0);
        i64::try_from(expected).unwrap_or(i64::MAX) - i64::try_from(self.received).unwrap_or(i64::MAX)
    }

    /// Returns the jitter in clock ticks.
    pub(crate) const fn jitter(&self) -> u32 {
        self.jitter_16ths >> 4
    }

    fn expected(&self) -> Option<u64> {
        self.base.map(|base| self.highest.saturating_sub(base) + 1)
    }
}

/// Returns a duration in 1/65536 s, as reports carry delays.
pub(crate) fn units_of_65536th(duration: Duration) -> u32 {
    u32::try_from((duration.as_nanos() << 16) / 1_000_000_000).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(reception: &mut Reception, sequences: &[u64]) {
        for sequence in sequences {
            let millis = 20 * sequence;
            let timestamp = u32::try_from(960 * sequence).unwrap();
            reception.receive(*sequence, timestamp, 48_000, Instant::from_millis(millis));
        }
    }

    #[test]
    fn a_quarter_lost_reads_as_64_of_256() {
        let mut reception = Reception::default();
        assert_eq!(reception.report(Instant::ZERO), None);
        feed(&mut reception, &[70_000, 70_002, 70_003]);
        let block = reception.report(Instant::ZERO).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost, block.highest), (64, 1, 70_003));
        assert_eq!(block.jitter, 0, "packets that come as they were stamped have none");
        feed(&mut reception, &[70_004, 70_005]);
        let block = reception.report(Instant::ZERO).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, 1), "the next interval starts anew");
    }

    #[test]
    fn a_successor_begins_with_the_first_packet_that_it_sees() {
        let mut reception = Reception::default();
        feed(&mut reception, &[1_000_000]);
        assert_eq!(reception.report(Instant::ZERO).unwrap().cumulative_lost, 0);
    }

    #[test]
    fn duplicates_make_loss_negative_but_never_the_fraction() {
        let mut reception = Reception::default();
        feed(&mut reception, &[1, 1, 1, 2]);
        let block = reception.report(Instant::ZERO).unwrap();
        assert_eq!((block.fraction_lost, block.cumulative_lost), (0, -2));
    }

    #[test]
    fn jitter_follows_the_example_of_even_and_late_packets() {
        let mut reception = Reception::default();
        for (timestamp, millis) in [(0, 0), (960, 20), (1920, 50), (2880, 60)] {
            reception.receive(u64::from(timestamp / 960), timestamp, 48_000, Instant::from_millis(millis));
        }
        // Transit differences of 0, 480 and 480 ticks: 480/16 = 30, then 30 + (480 - 30)/16 = 58.
        assert_eq!(reception.jitter(), 58);
    }

    #[test]
    fn delay_counts_from_the_last_sender_report() {
        let mut reception = Reception::default();
        feed(&mut reception, &[1]);
        reception.note_sender_report(NtpTime(0x1111_2222_3333_4444), Instant::from_millis(1000));
        let block = reception.report(Instant::from_millis(1500)).unwrap();
        assert_eq!((block.last_report, block.delay), (0x2222_3333, 0x8000));
    }
}
