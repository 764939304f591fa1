//! What makes a resumed egress stream continuous, as four words of its row.

/// 64-bit words of an anchor.
pub(super) const ANCHOR_WORDS: usize = 4;

/// What makes a resumed egress stream continuous with what was sent before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anchor {
    /// The RTP timestamp last sent.
    pub timestamp: u32,
    /// Egress timestamp minus source timestamp, modulo 2^32.
    pub timestamp_offset: u32,
    /// The SSRC of the source that the offsets belong to.
    pub source: u32,
    /// Egress picture id minus source picture id, modulo 2^15.
    pub picture_id_offset: u16,
    /// The picture id last sent, 15 bits.
    pub picture_id: u16,
    /// Egress TL0PICIDX minus source TL0PICIDX, modulo 2^8.
    pub tl0picidx_offset: u8,
    /// The TL0PICIDX last sent.
    pub tl0picidx: u8,
    /// The dependency descriptor's frame number last sent.
    pub frame_number: u16,
    /// Egress frame number minus source frame number, modulo 2^16.
    pub frame_number_offset: u16,
    /// The dependency descriptor's template ids: in the high byte egress minus source id, modulo 64, in the low one the id
    /// behind the last structure's. Zero where there are none.
    pub template_ids: u16,
    /// Packets sent, as sender reports count them, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent, as sender reports count them, modulo 2^32.
    pub payload_bytes: u32,
}

impl Anchor {
    /// Returns the anchor as words.
    #[must_use]
    pub fn to_words(&self) -> [u64; ANCHOR_WORDS] {
        [
            u64::from(self.timestamp) | (u64::from(self.timestamp_offset) << 32),
            u64::from(self.source) | (u64::from(self.picture_id_offset) << 32) | (u64::from(self.picture_id) << 48),
            u64::from(self.tl0picidx_offset)
                | (u64::from(self.tl0picidx) << 8)
                | (u64::from(self.frame_number) << 16)
                | (u64::from(self.frame_number_offset) << 32)
                | (u64::from(self.template_ids) << 48),
            u64::from(self.packets) | (u64::from(self.payload_bytes) << 32),
        ]
    }

    /// Reads an anchor from words.
    #[must_use]
    pub const fn from_words(words: [u64; ANCHOR_WORDS]) -> Self {
        let [first, second, third, fourth] = words;
        Self {
            timestamp: (first & 0xffff_ffff) as u32,
            timestamp_offset: (first >> 32) as u32,
            source: (second & 0xffff_ffff) as u32,
            picture_id_offset: ((second >> 32) & 0xffff) as u16,
            picture_id: (second >> 48) as u16,
            tl0picidx_offset: (third & 0xff) as u8,
            tl0picidx: ((third >> 8) & 0xff) as u8,
            frame_number: ((third >> 16) & 0xffff) as u16,
            frame_number_offset: ((third >> 32) & 0xffff) as u16,
            template_ids: (third >> 48) as u16,
            packets: (fourth & 0xffff_ffff) as u32,
            payload_bytes: (fourth >> 32) as u32,
        }
    }
}
