//! Handshakes and what follows them, against a client of the library, under paused time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sluice_protocol::ids::TransportId;
use sluice_protocol::media::{SrtpKeys, SrtpProfile};
use tokio::time::{Instant, sleep, timeout};
use webrtc_dtls::conn::DTLSConn;
use webrtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile as LibraryProfile;
use webrtc_util::KeyingMaterialExporter as _;
use webrtc_util::conn::Conn as _;

use super::limits::{FINAL_FLIGHT_REPEATS_MAX, HANDSHAKE_DEADLINE};
use super::record::{ContentType, Records, write_header};
use super::testing::peer::{Fate, From, World, library};
use super::testing::vector;
use super::{Association, Certificate, Config, Connected, Error, Event, Fingerprint};

fn quiet() -> World {
    World::new(Box::new(|_, _| Fate::Deliver))
}

async fn connected(world: &mut World) -> (DTLSConn, Connected) {
    let client = timeout(Duration::from_secs(20), world.connect()).await.expect("in time").expect("a handshake");
    let event = world.event().await;
    let Event::Connected(connected) = event else { panic!("{event:?}") };
    (client, *connected)
}

/// Sends a line each way and asserts that it arrives.
async fn talk(world: &mut World, client: &DTLSConn, line: &str) {
    client.send(line.as_bytes()).await.unwrap();
    assert_eq!(world.event().await, Event::ApplicationData(Bytes::copy_from_slice(line.as_bytes())));
    world.server.send_application_data(line.as_bytes()).unwrap();
    let mut buffer = [0; 1500];
    let bytes = timeout(Duration::from_secs(5), client.recv(&mut buffer)).await.expect("in time").unwrap();
    assert_eq!(&buffer[..bytes], line.as_bytes());
}

/// The keys as the client derives them, with its directions turned.
async fn client_keys(client: &DTLSConn, profile: SrtpProfile) -> SrtpKeys {
    let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
    let state = client.connection_state().await;
    let material = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], 2 * (key + salt)).await.unwrap();
    let (keys, salts) = material.split_at(2 * key);
    let master = |direction: usize| {
        let mut master = sluice_protocol::media::MasterKey { key: [0; 32], salt: [0; 14] };
        master.key[..key].copy_from_slice(&keys[direction * key..][..key]);
        master.salt[..salt].copy_from_slice(&salts[direction * salt..][..salt]);
        master
    };
    SrtpKeys { profile, local: master(1), remote: master(0) }
}

/// The number of the last record in the last datagram that the server sent.
fn last_number(world: &World) -> u64 {
    let sent = world.sent_by(From::Server);
    Records::new(sent.last().unwrap()).last().unwrap().unwrap().sequence
}

async fn failure(world: &mut World) -> Error {
    let event = world.event().await;
    let Event::Failed(error) = event else { panic!("{event:?}") };
    error
}

