//! Frames on a byte stream: a little-endian 32-bit size before each.

use std::collections::VecDeque;

use super::Transmit;
use super::error::SessionError;
use super::frame::{DescriptorKind, Frame};
use crate::convert::{self, CommandError, ParseError};
use crate::limits::{
    CONTROL_FRAMES_QUEUED_MAX, DESCRIPTORS_PER_FRAME_MAX, DESCRIPTORS_QUEUED_MAX, FRAME_BYTES_MAX,
    TRANSMIT_BYTES_TARGET,
};

const SIZE_BYTES: usize = 4;

/// Appends `frame` with its size before it. Tells whether it was short enough; if not, `buffer` stays as it was.
pub(super) fn append(frame: &Frame, buffer: &mut Vec<u8>) -> bool {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; SIZE_BYTES]);
    convert::write(frame, buffer);
    let size_bytes = buffer.len() - start - SIZE_BYTES;
    let size = u32::try_from(size_bytes).ok().filter(|_| size_bytes <= FRAME_BYTES_MAX);
    match (size, buffer.get_mut(start..start + SIZE_BYTES)) {
        (Some(size), Some(slot)) => {
            slot.copy_from_slice(&size.to_le_bytes());
            true
        }
        _ => {
            buffer.truncate(start);
            false
        }
    }
}

/// What [`Link::receive`] found.
#[expect(clippy::large_enum_variant, reason = "the large one is rare, and all are moved once")]
#[derive(Debug)]
pub(super) enum Received {
    Frame(Frame),
    UnreadableCommand(CommandError),
}

/// One connection: bytes that came and are no whole frame yet, descriptors that no frame explained yet, and frames that
/// wait to be sent.
#[derive(Debug)]
pub(super) struct Link<D> {
    inbound: Vec<u8>,
    read: usize,
    descriptors: VecDeque<D>,
    outbound: VecDeque<(Vec<u8>, Vec<D>)>,
    failure: Option<SessionError>,
}

impl<D> Link<D> {
    pub(super) const fn new() -> Self {
        Self { inbound: Vec::new(), read: 0, descriptors: VecDeque::new(), outbound: VecDeque::new(), failure: None }
    }

    /// Takes bytes and the descriptors that came with them.
    pub(super) fn handle_bytes(
        &mut self,
        bytes: &[u8],
        descriptors: impl IntoIterator<Item = D>,
    ) -> Result<(), SessionError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        self.inbound.drain(..self.read);
        self.read = 0;
        self.inbound.extend_from_slice(bytes);
        self.descriptors.extend(descriptors);
        if self.descriptors.len() > DESCRIPTORS_QUEUED_MAX {
            return Err(SessionError::DescriptorsTooMany);
        }
        Ok(())
    }

    /// Returns the next whole frame that this version knows.
    pub(super) fn receive(&mut self) -> Result<Option<Received>, SessionError> {
        while let Some(body) = self.next_body()? {
            let parsed = convert::parse(self.inbound.get(body).unwrap_or(&[]));
            match parsed {
                Ok(Some(Frame::Error { code, text })) => return Err(SessionError::Peer { code, text }),
                Ok(Some(frame)) => return Ok(Some(Received::Frame(frame))),
                Ok(None) => {}
                Err(ParseError::Command(error)) => return Ok(Some(Received::UnreadableCommand(error))),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    fn next_body(&mut self) -> Result<Option<std::ops::Range<usize>>, SessionError> {
        let Some(rest) = self.inbound.get(self.read..) else { return Ok(None) };
        let Some((size, rest)) = rest.split_first_chunk::<SIZE_BYTES>() else { return Ok(None) };
        let size_bytes = u32::from_le_bytes(*size);
        let size = size_bytes as usize;
        if size > FRAME_BYTES_MAX {
            return Err(SessionError::FrameTooLong { size_bytes });
        }
        if rest.len() < size {
            return Ok(None);
        }
        let start = self.read + SIZE_BYTES;
        self.read = start + size;
        Ok(Some(start..self.read))
    }

    /// Takes the descriptors that a frame explains.
    pub(super) fn take_descriptors(
        &mut self,
        kinds: Vec<DescriptorKind>,
    ) -> Result<Vec<(DescriptorKind, D)>, SessionError> {
        if kinds.len() > self.descriptors.len() {
            return Err(SessionError::DescriptorsMissing);
        }
        let taken = self.descriptors.drain(..kinds.len());
        Ok(kinds.into_iter().zip(taken).filter(|(kind, _)| *kind != DescriptorKind::Unknown).collect())
    }

    /// Queues a frame that is short by nature.
    pub(super) fn send(&mut self, frame: &Frame) -> Result<(), SessionError> {
        self.queue(frame, Vec::new())
    }

    /// Queues frames that pass `descriptors`.
    pub(super) fn send_descriptors(&mut self, descriptors: Vec<(DescriptorKind, D)>) -> Result<(), SessionError> {
        let mut descriptors = descriptors.into_iter().peekable();
        while descriptors.peek().is_some() {
            let (kinds, passed) = descriptors.by_ref().take(DESCRIPTORS_PER_FRAME_MAX).unzip();
            self.queue(&Frame::Descriptors(kinds), passed)?;
        }
        Ok(())
    }

    fn queue(&mut self, frame: &Frame, descriptors: Vec<D>) -> Result<(), SessionError> {
        if self.failure.is_some() {
            return Ok(());
        }
        if self.outbound.len() >= CONTROL_FRAMES_QUEUED_MAX {
            return Err(SessionError::Stalled);
        }
        let mut bytes = Vec::new();
        append(frame, &mut bytes);
        self.outbound.push_back((bytes, descriptors));
        Ok(())
    }

    /// Ends the connection: nothing more is read, and what is sent last is the reason, unless the peer gave it.
    pub(super) fn fail(&mut self, error: SessionError) {
        if self.failure.is_some() {
            return;
        }
        if !matches!(error, SessionError::Peer { .. }) {
            self.outbound.push_back((error.farewell(), Vec::new()));
        }
        self.failure = Some(error);
    }

    pub(super) const fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Fills one transmit: queued frames first, then what `next` makes on demand.
    pub(super) fn transmit(&mut self, mut next: impl FnMut(&mut Vec<u8>) -> bool) -> Option<Transmit<D>> {
        let mut transmit = Transmit { bytes: Vec::new(), descriptors: Vec::new() };
        while transmit.bytes.len() < TRANSMIT_BYTES_TARGET {
            if let Some((_, descriptors)) = self.outbound.front()
                && !descriptors.is_empty()
                && !transmit.bytes.is_empty()
            {
                break;
            }
            if let Some((bytes, descriptors)) = self.outbound.pop_front() {
                transmit.bytes.extend_from_slice(&bytes);
                transmit.descriptors.extend(descriptors);
            } else if self.failure.is_some() || !next(&mut transmit.bytes) {
                break;
            }
        }
        (!transmit.bytes.is_empty()).then_some(transmit)
    }
}
