//! Values of RTP header extensions; which id carries which is negotiated.

use sluice_protocol::media::Label;

/// The size of an abs-send-time value.
pub(crate) const ABS_SEND_TIME_SIZE_BYTES: usize = 3;
/// The size of a transport-wide sequence number.
pub(crate) const TRANSPORT_SEQUENCE_SIZE_BYTES: usize = 2;
/// The size of a playout delay.
pub(crate) const PLAYOUT_DELAY_SIZE_BYTES: usize = 3;

/// The time a packet left its sender: seconds modulo 64 in 6.18 fixed point (abs-send-time of the WebRTC project).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AbsSendTime(u32);

impl AbsSendTime {
    /// Takes the 24 bits that count from wall-clock or monotonic nanoseconds; receivers look at differences only.
    pub(crate) fn from_nanos(nanos: u64) -> Self {
        let within = u128::from(nanos % 64_000_000_000);
        let units = (within << 18) / 1_000_000_000;
        Self(u32::try_from(units & 0x00ff_ffff).unwrap_or(0))
    }

    /// Returns the value as it stands on the wire.
    pub(crate) const fn to_bytes(self) -> [u8; ABS_SEND_TIME_SIZE_BYTES] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }
}

/// Parses a transport-wide sequence number; the second version's two more bytes are ignored.
pub(crate) fn parse_transport_sequence(value: &[u8]) -> Option<u16> {
    value.first_chunk::<TRANSPORT_SEQUENCE_SIZE_BYTES>().map(|bytes| u16::from_be_bytes(*bytes))
}

/// Parses a mid, rid or repaired rid (RFC 7941 section 4.1, RFC 8852, RFC 8843): at most 16 visible ASCII characters.
/// Padding with zeros, which some senders add for equal sizes, is cut.
pub(crate) fn parse_label(value: &[u8]) -> Option<Label> {
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(value.len());
    Label::new(value.get(..end)?)
}

/// How long a receiver may hold a frame before it shows it (playout-delay of the WebRTC project).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlayoutDelay {
    /// The least delay in units of 10 ms, at most 4095.
    pub min_10ms: u16,
    /// The greatest delay in units of 10 ms, at most 4095.
    pub max_10ms: u16,
}

impl PlayoutDelay {
    /// Returns the value as it stands on the wire; larger delays are cut to 4095.
    pub(crate) fn to_bytes(self) -> [u8; PLAYOUT_DELAY_SIZE_BYTES] {
        let (min, max) = (u32::from(self.min_10ms.min(4095)), u32::from(self.max_10ms.min(4095)));
        let [_, a, b, c] = ((min << 12) | max).to_be_bytes();
        [a, b, c]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rtp::extension::abs_send_time_extension::AbsSendTimeExtension;
    use rtp::extension::playout_delay_extension::PlayoutDelayExtension;
    use rtp::extension::transport_cc_extension::TransportCcExtension;
    use webrtc_util::marshal::{Marshal, Unmarshal};

    proptest! {
        /// Oracle: the `rtp` crate.
        #[test]
        fn values_are_those_of_the_rtp_crate(min in 0u16..4096, max in 0u16..4096, number: u16) {
            let ours = PlayoutDelay { min_10ms: min, max_10ms: max };
            let theirs = PlayoutDelayExtension::unmarshal(&mut &ours.to_bytes()[..]).unwrap();
            prop_assert_eq!(theirs, PlayoutDelayExtension::new(min, max));

            let theirs = TransportCcExtension { transport_sequence: number }.marshal().unwrap();
            prop_assert_eq!(parse_transport_sequence(&theirs), Some(number));
        }

        #[test]
        fn send_times_keep_their_distance(start in 0u64..1 << 60, step_us in 0u64..31_000_000) {
            let (a, b) = (AbsSendTime::from_nanos(start), AbsSendTime::from_nanos(start + step_us * 1000));
            let read = |time: AbsSendTime| AbsSendTimeExtension::unmarshal(&mut &time.to_bytes()[..]).unwrap().timestamp;
            let units = read(b).wrapping_sub(read(a)) & 0x00ff_ffff;
            let measured_us = (units * 1_000_000) >> 18;
            prop_assert!(measured_us.abs_diff(step_us) <= 8, "{}", measured_us);
        }
    }

    #[test]
    fn half_a_second_is_half_of_eighteen_bits() {
        assert_eq!(AbsSendTime::from_nanos(500_000_000).to_bytes(), [2, 0, 0]);
        assert_eq!(AbsSendTime::from_nanos(64_500_000_000).to_bytes(), [2, 0, 0]);
    }

    #[test]
    fn labels_of_bad_form_are_refused() {
        assert_eq!(parse_label(b"hi\0\0").unwrap().as_bytes(), b"hi");
        for bad in [&b""[..], b"\0a", b"a b", &[b'a'; 17]] {
            assert_eq!(parse_label(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn short_values_are_refused() {
        assert_eq!(parse_transport_sequence(&[1]), None);
    }
}
