//! Puts handshake messages together from their fragments (RFC 6347 section 4.2.3).
//!
//! Anybody on the path can send fragments, so all of it is bounded: messages, their bytes, and their pieces.

use super::limits::{
    FRAGMENT_STRETCHES_MAX, HANDSHAKE_MESSAGE_BYTES_MAX, HANDSHAKE_MESSAGE_SEQUENCE_MAX,
    HANDSHAKE_MESSAGES_PARTIAL_MAX, PARTIAL_BYTES_MAX, STRETCH_OVERHEAD_BYTES,
};

/// Bytes of a handshake message's header.
pub(super) const HEADER_BYTES: usize = 12;

/// A whole handshake message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The message's type (RFC 5246 section 7.4).
    pub(super) kind: u8,
    /// Its number within the handshake.
    pub(super) sequence: u16,
    /// What follows the header.
    pub(super) body: Vec<u8>,
}

impl Message {
    /// Writes the message as one fragment.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.reserve_exact(HEADER_BYTES + self.body.len());
        let length = u32::try_from(self.body.len()).expect("bodies are bounded by HANDSHAKE_MESSAGE_BYTES_MAX");
        let [_, length @ ..] = length.to_be_bytes();
        out.push(self.kind);
        out.extend_from_slice(&length);
        out.extend_from_slice(&self.sequence.to_be_bytes());
        out.extend_from_slice(&[0, 0, 0]);
        out.extend_from_slice(&length);
        out.extend_from_slice(&self.body);
    }
}

/// Why a fragment was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FragmentError {
    /// Shorter than its header says.
    Truncated,
    /// Reaches beyond its message.
    BeyondMessage,
    /// The message is longer, or later in the handshake, than any that a client sends.
    OutOfBounds,
    /// The message is in too many pieces.
    TooManyPieces,
    /// The record holds more messages than the handshake looks at.
    TooManyMessages,
}

/// Messages in pieces. Repeated messages come out again, because a repeated flight is how a peer asks for ours.
///
/// Fragments that contradict each other, because one of them is forged, are kept apart as pieces of two messages: which of
/// them becomes whole is found out by who repeats itself. The message that was added to longest ago makes room.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    /// Who was added to last stands last.
    partial: Vec<Partial>,
}

impl Reassembly {
    /// Takes the content of one handshake record; appends each message that is whole now to `complete`, up to
    /// `messages_max`.
    ///
    /// # Errors
    /// The first fragment that is wrong; the rest of the record is left.
    pub(super) fn handle_content(
        &mut self,
        mut content: &[u8],
        messages_max: usize,
        complete: &mut Vec<Message>,
    ) -> Result<(), FragmentError> {
        while !content.is_empty() {
            if complete.len() >= messages_max {
                return Err(FragmentError::TooManyMessages);
            }
            let (fragment, rest) = Fragment::parse(content)?;
            content = rest;
            complete.extend(self.handle_fragment(&fragment)?);
        }
        Ok(())
    }

    /// Returns the message that the fragment made whole.
    fn handle_fragment(&mut self, fragment: &Fragment<'_>) -> Result<Option<Message>, FragmentError> {
        let known = self.partial.iter().position(|partial| partial.is_of(fragment));
        let known = known.map(|index| self.partial.remove(index));
        if fragment.data.len() == fragment.message_bytes {
            return Ok(Some(fragment.message(fragment.data.to_vec())));
        }
        if known.is_none() && fragment.data.is_empty() {
            return Ok(None);
        }
        let mut partial = known.unwrap_or_else(|| Partial::new(fragment));
        let taken = partial.take(fragment);
        if let Some(body) = partial.take_whole() {
            return Ok(Some(fragment.message(body)));
        }
        self.partial.push(partial);
        let held = |partial: &[Partial]| partial.iter().map(Partial::held_bytes).sum::<usize>();
        while self.partial.len() > HANDSHAKE_MESSAGES_PARTIAL_MAX || held(&self.partial) > PARTIAL_BYTES_MAX {
            self.partial.remove(0);
        }
        taken.map(|()| None)
    }
}

struct Fragment<'a> {
    kind: u8,
    sequence: u16,
    message_bytes: usize,
    offset: usize,
    data: &'a [u8],
}

