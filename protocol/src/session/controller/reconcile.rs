//! What the controller wants against what the data plane has: which command is due, and what is settled.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Ticket;
use crate::event::Refusal;
use crate::limits::COMMANDS_IN_FLIGHT_MAX;
use crate::plan::{Change, Key, Object, Plan};
use crate::session::error::SessionError;
use crate::session::frame::{Ack, Command};

/// What became of keys and tickets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Acknowledged(Ticket),
    Refused(Key, Refusal),
    Removed(Key),
}

/// Both plans, and the difference between them kept up to date key by key, so that a change of a few objects of a large
/// plan costs a few steps.
///
/// At most one command per key is under way. Removals go in descending order of keys and puts in ascending order; a key
/// that waits for its own command holds back those that may refer to it.
#[derive(Debug)]
pub(super) struct Reconciler {
    want: Plan,
    have: Plan,
    /// Whether `want` says something: a controller that has just started must rebuild it first.
    adopted: bool,
    /// The data plane's process that acknowledged a key last.
    established: BTreeMap<Key, u64>,
    /// The process that is connected, and whose plan `have` is; `None` while that is not known.
    instance: Option<u64>,
    sequence: u64,
    in_flight: VecDeque<Command>,
    keys_in_flight: BTreeMap<Key, Direction>,
    removals: BTreeSet<Key>,
    puts: BTreeSet<Key>,
    held_removals: BTreeSet<Key>,
    held_puts: BTreeSet<Key>,
    /// Keys whose absence the owner wants to hear of.
    leaving: BTreeSet<Key>,
    clock: u64,
    unsettled: BTreeMap<Key, u64>,
    stamps: BTreeMap<u64, Key>,
    tickets: BTreeSet<Ticket>,
    outcomes: VecDeque<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Put,
    Remove,
}

impl Reconciler {
    pub(super) const fn new() -> Self {
        Self {
            want: Plan::new(),
            have: Plan::new(),
            adopted: false,
            established: BTreeMap::new(),
            instance: None,
            sequence: 0,
            in_flight: VecDeque::new(),
            keys_in_flight: BTreeMap::new(),
            removals: BTreeSet::new(),
            puts: BTreeSet::new(),
            held_removals: BTreeSet::new(),
            held_puts: BTreeSet::new(),
            leaving: BTreeSet::new(),
            clock: 0,
            unsettled: BTreeMap::new(),
            stamps: BTreeMap::new(),
            tickets: BTreeSet::new(),
            outcomes: VecDeque::new(),
        }
    }

    pub(super) fn put(&mut self, object: Object) {
        let key = object.key();
        self.leaving.remove(&key);
        self.want.put(object);
        self.stamp(key);
        self.mark(key);
    }

    pub(super) fn remove(&mut self, key: Key) {
        let mut keys: Vec<Key> = self.want.remove_with_learnt(&key).iter().map(Object::key).collect();
        if !keys.contains(&key) {
            keys.push(key);
        }
        for key in keys {
            self.leaving.insert(key);
            self.stamp(key);
            self.mark(key);
        }
    }

    /// Replaces what is wanted; what was learnt stays as long as what it is about is wanted.
    pub(super) fn adopt(&mut self, mut want: Plan) {
        let learnt = self.have.objects().filter(|object| object.is_learnt());
        for object in learnt {
            let key = object.key();
            if key.parent().is_some_and(|parent| want.object(&parent).is_some()) && want.object(&key).is_none() {
                want.put(object.clone());
            }
        }
        let before = std::mem::replace(&mut self.want, want);
        self.adopted = true;
        // What a data plane had and is not wanted now may be wanted again before that one is known to have dropped it.
        let (want, have, instance) = (&self.want, &self.have, self.instance);
        self.established
            .retain(|key, by| want.object(key).is_some() || have.object(key).is_some() || Some(*by) == instance);
        self.leaving.extend(before.keys().chain(self.have.keys()).filter(|key| self.want.object(key).is_none()));
        let keys: BTreeSet<Key> = before.keys().chain(self.have.keys()).chain(self.want.keys()).copied().collect();
        for key in keys {
            if self.want.object(&key) != self.have.object(&key) {
                self.stamp(key);
            }
            self.mark(key);
        }
    }

