//! The peer connections of sessions, in browsers, while the control plane dies and their clients resume.

use std::time::Duration;

use serde_json::{Value, json};
use sluice_tests::{ADDRESS, Browser, Browsers, Options, Server, Signaller, in_own_network};

use crate::call::{enter, text};

const PAGE: &str = include_str!("../peers/call_peer.js");
/// How long a browser may take, on a machine that does other things too.
const LIMIT: Duration = Duration::from_secs(40);

/// Somebody with a page for the media and a WebSocket beside it.
struct Caller {
    page: &'static str,
    client: Signaller,
}

impl Caller {
    async fn enter(server: &Server, browsers: &mut Browsers, page: &'static str) -> Self {
        browsers.open(page, Browser::Chromium, server.base()).await.unwrap();
        let _none = browsers.evaluate(page, &format!("{{ {PAGE} }}")).await.unwrap();
        Self { page, client: enter(server, "a", page).await }
    }

    /// Publishes a camera, and returns the server's answer.
    async fn publish(&mut self, browsers: &mut Browsers) -> Value {
        self.offer(browsers, 1, "call.offer()", true).await
    }

    /// Offers what the page says, and returns the server's answer.
    async fn offer(&mut self, browsers: &mut Browsers, id: u64, words: &str, publishes: bool) -> Value {
        let sdp = browsers.evaluate(self.page, words).await.unwrap();
        if publishes {
            let request = json!({ "type": "publish_track", "mid": "0", "source": "camera", "height": 240 });
            self.client.done(request).await.unwrap();
        }
        let answer = self.client.done(json!({ "type": "offer", "offer_id": id, "sdp": sdp })).await.unwrap();
        let _none = browsers.evaluate(self.page, &format!("call.accept({})", answer["sdp"])).await.unwrap();
        answer
    }

    /// Answers the server's next offer, and returns it.
    async fn answer(&mut self, browsers: &mut Browsers) -> Value {
        let offer = self.client.told("offer").await.unwrap();
        let sdp = browsers.evaluate(self.page, &format!("call.answer({})", offer["sdp"])).await.unwrap();
        let request = json!({ "type": "answer", "offer_id": offer["offer_id"], "sdp": sdp });
        self.client.done(request).await.unwrap();
        offer
    }

    /// Answers the server's offers until a track arrives.
    async fn answer_until(&mut self, browsers: &mut Browsers, track: &Value) {
        for _ in 0..3 {
            let _offer = self.answer(browsers).await;
            let subscribed = |told: &Value| told["type"] == "track_subscribed" && told["track_id"] == *track;
            if self.client.told_within(Duration::from_secs(3), subscribed).await.is_ok() {
                return;
            }
        }
        panic!("{track} does not arrive");
    }

    /// Goes on with its session over a new WebSocket.
    async fn resume(&mut self, server: &Server) -> Value {
        let (token, seq) = (self.client.resume_token(), self.client.seq());
        let (client, answer) = Signaller::resume(server.base(), &token, seq).await.unwrap();
        assert_eq!(answer["type"], "resumed", "{answer}");
        self.client = client;
        answer
    }
}

fn decoded(found: &Value) -> f64 {
    found["video"]["framesDecoded"].as_f64().unwrap_or(0.0)
}

/// Waits until a page has decoded thirty more pictures than `before`, and returns what identifies it and its connection.
async fn decodes(browsers: &mut Browsers, page: &str, before: f64) -> (f64, Vec<Value>) {
    let found = browsers.wait_until(page, LIMIT, |found| decoded(found) > before + 30.0).await.unwrap();
    (decoded(&found), ["mark", "connections", "local", "remote", "pair"].map(|key| found[key].clone()).into())
}

