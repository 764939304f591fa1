//! ICE-lite (RFC 8445 section 2.5): answers binding requests, validates five-tuples, follows nominations.
//!
//! ```text
//!            authenticated request         USE-CANDIDATE
//!   New ───────────────────────────► New ───────────────► Connected ◄──┐
//!                                                             │ 30 s   │ authenticated request
//!                                                             ▼ silent │
//!                                                           Silent ────┘
//! ```
//!
//! A lite agent sends no checks, so the peer's requests are its consent as well (RFC 7675 section 5.1).

use arrayvec::ArrayVec;
use sluice_protocol::ice::{NodeSecret, Ufrag, UfragText};
use sluice_protocol::limits::CREDENTIALS_MAX;
use sluice_protocol::plan::Path;
use sluice_protocol::time::Instant;

use crate::discard::Discard;
use crate::limits::{CONSENT_TIMEOUT, FIVE_TUPLES_PER_TRANSPORT_MAX};
use crate::port::FiveTuple;
use crate::wire::stun::{Binding, ErrorCode, Role, ShortTermKey, write_error, write_success};

/// The ICE agent of one transport.
#[derive(Debug)]
pub(crate) struct Agent {
    /// Valid local credentials, oldest first.
    credentials: ArrayVec<Credentials, CREDENTIALS_MAX>,
    /// Five-tuples that authenticated requests came from, the one heard last at the end.
    validated: ArrayVec<FiveTuple, FIVE_TUPLES_PER_TRANSPORT_MAX>,
    nominated: Option<Nominated>,
    state: State,
}

#[derive(Debug)]
struct Credentials {
    ufrag: Ufrag,
    text: UfragText,
    key: ShortTermKey,
}

#[derive(Clone, Copy, Debug)]
struct Nominated {
    five_tuple: FiveTuple,
    ufrag: Ufrag,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    Connected { heard: Instant },
    Silent,
}

/// What an authenticated request changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// The five-tuple was not validated for this transport before.
    pub(crate) validated: bool,
    /// A five-tuple that was forgotten for it.
    pub(crate) forgotten: Option<FiveTuple>,
    /// The nominated pair, or the credentials that it was nominated under, changed.
    pub(crate) nominated: bool,
    /// The transport is connected for the first time, or again after silence.
    pub(crate) connected: bool,
}

/// The answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its size in the caller's buffer.
    pub(crate) size_bytes: usize,
    /// What the request changed; `None` when it was refused.
    pub(crate) changes: Option<Changes>,
}

impl Agent {
    pub(crate) fn new(secret: &NodeSecret, credentials: &[Ufrag]) -> Self {
        let mut agent =
            Self { credentials: ArrayVec::new(), validated: ArrayVec::new(), nominated: None, state: State::New };
        agent.set_credentials(secret, credentials);
        agent
    }

    /// Takes the valid credentials of the plan, oldest first; those beyond [`CREDENTIALS_MAX`] were refused before.
    pub(crate) fn set_credentials(&mut self, secret: &NodeSecret, credentials: &[Ufrag]) {
        self.credentials = credentials
            .iter()
            .take(CREDENTIALS_MAX)
            .map(|ufrag| {
                let text = ufrag.to_text();
                Credentials { ufrag: *ufrag, text, key: ShortTermKey::new(&secret.password(&text)) }
            })
            .collect();
    }

    /// Takes the pair that a predecessor learnt. Its consent starts anew: the next request comes within seconds.
    pub(crate) fn restore(&mut self, now: Instant, path: &Path) -> Changes {
        let five_tuple = FiveTuple { local: path.local, remote: path.remote };
        let mut changes = self.validate(five_tuple);
        changes.nominated = self.nominated.is_none();
        self.nominated = Some(Nominated { five_tuple, ufrag: path.credentials });
        changes.connected = self.state == State::New;
        self.state = State::Connected { heard: now };
        changes
    }

    /// Authenticates a binding request and writes the answer into `buffer`.
    ///
    /// A request with wrong integrity gets no answer, though RFC 8489 section 9.1.3 would have 401: an attacker's flood
    /// is not worth a packet each.
    pub(crate) fn handle_request(
        &mut self,
        now: Instant,
        five_tuple: FiveTuple,
        request: &Binding<'_>,
        buffer: &mut [u8],
    ) -> Result<Answer, Discard> {
        let (local, _) = request.ufrags().ok_or(Discard::StunMalformed)?;
        let credentials = self.valid(local).ok_or(Discard::StunUnknownUfrag)?;
        if !request.verify(&credentials.key) {
            return Err(Discard::StunForged);
        }
        let refuse = |code, buffer: &mut [u8]| {
            write_error(buffer, request.transaction, code, request.unknown_attributes(), Some(&credentials.key))
                .map(|size_bytes| Answer { size_bytes, changes: None })
                .map_err(|_| Discard::StunMalformed)
        };
        if !request.unknown_attributes().is_empty() {
            return refuse(ErrorCode::UnknownAttribute, buffer);
        }
        if matches!(request.role, Some(Role::Controlled(_))) {
            return refuse(ErrorCode::RoleConflict, buffer);
        }
        let size_bytes = write_success(buffer, request.transaction, five_tuple.remote, &credentials.key)
            .map_err(|_| Discard::StunMalformed)?;
        let ufrag = credentials.ufrag;
        let mut changes = self.validate(five_tuple);
        if request.use_candidate {
            changes.nominated = self.nominate(five_tuple, ufrag);
        }
        changes.connected = self.hear(now);
        Ok(Answer { size_bytes, changes: Some(changes) })
    }

