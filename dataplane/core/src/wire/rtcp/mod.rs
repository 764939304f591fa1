//! RTCP (RFC 3550 section 6), compound or of reduced size (RFC 5506): an iterator over opened packets, and a writer.

pub(crate) mod bye;
pub(crate) mod fir;
pub(crate) mod nack;
pub(crate) mod pli;
pub(crate) mod remb;
pub(crate) mod report;
pub(crate) mod rr;
pub(crate) mod sdes;
pub(crate) mod sr;
pub(crate) mod twcc;

use crate::wire::cursor::{Reader, Writer};

/// The size of the header that starts each packet of a compound.
pub(crate) const HEADER_SIZE_BYTES: usize = 4;

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
/// Transport layer feedback (RFC 4585 section 6.2).
const TRANSPORT_FEEDBACK: u8 = 205;
/// Payload-specific feedback (RFC 4585 section 6.3).
const PAYLOAD_FEEDBACK: u8 = 206;

/// Why bytes are not RTCP, or a packet cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RtcpError {
    /// A packet ends before its content, or bytes follow the last packet.
    Truncated,
    /// The version is not 2.
    Version,
    /// The padding count is zero, or reaches into the header.
    Padding,
    /// A field contradicts the packet's size, or what is to be written does not fit its field.
    Content,
    /// The caller's buffer is too small; nothing of the packet was written.
    Buffer,
}

/// One packet of a compound.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RtcpPacket<'a> {
    /// Sender report.
    Sr(sr::SenderReport<'a>),
    /// Receiver report.
    Rr(rr::ReceiverReport<'a>),
    /// Goodbye.
    Bye(bye::Goodbye<'a>),
    /// Generic NACK.
    Nack(nack::Nack<'a>),
    /// Transport-wide congestion control feedback.
    Twcc(twcc::TransportFeedback<'a>),
    /// Picture loss indication.
    Pli(pli::PictureLoss),
    /// Full intra request.
    Fir(fir::FullIntraRequest<'a>),
    /// A packet that Sluice does not read.
    Unread,
}

/// Iterates over the packets of an opened compound. A packet whose content is malformed is an error of its own and the
/// next one follows; malformed framing is an error that ends the iteration.
pub(crate) const fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { reader: Reader::new(compound) }
}

/// The packets of one compound, see [`packets`]. At most one for each four bytes.
#[derive(Debug, Clone)]
pub(crate) struct Packets<'a> {
    reader: Reader<'a>,
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<RtcpPacket<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        match frame(&mut self.reader) {
            Ok(frame) => Some(parse(frame)),
            Err(error) => {
                self.reader = Reader::new(&[]);
                Some(Err(error))
            }
        }
    }
}

/// A packet without its header and padding.
#[derive(Debug, Clone, Copy)]
struct Frame<'a> {
    packet_type: u8,
    /// The low five bits of the first byte: a count, or the format of feedback.
    format: u8,
    body: &'a [u8],
}

fn frame<'a>(reader: &mut Reader<'a>) -> Result<Frame<'a>, RtcpError> {
    let [first, packet_type] = reader.array().ok_or(RtcpError::Truncated)?;
    if first >> 6 != 2 {
        return Err(RtcpError::Version);
    }
    let words = reader.u16().ok_or(RtcpError::Truncated)?;
    let body = reader.take(usize::from(words) * 4).ok_or(RtcpError::Truncated)?;
    // Transport-wide feedback is padded by less than a word, so the count is not held to whole words.
    let padding = match (first & 0x20 != 0, body.last()) {
        (false, _) => 0,
        (true, Some(count)) if *count != 0 && usize::from(*count) <= body.len() => usize::from(*count),
        (true, _) => return Err(RtcpError::Padding),
    };
    let body = body.get(..body.len() - padding).ok_or(RtcpError::Padding)?;
    Ok(Frame { packet_type, format: first & 0x1f, body })
}

fn parse(frame: Frame<'_>) -> Result<RtcpPacket<'_>, RtcpError> {
    let parsed = match (frame.packet_type, frame.format) {
        (SENDER_REPORT, count) => sr::SenderReport::parse(count, frame.body).map(RtcpPacket::Sr),
        (RECEIVER_REPORT, count) => rr::ReceiverReport::parse(count, frame.body).map(RtcpPacket::Rr),
        (GOODBYE, count) => bye::Goodbye::parse(count, frame.body).map(RtcpPacket::Bye),
        (TRANSPORT_FEEDBACK, nack::FORMAT) => nack::Nack::parse(frame.body).map(RtcpPacket::Nack),
        (TRANSPORT_FEEDBACK, twcc::FORMAT) => twcc::TransportFeedback::parse(frame.body).map(RtcpPacket::Twcc),
        (PAYLOAD_FEEDBACK, pli::FORMAT) => pli::PictureLoss::parse(frame.body).map(RtcpPacket::Pli),
        (PAYLOAD_FEEDBACK, fir::FORMAT) => fir::FullIntraRequest::parse(frame.body).map(RtcpPacket::Fir),
        _ => Some(RtcpPacket::Unread),
    };
    parsed.ok_or(RtcpError::Content)
}

/// Appends RTCP packets to a caller's buffer, one compound. A packet that does not fit leaves no trace.
#[derive(Debug)]
pub(crate) struct RtcpWriter<'a> {
    writer: Writer<'a>,
}

impl<'a> RtcpWriter<'a> {
    /// Starts an empty compound in `buffer`; the caller leaves room for sealing behind it.
    pub(crate) const fn new(buffer: &'a mut [u8]) -> Self {
        Self { writer: Writer::new(buffer) }
    }

    /// Returns the size of the compound so far.
    pub(crate) const fn size_bytes(&self) -> usize {
        self.writer.size()
    }

    /// Returns how many bytes still fit.
    pub(crate) const fn remaining_bytes(&self) -> usize {
        self.writer.remaining()
    }

    /// Appends packets that were written elsewhere.
    ///
    /// # Errors
    /// [`RtcpError::Buffer`].
    pub(crate) fn append(&mut self, packets: &[u8]) -> Result<(), RtcpError> {
        self.writer.bytes(packets).ok_or(RtcpError::Buffer)
    }

    /// Writes a packet; a `body` that does not fill whole words is padded.
    fn packet(
        &mut self,
        packet_type: u8,
        format: u8,
        body: impl FnOnce(&mut Writer<'_>) -> Option<()>,
    ) -> Result<(), RtcpError> {
        let start = self.writer.size();
        let written = self.packet_at(start, packet_type, format, body);
        if written.is_none() {
            self.writer.truncate(start);
        }
        written.ok_or(RtcpError::Buffer)
    }

    fn packet_at(
        &mut self,
        start: usize,
        packet_type: u8,
        format: u8,
        body: impl FnOnce(&mut Writer<'_>) -> Option<()>,
    ) -> Option<()> {
        let writer = &mut self.writer;
        writer.u8(0x80 | (format & 0x1f))?;
        writer.u8(packet_type)?;
        writer.u16(0)?;
        body(writer)?;
        let size = writer.size() - start;
        let padding = size.next_multiple_of(4) - size;
        if padding > 0 {
            // The last byte counts the padding, itself included (RFC 3550 section 6.4.1).
            writer.zeros(padding - 1)?;
            writer.u8(u8::try_from(padding).ok()?)?;
            writer.patch_u16(start, u16::from_be_bytes([0xa0 | (format & 0x1f), packet_type]))?;
        }
        let words = (writer.size() - start) / 4 - 1;
        writer.patch_u16(start + 2, u16::try_from(words).ok()?)
    }
}

#[cfg(test)]
mod tests;
