//! What anybody hears who can listen to the wire: everything but what is inside.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};
use tokio::task::block_in_place;

use crate::stage::Stage;

/// `ETH_P_ALL` in network byte order: packets that leave are seen too.
const ALL_PROTOCOLS: Protocol = Protocol::from_raw(NonZeroU32::new(0x0300).unwrap());

/// Media of the publisher that is listened to.
pub(crate) const HEARD: usize = 150;

/// Returns media of the stage's publisher as it went over the wire, RTCP among it. Needs a network of the test's own.
pub(crate) fn hear_publisher(stage: &Stage, media: SocketAddr) -> Vec<Vec<u8>> {
    let ports: Vec<u16> = stage.publishing_from.iter().map(|socket| socket.local_addr().unwrap().port()).collect();
    let wire = socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(ALL_PROTOCOLS));
    let wire = wire.expect("a network of its own lets its owner listen to the wire");
    block_in_place(|| listen(&wire, |from, to| ports.contains(&from) && to == media.port()))
}

/// Whether a packet of media is RTCP, RFC 5761 section 4.
pub(crate) fn is_rtcp(packet: &[u8]) -> bool {
    (192..=223).contains(&packet[1])
}

/// Returns media that went between two ports, RTCP among it.
fn listen(wire: &OwnedFd, wanted: impl Fn(u16, u16) -> bool) -> Vec<Vec<u8>> {
    let (mut heard, mut buffer) = (Vec::new(), vec![0; 4096]);
    let deadline = Instant::now() + Duration::from_secs(15);
    while heard.len() < HEARD || !heard.iter().any(|packet: &Vec<u8>| is_rtcp(packet)) {
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
