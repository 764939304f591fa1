//! The shared table: one row of shared memory per SRTP stream, one per SSRC that reports by SRTCP, and one per transport.
//!
//! Both planes hold the memory, so it outlives either. A data plane stores a stream's exact SRTP index *before* it seals
//! a packet under it: a store into a shared mapping survives the process's death, so a successor goes on past the last
//! used index and never uses a (key, SSRC, index) twice. A row is 128 bytes, sixteen little-endian 64-bit words:
//!
//! | word | content of a stream's row | of a transport's row |
//! |---|---|---|
//! | 0 | transport (its address), 0 in a free row | the same |
//! | 1 | owner: egress or track (its address), 0 in rows of SRTCP | our wall clock minus the peer's in nanoseconds, 0 while unknown |
//! | 2 | SSRC (32) · role (8) · mid size (8) · rid size (8) · valid copy 0 or 1 (8), least significant first | the same, without SSRC, mid and rid |
//! | 3 | the highest SRTP index sealed (sent) or received, ROC << 16 \| sequence; of SRTCP the highest index received | the SRTCP index last sealed |
//! | 4–5 | mid, zero-padded | 4–9: path, copy 0 |
//! | 6–7 | rid, zero-padded; in repair rows the SSRC that is repaired stands in word 7's lowest half when there is no rid | |
//! | 8–11 | anchor, copy 0 | 10–15: path, copy 1 |
//! | 12–15 | anchor, copy 1 | |
//!
//! An anchor holds what makes a resumed stream continuous, and the difference of clocks its sender reports; a path says where the peer of a transport is, which it says
//! itself only every few seconds. Either is written to the copy that is not valid, then word 2 is stored with the other
//! copy valid, so that a process killed between two stores leaves a whole one behind.

mod anchor;
mod path;

use std::sync::atomic::{AtomicU64, Ordering};

use anchor::ANCHOR_WORDS;
pub use anchor::Anchor;
use path::{NO_PATH, PATH_WORDS};

use crate::ids::TransportId;
use crate::media::{Label, Ssrc};
use crate::plan::Path;

/// 64-bit words of a row.
pub const ROW_WORDS: usize = 16;
/// Bytes of a row.
pub const ROW_BYTES: usize = ROW_WORDS * 8;
/// Rows of the table of one shard; a full table refuses commands with [`crate::event::Refusal::PlanFull`].
pub const ROWS_PER_SHARD: usize = 64 * 1024;

const WORD_TRANSPORT: usize = 0;
const WORD_OWNER: usize = 1;
const WORD_CLOCK: usize = 1;
const WORD_HEAD: usize = 2;
const WORD_INDEX: usize = 3;
const WORD_MID: usize = 4;
const WORD_RID: usize = 6;
const WORD_ANCHORS: usize = 8;
const WORD_PATHS: usize = 4;

const _: () = assert!(WORD_ANCHORS + 2 * ANCHOR_WORDS == ROW_WORDS && WORD_PATHS + 2 * PATH_WORDS == ROW_WORDS);

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// A media stream that is sent.
    Egress = 1,
    /// A repair stream that is sent.
    EgressRtx = 2,
    /// A media stream that is received.
    Ingress = 3,
    /// A repair stream that is received.
    IngressRtx = 4,
    /// A transport: the SRTCP index of its sent reports, its path, and how its peer's clock differs from ours.
    Transport = 5,
    /// What an SSRC of the peer reports: the highest SRTCP index received from it (RFC 3711 section 3.2.3).
    IngressControl = 6,
}

impl Role {
    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Egress),
            2 => Some(Self::EgressRtx),
            3 => Some(Self::Ingress),
            4 => Some(Self::IngressRtx),
            5 => Some(Self::Transport),
            6 => Some(Self::IngressControl),
            _ => None,
        }
    }
}

