//! The line to a session's client: everything it is told, numbered, and the newest of it kept, so that a client whose
//! connection was lost gets what it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::limits::{TOLD_KEPT_BYTES_MAX, TOLD_KEPT_MAX, TOLD_WAITING_BYTES_MAX};
use super::told::Told;

/// A line. The conductor tells; one connection at a time takes, at its own pace: a slow one misses what is not kept, and is
/// told so, and never holds anybody up.
#[derive(Debug)]
pub struct Line {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug)]
struct State {
    kept: VecDeque<Kept>,
    /// What all of it weighs.
    bytes: usize,
    /// The number of the newest.
    last: u64,
    /// The number of the newest that was taken.
    taken: u64,
    /// Who takes, counted from 1; 0 before anybody does.
    holder: u64,
    is_held: bool,
    end: Option<End>,
}

#[derive(Debug)]
struct Kept {
    told: Arc<Told>,
    bytes: usize,
}

/// Why a line has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The session was replaced by another one of the same identity, and is in no room any more.
    Replaced,
    /// The session has ended.
    Closed,
    /// The session has ended because the last token that it rested on has.
    Expired,
}

/// What a connection takes next.
#[derive(Clone, Debug)]
pub enum Next {
    /// This, with its number.
    Told(u64, Arc<Told>),
    /// Some of it is not kept any more.
    Missed,
    /// Another connection has taken the line over.
    TakenOver,
    /// The line has ended, and everything was taken.
    Ended(End),
}

impl Line {
    /// Starts a line whose first message has the number after `last`.
    #[must_use]
    pub fn new(last: u64) -> Self {
        let state = State { kept: VecDeque::new(), bytes: 0, last, taken: last, holder: 0, is_held: false, end: None };
        Self { state: Mutex::new(state), news: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells something.
    pub fn tell(&self, told: Arc<Told>) {
        let mut state = self.state();
        let bytes = told.weight();
        state.kept.push_back(Kept { told, bytes });
        state.bytes += bytes;
        state.last += 1;
        state.forget();
        drop(state);
        self.news.notify_one();
    }

    /// Ends the line; what was told before is still taken.
    pub fn end(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.news.notify_one();
    }

    /// Takes the line over for a new connection, and returns its number as a holder.
    #[must_use]
    pub fn take_over(&self) -> u64 {
        let mut state = self.state();
        state.holder += 1;
        state.is_held = true;
        let holder = state.holder;
        drop(state);
        // Whoever held it before learns of it, and so does a connection that waits already.
        self.news.notify_waiters();
        holder
    }

    /// Lets go of the line, unless another connection has taken it over; tells whether it is free now.
    pub fn let_go(&self, holder: u64) -> bool {
        let mut state = self.state();
        state.is_held &= state.holder != holder;
        !state.is_held
    }

    /// Tells whether nobody has taken the line over since `holder`, and nobody takes.
    #[must_use]
    pub fn is_free_since(&self, holder: u64) -> bool {
        let state = self.state();
        state.holder == holder && !state.is_held
    }

    /// Tells whether a connection takes.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state().is_held
    }

    /// Returns the number of the newest message.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.state().last
    }

    /// Tells whether everything after `seq` is kept.
    #[must_use]
    pub fn keeps_after(&self, seq: u64) -> bool {
        let state = self.state();
        seq <= state.last && seq >= state.oldest() - 1
    }

    /// Waits for what follows the message with the number `after`. Dropping the future loses nothing.
    pub async fn next(&self, holder: u64, after: u64) -> Next {
        loop {
            // Before the look: what is told in between wakes it.
            let news = self.news.notified();
            if let Some(next) = self.state().next(holder, after) {
                return next;
            }
            news.await;
        }
    }
}

impl State {
    /// Returns the number of the oldest message that is kept; the next one's when none is.
    fn oldest(&self) -> u64 {
        self.last + 1 - u64::try_from(self.kept.len()).unwrap_or(0)
    }

    /// Forgets what is more than may be kept. The newest message is kept in any case, and so is the longest one that waits:
    /// who enters a large room is not too slow because somebody comes meanwhile.
    fn forget(&mut self) {
        while self.kept.len() > 1 {
            let is_taken = self.oldest() <= self.taken;
            let is_few = self.kept.len() <= TOLD_KEPT_MAX;
            let is_little = if is_taken {
                self.bytes <= TOLD_KEPT_BYTES_MAX
            } else {
                self.bytes <= TOLD_WAITING_BYTES_MAX || self.bytes - self.longest() <= TOLD_WAITING_BYTES_MAX
            };
            if is_few && is_little {
                return;
            }
            let oldest = self.kept.pop_front();
            self.bytes -= oldest.map_or(0, |oldest| oldest.bytes);
        }
    }

    fn longest(&self) -> usize {
        self.kept.iter().map(|kept| kept.bytes).max().unwrap_or(0)
    }

    fn next(&mut self, holder: u64, after: u64) -> Option<Next> {
        if self.holder != holder {
            return Some(Next::TakenOver);
        }
        if self.taken < after {
            self.taken = after;
            self.forget();
        }
        if after < self.last {
            let behind = (after + 1).checked_sub(self.oldest());
            let told = behind.and_then(|place| self.kept.get(usize::try_from(place).ok()?));
            return Some(told.map_or(Next::Missed, |kept| Next::Told(after + 1, Arc::clone(&kept.told))));
        }
        self.end.map(Next::Ended)
    }
}

