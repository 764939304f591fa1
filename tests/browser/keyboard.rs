//! The page without a pointer: whatever a show needs is reached and pressed by keys.

use sluice_tests::{Browser, Browsers, in_own_network};

use crate::show::{LIMIT, Show, sends, server};

/// Stops of the tabulator on a page, at most.
const STOPS_MAX: usize = 40;
/// Whether the focus is where a selector says, and can be seen there.
const FOCUSED: &str = "(() => {
    const focused = document.activeElement;
    if (focused === null || !focused.matches(SELECTOR) || focused.disabled) return '';
    const { outlineStyle, boxShadow } = getComputedStyle(focused);
    return focused.matches(':focus-visible') && (outlineStyle !== 'none' || boxShadow !== 'none') ? 'seen' : 'unseen';
})()";

#[test]
fn somebody_goes_live_and_somebody_watches_by_keys_alone() {
    in_own_network("keyboard::somebody_goes_live_and_somebody_watches_by_keys_alone", async {
        let server = server("create").await;
        let mut browsers = Browsers::start().unwrap();
        let front = format!("{}/", server.base());
        browsers.open("publisher", Browser::Chromium, &front).await.unwrap();
        tab_to(&mut browsers, "publisher", "#room-name").await;
        browsers.write("publisher", "A show").await.unwrap();
        browsers.press("publisher", "Enter").await.unwrap();
        browsers.wait_text("publisher", LIMIT, "Say something").await.unwrap();
        tab_to(&mut browsers, "publisher", "button.go").await;
        browsers.press("publisher", "Enter").await.unwrap();
        browsers.wait_until("publisher", LIMIT, sends).await.unwrap();
        let path = browsers.evaluate("publisher", "location.pathname").await.unwrap();
        let room = path.as_str().unwrap().strip_prefix("/live/").unwrap().to_owned();

        browsers.open("viewer", Browser::Chromium, &front).await.unwrap();
        tab_to(&mut browsers, "viewer", "#room-link").await;
        browsers.write("viewer", &room).await.unwrap();
        browsers.press("viewer", "Enter").await.unwrap();
        let mut show = Show { server, browsers };
        show.wait_playing("viewer").await;

        let browsers = &mut show.browsers;
        for (label, key) in [("Turn the sound off", "Space"), ("Turn the sound on", "Enter")] {
            tab_to(browsers, "viewer", &format!("button[aria-label=\"{label}\"]")).await;
            browsers.press("viewer", key).await.unwrap();
        }
        tab_to(browsers, "publisher", "button[aria-label=\"Mute the microphone\"]").await;
        browsers.press("publisher", "Space").await.unwrap();
        browsers.wait_text("publisher", LIMIT, "You are muted.").await.unwrap();
        tab_to(browsers, "publisher", "button[aria-label=\"Stop\"]").await;
        browsers.press("publisher", "Enter").await.unwrap();
        browsers.wait_text("publisher", LIMIT, "You have left").await.unwrap();
        browsers.wait_text("viewer", LIMIT, "The broadcast has ended").await.unwrap();
        show.end().await;
    });
}

/// Presses the tabulator until the focus is where a selector says, and checks that a person sees where it is. A control that
/// is disabled for a moment is passed over and come back to.
async fn tab_to(browsers: &mut Browsers, page: &str, selector: &str) {
    let look = FOCUSED.replace("SELECTOR", &format!("{selector:?}"));
    for _ in 0..STOPS_MAX {
        match browsers.evaluate(page, &look).await.unwrap().as_str() {
            Some("seen") => return,
            Some("unseen") => panic!("{page}: nobody sees that {selector} has the focus"),
            _ => browsers.press(page, "Tab").await.unwrap(),
        }
    }
    panic!("{page}: {selector} is not reached by the tabulator\n{}", browsers.text(page).await.unwrap());
}
