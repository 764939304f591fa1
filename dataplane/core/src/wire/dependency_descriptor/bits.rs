//! A reader of bits, most significant first.

/// Reads from the front of a slice, bit by bit.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// How many bits were read.
    position: usize,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.position / 8)?;
        let bit = byte & (0x80 >> (self.position % 8)) != 0;
        self.position += 1;
        Some(bit)
    }

    /// Reads up to 32 bits.
    pub(super) fn u32(&mut self, count: u8) -> Option<u32> {
        (0..count).try_fold(0, |value, _| Some((value << 1) | u32::from(self.flag()?)))
    }

    /// Reads up to 8 bits.
    pub(super) fn u8(&mut self, count: u8) -> Option<u8> {
        u8::try_from(self.u32(count)?).ok()
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        let end = self.position.checked_add(count)?;
        (end <= self.bytes.len() * 8).then(|| self.position = end)
    }

    /// Reads a value below `limit` in the fewest bits (`ns(n)` of appendix A.2); 0 needs none when `limit` is 1.
    pub(super) fn non_symmetric(&mut self, limit: u8) -> Option<u8> {
        let width = u8::try_from(8 - limit.leading_zeros()).ok()?;
        let short_values = (1u16 << width) - u16::from(limit);
        let value = u16::from(self.u8(width.checked_sub(1)?)?);
        let value = if value < short_values { value } else { (value << 1) + u16::from(self.flag()?) - short_values };
        u8::try_from(value).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_symmetric_values_take_the_fewest_bits() {
        // The table of appendix A.2 for a limit of 5: 00, 01, 10, 110, 111.
        let mut bits = BitReader::new(&[0b0001_1011, 0b0111_0000]);
        let values: Vec<Option<u8>> = (0..5).map(|_| bits.non_symmetric(5)).collect();
        assert_eq!(values, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!(bits.position, 12);
        assert_eq!(BitReader::new(&[]).non_symmetric(1), Some(0));
        assert_eq!(BitReader::new(&[]).non_symmetric(2), None);
    }

    #[test]
    fn nothing_is_read_past_the_end() {
        let mut bits = BitReader::new(&[0xff]);
        assert_eq!(bits.skip(9), None);
        assert_eq!(bits.u32(9), None);
        assert_eq!(bits.flag(), None);
    }
}
