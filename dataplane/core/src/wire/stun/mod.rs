//! STUN binding requests and their answers (RFC 8489, RFC 8445), as much of it as an ICE-lite agent meets per packet.

mod fingerprint;
mod write;

use core::net::SocketAddr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use crate::wire::cursor::Reader;

pub(crate) use write::{RESPONSE_SIZE_BYTES_MAX, write_error, write_success};

/// The size of the header (RFC 8489 section 5).
pub(crate) const HEADER_SIZE_BYTES: usize = 20;
/// The largest message that is read. Requests of browsers have about 100 bytes; more is not needed for any attribute.
pub(crate) const MESSAGE_SIZE_BYTES_MAX: usize = 1280;
/// How many unknown comprehension-required attributes are named in an answer; more are not collected.
pub(crate) const UNKNOWN_ATTRIBUTES_MAX: usize = 8;

const MAGIC_COOKIE: u32 = 0x2112_a442;
const INTEGRITY_SIZE_BYTES: usize = 20;
/// An attribute's type and length.
const ATTRIBUTE_HEADER_SIZE_BYTES: usize = 4;

const MAPPED_ADDRESS: u16 = 0x0001;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
const PASSWORD_ALGORITHM: u16 = 0x001d;
const USERHASH: u16 = 0x001e;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const FINGERPRINT: u16 = 0x8028;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;

/// Why bytes are not a STUN message that we answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StunError {
    /// Header, length or an attribute is malformed: nobody to answer.
    Malformed,
    /// The fingerprint is wrong: not STUN, or damaged (RFC 8489 section 14.7).
    Fingerprint,
    /// A method other than Binding.
    Method,
    /// The answer does not fit the caller's buffer.
    Buffer,
}

/// What a message is (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Wants an answer.
    Request,
    /// Wants none: a keep-alive, accepted silently.
    Indication,
    /// The answer to a request of ours; a lite agent sends none.
    Success,
    /// The same, refused.
    Error,
}

/// The role that the sender takes, with its tie-breaker (RFC 8445 section 7.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The sender nominates; what a peer of a lite agent must be.
    Controlling(u64),
    /// The sender waits to be nominated: a role conflict with a lite agent.
    Controlled(u64),
}

/// What an answer echoes (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TransactionId(pub [u8; 12]);

/// The error codes that a lite agent answers authenticated requests with (RFC 8489 section 14.8, RFC 8445 section
/// 7.3.1.1). Others get no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorCode {
    /// 420: an attribute that must be understood is not.
    UnknownAttribute,
    /// 487: the peer is not controlling.
    RoleConflict,
}

/// A password of the short-term credential mechanism, ready to sign and verify (RFC 8489 section 9.1).
#[derive(Clone)]
pub(crate) struct ShortTermKey(hmac::Key);

impl core::fmt::Debug for ShortTermKey {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        formatter.write_str("ShortTermKey(redacted)")
    }
}

impl ShortTermKey {
    /// Takes the password as text of ICE characters, which need no preparation.
    pub(crate) fn new(password: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password))
    }

    /// Signs everything before the integrity attribute, with the length field as if the message ended behind it.
    fn sign(&self, covered: &[u8]) -> Option<hmac::Tag> {
        let (message_type, rest) = covered.split_first_chunk::<2>()?;
        let (_, rest) = rest.split_first_chunk::<2>()?;
        let end = covered.len() + ATTRIBUTE_HEADER_SIZE_BYTES + INTEGRITY_SIZE_BYTES;
        let length = u16::try_from(end.checked_sub(HEADER_SIZE_BYTES)?).ok()?;
        let mut context = hmac::Context::with_key(&self.0);
        context.update(message_type);
        context.update(&length.to_be_bytes());
        context.update(rest);
        Some(context.sign())
    }
}

