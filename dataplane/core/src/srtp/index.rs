//! The 48-bit packet index from a 16-bit sequence number (RFC 3711 section 3.3.1 and appendix A).

use super::RTP_INDEX_MAX;

/// Half of the sequence number space.
const HALF: u64 = 1 << 15;
/// One roll-over of the sequence number.
const CYCLE: u64 = 1 << 16;

/// Estimates the index of a packet with `sequence`, given the highest index authenticated so far: the one nearest to
/// it. Never below 0 and never above [`RTP_INDEX_MAX`]: at both ends the nearest index inside is taken.
pub const fn estimate_index(highest: u64, sequence: u16) -> u64 {
    let low = highest % CYCLE;
    let base = highest - low;
    let candidate = base + sequence as u64;
    if candidate > highest + HALF {
        // Older than the last roll-over, unless there was none yet.
        if base == 0 { candidate } else { candidate - CYCLE }
    } else if candidate + HALF < highest {
        // Newer than the next roll-over, unless the counter is used up.
        if candidate + CYCLE > RTP_INDEX_MAX { candidate } else { candidate + CYCLE }
    } else {
        candidate
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_index_nearest_to_the_highest_is_taken() {
        let cases = [
            (0, 0, 0),
            (0, 1, 1),
            // Before the first roll-over nothing older than 0 exists.
            (0, 0xffff, 0xffff),
            (0xffff, 0, 0x1_0000),
            (0xffff, 0x7ffe, 0x1_7ffe),
            (0xffff, 0x7fff, 0x7fff),
            (0x1_0000, 0xffff, 0xffff),
            (0x1_0000, 0x8000, 0x1_8000),
            (0x1_0000, 0x8001, 0x8001),
            (0x5_8000, 0, 0x5_0000),
            (0x5_8001, 0, 0x6_0000),
            (RTP_INDEX_MAX, 0, RTP_INDEX_MAX - 0xffff),
        ];
        for (highest, sequence, index) in cases {
            assert_eq!(estimate_index(highest, sequence), index, "{highest:#x} {sequence:#x}");
        }
    }

    proptest! {
        #[test]
        fn a_packet_within_half_a_cycle_is_found(highest in CYCLE..RTP_INDEX_MAX - CYCLE, step in -0x7fff_i64..=0x7fff) {
            let index = highest.checked_add_signed(step).unwrap();
            let sequence = u16::try_from(index % CYCLE).unwrap();
            prop_assert_eq!(estimate_index(highest, sequence), index);
        }

        #[test]
        fn an_index_always_ends_with_its_sequence_and_fits_48_bits(highest in 0..=RTP_INDEX_MAX, sequence: u16) {
            let index = estimate_index(highest, sequence);
            prop_assert!(index <= RTP_INDEX_MAX);
            prop_assert_eq!(index % CYCLE, u64::from(sequence));
        }
    }
}
