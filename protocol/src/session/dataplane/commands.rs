//! Commands that were received and are not told to be done yet, in order.

use std::collections::VecDeque;

use super::CommandId;
use crate::event::Refusal;
use crate::plan::Change;

#[derive(Debug)]
struct Pending {
    /// What to do; taken when the outcome is known.
    change: Option<Change>,
    /// The sequence number, and the connection that it belongs to.
    sequence: u64,
    connection: u64,
    outcome: Option<Result<(), Refusal>>,
}

/// A command whose outcome may be told, for all older ones are done as well.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) sequence: u64,
    pub(super) connection: u64,
    pub(super) outcome: Result<(), Refusal>,
}

/// Commands are told to be done in the order in which they came, whatever the order in which shards finish them.
#[derive(Debug)]
pub(super) struct Commands {
    pending: VecDeque<Pending>,
    first: u64,
}

impl Commands {
    pub(super) const fn new() -> Self {
        Self { pending: VecDeque::new(), first: 0 }
    }

    /// Takes a command that the shell is asked to carry out.
    pub(super) fn push(&mut self, change: Change, sequence: u64, connection: u64) -> CommandId {
        self.pending.push_back(Pending { change: Some(change), sequence, connection, outcome: None });
        CommandId(self.first + self.pending.len() as u64 - 1)
    }

    /// Takes a command whose outcome is known.
    pub(super) fn push_done(&mut self, sequence: u64, connection: u64, outcome: Result<(), Refusal>) {
        self.pending.push_back(Pending { change: None, sequence, connection, outcome: Some(outcome) });
    }

    /// Takes the outcome of a command, and returns the command; `None` when its outcome is known already.
    pub(super) fn acknowledge(&mut self, command: CommandId, outcome: Result<(), Refusal>) -> Option<Change> {
        let position = usize::try_from(command.0.checked_sub(self.first)?).ok()?;
        let pending = self.pending.get_mut(position)?;
        let change = pending.change.take()?;
        pending.outcome = Some(outcome);
        Some(change)
    }

    /// Takes the oldest command when its outcome is known.
    pub(super) fn settle(&mut self) -> Option<Settled> {
        let outcome = self.pending.front()?.outcome?;
        self.first += 1;
        let Pending { sequence, connection, .. } = self.pending.pop_front()?;
        Some(Settled { sequence, connection, outcome })
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}
