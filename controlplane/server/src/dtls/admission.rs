//! What of a client's datagrams belongs to the handshake.
//!
//! | epoch | record | |
//! |---|---|---|
//! | 0 | handshake | put together from its fragments |
//! | 0 | change-cipher-spec | taken for granted: the epoch of what follows says the same |
//! | 0 | alert | a fatal one is told: anybody could have sent it |
//! | 1 | handshake | handed on when it is as long as a Finished |
//! | 1 | alert, application data | kept for after the handshake: the client sends at once |
//! | any | the rest | dropped and counted |

use bytes::Bytes;

use super::fragments::{self, Message, Reassembly};
use super::key_schedule::VERIFY_DATA_BYTES;
use super::limits::{EARLY_BYTES_MAX, EARLY_DATAGRAMS_MAX, HANDSHAKE_RECORDS_MAX};
use super::record::{ContentType, Record, Records};

/// Bytes of an encrypted Finished: explicit nonce, message header, verify data, tag.
pub(super) const FINISHED_CONTENT_BYTES: usize = 8 + fragments::HEADER_BYTES + VERIFY_DATA_BYTES + 16;

const ALERT_LEVEL_FATAL: u8 = 2;

/// What a handshake takes note of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// A whole message in the clear.
    Message(Message),
    /// A record of epoch 1 that may be the Finished.
    Protected(Vec<u8>),
    /// The client gave up, for this reason (RFC 5246 section 7.2.2), if it is the client's.
    FatalAlert(u8),
}

/// The gate in front of one handshake.
#[derive(Debug, Default)]
pub(super) struct Admission {
    reassembly: Reassembly,
    /// How much was admitted; fragments and nonsense do not count.
    records: usize,
    early: Vec<Bytes>,
    dropped: u64,
}

impl Admission {
    /// Takes a client's datagram and returns what the handshake takes note of. What is wrong is dropped and counted,
    /// since anybody on the path could have sent it.
    pub(super) fn handle_datagram(&mut self, datagram: &Bytes) -> Vec<Admitted> {
        let mut admitted = Vec::new();
        let mut early = false;
        for record in Records::new(datagram) {
            let Ok(record) = record else {
                self.dropped += 1;
                break;
            };
            if (record.epoch, record.content_type) == (1, ContentType::Alert)
                || (record.epoch, record.content_type) == (1, ContentType::ApplicationData)
            {
                early = true;
            } else if self.records >= HANDSHAKE_RECORDS_MAX {
                self.dropped += 1;
            } else {
                let before = admitted.len();
                self.handle_record(&record, &mut admitted);
                self.records += admitted.len() - before;
            }
        }
        let early_bytes = datagram.len() + self.early.iter().map(Bytes::len).sum::<usize>();
        if early && self.early.len() < EARLY_DATAGRAMS_MAX && early_bytes <= EARLY_BYTES_MAX {
            self.early.push(datagram.clone());
        } else if early {
            self.dropped += 1;
        }
        admitted
    }

    /// Counts what was admitted and then made no sense.
    pub(super) const fn drop_one(&mut self) {
        self.dropped += 1;
    }

