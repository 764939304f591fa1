//! A signalling session: numbered messages, requests that are answered, and connections that break and are resumed.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::socket::{Broken, Socket};

/// A session that cannot be resumed for this long is given up: longer than the server waits for anybody.
const RESUME_PATIENCE: Duration = Duration::from_secs(50);
/// Between two tries to reach the server.
const RESUME_PAUSE: Duration = Duration::from_millis(200);
/// How long the first message of a connection may take.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    base: String,
    socket: Option<Socket>,
    resume_token: String,
    /// The number of the last message.
    seq: u64,
    next_id: u64,
    /// What was wrong with the numbers of messages.
    pub(crate) faults: Vec<String>,
}

/// Why no session was opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The server is not there.
    Unreachable(String),
    /// It refused, with this code.
    Refused(String),
}

/// Why a session has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The server does not know it any more, or did not take it back for this reason.
    Refused(String),
    /// The server was not there for too long.
    Unreachable,
}

impl Session {
    /// Opens a session at `base`, as `ws://127.0.0.1:8080/ws`; returns it with the `room_joined` message.
    pub(crate) async fn open(base: &str, token: &str, room_id: &str) -> Result<(Self, Value), OpenError> {
        let url = format!("{base}?token={token}&room_id={room_id}");
        let socket = Socket::open(&url).await.map_err(|error| OpenError::Unreachable(format!("{error:#}")))?;
        let mut session = Self {
            base: base.to_owned(),
            socket: Some(socket),
            resume_token: String::new(),
            seq: 0,
            next_id: 1,
            faults: Vec::new(),
        };
        for wanted in ["welcome", "room_joined"] {
            let next = tokio::time::timeout(FIRST_MESSAGE, session.next()).await;
            let message = next.map_err(|_| OpenError::Unreachable(format!("no {wanted}")))?;
            let message = message.map_err(|broken| OpenError::Unreachable(format!("{broken:?}")))?;
            match kind(&message) {
                "error" => return Err(OpenError::Refused(text(&message, "code"))),
                "welcome" => session.resume_token = text(&message, "resume_token"),
                "room_joined" => return Ok((session, message)),
                other => return Err(OpenError::Unreachable(format!("{other} instead of {wanted}"))),
            }
        }
        Err(OpenError::Unreachable("no room_joined".to_owned()))
    }

    /// The number for the next request.
    pub(crate) fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Sends a message; one that cannot be sent is found out by the next reading.
    pub(crate) async fn send(&mut self, message: &Value) {
        if let Some(socket) = &mut self.socket
            && socket.send(message).await.is_err()
        {
            self.socket = None;
        }
    }

    /// Waits for the next message. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Value, Broken> {
        let Some(socket) = &mut self.socket else { return Err(Broken::Gone) };
        let next = socket.next().await;
        match next {
            Ok(message) => {
                self.note_number(&message);
                Ok(message)
            }
            Err(broken) => {
                self.socket = None;
                Err(broken)
            }
        }
    }

    /// Every message has the number after the one before it, but for `pong` and for what says how things are now.
    fn note_number(&mut self, message: &Value) {
        let Some(seq) = message.get("seq").and_then(Value::as_u64) else { return };
        let restarts = matches!(kind(message), "welcome" | "resumed");
        if !restarts && seq != self.seq + 1 {
            self.faults.push(format!("message {seq} ({}) came after {}", kind(message), self.seq));
        }
        if kind(message) == "resumed" && message.get("complete") == Some(&json!(true)) && seq != self.seq {
            self.faults.push(format!("resumed at {seq} completely, and not at {}", self.seq));
        }
        self.seq = seq;
    }

    /// Cuts the connection without a word.
    pub(crate) fn cut(&mut self) {
        self.socket = None;
    }

    /// Goes on over a new connection, and returns the `resumed` message.
    pub(crate) async fn resume(&mut self) -> Result<Value, Lost> {
        let end = Instant::now() + RESUME_PATIENCE;
        while Instant::now() < end {
            match self.try_resume().await {
                Ok(resumed) => return Ok(resumed),
                Err(Some(code)) => return Err(Lost::Refused(code)),
                Err(None) => sleep(RESUME_PAUSE).await,
            }
        }
        Err(Lost::Unreachable)
    }

    /// The code of the refusal; none when the server is not there, or not able to yet.
    async fn try_resume(&mut self) -> Result<Value, Option<String>> {
        self.socket = Some(Socket::open(&self.base).await.map_err(|_| None)?);
        let id = self.take_id();
        let request = json!({"type": "resume", "id": id, "resume_token": self.resume_token, "seq": self.seq});
        self.send(&request).await;
        let next = tokio::time::timeout(FIRST_MESSAGE, self.next()).await;
        let message = next.map_err(|_| None)?.map_err(|_| None)?;
        match kind(&message) {
            "resumed" => Ok(message),
            "error" => {
                let code = text(&message, "code");
                Err(Some(code).filter(|code| code != "unavailable"))
            }
            other => Err(Some(format!("{other} instead of resumed"))),
        }
    }

    /// Leaves as a page does that is left.
    pub(crate) async fn leave(mut self) -> bool {
        match self.socket.take() {
            Some(socket) => socket.leave().await.is_ok(),
            None => false,
        }
    }
}

/// The type of a message.
pub(crate) fn kind(message: &Value) -> &str {
    message.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// A text of a message; empty when it is not there.
pub(crate) fn text(message: &Value, key: &str) -> String {
    message.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
