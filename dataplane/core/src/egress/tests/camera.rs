//! A VP8 encoder with three temporal layers (0 2 1 2) that writes down what it made.

use super::decoder::{Frame, Truth};
use super::*;

#[derive(Clone, Debug)]
pub(super) struct Camera {
    pub(super) publisher: Publisher,
    layers: [Option<usize>; 3],
    place: usize,
}

impl Camera {
    /// Makes an encoder whose numbers all follow from `ssrc`; `ids` tells how wide its picture ids are.
    pub(super) fn new(ssrc: u32, ids: u8) -> Self {
        let random = Random::new(u64::from(ssrc)).next();
        let mut publisher = Publisher::new(ssrc);
        publisher.ids = [Ids::Fifteen, Ids::Seven, Ids::None][usize::from(ids)];
        publisher.sequence = random & 0x000f_ffff;
        publisher.timestamp = u32::try_from(random >> 32).unwrap();
        publisher.picture_id = u16::try_from(random >> 20 & 0x7fff).unwrap();
        publisher.tl0picidx = u8::try_from(random >> 24 & 0xff).unwrap();
        Self { publisher, layers: [None; 3], place: 0 }
    }

    /// Makes a frame of so many packets; a key frame when `wants_key` at a place where the base layer is due, and at the
    /// start.
    pub(super) fn frame(&mut self, truth: &mut Truth, packets: usize, wants_key: bool) -> Vec<Packet> {
        let key = self.layers[0].is_none() || wants_key && self.place.is_multiple_of(3);
        self.place = if key { 0 } else { self.place + 1 };
        let temporal = if key { 0 } else { [0, 2, 1, 2][self.place % 4] };
        let [base, middle, top] = self.layers;
        // The first half of each cycle starts its layers anew, so that a receiver may go up.
        let sync = temporal != 0 && self.place % 4 < 3 && self.place % 8 < 4 || temporal == 1 && middle.is_none();
        let sync = sync || temporal == 2 && top.is_none();
        let references = match (key, temporal, sync) {
            (true, ..) => vec![],
            (_, 0, _) | (_, _, true) => base.into_iter().collect(),
            (_, 1, _) => base.into_iter().chain(middle).collect(),
            _ => base.into_iter().chain(middle).chain(top).collect(),
        };
        let number = truth.frames.len();
        if key {
            self.layers = [None; 3];
        }
        self.layers[usize::from(temporal)] = Some(number);
        let moment = self.publisher.now;
        let packets = self.publisher.frame(packets, key, temporal, sync);
        let identities = packets.iter().map(|packet| (packet.ssrc, packet.sequence));
        truth.packets.extend(identities.clone().map(|identity| (identity, number)));
        truth.frames.push(Frame { packets: identities.collect(), references, key, moment });
        packets
    }
}