    /// Returns how many records, messages and early datagrams were dropped.
    pub(super) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Gives out the datagrams that hold records for after the handshake.
    pub(super) fn take_early(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.early)
    }

    fn handle_record(&mut self, record: &Record<'_>, admitted: &mut Vec<Admitted>) {
        match (record.epoch, record.content_type, record.content) {
            (0, ContentType::Handshake, content) => {
                let mut complete = Vec::new();
                let left = HANDSHAKE_RECORDS_MAX.saturating_sub(self.records);
                if self.reassembly.handle_content(content, left, &mut complete).is_err() {
                    self.dropped += 1;
                }
                admitted.extend(complete.into_iter().map(Admitted::Message));
            }
            (0, ContentType::Alert, [ALERT_LEVEL_FATAL, description]) => {
                admitted.push(Admitted::FatalAlert(*description));
            }
            (0, ContentType::ChangeCipherSpec, [1]) | (0, ContentType::Alert, [_, _]) => {}
            (1, ContentType::Handshake, content) if content.len() == FINISHED_CONTENT_BYTES => {
                admitted.push(Admitted::Protected(record.bytes.to_vec()));
            }
            _ => self.dropped += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record;
    use super::super::testing::vector;
    use super::*;

    fn record(content_type: ContentType, epoch: u16, content: &[u8]) -> Bytes {
        let mut bytes = record::write_header(content_type, epoch, 9, u16::try_from(content.len()).unwrap()).to_vec();
        bytes.extend_from_slice(content);
        bytes.into()
    }

    #[test]
    fn a_hello_of_two_datagrams_is_whole_when_its_second_half_came() {
        let flights = vector("chromium-156").received;
        for order in [[0, 1], [1, 0]] {
            let mut admission = Admission::default();
            assert_eq!(admission.handle_datagram(&flights[order[0]]), []);
            let admitted = admission.handle_datagram(&flights[order[1]]);
            let [Admitted::Message(message)] = admitted.as_slice() else { panic!("{admitted:?}") };
            assert_eq!((message.kind, message.sequence), (1, 0));
            assert_eq!(message.body.len(), 0x585, "the length that the fragments name");
        }
    }

    #[test]
    fn whole_handshakes_of_real_clients_are_admitted_but_for_what_is_kept_for_later() {
        for (name, early) in [("chromium-156", 0), ("firefox-153", 1), ("aiortc", 8)] {
            let mut admission = Admission::default();
            let admitted: Vec<_> =
                vector(name).received.iter().flat_map(|datagram| admission.handle_datagram(datagram)).collect();
            let finished = admitted.iter().filter(|admitted| matches!(admitted, Admitted::Protected(_))).count();
            assert!(finished >= 1, "{name}");
            assert_eq!(admission.dropped(), 0, "{name}");
            assert_eq!(admission.take_early().len(), early, "{name}");
        }
    }

    #[test]
    fn what_belongs_to_no_handshake_is_dropped_and_counted() {
        let mut admission = Admission::default();
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
            Bytes::from_static(&[22, 0xfe, 0xfd]),
        ];
        for (count, datagram) in bad.iter().enumerate() {
            assert_eq!(admission.handle_datagram(datagram), [], "{datagram:?}");
            assert_eq!(admission.dropped(), count as u64 + 1, "{datagram:?}");
        }
        assert_eq!(admission.handle_datagram(&record(ContentType::Alert, 0, &[1, 0])), []);
        assert_eq!(admission.handle_datagram(&record(ContentType::Alert, 0, &[2, 42])), [Admitted::FatalAlert(42)]);
        assert_eq!(admission.dropped(), bad.len() as u64);
    }

    #[test]
    fn many_messages_in_one_record_do_not_step_over_the_limit() {
        let mut admission = Admission::default();
        let empty = [99, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0];
        let flood = record(ContentType::Handshake, 0, &empty.repeat(110));
        let passed: Vec<usize> = (0..4).map(|_| admission.handle_datagram(&flood).len()).collect();
        assert_eq!(passed, [110, 110, HANDSHAKE_RECORDS_MAX - 220, 0]);
        assert_eq!(admission.dropped(), 2, "the rest of the third record, and the fourth");
        let hello = &vector("aiortc").received[0];
        assert_eq!(admission.handle_datagram(hello), [], "nobody keeps a place busy");
    }

    #[test]
    fn a_flood_stops_at_the_limits() {
        let mut admission = Admission::default();
        let flood = record(ContentType::Handshake, 1, &[0; FINISHED_CONTENT_BYTES]);
        let passed: usize = (0..2 * HANDSHAKE_RECORDS_MAX).map(|_| admission.handle_datagram(&flood).len()).sum();
        assert_eq!(passed, HANDSHAKE_RECORDS_MAX);
        for _ in 0..2 * EARLY_DATAGRAMS_MAX {
            admission.handle_datagram(&record(ContentType::ApplicationData, 1, &[0; 40]));
        }
        assert_eq!(admission.take_early().len(), EARLY_DATAGRAMS_MAX);
    }
}
