//! Receiver-estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 section 2.2).

use sluice_protocol::media::{Bitrate, Ssrc};

use super::{PAYLOAD_FEEDBACK, RtcpError, RtcpWriter};
use crate::wire::cursor::Reader;

/// The feedback format: application layer feedback.
pub(super) const FORMAT: u8 = 15;
const IDENTIFIER: [u8; 4] = *b"REMB";
const MANTISSA_BITS: u32 = 18;

/// Returns whether application layer feedback is a REMB.
pub(super) fn is_remb(body: &[u8]) -> bool {
    body.get(8..12).is_some_and(|identifier| identifier == IDENTIFIER)
}

/// A bound on the sum of all streams of a transport.
#[derive(Debug, Clone, Copy)]
pub struct EstimatedMaximum<'a> {
    /// Who reports.
    pub sender: Ssrc,
    /// The bound; more than 64 bits hold is cut to that.
    pub bitrate: Bitrate,
    ssrcs: &'a [u8],
}

impl<'a> EstimatedMaximum<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let sender = Ssrc(reader.u32()?);
        // An unused media source and the identifier.
        reader.take(8)?;
        let count = reader.u8()?;
        let coded = reader.u24()?;
        let mantissa = u64::from(coded & ((1 << MANTISSA_BITS) - 1));
        let exponent = coded >> MANTISSA_BITS;
        let bitrate = if mantissa.leading_zeros() < exponent { u64::MAX } else { mantissa << exponent };
        Some(Self { sender, bitrate: Bitrate(bitrate), ssrcs: reader.take(usize::from(count) * 4)? })
    }

    /// Iterates over the streams that the bound is about, at most 255.
    pub fn ssrcs(&self) -> impl Iterator<Item = Ssrc> + use<'a> {
        let mut reader = Reader::new(self.ssrcs);
        core::iter::from_fn(move || reader.u32().map(Ssrc))
    }
}

/// Appends a bound, rounded down to 18 significant bits; at most 255 streams.
///
/// # Errors
/// [`RtcpError::Content`] for too many streams, [`RtcpError::Buffer`].
pub fn write(writer: &mut RtcpWriter<'_>, sender: Ssrc, bitrate: Bitrate, ssrcs: &[Ssrc]) -> Result<(), RtcpError> {
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
