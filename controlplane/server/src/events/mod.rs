//! What happened, for event streams: kept for a while, so that those who lost their connection can resume.
//!
//! Ids of events are `EPOCH-NUMBER`. The epoch is another one after each start of the control plane, whose memory holds
//! the events; a reader who comes back with another epoch, or after too long, is told that it missed something.

mod limits;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use sluice_controlplane_core::room::Audience;
use tokio::sync::watch;

use crate::conductor::Sight;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number in the epoch, from 1.
    pub number: u64,
    /// When it happened.
    pub at: SystemTime,
    /// The room that it is about.
    pub room_id: String,
    /// Who of its readers is told.
    pub audience: Audience,
    /// Its name in `snake_case`.
    pub kind: String,
    /// The event as JSON, with the field `type`.
    pub data: Value,
}

/// The events of the last while, at most `EVENTS_KEPT_MAX` of them; the oldest is forgotten. Readers take what is kept
/// at their own pace: a slow one misses events and is told so, and never holds anybody up.
#[derive(Debug)]
pub struct Events {
    epoch: u64,
    kept: Mutex<Kept>,
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<Arc<Event>>,
    last: u64,
}

/// What a reader gets next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// An event.
    Event(Arc<Event>),
    /// Events are not kept any more; the reader should look at rooms and participants again.
    Missed,
}

impl Events {
    /// Makes an empty list; `epoch` is to differ from that of every start before.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self { epoch, kept: Mutex::default(), last: watch::Sender::new(0) }
    }

    /// Adds an event whose JSON is an object with the field `type`. An event over `EVENT_BYTES_MAX` is dropped
    /// with a log line.
    pub fn publish(&self, at: SystemTime, room_id: &str, audience: Audience, event: &impl Serialize) {
        let data = serde_json::to_value(event).unwrap_or(Value::Null);
        let Some(kind) = data.get("type").and_then(Value::as_str).map(str::to_owned) else {
            tracing::error!(room = room_id, "an event without a type was dropped");
            return;
        };
        if data.to_string().len() > limits::EVENT_BYTES_MAX {
            tracing::error!(room = room_id, kind, "an event was dropped because it is too long");
            return;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last += 1;
        let number = kept.last;
        if kept.events.len() == limits::EVENTS_KEPT_MAX {
            kept.events.pop_front();
        }
        kept.events.push_back(Arc::new(Event { number, at, room_id: room_id.to_owned(), audience, kind, data }));
        self.last.send_replace(number);
    }

    /// Returns the id of an event, for `id:` and `Last-Event-ID`.
    #[must_use]
    pub fn id(&self, number: u64) -> String {
        format!("{:x}-{number}", self.epoch)
    }

    /// Starts to read: after the event with the id `last`, or from now on. `room_id` leaves out the events of other rooms,
    /// `sight` what is for others.
    #[must_use]
    pub fn read(self: &Arc<Self>, room_id: Option<&str>, sight: Sight, last: Option<&str>) -> Reader {
        let newest = self.kept.lock().unwrap_or_else(PoisonError::into_inner).last;
        let resumed = last.map(|last| {
            let (epoch, number) = last.split_once('-')?;
            let number: u64 = number.parse().ok()?;
            (u64::from_str_radix(epoch, 16).ok()? == self.epoch && number <= newest).then_some(number)
        });
        let (after, missed) = match resumed {
            None => (newest, false),
            Some(Some(number)) => (number, false),
            Some(None) => (newest, true),
        };
        Reader {
            events: Arc::clone(self),
            last: self.last.subscribe(),
            room_id: room_id.map(str::to_owned),
            sight,
            after,
            missed,
        }
    }
}

/// A reader of events.
#[derive(Debug)]
pub struct Reader {
    events: Arc<Events>,
    last: watch::Receiver<u64>,
    room_id: Option<String>,
    sight: Sight,
    after: u64,
    missed: bool,
}

