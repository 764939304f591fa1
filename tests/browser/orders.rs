//! Whatever two people do in whatever order, both pages show how it is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluice_tests::{Browser, Chance, in_own_network};

use crate::call::Call;
use crate::show::LIMIT;

/// Steps of the two together.
const STEPS: usize = 15;
const PEOPLE: [&str; 2] = ["Ann", "Ben"];

/// What a page shows: each tile by its words, with whether it plays and is muted; nothing where it is in no call. The picture
/// of somebody else plays when there is one to see.
const TILES: &str = "(() => {
    if (document.querySelector('[data-state=\"live\"]') === null) return null;
    const tiles = [...document.querySelectorAll('.tile')].map((tile) => {
        const words = tile.querySelector('.name').textContent.trim();
        const plays = tile.dataset.playing === 'true' && tile.querySelector('video')?.videoWidth > 0;
        return [words, { plays, muted: tile.querySelector('.label').textContent.includes('muted') }];
    });
    return Object.fromEntries(tiles);
})()";

/// What somebody can do.
#[derive(Debug, Clone, Copy)]
enum Step {
    JoinOrLeave,
    Camera,
    Microphone,
    Screen,
}

/// How somebody is.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each of them is a button of the page, and any of them goes with any other"
)]
struct Person {
    is_there: bool,
    has_camera: bool,
    is_muted: bool,
    shares: bool,
}

impl Person {
    /// Does something, and returns what is pressed for it.
    fn take(&mut self, step: Step) -> &'static str {
        let (state, pressed) = match step {
            Step::JoinOrLeave if self.is_there => {
                self.shares = false;
                (&mut self.is_there, ["", "button[aria-label=\"Leave the call\"]"])
            }
            Step::JoinOrLeave => (&mut self.is_there, ["form button.join", ""]),
            Step::Camera => (
                &mut self.has_camera,
                ["button[aria-label=\"Turn the camera on\"]", "button[aria-label=\"Turn the camera off\"]"],
            ),
            Step::Microphone => (
                &mut self.is_muted,
                ["button[aria-label=\"Mute the microphone\"]", "button[aria-label=\"Unmute the microphone\"]"],
            ),
            Step::Screen => (
                &mut self.shares,
                ["button[aria-label=\"Share your screen\"]", "button[aria-label=\"Stop sharing your screen\"]"],
            ),
        };
        let was = std::mem::replace(state, !*state);
        pressed[usize::from(was)]
    }

    /// Adds the tiles that show it.
    fn show(self, words: &str, screen: &str, tiles: &mut BTreeMap<String, Value>) {
        tiles.insert(words.to_owned(), json!({ "plays": self.has_camera, "muted": self.is_muted }));
        if self.shares {
            tiles.insert(screen.to_owned(), json!({ "plays": true, "muted": false }));
        }
    }
}

#[test]
fn both_pages_show_how_it_is_whatever_people_do_in_whatever_order() {
    in_own_network("orders::both_pages_show_how_it_is_whatever_people_do_in_whatever_order", async {
        let mut chance = Chance::new();
        let mut call = Call::start(Browser::ChromiumWithASmallCamera).await;
        call.join("Ben", Browser::ChromiumWithASmallCamera).await;
        let mut people = [Person { is_there: true, has_camera: true, is_muted: false, shares: false }; 2];
        wait_shown(&mut call, people).await;
        for number in 1..=STEPS {
            let which = if chance.below(2) == 0 { 0 } else { 1 };
            let person = &mut people[which];
            // Coming and going is what everything else has to stand.
            let step = match chance.below(5) {
                0 | 1 => Step::JoinOrLeave,
                2 => Step::Camera,
                3 => Step::Microphone,
                _ if person.is_there => Step::Screen,
                _ => Step::JoinOrLeave,
            };
            println!("step {number}: {} {step:?}, who was {person:?}", PEOPLE[which]);
            let pressed = person.take(step);
            call.press(PEOPLE[which], pressed).await;
            wait_shown(&mut call, people).await;
        }
        call.browsers.stop().await.unwrap();
    });
}

/// Waits until each page shows just what is.
async fn wait_shown(call: &mut Call, people: [Person; 2]) {
    for (name, (own, (other, theirs))) in
        PEOPLE.into_iter().zip(people.into_iter().zip(PEOPLE.into_iter().zip(people).rev()))
    {
        let mut tiles = BTreeMap::new();
        own.show(&format!("{name} (you)"), "Your screen", &mut tiles);
        if theirs.is_there {
            theirs.show(other, &format!("{other}’s screen"), &mut tiles);
        }
        let wanted = if own.is_there { json!(tiles) } else { Value::Null };
        let deadline = Instant::now() + LIMIT;
        loop {
            let found = call.browsers.evaluate(name, TILES).await.unwrap();
            if found == wanted {
                break;
            }
            if Instant::now() > deadline {
                let picture = call.browsers.picture(name).await;
                panic!("{name} shows {found:#}, and there is {wanted:#}\n{picture}\n{}", call.server.logs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
