//! The bytes of a script.

/// What is left of a script; behind its end all bytes are 0.
pub(super) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    /// Returns what happens next, `None` at the end.
    pub(super) fn step(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.step().unwrap_or(0)
    }

    /// Returns a number below `count`.
    pub(super) fn below(&mut self, count: u8) -> u8 {
        self.byte() % count
    }

    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Returns as many bytes as the next one says, or as there are.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let size = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(size);
        self.0 = rest;
        taken
    }
}