#[tokio::test(start_paused = true)]
async fn both_ends_have_the_same_keys_under_the_profile_we_prefer() {
    use LibraryProfile::{Srtp_Aead_Aes_128_Gcm, Srtp_Aead_Aes_256_Gcm, Srtp_Aes128_Cm_Hmac_Sha1_80};
    let cases = [
        (vec![Srtp_Aes128_Cm_Hmac_Sha1_80, Srtp_Aead_Aes_128_Gcm], SrtpProfile::AeadAes128Gcm),
        (vec![Srtp_Aes128_Cm_Hmac_Sha1_80, Srtp_Aead_Aes_256_Gcm], SrtpProfile::AeadAes256Gcm),
        (vec![Srtp_Aes128_Cm_Hmac_Sha1_80], SrtpProfile::AesCm128HmacSha1_80),
    ];
    for (offered, expected) in cases {
        let mut world = quiet();
        world.client_config.srtp_protection_profiles = offered;
        let (client, event) = connected(&mut world).await;
        assert_eq!(event.keys.profile, expected);
        assert_eq!(event.keys, client_keys(&client, expected).await);
        assert_ne!(event.keys.local, event.keys.remote);
        assert_eq!(Some(event.state), world.server.export_state());
        talk(&mut world, &client, "both ways").await;
        assert_eq!(world.dropped(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_survives_the_loss_of_any_one_datagram_of_either_side() {
    for from in [From::Client, From::Server] {
        for lost in 0..4 {
            let fate = move |by, n| if by == from && n == lost { Fate::Drop } else { Fate::Deliver };
            let mut world = World::new(Box::new(fate));
            let begin = Instant::now();
            let (client, event) = connected(&mut world).await;
            assert!(begin.elapsed() < Duration::from_secs(1), "{from:?} {lost}: {:?}", begin.elapsed());
            assert_eq!(event.keys, client_keys(&client, SrtpProfile::AeadAes128Gcm).await);
            if world.sent_by(from).len() > lost {
                talk(&mut world, &client, "after the loss").await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_final_flight_is_repeated_when_the_client_asks_even_after_a_restart() {
    for restart in [false, true] {
        // The server's datagrams: HelloVerifyRequest, flight 4, flight 6.
        let mut world =
            World::new(Box::new(|by, n| if (by, n) == (From::Server, 2) { Fate::Drop } else { Fate::Deliver }));
        let handshake = world.client_config.clone();
        let socket = Arc::clone(&world.client) as Arc<dyn webrtc_util::conn::Conn + Send + Sync>;
        let client = tokio::spawn(DTLSConn::new(socket, handshake, true, None));
        let Event::Connected(event) = world.event().await else { panic!("not connected") };
        assert!(!client.is_finished());
        if restart {
            world.restart(&event.state);
        }
        let client = timeout(Duration::from_secs(2), client).await.expect("in time").unwrap().unwrap();
        let sent = world.sent_by(From::Server);
        assert_eq!(sent[2], sent[3], "byte for byte");
        talk(&mut world, &client, "connected").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_survives_reordered_and_repeated_datagrams() {
    for late in 0..5 {
        for from in [From::Client, From::Server] {
            let mut world = World::new(Box::new(move |by, n| match n {
                _ if by != from => Fate::Twice,
                n if n == late => Fate::Delay(Duration::from_millis(70)),
                _ => Fate::Deliver,
            }));
            world.client_config.mtu = 300; // several datagrams in each flight of the client
            let (client, event) = connected(&mut world).await;
            assert_eq!(event.keys, client_keys(&client, SrtpProfile::AeadAes128Gcm).await);
            sleep(Duration::from_millis(200)).await;
            talk(&mut world, &client, "in order again").await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_hello_of_several_datagrams_is_answered() {
    let mut world = quiet();
    world.client_config.mtu = 60;
    let (client, event) = connected(&mut world).await;
    assert_eq!(event.keys.profile, SrtpProfile::AeadAes128Gcm);
    let fragments = world.sent.lock().unwrap().iter().take_while(|entry| entry.0 == From::Client).count();
    assert!(fragments >= 2, "{fragments}");
    talk(&mut world, &client, "whole").await;
}

#[tokio::test(start_paused = true)]
async fn hellos_of_browsers_are_answered_at_once_after_their_second_datagram() {
    for name in ["chromium-156", "firefox-153", "firefox-153-restart"] {
        let world = quiet();
        let flight = vector(name).received;
        world.client.outgoing.send(flight[0].clone()).unwrap();
        sleep(Duration::from_millis(100)).await;
        assert_eq!(world.sent_by(From::Server).len(), 0, "{name}");
        world.client.outgoing.send(flight[1].clone()).unwrap();
        sleep(Duration::from_millis(10)).await;
        let answers = world.sent_by(From::Server);
        assert_eq!(answers.len(), 1, "{name}");
        let kinds: Vec<u8> = Records::new(&answers[0]).map(|record| record.unwrap().content[0]).collect();
        assert_eq!(kinds, [2, 11, 12, 13, 14], "{name}: ServerHello, …, ServerHelloDone");
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_little_is_answered_with_a_cookie() {
    let world = quiet();
    let hello = vector("aiortc").received[0].clone();
    world.client.outgoing.send(hello.clone()).unwrap();
    sleep(Duration::from_millis(10)).await;
    let answers = world.sent_by(From::Server);
    assert_eq!((answers.len(), answers[0][13]), (1, 3), "HelloVerifyRequest");
    assert!(answers[0].len() < hello.len());
}

#[tokio::test(start_paused = true)]
async fn into_silence_no_more_leaves_than_three_times_what_came() {
    for name in ["aiortc", "chromium-156"] {
        let world = quiet();
        let hello: Vec<Bytes> = vector(name).received.into_iter().take(if name == "aiortc" { 1 } else { 2 }).collect();
        hello.iter().for_each(|datagram| world.client.outgoing.send(datagram.clone()).unwrap());
        sleep(HANDSHAKE_DEADLINE).await;
        let bytes = |datagrams: &[Bytes]| datagrams.iter().map(Bytes::len).sum::<usize>();
        let answers = world.sent_by(From::Server);
        assert!(answers.len() > 2, "{name}: repeated");
        assert!(bytes(&answers) <= 3 * bytes(&hello), "{name}: {} for {}", bytes(&answers), bytes(&hello));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cookie_that_was_not_given_out_leads_nowhere() {
    let world = quiet();
    let received = vector("aiortc").received;
    for datagram in &received[..2] {
        world.client.outgoing.send(datagram.clone()).unwrap();
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(world.dropped(), 1, "the second hello has another server's cookie");
    assert!(world.sent_by(From::Server).iter().all(|answer| answer[13] == 3));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_was_changed_on_the_way_ends_the_handshake() {
    // The last of the schemes in the CertificateRequest, before the empty authorities and the ServerHelloDone: the
    // client signs what it heard.
    let change = Fate::Flip(25 + 2 + 1);
    let mut world =
        World::new(Box::new(move |by, n| if (by, n) == (From::Server, 1) { change } else { Fate::Deliver }));
    assert!(world.connect().await.is_err(), "the client is told");
    assert_eq!(failure(&mut world).await, Error::Handshake("the client's signature is not its certificate's"));
}

#[tokio::test(start_paused = true)]
async fn a_finished_that_was_changed_on_the_way_is_dropped_and_the_next_one_taken() {
    let change = Fate::Flip(1);
    let mut world =
        World::new(Box::new(move |by, n| if (by, n) == (From::Client, 2) { change } else { Fate::Deliver }));
    let (client, _) = connected(&mut world).await;
    assert_eq!(world.dropped(), 1);
    talk(&mut world, &client, "after the second").await;
}

#[tokio::test(start_paused = true)]
async fn a_bit_turned_anywhere_in_the_clients_last_flight_ends_in_the_same_keys_or_a_named_failure() {
    let (mut ended, mut connected) = (0, 0);
    for from_end in (1..500).step_by(7) {
        let fate = move |by, n| if (by, n) == (From::Client, 2) { Fate::Flip(from_end) } else { Fate::Deliver };
        let mut world = World::new(Box::new(fate));
        let socket = Arc::clone(&world.client) as Arc<dyn webrtc_util::conn::Conn + Send + Sync>;
        let handshake = DTLSConn::new(socket, world.client_config.clone(), true, None);
        let (client, event) = tokio::join!(timeout(2 * HANDSHAKE_DEADLINE, handshake), world.event());
        match event {
            Event::Connected(event) => {
                let client = client.expect("in time").expect("a handshake");
                assert_eq!(event.keys, client_keys(&client, SrtpProfile::AeadAes128Gcm).await, "{from_end}");
                connected += 1;
            }
            Event::Failed(_) => ended += 1,
            Event::ApplicationData(_) | Event::Closed => panic!("{from_end}: {event:?}"),
        }
    }
    assert!(ended > 20 && connected > 5, "{ended} ended, {connected} connected");
}

#[tokio::test(start_paused = true)]
async fn another_certificate_than_the_sdp_announced_fails_by_name() {
    let mut world = quiet();
    world.client_config.certificates = vec![library(&Certificate::generate().unwrap())];
    let client = world.connect().await;
    assert_eq!(failure(&mut world).await, Error::FingerprintMismatch);
    assert!(client.is_err(), "the client is told");
    assert_eq!(world.server.export_state(), None);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_certificate_fails_by_name() {
    let mut world = quiet();
    world.client_config.certificates = Vec::new();
    assert!(world.connect().await.is_err());
    assert_eq!(failure(&mut world).await, Error::NoClientCertificate);
}

#[tokio::test(start_paused = true)]
async fn what_a_client_hello_lacks_is_named_and_the_client_is_told() {
    type Change = fn(&mut webrtc_dtls::config::Config);
    let cases: [(Change, Error); 4] = [
        (|config| config.srtp_protection_profiles = Vec::new(), Error::NoSrtpProfile),
        (
            |config| config.srtp_protection_profiles = vec![LibraryProfile::Srtp_Aes128_Cm_Hmac_Sha1_32],
            Error::NoSrtpProfile,
        ),
        (
            |config| config.extended_master_secret = webrtc_dtls::config::ExtendedMasterSecretType::Disable,
            Error::NoExtendedMasterSecret,
        ),
        (
            |config| {
                use webrtc_dtls::cipher_suite::CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_256_Cbc_Sha;
                config.cipher_suites = vec![Tls_Ecdhe_Ecdsa_With_Aes_256_Cbc_Sha];
            },
            Error::NoCipherSuite,
        ),
    ];
    for (change, expected) in cases {
        let mut world = quiet();
        change(&mut world.client_config);
        assert!(world.connect().await.is_err());
        assert_eq!(failure(&mut world).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_stops_fails_at_the_deadline() {
    let mut world = World::new(Box::new(|by, n| if by == From::Client && n > 0 { Fate::Drop } else { Fate::Deliver }));
    let begin = Instant::now();
    let socket = Arc::clone(&world.client) as Arc<dyn webrtc_util::conn::Conn + Send + Sync>;
    let client = tokio::spawn(DTLSConn::new(socket, world.client_config.clone(), true, None));
    assert_eq!(failure(&mut world).await, Error::HandshakeTimeout);
    assert_eq!(begin.elapsed().as_secs(), HANDSHAKE_DEADLINE.as_secs());
    client.abort();
}

#[tokio::test(start_paused = true)]
async fn the_clients_alert_is_named() {
    let mut world = quiet();
    world.client_config.insecure_skip_verify = false;
    assert!(world.connect().await.is_err());
    assert!(matches!(failure(&mut world).await, Error::PeerAlert(_)));
}

fn record(content_type: ContentType, epoch: u16, sequence: u64, content: &[u8]) -> Bytes {
    let mut bytes = write_header(content_type, epoch, sequence, u16::try_from(content.len()).unwrap()).to_vec();
    bytes.extend_from_slice(content);
    bytes.into()
}

#[tokio::test(start_paused = true)]
async fn spoofed_records_do_not_end_or_disturb_an_open_association() {
    let mut world = quiet();
    let (client, _) = connected(&mut world).await;
    let spoofed = [
        record(ContentType::Alert, 0, 50, &[2, 40]),
        record(ContentType::Alert, 0, 51, &[1, 0]),
        record(ContentType::ApplicationData, 0, 52, b"clear"),
        record(ContentType::Unknown, 0, 53, b"unknown"),
        record(ContentType::ChangeCipherSpec, 1, 54, &[1]),
        record(ContentType::Alert, 1, 55, &[2, 40]),
        record(ContentType::Alert, 1, 56, &[0; 23]),
        record(ContentType::Alert, 1, 57, &[0; 26]),
        record(ContentType::Handshake, 1, 58, &[0; 48]),
        record(ContentType::ApplicationData, 1, (1 << 48) - 1, &[0; 100]),
        record(ContentType::ApplicationData, 2, 0, &[0; 100]),
        Bytes::from_static(&[23, 0xfe, 0xfd, 0]),
        Bytes::from_static(&[20]),
        Bytes::from(vec![22; 3000]),
    ];
    let answers = world.sent_by(From::Server).len();
    for datagram in &spoofed {
        world.server.handle_datagram(datagram.clone());
    }
    assert_eq!(world.dropped(), spoofed.len() as u64);
    talk(&mut world, &client, "undisturbed").await;
    assert_eq!(world.sent_by(From::Server).len(), answers + 1, "no answer but the line");
}

#[tokio::test(start_paused = true)]
async fn application_data_is_delivered_once_however_often_it_comes() {
    let mut world = quiet();
    let (client, _) = connected(&mut world).await;
    client.send(b"once").await.unwrap();
    assert_eq!(world.event().await, Event::ApplicationData(Bytes::from_static(b"once")));
    let datagram = world.sent_by(From::Client).pop().unwrap();
    world.server.handle_datagram(datagram);
    talk(&mut world, &client, "next").await;
    assert_eq!(world.dropped(), 1);
}

#[tokio::test(start_paused = true)]
async fn data_that_overtakes_the_finished_follows_the_connected_event() {
    // The client's third datagram is its last flight; what follows is delivered while that is still on its way.
    let late = Fate::Delay(Duration::from_millis(50));
    let mut world = World::new(Box::new(move |by, n| if (by, n) == (From::Client, 2) { late } else { Fate::Deliver }));
    let recorded = vector("firefox-153").received.pop().unwrap();
    let server = Arc::clone(&world.server);
    tokio::spawn(async move {
        sleep(Duration::from_millis(20)).await;
        server.handle_datagram(recorded); // another association's alert: kept, then found forged
    });
    let (client, _) = connected(&mut world).await;
    talk(&mut world, &client, "in order").await;
    assert_eq!(world.dropped(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_close_notify_is_answered_and_told() {
    let mut world = quiet();
    let (client, _) = connected(&mut world).await;
    client.close().await.unwrap();
    assert_eq!(world.event().await, Event::Closed);
    assert_eq!(world.server.export_state(), None);
    assert_eq!(world.server.send_application_data(b"late"), Err(Error::ApplicationData("the association is not open")));
    sleep(Duration::from_millis(10)).await;
    let answer = world.sent_by(From::Server).pop().unwrap();
    assert_eq!(answer[0], ContentType::Alert.number());
}

#[tokio::test(start_paused = true)]
async fn no_task_is_left_after_a_handshake_however_it_ended() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let mut world = quiet();
    let before = alive();
    let (client, _) = connected(&mut world).await;
    drop(client);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(alive(), before, "after a good one");

    let mut world = quiet();
    let before = alive();
    world.client_config.certificates = Vec::new();
    assert!(world.connect().await.is_err());
    assert_eq!(failure(&mut world).await, Error::NoClientCertificate);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(alive(), before, "after a failed one");

    let world = quiet();
    let before = alive();
    for datagram in &vector("chromium-156").received[..2] {
        world.server.handle_datagram(datagram.clone());
    }
    sleep(Duration::from_millis(10)).await;
    assert!(alive() > before, "in the middle of one");
    world.server.close();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(alive(), before, "after one that was given up");
}

#[tokio::test(start_paused = true)]
async fn the_final_flight_is_repeated_a_bounded_number_of_times() {
    // Every answer to the client's last flight is lost: it asks again and again.
    let mut world = World::new(Box::new(|by, n| if by == From::Server && n >= 2 { Fate::Drop } else { Fate::Deliver }));
    let socket = Arc::clone(&world.client) as Arc<dyn webrtc_util::conn::Conn + Send + Sync>;
    let client = tokio::spawn(DTLSConn::new(socket, world.client_config.clone(), true, None));
    assert!(matches!(world.event().await, Event::Connected(_)));
    sleep(Duration::from_secs(30)).await;
    client.abort();
    assert_eq!(world.sent_by(From::Server).len(), 3 + usize::from(FINAL_FLIGHT_REPEATS_MAX));
}

#[tokio::test(start_paused = true)]
async fn closing_tells_the_client_and_dropping_does_not() {
    let mut world = quiet();
    let (client, _) = connected(&mut world).await;
    world.server.close();
    let mut buffer = [0; 100];
    assert!(timeout(Duration::from_secs(1), client.recv(&mut buffer)).await.unwrap().is_err());

    let mut world = quiet();
    let (client, event) = connected(&mut world).await;
    let sent = world.sent_by(From::Server).len();
    let state = world.restart(&event.state); // drops the first association
    assert_eq!(world.sent_by(From::Server).len(), sent);
    talk(&mut world, &client, "still open").await;
    assert_ne!(state, event.state);
}

#[tokio::test(start_paused = true)]
async fn a_resumed_association_goes_on_far_above_every_number_used_before() {
    let mut world = quiet();
    let (client, event) = connected(&mut world).await;
    let mut parked = event.state;
    for restart in 1..=3_u64 {
        for line in ["one", "two"] {
            talk(&mut world, &client, line).await;
        }
        // What was parked last is older than what was sent: the numbers in between are not used again.
        let before = last_number(&world);
        parked = world.restart(&parked);
        assert_eq!(last_number(&world), before, "nothing leaves at a restart");
        talk(&mut world, &client, "again").await;
        // The Finished had number 0, so the first state said 1.
        assert_eq!(last_number(&world), 1 + (restart << 32));
        assert!(last_number(&world) > before);
    }
}

#[tokio::test(start_paused = true)]
async fn a_resumed_association_refuses_records_that_its_state_knew() {
    let mut world = quiet();
    let (client, _) = connected(&mut world).await;
    talk(&mut world, &client, "one").await;
    talk(&mut world, &client, "two").await;
    let state = world.server.export_state().unwrap();
    world.restart(&state);
    for old in world.sent_by(From::Client) {
        world.server.handle_datagram(old);
    }
    talk(&mut world, &client, "three").await;
    assert!(world.dropped() >= 4, "two lines and the handshake: {}", world.dropped());
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_not_ours_is_refused() {
    let mut world = quiet();
    let (_client, event) = connected(&mut world).await;
    let resume = |state: &[u8]| Association::resume(super::testing::peer::TRANSPORT, state, &world.endpoint).map(drop);
    assert_eq!(resume(&event.state), Ok(()));
    assert!(event.state.len() < 160, "{}", event.state.len());
    for end in 0..58 {
        assert!(matches!(resume(&event.state[..end]), Err(Error::State(_))), "{end}");
    }
    let mut other = event.state.clone();
    other[0] = 2;
    assert_eq!(resume(&other), Err(Error::State("it was written by another version")));
    let mut used_up = event.state.clone();
    used_up[41..49].copy_from_slice(&((1_u64 << 48) - 5).to_be_bytes());
    assert_eq!(resume(&used_up), Err(Error::State("its record numbers are used up")));
    let mut long = event.state;
    long.extend([0; 300]);
    assert_eq!(resume(&long), Err(Error::State("it is too long")));
}

#[tokio::test(start_paused = true)]
async fn a_flood_before_the_handshake_is_dropped_and_counted() {
    let world = quiet();
    for _ in 0..1000 {
        world.server.handle_datagram(record(ContentType::Handshake, 0, 0, &[1; 50]));
    }
    sleep(Duration::from_millis(10)).await;
    let dropped = world.dropped();
    assert!((900..=1000).contains(&dropped), "{dropped}");
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_finds_no_place_waits_by_its_own_repeats_until_one_is_given_back() {
    let mut world = quiet();
    let endpoint = world.endpoint.clone();
    let other = |slot| {
        let remote_fingerprint = Certificate::generate().unwrap().fingerprints();
        let config = Config { certificate: Arc::new(Certificate::generate().unwrap()), remote_fingerprint };
        Association::accept(TransportId::new(0, slot, 1), config, &endpoint)
    };
    let nonsense = record(ContentType::Handshake, 0, 0, &[1; 50]);
    let stalling = other(2);
    stalling.handle_datagram(nonsense.clone());
    assert_eq!(world.endpoint.counts().deferred, 0, "the only place");
    let began = Instant::now();
    let client = timeout(2 * HANDSHAKE_DEADLINE, world.connect()).await.expect("in time").expect("a handshake");
    assert!(began.elapsed() >= HANDSHAKE_DEADLINE, "{:?}", began.elapsed());
    let deferred = world.endpoint.counts().deferred;
    assert!(deferred > 0 && world.dropped() >= deferred, "{:?}", world.endpoint.counts());
    let next = other(3);
    assert_eq!(failure(&mut world).await, Error::HandshakeTimeout);
    assert!(matches!(world.event().await, Event::Connected(_)));
    next.handle_datagram(nonsense.clone());
    assert_eq!(world.endpoint.counts().deferred, deferred, "a handshake that ended gives its place back");
    drop(next);
    tokio::task::yield_now().await;
    let last = other(4);
    last.handle_datagram(nonsense);
    assert_eq!(world.endpoint.counts().deferred, deferred, "and so does one that is given up");
    talk(&mut world, &client, "open").await;
}

#[tokio::test(start_paused = true)]
async fn fragments_beyond_their_message_do_no_harm_however_many() {
    // Messages of no length in fragments of one byte at falling offsets.
    let mut world = quiet();
    let mut offset = 40_000_u32;
    for sequence in 0..400 {
        let mut content = Vec::new();
        for _ in 0..100 {
            offset -= 1;
            content.extend([1, 0, 0, 0, 0, 0]);
            content.extend(&offset.to_be_bytes()[1..]);
            content.extend([0, 0, 1]);
        }
        world.server.handle_datagram(record(ContentType::Handshake, 0, sequence, &content));
        tokio::task::yield_now().await;
    }
    sleep(Duration::from_millis(10)).await;
    let (client, _) = connected(&mut world).await;
    talk(&mut world, &client, "unharmed").await;
    assert_eq!(world.dropped(), 400);
}

#[test]
fn fingerprints_of_other_hashes_fit_the_handshake_too() {
    let certificate = Certificate::generate().unwrap();
    let fingerprint = Fingerprint::parse(&certificate.fingerprint().to_lowercase()).unwrap();
    assert!(fingerprint.matches(certificate.der()));
}
