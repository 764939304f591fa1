//! Records of DTLS 1.2 as views into a datagram (RFC 6347 section 4.1).

/// Bytes of a record's header.
pub(super) const HEADER_BYTES: usize = 13;
/// The version DTLS 1.2 as the header carries it.
pub(super) const VERSION_1_2: [u8; 2] = [0xfe, 0xfd];
/// The version DTLS 1.0, which a first `ClientHello` may carry.
const VERSION_1_0: [u8; 2] = [0xfe, 0xff];

/// What a record carries (RFC 5246 section 6.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentType {
    ChangeCipherSpec,
    Alert,
    Handshake,
    ApplicationData,
    /// A type of later extensions, such as the connection ids of RFC 9146; never negotiated here.
    Unknown,
}

impl ContentType {
    /// Returns the number on the wire; that of `Unknown` is not one that exists.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::ChangeCipherSpec => 20,
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::ApplicationData => 23,
            Self::Unknown => 0,
        }
    }

    const fn from_number(number: u8) -> Self {
        match number {
            20 => Self::ChangeCipherSpec,
            21 => Self::Alert,
            22 => Self::Handshake,
            23 => Self::ApplicationData,
            _ => Self::Unknown,
        }
    }
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// The content's type.
    pub(super) content_type: ContentType,
    /// Zero before `ChangeCipherSpec`, one after it.
    pub(super) epoch: u16,
    /// 48 bits, counted within the epoch.
    pub(super) sequence: u64,
    /// The content, encrypted in epoch 1.
    pub(super) content: &'a [u8],
    /// Header and content.
    pub(super) bytes: &'a [u8],
}

/// The rest of the datagram is not a record: too short, longer than the datagram, or of a foreign version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Walks the records of one datagram; ends after the first malformed one.
#[derive(Clone, Debug)]
pub(super) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(super) const fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = parse(self.rest);
        self.rest = record.and_then(|record| self.rest.get(record.bytes.len()..)).unwrap_or_default();
        Some(record.ok_or(Malformed))
    }
}

/// Writes a record's header.
pub(super) fn write_header(
    content_type: ContentType,
    epoch: u16,
    sequence: u64,
    content_bytes: u16,
) -> [u8; HEADER_BYTES] {
    let [_, _, s @ ..] = sequence.to_be_bytes();
    let [v0, v1] = VERSION_1_2;
    let [e0, e1] = epoch.to_be_bytes();
    let [l0, l1] = content_bytes.to_be_bytes();
    [content_type.number(), v0, v1, e0, e1, s[0], s[1], s[2], s[3], s[4], s[5], l0, l1]
}

fn parse(bytes: &[u8]) -> Option<Record<'_>> {
    let (&[kind, v0, v1, e0, e1, s0, s1, s2, s3, s4, s5, l0, l1], rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    if [v0, v1] != VERSION_1_2 && [v0, v1] != VERSION_1_0 {
        return None;
    }
    let content_bytes = usize::from(u16::from_be_bytes([l0, l1]));
    Some(Record {
        content_type: ContentType::from_number(kind),
        epoch: u16::from_be_bytes([e0, e1]),
        sequence: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
        content: rest.get(..content_bytes)?,
        bytes: bytes.get(..HEADER_BYTES + content_bytes)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content_type: ContentType, epoch: u16, sequence: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = write_header(content_type, epoch, sequence, u16::try_from(content.len()).unwrap()).to_vec();
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn several_records_in_one_datagram_are_all_seen() {
        let mut datagram = record(ContentType::Handshake, 0, 0x0102_0304_0506, b"abc");
        datagram.extend(record(ContentType::Alert, 1, 7, b""));
        let records: Vec<_> = Records::new(&datagram).map(Result::unwrap).collect();
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].sequence, 0x0102_0304_0506);
        assert_eq!(records[0].content, b"abc");
        assert_eq!(records[0].bytes.len(), 16);
        assert_eq!((records[1].content_type, records[1].epoch, records[1].sequence), (ContentType::Alert, 1, 7));
    }

    #[test]
    fn a_record_that_is_cut_short_or_of_a_foreign_version_ends_the_datagram() {
        let good = record(ContentType::Handshake, 0, 1, b"abc");
        for end in 1..good.len() {
            assert_eq!(Records::new(&good[..end]).collect::<Vec<_>>(), [Err(Malformed)], "{end}");
        }
        let mut tls = good.clone();
        tls[1..3].copy_from_slice(&[3, 3]);
        let mut datagram = good;
        datagram.extend(tls);
        let outcomes: Vec<_> = Records::new(&datagram).map(|record| record.is_ok()).collect();
        assert_eq!(outcomes, [true, false]);
    }
}
