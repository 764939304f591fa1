//! A peer: connects as browsers do, publishes or watches, and comes back when its connection is gone.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_protocol::media::SrtpKeys;
use sluice_protocol::time::Instant;

use crate::answer::Answer;
use crate::controlplane::Who;
use crate::ice;
use crate::publisher::Publisher;
use crate::srtp::Protection;
use crate::subscriber::Subscriber;
use crate::viewer::Viewer;

/// How often an unanswered binding request is repeated.
const CHECK_AGAIN: Duration = Duration::from_millis(50);
/// How often an answered one is, to renew consent.
const CHECK_EVERY: Duration = Duration::from_millis(2500);
/// How often the handshake is repeated.
const HELLO_AGAIN: Duration = Duration::from_millis(150);

/// A person with a browser.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) who: Who,
    pub(crate) state: State,
    /// When it asks next whether its session is there.
    pub(crate) next_look: Instant,
}

#[derive(Debug)]
pub(crate) enum State {
    /// Connects at this time.
    Idle(Instant),
    /// Waits for the answer to an offer.
    Asked { call: usize, since: Instant },
    /// Has an answer.
    Live(Box<Live>),
}

impl State {
    /// The connection, where there is one.
    pub(crate) const fn live(&self) -> Option<&Live> {
        match self {
            Self::Live(live) => Some(live),
            Self::Idle(_) | Self::Asked { .. } => None,
        }
    }
}

/// A peer connection in the peer's eyes.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) call: usize,
    pub(crate) remote: SocketAddr,
    pub(crate) answer: Answer,
    keys: SrtpKeys,
    protection: Option<Protection>,
    /// Whether the current address was answered.
    checked: bool,
    next_check: Instant,
    next_hello: Instant,
    pub(crate) role: Role,
}

#[derive(Debug)]
pub(crate) enum Role {
    Publisher(Publisher),
    Viewer(Viewer),
    Subscriber(Subscriber),
}

impl Live {
    pub(crate) fn new(
        now: Instant,
        call: usize,
        remote: SocketAddr,
        answer: Answer,
        keys: SrtpKeys,
        role: Role,
    ) -> Self {
        Self { call, remote, answer, keys, protection: None, checked: false, next_check: now, next_hello: now, role }
    }

    /// Moves to another address; the peer's interfaces changed.
    pub(crate) fn move_to(&mut self, now: Instant, remote: SocketAddr) {
        self.remote = remote;
        self.checked = false;
        self.next_check = now;
    }

    /// Takes the credentials of an ICE restart and checks anew.
    pub(crate) fn restart_ice(&mut self, now: Instant, fragment: &Answer) {
        self.answer.ufrag.clone_from(&fragment.ufrag);
        self.answer.password.clone_from(&fragment.password);
        self.checked = false;
        self.next_check = now;
    }

    /// Returns what is due to be sent.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        if self.next_check <= now {
            self.next_check = now + if self.checked { CHECK_EVERY } else { CHECK_AGAIN };
            datagrams.push(ice::request(&self.answer.ufrag, &self.answer.password));
        }
        let Some(protection) = &mut self.protection else {
            if self.checked && self.next_hello <= now {
                self.next_hello = now + HELLO_AGAIN;
                datagrams.push(record(1));
            }
            return datagrams;
        };
        datagrams.extend(match &mut self.role {
            Role::Publisher(publisher) => publisher.tick(now, &self.answer, protection),
            Role::Viewer(viewer) => viewer.tick(now, &self.answer, protection),
            Role::Subscriber(subscriber) => subscriber.tick(now, protection),
        });
        datagrams
    }

    /// Takes a datagram. Returns what it is answered with.
    pub(crate) fn receive(&mut self, now: Instant, datagram: &[u8]) -> Vec<Vec<u8>> {
        match datagram {
            [0..=3, ..] => {
                if ice::is_success(datagram, &self.answer.password) && !self.checked {
                    self.checked = true;
                    self.next_check = now + CHECK_EVERY;
                }
            }
            [20..=63, ..] => {
                let keys = &self.keys;
                self.protection.get_or_insert_with(|| Protection::new(keys));
            }
            [_, 192..=223, ..] => return self.receive_rtcp(datagram),
            _ => self.receive_rtp(now, datagram),
        }
        Vec::new()
    }

    fn receive_rtcp(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let Some(protection) = &mut self.protection else { return Vec::new() };
        let compound = protection.open_rtcp(datagram).expect("reports authenticate");
        match &mut self.role {
            Role::Publisher(publisher) => publisher.follow(&compound, &self.answer, protection),
            Role::Viewer(_) | Role::Subscriber(_) => {
                Viewer::follow(&compound);
                Vec::new()
            }
        }
    }

    fn receive_rtp(&mut self, now: Instant, datagram: &[u8]) {
        let Some(protection) = &mut self.protection else { return };
        let Some((index, packet)) = protection.open_rtp(datagram) else { return };
        match &mut self.role {
            Role::Publisher(_) => panic!("media to a publisher"),
            Role::Viewer(viewer) => viewer.receive(now, index, &packet, &self.answer),
            Role::Subscriber(subscriber) => subscriber.receive(now, index, &packet),
        }
    }
}

/// Returns a DTLS record that stands for a handshake's flight (RFC 6347 section 4.1).
pub(crate) fn record(number: u8) -> Vec<u8> {
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, number, 0, 40];
    record.resize(13 + 40, number);
    record
}
