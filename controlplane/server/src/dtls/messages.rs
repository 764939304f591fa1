//! The bodies of the server's handshake messages, and what is read from the client's (RFC 5246 section 7.4, RFC 8422).

use sluice_protocol::media::SrtpProfile;

use super::client_hello::{
    self, CIPHER_SUITE, ClientHello, ECDSA_SHA256, EXTENSION_EC_POINT_FORMATS, EXTENSION_EXTENDED_MASTER_SECRET,
    EXTENSION_RENEGOTIATION_INFO, EXTENSION_USE_SRTP, Group,
};
use super::peer_key::{CERTIFICATE_TYPES, SIGNATURE_SCHEMES};
use super::record::VERSION_1_2;

pub(super) const CLIENT_HELLO: u8 = 1;
pub(super) const SERVER_HELLO: u8 = 2;
pub(super) const HELLO_VERIFY_REQUEST: u8 = 3;
pub(super) const CERTIFICATE: u8 = 11;
pub(super) const SERVER_KEY_EXCHANGE: u8 = 12;
pub(super) const CERTIFICATE_REQUEST: u8 = 13;
pub(super) const SERVER_HELLO_DONE: u8 = 14;
pub(super) const CERTIFICATE_VERIFY: u8 = 15;
pub(super) const CLIENT_KEY_EXCHANGE: u8 = 16;
pub(super) const FINISHED: u8 = 20;

/// The version DTLS 1.0, which a `HelloVerifyRequest` carries (RFC 6347 section 4.2.1).
const VERSION_1_0: [u8; 2] = [0xfe, 0xff];
/// `ECCurveType` of a curve by number (RFC 8422 section 5.4).
const NAMED_CURVE: u8 = 3;

/// Writes a `HelloVerifyRequest` (RFC 6347 section 4.2.1).
pub(super) fn hello_verify_request(cookie: &[u8; 20]) -> Vec<u8> {
    let [v0, v1] = VERSION_1_0;
    [&[v0, v1, 20], cookie.as_slice()].concat()
}

/// Writes a `ServerHello` that answers what the client offered, and no extension that it did not.
pub(super) fn server_hello(hello: &ClientHello<'_>, random: &[u8; 32], profile: SrtpProfile) -> Vec<u8> {
    let mut extensions = Vec::with_capacity(32);
    let mut extension = |kind: u16, content: &[u8]| {
        extensions.extend_from_slice(&kind.to_be_bytes());
        push_u16_bytes(&mut extensions, content);
    };
    extension(EXTENSION_EXTENDED_MASTER_SECRET, &[]);
    if hello.renegotiation_info {
        extension(EXTENSION_RENEGOTIATION_INFO, &[0]);
    }
    if hello.point_formats {
        extension(EXTENSION_EC_POINT_FORMATS, &[1, 0]);
    }
    let [p0, p1] = client_hello::profile_number(profile).to_be_bytes();
    extension(EXTENSION_USE_SRTP, &[0, 2, p0, p1, 0]);
    let mut body = Vec::with_capacity(80);
    body.extend_from_slice(&VERSION_1_2);
    body.extend_from_slice(random);
    body.push(0); // no session
    body.extend_from_slice(&CIPHER_SUITE.to_be_bytes());
    body.push(0); // no compression
    push_u16_bytes(&mut body, &extensions);
    body
}

/// Writes a Certificate of one certificate.
pub(super) fn certificate(der: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(der.len() + 6);
    for bytes in [der.len() + 3, der.len()] {
        let [_, length @ ..] = u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
        body.extend_from_slice(&length);
    }
    body.extend_from_slice(der);
    body
}

/// Writes the parameters of a `ServerKeyExchange`: what is signed together with both random numbers.
pub(super) fn key_exchange_parameters(group: Group, public_key: &[u8]) -> Vec<u8> {
    let [g0, g1] = group.number().to_be_bytes();
    let length = u8::try_from(public_key.len()).unwrap_or(u8::MAX);
    [&[NAMED_CURVE, g0, g1, length], public_key].concat()
}

