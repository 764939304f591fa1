//! Datagrams as attackers write them.

use aws_lc_rs::hmac;

const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const ICE_CONTROLLING: u16 = 0x802a;

/// Repeatable noise.
#[derive(Debug)]
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (splitmix64).
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_be_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// A binding request (RFC 8445 section 7.2.2) with `integrity` as it is.
pub(crate) fn binding_request(username: &str, noise: &mut Noise, integrity: &[u8]) -> Vec<u8> {
    let mut message = unsigned_request(username, noise);
    attribute(&mut message, MESSAGE_INTEGRITY, integrity);
    set_length(&mut message, 0);
    message
}

/// A binding request that is signed with `password`.
pub(crate) fn signed_request(username: &str, noise: &mut Noise, password: &str) -> Vec<u8> {
    let mut message = unsigned_request(username, noise);
    // The signature covers the length with the signature's attribute (RFC 8489 section 14.5).
    set_length(&mut message, 24);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &message);
    attribute(&mut message, MESSAGE_INTEGRITY, tag.as_ref());
    set_length(&mut message, 0);
    message
}

fn unsigned_request(username: &str, noise: &mut Noise) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0];
    message.extend_from_slice(&MAGIC_COOKIE);
    message.extend_from_slice(&noise.bytes(12));
    attribute(&mut message, USERNAME, username.as_bytes());
    attribute(&mut message, PRIORITY, &0x6e00_01ff_u32.to_be_bytes());
    attribute(&mut message, ICE_CONTROLLING, &[7; 8]);
    attribute(&mut message, USE_CANDIDATE, &[]);
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&u16::try_from(value.len()).unwrap().to_be_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn set_length(message: &mut [u8], more: usize) {
    let length = u16::try_from(message.len() - 20 + more).unwrap();
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

/// A DTLS 1.2 record (RFC 6347 section 4.1) of any content.
pub(crate) fn dtls_record(content_type: u8, epoch: u16, sequence: u32, content: &[u8]) -> Vec<u8> {
    let mut record = vec![content_type, 0xfe, 0xfd];
    record.extend_from_slice(&epoch.to_be_bytes());
    record.extend_from_slice(&[0, 0]);
    record.extend_from_slice(&sequence.to_be_bytes());
    record.extend_from_slice(&u16::try_from(content.len()).unwrap().to_be_bytes());
    record.extend_from_slice(content);
    record
}

/// An alert in the clear that says `close_notify`, which ends an association that believes it.
pub(crate) fn plain_alert(sequence: u32) -> Vec<u8> {
    dtls_record(21, 0, sequence, &[2, 0])
}

/// Something that looks like SRTP.
pub(crate) fn rtp(ssrc: u32, sequence: u16, noise: &mut Noise) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&noise.bytes(4));
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&noise.bytes(900));
    packet
}

/// Something that looks like SRTCP: a receiver report.
pub(crate) fn rtcp(ssrc: u32, noise: &mut Noise) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(&noise.bytes(40));
    packet
}
