//! The server's side of a handshake of DTLS 1.2, without I/O (RFC 6347 section 4.2, RFC 5246 section 7.3).
//!
//! ```text
//! AwaitHello ──short hello: cookie──► AwaitHello ──hello──► AwaitCertificate ──fingerprint fits──► AwaitKeyExchange
//!                                                                                                    │ keys
//! Ended ◄──Finished fits: ChangeCipherSpec, Finished── AwaitFinished ◄──signature fits── AwaitVerify ◄┘
//! ```
//!
//! What is malformed is dropped and leaves the state as it was, since anybody on the path could have sent it. An alert in
//! the clear counts only when nothing comes after it: who gave up says no more. What is well-formed and wrong ends the
//! handshake with an alert: another certificate than the SDP announced, a signature or a Finished that does not fit.

use std::collections::VecDeque;

use aws_lc_rs::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, X25519};
use aws_lc_rs::constant_time;
use aws_lc_rs::rand::{self, SystemRandom};
use bytes::Bytes;
use sluice_protocol::media::SrtpProfile;
use tokio::time::Instant;

use super::admission::{Admission, Admitted};
use super::client_hello::{self, ClientHello, Group};
use super::error::Error;
use super::flight::{Flight, Path};
use super::fragments::Message;
use super::key_schedule::{Secrets, Side};
use super::limits::{
    GAVE_UP_SILENCE, HANDSHAKE_DEADLINE, HANDSHAKE_MESSAGES_WAITING_MAX, PROTECTED_RECORDS_MAX, WAITING_BYTES_MAX,
};
use super::messages;
use super::peer_key::PeerKey;
use super::record::{self, ContentType, Records};
use super::records::Dtls12;
use super::session::{Config, Established};

/// Bytes of the flight from `ServerHello` to `ServerHelloDone` besides our certificate, at most.
const SERVER_FLIGHT_BYTES_MAX: usize = 370;

const ALERT_LEVEL_FATAL: u8 = 2;
const ALERT_HANDSHAKE_FAILURE: u8 = 40;
const ALERT_BAD_CERTIFICATE: u8 = 42;
const ALERT_DECODE_ERROR: u8 = 50;

const UNUSABLE_KEY: Error = Error::Handshake("the client's public key is not of the curve");
const NO_RANDOMNESS: Error = Error::Handshake("the system has no randomness");

/// One handshake.
pub(super) struct Negotiation {
    config: Config,
    admission: Admission,
    deadline: Instant,
    /// What a handshake that finds its deadline failed for.
    overdue: Error,
    /// The alert by which the client may have given up, and when that is believed.
    gave_up: Option<(u8, Instant)>,
    path: Path,
    state: State,
    /// All messages but a first `ClientHello` that was answered with a cookie, and its answer.
    transcript: Vec<u8>,
    /// The number of the client's next message.
    receive_next: u16,
    /// Messages of the client that came before the one in front of them.
    waiting: Vec<Message>,
    /// Records that may be the Finished, and came before the keys.
    protected: Vec<Vec<u8>>,
    /// The number of our next message.
    send_next: u16,
    /// The number of our next record of epoch 0.
    record_next: u64,
    flight: Option<Flight>,
    datagrams: VecDeque<Vec<u8>>,
    established: Option<Established<Dtls12>>,
}

enum State {
    /// With the cookie that it must return, if it was asked for one.
    AwaitHello(Option<[u8; 20]>),
    AwaitCertificate(Agreement),
    AwaitKeyExchange(Agreement, PeerKey),
    AwaitVerify(Keyed, PeerKey),
    AwaitFinished(Keyed),
    Ended,
}

/// What the hellos agreed on.
struct Agreement {
    client_random: [u8; 32],
    server_random: [u8; 32],
    profile: SrtpProfile,
    group: Group,
    key: EphemeralPrivateKey,
}

/// What there is after the key exchange.
struct Keyed {
    secrets: Secrets,
    profile: SrtpProfile,
    session: Box<Dtls12>,
}

