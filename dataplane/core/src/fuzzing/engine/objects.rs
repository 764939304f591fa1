//! The plan's objects of scripts: few addresses, so that they meet, and every field that the engine looks at.

use std::net::SocketAddr;

use sluice_protocol::ice::Ufrag;
use sluice_protocol::ids::{Address, EgressId, TrackId, TransportId};
use sluice_protocol::media::{
    Bitrate, Codec, CodecKind, ExtensionIds, Label, MasterKey, MediaKind, Mid, PayloadType, Rid, SrtpKeys, SrtpProfile,
    Ssrc,
};
use sluice_protocol::plan::{
    Egress, Encoding, Key, Layer, Object, Path, PayloadMap, PlayoutDelay, Source, Stream, StreamRole, Track, Transport,
};

use super::script::Script;
use crate::port::FiveTuple;

/// Slots of transports, each of two generations.
pub(super) const TRANSPORTS: u8 = 3;
const TRACKS: u8 = 4;
const EGRESSES: u8 = 6;
/// Payload types of tracks with their codecs; the next number is the repair's.
pub(super) const CODECS: [(u8, CodecKind, u32); 6] = [
    (96, CodecKind::Vp8, 90_000),
    (98, CodecKind::Vp9, 90_000),
    (100, CodecKind::H264, 90_000),
    (102, CodecKind::Av1, 90_000),
    (104, CodecKind::Opus, 48_000),
    (106, CodecKind::Other, 8_000),
];

pub(super) fn transport_id(script: &mut Script<'_>) -> TransportId {
    let which = script.below(2 * TRANSPORTS);
    TransportId::new(0, u32::from(which % TRANSPORTS), 1 + u32::from(which / TRANSPORTS))
}

pub(super) fn track_address(script: &mut Script<'_>) -> Address {
    let which = script.below(2 * TRACKS);
    Address::new(0, u32::from(which % TRACKS), 1 + u32::from(which / TRACKS))
}

fn egress_address(script: &mut Script<'_>) -> Address {
    let which = script.below(2 * EGRESSES);
    Address::new(0, u32::from(which % EGRESSES), 1 + u32::from(which / EGRESSES))
}

/// Returns what publishers send by.
pub(super) fn source_ssrc(script: &mut Script<'_>) -> Ssrc {
    Ssrc(0xcafe_0000 + u32::from(script.below(8)))
}

/// Returns an SSRC of an egress stream, which tells its transport.
pub(super) fn egress_ssrc(transport: TransportId, script: &mut Script<'_>) -> Ssrc {
    Ssrc(0x1000_0000 | (transport.slot() << 16) | (transport.generation() << 8) | u32::from(script.below(6)))
}

/// Returns the transport that an SSRC of an egress stream belongs to.
pub(super) fn transport_of(ssrc: Ssrc) -> TransportId {
    TransportId::new(0, (ssrc.0 >> 16) & 0xff, (ssrc.0 >> 8) & 0xff)
}

/// Returns the keys of a transport.
pub(super) fn keys(transport: TransportId) -> SrtpKeys {
    let profiles = [SrtpProfile::AeadAes128Gcm, SrtpProfile::AesCm128HmacSha1_80, SrtpProfile::AeadAes256Gcm];
    let profile = profiles.into_iter().cycle().nth(transport.slot() as usize).unwrap_or(SrtpProfile::AeadAes128Gcm);
    let [.., slot, generation] = (transport.slot() << 8 | transport.generation()).to_be_bytes();
    let master = |byte: u8| MasterKey { key: [byte ^ slot; 32], salt: [generation; 14] };
    SrtpKeys { profile, local: master(0x50), remote: master(0xa0) }
}

pub(super) const fn ufrag(transport: TransportId, restart: u8) -> Ufrag {
    Ufrag { transport, restart, random: 0x5eed }
}

fn local() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 7000))
}

fn remote(which: u8) -> SocketAddr {
    match which % 4 {
        3 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 3], 40_003)),
        which => SocketAddr::from(([198, 51, 100, which], 40_000)),
    }
}

pub(super) fn key(script: &mut Script<'_>) -> Key {
    match script.below(6) {
        0 => Key::Transport(transport_id(script)),
        1 => Key::Path(transport_id(script)),
        2 => Key::Track(TrackId(track_address(script))),
        3 => Key::Stream(TrackId(track_address(script)), source_ssrc(script)),
        4 => Key::Egress(EgressId(egress_address(script))),
        _ => Key::Cookie(script.byte().into()),
    }
}

/// Tells whether `old` is what an object under `new` takes the slot from.
pub(super) fn is_older(old: &Key, new: &Key) -> bool {
    let (old, new) = match (old, new) {
        (Key::Transport(old), Key::Transport(new)) => (old.0, new.0),
        (Key::Track(old), Key::Track(new)) => (old.0, new.0),
        (Key::Egress(old), Key::Egress(new)) => (old.0, new.0),
        _ => return false,
    };
    old.slot() == new.slot() && old.generation() < new.generation()
}