/// The identity of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowKey {
    /// The transport whose keys the stream is sealed under.
    pub transport: TransportId,
    /// The word of the egress or track; 0 for [`Role::Transport`] and [`Role::IngressControl`].
    pub owner: u64,
    /// The SSRC; 0 for [`Role::Transport`].
    pub ssrc: Ssrc,
    /// What the row is about.
    pub role: Role,
    /// The m-line's mid, empty when unknown.
    pub mid: Label,
    /// The encoding's rid, empty when there is none.
    pub rid: Label,
    /// In repair rows the SSRC that is repaired, else 0.
    pub repairs: Ssrc,
}

/// The rows of one shard.
///
/// The memory is shared with another process that only keeps it; the one writer is the shard. All accesses are relaxed:
/// nobody reads concurrently, and a successor starts after its predecessor's death, which orders everything.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    words: &'static [AtomicU64],
}

/// The number of a row in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowIndex(pub u32);

impl Table {
    /// Makes a table over `words`, of which a tail that is no whole row is unused.
    #[must_use]
    pub const fn new(words: &'static [AtomicU64]) -> Self {
        Self { words }
    }

    /// Returns the number of rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.words.len() / ROW_WORDS
    }

    /// Tells whether there is no row at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the identity of row `row`, `None` when it is free or holds nothing this version knows.
    #[must_use]
    pub fn key(&self, row: RowIndex) -> Option<RowKey> {
        let transport = self.load(row, WORD_TRANSPORT);
        if transport == 0 {
            return None;
        }
        let head = self.load(row, WORD_HEAD).to_le_bytes();
        let [s0, s1, s2, s3, role, mid_bytes, rid_bytes, _] = head;
        let role = Role::from_byte(role)?;
        let is_repair = matches!(role, Role::EgressRtx | Role::IngressRtx) && rid_bytes == 0;
        let repairs = if is_repair { (self.load(row, WORD_RID + 1) & 0xffff_ffff) as u32 } else { 0 };
        Some(RowKey {
            transport: TransportId::from_word(transport),
            owner: if role == Role::Transport { 0 } else { self.load(row, WORD_OWNER) },
            ssrc: Ssrc(u32::from_le_bytes([s0, s1, s2, s3])),
            role,
            mid: self.label(row, WORD_MID, mid_bytes),
            rid: self.label(row, WORD_RID, rid_bytes),
            repairs: Ssrc(repairs),
        })
    }

    /// Takes row `row` for `key` with `index`, without anchor or path. The transport's word is stored last, so that a row
    /// half written by a killed process is a free row.
    pub fn occupy(&self, row: RowIndex, key: &RowKey, index: u64) {
        self.free(row);
        self.store(row, WORD_OWNER, key.owner);
        self.store(row, WORD_INDEX, index);
        self.store_label(row, WORD_MID, &key.mid);
        self.store_label(row, WORD_RID, &key.rid);
        if key.rid.as_bytes().is_empty() {
            self.store(row, WORD_RID + 1, u64::from(key.repairs.0));
        }
        for word in WORD_ANCHORS..ROW_WORDS {
            self.store(row, word, 0);
        }
        let [s0, s1, s2, s3] = key.ssrc.0.to_le_bytes();
        let mid_bytes = size_byte(&key.mid);
        let rid_bytes = size_byte(&key.rid);
        self.store(row, WORD_HEAD, u64::from_le_bytes([s0, s1, s2, s3, key.role as u8, mid_bytes, rid_bytes, 0]));
        self.store(row, WORD_TRANSPORT, key.transport.word());
    }

    /// Frees row `row`.
    pub fn free(&self, row: RowIndex) {
        self.store(row, WORD_TRANSPORT, 0);
    }

    /// Returns the index of row `row`.
    #[must_use]
    pub fn index(&self, row: RowIndex) -> u64 {
        self.load(row, WORD_INDEX)
    }

    /// Stores the index of row `row`; for sent streams before the packet is sealed.
    pub fn store_index(&self, row: RowIndex, index: u64) {
        self.store(row, WORD_INDEX, index);
    }

    /// Returns the valid anchor of row `row`; all zero when none was stored yet.
    #[must_use]
    pub fn anchor(&self, row: RowIndex) -> Anchor {
        let base = WORD_ANCHORS + ANCHOR_WORDS * self.valid_copy(row);
        Anchor::from_words([
            self.load(row, base),
            self.load(row, base + 1),
            self.load(row, base + 2),
            self.load(row, base + 3),
        ])
    }

    /// Stores the anchor of row `row`; a kill in the middle leaves the one before.
    pub fn store_anchor(&self, row: RowIndex, anchor: &Anchor) {
        let copy = 1 - self.valid_copy(row);
        let base = WORD_ANCHORS + ANCHOR_WORDS * copy;
        for (offset, word) in anchor.to_words().into_iter().enumerate() {
            self.store(row, base + offset, word);
        }
        self.validate(row, copy);
    }

    /// Returns our wall clock minus that of the peer of row `row`, a transport's, in nanoseconds; `None` when nothing
    /// told yet.
    #[must_use]
    pub fn clock_offset_nanos(&self, row: RowIndex) -> Option<i64> {
        let _: RowKey = self.key(row).filter(|key| key.role == Role::Transport)?;
        Some(self.load(row, WORD_CLOCK).cast_signed()).filter(|nanos| *nanos != 0)
    }

    /// Stores our wall clock minus that of the peer of row `row`, a transport's, in nanoseconds. No difference at all is
    /// stored as one nanosecond.
    pub fn store_clock_offset_nanos(&self, row: RowIndex, nanos: i64) {
        self.store(row, WORD_CLOCK, if nanos == 0 { 1 } else { nanos.cast_unsigned() });
    }

    /// Returns the path of row `row`, a transport's; `None` when there is none.
    #[must_use]
    pub fn path(&self, row: RowIndex) -> Option<Path> {
        let key = self.key(row).filter(|key| key.role == Role::Transport)?;
        let base = WORD_PATHS + PATH_WORDS * self.valid_copy(row);
        path::from_words(key.transport, std::array::from_fn(|offset| self.load(row, base + offset)))
    }

    /// Stores the path of row `row`, a transport's, or that there is none; a kill in the middle leaves the one before.
    /// A path with addresses of two families, or with a scope on our own, is stored as none.
    pub fn store_path(&self, row: RowIndex, path: Option<&Path>) {
        let copy = 1 - self.valid_copy(row);
        let base = WORD_PATHS + PATH_WORDS * copy;
        for (offset, word) in path.and_then(path::to_words).unwrap_or(NO_PATH).into_iter().enumerate() {
            self.store(row, base + offset, word);
        }
        self.validate(row, copy);
    }

    fn validate(&self, row: RowIndex, copy: usize) {
        let head = self.load(row, WORD_HEAD) & 0x00ff_ffff_ffff_ffff;
        let copy_bits = if copy == 1 { 1 << 56 } else { 0 };
        self.store(row, WORD_HEAD, head | copy_bits);
    }

    fn valid_copy(&self, row: RowIndex) -> usize {
        usize::from((self.load(row, WORD_HEAD) >> 56) & 1 == 1)
    }

    fn label(&self, row: RowIndex, word: usize, size_bytes: u8) -> Label {
        let mut bytes = [0; 16];
        let (low, high) = bytes.split_at_mut(8);
        low.copy_from_slice(&self.load(row, word).to_le_bytes());
        high.copy_from_slice(&self.load(row, word + 1).to_le_bytes());
        bytes.get(..usize::from(size_bytes)).and_then(Label::new).unwrap_or_default()
    }

    fn store_label(&self, row: RowIndex, word: usize, label: &Label) {
        let mut words = [0; 2];
        for (word, bytes) in words.iter_mut().zip(label.as_bytes().chunks(8)) {
            *word = bytes.iter().rev().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
        }
        let [low, high] = words;
        self.store(row, word, low);
        self.store(row, word + 1, high);
    }

    fn load(&self, row: RowIndex, word: usize) -> u64 {
        self.word(row, word).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// A release store on x86 and Arm costs what a plain one does; it keeps the compiler from moving a seal before it.
    fn store(&self, row: RowIndex, word: usize, value: u64) {
        if let Some(word) = self.word(row, word) {
            word.store(value, Ordering::Release);
        }
    }

    fn word(&self, row: RowIndex, word: usize) -> Option<&'static AtomicU64> {
        self.words.get(row.0 as usize * ROW_WORDS + word)
    }
}