/// Whether a message was the expected one; otherwise it is dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    Yes,
    No,
}

impl Negotiation {
    /// Makes a handshake whose deadline runs from `now` on.
    pub(super) fn new(config: Config, now: Instant) -> Self {
        Self {
            config,
            admission: Admission::default(),
            deadline: now + HANDSHAKE_DEADLINE,
            overdue: Error::HandshakeTimeout,
            gave_up: None,
            path: Path::default(),
            state: State::AwaitHello(None),
            transcript: Vec::new(),
            receive_next: 0,
            waiting: Vec::new(),
            protected: Vec::new(),
            send_next: 0,
            record_next: 0,
            flight: None,
            datagrams: VecDeque::new(),
            established: None,
        }
    }

    /// Takes a client's datagram.
    ///
    /// # Errors
    /// Why the handshake failed; its alert is the last datagram to be polled.
    pub(super) fn handle_datagram(&mut self, now: Instant, datagram: &Bytes) -> Result<(), Error> {
        self.path.receive(datagram.len());
        for admitted in self.admission.handle_datagram(datagram) {
            // Who says more has not given up.
            let gave_up = self.gave_up.take();
            let result = match admitted {
                Admitted::Message(message) => self.handle_message(now, message),
                Admitted::Protected(record) => self.handle_protected(record),
                Admitted::FatalAlert(description) => {
                    self.gave_up = gave_up;
                    self.note_alert(now, description);
                    Ok(())
                }
            };
            result.map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    /// Repeats the flight that waits for an answer, when it is due.
    ///
    /// # Errors
    /// Why the handshake failed: nothing came after the client's alert, or the deadline is over.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if matches!(self.state, State::Ended) {
            return Ok(());
        }
        if let Some((description, _)) = self.gave_up.filter(|(_, believed)| now >= *believed.min(&self.deadline)) {
            return Err(self.fail(Error::PeerAlert(description)));
        }
        if now >= self.deadline {
            return Err(self.fail(self.overdue.clone()));
        }
        if self.flight.as_ref().and_then(Flight::poll_timeout).is_some_and(|due| now >= due) {
            self.send_flight(now);
        }
        Ok(())
    }

