//! Bounded big-endian reading and writing: every step says whether the bytes were there.

/// Reads network-order integers from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns what was not read yet.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next `size` bytes, or nothing when fewer remain.
    pub(crate) const fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        match self.rest.split_at_checked(size) {
            Some((taken, rest)) => {
                self.rest = rest;
                Some(taken)
            }
            None => None,
        }
    }

    /// Takes the next `N` bytes as an array, or nothing when fewer remain.
    pub(crate) const fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Some(*taken)
            }
            None => None,
        }
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads 24 bits.
    pub(crate) fn u24(&mut self) -> Option<u32> {
        self.array::<3>().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

/// Writes network-order integers into a caller's buffer; nothing is written past its end.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    buffer: &'a mut [u8],
    size: usize,
}

impl<'a> Writer<'a> {
    pub(crate) const fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, size: 0 }
    }

    /// Returns how many bytes were written.
    pub(crate) const fn size(&self) -> usize {
        self.size
    }

    /// Returns how many bytes still fit.
    pub(crate) const fn remaining(&self) -> usize {
        self.buffer.len() - self.size
    }

    /// Returns the bytes written so far.
    pub(crate) fn written(&self) -> &[u8] {
        self.buffer.get(..self.size).unwrap_or(&[])
    }

    /// Takes back what was written beyond the first `size` bytes.
    pub(crate) fn truncate(&mut self, size: usize) {
        self.size = self.size.min(size);
    }

    /// Appends `bytes`, or writes nothing when they do not fit.
    #[inline]
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.size.checked_add(bytes.len())?;
        self.buffer.get_mut(self.size..end)?.copy_from_slice(bytes);
        self.size = end;
        Some(())
    }

    /// Appends `count` zero bytes, or writes nothing when they do not fit.
    pub(crate) fn zeros(&mut self, count: usize) -> Option<()> {
        let end = self.size.checked_add(count)?;
        self.buffer.get_mut(self.size..end)?.fill(0);
        self.size = end;
        Some(())
    }

    #[inline]
    pub(crate) fn u8(&mut self, value: u8) -> Option<()> {
        self.bytes(&[value])
    }

    #[inline]
    pub(crate) fn u16(&mut self, value: u16) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends the low 24 bits of `value`.
    pub(crate) fn u24(&mut self, value: u32) -> Option<()> {
        let [_, a, b, c] = value.to_be_bytes();
        self.bytes(&[a, b, c])
    }

    #[inline]
    pub(crate) fn u32(&mut self, value: u32) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    /// Overwrites two bytes written earlier.
    pub(crate) fn patch_u16(&mut self, offset: usize, value: u16) -> Option<()> {
        let end = offset.checked_add(2)?;
        self.buffer.get_mut(..self.size)?.get_mut(offset..end)?.copy_from_slice(&value.to_be_bytes());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_takes_nothing_when_too_little_is_left() {
        let mut reader = Reader::new(&[1, 2, 3]);
        assert_eq!(reader.u16(), Some(0x0102));
        assert_eq!(reader.u16(), None);
        assert_eq!(reader.u8(), Some(3));
        assert!(reader.is_empty());
    }

    #[test]
    fn a_writer_never_writes_past_its_buffer() {
        let mut buffer = [0xff; 5];
        let mut writer = Writer::new(&mut buffer);
        assert_eq!(writer.u24(0x0001_0203), Some(()));
        assert_eq!(writer.u32(9), None);
        assert_eq!(writer.remaining(), 2);
        assert_eq!(writer.patch_u16(2, 0), None);
        assert_eq!(writer.patch_u16(1, 0x0405), Some(()));
        assert_eq!(writer.written(), &[1, 4, 5]);
        assert_eq!(buffer, [1, 4, 5, 0xff, 0xff]);
    }
}
