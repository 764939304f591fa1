//! Requests of HTTP/1.1 as an attacker writes them: paths as they are, bodies of any size, heads and bodies that lie.

use std::task::Poll;
use std::time::Duration;

use sluice_tests::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take, on a machine that does other things too.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// A request, written as given.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    head: String,
    body: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Vec<u8>,
}

impl Request {
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self { head: format!("{method} {path} HTTP/1.1\r\nhost: sluice\r\nconnection: close\r\n"), body: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn body(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.header("content-type", media_type).header("content-length", &length)
    }

    /// Returns the head with the empty line behind it.
    pub(crate) fn head(&self) -> String {
        format!("{}\r\n", self.head)
    }

    pub(crate) async fn send(&self, server: &Server) -> Answer {
        let (mut reader, mut writer) = connect(server).await.into_split();
        let (head, body) = (self.head(), self.body.clone());
        // A server that has seen enough answers and closes while the body is still on its way.
        let writing = tokio::spawn(async move {
            writer.write_all(head.as_bytes()).await?;
            writer.write_all(&body).await?;
            std::io::Result::Ok(writer)
        });
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(ANSWER_LIMIT, reader.read_to_end(&mut bytes)).await;
        assert!(read.is_ok(), "no answer to {:.80}\n{}", self.head, server.logs());
        drop(writing.await);
        Answer::parse(&bytes).unwrap_or_else(|| panic!("{read:?}: no answer to {:.80}\n{}", self.head, server.logs()))
    }
}

pub(crate) async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.base().trim_start_matches("http://")).await.unwrap()
}

impl Answer {
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let status = std::str::from_utf8(bytes.get(..end)?).ok()?.split(' ').nth(1)?.parse().ok()?;
        Some(Self { status, body: bytes[end + 4..].to_vec() })
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns the stable name of the problem, and checks that its document is whole.
    pub(crate) fn code(&self) -> String {
        let problem: serde_json::Value =
            serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()));
        assert_eq!(problem["status"], self.status, "{problem}");
        assert!(problem["detail"].is_string() && problem["request_id"].is_string(), "{problem}");
        problem["code"].as_str().expect("a problem has a code").to_owned()
    }
}

/// Runs futures at once and returns what they give, in their order.
pub(crate) async fn all_at_once<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.map(|future| (Some(Box::pin(future)), None)).collect();
    std::future::poll_fn(|context| {
        for (future, result) in &mut running {
            let polled = future.as_mut().map(|future| future.as_mut().poll(context));
            if let Some(Poll::Ready(value)) = polled {
                (*future, *result) = (None, Some(value));
            }
        }
        if running.iter().all(|(future, _)| future.is_none()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.into_iter().filter_map(|(_, result)| result).collect()
}
