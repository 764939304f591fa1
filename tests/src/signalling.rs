//! A client of the WebSocket at `/ws`, by `tungstenite`: it says what a test tells it to, and looks at every number that comes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// How long the server may take for one thing, on a machine that does others too.
const LIMIT: Duration = Duration::from_secs(20);
/// Messages that are kept for a test that waits for others first.
const UNREAD_MAX: usize = 4096;
/// Bytes of a message of the server.
const MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Who waits for long says something this often.
const PING_EVERY: Duration = Duration::from_secs(8);

/// What a client sends as it is.
pub type Frame = Message;

/// What comes.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// A message.
    Message(Value),
    /// The end, with its code where there was a close frame.
    Closed(Option<u16>),
}

/// A client.
#[derive(Debug)]
pub struct Signaller {
    socket: WebSocketStream<TcpStream>,
    /// The number of the last request.
    asked: u64,
    /// The number of the last message.
    seq: u64,
    unread: VecDeque<Value>,
    /// What welcomed it, or said that its session goes on.
    welcome: Value,
    /// The stay in its first room.
    joined: Value,
}

impl Signaller {
    /// Connects, with what stands behind the question mark, and says nothing.
    ///
    /// # Errors
    /// When the server refuses the upgrade: [`tokio_tungstenite::tungstenite::Error::Http`] within.
    pub async fn connect(base: &str, query: &str) -> Result<Self> {
        let address = base.trim_start_matches("http://");
        let stream = timeout(LIMIT, TcpStream::connect(address)).await.context("no connection in time")??;
        Self::connect_over(stream, base, query).await
    }

    /// Connects over a stream of the caller's.
    ///
    /// # Errors
    /// As [`Signaller::connect`].
    pub async fn connect_over(stream: TcpStream, base: &str, query: &str) -> Result<Self> {
        let address = base.trim_start_matches("http://");
        let config = WebSocketConfig::default().max_message_size(Some(MESSAGE_BYTES_MAX));
        let upgrade = client_async_with_config(format!("ws://{address}/ws?{query}"), stream, Some(config));
        let (socket, _response) = timeout(LIMIT, upgrade).await.context("no upgrade in time")??;
        let (welcome, joined) = (Value::Null, Value::Null);
        Ok(Self { socket, asked: 0, seq: 0, unread: VecDeque::new(), welcome, joined })
    }

    /// Opens a session, and waits until it is in its first room.
    ///
    /// # Errors
    /// When it is not let in.
    pub async fn enter(base: &str, token: &str) -> Result<Self> {
        Self::enter_with(base, &format!("token={token}")).await
    }

    /// Opens a session with the parameters of the address, and waits until it is in its first room.
    ///
    /// # Errors
    /// When it is not let in.
    pub async fn enter_with(base: &str, query: &str) -> Result<Self> {
        Self::connect(base, query).await?.entered().await
    }

    /// Opens a session over a stream of the caller's, and waits until it is in its first room.
    ///
    /// # Errors
    /// When it is not let in.
    pub async fn enter_over(stream: TcpStream, base: &str, query: &str) -> Result<Self> {
        Self::connect_over(stream, base, query).await?.entered().await
    }

    async fn entered(mut self) -> Result<Self> {
        self.welcome = self.told("welcome").await?;
        self.joined = self.told("room_joined").await?;
        Ok(self)
    }

    /// Goes on with a session over a new connection: says so, and returns what the server says to that.
    ///
    /// # Errors
    /// When nothing comes.
    pub async fn resume(base: &str, resume_token: &str, seq: u64) -> Result<(Self, Value)> {
        let mut client = Self::connect(base, "").await?;
        client.say(&json!({ "type": "resume", "resume_token": resume_token, "seq": seq })).await?;
        let answer = client.next().await?;
        client.welcome = answer.clone();
        Ok((client, answer))
    }

    /// Returns what welcomed it.
    #[must_use]
    pub const fn welcome(&self) -> &Value {
        &self.welcome
    }

    /// Returns the stay in its first room as it began.
    #[must_use]
    pub const fn joined(&self) -> &Value {
        &self.joined
    }

    /// Returns what resumes its session.
    #[must_use]
    pub fn resume_token(&self) -> String {
        text_of(&self.welcome, "/resume_token")
    }

