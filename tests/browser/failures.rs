//! What the page says when something is wrong.

use std::time::Duration;

use sluice_load::Rooms;
use sluice_tests::{Browser, Browsers, in_own_network};

use crate::show::{LIMIT, Show, server};

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
        browsers.click("guest", "form button.primary").await.unwrap();
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
        browsers.open("publisher", Browser::ChromiumWithoutDevices, &format!("{}/", server.base())).await.unwrap();
        browsers.type_into("publisher", "#room-name", "A show").await.unwrap();
        browsers.click("publisher", "form button.primary").await.unwrap();
        browsers.wait_text("publisher", LIMIT, "No camera or microphone was found").await.unwrap();
        browsers.stop().await.unwrap();
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
        sluice_tests::Server::signal(dataplane, rustix::process::Signal::KILL).unwrap();
        show.browsers.wait_text("viewer", LIMIT, "Trying again by itself").await.unwrap();
        show.server.start_controlplane().await.unwrap();
        show.watch_for(Duration::from_secs(1)).await;
        show.wait_playing("viewer").await;
        assert_eq!(show.measure("viewer").await["mark"], mark, "the page was not loaded again");
        show.end().await;
    });
}
