//! Peers who have joined as anybody may, and misuse the keys that they were given.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::{ADDRESS, Options, Script, in_own_network};

use crate::attacker::Attacker;
use crate::metrics::Discards;
use crate::stage::{LIMIT, Stage};
use crate::wire::{hear_publisher, is_rtcp};

/// What the server repeats to one peer in a second at most.
const REPEATS_PER_SECOND_MAX: u64 = 1000;
/// The storm: half a million numbers in two seconds.
const NACKED: u64 = 500;
const STORM: Duration = Duration::from_secs(2);
const NACKS_PER_SECOND: u64 = 500;
/// Packets of a stolen SSRC, of each kind.
const STOLEN: u64 = 200;

async fn stage() -> Stage {
    Stage::start_with(Options { announce: Some(ADDRESS.to_owned()), ..Options::default() }).await
}

/// Joins with a stack of its own, whose internals do what is asked of them.
async fn join(stage: &Stage, identity: &str, role: &str, more: &[&str]) -> Script {
    let publishes = role == "publish";
    let token = stage.rooms.token(&stage.room, identity, if publishes { "speaker" } else { "attendee" }).await.unwrap();
    let rooms = &stage.rooms;
    let resource = if publishes { rooms.whip(&stage.room, &token) } else { rooms.whep(&stage.room, &token) }.unwrap();
    let arguments = [&[role, &resource.url, &token], more].concat();
    let mut attacker = Script::aiortc("attacker_peer.py", &arguments).unwrap();
    let _connected = attacker.wait_for(LIMIT, |report| report["connected"] == true).await.unwrap();
    attacker
}

/// Has an attacker do something, and returns what it says afterwards.
async fn has_done(attacker: &mut Script, turn: u64, command: Value) -> Value {
    attacker.say(&command).await.unwrap();
    attacker.wait_for(LIMIT, |report| report["done"] == turn).await.unwrap()
}

/// Requests that have reached the publisher, and those that the stage's own viewers have made.
fn key_frame_requests(stage: &Stage) -> (u64, u64) {
    let stats = stage.publisher.stats();
    let own = stage.viewers.snapshot();
    let own = own.iter().filter_map(|viewer| viewer.video()).map(|video| video.key_frame_requests).sum();
    (stats.pli + stats.fir, own)
}

/// The one SSRC that was heard so far, and its last number.
fn only_stream(report: &Value) -> Option<(u64, u64)> {
    let (ssrc, stream) = report["heard"].as_object()?.iter().next()?;
    Some((ssrc.parse().ok()?, stream["last"].as_u64()?))
}

/// How many packets came under other SSRCs than that one: repeats.
fn repeats(report: &Value, ssrc: u64) -> u64 {
    let heard = report["heard"].as_object().into_iter().flatten();
    let others = heard.filter(|(other, _)| **other != ssrc.to_string());
    others.filter_map(|(_, stream)| stream["packets"].as_u64()).sum()
}

