//! The aggregation header of AV1 payloads (RTP Payload Format For AV1, version 1.0, section 4.4). A frame ends where the
//! marker bit, or better the dependency descriptor, says so.

/// The first byte of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Av1AggregationHeader(u8);

impl Av1AggregationHeader {
    /// Parses the header; `None` if nothing follows it, or it says both that a sequence starts and that an OBU goes on.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let header = match payload {
            [first, _, ..] => Self(*first),
            _ => return None,
        };
        (!(header.new_sequence() && header.continues_previous())).then_some(header)
    }

    /// Z: the first OBU started in an earlier packet.
    pub(crate) const fn continues_previous(self) -> bool {
        self.0 & 0x80 != 0
    }

    /// N: the packet is the first of a coded video sequence, which starts with a key frame.
    pub(crate) const fn new_sequence(self) -> bool {
        self.0 & 0x08 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_are_those_of_section_4_4() {
        let header = Av1AggregationHeader::parse(&[0b0110_1000, 0x0a]).unwrap();
        assert!(!header.continues_previous() && header.new_sequence());
        let header = Av1AggregationHeader::parse(&[0b1001_0000, 0x0a]).unwrap();
        assert!(header.continues_previous() && !header.new_sequence());
    }

    #[test]
    fn contradictions_and_empty_payloads_are_refused() {
        assert_eq!(Av1AggregationHeader::parse(&[0b1000_1000, 0x0a]), None);
        assert_eq!(Av1AggregationHeader::parse(&[0x10]), None);
        assert_eq!(Av1AggregationHeader::parse(&[]), None);
    }
}
