//! Requests that arrive a byte at a time.

use std::io::Write as _;
use std::time::{Duration, Instant};

use sluice_tests::{Options, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::http::{Answer, Request, connect};
use crate::stage::Stage;

/// What the server under test allows a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// What the server allows the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How much later either may end, on a machine that does other things too.
const GRACE: Duration = Duration::from_secs(15);
const CONNECTIONS: usize = 60;

/// Sends `bytes` and returns everything that comes until the server closes.
pub(crate) async fn answer_to(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(server).await;
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(HEAD_TIMEOUT + GRACE, stream.read_to_end(&mut answer)).await;
    assert!(closed.is_ok(), "the server keeps a connection that makes no sense");
    answer
}

/// Sends `head`, then a byte each 100 ms, until the server has had enough; returns what it said and after how long.
async fn trickle(server: &Server, head: &str) -> (Vec<u8>, Duration) {
    let (mut reader, mut writer) = connect(server).await.into_split();
    let start = Instant::now();
    writer.write_all(head.as_bytes()).await.unwrap();
    let writing = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(HEAD_TIMEOUT + GRACE, reader.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the server waits for ever for the rest of {head:.60}");
    writing.abort();
    (answer, start.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_heads_and_bodies_are_ended_in_time_while_others_are_served() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    write!(file, "[http]\nrequest_timeout = \"{}s\"\n", BODY_TIMEOUT.as_secs()).unwrap();
    let wrapper = vec!["env".to_owned(), format!("SLUICE_CONFIG={}", file.path().display())];
    let mut stage = Stage::start_with(Options { wrapper, ..Options::default() }).await;
    let before = stage.before().await;
    let token = stage.rooms.token(&stage.room, "mallory", "speaker").await.unwrap();
    let whole = Request::new("POST", &format!("/whip/{}", stage.room)).bearer(&token);
    let body = whole.header("content-type", "application/sdp").header("content-length", "60000").head();
    let head = format!("POST /whip/{} HTTP/1.1\r\nx-slow: ", stage.room);

    let server = &stage.server;
    let bodies = async { trickle_many(server, &body).await };
    let heads = async { trickle_many(server, &head).await };
    let others = async {
        for turn in 0..5 {
            let asked = Instant::now();
            let answer = Request::new("GET", "/api/rooms").bearer(server.secret()).send(server).await;
            assert_eq!(answer.status, 200);
            assert!(asked.elapsed() < Duration::from_secs(2), "others wait {:?}", asked.elapsed());
            stage.assert_newcomer_is_served(&format!("newcomer-{turn}")).await;
        }
    };
    let (bodies, heads, ()) = tokio::join!(bodies, heads, others);
    for (answer, took) in bodies {
        let answer = Answer::parse(&answer).expect("an answer to a slow body");
        assert_eq!((answer.status, answer.code().as_str()), (408, "body_timeout"));
        assert!(took < BODY_TIMEOUT + GRACE, "a slow body was read for {took:?}");
    }
    for (answer, took) in heads {
        let status = Answer::parse(&answer).map(|answer| answer.status);
        assert!(status.is_none_or(|status| status == 408), "{status:?}");
        assert!(took < HEAD_TIMEOUT + GRACE, "a slow head was read for {took:?}");
    }
    stage.assert_undisturbed(&before).await;
    stage.end().await;
}

/// Trickles over many connections at once.
async fn trickle_many(server: &Server, head: &str) -> Vec<(Vec<u8>, Duration)> {
    crate::http::all_at_once((0..CONNECTIONS).map(|_| trickle(server, head))).await
}
