//! A model of the other end, made of foreign parts: STUN by `stun-rs`, SRTP by `webrtc-srtp`, RTP by `rtp`, RTCP by
//! `rtcp`.

use std::net::SocketAddr;

use rtp::packet::Packet;
use sluice_protocol::ice::{NodeSecret, Ufrag};
use sluice_protocol::media::{PayloadType, SrtpProfile, Ssrc};
use stun_rs::attributes::ice::{IceControlled, IceControlling, Priority, UseCandidate};
use stun_rs::attributes::stun::{Fingerprint, MessageIntegrity, UserName};
use stun_rs::methods::BINDING;
use stun_rs::{
    DecoderContextBuilder, HMACKey, MessageClass, MessageDecoderBuilder, MessageEncoderBuilder, StunMessageBuilder,
};
use webrtc_srtp::context::Context;
use webrtc_util::marshal::{Marshal, Unmarshal};

use super::world::{SECRET, World, keys, ufrag};
use crate::port::FiveTuple;
use crate::srtp::tests::oracle;

/// RTCP packets as they came.
pub(super) type Compound = Vec<Box<dyn rtcp::packet::Packet + Send + Sync>>;

pub(super) struct Peer {
    pub(super) five_tuple: FiveTuple,
    pub(super) ufrag: Ufrag,
    seal: Context,
    open: Context,
}

/// What a binding request says besides the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    Plain,
    Nominating,
    Controlled,
}

/// A media packet before it is sealed.
#[derive(Clone, Debug)]
pub(super) struct Media {
    pub(super) ssrc: u32,
    pub(super) payload_type: PayloadType,
    pub(super) sequence: u16,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload: Vec<u8>,
    /// Ids and values.
    pub(super) extensions: Vec<(u8, Vec<u8>)>,
}

impl Peer {
    pub(super) fn new(slot: u32) -> Self {
        Self::with_profile(slot, SrtpProfile::AeadAes128Gcm)
    }

    pub(super) fn with_profile(slot: u32, profile: SrtpProfile) -> Self {
        let keys = keys(slot, profile);
        let local: SocketAddr = "192.0.2.1:7882".parse().unwrap();
        let remote = SocketAddr::new("198.51.100.7".parse().unwrap(), 40_000 + u16::try_from(slot).unwrap());
        Self {
            five_tuple: FiveTuple { local, remote },
            ufrag: ufrag(slot, 0),
            seal: oracle(profile, &keys.remote),
            open: oracle(profile, &keys.local),
        }
    }

    pub(super) fn request(&self, check: Check) -> Vec<u8> {
        let text = self.ufrag.to_text();
        let password = NodeSecret::new(SECRET).password(&text);
        Self::request_with(check, text.as_str(), std::str::from_utf8(&password).unwrap())
    }

    pub(super) fn request_with(check: Check, ufrag: &str, password: &str) -> Vec<u8> {
        let key = HMACKey::new_short_term(password).unwrap();
        let mut builder = StunMessageBuilder::new(BINDING, MessageClass::Request)
            .with_attribute(UserName::new(format!("{ufrag}:theirs")).unwrap())
            .with_attribute(Priority::from(1_853_824_767));
        builder = match check {
            Check::Plain => builder.with_attribute(IceControlling::from(7)),
            Check::Nominating => {
                builder.with_attribute(IceControlling::from(7)).with_attribute(UseCandidate::default())
            }
            Check::Controlled => builder.with_attribute(IceControlled::from(7)),
        };
        let message = builder.with_attribute(MessageIntegrity::new(key)).with_attribute(Fingerprint::default()).build();
        let mut buffer = vec![0; 512];
        let size = MessageEncoderBuilder::default().build().encode(&mut buffer, &message).unwrap();
        buffer.truncate(size);
        buffer
    }

    /// Whether `datagram` is a response that this peer's credentials authenticate, and of which class.
    pub(super) fn response(&self, datagram: &[u8]) -> Option<MessageClass> {
        let password = NodeSecret::new(SECRET).password(&self.ufrag.to_text());
        let key = HMACKey::new_short_term(std::str::from_utf8(&password).unwrap()).unwrap();
        let context = DecoderContextBuilder::default().with_key(key).with_validation().build();
        let decoder = MessageDecoderBuilder::default().with_context(context).build();
        decoder.decode(datagram).ok().map(|(message, _)| message.class())
    }

    /// Nominates the peer's five-tuple and takes the answer away.
    pub(super) fn connect(&self, world: &mut World) {
        world.receive(self.five_tuple, &self.request(Check::Nominating));
        world.flush();
        let (answers, others): (Vec<_>, Vec<_>) =
            world.inbox(self.five_tuple).into_iter().partition(|datagram| self.response(datagram).is_some());
        assert_eq!(answers.len(), 1);
        assert_eq!(self.response(&answers[0]), Some(MessageClass::SuccessResponse));
        others.into_iter().for_each(|datagram| world.put_back(self.five_tuple, datagram));
    }

