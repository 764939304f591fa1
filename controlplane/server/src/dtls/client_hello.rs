//! Reads from a `ClientHello` what decides how the handshake is answered (RFC 6347 section 4.2.1, RFC 5764 section 4.1).
//!
//! Chromium puts `AES_CM_128_HMAC_SHA1_80` first among its SRTP profiles; the choice is ours all the same (RFC 5764
//! section 4.1.1), and is made for what costs us least. The parser takes nothing that is left open: every length fits,
//! nothing follows the last field, and no extension that counts comes twice.

use sluice_protocol::media::SrtpProfile;

/// The extension `supported_groups` (RFC 8422 section 5.1.1).
const EXTENSION_SUPPORTED_GROUPS: u16 = 10;
/// The extension `ec_point_formats` (RFC 8422 section 5.1.2).
pub(super) const EXTENSION_EC_POINT_FORMATS: u16 = 11;
/// The extension `signature_algorithms` (RFC 5246 section 7.4.1.4.1).
const EXTENSION_SIGNATURE_ALGORITHMS: u16 = 13;
/// The extension `use_srtp` (RFC 5764 section 9).
pub(super) const EXTENSION_USE_SRTP: u16 = 14;
/// The extension `extended_master_secret` (RFC 7627 section 5.1).
pub(super) const EXTENSION_EXTENDED_MASTER_SECRET: u16 = 23;
/// The extension `renegotiation_info` (RFC 5746 section 3.2).
pub(super) const EXTENSION_RENEGOTIATION_INFO: u16 = 0xff01;
/// `ProtocolVersion` 1.2, which a client that also speaks 1.3 sends too.
const VERSION_1_2: u16 = 0xfefd;
/// Bytes of a session's id (RFC 5246 section 7.4.1.2).
const SESSION_ID_BYTES_MAX: usize = 32;
/// The compression method that is none (RFC 5246 section 7.4.1.2).
const COMPRESSION_NULL: u8 = 0;
/// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256` (RFC 5289), the one suite that we take: every client of WebRTC has it
/// (RFC 8827 section 6.5).
pub(super) const CIPHER_SUITE: u16 = 0xc02b;
/// The suite that stands for an empty `renegotiation_info` (RFC 5746 section 3.3).
const CIPHER_SUITE_RENEGOTIATION_INFO: u16 = 0x00ff;
/// `ecdsa_secp256r1_sha256`, what our certificate signs with (RFC 8446 section 4.2.3 for the number of the pair).
pub(super) const ECDSA_SHA256: u16 = 0x0403;

/// What a `ClientHello` offers.
#[expect(clippy::struct_excessive_bools, reason = "each says whether the client offers one thing")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientHello<'a> {
    /// The client's random number, the start of all keys.
    pub(super) random: [u8; 32],
    /// The cookie that it returns; empty in a first one.
    pub(super) cookie: &'a [u8],
    /// The SRTP profile that we choose; none if there is no `use_srtp` with one that we have.
    pub(super) profile: Option<SrtpProfile>,
    /// The curve that we choose; none if those that are offered are not ours.
    pub(super) group: Option<Group>,
    /// Whether the one cipher suite that we take is offered.
    pub(super) cipher_suite: bool,
    /// Whether the extended master secret is offered.
    pub(super) extended_master_secret: bool,
    /// Whether the client verifies what our certificate signs.
    pub(super) ecdsa_sha256: bool,
    /// Whether the client wants to be told that nothing is renegotiated in the dark (RFC 5746): OpenSSL gives up
    /// without the answer.
    pub(super) renegotiation_info: bool,
    /// Whether the client says how it writes points, and is to be told the same.
    pub(super) point_formats: bool,
}

/// A curve of the key exchange (RFC 8422 section 5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    X25519,
    Secp256r1,
}

impl Group {
    /// Returns the number on the wire.
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::X25519 => 29,
            Self::Secp256r1 => 23,
        }
    }

    /// Returns how many bytes a public key has.
    pub(super) const fn public_key_bytes(self) -> usize {
        match self {
            Self::X25519 => 32,
            Self::Secp256r1 => 65,
        }
    }
}

