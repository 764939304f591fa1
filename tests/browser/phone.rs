//! The page in a hand: as wide as a phone, with touch.

use serde_json::Value;
use sluice_tests::{Browser, Browsers, in_own_network};

use crate::call::Call;
use crate::show::{LIMIT, Show, number, sends, server};

/// The least size of what is touched, in CSS pixels (WCAG 2.2, success criterion 2.5.8).
const TOUCH_MIN: f64 = 24.0;
/// How wide everything is together, and every control that is shown: what it is, its edges, its height.
const LAYOUT: &str = "(() => {
    const shown = [...document.querySelectorAll('button, a.button, input, select, video')]
        .map((element) => [element, element.getBoundingClientRect()])
        .filter(([, { width, height }]) => width > 0 && height > 0);
    const control = ([element, { left, right, height }]) =>
        ({ is: element.outerHTML.slice(0, 120), tag: element.tagName, left, right, height });
    return {
        width: innerWidth, scroll: document.documentElement.scrollWidth, controls: shown.map(control)
    };
})()";

#[test]
fn a_phone_goes_live_and_a_phone_watches_with_everything_in_its_width() {
    in_own_network("phone::a_phone_goes_live_and_a_phone_watches_with_everything_in_its_width", async {
        let phone = Browser::ChromiumOnAPhone;
        let mut show = Show::start(phone, phone).await;
        let front = format!("{}/", show.server.base());
        show.browsers.wait_until("publisher", LIMIT, sends).await.unwrap();
        assert_fits(&mut show.browsers, "publisher").await;
        assert_fits(&mut show.browsers, "viewer").await;
        show.browsers.click("viewer", "button[aria-label=\"Quality\"]").await.unwrap();
        assert_fits(&mut show.browsers, "viewer").await;
        show.browsers.open("front", phone, &front).await.unwrap();
        assert_fits(&mut show.browsers, "front").await;
        show.end().await;
    });
}

#[test]
fn a_phone_meets_and_hosts_with_everything_in_its_width() {
    in_own_network("phone::a_phone_meets_and_hosts_with_everything_in_its_width", async {
        let server = server("create").await;
        let mut browsers = Browsers::start().unwrap();
        browsers.open("Ann", Browser::ChromiumOnAPhone, &format!("{}/", server.base())).await.unwrap();
        browsers.type_into("Ann", "#call-name", "A call").await.unwrap();
        browsers.click("Ann", "#start-call button").await.unwrap();
        browsers.wait_text("Ann", LIMIT, "Say something").await.unwrap();
        assert_fits(&mut browsers, "Ann").await;
        let mut call = Call::lobby(server, browsers).await;
        call.enter("Ann").await;
        assert_fits(&mut call.browsers, "Ann").await;
        call.join("Ben", Browser::ChromiumWithASmallCamera).await;
        call.wait_meeting("Ann", &["Ben"]).await;
        assert_fits(&mut call.browsers, "Ann").await;
        call.press_labelled("Ann", "Quality").await;
        call.press_labelled("Ann", "Show Ben large").await;
        assert_fits(&mut call.browsers, "Ann").await;
        call.press_labelled("Ann", "People").await;
        call.press("Ann", ".people summary").await;
        call.press("Ann", ".people button[aria-expanded=\"false\"]").await;
        assert_fits(&mut call.browsers, "Ann").await;
        call.press("Ann", ".people .manage button[aria-pressed]").await;
        call.browsers.wait_text("Ann", LIMIT, "Unlock the room").await.unwrap();
        call.browsers.stop().await.unwrap();
    });
}

/// Checks that nothing stands out to the side, and that a finger hits what it is meant to.
async fn assert_fits(browsers: &mut Browsers, page: &str) {
    let found = browsers.evaluate(page, LAYOUT).await.unwrap();
    assert_eq!(number(&found["width"]), 390.0, "{page} is as wide as a phone");
    assert!(number(&found["scroll"]) <= 390.0, "{page} scrolls to the side: {found:#}");
    let controls: &Vec<Value> = found["controls"].as_array().unwrap();
    assert!(controls.len() >= 2, "{page} has controls: {found:#}");
    for control in controls {
        let inside = number(&control["left"]) >= 0.0 && number(&control["right"]) <= 390.0;
        assert!(inside, "{page}: {control:#} stands out to the side");
        let height = number(&control["height"]);
        assert!(
            height >= TOUCH_MIN || control["is"].as_str().unwrap().contains("range"),
            "{page}: {control:#} is small"
        );
    }
}
