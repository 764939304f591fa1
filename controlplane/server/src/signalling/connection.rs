//! One WebSocket connection: a session begins or goes on, then messages go both ways until one of them ends it.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tungstenite::error::ProtocolError;

use super::client_messages::ClientRequest;
use super::close::Close;
use super::door::Door;
use super::limits::{
    CLOSE_PATIENCE, IDLE_TIMEOUT, LONG_MESSAGE_BYTES, LONG_MESSAGE_PATIENCE, LONG_MESSAGES_BYTES_MAX, RESUME_PATIENCE,
};
use super::metrics::{Beginning, Direction, Metrics};
use super::rate::Rate;
use super::reading::{Wanted, read, room, wanted};
use super::server_messages::{Said, ServerMessage};
use super::{refusal, writing};
use crate::conductor::ConductorError;
use crate::conductor::signalled::{
    End, Next, Opened, Opener, Origin, Reply, Request, RequestId, Resume, Resumed, SaidRefusal, Sessions, Stay, Told,
};

/// What a connection is made of.
pub struct Parts {
    /// The owner of sessions.
    pub sessions: Arc<dyn Sessions>,
    /// Who lets its session into rooms.
    pub door: Arc<dyn Door>,
    /// Where its client is.
    pub origin: Origin,
    /// Tells when the server stops.
    pub stopping: watch::Receiver<bool>,
    /// What is counted of it.
    pub metrics: Metrics,
    /// Places for long messages, one a KiB, of all connections.
    pub long_messages: Arc<Semaphore>,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Parts").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// How a connection begins.
#[derive(Debug)]
pub enum Start {
    /// With a new session.
    Open(Box<Opener>),
    /// With a session that its client names first.
    Resume,
}

/// What a session is told first.
enum First {
    Opened(Opened),
    Resumed(Box<Resumed>),
}

impl First {
    const fn opened(&self) -> &Opened {
        match self {
            Self::Opened(opened) => opened,
            Self::Resumed(resumed) => &resumed.opened,
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Opened(_) => 0,
            Self::Resumed(resumed) => resumed.state.iter().flat_map(|state| &state.stays).map(Stay::weight).sum(),
        }
    }

    fn said(&self) -> Said {
        match self {
            Self::Opened(opened) => writing::welcome(opened),
            Self::Resumed(resumed) => writing::resumed(resumed),
        }
    }
}

/// What a request leads to, once it is carried out.
type InFlight = Pin<Box<dyn Future<Output = Result<(), Close>> + Send>>;

struct Connection {
    parts: Parts,
    opened: Opened,
    /// The number of the last message that was sent.
    sent: u64,
    rate: Rate,
    /// That of messages which make work for others.
    dear: Rate,
    heard: Instant,
    /// The request that is being carried out; the next message is read when it is done.
    in_flight: Option<InFlight>,
}

/// Serves a connection until it ends.
pub async fn serve(mut socket: WebSocket, parts: Parts, start: Start) {
    let metrics = parts.metrics.clone();
    let _open = metrics.open();
    let close = match Connection::begin(&mut socket, parts, start).await {
        Ok(mut connection) => {
            let close = connection.run(&mut socket).await;
            connection.end(&close).await;
            close
        }
        Err(close) => {
            if matches!(close, Close::Refused(_)) {
                metrics.begin(Beginning::Refused);
            }
            close
        }
    };
    metrics.end(&close);
    tracing::debug!(code = close.code(), reason = close.reason(), "signalling connection ended");
    // Each side closes; a client that does not is cut off.
    let _closed = timeout(CLOSE_PATIENCE, async {
        if !matches!(close, Close::Left | Close::Gone) {
            let frame = CloseFrame { code: close.code(), reason: close.reason().into() };
            drop(socket.send(Message::Close(Some(frame))).await);
        }
        while let Some(Ok(_)) = socket.recv().await {}
    })
    .await;
}

impl Parts {
    /// Sends a message of about so many bytes. A long one is written only when it has a place among those of the whole node,
    /// and has to be taken in time, so that clients that read slowly bound each other's memory and not the server's.
    async fn send(&self, socket: &mut WebSocket, weight: usize, text: impl FnOnce() -> String) -> Result<(), Close> {
        self.metrics.message(Direction::Sent);
        if weight < LONG_MESSAGE_BYTES {
            return send(socket, text()).await;
        }
        let kib = u32::try_from(weight.min(LONG_MESSAGES_BYTES_MAX) / 1024).unwrap_or(u32::MAX);
        let _places = self.long_messages.acquire_many(kib).await.map_err(|_| Close::Stopping)?;
        timeout(LONG_MESSAGE_PATIENCE, send(socket, text())).await.map_err(|_| Close::TooSlow)?
    }