/// Why bytes are not a `ClientHello` of DTLS 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientHelloError {
    /// A field reaches beyond the message.
    Truncated,
    /// Bytes are left after the last field, or a list's length is odd.
    Malformed,
    /// The version is not DTLS 1.2.
    Version,
    /// The same extension twice, which would leave open whose content counts.
    DuplicateExtension,
}

/// Parses the body of a `ClientHello`, which is what follows the handshake message's header.
pub(super) fn parse(body: &[u8]) -> Result<ClientHello<'_>, ClientHelloError> {
    let mut reader = Reader { rest: body };
    if reader.u16()? != VERSION_1_2 {
        return Err(ClientHelloError::Version);
    }
    let mut random = [0; 32];
    random.copy_from_slice(reader.take(32)?);
    // We never gave out a session; who would resume one gets a whole handshake (RFC 5246 section 7.4.1.2).
    let session_id_bytes = usize::from(reader.u8()?);
    if session_id_bytes > SESSION_ID_BYTES_MAX {
        return Err(ClientHelloError::Malformed);
    }
    reader.take(session_id_bytes)?;
    let cookie_bytes = usize::from(reader.u8()?);
    let cookie = reader.take(cookie_bytes)?;
    let cipher_suites = reader.list_u16()?;
    let compression_bytes = usize::from(reader.u8()?);
    if !reader.take(compression_bytes)?.contains(&COMPRESSION_NULL) {
        return Err(ClientHelloError::Malformed);
    }
    let mut hello = ClientHello {
        random,
        cookie,
        profile: None,
        // Who names no curves takes any (RFC 8422 section 4).
        group: Some(Group::Secp256r1),
        cipher_suite: numbers(cipher_suites).any(|suite| suite == CIPHER_SUITE),
        extended_master_secret: false,
        ecdsa_sha256: false,
        renegotiation_info: numbers(cipher_suites).any(|suite| suite == CIPHER_SUITE_RENEGOTIATION_INFO),
        point_formats: false,
    };
    let extensions = reader.list_u16_bytes()?;
    if !reader.rest.is_empty() {
        return Err(ClientHelloError::Malformed);
    }
    hello.read_extensions(extensions)?;
    Ok(hello)
}

