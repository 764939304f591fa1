//! What waits to be told to the connected controller, made into frames when it reads.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;

use prost::Message as _;

use crate::convert;
use crate::event::{Event, Refusal};
use crate::limits::{EVENTS_QUEUED_MAX, TRANSMIT_BYTES_TARGET};
use crate::plan::{Key, Plan};
use crate::session::frame::{Ack, Frame};
use crate::session::framing;
use crate::stats::Stats;

/// How far the snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Snapshot {
    NotAsked,
    Asked,
    /// All objects up to this key were sent.
    Sending(Option<Key>),
    Sent,
}

/// Acknowledgements come first and are never dropped; then statistics, the snapshot, what was learnt, events. What was
/// learnt is kept as keys, so that it takes a bounded place however long nobody reads; other events are dropped beyond
/// [`EVENTS_QUEUED_MAX`].
#[derive(Debug)]
pub(super) struct Outbox {
    pub(super) settled: u64,
    acknowledged: u64,
    refusals: Vec<(u64, Refusal)>,
    pub(super) snapshot: Snapshot,
    pub(super) learnt: BTreeSet<Key>,
    events: VecDeque<Event>,
    stats: VecDeque<(u64, VecDeque<Stats>)>,
}

impl Outbox {
    pub(super) const fn new() -> Self {
        Self {
            settled: 0,
            acknowledged: 0,
            refusals: Vec::new(),
            snapshot: Snapshot::NotAsked,
            learnt: BTreeSet::new(),
            events: VecDeque::new(),
            stats: VecDeque::new(),
        }
    }

    pub(super) fn settle(&mut self, sequence: u64, outcome: Result<(), Refusal>) {
        self.settled = sequence;
        if let Err(refusal) = outcome {
            self.refusals.push((sequence, refusal));
        }
    }

    pub(super) const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Queues an event; tells whether there was room.
    pub(super) fn push_event(&mut self, event: Event) -> bool {
        let room = self.events.len() < EVENTS_QUEUED_MAX;
        if room {
            self.events.push_back(event);
        }
        room
    }

    pub(super) fn push_stats(&mut self, id: u64, stats: Stats) {
        self.stats.push_back((id, split(stats)));
    }

    pub(super) fn stats_queued(&self) -> usize {
        self.stats.len()
    }

    /// Appends one frame; tells whether there was one.
    pub(super) fn append_next(&mut self, plan: &Plan, idle: bool, buffer: &mut Vec<u8>) -> bool {
        while let Some(frame) = self.next_frame(plan, idle) {
            if framing::append(&frame, buffer) {
                return true;
            }
        }
        false
    }

    fn next_frame(&mut self, plan: &Plan, idle: bool) -> Option<Frame> {
        if self.settled > self.acknowledged {
            self.acknowledged = self.settled;
            return Some(Frame::Ack(Ack { up_to: self.settled, refusals: std::mem::take(&mut self.refusals) }));
        }
        if let Some((id, parts)) = self.stats.front_mut() {
            let id = *id;
            let part = parts.pop_front().unwrap_or_default();
            let last = parts.is_empty();
            if last {
                self.stats.pop_front();
            }
            return Some(Frame::StatsReply { id, part, last });
        }
        match self.snapshot {
            Snapshot::NotAsked => None,
            // Commands of a connection before may still be under way; the snapshot shows what they did.
            Snapshot::Asked if !idle => None,
            Snapshot::Asked => self.next_of_snapshot(plan, None),
            Snapshot::Sending(cursor) => self.next_of_snapshot(plan, cursor),
            Snapshot::Sent => self.next_event(plan),
        }
    }

    fn next_of_snapshot(&mut self, plan: &Plan, cursor: Option<Key>) -> Option<Frame> {
        let after = cursor.map_or(Bound::Unbounded, Bound::Excluded);
        match plan.objects_from(after).next() {
            Some(object) => {
                self.snapshot = Snapshot::Sending(Some(object.key()));
                Some(Frame::SnapshotObject(Box::new(object.clone())))
            }
            None => {
                self.snapshot = Snapshot::Sent;
                Some(Frame::SnapshotEnd)
            }
        }
    }

    fn next_event(&mut self, plan: &Plan) -> Option<Frame> {
        if let Some(key) = self.learnt.pop_first() {
            return Some(Frame::Event(match plan.object(&key) {
                Some(object) => Event::Learnt(Box::new(object.clone())),
                None => Event::Forgotten(key),
            }));
        }
        self.events.pop_front().map(Frame::Event)
    }
}

/// Cuts statistics into parts that fit into frames.
fn split(stats: Stats) -> VecDeque<Stats> {
    let shards = stats.shards.into_iter().map(|row| Stats { shards: vec![row], ..Stats::default() });
    let transports = stats.transports.into_iter().map(|row| Stats { transports: vec![row], ..Stats::default() });
    let ingress = stats.ingress.into_iter().map(|row| Stats { ingress: vec![row], ..Stats::default() });
    let egress = stats.egress.into_iter().map(|row| Stats { egress: vec![row], ..Stats::default() });
    let mut parts = VecDeque::from([Stats::default()]);
    let mut size_bytes = 0;
    for mut row in shards.chain(transports).chain(ingress).chain(egress) {
        let row_bytes = convert::write_stats(&row).encoded_len();
        if size_bytes + row_bytes > TRANSMIT_BYTES_TARGET {
            parts.push_back(Stats::default());
            size_bytes = 0;
        }
        size_bytes += row_bytes;
        if let Some(part) = parts.back_mut() {
            part.shards.append(&mut row.shards);
            part.transports.append(&mut row.transports);
            part.ingress.append(&mut row.ingress);
            part.egress.append(&mut row.egress);
        }
    }
    parts
}
