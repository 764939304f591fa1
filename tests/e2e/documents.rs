//! What `docs/API.md` tells applications to do, done.

use std::process::Command;

use serde_json::{Value, json};
use sluice_tests::{Options, Server};

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_way_to_mint_a_token_makes_one_that_opens_its_room() {
    let mut server = Server::start(Options::default()).await.unwrap();
    let client = reqwest::Client::new();
    let rooms = format!("{}/api/rooms", server.base());
    for id in ["demo", "other"] {
        let room = json!({"id": id, "name": id});
        let created = client.post(&rooms).bearer_auth(server.secret()).json(&room).send().await.unwrap();
        assert_eq!(created.status(), 201);
    }
    let token = minted(&format!("test:{}", server.secret()));
    let status = async |room: &str, token: &str| {
        client.get(format!("{rooms}/{room}/participants")).bearer_auth(token).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("demo", &token).await, 200);
    assert_eq!(status("other", &token).await, 403, "another room");
    assert_eq!(status("demo", &minted("test:another-secret-of-somebody")).await, 401, "another key");

    // The claims are the documented ones: a speaker who may send sound alone, and not manage.
    let answer = client.patch(format!("{rooms}/demo")).bearer_auth(&token).json(&json!({"name": "x"})).send().await;
    assert_eq!(answer.unwrap().status(), 403, "a speaker manages nothing");
    let published = client
        .post(format!("{}/whip/demo", server.base()))
        .bearer_auth(&token)
        .header("content-type", "application/sdp")
        .body(include_str!("../../controlplane/core/tests/vectors/sdp/chromium-a-vp8-opus.offer.sdp"))
        .send()
        .await
        .unwrap();
    assert_eq!(published.status(), 403, "no camera");
    let problem: Value = published.json().await.unwrap();
    assert!(problem["detail"].as_str().is_some(), "{problem}");
    let _pid = server.dataplane_pid().await.unwrap();
}

/// Runs the example in Python.
fn minted(api_key: &str) -> String {
    let document = include_str!("../../docs/API.md");
    let example = document.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let output = Command::new("python3").args(["-c", example]).env("SLUICE_API_KEY", api_key).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
