//! What of a client's datagrams reaches the library during the handshake.
//!
//! The library was written for peers that mean well: single records can end its handshake, fill its memory, overflow
//! its stack or make it panic. It gets whole, checked handshake messages, and only the records that a handshake has:
//!
//! | epoch | record | |
//! |---|---|---|
//! | 0 | handshake | put together, checked, passed on as one fragment |
//! | 0 | change-cipher-spec | passed on when it is one byte of 1 |
//! | 0 | alert | remembered, so that the failure can be named, and passed on |
//! | 1 | handshake | passed on when it is as long as a Finished |
//! | 1 | alert, application data | kept for after the handshake: the client sends at once |
//! | any | the rest | dropped and counted |

use bytes::Bytes;
use sluice_protocol::media::SrtpProfile;

use super::client_hello;
use super::error::Error;
use super::fragments::{self, Message, Reassembly};
use super::limits::{EARLY_DATAGRAMS_MAX, HANDSHAKE_RECORDS_MAX, LIBRARY_READ_BYTES_MAX};
use super::record::{self, ContentType, Record, Records};

/// Bytes of an encrypted Finished: explicit nonce 8, message header 12, verify data 12, tag 16.
pub(super) const FINISHED_CONTENT_BYTES: usize = 48;

const CLIENT_HELLO: u8 = 1;
const CERTIFICATE: u8 = 11;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;
const ALERT_LEVEL_FATAL: u8 = 2;

/// The gate in front of the library for one handshake.
#[derive(Debug, Default)]
pub(super) struct Admission {
    reassembly: Reassembly,
    profile: Option<SrtpProfile>,
    records: usize,
    early: Vec<Bytes>,
    fatal_alert: Option<u8>,
    dropped: u64,
}

impl Admission {
    /// Takes a client's datagram and returns what the library may see of it, as datagrams of at most
    /// [`LIBRARY_READ_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// What the `ClientHello` lacks. Everything else that is wrong is dropped and counted, since anybody on the path
    /// could have sent it.
    pub(super) fn handle_datagram(&mut self, datagram: &Bytes) -> Result<Vec<Vec<u8>>, Error> {
        let mut out = Vec::new();
        let mut early = false;
        for record in Records::new(datagram) {
            let Ok(record) = record else {
                self.dropped += 1;
                break;
            };
            match (record.epoch, record.content_type) {
                (0, ContentType::Handshake) => self.handle_messages(&record, &mut out)?,
                (0, ContentType::ChangeCipherSpec) if record.content == [1] => self.pass(record.bytes, &mut out),
                (0, ContentType::Alert) if record.content.len() == 2 => {
                    if let [ALERT_LEVEL_FATAL, description] = record.content {
                        self.fatal_alert = Some(*description);
                    }
                    self.pass(record.bytes, &mut out);
                }
                (1, ContentType::Handshake) if record.content.len() == FINISHED_CONTENT_BYTES => {
                    self.pass(record.bytes, &mut out);
                }
                (1, ContentType::Alert | ContentType::ApplicationData) => early = true,
                _ => self.dropped += 1,
            }
        }
        if early && self.early.len() < EARLY_DATAGRAMS_MAX {
            self.early.push(datagram.clone());
        } else if early {
            self.dropped += 1;
        }
        Ok(out)
    }

    /// Returns the SRTP profile to offer, once the `ClientHello` was read.
    pub(super) const fn profile(&self) -> Option<SrtpProfile> {
        self.profile
    }

    /// Returns the description of the last fatal alert that came in the clear.
    pub(super) const fn fatal_alert(&self) -> Option<u8> {
        self.fatal_alert
    }

