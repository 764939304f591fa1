//! The conductor between the real router and a data plane in a process of its own.

mod hidden;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use axum::response::Response;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Running, Setup, run};
use crate::addresses::Announced;
use crate::auth::{ApiKey, KeyRing, issue};
use crate::conductor::Sight;
use crate::config::{Guests, Http};
use crate::dataplane::{self, Supervisor, tests::fake};
use crate::dtls::Certificate;
use crate::events::{Events, Next};
use crate::http::{Parts, Peer, Server, router};
use crate::log::kept::Kept;
use crate::store::Store;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
/// What Chromium sends to play; the data plane of these tests refuses every egress stream.
const TO_PLAY: &str = include_str!("../../../../core/tests/vectors/sdp/chromium-d-recvonly.offer.sdp");
/// What Chromium sends to publish.
const TO_PUBLISH: &str = include_str!("../../../../core/tests/vectors/sdp/chromium-a-vp8-opus.offer.sdp");

struct Rig {
    app: Router,
    supervisor: Supervisor,
    events: Arc<Events>,
    folder: tempfile::TempDir,
}

/// What was answered: status, headers that are looked at, body.
struct Reply {
    status: u16,
    retry_after: Option<String>,
    location: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Rig {
    async fn new() -> Self {
        let rig = Self::start(tempfile::tempdir().unwrap()).await;
        // The port is told before the snapshot is read.
        while rig.create_room().await != 201 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rig
    }

    /// Starts both planes over a data directory.
    async fn start(folder: tempfile::TempDir) -> Self {
        let store = Store::open(folder.path()).await.unwrap();
        let (supervisor, handle, events) = dataplane::start(supervision(folder.path())).unwrap();
        let events_of_rooms = Arc::new(Events::new(7));
        let Running { handle: conductor, mut port, task: _ } = run(Setup {
            dataplane: handle,
            events,
            store: store.clone(),
            rooms: store.rooms().await.unwrap(),
            removals: store.removals().await.unwrap(),
            announced: Announced::new(vec!["192.0.2.1".parse().unwrap()]),
            ice_servers: Vec::new(),
            certificate: Certificate::generate().unwrap(),
            events_of_rooms: Arc::clone(&events_of_rooms),
        });
        let app = router(Server::new(Parts {
            config: Http { request_timeout: Duration::from_secs(30), ..Http::default() },
            guests: Guests::None,
            keys: KeyRing::new([ApiKey::new("main", SECRET).unwrap()]),
            sessions: Arc::new(conductor.clone()),
            conductor: Arc::new(conductor),
            events: Arc::clone(&events_of_rooms),
            store,
        }));
        port.wait_for(Option::is_some).await.unwrap();
        Self { app, supervisor, events: events_of_rooms, folder }
    }

    /// Ends both planes and starts them again over what they left on disk.
    async fn restart(self) -> Self {
        self.supervisor.shut_down().await;
        let rig = Self::start(self.folder).await;
        while rig.send("GET", "/api/rooms/a", "application/json", "").await.status == 503 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        rig
    }

    async fn create_room(&self) -> u16 {
        let room = json!({"id": "a", "name": "a"}).to_string();
        self.send("POST", "/api/rooms", "application/json", &room).await.status
    }

    async fn send(&self, method: &str, path: &str, media_type: &str, body: &str) -> Reply {
        self.send_as(SECRET, method, path, media_type, body).await
    }

    async fn send_as(&self, bearer: &str, method: &str, path: &str, media_type: &str, body: &str) -> Reply {
        let (parts, body) = self.ask(bearer, method, path, media_type, body).await.into_parts();
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        Reply {
            status: parts.status.as_u16(),
            retry_after: header("retry-after"),
            location: header("location").unwrap_or_default(),
            body: to_bytes(body, usize::MAX).await.unwrap().to_vec(),
        }
    }

    /// Asks; the answer's body may have no end.
    async fn ask(&self, bearer: &str, method: &str, path: &str, media_type: &str, body: &str) -> Response {
        let mut request = Request::builder()
            .method(Method::try_from(method).unwrap())
            .uri(path)
            .header("content-type", media_type)
            .extension(Peer(SocketAddr::from(([192, 0, 2, 9], 40_000))));
        if !bearer.is_empty() {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        self.app.clone().oneshot(request).await.unwrap()
    }

    async fn participants(&self) -> usize {
        let reply = self.send("GET", "/api/rooms/a/participants", "application/json", "").await;
        reply.json()["participants"].as_array().unwrap().len()
    }
}

fn supervision(folder: &Path) -> dataplane::Setup {
    dataplane::Setup {
        data_dir: folder.to_owned(),
        socket: folder.join("socket"),
        start: true,
        program: fake::program(folder, false),
        arguments: Vec::new(),
        media_port: 0,
        stop: true,
    }
}

#[tokio::test]
async fn an_offer_whose_plan_the_data_plane_refuses_is_answered_503_and_leaves_nobody_behind() {
    let rig = Rig::new().await;
    let kept = Kept::new();
    let published = rig.send("POST", "/whip/a", "application/sdp", TO_PUBLISH).await;
    assert_eq!(published.status, 201, "what is carried out is answered");
    assert!(published.location.starts_with("/whip/a/"), "{}", published.location);
    let played = rig.send("POST", "/whep/a", "application/sdp", TO_PLAY).await;
    assert_eq!((played.status, played.json()["code"].as_str().unwrap()), (503, "dataplane_refuses"));
    assert_eq!(played.retry_after.as_deref(), Some("1"));
    // The session is closed as soon as the task has heard of the refusal, which was told before the answer.
    for _ in 0..1000 {
        if rig.participants().await == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(rig.participants().await, 1, "the publisher alone");
    // An operator reads the same in as many lines.
    for (what, count) in [(" joined ", 2), (" published ", 2), (" subscribed ", 2), (" left ", 1)] {
        let lines = kept.with(what);
        assert_eq!(lines.len(), count, "{what}: {lines:?}");
        assert!(lines.iter().all(|line| line.contains("room=a participant=PA_")), "{lines:?}");
    }
    let failed = kept.with("refused by the data plane");
    assert!(failed[0].contains("room=a participant=PA_") && failed[0].contains("reason=NoSuchReference"), "{failed:?}");
    rig.supervisor.shut_down().await;
}

#[tokio::test]
async fn what_dtls_drops_is_a_metric() {
    let rig = Rig::new().await;
    let dropped = async || {
        let text = String::from_utf8(rig.send("GET", "/metrics", "text/plain", "").await.body).unwrap();
        text.lines().find_map(|line| line.strip_prefix("sluice_dtls_dropped_total ")).unwrap().to_owned()
    };
    assert_eq!(dropped().await, "0");
    // The data plane of these tests hands over a datagram that is no DTLS for each session.
    assert_eq!(rig.send("POST", "/whip/a", "application/sdp", TO_PUBLISH).await.status, 201);
    for _ in 0..1000 {
        if dropped().await != "0" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(dropped().await, "1");
    rig.supervisor.shut_down().await;
}

#[tokio::test]
async fn what_the_server_issued_for_a_room_does_not_open_the_next_one_of_that_name() {
    let rig = Rig::new().await;
    let issue = async |bearer: &str, lifetime: u64| {
        let body = json!({"identity": "evil", "role": "host", "expires_in": lifetime}).to_string();
        let issued = rig.send_as(bearer, "POST", "/api/rooms/a/tokens", "application/json", &body).await.json();
        (issued["token"].as_str().unwrap().to_owned(), issued["expires_at"].as_str().unwrap().to_owned())
    };
    let (first, ends) = issue(SECRET, 600).await;
    let (second, second_ends) = issue(&first, 30 * 24 * 3600).await;
    assert_eq!(second_ends, ends, "what a host gives ends with its own token");
    let read = async |bearer: &str| rig.send_as(bearer, "GET", "/api/rooms/a", "application/json", "").await;
    assert_eq!((read(&first).await.status, read(&second).await.status), (200, 200));
    assert_eq!(rig.send("DELETE", "/api/rooms/a", "application/json", "").await.status, 204);
    tokio::time::sleep(Duration::from_millis(2)).await;
    assert_eq!(rig.create_room().await, 201);
    for bearer in [&first, &second] {
        let reply = read(bearer).await;
        assert_eq!((reply.status, reply.json()["code"].as_str().unwrap()), (401, "token_of_earlier_room"));
        let entered = rig.send_as(bearer, "POST", "/whip/a", "application/sdp", TO_PUBLISH).await;
        assert_eq!((entered.status, entered.json()["code"].as_str().unwrap()), (401, "token_of_earlier_room"));
    }
    assert_eq!(read(&issue(SECRET, 600).await.0).await.status, 200);
    rig.supervisor.shut_down().await;
}

/// Signs a token as an application does, which knows nothing of when a room was created.
fn minted(identity: &str, iat: u64) -> String {
    let claims = json!({"room_id": "a", "user_id": identity, "role": "host", "exp": iat + 3600, "iat": iat});
    signed(claims)
}

fn signed(claims: Value) -> String {
    issue(&ApiKey::new("main", SECRET).unwrap(), &serde_json::from_value(claims).unwrap())
}

#[tokio::test]
async fn a_removal_outlives_both_planes_and_the_room() {
    let mut rig = Rig::new().await;
    let now = crate::clock::unix_seconds();
    let (evil, good) = (minted("evil", now - 10), minted("good", now - 10));
    for bearer in [&evil, &good] {
        assert_eq!(rig.send_as(bearer, "POST", "/whip/a", "application/sdp", TO_PUBLISH).await.status, 201);
    }
    let removed = rig.send_as(&good, "DELETE", "/api/rooms/a/participants/evil", "application/json", "").await;
    assert_eq!(removed.status, 204);
    for step in ["the same planes", "both planes again", "a new room of the id", "both planes again"] {
        match step {
            "both planes again" => rig = rig.restart().await,
            "a new room of the id" => {
                assert_eq!(rig.send("DELETE", "/api/rooms/a", "application/json", "").await.status, 204);
                assert_eq!(rig.create_room().await, 201);
            }
            _ => {}
        }
        let read = async |bearer: &str| rig.send_as(bearer, "GET", "/api/rooms/a", "application/json", "").await;
        let refused = read(&evil).await;
        assert_eq!((refused.status, refused.json()["code"].as_str()), (401, Some("token_revoked")), "{step}");
        let entered = rig.send_as(&evil, "POST", "/whip/a", "application/sdp", TO_PUBLISH).await;
        assert_eq!((entered.status, entered.json()["code"].as_str()), (401, Some("token_revoked")), "{step}");
        let later = minted("evil", crate::clock::unix_seconds() + 1);
        assert_eq!((read(&good).await.status, read(&later).await.status), (200, 200), "{step}");
    }
    rig.supervisor.shut_down().await;
}

#[tokio::test]
async fn whoever_ends_its_own_session_left_and_whose_is_ended_by_others_was_removed() {
    let rig = Rig::new().await;
    let now = crate::clock::unix_seconds();
    let (hob, ann) = (minted("hob", now), minted("ann", now));
    let speaker = json!({"room_id": "a", "user_id": "ben", "role": "speaker", "exp": now + 600, "iat": now});
    let ben = signed(speaker);
    let admin = signed(json!({"admin": true, "user_id": "boss", "exp": now + 600}));
    let mut events = rig.events.read(Some("a"), Sight::All, None);
    for (comes, ends, wanted) in [
        (hob.as_str(), hob.as_str(), "left"),
        (&hob, &ann, "removed"),
        (&ben, &ben, "left"),
        (&ben, &hob, "removed"),
        (&ben, SECRET, "removed"),
        (&admin, &admin, "left"),
        (&hob, &admin, "removed"),
        (SECRET, SECRET, "left"),
        (SECRET, &hob, "removed"),
    ] {
        let entered = rig.send_as(comes, "POST", "/whip/a", "application/sdp", TO_PUBLISH).await;
        assert_eq!(entered.status, 201);
        assert_eq!(rig.send_as(ends, "DELETE", &entered.location, "application/sdp", "").await.status, 200);
        let reason = loop {
            let Next::Event(event) = events.next().await else { panic!("nothing is missed") };
            if event.kind == "participant_left" {
                break event.data["reason"].clone();
            }
        };
        assert_eq!(reason, wanted, "{comes:.20} ended by {ends:.20}");
    }
    rig.supervisor.shut_down().await;
}