    /// Returns its own id in its first room.
    #[must_use]
    pub fn participant_id(&self) -> String {
        text_of(&self.joined, "/participant/id")
    }

    /// Returns the number of the last message that came.
    #[must_use]
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn say(&mut self, message: &Value) -> Result<()> {
        self.send(Message::text(message.to_string())).await
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// When the connection has ended, or takes nothing any more.
    pub async fn send(&mut self, frame: Frame) -> Result<()> {
        timeout(LIMIT, self.socket.send(frame)).await.context("the server takes nothing")?.context("sending")
    }

    /// Returns what comes next, in the order of its coming.
    ///
    /// # Errors
    /// When nothing comes in time, or a number is missing.
    pub async fn hear(&mut self) -> Result<Heard> {
        match self.unread.pop_front() {
            Some(message) => Ok(Heard::Message(message)),
            None => self.receive(LIMIT).await?.context("the server says nothing"),
        }
    }

    /// Returns the next message.
    ///
    /// # Errors
    /// When none comes.
    pub async fn next(&mut self) -> Result<Value> {
        match self.hear().await? {
            Heard::Message(message) => Ok(message),
            Heard::Closed(code) => bail!("the server closes with {code:?}"),
        }
    }

    /// Returns the first message of a type that was not taken yet; others stay.
    ///
    /// # Errors
    /// When none comes.
    pub async fn told(&mut self, kind: &str) -> Result<Value> {
        self.told_within(LIMIT, |message| message["type"] == kind).await.with_context(|| format!("no {kind}"))
    }

    /// Returns the first message that is as wanted and was not taken yet; others stay. Says `ping` now and then.
    ///
    /// # Errors
    /// When none comes within `limit`.
    pub async fn told_within(&mut self, limit: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let place = self.unread.iter().position(&wanted);
        if let Some(message) = place.and_then(|place| self.unread.remove(place)) {
            return Ok(message);
        }
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.receive(left.min(PING_EVERY)).await? {
                Some(Heard::Message(message)) if wanted(&message) => return Ok(message),
                Some(Heard::Message(message)) => self.keep(message)?,
                Some(Heard::Closed(code)) => bail!("the server closes with {code:?}; unread: {}", self.kinds()),
                None if left <= PING_EVERY => bail!("nothing like that within {limit:?}; unread: {}", self.kinds()),
                None => self.say(&json!({ "type": "ping" })).await?,
            }
        }
    }

    /// Asks for something and returns the answer; what comes before it stays.
    ///
    /// # Errors
    /// When none comes.
    pub async fn ask(&mut self, mut request: Value) -> Result<Value> {
        self.asked += 1;
        let id = self.asked;
        let _none = request.as_object_mut().context("a request is an object")?.insert("id".to_owned(), id.into());
        self.say(&request).await?;
        let answer = self.told_within(LIMIT, |message| message["id"] == id).await;
        answer.with_context(|| format!("no answer to {:.300}", request.to_string()))
    }

