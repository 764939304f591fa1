//! Frames: what was written is read, and every kind has golden bytes.

use proptest::prelude::*;

use super::super::{Ack, AddressFamily, Command, ErrorCode, Frame, Hello, Role, framing};
use super::*;
use crate::convert::{parse, write};
use crate::event::{Event, Refusal};
use crate::ids::{EgressId, TrackId};
use crate::limits::FRAME_BYTES_MAX;
use crate::media::{
    Bitrate, Codec, CodecKind, ExtensionIds, Label, MasterKey, MediaKind, Mid, PayloadType, Rid, SrtpKeys, SrtpProfile,
    Ssrc,
};
use crate::plan::{
    Cookie, Egress, Encoding, Key, Layer, PayloadMap, PlayoutDelay, Source, Stream, StreamRole, Track, changes, diff,
};
use crate::stats::{EgressStats, IngressStats, ShardStats, Stats, TransportStats};

fn keys(profile: SrtpProfile, seed: u8) -> SrtpKeys {
    let master = |first: u8| {
        let mut master = MasterKey { key: [0; 32], salt: [0; 14] };
        master.key[..profile.key_bytes()].fill(first);
        master.salt[..profile.salt_bytes()].fill(first.wrapping_add(1));
        master
    };
    SrtpKeys { profile, local: master(seed), remote: master(seed ^ 0x80) }
}

fn extensions(seed: u8) -> ExtensionIds {
    ExtensionIds {
        mid: seed,
        rid: 2,
        repaired_rid: 3,
        audio_level: 4,
        abs_send_time: 5,
        transport_sequence: 6,
        playout_delay: 7,
        video_orientation: 8,
        dependency_descriptor: 255,
    }
}

fn label(text: &str) -> Label {
    Label::new(text.as_bytes()).unwrap()
}

fn full_transport() -> Object {
    Object::Transport(Transport {
        keys: Some(keys(SrtpProfile::AeadAes128Gcm, 0x11)),
        remb_cap: Some(Bitrate(1_000_000)),
        rtcp_rsize: true,
        ..transport(3)
    })
}

fn full_track() -> Object {
    Object::Track(Track {
        id: TrackId::new(0, 4, 1),
        transport: TransportId::new(0, 3, 1),
        kind: MediaKind::Video,
        mid: Mid(label("1")),
        codecs: vec![Codec {
            payload_type: PayloadType(96),
            rtx: Some(PayloadType(97)),
            kind: CodecKind::Vp8,
            clock_rate: 90_000,
        }],
        extensions: extensions(1),
        encodings: vec![Encoding { rid: Some(Rid(label("h"))), ssrc: Some(Ssrc(1)), rtx: Some(Ssrc(2)) }],
        muted: true,
        nack: true,
    })
}

fn full_egress() -> Object {
    Object::Egress(Egress {
        id: EgressId::new(0, 5, 1),
        transport: TransportId::new(0, 3, 1),
        kind: MediaKind::Audio,
        mid: Mid(label("0")),
        ssrc: Ssrc(0xdead_beef),
        rtx: Some(Ssrc(7)),
        nack: true,
        extensions: ExtensionIds::default(),
        source: Some(Source {
            track: TrackId::new(0, 4, 1),
            payloads: vec![PayloadMap { from: PayloadType(96), to: PayloadType(100), rtx: Some(PayloadType(101)) }],
        }),
        paused: true,
        max_layer: Layer { spatial: 1, temporal: 2 },
        playout_delay: Some(PlayoutDelay { min: 0, max: 4095 }),
    })
}

