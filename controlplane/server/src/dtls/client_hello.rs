//! Reads from a `ClientHello` what decides how the handshake is answered (RFC 6347 section 4.2.1, RFC 5764 section 4.1).
//!
//! The library answers with the first SRTP profile in the *client's* order, and Chromium puts
//! `AES_CM_128_HMAC_SHA1_80` first. So the offer is read here before the library sees it, and the library is told one
//! profile. The parser is strict where the library is not: a message that it accepts does not make the library panic.

use sluice_protocol::media::SrtpProfile;

/// The extension `use_srtp` (RFC 5764 section 9).
const EXTENSION_USE_SRTP: u16 = 14;
/// The extension `extended_master_secret` (RFC 7627 section 5.1).
const EXTENSION_EXTENDED_MASTER_SECRET: u16 = 23;
/// `ProtocolVersion` 1.2, which a client that also speaks 1.3 sends too.
const VERSION_1_2: u16 = 0xfefd;
/// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256` (RFC 5289), the one suite that we take: our certificate is ECDSA, and the
/// library would take an RSA suite of a client that prefers it and then fail.
const CIPHER_SUITE: u16 = 0xc02b;

/// What a `ClientHello` offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientHello {
    /// The SRTP profile that we choose; none if there is no `use_srtp` with one that we have.
    pub(super) profile: Option<SrtpProfile>,
    /// Whether the one cipher suite that we take is offered.
    pub(super) cipher_suite: bool,
    /// Whether the extended master secret is offered.
    pub(super) extended_master_secret: bool,
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
pub(super) fn parse(body: &[u8]) -> Result<ClientHello, ClientHelloError> {
    let mut reader = Reader { rest: body };
    if reader.u16()? != VERSION_1_2 {
        return Err(ClientHelloError::Version);
    }
    reader.take(32)?; // random
    if reader.u8()? != 0 {
        // We never give out a session, and the library reads no id here.
        return Err(ClientHelloError::Malformed);
    }
    let cookie_bytes = usize::from(reader.u8()?);
    reader.take(cookie_bytes)?;
    let cipher_suites = reader.list_u16()?;
    let compression_bytes = usize::from(reader.u8()?);
    reader.take(compression_bytes)?;
    let mut hello = ClientHello {
        profile: None,
        cipher_suite: numbers(cipher_suites).any(|suite| suite == CIPHER_SUITE),
        extended_master_secret: false,
    };
    let mut extensions = reader.list_u16_bytes()?;
    if !reader.rest.is_empty() {
        return Err(ClientHelloError::Malformed);
    }
    let mut seen_srtp = false;
    while !extensions.rest.is_empty() {
        let kind = extensions.u16()?;
        let content = extensions.list_u16_bytes()?;
        match kind {
            EXTENSION_USE_SRTP if seen_srtp => return Err(ClientHelloError::DuplicateExtension),
            EXTENSION_USE_SRTP => {
                seen_srtp = true;
                hello.profile = use_srtp(content)?;
            }
            EXTENSION_EXTENDED_MASTER_SECRET => hello.extended_master_secret = true,
            _ => {}
        }
    }
    Ok(hello)
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
                reassembly.handle_content(record.content, &mut complete).unwrap();
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
            let expected = ClientHello {
                profile: Some(SrtpProfile::AeadAes128Gcm),
                cipher_suite: true,
                extended_master_secret: true,
            };
            assert_eq!(parse(&body), Ok(expected), "{name}");
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
    fn what_would_make_the_library_panic_is_refused() {
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
        // An extension of three bytes: the library reads its length beyond the end.
        let mut cut = hello(&[]);
        let at = cut.len() - 2;
        cut.splice(at.., [0, 3, 0, 99, 0]);
        assert_eq!(parse(&cut), Err(ClientHelloError::Truncated));
        assert_eq!(parse(&hello(&[(14, &srtp(&[1])), (14, &srtp(&[7]))])), Err(ClientHelloError::DuplicateExtension));
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
