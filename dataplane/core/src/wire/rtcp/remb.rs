//! Receiver-estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 section 2.2): written, and passed over when
//! received.

use sluice_protocol::media::{Bitrate, Ssrc};

use super::{PAYLOAD_FEEDBACK, RtcpError, RtcpWriter};

/// The feedback format: application layer feedback.
const FORMAT: u8 = 15;
const IDENTIFIER: [u8; 4] = *b"REMB";
const MANTISSA_BITS: u32 = 18;

/// Appends a bound on the sum of all streams of a transport, rounded down to 18 significant bits; at most 255 streams.
///
/// # Errors
/// [`RtcpError::Content`] for too many streams, [`RtcpError::Buffer`].
pub(crate) fn write(
    writer: &mut RtcpWriter<'_>,
    sender: Ssrc,
    bitrate: Bitrate,
    ssrcs: &[Ssrc],
) -> Result<(), RtcpError> {
    let count = u8::try_from(ssrcs.len()).map_err(|_| RtcpError::Content)?;
    let exponent = (u64::BITS - bitrate.0.leading_zeros()).saturating_sub(MANTISSA_BITS);
    let mantissa = u32::try_from(bitrate.0 >> exponent).map_err(|_| RtcpError::Content)?;
    writer.packet(PAYLOAD_FEEDBACK, FORMAT, |writer| {
        writer.u32(sender.0)?;
        writer.u32(0)?;
        writer.bytes(&IDENTIFIER)?;
        writer.u8(count)?;
        writer.u24((exponent << MANTISSA_BITS) | mantissa)?;
        ssrcs.iter().try_for_each(|ssrc| writer.u32(ssrc.0))
    })
}