impl<'a> Fragment<'a> {
    fn parse(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), FragmentError> {
        let (&[kind, l0, l1, l2, s0, s1, o0, o1, o2, f0, f1, f2], rest) =
            bytes.split_first_chunk::<HEADER_BYTES>().ok_or(FragmentError::Truncated)?;
        let (data, rest) = rest.split_at_checked(u24([f0, f1, f2])).ok_or(FragmentError::Truncated)?;
        let fragment = Self {
            kind,
            sequence: u16::from_be_bytes([s0, s1]),
            message_bytes: u24([l0, l1, l2]),
            offset: u24([o0, o1, o2]),
            data,
        };
        if fragment.message_bytes > HANDSHAKE_MESSAGE_BYTES_MAX || fragment.sequence > HANDSHAKE_MESSAGE_SEQUENCE_MAX {
            return Err(FragmentError::OutOfBounds);
        }
        if fragment.offset + fragment.data.len() > fragment.message_bytes {
            return Err(FragmentError::BeyondMessage);
        }
        Ok((fragment, rest))
    }

    const fn message(&self, body: Vec<u8>) -> Message {
        Message { kind: self.kind, sequence: self.sequence, body }
    }
}

const fn u24([high, middle, low]: [u8; 3]) -> usize {
    ((high as usize) << 16) | ((middle as usize) << 8) | low as usize
}

/// What came of a message. It takes as much memory as came, whatever length the message is said to have.
#[derive(Debug)]
struct Partial {
    kind: u8,
    sequence: u16,
    message_bytes: usize,
    /// Sorted, disjoint, not touching.
    stretches: Vec<Stretch>,
}

#[derive(Debug)]
struct Stretch {
    start: usize,
    bytes: Vec<u8>,
}

impl Stretch {
    const fn end(&self) -> usize {
        self.start + self.bytes.len()
    }

    /// Makes the stretch reach to `end`, and puts `bytes` at their place, which begins within it or at its end.
    fn put(&mut self, end: usize, start: usize, bytes: &[u8]) {
        let size = end.max(self.end()) - self.start;
        self.bytes.reserve_exact(size - self.bytes.len());
        self.bytes.resize(size, 0);
        if let Some(place) = self.bytes.get_mut(start - self.start..).and_then(|rest| rest.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
        }
    }
}

impl Partial {
    const fn new(fragment: &Fragment<'_>) -> Self {
        let Fragment { kind, sequence, message_bytes, .. } = *fragment;
        Self { kind, sequence, message_bytes, stretches: Vec::new() }
    }

    const fn is_of(&self, fragment: &Fragment<'_>) -> bool {
        self.kind == fragment.kind && self.sequence == fragment.sequence && self.message_bytes == fragment.message_bytes
    }

    fn held_bytes(&self) -> usize {
        self.stretches.iter().map(|stretch| stretch.bytes.capacity() + STRETCH_OVERHEAD_BYTES).sum()
    }

    /// Adds a fragment.
    fn take(&mut self, fragment: &Fragment<'_>) -> Result<(), FragmentError> {
        let (start, end) = (fragment.offset, fragment.offset + fragment.data.len());
        let first = self.stretches.partition_point(|stretch| stretch.end() < start);
        let joined = self.stretches.iter().skip(first).take_while(|stretch| stretch.start <= end).count();
        if joined == 0 && self.stretches.len() == FRAGMENT_STRETCHES_MAX {
            return Err(FragmentError::TooManyPieces);
        }
        let joined: Vec<Stretch> = self.stretches.drain(first..first + joined).collect();
        let end = joined.last().map_or(end, |last| last.end().max(end));
        let mut joined = joined.into_iter().peekable();
        let mut stretch =
            joined.next_if(|one| one.start <= start).unwrap_or_else(|| Stretch { start, bytes: Vec::new() });
        for one in joined {
            stretch.put(end, one.start, &one.bytes);
        }
        stretch.put(end, start, fragment.data);
        self.stretches.insert(first, stretch);
        Ok(())
    }