#[test]
fn a_storm_of_honest_nacks_is_answered_within_a_limit_and_costs_nobody_else() {
    in_own_network("keys::a_storm_of_honest_nacks_is_answered_within_a_limit_and_costs_nobody_else", async {
        let mut stage = stage().await;
        let mut attacker = join(&stage, "mallory", "play", &[]).await;
        let report = attacker.wait_for(LIMIT, |report| only_stream(report).is_some()).await.unwrap();
        let (ssrc, first) = only_stream(&report).unwrap();
        // What it will ask for has to have been sent.
        let sent =
            |report: &Value| only_stream(report).is_some_and(|(_, last)| (last + 0x1_0000 - first) & 0xffff > NACKED);
        let report = attacker.wait_for(LIMIT, sent).await.unwrap();
        let (_, last) = only_stream(&report).unwrap();
        let (before, counted) = (stage.before().await, Discards::read(&stage.server).await);
        let begun = Instant::now();
        let times = NACKS_PER_SECOND * STORM.as_secs();
        let ask = |first: u64, ssrc: u64| json!({"nacks": {"ssrc": ssrc, "numbers": [first & 0xffff, NACKED], "times": times, "per_second": NACKS_PER_SECOND}});
        let report = has_done(&mut attacker, 1, ask(last + 0x1_0000 - NACKED, ssrc)).await;
        counted.wait_rise(&stage.server, "repeat_limited", times / 2).await;
        let repeated = repeats(&report, ssrc);
        let allowed = REPEATS_PER_SECOND_MAX * (begun.elapsed().as_secs() + 2);
        assert!((1..=allowed).contains(&repeated), "{repeated} repeats in {:?}", begun.elapsed());
        println!("measured: NACK storm: {} numbers asked for, {repeated} packets repeated", times * NACKED);
        // Numbers that were never sent, and a stream that is not the attacker's.
        let _report = has_done(&mut attacker, 2, ask(last + 0x4000, ssrc)).await;
        counted.wait_rise(&stage.server, "repeat_gone", REPEATS_PER_SECOND_MAX).await;
        let _report = has_done(&mut attacker, 3, ask(last, ssrc ^ 1)).await;
        counted.wait_rise(&stage.server, "rtcp_unknown_ssrc", times / 2).await;
        stage.assert_undisturbed(&before).await;
        stage.assert_newcomer_is_served("newcomer").await;
        attacker.leave().await.unwrap();
        stage.end().await;
    });
}

#[test]
fn nobody_sends_or_ends_anothers_ssrc_with_keys_of_its_own() {
    in_own_network("keys::nobody_sends_or_ends_anothers_ssrc_with_keys_of_its_own", async {
        let mut stage = stage().await;
        let heard = hear_publisher(&stage, Attacker::enter(&stage).await.media);
        let ssrc = |packet: &Vec<u8>| u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
        let mut ssrcs: Vec<u32> = heard.iter().filter(|packet| !is_rtcp(packet)).map(ssrc).collect();
        ssrcs.sort_unstable();
        ssrcs.dedup();
        assert!(ssrcs.len() >= 2, "picture and sound: {ssrcs:?}");
        for role in ["play", "publish"] {
            let mut thief = join(&stage, &format!("thief-{role}"), role, &[]).await;
            // Who plays is given a key frame first, for which the server may have to ask.
            if role == "play" {
                let _served = thief.wait_for(LIMIT, |report| only_stream(report).is_some()).await.unwrap();
            }
            let (before, (reached, asked)) = (stage.before().await, key_frame_requests(&stage));
            for (turn, ssrc) in (0..).zip(&ssrcs) {
                let counted = Discards::read(&stage.server).await;
                let media = json!({"rtp": {"ssrc": ssrc, "count": STOLEN}});
                let _report = has_done(&mut thief, 2 * turn + 1, media).await;
                counted.wait_rise(&stage.server, "ssrc_unknown", STOLEN / 2).await;
                let reports = json!({"rtcp": {"ssrc": ssrc, "count": STOLEN}});
                let _report = has_done(&mut thief, 2 * turn + 2, reports).await;
                counted.wait_rise(&stage.server, "rtcp_unknown_ssrc", STOLEN).await;
            }
            stage.assert_undisturbed(&before).await;
            let (reached_now, asked_now) = key_frame_requests(&stage);
            assert!(reached_now - reached <= asked_now - asked, "the thief's requests reached the publisher");
            thief.leave().await.unwrap();
        }
        // Who announces it as its own may send it: numbers of one transport mean nothing to another.
        for ssrc in ssrcs {
            let before = stage.before().await;
            let namesake = join(&stage, &format!("namesake-{ssrc}"), "publish", &[&ssrc.to_string()]).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            stage.assert_lost_nothing(&before).await;
            namesake.leave().await.unwrap();
        }
        stage.end().await;
    });
}
