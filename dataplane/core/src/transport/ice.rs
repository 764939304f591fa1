//! ICE-lite (RFC 8445 section 2.5): answers binding requests, validates five-tuples, follows nominations.
//!
//! ```text
//!            authenticated request         USE-CANDIDATE
//!   New ───────────────────────────► New ───────────────► Connected ◄──┐
//!                                                             │ 30 s   │ request on the nominated pair,
//!                                                             ▼ silent │ or USE-CANDIDATE
//!                                                           Silent ────┘
//! ```
//!
//! A lite agent sends no checks, so the peer's requests are its consent as well (RFC 7675 section 5.1), and as with full
//! agents consent is a pair's: requests on another pair keep no stream going to a place that says nothing. When the
//! nominated pair falls silent and another one is heard, the stream goes there.
//!
//! Requests overtake each other, so one that nominates the pair the peer has just left may come last, and the next one is
//! seconds away. What the peer seals has an order that no network changes: its newest packet tells which of the pairs
//! that it nominated it uses.
//!
//! Who only listens can send a request again from elsewhere. So a transaction that was seen gives no further five-tuple
//! its place, and nominates nothing anew.

use arrayvec::ArrayVec;
use sluice_protocol::ice::{NodeSecret, Ufrag, UfragText};
use sluice_protocol::limits::CREDENTIALS_MAX;
use sluice_protocol::plan::Path;
use sluice_protocol::time::Instant;

use crate::discard::Discard;
use crate::limits::{
    CONSENT_TIMEOUT, FIVE_TUPLE_HELD, FIVE_TUPLES_PER_TRANSPORT_MAX, NOMINATION_SETTLED, TRANSACTIONS_MAX,
};
use crate::port::FiveTuple;
use crate::wire::stun::{Binding, ErrorCode, Role, ShortTermKey, TransactionId, write_error, write_success};

/// The ICE agent of one transport.
#[derive(Debug)]
pub(crate) struct Agent {
    /// Valid local credentials, oldest first.
    credentials: ArrayVec<Credentials, CREDENTIALS_MAX>,
    /// Five-tuples that authenticated requests came from, the one heard last at the end.
    validated: ArrayVec<Validated, FIVE_TUPLES_PER_TRANSPORT_MAX>,
    nominated: Option<Nominated>,
    /// Where the last DTLS datagram came from.
    handshaking: Option<FiveTuple>,
    state: State,
    seen: Transactions,
}

#[derive(Debug)]
struct Credentials {
    ufrag: Ufrag,
    text: UfragText,
    key: ShortTermKey,
}

#[derive(Clone, Copy, Debug)]
struct Validated {
    five_tuple: FiveTuple,
    heard: Instant,
    /// Whether it was ever nominated.
    is_candidate: bool,
}

