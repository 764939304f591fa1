//! An engine with its clock, its table and an outbox, and the plan's objects that tests put.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use sluice_protocol::event::{Event, Refusal};
use sluice_protocol::ice::{NodeSecret, Ufrag};
use sluice_protocol::ids::{EgressId, TrackId, TransportId};
use sluice_protocol::media::{
    Codec, CodecKind, ExtensionIds, Label, MasterKey, MediaKind, Mid, PayloadType, SrtpKeys, SrtpProfile, Ssrc,
};
use sluice_protocol::plan::{self, Key, Layer, Object, PayloadMap, Source};
use sluice_protocol::table::{ROW_WORDS, Table};
use sluice_protocol::time::{Instant, NtpTime};

use super::super::{Command, Config, Engine};
use crate::discard::Discard;
use crate::port::{Datagram, FiveTuple, Outbox, Run};

pub(super) const VIDEO: PayloadType = PayloadType(96);
pub(super) const VIDEO_RTX: PayloadType = PayloadType(97);
pub(super) const AUDIO: PayloadType = PayloadType(111);
/// What subscribers call them.
pub(super) const VIDEO_OUT: PayloadType = PayloadType(100);
pub(super) const VIDEO_RTX_OUT: PayloadType = PayloadType(101);
pub(super) const AUDIO_OUT: PayloadType = PayloadType(109);

pub(super) const SECRET: [u8; 32] = [9; 32];

/// What left, as a kernel would see it.
#[derive(Debug, Default)]
pub(super) struct Wire {
    pub(super) runs: Vec<(Run, Vec<u8>)>,
    pub(super) punts: Vec<(TransportId, Vec<u8>)>,
    /// How many runs are still taken; unlimited when `None`.
    pub(super) room: Option<usize>,
}

impl Outbox for Wire {
    fn reserve_run(&mut self, run: Run) -> Option<&mut [u8]> {
        if let Some(room) = &mut self.room {
            *room = room.checked_sub(1)?;
        }
        self.runs.push((run, vec![0xaa; run.total_bytes]));
        self.runs.last_mut().map(|(_, bytes)| bytes.as_mut_slice())
    }

    fn punt(&mut self, transport: TransportId, datagram: &[u8]) {
        self.punts.push((transport, datagram.to_vec()));
    }
}

pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) now: Instant,
    pub(super) table: Table,
    pub(super) wire: Wire,
    pub(super) events: Vec<Event>,
    inboxes: BTreeMap<FiveTuple, Vec<Vec<u8>>>,
}

impl World {
    pub(super) fn new() -> Self {
        Self::with_rows(256)
    }

    pub(super) fn with_rows(rows: usize) -> Self {
        let words: &'static [AtomicU64] = Box::leak((0..rows * ROW_WORDS).map(|_| AtomicU64::new(0)).collect());
        Self::over(Table::new(words), Instant::from_millis(100_000))
    }

    fn over(table: Table, now: Instant) -> Self {
        let wall = (now, NtpTime::from_unix_nanos(1_800_000_000_000_000_000 + now.nanos));
        let config = Config { shard: 0, secret: NodeSecret::new(SECRET), table, wall };
        Self {
            engine: Engine::new(config, now.nanos, now),
            now,
            table,
            wire: Wire::default(),
            events: Vec::new(),
            inboxes: BTreeMap::new(),
        }
    }

    /// Kills the engine and starts a successor over the same table.
    pub(super) fn restart(self, outage: Duration) -> Self {
        Self::over(self.table, self.now + outage)
    }

    pub(super) fn put(&mut self, object: Object) {
        self.try_put(object, false).expect("the plan is legal");
    }

    pub(super) fn try_put(&mut self, object: Object, resume: bool) -> Result<(), Refusal> {
        self.engine.handle_command(self.now, Command::Put { object: Box::new(object), resume })
    }

    pub(super) fn remove(&mut self, key: Key) {
        self.engine.handle_command(self.now, Command::Remove(key)).expect("removing is always legal");
    }

    pub(super) fn receive(&mut self, five_tuple: FiveTuple, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        self.engine.handle_datagram(self.now, Datagram { five_tuple, arrival: self.now, bytes: &mut bytes });
    }

    /// Flushes, and sorts what left into the inboxes of the peers.
    pub(super) fn flush(&mut self) {
        self.engine.handle_timeout(self.now);
        self.engine.flush(self.now, &mut self.wire);
        while let Some(event) = self.engine.poll_event() {
            self.events.push(event);
        }
        let room = self.wire.room;
        for (run, bytes) in std::mem::take(&mut self.wire.runs) {
            let inbox = self.inboxes.entry(run.five_tuple).or_default();
            inbox.extend(bytes.chunks(run.segment_size_bytes).map(<[u8]>::to_vec));
        }
        self.wire.room = room;
    }

    /// Lets time pass in steps of a millisecond, as a shell would.
    pub(super) fn pass(&mut self, millis: u64) {
        for _ in 0..millis {
            self.step(1);
        }
    }

