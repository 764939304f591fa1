//! Picture and sound from browser to browser, while everything is well and while planes are killed.

use std::time::Duration;

use serde_json::Value;
use sluice_tests::{Browser, Chance, bound, in_own_network};

use crate::show::{Show, heard, identity, number};

/// How long a picture is watched to see that it goes on.
const WATCHED: Duration = Duration::from_secs(5);
/// A plane is killed at a random moment within this time.
const KILLED_WITHIN: Duration = Duration::from_secs(2);
/// How long a picture may stand still when the data plane is killed, on a machine that does nothing else.
const STANDSTILL_MAX: Duration = Duration::from_secs(1);

#[test]
fn chromium_watches_chromium() {
    in_own_network("watching::chromium_watches_chromium", watch(Browser::Chromium, Browser::Chromium));
}

#[test]
fn firefox_watches_chromium() {
    in_own_network("watching::firefox_watches_chromium", watch(Browser::Chromium, Browser::Firefox));
}

#[test]
fn chromium_watches_firefox() {
    in_own_network("watching::chromium_watches_firefox", watch(Browser::Firefox, Browser::Chromium));
}

async fn watch(publisher: Browser, viewer: Browser) {
    let mut show = Show::start(publisher, viewer).await;
    goes_on_without_a_freeze(&mut show).await;
    survives_the_control_plane(&mut show).await;
    survives_the_data_plane(&mut show).await;
    goes_on_without_a_freeze(&mut show).await;
    show.end().await;
}

async fn goes_on_without_a_freeze(show: &mut Show) {
    let before = show.measure("viewer").await;
    show.watch_for(WATCHED).await;
    let after = show.measure("viewer").await;
    assert_flows(&before, &after, WATCHED);
    assert_eq!(freezes(&after), freezes(&before), "no freeze: {after:#}");
}

async fn survives_the_control_plane(show: &mut Show) {
    let sending = show.measure("publisher").await;
    Chance::new().wait(KILLED_WITHIN).await;
    let before = show.measure("viewer").await;
    show.server.kill_controlplane().unwrap();
    show.watch_for(Duration::from_secs(3)).await;
    show.server.start_controlplane().await.unwrap();
    show.watch_for(Duration::from_secs(2)).await;
    let after = show.measure("viewer").await;
    assert_flows(&before, &after, WATCHED);
    assert_eq!(freezes(&after), freezes(&before), "no freeze without a control plane\n{}", show.server.logs());
    assert_eq!(identity(&after), identity(&before), "the viewer's page went on as it was");
    assert_eq!(
        identity(&show.measure("publisher").await),
        identity(&sending),
        "the publisher's page went on as it was"
    );
}

async fn survives_the_data_plane(show: &mut Show) {
    let sending = show.measure("publisher").await;
    let before = show.measure("viewer").await;
    let limit = bound(STANDSTILL_MAX);
    Chance::new().wait(KILLED_WITHIN).await;
    let clock = show.browsers.clock("viewer").await.unwrap();
    let killed = show.server.dataplane_pid().await.unwrap();
    let _at = show.server.kill_dataplane().await.unwrap();
    show.watch_for(WATCHED).await;
    assert_ne!(show.server.dataplane_pid().await.unwrap(), killed, "another data plane has taken over");
    let standstill = show.browsers.longest_standstill("viewer", clock).await.unwrap();
    println!("measured: {standstill:?} without a new picture after the data plane was killed");
    assert!(
        standstill < limit,
        "the picture stood still for {standstill:?}, at most {limit:?}\n{}",
        show.server.logs()
    );
    let after = show.measure("viewer").await;
    assert!(number(&after["video"]["framesDecoded"]) > number(&before["video"]["framesDecoded"]) + 30.0);
    assert_eq!(identity(&after), identity(&before), "the viewer's page went on as it was");
    assert_eq!(
        identity(&show.measure("publisher").await),
        identity(&sending),
        "the publisher's page went on as it was"
    );
}

/// Pictures and sound came all the time between two measurements: ten pictures a second is half of what the slowest
/// camera of a test makes.
fn assert_flows(before: &Value, after: &Value, time: Duration) {
    let grown = |kind: &str, key: &str| number(&after[kind][key]) - number(&before[kind][key]);
    assert!(grown("video", "framesDecoded") > 10.0 * time.as_secs_f64(), "pictures: {after:#}");
    assert!(grown("audio", "totalSamplesReceived") > 0.8 * 48_000.0 * time.as_secs_f64(), "sound: {after:#}");
    assert!(heard(after) > heard(before), "the sound is no silence: {after:#}");
}

/// Freezes that the browser itself has counted.
fn freezes(found: &Value) -> u64 {
    found["video"]["freezeCount"].as_u64().expect("the browser counts freezes")
}
