//! Event streams: server-sent events, resumable by `Last-Event-ID`.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use sluice_controlplane_core::access::Endpoint;
use tokio::sync::OwnedSemaphorePermit;

use super::extract::{Ids, Shown};
use super::openapi::{AccessErrors, RoomErrors};
use super::{Problem, Server, limits, rfc3339};
use crate::events::{Event, Events, Next, Reader};

/// What is sent to a reader whose place is lost: events were missed, so it should read rooms and participants again.
const MISSED: &str = "events_missed";

/// Streams the events of all rooms.
#[utoipa::path(get, path = "/api/events", tag = "events", security(("key" = [])),
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen")),
    responses((status = 200, description = "Events, one JSON object each; `events_missed` when some are not kept any more",
        body = String, content_type = "text/event-stream"), AccessErrors))]
pub(super) async fn all(State(server): State<Server>, shown: Shown, headers: HeaderMap) -> Result<Response, Problem> {
    server.authorize(&shown, None, Endpoint::AllEvents).await?;
    open(&server, None, &headers)
}

/// Streams the events of a room.
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
    server.authorize(&shown, Some(&ids.room_id), Endpoint::RoomEvents).await?;
    server.conductor.room(&ids.room_id).await?;
    open(&server, Some(&ids.room_id), &headers)
}

/// One open stream; it ends with its connection, or when the server stops.
struct Stream {
    server: Server,
    reader: Reader,
    stopping: tokio::sync::watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

fn open(server: &Server, room_id: Option<&str>, headers: &HeaderMap) -> Result<Response, Problem> {
    let permit = server.event_streams.clone().try_acquire_owned();
    let permit =
        permit.map_err(|_| Problem::unavailable("too_many_event_streams", "too many event streams are open"))?;
    let last = headers.get("last-event-id").map(|value| value.to_str().unwrap_or_default());
    let stream = Stream {
        reader: server.events.read(room_id, last),
        stopping: server.is_stopping.subscribe(),
        server: server.clone(),
        _permit: permit,
    };
    let events = futures::stream::unfold(stream, |mut stream| async move {
        let next = tokio::select! {
            next = stream.reader.next() => next,
            _ = stream.stopping.wait_for(|is_stopping| *is_stopping) => return None,
        };
        let event = match next {
            Next::Event(event) => told(&stream.server.events, &event),
            Next::Missed => {
                SseEvent::default().id(stream.reader.position()).event(MISSED).data("{\"type\":\"events_missed\"}")
            }
        };
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
