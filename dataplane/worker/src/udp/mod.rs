//! UDP by batched system calls: the one way that packets take in and out.
//!
//! glommio moves one datagram per call and knows neither segmentation offload nor control messages, so the executor does
//! not touch these sockets: `recvmmsg` and `sendmmsg` do the work. See `docs/decisions/0002-packet-io.md`.
#![expect(unsafe_code, reason = "system calls that no safe wrapper offers")]
#![expect(clippy::cast_possible_truncation, reason = "sizes and families of the C interface are small constants")]

pub(crate) mod address;
pub(crate) mod receive;
pub(crate) mod send;
pub(crate) mod socket;