pub(super) fn object(script: &mut Script<'_>) -> Object {
    match script.below(8) {
        0 | 1 => Object::Transport(transport(script)),
        2 => Object::Path(path(script)),
        3 | 4 => Object::Track(track(script)),
        5 => Object::Stream(stream(script)),
        _ => Object::Egress(egress(script)),
    }
}

fn transport(script: &mut Script<'_>) -> Transport {
    let id = transport_id(script);
    let flags = script.byte();
    let restart = script.below(3);
    let mut credentials = vec![ufrag(id, restart)];
    if flags & 1 != 0 {
        credentials.push(ufrag(id, restart + 1));
    }
    Transport {
        id,
        credentials,
        keys: (flags & 6 != 0).then(|| keys(id)),
        cname: "peer".repeat(usize::from(flags >> 7) + 1),
        extmap_allow_mixed: flags & 8 != 0,
        remb_cap: (flags & 16 != 0).then_some(Bitrate(1_000_000)),
        rtcp_rsize: flags & 32 != 0,
    }
}

fn path(script: &mut Script<'_>) -> Path {
    let transport = transport_id(script);
    let (which, restart) = (script.byte(), script.below(4));
    Path { transport, local: local_of(remote(which)), remote: remote(which), credentials: ufrag(transport, restart) }
}

pub(super) fn five_tuple(script: &mut Script<'_>) -> FiveTuple {
    let remote = remote(script.byte());
    FiveTuple { local: local_of(remote), remote }
}

/// Returns our address of the same family.
fn local_of(remote: SocketAddr) -> SocketAddr {
    match remote {
        SocketAddr::V4(_) => local(),
        SocketAddr::V6(_) => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 7000)),
    }
}

fn kind(flags: u8) -> MediaKind {
    if flags & 1 == 0 { MediaKind::Video } else { MediaKind::Audio }
}

fn label(text: u8) -> Label {
    Label::new(&[b'a' + text % 3]).unwrap_or_default()
}

fn extensions(flags: u8) -> ExtensionIds {
    let id = |bit: u8, id: u8| if flags & bit == 0 { 0 } else { id };
    ExtensionIds {
        mid: id(1, 4),
        rid: id(2, 5),
        repaired_rid: id(2, 6),
        audio_level: id(4, 1),
        abs_send_time: id(8, 2),
        transport_sequence: id(16, 3),
        playout_delay: id(32, 7),
        video_orientation: id(64, 8),
        dependency_descriptor: id(128, 9),
    }
}

fn track(script: &mut Script<'_>) -> Track {
    let (id, transport, flags) = (TrackId(track_address(script)), transport_id(script), script.byte());
    let codecs = CODECS.into_iter().map(|(payload_type, kind, clock_rate)| Codec {
        payload_type: PayloadType(payload_type),
        rtx: (flags & 2 != 0).then_some(PayloadType(payload_type + 1)),
        kind,
        clock_rate,
    });
    let encoding = |number: u8, script: &mut Script<'_>| Encoding {
        rid: (flags & 4 != 0).then(|| Rid(label(number))),
        ssrc: script.flag().then(|| source_ssrc(script)),
        rtx: script.flag().then(|| source_ssrc(script)),
    };
    Track {
        id,
        transport,
        kind: kind(flags),
        mid: Mid(label(flags >> 6)),
        codecs: codecs.collect(),
        extensions: extensions(script.byte()),
        encodings: (0..(flags >> 3) & 3).map(|number| encoding(number, script)).collect(),
        muted: flags & 32 != 0,
        nack: flags & 64 != 0,
    }
}

fn stream(script: &mut Script<'_>) -> Stream {
    let (track, ssrc, flags) = (TrackId(track_address(script)), source_ssrc(script), script.byte());
    let role = if flags & 1 == 0 { StreamRole::Media } else { StreamRole::Rtx { of: source_ssrc(script) } };
    Stream { track, ssrc, role, rid: (flags & 2 != 0).then(|| Rid(label(flags >> 2))) }
}

fn egress(script: &mut Script<'_>) -> Egress {
    let (id, transport, flags) = (EgressId(egress_address(script)), transport_id(script), script.byte());
    let payloads = CODECS.into_iter().skip(usize::from(flags >> 7)).map(|(payload_type, ..)| PayloadMap {
        from: PayloadType(payload_type),
        to: PayloadType(payload_type - 60),
        rtx: (flags & 2 != 0).then_some(PayloadType(payload_type - 59)),
    });
    Egress {
        id,
        transport,
        kind: kind(flags),
        mid: Mid(label(flags >> 5)),
        ssrc: egress_ssrc(transport, script),
        rtx: (flags & 4 != 0).then(|| egress_ssrc(transport, script)),
        nack: flags & 8 != 0,
        extensions: extensions(script.byte()),
        source: (flags & 16 == 0)
            .then(|| Source { track: TrackId(track_address(script)), payloads: payloads.collect() }),
        paused: flags & 32 != 0,
        max_layer: if flags & 64 == 0 {
            Layer::MAX
        } else {
            Layer { spatial: script.below(3), temporal: script.below(3) }
        },
        playout_delay: script.flag().then_some(PlayoutDelay { min: 0, max: 40 }),
    }
}