    /// Returns whether media and DTLS are taken from `five_tuple`.
    pub(crate) fn is_validated(&self, five_tuple: FiveTuple) -> bool {
        self.validated.contains(&five_tuple)
    }

    /// Iterates over all validated five-tuples.
    pub(crate) fn five_tuples(&self) -> impl Iterator<Item = FiveTuple> {
        self.validated.iter().copied()
    }

    /// Forgets a five-tuple that authenticated itself for another transport; returns true when it was the nominated one.
    pub(crate) fn forget(&mut self, five_tuple: FiveTuple) -> bool {
        self.validated.retain(|validated| *validated != five_tuple);
        let was_nominated = self.nominated.is_some_and(|nominated| nominated.five_tuple == five_tuple);
        if was_nominated {
            self.nominated = None;
        }
        was_nominated
    }

    /// Returns where media goes: the pair nominated last, while its peer consents.
    pub(crate) fn target(&self) -> Option<FiveTuple> {
        match self.state {
            State::Connected { .. } => self.nominated.map(|nominated| nominated.five_tuple),
            State::New | State::Silent => None,
        }
    }

    /// Returns where DTLS goes: as media, and before the first nomination to the pair validated last.
    pub(crate) fn handshake_target(&self) -> Option<FiveTuple> {
        if self.state == State::Silent {
            return None;
        }
        self.target().or_else(|| self.validated.last().copied())
    }

    /// Returns the nominated pair and the credentials that it was nominated under, `None` before the first nomination.
    pub(crate) fn path(&self) -> Option<(FiveTuple, Ufrag)> {
        self.nominated.map(|nominated| (nominated.five_tuple, nominated.ufrag))
    }

    /// Returns when consent runs out unless a request comes.
    pub(crate) fn consent_until(&self) -> Option<Instant> {
        match self.state {
            State::Connected { heard } => Some(heard + CONSENT_TIMEOUT),
            State::New | State::Silent => None,
        }
    }

    /// Tells whether consent ran out and did not come back.
    pub(crate) fn is_silent(&self) -> bool {
        self.state == State::Silent
    }

    /// Stops sending when consent has run out; returns true when that happened now.
    pub(crate) fn check_consent(&mut self, now: Instant) -> bool {
        let lost = self.consent_until().is_some_and(|until| now >= until);
        if lost {
            self.state = State::Silent;
        }
        lost
    }

    /// Finds the credentials of a local ufrag among those that are valid: those nominated last, and younger ones.
    fn valid(&self, ufrag: &[u8]) -> Option<&Credentials> {
        let oldest = self
            .nominated
            .and_then(|nominated| self.credentials.iter().position(|credentials| credentials.ufrag == nominated.ufrag));
        let valid = self.credentials.get(oldest.unwrap_or(0)..).unwrap_or(&[]);
        valid.iter().find(|credentials| credentials.text.as_bytes() == ufrag)
    }

    fn validate(&mut self, five_tuple: FiveTuple) -> Changes {
        let mut changes = Changes { validated: !self.is_validated(five_tuple), ..Changes::default() };
        self.validated.retain(|validated| *validated != five_tuple);
        if self.validated.is_full() {
            let nominated = self.nominated.map(|nominated| nominated.five_tuple);
            let oldest = self.validated.iter().position(|validated| Some(*validated) != nominated);
            changes.forgotten = oldest.and_then(|index| self.validated.pop_at(index));
        }
        self.validated.push(five_tuple);
        changes
    }

    fn nominate(&mut self, five_tuple: FiveTuple, ufrag: Ufrag) -> bool {
        let before = self.nominated.replace(Nominated { five_tuple, ufrag });
        before.is_none_or(|before| before.five_tuple != five_tuple || before.ufrag != ufrag)
    }

    /// Notes an authenticated request; returns true when the transport comes alive by it.
    fn hear(&mut self, now: Instant) -> bool {
        if self.nominated.is_none() {
            return false;
        }
        let before = self.state;
        self.state = State::Connected { heard: now };
        !matches!(before, State::Connected { .. })
    }
}