    /// Waits for the client to say which session goes on.
    async fn resume(&self, socket: &mut WebSocket) -> Result<Resumed, Close> {
        let mut rate = Rate::of_all(Instant::now());
        let message = timeout(RESUME_PATIENCE, next_text(socket, &mut rate)).await.map_err(|_| Close::Idle)??;
        let (id, request) = read(message.as_bytes());
        let refusal = match request {
            Ok(ClientRequest::Resume(resume)) => {
                let resume = Resume { token: resume.resume_token, seq: resume.seq, origin: self.origin };
                match self.sessions.resume_session(resume).await {
                    Ok(resumed) => {
                        let is_complete = resumed.state.is_none();
                        self.metrics.begin(if is_complete { Beginning::Resumed } else { Beginning::ResumedAnew });
                        return Ok(resumed);
                    }
                    Err(error) => refusal::of(&error),
                }
            }
            Ok(_) => refusal::invalid("type", "without a token the first message is resume"),
            Err(refusal) => refusal,
        };
        Err(refuse(socket, id, refusal).await)
    }
}

impl Connection {
    async fn begin(socket: &mut WebSocket, parts: Parts, start: Start) -> Result<Self, Close> {
        let first = match start {
            Start::Open(opener) => match parts.sessions.open_session(*opener).await {
                Ok(opened) => {
                    parts.metrics.begin(Beginning::Opened);
                    First::Opened(opened)
                }
                Err(error) => return Err(refuse(socket, None, refusal::of(&error)).await),
            },
            Start::Resume => First::Resumed(Box::new(parts.resume(socket).await?)),
        };
        let opened = first.opened().clone();
        let (now, sent) = (Instant::now(), opened.after);
        let connection = Self {
            parts,
            opened,
            sent,
            rate: Rate::of_all(now),
            dear: Rate::of_dear(now),
            heard: now,
            in_flight: None,
        };
        let text = || writing::text(&ServerMessage { seq: Some(sent), id: None, said: first.said() });
        match connection.parts.send(socket, first.weight(), text).await {
            Ok(()) => Ok(connection),
            Err(close) => {
                connection.end(&close).await;
                Err(close)
            }
        }
    }

    /// Carries messages both ways, and returns why that ended.
    async fn run(&mut self, socket: &mut WebSocket) -> Close {
        let mut stopping = self.parts.stopping.clone();
        loop {
            let idle = sleep_until(self.heard + IDLE_TIMEOUT);
            let is_free = self.in_flight.is_none();
            let carried_out = async {
                match &mut self.in_flight {
                    Some(request) => request.await,
                    None => pending().await,
                }
            };
            let stopped = async { drop(stopping.wait_for(|is_stopping| *is_stopping).await) };
            let outcome = tokio::select! {
                next = self.opened.line.next(self.opened.holder, self.sent) => self.handle_next(socket, next).await,
                answer = carried_out => {
                    self.in_flight = None;
                    answer
                }
                message = next_text(socket, &mut self.rate), if is_free => match message {
                    Ok(message) => self.handle_message(socket, message.as_bytes()).await,
                    Err(close) => Err(close),
                },
                () = idle => Err(Close::Idle),
                () = stopped => Err(Close::Stopping),
            };
            if let Err(close) = outcome {
                return close;
            }
        }
    }

    /// Sends what the line has next.
    async fn handle_next(&mut self, socket: &mut WebSocket, next: Next) -> Result<(), Close> {
        match next {
            Next::Told(seq, told) => {
                let text = || writing::numbered(seq, &told, self.parts.door.as_ref());
                self.parts.send(socket, told.weight(), text).await?;
                self.sent = seq;
                Ok(())
            }
            Next::Missed => Err(Close::TooSlow),
            Next::TakenOver => Err(Close::TakenOver),
            Next::Ended(End::Replaced) => Err(Close::Replaced),
            Next::Ended(End::Closed) => Err(Close::Ended),
            Next::Ended(End::Expired) => Err(refuse(socket, None, refusal::of(&ConductorError::TokenExpired)).await),
        }
    }

