//! The FINGERPRINT attribute: CRC-32 of ISO 3309 under a constant (RFC 8489 section 14.7).

/// What the checksum is combined with, so that it differs from that of a protocol around STUN.
const XOR: u32 = 0x5354_554e;
/// The reversed generator polynomial.
const POLYNOMIAL: u32 = 0xedb8_8320;
const TABLE: [u32; 256] = table();

/// Returns the fingerprint of a message whose bytes before the attribute are `covered`, and whose length field counts
/// the attribute already.
pub(super) fn fingerprint(covered: &[u8]) -> u32 {
    let mut checksum = u32::MAX;
    for byte in covered {
        let [low, ..] = checksum.to_le_bytes();
        checksum = (checksum >> 8) ^ TABLE.get(usize::from(low ^ byte)).copied().unwrap_or(0);
    }
    !checksum ^ XOR
}

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "computed at compile time, 0 to 255")]
const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ POLYNOMIAL } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_iso_3309() {
        assert_eq!(fingerprint(b"123456789") ^ XOR, 0xcbf4_3926);
    }
}