    /// Asks for something that is to be done.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn done(&mut self, request: Value) -> Result<Value> {
        let asked = format!("{:.300}", request.to_string());
        let answer = self.ask(request).await?;
        ensure!(!is_of_type(&answer, "error"), "{asked}: {answer}");
        Ok(answer)
    }

    /// Asks for something that is to be refused, and returns the refusal's code.
    ///
    /// # Errors
    /// When it is not.
    pub async fn refused(&mut self, request: Value) -> Result<String> {
        let asked = format!("{:.300}", request.to_string());
        let answer = self.ask(request).await?;
        ensure!(is_of_type(&answer, "error"), "{asked}: {answer}");
        ensure!(!text_of(&answer, "/message").is_empty(), "a refusal has a sentence: {answer}");
        Ok(text_of(&answer, "/code"))
    }

    /// Returns the next answer to a `ping`, which has no number; what comes before it stays.
    ///
    /// # Errors
    /// When none comes.
    pub async fn pong(&mut self) -> Result<Value> {
        loop {
            match self.receive_any(LIMIT).await?.context("no pong")? {
                Heard::Message(message) if is_of_type(&message, "pong") => return Ok(message),
                Heard::Message(message) => self.keep(message)?,
                Heard::Closed(code) => bail!("the server closes with {code:?}"),
            }
        }
    }

    /// Returns everything that was said up to now and not taken yet.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn unread(&mut self) -> Result<Vec<Value>> {
        // Its answer stands behind all that was told before.
        let _ok = self.done(json!({ "type": "candidate" })).await?;
        Ok(self.unread.drain(..).collect())
    }

    /// Reads until the server closes, and returns the code.
    ///
    /// # Errors
    /// When it does not within `limit`, or there is no close frame.
    pub async fn closed_within(&mut self, limit: Duration) -> Result<u16> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.receive(left).await? {
                Some(Heard::Message(message)) => self.keep(message)?,
                Some(Heard::Closed(code)) => return code.context("the connection ended without a close frame"),
                None => bail!("the server does not close within {limit:?}"),
            }
        }
    }

    /// Reads until the server closes, and returns the code.
    ///
    /// # Errors
    /// As [`Signaller::closed_within`].
    pub async fn closed(&mut self) -> Result<u16> {
        self.closed_within(LIMIT).await
    }

    /// Closes with 1000, as who leaves.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn leave(mut self) -> Result<()> {
        let frame = CloseFrame { code: 1000.into(), reason: "".into() };
        self.send(Message::Close(Some(frame))).await?;
        while !matches!(self.receive(LIMIT).await?.context("no end")?, Heard::Closed(_)) {}
        Ok(())
    }

    /// Lets the connection break without a word.
    pub fn cut(self) {
        drop(self);
    }

    /// Lists what nobody has waited for, at most the last of it.
    fn kinds(&self) -> String {
        let last = self.unread.iter().rev().take(20).map(|message| message["type"].to_string());
        last.collect::<Vec<_>>().join(" ")
    }

    fn keep(&mut self, message: Value) -> Result<()> {
        ensure!(self.unread.len() < UNREAD_MAX, "too many messages that nobody waits for");
        self.unread.push_back(message);
        Ok(())
    }

    /// Waits for what comes next besides answers to `ping`; `None` when nothing does.
    async fn receive(&mut self, limit: Duration) -> Result<Option<Heard>> {
        loop {
            match self.receive_any(limit).await? {
                Some(Heard::Message(message)) if is_of_type(&message, "pong") => {}
                heard => return Ok(heard),
            }
        }
    }

    /// Waits for what comes next; `None` when nothing does.
    async fn receive_any(&mut self, limit: Duration) -> Result<Option<Heard>> {
        loop {
            let Ok(frame) = timeout(limit, self.socket.next()).await else { return Ok(None) };
            let text = match frame {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(frame))) => {
                    return Ok(Some(Heard::Closed(frame.map(|frame| u16::from(frame.code)))));
                }
                Some(Ok(other)) if other.is_ping() || other.is_pong() => continue,
                Some(Ok(other)) => bail!("a frame that is no text: {other:?}"),
                Some(Err(_)) | None => return Ok(Some(Heard::Closed(None))),
            };
            let message: Value = serde_json::from_str(&text)?;
            if !is_of_type(&message, "pong") {
                self.count(&message)?;
            }
            return Ok(Some(Heard::Message(message)));
        }
    }

    /// Checks that no number is missing.
    fn count(&mut self, message: &Value) -> Result<()> {
        let Some(seq) = message["seq"].as_u64() else {
            // No session is open yet, or none will be.
            ensure!(message["type"] == "error", "a message without a number: {message}");
            return Ok(());
        };
        let is_first = self.seq == 0 && ["welcome", "resumed"].iter().any(|first| message["type"] == *first);
        ensure!(is_first || seq == self.seq + 1, "{} is followed by {message}", self.seq);
        self.seq = seq;
        Ok(())
    }
}

fn is_of_type(message: &Value, kind: &str) -> bool {
    message.get("type").is_some_and(|own| own == kind)
}

/// Returns the text at a path; what is not there is no text.
fn text_of(value: &Value, path: &str) -> String {
    value.pointer(path).and_then(Value::as_str).map(str::to_owned).unwrap_or_default()
}

/// Returns the status with which an upgrade was refused.
///
/// # Errors
/// When it failed for another reason.
pub fn status_of(error: &anyhow::Error) -> Result<u16> {
    use tokio_tungstenite::tungstenite::Error;
    match error.downcast_ref::<Error>() {
        Some(Error::Http(response)) => Ok(response.status().as_u16()),
        _ => Err(anyhow!("{error:#}")),
    }
}
