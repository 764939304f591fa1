//! The records of an association after its handshake: `AES_128_GCM` of DTLS 1.2 (RFC 6347 section 4.1, RFC 5288).
//!
//! After the handshake there is little left to do, and all of it is here, without I/O:
//!
//! - Application data is opened and sealed.
//! - A repeated Finished means that our last flight was lost: it is sent again byte for byte, so no number seals two
//!   things.
//! - `close_notify` and fatal alerts end the association. Only authenticated ones: the clear ones of epoch 0 are
//!   dropped, as is everything else of epoch 0.
//! - [`Dtls12::export`] writes what goes on after a restart, [`Dtls12::resume`] reads it and skips 2^32 numbers.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use tokio::sync::mpsc;
use zeroize::Zeroizing;

use super::admission::FINISHED_CONTENT_BYTES;
use super::endpoint::Outgoing;
use super::error::Error;
use super::handshake;
use super::key_schedule::{Secrets, WriteKey};
use super::limits::{APPLICATION_DATA_BYTES_MAX, FINAL_FLIGHT_BYTES_MAX, FINAL_FLIGHT_REPEATS_MAX};
use super::record::{self, ContentType, Record, Records};
use super::replay::ReplayWindow;
use super::session::{Config, Established, Opened, Session};

/// Bytes of a record's explicit nonce.
const EXPLICIT_NONCE_BYTES: usize = 8;
/// Bytes of the tag.
const TAG_BYTES: usize = 16;
/// Largest sequence number of a record (RFC 6347 section 4.1).
const SEQUENCE_MAX: u64 = (1 << 48) - 1;
/// What a restart adds to the number of our next record. It must exceed what one life of the control plane sends after
/// it parked the state: 2^32 records of 1,200 bytes are 5 terabytes, and 2^16 restarts are possible. 2^20 would be used
/// up in two minutes of busy data channels.
const SEQUENCE_SKIP: u64 = 1 << 32;
/// The layout of [`Dtls12::export`].
const STATE_VERSION: u8 = 1;

const ALERT_LEVEL_WARNING: u8 = 1;
const ALERT_LEVEL_FATAL: u8 = 2;
const ALERT_CLOSE_NOTIFY: u8 = 0;

/// An established association.
pub(super) struct Dtls12 {
    local: WriteKey,
    remote: WriteKey,
    sequence_next: u64,
    window: ReplayWindow,
    final_flight: Vec<u8>,
    repeats: u8,
    dropped: u64,
}

impl Dtls12 {
    /// Begins with the first record of epoch 1 in both directions, which is each side's Finished.
    pub(super) fn new(secrets: &Secrets) -> Self {
        let (remote, local) = secrets.write_keys();
        let window = ReplayWindow::default();
        Self { local, remote, sequence_next: 0, window, final_flight: Vec::new(), repeats: 0, dropped: 0 }
    }

    /// Keeps the last datagram of the handshake, to be repeated to a client that has not heard it.
    pub(super) fn keep_final_flight(&mut self, datagram: &[u8]) {
        if datagram.len() <= FINAL_FLIGHT_BYTES_MAX {
            self.final_flight = datagram.to_vec();
        }
    }

    const fn may_repeat(&self) -> bool {
        self.repeats < FINAL_FLIGHT_REPEATS_MAX && !self.final_flight.is_empty()
    }

    /// Seals a record into a datagram of its own.
    pub(super) fn seal(&mut self, content_type: ContentType, content: &[u8]) -> Result<Vec<u8>, Error> {
        let sequence = self.sequence_next;
        if sequence > SEQUENCE_MAX {
            return Err(Error::ApplicationData("the record numbers are used up"));
        }
        self.sequence_next += 1;
        let explicit = epoch_and_sequence(sequence);
        let length = u16::try_from(EXPLICIT_NONCE_BYTES + content.len() + TAG_BYTES)
            .expect("content is bounded by APPLICATION_DATA_BYTES_MAX");
        let mut datagram = Vec::with_capacity(record::HEADER_BYTES + usize::from(length));
        datagram.extend_from_slice(&record::write_header(content_type, 1, sequence, length));
        datagram.extend_from_slice(&explicit);
        let mut sealed = content.to_vec();
        let aad = additional_data(explicit, content_type, content.len());
        self.local
            .cipher()
            .seal_in_place_append_tag(self.local.nonce(explicit), Aad::from(aad), &mut sealed)
            .expect("a record is far below the cipher's limit");
        datagram.append(&mut sealed);
        Ok(datagram)
    }

    /// Opens a record of epoch 1 that is authentic, not repeated, and of a kind that is expected.
    pub(super) fn open(&mut self, record: &Record<'_>) -> Option<(ContentType, Vec<u8>)> {
        let expected = match record.content_type {
            // Nothing but a Finished is expected: no renegotiation.
            ContentType::Handshake => record.content.len() == FINISHED_CONTENT_BYTES,
            ContentType::Alert | ContentType::ApplicationData => true,
            ContentType::ChangeCipherSpec | ContentType::Unknown => false,
        };
        if record.epoch != 1 || !expected || !self.window.may_accept(record.sequence) {
            return None;
        }
        let (explicit, sealed) = record.content.split_first_chunk::<EXPLICIT_NONCE_BYTES>()?;
        let content_bytes = sealed.len().checked_sub(TAG_BYTES)?;
        let aad = additional_data(epoch_and_sequence(record.sequence), record.content_type, content_bytes);
        let mut content = sealed.to_vec();
        let opened = self.remote.cipher().open_in_place(self.remote.nonce(*explicit), Aad::from(aad), &mut content);
        opened.ok()?;
        content.truncate(content_bytes);
        self.window.accept(record.sequence);
        Some((record.content_type, content))
    }
}