/// Returns whether a datagram that demultiplexes to STUN (RFC 7983 section 7) has its header's form.
pub(crate) fn is_stun(datagram: &[u8]) -> bool {
    let mut reader = Reader::new(datagram);
    matches!(reader.u16(), Some(first) if first < 0x4000)
        && reader
            .u16()
            .is_some_and(|length| length % 4 == 0 && usize::from(length) + HEADER_SIZE_BYTES == datagram.len())
        && reader.u32() == Some(MAGIC_COOKIE)
}

/// A Binding message. Attributes behind MESSAGE-INTEGRITY are not looked at, except FINGERPRINT (RFC 8489 section 14.5).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binding<'a> {
    message: &'a [u8],
    /// Request, indication or answer.
    pub class: Class,
    /// What an answer echoes.
    pub transaction: TransactionId,
    /// USERNAME as it stands on the wire, see [`Self::ufrags`].
    pub username: Option<&'a [u8]>,
    /// PRIORITY (RFC 8445 section 7.1.1).
    pub priority: Option<u32>,
    /// Whether USE-CANDIDATE nominates the pair (RFC 8445 section 7.1.2).
    pub use_candidate: bool,
    /// ICE-CONTROLLING or ICE-CONTROLLED.
    pub role: Option<Role>,
    /// Whether a right FINGERPRINT ends the message.
    pub has_fingerprint: bool,
    /// Where MESSAGE-INTEGRITY starts, and its value.
    integrity: Option<(usize, &'a [u8; INTEGRITY_SIZE_BYTES])>,
    unknown: [u16; UNKNOWN_ATTRIBUTES_MAX],
    unknown_count: usize,
}

impl<'a> Binding<'a> {
    /// Parses a whole datagram.
    ///
    /// # Errors
    /// [`StunError::Malformed`], [`StunError::Method`], [`StunError::Fingerprint`]; none of them deserves an answer.
    pub(crate) fn parse(message: &'a [u8]) -> Result<Self, StunError> {
        if message.len() > MESSAGE_SIZE_BYTES_MAX || !is_stun(message) {
            return Err(StunError::Malformed);
        }
        let mut reader = Reader::new(message);
        let message_type = reader.u16().ok_or(StunError::Malformed)?;
        let class = class_of(message_type).ok_or(StunError::Method)?;
        let [_, _, _, _, _, _, transaction @ ..] = reader.array::<18>().ok_or(StunError::Malformed)?;
        let mut binding = Self {
            message,
            class,
            transaction: TransactionId(transaction),
            username: None,
            priority: None,
            use_candidate: false,
            role: None,
            has_fingerprint: false,
            integrity: None,
            unknown: [0; UNKNOWN_ATTRIBUTES_MAX],
            unknown_count: 0,
        };
        while !reader.is_empty() {
            let offset = message.len() - reader.remaining();
            let attribute = reader.u16().ok_or(StunError::Malformed)?;
            let size = usize::from(reader.u16().ok_or(StunError::Malformed)?);
            let value = reader.take(size).ok_or(StunError::Malformed)?;
            reader.take(size.next_multiple_of(4) - size).ok_or(StunError::Malformed)?;
            if attribute == FINGERPRINT {
                binding.check_fingerprint(offset, value, reader.is_empty())?;
            } else if binding.integrity.is_none() {
                binding.take_attribute(offset, attribute, value).ok_or(StunError::Malformed)?;
            }
        }
        Ok(binding)
    }

    /// Returns the two user fragments of USERNAME: ours first, then the sender's (RFC 8445 section 7.2.2).
    pub(crate) fn ufrags(&self) -> Option<(&'a [u8], &'a [u8])> {
        let username = self.username?;
        let colon = username.iter().position(|byte| *byte == b':')?;
        Some((username.get(..colon)?, username.get(colon + 1..)?))
    }

    /// Returns whether MESSAGE-INTEGRITY is there and was made with `key`, compared in constant time.
    pub(crate) fn verify(&self, key: &ShortTermKey) -> bool {
        let Some((offset, value)) = self.integrity else { return false };
        let Some(tag) = self.message.get(..offset).and_then(|covered| key.sign(covered)) else { return false };
        verify_slices_are_equal(tag.as_ref(), value).is_ok()
    }