#[cfg(test)]
mod tests {
    use sluice_controlplane_core::session::OfferId;
    use sluice_protocol::ids::TransportId;

    use super::super::told::{News, Reply};
    use super::*;

    fn tell(line: &Line, id: u64) {
        line.tell(Arc::new(Told::Reply(Some(id), Reply::Done)));
    }

    async fn taken(line: &Line, holder: u64, after: u64) -> String {
        match line.next(holder, after).await {
            Next::Told(seq, told) => match &*told {
                Told::Reply(Some(id), _) => format!("{seq}: {id}"),
                Told::Reply(None, _) | Told::News(_) => panic!("{told:?}"),
            },
            Next::Missed => "missed".to_owned(),
            Next::TakenOver => "taken over".to_owned(),
            Next::Ended(end) => format!("{end:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_told_is_numbered_and_taken_again_by_who_missed_it() {
        let line = Line::new(100);
        let first = line.take_over();
        (1..=3).for_each(|id| tell(&line, id));
        assert_eq!(taken(&line, first, 100).await, "101: 1");
        assert!(line.let_go(first) && line.is_free_since(first));
        let second = line.take_over();
        assert!(!line.is_free_since(first));
        assert_eq!(taken(&line, first, 101).await, "taken over");
        assert_eq!(taken(&line, second, 101).await, "102: 2");
        assert!(!line.let_go(first), "who lost it cannot let go of it");
        line.end(End::Closed);
        line.end(End::Replaced);
        assert_eq!(taken(&line, second, 102).await, "103: 3");
        assert_eq!(taken(&line, second, 103).await, "Closed");
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_that_it_missed_something() {
        let line = Line::new(0);
        let holder = line.take_over();
        let many = u64::try_from(TOLD_KEPT_MAX).unwrap() + 5;
        (1..=many).for_each(|id| tell(&line, id));
        assert_eq!(taken(&line, holder, 4).await, "missed");
        assert_eq!(taken(&line, holder, 5).await, "6: 6");
        assert_eq!(taken(&line, holder, many - 1).await, format!("{many}: {many}"));
        assert!(line.keeps_after(5) && line.keeps_after(many) && !line.keeps_after(4) && !line.keeps_after(many + 1));
        assert_eq!(line.state().kept.len(), TOLD_KEPT_MAX);
    }

    #[tokio::test]
    async fn what_is_large_is_kept_until_it_is_taken_and_no_longer() {
        let line = Line::new(0);
        let holder = line.take_over();
        let offer = || {
            let (offer, transport) = (OfferId(1), TransportId::new(0, 1, 1));
            line.tell(Arc::new(Told::News(News::Offer { offer, transport, sdp: "v".repeat(TOLD_KEPT_BYTES_MAX) })));
        };
        (0..3).for_each(|_| offer());
        assert!(line.keeps_after(0), "nothing was taken yet");
        assert!(matches!(line.next(holder, 1).await, Next::Told(2, _)));
        assert!(!line.keeps_after(0) && line.keeps_after(1), "the first one was taken");
        tell(&line, 7);
        assert!(matches!(line.next(holder, 3).await, Next::Told(4, _)));
        assert!(!line.keeps_after(2) && line.keeps_after(3));
        let many = TOLD_WAITING_BYTES_MAX / TOLD_KEPT_BYTES_MAX + 2;
        (0..many).for_each(|_| offer());
        assert!(matches!(line.next(holder, 4).await, Next::Missed), "who takes nothing does not fill memory");
        assert!(line.state().bytes <= TOLD_WAITING_BYTES_MAX + TOLD_KEPT_BYTES_MAX * 2);
    }

    #[tokio::test]
    async fn one_message_that_is_longer_than_all_others_together_does_not_make_its_client_slow() {
        let line = Line::new(0);
        let holder = line.take_over();
        let offer = |bytes| {
            let (offer, transport) = (OfferId(1), TransportId::new(0, 1, 1));
            line.tell(Arc::new(Told::News(News::Offer { offer, transport, sdp: "v".repeat(bytes) })));
        };
        offer(TOLD_WAITING_BYTES_MAX * 3);
        (2..=9).for_each(|id| tell(&line, id));
        assert!(matches!(line.next(holder, 0).await, Next::Told(1, _)));
        assert_eq!(taken(&line, holder, 1).await, "2: 2");
        assert!(!line.keeps_after(0), "it is not kept when it was taken");
        offer(TOLD_WAITING_BYTES_MAX * 3);
        offer(TOLD_WAITING_BYTES_MAX * 2);
        assert!(matches!(line.next(holder, 2).await, Next::Missed), "two of that kind are too many");
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_news_and_by_its_successor() {
        let line = Arc::new(Line::new(0));
        let holder = line.take_over();
        let waiting = |holder| {
            let line = Arc::clone(&line);
            tokio::spawn(async move { taken(&line, holder, 0).await })
        };
        let first = waiting(holder);
        tokio::task::yield_now().await;
        let second = waiting(line.take_over());
        assert_eq!(first.await.unwrap(), "taken over");
        tokio::task::yield_now().await;
        tell(&line, 7);
        assert_eq!(second.await.unwrap(), "1: 7");
    }
}
