//! Floods from addresses that nobody vouches for, and from one that has a session without keys.

use std::time::Duration;

use tokio::task::block_in_place;

use crate::attacker::{Attacker, at_rate};
use crate::datagram::{binding_request, dtls_record, plain_alert, rtcp, rtp};
use crate::metrics::Discards;
use crate::stage::Stage;

const REQUESTS_PER_SECOND: u64 = 10_000;
const FLOOD: Duration = Duration::from_secs(2);

/// One bit of each field of a user fragment: see `docs/IPC.md` for its layout.
const RANDOM: u128 = 1;
const RESTART: u128 = 1 << 32;
const GENERATION: u128 = 1 << 40;
const SLOT: u128 = 1 << 72;
const SHARD: u128 = 1 << 96;
const VERSION: u128 = 1 << 104;

#[tokio::test(flavor = "multi_thread")]
async fn binding_requests_with_wrong_integrity_at_ten_thousand_a_second_are_counted_and_not_answered() {
    let mut stage = Stage::start().await;
    let mut attacker = Attacker::enter(&stage).await;
    let (before, counted) = (stage.before().await, Discards::read(&stage.server).await);
    let sent = block_in_place(|| {
        let username = format!("{}:evil", attacker.ufrag);
        at_rate(REQUESTS_PER_SECOND, FLOOD, |_| {
            let integrity = attacker.noise.bytes(20);
            let request = binding_request(&username, &mut attacker.noise, &integrity);
            attacker.send(&request);
        })
    });
    // Where the machine is too busy the kernel drops some.
    counted.wait_rise(&stage.server, "stun_forged", sent / 2).await;
    attacker.assert_unanswered();
    stage.assert_undisturbed(&before).await;
    stage.assert_newcomer_is_served("newcomer").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_user_fragments_of_every_kind_are_counted_and_not_answered() {
    let mut stage = Stage::start().await;
    let mut attacker = Attacker::enter(&stage).await;
    let before = stage.before().await;
    for flipped in [RANDOM, RESTART, GENERATION, SLOT, SHARD, VERSION] {
        let counted = Discards::read(&stage.server).await;
        let username = format!("{}:evil", attacker.ufrag_with(flipped));
        for _ in 0..50 {
            let request = binding_request(&username, &mut attacker.noise, &[1; 20]);
            attacker.send(&request);
        }
        counted.wait_rise(&stage.server, "stun_unknown_ufrag", 50).await;
    }
    let counted = Discards::read(&stage.server).await;
    for _ in 0..500 {
        let username = format!("{:018x}:evil", attacker.noise.next());
        let request = binding_request(&username, &mut attacker.noise, &[1; 20]);
        attacker.send(&request);
    }
    counted.wait_rise(&stage.server, "stun_unknown_ufrag", 500).await;

    let counted = Discards::read(&stage.server).await;
    let whole = binding_request("evil", &mut attacker.noise, &[1; 20]);
    for end in 0..whole.len() {
        attacker.send(&whole[..end]);
        let long = [&whole[..end], &[0xff; 8]].concat();
        attacker.send(&long);
    }
    counted.wait_rise(&stage.server, "stun_malformed", whole.len() as u64).await;
    attacker.assert_unanswered();
    stage.assert_undisturbed(&before).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn media_and_handshakes_from_an_unvalidated_five_tuple_go_nowhere() {
    let mut stage = Stage::start().await;
    let mut attacker = Attacker::enter(&stage).await;
    let (before, counted) = (stage.before().await, Discards::read(&stage.server).await);
    let sent = block_in_place(|| {
        at_rate(REQUESTS_PER_SECOND / 2, FLOOD / 2, |turn| {
            let ssrc = (attacker.noise.next() >> 32) as u32;
            let datagram = match turn % 5 {
                0 => rtp(ssrc, u16::try_from(turn).unwrap(), &mut attacker.noise),
                1 => rtcp(ssrc, &mut attacker.noise),
                2 => plain_alert(turn),
                3 => dtls_record(22, 0, turn, &attacker.noise.bytes(200)),
                _ => dtls_record(23, 1, turn, &attacker.noise.bytes(60)),
            };
            attacker.send(&datagram);
        })
    });
    counted.wait_rise(&stage.server, "unvalidated_five_tuple", sent / 2).await;

    let counted = Discards::read(&stage.server).await;
    for size in 0..1000 {
        let mut datagram = attacker.noise.bytes(size);
        if let Some(first) = datagram.first_mut() {
            *first = 0xf0;
        }
        attacker.send(&datagram);
    }
    counted.wait_rise(&stage.server, "unclassified", 500).await;
    attacker.assert_unanswered();
    stage.assert_undisturbed(&before).await;
    stage.assert_newcomer_is_served("newcomer").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_without_keys_can_send_nothing_and_starts_a_bounded_number_of_handshakes() {
    let mut stage = Stage::start().await;
    let mut attacker = Attacker::enter(&stage).await;
    attacker.validate();
    let (before, counted) = (stage.before().await, Discards::read(&stage.server).await);
    for sequence in 0..500 {
        let datagram = rtp(0x5151_5151, sequence, &mut attacker.noise);
        attacker.send(&datagram);
        let datagram = rtcp(0x5151_5151, &mut attacker.noise);
        attacker.send(&datagram);
    }
    counted.wait_rise(&stage.server, "no_keys", 500).await;
    // The first part of a ClientHello that never becomes whole (RFC 6347 section 4.2.3).
    let part = [&[1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 188, 0xfe, 0xfd][..], &[0; 186]].concat();
    block_in_place(|| {
        at_rate(REQUESTS_PER_SECOND / 2, FLOOD / 2, |turn| attacker.send(&dtls_record(22, 0, turn, &part)))
    });
    counted.wait_rise(&stage.server, "dtls_capped", 2000).await;
    stage.assert_undisturbed(&before).await;
    stage.assert_newcomer_is_served("newcomer").await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_of_garbage_ends_the_session_that_sent_it_and_no_other() {
    let mut stage = Stage::start().await;
    let before = stage.before().await;
    for _ in 0..5 {
        let mut attacker = Attacker::enter(&stage).await;
        attacker.validate();
        let counted = Discards::read(&stage.server).await;
        let ends = async {
            for sequence in 0.. {
                let hello = [&[1, 0, 0, 88, 0, 0, 0, 0, 0, 0, 0, 88][..], &attacker.noise.bytes(88)].concat();
                attacker.send(&dtls_record(22, 0, sequence, &hello));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = counted.wait_rise(&stage.server, "unvalidated_five_tuple", 1) => {}
            () = ends => {}
        }
    }
    stage.assert_undisturbed(&before).await;
    stage.assert_newcomer_is_served("newcomer").await;
    stage.end().await;
}
