//! Event streams: server-sent events, resumable by `Last-Event-ID`.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sluice_controlplane_core::access::Endpoint;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, interval_at, sleep_until};

use super::authorize::sight_of;
use super::extract::{Ids, Shown};
use super::refusals::{AccessErrors, RoomErrors};
use super::shares::Share;
use super::{Problem, Server, limits, now_seconds};
use crate::auth::{Bearer, LEEWAY_SECONDS};
use crate::clock::rfc3339;
use crate::conductor::Sight;
use crate::events::{Event, Events, Next, Reader};

/// What is sent to a reader whose place is lost: events were missed, so it should read rooms and participants again.
const MISSED: &str = "events_missed";

/// Streams the events of all rooms.
#[utoipa::path(get, path = "/api/events", tag = "events", security(("key" = [])),
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen")),
    responses((status = 200, description = "Events, one JSON object each; `events_missed` when some are not kept any more",
        body = String, content_type = "text/event-stream"), AccessErrors))]
pub(super) async fn all(State(server): State<Server>, shown: Shown, headers: HeaderMap) -> Result<Response, Problem> {
    let caller = server.authorize(&shown, None, Endpoint::AllEvents).await?;
    let right = Right { shown, room_id: None, endpoint: Endpoint::AllEvents, sight: sight_of(caller) };
    open(&server, right, &headers)
}

/// Streams the events of a room; what participants who are hidden do is told to hosts and by API key only.
#[utoipa::path(get, path = "/api/rooms/{room_id}/events", tag = "events", security(("key" = []), ("token" = [])),
    params(("room_id" = String, Path, description = "The room's id"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen")),
    responses((status = 200, description = "Events, one JSON object each; `events_missed` when some are not kept any more",
        body = String, content_type = "text/event-stream"), AccessErrors, RoomErrors))]
pub(super) async fn of_room(
    State(server): State<Server>,
    shown: Shown,
    ids: Ids,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let caller = server.authorize(&shown, Some(&ids.room_id), Endpoint::RoomEvents).await?;
    server.conductor.room(&ids.room_id).await?;
    let sight = sight_of(caller);
    open(&server, Right { shown, room_id: Some(ids.room_id), endpoint: Endpoint::RoomEvents, sight }, &headers)
}

/// Who reads a stream, and by which right.
struct Right {
    shown: Shown,
    room_id: Option<String>,
    endpoint: Endpoint,
    sight: Sight,
}

impl Right {
    /// Tells whether the right is still there. Where nobody can say so now, it is.
    async fn holds(&self, server: &Server) -> bool {
        let asked = server.authorize(&self.shown, self.room_id.as_deref(), self.endpoint).await;
        asked.err().is_none_or(|problem| problem.status().is_server_error())
    }

    /// Returns the identity of a participant's token.
    fn identity(&self) -> Option<&str> {
        match &self.shown.0 {
            Some(Bearer::Token(claims)) if !claims.admin => Some(&claims.user_id),
            _ => None,
        }
    }

    /// Returns how long its token is good; `None` for one without an end.
    fn lifetime(&self) -> Option<Duration> {
        let Some(Bearer::Token(claims)) = &self.shown.0 else { return None };
        Some(Duration::from_secs(claims.exp.saturating_add(LEEWAY_SECONDS).saturating_sub(now_seconds())))
    }

    /// Tells whether an event may have taken the right away.
    fn is_touched_by(&self, event: &Event) -> bool {
        let identity = || event.data.get("identity").and_then(Value::as_str);
        event.kind == "room_closed" || (event.kind == "participant_left" && identity() == self.identity())
    }
}

/// One open stream; it ends with its connection, with its reader's right to it, or when the server stops.
struct Stream {
    server: Server,
    reader: Reader,
    stopping: tokio::sync::watch::Receiver<bool>,
    right: Right,
    ends: Option<Instant>,
    /// Whether the reader has been told why nothing follows.
    is_over: bool,
    checks: Interval,
    _places: Places,
}

/// Places that a stream holds.
type Places = (OwnedSemaphorePermit, [Option<Share<Option<(String, String)>>>; 2]);

impl Stream {
    /// Waits for what is told next; `None` at the end.
    async fn next(&mut self) -> Option<SseEvent> {
        while !self.is_over {
            let ends = self.ends;
            let end = async {
                match ends {
                    Some(ends) => sleep_until(ends).await,
                    None => pending().await,
                }
            };
            let next = tokio::select! {
                biased;
                _ = self.stopping.wait_for(|is_stopping| *is_stopping) => return None,
                () = end => return None,
                _ = self.checks.tick() => None,
                next = self.reader.next() => Some(next),
            };
            match next {
                Some(Next::Event(event)) => {
                    // Whoever was removed is told so, and nothing after it.
                    let is_touched = self.right.is_touched_by(&event);
                    if is_touched && !self.right.holds(&self.server).await {
                        self.is_over = true;
                    }
                    return Some(told(&self.server.events, &event));
                }
                Some(Next::Missed) => {
                    let event = SseEvent::default().id(self.reader.position()).event(MISSED);
                    return Some(event.data("{\"type\":\"events_missed\"}"));
                }
                None if !self.right.holds(&self.server).await => return None,
                None => {}
            }
        }
        None
    }
}

fn places(server: &Server, right: &Right) -> Result<Places, Problem> {
    let too_many = || Problem::unavailable("too_many_event_streams", "too many event streams are open");
    let take = |holder, max| server.event_streams_of.take(holder, max).map(Some).ok_or_else(too_many);
    let shares = match (&right.room_id, right.identity()) {
        (Some(room_id), Some(identity)) => [
            take(Some((room_id.clone(), identity.to_owned())), limits::EVENT_STREAMS_PER_IDENTITY_MAX)?,
            take(None, limits::EVENT_STREAMS_OF_PARTICIPANTS_MAX)?,
        ],
        _ => [None, None],
    };
    let permit = server.event_streams.clone().try_acquire_owned().map_err(|_| too_many())?;
    Ok((permit, shares))
}

fn open(server: &Server, right: Right, headers: &HeaderMap) -> Result<Response, Problem> {
    let places = places(server, &right)?;
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default());
    let now = Instant::now();
    let stream = Stream {
        reader: server.events.read(right.room_id.as_deref(), right.sight, last),
        stopping: server.is_stopping.subscribe(),
        server: server.clone(),
        is_over: false,
        ends: right.lifetime().map(|lifetime| now + lifetime),
        checks: interval_at(now + limits::EVENT_RIGHTS_INTERVAL, limits::EVENT_RIGHTS_INTERVAL),
        right,
        _places: places,
    };
    let events = futures::stream::unfold(stream, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(event), stream))
    });
    let mut response = Sse::new(events).keep_alive(KeepAlive::new().interval(limits::EVENT_KEEP_ALIVE)).into_response();
    // Proxies that collect answers would hold events back.
    response.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), "no".parse().expect("a header"));
    response.headers_mut().insert(CACHE_CONTROL, "no-store".parse().expect("a header"));
    Ok(response)
}

fn told(events: &Events, event: &Event) -> SseEvent {
    let mut data = event.data.clone();
    if let Some(fields) = data.as_object_mut() {
        fields.insert("room_id".to_owned(), Value::from(event.room_id.as_str()));
        fields.insert("at".to_owned(), Value::from(rfc3339(event.at)));
    }
    SseEvent::default().id(events.id(event.number)).event(&event.kind).data(data.to_string())
}