impl Reader {
    /// Returns the id to resume after.
    #[must_use]
    pub fn position(&self) -> String {
        self.events.id(self.after)
    }

    /// Waits for what comes next. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Next {
        loop {
            self.last.borrow_and_update();
            if let Some(next) = self.take() {
                return next;
            }
            if self.last.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn take(&mut self) -> Option<Next> {
        if std::mem::take(&mut self.missed) {
            return Some(Next::Missed);
        }
        let kept = self.events.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = kept.events.front().map_or(kept.last + 1, |event| event.number);
        if self.after + 1 < oldest {
            self.after = oldest - 1;
            return Some(Next::Missed);
        }
        let skipped = usize::try_from(self.after + 1 - oldest).unwrap_or(usize::MAX);
        for event in kept.events.iter().skip(skipped) {
            self.after = event.number;
            let is_of_room = self.room_id.as_ref().is_none_or(|room_id| *room_id == event.room_id);
            if is_of_room && event.audience.includes(self.sight == Sight::All) {
                return Some(Next::Event(Arc::clone(event)));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn publish(events: &Events, room_id: &str, kind: &str) {
        events.publish(SystemTime::UNIX_EPOCH, room_id, Audience::Everybody, &json!({"type": kind}));
    }

    async fn kind(reader: &mut Reader) -> String {
        match reader.next().await {
            Next::Event(event) => event.kind.clone(),
            Next::Missed => "missed".to_owned(),
        }
    }

    #[tokio::test]
    async fn readers_see_what_comes_and_only_their_room() {
        let events = Arc::new(Events::new(7));
        publish(&events, "a", "before");
        let (mut all, mut own) = (events.read(None, Sight::All, None), events.read(Some("b"), Sight::Visible, None));
        publish(&events, "a", "one");
        publish(&events, "b", "two");
        assert_eq!((kind(&mut all).await, kind(&mut all).await), ("one".to_owned(), "two".to_owned()));
        assert_eq!(kind(&mut own).await, "two");
    }

    #[tokio::test]
    async fn a_reader_resumes_after_its_last_event_or_is_told_that_it_missed_some() {
        let events = Arc::new(Events::new(7));
        for kind in ["one", "two", "three"] {
            publish(&events, "a", kind);
        }
        assert_eq!(kind(&mut events.read(None, Sight::All, Some("7-1"))).await, "two");
        for lost in ["6-1", "7-99", "garbage", "", "7-", "-1"] {
            let mut reader = events.read(None, Sight::All, Some(lost));
            assert_eq!(kind(&mut reader).await, "missed", "{lost}");
            assert_eq!(reader.position(), "7-3");
        }
        for _ in 0..limits::EVENTS_KEPT_MAX {
            publish(&events, "a", "more");
        }
        let mut late = events.read(None, Sight::All, Some("7-1"));
        assert_eq!((kind(&mut late).await, kind(&mut late).await), ("missed".to_owned(), "more".to_owned()));
        assert_eq!(events.kept.lock().unwrap().events.len(), limits::EVENTS_KEPT_MAX);
    }

    #[tokio::test]
    async fn waiting_ends_when_something_happens() {
        let events = Arc::new(Events::new(7));
        let mut reader = events.read(None, Sight::All, None);
        let waiting = tokio::spawn(async move { kind(&mut reader).await });
        tokio::task::yield_now().await;
        publish(&events, "a", "late");
        assert_eq!(waiting.await.unwrap(), "late");
    }

    #[test]
    fn events_without_a_type_and_giants_are_dropped() {
        let events = Events::new(7);
        let giant = json!({"type": "x", "y": "z".repeat(limits::EVENT_BYTES_MAX)});
        for event in [json!({"kind": "x"}), giant] {
            events.publish(SystemTime::UNIX_EPOCH, "a", Audience::Everybody, &event);
        }
        assert_eq!(events.kept.lock().unwrap().last, 0);
    }
}
