//! Datagrams that wait for the next flush: STUN answers, sealed reports and outgoing DTLS; and DTLS for the control
//! plane.

use std::collections::VecDeque;

/// A bounded queue of datagrams, each with a label, whose bytes lie in one buffer that is used again and again.
#[derive(Debug)]
pub(crate) struct DatagramQueue<T> {
    limit: usize,
    entries: VecDeque<(T, usize)>,
    bytes: VecDeque<u8>,
    scratch: Vec<u8>,
}

impl<T: Copy> DatagramQueue<T> {
    /// Makes a queue of at most `limit` datagrams.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { limit, entries: VecDeque::new(), bytes: VecDeque::new(), scratch: Vec::new() }
    }

    /// Appends a datagram; false when the queue is full.
    pub(crate) fn push(&mut self, label: T, datagram: &[u8]) -> bool {
        if self.entries.len() >= self.limit || datagram.is_empty() {
            return false;
        }
        self.entries.push_back((label, datagram.len()));
        self.bytes.extend(datagram);
        true
    }

    /// Returns the first datagram's label and bytes.
    pub(crate) fn front(&mut self) -> Option<(T, &[u8])> {
        let (label, size) = *self.entries.front()?;
        self.scratch.clear();
        self.scratch.extend(self.bytes.iter().take(size));
        Some((label, &self.scratch))
    }

    /// Removes the first datagram.
    pub(crate) fn pop(&mut self) {
        if let Some((_, size)) = self.entries.pop_front() {
            self.bytes.drain(..size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_leave_in_order_and_none_above_the_limit() {
        let mut queue = DatagramQueue::new(2);
        assert!(queue.push('a', &[1, 2, 3]));
        assert!(queue.push('b', &[4]));
        assert!(!queue.push('c', &[5]));
        assert_eq!(queue.front(), Some(('a', &[1, 2, 3][..])));
        queue.pop();
        assert!(queue.push('d', &[6, 7]));
        assert_eq!(queue.front(), Some(('b', &[4][..])));
        queue.pop();
        assert_eq!(queue.front(), Some(('d', &[6, 7][..])));
        queue.pop();
        assert_eq!(queue.front(), None);
    }
}
