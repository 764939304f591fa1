//! A participant's stay in the room: its session, what it was told, and what it receives; what it publishes is in
//! [`publishing`].

mod publishing;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::ledger::Ledger;
use super::publisher::{OwnTrack, Publisher};
use super::roster::{Roster, list};
use super::session::{Lost, OpenError, Session, kind, text};
use super::shape::Shape;
use super::socket::Broken;
use super::subscriber::Subscriber;
use crate::peer::worker::{Farewell, Worker};

/// How long the tracks of those who are there may take to arrive, where nobody is killed.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(20);

/// What all participants share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Address of the signalling, as `ws://127.0.0.1:8080/ws`.
    pub(crate) signalling: String,
    pub(crate) room_id: String,
    pub(crate) shape: Shape,
    pub(crate) local_ip: IpAddr,
    pub(crate) receiving: Vec<Arc<Worker>>,
    pub(crate) sending: Arc<Worker>,
    /// Packets sent.
    pub(crate) sent: Arc<AtomicU64>,
    /// Packets received.
    pub(crate) delivered: Arc<AtomicU64>,
    /// Whether publishers send.
    pub(crate) is_live: AtomicBool,
    pub(crate) ledger: Mutex<Ledger>,
}

impl Shared {
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a request came to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server refuses it with this code.
    Refused(String),
    /// The session is lost.
    Lost(Lost),
    /// The publisher connection ended meanwhile.
    NoPublisher,
}

impl From<Lost> for Failure {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

/// A stay.
#[derive(Debug)]
pub(crate) struct Stay {
    shared: Arc<Shared>,
    pub(crate) identity: String,
    /// The id of this stay.
    own_id: String,
    index: usize,
    session: Session,
    roster: Roster,
    subscriber: Option<Subscriber>,
    publisher: Option<Publisher>,
    /// The m-line of each track that arrives.
    arrivals: BTreeMap<String, String>,
    /// The number of the last own offer.
    last_offer: u64,
    /// Whether the server has ended the publisher connection, and another one is to be made.
    pub(crate) is_publisher_lost: bool,
    began: Instant,
    /// Tracks that were there at the beginning and have not arrived yet.
    awaited: Option<BTreeSet<String>>,
    last_arrival: Instant,
}

impl Stay {
    /// Opens a session in the room.
    pub(crate) async fn begin(
        shared: Arc<Shared>,
        index: usize,
        identity: &str,
        token: &str,
    ) -> Result<Self, OpenError> {
        let (began, is_live) = (Instant::now(), shared.is_live.load(Ordering::Relaxed));
        let (session, joined) = Session::open(&shared.signalling, token, &shared.room_id).await?;
        shared.ledger().counts.joins += 1;
        let roster = Roster::of_room(&joined);
        let awaited = is_live.then(|| roster.audible().into_iter().collect());
        Ok(Self {
            shared,
            identity: identity.to_owned(),
            own_id: joined.get("participant").map(|own| text(own, "id")).unwrap_or_default(),
            index,
            session,
            roster,
            subscriber: None,
            publisher: None,
            arrivals: BTreeMap::new(),
            last_offer: 0,
            is_publisher_lost: false,
            began,
            awaited,
            last_arrival: began,
        })
    }

    /// Waits for a message. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Value, Broken> {
        self.session.next().await
    }

    /// Takes what came, resuming where the connection has broken.
    pub(crate) async fn take(&mut self, next: Result<Value, Broken>) -> Result<(), Lost> {
        match next {
            Ok(message) => {
                self.handle(&message).await;
                Ok(())
            }
            Err(broken) => {
                self.shared.ledger().fault_in_peace(format!("{}: the WebSocket broke: {broken:?}", self.identity));
                self.resume().await
            }
        }
    }

    /// Cuts the WebSocket and resumes after a while.
    pub(crate) async fn cut(&mut self, pause: Duration) -> Result<(), Lost> {
        self.session.cut();
        self.shared.ledger().counts.cuts += 1;
        tokio::time::sleep(pause).await;
        self.resume().await
    }