#[derive(Clone, Copy, Debug)]
struct Nominated {
    five_tuple: FiveTuple,
    ufrag: Ufrag,
    at: Instant,
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
        let mut agent = Self {
            credentials: ArrayVec::new(),
            validated: ArrayVec::new(),
            nominated: None,
            handshaking: None,
            state: State::New,
            seen: Transactions::new(),
        };
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
        let mut changes = self.validate(now, five_tuple);
        changes.nominated = self.nominated.is_none();
        self.nominate(now, five_tuple, path.credentials);
        changes.connected = self.state == State::New;
        self.state = State::Connected { heard: now };
        changes
    }

    /// Authenticates a binding request and writes the answer into `buffer`. `is_held` says that another transport holds
    /// the five-tuple, see [`Agent::holds`].
    ///
    /// A request with wrong integrity gets no answer, though RFC 8489 section 9.1.3 would have 401: an attacker's flood
    /// is not worth a packet each.
    pub(crate) fn handle_request(
        &mut self,
        now: Instant,
        five_tuple: FiveTuple,
        request: &Binding<'_>,
        is_held: bool,
        buffer: &mut [u8],
    ) -> Result<Answer, Discard> {
        let (local, _) = request.ufrags().ok_or(Discard::StunMalformed)?;
        let credentials = self.valid(local).ok_or(Discard::StunUnknownUfrag)?;
        if !request.verify(&credentials.key) {
            return Err(Discard::StunForged);
        }
        let refuse = |code, buffer: &mut [u8]| {
            write_error(buffer, request.transaction, code, request.unknown_attributes(), &credentials.key)
                .map(|size_bytes| Answer { size_bytes, changes: None })
                .map_err(|_| Discard::StunMalformed)
        };
        if !request.unknown_attributes().is_empty() {
            return refuse(ErrorCode::UnknownAttribute, buffer);
        }
        if matches!(request.role, Some(Role::Controlled(_))) {
            return refuse(ErrorCode::RoleConflict, buffer);
        }
        if is_held {
            return Err(Discard::FiveTupleHeld);
        }
        let is_repeated = self.seen.contains(request.transaction);
        if is_repeated && !self.is_validated(five_tuple) {
            return Err(Discard::StunReplayed);
        }
        let size_bytes = write_success(buffer, request.transaction, five_tuple.remote, &credentials.key)
            .map_err(|_| Discard::StunMalformed)?;
        let ufrag = credentials.ufrag;
        if !is_repeated {
            self.seen.note(request.transaction);
        }
        let mut changes = self.validate(now, five_tuple);
        if request.use_candidate && !is_repeated {
            changes.nominated = self.nominate(now, five_tuple, ufrag);
        }
        changes.connected = self.hear(now, five_tuple);
        Ok(Answer { size_bytes, changes: Some(changes) })
    }

    /// Returns whether media and DTLS are taken from `five_tuple`.
    pub(crate) fn is_validated(&self, five_tuple: FiveTuple) -> bool {
        self.validated.iter().any(|validated| validated.five_tuple == five_tuple)
    }

    /// Takes note that the peer's newest sealed packet came from `five_tuple`. Returns true when media goes there from now
    /// on: the peer nominated that pair too and still consents to it, and what it sent before it changed pairs is in.
    pub(crate) fn note_newest(&mut self, now: Instant, five_tuple: FiveTuple) -> bool {
        let State::Connected { .. } = self.state else { return false };
        let Some(nominated) = &mut self.nominated else { return false };
        if nominated.five_tuple == five_tuple || now < nominated.at + NOMINATION_SETTLED {
            return false;
        }
        let mut validated = self.validated.iter();
        let Some(used) = validated.find(|validated| validated.five_tuple == five_tuple && validated.is_candidate)
        else {
            return false;
        };
        if used.heard + CONSENT_TIMEOUT <= now {
            return false;
        }
        *nominated = Nominated { five_tuple, at: now, ..*nominated };
        self.state = State::Connected { heard: used.heard };
        true
    }

    /// Returns whether `five_tuple` is not for another transport to take: media goes there, and its peer was heard on it
    /// just now. A client that makes a new connection from its old port has fallen silent on the old one, or closed it.
    pub(crate) fn holds(&self, now: Instant, five_tuple: FiveTuple) -> bool {
        let State::Connected { heard } = self.state else { return false };
        self.target() == Some(five_tuple) && now < heard + FIVE_TUPLE_HELD
    }

    /// Notes where DTLS came from: a handshake goes back there, and nowhere else.
    pub(crate) const fn note_handshake(&mut self, five_tuple: FiveTuple) {
        self.handshaking = Some(five_tuple);
    }

    /// Iterates over all validated five-tuples.
    pub(crate) fn five_tuples(&self) -> impl Iterator<Item = FiveTuple> {
        self.validated.iter().map(|validated| validated.five_tuple)
    }

    /// Forgets a five-tuple that authenticated itself for another transport; returns true when it was the nominated one.
    pub(crate) fn forget(&mut self, five_tuple: FiveTuple) -> bool {
        self.validated.retain(|validated| validated.five_tuple != five_tuple);
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

    /// Returns where DTLS of a handshake goes: to where its last datagram came from, and before there was one to the pair
    /// validated last.
    pub(crate) fn handshake_target(&self) -> Option<FiveTuple> {
        if self.state == State::Silent {
            return None;
        }
        let handshaking = self.handshaking.filter(|five_tuple| self.is_validated(*five_tuple));
        handshaking.or_else(|| self.target()).or_else(|| self.validated.last().map(|validated| validated.five_tuple))
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

    /// Looks after consent: when it has run out, media goes to another validated pair whose peer consents, or stops.
    pub(crate) fn check_consent(&mut self, now: Instant) -> Consent {
        if self.consent_until().is_none_or(|until| now < until) {
            return Consent::Kept;
        }
        let heard_last =
            self.validated.iter().filter(|pair| now < pair.heard + CONSENT_TIMEOUT).max_by_key(|pair| pair.heard);
        if let (Some(pair), Some(nominated)) = (heard_last, &mut self.nominated) {
            nominated.five_tuple = pair.five_tuple;
            self.state = State::Connected { heard: pair.heard };
            return Consent::Moved;
        }
        self.state = State::Silent;
        Consent::Lost
    }

    /// Finds the credentials of a local ufrag among those that are valid: those nominated last, and younger ones.
    fn valid(&self, ufrag: &[u8]) -> Option<&Credentials> {
        let oldest = self
            .nominated
            .and_then(|nominated| self.credentials.iter().position(|credentials| credentials.ufrag == nominated.ufrag));
        let valid = self.credentials.get(oldest.unwrap_or(0)..).unwrap_or(&[]);
        valid.iter().find(|credentials| credentials.text.as_bytes() == ufrag)
    }

    fn validate(&mut self, now: Instant, five_tuple: FiveTuple) -> Changes {
        let known = self.validated.iter().position(|validated| validated.five_tuple == five_tuple);
        let known = known.and_then(|index| self.validated.pop_at(index));
        let mut changes = Changes { validated: known.is_none(), ..Changes::default() };
        if self.validated.is_full() {
            let nominated = self.nominated.map(|nominated| nominated.five_tuple);
            let oldest = self.validated.iter().position(|validated| Some(validated.five_tuple) != nominated);
            changes.forgotten = oldest.and_then(|index| self.validated.pop_at(index)).map(|oldest| oldest.five_tuple);
        }
        let is_candidate = known.is_some_and(|known| known.is_candidate);
        self.validated.push(Validated { five_tuple, heard: now, is_candidate });
        changes
    }

    fn nominate(&mut self, now: Instant, five_tuple: FiveTuple, ufrag: Ufrag) -> bool {
        let mut validated = self.validated.iter_mut();
        if let Some(validated) = validated.find(|validated| validated.five_tuple == five_tuple) {
            validated.is_candidate = true;
        }
        let before = self.nominated.replace(Nominated { five_tuple, ufrag, at: now });
        before.is_none_or(|before| before.five_tuple != five_tuple || before.ufrag != ufrag)
    }

    /// Notes an authenticated request; returns true when the transport comes alive by it.
    fn hear(&mut self, now: Instant, five_tuple: FiveTuple) -> bool {
        if self.nominated.is_none_or(|nominated| nominated.five_tuple != five_tuple) {
            return false;
        }
        let before = self.state;
        self.state = State::Connected { heard: now };
        !matches!(before, State::Connected { .. })
    }
}

/// How consent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// It has not run out.
    Kept,
    /// It has run out on the nominated pair, and media goes to another one.
    Moved,
    /// It has run out everywhere.
    Lost,
}

/// The transactions of the last authenticated requests, oldest overwritten first.
#[derive(Debug)]
struct Transactions {
    /// The last eight of an id's twelve bytes, which are random (RFC 8489 section 5).
    ids: ArrayVec<u64, TRANSACTIONS_MAX>,
    next: usize,
}

impl Transactions {
    const fn new() -> Self {
        Self { ids: ArrayVec::new_const(), next: 0 }
    }

    fn contains(&self, id: TransactionId) -> bool {
        self.ids.contains(&key(id))
    }

    fn note(&mut self, id: TransactionId) {
        match self.ids.get_mut(self.next) {
            Some(oldest) => *oldest = key(id),
            None => self.ids.push(key(id)),
        }
        self.next = (self.next + 1) % TRANSACTIONS_MAX;
    }
}

const fn key(id: TransactionId) -> u64 {
    let [_, _, _, _, a, b, c, d, e, f, g, h] = id.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}
