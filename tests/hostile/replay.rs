//! Packets of the publisher, heard on the wire and sent again.

use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use sluice_tests::in_own_network;
use tokio::task::block_in_place;

use crate::attacker::{Attacker, send};
use crate::metrics::Discards;
use crate::stage::Stage;

/// `ETH_P_ALL` in network byte order: packets that leave are seen too.
const ALL_PROTOCOLS: Protocol = Protocol::from_raw(NonZeroU32::new(0x0300).unwrap());

const HEARD: usize = 150;

#[test]
fn what_the_publisher_sent_counts_once_whoever_sends_it_again() {
    in_own_network("replay::what_the_publisher_sent_counts_once_whoever_sends_it_again", replay());
}

async fn replay() {
    let mut stage = Stage::start().await;
    let mut attacker = Attacker::enter(&stage).await;
    let ports: Vec<u16> = stage.publishing_from.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
    let wire = socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(ALL_PROTOCOLS));
    let wire = wire.expect("a network of its own lets its owner listen to the wire");
    let heard = block_in_place(|| listen(&wire, |from, to| ports.contains(&from) && to == attacker.media.port()));
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
    let is_rtcp = |packet: &&Vec<u8>| (192..=223).contains(&packet[1]);
    let reports = heard.iter().filter(is_rtcp).count() as u64;
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

/// Returns media that went between two ports, RTCP among it.
fn listen(wire: &OwnedFd, wanted: impl Fn(u16, u16) -> bool) -> Vec<Vec<u8>> {
    let (mut heard, mut buffer) = (Vec::new(), vec![0; 4096]);
    let deadline = Instant::now() + Duration::from_secs(15);
    let is_rtcp = |packet: &Vec<u8>| (192..=223).contains(&packet[1]);
    while heard.len() < HEARD || !heard.iter().any(is_rtcp) {
        assert!(Instant::now() < deadline, "the publisher was not heard: {} packets", heard.len());
        let (_, size) = recv(wire, &mut buffer[..], RecvFlags::empty()).unwrap();
        let Some((from, to, payload)) = udp_of(&buffer[..size]) else { continue };
        // What goes over loopback passes twice.
        let is_media = payload.first().is_some_and(|first| (128..192).contains(first)) && payload.len() > 12;
        if is_media && wanted(from, to) && !heard.iter().rev().take(8).any(|before| before == payload) {
            heard.push(payload.to_vec());
        }
    }
    heard
}

/// Returns the ports and the payload of a UDP datagram over IPv4.
fn udp_of(packet: &[u8]) -> Option<(u16, u16, &[u8])> {
    let header = usize::from(packet.first()? & 15) * 4;
    if packet.first()? >> 4 != 4 || *packet.get(9)? != 17 {
        return None;
    }
    let udp = packet.get(header..)?;
    let port = |at: usize| Some(u16::from_be_bytes([*udp.get(at)?, *udp.get(at + 1)?]));
    Some((port(0)?, port(2)?, udp.get(8..)?))
}
