//! A room with a publisher and viewers, of whom some may be browsers.

use std::time::Duration;

use sluice_load::{Publisher, PublisherConfig, Rooms, ViewerConfig, ViewerStats, Viewers, wait_until};
use sluice_tests::{ADDRESS, Browser, Options, Server};

use crate::audience::{Audience, pictures};

pub(crate) const LIMIT: Duration = Duration::from_secs(15);

/// Everybody in it decodes.
pub(crate) struct Show {
    pub(crate) server: Server,
    pub(crate) rooms: Rooms,
    pub(crate) room: String,
    pub(crate) publisher: Publisher,
    pub(crate) viewers: Viewers,
    pub(crate) audience: Option<Audience>,
}

impl Show {
    /// A show for `count` foreign viewers, over loopback.
    pub(crate) async fn start(count: usize) -> Self {
        Self::begin(Options::default(), count, |config| config).await
    }

    /// A show of a publisher of one's own making, in a network of the test's own.
    pub(crate) async fn start_with(count: usize, make: impl Fn(PublisherConfig) -> PublisherConfig) -> Self {
        let options = Options { announce: Some(ADDRESS.to_owned()), ..Options::default() };
        Self::begin(options, count, make).await
    }

    /// A show with real pictures and browsers among the viewers, in a network of the test's own.
    pub(crate) async fn start_with_browsers(count: usize, browsers: &[Browser]) -> Self {
        let pictures = pictures();
        let make = |config| PublisherConfig { pictures: Some(pictures.clone()), ..config };
        let mut show = Self::start_with(count, make).await;
        show.audience = Some(Audience::join(&show.server, &show.rooms, &show.room, browsers).await);
        show
    }

    async fn begin(options: Options, count: usize, make: impl Fn(PublisherConfig) -> PublisherConfig) -> Self {
        let server = Server::start(options).await.unwrap();
        let rooms = Rooms::new(server.base(), server.secret()).unwrap();
        let room = rooms.create("survival").await.unwrap();
        let token = rooms.token(&room, "publisher", "speaker").await.unwrap();
        let config = make(PublisherConfig::new(rooms.whip(&room, &token).unwrap()));
        let publisher = Publisher::start(config).await.unwrap();
        publisher.wait_connected(LIMIT).await.unwrap();
        let resources = rooms.whep_each(&room, "viewer", count).await.unwrap();
        let viewers = Viewers::new(1, ViewerConfig::new(resources[0].clone())).unwrap();
        let _ids = viewers.join_each(&resources, 8).await.unwrap();
        viewers.wait_connected(LIMIT).await.unwrap();
        let show = Self { server, rooms, room, publisher, viewers, audience: None };
        let is_served = |viewer: &ViewerStats| viewer.key_frame_time().is_some() && viewer.audio().is_some();
        let served = show.viewers.wait_all(LIMIT, is_served).await;
        assert!(served, "every viewer has a whole key frame and sound\n{}", show.server.logs());
        show
    }

    /// Stream and number of the next video packet.
    pub(crate) fn position(&self) -> (u64, u64) {
        self.publisher.stats().video_position().unwrap()
    }

    /// Checks that every viewer has every video packet of a span.
    pub(crate) async fn assert_complete(&self, stream: u64, span: std::ops::Range<u64>) {
        let complete = |viewer: &ViewerStats| viewer.missing(stream, span.clone()).is_empty();
        // What lies in a viewer's socket has arrived, and is read when there is time.
        if !self.viewers.wait_all(LIMIT, complete).await {
            for viewer in self.viewers.snapshot() {
                let (missing, wire) = (viewer.missing(stream, span.clone()), viewer.connection.wire);
                assert_eq!(missing, [], "{:?} lost packets of {span:?}, {wire:?}\n{}", viewer.id, self.server.logs());
            }
        }
    }

    /// Everything that identifies the connections: none of it may change when a plane is killed.
    pub(crate) fn identity(&self) -> Vec<(String, Vec<u32>)> {
        let ssrcs = |viewer: &ViewerStats| viewer.tracks.iter().flat_map(|track| track.rtp.ssrcs.clone()).collect();
        self.viewers.snapshot().iter().map(|viewer| (viewer.location.clone(), ssrcs(viewer))).collect()
    }

    /// Checks that somebody new sees a picture, and that somebody who has been there leaves.
    pub(crate) async fn assert_people_come_and_go(&self) {
        let token = self.rooms.token(&self.room, "latecomer", "attendee").await.unwrap();
        let id = self.viewers.join_resource(&self.rooms.whep(&self.room, &token).unwrap()).await.unwrap();
        let decodes =
            wait_until(LIMIT, || self.viewers.viewer(id).is_some_and(|viewer| viewer.key_frame_time().is_some()));
        assert!(decodes.await, "a new viewer has a whole key frame\n{}", self.server.logs());
        let oldest = self.viewers.snapshot()[0].id;
        let _stats = self.viewers.leave(oldest).await.unwrap();
    }

    /// Everybody says goodbye.
    pub(crate) async fn end(self) {
        if let Some(audience) = self.audience {
            audience.leave().await;
        }
        self.viewers.leave_all().await.unwrap();
        self.publisher.stop().await.unwrap();
    }
}