    /// Gives out a datagram to be sent.
    pub(super) fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        self.datagrams.pop_front()
    }

    /// Gives out what the handshake ended with, once.
    pub(super) const fn poll_established(&mut self) -> Option<Established<Dtls12>> {
        self.established.take()
    }

    /// Returns when [`Self::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Instant {
        let repeat = self.flight.as_ref().and_then(Flight::poll_timeout);
        let believed = self.gave_up.map(|(_, believed)| believed);
        repeat.into_iter().chain(believed).fold(self.deadline, Instant::min)
    }

    /// Returns how much of what came in was dropped.
    pub(super) const fn dropped(&self) -> u64 {
        self.admission.dropped()
    }

    /// Takes note of an alert in the clear; the first one counts. Before all else there is nothing to give up.
    fn note_alert(&mut self, now: Instant, description: u8) {
        if matches!(self.state, State::AwaitHello(None)) {
            self.admission.drop_one();
        } else if self.gave_up.is_none() {
            self.gave_up = Some((description, now + GAVE_UP_SILENCE));
        }
    }

    fn fail(&mut self, error: Error) -> Error {
        self.state = State::Ended;
        self.flight = None;
        self.datagrams.extend(alert(&error, self.record_next));
        error
    }

    fn handle_message(&mut self, now: Instant, message: Message) -> Result<(), Error> {
        if message.sequence < self.receive_next {
            // Only who lacks our flight begins anew; the rest of a repeated flight says nothing about it.
            let answer = self.flight.as_ref().is_some_and(|flight| flight.may_answer_again(now));
            if message.kind == messages::CLIENT_HELLO && answer {
                self.send_flight(now);
            }
            return Ok(());
        }
        if message.sequence > self.receive_next {
            self.hold(message);
            return Ok(());
        }
        let mut next = Some(message);
        while let Some(message) = next {
            if self.take(now, &message)? == Taken::No {
                self.admission.drop_one();
                return Ok(());
            }
            self.receive_next += 1;
            let expected = self.receive_next;
            let position = self.waiting.iter().position(|message| message.sequence == expected);
            next = position.map(|index| self.waiting.swap_remove(index));
        }
        if matches!(self.state, State::AwaitFinished(_)) {
            for record in std::mem::take(&mut self.protected) {
                self.handle_protected(record)?;
            }
        }
        Ok(())
    }

    fn hold(&mut self, message: Message) {
        if self.waiting.iter().any(|held| held.sequence == message.sequence) {
            return;
        }
        let bytes = message.body.len() + self.waiting.iter().map(|held| held.body.len()).sum::<usize>();
        let is_full = self.waiting.len() == HANDSHAKE_MESSAGES_WAITING_MAX || bytes > WAITING_BYTES_MAX;
        if is_full || matches!(self.state, State::AwaitHello(_)) {
            return self.admission.drop_one();
        }
        self.waiting.push(message);
    }

    fn take(&mut self, now: Instant, message: &Message) -> Result<Taken, Error> {
        let (state, taken) = match (std::mem::replace(&mut self.state, State::Ended), message.kind) {
            (State::AwaitHello(cookie), messages::CLIENT_HELLO) => self.take_hello(now, cookie, message)?,
            (State::AwaitCertificate(agreement), messages::CERTIFICATE) => self.take_certificate(agreement, message)?,
            (State::AwaitKeyExchange(agreement, peer_key), messages::CLIENT_KEY_EXCHANGE) => {
                self.take_key_exchange(agreement, peer_key, message)?
            }
            (State::AwaitVerify(keyed, peer_key), messages::CERTIFICATE_VERIFY) => {
                self.take_verify(keyed, peer_key, message)?
            }
            (state, _) => (state, Taken::No),
        };
        self.state = state;
        Ok(taken)
    }

    fn take_hello(
        &mut self,
        now: Instant,
        cookie: Option<[u8; 20]>,
        message: &Message,
    ) -> Result<(State, Taken), Error> {
        let Ok(hello) = client_hello::parse(&message.body) else {
            self.overdue = Error::ClientHello;
            return Ok((State::AwaitHello(cookie), Taken::No));
        };
        let (profile, group) = requirements(&hello)?;
        match cookie {
            Some(expected) if hello.cookie != expected => return Ok((State::AwaitHello(cookie), Taken::No)),
            Some(_) => self.path.prove(),
            None if !self.path.may_send(self.config.certificate.der().len() + SERVER_FLIGHT_BYTES_MAX) => {
                let mut cookie = [0; 20];
                rand::fill(&mut cookie).map_err(|_| NO_RANDOMNESS)?;
                let request = self.message(messages::HELLO_VERIFY_REQUEST, messages::hello_verify_request(&cookie));
                self.transcript.clear();
                self.begin_flight(now, vec![request]);
                return Ok((State::AwaitHello(Some(cookie)), Taken::Yes));
            }
            None => {}
        }
        self.overdue = Error::HandshakeTimeout;
        message.write(&mut self.transcript);
        let (flight, agreement) = self.answer(&hello, profile, group)?;
        self.begin_flight(now, flight);
        Ok((State::AwaitCertificate(agreement), Taken::Yes))
    }

    /// Writes the flight from `ServerHello` to `ServerHelloDone`.
    fn answer(
        &mut self,
        hello: &ClientHello<'_>,
        profile: SrtpProfile,
        group: Group,
    ) -> Result<(Vec<Vec<u8>>, Agreement), Error> {
        let mut server_random = [0; 32];
        rand::fill(&mut server_random).map_err(|_| NO_RANDOMNESS)?;
        let key = EphemeralPrivateKey::generate(algorithm(group), &SystemRandom::new()).map_err(|_| NO_RANDOMNESS)?;
        let public_key = key.compute_public_key().map_err(|_| NO_RANDOMNESS)?;
        let parameters = messages::key_exchange_parameters(group, public_key.as_ref());
        let certificate = std::sync::Arc::clone(&self.config.certificate);
        let signature = certificate.sign(&[&hello.random, &server_random, parameters.as_slice()].concat())?;
        let flight = vec![
            self.message(messages::SERVER_HELLO, messages::server_hello(hello, &server_random, profile)),
            self.message(messages::CERTIFICATE, messages::certificate(certificate.der())),
            self.message(messages::SERVER_KEY_EXCHANGE, messages::server_key_exchange(&parameters, &signature)),
            self.message(messages::CERTIFICATE_REQUEST, messages::certificate_request()),
            self.message(messages::SERVER_HELLO_DONE, Vec::new()),
        ];
        Ok((flight, Agreement { client_random: hello.random, server_random, profile, group, key }))
    }

    fn take_certificate(&mut self, agreement: Agreement, message: &Message) -> Result<(State, Taken), Error> {
        let Some(first) = messages::first_certificate(&message.body) else {
            return Ok((State::AwaitCertificate(agreement), Taken::No));
        };
        let der = first.ok_or(Error::NoClientCertificate)?;
        if !self.config.remote_fingerprint.matches(der) {
            return Err(Error::FingerprintMismatch);
        }
        let unknown = Error::Handshake("the client's certificate has no key of a kind that is verified");
        let peer_key = PeerKey::parse(der).ok_or(unknown)?;
        if let Some(flight) = &mut self.flight {
            flight.stop();
        }
        message.write(&mut self.transcript);
        Ok((State::AwaitKeyExchange(agreement, peer_key), Taken::Yes))
    }

    fn take_key_exchange(
        &mut self,
        agreement: Agreement,
        peer_key: PeerKey,
        message: &Message,
    ) -> Result<(State, Taken), Error> {
        let Agreement { client_random, server_random, profile, group, key } = agreement;
        let Some(point) = messages::client_public_key(&message.body, group) else {
            let agreement = Agreement { client_random, server_random, profile, group, key };
            return Ok((State::AwaitKeyExchange(agreement, peer_key), Taken::No));
        };
        message.write(&mut self.transcript);
        let client_key = UnparsedPublicKey::new(algorithm(group), point);
        let secrets = agreement::agree_ephemeral(key, client_key, UNUSABLE_KEY, |pre_master| {
            Ok(Secrets::new(pre_master, &self.transcript, client_random, server_random))
        })?;
        let session = Box::new(Dtls12::new(&secrets));
        Ok((State::AwaitVerify(Keyed { secrets, profile, session }, peer_key), Taken::Yes))
    }

    fn take_verify(&mut self, keyed: Keyed, peer_key: PeerKey, message: &Message) -> Result<(State, Taken), Error> {
        let Some((scheme, signature)) = messages::certificate_verify(&message.body) else {
            return Ok((State::AwaitVerify(keyed, peer_key), Taken::No));
        };
        if !peer_key.verify(scheme, &self.transcript, signature) {
            return Err(Error::Handshake("the client's signature is not its certificate's"));
        }
        message.write(&mut self.transcript);
        Ok((State::AwaitFinished(keyed), Taken::Yes))
    }

    /// Takes a record of epoch 1 that has a Finished's length.
    fn handle_protected(&mut self, record: Vec<u8>) -> Result<(), Error> {
        let State::AwaitFinished(keyed) = &mut self.state else {
            if matches!(self.state, State::AwaitHello(_) | State::Ended)
                || self.protected.len() == PROTECTED_RECORDS_MAX
            {
                self.admission.drop_one();
            } else {
                self.protected.push(record);
            }
            return Ok(());
        };
        let opened = Records::new(&record).flatten().find_map(|record| keyed.session.open(&record));
        let Some((ContentType::Handshake, content)) = opened else {
            self.admission.drop_one();
            return Ok(());
        };
        let expected = Message {
            kind: messages::FINISHED,
            sequence: self.receive_next,
            body: keyed.secrets.verify_data(Side::Client, &self.transcript).to_vec(),
        };
        let mut expected_content = Vec::new();
        expected.write(&mut expected_content);
        constant_time::verify_slices_are_equal(&content, &expected_content)
            .map_err(|_| Error::Handshake("the client's Finished does not fit what was said"))?;
        self.transcript.extend_from_slice(&content);
        if let State::AwaitFinished(keyed) = std::mem::replace(&mut self.state, State::Ended) {
            self.finish(keyed)?;
        }
        Ok(())
    }

    fn finish(&mut self, Keyed { secrets, profile, mut session }: Keyed) -> Result<(), Error> {
        self.flight = None;
        let verify_data = secrets.verify_data(Side::Server, &self.transcript).to_vec();
        let finished = self.message(messages::FINISHED, verify_data);
        let mut datagram = record::write_header(ContentType::ChangeCipherSpec, 0, self.record_next, 1).to_vec();
        datagram.push(1);
        datagram.extend_from_slice(&session.seal(ContentType::Handshake, &finished)?);
        session.keep_final_flight(&datagram);
        self.datagrams.push_back(datagram);
        let keys = secrets.srtp_keys(profile);
        self.established = Some(Established { session: *session, keys, early: self.admission.take_early() });
        Ok(())
    }

    /// Writes our next message, also into the transcript.
    fn message(&mut self, kind: u8, body: Vec<u8>) -> Vec<u8> {
        let mut content = Vec::with_capacity(super::fragments::HEADER_BYTES + body.len());
        Message { kind, sequence: self.send_next, body }.write(&mut content);
        self.send_next += 1;
        self.transcript.reserve_exact(content.len());
        self.transcript.extend_from_slice(&content);
        content
    }

    fn begin_flight(&mut self, now: Instant, contents: Vec<Vec<u8>>) {
        self.flight = Some(Flight::new(contents, now));
        self.send_flight(now);
    }

    fn send_flight(&mut self, now: Instant) {
        let Some(flight) = &mut self.flight else { return };
        self.datagrams.extend(flight.send(now, &mut self.path, &mut self.record_next));
    }
}

