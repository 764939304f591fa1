//! A reader and a writer of bits, most significant first.

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

    /// Returns how many bits were read.
    pub(super) const fn position(&self) -> usize {
        self.position
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

    /// Reads up to 16 bits.
    pub(super) fn u16(&mut self, count: u8) -> Option<u16> {
        u16::try_from(self.u32(count)?).ok()
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

/// Writes to the front of a slice that is all zeros, bit by bit.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    bytes: &'a mut [u8],
    /// How many bits were written.
    position: usize,
}

impl<'a> BitWriter<'a> {
    pub(super) const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Writes one bit; `None` at the end of the slice.
    pub(super) fn flag(&mut self, bit: bool) -> Option<()> {
        let byte = self.bytes.get_mut(self.position / 8)?;
        if bit {
            *byte |= 0x80 >> (self.position % 8);
        }
        self.position += 1;
        Some(())
    }

    /// Writes the low `count` bits of a value.
    pub(super) fn u32(&mut self, value: u32, count: u8) -> Option<()> {
        (0..count).rev().try_for_each(|bit| self.flag(value >> bit & 1 == 1))
    }

    /// Copies so many bits.
    pub(super) fn copy(&mut self, from: &mut BitReader<'_>, count: usize) -> Option<()> {
        (0..count).try_for_each(|_| self.flag(from.flag()?))
    }

    /// Copies what is left.
    pub(super) fn copy_rest(&mut self, from: &mut BitReader<'_>) -> Option<()> {
        let left = (from.bytes.len() * 8).saturating_sub(from.position);
        self.copy(from, left)
    }
}

#[cfg(test)]
impl BitWriter<'_> {
    /// Returns how many bits were written.
    pub(super) const fn position(&self) -> usize {
        self.position
    }

    /// Writes a value below `limit` in the fewest bits (`ns(n)` of appendix A.2).
    pub(super) fn non_symmetric(&mut self, value: u8, limit: u8) -> Option<()> {
        let (value, limit) = (u32::from(value), u32::from(limit));
        let width = u8::try_from(32 - limit.leading_zeros()).ok()?;
        let short_values = (1 << width) - limit;
        if value < short_values { self.u32(value, width - 1) } else { self.u32(value + short_values, width) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_symmetric_values_take_the_fewest_bits() {
        // The table of appendix A.2 for a limit of 5: 00, 01, 10, 110, 111.
        let table = [0b0001_1011, 0b0111_0000];
        let mut bits = BitReader::new(&table);
        let values: Vec<Option<u8>> = (0..5).map(|_| bits.non_symmetric(5)).collect();
        assert_eq!(values, [Some(0), Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!(bits.position, 12);
        assert_eq!(BitReader::new(&[]).non_symmetric(1), Some(0));
        assert_eq!(BitReader::new(&[]).non_symmetric(2), None);
        let mut written = [0; 2];
        let mut writer = BitWriter::new(&mut written);
        (0..5).try_for_each(|value| writer.non_symmetric(value, 5)).unwrap();
        assert_eq!(written, table);
    }

    #[test]
    fn nothing_is_read_or_written_past_the_end() {
        let mut bits = BitReader::new(&[0xff]);
        assert_eq!(bits.skip(9), None);
        assert_eq!(bits.u32(9), None);
        assert_eq!(bits.flag(), None);
        let mut byte = [0];
        let mut writer = BitWriter::new(&mut byte);
        assert_eq!(writer.u32(0x155, 9), None);
        assert_eq!(writer.copy_rest(&mut BitReader::new(&[0x80])), None);
        assert_eq!(byte, [0xaa]);
    }
}
