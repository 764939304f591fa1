//! DTLS records as far as the data plane looks at them before it punts a datagram (RFC 6347 section 4.1, RFC 9147
//! section 4).
//!
//! Handshakes happen in the control plane. What passes here reaches a library that believes a plaintext alert and
//! miscounts short encrypted records, so such records stop the whole datagram.

use crate::wire::cursor::Reader;

/// The size of a DTLS 1.2 record's header.
pub(crate) const RECORD_HEADER_SIZE_BYTES: usize = 13;
/// The largest datagram that is looked at; both browsers' handshakes stay below 1,500 bytes.
pub(crate) const DATAGRAM_SIZE_BYTES_MAX: usize = 2048;
/// The least content of a record in epoch 1: explicit nonce and tag of AES-GCM (RFC 5288 section 3).
pub(crate) const SEALED_SIZE_BYTES_MIN: usize = 24;

/// Why a datagram is not punted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DtlsError {
    /// No record, a record that is cut off or empty of meaning, or bytes behind the last one.
    Malformed,
    /// A plaintext alert after the handshake: anybody can send it (epoch 0 is not authenticated).
    PlaintextAlert,
    /// A sealed record shorter than its nonce and tag.
    ShortRecord,
}

/// The content of a record (RFC 5246 section 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentType {
    /// 20.
    ChangeCipherSpec,
    /// 21.
    Alert,
    /// 22.
    Handshake,
    /// 23: data channels.
    ApplicationData,
}

/// Whether the handshake of the association has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Association {
    /// The handshake goes on: its alerts are in plaintext and mean something.
    Handshaking,
    /// Keys are in place.
    Connected,
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// What it carries.
    pub content_type: ContentType,
    /// 0 before, 1 after the cipher change.
    pub epoch: u16,
    /// The record number, 48 bits.
    pub sequence: u64,
    /// The content, sealed unless `epoch` is 0.
    pub fragment: &'a [u8],
}

/// Iterates over the records of a datagram; an error ends it.
pub(crate) fn records(datagram: &[u8]) -> Records<'_> {
    Records { reader: Reader::new(datagram) }
}

/// The records of one datagram, see [`records`].
#[derive(Debug, Clone)]
pub(crate) struct Records<'a> {
    reader: Reader<'a>,
}

impl<'a> Records<'a> {
    fn read(&mut self) -> Option<Record<'a>> {
        let content_type = match self.reader.u8()? {
            20 => ContentType::ChangeCipherSpec,
            21 => ContentType::Alert,
            22 => ContentType::Handshake,
            23 => ContentType::ApplicationData,
            _ => return None,
        };
        // 1.0 in the first ClientHello of some, 1.2 else; 1.3 writes 1.2 here, too (RFC 9147 section 4).
        if !matches!(self.reader.u16()?, 0xfeff | 0xfefd) {
            return None;
        }
        let epoch = self.reader.u16()?;
        let [a, b, c, d, e, f] = self.reader.array()?;
        let sequence = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let size = self.reader.u16()?;
        let fragment = self.reader.take(usize::from(size))?;
        (size > 0).then_some(Record { content_type, epoch, sequence, fragment })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, DtlsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let record = self.read().ok_or(DtlsError::Malformed);
        if record.is_err() {
            self.reader = Reader::new(&[]);
        }
        Some(record)
    }
}

