//! What must hold of everything that the data plane lets out, whoever lives and dies meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rtcp::goodbye::Goodbye;
use rtp::packet::Packet;
use sluice_protocol::media::SrtpKeys;

use crate::answer::Answer;
use crate::media::{Tag, Vp8};
use crate::srtp::Receiver;

/// Packets whose content is remembered, per SSRC.
const REMEMBERED: usize = 4096;

/// A peer connection from its opening on.
#[derive(Debug)]
struct Watched {
    /// Rooms whose media may come.
    rooms: BTreeSet<u8>,
    /// The SSRCs that each m-line has had, and whether each has one source for ever.
    lines: BTreeMap<String, Vec<u32>>,
    is_signalled: bool,
    receiver: Receiver,
    /// The handshake is done in the control plane's eyes.
    has_keys: bool,
    streams: BTreeMap<u32, Stream>,
    /// Repair SSRCs with what they repair.
    repairs: BTreeMap<u32, u32>,
    reports: BTreeSet<(u32, u32)>,
    /// The data plane acknowledged that it is gone.
    gone: bool,
}

/// One SSRC that is sent.
#[derive(Debug, Default)]
struct Stream {
    /// By index: timestamp, marker and payload.
    sent: BTreeMap<u64, (u32, bool, Vec<u8>)>,
    /// Indices below this were forgotten, all of them as used.
    forgotten: u64,
    /// The highest index when the data plane died last.
    before_death: Option<u64>,
    /// It said good-bye.
    retired: bool,
    /// The publisher's connection whose media it carries, where that never changes.
    source: Option<u32>,
}

/// Watches the outbox.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    watched: Vec<Watched>,
    by_remote: BTreeMap<SocketAddr, usize>,
    pub(crate) packets: u64,
    pub(crate) repeats: u64,
    pub(crate) reports: u64,
    /// Good-byes since they were taken last: by connection and SSRC.
    pub(crate) goodbyes: Vec<(usize, u32)>,
    /// Datagrams that nobody can read: planned, but gone from the history when they were to be sealed.
    pub(crate) blanks: u64,
}

impl Guard {
    /// Watches a new peer connection; the number is its own for ever.
    pub(crate) fn open(&mut self, rooms: &[u8], is_signalled: bool, keys: &SrtpKeys) -> usize {
        self.watched.push(Watched {
            rooms: rooms.iter().copied().collect(),
            lines: BTreeMap::new(),
            is_signalled,
            receiver: Receiver::new(keys.profile, &keys.local),
            has_keys: false,
            streams: BTreeMap::new(),
            repairs: BTreeMap::new(),
            reports: BTreeSet::new(),
            gone: false,
        });
        self.watched.len() - 1
    }

    pub(crate) fn learn_answer(&mut self, call: usize, answer: &Answer) {
        let watched = &mut self.watched[call];
        for section in &answer.sections {
            if let Some(ssrc) = section.ssrc {
                if watched.lines.get(&section.mid).and_then(|had| had.last()) != Some(&ssrc) {
                    let is_used = watched.lines.values().flatten().any(|had| *had == ssrc);
                    assert!(!is_used, "{ssrc:#x} is used again, at m-line {}", section.mid);
                    watched.lines.entry(section.mid.clone()).or_default().push(ssrc);
                }
                watched.streams.entry(ssrc).or_default();
                if let Some(rtx) = section.rtx {
                    watched.streams.entry(rtx).or_default();
                    watched.repairs.insert(rtx, ssrc);
                }
            }
        }
    }

    /// A connection's session enters a further room.
    pub(crate) fn admit(&mut self, call: usize, room: u8) {
        self.watched[call].rooms.insert(room);
    }

    pub(crate) fn learn_keys(&mut self, call: usize) {
        self.watched[call].has_keys = true;
    }

    pub(crate) fn learn_address(&mut self, call: usize, remote: SocketAddr) {
        let before = self.by_remote.insert(remote, call);
        assert_eq!(before, None, "an address is one connection's");
    }

    pub(crate) fn learn_gone(&mut self, call: usize) {
        self.watched[call].gone = true;
    }

    pub(crate) fn learn_death(&mut self) {
        for stream in self.watched.iter_mut().flat_map(|watched| watched.streams.values_mut()) {
            stream.before_death = stream.sent.last_key_value().map(|(index, _)| *index);
        }
    }

    /// Judges a datagram that leaves.
    pub(crate) fn check(&mut self, remote: SocketAddr, datagram: &[u8]) {
        let call = *self.by_remote.get(&remote).unwrap_or_else(|| panic!("{remote} is nobody's"));
        let watched = &mut self.watched[call];
        match datagram {
            [0, _, _, _, 0, 0, 0, 0, ..] => self.blanks += 1,
            [0..=63, ..] => {}
            [_, 192..=223, ..] => {
                self.reports += 1;
                let goodbyes = watched.check_report(datagram);
                self.goodbyes.extend(goodbyes.into_iter().map(|ssrc| (call, ssrc)));
            }
            _ => {
                // A report may wait behind a full socket longer than its transport lives, media may not.
                assert!(!watched.gone, "media to {remote} after its transport was acknowledged to be gone");
                self.packets += 1;
                self.repeats += u64::from(watched.check_packet(remote, datagram));
            }
        }
    }
}