fn full_stats() -> Stats {
    Stats {
        shards: vec![ShardStats {
            shard: 1,
            counters: vec![("loops".into(), 2)],
            discards: vec![("replayed".into(), 3)],
        }],
        transports: vec![TransportStats {
            transport: TransportId::new(0, 3, 1),
            received_packets: 1,
            received_bytes: 2,
            sent_packets: 3,
            sent_bytes: 4,
            discarded_packets: 5,
            rtt_us: 6,
        }],
        ingress: vec![IngressStats {
            track: TrackId::new(0, 4, 1),
            ssrc: Ssrc(1),
            payload_type: PayloadType(96),
            packets: 1,
            bytes: 2,
            lost: -3,
            repaired: 4,
            jitter: 5,
            nacks: 6,
            plis: 7,
            key_frames: 8,
        }],
        egress: vec![EgressStats {
            egress: EgressId::new(0, 5, 1),
            packets: 1,
            bytes: 2,
            repeats: 3,
            nacks: 4,
            plis: 5,
            fraction_lost: 255,
            jitter: 6,
        }],
    }
}

fn put(sequence: u64, object: Object) -> Frame {
    Frame::Command(Command { sequence, change: Change::Put(Box::new(object)), resume: true })
}

/// One frame of every kind, with every field set somewhere.
fn examples() -> Vec<Frame> {
    let full =
        Configuration { listen: vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()], ..configuration() };
    let stream = Stream {
        track: TrackId::new(0, 4, 1),
        ssrc: Ssrc(8),
        role: StreamRole::Rtx { of: Ssrc(9) },
        rid: Some(Rid(label("h"))),
    };
    let kinds = vec![
        DescriptorKind::MediaSocket { shard: 1, family: AddressFamily::Ipv4 },
        DescriptorKind::MediaSocket { shard: 0, family: AddressFamily::Ipv6 },
        DescriptorKind::Table { shard: 2 },
        DescriptorKind::PacketStream { shard: 3 },
    ];
    let hello = Hello {
        role: Role::Dataplane,
        version_min: 1,
        version_max: 2,
        identity: identity(0x0102_0304_0506_0708),
        epoch: 65_535,
        shards: 4,
        running: true,
    };
    let (track, ssrc, payload_type) = (TrackId::new(0, 4, 1), Ssrc(8), PayloadType(96));
    let removals = [
        Key::Transport(TransportId::new(1, 2, 3)),
        Key::Path(TransportId::new(1, 2, 3)),
        Key::Track(track),
        Key::Stream(track, ssrc),
        Key::Egress(EgressId::new(0, 5, 1)),
        Key::Cookie(300),
    ];
    let removals = removals
        .into_iter()
        .map(|key| Frame::Command(Command { sequence: 300, change: Change::Remove(key), resume: false }));
    let events = [
        Event::Learnt(Box::new(path(3, 4000))),
        Event::Forgotten(Key::Stream(track, ssrc)),
        Event::TransportConnected(TransportId::new(0, 3, 1)),
        Event::TransportSilent(TransportId::new(0, 3, 1)),
        Event::TrackStarted { track, ssrc, payload_type },
        Event::TrackStopped { track, ssrc },
        Event::Undecodable { egress: EgressId::new(0, 5, 1), payload_type },
    ];
    let cookie = Object::Cookie(Cookie { key: 300, bytes: vec![0, 255] });
    [
        Frame::Hello(hello),
        Frame::Error { code: ErrorCode::Fenced, text: "why".into() },
        Frame::Ping(1),
        Frame::Pong(2),
        Frame::Configure(full.clone()),
        Frame::Ready(Ready { configuration: full, shards: 4 }),
        Frame::Descriptors(kinds),
        Frame::SnapshotRequest,
        Frame::SnapshotObject(Box::new(Object::Stream(stream))),
        Frame::SnapshotEnd,
        put(1, full_transport()),
        put(2, full_track()),
        put(3, full_egress()),
        put(4, cookie),
        Frame::Ack(Ack { up_to: 300, refusals: vec![(299, Refusal::NoTableRow), (300, Refusal::Invalid)] }),
        Frame::RequestKeyFrame(track),
        Frame::StatsRequest(9),
        Frame::StatsReply { id: 9, part: full_stats(), last: true },
    ]
    .into_iter()
    .chain(removals)
    .chain(events.map(Frame::Event))
    .collect()
}