fn size_byte(label: &Label) -> u8 {
    u8::try_from(label.as_bytes().len()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::ice::Ufrag;

    fn table(rows: usize) -> Table {
        Table::new(Box::leak((0..rows * ROW_WORDS).map(|_| AtomicU64::new(0)).collect()))
    }

    fn key() -> RowKey {
        RowKey {
            transport: TransportId::new(1, 2, 3),
            owner: 0x0100_0005_0000_0007,
            ssrc: Ssrc(0xdead_beef),
            role: Role::Ingress,
            mid: Label::new(b"0123456789abcdef").unwrap(),
            rid: Label::new(b"h").unwrap(),
            repairs: Ssrc(0),
        }
    }

    #[test]
    fn a_row_keeps_its_key_index_and_anchor() {
        let table = table(3);
        let row = RowIndex(1);
        assert_eq!(table.key(row), None);
        table.occupy(row, &key(), 0x0001_2345);
        assert_eq!(table.key(row), Some(key()));
        assert_eq!(table.index(row), 0x0001_2345);
        let anchor = Anchor {
            timestamp: 1,
            timestamp_offset: 2,
            picture_id: 0x7fff,
            payload_bytes: u32::MAX,
            ..Anchor::default()
        };
        table.store_anchor(row, &anchor);
        assert_eq!(table.anchor(row), anchor);
        assert_eq!(table.key(row), Some(key()), "the anchor's flag leaves the head alone");
        assert_eq!((table.key(RowIndex(0)), table.key(RowIndex(2))), (None, None));
        table.free(row);
        assert_eq!(table.key(row), None);
    }

    #[test]
    fn repair_rows_name_what_they_repair() {
        let table = table(1);
        let repair = RowKey { role: Role::EgressRtx, rid: Label::default(), repairs: Ssrc(77), ..key() };
        table.occupy(RowIndex(0), &repair, 0);
        assert_eq!(table.key(RowIndex(0)), Some(repair));
    }

    #[test]
    fn a_kill_between_two_stores_leaves_the_anchor_before() {
        let table = table(1);
        let row = RowIndex(0);
        table.occupy(row, &key(), 0);
        let first = Anchor { timestamp: 100, picture_id: 5, ..Anchor::default() };
        table.store_anchor(row, &first);
        let half = Anchor { timestamp: 200, picture_id: 6, ..Anchor::default() }.to_words();
        let copy = 1 - table.valid_copy(row);
        table.store(row, WORD_ANCHORS + ANCHOR_WORDS * copy, half[0]);
        assert_eq!(table.anchor(row), first);
    }

    #[test]
    fn a_row_s_words_are_golden() {
        let table = table(1);
        table.occupy(RowIndex(0), &key(), 0x0001_2345);
        table.store_anchor(
            RowIndex(0),
            &Anchor {
                timestamp: 0x11,
                timestamp_offset: 0x22,
                source: 0x33,
                picture_id_offset: 0x44,
                picture_id: 0x55,
                tl0picidx_offset: 0x66,
                tl0picidx: 0x77,
                frame_number: 0x88,
                frame_number_offset: 0x99,
                template_ids: 0x0c15,
                packets: 0xaa,
                payload_bytes: 0xbb,
            },
        );
        let words: Vec<u64> = table.words.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        assert_eq!(
            words,
            [
                0x0100_0002_0000_0003,
                0x0100_0005_0000_0007,
                0x0101_1003_dead_beef,
                0x0001_2345,
                0x3736_3534_3332_3130,
                0x6665_6463_6261_3938,
                0x68,
                0,
                0,
                0,
                0,
                0,
                0x0000_0022_0000_0011,
                0x0055_0044_0000_0033,
                0x0c15_0099_0088_7766,
                0x0000_00bb_0000_00aa,
            ]
        );
    }

    fn transport_key() -> RowKey {
        let (mid, rid) = (Label::default(), Label::default());
        RowKey { owner: 0, ssrc: Ssrc(0), role: Role::Transport, mid, rid, ..key() }
    }

    fn path_to(port: u16) -> Path {
        let transport = key().transport;
        Path {
            transport,
            local: "192.0.2.1:7882".parse().unwrap(),
            remote: SocketAddr::from(([198, 51, 100, 7], port)),
            credentials: Ufrag { transport, restart: 9, random: 0xcafe_f00d },
        }
    }

    #[test]
    fn a_transport_s_row_keeps_its_last_path_beside_its_index() {
        let table = table(1);
        let row = RowIndex(0);
        table.occupy(row, &transport_key(), 77);
        assert_eq!(table.path(row), None);
        for port in 1..=3 {
            table.store_path(row, Some(&path_to(port)));
            assert_eq!(table.path(row), Some(path_to(port)));
            assert_eq!((table.key(row), table.index(row)), (Some(transport_key()), 77), "the rest of the row stays");
        }
        table.store_path(row, None);
        assert_eq!(table.path(row), None);
        table.store_path(row, Some(&path_to(4)));
        table.occupy(row, &transport_key(), 0);
        assert_eq!(table.path(row), None, "a row that is taken anew has none");
    }

    #[test]
    fn a_transport_s_row_keeps_the_difference_of_clocks() {
        let table = table(2);
        table.occupy(RowIndex(0), &transport_key(), 0);
        assert_eq!(table.clock_offset_nanos(RowIndex(0)), None);
        for (nanos, kept) in [(i64::MIN, i64::MIN), (-1, -1), (0, 1), (77, 77)] {
            table.store_clock_offset_nanos(RowIndex(0), nanos);
            assert_eq!(table.clock_offset_nanos(RowIndex(0)), Some(kept));
            assert_eq!(table.key(RowIndex(0)), Some(transport_key()), "it is nobody's address");
        }
        table.occupy(RowIndex(1), &key(), 0);
        assert_eq!(table.clock_offset_nanos(RowIndex(1)), None, "a stream has no clock of its own");
    }

    #[test]
    fn a_kill_between_two_stores_leaves_the_path_before() {
        let table = table(1);
        let row = RowIndex(0);
        table.occupy(row, &transport_key(), 0);
        table.store_path(row, Some(&path_to(1)));
        let half = path::to_words(&path_to(2)).unwrap();
        let base = WORD_PATHS + PATH_WORDS * (1 - table.valid_copy(row));
        for (offset, word) in half.into_iter().enumerate() {
            table.store(row, base + offset, word);
            assert_eq!(table.path(row), Some(path_to(1)), "after {offset} words");
        }
    }

    #[test]
    fn a_stream_s_row_has_no_path() {
        let table = table(1);
        table.occupy(RowIndex(0), &key(), 0);
        assert_eq!(table.path(RowIndex(0)), None);
    }

    #[test]
    fn a_transport_s_words_are_golden() {
        let table = table(1);
        table.occupy(RowIndex(0), &transport_key(), 0x1234);
        table.store_path(RowIndex(0), Some(&path_to(0xabcd)));
        table.store_clock_offset_nanos(RowIndex(0), -2);
        let words: Vec<u64> = table.words.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        let head = [0x0100_0002_0000_0003, 0xffff_ffff_ffff_fffe, 0x0100_0005_0000_0000, 0x1234];
        let copies = [0, 0, 0, 0, 0, 0, 0x0764_33c6, 0, 0x0102_00c0, 0, 0x1eca_abcd, 0x0000_0409_cafe_f00d];
        assert_eq!(words, [&head[..], &copies].concat());
    }

    #[test]
    fn rows_beyond_the_end_are_free_and_swallow_stores() {
        let table = table(1);
        table.occupy(RowIndex(9), &key(), 1);
        assert_eq!(table.key(RowIndex(9)), None);
        assert_eq!(table.len(), 1);
    }
}
