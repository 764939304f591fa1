//! What a forwarded packet costs the allocator: nothing, once everything is as large as it gets. What the cipher library
//! takes from C's allocator is not seen.

use std::time::Duration;

use allocation_counter::measure;
use sluice_protocol::ids::TransportId;
use sluice_protocol::media::SrtpProfile;
use sluice_protocol::plan::{self, Object};

use super::peer::Peer;
use super::stage::{frame, sound};
use super::world::*;
use crate::port::{Datagram, Outbox, RUN_BYTES_MAX, Run};

/// More than the history of pictures holds of them.
const WARM_UP: u16 = 400;

/// An outbox that takes everything into the same bytes.
struct Sink {
    bytes: Vec<u8>,
    datagrams: u64,
}

impl Outbox for Sink {
    fn reserve_run(&mut self, run: Run) -> Option<&mut [u8]> {
        self.datagrams += run.total_bytes.div_ceil(run.segment_size_bytes) as u64;
        self.bytes.get_mut(..run.total_bytes)
    }

    fn punt(&mut self, _: TransportId, _: &[u8]) {}
}

/// A publisher in slot 1 and its viewers in the slots behind.
fn stage(profile: SrtpProfile, viewers: u32) -> (World, Peer) {
    let mut world = World::with_rows(1024);
    let of_profile = |slot| plan::Transport { keys: Some(keys(slot, profile)), ..transport(slot) };
    world.put(Object::Transport(of_profile(1)));
    world.put(Object::Track(video_track(1, 1)));
    world.put(Object::Track(audio_track(2, 1)));
    let publisher = Peer::with_profile(1, profile);
    publisher.connect(&mut world);
    for slot in 2..2 + viewers {
        world.put(Object::Transport(of_profile(slot)));
        world.put(Object::Egress(video_egress(2 * slot, slot, 1)));
        world.put(Object::Egress(audio_egress(2 * slot + 1, slot, 2)));
        Peer::with_profile(slot, profile).connect(&mut world);
    }
    (world, publisher)
}

/// Forwards picture and sound `number`, 8 ms after those before; returns how often memory was taken for that.
fn forward(world: &mut World, publisher: &mut Peer, number: u16, sink: &mut Sink) -> u64 {
    let mut packets = [publisher.seal(&frame(number, number == 1)), publisher.seal(&sound(number))];
    let (five_tuple, engine) = (publisher.five_tuple, &mut world.engine);
    world.now = world.now + Duration::from_millis(8);
    let now = world.now;
    let measured = measure(|| {
        for bytes in &mut packets {
            engine.handle_datagram(now, Datagram { five_tuple, arrival: now, bytes });
            engine.flush(now, sink);
        }
    });
    // What is due by the clock is not the packet's.
    engine.handle_timeout(now);
    while engine.poll_event().is_some() {}
    measured.count_total
}

#[test]
fn a_forwarded_packet_allocates_nothing() {
    for (profile, viewers, packets) in
        [(SrtpProfile::AeadAes128Gcm, 100_u32, 1000_u16), (SrtpProfile::AesCm128HmacSha1_80, 10, 300)]
    {
        let (mut world, mut publisher) = stage(profile, viewers);
        let mut sink = Sink { bytes: vec![0; RUN_BYTES_MAX], datagrams: 0 };
        let cold: u64 = (1..=WARM_UP).map(|number| forward(&mut world, &mut publisher, number, &mut sink)).sum();
        assert!(cold > 0, "the counter counts");
        let before = sink.datagrams;
        let warm: Vec<(u16, u64)> = (1..=packets)
            .map(|number| (number, forward(&mut world, &mut publisher, WARM_UP + number, &mut sink)))
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(warm, [], "{profile:?}: packets with their allocations");
        let sent = sink.datagrams - before;
        assert!(sent >= 2 * u64::from(packets) * u64::from(viewers), "only {sent} packets were forwarded");
    }
}