#[test]
fn the_bytes_of_every_kind_of_frame_are_golden() {
    let golden = include_str!("../../../tests/vectors/ipc-frames.txt");
    let mut lines = golden.lines().filter(|line| !line.starts_with('#'));
    for frame in examples() {
        let mut bytes = Vec::new();
        assert!(framing::append(&frame, &mut bytes));
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(lines.next(), Some(format!("{} {hex}", frame.name()).as_str()));
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn a_transport_of_a_version_before_reduced_size_was_told_takes_compounds() {
    // The golden transport without its field 7.
    let body = "5a76080112700a6e090100000003000000120e0901000000030000001d050000001a46080112200a10111111111111111111111111\
                11111111120c1212121212121212121212121a200a1091919191919191919191919191919191120c92929292929292929292929222\
                05636e616d65280130c0843d2001";
    let bytes: Vec<u8> =
        (0..body.len()).step_by(2).map(|at| u8::from_str_radix(&body[at..at + 2], 16).unwrap()).collect();
    let Object::Transport(transport) = full_transport() else { unreachable!("a transport") };
    let older = Object::Transport(Transport { rtcp_rsize: false, ..transport });
    assert_eq!(parse(&bytes), Ok(Some(put(1, older))));
}

fn objects() -> impl Strategy<Value = Object> {
    let transport = (any::<u64>(), 0_u8..3, any::<u8>(), any::<Option<u64>>(), "[a-z]{0,32}", any::<[bool; 2]>());
    let transport = transport.prop_map(|(word, profile, seed, remb, cname, [mixed, reduced])| {
        let profiles = [SrtpProfile::AeadAes128Gcm, SrtpProfile::AeadAes256Gcm, SrtpProfile::AesCm128HmacSha1_80];
        let id = TransportId::from_word(word);
        Object::Transport(Transport {
            id,
            credentials: vec![Ufrag { transport: id, restart: seed, random: seed.into() }; usize::from(profile)],
            keys: (seed % 2 == 0).then(|| keys(profiles[usize::from(profile)], seed)),
            cname,
            extmap_allow_mixed: mixed,
            remb_cap: remb.map(Bitrate),
            rtcp_rsize: reduced,
        })
    });
    let path = (any::<u64>(), any::<std::net::IpAddr>(), any::<std::net::IpAddr>(), any::<u16>()).prop_map(
        |(word, local, remote, port)| {
            let transport = TransportId::from_word(word);
            let credentials = Ufrag { transport, restart: 255, random: u32::MAX };
            Object::Path(Path { transport, local: (local, port).into(), remote: (remote, 1).into(), credentials })
        },
    );
    let stream =
        (any::<u64>(), any::<u32>(), any::<Option<u32>>(), "[!-~]{0,16}").prop_map(|(word, ssrc, repairs, rid)| {
            Object::Stream(Stream {
                track: TrackId::from_word(word),
                ssrc: Ssrc(ssrc),
                role: repairs.map_or(StreamRole::Media, |of| StreamRole::Rtx { of: Ssrc(of) }),
                rid: Label::new(rid.as_bytes()).map(Rid),
            })
        });
    let cookie = (any::<u64>(), prop::collection::vec(any::<u8>(), 0..2000))
        .prop_map(|(key, bytes)| Object::Cookie(Cookie { key, bytes }));
    prop_oneof![transport, path, stream, cookie, tracks(), egresses()]
}

fn tracks() -> impl Strategy<Value = Object> {
    let codec = (0_u8..128, prop::option::of(0_u8..128), 0_usize..6, any::<u32>()).prop_map(
        |(payload_type, rtx, kind, clock_rate)| {
            let kinds =
                [CodecKind::Opus, CodecKind::Vp8, CodecKind::Vp9, CodecKind::H264, CodecKind::Av1, CodecKind::Other];
            Codec { payload_type: PayloadType(payload_type), rtx: rtx.map(PayloadType), kind: kinds[kind], clock_rate }
        },
    );
    let codecs = prop::collection::vec(codec, 0..32);
    (any::<u64>(), any::<u8>(), codecs, any::<Option<u32>>(), any::<bool>()).prop_map(
        |(word, seed, codecs, ssrc, flag)| {
            let Object::Track(track) = full_track() else { unreachable!("a track") };
            Object::Track(Track {
                id: TrackId::from_word(word),
                extensions: extensions(seed),
                codecs,
                encodings: vec![Encoding { rid: None, ssrc: ssrc.map(Ssrc), rtx: None }; usize::from(seed % 8)],
                muted: flag,
                nack: !flag,
                ..track
            })
        },
    )
}

fn egresses() -> impl Strategy<Value = Object> {
    (any::<u64>(), any::<Option<u32>>(), any::<u8>(), any::<u8>(), any::<bool>()).prop_map(
        |(word, rtx, spatial, temporal, flag)| {
            let Object::Egress(egress) = full_egress() else { unreachable!("an egress stream") };
            Object::Egress(Egress {
                id: EgressId::from_word(word),
                rtx: rtx.map(Ssrc),
                source: egress.source.filter(|_| flag),
                max_layer: Layer { spatial, temporal },
                playout_delay: egress.playout_delay.filter(|_| !flag),
                paused: flag,
                ..Egress { source: None, ..egress }
            })
        },
    )
}

fn plans() -> impl Strategy<Value = Plan> {
    prop::collection::vec(objects(), 0..30).prop_map(|objects| objects.into_iter().collect())
}

proptest! {
    #[test]
    fn what_was_written_is_read(object in objects(), sequence: u64, resume: bool) {
        let frames = [
            Frame::SnapshotObject(Box::new(object.clone())),
            Frame::Command(Command { sequence, change: Change::Remove(object.key()), resume }),
            Frame::Command(Command { sequence, change: Change::Put(Box::new(object)), resume }),
        ];
        for frame in frames.into_iter().chain(examples()) {
            let mut bytes = Vec::new();
            write(&frame, &mut bytes);
            prop_assert!(bytes.len() <= FRAME_BYTES_MAX);
            prop_assert_eq!(parse(&bytes), Ok(Some(frame)));
        }
    }

    #[test]
    fn a_difference_applied_to_what_is_there_is_what_is_wanted(have in plans(), other in plans(), keep: u64) {
        // Plans that share some objects, unchanged or changed.
        let kept = have.objects().enumerate().filter(|(index, _)| keep >> (index % 64) & 1 == 1);
        let want: Plan = kept.map(|(_, object)| object.clone()).chain(other.objects().cloned()).collect();
        let mut result = have.clone();
        for change in diff(&have, &want) {
            crate::plan::apply(&mut result, &change);
            let once = result.clone();
            crate::plan::apply(&mut result, &change);
            prop_assert_eq!(&result, &once, "a change is idempotent");
        }
        prop_assert_eq!(&result, &want);
        prop_assert_eq!(diff(&result, &want), []);
        // Keys that do not differ, or are nowhere, change nothing.
        let keys = have.keys().chain(want.keys()).chain([&Key::Cookie(u64::MAX)]).copied().collect();
        let mut touched = have.clone();
        changes(&want, &keys).iter().for_each(|change| crate::plan::apply(&mut touched, change));
        prop_assert_eq!(&touched, &want);
        let order: Vec<_> = changes(&want, &keys).into_iter().map(|change| match change {
            Change::Remove(key) => (false, std::cmp::Reverse(Some(key)), None),
            Change::Put(object) => (true, std::cmp::Reverse(None), Some(object.key())),
        }).collect();
        prop_assert!(order.is_sorted(), "{:?}", order);
    }

    #[test]
    fn no_bytes_disturb_an_end(data in prop::collection::vec(any::<u8>(), 0..300), cut in 0_usize..300) {
        crate::fuzzing::ipc_frames(&data);
        crate::fuzzing::packet_batch(&data);
        // Whole frames, with one byte bent.
        let mut stream = Vec::new();
        for frame in examples() {
            framing::append(&frame, &mut stream);
        }
        let position = cut * 7 % stream.len();
        stream[position] ^= data.first().copied().unwrap_or(1);
        crate::fuzzing::ipc_frames(&stream);
    }
}
