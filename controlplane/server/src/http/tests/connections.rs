//! Connections whose other end does not do its part.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::Api;
use crate::config::Guests;
use crate::http::limits;
use crate::http::serve::{OtherEnd, connection_builder, handle_connection};

fn other_end() -> OtherEnd {
    OtherEnd { peer: SocketAddr::from(([192, 0, 2, 1], 40_000)), place: None }
}

#[tokio::test(start_paused = true)]
async fn whoever_asks_and_never_reads_loses_its_connection() {
    // The database's threads do not know about paused time, so the application is built under real time.
    tokio::time::resume();
    let api = Api::new(Guests::None).await;
    tokio::time::pause();
    let (near, mut far) = duplex(4096);
    let stopping = api.server.is_stopping.subscribe();
    let connection = handle_connection(connection_builder(), near, other_end(), api.app.clone(), stopping);
    let connection = tokio::spawn(connection);
    let ask = b"GET /api/openapi.json HTTP/1.1\r\nhost: a\r\n\r\n".repeat(50);
    far.write_all(&ask).await.unwrap();
    let ended = tokio::time::timeout(limits::WRITE_TIMEOUT * 3, connection).await;
    let error = ended.expect("the connection ends").unwrap().unwrap_err();
    assert!(error.to_string().contains("error writing"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn whoever_reads_slowly_gets_all_that_it_asked_for() {
    tokio::time::resume();
    let api = Api::new(Guests::None).await;
    tokio::time::pause();
    let (near, mut far) = duplex(1024);
    let stopping = api.server.is_stopping.subscribe();
    let connection = handle_connection(connection_builder(), near, other_end(), api.app.clone(), stopping);
    let connection = tokio::spawn(connection);
    far.write_all(b"GET /api/openapi.json HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while far.read_buf(&mut answer).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"}"));
    assert!(answer.len() > 20 * 1024, "{} bytes in 1 KiB each ten seconds", answer.len());
    connection.await.unwrap().unwrap();
}
