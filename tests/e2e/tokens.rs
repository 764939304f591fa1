//! Stays that end with their tokens.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sluice_tests::{Server, Signaller};

use crate::call::{enter, enter_too, text, with_rooms};

/// For how many seconds the tokens of these tests are good, and for how many more clocks may be apart.
const GOOD: u64 = 3;
const LEEWAY: u64 = 5;
/// The same where a control plane has to end and to begin before.
const GOOD_FOR_LONGER: u64 = 8;
/// A token whose seconds have begun already ends so much earlier.
const BEGUN: Duration = Duration::from_secs(1);

/// Mints a token for a room, for so many seconds.
async fn token_for(server: &Server, room: &str, identity: &str, role: &str, seconds: u64) -> String {
    let wanted = json!({ "identity": identity, "role": role, "expires_in": seconds });
    let (status, answer) = server.api(Method::POST, &format!("/api/rooms/{room}/tokens"), &wanted).await.unwrap();
    assert_eq!(status, 200, "{answer}");
    text(&answer["token"])
}

async fn enter_for(server: &Server, room: &str, identity: &str, seconds: u64) -> Signaller {
    let token = token_for(server, room, identity, "speaker", seconds).await;
    let client = Signaller::enter(server.base(), &token).await.unwrap();
    let left = client.joined()["expires_in"].as_u64().unwrap();
    assert!((seconds..=seconds + LEEWAY).contains(&left), "{left} s are left of {seconds}");
    client
}

/// Waits until a client is out because its token has ended, and returns how long that took.
async fn put_out(client: &mut Signaller, since: Instant) -> Duration {
    let removed = client.told("removed").await.unwrap();
    let lasted = since.elapsed();
    assert_eq!((&removed["room_id"], &removed["reason"]), (&json!("a"), &json!("token_expired")));
    let refused = client.told("error").await.unwrap();
    assert_eq!(refused["code"], "token_expired");
    assert_eq!(client.closed().await.unwrap(), 4403);
    lasted
}

async fn refused_resume(server: &Server, token: &str, seq: u64) -> Value {
    let (mut client, answer) = Signaller::resume(server.base(), token, seq).await.unwrap();
    assert_eq!(client.closed().await.unwrap(), 4403);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_its_token_and_goes_on_where_another_one_counts() {
    let server = with_rooms(&["a", "b"]).await;
    let mut ann = enter(&server, "a", "host-ann").await;
    let since = Instant::now();
    let mut ben = enter_for(&server, "a", "ben", GOOD).await;
    let mut cat = enter_for(&server, "a", "cat", GOOD).await;
    let mut dan = enter_for(&server, "a", "dan", GOOD).await;
    let joined = enter_too(&mut dan, &server, "b", "dan").await;
    assert!(joined["expires_in"].as_u64().unwrap() > 80_000, "{joined}");

    let renew = |token: String| json!({ "type": "renew_token", "token": token });
    let less = token_for(&server, "a", "cat", "attendee", 600).await;
    assert_eq!(cat.refused(renew(less)).await.unwrap(), "token_gives_less");
    let elsewhere = token_for(&server, "b", "cat", "speaker", 600).await;
    assert_eq!(cat.done(renew(elsewhere)).await.unwrap()["rooms"], json!([]), "that is another room's");
    let renewed = cat.done(renew(token_for(&server, "a", "cat", "speaker", 600).await)).await.unwrap();
    assert_eq!((&renewed["type"], &renewed["rooms"][0]["room_id"]), (&json!("token_renewed"), &json!("a")));
    assert!((500..=600 + LEEWAY).contains(&renewed["rooms"][0]["expires_in"].as_u64().unwrap()), "{renewed}");

    let lasted = put_out(&mut ben, since).await;
    assert!(lasted >= Duration::from_secs(GOOD + LEEWAY) - BEGUN, "{lasted:?}");
    let removed = dan.told("removed").await.unwrap();
    assert_eq!((&removed["room_id"], &removed["reason"]), (&json!("a"), &json!("token_expired")));
    for _ in 0..2 {
        let left = ann.told("participant_left").await.unwrap();
        assert!(["ben", "dan"].contains(&left["identity"].as_str().unwrap()), "{left}");
        assert_eq!(left["reason"], "token_expired");
    }
    for (client, room) in [(&mut cat, "a"), (&mut dan, "b")] {
        client.done(json!({ "type": "update_metadata", "room_id": room, "name": "still here" })).await.unwrap();
    }
    let again = refused_resume(&server, &ben.resume_token(), ben.seq()).await;
    assert_eq!((&again["type"], &again["code"]), (&json!("error"), &json!("token_expired")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_control_plane_forgets_no_tokens_end() {
    let mut server = with_rooms(&["a"]).await;
    let since = Instant::now();
    let ben = enter_for(&server, "a", "ben", GOOD_FOR_LONGER).await;
    let cat = enter_for(&server, "a", "cat", GOOD_FOR_LONGER).await;
    let mut dan = enter_for(&server, "a", "dan", GOOD_FOR_LONGER).await;
    let long = token_for(&server, "a", "dan", "speaker", 600).await;
    dan.done(json!({ "type": "renew_token", "token": long })).await.unwrap();
    server.kill_controlplane().unwrap();
    server.start_controlplane().await.unwrap();
    let (mut later, resumed) = Signaller::resume(server.base(), &ben.resume_token(), ben.seq()).await.unwrap();
    assert_eq!(resumed["type"], "resumed", "{resumed}\n{}", server.logs());
    let left = resumed["rooms"][0]["expires_in"].as_u64().unwrap();
    assert!(left <= GOOD_FOR_LONGER + LEEWAY, "{resumed}");
    let lasted = put_out(&mut later, since).await;
    assert!(lasted >= Duration::from_secs(GOOD_FOR_LONGER + LEEWAY) - BEGUN, "{lasted:?}");
    // Whose token ended while nobody was there to say so.
    let late = refused_resume(&server, &cat.resume_token(), cat.seq()).await;
    assert_eq!((&late["type"], &late["code"]), (&json!("error"), &json!("token_expired")));
    let (_dan, stays) = Signaller::resume(server.base(), &dan.resume_token(), dan.seq()).await.unwrap();
    let left = stays["rooms"][0]["expires_in"].as_u64();
    assert!(left.is_some_and(|left| left > 500), "{stays}\n{}", server.logs());
}