impl ClientHello<'_> {
    fn read_extensions(&mut self, mut extensions: Reader<'_>) -> Result<(), ClientHelloError> {
        let mut seen = Vec::with_capacity(3);
        let mut once = |kind: u16| {
            let first = !seen.contains(&kind);
            seen.push(kind);
            if first { Ok(()) } else { Err(ClientHelloError::DuplicateExtension) }
        };
        while !extensions.rest.is_empty() {
            let kind = extensions.u16()?;
            let mut content = extensions.list_u16_bytes()?;
            match kind {
                EXTENSION_USE_SRTP => {
                    once(kind)?;
                    self.profile = use_srtp(content)?;
                }
                EXTENSION_SUPPORTED_GROUPS => {
                    once(kind)?;
                    let offered = content.list_u16()?;
                    let mut preference = [Group::X25519, Group::Secp256r1].into_iter();
                    self.group = preference.find(|group| numbers(offered).any(|n| n == group.number()));
                }
                EXTENSION_SIGNATURE_ALGORITHMS => {
                    once(kind)?;
                    self.ecdsa_sha256 = numbers(content.list_u16()?).any(|number| number == ECDSA_SHA256);
                }
                EXTENSION_EXTENDED_MASTER_SECRET => self.extended_master_secret = true,
                EXTENSION_RENEGOTIATION_INFO => self.renegotiation_info = true,
                EXTENSION_EC_POINT_FORMATS => self.point_formats = true,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Chooses the profile: `AEAD_AES_128_GCM` costs a sixth of `AES_CM_128_HMAC_SHA1_80`.
fn use_srtp(mut content: Reader<'_>) -> Result<Option<SrtpProfile>, ClientHelloError> {
    let offered = content.list_u16()?;
    let mki_bytes = usize::from(content.u8()?);
    content.take(mki_bytes)?;
    if !content.rest.is_empty() {
        return Err(ClientHelloError::Malformed);
    }
    let preference =
        [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::AesCm128HmacSha1_80].into_iter();
    Ok(preference.into_iter().find(|profile| numbers(offered).any(|number| number == profile_number(*profile))))
}

/// Returns a profile's number (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
pub(super) const fn profile_number(profile: SrtpProfile) -> u16 {
    match profile {
        SrtpProfile::AesCm128HmacSha1_80 => 1,
        SrtpProfile::AeadAes128Gcm => 7,
        SrtpProfile::AeadAes256Gcm => 8,
    }
}

fn numbers(list: &[u8]) -> impl Iterator<Item = u16> {
    list.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], ClientHelloError> {
        let (taken, rest) = self.rest.split_at_checked(bytes).ok_or(ClientHelloError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, ClientHelloError> {
        let (first, rest) = self.rest.split_first().ok_or(ClientHelloError::Truncated)?;
        self.rest = rest;
        Ok(*first)
    }

    fn u16(&mut self) -> Result<u16, ClientHelloError> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    /// A block under a length of two bytes.
    fn list_u16_bytes(&mut self) -> Result<Self, ClientHelloError> {
        let bytes = usize::from(self.u16()?);
        Ok(Self { rest: self.take(bytes)? })
    }

    /// A list of numbers of two bytes under a length of two bytes.
    fn list_u16(&mut self) -> Result<&'a [u8], ClientHelloError> {
        let list = self.list_u16_bytes()?.rest;
        if list.len().is_multiple_of(2) { Ok(list) } else { Err(ClientHelloError::Malformed) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fragments::Reassembly;
    use super::super::record::{ContentType, Records};
    use super::super::testing::vector;
    use super::*;

    fn first_hello(name: &str) -> (Vec<u8>, usize) {
        let mut reassembly = Reassembly::default();
        let mut complete = Vec::new();
        for (count, datagram) in vector(name).received.iter().enumerate() {
            for record in Records::new(datagram).map(Result::unwrap) {
                assert_eq!(record.content_type, ContentType::Handshake);
                reassembly.handle_content(record.content, usize::MAX, &mut complete).unwrap();
            }
            if let Some(message) = complete.pop() {
                assert_eq!((message.kind, message.sequence), (1, 0));
                return (message.body, count + 1);
            }
        }
        panic!("{name} has no whole ClientHello");
    }

    #[test]
    fn hellos_of_browsers_are_read_from_their_two_datagrams() {
        for (name, datagrams) in [("chromium-156", 2), ("firefox-153", 2), ("firefox-153-restart", 2), ("aiortc", 1)] {
            let (body, used) = first_hello(name);
            assert_eq!(used, datagrams, "{name}");
            let hello = parse(&body).unwrap();
            assert_eq!(hello.profile, Some(SrtpProfile::AeadAes128Gcm), "{name}");
            assert!(hello.cipher_suite && hello.extended_master_secret && hello.ecdsa_sha256, "{name}");
            assert!(hello.renegotiation_info && hello.point_formats, "{name}");
            assert_eq!(hello.group, Some(Group::X25519), "{name}");
            assert_eq!(hello.cookie, b"", "{name}");
            assert_eq!(hello.random, body[2..34], "{name}");
        }
    }

    #[test]
    fn gcm_is_chosen_whatever_the_clients_order() {
        let cases: [(&[u16], Option<SrtpProfile>); 7] = [
            (&[1, 2, 8, 7], Some(SrtpProfile::AeadAes128Gcm)),
            (&[7], Some(SrtpProfile::AeadAes128Gcm)),
            (&[1, 8], Some(SrtpProfile::AeadAes256Gcm)),
            (&[2, 1], Some(SrtpProfile::AesCm128HmacSha1_80)),
            (&[1], Some(SrtpProfile::AesCm128HmacSha1_80)),
            (&[2, 5, 6], None),
            (&[], None),
        ];
        for (offered, expected) in cases {
            assert_eq!(parse(&hello(&[(14, &srtp(offered))])).unwrap().profile, expected, "{offered:?}");
        }
        assert_eq!(parse(&hello(&[])).unwrap().profile, None);
    }

    #[test]
    fn the_cheapest_curve_of_those_offered_is_chosen_and_any_if_none_is_named() {
        let cases: [(&[u16], Option<Group>); 4] = [
            (&[23, 24, 29], Some(Group::X25519)),
            (&[4588, 23], Some(Group::Secp256r1)),
            (&[24, 25], None),
            (&[], None),
        ];
        for (offered, expected) in cases {
            let mut content = srtp(offered);
            content.pop();
            assert_eq!(parse(&hello(&[(10, &content)])).unwrap().group, expected, "{offered:?}");
        }
        assert_eq!(parse(&hello(&[])).unwrap().group, Some(Group::Secp256r1));
    }

    #[test]
    fn what_leaves_anything_open_is_refused() {
        let whole = hello(&[(14, &srtp(&[7])), (23, &[])]);
        assert!(parse(&whole).is_ok());
        for end in 0..whole.len() {
            assert_eq!(parse(&whole[..end]), Err(ClientHelloError::Truncated), "{end}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(parse(&longer), Err(ClientHelloError::Malformed));
        let mut version = whole;
        version[1] = 0xff;
        assert_eq!(parse(&version), Err(ClientHelloError::Version));
        // An extension of three bytes.
        let mut cut = hello(&[]);
        let at = cut.len() - 2;
        cut.splice(at.., [0, 3, 0, 99, 0]);
        assert_eq!(parse(&cut), Err(ClientHelloError::Truncated));
        assert_eq!(parse(&hello(&[(14, &srtp(&[1])), (14, &srtp(&[7]))])), Err(ClientHelloError::DuplicateExtension));
        let mut compressed = hello(&[]);
        let at = compressed.len() - 3;
        compressed[at] = 1;
        assert_eq!(parse(&compressed), Err(ClientHelloError::Malformed));
    }

    #[test]
    fn a_session_that_a_client_would_resume_is_no_reason_to_refuse_it() {
        for (bytes, expected) in [(0, true), (1, true), (32, true), (33, false)] {
            let mut body = hello(&[(14, &srtp(&[7]))]);
            let session: Vec<u8> = [&[u8::try_from(bytes).unwrap()][..], &vec![9; bytes]].concat();
            body.splice(34..35, session);
            let parsed = parse(&body);
            assert_eq!(parsed.is_ok(), expected, "{bytes}");
            assert!(parsed.is_ok_and(|hello| hello.profile.is_some()) || !expected, "{bytes}");
        }
    }

    #[test]
    fn every_single_changed_byte_of_a_real_hello_is_survived() {
        for name in ["chromium-156", "aiortc"] {
            let (body, _) = first_hello(name);
            let mut refused = 0;
            for at in 0..body.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut changed = body.clone();
                    changed[at] = value;
                    refused += usize::from(parse(&changed).is_err());
                }
            }
            assert!(refused > 20, "{name}: {refused}");
        }
    }

    fn srtp(profiles: &[u16]) -> Vec<u8> {
        let mut content = u16::try_from(profiles.len() * 2).unwrap().to_be_bytes().to_vec();
        content.extend(profiles.iter().flat_map(|profile| profile.to_be_bytes()));
        content.push(0);
        content
    }

    fn hello(extensions: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![0xfe, 0xfd];
        body.extend([7; 32]);
        body.extend([0, 0, 0, 2, 0xc0, 0x2b, 1, 0]);
        let mut block = Vec::new();
        for (kind, content) in extensions {
            block.extend(kind.to_be_bytes());
            block.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
            block.extend(*content);
        }
        body.extend(u16::try_from(block.len()).unwrap().to_be_bytes());
        body.extend(block);
        body
    }
}
