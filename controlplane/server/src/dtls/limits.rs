//! Every maximum of the DTLS module, and what relates them.

use std::time::Duration;

/// Time from the first datagram to the end of the handshake; later the association fails with
/// [`super::Error::HandshakeTimeout`].
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Time after which an unanswered flight is sent again for the first time; then it doubles (RFC 6347 section 4.2.4.1,
/// which begins with a second). Short because a lost flight delays the first picture.
pub const FLIGHT_INTERVAL: Duration = Duration::from_millis(150);
/// How long a client has to be silent after a fatal alert in the clear, which anybody could have sent, until it is
/// believed to have given up. Clients repeat a flight after a second at the latest (RFC 6347 section 4.2.4.1), and a round
/// trip takes less than another.
pub const GAVE_UP_SILENCE: Duration = Duration::from_secs(2);
/// Bytes of one datagram that is looked at; a longer one is dropped.
pub const DATAGRAM_BYTES_MAX: usize = sluice_protocol::limits::PACKET_BYTES_MAX;
/// Datagrams that wait for the handshake's task; more are dropped and counted.
pub const HANDSHAKE_QUEUE_MAX: usize = 32;
/// Messages and encrypted records of one handshake that are looked at. A handshake that loses each of its flights five
/// times needs a hundred; more are dropped, so that nobody keeps a place busy.
pub const HANDSHAKE_RECORDS_MAX: usize = 256;
/// Bytes that leave for each that came, before the client has shown that it hears us.
pub const AMPLIFICATION_MAX: usize = 3;
/// Times that one flight leaves, by the timer or because the client asks for it. Clients that repeat themselves after 50,
/// 100, 200 ms and so on ask eight times before the deadline.
pub const FLIGHT_SENDS_MAX: u8 = 16;
/// Bytes that one handshake holds in all of what anybody sent, and of our answer to it. What the limits below allow adds
/// up to no more: the two messages that can be long, each once in the transcript; pieces of a third; what waits.
pub const HANDSHAKE_BYTES_MAX: usize = 19 << 10;
/// Bytes of one handshake message. A chain of three RSA certificates is about 3 KiB, a `ClientHello` with a key of a
/// post-quantum group 1.5 KiB.
pub const HANDSHAKE_MESSAGE_BYTES_MAX: usize = 4096;
/// Handshake messages that wait for fragments; the one that was added to longest ago makes room.
pub const HANDSHAKE_MESSAGES_PARTIAL_MAX: usize = 6;
/// Bytes of all fragments that wait for others; the message that was added to longest ago makes room.
pub const PARTIAL_BYTES_MAX: usize = 5 << 10;
/// Bytes that a stretch counts for beside its content.
pub const STRETCH_OVERHEAD_BYTES: usize = 48;
/// Message sequence numbers of a client's handshake; a full one uses 0 to 5 (two `ClientHellos`, Certificate,
/// `ClientKeyExchange`, `CertificateVerify`, Finished).
pub const HANDSHAKE_MESSAGE_SEQUENCE_MAX: u16 = 7;
/// Separate stretches of one message that wait for what is between them; a fragment that makes one more is dropped.
pub const FRAGMENT_STRETCHES_MAX: usize = 16;
/// Whole messages that wait for the one before them: Certificate, `ClientKeyExchange` and `CertificateVerify` are one
/// flight. More are dropped.
pub const HANDSHAKE_MESSAGES_WAITING_MAX: usize = 3;
/// Bytes of them: the Certificate is never among them, and a signature of RSA with 8,192 bits is 1 KiB. More are dropped.
pub const WAITING_BYTES_MAX: usize = 1280;
/// Encrypted records of handshakes that wait for the keys, one of which is the Finished; more are dropped.
pub const PROTECTED_RECORDS_MAX: usize = 4;
/// Transports of which datagrams are kept whose clients are not described yet; of further ones they are dropped.
pub const EARLY_TRANSPORTS_MAX: usize = 1024;
/// Datagrams of each of them: a `ClientHello` with a key of a post-quantum group takes two, and may be repeated once.
pub const FIRST_FLIGHT_DATAGRAMS_MAX: usize = 4;
/// Datagrams of epoch 1 that arrive before the handshake's end is known here; more are dropped.
pub const EARLY_DATAGRAMS_MAX: usize = 16;
/// Bytes of them; more are dropped.
pub const EARLY_BYTES_MAX: usize = 2048;
/// Bytes of the server's last flight that are kept to be repeated: `ChangeCipherSpec` and Finished are 75.
pub const FINAL_FLIGHT_BYTES_MAX: usize = 256;
/// Repetitions of the last flight. A client that has not heard it after this many has lost the path.
pub const FINAL_FLIGHT_REPEATS_MAX: u8 = 32;
/// Bytes of application data in one record: what SCTP sends in one datagram, with room (RFC 8831 section 5).
pub const APPLICATION_DATA_BYTES_MAX: usize = 1400;

const _: () = assert!(APPLICATION_DATA_BYTES_MAX + 13 + 24 <= DATAGRAM_BYTES_MAX);
const _: () = assert!(FINAL_FLIGHT_BYTES_MAX <= DATAGRAM_BYTES_MAX);
const _: () = assert!(FLIGHT_INTERVAL.as_millis() * 10 < HANDSHAKE_DEADLINE.as_millis());
/// Bytes of our own flight, once to be repeated and once in the transcript, and of what a client signs and proves in it.
const OWN_BYTES_MAX: usize = 2 * 800 + 600;
const _: () = assert!(
    2 * HANDSHAKE_MESSAGE_BYTES_MAX + OWN_BYTES_MAX + PARTIAL_BYTES_MAX + WAITING_BYTES_MAX + EARLY_BYTES_MAX
        <= HANDSHAKE_BYTES_MAX
);
const _: () = assert!(
    HANDSHAKE_MESSAGE_BYTES_MAX + (FRAGMENT_STRETCHES_MAX + 1) * STRETCH_OVERHEAD_BYTES <= PARTIAL_BYTES_MAX,
    "one message finds room, in however many pieces"
);
const _: () = assert!(GAVE_UP_SILENCE.as_millis() * 2 < HANDSHAKE_DEADLINE.as_millis());
