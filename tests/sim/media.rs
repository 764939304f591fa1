//! Numbered media: each payload says whose it is, so that a receiver can judge what it was sent.

use rtp::header::Header;
use rtp::packet::Packet;

/// What a payload says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) room: u8,
    pub(crate) publisher: u16,
    /// Counts the publisher's starts and changes of SSRC.
    pub(crate) incarnation: u32,
    /// The encoding, 0 the smallest.
    pub(crate) encoding: u8,
    /// The frame's number in its encoding and incarnation.
    pub(crate) frame: u32,
    pub(crate) part: u8,
    pub(crate) parts: u8,
    pub(crate) key: bool,
    /// When it was made, in milliseconds.
    pub(crate) born_ms: u64,
}

const MAGIC: [u8; 3] = *b"SIM";
const TAG_BYTES: usize = 26;

impl Tag {
    pub(crate) fn write(&self, payload: &mut Vec<u8>) {
        payload.extend(MAGIC);
        payload.push(self.room);
        payload.extend(self.publisher.to_be_bytes());
        payload.extend(self.incarnation.to_be_bytes());
        payload.extend(self.frame.to_be_bytes());
        payload.extend([self.part, self.parts, u8::from(self.key), self.encoding]);
        payload.extend(self.born_ms.to_be_bytes());
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; TAG_BYTES] = bytes.first_chunk()?;
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        (bytes[..3] == MAGIC).then(|| Self {
            room: bytes[3],
            publisher: u16::from_be_bytes([bytes[4], bytes[5]]),
            incarnation: word(6),
            frame: word(10),
            part: bytes[14],
            parts: bytes[15],
            key: bytes[16] == 1,
            encoding: bytes[17],
            born_ms: u64::from_be_bytes(bytes[18..26].try_into().unwrap()),
        })
    }
}

/// How a publisher numbers its pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PictureIds {
    None,
    Short,
    Long,
}

/// Returns a VP8 payload (RFC 7741 section 4.2) with its tag in it.
pub(crate) fn vp8_payload(tag: &Tag, ids: PictureIds, picture_id: u16, filler: usize) -> Vec<u8> {
    let start = if tag.part == 0 { 0x10 } else { 0 };
    let mut payload = match ids {
        PictureIds::None => vec![start],
        PictureIds::Short => vec![0x80 | start, 0x80, (picture_id & 0x7f) as u8],
        PictureIds::Long => vec![0x80 | start, 0x80, 0x80 | (picture_id >> 8) as u8, (picture_id & 0xff) as u8],
    };
    // The first byte of the frame's header says whether it is a key frame (RFC 6386 section 9.1).
    payload.push(u8::from(!tag.key));
    tag.write(&mut payload);
    payload.resize(payload.len() + filler, 0x5a);
    payload
}

/// Returns an AV1 payload (RTP Payload Format For AV1, section 4.4) with its tag in it.
pub(crate) fn av1_payload(tag: &Tag, filler: usize) -> Vec<u8> {
    let mut payload = vec![if tag.part > 0 { 0x80 } else { u8::from(tag.key) << 3 }];
    tag.write(&mut payload);
    payload.resize(payload.len() + filler, 0x5a);
    payload
}

/// What a dependency descriptor says of a stream in one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) template: u8,
    pub(crate) number: u16,
    /// The id of the first template, in a key frame's first packet: that of key frames, before that of the others.
    pub(crate) structure: Option<u8>,
}

impl Descriptor {
    /// Writes it for a packet: two templates for one decode target, of which the second refers one frame back.
    pub(crate) fn write(self, start: bool, end: bool) -> Vec<u8> {
        let mut bytes = vec![u8::from(start) << 7 | u8::from(end) << 6 | self.template];
        bytes.extend(self.number.to_be_bytes());
        if let Some(offset) = self.structure {
            // Flags, offset, targets less one, layers, indications, references, no chains, no resolutions.
            let bits =
                [(0b10000, 5), (u64::from(offset), 6), (0, 5), (0b0011, 4), (0b1010, 4), (0b010_0000, 7), (0, 2)];
            let bits = bits.iter().fold(0, |all, (value, width)| all << width | value) << 7;
            bytes.extend(&bits.to_be_bytes()[3..]);
        }
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let structure = bytes.get(3..5).filter(|bytes| bytes[0] & 0x80 != 0);
        Self {
            template: bytes[0] & 0x3f,
            number: u16::from_be_bytes([bytes[1], bytes[2]]),
            structure: structure.map(|bytes| (bytes[0] & 7) << 3 | bytes[1] >> 5),
        }
    }
}

/// A VP8 payload as a receiver reads it, or one of AV1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vp8 {
    pub(crate) start: bool,
    pub(crate) key: bool,
    /// The picture id and its modulus.
    pub(crate) picture_id: Option<(u16, u16)>,
    pub(crate) tag: Tag,
}

impl Tag {
    /// Tells whether both are of one frame.
    pub(crate) fn is_same_frame(&self, other: &Self) -> bool {
        self.is_same_encoding(other) && self.frame == other.frame
    }

    /// Tells whether this is of the frame right after the other.
    pub(crate) fn follows(&self, other: &Self) -> bool {
        self.is_same_encoding(other) && self.frame == other.frame + 1
    }

    fn is_same_encoding(&self, other: &Self) -> bool {
        (self.publisher, self.incarnation, self.encoding) == (other.publisher, other.incarnation, other.encoding)
    }
}

impl Vp8 {
    /// Reads what stands in an AV1 payload instead.
    pub(crate) fn parse_av1(payload: &[u8]) -> Option<Self> {
        let (header, rest) = payload.split_first()?;
        Some(Self { start: header & 0x80 == 0, key: header & 8 != 0, picture_id: None, tag: Tag::parse(rest)? })
    }

    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let (first, mut rest) = payload.split_first()?;
        let start = first & 0x17 == 0x10;
        let mut picture_id = None;
        if first & 0x80 != 0 {
            let (flags, after) = rest.split_first()?;
            rest = after;
            if flags & 0x80 != 0 {
                let (high, after) = rest.split_first()?;
                rest = after;
                picture_id = Some((u16::from(*high), 0x80));
                if high & 0x80 != 0 {
                    let (low, after) = rest.split_first()?;
                    rest = after;
                    picture_id = Some((u16::from(high & 0x7f) << 8 | u16::from(*low), 0x8000));
                }
            }
            rest = rest.get(usize::from(flags & 0x40 != 0) + usize::from(flags & 0x30 != 0)..)?;
        }
        let (header, rest) = rest.split_first()?;
        Some(Self { start, key: start && header & 1 == 0, picture_id, tag: Tag::parse(rest)? })
    }
}

/// Makes a packet with header extensions, ids and values.
pub(crate) fn packet(
    ssrc: u32,
    payload_type: u8,
    index: u64,
    timestamp: u32,
    marker: bool,
    extensions: &[(u8, &[u8])],
    payload: Vec<u8>,
) -> Packet {
    let sequence_number = (index & 0xffff) as u16;
    let mut header = Header { version: 2, ssrc, payload_type, sequence_number, timestamp, marker, ..Header::default() };
    for (id, value) in extensions {
        header.extension = true;
        header.extension_profile = 0xbede;
        header.set_extension(*id, value.to_vec().into()).unwrap();
    }
    Packet { header, payload: payload.into() }
}
