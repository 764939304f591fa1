//! What a seal costs, beside `webrtc-srtp`: a measurement that anybody can repeat, no test.

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use sluice_protocol::media::SrtpProfile;

use super::tests::{master, oracle, rtp};
use super::{RTP_OVERHEAD_BYTES_MAX, Sealer};

/// Packets of one round: so few that most rounds end before anybody else gets the core.
const PACKETS: u64 = 100;
/// Rounds of each side, taken in turns; the median counts.
const ROUNDS: u64 = 501;
/// The header of the packets that [`rtp`] makes.
const HEADER_SIZE_BYTES: usize = 20;

/// Returns the nanoseconds that a packet of a round takes; packets are given their index.
fn nanos_each(round: u64, seal: impl FnMut(u64)) -> u64 {
    let began = Instant::now();
    (round * PACKETS..(round + 1) * PACKETS).for_each(seal);
    u64::try_from(began.elapsed().as_nanos()).unwrap() / PACKETS
}

fn median(mut figures: Vec<u64>) -> u64 {
    figures.sort_unstable();
    figures[figures.len() / 2]
}

/// Measures a packet of a size in a profile: ours and the baseline.
fn measure(profile: SrtpProfile, size_bytes: usize) -> [u64; 2] {
    let sealer = Sealer::new(profile, &master()).unwrap();
    let mut baseline = oracle(profile, &master());
    let mut plain = rtp(0, &vec![7; size_bytes - HEADER_SIZE_BYTES]);
    let mut buffer = [&plain[..], &[0; RTP_OVERHEAD_BYTES_MAX]].concat();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        ours.push(nanos_each(round, |index| {
            let sealed = sealer.seal_rtp(&mut buffer, HEADER_SIZE_BYTES, size_bytes, index);
            assert!(black_box(sealed).is_ok());
        }));
        theirs.push(nanos_each(round, |index| {
            plain[2..4].copy_from_slice(&index.to_be_bytes()[6..]);
            assert!(black_box(baseline.encrypt_rtp(&plain)).is_ok());
        }));
    }
    [median(ours), median(theirs)]
}

#[test]
#[ignore = "a measurement; docs/BENCHMARKS.md has the command"]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
fn sealing_beside_webrtc_srtp() {
    println!("| profile | bytes | here | `webrtc-srtp` | times |");
    println!("|---|---|---|---|---|");
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::AesCm128HmacSha1_80] {
        for size_bytes in [1200, 160] {
            let [ours, theirs] = measure(profile, size_bytes);
            println!("| {profile:?} | {size_bytes} | {ours} ns | {theirs} ns | {:.1} |", theirs as f64 / ours as f64);
        }
    }
}
