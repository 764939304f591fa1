//! Nonsense, from strangers and from peers who hold the keys. Nothing may panic, and the guard at `seal` watches.

use sluice_protocol::media::PayloadType;
use sluice_protocol::plan::Object;
use sluice_protocol::stats::Stats;

use super::peer::{Check, Media, Peer, opus};
use super::stage::{CAMERA, CAMERA_RTX, MICROPHONE, stage};
use super::world::*;
use crate::discard::Discard;
use crate::shard::seed::SeededState;

fn bytes(random: &mut SeededState, size_max: u64) -> Vec<u8> {
    let size = random.draw() % (size_max + 1);
    (0..size).map(|_| random.draw().to_le_bytes()[0]).collect()
}

fn pick<T: Copy>(random: &mut SeededState, choices: &[T]) -> T {
    choices[usize::try_from(random.draw() % choices.len() as u64).unwrap()]
}

#[test]
fn nonsense_of_strangers_is_discarded_and_nobody_else_loses_anything() {
    let (mut world, mut publisher, mut subscriber) = stage();
    let mut random = SeededState::new(1);
    let mut stranger = publisher.five_tuple;
    stranger.remote.set_port(9);
    for number in 0..300_u16 {
        for _ in 0..20 {
            let mut nonsense = bytes(&mut random, 200);
            if let Some(first) = nonsense.first_mut() {
                *first = pick(&mut random, &[0, 1, 20, 22, 23, 128, 144, *first]);
            }
            let five_tuple = pick(&mut random, &[stranger, publisher.five_tuple, subscriber.five_tuple]);
            world.receive(five_tuple, &nonsense);
        }
        let mut forged = publisher.request(Check::Nominating);
        // Up to the fingerprint, which integrity does not cover: a message that lost it is still authentic.
        let place = usize::try_from(random.draw() % (forged.len() as u64 - 8)).unwrap();
        forged[place] ^= 1;
        world.receive(stranger, &forged);
        publisher.send(&mut world, &opus(MICROPHONE, number));
        world.step(20);
    }
    assert_eq!(subscriber.take(&mut world).len(), 300);
    assert!(world.engine.demux.transport(stranger).is_err());
    assert!(world.discards(Discard::SrtpForged) > 0 && world.discards(Discard::StunMalformed) > 0);
}

#[test]
fn a_peer_with_keys_who_sends_nonsense_harms_only_itself() {
    for seed in 0..8 {
        let (mut world, mut publisher, mut subscriber) = stage();
        world.put(Object::Transport(transport(3)));
        let steady = sluice_protocol::plan::Track { id: track_id(3), ..audio_track(2, 3) };
        world.put(Object::Track(steady));
        world.put(Object::Egress(audio_egress(3, 2, 3)));
        let mut other = Peer::new(3);
        other.connect(&mut world);
        let mut random = SeededState::new(seed);
        let mut untouched = 0;
        for turn in 0..500_u16 {
            let media = Media {
                ssrc: pick(&mut random, &[CAMERA.0, CAMERA_RTX.0, MICROPHONE.0, 5]),
                payload_type: pick(&mut random, &[VIDEO, VIDEO_RTX, AUDIO, PayloadType(3)]),
                sequence: turn.wrapping_add(pick(&mut random, &[0, 0, 0, 5, 1000, 30_000])),
                timestamp: u32::try_from(random.draw() % (1 << 32)).unwrap(),
                marker: random.draw().is_multiple_of(2),
                payload: bytes(&mut random, 1300),
                extensions: vec![
                    (4, pick(&mut random, &[&b"v"[..], b"a", b"nobody"]).to_vec()),
                    (3, bytes(&mut random, 15).into_iter().chain([0]).collect()),
                ],
            };
            publisher.send(&mut world, &media);
            for peer in [&mut publisher, &mut subscriber] {
                let mut compound = vec![pick(&mut random, &[0x80, 0x81, 0x8f, 0xa1]), 0, 0, 0];
                compound[1] = pick(&mut random, &[200, 201, 202, 203, 205, 206, 207]);
                compound.extend(7_u32.to_be_bytes());
                let targets = [CAMERA.0, video_egress(1, 2, 1).ssrc.0, audio_egress(2, 2, 2).ssrc.0];
                compound.extend(pick(&mut random, &targets).to_be_bytes());
                compound.extend(bytes(&mut random, 100));
                compound.resize(compound.len().next_multiple_of(4), 0);
                let words = u16::try_from(compound.len() / 4 - 1).unwrap();
                compound[2..4].copy_from_slice(&words.to_be_bytes());
                peer.send_plain_rtcp(&mut world, &compound);
            }
            other.send(&mut world, &opus(MICROPHONE, turn));
            world.step(7);
            let ssrc = audio_egress(3, 2, 3).ssrc.0;
            untouched += subscriber.take(&mut world).iter().filter(|packet| packet.header.ssrc == ssrc).count();
        }
        world.engine.stats(&mut Stats::default());
        assert_eq!(untouched, 500, "seed {seed}");
    }
}
