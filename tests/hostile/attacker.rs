//! Somebody with a token and a socket, and no good intentions.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::datagram::{Noise, signed_request};
use crate::http::Request;
use crate::stage::Stage;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// An offer that is as good as any; whoever made it never answers a handshake.
pub(crate) const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=ice-ufrag:evil\r\n\
    a=ice-pwd:evilevilevilevilevilevil\r\na=setup:actpass\r\na=rtpmap:96 VP8/90000\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n";

pub(crate) struct Attacker {
    /// A socket that no binding request has validated.
    pub(crate) socket: UdpSocket,
    /// Where the server takes media.
    pub(crate) media: SocketAddr,
    /// The user fragment and password that the server gave to this attacker's own session.
    pub(crate) ufrag: String,
    password: String,
    pub(crate) noise: Noise,
}

impl Attacker {
    /// Gets a session of its own by the front door, to learn what everybody may learn.
    pub(crate) async fn enter(stage: &Stage) -> Self {
        let token = stage.rooms.token(&stage.room, "attacker", "attendee").await.unwrap();
        let request = Request::new("POST", &format!("/whep/{}", stage.room)).bearer(&token);
        let answer = request.body("application/sdp", OFFER).send(&stage.server).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let text = answer.text();
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        let candidate = value("a=candidate:");
        let words: Vec<&str> = candidate.split_whitespace().collect();
        Self {
            socket: UdpSocket::bind("127.0.0.1:0").unwrap(),
            media: SocketAddr::new(words[4].parse().unwrap(), words[5].parse().unwrap()),
            ufrag: value("a=ice-ufrag:"),
            password: value("a=ice-pwd:"),
            noise: Noise::new(1),
        }
    }

    pub(crate) fn send(&self, datagram: &[u8]) {
        send(&self.socket, datagram, self.media);
    }

    /// Shows the credentials of its session, so that its five-tuple is validated.
    pub(crate) fn validate(&mut self) {
        self.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        for _ in 0..50 {
            let request = signed_request(&format!("{}:evil", self.ufrag), &mut self.noise, &self.password);
            self.send(&request);
            let mut answer = [0; 1500];
            if self.socket.recv(&mut answer).is_ok() {
                assert_eq!(&answer[..2], &[1, 1], "a binding success response");
                return;
            }
        }
        panic!("the server does not answer an honest binding request");
    }

    /// Returns the fragment with some bits of its layout flipped.
    pub(crate) fn ufrag_with(&self, flipped: u128) -> String {
        let digit = |byte: u8| ALPHABET.iter().position(|letter| *letter == byte).unwrap();
        let bits = self.ufrag.bytes().fold(0_u128, |bits, byte| (bits << 6) | digit(byte) as u128) ^ flipped;
        let letters = (0..self.ufrag.len()).rev().map(|place| ALPHABET[((bits >> (6 * place)) & 63) as usize]);
        letters.map(char::from).collect()
    }

    /// Checks that nothing came back: an attacker's datagrams are not answered, to nobody's address.
    pub(crate) fn assert_unanswered(&self) {
        self.socket.set_nonblocking(true).unwrap();
        let answered = self.socket.recv_from(&mut [0; 1500]);
        assert!(answered.is_err(), "the server answers: {answered:?}");
    }
}

/// Sends, waiting for room where the socket is one that does not block.
pub(crate) fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddr) {
    for _ in 0..1000 {
        match socket.send_to(datagram, to) {
            Ok(_) => return,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{to}: {error}"),
        }
    }
    panic!("{to}: the socket stays full");
}

/// A machine that others use too may take so many times as long for a flood: half of the rate is still the flood that was
/// meant.
const TIMES_AS_LONG_MAX: u32 = 2;

/// Calls `send_one` at `per_second` for `duration`, catching up where the machine was busy, and returns how often. Panics when
/// that was no flood: at less than half of the rate.
pub(crate) fn at_rate(per_second: u64, duration: Duration, mut send_one: impl FnMut(u32)) -> u64 {
    let start = Instant::now();
    let total = per_second * u64::try_from(duration.as_millis()).unwrap() / 1000;
    let mut sent = 0;
    while sent < total {
        let due = per_second * u64::try_from(start.elapsed().as_micros()).unwrap() / 1_000_000;
        while sent < due.min(total) {
            send_one(u32::try_from(sent).unwrap());
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = start.elapsed();
    let reached = u64::try_from(u128::from(sent) * 1000 / took.as_millis()).unwrap();
    println!("measured: a flood of {reached} datagrams a second, of {per_second} that were meant");
    assert!(took <= duration * TIMES_AS_LONG_MAX, "{reached} a second instead of {per_second}: no flood");
    sent
}