    /// Returns the attributes that must be understood and are not, at most [`UNKNOWN_ATTRIBUTES_MAX`] of them.
    pub(crate) fn unknown_attributes(&self) -> &[u16] {
        self.unknown.get(..self.unknown_count).unwrap_or(&[])
    }

    /// Takes an attribute that integrity covers, or is integrity; nothing if its value is malformed. The first one of
    /// a kind counts (RFC 8489 section 14).
    fn take_attribute(&mut self, offset: usize, attribute: u16, value: &'a [u8]) -> Option<()> {
        match attribute {
            USERNAME => self.username = self.username.or(Some(value)),
            PRIORITY => {
                let priority = u32::from_be_bytes(value.try_into().ok()?);
                self.priority = self.priority.or(Some(priority));
            }
            USE_CANDIDATE => self.use_candidate = true,
            ICE_CONTROLLING | ICE_CONTROLLED => {
                let tie_breaker = u64::from_be_bytes(value.try_into().ok()?);
                let controlling = attribute == ICE_CONTROLLING;
                let role = if controlling { Role::Controlling(tie_breaker) } else { Role::Controlled(tie_breaker) };
                self.role = self.role.or(Some(role));
            }
            MESSAGE_INTEGRITY => self.integrity = Some((offset, value.try_into().ok()?)),
            MAPPED_ADDRESS
            | ERROR_CODE
            | UNKNOWN_ATTRIBUTES
            | REALM
            | NONCE
            | MESSAGE_INTEGRITY_SHA256
            | PASSWORD_ALGORITHM
            | USERHASH
            | XOR_MAPPED_ADDRESS => {}
            unknown if unknown < 0x8000 => {
                if let Some(slot) = self.unknown.get_mut(self.unknown_count) {
                    *slot = unknown;
                    self.unknown_count += 1;
                }
            }
            _ => {}
        }
        Some(())
    }

    fn check_fingerprint(&mut self, offset: usize, value: &[u8], is_last: bool) -> Result<(), StunError> {
        let covered = self.message.get(..offset).ok_or(StunError::Malformed)?;
        if !is_last || value != fingerprint::fingerprint(covered).to_be_bytes() {
            return Err(StunError::Fingerprint);
        }
        self.has_fingerprint = true;
        Ok(())
    }
}

/// Reads the class of a Binding message: two bits that lie between those of the method (RFC 8489 section 5).
const fn class_of(message_type: u16) -> Option<Class> {
    match message_type {
        0x0001 => Some(Class::Request),
        0x0011 => Some(Class::Indication),
        0x0101 => Some(Class::Success),
        0x0111 => Some(Class::Error),
        _ => None,
    }
}

/// The parts of XOR-MAPPED-ADDRESS: family, port and address under the magic cookie and transaction (RFC 8489
/// section 14.2).
fn xor_address(address: SocketAddr, transaction: TransactionId) -> (u8, u16, [u8; 16], usize) {
    let [a, b, c, d] = MAGIC_COOKIE.to_be_bytes();
    let port = address.port() ^ u16::from_be_bytes([a, b]);
    let mut mask = [0; 16];
    for (to, from) in mask.iter_mut().zip([a, b, c, d].into_iter().chain(transaction.0)) {
        *to = from;
    }
    // An IPv4 peer of a dual-stack socket is told its IPv4 address.
    let (family, octets, size) = match address.ip().to_canonical() {
        core::net::IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            (1, [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 4)
        }
        core::net::IpAddr::V6(ip) => (2, ip.octets(), 16),
    };
    for (byte, octet) in mask.iter_mut().zip(octets) {
        *byte ^= octet;
    }
    (family, port, mask, size)
}

#[cfg(test)]
mod tests;
