//! Commands that were received and are not settled yet, in order.

use std::collections::VecDeque;

use super::CommandId;
use crate::event::Refusal;
use crate::plan::Change;

/// What carrying out a command does to the plan.
#[derive(Debug)]
pub(super) enum Effect {
    Apply(Change),
    /// The data plane knows better, or the command could not be read.
    Nothing,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) effect: Effect,
    /// The sequence number, and the connection that it belongs to.
    pub(super) sequence: u64,
    pub(super) connection: u64,
    outcome: Option<Result<(), Refusal>>,
}

/// Commands settle in the order in which they came, whatever the order in which shards finish them.
#[derive(Debug)]
pub(super) struct Commands {
    pending: VecDeque<Pending>,
    first: u64,
}

impl Commands {
    pub(super) const fn new() -> Self {
        Self { pending: VecDeque::new(), first: 0 }
    }

    pub(super) fn push(
        &mut self,
        effect: Effect,
        sequence: u64,
        connection: u64,
        outcome: Option<Result<(), Refusal>>,
    ) -> CommandId {
        self.pending.push_back(Pending { effect, sequence, connection, outcome });
        CommandId(self.first + self.pending.len() as u64 - 1)
    }

    pub(super) fn acknowledge(&mut self, command: CommandId, outcome: Result<(), Refusal>) {
        let position = command.0.checked_sub(self.first).and_then(|position| usize::try_from(position).ok());
        if let Some(pending) = position.and_then(|position| self.pending.get_mut(position)) {
            pending.outcome = Some(outcome);
        }
    }

    /// Takes the oldest command when its outcome is known.
    pub(super) fn settle(&mut self) -> Option<(Pending, Result<(), Refusal>)> {
        let outcome = self.pending.front()?.outcome?;
        self.first += 1;
        self.pending.pop_front().map(|pending| (pending, outcome))
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.pending.iter().filter_map(|pending| match &pending.effect {
            Effect::Apply(change) => Some(change),
            Effect::Nothing => None,
        })
    }
}