    async fn resume(&mut self) -> Result<(), Lost> {
        let resumed = self.session.resume().await?;
        let is_complete = resumed.get("complete") == Some(&json!(true));
        {
            let mut ledger = self.shared.ledger();
            ledger.counts.resumes += 1;
            ledger.counts.resumes_anew += u64::from(!is_complete);
        }
        if !is_complete {
            self.roster = list(&resumed, "rooms").first().map(Roster::of_room).unwrap_or_default();
            let arrived = |each: &Value| (text(each, "track_id"), text(each, "mid"));
            self.arrivals = list(&resumed, "subscribed").iter().map(arrived).collect();
            self.check_published(&resumed);
        }
        let publisher = text(&resumed, "publisher_connection_id");
        if self.publisher.as_ref().is_some_and(|own| own.connection_id != publisher) {
            self.lose_publisher();
        }
        let subscriber = text(&resumed, "subscriber_connection_id");
        if self.subscriber.as_ref().is_some_and(|own| own.connection_id != subscriber) {
            self.lose_subscriber();
        }
        Ok(())
    }

    fn lose_subscriber(&mut self) {
        if let Some(subscriber) = self.subscriber.take() {
            subscriber.close(Farewell::Vanish, &mut self.shared.ledger());
        }
    }

    /// Takes a message that answers nothing.
    async fn handle(&mut self, message: &Value) {
        match kind(message) {
            "offer" => self.take_offer(message).await,
            "track_subscribed" => {
                self.arrivals.insert(text(message, "track_id"), text(message, "mid"));
                if message.get("undecodable").is_some() {
                    self.shared.ledger().fault(format!("{}: {message} is not decodable", self.identity));
                }
            }
            "track_unsubscribed" => drop(self.arrivals.remove(&text(message, "track_id"))),
            "connection_closed" => self.handle_closed(message),
            "error" => self.shared.ledger().refuse(&self.identity, "an answer", &text(message, "code")),
            "removed" => self.shared.ledger().fault(format!("{}: {message}", self.identity)),
            "participant_joined"
            | "participant_updated"
            | "participant_left"
            | "track_published"
            | "track_unpublished"
            | "track_muted" => self.handle_news(message),
            _ => {}
        }
    }

    fn handle_news(&mut self, message: &Value) {
        let participant = message.get("participant").map(|participant| text(participant, "id"));
        if participant.unwrap_or_else(|| text(message, "participant_id")) == self.own_id {
            return;
        }
        if !self.roster.handle(message) {
            self.shared.ledger().fault(format!("{}: {message} does not fit what was told before", self.identity));
        }
    }

    fn handle_closed(&mut self, message: &Value) {
        let (connection, id) = (text(message, "connection"), text(message, "connection_id"));
        {
            let mut ledger = self.shared.ledger();
            ledger.counts.connections_closed += 1;
            ledger.fault_in_peace(format!("{}: the {connection} connection was closed", self.identity));
        }
        let is = |own: &str| own == id;
        if self.publisher.as_ref().is_some_and(|own| is(&own.connection_id)) {
            self.lose_publisher();
        }
        if self.subscriber.as_ref().is_some_and(|own| is(&own.connection_id)) {
            self.lose_subscriber();
        }
    }

