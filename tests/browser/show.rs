//! Somebody is live from a browser, and somebody watches in another.

use std::time::{Duration, Instant};

use serde_json::Value;
use sluice_tests::{ADDRESS, Browser, Browsers, Options, Server};

/// How long a page may take for anything, on a machine that encodes and decodes at the same time.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

/// A server with somebody live (`publisher`) and somebody who watches (`viewer`).
pub(crate) struct Show {
    pub(crate) server: Server,
    pub(crate) browsers: Browsers,
}

impl Show {
    /// Creates a room on the front page, goes live from it, and watches.
    pub(crate) async fn start(publisher: Browser, viewer: Browser) -> Self {
        let server = server("create").await;
        let mut browsers = Browsers::start().unwrap();
        create_room(&mut browsers, &server, publisher).await;
        browsers.click("publisher", "button.go").await.unwrap();
        browsers.wait_until("publisher", LIMIT, sends).await.unwrap();
        let path = browsers.evaluate("publisher", "location.pathname").await.unwrap();
        let room = path.as_str().unwrap().strip_prefix("/live/").unwrap().to_owned();
        let watch = format!("{}/watch/{room}", server.base());
        browsers.open("viewer", viewer, &watch).await.unwrap();
        let mut show = Self { server, browsers };
        show.wait_playing("viewer").await;
        show.browsers.record_pictures("viewer").await.unwrap();
        show
    }

    /// Waits until a page shows moving pictures with sound.
    pub(crate) async fn wait_playing(&mut self, page: &str) {
        let plays = |found: &Value| number(&found["video"]["framesDecoded"]) > 40.0 && heard(found) > 0.0;
        let found = self.browsers.wait_until(page, LIMIT, plays).await;
        let _plays = found.unwrap_or_else(|error| panic!("{error:#}\n{}", self.server.logs()));
    }

    pub(crate) async fn measure(&mut self, page: &str) -> Value {
        self.browsers.measure(page).await.unwrap()
    }

    /// Waits for a time of which a test says why it passes.
    pub(crate) async fn watch_for(&self, time: Duration) {
        let until = Instant::now() + time;
        tokio::time::sleep_until(until.into()).await;
    }

    pub(crate) async fn end(self) {
        self.browsers.stop().await.unwrap();
    }
}

/// A server that browsers in the test's own network reach; the page itself comes over loopback, which browsers take for
/// secure.
pub(crate) async fn server(guests: &'static str) -> Server {
    let options = Options { announce: Some(ADDRESS.to_owned()), guests, ..Options::default() };
    Server::start(options).await.unwrap()
}

/// Opens the front page in `publisher` and creates a room there, where it is then about to go live.
pub(crate) async fn create_room(browsers: &mut Browsers, server: &Server, browser: Browser) {
    browsers.open("publisher", browser, &format!("{}/", server.base())).await.unwrap();
    browsers.type_into("publisher", "#room-name", "A show").await.unwrap();
    browsers.click("publisher", "#go-live button").await.unwrap();
}

/// Whether a page sends pictures.
pub(crate) fn sends(found: &Value) -> bool {
    found["state"] == "connected" && number(&found["sentVideo"]["framesEncoded"]) > 10.0
}

/// A number of a measurement; none counts as zero.
pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

/// Energy of the sound that was played.
pub(crate) fn heard(found: &Value) -> f64 {
    number(&found["audio"]["totalAudioEnergy"])
}

/// Everything that identifies a page and its connection: none of it may change when a plane is killed.
pub(crate) fn identity(found: &Value) -> Vec<Value> {
    ["mark", "connections", "local", "remote", "pair"].map(|key| found[key].clone()).into()
}