/// Writes a `ServerKeyExchange` from its parameters and their signature.
pub(super) fn server_key_exchange(parameters: &[u8], signature: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(parameters.len() + signature.len() + 4);
    body.extend_from_slice(parameters);
    body.extend_from_slice(&ECDSA_SHA256.to_be_bytes());
    push_u16_bytes(&mut body, signature);
    body
}

/// Writes a `CertificateRequest` for any certificate of the kinds that are verified.
pub(super) fn certificate_request() -> Vec<u8> {
    let schemes: Vec<u8> = SIGNATURE_SCHEMES.iter().flat_map(|scheme| scheme.to_be_bytes()).collect();
    let mut body = Vec::with_capacity(32);
    body.push(u8::try_from(CERTIFICATE_TYPES.len()).unwrap_or(u8::MAX));
    body.extend_from_slice(&CERTIFICATE_TYPES);
    push_u16_bytes(&mut body, &schemes);
    body.extend_from_slice(&[0, 0]); // of any authority
    body
}

/// Reads the first certificate of a Certificate: `Some(None)` is an empty list, `None` not a list at all.
pub(super) fn first_certificate(body: &[u8]) -> Option<Option<&[u8]>> {
    let (mut list, []) = split_u24(body)? else { return None };
    let mut first = None;
    while !list.is_empty() {
        let (certificate, rest) = split_u24(list)?;
        first = first.or(Some(certificate));
        list = rest;
    }
    Some(first)
}

/// Reads the point of a `ClientKeyExchange`, which has the curve's length.
pub(super) fn client_public_key(body: &[u8], group: Group) -> Option<&[u8]> {
    let (length, point) = body.split_first()?;
    (usize::from(*length) == point.len() && point.len() == group.public_key_bytes()).then_some(point)
}

/// Reads scheme and signature of a `CertificateVerify`.
pub(super) fn certificate_verify(body: &[u8]) -> Option<(u16, &[u8])> {
    let ([s0, s1, l0, l1], signature) = body.split_first_chunk()?;
    let whole = signature.len() == usize::from(u16::from_be_bytes([*l0, *l1]));
    whole.then_some((u16::from_be_bytes([*s0, *s1]), signature))
}

fn push_u16_bytes(to: &mut Vec<u8>, content: &[u8]) {
    to.extend_from_slice(&u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes());
    to.extend_from_slice(content);
}

fn split_u24(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let ([high, middle, low], rest) = bytes.split_first_chunk::<3>()?;
    let length = usize::from(*high) << 16 | usize::from(u16::from_be_bytes([*middle, *low]));
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_was_written_is_the_first_that_is_read() {
        assert_eq!(first_certificate(&certificate(b"der")), Some(Some(b"der".as_slice())));
        let two = [&[0, 0, 10][..], &[0, 0, 1, 7], &[0, 0, 3, 1, 2, 3]].concat();
        assert_eq!(first_certificate(&two), Some(Some([7].as_slice())));
        assert_eq!(first_certificate(&[0, 0, 0]), Some(None));
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        for body in [&[][..], &[0, 0], &[0, 0, 3, 0xff, 0xff, 0xff], &[0, 0, 1, 0], &[0, 0, 0, 0]] {
            assert_eq!(first_certificate(body), None, "{body:?}");
        }
        let point = [&[32][..], &[9; 32]].concat();
        assert_eq!(client_public_key(&point, Group::X25519), Some([9; 32].as_slice()));
        assert_eq!(client_public_key(&point, Group::Secp256r1), None);
        assert_eq!(client_public_key(&point[..32], Group::X25519), None);
        assert_eq!(client_public_key(&[0], Group::X25519), None);
        assert_eq!(client_public_key(&[], Group::X25519), None);
        assert_eq!(certificate_verify(&[4, 3, 0, 2, 8, 9]), Some((0x0403, [8, 9].as_slice())));
        assert_eq!(certificate_verify(&[4, 3, 0, 9, 0]), None);
        assert_eq!(certificate_verify(&[4, 3, 0]), None);
    }
}