    /// Takes a message of the client.
    async fn handle_message(&mut self, socket: &mut WebSocket, text: &[u8]) -> Result<(), Close> {
        self.heard = Instant::now();
        self.parts.metrics.message(Direction::Received);
        let (id, request) = read(text);
        match request.and_then(wanted) {
            Ok(Wanted::Pong) => return send(socket, writing::unnumbered(id, Said::Pong)).await,
            Ok(wanted) => {
                let asked = Asked {
                    sessions: Arc::clone(&self.parts.sessions),
                    door: Arc::clone(&self.parts.door),
                    opened: self.opened.clone(),
                    metrics: self.parts.metrics.clone(),
                    heard: self.heard,
                    id,
                };
                let price = wanted.price();
                let from = if price > 0 { self.dear.reserve(self.heard, price) } else { self.heard };
                self.in_flight = Some(Box::pin(asked.carry_out(wanted, from)));
            }
            Err(refusal) => self.opened.line.tell(Arc::new(Told::Reply(id, Reply::Refused(refusal)))),
        }
        Ok(())
    }

    /// Lets go of the session, or ends it.
    async fn end(self, close: &Close) {
        if close.ends_session() {
            self.parts.sessions.close_session(&self.opened.session).await;
        } else {
            self.parts.sessions.lose_connection(&self.opened.session, self.opened.holder).await;
        }
    }
}

/// A request on its way.
struct Asked {
    sessions: Arc<dyn Sessions>,
    door: Arc<dyn Door>,
    opened: Opened,
    metrics: Metrics,
    heard: Instant,
    id: Option<RequestId>,
}

impl Asked {
    /// Carries a request out, not before `from`; what comes of it is told over the line.
    async fn carry_out(self, wanted: Wanted, from: Instant) -> Result<(), Close> {
        if from > Instant::now() {
            sleep_until(from).await;
        }
        if let Err(refusal) = self.try_to(wanted).await {
            self.opened.line.tell(Arc::new(Told::Reply(self.id, Reply::Refused(refusal))));
        }
        self.metrics.request(self.heard.elapsed());
        Ok(())
    }

    async fn try_to(&self, wanted: Wanted) -> Result<(), SaidRefusal> {
        let request = match wanted {
            Wanted::Request(request) => request,
            Wanted::JoinRoom(join) => {
                let room = room(join.room_id)?;
                let entrant = Box::new(self.door.admit(&room.0, join.token.as_deref(), join.pin).await?);
                Request::JoinRoom { room, entrant, auto_subscribe: join.auto_subscribe.unwrap_or(true) }
            }
            Wanted::RenewToken(token) => Request::Renew(Box::new(self.door.renew(&token, &self.opened.identity)?)),
            Wanted::Pong => Request::Nothing,
        };
        self.sessions.ask(&self.opened.session, self.id, request).await.map_err(|error| refusal::of(&error))
    }
}

/// Waits for the next message that says something. Whatever comes counts: the library answers each ping, so that those
/// have a price too.
async fn next_text(socket: &mut WebSocket, rate: &mut Rate) -> Result<Utf8Bytes, Close> {
    loop {
        let message = socket.recv().await;
        if matches!(message, Some(Ok(Message::Text(_) | Message::Ping(_) | Message::Pong(_))))
            && !rate.take(Instant::now())
        {
            return Err(Close::TooMany);
        }
        match message {
            Some(Ok(Message::Text(text))) => return Ok(text),
            // The library answers pings by itself.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Binary(_))) => return Err(Close::Malformed),
            Some(Ok(Message::Close(frame))) => {
                // Who leaves the page says so by 1001.
                let is_leaving = frame.is_some_and(|frame| matches!(frame.code, 1000 | 1001));
                return Err(if is_leaving { Close::Left } else { Close::Gone });
            }
            Some(Err(error)) => return Err(why(&error)),
            None => return Err(Close::Gone),
        }
    }
}

/// Says why a connection cannot be read any more.
fn why(error: &axum::Error) -> Close {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        match error.downcast_ref::<tungstenite::Error>() {
            Some(tungstenite::Error::Capacity(_)) => return Close::TooLarge,
            Some(tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return Close::Gone,
            Some(tungstenite::Error::Protocol(_) | tungstenite::Error::Utf8(_)) => return Close::Malformed,
            Some(_) | None => source = error.source(),
        }
    }
    Close::Gone
}

async fn send(socket: &mut WebSocket, text: String) -> Result<(), Close> {
    socket.send(Message::Text(text.into())).await.map_err(|_| Close::Gone)
}

/// Says why no session begins or goes on.
async fn refuse(socket: &mut WebSocket, id: Option<RequestId>, refusal: SaidRefusal) -> Close {
    match send(socket, writing::unnumbered(id, writing::refused(&refusal))).await {
        Ok(()) => Close::Refused(refusal.code),
        Err(close) => close,
    }
}
