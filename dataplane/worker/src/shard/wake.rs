//! What wakes a shard: descriptors that become readable, and a deadline.
//!
//! Each descriptor has a task that sleeps on it. A task that has woken the shard rests until the shard sleeps again, so a
//! busy shard pays for none of them.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::future::select;
use glommio::timer::Timer;

use crate::udp::wait::UnixWaiter;

/// A flag with a sleeper.
#[derive(Debug, Default)]
struct Flag {
    up: Cell<bool>,
    sleeper: RefCell<Option<Waker>>,
}

impl Flag {
    fn raise(&self) {
        self.up.set(true);
        if let Some(sleeper) = self.sleeper.take() {
            sleeper.wake();
        }
    }

    /// Waits until the flag is up, and takes it down.
    fn taken(&self) -> impl Future<Output = ()> + '_ {
        poll_fn(|context| {
            if self.up.replace(false) {
                return Poll::Ready(());
            }
            let _before = self.sleeper.replace(Some(context.waker().clone()));
            Poll::Pending
        })
    }
}

/// One watched descriptor.
#[derive(Debug, Default)]
struct Watch {
    fired: Cell<bool>,
    armed: Flag,
}

/// Everything that wakes a shard.
#[derive(Debug)]
pub(super) struct Wakeups {
    awake: Rc<Flag>,
    watches: RefCell<Vec<Rc<Watch>>>,
}

impl Wakeups {
    /// Makes wake-ups, of which `doorbell` is the first.
    pub(super) fn new(doorbell: BorrowedFd<'_>) -> io::Result<Self> {
        let wakeups = Self { awake: Rc::new(Flag::default()), watches: RefCell::new(Vec::new()) };
        let waiter = UnixWaiter::new(doorbell)?;
        wakeups.watch(async move || waiter.readable().await);
        Ok(wakeups)
    }

    /// Lets `readable` wake the shard whenever it returns. Dropping what comes back ends the watch.
    pub(super) fn watch<F>(&self, readable: F) -> Watching
    where
        F: AsyncFn() + 'static,
    {
        let watch = Rc::new(Watch::default());
        self.watches.borrow_mut().push(Rc::clone(&watch));
        let (awake, watched) = (Rc::clone(&self.awake), Rc::downgrade(&watch));
        let task = glommio::spawn_local(watching(readable, awake, watched));
        task.detach();
        Watching(watch)
    }

    /// Forgets a watch whose descriptor is gone.
    pub(super) fn forget(&self, watching: &Watching) {
        self.watches.borrow_mut().retain(|watch| !Rc::ptr_eq(watch, &watching.0));
    }

    /// Sleeps until something wakes the shard, at most for `longest`.
    pub(super) async fn sleep(&self, longest: Duration) {
        for watch in self.watches.borrow().iter().filter(|watch| watch.fired.replace(false)) {
            watch.armed.raise();
        }
        let _first = select(pin!(self.awake.taken()), pin!(Timer::new(longest))).await;
    }
}

/// A watch that can be forgotten.
#[derive(Debug)]
pub(super) struct Watching(Rc<Watch>);

async fn watching<F: AsyncFn()>(readable: F, awake: Rc<Flag>, watch: Weak<Watch>) {
    loop {
        readable().await;
        let Some(watch) = watch.upgrade() else { return };
        watch.fired.set(true);
        awake.raise();
        watch.armed.taken().await;
    }
}
