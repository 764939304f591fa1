//! Datagrams with the source address of somebody else, whose five-tuple is validated.

use crate::attacker::{Attacker, send};
use crate::datagram::{binding_request, dtls_record, plain_alert, rtcp, rtp};
use crate::metrics::Discards;
use crate::stage::Stage;

#[tokio::test(flavor = "multi_thread")]
async fn a_spoofed_plaintext_alert_ends_nobodys_association() {
    let mut stage = Stage::start().await;
    let mut attacker = Attacker::enter(&stage).await;
    let (before, counted) = (stage.before().await, Discards::read(&stage.server).await);
    for sequence in 0..100 {
        for socket in &stage.publishing_from {
            send(socket, &plain_alert(sequence), attacker.media);
            // Hidden behind a record that must pass, and too short to be opened.
            let handshake = dtls_record(22, 0, sequence, &attacker.noise.bytes(40));
            send(socket, &[handshake, plain_alert(sequence)].concat(), attacker.media);
            send(socket, &dtls_record(21, 1, sequence, &[1; 8]), attacker.media);
        }
    }
    counted.wait_rise(&stage.server, "dtls_filtered", 300).await;
    stage.assert_undisturbed(&before).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spoofed_garbage_of_every_protocol_ends_nobodys_association() {
    let mut stage = Stage::start().await;
    let mut attacker = Attacker::enter(&stage).await;
    let (before, counted) = (stage.before().await, Discards::read(&stage.server).await);
    for turn in 0..500_u32 {
        let alert = dtls_record(21, 1, turn, &attacker.noise.bytes(40));
        let data = dtls_record(23, 1, turn, &attacker.noise.bytes(100));
        let handshake = dtls_record(22, 0, turn, &attacker.noise.bytes(100));
        let request = binding_request(&format!("{}:evil", attacker.ufrag), &mut attacker.noise, &[3; 20]);
        for socket in &stage.publishing_from {
            for datagram in [&alert, &data, &handshake, &request] {
                send(socket, datagram, attacker.media);
            }
        }
    }
    counted.wait_rise(&stage.server, "stun_forged", 500).await;
    stage.assert_undisturbed(&before).await;
    stage.assert_newcomer_is_served("newcomer").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn media_that_is_not_sealed_with_the_publishers_keys_is_forged() {
    let mut stage = Stage::start().await;
    let mut attacker = Attacker::enter(&stage).await;
    let (before, counted) = (stage.before().await, Discards::read(&stage.server).await);
    for sequence in 0..500 {
        for socket in &stage.publishing_from {
            send(socket, &rtp(0x5151_5151, sequence, &mut attacker.noise), attacker.media);
            send(socket, &rtcp(0x5151_5151, &mut attacker.noise), attacker.media);
        }
    }
    counted.wait_rise(&stage.server, "srtp_forged", 500).await;
    counted.wait_rise(&stage.server, "srtcp_forged", 500).await;
    stage.assert_undisturbed(&before).await;
    stage.end().await;
}