    /// Answers an offer of the server.
    async fn take_offer(&mut self, message: &Value) {
        let (connection_id, sdp) = (text(message, "connection_id"), text(message, "sdp"));
        if self.subscriber.as_ref().is_some_and(|own| own.connection_id != connection_id) {
            self.lose_subscriber();
        }
        let answer = match &self.subscriber {
            Some(subscriber) => subscriber.answer(&sdp).await,
            None => self.open_subscriber(&connection_id, &sdp),
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.shared.ledger().fault(format!("{}: no answer to {sdp}: {error:#}", self.identity));
                return;
            }
        };
        {
            let mut ledger = self.shared.ledger();
            ledger.counts.offers_answered += 1;
            if let Some(subscriber) = &mut self.subscriber {
                subscriber.note_offer(&self.identity, &sdp, &mut ledger);
            }
        }
        let id = self.session.take_id();
        let offer_id = message.get("offer_id").cloned().unwrap_or_default();
        self.session.send(&json!({"type": "answer", "id": id, "offer_id": offer_id, "sdp": answer})).await;
    }

    fn open_subscriber(&mut self, connection_id: &str, sdp: &str) -> anyhow::Result<String> {
        let workers = &self.shared.receiving;
        let worker = workers.get(self.index % workers.len().max(1)).map(Arc::clone);
        let worker = worker.ok_or_else(|| anyhow::anyhow!("no thread receives"))?;
        let (subscriber, answer) = Subscriber::open(worker, &self.shared, connection_id, sdp)?;
        self.subscriber = Some(subscriber);
        Ok(answer)
    }

    /// Asks the server for something and waits for what it says; over a broken connection it is asked again.
    pub(crate) async fn request(&mut self, mut message: Value) -> Result<Value, Failure> {
        let id = self.session.take_id();
        let had_publisher = self.publisher.is_some();
        if let Some(object) = message.as_object_mut() {
            object.insert("id".to_owned(), json!(id));
        }
        self.session.send(&message).await;
        loop {
            match self.session.next().await {
                Ok(reply) if reply.get("id").and_then(Value::as_u64) == Some(id) => {
                    return match kind(&reply) {
                        "error" => {
                            let code = text(&reply, "code");
                            self.note_refusal(kind(&message), &code);
                            Err(Failure::Refused(code))
                        }
                        _ => Ok(reply),
                    };
                }
                Ok(other) => self.handle(&other).await,
                Err(broken) => {
                    let fault = format!("{}: the WebSocket broke: {broken:?}", self.identity);
                    self.shared.ledger().fault_in_peace(fault);
                    self.resume().await?;
                    self.session.send(&message).await;
                }
            }
            if had_publisher && self.publisher.is_none() {
                return Err(Failure::NoPublisher);
            }
        }
    }

    fn note_refusal(&self, what: &str, code: &str) {
        let mut ledger = self.shared.ledger();
        // A track may have gone while the wish was on its way.
        if what == "update_subscription" && code == "no_such_track" {
            *ledger.refusals.entry(format!("{what}: {code}")).or_default() += 1;
        } else {
            ledger.refuse(&self.identity, what, code);
        }
    }

    /// Says something, so that the server knows that somebody is there.
    pub(crate) async fn ping(&mut self) {
        let id = self.session.take_id();
        self.session.send(&json!({"type": "ping", "id": id})).await;
    }

    /// Wants another quality of a track that arrives.
    pub(crate) async fn want_quality(&mut self, track_id: &str, quality: &str) -> Result<(), Failure> {
        let room_id = self.shared.room_id.clone();
        let message =
            json!({"type": "update_subscription", "room_id": room_id, "track_id": track_id, "quality": quality});
        self.request(message).await.map(drop)
    }

    /// Tracks that arrive.
    pub(crate) fn arriving(&self) -> Vec<String> {
        self.arrivals.keys().cloned().collect()
    }

    /// Tells whether tracks that were there at the beginning have yet to arrive; to be asked often.
    pub(crate) fn is_awaiting(&mut self) -> bool {
        let Some(mut awaited) = self.awaited.take() else { return false };
        let audible: BTreeSet<String> = self.roster.audible().into_iter().collect();
        awaited.retain(|track| audible.contains(track));
        if let Some(subscriber) = &self.subscriber {
            let received = subscriber.received();
            awaited.retain(|track| {
                let mid = self.arrivals.get(track);
                let arrived = mid.and_then(|mid| received.first_at(subscriber.ssrc_of(track, mid)?, mid));
                self.last_arrival = arrived.map_or(self.last_arrival, |at| at.max(self.last_arrival));
                arrived.is_none()
            });
        }
        let mut ledger = self.shared.ledger();
        if ledger.is_struck_since(self.began) {
            return false;
        }
        if awaited.is_empty() {
            if self.last_arrival > self.began {
                ledger.note_join_time(self.last_arrival.duration_since(self.began));
            }
            return false;
        }
        if self.began.elapsed() > ARRIVAL_PATIENCE {
            ledger.fault(format!("{}: {awaited:?} did not arrive within {ARRIVAL_PATIENCE:?}", self.identity));
            return false;
        }
        drop(ledger);
        self.awaited = Some(awaited);
        true
    }

    /// Opens the window in which packets are counted for the verdict.
    pub(crate) fn open_window(&self) {
        if let Some(subscriber) = &self.subscriber {
            subscriber.received().window.clear();
        }
    }

    /// What the participant has at the end.
    pub(crate) fn sight(&self) -> Sight {
        let tracks = self.publisher.iter().flat_map(Publisher::tracks);
        let mut sight = Sight {
            identity: self.identity.clone(),
            own: tracks.map(|(_, track)| track.clone()).collect(),
            roster: self.roster.tracks(),
            received: Vec::new(),
            trouble: None,
        };
        if let Some(subscriber) = &self.subscriber {
            sight.trouble = subscriber.trouble();
            let window = subscriber.received().window.clone();
            for ((ssrc, mid, stream), packets) in window {
                let track = subscriber.track_of(ssrc).cloned().unwrap_or_default();
                let is_where_told = self.arrivals.get(&track).is_some_and(|told| *mid == **told)
                    && subscriber.ssrc_of(&track, &mid) == Some(ssrc);
                sight.received.push(Arrived { track, stream, is_where_told, packets });
            }
        }
        sight
    }

    /// Leaves the room.
    pub(crate) async fn leave(mut self, says_so: bool) {
        if says_so {
            let room_id = self.shared.room_id.clone();
            // Whatever becomes of it, the session ends now.
            let _left = self.request(json!({"type": "leave_room", "room_id": room_id})).await;
        }
        let faults = std::mem::take(&mut self.session.faults);
        self.lose_connections(Farewell::Close);
        let left = self.session.leave().await;
        let mut ledger = self.shared.ledger();
        ledger.counts.leaves += 1;
        faults.into_iter().for_each(|fault| ledger.fault(format!("{}: {fault}", self.identity)));
        if !left {
            ledger.fault_in_peace(format!("{}: the server did not close", self.identity));
        }
    }

    /// Ends a stay whose session is lost.
    pub(crate) fn end(mut self, lost: &Lost) {
        self.lose_connections(Farewell::Vanish);
        let mut ledger = self.shared.ledger();
        ledger.counts.sessions_lost += 1;
        ledger.refuse(&self.identity, "resume", &format!("{lost:?}"));
    }

    fn lose_connections(&mut self, farewell: Farewell) {
        if let Some(publisher) = self.publisher.take() {
            publisher.close(farewell);
        }
        if let Some(subscriber) = self.subscriber.take() {
            subscriber.close(farewell, &mut self.shared.ledger());
        }
    }
}

/// What a participant has at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sight {
    pub(crate) identity: String,
    /// What it publishes.
    pub(crate) own: Vec<OwnTrack>,
    /// What it was told of others: tracks by identity.
    pub(crate) roster: BTreeMap<String, super::roster::Tracks>,
    /// What came in the window.
    pub(crate) received: Vec<Arrived>,
    /// Why its subscriber connection carries nothing.
    pub(crate) trouble: Option<String>,
}

/// Packets of one stream that came in the window.
#[derive(Debug, Clone)]
pub(crate) struct Arrived {
    /// The track of the SSRC.
    pub(crate) track: String,
    pub(crate) stream: u64,
    /// Whether it came at the m-line that `track_subscribed` named, and under the SSRC of the last offer.
    pub(crate) is_where_told: bool,
    pub(crate) packets: u64,
}
