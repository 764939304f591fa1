//! Two rooms side by side, of which the address of the page knows.

use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_tests::{Browser, in_own_network};

use crate::call::Call;
use crate::show::LIMIT;

/// The rooms that the page shows, and those that its address names.
const ROOMS: &str = "({
    shown: [...document.querySelectorAll('[data-room]')].map(({ dataset }) => dataset.room),
    named: [location.pathname.split('/').at(-1), ...new URLSearchParams(location.search).values()],
    address: location.href,
})";

#[test]
fn a_reload_goes_back_to_both_rooms() {
    in_own_network("two_rooms::a_reload_goes_back_to_both_rooms", async {
        let mut call = Call::start(Browser::ChromiumWithoutDevices).await;
        let alone = wait_rooms(&mut call, 1).await;
        call.press_labelled("Ann", "Open a second room").await;
        call.browsers.type_into("Ann", "#second-name", "Beside").await.unwrap();
        call.press("Ann", "dialog form:has(#second-name) button").await;
        let both = wait_rooms(&mut call, 2).await;
        assert_eq!(both["named"][0], alone["named"][0], "the first room stays the first: {both}");

        call.browsers.goto("Ann", both["address"].as_str().unwrap()).await.unwrap();
        call.enter("Ann").await;
        let again = wait_rooms(&mut call, 2).await;
        assert_eq!(again, both, "the page is in the same rooms");

        call.press_labelled("Ann", "Leave Beside").await;
        let left = wait_rooms(&mut call, 1).await;
        assert_eq!(left, alone, "the room that was left is forgotten");
        call.browsers.stop().await.unwrap();
    });
}

#[test]
fn a_camera_in_two_rooms_goes_on_in_both_when_either_plane_is_killed() {
    in_own_network("two_rooms::a_camera_in_two_rooms_goes_on_in_both_when_either_plane_is_killed", async {
        let mut call = Call::start(Browser::ChromiumWithASmallCamera).await;
        call.join("Ben", Browser::ChromiumWithoutDevices).await;
        call.press_labelled("Ann", "Open a second room").await;
        call.browsers.type_into("Ann", "#second-name", "Beside").await.unwrap();
        call.press("Ann", "dialog form:has(#second-name) button").await;
        let both = wait_rooms(&mut call, 2).await;
        for source in ["Camera", "Microphone"] {
            call.press("Ann", &format!("button[aria-label=\"{source} to Beside\"][aria-pressed=\"false\"]")).await;
        }
        let second = format!("{}/room/{}", call.server.base(), both["named"][1].as_str().unwrap());
        call.browsers.open("Cid", Browser::FirefoxWithASmallCamera, &second).await.unwrap();
        call.enter("Cid").await;
        let seeing = [("Ben", "Ann"), ("Cid", "Ann"), ("Ann", "Cid")];
        for (viewer, seen) in seeing {
            call.wait_meeting(viewer, &[seen]).await;
        }
        let everybody = ["Ann", "Ben", "Cid"];
        call.outlives_the_control_plane(&everybody, ("Ben", "Ann")).await;
        call.wait_meeting("Cid", &["Ann"]).await;
        call.outlives_the_data_plane(&everybody, &seeing).await;
        assert_eq!(wait_rooms(&mut call, 2).await, both, "she is in both rooms as before");
        call.browsers.stop().await.unwrap();
    });
}

/// Waits until the page shows so many rooms and its address names just these; returns them.
async fn wait_rooms(call: &mut Call, count: usize) -> Value {
    let deadline = Instant::now() + LIMIT;
    loop {
        let found = call.browsers.evaluate("Ann", ROOMS).await.unwrap();
        if found["shown"] == found["named"] && found["shown"].as_array().is_some_and(|shown| shown.len() == count) {
            return found;
        }
        if Instant::now() > deadline {
            let picture = call.browsers.picture("Ann").await;
            panic!("not {count} rooms: {found:#}\n{picture}\n{}", call.server.logs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
