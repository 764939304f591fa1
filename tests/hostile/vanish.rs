//! People who are gone without a word, all at once.

use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_load::{ViewerConfig, Viewers};

use crate::http::Request;
use crate::metrics::Discards;
use crate::stage::{LIMIT, Stage};

/// More than a page of the API holds by default, and more than a room usually loses at a time.
const PEOPLE: usize = 201;
/// Who shows no sign of life for so long is not sent to any more (RFC 7675 section 5.1); for so long again the room waits
/// for its return.
const SILENCE: Duration = Duration::from_secs(30);
/// How much later may be noticed what happens, on a machine that does other things too.
const GRACE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_people_who_vanish_are_missed_and_then_gone() {
    let mut stage = Stage::start().await;
    let audience = states(&stage).await.len();
    let resources = stage.rooms.whep_each(&stage.room, "crowd", PEOPLE).await.unwrap();
    let crowd = Viewers::new(1, ViewerConfig::new(resources[0].clone())).unwrap();
    let ids = crowd.join_each(&resources, 8).await.unwrap();
    crowd.wait_connected(LIMIT * 3).await.unwrap();
    assert_eq!(states(&stage).await.len(), audience + PEOPLE);
    for id in ids {
        let _stats = crowd.vanish(id).unwrap();
    }
    let (gone, before) = (Instant::now(), stage.before().await);
    let missed = wait_states(&stage, gone + SILENCE + GRACE, |states| count(states, "reconnecting") == PEOPLE).await;
    assert!(missed > gone + SILENCE / 2, "people may fall silent for a while: {:?}", missed - gone);
    // Nothing is sent to them any more, and that is counted.
    let counted = Discards::read(&stage.server).await;
    counted.wait_rise(&stage.server, "not_sending", PEOPLE as u64).await;
    let left = wait_states(&stage, missed + SILENCE + GRACE, |states| states.len() == audience).await;
    println!("measured: {PEOPLE} vanished: missed after {:?}, gone after {:?}", missed - gone, left - gone);
    assert!(states(&stage).await.iter().all(|state| state == "connected"), "the others are still there");
    stage.assert_undisturbed(&before).await;
    stage.assert_newcomer_is_served("newcomer").await;
    stage.end().await;
}

fn count(states: &[String], wanted: &str) -> usize {
    states.iter().filter(|state| *state == wanted).count()
}

/// Waits until the room's people are as wanted, and returns when that was seen.
async fn wait_states(stage: &Stage, until: Instant, wanted: impl Fn(&[String]) -> bool) -> Instant {
    loop {
        let found = states(stage).await;
        let now = Instant::now();
        if wanted(&found) {
            return now;
        }
        let (reconnecting, connected) = (count(&found, "reconnecting"), count(&found, "connected"));
        assert!(now < until, "{reconnecting} reconnecting, {connected} connected\n{}", stage.server.logs());
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

/// What the room says of each participant, page by page.
async fn states(stage: &Stage) -> Vec<String> {
    let (mut states, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/rooms/{}/participants?limit=100{after}", stage.room);
        let answer = Request::new("GET", &path).bearer(stage.server.secret()).send(&stage.server).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page: Value = serde_json::from_str(&answer.text()).unwrap();
        let people = page["participants"].as_array().expect("a page of people");
        states.extend(people.iter().filter_map(|person| person["state"].as_str().map(str::to_owned)));
        match page["next_cursor"].as_str() {
            Some(next) => after = format!("&cursor={next}"),
            None => return states,
        }
    }
}
