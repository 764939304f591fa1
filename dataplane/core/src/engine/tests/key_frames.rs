//! Key frames of a publisher with several encodings.

use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use sluice_protocol::media::{Label, Rid, Ssrc};
use sluice_protocol::plan::{self, Encoding, Object};

use super::peer::{Media, Peer, of_kind};
use super::stage::{frame, stage};
use super::world::*;

const LOW: Ssrc = Ssrc(0xcafe_0010);
const HIGH: Ssrc = Ssrc(0xcafe_0011);

fn simulcast() -> plan::Track {
    let encoding = |rid: &[u8], ssrc| Encoding { rid: Label::new(rid).map(Rid), ssrc: Some(ssrc), rtx: None };
    plan::Track { encodings: vec![encoding(b"l", LOW), encoding(b"h", HIGH)], ..video_track(1, 1) }
}

fn of(ssrc: Ssrc, media: Media) -> Media {
    Media { ssrc: ssrc.0, ..media }
}

fn asked(world: &mut World, publisher: &mut Peer) -> Vec<Ssrc> {
    let losses: Vec<PictureLossIndication> = of_kind(&publisher.take_reports(world));
    losses.iter().map(|loss| Ssrc(loss.media_ssrc)).collect()
}

#[test]
fn each_encoding_is_asked_by_its_own_ssrc_until_its_own_key_frame_comes() {
    let (mut world, mut publisher, _) = stage();
    world.put(Object::Track(simulcast()));
    for ssrc in [LOW, HIGH] {
        publisher.send(&mut world, &of(ssrc, frame(1, true)));
    }
    world.pass(1000);
    publisher.take_reports(&mut world);
    for ssrc in [LOW, HIGH, HIGH, LOW] {
        world.engine.want_key_frame_of(world.now, track_id(1), ssrc);
        world.step(40);
    }
    assert_eq!(asked(&mut world, &mut publisher), [LOW]);
    world.pass(100);
    assert_eq!(asked(&mut world, &mut publisher), [HIGH], "200 ms after the other one");
    publisher.send(&mut world, &of(LOW, frame(2, true)));
    world.pass(1000);
    assert_eq!(asked(&mut world, &mut publisher), [HIGH], "the one that has not answered");
    publisher.send(&mut world, &of(HIGH, frame(2, true)));
    world.pass(5000);
    assert_eq!(asked(&mut world, &mut publisher), []);
}

#[test]
fn an_encoding_that_changed_its_ssrc_is_asked_by_the_new_one() {
    let (mut world, mut publisher, _) = stage();
    world.put(Object::Track(simulcast()));
    publisher.send(&mut world, &of(HIGH, frame(1, true)));
    world.pass(1000);
    publisher.take_reports(&mut world);
    world.engine.want_key_frame_of(world.now, track_id(1), HIGH);
    world.pass(10);
    assert_eq!(asked(&mut world, &mut publisher), [HIGH]);
    let mut media = of(Ssrc(0xcafe_0012), frame(500, false));
    media.extensions.push((5, b"h".to_vec()));
    publisher.send(&mut world, &media);
    world.pass(1000);
    assert_eq!(asked(&mut world, &mut publisher), [Ssrc(0xcafe_0012)]);
}