    pub(super) fn barrier(&mut self) -> Ticket {
        // Each ticket is another one, also when nothing changed in between.
        self.clock += 1;
        let ticket = Ticket(self.clock);
        self.tickets.insert(ticket);
        self.collect_tickets();
        ticket
    }

    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.tickets.remove(&ticket);
    }

    pub(super) fn unsettled(&self) -> usize {
        self.unsettled.len()
    }

    pub(super) fn is_acknowledged(&self, ticket: Ticket) -> bool {
        self.stamps.first_key_value().is_none_or(|(stamp, _)| *stamp > ticket.0)
    }

    /// Takes the whole plan of the process `instance`. Returns what is to be told to the owner: objects learnt since
    /// the last connection, and keys forgotten.
    pub(super) fn resynchronise(&mut self, instance: u64, snapshot: Plan) -> (Vec<Object>, Vec<Key>) {
        self.have = snapshot;
        self.instance = Some(instance);
        let mut forgotten = Vec::new();
        for (key, by) in &self.established {
            let learnt = key.parent().is_some();
            if learnt && *by == instance && self.have.object(key).is_none() && self.want.object(key).is_some() {
                forgotten.push(*key);
            }
        }
        for key in &forgotten {
            self.want.remove(key);
        }
        let learnt: Vec<Object> = self.have.objects().filter(|object| self.is_news(object)).cloned().collect();
        for object in &learnt {
            self.want.put(object.clone());
        }
        let (want, adopted) = (&self.want, self.adopted);
        self.established.retain(|key, by| *by != instance && (!adopted || want.object(key).is_some()));
        self.established.extend(self.have.keys().map(|key| (*key, instance)));
        let keys: BTreeSet<Key> = self
            .have
            .keys()
            .chain(self.want.keys())
            .chain(&self.leaving)
            .chain(self.unsettled.keys())
            .copied()
            .collect();
        for key in keys {
            self.mark(key);
        }
        self.collect_tickets();
        (learnt, forgotten)
    }

    fn is_news(&self, object: &Object) -> bool {
        let key = object.key();
        key.parent().is_some_and(|parent| self.want.object(&parent).is_some()) && self.want.object(&key) != Some(object)
    }

    /// Forgets what was under way: whether it arrived is told by the next snapshot.
    pub(super) fn handle_disconnected(&mut self) {
        self.instance = None;
        self.sequence = 0;
        self.in_flight.clear();
        self.keys_in_flight.clear();
        for set in [&mut self.removals, &mut self.puts, &mut self.held_removals, &mut self.held_puts] {
            set.clear();
        }
    }

    pub(super) fn handle_learnt(&mut self, object: &Object) {
        let key = object.key();
        self.have.put(object.clone());
        if let Some(instance) = self.instance {
            self.established.insert(key, instance);
        }
        if self.is_news(object) {
            self.leaving.remove(&key);
            self.want.put(object.clone());
        }
        self.mark(key);
        self.collect_tickets();
    }

    pub(super) fn handle_forgotten(&mut self, key: Key) {
        self.have.remove(&key);
        self.want.remove(&key);
        self.established.remove(&key);
        self.mark(key);
        self.collect_tickets();
    }

    /// Returns the next command, `None` when nothing is due or enough is under way.
    pub(super) fn next_command(&mut self) -> Option<Command> {
        if self.in_flight.len() >= COMMANDS_IN_FLIGHT_MAX {
            return None;
        }
        let command = match self.removals.last().copied() {
            Some(key) => self.next_removal(key)?,
            None => self.next_put()?,
        };
        self.in_flight.push_back(command.clone());
        Some(command)
    }

    fn next_removal(&mut self, key: Key) -> Option<Command> {
        if self.held_removals.last().is_some_and(|held| *held > key) {
            return None;
        }
        self.removals.remove(&key);
        self.keys_in_flight.insert(key, Direction::Remove);
        Some(Command { sequence: self.next_sequence(), change: Change::Remove(key), resume: false })
    }

    fn next_put(&mut self) -> Option<Command> {
        let key = self.puts.first().copied()?;
        if self.held_puts.first().is_some_and(|held| *held < key) {
            return None;
        }
        self.puts.remove(&key);
        let object = self.want.object(&key)?.clone();
        self.keys_in_flight.insert(key, Direction::Put);
        let resume = self.established.get(&key).is_some_and(|instance| Some(*instance) != self.instance);
        Some(Command { sequence: self.next_sequence(), change: Change::Put(Box::new(object)), resume })
    }

    const fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Takes back the command that [`Self::next_command`] returned last, because no frame can carry it.
    pub(super) fn refuse_last(&mut self) {
        if let Some(command) = self.in_flight.pop_back() {
            self.sequence -= 1;
            self.finish(command, Some(Refusal::Invalid));
            self.collect_tickets();
        }
    }

    pub(super) fn handle_ack(&mut self, ack: &Ack) -> Result<(), SessionError> {
        let oldest = self.in_flight.front().map_or(self.sequence + 1, |command| command.sequence);
        if ack.up_to > self.sequence || ack.up_to + 1 < oldest {
            return Err(SessionError::Sequence { found: ack.up_to, expected: oldest });
        }
        let refusals: BTreeMap<u64, Refusal> = ack.refusals.iter().copied().collect();
        while let Some(command) = self.in_flight.pop_front_if(|command| command.sequence <= ack.up_to) {
            let refusal = refusals.get(&command.sequence).copied();
            self.finish(command, refusal);
        }
        self.collect_tickets();
        Ok(())
    }

    fn finish(&mut self, command: Command, refusal: Option<Refusal>) {
        let (key, put) = match command.change {
            Change::Put(object) => (object.key(), Some(*object)),
            Change::Remove(key) => (key, None),
        };
        self.keys_in_flight.remove(&key);
        let mut touched = vec![key];
        match (put, refusal) {
            (Some(object), None) => {
                if let Some(instance) = self.instance {
                    self.established.insert(key, instance);
                }
                self.have.put(object);
            }
            (Some(object), Some(refusal)) => {
                touched.extend(self.lose(key));
                if self.want.object(&key) == Some(&object) {
                    touched.extend(self.want.remove_with_learnt(&key).iter().map(Object::key));
                }
                self.outcomes.push_back(Outcome::Refused(key, refusal));
            }
            (None, _) => touched.extend(self.lose(key)),
        }
        for key in touched {
            self.mark(key);
        }
    }

    fn lose(&mut self, key: Key) -> Vec<Key> {
        self.established.remove(&key);
        let lost: Vec<Key> = self.have.remove_with_learnt(&key).iter().map(Object::key).collect();
        for key in &lost {
            self.established.remove(key);
        }
        lost
    }

    pub(super) fn poll_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    pub(super) const fn want(&self) -> &Plan {
        &self.want
    }

    pub(super) const fn have(&self) -> &Plan {
        &self.have
    }

    fn stamp(&mut self, key: Key) {
        self.clock += 1;
        if let std::collections::btree_map::Entry::Vacant(entry) = self.unsettled.entry(key) {
            entry.insert(self.clock);
            self.stamps.insert(self.clock, key);
        }
    }

    /// Files `key` under what is due for it.
    fn mark(&mut self, key: Key) {
        for set in [&mut self.removals, &mut self.puts, &mut self.held_removals, &mut self.held_puts] {
            set.remove(&key);
        }
        let (have, want) = (self.have.object(&key), self.want.object(&key));
        match self.keys_in_flight.get(&key) {
            Some(Direction::Put) if want.is_none() => drop(self.held_removals.insert(key)),
            Some(Direction::Remove) if want.is_some() => drop(self.held_puts.insert(key)),
            Some(Direction::Put | Direction::Remove) => {}
            None if want == have => self.settle(key),
            None if want.is_some() => drop(self.puts.insert(key)),
            None => drop(self.removals.insert(key)),
        }
    }

    fn settle(&mut self, key: Key) {
        if self.instance.is_none() {
            return;
        }
        if let Some(stamp) = self.unsettled.remove(&key) {
            self.stamps.remove(&stamp);
        }
        if self.want.object(&key).is_none() && self.leaving.remove(&key) {
            self.outcomes.push_back(Outcome::Removed(key));
        }
    }

    fn collect_tickets(&mut self) {
        while let Some(ticket) = self.tickets.first().copied() {
            if !self.is_acknowledged(ticket) {
                break;
            }
            self.tickets.remove(&ticket);
            self.outcomes.push_back(Outcome::Acknowledged(ticket));
        }
    }
}
