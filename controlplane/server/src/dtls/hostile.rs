//! What a stranger on the path, or a client that means harm, does to a handshake, under paused time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};
use webrtc_dtls::conn::DTLSConn;

use super::fragments::{Message, Reassembly};
use super::limits::{GAVE_UP_SILENCE, HANDSHAKE_BYTES_MAX, HANDSHAKE_DEADLINE};
use super::negotiation::Negotiation;
use super::record::{ContentType, Records, write_header};
use super::testing::peer::{Fate, From, World};
use super::testing::vector;
use super::{Certificate, Config, Error, Event};

fn record(content_type: ContentType, content: &[u8]) -> Bytes {
    let mut bytes = write_header(content_type, 0, 40, u16::try_from(content.len()).unwrap()).to_vec();
    bytes.extend_from_slice(content);
    bytes.into()
}

fn handshake_failure() -> Bytes {
    record(ContentType::Alert, &[2, 40])
}

async fn connect(world: &World) -> DTLSConn {
    timeout(HANDSHAKE_DEADLINE, world.connect()).await.expect("in time").expect("a handshake")
}

/// A world whose client's last flight takes its time.
fn slow(delay: Duration) -> World {
    World::new(Box::new(move |by, n| if (by, n) == (From::Client, 2) { Fate::Delay(delay) } else { Fate::Deliver }))
}

/// Starts the client's handshake, and waits until it has sent its last flight.
async fn half_way(world: &World) -> tokio::task::JoinHandle<Result<DTLSConn, webrtc_dtls::Error>> {
    let socket = Arc::clone(&world.client) as Arc<dyn webrtc_util::conn::Conn + Send + Sync>;
    let client = tokio::spawn(DTLSConn::new(socket, world.client_config.clone(), true, None));
    while world.sent_by(From::Client).len() < 3 {
        sleep(Duration::from_millis(1)).await;
    }
    client
}

