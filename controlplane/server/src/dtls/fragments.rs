//! Puts handshake messages together from their fragments (RFC 6347 section 4.2.3).
//!
//! Anybody on the path can send fragments, so all of it is bounded: messages, their bytes, and their pieces.

use super::limits::{
    FRAGMENT_STRETCHES_MAX, HANDSHAKE_MESSAGE_BYTES_MAX, HANDSHAKE_MESSAGE_SEQUENCE_MAX, HANDSHAKE_MESSAGES_PARTIAL_MAX,
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
    /// Another fragment gave the same message another type or length.
    Contradiction,
    /// The message is in too many pieces.
    TooManyPieces,
}

/// Messages in pieces. Repeated messages come out again, because a repeated flight is how a peer asks for ours.
#[derive(Debug, Default)]
pub(super) struct Reassembly {
    partial: Vec<Partial>,
}

impl Reassembly {
    /// Takes the content of one handshake record; appends each message that is whole now to `complete`.
    ///
    /// # Errors
    /// The first fragment that is wrong; the rest of the record is left.
    pub(super) fn handle_content(
        &mut self,
        mut content: &[u8],
        complete: &mut Vec<Message>,
    ) -> Result<(), FragmentError> {
        while !content.is_empty() {
            let (fragment, rest) = Fragment::parse(content)?;
            content = rest;
            self.handle_fragment(&fragment, complete)?;
        }
        Ok(())
    }

    fn handle_fragment(&mut self, fragment: &Fragment<'_>, complete: &mut Vec<Message>) -> Result<(), FragmentError> {
        if fragment.data.len() == fragment.message_bytes {
            self.partial.retain(|partial| partial.message.sequence != fragment.sequence);
            complete.push(Message { kind: fragment.kind, sequence: fragment.sequence, body: fragment.data.to_vec() });
            return Ok(());
        }
        let known = self.partial.iter().position(|partial| partial.message.sequence == fragment.sequence);
        let index = known.unwrap_or_else(|| {
            if self.partial.len() == HANDSHAKE_MESSAGES_PARTIAL_MAX {
                self.partial.remove(0);
            }
            self.partial.push(Partial::new(fragment));
            self.partial.len() - 1
        });
        let Some(partial) = self.partial.get_mut(index) else { return Ok(()) };
        if partial.take(fragment)? {
            complete.push(self.partial.remove(index).message);
        }
        Ok(())
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
}

const fn u24([high, middle, low]: [u8; 3]) -> usize {
    ((high as usize) << 16) | ((middle as usize) << 8) | low as usize
}

#[derive(Debug)]
struct Partial {
    message: Message,
    /// Stretches that are there: sorted, disjoint, not touching.
    stretches: Vec<(usize, usize)>,
}

impl Partial {
    fn new(fragment: &Fragment<'_>) -> Self {
        let body = vec![0; fragment.message_bytes];
        Self {
            message: Message { kind: fragment.kind, sequence: fragment.sequence, body },
            stretches: Vec::with_capacity(2),
        }
    }

    /// Returns whether the message is whole now.
    fn take(&mut self, fragment: &Fragment<'_>) -> Result<bool, FragmentError> {
        if self.message.kind != fragment.kind || self.message.body.len() != fragment.message_bytes {
            return Err(FragmentError::Contradiction);
        }
        let (mut start, mut end) = (fragment.offset, fragment.offset + fragment.data.len());
        let apart = |stretch: &(usize, usize)| stretch.1 < start || stretch.0 > end;
        if self.stretches.len() == FRAGMENT_STRETCHES_MAX && self.stretches.iter().all(apart) {
            return Err(FragmentError::TooManyPieces);
        }
        if let Some(place) = self.message.body.get_mut(start..end) {
            place.copy_from_slice(fragment.data);
        }
        self.stretches.retain(|stretch| {
            let joins = stretch.1 >= start && stretch.0 <= end;
            if joins {
                start = start.min(stretch.0);
                end = end.max(stretch.1);
            }
            !joins
        });
        let at = self.stretches.partition_point(|stretch| stretch.0 < start);
        self.stretches.insert(at, (start, end));
        Ok((start, end) == (0, self.message.body.len()))
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
                reassembly.handle_content(&fragment(11, 2, &message, *offset, *length), &mut complete).unwrap();
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
        Reassembly::default().handle_content(&bytes, &mut complete).unwrap();
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
                let result = reassembly.handle_content(&fragment(1, sequence, &message, offset, 1), &mut complete);
                refused += usize::from(result == Err(FragmentError::TooManyPieces));
            }
        }
        assert!(complete.is_empty());
        assert!(refused > 0);
        assert_eq!(reassembly.partial.len(), HANDSHAKE_MESSAGES_PARTIAL_MAX);
        assert!(reassembly.partial.iter().all(|partial| partial.stretches.len() <= FRAGMENT_STRETCHES_MAX));
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
            (fragment(2, 0, &message, 0, 10), FragmentError::Contradiction),
            (fragment(1, 0, &message[..19], 0, 10), FragmentError::Contradiction),
        ];
        for (bytes, expected) in cases {
            let mut reassembly = Reassembly::default();
            let mut complete = Vec::new();
            reassembly.handle_content(&fragment(1, 0, &message, 0, 1), &mut complete).unwrap();
            assert_eq!(reassembly.handle_content(&bytes, &mut complete), Err(expected));
        }
    }
}
