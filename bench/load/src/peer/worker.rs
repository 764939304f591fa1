//! One thread that drives many endpoints.
//!
//! Readiness comes from epoll, one `recvmmsg` empties a socket, timers stand in one heap with lazy entries: an endpoint
//! has at most one entry that counts, and it is only moved forward when its time comes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};

use super::connection::State;
use super::endpoint::Endpoint;
use crate::limits::{READY_EVENTS, RECEIVE_BATCH, RECEIVES_PER_TURN};
use crate::measure::clock::Now;
use crate::sys::ReceiveBatch;

/// Epoll data of the wake-up descriptor; endpoint ids count from one.
const WAKE: u64 = 0;
/// The loop looks around at least this often.
const IDLE: Duration = Duration::from_millis(100);

type Action = Box<dyn FnOnce(&mut Endpoint, Now) -> Result<()> + Send>;

enum Command {
    Add(u64, Box<Endpoint>),
    Act(u64, Action),
    /// Takes an endpoint off, after a goodbye or without a word.
    Remove(u64, Farewell),
    Stop,
}

/// How an endpoint goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    /// RTCP BYE and DTLS `close_notify`.
    Close,
    /// As a process that was killed.
    Vanish,
}

/// A handle of the thread; dropping it ends the thread and all its endpoints without a goodbye.
#[derive(Debug)]
pub(crate) struct Worker {
    commands: Mutex<Sender<Command>>,
    wake: Arc<OwnedFd>,
    next_id: AtomicU64,
    cpu_ns: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(crate) fn spawn(name: &str) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let cpu_ns = Arc::new(AtomicU64::new(0));
        let mut io_loop = Loop::new(receiver, Arc::clone(&wake), Arc::clone(&cpu_ns))?;
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || io_loop.run())?;
        Ok(Self { commands: Mutex::new(sender), wake, next_id: AtomicU64::new(WAKE + 1), cpu_ns, thread: Some(thread) })
    }

    /// Hands an endpoint over and returns its id.
    pub(crate) fn add(&self, endpoint: Endpoint) -> u64 {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        self.send(Command::Add(id, Box::new(endpoint)));
        id
    }

    /// Runs something on an endpoint in its thread; nothing happens when the endpoint is gone.
    pub(crate) fn act(&self, id: u64, action: impl FnOnce(&mut Endpoint, Now) -> Result<()> + Send + 'static) {
        self.send(Command::Act(id, Box::new(action)));
    }

    pub(crate) fn remove(&self, id: u64, farewell: Farewell) {
        self.send(Command::Remove(id, farewell));
    }

    /// CPU time that the thread has used, as of at most [`IDLE`] ago.
    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.cpu_ns.load(Ordering::Relaxed))
    }

    fn send(&self, command: Command) {
        let sender = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.send(command).is_ok() {
            // A full counter means that the thread is about to wake anyway.
            let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.send(Command::Stop);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a thread of endpoints has panicked");
        }
    }
}

struct Slot {
    endpoint: Box<Endpoint>,
    /// The heap entry that counts.
    scheduled: Instant,
}

struct Loop {
    epoll: OwnedFd,
    wake: Arc<OwnedFd>,
    commands: Receiver<Command>,
    slots: HashMap<u64, Slot>,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    batch: ReceiveBatch,
    cpu_ns: Arc<AtomicU64>,
    cpu_read_at: Instant,
}