    pub(super) fn seal(&mut self, media: &Media) -> Vec<u8> {
        let mut packet = Packet::default();
        packet.header.version = 2;
        packet.header.ssrc = media.ssrc;
        packet.header.payload_type = media.payload_type.0;
        packet.header.sequence_number = media.sequence;
        packet.header.timestamp = media.timestamp;
        packet.header.marker = media.marker;
        for (id, value) in &media.extensions {
            packet.header.extension = true;
            packet.header.extension_profile = 0xbede;
            packet.header.set_extension(*id, value.clone().into()).unwrap();
        }
        packet.payload = media.payload.clone().into();
        self.seal.encrypt_rtp(&packet.marshal().unwrap()).unwrap().to_vec()
    }

    pub(super) fn send(&mut self, world: &mut World, media: &Media) {
        let sealed = self.seal(media);
        world.receive(self.five_tuple, &sealed);
    }

    pub(super) fn send_rtcp(&mut self, world: &mut World, packets: &[Box<dyn rtcp::packet::Packet + Send + Sync>]) {
        self.send_plain_rtcp(world, &rtcp::packet::marshal(packets).unwrap());
    }

    pub(super) fn seal_rtcp(&mut self, packets: &[Box<dyn rtcp::packet::Packet + Send + Sync>]) -> Vec<u8> {
        self.seal.encrypt_rtcp(&rtcp::packet::marshal(packets).unwrap()).unwrap().to_vec()
    }

    pub(super) fn send_plain_rtcp(&mut self, world: &mut World, plain: &[u8]) {
        let sealed = self.seal.encrypt_rtcp(plain).unwrap().to_vec();
        world.receive(self.five_tuple, &sealed);
    }

    /// Takes all RTP that came for this peer; every packet must authenticate.
    pub(super) fn take(&mut self, world: &mut World) -> Vec<Packet> {
        self.take_all(world).0
    }

    /// Takes all RTP and RTCP that came for this peer.
    pub(super) fn take_all(&mut self, world: &mut World) -> (Vec<Packet>, Compound) {
        let (media, compounds) = self.take_datagrams(world);
        (media, compounds.into_iter().flatten().collect())
    }

    /// Takes all RTP, and RTCP datagram by datagram.
    fn take_datagrams(&mut self, world: &mut World) -> (Vec<Packet>, Vec<Compound>) {
        let (mut media, mut compounds) = (Vec::new(), Vec::new());
        for datagram in world.inbox(self.five_tuple) {
            match (datagram[0], datagram[1]) {
                (0..=3, _) | (20..=63, _) => {}
                (_, 192..=223) => {
                    let plain = self.open.decrypt_rtcp(&datagram).expect("SRTCP authenticates");
                    compounds.push(rtcp::packet::unmarshal(&mut &plain[..]).expect("RTCP parses"));
                }
                _ => {
                    let plain = self.open.decrypt_rtp(&datagram).expect("SRTP authenticates");
                    media.push(Packet::unmarshal(&mut &plain[..]).expect("RTP parses"));
                }
            }
        }
        (media, compounds)
    }

    pub(super) fn take_reports(&mut self, world: &mut World) -> Compound {
        self.take_all(world).1
    }

    pub(super) fn take_compounds(&mut self, world: &mut World) -> Vec<Compound> {
        self.take_datagrams(world).1
    }
}

/// One VP8 packet of `frame`, the first of it if `start`, with a picture id; the payload numbers itself.
pub(super) fn vp8(ssrc: Ssrc, sequence: u16, frame: u16, key: bool, start: bool, marker: bool) -> Media {
    let [high, low] = (frame & 0x7fff).to_be_bytes();
    let mut payload = vec![if start { 0x90 } else { 0x80 }, 0x80, 0x80 | high, low, u8::from(!key)];
    payload.extend(sequence.to_be_bytes());
    payload.resize(1000, 0x5a);
    Media {
        ssrc: ssrc.0,
        payload_type: super::world::VIDEO,
        sequence,
        timestamp: u32::from(frame) * 3000,
        marker,
        payload,
        extensions: vec![(4, b"v".to_vec())],
    }
}

pub(super) fn opus(ssrc: Ssrc, sequence: u16) -> Media {
    Media {
        ssrc: ssrc.0,
        payload_type: super::world::AUDIO,
        sequence,
        timestamp: u32::from(sequence) * 960,
        marker: false,
        payload: sequence.to_be_bytes().repeat(40),
        extensions: vec![(4, b"a".to_vec()), (1, vec![0x85])],
    }
}

pub(super) fn is_pli(packet: &(dyn rtcp::packet::Packet + Send + Sync)) -> bool {
    packet.as_any().is::<rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication>()
}

/// The packets of one kind among `packets`.
pub(super) fn of_kind<T: Clone + 'static>(packets: &[Box<dyn rtcp::packet::Packet + Send + Sync>]) -> Vec<T> {
    packets.iter().filter_map(|packet| packet.as_any().downcast_ref::<T>().cloned()).collect()
}
