//! Bodies and paths that no honest program sends.

use crate::attacker::OFFER;
use crate::http::{Answer, Request, all_at_once};
use crate::slow::answer_to;
use crate::stage::Stage;

const SDP: &str = "application/sdp";
const JSON: &str = "application/json";

#[tokio::test(flavor = "multi_thread")]
async fn offers_that_are_none_or_too_large_are_refused_by_name() {
    let mut stage = Stage::start().await;
    let (before, token) = (stage.before().await, stage.rooms.token(&stage.room, "mallory", "speaker").await.unwrap());
    let lines =
        |count: usize| format!("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n{}", "m=a 9 b 0\n".repeat(count));
    let binary: Vec<u8> = (0..=255).cycle().take(4000).collect();
    let cases: [(&str, Vec<u8>, u16, &str); 11] = [
        ("1 MiB", format!("{OFFER}{}", "a=x:y\r\n".repeat(150_000)).into_bytes(), 413, "body_too_large"),
        ("200 KiB", format!("{OFFER}{}", "a=x:y\r\n".repeat(30_000)).into_bytes(), 413, "sdp_too_large"),
        ("10,000 m-lines", lines(10_000).into_bytes(), 413, "sdp_too_large"),
        ("6,000 m-lines", lines(6_000).into_bytes(), 422, "sdp_too_many_sections"),
        ("100 m-lines", lines(100).into_bytes(), 422, "sdp_too_many_sections"),
        ("8,000 lines", format!("{OFFER}{}", "a=x:y\n".repeat(8_000)).into_bytes(), 422, "sdp_too_many_lines"),
        ("a long line", format!("{OFFER}a=x:{}\r\n", "y".repeat(5_000)).into_bytes(), 422, "sdp_too_many_lines"),
        ("prose", b"Call me Ishmael. Some years ago".to_vec(), 400, "sdp_syntax"),
        ("JSON", b"{\"sdp\":\"v=0\"}".to_vec(), 400, "sdp_syntax"),
        ("bytes", binary, 400, "sdp_syntax"),
        ("nothing", Vec::new(), 400, "sdp_syntax"),
    ];
    for (name, body, status, code) in &cases {
        for front in ["whip", "whep"] {
            let request = Request::new("POST", &format!("/{front}/{}", stage.room)).bearer(&token);
            let answer = request.body(SDP, body.clone()).send(&stage.server).await;
            assert_eq!((answer.status, answer.code().as_str()), (*status, *code), "{name} at {front}");
        }
    }
    let request = Request::new("POST", &format!("/whip/{}", stage.room)).bearer(&token);
    let answer = request.body("text/plain", OFFER).send(&stage.server).await;
    assert_eq!((answer.status, answer.code().as_str()), (415, "unsupported_media_type"));
    stage.assert_undisturbed(&before).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_large_bodies_at_once_are_refused_and_not_kept() {
    let mut stage = Stage::start().await;
    let (before, token) = (stage.before().await, stage.rooms.token(&stage.room, "mallory", "speaker").await.unwrap());
    let large = format!("{OFFER}{}", "a=x:y\r\n".repeat(150_000));
    let request = Request::new("POST", &format!("/whip/{}", stage.room)).bearer(&token).body(SDP, large);
    let answers = all_at_once((0..100).map(|_| request.send(&stage.server))).await;
    for answer in answers {
        assert_eq!((answer.status, answer.code().as_str()), (413, "body_too_large"));
    }
    stage.assert_undisturbed(&before).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_huge_deep_or_wrong_is_refused_by_name() {
    let mut stage = Stage::start().await;
    let before = stage.before().await;
    let deep = format!("{{\"name\":\"a\",\"metadata\":{}{}}}", "[".repeat(60_000), "]".repeat(60_000));
    let wide = format!("{{\"name\":\"a\",\"metadata\":[{}0]}}", "0,".repeat(100_000));
    let cases = [
        ("huge", format!("{{\"name\":\"{}\"}}", "x".repeat(2_000_000)), 413, "body_too_large"),
        ("deep", deep, 400, "json_syntax"),
        ("cut off", "{\"name\":".to_owned(), 400, "json_syntax"),
        ("an endless number", format!("{{\"name\":{}}}", "9".repeat(100_000)), 400, "json_syntax"),
        ("a long name", format!("{{\"name\":\"{}\"}}", "x".repeat(100_000)), 422, "too_long"),
        ("much metadata", wide, 422, "too_long"),
        ("an id of paths", "{\"name\":\"a\",\"id\":\"../../etc/passwd\"}".to_owned(), 422, "invalid_value"),
        ("an unknown field", "{\"name\":\"a\",\"__proto__\":{}}".to_owned(), 422, "invalid_value"),
    ];
    for (name, body, status, code) in cases {
        let request = Request::new("POST", "/api/rooms").bearer(stage.server.secret()).body(JSON, body);
        let answer = request.send(&stage.server).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{name}: {}", answer.text());
    }
    stage.assert_undisturbed(&before).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_lead_nowhere_but_where_they_should() {
    let mut stage = Stage::start().await;
    let before = stage.before().await;
    let secret = stage.server.secret();
    for path in [
        "/../../../../etc/passwd",
        "/assets/../../../../etc/passwd",
        "/assets/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/..%5c..%5cetc%5cpasswd",
        "//etc/passwd",
        "/assets/%00",
        "/whip/..%2f..%2fapi%2frooms",
        "/api/rooms/..%2f..%2fmetrics",
        "/api/rooms/%ff%fe",
        "/api/../metrics",
    ] {
        let answer = Request::new("GET", path).send(&stage.server).await;
        assert!(!answer.text().contains("root:") && !answer.text().contains(secret), "{path}: {}", answer.text());
        let is_page = answer.status == 200 && answer.text().contains("<!doctype html>");
        assert!(is_page || (400..500).contains(&answer.status), "{path}: {} {}", answer.status, answer.text());
    }
    for line in ["GET / HTTP/9.9\r\n\r\n", "\0\0\0\0\r\n\r\n", "GET /\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let closed = answer_to(&stage.server, line.as_bytes()).await;
        let status = Answer::parse(&closed).map(|answer| answer.status);
        assert!(status.is_none_or(|status| status >= 400), "{line:?}: {status:?}");
    }
    stage.assert_undisturbed(&before).await;
    stage.end().await;
}