impl Loop {
    fn new(commands: Receiver<Command>, wake: Arc<OwnedFd>, cpu_ns: Arc<AtomicU64>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &*wake, epoll::EventData::new_u64(WAKE), epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            wake,
            commands,
            slots: HashMap::new(),
            timers: BinaryHeap::new(),
            batch: ReceiveBatch::new(),
            cpu_ns,
            cpu_read_at: Instant::now(),
        })
    }

    fn run(&mut self) {
        let mut events = Vec::with_capacity(READY_EVENTS);
        loop {
            self.wait(&mut events);
            let now = Now::read();
            for event in events.drain(..) {
                match event.data.u64() {
                    WAKE => {
                        let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
                    }
                    id => self.receive(id, now),
                }
            }
            if !self.run_commands(now) {
                return;
            }
            self.run_timers();
            if now.instant.duration_since(self.cpu_read_at) >= IDLE / 2 {
                self.cpu_read_at = now.instant;
                self.cpu_ns.store(thread_cpu_ns().unwrap_or(0), Ordering::Relaxed);
            }
        }
    }

    fn wait(&self, events: &mut Vec<epoll::Event>) {
        let until_timer = self.timers.peek().map(|Reverse((due, _))| due.saturating_duration_since(Instant::now()));
        let timeout = until_timer.unwrap_or(IDLE).min(IDLE);
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(timeout.subsec_nanos()) };
        // An interrupted wait is an empty one.
        let _ = epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&timeout));
    }

    fn receive(&mut self, id: u64, now: Now) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        match receive_some(&mut slot.endpoint, &mut self.batch, now) {
            Ok(()) => self.reschedule(id),
            Err(error) => self.fail(id, &error),
        }
    }

    /// Runs what was asked for; false when the thread is to end.
    fn run_commands(&mut self, now: Now) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Add(id, endpoint)) => self.add(id, endpoint),
                Ok(Command::Act(id, action)) => {
                    let Some(slot) = self.slots.get_mut(&id) else { continue };
                    let now = Now::read();
                    let result = action(&mut slot.endpoint, now).and_then(|()| slot.endpoint.step(now));
                    match result {
                        Ok(()) => self.reschedule(id),
                        Err(error) => self.fail(id, &error),
                    }
                }
                Ok(Command::Remove(id, farewell)) => {
                    if let Some(mut slot) = self.slots.remove(&id)
                        && farewell == Farewell::Close
                        && let Err(error) = slot.endpoint.close(now)
                    {
                        tracing::debug!(%error, "close");
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn add(&mut self, id: u64, endpoint: Box<Endpoint>) {
        let data = epoll::EventData::new_u64(id);
        let added = epoll::add(&self.epoll, endpoint.socket().as_fd(), data, epoll::EventFlags::IN);
        let now = Instant::now();
        self.slots.insert(id, Slot { endpoint, scheduled: now });
        self.timers.push(Reverse((now, id)));
        if let Err(error) = added {
            self.fail(id, &error.into());
        }
    }

    fn run_timers(&mut self) {
        let now = Now::read();
        while let Some(Reverse((due, id))) = self.timers.peek().copied() {
            if due > now.instant {
                return;
            }
            self.timers.pop();
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            if slot.scheduled != due {
                continue;
            }
            let result = slot.endpoint.handle_timeout(Now::read());
            match result {
                Ok(()) => {
                    // What is due at once again waits for one look at the sockets.
                    let next = slot.endpoint.poll_timeout().max(now.instant + Duration::from_nanos(1));
                    slot.scheduled = next;
                    self.timers.push(Reverse((next, id)));
                }
                Err(error) => self.fail(id, &error),
            }
        }
    }

    /// Brings the endpoint's timer forward. A later one waits for the entry that stands, and moves then.
    fn reschedule(&mut self, id: u64) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let due = slot.endpoint.poll_timeout();
        if due < slot.scheduled {
            slot.scheduled = due;
            self.timers.push(Reverse((due, id)));
        }
    }

    fn fail(&mut self, id: u64, error: &anyhow::Error) {
        if let Some(slot) = self.slots.remove(&id) {
            tracing::warn!(error = format!("{error:#}"), "an endpoint failed");
            let mut connection = slot.endpoint.connection();
            connection.error = Some(format!("{error:#}"));
            connection.enter(Instant::now(), State::Closed);
        }
    }
}

/// Takes what lies in the socket, up to a turn's worth; level-triggered readiness brings the rest.
fn receive_some(endpoint: &mut Endpoint, batch: &mut ReceiveBatch, now: Now) -> Result<()> {
    for _ in 0..RECEIVES_PER_TURN {
        let runs = match batch.receive(endpoint.socket()) {
            Ok(runs) => runs,
            // The ICMP error of an earlier send, once per send: the peer's port is closed for now.
            Err(error) => {
                tracing::debug!(%error, "receive");
                continue;
            }
        };
        for run in (0..runs).filter_map(|index| batch.run(index)) {
            for datagram in run.datagrams() {
                endpoint.handle_datagram(now, &run, datagram)?;
            }
        }
        if runs < RECEIVE_BATCH {
            break;
        }
    }
    Ok(())
}

/// CPU time of the calling thread: the first number of `schedstat`, in nanoseconds.
fn thread_cpu_ns() -> Option<u64> {
    fs::read_to_string("/proc/thread-self/schedstat").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_sees_its_cpu_time_grow() {
        let before = thread_cpu_ns().unwrap();
        let mut sum = 0_u64;
        for number in 0..5_000_000_u64 {
            sum = std::hint::black_box(sum ^ number);
        }
        thread::yield_now();
        assert!(thread_cpu_ns().unwrap() > before, "{sum}");
    }
}