#[test]
fn connections_outlive_the_control_plane_and_their_sessions_are_resumed_with_them() {
    const NAME: &str = "connections::connections_outlive_the_control_plane_and_their_sessions_are_resumed_with_them";
    in_own_network(NAME, async {
        let options = Options { announce: Some(ADDRESS.to_owned()), ..Options::default() };
        let mut server = Server::start(options).await.unwrap();
        server.make_room("a").await.unwrap();
        let mut browsers = Browsers::start().unwrap();
        let mut ann = Caller::enter(&server, &mut browsers, "ann").await;
        let mut ben = Caller::enter(&server, &mut browsers, "ben").await;
        let answered = ann.publish(&mut browsers).await;
        let track = text(&answered["tracks"][0]["track_id"]);
        let offered = ben.answer(&mut browsers).await;
        let subscribed = ben.client.told("track_subscribed").await.unwrap();
        let (frames, before) = decodes(&mut browsers, "ben", 0.0).await;

        server.kill_controlplane().unwrap();
        server.start_controlplane().await.unwrap();
        let (of_ann, of_ben) = (ann.resume(&server).await, ben.resume(&server).await);
        assert_eq!((&of_ann["complete"], &of_ben["complete"]), (&json!(false), &json!(false)));
        assert_eq!(of_ann["publisher_connection_id"], answered["connection_id"]);
        assert_eq!(of_ben["subscriber_connection_id"], offered["connection_id"]);
        assert_eq!((&of_ann["published"], &of_ann["publisher_offer_id"]), (&answered["tracks"], &json!(1)));
        assert_eq!(of_ben["subscribed"], json!([{ "track_id": track, "mid": subscribed["mid"] }]));
        let (frames, after) = decodes(&mut browsers, "ben", frames).await;
        assert_eq!(before, after, "nothing was negotiated");

        // Both are served as before: what one does the other hears, and ICE restarts on the same connection.
        ann.client.done(json!({ "type": "mute_track", "track_id": track, "muted": true })).await.unwrap();
        assert_eq!(ben.client.told("track_muted").await.unwrap()["muted"], true);
        ann.client.done(json!({ "type": "mute_track", "track_id": track, "muted": false })).await.unwrap();
        ben.client.done(json!({ "type": "restart_ice" })).await.unwrap();
        let restarted = ben.answer(&mut browsers).await;
        assert_eq!(restarted["connection_id"], offered["connection_id"]);
        let (_, after) = decodes(&mut browsers, "ben", frames).await;
        assert_eq!((&before[..2], before[4] == after[4]), (&after[..2], false), "the same page, another pair");
        // So is a connection that is made only now.
        let _answer = ben.publish(&mut browsers).await;
        let _offer = ann.answer(&mut browsers).await;
        let (frames, _) = decodes(&mut browsers, "ann", 0.0).await;
        // What was sent over a line that was inactive for a while goes on, in all its encodings.
        let ended = ben.offer(&mut browsers, 2, "call.turn('inactive')", false).await;
        assert_eq!(ended["tracks"], json!([]));
        let again = ben.offer(&mut browsers, 3, "call.turn('sendonly')", true).await;
        assert!(text(&again["sdp"]).contains("a=simulcast:recv low;high"), "{again}");
        ann.answer_until(&mut browsers, &again["tracks"][0]["track_id"]).await;
        let _ann_sees = decodes(&mut browsers, "ann", frames).await;
        browsers.stop().await.unwrap();
    });
}

#[test]
fn connections_that_failed_at_a_client_are_replaced_at_once_and_tracks_stay() {
    const NAME: &str = "connections::connections_that_failed_at_a_client_are_replaced_at_once_and_tracks_stay";
    in_own_network(NAME, async {
        let options = Options { announce: Some(ADDRESS.to_owned()), ..Options::default() };
        let server = Server::start(options).await.unwrap();
        server.make_room("a").await.unwrap();
        let mut browsers = Browsers::start().unwrap();
        let mut ann = Caller::enter(&server, &mut browsers, "ann").await;
        let mut ben = Caller::enter(&server, &mut browsers, "ben").await;
        let before = ann.publish(&mut browsers).await;
        let _published = ben.client.told("track_published").await.unwrap();
        let offered = ben.answer(&mut browsers).await;
        let (frames, _) = decodes(&mut browsers, "ben", 0.0).await;

        // Another connection with a certificate of its own, while the server takes the one before for alive.
        let after = ann.offer(&mut browsers, 2, "call.offer()", true).await;
        assert_ne!(after["connection_id"], before["connection_id"]);
        assert_eq!(after["tracks"], before["tracks"], "the track goes on under its name");
        let closed = ann.client.told("connection_closed").await.unwrap();
        assert_eq!((&closed["connection"], &closed["connection_id"]), (&json!("publisher"), &before["connection_id"]));
        let (_, seen) = decodes(&mut browsers, "ben", frames).await;
        let is_leave = |told: &Value| {
            ["track_unpublished", "track_unsubscribed", "track_published", "participant_left", "offer"]
                .contains(&text(&told["type"]).as_str())
        };
        let told = ben.client.told_within(Duration::from_millis(500), is_leave).await;
        assert!(told.is_err(), "nobody sees a track leave: {told:?}");
        assert_eq!(seen[1], json!(1), "nor needs another connection");

        // The same for what receives; of a connection that was given up before nothing is given up.
        let stale = json!({ "type": "renew_connection", "connection_id": before["connection_id"] });
        ben.client.done(stale).await.unwrap();
        let renew = json!({ "type": "renew_connection", "connection_id": offered["connection_id"] });
        ben.client.done(renew).await.unwrap();
        let closed = ben.client.told("connection_closed").await.unwrap();
        assert_eq!(closed["connection_id"], offered["connection_id"]);
        let _none = browsers.evaluate("ben", "call.renew()").await.unwrap();
        ben.answer_until(&mut browsers, &before["tracks"][0]["track_id"]).await;
        let pairs = |found: &Value| found["connections"] == json!(2) && decoded(found) > 30.0;
        let _sees = browsers.wait_until("ben", LIMIT, pairs).await.unwrap();
        browsers.stop().await.unwrap();
    });
}