/// Judges all records of a datagram. Handshake and cipher change of epoch 0 always pass, since the peer repeats its
/// last flight when ours was lost.
///
/// # Errors
/// [`DtlsError`] by the first record that must not reach the DTLS library.
pub(crate) fn filter(datagram: &[u8], association: Association) -> Result<(), DtlsError> {
    if datagram.is_empty() || datagram.len() > DATAGRAM_SIZE_BYTES_MAX {
        return Err(DtlsError::Malformed);
    }
    for record in records(datagram) {
        let record = record?;
        match (record.epoch, record.content_type) {
            (0, ContentType::Alert) if association == Association::Connected => return Err(DtlsError::PlaintextAlert),
            // Data before the keys has no meaning in any state.
            (0, ContentType::ApplicationData) => return Err(DtlsError::Malformed),
            (0, _) => {}
            _ if record.fragment.len() < SEALED_SIZE_BYTES_MIN => return Err(DtlsError::ShortRecord),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::tests::hex;
    use proptest::prelude::*;

    /// Handshakes recorded with real peers, one datagram a line: direction and bytes.
    const CAPTURES: [(&str, &str); 4] = [
        ("aiortc", include_str!("../../../../tests/vectors/dtls/aiortc.hex")),
        ("chromium-156", include_str!("../../../../tests/vectors/dtls/chromium-156.hex")),
        ("firefox-153", include_str!("../../../../tests/vectors/dtls/firefox-153.hex")),
        ("firefox-153-restart", include_str!("../../../../tests/vectors/dtls/firefox-153-restart.hex")),
    ];

    fn record(content_type: u8, epoch: u8, size: u8) -> Vec<u8> {
        let mut bytes = vec![content_type, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 7, 0, size];
        bytes.resize(RECORD_HEADER_SIZE_BYTES + usize::from(size), 0xaa);
        bytes
    }

    #[test]
    fn everything_that_real_peers_sent_passes_at_its_time() {
        for (peer, capture) in CAPTURES {
            let mut association = Association::Handshaking;
            let (mut datagrams, mut hellos) = (0, 0);
            for (direction, bytes) in capture.lines().filter_map(|line| line.split_once(' ')) {
                let bytes = hex(bytes);
                if direction == "RX" {
                    assert_eq!(filter(&bytes, association), Ok(()), "{peer}: {bytes:02x?}");
                    datagrams += 1;
                    let first = records(&bytes).next();
                    hellos +=
                        usize::from(first.is_some_and(|record| record.unwrap().content_type == ContentType::Handshake));
                }
                if records(&bytes).any(|record| record.unwrap().content_type == ContentType::ChangeCipherSpec) {
                    association = Association::Connected;
                }
            }
            assert!(datagrams >= 4 && hellos >= 3, "{peer}: {datagrams} datagrams, {hellos} of the handshake");
        }
    }

    #[test]
    fn a_client_hello_of_two_datagrams_is_recognised_in_both() {
        let first: Vec<Vec<u8>> = CAPTURES[1].1.lines().take(2).map(|line| hex(&line[3..])).collect();
        for (number, datagram) in (0..).zip(&first) {
            let mut records = records(datagram);
            let record = records.next().unwrap().unwrap();
            assert_eq!((record.content_type, record.epoch, record.sequence), (ContentType::Handshake, 0, number));
            assert!(records.next().is_none());
        }
    }

    #[test]
    fn records_are_judged_not_datagrams() {
        let handshake = record(22, 0, 40);
        let cipher_change = record(20, 0, 1);
        let alert = record(21, 0, 2);
        let sealed_alert = record(21, 1, 26);
        let connected = Association::Connected;
        let cases = [
            (vec![&handshake], connected, Ok(())),
            (vec![&handshake, &cipher_change], connected, Ok(())),
            (vec![&alert], Association::Handshaking, Ok(())),
            (vec![&alert], connected, Err(DtlsError::PlaintextAlert)),
            (vec![&handshake, &alert], connected, Err(DtlsError::PlaintextAlert)),
            (vec![&sealed_alert], connected, Ok(())),
            (vec![&sealed_alert, &alert], connected, Err(DtlsError::PlaintextAlert)),
        ];
        for (records, association, verdict) in cases {
            let datagram: Vec<u8> = records.into_iter().flatten().copied().collect();
            assert_eq!(filter(&datagram, association), verdict, "{datagram:02x?}");
        }
    }

    #[test]
    fn short_and_malformed_records_are_refused_by_name() {
        let cases = [
            (record(23, 1, 23), DtlsError::ShortRecord),
            (record(22, 2, 1), DtlsError::ShortRecord),
            (record(23, 0, 30), DtlsError::Malformed),
            (record(22, 0, 0), DtlsError::Malformed),
            (record(19, 0, 30), DtlsError::Malformed),
            (record(26, 0, 30), DtlsError::Malformed),
            (Vec::new(), DtlsError::Malformed),
            (record(22, 0, 30)[..42].to_vec(), DtlsError::Malformed),
            ([record(22, 0, 30), vec![22]].concat(), DtlsError::Malformed),
            ([record(22, 0, 30), record(23, 1, 3)].concat(), DtlsError::ShortRecord),
            (record(22, 0, 30).repeat(60), DtlsError::Malformed),
        ];
        for (datagram, error) in cases {
            for association in [Association::Handshaking, Association::Connected] {
                assert_eq!(filter(&datagram, association), Err(error), "{datagram:02x?}");
            }
        }
        let mut other_version = record(22, 0, 30);
        other_version[1] = 3;
        assert_eq!(filter(&other_version, Association::Handshaking), Err(DtlsError::Malformed));
        assert_eq!(filter(&record(23, 1, 24), Association::Connected), Ok(()));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), content_type in 20u8..24, epoch in 0u8..2) {
            crate::fuzzing::fuzz_dtls(&bytes);
            let mut datagram = record(content_type, epoch, 30);
            datagram.extend(&bytes);
            crate::fuzzing::fuzz_dtls(&datagram);
        }
    }
}
