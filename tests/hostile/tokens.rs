//! Forged, expired and misused tokens.

use rustix::process::Signal;
use serde_json::{Value, json};
use sluice_tests::{Options, Server};

use crate::attacker::OFFER;
use crate::http::{Answer, Request};
use crate::stage::Stage;
use crate::token::{claims, header, now, sign, unsigned, with};

const STRANGERS_SECRET: &str = "a-secret-that-is-not-the-servers";

async fn offer(stage: &Stage, front: &str, token: &str) -> Answer {
    let request = Request::new("POST", &format!("/{front}/{}", stage.room)).bearer(token);
    request.body("application/sdp", OFFER).send(&stage.server).await
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_misused_tokens_are_refused_by_name() {
    let mut stage = Stage::start().await;
    let (before, secret) = (stage.before().await, stage.server.secret());
    let honest = claims(&stage.room, "attendee");
    let signed = |header: &Value, claims: &Value| sign(header, claims, secret);
    assert_eq!(offer(&stage, "whep", &signed(&header(), &honest)).await.status, 201, "an honest token opens");

    let none = unsigned(&with(header(), "alg", json!("none")), &honest);
    let other_key = with(header(), "kid", json!("nobody"));
    let expired = with(honest.clone(), "exp", json!(now() - 60));
    let early = with(honest.clone(), "nbf", json!(now() + 600));
    let cases = [
        ("alg none", format!("{none}."), 401, "token_header"),
        ("alg none without a third part", none, 401, "token_unknown"),
        ("alg RS256", signed(&with(header(), "alg", json!("RS256")), &honest), 401, "token_header"),
        ("a key that is not there", signed(&other_key, &honest), 401, "token_key_unknown"),
        ("somebody else's secret", sign(&header(), &honest, STRANGERS_SECRET), 401, "token_signature"),
        ("expired", signed(&header(), &expired), 401, "token_expired"),
        ("not valid yet", signed(&header(), &early), 401, "token_not_yet_valid"),
        ("another room's", signed(&header(), &claims("elsewhere", "host")), 403, "forbidden"),
        ("no role", signed(&header(), &with(honest.clone(), "role", json!("emperor"))), 401, "token_claims"),
        ("an identity of paths", signed(&header(), &with(honest.clone(), "user_id", json!("../x"))), 403, "forbidden"),
        ("no token", "x".repeat(40), 401, "token_unknown"),
        ("as long as a head may be", "x".repeat(40_000), 401, "token_unknown"),
    ];
    for (name, token, status, code) in cases {
        for front in ["whip", "whep"] {
            let answer = offer(&stage, front, &token).await;
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{name} at {front}");
        }
    }
    let answer = offer(&stage, "whip", &signed(&header(), &honest)).await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "may_not_publish"), "a viewer does not publish");
    stage.assert_undisturbed(&before).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_administers_without_the_secret() {
    let mut stage = Stage::start().await;
    let before = stage.before().await;
    let admin = with(claims(&stage.room, "host"), "admin", json!(true));
    let cases = [
        ("an admin of another key", sign(&header(), &admin, STRANGERS_SECRET), 401, "token_signature"),
        ("an attendee", sign(&header(), &claims(&stage.room, "attendee"), stage.server.secret()), 403, "forbidden"),
        ("a host", sign(&header(), &claims(&stage.room, "host"), stage.server.secret()), 403, "forbidden"),
    ];
    for (name, token, status, code) in cases {
        for (method, path) in [("POST", "/api/rooms"), ("GET", "/metrics"), ("GET", "/api/rooms")] {
            let request = Request::new(method, path).bearer(&token).body("application/json", "{\"name\":\"mine\"}");
            let answer = request.send(&stage.server).await;
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{name}: {method} {path}");
        }
    }
    stage.assert_undisturbed(&before).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_ends_or_changes_sessions_of_others() {
    let mut stage = Stage::start().await;
    let before = stage.before().await;
    let mallory = sign(&header(), &claims(&stage.room, "speaker"), stage.server.secret());
    let elsewhere = sign(&header(), &claims("elsewhere", "host"), stage.server.secret());
    let path = |location: &str| location.strip_prefix(stage.server.base()).unwrap().to_owned();
    let mut locations: Vec<String> = stage.viewers.snapshot().iter().map(|viewer| path(&viewer.location)).collect();
    locations.push(path(stage.publisher.location()));
    let fragment = "a=ice-ufrag:evil\r\na=ice-pwd:evilevilevilevilevilevil\r\n";
    for location in &locations {
        let requests = [
            Request::new("DELETE", location),
            Request::new("PATCH", location).header("if-match", "*").body("application/trickle-ice-sdpfrag", fragment),
        ];
        for request in requests {
            let answer = request.clone().bearer(&mallory).send(&stage.server).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "not_your_session"), "{location}");
            let answer = request.clone().bearer(&elsewhere).send(&stage.server).await;
            assert_eq!((answer.status, answer.code().as_str()), (403, "forbidden"), "{location}");
            let answer = request.send(&stage.server).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "token_missing"), "{location}");
        }
    }
    stage.assert_undisturbed(&before).await;
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_was_removed_stays_out_when_both_planes_were_killed_and_when_the_room_is_made_anew() {
    let mut server = Server::start(Options::default()).await.unwrap();
    let secret = server.secret();
    let create =
        || Request::new("POST", "/api/rooms").bearer(secret).body("application/json", r#"{"id":"a","name":"a"}"#);
    assert_eq!(create().send(&server).await.status, 201);
    let mallory = sign(&header(), &claims("a", "host"), secret);
    let enter = || Request::new("POST", "/whep/a").bearer(&mallory).body("application/sdp", OFFER);
    assert_eq!(enter().send(&server).await.status, 201);
    let remove = Request::new("DELETE", "/api/rooms/a/participants/mallory").bearer(secret);
    assert_eq!(remove.send(&server).await.status, 204);
    for is_new in [false, true] {
        let dataplane = server.dataplane_pid().await.unwrap();
        server.kill_controlplane().unwrap();
        Server::signal(dataplane, Signal::KILL).unwrap();
        server.start_controlplane().await.unwrap();
        if is_new {
            assert_eq!(Request::new("DELETE", "/api/rooms/a").bearer(secret).send(&server).await.status, 204);
            assert_eq!(create().send(&server).await.status, 201);
        }
        for request in [enter(), Request::new("GET", "/api/rooms/a").bearer(&mallory)] {
            let answer = request.send(&server).await;
            assert_eq!((answer.status, answer.code().as_str()), (401, "token_revoked"), "a new room: {is_new}");
        }
        let later = sign(&header(), &with(claims("a", "host"), "iat", json!(now() + 1)), secret);
        assert_eq!(Request::new("GET", "/api/rooms/a").bearer(&later).send(&server).await.status, 200);
    }
}
