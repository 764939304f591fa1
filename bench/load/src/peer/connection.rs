//! What happened to a peer connection below the media.

use std::io;
use std::time::{Duration, Instant};

use str0m::IceConnectionState;
use str0m::stats::PeerStats;

use crate::limits::STATE_CHANGES_MAX;

/// States of a connection as the foreign stack reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Checks have begun, or are to be made again.
    IceNew,
    /// Checks are under way.
    IceChecking,
    /// A pair works.
    IceConnected,
    /// All checks are done and a pair works.
    IceCompleted,
    /// No answer from the peer.
    IceDisconnected,
    /// The handshake is done and media may flow.
    DtlsConnected,
    /// The peer has closed.
    Closed,
}

impl State {
    pub(crate) fn of_ice(state: IceConnectionState) -> Self {
        match state {
            IceConnectionState::New => Self::IceNew,
            IceConnectionState::Checking => Self::IceChecking,
            IceConnectionState::Connected => Self::IceConnected,
            IceConnectionState::Completed => Self::IceCompleted,
            IceConnectionState::Disconnected => Self::IceDisconnected,
        }
    }
}

/// Datagrams received, by RFC 7983 class, before authentication.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// STUN.
    pub stun: u64,
    /// DTLS.
    pub dtls: u64,
    /// SRTP. More than the authenticated packets of all tracks: repeats, padding, forgeries.
    pub rtp: u64,
    /// SRTCP.
    pub rtcp: u64,
    /// Anything else, and what the stack could not parse.
    pub other: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Sends that the kernel refused.
    pub send_errors: u64,
    /// Datagrams that the kernel dropped because this process read too slowly.
    pub dropped_by_kernel: u64,
}

/// Times, states and counts of one connection.
#[derive(Debug, Clone)]
pub struct Connection {
    /// When the offer was posted.
    pub requested_at: Option<Instant>,
    /// When the answer was in.
    pub answered_at: Option<Instant>,
    /// Arrival of the first DTLS record that carries a sealed handshake message: the server's Finished, which ends the
    /// handshake of a client (RFC 6347 section 4.2.4). The kernel's stamp, so that it does not move when the stack is late.
    pub finished_at: Option<Instant>,
    /// State changes in order; further ones than the limit are not kept, [`Connection::state_changes`] counts on.
    pub states: Vec<(Instant, State)>,
    /// Number of state changes.
    pub state_changes: u64,
    /// Counts of datagrams.
    pub wire: WireCounts,
    /// Round trip of the last STUN or RTCP exchange.
    pub round_trip: Option<Duration>,
    /// Why the endpoint ended by itself.
    pub error: Option<String>,
}

impl Connection {
    pub(crate) fn new() -> Self {
        Self {
            requested_at: None,
            answered_at: None,
            finished_at: None,
            states: Vec::new(),
            state_changes: 0,
            wire: WireCounts::default(),
            round_trip: None,
            error: None,
        }
    }

    /// When a state was first entered.
    pub fn first(&self, state: State) -> Option<Instant> {
        self.states.iter().find(|(_, entered)| *entered == state).map(|(at, _)| *at)
    }

    /// When the DTLS handshake was done.
    pub fn dtls_connected_at(&self) -> Option<Instant> {
        self.first(State::DtlsConnected)
    }

    /// When the server's last handshake flight was here; without a sight of it, when the stack said that it was done.
    pub fn handshake_ended_at(&self) -> Option<Instant> {
        self.finished_at.or_else(|| self.dtls_connected_at())
    }

    /// Whether media may flow: the handshake is done, and the last word of ICE was not "disconnected".
    pub fn is_connected(&self) -> bool {
        let last_ice = self.states.iter().rev().find(|(_, state)| *state != State::DtlsConnected);
        let ended = last_ice.is_some_and(|(_, state)| matches!(state, State::IceDisconnected | State::Closed));
        self.dtls_connected_at().is_some() && !ended && self.error.is_none()
    }

    pub(crate) fn enter(&mut self, at: Instant, state: State) {
        self.state_changes += 1;
        if self.states.len() < STATE_CHANGES_MAX {
            self.states.push((at, state));
        }
    }

