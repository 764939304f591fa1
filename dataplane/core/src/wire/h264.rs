//! H264 payloads (RFC 6184 section 5). A frame ends where the marker bit says so.

use crate::wire::cursor::Reader;

const SLICE: u8 = 1;
const IDR_SLICE: u8 = 5;
const SUPPLEMENTAL: u8 = 6;
const SEQUENCE_PARAMETERS: u8 = 7;
const PICTURE_PARAMETERS: u8 = 8;
const ACCESS_UNIT_DELIMITER: u8 = 9;
const SINGLE_MAX: u8 = 23;
const AGGREGATION: u8 = 24;
const FRAGMENT: u8 = 28;

/// What the NAL units in one packet say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct H264Payload {
    /// Whether the packet may be the first of its frame: it begins with a NAL unit that comes before or with the first
    /// slice. Parameter sets in a packet of their own and the slice behind them both say so; the timestamp decides.
    pub may_start: bool,
    /// Whether an IDR slice, or the start of one, is in the packet: a decoder can begin here if it has the parameters.
    pub idr: bool,
    /// Whether sequence parameters are in the packet, which Sluice takes for the start of a key frame, too.
    pub parameters: bool,
}

impl H264Payload {
    /// Parses an RTP payload in packetization mode 0 or 1; `None` if it is malformed or of another mode.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        match *payload.first()? & 0x1f {
            1..=SINGLE_MAX => Some(Self::default().with_unit(payload, true)),
            AGGREGATION => {
                reader.u8()?;
                let mut parsed = Self::default();
                let mut first = true;
                while !reader.is_empty() {
                    let size = usize::from(reader.u16()?);
                    let unit = reader.take(size).filter(|unit| !unit.is_empty())?;
                    parsed = parsed.with_unit(unit, first);
                    first = false;
                }
                (!first).then_some(parsed)
            }
            FRAGMENT => {
                reader.u8()?;
                let header = reader.u8()?;
                let slice = *reader.rest().first()?;
                // Only the first fragment starts anything (RFC 6184 section 5.8).
                Some(if header & 0x80 == 0 {
                    Self::default()
                } else {
                    Self::default().with_unit(&[header & 0x1f, slice], true)
                })
            }
            _ => None,
        }
    }

    /// Returns whether the packet shows that its frame is a key frame.
    pub(crate) const fn key_frame(self) -> bool {
        self.idr || self.parameters
    }

    /// Adds what one NAL unit says; only the `first` one of a packet can start the frame.
    fn with_unit(mut self, unit: &[u8], first: bool) -> Self {
        let unit_type = unit.first().map_or(0, |header| header & 0x1f);
        // A slice starts with the number of its first macroblock; 0 is coded as a single set bit (H.264 section 7.3.3).
        let first_slice = unit.get(1).is_some_and(|byte| byte & 0x80 != 0);
        self.may_start |= first
            && match unit_type {
                SLICE | IDR_SLICE => first_slice,
                SUPPLEMENTAL | SEQUENCE_PARAMETERS | PICTURE_PARAMETERS | ACCESS_UNIT_DELIMITER => true,
                _ => false,
            };
        self.idr |= unit_type == IDR_SLICE;
        self.parameters |= unit_type == SEQUENCE_PARAMETERS;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn of(may_start: bool, idr: bool, parameters: bool) -> Option<H264Payload> {
        Some(H264Payload { may_start, idr, parameters })
    }

    #[test]
    fn key_frames_are_found_in_every_packetization() {
        let cases: [(&str, &[u8], Option<H264Payload>); 13] = [
            ("IDR alone", &[0x65, 0x88, 0], of(true, true, false)),
            ("second slice of an IDR", &[0x65, 0x40, 0], of(false, true, false)),
            ("other slice", &[0x41, 0x9a], of(true, false, false)),
            ("parameters alone", &[0x67, 0x42], of(true, false, true)),
            ("delimiter", &[0x09, 0xf0], of(true, false, false)),
            ("SPS, PPS", &[0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce], of(true, false, true)),
            ("SEI, IDR", &[0x78, 0, 1, 0x06, 0, 2, 0x65, 0x88], of(true, true, false)),
            ("first fragment of an IDR", &[0x7c, 0x85, 0x88], of(true, true, false)),
            ("middle fragment of an IDR", &[0x7c, 0x05, 0x88], of(false, false, false)),
            ("last fragment of a slice", &[0x5c, 0x41, 0x88], of(false, false, false)),
            ("cut aggregation", &[0x78, 0, 9, 0x67], None),
            ("empty aggregation", &[0x78], None),
            ("interleaved mode", &[0x79, 0, 0], None),
        ];
        for (name, payload, expected) in cases {
            assert_eq!(H264Payload::parse(payload), expected, "{name}");
        }
        assert_eq!(H264Payload::parse(&[]), None);
        assert_eq!(H264Payload::parse(&[0x7c, 0x85]), None);
        assert_eq!(H264Payload::parse(&[0x78, 0, 0]), None);
    }

    proptest! {
        /// Oracle: the packetizer of the `rtp` crate, which is given units of known types.
        #[test]
        fn units_packetized_by_the_rtp_crate_are_recognised(
            idr: bool, size in 2usize..4000, mtu in 200usize..1300,
        ) {
            use rtp::codecs::h264::H264Payloader;
            use rtp::packetizer::Payloader;
            let mut unit = vec![0, 0, 0, 1, if idr { 0x65 } else { 0x41 }, 0x88];
            unit.resize(4 + size, 0xaa);
            let packets = H264Payloader::default().payload(mtu, &unit.into()).unwrap();
            for (index, packet) in packets.iter().enumerate() {
                let parsed = H264Payload::parse(packet).unwrap();
                prop_assert_eq!(parsed, H264Payload { may_start: index == 0, idr: idr && index == 0, parameters: false });
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), unit_type in 24u8..29) {
            crate::fuzzing::fuzz_payloads(&bytes);
            let payload = [&[unit_type], &bytes[..]].concat();
            crate::fuzzing::fuzz_payloads(&payload);
        }
    }
}
