//! What the page says when something is wrong.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_load::Rooms;
use sluice_tests::{Browser, Browsers, Loss, Server, in_own_network};

use crate::show::{LIMIT, Show, create_room, server};

#[test]
fn a_room_that_is_not_there_is_called_so() {
    in_own_network("failures::a_room_that_is_not_there_is_called_so", async {
        let server = server("create").await;
        let mut browsers = Browsers::start().unwrap();
        let watch = format!("{}/watch/nosuchroom", server.base());
        browsers.open("viewer", Browser::Chromium, &watch).await.unwrap();
        browsers.wait_text("viewer", LIMIT, "There is no such room").await.unwrap();
        browsers.stop().await.unwrap();
    });
}

#[test]
fn guests_hear_that_they_need_an_invitation() {
    in_own_network("failures::guests_hear_that_they_need_an_invitation", async {
        let server = server("none").await;
        let rooms = Rooms::new(server.base(), server.secret()).unwrap();
        let room = rooms.create("for members").await.unwrap();
        let mut browsers = Browsers::start().unwrap();
        browsers.open("guest", Browser::Chromium, &format!("{}/", server.base())).await.unwrap();
        browsers.type_into("guest", "#room-name", "A show").await.unwrap();
        browsers.click("guest", "#go-live button").await.unwrap();
        browsers.wait_text("guest", LIMIT, "Guests cannot create rooms here").await.unwrap();
        browsers.goto("guest", &format!("{}/watch/{room}", server.base())).await.unwrap();
        browsers.wait_text("guest", LIMIT, "You need an invitation").await.unwrap();
        let token = rooms.token(&room, "member", "attendee").await.unwrap();
        let invited = format!("{}/watch/{room}#token={token}", server.base());
        browsers.open("member", Browser::Chromium, &invited).await.unwrap();
        browsers.wait_text("member", LIMIT, "Nobody is live yet").await.unwrap();
        browsers.stop().await.unwrap();
    });
}

#[test]
fn a_machine_without_a_camera_is_told_so() {
    in_own_network("failures::a_machine_without_a_camera_is_told_so", async {
        let server = server("create").await;
        let mut browsers = Browsers::start().unwrap();
        create_room(&mut browsers, &server, Browser::ChromiumWithoutDevices).await;
        browsers.wait_text("publisher", LIMIT, "No camera or microphone was found").await.unwrap();
        browsers.stop().await.unwrap();
    });
}

#[test]
fn somebody_who_refuses_the_camera_is_told_how_to_allow_it() {
    in_own_network("failures::somebody_who_refuses_the_camera_is_told_how_to_allow_it", async {
        let server = server("create").await;
        let mut browsers = Browsers::start().unwrap();
        create_room(&mut browsers, &server, Browser::ChromiumThatRefuses).await;
        browsers.wait_text("publisher", LIMIT, "Camera and microphone are blocked").await.unwrap();
        browsers.wait_text("publisher", LIMIT, "Allow it with the camera icon beside the address").await.unwrap();
        browsers.stop().await.unwrap();
    });
}

#[test]
fn a_link_that_has_expired_is_called_so() {
    in_own_network("failures::a_link_that_has_expired_is_called_so", async {
        let server = server("none").await;
        let rooms = Rooms::new(server.base(), server.secret()).unwrap();
        let room = rooms.create("short").await.unwrap();
        let token = expired_token(&server, &room).await;
        let mut browsers = Browsers::start().unwrap();
        for (page, place) in [("viewer", "watch"), ("publisher", "live")] {
            let address = format!("{}/{place}/{room}#token={token}", server.base());
            browsers.open(page, Browser::Chromium, &address).await.unwrap();
            browsers.wait_text(page, LIMIT, "Your link has expired").await.unwrap();
            browsers.wait_text(page, LIMIT, "Ask whoever invited you for a new link").await.unwrap();
        }
        browsers.stop().await.unwrap();
    });
}

/// Returns a token that the server does not take any more.
async fn expired_token(server: &Server, room: &str) -> String {
    let client = reqwest::Client::new();
    let url = format!("{}/api/rooms/{room}", server.base());
    let wanted = json!({ "identity": "late", "role": "speaker", "expires_in": 1 });
    let made = client.post(format!("{url}/tokens")).bearer_auth(server.secret()).json(&wanted).send().await.unwrap();
    let made: Value = made.json().await.unwrap();
    let token = made["token"].as_str().unwrap().to_owned();
    let deadline = Instant::now() + LIMIT;
    while client.get(&url).bearer_auth(&token).send().await.unwrap().status() != 401 {
        assert!(Instant::now() < deadline, "a token of one second expires");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    token
}

#[test]
fn a_network_that_blocks_udp_is_called_so_to_who_publishes_and_to_who_watches() {
    in_own_network("failures::a_network_that_blocks_udp_is_called_so_to_who_publishes_and_to_who_watches", async {
        let mut show = Show::start(Browser::Chromium, Browser::Chromium).await;
        let watch = show.browsers.evaluate("viewer", "location.href").await.unwrap();
        let wall = Loss::of_all_udp().unwrap();
        create_room(&mut show.browsers, &show.server, Browser::Chromium).await;
        show.browsers.click("publisher", "button.go").await.unwrap();
        show.browsers.open("late", Browser::Chromium, watch.as_str().unwrap()).await.unwrap();
        for page in ["publisher", "late"] {
            show.browsers.wait_text(page, LIMIT, "Your network blocks live video").await.unwrap();
            show.browsers.wait_text(page, LIMIT, "because UDP is blocked").await.unwrap();
        }
        assert!(wall.count().unwrap() > 0, "UDP was sent, and lost");
        // Where it gets through again, trying again is all that is needed.
        drop(wall);
        show.browsers.click("late", "button.primary").await.unwrap();
        show.wait_playing("late").await;
        show.end().await;
    });
}

#[test]
fn a_server_that_was_down_is_found_again() {
    in_own_network("failures::a_server_that_was_down_is_found_again", async {
        let mut show = Show::start(Browser::Chromium, Browser::Chromium).await;
        let mark = show.measure("viewer").await["mark"].clone();
        // First the supervisor, or it would start the data plane again.
        let dataplane = show.server.dataplane_pid().await.unwrap();
        show.server.kill_controlplane().unwrap();
        Server::signal(dataplane, rustix::process::Signal::KILL).unwrap();
        show.browsers.wait_text("viewer", LIMIT, "Trying again by itself").await.unwrap();
        show.server.start_controlplane().await.unwrap();
        show.watch_for(Duration::from_secs(1)).await;
        show.wait_playing("viewer").await;
        assert_eq!(show.measure("viewer").await["mark"], mark, "the page was not loaded again");
        show.end().await;
    });
}