    /// Counts a datagram; returns the SSRC when it is SRTP.
    pub(crate) fn count_received(&mut self, datagram: &[u8], dropped: Option<u32>) -> Option<u32> {
        self.wire.bytes += u64::try_from(datagram.len()).unwrap_or(0);
        if let Some(dropped) = dropped {
            self.wire.dropped_by_kernel = u64::from(dropped);
        }
        match *datagram {
            [0..=3, ..] => self.wire.stun += 1,
            [20..=63, ..] => self.wire.dtls += 1,
            // RFC 5761 section 4: payload types 64 to 95 in the second byte are RTCP.
            [128..=191, 192..=223, ..] => self.wire.rtcp += 1,
            [128..=191, _, _, _, _, _, _, _, a, b, c, d, ..] => {
                self.wire.rtp += 1;
                return Some(u32::from_be_bytes([a, b, c, d]));
            }
            _ => self.wire.other += 1,
        }
        None
    }

    /// Notes the arrival of a datagram that may end the handshake.
    pub(crate) fn note_handshake(&mut self, at: Instant, datagram: &[u8]) {
        if self.finished_at.is_none() && has_sealed_handshake(datagram) {
            self.finished_at = Some(at);
        }
    }

    pub(crate) fn count_malformed(&mut self) {
        self.wire.other += 1;
    }

    pub(crate) fn count_sent(&mut self, bytes: usize, error: Option<io::Error>) {
        match error {
            None => {
                self.wire.sent += 1;
                self.wire.sent_bytes += u64::try_from(bytes).unwrap_or(0);
            }
            Some(error) => {
                self.wire.send_errors += 1;
                tracing::debug!(%error, "a datagram was not sent");
            }
        }
    }

    pub(crate) fn update(&mut self, statistics: &PeerStats) {
        let pair = statistics.selected_candidate_pair.as_ref().and_then(|pair| pair.current_round_trip_time);
        self.round_trip = pair.or(statistics.rtt).or(self.round_trip);
    }
}

/// Whether a datagram has a handshake record of an epoch with keys among its records, RFC 6347 section 4.1.
fn has_sealed_handshake(datagram: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    let mut rest = datagram;
    while let Some([content_type, _, _, epoch @ .., _, _, _, _, _, _, high, low]) = rest.first_chunk::<13>()
        && (20..=25).contains(content_type)
    {
        if *content_type == HANDSHAKE && *epoch != [0, 0] {
            return true;
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        rest = rest.get(13 + length..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content_type: u8, epoch: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        [&[content_type, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 7, 0, length], content].concat()
    }

    #[test]
    fn the_handshake_ends_with_the_first_sealed_message_wherever_it_stands_in_a_datagram() {
        let (hello, change, finished) = (record(22, 0, &[2; 60]), record(20, 0, &[1]), record(22, 1, &[9; 40]));
        let data = record(23, 1, &[9; 40]);
        for (datagram, ends) in [
            (hello.clone(), false),
            (data.clone(), false),
            (finished.clone(), true),
            ([change.clone(), finished.clone()].concat(), true),
            ([hello, change].concat(), false),
            ([data, finished.clone()].concat(), true),
            (finished[..12].to_vec(), false),
            (vec![], false),
            (vec![0x80; 60], false),
        ] {
            assert_eq!(has_sealed_handshake(&datagram), ends, "{datagram:?}");
        }
        let (first, again) = (Instant::now(), Instant::now() + Duration::from_millis(150));
        let mut connection = Connection::new();
        connection.note_handshake(first, &finished);
        connection.note_handshake(again, &finished);
        assert_eq!(connection.handshake_ended_at(), Some(first), "a repeated flight changes nothing");
    }

    #[test]
    fn datagrams_are_counted_by_their_first_bytes() {
        let mut connection = Connection::new();
        let rtp = [0x90, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 9];
        assert_eq!(connection.count_received(&rtp, None), Some(3));
        for datagram in [[0_u8, 1, 0], [22, 254, 253], [0x80, 200, 0], [100, 0, 0]] {
            assert_eq!(connection.count_received(&datagram, Some(2)), None);
        }
        let wire = connection.wire;
        assert_eq!((wire.rtp, wire.stun, wire.dtls, wire.rtcp, wire.other), (1, 1, 1, 1, 1));
        assert_eq!(wire.dropped_by_kernel, 2);
    }

    #[test]
    fn a_connection_is_connected_from_dtls_until_ice_gives_up() {
        let at = Instant::now();
        let mut connection = Connection::new();
        connection.enter(at, State::IceConnected);
        assert!(!connection.is_connected());
        connection.enter(at, State::DtlsConnected);
        assert!(connection.is_connected());
        connection.enter(at, State::IceDisconnected);
        assert!(!connection.is_connected());
        connection.enter(at, State::IceConnected);
        assert!(connection.is_connected());
    }
}