impl Watched {
    /// Returns the SSRCs that said good-bye.
    fn check_report(&mut self, datagram: &[u8]) -> Vec<u32> {
        assert!(self.has_keys, "a report before the keys");
        let (index, plain) = self.receiver.open_rtcp(datagram).expect("reports authenticate");
        let sender = u32::from_be_bytes(plain[4..8].try_into().unwrap());
        assert!(self.reports.insert((sender, index)), "SRTCP index {index} of {sender:#x} twice");
        let packets = rtcp::packet::unmarshal(&mut &plain[..]).expect("reports parse");
        let goodbyes = packets.iter().filter_map(|packet| packet.as_any().downcast_ref::<Goodbye>());
        let goodbyes: Vec<u32> = goodbyes.flat_map(|goodbye| goodbye.sources.clone()).collect();
        for ssrc in &goodbyes {
            let stream = self.streams.get_mut(ssrc).expect("a BYE of an SSRC that was promised");
            stream.retired = true;
        }
        goodbyes
    }

    /// Returns whether it was a repeat.
    fn check_packet(&mut self, remote: SocketAddr, datagram: &[u8]) -> bool {
        assert!(self.has_keys, "media before the keys");
        let (index, packet) =
            self.receiver.open_rtp(datagram).unwrap_or_else(|| panic!("media to {remote} authenticates"));
        let ssrc = packet.header.ssrc;
        let stream = self.streams.get_mut(&ssrc).unwrap_or_else(|| panic!("{ssrc:#x} was promised to {remote}"));
        stream.check(ssrc, index, &packet, self.repairs.contains_key(&ssrc));
        let Some(of) = self.repairs.get(&ssrc) else {
            let tag = check_room(&self.rooms, &packet.payload, "media");
            if self.is_signalled {
                let source = *stream.source.get_or_insert(tag.incarnation >> 8);
                assert_eq!(source, tag.incarnation >> 8, "{ssrc:#x} carries one track for ever");
            }
            return false;
        };
        let (number, payload) = packet.payload.split_first_chunk::<2>().expect("a repair names its original");
        check_room(&self.rooms, payload, "a repeat");
        let number = u16::from_be_bytes(*number);
        let original = self.streams[of].sent.iter().rev().find(|(index, _)| (**index & 0xffff) as u16 == number);
        if let Some((_, (timestamp, marker, before))) = original {
            let again = (packet.header.timestamp, packet.header.marker, payload);
            assert_eq!(again, (*timestamp, *marker, before.as_slice()), "a repeat says the same again");
        }
        true
    }
}

impl Stream {
    fn check(&mut self, ssrc: u32, index: u64, packet: &Packet, is_repair: bool) {
        let (timestamp, marker) = (packet.header.timestamp, packet.header.marker);
        assert!(!self.retired, "{ssrc:#x}: a packet after its BYE");
        assert!(index >= self.forgotten, "{ssrc:#x}: index {index} long after {}", self.forgotten);
        if let Some(before) = self.before_death.filter(|before| index <= *before) {
            panic!("{ssrc:#x}: a successor sends index {index}, its predecessor had come to {before}");
        }
        let before = self.sent.range(..index).next_back();
        let after = self.sent.range(index + 1..).next();
        for (earlier, later) in [(before.map(|it| it.1.0), Some(timestamp)), (Some(timestamp), after.map(|it| it.1.0))]
        {
            // Repairs say the time of what they repeat.
            if let (Some(earlier), Some(later), false) = (earlier, later, is_repair) {
                let step = later.wrapping_sub(earlier).cast_signed();
                assert!(step >= 0, "{ssrc:#x}: time goes back at index {index}: {before:?} {timestamp} {after:?}");
            }
        }
        let was = self.sent.insert(index, (timestamp, marker, packet.payload.to_vec()));
        assert!(was.is_none(), "{ssrc:#x}: index {index} twice");
        if self.sent.len() > REMEMBERED
            && let Some((index, _)) = self.sent.pop_first()
        {
            self.forgotten = index + 1;
        }
    }
}

fn check_room(rooms: &BTreeSet<u8>, payload: &[u8], what: &str) -> Tag {
    let picture = || Vp8::parse(payload).or_else(|| Vp8::parse_av1(payload));
    let tag = Tag::parse(payload).or_else(|| picture().map(|picture| picture.tag));
    let tag = tag.unwrap_or_else(|| panic!("{what} is numbered: {payload:?}"));
    assert!(rooms.contains(&tag.room), "media stays in its room: {tag:?} {rooms:?}");
    tag
}