    /// Returns how many records and early datagrams were dropped.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Gives out the datagrams that hold records for after the handshake.
    pub(super) fn take_early(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.early)
    }

    fn handle_messages(&mut self, record: &Record<'_>, out: &mut Vec<Vec<u8>>) -> Result<(), Error> {
        let mut complete = Vec::new();
        if self.reassembly.handle_content(record.content, &mut complete).is_err() {
            self.dropped += 1;
        }
        let mut content = Vec::new();
        for message in complete {
            if self.accept(&message)? {
                message.write(&mut content);
            } else {
                self.dropped += 1;
            }
        }
        // Messages fit one by one; only several long ones of one record would not fit together.
        match u16::try_from(content.len()) {
            Ok(length) if length > 0 && content.len() + record::HEADER_BYTES <= LIBRARY_READ_BYTES_MAX => {
                let mut bytes = record::write_header(ContentType::Handshake, 0, record.sequence, length).to_vec();
                bytes.append(&mut content);
                self.pass(&bytes, out);
            }
            Ok(0) => {}
            _ => self.dropped += 1,
        }
        Ok(())
    }

    fn accept(&mut self, message: &Message) -> Result<bool, Error> {
        match message.kind {
            CLIENT_HELLO => self.accept_client_hello(message),
            CERTIFICATE => Ok(is_certificate_list(&message.body)),
            // One length byte and a point (RFC 8422 section 5.7); the library reads two bytes of any.
            CLIENT_KEY_EXCHANGE => Ok(matches!(*message.body.as_slice(),
                    [length, ref point @ ..] if point.len() == usize::from(length) && point.len() >= 32)),
            // Hash, signature, and the signature under a length of two bytes (RFC 5246 section 4.7).
            CERTIFICATE_VERIFY => Ok(matches!(*message.body.as_slice(),
                    [_, _, l0, l1, ref signature @ ..]
                        if signature.len() == usize::from(u16::from_be_bytes([l0, l1])))),
            _ => Ok(false),
        }
    }

    fn accept_client_hello(&mut self, message: &Message) -> Result<bool, Error> {
        let parsed = client_hello::parse(&message.body);
        if self.profile.is_some() {
            // The second one repeats the first with a cookie; the library compares nothing but the cookie.
            return Ok(parsed.is_ok());
        }
        let hello = parsed.map_err(|_| Error::ClientHello)?;
        if !hello.cipher_suite {
            return Err(Error::NoCipherSuite);
        }
        if !hello.extended_master_secret {
            return Err(Error::NoExtendedMasterSecret);
        }
        self.profile = Some(hello.profile.ok_or(Error::NoSrtpProfile)?);
        Ok(true)
    }

    /// Appends a record, to the last datagram if it fits.
    fn pass(&mut self, record: &[u8], out: &mut Vec<Vec<u8>>) {
        if self.records == HANDSHAKE_RECORDS_MAX || self.profile.is_none() {
            self.dropped += 1;
            return;
        }
        self.records += 1;
        match out.last_mut() {
            Some(last) if last.len() + record.len() <= LIBRARY_READ_BYTES_MAX => last.extend_from_slice(record),
            _ => out.push(record.to_vec()),
        }
    }
}

/// A list under a length of three bytes, of at least zero certificates under theirs (RFC 5246 section 7.4.2).
fn is_certificate_list(body: &[u8]) -> bool {
    let Some((mut list, [])) = split_u24(body) else { return false };
    while !list.is_empty() {
        let Some((_, rest)) = split_u24(list) else { return false };
        list = rest;
    }
    true
}

fn split_u24(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let ([high, middle, low], rest) = bytes.split_first_chunk::<3>()?;
    let length = usize::from(*high) << 16 | usize::from(u16::from_be_bytes([*middle, *low]));
    rest.split_at_checked(length)
}

const _: () = assert!(FINISHED_CONTENT_BYTES == 8 + fragments::HEADER_BYTES + 12 + 16);

#[cfg(test)]
mod tests {
    use super::super::testing::vector;
    use super::*;

    fn admitted(admission: &mut Admission, datagram: &[u8]) -> usize {
        admission.handle_datagram(&Bytes::copy_from_slice(datagram)).unwrap().len()
    }

    fn record(content_type: ContentType, epoch: u16, content: &[u8]) -> Vec<u8> {
        let mut bytes = record::write_header(content_type, epoch, 9, u16::try_from(content.len()).unwrap()).to_vec();
        bytes.extend_from_slice(content);
        bytes
    }

    fn message(kind: u8, sequence: u16, body: &[u8]) -> Vec<u8> {
        let mut content = Vec::new();
        Message { kind, sequence, body: body.to_vec() }.write(&mut content);
        record(ContentType::Handshake, 0, &content)
    }

