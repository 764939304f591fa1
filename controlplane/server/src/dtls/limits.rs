//! Every maximum of the DTLS module, and what relates them.

use std::time::Duration;

/// Time from the first datagram to the end of the handshake; later the association fails with
/// [`super::Error::HandshakeTimeout`].
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Time after which an unanswered flight is sent again for the first time; then it doubles (RFC 6347 section 4.2.4.1,
/// which begins with a second). Short because a lost flight delays the first picture.
pub const FLIGHT_INTERVAL: Duration = Duration::from_millis(150);
/// Bytes of one datagram that is looked at; a longer one is dropped.
pub const DATAGRAM_BYTES_MAX: usize = sluice_protocol::limits::PACKET_BYTES_MAX;
/// Datagrams that wait for the handshake's task; more are dropped and counted.
pub const HANDSHAKE_QUEUE_MAX: usize = 32;
/// Messages and encrypted records of one handshake that are looked at. A handshake that loses each of its flights five
/// times needs a hundred; more are dropped, so that nobody keeps a place busy.
pub const HANDSHAKE_RECORDS_MAX: usize = 256;
/// Bytes that leave for each that came, before the client has shown that it hears us.
pub const AMPLIFICATION_MAX: usize = 3;
/// Bytes of one handshake message. A chain of three RSA certificates is about 4 KiB.
pub const HANDSHAKE_MESSAGE_BYTES_MAX: usize = 8000;
/// Handshake messages that wait for fragments; the oldest makes room.
pub const HANDSHAKE_MESSAGES_PARTIAL_MAX: usize = 6;
/// Message sequence numbers of a client's handshake; a full one uses 0 to 5 (two `ClientHellos`, Certificate,
/// `ClientKeyExchange`, `CertificateVerify`, Finished).
pub const HANDSHAKE_MESSAGE_SEQUENCE_MAX: u16 = 7;
/// Separate stretches of one message that wait for what is between them; a fragment that makes one more is dropped.
pub const FRAGMENT_STRETCHES_MAX: usize = 16;
/// Whole messages that wait for the one before them: Certificate, `ClientKeyExchange` and `CertificateVerify` are one
/// flight. More are dropped.
pub const HANDSHAKE_MESSAGES_WAITING_MAX: usize = 3;
/// Encrypted records of handshakes that wait for the keys, one of which is the Finished; more are dropped.
pub const PROTECTED_RECORDS_MAX: usize = 4;
/// Transports of which datagrams are kept whose clients are not described yet; of further ones they are dropped.
pub const EARLY_TRANSPORTS_MAX: usize = 1024;
/// Datagrams of each of them: a `ClientHello` with a key of a post-quantum group takes two, and may be repeated once.
pub const FIRST_FLIGHT_DATAGRAMS_MAX: usize = 4;
/// Datagrams of epoch 1 that arrive before the handshake's end is known here; more are dropped.
pub const EARLY_DATAGRAMS_MAX: usize = 16;
/// Bytes of the server's last flight that are kept to be repeated: `ChangeCipherSpec` and Finished are 75.
pub const FINAL_FLIGHT_BYTES_MAX: usize = 256;
/// Repetitions of the last flight. A client that has not heard it after this many has lost the path.
pub const FINAL_FLIGHT_REPEATS_MAX: u8 = 32;
/// Bytes of application data in one record: what SCTP sends in one datagram, with room (RFC 8831 section 5).
pub const APPLICATION_DATA_BYTES_MAX: usize = 1400;

const _: () = assert!(APPLICATION_DATA_BYTES_MAX + 13 + 24 <= DATAGRAM_BYTES_MAX);
const _: () = assert!(FINAL_FLIGHT_BYTES_MAX <= DATAGRAM_BYTES_MAX);
const _: () = assert!(FLIGHT_INTERVAL.as_millis() * 10 < HANDSHAKE_DEADLINE.as_millis());