    /// Gives out the body of a message that is whole.
    fn take_whole(&mut self) -> Option<Vec<u8>> {
        let stretch = self.stretches.first_mut().filter(|stretch| stretch.bytes.len() == self.message_bytes)?;
        Some(std::mem::take(&mut stretch.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragment(kind: u8, sequence: u16, message: &[u8], offset: usize, length: usize) -> Vec<u8> {
        let u24 = |value: usize| u32::try_from(value).unwrap().to_be_bytes()[1..].to_vec();
        let mut bytes = vec![kind];
        bytes.extend(u24(message.len()));
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(u24(offset));
        bytes.extend(u24(length));
        bytes.extend(&message[offset..offset + length]);
        bytes
    }

    #[test]
    fn fragments_in_any_order_overlapping_or_repeated_give_the_message_once() {
        let message: Vec<u8> = (0..100).collect();
        let orders: [&[(usize, usize)]; 5] = [
            &[(0, 100)],
            &[(0, 50), (50, 50)],
            &[(50, 50), (0, 50)],
            &[(90, 10), (0, 10), (40, 20), (5, 60), (60, 35)],
            &[(0, 30), (0, 30), (30, 0), (20, 70), (20, 80)],
        ];
        for order in orders {
            let mut reassembly = Reassembly::default();
            let mut complete = Vec::new();
            for (offset, length) in order {
                reassembly
                    .handle_content(&fragment(11, 2, &message, *offset, *length), usize::MAX, &mut complete)
                    .unwrap();
            }
            assert_eq!(complete, [Message { kind: 11, sequence: 2, body: message.clone() }], "{order:?}");
            assert!(reassembly.partial.is_empty());
        }
    }

    #[test]
    fn a_message_written_as_one_fragment_is_read_back() {
        let message = Message { kind: 16, sequence: 3, body: vec![1, 2, 3] };
        let mut bytes = Vec::new();
        message.write(&mut bytes);
        let mut complete = Vec::new();
        Reassembly::default().handle_content(&bytes, usize::MAX, &mut complete).unwrap();
        assert_eq!(complete, [message]);
    }

    #[test]
    fn a_storm_of_one_byte_fragments_is_bounded() {
        let message = vec![7; HANDSHAKE_MESSAGE_BYTES_MAX];
        let mut reassembly = Reassembly::default();
        let mut complete = Vec::new();
        let mut refused = 0;
        for sequence in 0..=HANDSHAKE_MESSAGE_SEQUENCE_MAX {
            for offset in (0..message.len()).step_by(2) {
                let result =
                    reassembly.handle_content(&fragment(1, sequence, &message, offset, 1), usize::MAX, &mut complete);
                refused += usize::from(result == Err(FragmentError::TooManyPieces));
            }
        }
        assert!(complete.is_empty());
        assert!(refused > 0);
        assert!(reassembly.partial.len() <= HANDSHAKE_MESSAGES_PARTIAL_MAX);
        assert!(reassembly.partial.iter().map(Partial::held_bytes).sum::<usize>() <= PARTIAL_BYTES_MAX);
        assert!(reassembly.partial.iter().all(|partial| partial.stretches.len() <= FRAGMENT_STRETCHES_MAX));
    }

    #[test]
    fn forged_fragments_of_another_length_or_type_leave_the_genuine_message_alone() {
        let message: Vec<u8> = (0..200).collect();
        let genuine = [fragment(11, 1, &message, 0, 120), fragment(11, 1, &message, 120, 80)];
        let forged = [fragment(11, 1, &[7; 3], 0, 1), fragment(12, 1, &message, 0, 1), fragment(11, 1, &[], 0, 0)];
        for forged in forged {
            for at in 0..3 {
                let mut order = genuine.to_vec();
                order.insert(at, forged.clone());
                let mut reassembly = Reassembly::default();
                let mut complete = Vec::new();
                for content in order {
                    reassembly.handle_content(&content, usize::MAX, &mut complete).unwrap();
                }
                assert!(
                    complete.contains(&Message { kind: 11, sequence: 1, body: message.clone() }),
                    "{forged:?} {at}"
                );
            }
        }
    }

    #[test]
    fn each_kind_of_wrong_fragment_has_its_error() {
        let message = [0; 20];
        let mut beyond = fragment(1, 0, &message, 10, 10);
        beyond[8] = 11;
        let mut huge = fragment(1, 0, &message, 0, 10);
        huge[1] = 1;
        let cases = [
            (fragment(1, 0, &message, 0, 10)[..11].to_vec(), FragmentError::Truncated),
            (fragment(1, 0, &message, 0, 10)[..21].to_vec(), FragmentError::Truncated),
            (beyond, FragmentError::BeyondMessage),
            (huge, FragmentError::OutOfBounds),
            (fragment(1, HANDSHAKE_MESSAGE_SEQUENCE_MAX + 1, &message, 0, 10), FragmentError::OutOfBounds),
        ];
        for (bytes, expected) in cases {
            let mut reassembly = Reassembly::default();
            let mut complete = Vec::new();
            reassembly.handle_content(&fragment(1, 0, &message, 0, 1), usize::MAX, &mut complete).unwrap();
            assert_eq!(reassembly.handle_content(&bytes, usize::MAX, &mut complete), Err(expected));
        }
    }
}
