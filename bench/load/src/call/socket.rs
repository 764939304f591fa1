//! A WebSocket that carries JSON.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{WebSocketStream, client_async};

/// Opening and writing are given up after this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open WebSocket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
}

/// Why nothing comes from a socket any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The server closed it with this code.
    Closed(u16),
    /// It ended without a word.
    Gone,
}

impl Socket {
    /// Opens `url`, as `ws://127.0.0.1:8080/ws?token=…`.
    pub(crate) async fn open(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("ws://").context("only ws:// is spoken here")?;
        let (host, _) = rest.split_once('/').context("an address with a path")?;
        let open = async {
            let tcp = TcpStream::connect(host).await?;
            tcp.set_nodelay(true)?;
            let (stream, _response) = client_async(url, tcp).await?;
            Ok::<_, anyhow::Error>(stream)
        };
        let stream = timeout(PATIENCE, open).await.map_err(|_| anyhow!("no WebSocket within {PATIENCE:?}"))??;
        Ok(Self { stream })
    }

    /// Sends a message.
    pub(crate) async fn send(&mut self, message: &Value) -> Result<(), Broken> {
        let sending = self.stream.send(Message::text(message.to_string()));
        timeout(PATIENCE, sending).await.map_err(|_| Broken::Gone)?.map_err(|_| Broken::Gone)
    }

    /// Waits for a message. Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Value, Broken> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) => {
                    return serde_json::from_str(&text).map_err(|_| Broken::Gone);
                }
                Some(Ok(Message::Close(frame))) => {
                    return Err(Broken::Closed(frame.map_or(1005, |frame| frame.code.into())));
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(Broken::Gone),
            }
        }
    }

    /// Closes it as a page does that is left, and waits for the server to do so too.
    pub(crate) async fn leave(mut self) -> Result<()> {
        let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        let closing = async {
            self.stream.close(Some(frame)).await?;
            while let Some(Ok(_)) = self.stream.next().await {}
            Ok(())
        };
        match timeout(PATIENCE, closing).await {
            Ok(closed) => closed,
            Err(_) => bail!("the server does not close within {PATIENCE:?}"),
        }
    }
}
