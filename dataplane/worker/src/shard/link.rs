//! What goes between the control thread and a shard.
//!
//! Two bounded channels and two doorbells: a byte in a socket pair wakes the other side, whatever it sleeps on. A bell that
//! rings already is not rung again, so that a batch of messages costs one system call on each side.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};

use sluice_dataplane_core::engine::Command;
use sluice_protocol::event::{Event, Refusal};
use sluice_protocol::ice::NodeSecret;
use sluice_protocol::ids::TrackId;
use sluice_protocol::limits::COMMANDS_IN_FLIGHT_MAX;
use sluice_protocol::session::dataplane::CommandId;
use sluice_protocol::stats::Stats;
use sluice_protocol::table::Table;

/// Messages to a shard that wait: every command in flight, and a few more. The session never has more in flight.
const TO_SHARD_MAX: usize = COMMANDS_IN_FLIGHT_MAX + 1024;
/// Messages from a shard that wait: an answer to each of those, and events.
const FROM_SHARD_MAX: usize = TO_SHARD_MAX + 16 * 1024;
/// Events are held back when fewer places than this are left, so that answers always find one.
const EVENTS_MAX: usize = FROM_SHARD_MAX - TO_SHARD_MAX;

/// What an engine is made from.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The node's secret.
    pub secret: NodeSecret,
    /// The rows of this shard.
    pub table: Table,
    /// The media sockets.
    pub sockets: Vec<OwnedFd>,
    /// Randomness.
    pub seed: u64,
}

/// A message to a shard.
#[derive(Debug)]
pub(crate) enum ToShard {
    /// The first message: what the engine is made from.
    Setup(Box<Setup>),
    /// A command of the plan.
    Command {
        /// Its id, for the answer.
        id: CommandId,
        /// What to do.
        command: Box<Command>,
    },
    /// Everything that a predecessor may have left rows for was put; a command that puts a cookie says the same.
    SettleRows,
    /// Ask the publisher of a track for a key frame.
    KeyFrame(TrackId),
    /// A new packet stream; the one before is closed.
    PacketStream(OwnedFd),
    /// Count.
    Stats(u64),
    /// Show that the loop turns.
    Ping(u64),
}

/// A message from a shard.
#[derive(Debug)]
pub(crate) enum FromShard {
    /// A command was carried out, or refused.
    Done {
        /// Its id.
        id: CommandId,
        /// How it went.
        result: Result<(), Refusal>,
    },
    /// Something happened.
    Event(Event),
    /// The answer to [`ToShard::Stats`].
    Stats {
        /// Its number.
        id: u64,
        /// The counts.
        stats: Box<Stats>,
    },
    /// The answer to [`ToShard::Ping`].
    Pong(u64),
}

/// The other end is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The shard's end.
#[derive(Debug)]
pub(crate) struct ShardEnd {
    receiver: Receiver<ToShard>,
    sender: SyncSender<FromShard>,
    doorbell: Doorbell,
    blocked: Arc<AtomicBool>,
    events: Arc<AtomicUsize>,
}

/// The control thread's end.
#[derive(Debug)]
pub(crate) struct SupervisorEnd {
    sender: SyncSender<ToShard>,
    receiver: Receiver<FromShard>,
    doorbell: Doorbell,
    blocked: Arc<AtomicBool>,
    events: Arc<AtomicUsize>,
}

/// Makes a link.
///
/// # Errors
/// What making a socket pair returns.
pub(crate) fn link() -> std::io::Result<(SupervisorEnd, ShardEnd)> {
    let (here, there) = Doorbell::pair()?;
    let (to_sender, to_receiver) = sync_channel(TO_SHARD_MAX);
    let (from_sender, from_receiver) = sync_channel(FROM_SHARD_MAX);
    let blocked = Arc::new(AtomicBool::new(false));
    let events = Arc::new(AtomicUsize::new(0));
    let supervisor = SupervisorEnd {
        sender: to_sender,
        receiver: from_receiver,
        doorbell: here,
        blocked: Arc::clone(&blocked),
        events: Arc::clone(&events),
    };
    Ok((supervisor, ShardEnd { receiver: to_receiver, sender: from_sender, doorbell: there, blocked, events }))
}

impl ShardEnd {
    /// Returns what to sleep on.
    #[must_use]
    pub(crate) fn doorbell(&self) -> BorrowedFd<'_> {
        self.doorbell.stream.as_fd()
    }

    /// Silences the doorbell. Then take messages until there are none: whatever comes later rings again.
    pub(crate) fn silence(&self) {
        self.doorbell.silence();
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// [`Gone`] when the control thread is.
    pub(crate) fn receive(&self) -> Result<Option<ToShard>, Gone> {
        take(&self.receiver)
    }

    /// Sends an answer; each message of the other end has its place, so there is always room.
    pub(crate) fn send(&self, message: FromShard) {
        if self.sender.try_send(message).is_ok() {
            self.doorbell.ring();
        }
    }

    /// Sends an event, or returns it when too many wait.
    pub(crate) fn send_event(&self, event: Event) -> Option<Event> {
        if self.events.load(Ordering::Acquire) >= EVENTS_MAX {
            return Some(event);
        }
        match self.sender.try_send(FromShard::Event(event)) {
            Ok(()) => {
                let _before = self.events.fetch_add(1, Ordering::AcqRel);
                self.doorbell.ring();
                None
            }
            Err(TrySendError::Full(FromShard::Event(event))) => Some(event),
            Err(_) => None,
        }
    }

    /// Asks to be woken when the sockets can be written again.
    pub(crate) fn report_blocked(&self) {
        if !self.blocked.swap(true, Ordering::AcqRel) {
            self.doorbell.ring();
        }
    }
}

