//! A publisher with a camera and a microphone, and its viewers.

use sluice_protocol::media::Ssrc;
use sluice_protocol::plan::Object;

use super::peer::{Media, Peer, opus, vp8};
use super::world::*;

pub(super) const CAMERA: Ssrc = Ssrc(0xcafe_0001);
pub(super) const MICROPHONE: Ssrc = Ssrc(0xcafe_0002);
/// The SSRC of the camera's repairs.
pub(super) const CAMERA_RTX: Ssrc = Ssrc(0xcafe_0003);

/// A publisher in slot 1 with video track 1 and audio track 2, a subscriber in slot 2 with egress 1 and 2.
pub(super) fn stage() -> (World, Peer, Peer) {
    let mut world = World::new();
    for slot in [1, 2] {
        world.put(Object::Transport(transport(slot)));
    }
    world.put(Object::Track(video_track(1, 1)));
    world.put(Object::Track(audio_track(2, 1)));
    world.put(Object::Egress(video_egress(1, 2, 1)));
    world.put(Object::Egress(audio_egress(2, 2, 2)));
    let (publisher, subscriber) = (Peer::new(1), Peer::new(2));
    publisher.connect(&mut world);
    subscriber.connect(&mut world);
    (world, publisher, subscriber)
}

/// A frame of the camera in one packet; its sequence number is its number.
pub(super) fn frame(number: u16, key: bool) -> Media {
    vp8(CAMERA, number, number, key, true, true)
}

pub(super) fn sound(number: u16) -> Media {
    opus(MICROPHONE, number)
}

/// The number that a payload of [`frame`] carries.
pub(super) fn number(payload: &[u8]) -> u16 {
    u16::from_be_bytes([payload[5], payload[6]])
}

/// A repair of `media` (RFC 4588).
pub(super) fn repair(media: &Media, sequence: u16) -> Media {
    let mut payload = media.sequence.to_be_bytes().to_vec();
    payload.extend(&media.payload);
    Media { ssrc: CAMERA_RTX.0, payload_type: VIDEO_RTX, sequence, payload, ..media.clone() }
}
