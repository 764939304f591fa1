//! A writer of single bits and Exp-Golomb codes, for parameter sets and sequence headers.

/// Bits, most significant first.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    used: u32,
}

impl BitWriter {
    /// Appends the low `count` bits of `value`.
    pub(super) fn bits(&mut self, value: u32, count: u32) {
        for shift in (0..count).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let bit = u8::from(value >> shift & 1 == 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= bit << (7 - self.used);
            }
            self.used = (self.used + 1) % 8;
        }
    }

    /// Appends `ue(v)`, ITU-T H.264 section 9.1.
    pub(super) fn exp_golomb(&mut self, value: u32) {
        let coded = value.saturating_add(1);
        let length = coded.ilog2() + 1;
        self.bits(0, length - 1);
        self.bits(coded, length);
    }

    /// Appends a one and zeros to the next byte, and returns the bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bits(1, 1);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes_are_those_of_the_standard() {
        for (value, length, code) in [(0, 1, 0b1), (1, 3, 0b010), (2, 3, 0b011), (3, 5, 0b00100), (7, 7, 0b000_1000)] {
            let mut coded = BitWriter::default();
            coded.exp_golomb(value);
            let mut plain = BitWriter::default();
            plain.bits(code, length);
            assert_eq!(coded.finish(), plain.finish(), "{value}");
        }
    }
}
