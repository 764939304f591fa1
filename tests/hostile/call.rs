//! The call that is attacked over its signalling: two people in a room, one of whom publishes.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use sluice_tests::{Options, Sent, Server, Signaller, offer};
use tokio::net::TcpSocket;

/// How much later something may happen, on a machine that does other things too.
pub(crate) const GRACE: Duration = Duration::from_secs(15);
/// What the control plane may grow by.
const GROWTH_BYTES_MAX: u64 = 24 << 20;
/// A receive buffer that is full at once.
const NARROW_BYTES: u32 = 4096;

pub(crate) struct Call {
    pub(crate) server: Server,
    pub(crate) ann: Signaller,
    pub(crate) ben: Signaller,
    /// What Ann publishes.
    pub(crate) track: String,
    turns: u64,
}

impl Call {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let server = Server::start(options).await.unwrap();
        server.make_room("a").await.unwrap();
        let enter = async |identity: &str, role: &str| {
            let token = server.token("a", identity, role).await.unwrap();
            Signaller::enter(server.base(), &token).await.unwrap()
        };
        let (ann, ben) = (enter("ann", "host").await, enter("ben", "speaker").await);
        let mut call = Self { server, ann, ben, track: String::new(), turns: 0 };
        call.track = publish(&mut call.ann, 1).await;
        call.assert_goes_on().await;
        call
    }

    /// Lets somebody in as a speaker; Ann is the host.
    pub(crate) async fn enter(&self, identity: &str) -> Signaller {
        Signaller::enter(self.server.base(), &self.token(identity).await).await.unwrap()
    }

    /// Lets somebody in over a connection that takes little at once, and reads no more than its stay.
    pub(crate) async fn enter_narrow(&self, identity: &str) -> Signaller {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(NARROW_BYTES).unwrap();
        let address = self.server.base().trim_start_matches("http://").parse().unwrap();
        let stream = socket.connect(address).await.unwrap();
        let query = format!("token={}", self.token(identity).await);
        Signaller::enter_over(stream, self.server.base(), &query).await.unwrap()
    }

    async fn token(&self, identity: &str) -> String {
        let role = if identity == "ann" { "host" } else { "speaker" };
        self.server.token("a", identity, role).await.unwrap()
    }

    /// Checks that what one of the two does reaches the other.
    pub(crate) async fn assert_goes_on(&mut self) {
        self.turns += 1;
        let name = format!("Ann {}", self.turns);
        self.ann.done(json!({ "type": "update_metadata", "room_id": "a", "name": name })).await.unwrap();
        let renamed = |message: &serde_json::Value| message.pointer("/participant/name") == Some(&json!(name));
        let told = self.ben.told_within(GRACE, renamed).await;
        assert!(told.is_ok(), "{told:?}\n{}", self.server.logs());
        drop((self.ann.unread().await.unwrap(), self.ben.unread().await.unwrap()));
    }

    /// Has the room told everybody 15 kB, and checks that both hear it at once.
    pub(crate) async fn say_much(&mut self, turn: usize) {
        let name = format!("turn {turn}");
        let change = json!({ "name": name, "metadata": "x".repeat(15_000) });
        let (status, _) = self.server.api(Method::PATCH, "/api/rooms/a", &change).await.unwrap();
        assert_eq!(status, 200);
        for client in [&mut self.ann, &mut self.ben] {
            assert_eq!(client.told("room_updated").await.unwrap()["room"]["name"], name);
        }
    }

    /// Resident bytes of the control plane.
    pub(crate) fn memory(&self) -> u64 {
        let pid = self.server.controlplane_pid().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Checks that the control plane has kept nothing of an attack.
    pub(crate) fn assert_bounded(&self, before: u64) {
        let after = self.memory();
        println!("measured: the control plane grew from {before} to {after} bytes");
        assert!(after.saturating_sub(before) <= GROWTH_BYTES_MAX, "it grew from {before} to {after} bytes");
    }
}

/// Publishes a microphone, and returns the track's id.
pub(crate) async fn publish(client: &mut Signaller, number: u32) -> String {
    client.done(json!({ "type": "publish_track", "mid": "0", "source": "microphone" })).await.unwrap();
    let sdp = offer(number, &[Sent::Audio]);
    let answer = client.done(json!({ "type": "offer", "offer_id": 1, "sdp": sdp })).await.unwrap();
    answer["tracks"][0]["track_id"].as_str().unwrap().to_owned()
}