    /// Lets time pass at once.
    pub(super) fn step(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.flush();
    }

    pub(super) fn inbox(&mut self, five_tuple: FiveTuple) -> Vec<Vec<u8>> {
        self.inboxes.remove(&five_tuple).unwrap_or_default()
    }

    pub(super) fn put_back(&mut self, five_tuple: FiveTuple, datagram: Vec<u8>) {
        self.inboxes.entry(five_tuple).or_default().push(datagram);
    }

    pub(super) fn discards(&self, discard: Discard) -> u64 {
        self.engine.discards.iter().find(|(reason, _)| *reason == discard).map_or(0, |(_, count)| count)
    }

    pub(super) fn count_events(&self, matches: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| matches(event)).count()
    }
}

pub(super) fn transport_id(slot: u32) -> TransportId {
    TransportId::new(0, slot, 0x0001_0000)
}

pub(super) fn track_id(slot: u32) -> TrackId {
    TrackId::new(0, slot, 0x0001_0000)
}

pub(super) fn egress_id(slot: u32) -> EgressId {
    EgressId::new(0, slot, 0x0001_0000)
}

pub(super) fn ufrag(slot: u32, restart: u8) -> Ufrag {
    Ufrag { transport: transport_id(slot), restart, random: 0x1234_5678 ^ u32::from(restart) }
}

/// The keys of the transport in `slot`, as the control plane exports them.
pub(super) fn keys(slot: u32, profile: SrtpProfile) -> SrtpKeys {
    let byte = u8::try_from(slot % 100).unwrap();
    let master = |salt: u8| MasterKey { key: [byte ^ salt; 32], salt: [byte.wrapping_add(salt); 14] };
    SrtpKeys { profile, local: master(0x55), remote: master(0xaa) }
}

pub(super) fn transport(slot: u32) -> plan::Transport {
    plan::Transport {
        id: transport_id(slot),
        credentials: vec![ufrag(slot, 0)],
        keys: Some(keys(slot, SrtpProfile::AeadAes128Gcm)),
        cname: format!("peer{slot}"),
        extmap_allow_mixed: true,
        remb_cap: None,
        rtcp_rsize: true,
    }
}

pub(super) fn mid(text: &str) -> Mid {
    Mid(Label::new(text.as_bytes()).unwrap())
}

/// A publisher's video track that names nothing but its mid, in VP8.
pub(super) fn video_track(slot: u32, publisher: u32) -> plan::Track {
    plan::Track {
        id: track_id(slot),
        transport: transport_id(publisher),
        kind: MediaKind::Video,
        mid: mid("v"),
        codecs: vec![Codec { payload_type: VIDEO, rtx: Some(VIDEO_RTX), kind: CodecKind::Vp8, clock_rate: 90_000 }],
        extensions: ExtensionIds {
            mid: 4,
            rid: 5,
            repaired_rid: 6,
            abs_send_time: 2,
            transport_sequence: 3,
            ..ExtensionIds::default()
        },
        encodings: Vec::new(),
        muted: false,
        nack: true,
    }
}

pub(super) fn audio_track(slot: u32, publisher: u32) -> plan::Track {
    plan::Track {
        kind: MediaKind::Audio,
        mid: mid("a"),
        codecs: vec![Codec { payload_type: AUDIO, rtx: None, kind: CodecKind::Opus, clock_rate: 48_000 }],
        extensions: ExtensionIds { mid: 4, audio_level: 1, ..ExtensionIds::default() },
        nack: false,
        ..video_track(slot, publisher)
    }
}

pub(super) fn video_egress(slot: u32, subscriber: u32, track: u32) -> plan::Egress {
    plan::Egress {
        id: egress_id(slot),
        transport: transport_id(subscriber),
        kind: MediaKind::Video,
        mid: mid("0"),
        ssrc: Ssrc(0x1000_0000 + slot),
        rtx: Some(Ssrc(0x2000_0000 + slot)),
        nack: true,
        extensions: ExtensionIds { mid: 9, abs_send_time: 8, ..ExtensionIds::default() },
        source: Some(Source {
            track: track_id(track),
            payloads: vec![PayloadMap { from: VIDEO, to: VIDEO_OUT, rtx: Some(VIDEO_RTX_OUT) }],
        }),
        paused: false,
        max_layer: Layer::MAX,
        playout_delay: None,
    }
}

pub(super) fn audio_egress(slot: u32, subscriber: u32, track: u32) -> plan::Egress {
    plan::Egress {
        kind: MediaKind::Audio,
        mid: mid("1"),
        rtx: None,
        nack: false,
        extensions: ExtensionIds { mid: 9, audio_level: 7, ..ExtensionIds::default() },
        source: Some(Source {
            track: track_id(track),
            payloads: vec![PayloadMap { from: AUDIO, to: AUDIO_OUT, rtx: None }],
        }),
        ..video_egress(slot, subscriber, track)
    }
}