impl Session for Dtls12 {
    async fn handshake(
        config: &Config,
        incoming: &mut mpsc::Receiver<Bytes>,
        outgoing: &Outgoing,
    ) -> Result<Established<Self>, Error> {
        handshake::run(config, incoming, outgoing).await
    }

    /// Skips the numbers that may have been used since the state was exported.
    fn resume(state: &[u8]) -> Result<Self, Error> {
        let mut reader = StateReader { rest: state };
        if reader.array()? != [STATE_VERSION] {
            return Err(Error::State("it was written by another version"));
        }
        let local = reader.write_key()?;
        let remote = reader.write_key()?;
        let sequence_next = u64::from_be_bytes(reader.array()?)
            .checked_add(SEQUENCE_SKIP)
            .filter(|next| *next <= SEQUENCE_MAX)
            .ok_or(Error::State("its record numbers are used up"))?;
        let window = ReplayWindow::above(u64::from_be_bytes(reader.array()?));
        let [repeats] = reader.array()?;
        let final_flight = reader.rest.to_vec();
        if final_flight.len() > FINAL_FLIGHT_BYTES_MAX {
            return Err(Error::State("it is too long"));
        }
        Ok(Self { local, remote, sequence_next, window, final_flight, repeats, dropped: 0 })
    }

    /// Writes the state: version, our key and salt, the peer's, our next number, the lowest number that is still
    /// accepted, repetitions, last flight.
    fn export(&self) -> Vec<u8> {
        let mut state = vec![STATE_VERSION];
        for direction in [&self.local, &self.remote] {
            state.extend_from_slice(&*direction.key);
            state.extend_from_slice(&*direction.salt);
        }
        state.extend_from_slice(&self.sequence_next.to_be_bytes());
        state.extend_from_slice(&self.window.next().to_be_bytes());
        state.push(self.repeats);
        state.extend_from_slice(&self.final_flight);
        state
    }

    fn handle_datagram(&mut self, datagram: &[u8], mut report: impl FnMut(Opened)) {
        for record in Records::new(datagram) {
            let opened = record.ok().and_then(|record| self.open(&record));
            let Some((content_type, content)) = opened else {
                self.dropped += 1;
                continue;
            };
            match (content_type, content.as_slice()) {
                (ContentType::ApplicationData, _) => report(Opened::ApplicationData(content)),
                (ContentType::Handshake, _) if self.may_repeat() => {
                    self.repeats += 1;
                    report(Opened::Repeat(self.final_flight.clone()));
                }
                (ContentType::Alert, [_, ALERT_CLOSE_NOTIFY]) => {
                    return report(Opened::Closed(self.seal_close_notify().unwrap_or_default()));
                }
                (ContentType::Alert, [ALERT_LEVEL_FATAL, description]) => {
                    return report(Opened::FatalAlert(*description));
                }
                _ => self.dropped += 1,
            }
        }
    }

    fn seal_application_data(&mut self, data: &[u8]) -> Result<Vec<u8>, Error> {
        if data.len() > APPLICATION_DATA_BYTES_MAX {
            return Err(Error::ApplicationData("it is longer than a datagram"));
        }
        self.seal(ContentType::ApplicationData, data)
    }

    fn seal_close_notify(&mut self) -> Result<Vec<u8>, Error> {
        self.seal(ContentType::Alert, &[ALERT_LEVEL_WARNING, ALERT_CLOSE_NOTIFY])
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl WriteKey {
    /// Makes the cipher's context. It is not kept, since it is far larger than all the rest of an idle association.
    fn cipher(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &*self.key).expect("the key has the cipher's length"))
    }

    fn nonce(&self, explicit: [u8; EXPLICIT_NONCE_BYTES]) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&*self.salt);
        nonce[4..].copy_from_slice(&explicit);
        Nonce::assume_unique_for_key(nonce)
    }
}

const fn epoch_and_sequence(sequence: u64) -> [u8; 8] {
    ((1 << 48) | sequence).to_be_bytes()
}

/// RFC 5246 section 6.2.3.3, with epoch and number as RFC 6347 section 4.1.2.1 has them.
fn additional_data(number: [u8; 8], content_type: ContentType, content_bytes: usize) -> [u8; 13] {
    let mut aad = [0; 13];
    aad[..8].copy_from_slice(&number);
    aad[8] = content_type.number();
    aad[9..11].copy_from_slice(&record::VERSION_1_2);
    aad[11..].copy_from_slice(&u16::try_from(content_bytes).unwrap_or(u16::MAX).to_be_bytes());
    aad
}

struct StateReader<'a> {
    rest: &'a [u8],
}

impl StateReader<'_> {
    fn write_key(&mut self) -> Result<WriteKey, Error> {
        Ok(WriteKey { key: Zeroizing::new(self.array()?), salt: Zeroizing::new(self.array()?) })
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Error::State("it is cut short"))?;
        self.rest = rest;
        Ok(*array)
    }
}
