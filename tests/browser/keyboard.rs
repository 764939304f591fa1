//! The page without a pointer: whatever a show needs is reached and pressed by keys.

use std::time::{Duration, Instant};

use sluice_tests::{Browser, Browsers, in_own_network};

use crate::call::Call;
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

/// Controls that are shown and have no name: neither a label nor words of their own.
const NAMELESS: &str = "(() => {
    const shown = [...document.querySelectorAll('button, a[href], input, select, summary')]
        .filter((element) => element.checkVisibility());
    const named = (element) => [element.ariaLabel, element.innerText, ...[...(element.labels ?? [])].map((label) => label.textContent)]
        .some((words) => (words ?? '').trim() !== '');
    return shown.filter((element) => !named(element)).map((element) => element.outerHTML.slice(0, 200));
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

#[test]
fn people_meet_and_one_hosts_by_keys_alone_and_readers_of_the_screen_are_told() {
    in_own_network("keyboard::people_meet_and_one_hosts_by_keys_alone_and_readers_of_the_screen_are_told", async {
        let server = server("create").await;
        let mut browsers = Browsers::start().unwrap();
        browsers.open("Ann", Browser::ChromiumWithASmallCamera, &format!("{}/", server.base())).await.unwrap();
        tab_to(&mut browsers, "Ann", "#call-name").await;
        browsers.write("Ann", "A call").await.unwrap();
        browsers.press("Ann", "Enter").await.unwrap();
        let mut call = Call::lobby(server, browsers).await;
        enter(&mut call.browsers, "Ann").await;
        let address = call.browsers.evaluate("Ann", "location.href").await.unwrap();
        let ben = Browser::ChromiumWithASmallCamera;
        call.browsers.open("Ben", ben, address.as_str().unwrap()).await.unwrap();
        enter(&mut call.browsers, "Ben").await;
        let browsers = &mut call.browsers;
        wait_told(browsers, "Ann", "Ben joined").await;
        assert_named(browsers, "Ann").await;

        press_at(browsers, "Ann", "button[aria-label=\"Mute the microphone\"]", "Space").await;
        let tile = ".tile[aria-label=\"Ann\"][role=\"listitem\"]";
        wait_there(browsers, "Ben", &format!(":is([role=\"list\"], ul) {tile}")).await;
        press_at(browsers, "Ann", "button[aria-label=\"People\"]", "Enter").await;
        press_at(browsers, "Ann", ".people summary", "Enter").await;
        assert_named(browsers, "Ann").await;
        press_at(browsers, "Ann", ".people details button", "Enter").await;
        wait_told(browsers, "Ben", "A host muted your microphone").await;
        wait_there(browsers, "Ben", "button[aria-label=\"Muted by a host\"]").await;
        press_at(browsers, "Ann", ".people .manage button[aria-pressed=\"false\"]", "Space").await;
        wait_there(browsers, "Ann", ".people .manage button[aria-pressed=\"true\"]").await;
        browsers.press("Ann", "Escape").await.unwrap();
        wait_there(browsers, "Ann", "body:not(:has(.people))").await;
        press_at(browsers, "Ben", "button[aria-label=\"Leave the call\"]", "Enter").await;
        browsers.wait_text("Ben", LIMIT, "You left the call").await.unwrap();
        wait_told(browsers, "Ann", "Ben left").await;
        call.browsers.stop().await.unwrap();
    });
}

/// Says a name in the lobby and enters, by keys.
async fn enter(browsers: &mut Browsers, name: &str) {
    browsers.wait_text(name, LIMIT, "Say something").await.unwrap();
    assert_named(browsers, name).await;
    tab_to(browsers, name, "#own-name").await;
    browsers.write(name, name).await.unwrap();
    browsers.press(name, "Enter").await.unwrap();
    wait_there(browsers, name, "[data-state=\"live\"]").await;
}

async fn press_at(browsers: &mut Browsers, page: &str, selector: &str, key: &str) {
    tab_to(browsers, page, selector).await;
    browsers.press(page, key).await.unwrap();
}

/// Waits until the page has what a selector finds.
async fn wait_there(browsers: &mut Browsers, page: &str, selector: &str) {
    wait(browsers, page, &format!("document.querySelector({selector:?}) !== null")).await;
}

/// Waits until readers of the screen are told something.
async fn wait_told(browsers: &mut Browsers, page: &str, words: &str) {
    let told = "[...document.querySelectorAll('[aria-live]')].some(({ textContent }) => textContent.includes(WORDS))";
    wait(browsers, page, &told.replace("WORDS", &format!("{words:?}"))).await;
}

async fn wait(browsers: &mut Browsers, page: &str, script: &str) {
    let deadline = Instant::now() + LIMIT;
    while browsers.evaluate(page, script).await.unwrap() != true {
        if Instant::now() > deadline {
            let (text, picture) = (browsers.text(page).await.unwrap(), browsers.picture(page).await);
            panic!("{page} waits for {script}\n{text}\n{picture}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Checks that a reader of the screen has a name for everything that can be pressed, chosen or written into.
async fn assert_named(browsers: &mut Browsers, page: &str) {
    let nameless = browsers.evaluate(page, NAMELESS).await.unwrap();
    assert_eq!(nameless, serde_json::json!([]), "{page}: controls without a name");
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