#[tokio::test(start_paused = true)]
async fn a_forged_alert_ends_no_handshake_that_goes_on() {
    for alerts in [1, 5] {
        let mut world = slow(Duration::from_millis(900));
        world.client_config.flight_interval = Duration::from_secs(5);
        let client = half_way(&world).await;
        for _ in 0..alerts {
            world.server.handle_datagram(handshake_failure());
            sleep(Duration::from_millis(100)).await;
        }
        assert!(matches!(world.event().await, Event::Connected(_)), "{alerts}");
        assert!(client.await.unwrap().is_ok(), "{alerts}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gave_up_and_says_no_more_is_believed() {
    let mut world = slow(Duration::from_secs(100));
    let client = half_way(&world).await;
    client.abort();
    let told = Instant::now();
    world.server.handle_datagram(handshake_failure());
    assert_eq!(world.event().await, Event::Failed(Error::PeerAlert(40)));
    assert!(told.elapsed() >= GAVE_UP_SILENCE && told.elapsed() < 2 * GAVE_UP_SILENCE, "{:?}", told.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_alert_before_all_else_is_dropped() {
    let mut world = World::new(Box::new(|_, _| Fate::Deliver));
    world.server.handle_datagram(handshake_failure());
    sleep(2 * GAVE_UP_SILENCE).await;
    assert_eq!(world.dropped(), 1);
    let _client = connect(&world).await;
    assert!(matches!(world.event().await, Event::Connected(_)));
}

#[tokio::test(start_paused = true)]
async fn a_malformed_hello_is_dropped_and_the_next_one_taken() {
    let mut world = World::new(Box::new(|_, _| Fate::Deliver));
    let mut content = Vec::new();
    Message { kind: 1, sequence: 0, body: b"abcde".to_vec() }.write(&mut content);
    world.server.handle_datagram(record(ContentType::Handshake, &content));
    sleep(Duration::from_secs(1)).await;
    assert_eq!((world.dropped(), world.sent_by(From::Server).len()), (1, 0));
    let _client = connect(&world).await;
    assert!(matches!(world.event().await, Event::Connected(_)));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_but_malformed_hellos_is_accused_by_name_at_the_deadline() {
    let mut world = World::new(Box::new(|_, _| Fate::Deliver));
    let mut content = Vec::new();
    Message { kind: 1, sequence: 0, body: b"abcde".to_vec() }.write(&mut content);
    let begun = Instant::now();
    world.server.handle_datagram(record(ContentType::Handshake, &content));
    assert_eq!(world.event().await, Event::Failed(Error::ClientHello));
    assert_eq!(begun.elapsed().as_secs(), HANDSHAKE_DEADLINE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_would_resume_a_session_gets_a_whole_handshake_and_no_session() {
    let mut reassembly = Reassembly::default();
    let mut complete = Vec::new();
    for datagram in &vector("chromium-156").received[..2] {
        for record in Records::new(datagram) {
            reassembly.handle_content(record.unwrap().content, usize::MAX, &mut complete).unwrap();
        }
    }
    let mut hello = complete.pop().unwrap();
    hello.body.splice(34..35, [&[32][..], &[9; 32]].concat());
    let mut content = Vec::new();
    hello.write(&mut content);
    let world = World::new(Box::new(|_, _| Fate::Deliver));
    world.server.handle_datagram(record(ContentType::Handshake, &content));
    sleep(Duration::from_millis(10)).await;
    let answer = world.sent_by(From::Server).pop().expect("a flight");
    let server_hello = Records::new(&answer).next().unwrap().unwrap().content.to_vec();
    assert_eq!((server_hello[0], server_hello[12 + 34]), (2, 0), "a ServerHello without a session id");
}

/// A fragment of a message that is said to be as long as any.
fn fragment(sequence: u16, offset: usize, data: &[u8]) -> Vec<u8> {
    let u24 = |value: usize| u32::try_from(value).unwrap().to_be_bytes()[1..].to_vec();
    let sequence = sequence.to_be_bytes().to_vec();
    [vec![11], u24(4096), sequence, u24(offset), u24(data.len()), data.to_vec()].concat()
}

#[test]
fn what_one_handshake_holds_is_bounded_whatever_is_sent() {
    let certificate = Certificate::generate().unwrap();
    let remote_fingerprint = certificate.fingerprints();
    let config = Config { certificate: Arc::new(certificate), remote_fingerprint };
    let mut flood: Vec<Bytes> = vector("chromium-156").received[..2].to_vec();
    for sequence in [2, 3, 4, 1, 5, 6, 7] {
        let end = if sequence < 5 { 4096 } else { 4095 };
        let pieces = (0..4096).step_by(1300).map(|at| fragment(sequence, at, &vec![7; (end - at).min(1300)]));
        flood.extend(pieces.map(|content| record(ContentType::Handshake, &content)));
        flood.extend((1..4096).step_by(100).map(|at| record(ContentType::Handshake, &fragment(sequence, at, &[7]))));
    }
    for length in [48, 1300] {
        let mut late = write_header(ContentType::ApplicationData, 1, 0, length).to_vec();
        late.resize(late.len() + usize::from(length), 0);
        flood.extend(std::iter::repeat_n(Bytes::from(late), 20));
    }
    let now = Instant::now();
    let mut negotiation = Negotiation::new(config, now);
    let mut dropped = 0;
    let allocated = allocation_counter::measure(|| {
        for datagram in &flood {
            // What is kept of it is kept as it came.
            negotiation.handle_datagram(now, &Bytes::copy_from_slice(datagram)).unwrap();
            while negotiation.poll_datagram().is_some() {}
        }
        dropped = negotiation.dropped();
    });
    let bytes = usize::try_from(allocated.bytes_current).unwrap();
    assert!(dropped > 0 && bytes > 6000, "the limits were reached: {bytes}");
    assert!(bytes <= HANDSHAKE_BYTES_MAX, "{bytes}");
}
