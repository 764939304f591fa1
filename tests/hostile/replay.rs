//! Packets of the publisher, heard on the wire and sent again.

use sluice_tests::in_own_network;

use crate::attacker::{Attacker, send};
use crate::metrics::Discards;
use crate::stage::Stage;
use crate::wire::{HEARD, hear_publisher, is_rtcp};

#[test]
fn what_the_publisher_sent_counts_once_whoever_sends_it_again() {
    in_own_network("replay::what_the_publisher_sent_counts_once_whoever_sends_it_again", replay());
}

async fn replay() {
    let mut stage = Stage::start().await;
    let mut attacker = Attacker::enter(&stage).await;
    let heard = hear_publisher(&stage, attacker.media);
    let (before, counted) = (stage.before().await, Discards::read(&stage.server).await);
    for packet in &heard {
        attacker.send(packet);
    }
    counted.wait_rise(&stage.server, "unvalidated_five_tuple", HEARD as u64 / 2).await;
    attacker.validate();
    for packet in &heard {
        attacker.send(packet);
    }
    counted.wait_rise(&stage.server, "no_keys", HEARD as u64 / 2).await;
    let reports = heard.iter().filter(|packet| is_rtcp(packet)).count() as u64;
    for packet in &heard {
        for socket in &stage.publishing_from {
            send(socket, packet, attacker.media);
        }
    }
    counted.wait_rise(&stage.server, "srtp_replayed", HEARD as u64 - reports).await;
    counted.wait_rise(&stage.server, "srtcp_replayed", reports).await;
    stage.assert_undisturbed(&before).await;
    stage.end().await;
}
