//! The show that is attacked: a publisher, viewers who all see a picture, and what they had before the attack.

use std::net::UdpSocket;
use std::time::Duration;

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use sluice_load::{Publisher, PublisherConfig, Rooms, Usage, ViewerConfig, Viewers, wait_until};
use sluice_tests::{Options, Server};
use tokio::sync::{Mutex, MutexGuard};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// What either plane may grow by under an attack. The floods here would need more than twice as much if a plane kept
/// only a kilobyte of each datagram.
const GROWTH_BYTES_MAX: u64 = 8 * 1024 * 1024;
const VIEWERS: usize = 3;

/// Attacks take turns: each is to meet a server that nothing else keeps busy.
static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) struct Stage {
    pub(crate) server: Server,
    pub(crate) rooms: Rooms,
    pub(crate) room: String,
    pub(crate) publisher: Publisher,
    pub(crate) viewers: Viewers,
    /// The sockets that the publisher sends from.
    pub(crate) publishing_from: Vec<UdpSocket>,
    _turn: MutexGuard<'static, ()>,
}

/// Where the streams and the memory stood before an attack.
pub(crate) struct Before {
    video: (u64, u64),
    audio: (u64, u64),
    controlplane_bytes: u64,
    dataplane_bytes: u64,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::start_with(Options::default()).await
    }

    pub(crate) async fn start_with(options: Options) -> Self {
        let turn = TURN.lock().await;
        let server = Server::start(options).await.unwrap();
        let rooms = Rooms::new(server.base(), server.secret()).unwrap();
        let room = rooms.create("under attack").await.unwrap();
        let token = rooms.token(&room, "publisher", "speaker").await.unwrap();
        let others = sockets();
        let publisher = Publisher::start(PublisherConfig::new(rooms.whip(&room, &token).unwrap())).await.unwrap();
        publisher.wait_connected(LIMIT).await.unwrap();
        let publishing_from = new_sockets(&others);
        let resources = rooms.whep_each(&room, "viewer", VIEWERS).await.unwrap();
        let viewers = Viewers::new(1, ViewerConfig::new(resources[0].clone())).unwrap();
        let _ids = viewers.join_each(&resources, VIEWERS).await.unwrap();
        viewers.wait_connected(LIMIT).await.unwrap();
        let decoding = viewers.wait_all(LIMIT, |viewer| viewer.key_frame_time().is_some()).await;
        assert!(decoding, "every viewer has a whole key frame\n{}", server.logs());
        Self { server, rooms, room, publisher, viewers, publishing_from, _turn: turn }
    }

    /// Notes where everything stands.
    pub(crate) async fn before(&mut self) -> Before {
        let (controlplane_bytes, dataplane_bytes) = self.memory().await;
        let stats = self.publisher.stats();
        let (video, audio) = (stats.video_position().unwrap(), stats.audio_position().unwrap());
        Before { video, audio, controlplane_bytes, dataplane_bytes }
    }

    /// Checks that media flows, that nobody lost any of it since, and that neither plane has grown.
    pub(crate) async fn assert_undisturbed(&mut self, before: &Before) {
        self.assert_lost_nothing(before).await;
        self.assert_same_memory(before).await;
    }

    /// Checks that media flows, and that nobody lost any of it since.
    pub(crate) async fn assert_lost_nothing(&self, before: &Before) {
        let stats = self.publisher.stats();
        let ((_, video), (_, audio)) = (stats.video_position().unwrap(), stats.audio_position().unwrap());
        let position = || {
            let stats = self.publisher.stats();
            (stats.video_position().unwrap().1, stats.audio_position().unwrap().1)
        };
        let goes_on = wait_until(LIMIT, || position().0 >= video + 50 && position().1 >= audio + 20).await;
        assert!(goes_on, "the publisher sends on\n{}", self.server.logs());
        let (video_to, audio_to) = position();
        let ((video, video_from), (audio, audio_from)) = (before.video, before.audio);
        let complete = |viewer: &sluice_load::ViewerStats| {
            viewer.missing(video, video_from..video_to).is_empty()
                && viewer.missing(audio, audio_from..audio_to).is_empty()
        };
        if !self.viewers.wait_all(LIMIT, complete).await {
            for viewer in self.viewers.snapshot() {
                let video = viewer.missing(video, video_from..video_to);
                let audio = viewer.missing(audio, audio_from..audio_to);
                assert_eq!((video, audio), (vec![], vec![]), "{:?} lost media\n{}", viewer.id, self.server.logs());
            }
        }
    }

    /// Checks that neither plane has grown since.
    pub(crate) async fn assert_same_memory(&mut self, before: &Before) {
        let (controlplane, dataplane) = self.memory().await;
        for (plane, before, after) in [
            ("control plane", before.controlplane_bytes, controlplane),
            ("data plane", before.dataplane_bytes, dataplane),
        ] {
            let growth = after.saturating_sub(before);
            assert!(growth <= GROWTH_BYTES_MAX, "the {plane} grew by {growth} bytes, from {before} to {after}");
        }
    }

    /// Checks that somebody new can join and sees a picture.
    pub(crate) async fn assert_newcomer_is_served(&self, identity: &str) {
        let token = self.rooms.token(&self.room, identity, "attendee").await.unwrap();
        let id = self.viewers.join_resource(&self.rooms.whep(&self.room, &token).unwrap()).await.unwrap();
        let sees =
            wait_until(LIMIT, || self.viewers.viewer(id).is_some_and(|viewer| viewer.key_frame_time().is_some()));
        assert!(sees.await, "a newcomer has a whole key frame\n{}", self.server.logs());
        let _stats = self.viewers.leave(id).await.unwrap();
    }

    /// Ends the show; both planes have outlived the attack.
    pub(crate) async fn end(mut self) {
        let _pid = self.server.dataplane_pid().await.unwrap();
        self.viewers.leave_all().await.unwrap();
        self.publisher.stop().await.unwrap();
    }

    /// Resident bytes of the control plane and the data plane.
    async fn memory(&mut self) -> (u64, u64) {
        let dataplane = self.server.dataplane_pid().await.unwrap();
        let rss = |pid| Usage::read(pid).unwrap().rss_bytes;
        (rss(self.server.controlplane_pid().unwrap()), rss(dataplane))
    }
}

/// Returns duplicates of this process's UDP sockets. Whoever sends from one cannot be told from the endpoint that owns
/// it: a spoofed address without a raw socket.
pub(crate) fn sockets() -> Vec<UdpSocket> {
    let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let numbers = std::fs::read_dir("/proc/self/fd").unwrap();
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let duplicates = numbers.filter_map(|number: i32| pidfd_getfd(&this, number, PidfdGetfdFlags::empty()).ok());
    let datagrams = duplicates.filter(|descriptor| {
        rustix::net::sockopt::socket_type(descriptor).is_ok_and(|kind| kind == rustix::net::SocketType::DGRAM)
    });
    datagrams.map(UdpSocket::from).filter(|socket| socket.local_addr().is_ok()).collect()
}

/// Returns duplicates of the UDP sockets that have been opened since `before`.
pub(crate) fn new_sockets(before: &[UdpSocket]) -> Vec<UdpSocket> {
    let address = |socket: &UdpSocket| socket.local_addr().unwrap();
    let known: Vec<_> = before.iter().map(address).collect();
    let new: Vec<_> = sockets().into_iter().filter(|socket| !known.contains(&address(socket))).collect();
    assert!(!new.is_empty(), "an endpoint has sockets");
    new
}