    #[test]
    fn a_hello_of_two_datagrams_is_passed_on_whole_when_its_second_half_came() {
        let flights = vector("chromium-156").received;
        for order in [[0, 1], [1, 0]] {
            let mut admission = Admission::default();
            assert_eq!(admission.handle_datagram(&flights[order[0]]).unwrap(), Vec::<Vec<u8>>::new());
            assert_eq!(admission.profile(), None);
            let out = admission.handle_datagram(&flights[order[1]]).unwrap();
            assert_eq!(admission.profile(), Some(SrtpProfile::AeadAes128Gcm));
            assert_eq!(out.len(), 1);
            // One fragment: offset 0, as long as the message.
            let whole = out[0].len() - record::HEADER_BYTES - fragments::HEADER_BYTES;
            assert_eq!(whole, 0x585, "the length that the fragments name");
        }
    }

    #[test]
    fn whole_handshakes_of_real_clients_are_admitted_but_for_what_is_kept_for_later() {
        for (name, early) in [("chromium-156", 0), ("firefox-153", 1), ("aiortc", 8)] {
            let mut admission = Admission::default();
            for datagram in &vector(name).received {
                admission.handle_datagram(datagram).unwrap();
            }
            assert_eq!(admission.dropped(), 0, "{name}");
            assert_eq!(admission.take_early().len(), early, "{name}");
        }
    }

    #[test]
    fn records_that_would_end_or_confuse_the_handshake_are_dropped() {
        let mut admission = Admission::default();
        for datagram in &vector("aiortc").received[..1] {
            assert_eq!(admitted(&mut admission, datagram), 1);
        }
        let bad = [
            record(ContentType::ApplicationData, 0, b"abc"),
            record(ContentType::Unknown, 0, b"abc"),
            record(ContentType::Unknown, 1, b"abc"),
            record(ContentType::ChangeCipherSpec, 0, &[]),
            record(ContentType::ChangeCipherSpec, 0, &[2]),
            record(ContentType::ChangeCipherSpec, 1, &[1]),
            record(ContentType::Alert, 0, &[2]),
            record(ContentType::Handshake, 1, &[0; 47]),
            record(ContentType::Handshake, 2, &[0; 48]),
            record(ContentType::Handshake, 0, &[1, 2, 3]),
            message(CLIENT_HELLO, 1, &[0xfe, 0xfd, 1]),
            message(CLIENT_KEY_EXCHANGE, 3, &[0]),
            message(CLIENT_KEY_EXCHANGE, 3, &[]),
            message(CERTIFICATE, 2, &[0, 0, 3, 0xff, 0xff, 0xff]),
            message(CERTIFICATE_VERIFY, 4, &[4, 3, 0, 9, 0]),
            message(2, 1, &[0; 80]),
            vec![22, 0xfe, 0xfd],
        ];
        for (count, datagram) in bad.iter().enumerate() {
            assert_eq!(admitted(&mut admission, datagram), 0, "{datagram:?}");
            assert_eq!(admission.dropped(), count as u64 + 1, "{datagram:?}");
        }
        assert_eq!(admitted(&mut admission, &message(CERTIFICATE, 2, &[0, 0, 0])), 1);
        assert_eq!(admitted(&mut admission, &record(ContentType::Alert, 0, &[2, 42])), 1);
        assert_eq!(admission.fatal_alert(), Some(42));
    }

    #[test]
    fn a_flood_stops_at_the_limits() {
        let mut admission = Admission::default();
        admitted(&mut admission, &vector("aiortc").received[0]);
        let flood = record(ContentType::Handshake, 1, &[0; FINISHED_CONTENT_BYTES]);
        let passed: usize = (0..2 * HANDSHAKE_RECORDS_MAX).map(|_| admitted(&mut admission, &flood)).sum();
        assert_eq!(passed, HANDSHAKE_RECORDS_MAX - 1);
        for _ in 0..2 * EARLY_DATAGRAMS_MAX {
            admitted(&mut admission, &record(ContentType::ApplicationData, 1, &[0; 40]));
        }
        assert_eq!(admission.take_early().len(), EARLY_DATAGRAMS_MAX);
    }
}