impl SupervisorEnd {
    /// Returns what to sleep on.
    #[must_use]
    pub(crate) fn doorbell(&self) -> BorrowedFd<'_> {
        self.doorbell.stream.as_fd()
    }

    /// Silences the doorbell. Then take messages until there are none: whatever comes later rings again.
    pub(crate) fn silence(&self) {
        self.doorbell.silence();
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// [`Gone`] when the shard is.
    pub(crate) fn receive(&self) -> Result<Option<FromShard>, Gone> {
        let message = take(&self.receiver)?;
        if matches!(message, Some(FromShard::Event(_))) {
            let _before = self.events.fetch_sub(1, Ordering::AcqRel);
        }
        Ok(message)
    }

    /// Sends a message and wakes the shard.
    ///
    /// # Errors
    /// [`Gone`] when the shard is, or does not take its messages any more.
    pub(crate) fn send(&self, message: ToShard) -> Result<(), Gone> {
        self.sender.try_send(message).map_err(|_| Gone)?;
        self.doorbell.ring();
        Ok(())
    }

    /// Tells whether the shard waits for its sockets.
    #[must_use]
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Acquire)
    }

    /// Wakes the shard because its sockets can be written again.
    pub(crate) fn unblock(&self) {
        self.blocked.store(false, Ordering::Release);
        self.doorbell.ring();
    }
}

/// One side of the doorbells: rings the other side's, and sleeps on its own.
#[derive(Debug)]
struct Doorbell {
    stream: UnixStream,
    ours_rings: Arc<AtomicBool>,
    theirs_rings: Arc<AtomicBool>,
}

impl Doorbell {
    fn pair() -> std::io::Result<(Self, Self)> {
        let (here, there) = UnixStream::pair()?;
        here.set_nonblocking(true)?;
        there.set_nonblocking(true)?;
        let (first, second) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let here = Self { stream: here, ours_rings: Arc::clone(&first), theirs_rings: Arc::clone(&second) };
        Ok((here, Self { stream: there, ours_rings: second, theirs_rings: first }))
    }

    /// Wakes the other side, unless it has not yet silenced the ring before.
    fn ring(&self) {
        if self.theirs_rings.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut stream = &self.stream;
        match stream.write(&[1]) {
            Ok(_) => {}
            // A full socket wakes whoever sleeps on it.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // The other side is gone, which its channel says.
            Err(_) => {}
        }
    }

    /// Silences our bell. The ring is taken out of the socket before the next one may be put in, so none stays behind, and
    /// who finds the bell ringing has sent before it was silenced: what was sent is seen by whoever looks after this call.
    fn silence(&self) {
        let mut rings = [0; 256];
        let mut stream = &self.stream;
        while stream.read(&mut rings).is_ok_and(|count| count == rings.len()) {}
        let _rang = self.ours_rings.swap(false, Ordering::AcqRel);
    }
}

/// Takes a message.
fn take<T>(receiver: &Receiver<T>) -> Result<Option<T>, Gone> {
    match receiver.try_recv() {
        Ok(message) => Ok(Some(message)),
        Err(TryRecvError::Disconnected) => Err(Gone),
        Err(TryRecvError::Empty) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn rings(doorbell: BorrowedFd<'_>, patience: Duration) -> bool {
        let patience = Timespec::try_from(patience).unwrap();
        poll(&mut [PollFd::from_borrowed_fd(doorbell, PollFlags::IN)], Some(&patience)).unwrap() == 1
    }

    #[test]
    fn a_batch_of_messages_rings_once_and_the_next_batch_rings_again() {
        let (control, shard) = link().unwrap();
        for _ in 0..2 {
            assert!(!rings(shard.doorbell(), Duration::ZERO));
            for nonce in 0..100 {
                control.send(ToShard::Ping(nonce)).unwrap();
            }
            assert!(rings(shard.doorbell(), Duration::ZERO));
            let mut byte = [0; 8];
            assert_eq!((&shard.doorbell.stream).read(&mut byte).unwrap(), 1, "one ring for all of them");
            shard.silence();
            for nonce in 0..100 {
                assert!(matches!(shard.receive(), Ok(Some(ToShard::Ping(taken))) if taken == nonce));
            }
            assert!(matches!(shard.receive(), Ok(None)));
        }
    }

    #[test]
    fn no_message_is_slept_through_while_both_sides_run() {
        let (control, shard) = link().unwrap();
        let count = 200_000_u64;
        let sender = thread::spawn(move || {
            for nonce in 0..count {
                while control.send(ToShard::Ping(nonce)).is_err() {
                    thread::yield_now();
                }
            }
            control
        });
        let mut next = 0;
        while next < count {
            match shard.receive().unwrap() {
                Some(ToShard::Ping(nonce)) => {
                    assert_eq!(nonce, next);
                    next += 1;
                }
                Some(_) => unreachable!(),
                None => {
                    assert!(rings(shard.doorbell(), Duration::from_secs(10)), "{next} of {count} came");
                    shard.silence();
                }
            }
        }
        drop(sender.join().unwrap());
    }

    #[test]
    fn an_end_that_is_gone_is_told_by_its_channel() {
        let (control, shard) = link().unwrap();
        drop(shard);
        assert_eq!(control.receive().unwrap_err(), Gone);
        assert_eq!(control.send(ToShard::Ping(1)).unwrap_err(), Gone);
    }
}
