//! Why a datagram or packet went no further, and how often.

macro_rules! discards {
    ($($(#[$doc:meta])* $name:ident = $label:literal,)*) => {
        /// Why a datagram or packet went no further. Leaving the corridor early is always one of these; each is counted
        /// per shard and stands in `docs/METRICS.md` under its name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Discard {
            $($(#[$doc])* $name,)*
        }

        impl Discard {
            /// All reasons, in the order of their counters.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the name under which it is counted.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }

        const REASONS: usize = [$($label,)*].len();
    };
}

discards! {
    /// The first byte is none of STUN, DTLS, RTP and RTCP (RFC 7983 section 7), or the datagram is empty.
    Unclassified = "unclassified",
    /// Larger than any datagram of a media session.
    Oversized = "oversized",
    /// Not a STUN binding message that one answers.
    StunMalformed = "stun_malformed",
    /// A binding request that names no living transport, or credentials that are no longer valid.
    StunUnknownUfrag = "stun_unknown_ufrag",
    /// A binding request whose integrity does not match its credentials.
    StunForged = "stun_forged",
    /// A STUN indication or response; a lite agent sends no requests.
    StunUnexpected = "stun_unexpected",
    /// A binding request that was answered with an error: a role conflict, or an attribute that must be understood.
    StunRefused = "stun_refused",
    /// A binding request that was seen before, from a five-tuple that no other request has validated: a replay.
    StunReplayed = "stun_replayed",
    /// A binding request from a five-tuple on which another transport's peer was heard just now.
    FiveTupleHeld = "five_tuple_held",
    /// Media or DTLS from a five-tuple that no binding request has validated.
    UnvalidatedFiveTuple = "unvalidated_five_tuple",
    /// A DTLS record that could only do harm: an unencrypted alert after the handshake, or one too short.
    DtlsFiltered = "dtls_filtered",
    /// An event that found no room among those that wait for the control plane.
    EventsFull = "events_full",
    /// DTLS above the cap of its transport, or of the queue to the control plane.
    DtlsCapped = "dtls_capped",
    /// SRTP or SRTCP before the transport has keys.
    NoKeys = "no_keys",
    /// Not an RTP packet.
    RtpMalformed = "rtp_malformed",
    /// SRTP that does not authenticate.
    SrtpForged = "srtp_forged",
    /// SRTP with an index that was seen.
    SrtpReplayed = "srtp_replayed",
    /// SRTP with an index below the replay window.
    SrtpTooOld = "srtp_too_old",
    /// An SSRC that no description announced, without a mid that one did.
    SsrcUnknown = "ssrc_unknown",
    /// An encoding, or a repair of one, whose rid is none of those that were negotiated, or which does not name its rid where
    /// one has to.
    RidUnknown = "rid_unknown",
    /// A new SSRC on a transport that has as many streams as it may.
    StreamsFull = "streams_full",
    /// A payload type that was not negotiated for the track.
    PayloadTypeUnknown = "payload_type_unknown",
    /// A packet without payload: padding of a publisher's bandwidth probes, numbered away.
    Padding = "padding",
    /// A repair packet without an original in it, or of an SSRC that repairs nothing we know.
    RtxMalformed = "rtx_malformed",
    /// A packet that the stream has already, by another way.
    Duplicate = "duplicate",
    /// A packet from before what the stream still keeps track of, or a repair of an SSRC that it has given up.
    TooLate = "too_late",
    /// Media of a muted track.
    Muted = "muted",
    /// SRTCP that does not authenticate.
    SrtcpForged = "srtcp_forged",
    /// SRTCP with an index that was seen or is too old.
    SrtcpReplayed = "srtcp_replayed",
    /// Not a compound of RTCP packets.
    RtcpMalformed = "rtcp_malformed",
    /// A report or request about an SSRC that the transport does not have.
    RtcpUnknownSsrc = "rtcp_unknown_ssrc",
    /// An answer or report that did not fit the queue of control packets.
    ControlFull = "control_full",
    /// Media to a transport without keys or without a nominated pair, or whose peer fell silent.
    NotSending = "not_sending",
    /// Media to a paused egress stream.
    Paused = "paused",
    /// Media of a layer or encoding that is not forwarded to the subscriber.
    LayerNotSelected = "layer_not_selected",
    /// Media before the key frame that the egress stream waits for.
    AwaitingKeyFrame = "awaiting_key_frame",
    /// A key frame of another encoding, as long as the frame before it is open: it is offered again.
    AwaitingFrameEnd = "awaiting_frame_end",
    /// Media with a payload type that the subscriber did not negotiate.
    PayloadTypeUnmapped = "payload_type_unmapped",
    /// A packet whose place in the egress stream was given away or sent already.
    EgressTooLate = "egress_too_late",
    /// A payload descriptor that cannot be read, and so not rewritten.
    DescriptorMalformed = "descriptor_malformed",
    /// A packet that does not fit a datagram after its rewrite.
    EgressOversized = "egress_oversized",
    /// A packet of a frame that was dropped as a whole behind a full socket.
    Backlog = "backlog",
    /// A packet that left the history before the subscriber's turn came.
    Overrun = "overrun",
    /// A repeat asked for that is not, or no longer, to be had.
    RepeatGone = "repeat_gone",
    /// A repeat asked for again too soon, or above the limit of its transport.
    RepeatLimited = "repeat_limited",
}

/// One counter per reason.
#[derive(Clone, Debug)]
pub(crate) struct Discards {
    counts: [u64; REASONS],
}

impl Default for Discards {
    fn default() -> Self {
        Self { counts: [0; REASONS] }
    }
}

impl Discards {
    /// Counts one.
    pub(crate) fn count(&mut self, discard: Discard) {
        if let Some(count) = self.counts.get_mut(discard as usize) {
            *count += 1;
        }
    }

    /// Iterates over all reasons and their counts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Discard, u64)> + '_ {
        Discard::ALL.iter().copied().zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_its_own_counter_and_name() {
        let mut discards = Discards::default();
        for (times, discard) in Discard::ALL.iter().enumerate() {
            for _ in 0..=times {
                discards.count(*discard);
            }
        }
        assert!(discards.iter().enumerate().all(|(times, (_, count))| count == times as u64 + 1));
        assert_eq!(Discard::ALL.iter().map(|discard| discard.name()).collect::<BTreeSet<_>>().len(), REASONS);
    }
}