/// Returns what we choose of what the client offers.
fn requirements(hello: &ClientHello<'_>) -> Result<(SrtpProfile, Group), Error> {
    if !hello.cipher_suite {
        return Err(Error::NoCipherSuite);
    }
    if !hello.extended_master_secret {
        return Err(Error::NoExtendedMasterSecret);
    }
    let profile = hello.profile.ok_or(Error::NoSrtpProfile)?;
    if !hello.ecdsa_sha256 {
        return Err(Error::Handshake("the client does not verify ECDSA with SHA-256"));
    }
    let group = hello.group.ok_or(Error::Handshake("the client offers neither X25519 nor secp256r1"))?;
    Ok((profile, group))
}

const fn algorithm(group: Group) -> &'static agreement::Algorithm {
    match group {
        Group::X25519 => &X25519,
        Group::Secp256r1 => &ECDH_P256,
    }
}

/// The fatal alert for what ended the handshake; none for what the client knows.
fn alert(error: &Error, record_next: u64) -> Option<Vec<u8>> {
    let description = match error {
        Error::PeerAlert(_) | Error::HandshakeTimeout => return None,
        Error::ClientHello => ALERT_DECODE_ERROR,
        Error::FingerprintMismatch => ALERT_BAD_CERTIFICATE,
        Error::NoSrtpProfile
        | Error::NoCipherSuite
        | Error::NoExtendedMasterSecret
        | Error::NoClientCertificate
        | Error::Handshake(_)
        | Error::State(_)
        | Error::Certificate(_)
        | Error::Fingerprint(_)
        | Error::ApplicationData(_) => ALERT_HANDSHAKE_FAILURE,
    };
    let mut datagram = record::write_header(ContentType::Alert, 0, record_next, 2).to_vec();
    datagram.extend_from_slice(&[ALERT_LEVEL_FATAL, description]);
    Some(datagram)
}
